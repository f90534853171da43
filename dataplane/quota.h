// SPDX-License-Identifier: ISC
//
// quota.h - how much of something may come in the long run and at once: a bucket of tokens in one word, without a division.
//
// What is kept is the moment at which everything that was taken is paid off (the generic cell rate algorithm). Time counts in ticks
// of 2^20 ns, close to a millisecond, of which a word holds 52 days; who comes back after exactly that long finds less than there
// is, once.
//
// Runs on: any; one thread at a time.
#pragma once

#include "dataplane/base.h"

#define QUOTA_TICK_BITS 20 // 954 ticks a second

// Takes one, which is paid off in ticks_each; false when `most` of them are unpaid already, and then nothing is taken.
// Zeroed memory: nothing was taken yet.
static inline bool quota_take(uint32_t *paid_at, uint64_t now_ns, uint32_t ticks_each, uint32_t most)
{
	uint32_t now = (uint32_t)(now_ns >> QUOTA_TICK_BITS), unpaid = *paid_at - now;
	if (unpaid > ticks_each * most)
		unpaid = 0; // that moment has passed
	if (UNLIKELY(unpaid + ticks_each > ticks_each * most))
		return false;
	*paid_at = now + unpaid + ticks_each;
	return true;
}
