// SPDX-License-Identifier: ISC
//
// jitter.c - put numbered packets back in order and hand them out as soon as that is known.
//
// Runs on: worker.   Upstream: source (after rtp).   Downstream: opus_dec.

#include "dataplane/jitter.h"

#include "dataplane/hot.h"

void jitter_init(struct jitter *jitter, uint32_t max_wait_ms)
{
	jitter_reset(jitter);
	jitter->wait_ns = max_wait_ms * 1000000ull;
}

void jitter_reset(struct jitter *jitter)
{
	jitter->started = false;
	jitter->held = 0;
	jitter->seen = 0;
	jitter->gap_ns = 0;
	for (unsigned i = 0; i < JITTER_SLOTS; i++)
		jitter->slots[i].used = false;
}

static struct jitter_packet *slot_of(struct jitter *jitter, uint16_t seq)
{
	return &jitter->slots[seq % JITTER_SLOTS];
}

static int distance(uint16_t seq, uint16_t from)
{
	return (int16_t)(seq - from);
}

bool jitter_wants(const struct jitter *jitter, uint16_t seq)
{
	int ahead = distance(seq, jitter->next);
	return jitter->started && ahead >= 0 && ahead < JITTER_SLOTS && !jitter->slots[seq % JITTER_SLOTS].used;
}

enum drop jitter_put(struct jitter *jitter, uint16_t seq, uint32_t timestamp, const uint8_t *payload, size_t bytes,
	bool repaired, uint64_t now_ns, bool *ret_restarted)
{
	*ret_restarted = false;
	if (UNLIKELY(bytes > JITTER_PAYLOAD_MAX))
		return DROP_RTP_MALFORMED;
	int ahead = distance(seq, jitter->next);
	if (UNLIKELY(!jitter->started || ahead > JITTER_RESTART || ahead < -JITTER_RESTART)) {
		*ret_restarted = jitter->started;
		jitter_reset(jitter);
		jitter->started = true;
		jitter->next = seq;
		ahead = 0;
	}
	if (UNLIKELY(ahead < 0))
		return ahead >= -64 && (jitter->seen >> (-ahead - 1) & 1) != 0 ? DROP_JITTER_DUPLICATE : DROP_JITTER_LATE;
	if (UNLIKELY(ahead >= JITTER_SLOTS))
		return DROP_JITTER_FULL; // the caller gives up the gap first (jitter_get), so this ends the wait
	struct jitter_packet *slot = slot_of(jitter, seq);
	if (UNLIKELY(slot->used))
		return DROP_JITTER_DUPLICATE;
	slot->used = true;
	slot->repaired = repaired;
	slot->seq = seq;
	slot->timestamp = timestamp;
	slot->bytes = (uint16_t)bytes;
	slot->arrival_ns = now_ns;
	memcpy(slot->payload, payload, bytes);
	if (jitter->held++ == 0 || jitter->gap_ns == 0)
		jitter->gap_ns = now_ns;
	return DROP_NONE;
}

static void advance(struct jitter *jitter, bool delivered)
{
	jitter->seen = jitter->seen << 1 | (delivered ? 1 : 0);
	jitter->next++;
}

const struct jitter_packet *jitter_get(struct jitter *jitter, uint64_t now_ns, unsigned *ret_lost)
{
	*ret_lost = 0;
	if (jitter->held == 0)
		return NULL;
	if (!slot_of(jitter, jitter->next)->used) {
		if (now_ns < jitter->gap_ns + jitter->wait_ns)
			return NULL;
		while (!slot_of(jitter, jitter->next)->used) {
			advance(jitter, false);
			(*ret_lost)++;
		}
	}
	struct jitter_packet *packet = slot_of(jitter, jitter->next);
	packet->used = false;
	jitter->held--;
	advance(jitter, true);
	// A further gap has its own wait, from when the first packet behind it came.
	jitter->gap_ns = 0;
	if (jitter->held > 0) {
		for (unsigned i = 0; i < JITTER_SLOTS; i++) {
			const struct jitter_packet *waiting = slot_of(jitter, (uint16_t)(jitter->next + i));
			if (waiting->used && (jitter->gap_ns == 0 || waiting->arrival_ns < jitter->gap_ns))
				jitter->gap_ns = waiting->arrival_ns;
		}
	}
	return packet;
}

uint64_t jitter_deadline_ns(const struct jitter *jitter)
{
	return jitter->held > 0 ? jitter->gap_ns + jitter->wait_ns : 0;
}
