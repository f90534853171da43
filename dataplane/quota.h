// SPDX-License-Identifier: ISC
//
// quota.h - how much of something may come in the long run and at once: a bucket of tokens in one word, without a division.
//
// What is kept is the moment at which everything that was taken is paid off (the generic cell rate algorithm). Time counts in ticks
// of 2^16 ns, of which a word holds 78 hours; who comes back after exactly that long finds less than there is, once.
//
// Runs on: any; one thread at a time.
#pragma once

#include "dataplane/base.h"

#define QUOTA_TICK_BITS 16 // 15,259 ticks a second

// Takes count, each of which is paid off in ticks_each; false when more than `most` of them would be unpaid, and then nothing is
// taken. Zeroed memory: nothing was taken yet.
static inline bool quota_take_some(uint32_t *paid_at, uint64_t now_ns, uint32_t count, uint32_t ticks_each, uint32_t most)
{
	uint32_t now = (uint32_t)(now_ns >> QUOTA_TICK_BITS), unpaid = *paid_at - now;
	if (unpaid > ticks_each * most)
		unpaid = 0; // that moment has passed
	if (UNLIKELY(unpaid + ticks_each * count > ticks_each * most))
		return false;
	*paid_at = now + unpaid + ticks_each * count;
	return true;
}

static inline bool quota_take(uint32_t *paid_at, uint64_t now_ns, uint32_t ticks_each, uint32_t most)
{
	return quota_take_some(paid_at, now_ns, 1, ticks_each, most);
}
