// SPDX-License-Identifier: ISC
//
// source_state.h - what is inside struct source; shared by its two ways in (source_track.c, source_data.c).
//
// Runs on: worker.
#pragma once

#include "dataplane/jitter.h"
#include "dataplane/opus_dec.h"
#include "dataplane/recut.h"
#include "dataplane/seqbyte.h"
#include "dataplane/source.h"
#include "dataplane/stats.h"

#define SOURCE_TICKS_PER_MS 48
#define SOURCE_TRACK_ALIVE_NS 2000000000ull
// Silence that was not sent is filled in up to here; longer is absence, and nothing is written for it.
#define SOURCE_FILL_MAX_MS 2000

struct source_counters {
	stats_counter packets, bytes, lost, repaired_red, repaired_fec, concealed, late, duplicate, reordered, dtx_frames;
	stats_counter ssrc_changes, mutes, data_packets, data_bytes, data_lost, data_duplicate, data_late, data_resets;
	stats_counter data_reordered, data_odd_bytes, frames, decode_errors, jitter_us, last_packet_ns, input_is_track;
};

// The RTP side of a track (RFC 3550 6.4.1 and appendix A).
struct source_track {
	bool started, decoded; // decoded: timestamp_next is known
	uint32_t ssrc, timestamp_next; // RTP time of the sample after the last one written
	uint16_t seq_max;
	uint32_t cycles, base_seq, received, received_before, expected_before;
	uint32_t transit;
	double jitter_ticks;
	bool have_transit;
	uint64_t last_ns;
	// The last sender report.
	bool have_report;
	uint64_t report_ntp, report_arrival_ns;
	uint32_t report_timestamp;
	struct jitter jitter;
};

struct source {
	struct source_config config;
	struct pcm *pcm;
	void *owner;
	uint32_t generation;
	bool muted, fence, track_was_input, input_known;
	struct source_track track;
	struct seqbyte order;
	struct recut recut;
	struct opus_dec decoder;
	struct source_counters counters;
	int16_t samples[OPUS_DEC_SAMPLES_MAX];
	_Alignas(16) uint8_t decoder_memory[];
};

// Samples (NULL: silence) into the ring, with the bookkeeping every way shares.
void source_emit(struct source *source, const int16_t *samples, unsigned count, uint16_t flags, int64_t capture_us,
	uint64_t arrival_ns) RUNS_ON(worker_role);
// The wall clock of a moment of the monotonic one.
int64_t source_wall_us(uint64_t mono_ns);
void source_track_drain(struct source *source, uint64_t now_ns) RUNS_ON(worker_role);
void source_data_drain(struct source *source, uint64_t now_ns) RUNS_ON(worker_role);
void source_track_restart(struct source *source) RUNS_ON(worker_role);
