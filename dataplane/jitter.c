// SPDX-License-Identifier: ISC
//
// jitter.c - put numbered packets back in order and hand them out as soon as that is known.
//
// Runs on: worker.   Upstream: source (after rtp).   Downstream: opus_dec.

#include "dataplane/jitter.h"

#include "dataplane/chunks.h"

#include "dataplane/hot.h"

#define CLOCK_HZ 48000
#define JUMP_NS 1000000000 // clocks that move apart by more are not jitter: mute, a restarted sender
#define LATE_MARGIN_NS 5000000u

static uint64_t max_wait_ns(const struct jitter *jitter)
{
	return jitter->max_wait_us * 1000ull;
}

void jitter_init(struct jitter *jitter, uint32_t max_wait_ms)
{
	jitter->max_wait_us = MIN_OF(max_wait_ms, 4000u) * 1000;
	jitter->wait_ns = max_wait_ns(jitter);
	jitter->jitter_ns = jitter->late_ns = 0;
	jitter->learned = 0;
	jitter_reset(jitter);
}

void jitter_reset(struct jitter *jitter)
{
	jitter->started = jitter->ready = false;
	jitter->held = jitter->asked = 0;
	jitter->chunks_taken = 0;
	jitter->seen = 0;
	jitter->gap_ns = jitter->last_ns = jitter->given_up_ns = 0;
}

static uint32_t bit_of(uint16_t seq)
{
	return 1u << seq % JITTER_SLOTS;
}

static int distance(uint16_t seq, uint16_t from)
{
	return (int16_t)(seq - from);
}

bool jitter_wants(const struct jitter *jitter, uint16_t seq)
{
	int ahead = distance(seq, jitter->next);
	if (ahead >= JITTER_SLOTS)
		return jitter->started && ahead <= JITTER_RESTART;
	return jitter->started && ahead >= 0 && (jitter->held & bit_of(seq)) == 0 && !(ahead == 0 && jitter->ready);
}

bool jitter_restarts(const struct jitter *jitter, uint16_t seq)
{
	int ahead = distance(seq, jitter->next);
	return jitter->started && (ahead > JITTER_RESTART || ahead < -JITTER_RESTART);
}

// ---- what is learned of the network

// The wait of a gap is settled when it opens.
static void wait_settle(struct jitter *jitter)
{
	if (jitter->held != 0 || jitter->learned < JITTER_LEARNED)
		return;
	uint64_t by_jitter = JITTER_WAIT_MIN_NS + 4ull * jitter->jitter_ns;
	uint64_t by_lateness = jitter->late_ns > 0 ? (uint64_t)jitter->late_ns + LATE_MARGIN_NS : 0;
	jitter->wait_ns = MIN_OF(MAX_OF(by_jitter, by_lateness), max_wait_ns(jitter));
}

static void learn_lateness(struct jitter *jitter, uint64_t since_ns, uint64_t now_ns)
{
	uint64_t late_ns = now_ns > since_ns ? now_ns - since_ns : 0;
	// What came later than the bound allows is lost whatever we do.
	if (late_ns <= max_wait_ns(jitter) && late_ns > jitter->late_ns)
		jitter->late_ns = (uint32_t)late_ns;
}

static void learn_arrival(struct jitter *jitter, uint16_t seq, uint32_t timestamp, uint64_t now_ns)
{
	if (jitter->last_ns != 0 && distance(seq, jitter->newest) <= 0)
		return;
	if (jitter->last_ns != 0) {
		int64_t sent_ns = (int64_t)(int32_t)(timestamp - jitter->last_timestamp) * 1000000 / (CLOCK_HZ / 1000);
		int64_t apart_ns = (int64_t)(now_ns - jitter->last_ns) - sent_ns;
		apart_ns = apart_ns < 0 ? -apart_ns : apart_ns;
		if (apart_ns < JUMP_NS) {
			int64_t change = (apart_ns - (int64_t)jitter->jitter_ns) / 16;
			jitter->jitter_ns = (uint32_t)((int64_t)jitter->jitter_ns + change);
		}
		jitter->late_ns -= jitter->late_ns / 1024;
		jitter->learned += jitter->learned < JITTER_LEARNED;
	}
	jitter->last_ns = now_ns;
	jitter->last_timestamp = timestamp;
	jitter->newest = seq;
	wait_settle(jitter);
}

// ---- what waits

static unsigned chunks_of(const struct jitter_packet *packet)
{
	return chunks_for(packet->bytes, JITTER_CHUNK_BYTES);
}

// Copies the payload into chunks in a row; false when there are none.
static bool store_put(struct jitter *jitter, struct jitter_packet *packet)
{
	int first = chunks_take(&jitter->chunks_taken, chunks_of(packet), JITTER_CHUNKS);
	if (first < 0)
		return false;
	packet->chunk = (uint8_t)first;
	packet->payload = memcpy(jitter->store[first], packet->payload, packet->bytes);
	return true;
}

static void store_free(struct jitter *jitter, const struct jitter_packet *packet)
{
	chunks_give(&jitter->chunks_taken, packet->chunk, chunks_of(packet));
}

// ---- in and out

static enum drop put_behind(struct jitter *jitter, uint16_t seq, int ahead, uint64_t now_ns)
{
	if (ahead >= -64 && (jitter->seen >> (-ahead - 1) & 1) != 0)
		return DROP_JITTER_DUPLICATE;
	if (jitter->given_up_ns != 0 && distance(seq, jitter->given_up) <= 0 && distance(seq, jitter->given_up) > -JITTER_SLOTS)
		learn_lateness(jitter, jitter->given_up_ns, now_ns);
	return DROP_JITTER_LATE;
}

