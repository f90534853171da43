// SPDX-License-Identifier: ISC
//
// stats.h - counters: plain per-worker ones with a single writer, and shared ones for everybody else.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

// Written by one thread, read by any: a relaxed load and store, no locked instruction.
typedef _Atomic(uint64_t) stats_counter;

static inline void stats_add(stats_counter *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t stats_get(const stats_counter *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct stats_worker {
	stats_counter drops[DROP_COUNT];
	stats_counter loops, busy_ns, idle_sleeps, rx_packets, tx_packets, frames, busy_cycles;
};

// Count a death outside the workers. Any thread.
void stats_drop(enum drop reason, uint64_t count);
uint64_t stats_dropped(enum drop reason); // by stats_drop
