// SPDX-License-Identifier: ISC
//
// grpc_server_test.c - the gRPC servers over real sockets: unary calls, health, reflection, the operator's own, drain.
//
// Runs on: any.

#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/relay/v1/admin.pb-c.h"
#include "tests/support/grpc_world.h"

// ---- unary calls

static Mentra__Livekit__Bridge__JoinRoomRequest join_request(char *user_id, char *token)
{
	static char url[] = "ws://127.0.0.1:7880";
	Mentra__Livekit__Bridge__JoinRoomRequest request = MENTRA__LIVEKIT__BRIDGE__JOIN_ROOM_REQUEST__INIT;
	request.user_id = user_id;
	request.token = token;
	request.livekit_url = url;
	return request;
}

static void expect_join(char *user_id, char *token, bool success, const char *error)
{
	Mentra__Livekit__Bridge__JoinRoomRequest request = join_request(user_id, token);
	ProtobufCMessage *message;
	assert_int_equal(client_unary(&client, BRIDGE "JoinRoom", &request.base,
				 &mentra__livekit__bridge__join_room_response__descriptor, &message, NULL, 0),
		GRPC_STATUS_OK);
	Mentra__Livekit__Bridge__JoinRoomResponse *response = (void *)message;
	assert_int_equal(response->success, success);
	assert_string_equal(response->error, error);
	assert_int_equal(response->participant_count, success ? 2 : 0);
	protobuf_c_message_free_unpacked(message, NULL);
}

static void join_room_answers(void **state)
{
	char long_user[300] = {0};
	memset(long_user, 'x', sizeof(long_user) - 1);
	expect_join("anna", "t", true, "");
	expect_join("bad-anna", "t", false, "failed to connect to room: connection refused");
	unsigned before = atomic_load(&fake.joins);
	expect_join("", "t", false, "user_id is required");
	expect_join("anna", "", false, "token is required");
	expect_join("user\xff", "t", false, "user_id is not valid UTF-8");
	expect_join(long_user, "t", false, "user_id is longer than 255 bytes");
	assert_int_equal(atomic_load(&fake.joins), before);
}

static void wait_for(_Atomic(unsigned) *value, unsigned expected)
{
	for (unsigned i = 0; i < 10000 && atomic_load(value) < expected; i++)
		usleep(1000);
	assert_true(atomic_load(value) >= expected);
}

static void start_join(struct client_call *call, char *user_id, unsigned limit_ms)
{
	Mentra__Livekit__Bridge__JoinRoomRequest request = join_request(user_id, "t");
	client_start(call, &client, BRIDGE "JoinRoom", limit_ms);
	client_send(call, &request.base);
	client_half_close(call);
}

static void join_cancelled_by_caller_and_by_deadline(void **state)
{
	struct client_call call;
	unsigned joins = atomic_load(&fake.joins), cancels = atomic_load(&fake.cancels);
	start_join(&call, "slow-1", 20000);
	wait_for(&fake.joins, joins + 1);
	grpc_call_cancel(call.call, NULL);
	assert_int_equal(client_status(&call), GRPC_STATUS_CANCELLED);
	wait_for(&fake.cancels, cancels + 1);
	client_end(&call);
	start_join(&call, "slow-2", 300);
	assert_int_equal(client_status(&call), GRPC_STATUS_DEADLINE_EXCEEDED);
	wait_for(&fake.cancels, cancels + 2);
	client_end(&call);
}

static void leave_room_answers(void **state)
{
	fake_user("leaver", 200);
	char *users[] = {"leaver", "nobody"};
	for (unsigned i = 0; i < 2; i++) {
		Mentra__Livekit__Bridge__LeaveRoomRequest request = MENTRA__LIVEKIT__BRIDGE__LEAVE_ROOM_REQUEST__INIT;
		request.user_id = users[i];
		ProtobufCMessage *message;
		assert_int_equal(client_unary(&client, BRIDGE "LeaveRoom", &request.base,
					 &mentra__livekit__bridge__leave_room_response__descriptor, &message, NULL, 0),
			GRPC_STATUS_OK);
		Mentra__Livekit__Bridge__LeaveRoomResponse *response = (void *)message;
		assert_int_equal(response->success, i == 0);
		assert_string_equal(response->error, i == 0 ? "" : "session not found");
		protobuf_c_message_free_unpacked(message, NULL);
	}
}

