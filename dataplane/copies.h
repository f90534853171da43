// SPDX-License-Identifier: ISC
//
// copies.h - tell the second copy of a data packet from an app that starts its numbering over, while two legs bring both.
// Pure.
//
// The sequence byte is the sender's own, so both copies carry the same; what the other leg brought a moment ago with that
// number and that content is the same packet.
//
// Runs on: worker. A pure function of packets and time.
#pragma once

#include "dataplane/base.h"

#define COPIES_WINDOW_NS 2000000000ull // less than half a turn of the byte at 20 ms a packet

struct copies_entry {
	uint64_t hash, at_ns;
	uint8_t leg;
	bool used;
};

struct copies {
	struct copies_entry entries[256];
};

void copies_reset(struct copies *copies);
// Whether the other leg has brought this packet; if not, remembers it. hash identifies number and content.
bool copies_put(struct copies *copies, unsigned leg, uint8_t seq, uint64_t hash, uint64_t now_ns);
