// SPDX-License-Identifier: ISC
//
// stats.c - the shared drop counters.
//
// Runs on: any.

#include "dataplane/stats.h"

static _Atomic(uint64_t) shared[DROP_COUNT];

void stats_drop(enum drop reason, uint64_t count)
{
	atomic_fetch_add_explicit(&shared[reason], count, memory_order_relaxed);
}

uint64_t stats_dropped(enum drop reason)
{
	return atomic_load_explicit(&shared[reason], memory_order_relaxed);
}
