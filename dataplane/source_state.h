// SPDX-License-Identifier: ISC
//
// source_state.h - what is inside struct source; shared by its two ways in (source_track.c, source_data.c) and by what keeps
// them whole while a slot changes legs (source_copies.c).
//
// Runs on: worker.
#pragma once

#include <stddef.h>

#include "dataplane/align.h"
#include "dataplane/copies.h"
#include "dataplane/jitter.h"
#include "dataplane/opus_dec.h"
#include "dataplane/reception.h"
#include "dataplane/recut.h"
#include "dataplane/seqbyte.h"
#include "dataplane/source.h"
#include "dataplane/stats.h"

#define SOURCE_TRACK_ALIVE_NS 2000000000ull
// Silence that was not sent is filled in up to here; longer is absence, and nothing is written for it.
#define SOURCE_FILL_MAX_MS 2000
// So many packets that both legs brought prove that the newer one has everything.
#define SOURCE_COMMON_ENOUGH 2

struct source_counters {
	stats_counter packets, bytes, frames, jitter_us, last_packet_ns, lost, data_packets, data_bytes; // what every packet changes
	stats_counter repaired_red, repaired_nack, repaired_fec, concealed, late, duplicate, reordered, dtx_frames, ssrc_changes, renumbered, mutes;
	stats_counter data_lost, data_duplicate, data_late, data_resets, data_reordered, data_concealed, data_odd_bytes, decode_errors;
	stats_counter input_is_track, copies, undecoded;
	// Since the main leg last changed.
	stats_counter swap_generation, swap_frames_before, swap_lost, swap_copies, swap_doubled, swap_gap_us, swap_overlap_us;
};

// One transport as the source hears it, and how its numbers map onto the source's.
struct source_feed {
	uint64_t transport; // 0: none
	uint32_t generation, voice;
	bool aligned;
	uint16_t seq_offset;
	uint32_t timestamp_offset;
	uint64_t last_ns;
	struct reception reception; // in the transport's own numbers
} CACHE_ALIGNED;

// The track in the source's numbers: those of the first feed it ever had.
struct source_track {
	bool started, decoded; // decoded: timestamp_next is known
	bool paused;           // the last packet was one of discontinuous transmission
	_Atomic(bool) unwanted; // control: nobody wants PCM
	bool passing;           // and so packets are not decoded
	uint16_t skipped;       // numbers given up at once, far ahead of the last one: missing before the next packet
	uint32_t timestamp_next; // RTP time of the sample after the last one written
	uint32_t packet_ticks;   // length of the last packet
	uint64_t last_ns;
	struct sender_clock clock; // outlives the leg that brought it
	struct jitter jitter CACHE_ALIGNED;
};

// What every packet looks at comes first, in few lines; what only a swap needs comes last.
struct source {
	void *owner;
	struct source_feed *main, *other; // who is heard
	enum hearing_mode mode;
	uint32_t generation;
	uint64_t align_due_ns;               // a copy that waits for its place waits no longer, 0: none waits
	uint64_t watch_until_ns, written_ns; // accounts of the last swap are kept until then; last frame written
	bool muted, fence, track_was_input, input_known;
	bool takes_held; // what was kept can be offered again
	bool heard;      // something of the main leg came since it became that
	uint8_t common;  // packets both legs have brought since both are heard, as far as that matters
	bool data_waits; // a packet of the data way, behind a gap

	struct pcm *pcm CACHE_ALIGNED;
	struct opus_dec decoder;
	struct source_config config;
	unsigned data_samples; // length of the last packet of the data way
	struct recut recut;
	struct source_feed feeds[2] CACHE_ALIGNED;
	struct source_counters counters CACHE_ALIGNED;
	struct source_track track CACHE_ALIGNED;
	struct seqbyte order CACHE_ALIGNED;
	struct align align;          // second copy onto first, while there are two
	struct copies copies;        // the same for the data way
	struct align_ring delivered; // by content, while watched
	bool resumed;                // what is watched is a resume: the leg is the one before, and nobody brings a copy
	_Alignas(16) uint8_t decoder_memory[];
};
_Static_assert(offsetof(struct source, pcm) == CACHE_LINE_BYTES, "who is heard, and how, is one line");
_Static_assert(offsetof(struct source, recut.frame.samples) <= 3 * CACHE_LINE_BYTES, "how a cell is written is two lines");
_Static_assert(offsetof(struct source_track, jitter) == CACHE_LINE_BYTES, "the track's time line is one line");
_Static_assert(sizeof(struct source_feed) == 2 * CACHE_LINE_BYTES, "a feed is two lines");

// Where a thread's sources decode: copied into the ring at once. A buffer of each source's own would be ten cold lines a packet.
extern _Thread_local int16_t source_samples[OPUS_DEC_SAMPLES_MAX];

// Samples (NULL: silence) into the ring, with the bookkeeping every way shares.
void source_emit(struct source *source, const int16_t *samples, unsigned count, uint16_t flags, int64_t capture_us,
	uint64_t arrival_ns) RUNS_ON(worker_role);
// The wall clock of a moment of the monotonic one.
int64_t source_wall_us(uint64_t mono_ns);
void source_track_drain(struct source *source, uint64_t now_ns) RUNS_ON(worker_role);
void source_data_drain(struct source *source, uint64_t now_ns) RUNS_ON(worker_role);
void source_track_restart(struct source *source) RUNS_ON(worker_role);
enum drop source_track_input(struct source *source, struct source_feed *feed, const struct source_rtp *packet, bool *ret_keep)
	RUNS_ON(worker_role);
enum drop source_order_input(struct source *source, const struct source_data *packet) RUNS_ON(worker_role);
// A track's packet is about to be written.
void source_track_speaks(struct source *source, const struct source_feed *feed, uint64_t arrival_ns) RUNS_ON(worker_role);

// ---- source_copies.c
enum copy_verdict { COPY_DELIVER, COPY_MEASURED, COPY_KEEP };
struct source_feed *source_feed_of(struct source *source, uint64_t transport);
// What becomes of a packet of this feed; hash of its content, 0: says nothing.
enum copy_verdict source_copy_look(struct source *source, struct source_feed *feed, const struct source_rtp *packet,
	uint64_t hash) RUNS_ON(worker_role);
// Nobody knows the copy's place by its content: time stamps decide.
void source_copy_poll(struct source *source, uint64_t now_ns) RUNS_ON(worker_role);
// The alignment no longer holds (mute, another clock).
void source_copy_forget(struct source *source) RUNS_ON(worker_role);
void source_copy_seen(struct source *source) RUNS_ON(worker_role);
// Whether a packet of that content was delivered, or brought by the first leg, around the last change of legs.
bool source_copy_known(const struct source *source, uint64_t hash) RUNS_ON(worker_role);
// The accounts of a swap: a packet is written now; its time (0: of the data way) and content.
void source_watch(struct source *source, uint32_t timestamp, uint64_t hash, uint64_t arrival_ns) RUNS_ON(worker_role);
static inline bool source_copying(const struct source *source)
{
	return source->mode == HEARING_ALIGN || source->mode == HEARING_BOTH;
}
static inline bool source_watched(const struct source *source, uint64_t now_ns)
{
	return now_ns < source->watch_until_ns;
}
