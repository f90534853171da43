// SPDX-License-Identifier: ISC
//
// slot_test.c - the slot's table, cell by cell, and what must follow from whole stories: answers, streams, who is heard.
//
// Runs on: control (played by the test); legs and the dataplane are the test's own.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "controlplane/slot_machine.h"

struct leg {
	unsigned number;
	char target[64];
	bool left, silenced, frozen, resuming, accepted, resumable, muted, subscribed, data_open;
	transport_id transport;
	uint32_t generation;
	leg_event_fn *event;
	void *arg;
};

static struct leg legs[64];
static unsigned leg_count, resumes;
static struct hearing heard; // published last
static unsigned hearings;
static bool no_memory, progress_heard, progress_aligned, refuse_leg;
static struct config config = {.audio = {.ring_ms = 200},
	.limits = {.join_ms = 10000, .first_frame_ms = 500, .leave_grace_ms = 500, .slot_linger_ms = 60000, .max_sessions = 4}};

static struct leg *fake_join(const struct leg_config *c, struct err *err)
{
	if (refuse_leg) {
		err_set(err, EINVAL, "no");
		return NULL;
	}
	struct leg *leg = &legs[leg_count];
	*leg = (struct leg){.number = leg_count++, .generation = c->generation, .event = c->event, .arg = c->arg};
	snprintf(leg->target, sizeof(leg->target), "%s", c->target_identity);
	return leg;
}
static void fake_leave(struct leg *leg, const char *reason)
{
	assert_false(leg->left);
	leg->left = true;
}
static void fake_silence(struct leg *leg)
{
	leg->silenced = true;
}
static enum leg_state fake_state(const struct leg *leg)
{
	return LEG_CONNECTED;
}
static unsigned fake_participants(const struct leg *leg)
{
	return 2;
}
static bool fake_subscribed(const struct leg *leg)
{
	return leg->subscribed;
}
static bool fake_muted(const struct leg *leg)
{
	return leg->muted;
}
static bool fake_data_open(const struct leg *leg)
{
	return leg->data_open;
}
static transport_id fake_transport(const struct leg *leg)
{
	return leg->transport;
}
static uint32_t fake_voice(const struct leg *leg)
{
	return leg->generation;
}
static bool fake_resumable(const struct leg *leg)
{
	return leg->resumable;
}
static int fake_resume(struct leg *leg, const char *token, struct err *err)
{
	leg->resuming = true;
	resumes++;
	return 0;
}
static void fake_abandon(struct leg *leg)
{
	leg->resuming = leg->accepted = false;
}
static bool fake_accepted(const struct leg *leg)
{
	return leg->accepted;
}
static void fake_retarget(struct leg *leg, const char *target, uint32_t generation)
{
	snprintf(leg->target, sizeof(leg->target), "%s", target);
}
static void fake_set_generation(struct leg *leg, uint32_t generation)
{
	leg->generation = generation;
}
static void fake_freeze(struct leg *leg)
{
	leg->frozen = true;
}
static void fake_thaw(struct leg *leg)
{
	leg->frozen = false;
}
static struct source *fake_source_create(struct pcm *pcm, const struct source_config *c)
{
	return malloc(1);
}
static void fake_source_destroy(struct source *source)
{
	free(source);
}
static int fake_hear(struct source *source, const struct hearing *hearing)
{
	if (no_memory)
		return -ENOMEM;
	heard = *hearing;
	hearings++;
	return 0;
}
static void fake_progress(const struct source *source, bool *ret_heard, bool *ret_aligned)
{
	*ret_heard = progress_heard;
	*ret_aligned = progress_aligned;
}
static void fake_set_muted(struct source *source, bool muted)
{
}
static bool pcm_wanted = true, speaks_by_track;
static void fake_set_wanted(struct source *source, bool wanted)
{
	pcm_wanted = wanted;
}
static void fake_stats(const struct source *source, struct source_stats *ret_stats)
{
	*ret_stats = (struct source_stats){.input_is_track = speaks_by_track};
}

// ---- callers

#define CALLERS 8
static struct caller {
	struct slot_join join;
	char token[512];
	unsigned answers;
} callers[CALLERS];

static void on_done(struct slot_join *join)
{
	CONTAINER_OF(join, struct caller, join)->answers++;
}