static void get_status_never_errors(void **state)
{
	fake_user("stan", 200);
	char long_user[400] = {0};
	memset(long_user, 'x', sizeof(long_user) - 1);
	char *users[] = {"stan", "nobody", "", long_user};
	for (unsigned i = 0; i < ARRAY_SIZE(users); i++) {
		Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
		request.user_id = users[i];
		ProtobufCMessage *message;
		assert_int_equal(client_unary(&client, BRIDGE "GetStatus", &request.base,
					 &mentra__livekit__bridge__bridge_status_response__descriptor, &message, NULL, 0),
			GRPC_STATUS_OK);
		Mentra__Livekit__Bridge__BridgeStatusResponse *response = (void *)message;
		assert_int_equal(response->connected, i == 0);
		assert_string_equal(response->server_version, RELAY_VERSION);
		assert_string_equal(response->participant_id, i == 0 ? "cloud-agent:stan" : "");
		assert_int_equal(response->last_disconnect_at, i == 0 ? 1700000000123 : 0);
		assert_string_equal(response->last_disconnect_reason, i == 0 ? "signal_lost" : "");
		protobuf_c_message_free_unpacked(message, NULL);
	}
}

static void unsupported_methods_say_so(void **state)
{
	Mentra__Livekit__Bridge__PlayAudioRequest play = MENTRA__LIVEKIT__BRIDGE__PLAY_AUDIO_REQUEST__INIT;
	char text[512];
	assert_int_equal(client_unary(&client, BRIDGE "PlayAudio", &play.base, NULL, NULL, text, sizeof(text)),
		GRPC_STATUS_UNIMPLEMENTED);
	assert_non_null(strstr(text, "does not play audio"));
	assert_int_equal(client_unary(&client, BRIDGE "StopAudio", &play.base, NULL, NULL, text, sizeof(text)),
		GRPC_STATUS_UNIMPLEMENTED);
	assert_int_equal(client_unary(&client, "/no.such/Method", &play.base, NULL, NULL, text, sizeof(text)),
		GRPC_STATUS_UNIMPLEMENTED);
	assert_string_equal(text, "unknown method");
}

static void garbage_and_oversize_are_answered(void **state)
{
	struct client_call call;
	client_start(&call, &client, BRIDGE "JoinRoom", 20000);
	client_send_bytes(&call, "\xff\xff\xff\xff", 4);
	client_half_close(&call);
	assert_int_equal(client_status(&call), GRPC_STATUS_INVALID_ARGUMENT);
	client_end(&call);
	size_t bytes = 2 << 20;
	uint8_t *big = calloc(1, bytes);
	client_start(&call, &client, BRIDGE "JoinRoom", 20000);
	client_send_bytes(&call, big, bytes);
	assert_int_equal(client_status(&call), GRPC_STATUS_RESOURCE_EXHAUSTED);
	client_end(&call);
	free(big);
	client_start(&call, &client, BRIDGE "JoinRoom", 20000);
	client_half_close(&call); // no message at all
	assert_int_equal(client_status(&call), GRPC_STATUS_INVALID_ARGUMENT);
	client_end(&call);
	expect_join("anna", "t", true, ""); // the connection lives on
}

// ---- health, reflection, admin

static int health(char *service, int *ret_serving)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	request.service = service;
	ProtobufCMessage *message;
	int status = client_unary(&client, "/grpc.health.v1.Health/Check", &request.base,
		&grpc__health__v1__health_check_response__descriptor, &message, NULL, 0);
	*ret_serving = -1;
	if (message != NULL) {
		*ret_serving = (int)((Grpc__Health__V1__HealthCheckResponse *)message)->status;
		protobuf_c_message_free_unpacked(message, NULL);
	}
	return status;
}

