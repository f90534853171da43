// SPDX-License-Identifier: ISC
//
// leg_test.c - what a leg does by itself: joins, resumes, restarts ICE, rejoins, gives up; and how a JoinRoom takes it over.
//
// Runs on: control (played by the test); WebSockets and transports are the test's own.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "tests/support/leg_server.h"

static unsigned leaves, offers, subscriptions, lines;
static uint32_t last_offer_id;
static struct leg *leg;
static unsigned events[LEG_EVENT_RESUME_FAILED + 1];
static char last_reason[32], last_cause[512];

// {"sub":"bridge","video":{"room":"room"}}
#define TOKEN "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.c2ln"
#define FRESH "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.bmV3"

void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);
void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	lines++;
}

static int count_send(struct ws *ws, const void *data, size_t bytes)
{
	Livekit__SignalRequest *request = livekit__signal_request__unpack(NULL, bytes, data);
	assert_non_null(request);
	leaves += request->message_case == LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE;
	subscriptions += request->message_case == LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION;
	if (request->message_case == LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER) {
		offers++;
		last_offer_id = request->offer->id;
	}
	livekit__signal_request__free_unpacked(request, NULL);
	return 0;
}

static void on_event(void *arg, struct leg *from, enum leg_event_type type, const char *reason, const char *cause)
{
	events[type]++;
	snprintf(last_reason, sizeof(last_reason), "%s", reason);
	snprintf(last_cause, sizeof(last_cause), "%s", cause);
}

static void transport_is(enum transport_state state)
{
	ENTERS(control_role);
	struct dataplane_event event = {.type = TRANSPORT_EVENT_STATE, .transport = leg->transport, .state = state, .reason = "why"};
	leg_transport_event(&event);
}

static void probed(void)
{
	ENTERS(control_role);
	leg_transport_event(&(struct dataplane_event){.type = TRANSPORT_EVENT_PROBED, .transport = leg->transport});
}

static void timer_runs_out(struct control_timer *timer)
{
	ENTERS(control_role);
	assert_true(control_timer_armed(timer));
	void (*fn)(void *) = timer->fn;
	void *arg = timer->arg;
	control_timer_stop(timer);
	fn(arg);
}

static struct ws *last(void)
{
	return &sockets[socket_count - 1];
}

// ---- one leg per case, connected

static struct config config = {.limits = {.signal_ms = 5000, .transport_ms = 5000, .recover_limit_ms = 60000}};
static char ca_file[] = "";

static int joining(void **state)
{
	ENTERS(control_role);
	struct err err = {""};
	leaves = offers = subscriptions = 0;
	leg_world_begin();
	leg_ops.ws_send = count_send;
	memset(events, 0, sizeof(events));
	config.livekit.ca_file = ca_file;
	assert_int_equal(control_init(&err), 0);
	struct leg_config c = {.config = &config, .url = "ws://server:7880", .token = TOKEN, .target_identity = "phone",
		.user_id = "user", .generation = 1, .event = on_event};
	leg = leg_join(&c, &err);
	assert_non_null(leg);
	timer_runs_out(&leg->retry_timer); // dials a turn of the loop later
	return 0;
}

static int connected(void **state)
{
	joining(state);
	says_join(last());
	transport_is(TRANSPORT_CONNECTED);
	assert_int_equal(events[LEG_EVENT_READY], 1);
	return 0;
}

static int over(void **state)
{
	ENTERS(control_role);
	leg_leave(leg, "test");
	control_finish();
	assert_int_equal(opens, closes);
	for (unsigned i = 0; i < socket_count; i++)
		assert_true(sockets[i].closed);
	return 0;
}

static bool resumes(const struct ws *ws)
{
	return strstr(ws->url, "join_request=") != NULL && strlen(ws->url) > 0 && leg->resuming;
}

// ---- by itself

