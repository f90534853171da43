// SPDX-License-Identifier: ISC
//
// seqbyte.c - order by one sequence byte.
//
// Runs on: worker.   Upstream: source.   Downstream: recut.

#include "dataplane/seqbyte.h"

#include "dataplane/chunks.h"

#include "dataplane/hot.h"

#define BACKWARD_PROOF 3 // so many in order behind us are an app that started over, not stragglers
#define FIRST_NUMBER 1   // phones begin with it (facts: soniox-and-cloud.md 2.5)
#define FIRST_NUMBERS 3  // an app that started over, whose first packets were lost
#define NS_PER_BYTE 31250 // of 16-bit samples at 16 kHz
#define OUTAGE_SLACK_NS 300000000ll // how far the packets lost in a pause may be from its length, to have filled it

void seqbyte_init(struct seqbyte *order, uint32_t wait_ms)
{
	order->wait_ns = wait_ms * 1000000ull;
	order->resets = 0;
	seqbyte_reset(order);
}

void seqbyte_reset(struct seqbyte *order)
{
	order->started = order->ready = false;
	order->seen = order->chunks_taken = 0;
	order->known = 0;
	order->held = order->backward = 0;
	order->gap_ns = 0;
}

static uint16_t bit_of(uint8_t seq)
{
	return (uint16_t)(1u << seq % SEQBYTE_SLOTS);
}

