// SPDX-License-Identifier: ISC
//
// backoff.h - how long to wait before the next attempt: none, then 0.2 s doubling to 5 s, each with jitter.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS 5000

struct backoff {
	unsigned attempts; // made since the last success
};

// random decides the jitter: the wait is 75..125 % of its nominal value, so that clients of one dead server spread out.
static inline uint32_t backoff_next_ms(struct backoff *backoff, uint32_t random)
{
	unsigned attempt = backoff->attempts++;
	if (attempt == 0)
		return 0;
	uint32_t nominal = attempt > 5 ? BACKOFF_MAX_MS : (uint32_t)BACKOFF_FIRST_MS << (attempt - 1);
	return nominal * 3 / 4 + random % (nominal / 2 + 1);
}

static inline void backoff_reset(struct backoff *backoff)
{
	backoff->attempts = 0;
}
