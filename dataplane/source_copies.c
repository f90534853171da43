// SPDX-License-Identifier: ISC
//
// source_copies.c - a source while its slot changes legs: whom it hears, how a second copy of the publication falls into place,
// and what the change cost.
//
// A packet is put into the source's own numbering, that of the first leg it ever had. A second copy is measured against the
// first by content (align.h); until its numbers are known its packets are kept by the caller, for 100 ms at the most. A leg that
// comes when the other is silent or gone goes on where the time stamps say.
//
// Runs on: worker.   Upstream: source_track, source_data.

#include "dataplane/source_state.h"

#include "dataplane/hot.h"

#define ALIGN_WAIT_NS 100000000ull
#define SAME_CLOCK_TICKS 48000   // time stamps of one publication that follow each other lie closer
#define FEED_ALIVE_NS 1000000000ull
#define WATCH_NS 1500000000ull   // accounts of a swap are kept for so long after it

struct source_feed *source_feed_of(struct source *source, uint64_t transport)
{
	if (source->main != NULL && source->main->transport == transport)
		return source->main;
	if (source->other != NULL && source->other->transport == transport)
		return source->other;
	return NULL;
}

// ---- whom it hears

static struct source_feed *feed_take(struct source *source, const struct hearing_leg *leg, const struct source_feed *keep)
{
	struct source_feed *feed = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(source->feeds); i++)
		if (source->feeds[i].transport == leg->transport)
			feed = &source->feeds[i];
	if (feed == NULL) {
		feed = &source->feeds[0] == keep ? &source->feeds[1] : &source->feeds[0];
		*feed = (struct source_feed){.transport = leg->transport};
	}
	feed->generation = leg->generation;
	feed->voice = leg->voice;
	return feed;
}

static void watch_begin(struct source *source, uint64_t now_ns) RUNS_ON(worker_role)
{
	struct source_counters *c = &source->counters;
	source->watch_until_ns = now_ns + WATCH_NS;
	source->delivered.count = 0;
	atomic_store_explicit(&c->swap_frames_before, source->recut.cells, memory_order_relaxed);
	atomic_store_explicit(&c->swap_lost, 0, memory_order_relaxed);
	atomic_store_explicit(&c->swap_copies, 0, memory_order_relaxed);
	atomic_store_explicit(&c->swap_doubled, 0, memory_order_relaxed);
	atomic_store_explicit(&c->swap_gap_us, 0, memory_order_relaxed);
	atomic_store_explicit(&c->swap_overlap_us, 0, memory_order_relaxed);
	atomic_store_explicit(&c->swap_generation, source->main->generation, memory_order_release);
}

void source_hear(struct source *source, const struct hearing *hearing, uint64_t now_ns)
{
	uint32_t generation = source->main != NULL ? source->main->generation : 0;
	uint64_t transport = source->main != NULL ? source->main->transport : 0;
	bool copied = source_copying(source);
	if (hearing->fence)
		source_fence(source);
	source->mode = hearing->mode;
	source->main = source->other = NULL;
	source->takes_held = true;
	source->align_due_ns = 0;
	if (hearing->mode == HEARING_NOBODY)
		return;
	// A feed that stays keeps what it has: numbers, reception, the sender's clock.
	struct source_feed *named = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(source->feeds); i++)
		if (hearing->other.transport != 0 && source->feeds[i].transport == hearing->other.transport)
			named = &source->feeds[i];
	source->main = feed_take(source, &hearing->main, named);
	if (hearing->mode != HEARING_ONE)
		source->other = feed_take(source, &hearing->other, source->main);
	if (source_copying(source) && !copied) {
		align_reset(&source->align);
		copies_reset(&source->copies);
	}
	source->common = 0;
	if (source->main->generation != generation) {
		source->heard = false;
		// Copies of a move that is still watched may be under way.
		source->resumed = source->main->transport == transport && (source->resumed || !source_watched(source, now_ns));
		watch_begin(source, now_ns);
	}
}

