// SPDX-License-Identifier: ISC
//
// align.h - map the numbering of a second copy of a publication onto that of the first, by what both carry. Pure.
//
// Two subscriptions to one track have sequence numbers and time stamps that differ by a constant each; the payloads are the
// same bytes (facts: livekit-observed.md O6). Two matches in a row with equal differences fix both. Payloads that repeat
// (discontinuous transmission, the server's silence) match nothing; then time stamps decide. Longer ones may repeat as well, in an
// encoder's silence: the one counts that came within half a packet.
//
// Runs on: worker. A pure function of packets.
#pragma once

#include "dataplane/base.h"

#define ALIGN_PACKETS 64
#define ALIGN_PAYLOAD_MIN 20 // shorter ones repeat

struct align_packet {
	uint64_t hash; // 0: a payload that says nothing
	uint32_t timestamp;
	uint16_t seq;
	uint16_t arrival_ms; // modulo 65,536
};

enum align_side { ALIGN_FIRST, ALIGN_SECOND };

struct align {
	struct align_packet packets[2][ALIGN_PACKETS]; // by side, oldest overwritten
	unsigned count[2];                             // ever put
	unsigned matches;                              // in a row with equal differences
	bool fixed, close; // close: the matches are of packets that came at one moment
	uint16_t seq_offset;      // to be added to the second side's
	uint32_t timestamp_offset;
};

void align_reset(struct align *align);
// Never 0 for a payload that identifies its packet; 0 for one that is short enough to repeat.
uint64_t align_hash(const uint8_t *payload, size_t bytes);
// The same for a payload of any length, never 0.
uint64_t align_hash_any(const uint8_t *payload, size_t bytes);
// Numbers of one packet of either side. True when it fixed the offsets.
bool align_put(struct align *align, enum align_side side, uint16_t seq, uint32_t timestamp, uint64_t hash, uint64_t arrival_ns);
// Whether a packet of that content (not 0) is among the last ones of that side.
bool align_knows(const struct align *align, enum align_side side, uint64_t hash);
// Fixes the offsets by time stamps alone: timestamp_offset is given (0 for the same clock). False when no packet of the one
// side has the time stamp of one of the other, give or take half a packet.
bool align_by_timestamp(struct align *align, uint32_t timestamp_offset);

// The last packets of a stream.
struct align_ring {
	struct align_packet packets[ALIGN_PACKETS];
	unsigned count;
};
// Whether the packet of that time, give or take half a packet, is among them with the same content; remembers it if its content
// says anything. (A steady tone has the same content again and again, at other times.)
bool align_ring_put(struct align_ring *ring, uint32_t timestamp, uint64_t hash);
bool align_ring_knows(const struct align_ring *ring, uint64_t hash);
