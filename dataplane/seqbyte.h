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
#define SEQBYTE_PAUSE_NS 500000000ull // nothing overtakes by this much: after it a break in numbering is a new beginning

struct seqbyte_packet {
	bool used;
	uint8_t seq;
	uint16_t bytes;
	uint64_t arrival_ns;
	uint8_t payload[SEQBYTE_PAYLOAD_MAX];
};

struct seqbyte {
	bool started;
	uint8_t next;
	uint64_t seen; // bit i: next - 1 - i was delivered
	unsigned known; // so many numbers before next belong to this numbering, up to 64
	uint64_t last_ns, wait_ns, gap_ns;
	unsigned held, backward; // backward: packets in a row that are in order among themselves but behind
	uint8_t backward_next;
	uint64_t resets;
	struct seqbyte_packet slots[SEQBYTE_SLOTS];
};

void seqbyte_init(struct seqbyte *order, uint32_t wait_ms);
void seqbyte_reset(struct seqbyte *order);
enum drop seqbyte_put(struct seqbyte *order, uint8_t seq, const uint8_t *payload, size_t bytes, uint64_t now_ns,
	unsigned *ret_lost);
const struct seqbyte_packet *seqbyte_get(struct seqbyte *order, uint64_t now_ns, unsigned *ret_lost);
uint64_t seqbyte_deadline_ns(const struct seqbyte *order); // 0: none
