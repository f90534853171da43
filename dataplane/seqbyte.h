// SPDX-License-Identifier: ISC
//
// seqbyte.h - order by one sequence byte (the data way): duplicates, late ones, loss, and an app that starts over. Pure.
//
// Runs on: worker. A pure function of packets and time.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define SEQBYTE_SLOTS 16
#define SEQBYTE_PAYLOAD_MAX 2048
// What waits behind a gap is kept in chunks of a small store: a full window of 20 ms packets, or four of the largest.
#define SEQBYTE_CHUNK_BYTES 160
#define SEQBYTE_CHUNKS 64
// Nothing overtakes by this much: after it a break in numbering is a new beginning, unless so much was lost as the pause is long.
#define SEQBYTE_PAUSE_NS 500000000ull
#define SEQBYTE_OUTAGE_NS 600000000000ull // in longer ones nobody tells lost packets from a phone that is away

struct seqbyte_packet {
	const uint8_t *payload;
	uint64_t arrival_ns;
	uint16_t bytes;
	uint8_t seq;
	uint8_t chunk; // first one, of those behind a gap
};

struct seqbyte {
	bool started;
	bool ready;    // direct is the packet `next`
	uint8_t next;  // number that is delivered next
	uint8_t backward, backward_next; // backward: packets in a row that are in order among themselves but behind
	uint16_t held; // bit seq % 16: a packet waits in that slot behind a gap
	uint64_t seen; // bit i: next - 1 - i was delivered
	unsigned known; // so many numbers before next belong to this numbering, up to 64
	uint64_t last_ns, wait_ns, gap_ns;
	uint64_t resets;
	struct seqbyte_packet direct; // in order: its payload is the caller's
	struct seqbyte_packet slots[SEQBYTE_SLOTS];
	uint64_t chunks_taken; // a bit each
	uint8_t store[SEQBYTE_CHUNKS][SEQBYTE_CHUNK_BYTES];
};
_Static_assert(offsetof(struct seqbyte, slots) <= 2 * CACHE_LINE_BYTES, "a packet in order touches two lines");

void seqbyte_init(struct seqbyte *order, uint32_t wait_ms);
void seqbyte_reset(struct seqbyte *order);
// Takes one packet. One that is next in order is not copied: take it out with seqbyte_get before its memory goes. One behind a
// gap is; DROP_JITTER_FULL: there is no room until the gap is given up.
enum drop seqbyte_put(struct seqbyte *order, uint8_t seq, const uint8_t *payload, size_t bytes, uint64_t now_ns,
	unsigned *ret_lost);
// The next packet in order, or NULL. Valid until the next call.
const struct seqbyte_packet *seqbyte_get(struct seqbyte *order, uint64_t now_ns, unsigned *ret_lost);
uint64_t seqbyte_deadline_ns(const struct seqbyte *order); // 0: none
