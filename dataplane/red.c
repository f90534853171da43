// SPDX-License-Identifier: ISC
//
// red.c - redundant audio (RFC 2198).
//
// Runs on: any.

#include "dataplane/red.h"

#include "dataplane/hot.h"

enum drop red_parse(const uint8_t *payload, size_t bytes, struct red_block *ret_blocks, unsigned *ret_count)
{
	size_t at = 0, redundant = 0;
	unsigned count = 0;
	while (at < bytes && payload[at] & 0x80) {
		if (bytes - at < 4 || count == RED_BLOCKS_MAX - 1)
			return DROP_RED_MALFORMED;
		uint32_t word = get_be32(payload + at);
		ret_blocks[count].offset = (uint16_t)(word >> 10 & 0x3fff);
		ret_blocks[count].bytes = word & 0x3ff;
		redundant += ret_blocks[count++].bytes;
		at += 4;
	}
	if (at >= bytes || redundant > bytes - at - 1)
		return DROP_RED_MALFORMED;
	at++; // the primary's header is one byte
	for (unsigned i = 0; i < count; i++) {
		ret_blocks[i].payload = payload + at;
		at += ret_blocks[i].bytes;
	}
	ret_blocks[count] = (struct red_block){.payload = payload + at, .bytes = bytes - at};
	*ret_count = count + 1;
	return DROP_NONE;
}
