// SPDX-License-Identifier: ISC
//
// source.c - one publication as a slot hears it: its life, which of the two ways counts, timers and statistics.
//
// Runs on: worker; source_create, source_destroy: control.   Upstream: ingress.   Downstream: pcm.

#include "dataplane/source_state.h"

#include <stdlib.h>

#define WALL_AGE_NS 1000000u

_Thread_local int16_t source_samples[OPUS_DEC_SAMPLES_MAX] CACHE_ALIGNED;

struct source *source_create(struct pcm *pcm, const struct source_config *config)
{
	size_t bytes = (sizeof(struct source) + opus_dec_bytes() + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
	struct source *source = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (source == NULL)
		return NULL;
	memset(source, 0, bytes);
	source->config = *config;
	if (source->config.max_wait_ms == 0)
		source->config.max_wait_ms = 60;
	if (source->config.data_wait_ms == 0)
		source->config.data_wait_ms = 60;
	if (source->config.remainder_ms == 0)
		source->config.remainder_ms = 40;
	source->pcm = pcm_ref(pcm);
	if (source->config.opus != NULL)
		pcm_ref(source->config.opus);
	opus_dec_init(&source->decoder, source->decoder_memory);
	jitter_init(&source->track.jitter, source->config.max_wait_ms);
	seqbyte_init(&source->order, source->config.data_wait_ms);
	return source;
}

void source_destroy(struct source *source)
{
	if (source == NULL)
		return;
	pcm_unref(source->pcm);
	pcm_unref(source->config.opus);
	free(source);
}

void source_prefetch(const struct source *source)
{
	const struct source_track *track = &source->track;
	__builtin_prefetch(&source->pcm, 1);
	__builtin_prefetch(&source->recut.frame, 1);
	__builtin_prefetch(&source->feeds[0], 1);
	__builtin_prefetch(&source->feeds[0].reception.jitter_ticks, 1);
	__builtin_prefetch(&source->counters, 1);
	__builtin_prefetch(track, 1);
	__builtin_prefetch(&track->jitter, 1);
	__builtin_prefetch(&track->jitter.direct, 1);
}

void source_prefetch_data(const struct source *source)
{
	__builtin_prefetch(&source->pcm, 1);
	__builtin_prefetch(&source->recut.frame, 1);
	__builtin_prefetch(&source->feeds[0], 1);
	__builtin_prefetch(&source->counters, 1);
	__builtin_prefetch(&source->track.jitter); // whether it waits
	__builtin_prefetch(&source->order, 1);
	__builtin_prefetch(&source->order.direct, 1);
}

void source_prefetch_ring(const struct source *source)
{
	pcm_prefetch(source->pcm);
}

void source_prefetch_cell(const struct source *source)
{
	pcm_prefetch_cell(source->pcm);
}

void source_set_owner(struct source *source, void *owner)
{
	source->owner = owner;
}

void *source_owner(const struct source *source)
{
	return source->owner;
}

// How far the wall clock is ahead is asked once for packets that come together, not for every packet.
int64_t source_wall_us(uint64_t mono_ns)
{
	static _Thread_local uint64_t asked_ns;
	static _Thread_local int64_t ahead_us;
	if (asked_ns == 0 || mono_ns - asked_ns >= WALL_AGE_NS) {
		asked_ns = mono_ns;
		ahead_us = clock_wall_us() - (int64_t)(clock_mono_ns() / 1000);
	}
	return ahead_us + (int64_t)(mono_ns / 1000);
}

void source_emit(struct source *source, const int16_t *samples, unsigned count, uint16_t flags, int64_t capture_us,
	uint64_t arrival_ns)
{
	if (source->fence) {
		recut_flush(&source->recut, source->pcm);
		flags |= PCM_F_FENCE;
		source->fence = false;
	}
	source->written_ns = arrival_ns;
	struct recut_run run = {samples, count, flags, source->generation, capture_us, arrival_ns};
	recut_run(&source->recut, source->pcm, &run);
	atomic_store_explicit(&source->counters.frames, source->recut.cells, memory_order_relaxed);
}

// ---- which way counts

static bool track_is_input(const struct source *source, uint64_t now_ns)
{
	if (source->config.input != SOURCE_AUTO)
		return source->config.input == SOURCE_TRACK;
	return !source->muted && source->track.last_ns != 0 && now_ns - source->track.last_ns < SOURCE_TRACK_ALIVE_NS;
}

// Between two ways lies a fence: nobody's words run into another's.
static void input_is(struct source *source, bool track) RUNS_ON(worker_role)
{
	if (LIKELY(source->input_known && source->track_was_input == track))
		return;
	source->fence |= source->input_known;
	source->input_known = true;
	source->track_was_input = track;
	atomic_store_explicit(&source->counters.input_is_track, track, memory_order_relaxed);
}

static enum drop not_heard(enum copy_verdict verdict, bool *ret_keep)
{
	*ret_keep = verdict == COPY_KEEP;
	return verdict == COPY_MEASURED ? DROP_COPY_MEASURED : DROP_NONE;
}

enum drop source_rtp_input(struct source *source, const struct source_rtp *packet, bool *ret_keep)
{
	struct source_feed *feed = source_feed_of(source, packet->transport);
	*ret_keep = false;
	if (feed == NULL)
		return DROP_STALE_GENERATION;
	if (source->config.input == SOURCE_DATA)
		return DROP_RTP_UNWANTED;
	if (source->mode == HEARING_HOLD && feed == source->other)
		return not_heard(COPY_KEEP, ret_keep);
	return source_track_input(source, feed, packet, ret_keep);
}

// A track's packet is about to be written.
void source_track_speaks(struct source *source, const struct source_feed *feed, uint64_t arrival_ns)
{
	// While the track is signalled muted the server pads it with silence of its own; the data way may speak meanwhile.
	source->track.last_ns = arrival_ns;
	atomic_store_explicit(&source->counters.last_packet_ns, arrival_ns, memory_order_relaxed);
	source->generation = feed->generation;
	if (!source->muted)
		input_is(source, true);
}

enum drop source_data_input(struct source *source, const struct source_data *packet, bool *ret_keep)
{
	struct source_feed *feed = source_feed_of(source, packet->transport);
	*ret_keep = false;
	if (feed == NULL || packet->generation < feed->voice)
		return DROP_STALE_GENERATION;
	if (packet->bytes < 2)
		return DROP_DATA_NOT_AUDIO;
	if (source->mode == HEARING_HOLD && feed == source->other)
		return not_heard(COPY_KEEP, ret_keep);
	if (source->mode == HEARING_ALIGN && feed == source->other)
		return not_heard(COPY_MEASURED, ret_keep);
	if (track_is_input(source, packet->arrival_ns))
		return DROP_DATA_UNWANTED;
	if (feed == source->main)
		source->heard = true;
	if (source_copying(source) && copies_put(&source->copies, (unsigned)(feed - source->feeds), packet->payload[0],
					  align_hash_any(packet->payload, packet->bytes), packet->arrival_ns)) {
		source_copy_seen(source);
		return DROP_COPY;
	}
	atomic_store_explicit(&source->counters.last_packet_ns, packet->arrival_ns, memory_order_relaxed);
	source->generation = feed->generation;
	input_is(source, false);
	return source_order_input(source, packet);
}

void source_set_muted(struct source *source, bool muted)
{
	if (muted && !source->muted)
		stats_add(&source->counters.mutes, 1);
	if (muted != source->muted)
		source_copy_forget(source); // the server numbers its own silence as it likes
	source->muted = muted;
}

void source_set_wanted(struct source *source, bool wanted)
{
	atomic_store_explicit(&source->track.unwanted, !wanted, memory_order_relaxed);
}

void source_fence(struct source *source)
{
	source_track_drain(source, UINT64_MAX); // what came before belongs to the voice before
	source_data_drain(source, UINT64_MAX);
	recut_flush(&source->recut, source->pcm);
	source->fence = true;
	source_track_restart(source);
	seqbyte_reset(&source->order);
	source->data_waits = false;
	source->track.last_ns = 0;
}

// ---- timers

uint64_t source_cells(const struct source *source)
{
	return source->recut.cells;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

uint64_t source_deadline_ns(const struct source *source)
{
	uint64_t deadline = earlier(jitter_deadline_ns(&source->track.jitter), source->align_due_ns);
	if (UNLIKELY(source->data_waits)) // its line is far from what a track's packet looks at
		deadline = earlier(deadline, seqbyte_deadline_ns(&source->order));
	if (source->recut.samples > 0)
		deadline = earlier(deadline, source->recut.began_ns + source->config.remainder_ms * 1000000ull);
	return deadline;
}

void source_poll(struct source *source, uint64_t now_ns)
{
	source_copy_poll(source, now_ns);
	source_track_drain(source, now_ns);
	source_data_drain(source, now_ns);
	if (source->recut.samples > 0 && now_ns >= source->recut.began_ns + source->config.remainder_ms * 1000000ull) {
		recut_flush(&source->recut, source->pcm);
		atomic_store_explicit(&source->counters.frames, source->recut.cells, memory_order_relaxed);
	}
}

// ---- statistics

void source_stats(const struct source *source, struct source_stats *ret_stats)
{
	const struct source_counters *c = &source->counters;
	*ret_stats = (struct source_stats){
		.packets = stats_get(&c->packets),
		.bytes = stats_get(&c->bytes),
		.lost = stats_get(&c->lost),
		.repaired_red = stats_get(&c->repaired_red),
		.repaired_nack = stats_get(&c->repaired_nack),
		.repaired_fec = stats_get(&c->repaired_fec),
		.concealed = stats_get(&c->concealed),
		.late = stats_get(&c->late),
		.duplicate = stats_get(&c->duplicate),
		.reordered = stats_get(&c->reordered),
		.dtx_frames = stats_get(&c->dtx_frames),
		.ssrc_changes = stats_get(&c->ssrc_changes),
		.renumbered = stats_get(&c->renumbered),
		.mutes = stats_get(&c->mutes),
		.data_packets = stats_get(&c->data_packets),
		.data_bytes = stats_get(&c->data_bytes),
		.data_lost = stats_get(&c->data_lost),
		.data_duplicate = stats_get(&c->data_duplicate),
		.data_late = stats_get(&c->data_late),
		.data_resets = stats_get(&c->data_resets),
		.data_reordered = stats_get(&c->data_reordered),
		.data_concealed = stats_get(&c->data_concealed),
		.data_odd_bytes = stats_get(&c->data_odd_bytes),
		.frames = stats_get(&c->frames),
		.decode_errors = stats_get(&c->decode_errors),
		.undecoded = stats_get(&c->undecoded),
		.decoding = !atomic_load_explicit(&source->track.unwanted, memory_order_relaxed),
		.jitter_us = (uint32_t)stats_get(&c->jitter_us),
		.last_packet_ns = stats_get(&c->last_packet_ns),
		.input_is_track = stats_get(&c->input_is_track) != 0,
		.copies = stats_get(&c->copies),
		.swap = {
			.generation = (uint32_t)stats_get(&c->swap_generation),
			.frames_before = stats_get(&c->swap_frames_before),
			.lost = stats_get(&c->swap_lost),
			.copies = stats_get(&c->swap_copies),
			.doubled = stats_get(&c->swap_doubled),
			.gap_us = (uint32_t)MIN_OF(stats_get(&c->swap_gap_us), UINT32_MAX),
			.overlap_us = (uint32_t)MIN_OF(stats_get(&c->swap_overlap_us), UINT32_MAX),
		},
	};
}
