// SPDX-License-Identifier: ISC
//
// chunks.h - a small store of up to 64 chunks, one bit each: what waits behind a gap takes chunks in a row. Pure.
//
// Runs on: worker.
#pragma once

#include "dataplane/base.h"

static inline unsigned chunks_for(size_t bytes, size_t chunk_bytes)
{
	return (unsigned)((bytes + chunk_bytes - 1) / chunk_bytes);
}

// count is 1..63; of is how many chunks there are. The first one's number, or -1 when so many in a row are not free.
static inline int chunks_take(uint64_t *taken, unsigned count, unsigned of)
{
	for (unsigned first = 0; first + count <= of; first++) {
		uint64_t wanted = ((UINT64_C(1) << count) - 1) << first;
		if ((*taken & wanted) == 0) {
			*taken |= wanted;
			return (int)first;
		}
	}
	return -1;
}

static inline void chunks_give(uint64_t *taken, unsigned first, unsigned count)
{
	*taken &= ~(((UINT64_C(1) << count) - 1) << first);
}
