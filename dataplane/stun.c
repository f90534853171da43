// SPDX-License-Identifier: ISC
//
// stun.c - STUN messages (RFC 8489): read, write, sign, check. No state.
//
// Runs on: any.

#include "dataplane/stun.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define ATTRIBUTE_HEADER_BYTES 4
#define INTEGRITY_BYTES 20
#define FINGERPRINT_BYTES 4
#define FINGERPRINT_MASK 0x5354554eu // so that a CRC of a carried protocol is not taken for ours

// CRC-32 of ISO 3309, four bits at a time: 64 bytes of table instead of 1024, and the messages are short.
static uint32_t crc32_iso(const uint8_t *data, size_t bytes)
{
	static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4,
		0xa00ae278, 0xbdbdf21c};
	uint32_t crc = ~0u;
	for (size_t i = 0; i < bytes; i++) {
		crc = table[(crc ^ data[i]) & 15] ^ crc >> 4;
		crc = table[(crc ^ data[i] >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

static size_t padded(size_t bytes)
{
	return (bytes + 3) & ~(size_t)3;
}

// ---- reading

static bool decode_mapped(const uint8_t *value, size_t bytes, const uint8_t *datagram, struct stun_address *ret)
{
	size_t ip_bytes = bytes >= 2 && value[1] == STUN_FAMILY_IP6 ? 16 : 4;
	if (bytes != 4 + ip_bytes || (value[1] != STUN_FAMILY_IP4 && value[1] != STUN_FAMILY_IP6))
		return false;
	ret->family = value[1];
	ret->port = get_be16(value + 2) ^ STUN_COOKIE >> 16;
	// The mask is the cookie and behind it the transaction: bytes 4..19 of the message.
	for (size_t i = 0; i < ip_bytes; i++)
		ret->ip[i] = value[4 + i] ^ datagram[4 + i];
	return true;
}

static bool decode_tie_breaker(const uint8_t *value, size_t bytes, bool *ret_role, struct stun_message *ret)
{
	if (bytes != 8)
		return false;
	*ret_role = true;
	ret->tie_breaker = get_be64(value);
	return true;
}

static void note_unknown(struct stun_message *ret, uint16_t attribute)
{
	if (attribute < 0x8000 && ret->unknown_count < STUN_UNKNOWN_MAX)
		ret->unknown[ret->unknown_count++] = attribute;
}

// One attribute before MESSAGE-INTEGRITY.
static bool decode_attribute(uint16_t attribute, const uint8_t *value, size_t bytes, struct stun_message *ret)
{
	switch (attribute) {
	case STUN_USERNAME:
		if (bytes > 513)
			return false;
		if (ret->username == NULL) {
			ret->username = value;
			ret->username_bytes = (uint16_t)bytes;
		}
		return true;
	case STUN_ERROR_CODE:
		if (bytes < 4 || (value[2] & 7) < 3 || (value[2] & 7) > 6 || value[3] > 99)
			return false;
		if (ret->error_code == 0)
			ret->error_code = (uint16_t)((value[2] & 7) * 100 + value[3]);
		return true;
	case STUN_XOR_MAPPED_ADDRESS:
		if (ret->mapped.family != STUN_FAMILY_NONE)
			return true;
		return decode_mapped(value, bytes, ret->datagram, &ret->mapped);
	case STUN_PRIORITY:
		if (bytes != 4)
			return false;
		ret->priority = get_be32(value);
		return true;
	case STUN_USE_CANDIDATE:
		if (bytes != 0)
			return false;
		ret->use_candidate = true;
		return true;
	case STUN_ICE_CONTROLLED:
		return decode_tie_breaker(value, bytes, &ret->controlled, ret);
	case STUN_ICE_CONTROLLING:
		return decode_tie_breaker(value, bytes, &ret->controlling, ret);
	case STUN_NOMINATION:
	case STUN_NOMINATION_OLD:
		if (bytes == 4)
			ret->nomination = get_be32(value);
		return true;
	case STUN_REALM:
	case STUN_NONCE:
	case STUN_UNKNOWN_ATTRIBUTES:
	case STUN_MESSAGE_INTEGRITY_SHA256:
		return true;
	default:
		note_unknown(ret, attribute);
		return true;
	}
}

static bool decode_attributes(struct stun_message *ret)
{
	for (size_t at = STUN_HEADER_BYTES; at < ret->bytes;) {
		// Both lengths are multiples of four, so a whole attribute header is always left.
		uint16_t attribute = get_be16(ret->datagram + at);
		size_t bytes = get_be16(ret->datagram + at + 2);
		const uint8_t *value = ret->datagram + at + ATTRIBUTE_HEADER_BYTES;
		size_t next = at + ATTRIBUTE_HEADER_BYTES + padded(bytes);
		if (next > ret->bytes)
			return false;
		if (attribute == STUN_FINGERPRINT) {
			if (bytes != FINGERPRINT_BYTES || next != ret->bytes)
				return false;
			ret->fingerprint_at = at;
		} else if (ret->integrity_at == 0) {
			if (attribute == STUN_MESSAGE_INTEGRITY) {
				if (bytes != INTEGRITY_BYTES)
					return false;
				ret->integrity_at = at;
			} else if (!decode_attribute(attribute, value, bytes, ret)) {
				return false;
			}
		}
		at = next;
	}
	return true;
}

bool stun_decode(const uint8_t *datagram, size_t bytes, struct stun_message *ret_message)
{
	memset(ret_message, 0, sizeof(*ret_message));
	if (bytes < STUN_HEADER_BYTES || bytes > STUN_MESSAGE_MAX_BYTES || (bytes & 3) != 0)
		return false;
	uint16_t type = get_be16(datagram);
	if (type & 0xc000 || get_be32(datagram + 4) != STUN_COOKIE)
		return false;
	if (get_be16(datagram + 2) != bytes - STUN_HEADER_BYTES)
		return false;
	ret_message->datagram = datagram;
	ret_message->bytes = bytes;
	ret_message->transaction = datagram + 8;
	// The class bits lie among those of the method: M11..M7 C1 M6..M4 C0 M3..M0.
	ret_message->kind = (enum stun_kind)((type >> 7 & 2) | (type >> 4 & 1));
	ret_message->method = (uint16_t)((type & 0x000f) | (type >> 1 & 0x0070) | (type >> 2 & 0x0f80));
	return decode_attributes(ret_message);
}

// HMAC-SHA1 of a message up to (not with) the MESSAGE-INTEGRITY attribute at an offset. The length that is signed ends
// behind that attribute, whatever follows.
static bool sign(const uint8_t *datagram, size_t integrity_at, const void *key, size_t key_bytes,
	uint8_t ret_digest[EVP_MAX_MD_SIZE])
{
	uint8_t copy[STUN_MESSAGE_MAX_BYTES];
	unsigned digest_bytes = 0;
	if (integrity_at > sizeof(copy))
		return false;
	memcpy(copy, datagram, integrity_at);
	put_be16(copy + 2, (uint16_t)(integrity_at - STUN_HEADER_BYTES + ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES));
	return HMAC(EVP_sha1(), key, (int)key_bytes, copy, integrity_at, ret_digest, &digest_bytes) != NULL &&
	       digest_bytes == INTEGRITY_BYTES;
}

bool stun_check_integrity(const struct stun_message *message, const void *key, size_t key_bytes)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	if (message->integrity_at == 0 || !sign(message->datagram, message->integrity_at, key, key_bytes, digest))
		return false;
	return CRYPTO_memcmp(digest, message->datagram + message->integrity_at + ATTRIBUTE_HEADER_BYTES,
		       INTEGRITY_BYTES) == 0;
}

bool stun_check_fingerprint(const struct stun_message *message)
{
	if (message->fingerprint_at == 0)
		return true;
	uint32_t crc = crc32_iso(message->datagram, message->fingerprint_at) ^ FINGERPRINT_MASK;
	return crc == get_be32(message->datagram + message->fingerprint_at + ATTRIBUTE_HEADER_BYTES);
}

// ---- writing

void stun_begin(struct stun_writer *writer, uint8_t *datagram, size_t capacity, enum stun_kind kind, uint16_t method,
	const uint8_t transaction[STUN_TRANSACTION_BYTES])
{
	*writer = (struct stun_writer){.datagram = datagram, .capacity = MIN_OF(capacity, STUN_MESSAGE_MAX_BYTES)};
	if (writer->capacity < STUN_HEADER_BYTES) {
		writer->overflow = true;
		return;
	}
	unsigned type = (method & 0x000fu) | (method & 0x0070u) << 1 | (method & 0x0f80u) << 2 | (kind & 1u) << 4 |
			(kind & 2u) << 7;
	put_be16(datagram, (uint16_t)type);
	put_be16(datagram + 2, 0);
	put_be32(datagram + 4, STUN_COOKIE);
	memcpy(datagram + 8, transaction, STUN_TRANSACTION_BYTES);
	writer->used = STUN_HEADER_BYTES;
}

// Room for an attribute, its padding zeroed; NULL when it does not fit.
static uint8_t *reserve(struct stun_writer *writer, uint16_t attribute, size_t bytes)
{
	if (writer->overflow || bytes > STUN_MESSAGE_MAX_BYTES ||
		writer->capacity - writer->used < ATTRIBUTE_HEADER_BYTES + padded(bytes)) {
		writer->overflow = true;
		return NULL;
	}
	uint8_t *p = writer->datagram + writer->used;
	put_be16(p, attribute);
	put_be16(p + 2, (uint16_t)bytes);
	memset(p + ATTRIBUTE_HEADER_BYTES + bytes, 0, padded(bytes) - bytes);
	writer->used += ATTRIBUTE_HEADER_BYTES + padded(bytes);
	put_be16(writer->datagram + 2, (uint16_t)(writer->used - STUN_HEADER_BYTES));
	return p + ATTRIBUTE_HEADER_BYTES;
}

void stun_put(struct stun_writer *writer, uint16_t attribute, const void *value, size_t bytes)
{
	uint8_t *p = reserve(writer, attribute, bytes);
	if (p != NULL && bytes > 0)
		memcpy(p, value, bytes);
}

void stun_put_u32(struct stun_writer *writer, uint16_t attribute, uint32_t value)
{
	uint8_t bytes[4];
	put_be32(bytes, value);
	stun_put(writer, attribute, bytes, sizeof(bytes));
}

void stun_put_u64(struct stun_writer *writer, uint16_t attribute, uint64_t value)
{
	uint8_t bytes[8];
	put_be64(bytes, value);
	stun_put(writer, attribute, bytes, sizeof(bytes));
}

void stun_put_mapped(struct stun_writer *writer, struct endpoint mapped)
{
	uint8_t *p = reserve(writer, STUN_XOR_MAPPED_ADDRESS, 8);
	if (p == NULL)
		return;
	p[0] = 0;
	p[1] = STUN_FAMILY_IP4;
	put_be16(p + 2, mapped.port ^ STUN_COOKIE >> 16);
	put_be32(p + 4, mapped.ip ^ STUN_COOKIE);
}

void stun_put_error(struct stun_writer *writer, uint16_t code, const char *reason)
{
	size_t reason_bytes = strlen(reason);
	uint8_t *p = reserve(writer, STUN_ERROR_CODE, 4 + reason_bytes);
	if (p == NULL)
		return;
	put_be16(p, 0);
	p[2] = (uint8_t)(code / 100);
	p[3] = (uint8_t)(code % 100);
	memcpy(p + 4, reason, reason_bytes);
}

void stun_put_integrity(struct stun_writer *writer, const void *key, size_t key_bytes)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	size_t at = writer->used;
	uint8_t *p = reserve(writer, STUN_MESSAGE_INTEGRITY, INTEGRITY_BYTES);
	if (p == NULL)
		return;
	if (sign(writer->datagram, at, key, key_bytes, digest))
		memcpy(p, digest, INTEGRITY_BYTES);
	else
		writer->overflow = true; // an unsigned message must not leave
}

void stun_put_fingerprint(struct stun_writer *writer)
{
	size_t at = writer->used;
	uint8_t *p = reserve(writer, STUN_FINGERPRINT, FINGERPRINT_BYTES);
	if (p != NULL)
		put_be32(p, crc32_iso(writer->datagram, at) ^ FINGERPRINT_MASK);
}

size_t stun_end(struct stun_writer *writer)
{
	return writer->overflow ? 0 : writer->used;
}