static void join_reports_each_step(void **state)
{
	(void)state;
	assert_int_equal(events[LEG_EVENT_MEDIA], 1);
	assert_int_equal(events[LEG_EVENT_JOINED], 1);
	assert_int_equal(offers, 1);
	assert_int_equal(leg->state, LEG_CONNECTED);
}

// ---- what a server may say and must not get

static void one_join_and_one_reconnect_are_taken(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		says_join(last());
		says_reconnect(last());
	}
	assert_int_equal(opens, 1); // transports, ports
	assert_int_equal(offers, 1);
	assert_int_equal(events[LEG_EVENT_JOINED], 1);
	assert_int_equal(leg->state, LEG_CONNECTED);
}

static void absurd_ping_times_are_bounded(void **state)
{
	(void)state;
	static const struct {
		int32_t seconds;
		uint32_t ms;
	} cases[] = {{536870912, 3600000}, {INT32_MAX, 3600000}, {-1, 5000}, {0, 5000}, {7, 7000}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
		Livekit__JoinResponse join = LIVEKIT__JOIN_RESPONSE__INIT;
		join.ping_interval = cases[i].seconds;
		response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
		response.join = &join;
		leg->joined = false;
		say(last(), &response);
		assert_int_equal(leg->ping_interval_ms, cases[i].ms);
	}
}

static void participant_says(const char *sid, const char *identity, int participant_state)
{
	Livekit__ParticipantInfo info = LIVEKIT__PARTICIPANT_INFO__INIT, *infos[] = {&info};
	char sid_text[200], identity_text[64];
	snprintf(sid_text, sizeof(sid_text), "%s", sid);
	snprintf(identity_text, sizeof(identity_text), "%s", identity);
	info.sid = sid_text;
	info.identity = identity_text;
	info.state = participant_state;
	says_update(last(), infos, 1);
}

