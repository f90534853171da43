// SPDX-License-Identifier: ISC
//
// alloc_join_test.c - a user's whole story, from the first JoinRoom over a resume and a move to another room to the end, with each
// of its allocations failing: every caller gets one answer, a refusal has its reason, and nothing stays behind.
//
// Runs on: control (played by the test); WebSockets and the dataplane are the test's own, slot and leg are real.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/alloc_failure.h"

#include "controlplane/slot_state.h"
#include "tests/support/leg_world.h"

// {"sub":"bridge","video":{"room":"room"}}, {"sub":"bridge","video":{"room":"elsewhere"}}
#define HERE "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.c2ln"
#define THERE "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoiZWxzZXdoZXJlIn19.c2ln"
#define REASON_MIN 32 // "failed to connect to room: " and more

static unsigned sources;
static char no_file[] = "";
static struct config config = {.livekit = {.ca_file = no_file}, .audio = {.ring_ms = 200},
	.limits = {.join_ms = 10000, .signal_ms = 5000, .transport_ms = 5000, .first_frame_ms = 500, .leave_grace_ms = 500,
		.slot_linger_ms = 60000, .recover_limit_ms = 60000, .max_sessions = 4}};

// ---- the dataplane

static struct source *fake_source_create(struct pcm *pcm, const struct source_config *c)
{
	struct source *source = malloc(1);
	sources += source != NULL;
	return source;
}
static void fake_source_destroy(struct source *source)
{
	sources--;
	free(source);
}
static int fake_hear(struct source *source, const struct hearing *hearing)
{
	void *fresh = malloc(1); // as the dataplane does
	free(fresh);
	return fresh != NULL ? 0 : -ENOMEM;
}
static void fake_progress(const struct source *source, bool *ret_heard, bool *ret_aligned)
{
	*ret_heard = *ret_aligned = true;
}
static void fake_muted(struct source *source, bool muted)
{
}
static void fake_stats(const struct source *source, struct source_stats *ret_stats)
{
	*ret_stats = (struct source_stats){0};
}

// ---- what happens

static struct caller {
	struct slot_join join;
	unsigned answers;
} callers[4];

static void on_done(struct slot_join *join)
{
	CONTAINER_OF(join, struct caller, join)->answers++;
}

static void call(unsigned number, const char *token) RUNS_ON(control_role)
{
	callers[number] = (struct caller){0};
	callers[number].join = (struct slot_join){.user_id = "user", .room_name = "room", .token = token,
		.livekit_url = "ws://server:7880", .target_identity = "phone", .done = on_done};
	slot_join(&callers[number].join);
}

static void fire(struct control_timer *timer) RUNS_ON(control_role)
{
	if (!control_timer_armed(timer))
		return;
	void (*fn)(void *) = timer->fn;
	void *arg = timer->arg;
	control_timer_stop(timer);
	fn(arg);
}

// The bytes are made where nothing fails; it is the decoder that shall.
static void say(struct ws *ws, const Livekit__SignalResponse *response)
{
	uint8_t data[2048];
	size_t bytes = livekit__signal_response__pack(response, data);
	struct ws_event event = {.type = WS_MESSAGE, .data = data, .bytes = bytes};
	if (!ws->closed)
		ws->event(ws->arg, ws, &event);
}

static void says_join(struct ws *ws)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__JoinResponse join = LIVEKIT__JOIN_RESPONSE__INIT;
	Livekit__ParticipantInfo self = LIVEKIT__PARTICIPANT_INFO__INIT, other = LIVEKIT__PARTICIPANT_INFO__INIT, *others[12];
	char sids[12][16];
	Livekit__ParticipantInfo infos[12];
	self.sid = (char[]){"PA_us"};
	for (unsigned i = 0; i < 12; i++) {
		infos[i] = other;
		snprintf(sids[i], sizeof(sids[i]), "PA_%u", i);
		infos[i].sid = sids[i];
		others[i] = &infos[i];
	}
	join.participant = &self;
	join.n_other_participants = 12;
	join.other_participants = others;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
	response.join = &join;
	say(ws, &response);
}

static void says_reconnect(struct ws *ws)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__ReconnectResponse reconnect = LIVEKIT__RECONNECT_RESPONSE__INIT;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT;
	response.reconnect = &reconnect;
	say(ws, &response);
}

