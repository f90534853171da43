// SPDX-License-Identifier: ISC
//
// share.h - how much one peer may take of a thread that all share: so much at once, and so much a second after that. Pure.
//
// The association thread reads what a worker cannot finish: control chunks, pieces, ordered messages. A peer that keeps to the
// rules has at most the 384 numbers of sctp_rx.h under way, so 512 at once are room for it, with what it repeats. 4,000 a second
// are 4.6 MB/s of pieces in full packets, or as many whole messages; LiveKit sends a few. What is over is not taken and not
// acknowledged: the peer repeats it, slower, as if the network had lost it.
//
// Runs on: worker.
#pragma once

#include "dataplane/base.h"

#define SHARE_BURST 512u
#define SHARE_A_SECOND 4000u

struct share {
	uint64_t used_ns; // what was taken is paid for then
};

// Takes count, at most SHARE_BURST, or nothing. One packet's chunks for the thread count, and a packet without any as one.
static inline bool share_take(struct share *share, unsigned count, uint64_t now_ns)
{
	const uint64_t each_ns = 1000000000u / SHARE_A_SECOND;
	uint64_t used_ns = MAX_OF(share->used_ns, now_ns);
	if (used_ns - now_ns > (SHARE_BURST - count) * each_ns)
		return false;
	share->used_ns = used_ns + count * each_ns;
	return true;
}
