// SPDX-License-Identifier: ISC
//
// leg_test.c - what a leg does by itself: joins, resumes, restarts ICE, rejoins, gives up.
//
// Runs on: control (played by the test); WebSockets and transports are the test's own.

#include "tests/support/leg_case.h"

static unsigned lines;

void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);
void __wrap_log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	lines++;
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

// ---- told by its slot

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
		CASE(another_target_is_told_to_the_transport, connected),
		CASE(frozen_leg_regains_nothing, connected),
		CASE(thawed_leg_goes_on_recovering, connected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