static void base64url(const char *text, char *ret)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t bytes = strlen(text), out = 0;
	for (size_t i = 0; i < bytes; i += 3) {
		uint32_t v = (uint32_t)(uint8_t)text[i] << 16;
		v |= i + 1 < bytes ? (uint32_t)(uint8_t)text[i + 1] << 8 : 0;
		v |= i + 2 < bytes ? (uint8_t)text[i + 2] : 0;
		for (unsigned k = 0; k < 4 && i + k <= bytes; k++)
			ret[out++] = digits[v >> (18 - 6 * k) & 63];
	}
	ret[out] = '\0';
}

static struct caller *call(unsigned number, const char *room, const char *identity, const char *target)
{
	ENTERS(control_role);
	char claims[256], payload[400];
	struct caller *caller = &callers[number];
	*caller = (struct caller){0};
	snprintf(claims, sizeof(claims), "{\"sub\":\"%s\",\"video\":{\"room\":\"%s\",\"roomJoin\":true}}", identity, room);
	base64url(claims, payload);
	snprintf(caller->token, sizeof(caller->token), "eyJhbGciOiJIUzI1NiJ9.%s.c2ln", payload);
	caller->join = (struct slot_join){.user_id = "user", .room_name = room, .token = caller->token,
		.livekit_url = "ws://server:7880", .target_identity = target, .done = on_done};
	slot_join(&caller->join);
	return caller;
}

static void tell(struct leg *leg, enum leg_event_type type, const char *reason)
{
	if (!leg->silenced)
		leg->event(leg->arg, leg, type, reason, "a cause");
}

// The leg joins the room and hears the phone's track.
static void comes_up(struct leg *leg)
{
	leg->transport = 1000 + leg->number;
	tell(leg, LEG_EVENT_MEDIA, "");
	tell(leg, LEG_EVENT_JOINED, "");
	leg->subscribed = leg->resumable = true;
	tell(leg, LEG_EVENT_READY, "");
	tell(leg, LEG_EVENT_ARRIVED, "");
}

static struct leg *last_leg(void)
{
	return &legs[leg_count - 1];
}

// ---- a stream

static struct slot_stream stream;
static unsigned stream_ends;
static enum slot_stream_end stream_how;

static void on_stream_end(struct slot_stream *s, enum slot_stream_end how, const char *reason)
{
	stream_ends++;
	stream_how = how;
}

static void listen_in(void)
{
	ENTERS(control_role);
	stream = (struct slot_stream){.end = on_stream_end};
	stream_ends = 0;
	assert_int_equal(slot_stream_attach("user", &stream), 0);
	pcm_unref(stream.pcm);
}

// ---- one world per case

static void begin(void)
{
	struct err err;
	ENTERS(control_role);
	leg_count = resumes = hearings = 0;
	no_memory = progress_heard = progress_aligned = refuse_leg = false;
	heard = (struct hearing){0};
	slot_ops = (struct slot_ops){fake_join, fake_leave, fake_silence, fake_state, fake_participants, fake_subscribed, fake_muted,
		fake_data_open, fake_transport, fake_voice, fake_resumable, fake_resume, fake_abandon, fake_accepted, fake_retarget,
		fake_set_generation, fake_freeze, fake_thaw, fake_source_create, fake_source_destroy, fake_hear, fake_progress,
		fake_set_muted, fake_set_wanted, fake_stats};
	pcm_wanted = true;
	speaks_by_track = false;
	assert_int_equal(control_init(&err), 0);
	assert_int_equal(slots_init(&config, &err), 0);
	memset(callers, 0, sizeof(callers));
}

static void end(void)
{
	ENTERS(control_role);
	slots_finish();
	control_finish();
	for (unsigned i = 0; i < leg_count; i++)
		assert_true(legs[i].left); // whatever happened, nobody stays in a room
	for (unsigned i = 0; i < CALLERS; i++)
		assert_true(callers[i].answers <= 1);
}

