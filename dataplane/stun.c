// SPDX-License-Identifier: ISC
//
// stun.c - STUN messages (RFC 8489): parse, build, integrity, fingerprint.
//
// Runs on: any.

#include "dataplane/stun.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define STUN_COOKIE 0x2112a442u
#define STUN_FINGERPRINT_XOR 0x5354554eu
#define INTEGRITY_BYTES 20

static uint32_t crc32(const uint8_t *data, size_t bytes, uint32_t crc)
{
	for (size_t i = 0; i < bytes; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
	}
	return crc;
}

static uint32_t fingerprint(const uint8_t *data, size_t bytes)
{
	return ~crc32(data, bytes, 0xffffffffu) ^ STUN_FINGERPRINT_XOR;
}

static bool read_address(const uint8_t *value, size_t bytes, bool xored, struct endpoint *ret_endpoint)
{
	if (bytes != 8 || value[1] != 1) // IPv4 only
		return false;
	ret_endpoint->port = get_be16(value + 2);
	ret_endpoint->ip = get_be32(value + 4);
	if (xored) {
		ret_endpoint->port ^= (uint16_t)(STUN_COOKIE >> 16);
		ret_endpoint->ip ^= STUN_COOKIE;
	}
	return true;
}

static enum drop read_attribute(struct stun_message *message, const uint8_t *data, size_t at, uint16_t type,
	uint16_t bytes)
{
	const uint8_t *value = data + at + 4;
	switch (type) {
	case STUN_USERNAME:
		message->username = (const char *)value;
		message->username_bytes = bytes;
		break;
	case STUN_MESSAGE_INTEGRITY:
		if (bytes != INTEGRITY_BYTES)
			return DROP_STUN_MALFORMED;
		message->has_integrity = true;
		message->integrity_at = at;
		break;
	case STUN_ERROR_CODE:
		if (bytes < 4)
			return DROP_STUN_MALFORMED;
		message->error_code = (uint16_t)((value[2] & 7) * 100 + value[3]);
		break;
	case STUN_MAPPED_ADDRESS:
		if (!message->has_mapped)
			message->has_mapped = read_address(value, bytes, false, &message->mapped);
		break;
	case STUN_XOR_MAPPED_ADDRESS:
		message->has_mapped = read_address(value, bytes, true, &message->mapped) || message->has_mapped;
		break;
	case STUN_PRIORITY:
		if (bytes != 4)
			return DROP_STUN_MALFORMED;
		message->has_priority = true;
		message->priority = get_be32(value);
		break;
	case STUN_USE_CANDIDATE:
		message->use_candidate = true;
		break;
	case STUN_ICE_CONTROLLED:
	case STUN_ICE_CONTROLLING:
		if (bytes != 8)
			return DROP_STUN_MALFORMED;
		message->controlled = type == STUN_ICE_CONTROLLED;
		message->controlling = type == STUN_ICE_CONTROLLING;
		message->tie_breaker = get_be64(value);
		break;
	case STUN_NOMINATION_OLD:
		break;
	default:
		if (type < 0x8000)
			message->unknown_required = true;
	}
	return DROP_NONE;
}

enum drop stun_parse(const uint8_t *data, size_t bytes, struct stun_message *ret_message)
{
	*ret_message = (struct stun_message){0};
	if (bytes < STUN_HEADER_BYTES || (data[0] & 0xc0) != 0 || get_be32(data + 4) != STUN_COOKIE ||
		get_be16(data + 2) != bytes - STUN_HEADER_BYTES || bytes % 4 != 0)
		return DROP_STUN_MALFORMED;
	uint16_t type = get_be16(data);
	ret_message->class = (enum stun_class)((type >> 4 & 1) | (type >> 7 & 2));
	ret_message->method = (uint16_t)((type & 0xf) | (type >> 1 & 0x70) | (type >> 2 & 0xf80));
	memcpy(ret_message->id, data + 8, STUN_ID_BYTES);
	for (size_t at = STUN_HEADER_BYTES; at < bytes;) {
		if (bytes - at < 4)
			return DROP_STUN_MALFORMED;
		uint16_t attribute = get_be16(data + at), length = get_be16(data + at + 2);
		size_t padded = (length + 3u) & ~3u;
		if (padded > bytes - at - 4)
			return DROP_STUN_MALFORMED;
		if (attribute == STUN_FINGERPRINT) {
			if (length != 4 || at + 8 != bytes)
				return DROP_STUN_MALFORMED;
			if (get_be32(data + at + 4) != fingerprint(data, at))
				return DROP_STUN_BAD_INTEGRITY;
			ret_message->has_fingerprint = true;
		} else if (!ret_message->has_integrity) { // what follows the integrity is not protected: ignored
			enum drop drop = read_attribute(ret_message, data, at, attribute, length);
			if (drop != DROP_NONE)
				return drop;
		}
		at += 4 + padded;
	}
	return DROP_NONE;
}

