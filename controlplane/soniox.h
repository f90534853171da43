// SPDX-License-Identifier: ISC
//
// soniox.h - transcription of users by Soniox: who has it, since when, and what others may ask of it.
//
// A slot makes a user here and gives it up again; the stream lives as long as the slot, whatever its legs do. One that ends is
// drained by itself while the user may already be back with another.
//
// Runs on: control.
#pragma once

#include "controlplane/config.h"
#include "controlplane/soniox_stream.h"

#define SONIOX_END_LIMIT_MS 15000 // what a user said last is awaited so long after the user left

struct soniox_user;

int soniox_init(const struct config *config, struct err *err) RUNS_ON(control_role);
void soniox_finish(void) RUNS_ON(control_role);
// Ends all streams; done runs when the last words are here, or after limit_ms.
void soniox_drain(uint32_t limit_ms, void (*done)(void *arg), void *arg) RUNS_ON(control_role);

// ---- for slots. NULL when Soniox is off.

// opus: the ring of the track's packets, when soniox_wants_packets, else NULL.
struct soniox_user *soniox_slot_made(const char *user_id, struct pcm *pcm, struct pcm *opus) RUNS_ON(control_role);
bool soniox_wants_packets(void) RUNS_ON(control_role);
// Whether the user's PCM goes to Soniox now; slot_pcm_changed says when this changes. Takes NULL.
bool soniox_takes_pcm(const struct soniox_user *user) RUNS_ON(control_role);
// Takes what is in the ring, which may be wiped afterwards. Takes NULL.
void soniox_slot_gone(struct soniox_user *user) RUNS_ON(control_role);

// ---- for services

// Starts (options NULL: the configured ones; else also changes those of a running one) or ends a user's stream. Started while the
// last one still ends: that one goes on by itself, another takes what is said from now on. -ENOENT: no session. -EPERM:
// soniox.enabled is off. -EINVAL: an option, with its sentence.
int soniox_transcribe(const char *user_id, bool on, const struct soniox_options *options, struct err *err)
	RUNS_ON(control_role);
const struct soniox_options *soniox_default_options(void);
int soniox_finalize(const char *user_id) RUNS_ON(control_role); // -ENOENT, -EAGAIN
// -ENOENT: no such user; -ESRCH: not transcribed. *ret_complete: from_seq is still kept; *ret_epoch: whose numbers these are.
int soniox_listen(const char *user_id, struct transcript_listener *listener, uint64_t from_seq, uint64_t *ret_epoch,
	bool *ret_complete) RUNS_ON(control_role);
// The listener of a stream that has ended is gone already: then this does nothing.
void soniox_unlisten(struct transcript_listener *listener) RUNS_ON(control_role);

struct soniox_totals {
	bool enabled;
	unsigned users, live, queued, stopped; // streams
	unsigned places, placed;
	uint64_t connections, connections_failed, lost, rotations, refused;
	uint64_t lost_ms, uncertain_ms, segments, repeats; // of the streams that run
	char alarm[256];
	int64_t alarm_at_ms;
};
void soniox_view(const char *user_id, struct soniox_view *ret_view) RUNS_ON(control_role); // exists=false: no stream
void soniox_totals(struct soniox_totals *ret_totals) RUNS_ON(control_role);
