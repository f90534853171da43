// SPDX-License-Identifier: ISC
//
// slot_join.c - JoinRoom: shared, superseded, swapped, failed, cancelled; and what legs report.
//
// Runs on: control. A new leg is built beside the old one and takes its place when it is ready; until then the old one is
// heard. A join that fails leaves the old leg as it was. LiveKit itself removes the old participant when the new one has the
// same identity: that loss is not reported, the join is the answer to it.

#include "controlplane/slot_state.h"

#include <stdlib.h>

#include "controlplane/log.h"

bool place_equal(const struct place *a, const struct place *b)
{
	return strcmp(a->url, b->url) == 0 && strcmp(a->room, b->room) == 0 && strcmp(a->identity, b->identity) == 0 &&
	       strcmp(a->target, b->target) == 0;
}

static int place_read(const struct slot_join *join, struct place *ret_place, struct err *err)
{
	struct url url;
	struct token token;
	int ret = url_parse(join->livekit_url, &url, err);
	if (ret == 0)
		ret = token_read(join->token, &token, err);
	if (ret == 0)
		ret = url_format(&url, false, "", ret_place->url, sizeof(ret_place->url));
	if (ret < 0)
		return ret;
	snprintf(ret_place->room, sizeof(ret_place->room), "%s", token.room);
	snprintf(ret_place->identity, sizeof(ret_place->identity), "%s", token.identity);
	snprintf(ret_place->target, sizeof(ret_place->target), "%s", join->target_identity);
	return 0;
}

// ---- answers

void slot_answer(struct slot_join *join, bool success, const char *error)
{
	if (join->answered)
		return;
	join->answered = true;
	join->success = success;
	log_redact(error, join->error, sizeof(join->error));
	if (!success) {
		slots.totals.joins_failed++;
		log_line(LOG_WARN, "JoinRoom failed", S("userId", join->user_id), S("roomName", join->room_name),
			S("error", join->error));
	}
	join->slot = NULL;
	join->done(join);
}

static void answer_success(struct slot *slot, struct slot_join *join) RUNS_ON(control_role)
{
	snprintf(join->participant_id, sizeof(join->participant_id), "%s", slot->place.identity);
	join->participant_count = slot_ops.leg_participant_count(slot->leg);
	join->generation = slot->leg_generation;
	log_line(LOG_INFO, "Successfully joined room", S("userId", slot->user_id), S("roomName", slot->place.room),
		S("participantId", slot->place.identity), I("participantCount", join->participant_count),
		I("generation", slot->leg_generation));
	slot_answer(join, true, "");
}

static struct slot_join *callers_take(struct slot *slot)
{
	struct slot_join *callers = slot->callers;
	slot->callers = NULL;
	return callers;
}

static void answer_all(struct slot *slot, const char *error) RUNS_ON(control_role)
{
	for (struct slot_join *join = callers_take(slot), *next; join != NULL; join = next) {
		next = join->next;
		if (error != NULL)
			slot_answer(join, false, error);
		else
			answer_success(slot, join);
	}
}

void slot_pending_drop(struct slot *slot, const char *answer)
{
	struct leg *pending = slot->pending;
	slot->pending = NULL;
	slot->pending_ready = slot->pending_frame = false;
	control_timer_stop(&slot->join_timer);
	control_timer_stop(&slot->frame_timer);
	if (pending != NULL) {
		if (slot->leg != NULL)
			slot_ops.source_activate(slot->source, slot->leg_generation);
		slot_leg_leave_later(pending, "join given up");
	}
	if (answer != NULL)
		answer_all(slot, answer);
}

// ---- legs that leave from inside their own callbacks

struct later {
	struct leg *leg;
	char reason[32];
};

static void leave_later(void *arg)
{
	ENTERS(control_role);
	struct later *later = arg;
	slot_ops.leg_leave(later->leg, later->reason);
	free(later);
}

void slot_leg_leave_later(struct leg *leg, const char *reason)
{
	struct later *later = malloc(sizeof(*later));
	if (later == NULL) {
		slot_ops.leg_leave(leg, reason);
		return;
	}
	later->leg = leg;
	snprintf(later->reason, sizeof(later->reason), "%s", reason);
	if (control_post(leave_later, later) < 0)
		leave_later(later);
}

// ---- the swap