bool source_takes_held(struct source *source)
{
	bool takes = source->takes_held;
	source->takes_held = false;
	return takes;
}

bool source_heard(const struct source *source)
{
	return source->heard;
}

bool source_aligned(const struct source *source)
{
	return source->mode == HEARING_BOTH && source->common >= SOURCE_COMMON_ENOUGH;
}

bool source_holds(const struct source *source)
{
	return source->mode == HEARING_HOLD;
}

void source_overlapped(struct source *source, uint64_t overlap_ns)
{
	atomic_store_explicit(&source->counters.swap_overlap_us, overlap_ns / 1000, memory_order_relaxed);
}

void source_copy_seen(struct source *source)
{
	source->common += source->common < SOURCE_COMMON_ENOUGH;
	stats_add(&source->counters.copies, 1);
	stats_add(&source->counters.swap_copies, 1);
}

bool source_copy_known(const struct source *source, uint64_t hash)
{
	return align_knows(&source->align, ALIGN_FIRST, hash) || align_ring_knows(&source->delivered, hash);
}

// ---- numbers

// The leg goes on where the source's time line stands, as far as the time stamps are of one clock.
static void join_by_time(struct source *source, struct source_feed *feed, const struct source_rtp *packet,
	uint32_t timestamp_offset) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	source_track_drain(source, UINT64_MAX); // what waits behind a gap of the old numbering
	int32_t ticks = (int32_t)(packet->timestamp + timestamp_offset - track->timestamp_next);
	if (!track->started || !track->decoded || ticks > SAME_CLOCK_TICKS || ticks < -SAME_CLOCK_TICKS) {
		if (track->started)
			source_track_restart(source);
		align_reset(&source->align); // what was measured was of the numbers before
		feed->seq_offset = 0;
		feed->timestamp_offset = 0;
		feed->aligned = track->started = true;
		return;
	}
	int32_t each = (int32_t)MAX_OF(track->packet_ticks, 1u);
	int32_t missing = (ticks + (ticks < 0 ? -each / 2 : each / 2)) / each;
	// After a packet of discontinuous transmission nothing is missing: the sender was silent.
	if (missing > 0 && track->paused)
		missing = 0;
	feed->timestamp_offset = timestamp_offset;
	feed->seq_offset = (uint16_t)(track->jitter.next + missing - packet->seq);
	feed->aligned = true;
}

static void aligned_by_content(struct source *source, struct source_feed *feed)
{
	feed->aligned = true;
	feed->seq_offset = source->align.seq_offset;
	feed->timestamp_offset = source->align.timestamp_offset;
	source->align_due_ns = 0;
	source->takes_held = true;
}

static struct source_feed *opposite(struct source *source, const struct source_feed *feed)
{
	return feed == source->main ? source->other : source->main;
}

// Whether a packet counts as the first of its side for the alignment: numbers already the source's.
static void measure_first(struct source *source, struct source_feed *feed, const struct source_rtp *packet, uint64_t hash)
{
	struct source_feed *second = opposite(source, feed);
	if (second == NULL || second->aligned)
		return;
	if (align_put(&source->align, ALIGN_FIRST, (uint16_t)(packet->seq + feed->seq_offset),
		    packet->timestamp + feed->timestamp_offset, hash, packet->arrival_ns))
		aligned_by_content(source, second);
}

static bool feed_alive(const struct source_feed *feed, uint64_t now_ns)
{
	return feed != NULL && feed->aligned && feed->last_ns != 0 && now_ns - feed->last_ns < FEED_ALIVE_NS;
}