static struct slot *in_phase(enum slot_phase phase)
{
	ENTERS(control_role);
	struct err err;
	begin();
	if (phase == SLOT_IDLE)
		return slot_make("user", &err);
	call(0, "room", "a", "phone");
	if (phase != SLOT_JOINING) {
		comes_up(last_leg());
		listen_in();
	}
	if (phase == SLOT_GRACE)
		assert_true(slot_leave("user", "test"));
	if (phase == SLOT_RESUMING)
		call(1, "room", "a", "phone");
	if (phase == SLOT_SWAPPING)
		call(1, "room", "b", "phone");
	struct slot *slot = slot_find("user");
	assert_int_equal(slot_phase(slot), phase);
	return slot;
}

// ---- cell by cell

enum { GONE = SLOT_PHASES };

// What a cell does: the phase afterwards, and what the caller that waits (caller 1, in JOINING caller 0) and the newcomer
// (caller 2, for the JOIN events) are told: "" success, NULL nothing yet, else a part of the error.
struct cell {
	enum slot_phase phase;
	enum slot_event event;
	int after;
	const char *waiting, *newcomer;
};

static const struct cell cells[] = {
	{SLOT_IDLE, SLOT_JOIN_ELSEWHERE, SLOT_JOINING, NULL, NULL},
	{SLOT_IDLE, SLOT_LEAVE, GONE, NULL, NULL},
	{SLOT_IDLE, SLOT_LINGER_OVER, GONE, NULL, NULL},
	{SLOT_IDLE, SLOT_SHUTDOWN, SLOT_IDLE, NULL, NULL},

	{SLOT_JOINING, SLOT_JOIN_SHARED, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_JOIN_ELSEWHERE, SLOT_JOINING, "superseded", NULL},
	{SLOT_JOINING, SLOT_LEAVE, GONE, "left", NULL},
	{SLOT_JOINING, SLOT_CALLERS_GONE, GONE, "cancelled", NULL},
	{SLOT_JOINING, SLOT_ACCEPTED, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_READY, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_ARRIVED, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_DATA, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_FAILED, SLOT_IDLE, "failed to connect to room: a cause", NULL},
	{SLOT_JOINING, SLOT_JOIN_LATE, SLOT_IDLE, "longer than its limit", NULL},
	{SLOT_JOINING, SLOT_FRAME_LATE, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_SHUTDOWN, SLOT_IDLE, "shutting down", NULL},

	{SLOT_LIVE, SLOT_JOIN_HERE, SLOT_RESUMING, NULL, NULL},
	{SLOT_LIVE, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, NULL, NULL},
	{SLOT_LIVE, SLOT_LEAVE, SLOT_GRACE, NULL, NULL},
	{SLOT_LIVE, SLOT_LOST, SLOT_IDLE, NULL, NULL},
	{SLOT_LIVE, SLOT_SHUTDOWN, SLOT_IDLE, NULL, NULL},

	{SLOT_GRACE, SLOT_JOIN_HERE, SLOT_RESUMING, NULL, NULL},
	{SLOT_GRACE, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, NULL, NULL},
	{SLOT_GRACE, SLOT_LOST, GONE, NULL, NULL},
	{SLOT_GRACE, SLOT_GRACE_OVER, GONE, NULL, NULL},
	{SLOT_GRACE, SLOT_SHUTDOWN, SLOT_IDLE, NULL, NULL},

	{SLOT_RESUMING, SLOT_JOIN_SHARED, SLOT_RESUMING, NULL, NULL},
	{SLOT_RESUMING, SLOT_JOIN_HERE, SLOT_RESUMING, "superseded", NULL},
	{SLOT_RESUMING, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, "superseded", NULL},
	{SLOT_RESUMING, SLOT_LEAVE, SLOT_GRACE, "left", NULL},
	{SLOT_RESUMING, SLOT_CALLERS_GONE, SLOT_LIVE, "cancelled", NULL},
	{SLOT_RESUMING, SLOT_RESUMED, SLOT_LIVE, "", NULL},
	{SLOT_RESUMING, SLOT_REFUSED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_RESUMING, SLOT_RESUME_FAILED, SLOT_LIVE, "failed to connect to room: a cause", NULL},
	{SLOT_RESUMING, SLOT_LOST, SLOT_JOINING, NULL, NULL},
	{SLOT_RESUMING, SLOT_JOIN_LATE, SLOT_LIVE, "longer than its limit", NULL},
	{SLOT_RESUMING, SLOT_SHUTDOWN, SLOT_IDLE, "shutting down", NULL},

	{SLOT_SWAPPING, SLOT_JOIN_SHARED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_JOIN_HERE, SLOT_RESUMING, "superseded", NULL},
	{SLOT_SWAPPING, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, "superseded", NULL},
	{SLOT_SWAPPING, SLOT_LEAVE, SLOT_GRACE, "left", NULL},
	{SLOT_SWAPPING, SLOT_CALLERS_GONE, SLOT_LIVE, "cancelled", NULL},
	{SLOT_SWAPPING, SLOT_ACCEPTED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_READY, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_ARRIVED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_DATA, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_FAILED, SLOT_LIVE, "failed to connect to room: a cause", NULL},
	{SLOT_SWAPPING, SLOT_LOST, SLOT_JOINING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_JOIN_LATE, SLOT_LIVE, "longer than its limit", NULL},
	{SLOT_SWAPPING, SLOT_FRAME_LATE, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_SHUTDOWN, SLOT_IDLE, "shutting down", NULL},
};