// The pending leg becomes the one that is heard; the callers get their answer.
static void swap(struct slot *slot) RUNS_ON(control_role)
{
	struct leg *old = slot->leg;
	bool other_voice = old != NULL && !place_equal(&slot->place, &slot->pending_place);
	control_timer_stop(&slot->join_timer);
	control_timer_stop(&slot->frame_timer);
	control_timer_stop(&slot->grace_timer);
	slot->grace = false;
	slot->leg = slot->pending;
	slot->leg_generation = slot->pending_generation;
	slot->place = slot->pending_place;
	slot->pending = NULL;
	slot->pending_ready = slot->pending_frame = false;
	slot->since_ms = clock_wall_us() / 1000;
	if (slot->swaps++ > 0 || old != NULL)
		slots.totals.swaps++;
	if (other_voice)
		slot_ops.source_fence(slot->source);
	slot_ops.source_activate(slot->source, slot->leg_generation);
	if (old != NULL) {
		slot_stream_finish(slot, SLOT_STREAM_OK, "replaced");
		slot_leg_leave_later(old, "replaced");
	}
	answer_all(slot, NULL);
	slot_settle(slot);
}

static void on_frame_late(void *arg)
{
	ENTERS(control_role);
	swap(arg); // a silent phone never holds up the answer
}

static void pending_failed(struct slot *slot, const char *cause) RUNS_ON(control_role)
{
	char error[512];
	snprintf(error, sizeof(error), "failed to connect to room: %s", cause);
	if (slot->leg == NULL)
		slot_disconnected(slot, "join_failed");
	slot_pending_drop(slot, error);
	if (slot->grace)
		slot_leave_again(slot);
	slot_settle(slot);
}

static void on_join_late(void *arg)
{
	ENTERS(control_role);
	pending_failed(arg, "the join took longer than its limit");
}

// ---- JoinRoom

static const char *argument_missing(const struct slot_join *join)
{
	if (join->user_id[0] == '\0')
		return "user_id is empty";
	if (strlen(join->user_id) > SLOT_USER_MAX)
		return "user_id is longer than 256 bytes";
	if (join->livekit_url[0] == '\0')
		return "livekit_url is empty";
	if (join->token[0] == '\0')
		return "token is empty";
	if (strlen(join->target_identity) >= TOKEN_NAME_MAX)
		return "target_identity is longer than 256 bytes";
	return NULL;
}

static void begin(struct slot *slot, struct slot_join *join, const struct place *place) RUNS_ON(control_role)
{
	struct err err = {""};
	struct leg_config config = {
		.config = slots.config,
		.url = join->livekit_url,
		.token = join->token,
		.target_identity = join->target_identity,
		.user_id = slot->user_id,
		.generation = ++slot->generation,
		.source = slot->source,
		.event = slot_leg_event,
		.arg = slot,
	};
	slot->pending_place = *place;
	slot->pending_generation = config.generation;
	slot->pending = slot_ops.leg_join(&config, &err);
	if (slot->pending == NULL) {
		pending_failed(slot, err.text);
		return;
	}
	// With nobody else to hear, the new leg is heard from its first packet.
	if (slot->leg == NULL)
		slot_ops.source_activate(slot->source, slot->pending_generation);
	control_timer_start(&slot->join_timer, slots.config->limits.join_ms, on_join_late, slot);
}

static void caller_add(struct slot *slot, struct slot_join *join)
{
	join->slot = slot;
	join->next = slot->callers;
	slot->callers = join;
}

void slot_join(struct slot_join *join)
{
	struct err err = {""};
	struct place place;
	join->answered = false;
	join->slot = NULL;
	join->next = NULL;
	slots.totals.joins++;
	const char *missing = slots.draining ? "shutting down" : argument_missing(join);
	if (missing != NULL) {
		slot_answer(join, false, missing);
		return;
	}
	if (place_read(join, &place, &err) < 0) {
		char error[sizeof(err.text) + 32];
		snprintf(error, sizeof(error), "failed to connect to room: %s", err.text);
		slot_answer(join, false, error);
		return;
	}
	struct slot *slot = slot_find(join->user_id);
	if (slot == NULL)
		slot = slot_make(join->user_id, &err);
	if (slot == NULL) {
		slot_answer(join, false, err.text);
		return;
	}
	slot->joins++;
	if (slot->leg != NULL)
		log_line(LOG_INFO, "Replacing existing bridge session", S("userId", slot->user_id),
			S("roomName", join->room_name), S("reason", "new_join_request"));
	control_timer_stop(&slot->linger_timer);
	if (slot->pending != NULL && place_equal(&slot->pending_place, &place)) {
		caller_add(slot, join); // one leg for all of them
		return;
	}
	if (slot->pending != NULL) {
		slots.totals.joins_superseded++;
		slot_pending_drop(slot, "superseded by a newer join request");
	}
	// Left a moment ago and back at the same place: the leg never went.
	if (slot->grace && slot->leg != NULL && slot_ops.leg_state(slot->leg) == LEG_CONNECTED &&
		place_equal(&slot->place, &place)) {
		control_timer_stop(&slot->grace_timer);
		slot->grace = false;
		slot->since_ms = clock_wall_us() / 1000;
		slots.totals.swaps++;
		answer_success(slot, join);
		return;
	}
	if (slot->grace) // the leave waits for nothing more than the new leg
		control_timer_stop(&slot->grace_timer);
	caller_add(slot, join);
	begin(slot, join, &place);
}

