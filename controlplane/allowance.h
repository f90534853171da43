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

// Of one thing: so much at once, and so much a second.
struct credit {
	uint64_t refilled_ns;
	double left, most, per_second;
};

static inline void credit_begin(struct credit *credit, double most, double per_second, uint64_t now_ns)
{
	*credit = (struct credit){now_ns, most, most, per_second};
}

// False when it is more than there may be.
static inline bool credit_take(struct credit *credit, double amount, uint64_t now_ns)
{
	double seconds = (double)(now_ns - credit->refilled_ns) / 1e9;
	credit->refilled_ns = now_ns;
	credit->left = MIN_OF(credit->left + seconds * credit->per_second, credit->most) - amount;
	return credit->left >= 0;
}

struct allowance {
	struct credit messages, bytes;
};

static inline void allowance_begin(struct allowance *left, size_t bytes_max, uint64_t now_ns)
{
	credit_begin(&left->messages, ALLOWANCE_MESSAGES_MAX, ALLOWANCE_MESSAGES_PER_SECOND, now_ns);
	credit_begin(&left->bytes, (double)bytes_max, ALLOWANCE_BYTES_PER_SECOND, now_ns);
}

// One more message has come. False when it is more than may be sent.
static inline bool allowance_take(struct allowance *left, size_t bytes, uint64_t now_ns)
{
	bool message = credit_take(&left->messages, 1, now_ns);
	return credit_take(&left->bytes, (double)bytes, now_ns) && message;
}