static void fire(struct slot *slot, enum slot_phase phase, enum slot_event event)
{
	ENTERS(control_role);
	struct caller *waiting = &callers[phase == SLOT_JOINING ? 0 : 1];
	switch (event) {
	case SLOT_JOIN_SHARED:
		call(2, "room", phase == SLOT_SWAPPING ? "b" : "a", "phone");
		break;
	case SLOT_JOIN_HERE:
		call(2, "room", "a", phase == SLOT_RESUMING ? "another phone" : "phone");
		break;
	case SLOT_JOIN_ELSEWHERE:
		call(2, "elsewhere", "a", "phone");
		break;
	case SLOT_CALLERS_GONE:
		slot_join_cancel(&waiting->join);
		break;
	case SLOT_LEAVE:
		slot_leave("user", "test");
		break;
	default:
		slot_fire(slot, event, &(struct slot_cause){.reason = "participant_removed", .cause = "a cause"});
	}
}

static void told(const struct caller *caller, const char *what, const char *where)
{
	if (what == NULL) {
		if (caller->answers != 0)
			fail_msg("%s: answered \"%s\"", where, caller->join.error);
		return;
	}
	if (caller->answers != 1)
		fail_msg("%s: %u answers", where, caller->answers);
	assert_int_equal(caller->join.success, what[0] == '\0');
	if (strstr(caller->join.error, what) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", where, caller->join.error, what);
}

static void every_cell(void **state)
{
	(void)state;
	ENTERS(control_role);
	unsigned acting = 0;
	for (int phase = 0; phase < SLOT_PHASES; phase++) {
		for (int event = 0; event < SLOT_EVENTS; event++) {
			const struct cell *cell = NULL;
			char where[64];
			snprintf(where, sizeof(where), "phase %s, event %d", slot_phase_text((enum slot_phase)phase), event);
			for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
				if ((int)cells[i].phase == phase && (int)cells[i].event == event)
					cell = &cells[i];
			struct slot *slot = in_phase((enum slot_phase)phase);
			if (cell == NULL) { // an event that says nothing there
				if (slot_action_of((enum slot_phase)phase, (enum slot_event)event) != NULL)
					fail_msg("%s: an action without a test", where);
				slot_fire(slot, (enum slot_event)event, NULL);
				if ((int)slot_phase(slot) != phase)
					fail_msg("%s: became %s", where, slot_phase_text(slot_phase(slot)));
				end();
				continue;
			}
			acting++;
			assert_non_null(slot_action_of((enum slot_phase)phase, (enum slot_event)event));
			fire(slot, cell->phase, cell->event);
			slot = slot_find("user");
			int after = slot == NULL ? GONE : (int)slot_phase(slot);
			if (after != cell->after)
				fail_msg("%s: became %d, expected %d", where, after, cell->after);
			if (cell->phase != SLOT_IDLE)
				told(&callers[phase == SLOT_JOINING ? 0 : 1], phase == SLOT_LIVE || phase == SLOT_GRACE ? NULL : cell->waiting,
					where);
			if (cell->event <= SLOT_JOIN_ELSEWHERE)
				told(&callers[2], cell->newcomer, where);
			end();
		}
	}
	assert_int_equal(acting, ARRAY_SIZE(cells));
}

// ---- stories

static void resume_keeps_the_transport(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_RESUMING);
	struct leg *leg = slot->leg;
	unsigned before = hearings;
	tell(leg, LEG_EVENT_RESUMED, "");
	told(&callers[1], "", "resume");
	assert_int_equal(callers[1].join.generation, 2);
	assert_ptr_equal(slot->leg, leg);
	assert_int_equal(leg_count, 1);
	assert_int_equal(hearings, before + 1);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_int_equal(heard.main.transport, leg->transport);
	assert_int_equal(heard.main.generation, 2);
	assert_false(heard.fence);
	assert_int_equal(stream_ends, 1);
	assert_int_equal(stream_how, SLOT_STREAM_OK);
	end();
}

