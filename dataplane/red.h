// SPDX-License-Identifier: ISC
//
// red.h - redundant audio (RFC 2198): the primary block and older copies inside one payload. Pure.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define RED_BLOCKS_MAX 8

struct red_block {
	const uint8_t *payload;
	size_t bytes;
	uint16_t offset; // of the time stamp before the primary's; 0 for the primary
};

// Oldest first, the primary last.
enum drop red_parse(const uint8_t *payload, size_t bytes, struct red_block *ret_blocks, unsigned *ret_count);
