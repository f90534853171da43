// SPDX-License-Identifier: ISC
//
// source.h - one publication as a slot hears it: reorder, repair, decode, and write PCM cells into the slot's ring.
//
// Both ways in end here: RTP/Opus packets of the microphone track and PCM data packets with a sequence byte. A source
// outlives legs: a swap only changes the generation of what arrives, the decoder goes on. No heap after creation. Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/hearing.h"
#include "dataplane/pcm.h"
#include "dataplane/roles.h"

enum source_input {
	SOURCE_AUTO = 0, // the track while it is unmuted and gave a packet in the last 2 s, else data
	SOURCE_TRACK = 1,
	SOURCE_DATA = 2,
};

struct source_config {
	enum source_input input;
	uint32_t max_wait_ms;     // bound of the reorder wait, default 60
	uint32_t data_wait_ms;    // reorder wait of the data way, default 60
	uint32_t remainder_ms;    // a remainder older than this is flushed as a shorter frame, 40
	bool conceal_data;        // lost packets of the data way become silence of the length of the one before
	// The track's packets in order, before they are decoded; NULL: nobody wants them. The source takes a reference. A cell is
	// one packet: its bytes stand in samples, media_us is its RTP time (32 bits, 48 kHz), PCM_F_FENCE says that it does not go on
	// where the one before it ended. Packets longer than a cell are left out.
	struct pcm *opus;
};

// One decrypted RTP packet, header already parsed (rtp.h).
struct source_rtp {
	const uint8_t *payload;
	uint16_t payload_bytes;
	bool red; // payload is RFC 2198
	bool marker;
	uint16_t seq;
	uint32_t timestamp; // 48 kHz
	uint32_t ssrc;
	uint64_t transport; // that brought it
	uint64_t arrival_ns;
	bool again; // it was kept and is offered once more
};

// One user payload of the data way: one sequence byte, then PCM16LE 16 kHz mono of any length.
struct source_data {
	const uint8_t *payload;
	size_t bytes;
	uint64_t transport;
	uint32_t generation; // in which the transport was told whose packets to take
	uint64_t arrival_ns;
	bool overtaken; // by more than the order reaches back: history, whatever its sequence byte looks like
};

// What the last change of the main leg cost; final about 1.5 s after it.
struct source_swap {
	uint32_t generation;    // of the leg that is main since
	uint64_t frames_before; // cells written until then
	uint64_t lost;          // packets that were missing
	uint64_t copies;        // packets that both legs brought; one was used
	uint64_t doubled;       // packets whose content was written a second time
	uint32_t gap_us;        // longest time between two packets that were written
	uint32_t overlap_us;    // of another publication, that waited for its turn
};

struct source_stats {
	uint64_t packets, bytes;             // RTP packets accepted
	// lost: numbers that were given up; where PCM is wanted each is covered by FEC or concealment, but for those of an absence (more
	// than two seconds) and of a mute. What RED or an answered NACK brought is not lost.
	uint64_t lost, repaired_red, repaired_nack, repaired_fec, concealed, late, duplicate, reordered, dtx_frames;
	uint64_t ssrc_changes, renumbered, mutes;
	uint64_t data_packets, data_bytes, data_lost, data_duplicate, data_late, data_resets, data_reordered;
	uint64_t data_concealed;             // lost ones that became silence
	uint64_t data_odd_bytes;             // payloads with half a sample at the end: that byte is cut
	uint64_t frames;                     // cells written
	uint64_t copies;                     // packets that two legs brought
	uint64_t decode_errors;
	uint64_t undecoded;                  // packets that were not decoded since nobody wanted PCM
	bool decoding;                       // somebody wants PCM
	uint32_t jitter_us;                  // RFC 3550 interarrival jitter
	uint64_t last_packet_ns;             // arrival of the last packet of either way
	bool input_is_track;
	struct source_swap swap;
};

struct source;

// Takes its own reference on pcm. NULL when memory is short.
struct source *source_create(struct pcm *pcm, const struct source_config *config) RUNS_ON(control_role);
// Only after a grace period, when no worker can see it.
void source_destroy(struct source *source) RUNS_ON(control_role); // takes NULL

