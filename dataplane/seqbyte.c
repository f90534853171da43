// SPDX-License-Identifier: ISC
//
// seqbyte.c - order by one sequence byte.
//
// Runs on: worker.   Upstream: source.   Downstream: recut.

#include "dataplane/seqbyte.h"

#include "dataplane/hot.h"

#define BACKWARD_PROOF 3 // so many in order behind us are an app that started over, not stragglers
#define FIRST_NUMBER 1   // phones begin with it (facts: soniox-and-cloud.md 2.5)

void seqbyte_init(struct seqbyte *order, uint32_t wait_ms)
{
	order->wait_ns = wait_ms * 1000000ull;
	order->resets = 0;
	seqbyte_reset(order);
}

void seqbyte_reset(struct seqbyte *order)
{
	order->started = false;
	order->seen = 0;
	order->known = 0;
	order->held = order->backward = 0;
	order->gap_ns = 0;
	for (unsigned i = 0; i < SEQBYTE_SLOTS; i++)
		order->slots[i].used = false;
}

static struct seqbyte_packet *slot_of(struct seqbyte *order, uint8_t seq)
{
	return &order->slots[seq % SEQBYTE_SLOTS];
}

static void start_over(struct seqbyte *order, uint8_t seq)
{
	bool again = order->started;
	seqbyte_reset(order);
	order->started = true;
	order->next = seq;
	order->resets += again;
}

// Whether a packet behind the expected one begins a new numbering.
static bool is_reset(struct seqbyte *order, uint8_t seq, uint64_t now_ns)
{
	if (now_ns - order->last_ns > SEQBYTE_PAUSE_NS || (seq == FIRST_NUMBER && order->next != (uint8_t)(FIRST_NUMBER + 1) &&
		(uint8_t)(order->next - seq) > SEQBYTE_SLOTS))
		return true;
	order->backward = seq == order->backward_next ? order->backward + 1 : 1;
	order->backward_next = (uint8_t)(seq + 1);
	return order->backward >= BACKWARD_PROOF;
}

// `count` numbers are behind us; whether the last of them was delivered.
static void advance(struct seqbyte *order, unsigned count, bool delivered)
{
	order->seen = (count < 64 ? order->seen << count : 0) | delivered;
	order->known = MIN_OF(order->known + count, 64u);
	order->next = (uint8_t)(order->next + count);
}

// Whether a number behind us was given up and comes after all: a server that repeats what was lost sends whole runs of such, after
// pauses of any length, and they begin nothing new. Each does so once.
static bool fills_hole(struct seqbyte *order, int ahead)
{
	unsigned back = (unsigned)-ahead - 1;
	if (back >= order->known || (order->seen >> back & 1) != 0)
		return false;
	order->seen |= 1ull << back;
	return true;
}

static void store(struct seqbyte *order, uint8_t seq, const uint8_t *payload, size_t bytes, uint64_t now_ns)
{
	struct seqbyte_packet *slot = slot_of(order, seq);
	slot->used = true;
	slot->seq = seq;
	slot->bytes = (uint16_t)bytes;
	slot->arrival_ns = now_ns;
	memcpy(slot->payload, payload, bytes);
	if (order->held++ == 0)
		order->gap_ns = now_ns;
}

enum drop seqbyte_put(struct seqbyte *order, uint8_t seq, const uint8_t *payload, size_t bytes, uint64_t now_ns,
	unsigned *ret_lost)
{
	*ret_lost = 0;
	if (bytes > SEQBYTE_PAYLOAD_MAX)
		return DROP_DATA_TOO_LARGE;
	if (!order->started)
		start_over(order, seq);
	int ahead = (int8_t)(seq - order->next);
	bool paused = now_ns - order->last_ns > SEQBYTE_PAUSE_NS;
	if (ahead < 0) {
		bool duplicate = ahead >= -64 && (order->seen >> (-ahead - 1) & 1) != 0;
		if (fills_hole(order, ahead) || !is_reset(order, seq, now_ns)) {
			order->last_ns = now_ns;
			return duplicate ? DROP_DATA_DUPLICATE : DROP_DATA_LATE;
		}
		start_over(order, seq);
	} else if (ahead > 0 && paused && seq == FIRST_NUMBER) {
		start_over(order, seq);
	} else if (ahead >= SEQBYTE_SLOTS) {
		// Further than the window: what is between is lost, and nothing is waited for.
		if (order->held > 0)
			return DROP_JITTER_FULL;
		*ret_lost = (unsigned)ahead;
		advance(order, (unsigned)ahead, false);
	}
	order->backward = 0;
	order->last_ns = now_ns;
	if (slot_of(order, seq)->used)
		return DROP_DATA_DUPLICATE;
	store(order, seq, payload, bytes, now_ns);
	return DROP_NONE;
}

const struct seqbyte_packet *seqbyte_get(struct seqbyte *order, uint64_t now_ns, unsigned *ret_lost)
{
	*ret_lost = 0;
	if (order->held == 0)
		return NULL;
	if (!slot_of(order, order->next)->used) {
		if (now_ns < order->gap_ns + order->wait_ns)
			return NULL;
		for (; !slot_of(order, order->next)->used; (*ret_lost)++)
			advance(order, 1, false);
	}
	struct seqbyte_packet *packet = slot_of(order, order->next);
	packet->used = false;
	order->held--;
	advance(order, 1, true);
	order->gap_ns = 0;
	for (unsigned i = 0; order->held > 0 && i < SEQBYTE_SLOTS; i++)
		if (order->slots[i].used && (order->gap_ns == 0 || order->slots[i].arrival_ns < order->gap_ns))
			order->gap_ns = order->slots[i].arrival_ns;
	return packet;
}

uint64_t seqbyte_deadline_ns(const struct seqbyte *order)
{
	return order->held > 0 ? order->gap_ns + order->wait_ns : 0;
}
