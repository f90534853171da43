// SPDX-License-Identifier: ISC
//
// rtcp.c - compound RTCP packets: parsed with a visitor, receiver reports built.
//
// Runs on: any.

#include "dataplane/rtcp.h"

#include "dataplane/hot.h"

enum { RTCP_SR = 200, RTCP_RR = 201, RTCP_SDES = 202, RTCP_BYE = 203, RTCP_RTPFB = 205 };
enum { SDES_END = 0, SDES_CNAME = 1 };

#define SR_BYTES 28
#define RR_BYTES 8
#define BLOCK_BYTES 24

static size_t part_bytes(const uint8_t *part)
{
	return 4 * ((size_t)get_be16(part + 2) + 1);
}

// ---- SDES: chunks of an SSRC and items, each chunk ended by a zero and filled to 32 bits

static void rtcp_sdes(const uint8_t *part, size_t bytes, const struct rtcp_visitor *visitor, bool *ret_sane)
{
	size_t at = 4;
	*ret_sane = false;
	for (unsigned chunk = 0; chunk < (part[0] & 31u); chunk++) {
		if (bytes - at < 8)
			return;
		uint32_t ssrc = get_be32(part + at);
		for (at += 4; at < bytes && part[at] != SDES_END;) {
			if (bytes - at < 2 || bytes - at - 2 < part[at + 1])
				return;
			if (visitor != NULL && visitor->cname != NULL && part[at] == SDES_CNAME)
				visitor->cname(visitor->arg, ssrc, (const char *)part + at + 2, part[at + 1]);
			at += 2u + part[at + 1];
		}
		if (at >= bytes)
			return;
		at = (at + 4) & ~(size_t)3;
	}
	*ret_sane = at <= bytes;
}

static void rtcp_bye(const uint8_t *part, size_t bytes, const struct rtcp_visitor *visitor, bool *ret_sane)
{
	size_t count = part[0] & 31u, at = 4 + count * 4, reason = 0;
	*ret_sane = bytes >= at;
	if (*ret_sane && bytes > at) {
		reason = part[at++];
		*ret_sane = reason <= bytes - at;
	}
	for (size_t i = 0; *ret_sane && visitor != NULL && visitor->bye != NULL && i < count; i++)
		visitor->bye(visitor->arg, get_be32(part + 4 + 4 * i), (const char *)part + at, reason);
}

static bool part_is_sane(const uint8_t *part, size_t bytes)
{
	size_t count = part[0] & 31u;
	bool sane = true;
	switch (part[1]) {
	case RTCP_SR:
		return bytes >= SR_BYTES + count * BLOCK_BYTES;
	case RTCP_RR:
		return bytes >= RR_BYTES + count * BLOCK_BYTES;
	case RTCP_SDES:
		rtcp_sdes(part, bytes, NULL, &sane);
		return sane;
	case RTCP_BYE:
		rtcp_bye(part, bytes, NULL, &sane);
		return sane;
	default:
		return true;
	}
}

// Length of the compound without the last packet's padding; 0 when it does not parse.
static size_t compound_bytes(const uint8_t *data, size_t bytes)
{
	size_t padding = 0;
	if (bytes < 4)
		return 0;
	for (size_t at = 0; at < bytes;) {
		if (bytes - at < 4 || data[at] >> 6 != 2 || padding > 0)
			return 0;
		size_t part = part_bytes(data + at), used = part;
		if (part > bytes - at)
			return 0;
		if (data[at] & 0x20) {
			padding = data[at + part - 1];
			if (padding == 0 || padding % 4 != 0 || padding + 4 > part)
				return 0;
			used -= padding;
		}
		if (!part_is_sane(data + at, used))
			return 0;
		at += part;
	}
	return bytes - padding;
}

static void rtcp_blocks(const uint8_t *part, size_t at, const struct rtcp_visitor *visitor)
{
	for (unsigned i = 0; visitor->block != NULL && i < (part[0] & 31u); i++, at += BLOCK_BYTES) {
		uint32_t lost = get_be32(part + at + 4);
		struct rtcp_block block = {
			.ssrc = get_be32(part + at),
			.fraction_lost = (uint8_t)(lost >> 24),
			.cumulative_lost = (int32_t)(lost << 8) >> 8,
			.extended_seq = get_be32(part + at + 8),
			.jitter = get_be32(part + at + 12),
			.last_sr = get_be32(part + at + 16),
			.delay_since_sr = get_be32(part + at + 20),
		};
		visitor->block(visitor->arg, get_be32(part + 4), &block);
	}
}

