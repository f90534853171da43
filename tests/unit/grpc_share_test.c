// SPDX-License-Identifier: ISC
//
// grpc_share_test.c - what clients that take all they can get leave to the others: calls, streams, connections, the operator.
//
// Runs on: any.

#include "controlplane/grpc_call.h"
#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/relay/v1/admin.pb-c.h"
#include "tests/support/grpc_world.h"

#define WATCH "/grpc.health.v1.Health/Watch"
#define STREAMS 100u     // grpc_world.h
#define CONNECTIONS 64u  // the same
#define HOGS 4u
#define HOG_CALLS 1100u  // of each, all that HTTP/2 grants; together more than there are places
#define LIMIT_NS 60000000000u

static void watch_begin(struct client_call *call, struct client *asking)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	client_start(call, asking, WATCH, 120000);
	client_send(call, &request.base);
	client_half_close(call);
	client_initial(call);
}

// Whether the server took the call: it says at once that it serves.
static bool watch_runs(struct client_call *call)
{
	ProtobufCMessage *message = client_recv(call, &grpc__health__v1__health_check_response__descriptor);
	if (message != NULL)
		protobuf_c_message_free_unpacked(message, NULL);
	else
		assert_int_equal(client_status(call), GRPC_STATUS_RESOURCE_EXHAUSTED);
	return message != NULL;
}

static bool still_open(struct client_call *call)
{
	gpr_timespec now = gpr_inf_past(GPR_CLOCK_MONOTONIC);
	grpc_event event = grpc_completion_queue_pluck(call->client->queue, &call->status_tag, now, NULL);
	return event.type == GRPC_QUEUE_TIMEOUT;
}

static int ask(struct client *asking)
{
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	return client_unary(asking, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0);
}

static void expect_operator(void)
{
	struct client operator;
	Relay__V1__GetStatusRequest request = RELAY__V1__GET_STATUS_REQUEST__INIT;
	client_open(&operator, admin_target);
	assert_int_equal(client_unary(&operator, "/relay.v1.Admin/GetStatus", &request.base, NULL, NULL, NULL, 0), GRPC_STATUS_OK);
	client_close(&operator);
}

// ---- calls

static void calls_that_say_nothing_are_ended(void **state)
{
	static const char *const methods[] = {BRIDGE "StreamAudio", BRIDGE "GetStatus", WATCH};
	struct client_call silent[ARRAY_SIZE(methods)], watching;
	uint64_t before = atomic_load(&call_stats.calls_silent);
	watch_begin(&watching, &client);
	assert_true(watch_runs(&watching));
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		client_start(&silent[i], &client, methods[i], 60000);
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		assert_int_equal(client_status(&silent[i]), GRPC_STATUS_DEADLINE_EXCEEDED);
		assert_string_equal(silent[i].text, "no message came within 5 s");
		client_end(&silent[i]);
	}
	assert_int_equal(atomic_load(&call_stats.calls_silent), before + ARRAY_SIZE(methods));
	assert_true(still_open(&watching)); // who has said what it wants may wait for as long as it likes
	client_end(&watching);
}

// As many streams as one connection gets.
static unsigned hog_streams(struct client *hog, struct client_call *calls)
{
	unsigned count = 0;
	while (count < STREAMS) {
		watch_begin(&calls[count], hog);
		if (!watch_runs(&calls[count]))
			break;
		count++;
	}
	assert_true(count < STREAMS);
	client_end(&calls[count]);
	return count;
}

static void streams_are_left_whatever_others_take(void **state)
{
	static struct client_call calls[HOGS][STREAMS + 1];
	struct client hogs[HOGS];
	struct client_call mine;
	unsigned counts[HOGS];
	uint64_t before = atomic_load(&call_stats.calls_refused), limit = clock_mono_ns() + LIMIT_NS;
	while (atomic_load(&call_stats.calls) > 0 && clock_mono_ns() < limit) // what went before has given its places back
		usleep(1000);
	for (unsigned i = 0; i < HOGS; i++) {
		client_open(&hogs[i], target);
		counts[i] = hog_streams(&hogs[i], calls[i]);
		assert_true(counts[i] > 0);
	}
	assert_int_equal(counts[0], (STREAMS * 2 + 2) / 3); // two thirds
	assert_true(atomic_load(&call_stats.calls_refused) >= before + HOGS);
	watch_begin(&mine, &client);
	assert_true(watch_runs(&mine));
	client_end(&mine);
	for (unsigned i = 0; i < HOGS; i++) {
		for (unsigned k = 0; k < counts[i]; k++)
			client_end(&calls[i][k]);
		client_close(&hogs[i]);
	}
}

