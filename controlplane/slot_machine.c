// SPDX-License-Identifier: ISC
//
// slot_machine.c - what a slot does, as one table: phase by event.
//
// A join that is on its way is superseded by one to another place and shared by one to the same. It ends in a swap
// (slot_swap.c), or the slot falls back to what it was: the leg goes on, and if its user had been left, its grace begins anew.
// Once the server has removed the old participant for the new one there is no way back: then only the answer can be dropped.
//
// Runs on: control.

#include "controlplane/slot_machine.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "controlplane/log.h"

#define SUPERSEDED "superseded by a newer join request"

enum slot_phase slot_phase(const struct slot *slot)
{
	if (slot->resuming)
		return SLOT_RESUMING;
	if (slot->pending != NULL)
		return slot->leg != NULL ? SLOT_SWAPPING : SLOT_JOINING;
	if (slot->leg != NULL)
		return slot->grace ? SLOT_GRACE : SLOT_LIVE;
	return SLOT_IDLE;
}

const char *slot_phase_text(enum slot_phase phase)
{
	static const char *const texts[SLOT_PHASES] = {[SLOT_IDLE] = "lingering", [SLOT_JOINING] = "joining",
		[SLOT_LIVE] = "connected", [SLOT_GRACE] = "grace", [SLOT_RESUMING] = "resuming", [SLOT_SWAPPING] = "swapping"};
	return texts[phase];
}

// ---- a join that is on its way

static void wish_clear(struct slot *slot)
{
	if (slot->pending_token != NULL)
		OPENSSL_cleanse(slot->pending_token, strlen(slot->pending_token));
	free(slot->pending_token);
	free(slot->pending_url);
	slot->pending_token = slot->pending_url = NULL;
}

// What is being built is torn down; the leg, if there is one, is as it was.
static void drop(struct slot *slot) RUNS_ON(control_role)
{
	struct leg *pending = slot->pending;
	control_timer_stop(&slot->join_timer);
	control_timer_stop(&slot->frame_timer);
	slot->pending = NULL;
	slot->pending_ready = slot->pending_arrived = slot->frame_late = slot->swap_due = slot->no_return = false;
	if (slot->resuming)
		slot_ops.leg_resume_abandon(slot->leg);
	slot->resuming = false;
	if (pending != NULL) {
		slot_hear(slot);
		slot_leg_leave_later(pending, "join given up");
	}
	if (slot->same_identity && slot->leg != NULL)
		slot_ops.leg_thaw(slot->leg);
	slot->same_identity = false;
	wish_clear(slot);
}

// After a drop: the slot is what it was before the join.
static void fall_back(struct slot *slot) RUNS_ON(control_role)
{
	if (slot->grace && slot->leg != NULL)
		slot_grace_begin(slot);
	slot_settle(slot);
}

static void fail(struct slot *slot, enum swap_result result, const char *error) RUNS_ON(control_role)
{
	bool lost = slot->leg == NULL && slot->swap_asked;
	drop(slot);
	slot_swap_ended(slot, result, error);
	if (slot->leg == NULL)
		slot_disconnected(slot, "join_failed");
	if (lost) // the join itself has cost the session: whoever listens must know
		slot_stream_finish(slot, SLOT_STREAM_UNAVAILABLE, "join_failed");
	slot_answer_all(slot, error);
	fall_back(slot);
}

static void fail_to_connect(struct slot *slot, const char *cause) RUNS_ON(control_role)
{
	char error[512];
	snprintf(error, sizeof(error), "failed to connect to room: %s", cause);
	fail(slot, SWAP_FAILED, error);
}

static void on_join_late(void *arg)
{
	ENTERS(control_role);
	slot_fire(arg, SLOT_JOIN_LATE, NULL);
}

static void on_frame_late(void *arg)
{
	ENTERS(control_role);
	slot_fire(arg, SLOT_FRAME_LATE, NULL);
}

// The newest caller's wish becomes the slot's; whoever waited for another is told.
static int wish(struct slot *slot, const struct slot_cause *cause) RUNS_ON(control_role)
{
	if (slot->pending != NULL || slot->resuming) {
		slots.totals.joins_superseded++;
		drop(slot);
		slot_swap_ended(slot, SWAP_SUPERSEDED, SUPERSEDED);
		slot_answer_all(slot, SUPERSEDED);
	}
	control_timer_stop(&slot->grace_timer);
	control_timer_stop(&slot->linger_timer);
	if (slot->leg != NULL)
		slot_swap_asked(slot, cause->place);
	slot_caller_add(slot, cause->join);
	slot->pending_place = *cause->place;
	slot->pending_generation = ++slot->generation;
	wish_clear(slot);
	slot->pending_url = strdup(cause->join->livekit_url);
	slot->pending_token = strdup(cause->join->token);
	control_timer_start(&slot->join_timer, slots.config->limits.join_ms, on_join_late, slot);
	return slot->pending_url == NULL || slot->pending_token == NULL ? -ENOMEM : 0;
}

