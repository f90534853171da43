// SPDX-License-Identifier: ISC
//
// leg_case.h - included by one file of a test: one leg per case, joining or connected, and what is counted of it.
//
// Runs on: control (played by the test); WebSockets and transports are the test's own.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/leg_server.h"
#include "tests/support/timer_runs_out.h"

static unsigned leaves, offers, subscriptions;
static uint32_t last_offer_id;
static struct leg *leg;
static unsigned events[LEG_EVENT_RESUME_FAILED + 1];
static char last_reason[32], last_cause[512];

// {"sub":"bridge","video":{"room":"room"}}
#define TOKEN "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.c2ln"
#define FRESH "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.bmV3"

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