static void says_token(struct ws *ws)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN;
	response.refresh_token = (char[]){HERE};
	say(ws, &response);
}

static void transport_is(struct leg *leg, enum dataplane_event_type type, enum transport_state state) RUNS_ON(control_role)
{
	if (leg->transport_open)
		leg_transport_event(&(struct dataplane_event){.type = type, .transport = leg->transport, .state = state});
}

static struct slot *the_slot(void) RUNS_ON(control_role)
{
	return slot_find("user");
}

// The leg that is being built gets its answer from the server, and its media path.
static void pending_comes_up(void) RUNS_ON(control_role)
{
	struct slot *slot = the_slot();
	if (slot != NULL && slot->pending != NULL)
		fire(&slot->pending->retry_timer);
	if (socket_count > 0)
		says_join(&sockets[socket_count - 1]);
	slot = the_slot();
	if (slot != NULL && slot->pending != NULL)
		transport_is(slot->pending, TRANSPORT_EVENT_STATE, TRANSPORT_CONNECTED);
	slot = the_slot();
	if (slot != NULL)
		fire(&slot->frame_timer);
}

static void resume_comes_through(void) RUNS_ON(control_role)
{
	struct slot *slot = the_slot();
	if (slot == NULL || slot->leg == NULL)
		return;
	if (slot->leg->takeover.ws != NULL)
		says_reconnect(slot->leg->takeover.ws);
	slot = the_slot();
	if (slot != NULL && slot->leg != NULL)
		transport_is(slot->leg, TRANSPORT_EVENT_PROBED, TRANSPORT_CONNECTED);
}

// Whoever still waits is answered by its limit.
static void limit_passes(void) RUNS_ON(control_role)
{
	struct slot *slot = the_slot();
	if (slot != NULL)
		fire(&slot->join_timer);
}

static void expect_answers(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(callers[i].answers, 1);
		if (callers[i].join.success)
			continue;
		assert_true(alloc_failed > 0);
		if (strlen(callers[i].join.error) < REASON_MIN && strstr(callers[i].join.error, "memory") == NULL)
			fail_msg("caller %u: \"%s\", failing %lu", i, callers[i].join.error, alloc_fail_at);
	}
}

static void world_begin(void)
{
	ENTERS(control_role);
	struct err err = {""};
	struct control_timer warm = {0};
	alloc_armed = false;
	sources = 0;
	leg_world_begin();
	slot_ops.source_create = fake_source_create;
	slot_ops.source_destroy = fake_source_destroy;
	slot_ops.source_hear = fake_hear;
	slot_ops.source_progress = fake_progress;
	slot_ops.source_set_muted = fake_muted;
	slot_ops.source_stats = fake_stats;
	assert_int_equal(control_init(&err), 0);
	control_timer_start(&warm, 1000, NULL, NULL); // the heap of timers has its room: without it the program would stop by itself
	control_timer_stop(&warm);
	assert_int_equal(slots_init(&config, &err), 0);
	alloc_armed = true;
}

static void story_user(void)
{
	ENTERS(control_role);
	world_begin();
	call(0, HERE);
	pending_comes_up();
	limit_passes();
	if (alloc_failed == 0)
		assert_true(callers[0].join.success);
	struct slot *slot = the_slot();
	if (slot != NULL && slot->leg != NULL && slot->leg->ws != NULL)
		says_token(slot->leg->ws);
	call(1, HERE);
	resume_comes_through();
	pending_comes_up();
	limit_passes();
	if (alloc_failed == 0)
		assert_true(callers[1].join.success && opens == 1);
	call(2, THERE);
	pending_comes_up();
	limit_passes();
	if (alloc_failed == 0)
		assert_true(callers[2].join.success && opens == 2);
	expect_answers(3);
	slot_leave("user", "test");
	slot = the_slot();
	if (slot != NULL)
		fire(&slot->grace_timer);
	slots_finish();
	control_finish();
	assert_true(leg_world_is_over());
	assert_int_equal(sources, 0);
}

static void user_without_memory(void **state)
{
	(void)state;
	alloc_failures("join, resume, move, leave", story_user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(user_without_memory)};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
