// SPDX-License-Identifier: ISC
//
// leg_resume_test.c - a JoinRoom takes a leg over: with a server that accepts, refuses or is silent, on a path that lives or is dead.
//
// Runs on: control (played by the test); WebSockets and transports are the test's own.

#include "tests/support/leg_case.h"

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

static void old_line_that_ends_first_is_no_loss(void **state)
{
	(void)state;
	take_over();
	loses(&sockets[0]);
	assert_false(control_timer_armed(&leg->retry_timer)); // no second resume beside this one
	says_reconnect(last());
	probed();
	assert_int_equal(events[LEG_EVENT_RESUMED], 1);
	assert_int_equal(events[LEG_EVENT_STATE], 0);
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_false(control_timer_armed(&leg->closed_timer));
}

static void old_line_that_ends_before_a_refusal_is_a_loss(void **state)
{
	(void)state;
	take_over();
	loses(&sockets[0]);
	refuses(last(), 401, "HTTP 401: invalid");
	assert_int_equal(events[LEG_EVENT_RESUME_FAILED], 1);
	timer_runs_out(&leg->closed_timer);
	assert_int_equal(leg->state, LEG_RECOVERING);
	assert_string_equal(last_reason, "signal_lost");
	timer_runs_out(&leg->retry_timer);
	says_reconnect(last());
	assert_int_equal(leg->state, LEG_CONNECTED);
}

static void second_takeover_makes_up_for_the_first(void **state)
{
	(void)state;
	ENTERS(control_role);
	take_over();
	loses(&sockets[0]);
	leg_resume_abandon(leg); // superseded
	probes = 0;
	take_over();
	says_reconnect(last());
	probed();
	assert_int_equal(events[LEG_EVENT_RESUMED], 1);
	timer_runs_out(&leg->closed_timer); // what the first one left to do
	assert_int_equal(leg->state, LEG_CONNECTED);
	assert_int_equal(events[LEG_EVENT_STATE], 0);
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

int main(void)
{
#define CASE(name, before) cmocka_unit_test_setup_teardown(name, before, over)
	const struct CMUnitTest tests[] = {
		CASE(takeover_keeps_the_old_line_until_accepted, connected),
		CASE(old_line_that_ends_first_is_no_loss, connected),
		CASE(old_line_that_ends_before_a_refusal_is_a_loss, connected),
		CASE(second_takeover_makes_up_for_the_first, connected),
		CASE(takeover_of_a_dead_path_restarts_ice, connected),
		CASE(takeover_of_a_path_that_stays_dead_is_refused, connected),
		CASE(refused_and_failed_takeovers_leave_the_leg_as_it_was, connected),
		CASE(takeover_of_a_recovering_leg, connected),
		CASE(failed_takeover_does_not_make_a_zombie, connected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
