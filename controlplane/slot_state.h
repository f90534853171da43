// SPDX-License-Identifier: ISC
//
// slot_state.h - what is inside a slot; shared by the files that decide JoinRoom, LeaveRoom, StreamAudio and what is seen.
//
// Runs on: control.
#pragma once

#include "controlplane/control.h"
#include "controlplane/slot.h"
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
	enum leg_state (*leg_state)(const struct leg *leg);
	unsigned (*leg_participant_count)(const struct leg *leg);
	bool (*leg_track_subscribed)(const struct leg *leg);
	bool (*leg_track_muted)(const struct leg *leg);
	struct source *(*source_create)(struct pcm *pcm, const struct source_config *config);
	void (*source_destroy)(struct source *source);
	void (*source_activate)(struct source *source, uint32_t generation);
	void (*source_fence)(struct source *source);
};
extern struct slot_ops slot_ops;

struct slot {
	struct slot *next; // in its bucket
	char user_id[SLOT_USER_MAX + 1];
	struct pcm *pcm;
	struct source *source;
	uint32_t generation; // of the youngest leg

	struct leg *leg;     // the one that is heard
	uint32_t leg_generation;
	struct place place;
	bool grace;          // the user was left; the leg stays for leave_grace

	struct leg *pending; // being built
	uint32_t pending_generation;
	struct place pending_place;
	bool pending_ready, pending_frame;
	struct slot_join *callers; // who waits for it

	struct slot_stream *stream;
	uint64_t next_frame; // where the user's next stream begins

	struct control_timer join_timer, frame_timer, grace_timer, linger_timer;
	int64_t last_disconnect_at_ms, since_ms;
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

struct slot *slot_find(const char *user_id) RUNS_ON(control_role);
struct slot *slot_make(const char *user_id, struct err *err) RUNS_ON(control_role);
void slot_free(struct slot *slot) RUNS_ON(control_role);
// Starts or stops the linger timer as the slot's contents ask.
void slot_settle(struct slot *slot) RUNS_ON(control_role);
// Starts the grace after which the leg of a left user leaves the room.
void slot_leave_again(struct slot *slot) RUNS_ON(control_role);
void slot_disconnected(struct slot *slot, const char *reason) RUNS_ON(control_role);
void slot_stream_finish(struct slot *slot, enum slot_stream_end how, const char *reason) RUNS_ON(control_role);
void slot_pending_drop(struct slot *slot, const char *answer) RUNS_ON(control_role); // answer NULL: callers stay
void slot_answer(struct slot_join *join, bool success, const char *error) RUNS_ON(control_role);
void slot_leg_event(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause);
// Leaves a leg from inside its own callback: a turn of the loop later.
void slot_leg_leave_later(struct leg *leg, const char *reason) RUNS_ON(control_role);
bool place_equal(const struct place *a, const struct place *b);