static void build(struct slot *slot) RUNS_ON(control_role)
{
	struct err err = {""};
	struct leg_config config = {
		.config = slots.config,
		.url = slot->pending_url,
		.token = slot->pending_token,
		.target_identity = slot->pending_place.target,
		.user_id = slot->user_id,
		.generation = slot->pending_generation,
		.source = slot->source,
		.event = slot_leg_event,
		.arg = slot,
	};
	slot->same_identity = slot->leg != NULL && place_same_room(&slot->place, &slot->pending_place) &&
			      strcmp(slot->place.identity, slot->pending_place.identity) == 0;
	if (slot->same_identity)
		slot_ops.leg_freeze(slot->leg);
	slot->pending = slot_ops.leg_join(&config, &err);
	if (slot->pending == NULL)
		fail_to_connect(slot, err.text);
}

// ---- actions

static void join(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	if (wish(slot, cause) < 0)
		fail_to_connect(slot, "out of memory");
	else
		build(slot);
}

static void resume(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	struct err err = {""};
	int ret = wish(slot, cause);
	slot->resuming = true;
	if (ret == 0)
		ret = slot_ops.leg_resume(slot->leg, slot->pending_token, &err);
	if (ret < 0)
		fail_to_connect(slot, err.text[0] ? err.text : "out of memory");
}

static void share(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot_caller_add(slot, cause->join);
}

static void resumed(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	wish_clear(slot);
	slot_swap_resumed(slot);
}

// The server does not know the participant any more, or its media path is dead: in anew, as the same callers asked.
static void join_anew(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot->resuming = false;
	log_redact(cause->cause, slot->swap.cause, sizeof(slot->swap.cause));
	build(slot);
}

static void resume_failed(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	fail_to_connect(slot, cause->cause);
}

static void accepted(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	if (slot->swap_asked)
		slot->swap.signal_us = (uint32_t)MIN_OF((clock_mono_ns() - slot->swap_began_ns) / 1000, UINT32_MAX);
	slot->no_return = slot->same_identity;
}

// Up, and heard of, or given time for it: a silent phone never holds up the answer.
static void swap_if_due(struct slot *slot) RUNS_ON(control_role)
{
	if (!slot->pending_ready)
		return;
	bool track = slot_ops.leg_track_subscribed(slot->pending) && !slot_ops.leg_track_muted(slot->pending);
	bool due = slot->frame_late || slot->pending_arrived || (!track && slot_ops.leg_data_open(slot->pending));
	if (due) {
		wish_clear(slot);
		slot_swap(slot);
	} else if (!control_timer_armed(&slot->frame_timer)) {
		control_timer_start(&slot->frame_timer, slots.config->limits.first_frame_ms, on_frame_late, slot);
	}
}

static void ready(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot->pending_ready = true;
	if (slot->swap_asked)
		slot->swap.media_us = (uint32_t)MIN_OF((clock_mono_ns() - slot->swap_began_ns) / 1000, UINT32_MAX);
	swap_if_due(slot);
}

static void arrived(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot->pending_arrived = true;
	swap_if_due(slot);
}

static void data_open(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	swap_if_due(slot);
}

static void frame_late(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot->frame_late = true;
	swap_if_due(slot);
}

static void failed(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	fail_to_connect(slot, cause->cause != NULL && cause->cause[0] ? cause->cause : cause->reason);
}

static void join_late(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	fail_to_connect(slot, "the join took longer than its limit");
}

static void callers_gone(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	if (slot->no_return || (slot->resuming && slot_ops.leg_resume_accepted(slot->leg)))
		return; // only the answer is dropped
	drop(slot);
	slot_swap_ended(slot, SWAP_CANCELLED, "cancelled by the caller");
	if (slot->leg == NULL && slot->stream == NULL && slot->last_disconnect_at_ms == 0)
		slot_free(slot); // as if nobody had called
	else
		fall_back(slot);
}

static void leave(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slots.totals.leaves++;
	log_line(LOG_INFO, "Leaving room", S("userId", slot->user_id), S("roomName", slot->place.room),
		S("reason", cause->reason));
	drop(slot);
	slot_swap_ended(slot, SWAP_LEFT, "left");
	slot_answer_all(slot, "left");
	slot_stream_finish(slot, SLOT_STREAM_OK, "left");
	slot_disconnected(slot, "left");
	slot_old_retire(slot);
	if (slot->leg != NULL)
		slot_grace_begin(slot);
	else
		slot_free(slot);
}

static void leave_now(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot_leg_leave_later(slot->leg, "left");
	slot->leg = NULL;
	slot_free(slot);
}

static void forget(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot_free(slot);
}

static void leg_gone(struct slot *slot, const char *reason) RUNS_ON(control_role)
{
	slot_leg_leave_later(slot->leg, reason);
	slot->leg = NULL;
	slot_hear(slot);
}

