// SPDX-License-Identifier: ISC
//
// latency.c - a log-linear histogram: sixteen buckets for every power of two, relaxed atomic counters.
//
// Runs on: any.

#include "controlplane/latency.h"

struct latency latency_grpc;

static unsigned bucket_of(uint64_t us)
{
	if (us < LATENCY_SUB)
		return (unsigned)us;
	if (us > UINT32_MAX)
		us = UINT32_MAX;
	unsigned shift = 63 - (unsigned)__builtin_clzll(us) - 4;
	return LATENCY_SUB + shift * LATENCY_SUB + (unsigned)(us >> shift & (LATENCY_SUB - 1));
}

static uint64_t upper_edge_of(unsigned bucket)
{
	if (bucket < LATENCY_SUB)
		return bucket;
	unsigned shift = bucket / LATENCY_SUB - 1;
	uint64_t low = (uint64_t)(LATENCY_SUB + bucket % LATENCY_SUB) << shift;
	return low + ((uint64_t)1 << shift) - 1;
}

void latency_record(struct latency *latency, uint64_t us)
{
	atomic_fetch_add_explicit(&latency->counts[bucket_of(us)], 1, memory_order_relaxed);
	uint64_t max = atomic_load_explicit(&latency->max_us, memory_order_relaxed);
	while (us > max && !atomic_compare_exchange_weak_explicit(&latency->max_us, &max, us, memory_order_relaxed,
				   memory_order_relaxed))
		;
}

void latency_summary(const struct latency *latency, struct latency_summary *ret_summary)
{
	uint64_t counts[LATENCY_BUCKETS], total = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		counts[i] = atomic_load_explicit(&latency->counts[i], memory_order_relaxed);
		total += counts[i];
	}
	*ret_summary = (struct latency_summary){
		.count = total,
		.max_us = atomic_load_explicit(&latency->max_us, memory_order_relaxed),
	};
	if (total == 0)
		return;
	// The k-th smallest of n, k = ceil(n * q).
	uint64_t rank50 = (total + 1) / 2, rank99 = total - total / 100, seen = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		uint64_t before = seen;
		seen += counts[i];
		uint64_t edge = MIN_OF(upper_edge_of(i), ret_summary->max_us);
		if (before < rank50 && rank50 <= seen)
			ret_summary->p50_us = edge;
		if (before < rank99 && rank99 <= seen)
			ret_summary->p99_us = edge;
	}
}
