// SPDX-License-Identifier: ISC
//
// slot_join.c - JoinRoom at the door: arguments, places, callers and their answers; and what legs report, as events of the slot.
//
// Runs on: control. What follows from an event is slot_machine.c's.

#include "controlplane/slot_machine.h"

#include <stdlib.h>

#include "controlplane/log.h"

bool place_same_room(const struct place *a, const struct place *b)
{
	return strcmp(a->url, b->url) == 0 && strcmp(a->room, b->room) == 0;
}

bool place_equal(const struct place *a, const struct place *b)
{
	return place_same_room(a, b) && strcmp(a->identity, b->identity) == 0 && strcmp(a->target, b->target) == 0;
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

void slot_answer_all(struct slot *slot, const char *error)
{
	for (struct slot_join *join = callers_take(slot), *next; join != NULL; join = next) {
		next = join->next;
		if (error != NULL)
			slot_answer(join, false, error);
		else
			answer_success(slot, join);
	}
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

void slot_caller_add(struct slot *slot, struct slot_join *join)
{
	join->slot = slot;
	join->next = slot->callers;
	slot->callers = join;
}

// A JoinRoom that shares the leg being built has an account of its own, without figures.
static void account_shared(struct slot *slot, const struct slot_join *join) RUNS_ON(control_role)
{
	struct swap_record record = {.result = SWAP_SHARED, .from_generation = slot->leg_generation,
		.generation = slot->pending_generation, .at_ms = clock_wall_us() / 1000};
	snprintf(record.user_id, sizeof(record.user_id), "%s", slot->user_id);
	snprintf(record.room, sizeof(record.room), "%s", slot->pending_place.room);
	snprintf(record.reason, sizeof(record.reason), "new_join_request");
	if (slot->leg != NULL)
		swap_log_add(&record);
}

static enum slot_event join_event(const struct slot *slot, const struct place *place) RUNS_ON(control_role)
{
	bool on_its_way = slot->pending != NULL || slot->resuming;
	if (on_its_way && place_equal(&slot->pending_place, place))
		return SLOT_JOIN_SHARED;
	bool here = slot->leg != NULL && place_same_room(&slot->place, place) &&
		    strcmp(slot->place.identity, place->identity) == 0;
	return here && slot_ops.leg_resumable(slot->leg) ? SLOT_JOIN_HERE : SLOT_JOIN_ELSEWHERE;
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
	slot_wanted_renew(slot);
	enum slot_event event = join_event(slot, &place);
	if (event == SLOT_JOIN_SHARED)
		account_shared(slot, join);
	slot_fire(slot, event, &(struct slot_cause){.join = join, .place = &place});
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
	if (slot->callers == NULL)
		slot_fire(slot, SLOT_CALLERS_GONE, NULL);
}

// ---- what legs report

static void leg_state_changed(struct slot *slot, const struct leg *leg, const char *reason) RUNS_ON(control_role)
{
	bool recovering = slot_ops.leg_state(leg) == LEG_RECOVERING;
	slot->since_ms = clock_wall_us() / 1000;
	if (recovering)
		slot_disconnected(slot, reason);
	log_line(LOG_INFO, recovering ? "Connection lost, recovering" : "Connection regained", S("userId", slot->user_id),
		S("roomName", slot->place.room), S("reason", reason));
}

// Whose mute counts: the leg's that is heard, and a pending one's of the same publication.
static void muted(struct slot *slot, const struct leg *leg) RUNS_ON(control_role)
{
	bool same = place_same_room(&slot->place, &slot->pending_place) &&
		    strcmp(slot->place.target, slot->pending_place.target) == 0;
	if (leg == slot->leg || slot->leg == NULL || same)
		slot_ops.source_set_muted(slot->source, slot_ops.leg_track_muted(leg));
}

static void pending_event(struct slot *slot, enum leg_event_type type, const struct slot_cause *cause)
	RUNS_ON(control_role)
{
	static const enum slot_event events[] = {[LEG_EVENT_JOINED] = SLOT_ACCEPTED, [LEG_EVENT_READY] = SLOT_READY,
		[LEG_EVENT_ARRIVED] = SLOT_ARRIVED, [LEG_EVENT_DATA] = SLOT_DATA, [LEG_EVENT_FAILED] = SLOT_FAILED,
		[LEG_EVENT_LOST] = SLOT_FAILED};
	if (type == LEG_EVENT_MEDIA)
		slot_hear(slot);
	else if (type == LEG_EVENT_MUTED)
		muted(slot, slot->pending);
	else if (type < ARRAY_SIZE(events) && events[type] != 0)
		slot_fire(slot, events[type], cause);
}

static void current_event(struct slot *slot, enum leg_event_type type, const struct slot_cause *cause)
	RUNS_ON(control_role)
{
	static const enum slot_event events[] = {[LEG_EVENT_FAILED] = SLOT_LOST, [LEG_EVENT_LOST] = SLOT_LOST,
		[LEG_EVENT_RESUMED] = SLOT_RESUMED, [LEG_EVENT_REFUSED] = SLOT_REFUSED,
		[LEG_EVENT_RESUME_FAILED] = SLOT_RESUME_FAILED};
	if (type == LEG_EVENT_MEDIA)
		slot_hear(slot); // it has rejoined by itself
	else if (type == LEG_EVENT_MUTED)
		muted(slot, slot->leg);
	else if (type == LEG_EVENT_STATE)
		leg_state_changed(slot, slot->leg, cause->reason);
	else if (type == LEG_EVENT_HEARD || type == LEG_EVENT_ALIGNED)
		slot_progressed(slot);
	else if (type < ARRAY_SIZE(events) && events[type] != 0)
		slot_fire(slot, events[type], cause);
}

void slot_leg_event(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause)
{
	ENTERS(control_role);
	struct slot *slot = arg;
	struct slot_cause why = {.reason = reason, .cause = cause};
	if (leg == slot->pending)
		pending_event(slot, type, &why);
	else if (leg == slot->leg)
		current_event(slot, type, &why);
	else if (leg == slot->old && (type == LEG_EVENT_LOST || type == LEG_EVENT_FAILED))
		slot_old_retire(slot);
	// Anything else comes from a leg that has been replaced: it can touch nothing.
}
