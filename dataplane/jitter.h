// SPDX-License-Identifier: ISC
//
// jitter.h - put numbered packets back in order: driven by arrival, zero wait in order, a bounded wait over a gap. Pure.
//
// Runs on: worker. A pure function of packets and time.
//
// The wait over a gap follows what the network does: four times the interarrival jitter (RFC 3550 6.4.1) on top of one
// packet's length, and not less than what late packets have lately needed; max_wait bounds it and is used until enough is known.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define JITTER_SLOTS 32
#define JITTER_PAYLOAD_MAX 1400
// What waits behind a gap is kept in chunks of a small store: 60 ms of speech in packets of any length, or six packets of the
// largest size that Opus has.
#define JITTER_CHUNK_BYTES 128
#define JITTER_CHUNKS 64
#define JITTER_RESTART 500 // a jump by more than this is another numbering, not loss
#define JITTER_WAIT_MIN_NS 20000000u
#define JITTER_LEARNED 16 // packets until the measured jitter counts
#define JITTER_ASK_AGAIN_NS 20000000u // an answer takes a round trip, and senders wait one or two before they repeat

struct jitter_packet {
	const uint8_t *payload;
	uint64_t arrival_ns;
	uint32_t timestamp;
	uint16_t seq;
	uint16_t bytes;
	bool repaired; // taken out of a later packet's redundancy
	bool asked;    // the sender was asked for it
	uint8_t chunk; // first one, of those behind a gap
};

struct jitter {
	bool started;
	bool ready;        // direct is the packet `next`
	uint16_t next;     // sequence number that is delivered next
	uint32_t held;     // bit seq % 32: a packet waits in that slot behind a gap
	uint64_t seen;     // bit i: next - 1 - i was delivered
	uint64_t gap_ns;   // the first packet behind the gap arrived then
	uint64_t wait_ns;  // of the open gap, or of the next one
	uint64_t last_ns;  // arrival of the newest packet
	uint32_t last_timestamp;
	uint16_t newest;
	uint16_t learned;   // packets since the start, up to JITTER_LEARNED
	uint32_t jitter_ns; // smoothed interarrival jitter
	uint32_t late_ns;   // what late packets needed, fading
	uint32_t max_wait_us;
	uint32_t asked;   // bit seq % 32: missing, and the sender was asked for it
	uint64_t asked_ns; // when it was asked last
	struct jitter_packet direct; // in order: its payload is the caller's
	uint64_t given_up_ns;                      // gap_ns of the gap that was given up last
	uint16_t given_up;                         // its last number
	struct jitter_packet slots[JITTER_SLOTS];
	uint64_t chunks_taken; // a bit each
	uint8_t store[JITTER_CHUNKS][JITTER_CHUNK_BYTES];
};
_Static_assert(offsetof(struct jitter, direct) + sizeof(struct jitter_packet) <= 2 * CACHE_LINE_BYTES,
	"a packet in order touches two lines");

void jitter_init(struct jitter *jitter, uint32_t max_wait_ms);
void jitter_reset(struct jitter *jitter); // forgets numbering and what waits, not what was learned of the network

// Takes one packet. One that is next in order is not copied: take it out with jitter_get before its memory goes. One behind
// a gap is. ret_restarted: the numbering began anew with this packet.
enum drop jitter_put(struct jitter *jitter, uint16_t seq, uint32_t timestamp, const uint8_t *payload, size_t bytes,
	bool repaired, uint64_t now_ns, bool *ret_restarted);
// Whether this packet is still wanted: neither delivered, nor given up, nor waiting.
bool jitter_wants(const struct jitter *jitter, uint16_t seq);
// Whether this number would begin the numbering anew; what waits is then forgotten, unless it was taken out before.
bool jitter_restarts(const struct jitter *jitter, uint16_t seq);
// The next packet in order, or NULL while there is nothing or a gap is waited for. *ret_lost: how many numbers were given up
// before it. Valid until the next call.
const struct jitter_packet *jitter_get(struct jitter *jitter, uint64_t now_ns, unsigned *ret_lost);
uint64_t jitter_deadline_ns(const struct jitter *jitter); // of the open gap, 0: none
// What to ask the sender for (NACK): a bit i for the missing number *ret_first + i. At once when a number turns out to be missing,
// and again every 20 ms while the gap is waited for; 0: nothing now.
uint32_t jitter_ask(struct jitter *jitter, uint64_t now_ns, uint16_t *ret_first);