static void resume_with_another_target_fences(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	call(1, "room", "a", "another phone");
	assert_int_equal(slot_phase(slot), SLOT_RESUMING);
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	assert_true(heard.fence);
	assert_string_equal(slot->leg->target, "another phone");
	end();
}

static void refused_resume_becomes_a_full_join(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_RESUMING);
	struct leg *old = slot->leg;
	tell(old, LEG_EVENT_REFUSED, "");
	assert_true(old->frozen);
	struct leg *fresh = last_leg();
	fresh->transport = 77;
	tell(fresh, LEG_EVENT_MEDIA, "");
	assert_int_equal(heard.mode, HEARING_BOTH); // heard as soon as it comes: the server removes the old one when it likes
	assert_int_equal(heard.main.transport, old->transport);
	assert_int_equal(heard.other.transport, 77);
	tell(fresh, LEG_EVENT_JOINED, "");
	tell(old, LEG_EVENT_LOST, "duplicate_identity");
	assert_int_equal(stream_ends, 0); // the join is the answer to that
	assert_int_equal(slot_phase(slot), SLOT_JOINING);
	slot_join_cancel(&callers[1].join); // no way back: only the answer is dropped
	assert_int_equal(slot_phase(slot), SLOT_JOINING);
	comes_up(fresh);
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(stream_ends, 1);
	assert_int_equal(heard.mode, HEARING_ONE);
	end();
}

static void failed_full_join_after_the_old_one_was_removed(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_RESUMING);
	struct leg *old = slot->leg;
	tell(old, LEG_EVENT_REFUSED, "");
	tell(last_leg(), LEG_EVENT_JOINED, "");
	tell(old, LEG_EVENT_LOST, "duplicate_identity");
	tell(last_leg(), LEG_EVENT_FAILED, "join_failed");
	told(&callers[1], "a cause", "failed full join");
	assert_int_equal(stream_ends, 1);
	assert_int_equal(stream_how, SLOT_STREAM_UNAVAILABLE); // production's client comes back on an error only
	assert_int_equal(slot_phase(slot), SLOT_IDLE);
	end();
}

static void overlap_until_both_brought_the_same(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_SWAPPING);
	struct leg *old = slot->leg, *fresh = slot->pending;
	fresh->transport = 55;
	tell(fresh, LEG_EVENT_MEDIA, "");
	assert_int_equal(heard.mode, HEARING_ALIGN);
	comes_up(fresh);
	told(&callers[1], "", "overlap");
	assert_int_equal(heard.mode, HEARING_BOTH);
	assert_int_equal(heard.main.transport, fresh->transport);
	assert_int_equal(heard.other.transport, old->transport);
	assert_ptr_equal(slot->old, old);
	tell(fresh, LEG_EVENT_ALIGNED, ""); // late, of the hearing before
	assert_ptr_equal(slot->old, old);
	progress_aligned = true;
	tell(fresh, LEG_EVENT_ALIGNED, "");
	assert_null(slot->old);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_true(old->silenced);
	end();
}

// Three are never heard at once: the newest waits for the oldest to be gone.
static void swap_while_the_last_one_drains(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_SWAPPING);
	comes_up(slot->pending);
	assert_non_null(slot->old);
	struct caller *third = call(2, "room", "c", "phone");
	struct leg *newest = last_leg();
	comes_up(newest);
	told(third, NULL, "third");
	assert_int_equal(heard.main.transport, slot->leg->transport);
	slot_old_retire(slot);
	told(third, "", "third");
	assert_ptr_equal(slot->leg, newest);
	assert_int_equal(heard.mode, HEARING_BOTH);
	end();
}

