// SPDX-License-Identifier: ISC
//
// allowance.h - what a server may still send on a connection, refilled with time: far more than rooms and recognisers say, and
// little enough that control has time for everybody else.
//
// Runs on: any; one thread at a time.
#pragma once

#include "dataplane/base.h"

#define ALLOWANCE_MESSAGES_PER_SECOND 2000
#define ALLOWANCE_MESSAGES_MAX 4000
#define ALLOWANCE_BYTES_PER_SECOND (1u << 20)

struct allowance {
	uint64_t refilled_ns;
	double messages, bytes, bytes_max;
};

static inline void allowance_begin(struct allowance *left, size_t bytes_max, uint64_t now_ns)
{
	*left = (struct allowance){now_ns, ALLOWANCE_MESSAGES_MAX, (double)bytes_max, (double)bytes_max};
}

// One more message has come. False when it is more than may be sent.
static inline bool allowance_take(struct allowance *left, size_t bytes, uint64_t now_ns)
{
	double seconds = (double)(now_ns - left->refilled_ns) / 1e9;
	left->refilled_ns = now_ns;
	left->messages = MIN_OF(left->messages + seconds * ALLOWANCE_MESSAGES_PER_SECOND, ALLOWANCE_MESSAGES_MAX) - 1;
	left->bytes = MIN_OF(left->bytes + seconds * ALLOWANCE_BYTES_PER_SECOND, left->bytes_max) - (double)bytes;
	return left->messages >= 0 && left->bytes >= 0;
}
