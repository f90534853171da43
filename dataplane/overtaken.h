// SPDX-License-Identifier: ISC
//
// overtaken.h - tells messages of the data way that so many later ones have overtaken that they are history. Pure.
//
// A server that is not told to give up sends a lost message again for seconds. By its sequence byte alone, one that is 130 messages
// old looks as if it were ahead of its time, and a run of such like an app that starts its numbering over. The order in which the
// server sent them is known, by TSN.
//
// Runs on: worker. A pure function of the TSNs.
#pragma once

#include "dataplane/sctp_chunk.h"
#include "dataplane/seqbyte.h"

struct overtaken {
	uint32_t newest, marks[2]; // marks: of the newest messages, every SEQBYTE_SLOTS-th
	unsigned count;
};

// Whether more than SEQBYTE_SLOTS messages (at most twice as many) with higher TSNs have come; otherwise it counts itself.
static inline bool overtaken(struct overtaken *order, uint32_t tsn)
{
	if (order->count > SEQBYTE_SLOTS && sctp_after(order->marks[1], tsn))
		return true;
	if (order->count != 0 && !sctp_after(tsn, order->newest))
		return false;
	order->newest = tsn;
	if (order->count++ % SEQBYTE_SLOTS == 0) {
		order->marks[1] = order->marks[0];
		order->marks[0] = tsn;
	}
	return false;
}
