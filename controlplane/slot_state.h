// SPDX-License-Identifier: ISC
//
// slot_state.h - what is inside a slot; shared by the files that decide JoinRoom, LeaveRoom, StreamAudio and what is seen.
//
// Runs on: control.
#pragma once

#include "controlplane/control.h"
#include "controlplane/slot.h"
#include "controlplane/swap_log.h"
#include "controlplane/token.h"
#include "controlplane/url.h"

#define SLOT_USER_MAX 256

// Where a join wants to go: two joins to the same place share a leg (PRODUCT: same normalised URL, room and identity).
struct place {
	char url[URL_TEXT_MAX];
	char room[TOKEN_NAME_MAX], identity[TOKEN_NAME_MAX], target[TOKEN_NAME_MAX];
};

// What slots ask of legs and of the dataplane; tests put their own in.
struct slot_ops {
	struct leg *(*leg_join)(const struct leg_config *config, struct err *err);
	void (*leg_leave)(struct leg *leg, const char *reason);
	void (*leg_silence)(struct leg *leg);
	enum leg_state (*leg_state)(const struct leg *leg);
	unsigned (*leg_participant_count)(const struct leg *leg);
	bool (*leg_track_subscribed)(const struct leg *leg);
	bool (*leg_track_muted)(const struct leg *leg);
	bool (*leg_data_open)(const struct leg *leg);
	transport_id (*leg_transport)(const struct leg *leg);
	uint32_t (*leg_voice)(const struct leg *leg);
	bool (*leg_resumable)(const struct leg *leg);
	int (*leg_resume)(struct leg *leg, const char *token, struct err *err);
	void (*leg_resume_abandon)(struct leg *leg);
	bool (*leg_resume_accepted)(const struct leg *leg);
	void (*leg_retarget)(struct leg *leg, const char *target_identity, uint32_t generation);
	void (*leg_set_generation)(struct leg *leg, uint32_t generation);
	void (*leg_freeze)(struct leg *leg);
	void (*leg_thaw)(struct leg *leg);
	struct source *(*source_create)(struct pcm *pcm, const struct source_config *config);
	void (*source_destroy)(struct source *source);
	int (*source_hear)(struct source *source, const struct hearing *hearing);
	void (*source_progress)(const struct source *source, bool *ret_heard, bool *ret_aligned);
	void (*source_set_muted)(struct source *source, bool muted);
	void (*source_set_wanted)(struct source *source, bool wanted);
	void (*source_stats)(const struct source *source, struct source_stats *ret_stats);
};
extern struct slot_ops slot_ops;

struct slot {
	struct slot *next; // in its bucket
	char user_id[SLOT_USER_MAX + 1];
	struct pcm *pcm;
	struct source *source;
	uint32_t generation; // given out last
	struct soniox_user *soniox; // NULL: not transcribed
	struct pcm *opus;           // the track's packets for it, NULL: it takes PCM

	struct leg *leg; // the one that is heard
	uint32_t leg_generation;
	struct place place;
	bool grace; // the user was left; the leg stays for leave_grace

	struct leg *pending; // being built
	bool resuming;       // the leg's signalling is being taken over
	uint32_t pending_generation;
	struct place pending_place;
	char *pending_url, *pending_token; // as the newest caller gave them
	bool pending_ready, pending_arrived, frame_late;
	bool same_identity;        // as the leg's: the server will remove that one
	bool no_return;            // and has
	struct slot_join *callers; // who waits for it

	struct leg *old; // replaced, heard beside the leg until both have brought the same packets
	uint32_t old_generation;
	bool swap_due; // the pending leg waits for the old one to be gone

	struct place heard_place; // of the leg that the source was last told to hear, however long ago; url "": of none yet

	struct slot_stream *stream;
	uint64_t next_frame; // where the user's next stream begins, unless that is older than the ring is long
	bool streamed;       // there was a stream
	bool pcm_unwanted;   // nobody has wanted PCM for a ring's length: the track is not decoded

	struct swap_record swap; // on its way, or done and not settled yet
	bool swap_asked, swap_unsettled;
	uint64_t swap_began_ns;

	struct control_timer join_timer, frame_timer, grace_timer, linger_timer, old_timer, settle_timer, hear_timer,
		wanted_timer;
	int64_t last_disconnect_at_ms, since_ms, stream_since_ms;
	char last_disconnect_reason[32];
	uint64_t joins, swaps;
};

struct slots {
	const struct config *config;
	struct slot *buckets[1024];
	unsigned count;
	struct slot_totals totals; // counters only
	bool draining;
	struct control_timer drain_timer;
	void (*drained)(void *arg);
	void *drained_arg;
};
extern struct slots slots;

// ---- slot.c
struct slot *slot_find(const char *user_id) RUNS_ON(control_role);
struct slot *slot_make(const char *user_id, struct err *err) RUNS_ON(control_role);
void slot_free(struct slot *slot) RUNS_ON(control_role);
// Starts or stops the linger timer as the slot's contents ask.
void slot_settle(struct slot *slot) RUNS_ON(control_role);
// Starts the grace after which the leg of a left user leaves the room.
void slot_grace_begin(struct slot *slot) RUNS_ON(control_role);
void slot_disconnected(struct slot *slot, const char *reason) RUNS_ON(control_role);
// Leaves a leg from inside its own callback: a turn of the loop later.
void slot_leg_leave_later(struct leg *leg, const char *reason) RUNS_ON(control_role);

// ---- slot_view.c
void slot_stream_finish(struct slot *slot, enum slot_stream_end how, const char *reason) RUNS_ON(control_role);

// ---- slot_wanted.c
// A JoinRoom came: who listens next misses nothing from here on.
void slot_wanted_renew(struct slot *slot) RUNS_ON(control_role);
// A consumer of PCM came or went.
void slot_wanted_changed(struct slot *slot) RUNS_ON(control_role);

// ---- slot_join.c
void slot_answer(struct slot_join *join, bool success, const char *error) RUNS_ON(control_role);
void slot_answer_all(struct slot *slot, const char *error) RUNS_ON(control_role); // NULL: success
void slot_caller_add(struct slot *slot, struct slot_join *join);
bool place_equal(const struct place *a, const struct place *b);
bool place_same_room(const struct place *a, const struct place *b);
void slot_leg_event(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause);

// ---- slot_swap.c
// Publishes whom the slot hears, from what it has; behind a fence if that is another publication than was heard last.
void slot_hear(struct slot *slot) RUNS_ON(control_role);
// The pending leg becomes the one that is heard; the callers get their answer.
void slot_swap(struct slot *slot) RUNS_ON(control_role);
// The leg goes on under the pending generation.
void slot_swap_resumed(struct slot *slot) RUNS_ON(control_role);
// The replaced leg is no longer needed.
void slot_old_retire(struct slot *slot) RUNS_ON(control_role);
void slot_progressed(struct slot *slot) RUNS_ON(control_role); // the dataplane says so
// The account of a JoinRoom that found a leg: begun, and ended without a swap.
void slot_swap_asked(struct slot *slot, const struct place *place) RUNS_ON(control_role);
void slot_swap_ended(struct slot *slot, enum swap_result result, const char *cause) RUNS_ON(control_role);
void slot_swap_settle(struct slot *slot) RUNS_ON(control_role); // writes what is not written yet