static void calls_are_left_whatever_others_take(void **state)
{
	struct client hogs[HOGS];
	struct client_call *calls = calloc(HOGS * HOG_CALLS, sizeof(*calls));
	uint64_t before = atomic_load(&call_stats.calls_total), limit = clock_mono_ns() + LIMIT_NS;
	for (unsigned i = 0; i < HOGS * HOG_CALLS; i++) {
		if (i < HOGS)
			client_open(&hogs[i], target);
		client_start(&calls[i], &hogs[i % HOGS], BRIDGE "GetStatus", 120000);
	}
	while (atomic_load(&call_stats.calls_total) < before + HOGS * HOG_CALLS && clock_mono_ns() < limit)
		usleep(1000);
	assert_int_equal(ask(&client), GRPC_STATUS_OK);
	expect_operator();
	for (unsigned i = 0; i < HOGS * HOG_CALLS; i++)
		client_end(&calls[i]);
	for (unsigned i = 0; i < HOGS; i++)
		client_close(&hogs[i]);
	free(calls);
}

// ---- connections

static void connections_settle(unsigned connections)
{
	struct grpc_listen_stats stats;
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	do {
		grpc_listen_stats(&stats);
		usleep(1000);
	} while (stats.connections != connections && clock_mono_ns() < limit);
	assert_int_equal(stats.connections, connections);
}

static void operator_has_connections_of_its_own(void **state)
{
	struct client hogs[CONNECTIONS - 1];
	struct client_call calls[CONNECTIONS];
	expect_answer(&client); // it is connected
	connections_settle(1);
	watch_begin(&calls[CONNECTIONS - 1], &client);
	for (unsigned i = 0; i < CONNECTIONS - 1; i++) {
		client_open(&hogs[i], target);
		watch_begin(&calls[i], &hogs[i]);
		assert_true(watch_runs(&calls[i]));
	}
	struct client late;
	client_open(&late, target);
	assert_int_equal(ask(&late), GRPC_STATUS_UNAVAILABLE); // all have calls: none may go
	client_close(&late);
	expect_operator();
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		assert_true(still_open(&calls[i]));
		client_end(&calls[i]);
	}
	for (unsigned i = 0; i < CONNECTIONS - 1; i++)
		client_close(&hogs[i]);
	connections_settle(1);
}

static void ask_until_answered(struct client *asking)
{
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	while (ask(asking) != GRPC_STATUS_OK) {
		assert_true(clock_mono_ns() < limit);
		usleep(100000);
	}
}

// Connections that called once and are idle do not keep others out; who has a call open stays.
static void idle_connections_make_room(void **state)
{
	struct client idle[CONNECTIONS - 1], late;
	struct client_call watching;
	struct grpc_listen_stats before, after;
	watch_begin(&watching, &client); // the oldest of all
	assert_true(watch_runs(&watching));
	for (unsigned i = 0; i < CONNECTIONS - 1; i++) {
		client_open(&idle[i], target);
		ask_until_answered(&idle[i]);
	}
	grpc_listen_stats(&before);
	assert_int_equal(before.connections, CONNECTIONS);
	client_open(&late, target);
	ask_until_answered(&late);
	grpc_listen_stats(&after);
	assert_int_equal(after.cut, before.cut + 1);
	ask_until_answered(&idle[0]); // the longest idle was the one that went: it connects anew
	grpc_listen_stats(&after);
	assert_int_equal(after.cut, before.cut + 2);
	assert_int_equal(ask(&idle[CONNECTIONS - 2]), GRPC_STATUS_OK);
	grpc_listen_stats(&after);
	assert_int_equal(after.cut, before.cut + 2); // which the youngest need not
	assert_true(still_open(&watching));
	client_end(&watching);
	for (unsigned i = 0; i < CONNECTIONS - 1; i++)
		client_close(&idle[i]);
	client_close(&late);
	connections_settle(1);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // one test by name
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_that_say_nothing_are_ended),
		cmocka_unit_test(streams_are_left_whatever_others_take),
		cmocka_unit_test(calls_are_left_whatever_others_take),
		cmocka_unit_test(operator_has_connections_of_its_own),
		cmocka_unit_test(idle_connections_make_room),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