enum drop rtcp_parse(const uint8_t *data, size_t bytes, const struct rtcp_visitor *visitor)
{
	size_t end = compound_bytes(data, bytes);
	bool sane;
	if (end == 0)
		return DROP_RTCP_MALFORMED;
	for (size_t at = 0; at < end; at += part_bytes(data + at)) {
		const uint8_t *part = data + at;
		size_t length = MIN_OF(part_bytes(part), end - at);
		switch (part[1]) {
		case RTCP_SR:
			if (visitor->sender_report != NULL)
				visitor->sender_report(visitor->arg, get_be32(part + 4), get_be64(part + 8), get_be32(part + 16));
			rtcp_blocks(part, SR_BYTES, visitor);
			break;
		case RTCP_RR:
			rtcp_blocks(part, RR_BYTES, visitor);
			break;
		case RTCP_SDES:
			rtcp_sdes(part, length, visitor, &sane);
			break;
		case RTCP_BYE:
			rtcp_bye(part, length, visitor, &sane);
			break;
		default:
			break;
		}
	}
	return DROP_NONE;
}

static size_t put_block(uint8_t *at, const struct source_reception *reception)
{
	int32_t lost = reception->cumulative_lost;
	lost = lost > 0x7fffff ? 0x7fffff : lost < -0x800000 ? -0x800000 : lost;
	put_be32(at, reception->ssrc);
	put_be32(at + 4, (uint32_t)reception->fraction_lost << 24 | ((uint32_t)lost & 0xffffff));
	put_be32(at + 8, reception->extended_seq);
	put_be32(at + 12, reception->jitter);
	put_be32(at + 16, reception->last_sr);
	put_be32(at + 20, reception->delay_since_sr);
	return BLOCK_BYTES;
}

size_t rtcp_build_rr(uint8_t *data, size_t size, uint32_t sender_ssrc, const struct source_reception *receptions,
	unsigned count, const char *cname)
{
	size_t name = strlen(cname), item = 4 + 2 + name + 1, sdes = 4 + ((item + 3) & ~(size_t)3);
	size_t rr = 8 + (size_t)count * BLOCK_BYTES;
	if (count > 31 || name > 255 || rr + sdes > size)
		return 0;
	data[0] = (uint8_t)(0x80 | count);
	data[1] = RTCP_RR;
	put_be16(data + 2, (uint16_t)(rr / 4 - 1));
	put_be32(data + 4, sender_ssrc);
	size_t at = 8;
	for (unsigned i = 0; i < count; i++)
		at += put_block(data + at, &receptions[i]);
	memset(data + at, 0, sdes);
	data[at] = 0x81;
	data[at + 1] = RTCP_SDES;
	put_be16(data + at + 2, (uint16_t)(sdes / 4 - 1));
	put_be32(data + at + 4, sender_ssrc);
	data[at + 8] = 1; // CNAME
	data[at + 9] = (uint8_t)name;
	memcpy(data + at + 10, cname, name);
	return rr + sdes;
}

size_t rtcp_build_nack(uint8_t *data, size_t size, uint32_t sender_ssrc, uint32_t media_ssrc, uint16_t first, uint32_t missing)
{
	size_t at = 12;
	for (; missing != 0; at += 4) { // each entry names one packet and any of the sixteen after it
		unsigned skipped = (unsigned)__builtin_ctz(missing);
		if (at + 4 > size)
			return 0;
		put_be16(data + at, (uint16_t)(first + skipped));
		uint64_t further = (uint64_t)missing >> (skipped + 1);
		put_be16(data + at + 2, (uint16_t)further);
		missing = (uint32_t)(further >> 16);
		first = (uint16_t)(first + skipped + 17);
	}
	if (at == 12)
		return 0;
	data[0] = 0x81; // generic NACK
	data[1] = RTCP_RTPFB;
	put_be16(data + 2, (uint16_t)(at / 4 - 1));
	put_be32(data + 4, sender_ssrc);
	put_be32(data + 8, media_ssrc);
	return at;
}