// HMAC-SHA1 over the message up to the attribute, with the length field as if it ended behind it.
static void integrity(const uint8_t *data, size_t at, const uint8_t *key, size_t key_bytes, uint8_t *ret_mac)
{
	uint8_t copy[STUN_MESSAGE_MAX * 4];
	unsigned mac_bytes = INTEGRITY_BYTES;
	memset(ret_mac, 0, INTEGRITY_BYTES);
	if (at > sizeof(copy))
		return;
	memcpy(copy, data, at);
	put_be16(copy + 2, (uint16_t)(at - STUN_HEADER_BYTES + 4 + INTEGRITY_BYTES));
	HMAC(EVP_sha1(), key, (int)key_bytes, copy, at, ret_mac, &mac_bytes);
}

bool stun_integrity_key(const uint8_t *data, const struct stun_message *message, const uint8_t *key, size_t key_bytes)
{
	uint8_t mac[INTEGRITY_BYTES];
	if (!message->has_integrity || message->integrity_at > STUN_MESSAGE_MAX * 4)
		return false;
	integrity(data, message->integrity_at, key, key_bytes, mac);
	return CRYPTO_memcmp(mac, data + message->integrity_at + 4, INTEGRITY_BYTES) == 0;
}

bool stun_integrity(const uint8_t *data, const struct stun_message *message, const char *password)
{
	return stun_integrity_key(data, message, (const uint8_t *)password, strlen(password));
}

void stun_begin(struct stun_builder *builder, enum stun_class class, uint16_t method, const uint8_t *id)
{
	uint16_t type = (uint16_t)((method & 0xf) | (method & 0x70) << 1 | (method & 0xf80) << 2 | ((unsigned)class & 1) << 4 |
				   ((unsigned)class & 2) << 7);
	put_be16(builder->data, type);
	put_be16(builder->data + 2, 0);
	put_be32(builder->data + 4, STUN_COOKIE);
	memcpy(builder->data + 8, id, STUN_ID_BYTES);
	builder->bytes = STUN_HEADER_BYTES;
}

void stun_add(struct stun_builder *builder, uint16_t type, const void *value, size_t bytes)
{
	size_t padded = (bytes + 3) & ~(size_t)3;
	if (builder->bytes + 4 + padded > sizeof(builder->data))
		return;
	uint8_t *at = builder->data + builder->bytes;
	put_be16(at, type);
	put_be16(at + 2, (uint16_t)bytes);
	memset(at + 4, 0, padded);
	if (bytes > 0)
		memcpy(at + 4, value, bytes);
	builder->bytes += 4 + padded;
	put_be16(builder->data + 2, (uint16_t)(builder->bytes - STUN_HEADER_BYTES));
}

void stun_add_u32(struct stun_builder *builder, uint16_t type, uint32_t value)
{
	uint8_t bytes[4];
	put_be32(bytes, value);
	stun_add(builder, type, bytes, sizeof(bytes));
}

void stun_add_xor_mapped(struct stun_builder *builder, struct endpoint mapped)
{
	uint8_t value[8] = {0, 1};
	put_be16(value + 2, mapped.port ^ (uint16_t)(STUN_COOKIE >> 16));
	put_be32(value + 4, mapped.ip ^ STUN_COOKIE);
	stun_add(builder, STUN_XOR_MAPPED_ADDRESS, value, sizeof(value));
}

void stun_finish(struct stun_builder *builder, const char *password)
{
	uint8_t mac[INTEGRITY_BYTES], crc[4];
	integrity(builder->data, builder->bytes, (const uint8_t *)password, strlen(password), mac);
	stun_add(builder, STUN_MESSAGE_INTEGRITY, mac, sizeof(mac));
	put_be16(builder->data + 2, (uint16_t)(builder->bytes - STUN_HEADER_BYTES + 8));
	put_be32(crc, fingerprint(builder->data, builder->bytes));
	stun_add(builder, STUN_FINGERPRINT, crc, sizeof(crc));
}