static int watch_next(struct client_call *call)
{
	ProtobufCMessage *message = client_recv(call, &grpc__health__v1__health_check_response__descriptor);
	int serving = message != NULL ? (int)((Grpc__Health__V1__HealthCheckResponse *)message)->status : -1;
	if (message != NULL)
		protobuf_c_message_free_unpacked(message, NULL);
	return serving;
}

static void watch_start(struct client_call *call, char *service)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	request.service = service;
	client_start(call, &client, "/grpc.health.v1.Health/Watch", 20000);
	assert_true(client_initial(call));
	client_send(call, &request.base);
	client_half_close(call);
}

static void health_flips_when_draining(void **state)
{
	int serving;
	assert_int_equal(health("", &serving), GRPC_STATUS_OK);
	assert_int_equal(serving, 1);
	assert_int_equal(health("mentra.livekit.bridge.LiveKitBridge", &serving), GRPC_STATUS_OK);
	assert_int_equal(serving, 1);
	assert_int_equal(health("relay.v1.Admin", &serving), GRPC_STATUS_NOT_FOUND);
	struct client_call known, unknown;
	watch_start(&known, "");
	watch_start(&unknown, "nobody");
	assert_int_equal(watch_next(&known), 1);
	assert_int_equal(watch_next(&unknown), 3);
	grpc_server_set_draining();
	assert_int_equal(watch_next(&known), 2);
	assert_int_equal(health("", &serving), GRPC_STATUS_OK);
	assert_int_equal(serving, 2);
	// The end of the server ends what is open.
	grpc_server_stop();
	assert_int_equal(watch_next(&unknown), -1);
	assert_int_equal(client_status(&known), GRPC_STATUS_UNAVAILABLE);
	assert_string_equal(known.text, "server is going away");
	assert_int_equal(client_status(&unknown), GRPC_STATUS_UNAVAILABLE);
	client_end(&known);
	client_end(&unknown);
	assert_int_equal(access(socket_path, F_OK), -1);
	launch();
	for (unsigned i = 0; i < 200 && health("", &serving) != GRPC_STATUS_OK; i++)
		usleep(50000); // the channel's own back-off
	expect_join("anna", "t", true, "");
}

static void bridge_health_has_true_counts(void **state)
{
	fake_user("counted", 200);
	Mentra__Livekit__Bridge__HealthCheckRequest request = MENTRA__LIVEKIT__BRIDGE__HEALTH_CHECK_REQUEST__INIT;
	ProtobufCMessage *message;
	assert_int_equal(client_unary(&client, BRIDGE "HealthCheck", &request.base,
				 &mentra__livekit__bridge__health_check_response__descriptor, &message, NULL, 0),
		GRPC_STATUS_OK);
	Mentra__Livekit__Bridge__HealthCheckResponse *response = (void *)message;
	assert_int_equal(response->status, 1);
	assert_int_equal(response->active_sessions, fake.user_count);
	assert_int_equal(response->active_streams, 0);
	assert_in_range(response->uptime_seconds, 0, 60);
	protobuf_c_message_free_unpacked(message, NULL);
}

static Grpc__Reflection__V1__ServerReflectionResponse *reflect(struct client_call *call,
	Grpc__Reflection__V1__ServerReflectionRequest *request)
{
	assert_true(client_send(call, &request->base));
	ProtobufCMessage *message = client_recv(call, &grpc__reflection__v1__server_reflection_response__descriptor);
	assert_non_null(message);
	return (void *)message;
}

