// SPDX-License-Identifier: ISC
//
// latency.h - a histogram of microseconds that any thread may feed, with quantiles true to one part in sixteen.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define LATENCY_SUB 16
#define LATENCY_BUCKETS (LATENCY_SUB * 29) // up to 2^32 us

struct latency {
	_Atomic(uint64_t) counts[LATENCY_BUCKETS];
	_Atomic(uint64_t) max_us;
};

struct latency_summary {
	uint64_t count, p50_us, p99_us, max_us;
};

void latency_record(struct latency *latency, uint64_t us);
// A quantile is the upper edge of its bucket: never better than the truth.
void latency_summary(const struct latency *latency, struct latency_summary *ret_summary);

// From a packet's arrival to the frame in gRPC's hands.
extern struct latency latency_grpc;