// What the owner hangs onto the source (its home worker); the source does not look at it. Set before it is fed.
void source_set_owner(struct source *source, void *owner);
void *source_owner(const struct source *source);

// A packet of this source is a few packets away: what it will touch is brought near. Each needs what the one before it brings.
void source_prefetch(const struct source *source) RUNS_ON(worker_role);
void source_prefetch_data(const struct source *source) RUNS_ON(worker_role); // the same for a packet of the data way
void source_prefetch_ring(const struct source *source) RUNS_ON(worker_role);
void source_prefetch_cell(const struct source *source) RUNS_ON(worker_role);

// Whom it hears from now on; what was kept can be offered again.
void source_hear(struct source *source, const struct hearing *hearing, uint64_t now_ns) RUNS_ON(worker_role);
// Feed one packet. DROP_NONE when it was taken; with ret_keep it was not: keep it and offer it again, with its flag set, when
// source_takes_held says so.
enum drop source_rtp_input(struct source *source, const struct source_rtp *packet, bool *ret_keep) RUNS_ON(worker_role);
enum drop source_data_input(struct source *source, const struct source_data *packet, bool *ret_keep) RUNS_ON(worker_role);
// True once after something has changed for what was kept.
bool source_takes_held(struct source *source) RUNS_ON(worker_role);
// Whether something of the main leg came since it became that; whether both legs have brought the same packets.
bool source_heard(const struct source *source) RUNS_ON(worker_role);
bool source_aligned(const struct source *source) RUNS_ON(worker_role);
// Whether another publication's packets are to wait for their turn.
bool source_holds(const struct source *source) RUNS_ON(worker_role);
// For the accounts: another publication's packets had been waiting for so long when their turn came.
void source_overlapped(struct source *source, uint64_t overlap_ns) RUNS_ON(worker_role);
// Sender report of the track: NTP time (64-bit, RFC 3550) at RTP timestamp.
void source_sender_report(struct source *source, uint64_t transport, uint32_t ssrc, uint64_t ntp, uint32_t timestamp,
	uint64_t arrival_ns) RUNS_ON(worker_role);
// The track's sender says that this stream has ended (RTCP BYE): nothing is waited for, and input auto turns to data at once.
void source_goodbye(struct source *source, uint64_t transport, uint32_t ssrc) RUNS_ON(worker_role);
// Packets of the track that are missing and are to be asked for now, in the numbers of the transport that brings it.
struct source_ask {
	uint32_t ssrc;
	uint32_t missing; // bit i: first + i
	uint16_t first;
};
bool source_ask(struct source *source, uint64_t transport, uint64_t now_ns, struct source_ask *ret_ask) RUNS_ON(worker_role);
// Signalled mute state of the track. While muted nothing is concealed and input auto turns to data at once.
void source_set_muted(struct source *source, bool muted) RUNS_ON(worker_role);
// Whether somebody wants PCM of the track (so it is at first). While nobody does, packets are put in order, repaired from RED and
// handed on, and none is decoded; the first cell after that carries PCM_F_FENCE. The data way is PCM already and always written.
void source_set_wanted(struct source *source, bool wanted) RUNS_ON(control_role);
// The target or the leg's room changed: the next cell carries PCM_F_FENCE, nothing is concealed across.
void source_fence(struct source *source) RUNS_ON(worker_role);

// Cells written so far.
uint64_t source_cells(const struct source *source) RUNS_ON(worker_role);
// When source_poll must run again at the latest (an open gap, a remainder); 0: never. Cheap: read after every input.
uint64_t source_deadline_ns(const struct source *source) RUNS_ON(worker_role);
void source_poll(struct source *source, uint64_t now_ns) RUNS_ON(worker_role);

// What an RTCP receiver report says about the stream (RFC 3550 6.4.1); false while nothing was received.
struct source_reception {
	uint32_t ssrc, extended_seq, jitter, last_sr, delay_since_sr;
	int32_t cumulative_lost;
	uint8_t fraction_lost;
};
bool source_reception_report(struct source *source, uint64_t transport, uint64_t now_ns,
	struct source_reception *ret_reception) RUNS_ON(worker_role);

// A torn read of a counter is possible, a wrong one is not: counters are relaxed atomics inside. Any thread.
void source_stats(const struct source *source, struct source_stats *ret_stats);