void slot_join_cancel(struct slot_join *join)
{
	struct slot *slot = join->slot;
	if (join->answered || slot == NULL)
		return;
	struct slot_join **link = &slot->callers;
	while (*link != NULL && *link != join)
		link = &(*link)->next;
	if (*link == join)
		*link = join->next;
	slot_answer(join, false, "cancelled by the caller");
	if (slot->callers != NULL)
		return;
	// The last caller is gone: nothing of the join may appear later.
	slot_pending_drop(slot, NULL);
	if (slot->leg == NULL && slot->stream == NULL && slot->last_disconnect_at_ms == 0)
		slot_free(slot);
	else if (slot->grace)
		slot_leave_again(slot);
	else
		slot_settle(slot);
}

// ---- what legs report

static void leg_lost(struct slot *slot, const char *reason, const char *cause) RUNS_ON(control_role)
{
	slot_leg_leave_later(slot->leg, reason);
	slot->leg = NULL;
	if (slot->pending != NULL) { // most likely our own new participant took the place: that one is heard now
		slot_ops.source_activate(slot->source, slot->pending_generation);
		return;
	}
	log_line(LOG_WARN, "Room lost", S("userId", slot->user_id), S("roomName", slot->place.room), S("reason", reason),
		S("cause", cause));
	if (slot->grace) {
		control_timer_stop(&slot->grace_timer);
		slot_free(slot);
		return;
	}
	slot_disconnected(slot, reason);
	// OK on a stolen identity: an error would make production's client steal it back every 2 s.
	if (strcmp(reason, "duplicate_identity") == 0)
		slot_stream_finish(slot, SLOT_STREAM_OK, reason);
	else
		slot_stream_finish(slot, SLOT_STREAM_UNAVAILABLE, reason);
	slot_settle(slot);
}

static void pending_event(struct slot *slot, enum leg_event_type type, const char *reason, const char *cause)
	RUNS_ON(control_role)
{
	switch (type) {
	case LEG_EVENT_READY:
		slot->pending_ready = true;
		if (!slot->pending_frame && slot_ops.leg_track_subscribed(slot->pending) && !slot_ops.leg_track_muted(slot->pending) &&
			slots.config->limits.first_frame_ms > 0)
			control_timer_start(&slot->frame_timer, slots.config->limits.first_frame_ms, on_frame_late, slot);
		else
			swap(slot);
		break;
	case LEG_EVENT_FRAME:
		slot->pending_frame = true;
		if (slot->pending_ready)
			swap(slot);
		break;
	case LEG_EVENT_FAILED:
	case LEG_EVENT_LOST:
		pending_failed(slot, cause != NULL && cause[0] ? cause : reason);
		break;
	case LEG_EVENT_STATE:
		break;
	}
}

void slot_leg_event(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause)
{
	ENTERS(control_role);
	struct slot *slot = arg;
	if (leg == slot->pending) {
		pending_event(slot, type, reason, cause);
	} else if (leg == slot->leg) {
		if (type == LEG_EVENT_LOST || type == LEG_EVENT_FAILED) {
			leg_lost(slot, reason, cause);
		} else if (type == LEG_EVENT_STATE) {
			slot->since_ms = clock_wall_us() / 1000;
			if (slot_ops.leg_state(leg) == LEG_RECOVERING)
				slot_disconnected(slot, reason);
			log_line(LOG_INFO, slot_ops.leg_state(leg) == LEG_RECOVERING ? "Connection lost, recovering"
										     : "Connection regained",
				S("userId", slot->user_id), S("roomName", slot->place.room), S("reason", reason));
		}
	}
	// Anything else comes from a leg that has been replaced: it can touch nothing.
}
