// SPDX-License-Identifier: ISC
//
// jitter.h - put numbered packets back in order: driven by arrival, zero wait in order, a bounded wait over a gap. Pure.
//
// Runs on: worker. A pure function of packets and time.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define JITTER_SLOTS 32
#define JITTER_PAYLOAD_MAX 1400
#define JITTER_RESTART 500 // a jump by more than this is another numbering, not loss

struct jitter_packet {
	bool used;
	bool repaired; // taken out of a later packet's redundancy
	uint16_t seq;
	uint16_t bytes;
	uint32_t timestamp;
	uint64_t arrival_ns;
	uint8_t payload[JITTER_PAYLOAD_MAX];
};

struct jitter {
	bool started;
	uint16_t next;     // sequence number that is delivered next
	uint64_t seen;     // bit i: next - 1 - i was delivered
	unsigned held;     // packets waiting behind a gap
	uint64_t gap_ns;   // the first packet behind the gap arrived then
	uint64_t wait_ns;
	struct jitter_packet slots[JITTER_SLOTS];
};

void jitter_init(struct jitter *jitter, uint32_t max_wait_ms);
void jitter_reset(struct jitter *jitter); // forgets numbering and what waits

// Copies the payload. ret_restarted: the numbering began anew with this packet.
enum drop jitter_put(struct jitter *jitter, uint16_t seq, uint32_t timestamp, const uint8_t *payload, size_t bytes,
	bool repaired, uint64_t now_ns, bool *ret_restarted);
// Whether this packet is still wanted: neither delivered, nor given up, nor waiting.
bool jitter_wants(const struct jitter *jitter, uint16_t seq);
// The next packet in order, or NULL while there is nothing or a gap is waited for. *ret_lost: how many numbers were given up
// before it. Valid until the next call.
const struct jitter_packet *jitter_get(struct jitter *jitter, uint64_t now_ns, unsigned *ret_lost);
uint64_t jitter_deadline_ns(const struct jitter *jitter); // of the open gap, 0: none