static void crowd_is_bounded_and_the_target_has_a_place(void **state)
{
	(void)state;
	char sid[200];
	for (unsigned i = 0; i < 2 * LEG_OTHERS_MAX; i++) {
		snprintf(sid, sizeof(sid), "PA_%u", i);
		participant_says(sid, "somebody", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	}
	assert_int_equal(leg_participant_count(leg), LEG_OTHERS_MAX + 1);
	participant_says("PA_phone", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	assert_true(leg->target_present);
	assert_int_equal(leg_participant_count(leg), LEG_OTHERS_MAX + 1);
	for (unsigned i = 0; i < LEG_OTHERS_MAX - 1; i++) {
		snprintf(sid, sizeof(sid), "PA_%u", i);
		participant_says(sid, "somebody", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
	}
	assert_int_equal(leg_participant_count(leg), 2);
	assert_true(leg->target_present);
	// Names that do not fit are one participant, not one more each time.
	memset(sid, 'x', sizeof(sid) - 1);
	sid[sizeof(sid) - 1] = '\0';
	for (unsigned i = 0; i < 10; i++)
		participant_says(sid, "long", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	assert_int_equal(leg_participant_count(leg), 3);
	participant_says(sid, "long", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
	participant_says("PA_phone", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
	assert_false(leg->target_present);
	assert_int_equal(leg_participant_count(leg), 1);
}

static void nobody_without_a_sid_is_in_the_room(void **state)
{
	(void)state;
	participant_says("PA_1", "somebody", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	for (unsigned i = 0; i < 10; i++) {
		participant_says("", "somebody", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
		participant_says("", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	}
	assert_int_equal(leg_participant_count(leg), 2);
	assert_false(leg->target_present);
	participant_says("PA_phone", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	participant_says("", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
	assert_true(leg->target_present);
}

static void older_self_of_the_phone_leaves_and_the_newer_stays(void **state)
{
	(void)state;
	participant_says("PA_old", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	participant_says("PA_new", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE);
	participant_says("PA_old", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
	assert_true(leg->target_present);
	participant_says("PA_new", "phone", LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED);
	assert_false(leg->target_present);
}

// However often a message names the target, it is one change: each would be a message to the server, to the slot and to a worker.
static void one_message_changes_the_target_once(void **state)
{
	(void)state;
	Livekit__TrackInfo tracks[2] = {LIVEKIT__TRACK_INFO__INIT, LIVEKIT__TRACK_INFO__INIT};
	Livekit__ParticipantInfo both[2], *infos[1000];
	char sid[] = "PA_phone", identity[] = "phone", names[2][8] = {"TR_1", "TR_2"};
	Livekit__TrackInfo *lists[2] = {&tracks[0], &tracks[1]};
	for (unsigned i = 0; i < 2; i++) {
		tracks[i].sid = names[i];
		tracks[i].type = LIVEKIT__TRACK_TYPE__AUDIO;
		tracks[i].muted = i == 1;
		both[i] = (Livekit__ParticipantInfo)LIVEKIT__PARTICIPANT_INFO__INIT;
		both[i].sid = sid;
		both[i].identity = identity;
		both[i].state = LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE;
		both[i].n_tracks = 1;
		both[i].tracks = &lists[i];
	}
	for (unsigned i = 0; i < ARRAY_SIZE(infos); i++)
		infos[i] = &both[i % 2];
	says_update(last(), infos, ARRAY_SIZE(infos));
	assert_int_equal(subscriptions, 1);
	assert_int_equal(events[LEG_EVENT_MUTED], 1);
	assert_string_equal(leg->track_sid, "TR_2");
	assert_true(leg->track_muted);
}

// Two bytes each on the wire, and hundreds of memory and of time: that is what is paid for.
static void what_messages_unfold_to_is_charged(void **state)
{
	(void)state;
	enum { COUNT = 30000, MESSAGES = 50 };
	Livekit__ParticipantInfo nobody = LIVEKIT__PARTICIPANT_INFO__INIT, **infos = malloc(COUNT * sizeof(*infos));
	for (unsigned i = 0; i < COUNT; i++)
		infos[i] = &nobody;
	struct ws *first = last();
	says_update(first, infos, COUNT);
	assert_int_equal(leg->state, LEG_CONNECTED);
	for (unsigned i = 0; i < MESSAGES && !first->closed; i++)
		says_update(first, infos, COUNT);
	assert_true(first->closed);
	assert_int_equal(leg->state, LEG_RECOVERING);
	assert_string_equal(last_reason, "signal_lost");
	// Another connection of the leg brings no other share, also not one that a JoinRoom asked for.
	leg->unfolded.left = 0;
	timer_runs_out(&leg->retry_timer);
	says_update(last(), infos, COUNT);
	assert_true(last()->closed);
	leg->unfolded.left = LIVEKIT_DECODED_MAX;
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	assert_int_equal(leg->state, LEG_CONNECTED);
	leg->unfolded.left = 0;
	struct err err = {""};
	ENTERS(control_role);
	assert_int_equal(leg_resume(leg, FRESH, &err), 0);
	says_update(last(), infos, COUNT);
	assert_int_equal(events[LEG_EVENT_RESUME_FAILED], 1);
	assert_non_null(strstr(last_cause, "more than can be handled"));
	free(infos);
}

// One line a second about a server, whatever it says: who reads the log may be slow, and control waits for him.
static void complaints_do_not_fill_the_log(void **state)
{
	(void)state;
	uint64_t began_ns = clock_mono_ns();
	snprintf(leg->track_sid, sizeof(leg->track_sid), "TR_1");
	lines = 0;
	for (unsigned i = 0; i < 1000; i++) {
		says_permission(last(), "TR_1", false);
		says_answer(last(), 0, "");
	}
	assert_in_range(lines, 1, (clock_mono_ns() - began_ns) / 1000000000u + 2);
}

static void answer_to_no_offer_is_not_heard(void **state)
{
	(void)state;
	assert_int_equal(leg->offer_outstanding, last_offer_id);
	says_answer(last(), 0, "nonsense");
	says_answer(last(), last_offer_id + 1, "nonsense");
	assert_int_equal(leg->state, LEG_CONNECTED);
	leg->offer_outstanding = 0; // it was answered
	says_answer(last(), 0, "nonsense");
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(opens, 1);
}

static void signalling_lost_is_resumed_with_the_newest_token(void **state)
{
	(void)state;
	char fresh[] = FRESH;
	says_token(last(), fresh);
	loses(last());
	assert_int_equal(leg->state, LEG_RECOVERING);
	assert_string_equal(last_reason, "signal_lost");
	timer_runs_out(&leg->retry_timer);
	assert_true(resumes(last()));
	assert_string_equal(last()->bearer, FRESH);
	says_reconnect(last());
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(opens, 1); // the media path was carried over
	assert_int_equal(restarts, 0);
	assert_int_equal(events[LEG_EVENT_STATE], 2);
}

static void server_that_drops_us_in_turn_is_dialled_ever_more_slowly(void **state)
{
	(void)state;
	static const uint32_t least_ms[] = {0, 150, 300, 600, 1200, 0};
	for (size_t i = 0; i < ARRAY_SIZE(least_ms); i++) {
		if (i + 1 == ARRAY_SIZE(least_ms))
			leg->connected_ns -= 5000000000u; // it went well for a while
		uint64_t before_ns = clock_mono_ns();
		loses(last());
		uint64_t due_ns = leg->retry_timer.deadline_ns, least_ns = least_ms[i] * 1000000ull;
		assert_true(least_ns > 0 ? due_ns >= before_ns + least_ns : due_ns <= clock_mono_ns());
		timer_runs_out(&leg->retry_timer);
		says_reconnect(last());
		assert_int_equal(leg->state, LEG_CONNECTED);
	}
}

static void dead_transport_is_resumed_and_restarted(void **state)
{
	(void)state;
	transport_is(TRANSPORT_DISCONNECTED);
	transport_is(TRANSPORT_FAILED);
	assert_string_equal(last_reason, "transport_lost");
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	assert_int_equal(restarts, 1);
	assert_int_equal(leg->state, LEG_RECOVERING);
	probed();
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(opens, 1);
}

static void restart_in_vain_becomes_a_rejoin(void **state)
{
	(void)state;
	transport_is(TRANSPORT_FAILED);
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	transport_is(TRANSPORT_FAILED);
	timer_runs_out(&leg->retry_timer);
	assert_false(leg->resuming);
	says_join(last());
	assert_int_equal(opens, 2);
	assert_int_equal(events[LEG_EVENT_MEDIA], 2);
	transport_is(TRANSPORT_CONNECTED);
	assert_int_equal(leg->state, LEG_CONNECTED);
}

static void leave_that_asks_for_a_resume_gets_an_ice_restart(void **state)
{
	(void)state; // the server has given up on the path, though our own checks are answered
	says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__RESUME, LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT);
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	assert_int_equal(restarts, 1);
	probed();
	assert_int_equal(leg->state, LEG_CONNECTED);
}

static void refused_resume_becomes_a_rejoin(void **state)
{
	(void)state;
	loses(last());
	timer_runs_out(&leg->retry_timer);
	says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT, LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH);
	timer_runs_out(&leg->retry_timer);
	assert_false(leg->resuming);
	says_join(last());
	transport_is(TRANSPORT_CONNECTED);
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(opens, 2);
}

static void what_is_never_rejoined(void **state)
{
	(void)state;
	static const struct {
		int reason;
		const char *word;
	} cases[] = {{LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY, "duplicate_identity"},
		{LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED, "participant_removed"},
		{LIVEKIT__DISCONNECT_REASON__ROOM_DELETED, "room_deleted"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (i > 0)
			connected(state);
		says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT, cases[i].reason);
		assert_int_equal(events[LEG_EVENT_LOST], 1);
		assert_string_equal(last_reason, cases[i].word);
		assert_int_equal(leg->state, LEG_ENDED);
		assert_false(control_timer_armed(&leg->retry_timer));
		if (i + 1 < ARRAY_SIZE(cases))
			over(state);
	}
}

static void shutdown_and_migration_are_rejoined(void **state)
{
	(void)state;
	static const int reasons[] = {LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN, LIVEKIT__DISCONNECT_REASON__MIGRATION};
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT, reasons[i]);
		assert_int_equal(leg->state, LEG_RECOVERING);
		timer_runs_out(&leg->retry_timer);
		says_join(last());
		transport_is(TRANSPORT_CONNECTED);
		assert_int_equal(leg->state, LEG_CONNECTED);
	}
	assert_int_equal(opens, 3);
}

static void limit_passed_says_leave(void **state)
{
	(void)state;
	transport_is(TRANSPORT_FAILED);
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last()); // the server would keep the participant for ever
	leaves = 0;
	timer_runs_out(&leg->recover_timer);
	assert_int_equal(leaves, 1);
	assert_int_equal(events[LEG_EVENT_LOST], 1);
	assert_string_equal(last_reason, "transport_lost");
}

static void failed_joins_say_why(void **state)
{
	(void)state;
	refuses(last(), 401, "HTTP 401: no");
	assert_int_equal(events[LEG_EVENT_FAILED], 1);
	assert_string_equal(last_cause, "HTTP 401: no");
}

static void join_thrown_out_by_a_late_one_of_ours_dials_again(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		says_join(last());
		says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT, LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY);
		assert_int_equal(events[LEG_EVENT_FAILED], 0);
		timer_runs_out(&leg->retry_timer);
		assert_int_equal(socket_count, i + 1);
	}
	says_join(last()); // somebody else fights for it
	says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__DISCONNECT, LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY);
	assert_int_equal(events[LEG_EVENT_FAILED], 1);
}

static void two_peerconnections_are_refused_by_name(void **state)
{
	(void)state;
	says_join_as(last(), true);
	assert_int_equal(events[LEG_EVENT_FAILED], 1);
	assert_non_null(strstr(last_cause, "two PeerConnections"));
}

static void given_up_before_the_answer_takes_a_farewell_along(void **state)
{
	(void)state; // over() leaves
	assert_false(leg->joined);
	ENTERS(control_role);
	struct ws *ws = last();
	leg_hang_up(leg);
	assert_true(ws->abandoned);
}

// ---- silenced: its slot and source may be gone, it only waits to leave

static void leaves_now(void)
{
	ENTERS(control_role);
	leg_leave(leg, "test");
	leg = NULL;
}

static void silenced_leg_opens_no_transport(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct ws *ws = last();
	leg_silence(leg);
	assert_false(control_timer_armed(&leg->limit_timer));
	says_join(ws); // was on its way
	assert_int_equal(opens, 0);
	assert_int_equal(offers, 0);
	assert_false(ws->closed);
	leaves_now();
	assert_true(ws->abandoned); // the server has let it in: with a farewell
}

static void silenced_leg_does_not_dial(void **state)
{
	(void)state;
	ENTERS(control_role);
	loses(last());
	assert_true(control_timer_armed(&leg->retry_timer));
	leg_silence(leg);
	assert_false(control_timer_armed(&leg->retry_timer));
	assert_false(control_timer_armed(&leg->recover_timer));
	transport_is(TRANSPORT_FAILED);
	assert_false(control_timer_armed(&leg->retry_timer));
	assert_int_equal(socket_count, 1);
}

static void silenced_leg_says_farewell_to_a_late_resume(void **state)
{
	(void)state;
	ENTERS(control_role);
	loses(last());
	timer_runs_out(&leg->retry_timer);
	transport_is(TRANSPORT_DISCONNECTED);
	struct ws *ws = last();
	leg_silence(leg);
	says_reconnect(ws);
	assert_int_equal(restarts, 0);
	leaves_now();
	assert_true(ws->abandoned); // else the server would keep the participant that it has just resumed
}

static void silenced_leg_still_says_leave(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct ws *ws = last();
	leg_silence(leg);
	says_leave(ws, LIVEKIT__LEAVE_REQUEST__ACTION__RESUME, LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT);
	assert_int_equal(leg->state, LEG_CONNECTED);
	leaves_now();
	assert_int_equal(leaves, 1);
	assert_true(ws->closed);
}

// ---- taken over by a JoinRoom

static void take_over(void)
{
	ENTERS(control_role);
	struct err err = {""};
	assert_true(leg_resumable(leg));
	assert_int_equal(leg_resume(leg, FRESH, &err), 0);
	assert_int_equal(probes, 1);
	assert_string_equal(last()->bearer, FRESH);
}

static void takeover_keeps_the_old_line_until_accepted(void **state)
{
	(void)state;
	struct ws *old = last();
	take_over();
	assert_false(old->closed);
	says_reconnect(last());
	assert_true(old->closed);
	assert_int_equal(events[LEG_EVENT_RESUMED], 0); // no sign of life of the media path yet
	probed();
	assert_int_equal(events[LEG_EVENT_RESUMED], 1);
	assert_int_equal(events[LEG_EVENT_STATE], 0);
	assert_int_equal(restarts, 0);
	assert_int_equal(leaves, 0);
	loses(&sockets[0]); // late, of the old line
	assert_int_equal(leg->state, LEG_CONNECTED);
}

static void takeover_of_a_dead_path_restarts_ice(void **state)
{
	(void)state;
	take_over();
	says_reconnect(last());
	timer_runs_out(&leg->takeover.probe_timer);
	assert_int_equal(restarts, 1);
	probed();
	assert_int_equal(events[LEG_EVENT_RESUMED], 1);
}

static void takeover_of_a_path_that_stays_dead_is_refused(void **state)
{
	(void)state;
	take_over();
	timer_runs_out(&leg->takeover.probe_timer);
	assert_int_equal(restarts, 0); // the server has not accepted yet
	says_reconnect(last());
	assert_int_equal(restarts, 1);
	transport_is(TRANSPORT_FAILED); // the takeover's own limit decides
	timer_runs_out(&leg->takeover.limit_timer);
	assert_int_equal(events[LEG_EVENT_REFUSED], 1);
}

static void refused_and_failed_takeovers_leave_the_leg_as_it_was(void **state)
{
	(void)state;
	struct ws *old = last();
	take_over();
	says_leave(last(), LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT, LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH);
	assert_int_equal(events[LEG_EVENT_REFUSED], 1);
	probes = 0;
	take_over();
	refuses(last(), 401, "HTTP 401: invalid");
	assert_int_equal(events[LEG_EVENT_RESUME_FAILED], 1);
	assert_string_equal(last_cause, "HTTP 401: invalid");
	probes = 0;
	take_over();
	timer_runs_out(&leg->takeover.limit_timer);
	assert_int_equal(events[LEG_EVENT_RESUME_FAILED], 2);
	assert_false(old->closed);
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_string_equal(leg->token, TOKEN);
}

static void takeover_of_a_recovering_leg(void **state)
{
	(void)state;
	loses(last());
	assert_int_equal(leg->state, LEG_RECOVERING);
	take_over();
	says_reconnect(last());
	probed();
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(events[LEG_EVENT_RESUMED], 1);
	assert_false(control_timer_armed(&leg->retry_timer));
	assert_false(control_timer_armed(&leg->recover_timer));
}

// What the leg put off for the takeover it makes up for when the takeover comes to nothing.
static void failed_takeover_does_not_make_a_zombie(void **state)
{
	(void)state;
	take_over();
	transport_is(TRANSPORT_FAILED);
	assert_int_equal(leg->state, LEG_CONNECTED);
	refuses(last(), 401, "HTTP 401: invalid");
	assert_int_equal(events[LEG_EVENT_RESUME_FAILED], 1);
	timer_runs_out(&leg->closed_timer);
	assert_int_equal(leg->state, LEG_RECOVERING);
	timer_runs_out(&leg->retry_timer);
	struct ws *own = last();
	probes = 0;
	take_over(); // while it dials by itself: one at a time
	assert_true(own->closed);
	refuses(last(), 401, "HTTP 401: invalid");
	timer_runs_out(&leg->closed_timer);
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	assert_int_equal(restarts, 1);
	probed();
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(opens, 1);
}

static void another_target_is_told_to_the_transport(void **state)
{
	(void)state;
	ENTERS(control_role);
	leg_retarget(leg, "another phone", 7);
	assert_int_equal(targets, 1);
	assert_int_equal(leg_voice(leg), 7);
	leg_retarget(leg, "another phone", 8);
	assert_int_equal(targets, 1);
}

static void frozen_leg_regains_nothing(void **state)
{
	(void)state;
	ENTERS(control_role);
	leg_freeze(leg);
	loses(last());
	assert_int_equal(events[LEG_EVENT_LOST], 1);
}

static void thawed_leg_goes_on_recovering(void **state)
{
	(void)state;
	ENTERS(control_role);
	loses(last());
	leg_freeze(leg);
	assert_false(control_timer_armed(&leg->retry_timer));
	leg_thaw(leg);
	assert_true(control_timer_armed(&leg->retry_timer));
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	assert_int_equal(leg->state, LEG_CONNECTED);
}

int main(void)
{
#define CASE(name, before) cmocka_unit_test_setup_teardown(name, before, over)
	const struct CMUnitTest tests[] = {
		CASE(join_reports_each_step, connected),
		CASE(one_join_and_one_reconnect_are_taken, connected),
		CASE(absurd_ping_times_are_bounded, connected),
		CASE(crowd_is_bounded_and_the_target_has_a_place, connected),
		CASE(nobody_without_a_sid_is_in_the_room, connected),
		CASE(older_self_of_the_phone_leaves_and_the_newer_stays, connected),
		CASE(one_message_changes_the_target_once, connected),
		CASE(what_messages_unfold_to_is_charged, connected),
		CASE(answer_to_no_offer_is_not_heard, connected),
		CASE(complaints_do_not_fill_the_log, connected),
		CASE(signalling_lost_is_resumed_with_the_newest_token, connected),
		CASE(server_that_drops_us_in_turn_is_dialled_ever_more_slowly, connected),
		CASE(dead_transport_is_resumed_and_restarted, connected),
		CASE(restart_in_vain_becomes_a_rejoin, connected),
		CASE(leave_that_asks_for_a_resume_gets_an_ice_restart, connected),
		CASE(refused_resume_becomes_a_rejoin, connected),
		CASE(what_is_never_rejoined, connected),
		CASE(shutdown_and_migration_are_rejoined, connected),
		CASE(limit_passed_says_leave, connected),
		CASE(failed_joins_say_why, joining),
		CASE(join_thrown_out_by_a_late_one_of_ours_dials_again, joining),
		CASE(two_peerconnections_are_refused_by_name, joining),
		CASE(given_up_before_the_answer_takes_a_farewell_along, joining),
		CASE(silenced_leg_opens_no_transport, joining),
		CASE(silenced_leg_does_not_dial, connected),
		CASE(silenced_leg_says_farewell_to_a_late_resume, connected),
		CASE(silenced_leg_still_says_leave, connected),
		CASE(takeover_keeps_the_old_line_until_accepted, connected),
		CASE(takeover_of_a_dead_path_restarts_ice, connected),
		CASE(takeover_of_a_path_that_stays_dead_is_refused, connected),
		CASE(refused_and_failed_takeovers_leave_the_leg_as_it_was, connected),
		CASE(takeover_of_a_recovering_leg, connected),
		CASE(failed_takeover_does_not_make_a_zombie, connected),
		CASE(another_target_is_told_to_the_transport, connected),
		CASE(frozen_leg_regains_nothing, connected),
		CASE(thawed_leg_goes_on_recovering, connected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