static unsigned chunks_of(const struct seqbyte_packet *packet)
{
	return chunks_for(packet->bytes, SEQBYTE_CHUNK_BYTES);
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
	order->backward = (uint8_t)(seq == order->backward_next ? order->backward + 1 : 1);
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
static bool is_hole(const struct seqbyte *order, int ahead)
{
	unsigned back = (unsigned)-ahead - 1;
	return back < order->known && (order->seen >> back & 1) == 0;
}

static bool fills_hole(struct seqbyte *order, int ahead)
{
	if (!is_hole(order, ahead))
		return false;
	order->seen |= 1ull << ((unsigned)-ahead - 1);
	return true;
}

// Whether a number ahead of the expected one, after a pause, is an app's that started over.
static bool begins_anew(uint8_t seq, int ahead)
{
	return seq == FIRST_NUMBER || (seq > FIRST_NUMBER && seq <= FIRST_NUMBERS && ahead >= SEQBYTE_SLOTS);
}

// Packets lost in a pause that they fill: who goes on counting while nothing arrives was cut off, and has not started over. The
// byte says how many modulo 256, their length and the pause which of those. 0: none that fill it, or so few that a gap is all
// there is.
static unsigned lost_in_pause(const struct seqbyte *order, uint8_t seq, size_t bytes, uint64_t pause_ns)
{
	int64_t each_ns = (int64_t)bytes * NS_PER_BYTE, around_ns = 256 * each_ns;
	unsigned lost = (uint8_t)(seq - order->next);
	if (pause_ns > SEQBYTE_OUTAGE_NS || lost < SEQBYTE_SLOTS)
		return 0;
	int64_t left_ns = (int64_t)pause_ns - (lost + 1) * each_ns;
	int64_t times = left_ns > 0 ? (left_ns + around_ns / 2) / around_ns : 0;
	left_ns -= times * around_ns;
	return left_ns <= OUTAGE_SLACK_NS && left_ns >= -OUTAGE_SLACK_NS ? lost + 256 * (unsigned)times : 0;
}

static bool store(struct seqbyte *order, struct seqbyte_packet *packet)
{
	int first = chunks_take(&order->chunks_taken, chunks_of(packet), SEQBYTE_CHUNKS);
	if (first < 0)
		return false;
	packet->chunk = (uint8_t)first;
	packet->payload = memcpy(order->store[first], packet->payload, packet->bytes);
	order->slots[packet->seq % SEQBYTE_SLOTS] = *packet;
	if (order->held == 0)
		order->gap_ns = packet->arrival_ns;
	order->held |= bit_of(packet->seq);
	return true;
}

enum drop seqbyte_put(struct seqbyte *order, uint8_t seq, const uint8_t *payload, size_t bytes, uint64_t now_ns,
	unsigned *ret_lost)
{
	*ret_lost = 0;
	if (bytes == 0 || bytes > SEQBYTE_PAYLOAD_MAX)
		return bytes == 0 ? DROP_DATA_NOT_AUDIO : DROP_DATA_TOO_LARGE;
	if (!order->started)
		start_over(order, seq);
	int ahead = (int8_t)(seq - order->next);
	bool paused = now_ns - order->last_ns > SEQBYTE_PAUSE_NS;
	unsigned outage = UNLIKELY(paused) && seq != FIRST_NUMBER ? lost_in_pause(order, seq, bytes, now_ns - order->last_ns) : 0;
	if (UNLIKELY(outage > 0) && !(ahead < 0 && is_hole(order, ahead))) {
		if (order->held != 0 || order->ready)
			return DROP_JITTER_FULL;
		*ret_lost = outage;
		advance(order, outage, false);
	} else if (ahead < 0) {
		bool duplicate = ahead >= -64 && (order->seen >> (-ahead - 1) & 1) != 0;
		if (fills_hole(order, ahead) || !is_reset(order, seq, now_ns)) {
			order->last_ns = now_ns;
			return duplicate ? DROP_DATA_DUPLICATE : DROP_DATA_LATE;
		}
		start_over(order, seq);
	} else if (ahead > 0 && paused && begins_anew(seq, ahead)) {
		start_over(order, seq);
	} else if (ahead >= SEQBYTE_SLOTS) {
		// Further than the window: what is between is lost, and nothing is waited for.
		if (order->held != 0 || order->ready)
			return DROP_JITTER_FULL;
		*ret_lost = (unsigned)ahead;
		advance(order, (unsigned)ahead, false);
	}
	order->backward = 0;
	order->last_ns = now_ns;
	if ((order->held & bit_of(seq)) != 0 || (seq == order->next && order->ready))
		return DROP_DATA_DUPLICATE;
	struct seqbyte_packet packet = {payload, now_ns, (uint16_t)bytes, seq, 0};
	if (LIKELY(seq == order->next)) {
		order->direct = packet;
		order->ready = true;
		return DROP_NONE;
	}
	return store(order, &packet) ? DROP_NONE : DROP_JITTER_FULL;
}

// A further gap has its own wait, from when the first packet behind it came.
static void gap_next(struct seqbyte *order)
{
	order->gap_ns = UINT64_MAX;
	for (unsigned left = order->held; left != 0; left &= left - 1)
		order->gap_ns = MIN_OF(order->gap_ns, order->slots[__builtin_ctz(left)].arrival_ns);
}

const struct seqbyte_packet *seqbyte_get(struct seqbyte *order, uint64_t now_ns, unsigned *ret_lost)
{
	*ret_lost = 0;
	if (LIKELY(order->ready)) {
		order->ready = false;
		advance(order, 1, true);
		return &order->direct;
	}
	if (LIKELY(order->held == 0))
		return NULL;
	if ((order->held & bit_of(order->next)) == 0) {
		if (now_ns < order->gap_ns + order->wait_ns)
			return NULL;
		for (; (order->held & bit_of(order->next)) == 0; (*ret_lost)++)
			advance(order, 1, false);
	}
	struct seqbyte_packet *packet = &order->slots[order->next % SEQBYTE_SLOTS];
	order->held &= (uint16_t)~bit_of(order->next);
	chunks_give(&order->chunks_taken, packet->chunk, chunks_of(packet)); // its bytes stay until the next put
	advance(order, 1, true);
	if (order->held != 0)
		gap_next(order);
	return packet;
}

uint64_t seqbyte_deadline_ns(const struct seqbyte *order)
{
	return order->held != 0 ? order->gap_ns + order->wait_ns : 0;
}
