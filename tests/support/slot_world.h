// SPDX-License-Identifier: ISC
//
// slot_world.h - included by a test: callers, a stream, and legs and a dataplane that do what the test says, around a slot.
//
// Runs on: control (played by the test); legs and the dataplane are the test's own.
#pragma once

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
static bool pcm_wanted = true;
static void fake_set_wanted(struct source *source, bool wanted)
{
	pcm_wanted = wanted;
}
static void fake_stats(const struct source *source, struct source_stats *ret_stats)
{
	*ret_stats = (struct source_stats){0};
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