static void lost(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	log_line(LOG_WARN, "Room lost", S("userId", slot->user_id), S("roomName", slot->place.room), S("reason", cause->reason),
		S("cause", cause->cause));
	leg_gone(slot, cause->reason);
	slot_disconnected(slot, cause->reason);
	// OK on a stolen identity: an error would make production's client steal it back every 2 s.
	if (strcmp(cause->reason, "duplicate_identity") == 0)
		slot_stream_finish(slot, SLOT_STREAM_OK, cause->reason);
	else
		slot_stream_finish(slot, SLOT_STREAM_UNAVAILABLE, cause->reason);
	slot_settle(slot);
}

static void lost_in_grace(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	leg_gone(slot, cause->reason);
	slot_free(slot);
}

// Most likely our own new participant took the place; the pending one is heard now.
static void lost_to_pending(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	leg_gone(slot, cause->reason);
	swap_if_due(slot);
}

static void lost_while_resuming(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	slot->resuming = false;
	leg_gone(slot, cause->reason);
	snprintf(slot->swap.cause, sizeof(slot->swap.cause), "%s", cause->reason);
	build(slot);
}

static void shut_down(struct slot *slot, const struct slot_cause *cause)
{
	ENTERS(control_role);
	control_timer_stop(&slot->grace_timer);
	drop(slot);
	slot_swap_ended(slot, SWAP_FAILED, "shutting down");
	slot_answer_all(slot, "shutting down");
	slot_old_retire(slot);
	if (slot->leg == NULL)
		return;
	slot_ops.leg_leave(slot->leg, "shutdown");
	slot->leg = NULL;
	slot->grace = false;
	slot_disconnected(slot, "server_shutdown");
}

// ---- the table

static slot_action *const table[SLOT_PHASES][SLOT_EVENTS] = {
	[SLOT_IDLE] = {
		[SLOT_JOIN_ELSEWHERE] = join,
		[SLOT_LEAVE] = leave,
		[SLOT_LINGER_OVER] = forget,
		[SLOT_SHUTDOWN] = shut_down,
	},
	[SLOT_JOINING] = {
		[SLOT_JOIN_SHARED] = share,
		[SLOT_JOIN_ELSEWHERE] = join,
		[SLOT_LEAVE] = leave,
		[SLOT_CALLERS_GONE] = callers_gone,
		[SLOT_ACCEPTED] = accepted,
		[SLOT_READY] = ready,
		[SLOT_ARRIVED] = arrived,
		[SLOT_DATA] = data_open,
		[SLOT_FAILED] = failed,
		[SLOT_JOIN_LATE] = join_late,
		[SLOT_FRAME_LATE] = frame_late,
		[SLOT_SHUTDOWN] = shut_down,
	},
	[SLOT_LIVE] = {
		[SLOT_JOIN_HERE] = resume,
		[SLOT_JOIN_ELSEWHERE] = join,
		[SLOT_LEAVE] = leave,
		[SLOT_LOST] = lost,
		[SLOT_SHUTDOWN] = shut_down,
	},
	[SLOT_GRACE] = {
		[SLOT_JOIN_HERE] = resume,
		[SLOT_JOIN_ELSEWHERE] = join,
		[SLOT_LOST] = lost_in_grace,
		[SLOT_GRACE_OVER] = leave_now,
		[SLOT_SHUTDOWN] = shut_down,
	},
	[SLOT_RESUMING] = {
		[SLOT_JOIN_SHARED] = share,
		[SLOT_JOIN_HERE] = resume,
		[SLOT_JOIN_ELSEWHERE] = join,
		[SLOT_LEAVE] = leave,
		[SLOT_CALLERS_GONE] = callers_gone,
		[SLOT_RESUMED] = resumed,
		[SLOT_REFUSED] = join_anew,
		[SLOT_RESUME_FAILED] = resume_failed,
		[SLOT_LOST] = lost_while_resuming,
		[SLOT_JOIN_LATE] = join_late,
		[SLOT_SHUTDOWN] = shut_down,
	},
	[SLOT_SWAPPING] = {
		[SLOT_JOIN_SHARED] = share,
		[SLOT_JOIN_HERE] = resume,
		[SLOT_JOIN_ELSEWHERE] = join,
		[SLOT_LEAVE] = leave,
		[SLOT_CALLERS_GONE] = callers_gone,
		[SLOT_ACCEPTED] = accepted,
		[SLOT_READY] = ready,
		[SLOT_ARRIVED] = arrived,
		[SLOT_DATA] = data_open,
		[SLOT_FAILED] = failed,
		[SLOT_LOST] = lost_to_pending,
		[SLOT_JOIN_LATE] = join_late,
		[SLOT_FRAME_LATE] = frame_late,
		[SLOT_SHUTDOWN] = shut_down,
	},
};

slot_action *slot_action_of(enum slot_phase phase, enum slot_event event)
{
	return table[phase][event];
}

void slot_fire(struct slot *slot, enum slot_event event, const struct slot_cause *cause)
{
	static const struct slot_cause none = {0};
	slot_action *action = table[slot_phase(slot)][event];
	if (action != NULL)
		action(slot, cause != NULL ? cause : &none);
}