enum drop jitter_put(struct jitter *jitter, uint16_t seq, uint32_t timestamp, const uint8_t *payload, size_t bytes,
	bool repaired, uint64_t now_ns, bool *ret_restarted)
{
	*ret_restarted = false;
	if (UNLIKELY(bytes > JITTER_PAYLOAD_MAX))
		return DROP_RTP_MALFORMED;
	int ahead = distance(seq, jitter->next);
	if (UNLIKELY(!jitter->started || jitter_restarts(jitter, seq))) {
		*ret_restarted = jitter->started;
		jitter_reset(jitter);
		jitter->started = true;
		jitter->next = seq;
		ahead = 0;
	}
	if (UNLIKELY(ahead < 0))
		return put_behind(jitter, seq, ahead, now_ns);
	if (UNLIKELY(ahead >= JITTER_SLOTS))
		return DROP_JITTER_FULL; // the caller gives up the gap first (jitter_get), so this ends the wait
	if (UNLIKELY((jitter->held & bit_of(seq)) != 0 || (ahead == 0 && jitter->ready)))
		return DROP_JITTER_DUPLICATE;
	if (!repaired) {
		// It was missing while a later one waited: so long do packets take here.
		if (UNLIKELY(jitter->held != 0) && distance(seq, jitter->newest) < 0)
			learn_lateness(jitter, jitter->gap_ns, now_ns);
		learn_arrival(jitter, seq, timestamp, now_ns);
	}
	struct jitter_packet packet = {.payload = payload,
		.arrival_ns = now_ns,
		.timestamp = timestamp,
		.seq = seq,
		.bytes = (uint16_t)bytes,
		.repaired = repaired,
		.asked = !repaired && (jitter->asked & bit_of(seq)) != 0};
	if (LIKELY(ahead == 0)) {
		jitter->direct = packet;
		jitter->ready = true;
		return DROP_NONE;
	}
	if (UNLIKELY(!store_put(jitter, &packet)))
		return DROP_JITTER_FULL;
	jitter->slots[seq % JITTER_SLOTS] = packet;
	if (jitter->held == 0)
		jitter->gap_ns = now_ns;
	jitter->held |= bit_of(seq);
	return DROP_NONE;
}

static void advance(struct jitter *jitter, bool delivered)
{
	jitter->seen = jitter->seen << 1 | (delivered ? 1 : 0);
	jitter->asked &= ~bit_of(jitter->next);
	jitter->next++;
}

// A further gap has its own wait, from when the first packet behind it came.
static void gap_next(struct jitter *jitter)
{
	jitter->gap_ns = UINT64_MAX;
	for (uint32_t left = jitter->held; left != 0; left &= left - 1) {
		const struct jitter_packet *waiting = &jitter->slots[__builtin_ctz(left)];
		jitter->gap_ns = MIN_OF(jitter->gap_ns, waiting->arrival_ns);
	}
}

const struct jitter_packet *jitter_get(struct jitter *jitter, uint64_t now_ns, unsigned *ret_lost)
{
	*ret_lost = 0;
	if (LIKELY(jitter->ready)) {
		jitter->ready = false;
		advance(jitter, true);
		return &jitter->direct;
	}
	if (LIKELY(jitter->held == 0))
		return NULL;
	if ((jitter->held & bit_of(jitter->next)) == 0) {
		if (now_ns < jitter->gap_ns + jitter->wait_ns)
			return NULL;
		jitter->given_up_ns = jitter->gap_ns;
		for (; (jitter->held & bit_of(jitter->next)) == 0; (*ret_lost)++)
			advance(jitter, false);
		jitter->given_up = (uint16_t)(jitter->next - 1);
	}
	struct jitter_packet *packet = &jitter->slots[jitter->next % JITTER_SLOTS];
	jitter->held &= ~bit_of(jitter->next);
	store_free(jitter, packet); // its bytes stay until the next put
	advance(jitter, true);
	if (jitter->held != 0)
		gap_next(jitter);
	wait_settle(jitter);
	return packet;
}

uint64_t jitter_deadline_ns(const struct jitter *jitter)
{
	return jitter->held != 0 ? jitter->gap_ns + jitter->wait_ns : 0;
}

uint32_t jitter_ask(struct jitter *jitter, uint64_t now_ns, uint16_t *ret_first)
{
	*ret_first = jitter->next;
	if (LIKELY(jitter->held == 0))
		return 0;
	// Both as bits from next on: what is neither here nor beyond everything that is.
	unsigned turn = jitter->next % JITTER_SLOTS;
	uint32_t held = turn == 0 ? jitter->held : jitter->held >> turn | jitter->held << (JITTER_SLOTS - turn);
	uint32_t asked = turn == 0 ? jitter->asked : jitter->asked >> turn | jitter->asked << (JITTER_SLOTS - turn);
	uint32_t missing = ~held & (uint32_t)((1ull << (31 - __builtin_clz(held))) - 1);
	uint32_t wanted = missing & ~asked;
	if (wanted == 0 && missing != 0 && now_ns - jitter->asked_ns >= JITTER_ASK_AGAIN_NS)
		wanted = missing;
	if (wanted == 0)
		return 0;
	jitter->asked_ns = now_ns;
	asked |= wanted;
	jitter->asked = turn == 0 ? asked : asked << turn | asked >> (JITTER_SLOTS - turn);
	return wanted;
}