enum copy_verdict source_copy_look(struct source *source, struct source_feed *feed, const struct source_rtp *packet,
	uint64_t hash)
{
	bool measured = source->mode == HEARING_ALIGN && feed == source->other;
	if (feed->aligned) {
		if (source_copying(source))
			measure_first(source, feed, packet, hash);
		return measured ? COPY_MEASURED : COPY_DELIVER;
	}
	if (!source_copying(source) || !feed_alive(opposite(source, feed), packet->arrival_ns)) {
		if (measured)
			return COPY_MEASURED; // its turn may come; then time stamps are compared with what was written by then
		join_by_time(source, feed, packet, 0);
		return COPY_DELIVER;
	}
	if (!packet->again && align_put(&source->align, ALIGN_SECOND, packet->seq, packet->timestamp, hash, packet->arrival_ns)) {
		aligned_by_content(source, feed);
		return measured ? COPY_MEASURED : COPY_DELIVER;
	}
	if (measured)
		return COPY_MEASURED;
	if (source->align_due_ns == 0)
		source->align_due_ns = packet->arrival_ns + ALIGN_WAIT_NS;
	return COPY_KEEP;
}

// Both clocks as far as they are known: the same one while the time stamps lie close, else the senders' reports.
static uint32_t clocks_apart(const struct source_feed *first, const struct source_feed *second, const struct align *align)
{
	const struct align_packet *a = &align->packets[ALIGN_FIRST][(align->count[ALIGN_FIRST] - 1) % ALIGN_PACKETS];
	const struct align_packet *b = &align->packets[ALIGN_SECOND][(align->count[ALIGN_SECOND] - 1) % ALIGN_PACKETS];
	uint32_t offset = 0;
	if (align->count[ALIGN_FIRST] > 0 && align->count[ALIGN_SECOND] > 0) {
		int32_t apart = (int32_t)(a->timestamp - b->timestamp);
		if (apart <= SAME_CLOCK_TICKS && apart >= -SAME_CLOCK_TICKS)
			return 0;
	}
	if (sender_clock_offset(&first->reception.clock, &second->reception.clock, &offset))
		return offset + first->timestamp_offset;
	return 0;
}

void source_copy_poll(struct source *source, uint64_t now_ns)
{
	if (source->align_due_ns == 0 || now_ns < source->align_due_ns)
		return;
	source->align_due_ns = 0;
	source->takes_held = true;
	struct source_feed *second = source->main != NULL && !source->main->aligned ? source->main : source->other;
	struct source_feed *first = second != NULL ? opposite(source, second) : NULL;
	if (first == NULL || second->aligned)
		return;
	uint32_t offset = clocks_apart(first, second, &source->align);
	if (align_by_timestamp(&source->align, offset)) {
		aligned_by_content(source, second);
		return;
	}
	unsigned count = source->align.count[ALIGN_SECOND];
	if (count == 0)
		return;
	const struct align_packet *b = &source->align.packets[ALIGN_SECOND][count > ALIGN_PACKETS ? count % ALIGN_PACKETS : 0];
	struct source_rtp oldest = {.seq = b->seq, .timestamp = b->timestamp};
	join_by_time(source, second, &oldest, offset);
}

void source_copy_forget(struct source *source)
{
	if (!source_copying(source))
		return;
	align_reset(&source->align);
	// The one that the source's numbers come from stays; in doubt that is the older leg.
	struct source_feed *second = source->mode == HEARING_ALIGN ? source->other : source->main;
	if (feed_alive(opposite(source, second), second->last_ns))
		second->aligned = false;
}

// ---- what a swap cost

void source_watch(struct source *source, uint32_t timestamp, uint64_t hash, uint64_t arrival_ns)
{
	struct source_counters *c = &source->counters;
	if (source->written_ns != 0 && arrival_ns > source->written_ns &&
		(arrival_ns - source->written_ns) / 1000 > stats_get(&c->swap_gap_us))
		atomic_store_explicit(&c->swap_gap_us, (arrival_ns - source->written_ns) / 1000, memory_order_relaxed);
	if (align_ring_put(&source->delivered, timestamp, hash))
		stats_add(&c->swap_doubled, 1);
}