static void old_leg_that_is_lost_is_not_missed(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_SWAPPING);
	comes_up(slot->pending);
	listen_in();
	tell(slot->old, LEG_EVENT_LOST, "duplicate_identity");
	assert_null(slot->old);
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(stream_ends, 0);
	end();
}

static void another_room_is_held_until_the_swap(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	struct leg *old = slot->leg;
	call(1, "elsewhere", "a", "phone");
	struct leg *fresh = last_leg();
	fresh->transport = 9;
	tell(fresh, LEG_EVENT_MEDIA, "");
	assert_int_equal(heard.mode, HEARING_HOLD);
	assert_false(old->frozen);
	comes_up(fresh);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_true(heard.fence);
	assert_true(old->silenced);
	assert_null(slot->old);
	end();
}

static void silent_phone_does_not_hold_up_the_answer(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_JOINING);
	struct leg *leg = slot->pending;
	leg->subscribed = true;
	tell(leg, LEG_EVENT_READY, "");
	told(&callers[0], NULL, "silent");
	assert_true(control_timer_armed(&slot->frame_timer));
	slot_fire(slot, SLOT_FRAME_LATE, NULL);
	told(&callers[0], "", "silent");
	end();
	slot = in_phase(SLOT_JOINING); // no track: the data channels are what counts
	tell(slot->pending, LEG_EVENT_READY, "");
	told(&callers[0], NULL, "no track");
	slot->pending->data_open = true;
	tell(slot->pending, LEG_EVENT_DATA, "");
	told(&callers[0], "", "no track");
	end();
}

static void twenty_share_and_the_last_to_go_counts(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_JOINING);
	for (unsigned i = 1; i < CALLERS; i++)
		call(i, "room", "a", "phone");
	assert_int_equal(leg_count, 1);
	slot_join_cancel(&callers[3].join);
	assert_int_equal(slot_phase(slot), SLOT_JOINING);
	comes_up(slot->pending);
	for (unsigned i = 0; i < CALLERS; i++)
		told(&callers[i], i == 3 ? "cancelled" : "", "shared");
	end();
}

static void late_events_touch_nothing(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_SWAPPING);
	struct leg *given_up = slot->pending;
	call(2, "room", "c", "phone"); // supersedes it
	assert_true(given_up->silenced);
	static const enum leg_event_type late[] = {LEG_EVENT_READY, LEG_EVENT_ARRIVED, LEG_EVENT_FAILED, LEG_EVENT_LOST,
		LEG_EVENT_RESUMED, LEG_EVENT_STATE, LEG_EVENT_MEDIA, LEG_EVENT_MUTED};
	unsigned before = hearings;
	for (size_t i = 0; i < ARRAY_SIZE(late); i++)
		slot_leg_event(slot, given_up, late[i], "participant_removed", "");
	assert_int_equal(slot_phase(slot), SLOT_SWAPPING);
	assert_int_equal(hearings, before);
	assert_int_equal(stream_ends, 0);
	end();
}

static void who_is_told_what_when_the_room_is_lost(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		enum slot_stream_end how;
	} cases[] = {{"duplicate_identity", SLOT_STREAM_OK}, {"participant_removed", SLOT_STREAM_UNAVAILABLE},
		{"room_deleted", SLOT_STREAM_UNAVAILABLE}, {"transport_lost", SLOT_STREAM_UNAVAILABLE}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slot *slot = in_phase(SLOT_LIVE);
		tell(slot->leg, LEG_EVENT_LOST, cases[i].reason);
		assert_int_equal(stream_ends, 1);
		assert_int_equal(stream_how, cases[i].how);
		assert_int_equal(slot_phase(slot), SLOT_IDLE);
		assert_string_equal(slot->last_disconnect_reason, cases[i].reason);
		assert_true(control_timer_armed(&slot->linger_timer));
		end();
	}
}

