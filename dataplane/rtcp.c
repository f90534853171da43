// SPDX-License-Identifier: ISC
//
// rtcp.c - compound RTCP packets: parsed with a visitor, receiver reports built.
//
// Runs on: any.

#include "dataplane/rtcp.h"

#include "dataplane/hot.h"

enum { RTCP_SR = 200, RTCP_RR = 201, RTCP_SDES = 202, RTCP_BYE = 203 };

#define SR_BYTES 28
#define BLOCK_BYTES 24

static bool part_is_sane(const uint8_t *part, size_t bytes)
{
	size_t count = part[0] & 31u;
	switch (part[1]) {
	case RTCP_SR:
		return bytes >= SR_BYTES + count * BLOCK_BYTES;
	case RTCP_RR:
		return bytes >= 8 + count * BLOCK_BYTES;
	case RTCP_BYE:
		return bytes >= 4 + count * 4;
	default:
		return true;
	}
}

static bool compound_is_sane(const uint8_t *data, size_t bytes)
{
	if (bytes < 4)
		return false;
	for (size_t at = 0; at < bytes;) {
		if (bytes - at < 4 || data[at] >> 6 != 2)
			return false;
		size_t part = 4 * ((size_t)get_be16(data + at + 2) + 1);
		if (part > bytes - at || !part_is_sane(data + at, part))
			return false;
		at += part;
	}
	return true;
}

enum drop rtcp_parse(const uint8_t *data, size_t bytes, const struct rtcp_visitor *visitor)
{
	if (!compound_is_sane(data, bytes))
		return DROP_RTCP_MALFORMED;
	for (size_t at = 0; at < bytes; at += 4 * ((size_t)get_be16(data + at + 2) + 1)) {
		const uint8_t *part = data + at;
		if (part[1] == RTCP_SR && visitor->sender_report != NULL)
			visitor->sender_report(visitor->arg, get_be32(part + 4), get_be64(part + 8), get_be32(part + 16));
		if (part[1] == RTCP_BYE && visitor->bye != NULL)
			for (unsigned i = 0; i < (part[0] & 31u); i++)
				visitor->bye(visitor->arg, get_be32(part + 4 + 4 * (size_t)i));
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