static void reflection_in_both_versions(void **state)
{
	const char *methods[] = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
	for (unsigned i = 0; i < 2; i++) {
		struct client_call call;
		client_start(&call, &client, methods[i], 20000);
		Grpc__Reflection__V1__ServerReflectionRequest request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
		request.message_request_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
		request.list_services = empty;
		assert_true(client_initial(&call));
		Grpc__Reflection__V1__ServerReflectionResponse *response = reflect(&call, &request);
		assert_int_equal(response->list_services_response->n_service, 6);
		assert_string_equal(response->list_services_response->service[0]->name, "mentra.livekit.bridge.LiveKitBridge");
		assert_string_equal(response->list_services_response->service[1]->name, "relay.v1.Audio");
		protobuf_c_message_free_unpacked(&response->base, NULL);

		request.message_request_case =
			GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
		char *symbols[] = {"mentra.livekit.bridge.LiveKitBridge", "mentra.livekit.bridge.LiveKitBridge.JoinRoom",
			"mentra.livekit.bridge.PlayAudioEvent.EventType", "mentra.livekit.bridge.AudioChunk", "relay.v1.Admin",
			"mentra.livekit.bridge.Nothing", "mentra"};
		for (unsigned k = 0; k < ARRAY_SIZE(symbols); k++) {
			request.file_containing_symbol = symbols[k];
			response = reflect(&call, &request);
			assert_int_equal(response->message_response_case,
				k < 4 ? GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE
				      : GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE);
			protobuf_c_message_free_unpacked(&response->base, NULL);
		}
		client_half_close(&call);
		assert_int_equal(client_status(&call), GRPC_STATUS_OK);
		client_end(&call);
	}
}

static void admin_only_on_its_own_socket(void **state)
{
	struct client operator;
	client_open(&operator, admin_target);
	Relay__V1__GetStatusRequest request = RELAY__V1__GET_STATUS_REQUEST__INIT;
	ProtobufCMessage *message;
	assert_int_equal(client_unary(&operator, "/relay.v1.Admin/GetStatus", &request.base, &relay__v1__status__descriptor,
				 &message, NULL, 0),
		GRPC_STATUS_OK);
	Relay__V1__Status *status = (void *)message;
	assert_string_equal(status->version, RELAY_VERSION);
	assert_string_equal(status->health, "ok");
	assert_int_equal(status->n_ports, 1);
	assert_string_equal(status->ports[0]->address, "10.0.0.2/24");
	assert_int_equal(status->frames, 12345);
	protobuf_c_message_free_unpacked(message, NULL);

	fake_user("seen", 200);
	Relay__V1__GetSessionRequest get = RELAY__V1__GET_SESSION_REQUEST__INIT;
	get.user_id = "seen";
	assert_int_equal(client_unary(&operator, "/relay.v1.Admin/GetSession", &get.base, &relay__v1__session__descriptor,
				 &message, NULL, 0),
		GRPC_STATUS_OK);
	assert_string_equal(((Relay__V1__Session *)message)->livekit_version, "1.13.5");
	protobuf_c_message_free_unpacked(message, NULL);
	get.user_id = "unseen";
	assert_int_equal(client_unary(&operator, "/relay.v1.Admin/GetSession", &get.base, NULL, NULL, NULL, 0),
		GRPC_STATUS_NOT_FOUND);
	assert_int_equal(client_unary(&operator, "/relay.v1.Admin/ListDrops", &request.base,
				 &relay__v1__list_drops_response__descriptor, &message, NULL, 0),
		GRPC_STATUS_OK);
	assert_int_equal(((Relay__V1__ListDropsResponse *)message)->n_drops, DROP_COUNT - 1);
	protobuf_c_message_free_unpacked(message, NULL);

	assert_int_equal(client_unary(&operator, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0),
		GRPC_STATUS_UNIMPLEMENTED);
	assert_int_equal(client_unary(&client, "/relay.v1.Admin/GetStatus", &request.base, NULL, NULL, NULL, 0),
		GRPC_STATUS_UNIMPLEMENTED);
	client_close(&operator);
	struct stat st;
	assert_int_equal(stat(admin_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(socket_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // one test by name
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(join_room_answers),
		cmocka_unit_test(join_cancelled_by_caller_and_by_deadline),
		cmocka_unit_test(leave_room_answers),
		cmocka_unit_test(get_status_never_errors),
		cmocka_unit_test(unsupported_methods_say_so),
		cmocka_unit_test(garbage_and_oversize_are_answered),
		cmocka_unit_test(bridge_health_has_true_counts),
		cmocka_unit_test(reflection_in_both_versions),
		cmocka_unit_test(admin_only_on_its_own_socket),
		cmocka_unit_test(health_flips_when_draining),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