static void grace_comes_back_after_a_failed_join(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_GRACE);
	call(1, "room", "a", "phone");
	assert_false(control_timer_armed(&slot->grace_timer));
	tell(slot->leg, LEG_EVENT_RESUME_FAILED, "");
	assert_int_equal(slot_phase(slot), SLOT_GRACE);
	assert_true(control_timer_armed(&slot->grace_timer));
	call(2, "room", "a", "phone");
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_false(control_timer_armed(&slot->grace_timer));
	end();
}

static void cancelled_resume_past_the_point_of_no_return(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_RESUMING);
	slot->leg->accepted = true;
	slot_join_cancel(&callers[1].join);
	assert_int_equal(slot_phase(slot), SLOT_RESUMING);
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(slot->leg_generation, 2);
	end();
}

static void no_memory_for_a_hearing_is_made_up_for(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_LIVE);
	call(1, "elsewhere", "a", "phone");
	no_memory = true;
	comes_up(last_leg());
	assert_true(control_timer_armed(&slot->hear_timer));
	no_memory = false;
	slot->hear_timer.fn(slot->hear_timer.arg);
	assert_int_equal(heard.main.transport, slot->leg->transport);
	assert_true(heard.fence);
	end();
}

static void legs_that_cannot_be_made(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	refuse_leg = true;
	struct caller *caller = call(1, "elsewhere", "a", "phone");
	told(caller, "failed to connect to room: no", "refused");
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(stream_ends, 0);
	end();
}

static void run_out(struct control_timer *timer)
{
	ENTERS(control_role);
	assert_true(control_timer_armed(timer));
	void (*fn)(void *) = timer->fn;
	void *arg = timer->arg;
	control_timer_stop(timer);
	fn(arg);
}

static void pcm_is_wanted_from_a_join_until_the_last_has_left(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_JOINING); // nobody listens yet, somebody may
	assert_true(pcm_wanted);
	assert_true(control_timer_armed(&slot->wanted_timer));
	comes_up(slot->pending);
	listen_in();
	assert_false(control_timer_armed(&slot->wanted_timer));
	slot_stream_detach(&stream);
	assert_true(pcm_wanted); // it may come back for what is in the ring
	run_out(&slot->wanted_timer);
	assert_false(pcm_wanted);

	slot->next_frame = 7; // older than the ring is long by now
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES};
	for (int i = 0; i < 9; i++) {
		ENTERS(worker_role);
		pcm_write(slot->pcm, &frame);
	}
	listen_in(); // data packets have been written all the time
	assert_true(pcm_wanted);
	assert_int_equal(stream.cursor, 7);
	slot_stream_detach(&stream);
	run_out(&slot->wanted_timer);
	speaks_by_track = true;
	listen_in();
	assert_int_equal(stream.cursor, 9); // the track from now on
	slot_stream_detach(&stream);
	run_out(&slot->wanted_timer);
	assert_false(pcm_wanted);
	call(1, "room", "a", "phone"); // a cloud that comes back joins first, then listens
	assert_true(pcm_wanted);
	assert_true(control_timer_armed(&slot->wanted_timer));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell),
		cmocka_unit_test(resume_keeps_the_transport),
		cmocka_unit_test(resume_with_another_target_fences),
		cmocka_unit_test(refused_resume_becomes_a_full_join),
		cmocka_unit_test(failed_full_join_after_the_old_one_was_removed),
		cmocka_unit_test(overlap_until_both_brought_the_same),
		cmocka_unit_test(swap_while_the_last_one_drains),
		cmocka_unit_test(old_leg_that_is_lost_is_not_missed),
		cmocka_unit_test(another_room_is_held_until_the_swap),
		cmocka_unit_test(silent_phone_does_not_hold_up_the_answer),
		cmocka_unit_test(twenty_share_and_the_last_to_go_counts),
		cmocka_unit_test(late_events_touch_nothing),
		cmocka_unit_test(who_is_told_what_when_the_room_is_lost),
		cmocka_unit_test(grace_comes_back_after_a_failed_join),
		cmocka_unit_test(cancelled_resume_past_the_point_of_no_return),
		cmocka_unit_test(no_memory_for_a_hearing_is_made_up_for),
		cmocka_unit_test(legs_that_cannot_be_made),
		cmocka_unit_test(pcm_is_wanted_from_a_join_until_the_last_has_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
