// SPDX-License-Identifier: ISC
//
// grpc_server_test.c - the gRPC servers over real sockets: unary calls, limits, sockets, drain. Slots are fakes.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "controlplane/grpc_listen.h"
#include "controlplane/grpc_server.h"
#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/admin.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"

#define BRIDGE "/mentra.livekit.bridge.LiveKitBridge/"

static char folder[64], socket_path[108], admin_path[108], target[128], admin_target[128];
static char inherited_path[108]; // listens as descriptor 3 since before anything else was opened
static struct config config;
static struct client client;

static char empty[] = "";

static void launch(void)
{
	struct err err = {""};
	if (grpc_server_launch(&config, &err) != 0)
		fail_msg("launch: %s", err.text);
}

static int setup(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/relay-grpc-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(inherited_path, sizeof(inherited_path), "%s/inherited.sock", folder);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", inherited_path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(fd >= 0 && (fd == 3 || dup2(fd, 3) == 3));
	assert_int_equal(bind(3, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(3, 8), 0);
	snprintf(socket_path, sizeof(socket_path), "%s/bridge.sock", folder);
	snprintf(admin_path, sizeof(admin_path), "%s/admin.sock", folder);
	snprintf(target, sizeof(target), "unix:%s", socket_path);
	snprintf(admin_target, sizeof(admin_target), "unix:%s", admin_path);
	config = (struct config){
		.grpc = {.socket = socket_path, .socket_mode = 0660, .socket_group = empty, .tcp = empty, .tls_cert = empty,
			.tls_key = empty, .tls_client_ca = empty, .workers = 1, .max_connections = 64, .max_streams = 100},
		.admin = {.socket = admin_path},
	};
	grpc_init();
	fake_start();
	launch();
	client_open(&client, target);
	return 0;
}

static int teardown(void **state)
{
	client_close(&client);
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	DIR *dir = opendir(folder);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		closedir(dir);
	rmdir(folder);
	return 0;
}

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

// ---- abuse

static int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, socket_path, sizeof(address.sun_path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

// One HEADERS frame that opens a call and the RST_STREAM that takes it back. Returns their length.
static size_t reset_frames(uint8_t *out, uint32_t id)
{
	static const char path[] = BRIDGE "GetStatus";
	static const char rest[] = "\x01\x01h"                       // :authority h
				   "\x0f\x10\x10" "application/grpc" // content-type
				   "\x00\x02" "te" "\x08" "trailers";
	uint8_t block[256];
	size_t n = 0;
	block[n++] = 0x83; // :method POST
	block[n++] = 0x86; // :scheme http
	block[n++] = 0x04; // :path, literal, not indexed
	block[n++] = sizeof(path) - 1;
	memcpy(block + n, path, sizeof(path) - 1);
	n += sizeof(path) - 1;
	memcpy(block + n, rest, sizeof(rest) - 1);
	n += sizeof(rest) - 1;
	uint8_t head[9] = {0, (uint8_t)(n >> 8), (uint8_t)n, 1, 4};
	put_be32(head + 5, id);
	memcpy(out, head, 9);
	memcpy(out + 9, block, n);
	uint8_t reset[13] = {0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 8};
	put_be32(reset + 5, id);
	memcpy(out + 9 + n, reset, 13);
	return 9 + n + 13;
}

static void rapid_reset_is_cut(void **state)
{
	struct grpc_listen_stats before, after;
	grpc_listen_stats(&before);
	int fd = raw_connect();
	assert_true(fd >= 0);
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	assert_int_equal(send(fd, preface, sizeof(preface) - 1, MSG_NOSIGNAL), sizeof(preface) - 1);
	bool cut = false;
	for (uint32_t id = 1; id < 200000 && !cut; id += 2) {
		uint8_t frames[512], sink[4096];
		size_t bytes = reset_frames(frames, id);
		cut = send(fd, frames, bytes, MSG_NOSIGNAL) < 0;
		cut |= recv(fd, sink, sizeof(sink), MSG_DONTWAIT) == 0;
	}
	assert_true(cut);
	close(fd);
	grpc_listen_stats(&after);
	assert_int_equal(after.cut, before.cut + 1);
	expect_join("anna", "t", true, ""); // others are served
}

static void settle(unsigned connections)
{
	struct grpc_listen_stats stats;
	for (unsigned i = 0; i < 5000; i++) {
		grpc_listen_stats(&stats);
		if (stats.connections <= connections)
			return;
		usleep(1000);
	}
	fail_msg("%u connections are left", stats.connections);
}

static void connections_are_capped(void **state)
{
	int fds[80];
	unsigned closed = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		assert_true((fds[i] = raw_connect()) >= 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		// One that is kept gets the server's SETTINGS, one that is refused an end of file.
		struct pollfd poll_fd = {.fd = fds[i], .events = POLLIN};
		uint8_t byte;
		assert_int_equal(poll(&poll_fd, 1, 10000), 1);
		closed += recv(fds[i], &byte, 1, 0) <= 0;
	}
	assert_in_range(closed, ARRAY_SIZE(fds) - 64, ARRAY_SIZE(fds) - 64 + 2);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(2);
	expect_join("anna", "t", true, "");
}

// Connections that never call are many and full of patience; who has something to say gets in all the same.
static void half_open_connections_keep_nobody_out(void **state)
{
	int fds[80];
	struct grpc_listen_stats before, after;
	grpc_listen_stats(&before);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		assert_true((fds[i] = raw_connect()) >= 0);
	do {
		grpc_listen_stats(&after);
		usleep(1000);
	} while (after.refused == before.refused);
	uint64_t limit = clock_mono_ns() + 8000000000u; // less than gRPC itself grants for a handshake
	grpc_status_code code = GRPC_STATUS_UNKNOWN;
	while (code != GRPC_STATUS_OK && clock_mono_ns() < limit) {
		struct client later;
		client_open(&later, target);
		Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
		code = client_unary(&later, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0);
		client_close(&later);
	}
	assert_int_equal(code, GRPC_STATUS_OK);
	grpc_listen_stats(&after);
	assert_true(after.cut > before.cut);
	expect_join("anna", "t", true, ""); // one that has called stays
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(2);
}

// A client that comes again as often as it can does not have all of the accept thread's time.
static void connections_are_taken_at_a_bounded_rate(void **state)
{
	struct grpc_listen_stats before, now;
	grpc_listen_stats(&before);
	uint64_t began = clock_mono_ns(), taken = 0;
	for (unsigned i = 0; i < 450; i++) {
		int fd = raw_connect();
		assert_true(fd >= 0);
		close(fd);
	}
	do {
		usleep(1000);
		double seconds = (double)(clock_mono_ns() - began) / 1e9;
		grpc_listen_stats(&now);
		taken = now.accepted + now.refused - before.accepted - before.refused;
		assert_true((double)taken <= 300 + 200 * (seconds + 0.01) + 1);
	} while (taken < 450); // the rest waits in the socket's queue, and has its turn
	settle(2);
	expect_join("anna", "t", true, "");
}

static void accepting_survives_emfile(void **state)
{
	struct rlimit old, tight;
	struct grpc_listen_stats stats, before;
	grpc_listen_stats(&before);
	getrlimit(RLIMIT_NOFILE, &old);
	int probe = open("/dev/null", O_RDONLY), fds[16];
	tight = old;
	tight.rlim_cur = (rlim_t)probe + 6;
	close(probe);
	setrlimit(RLIMIT_NOFILE, &tight);
	unsigned opened = 0;
	while (opened < ARRAY_SIZE(fds) && (fds[opened] = raw_connect()) >= 0)
		opened++;
	// The server cannot keep them all: it says so by closing.
	bool refused = false;
	for (unsigned i = 0; i < 5000 && !refused; i++) {
		grpc_listen_stats(&stats);
		refused = stats.refused > before.refused;
		usleep(1000);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	for (unsigned i = 0; i < opened; i++)
		close(fds[i]);
	assert_true(refused);
	settle(2);
	struct client later;
	client_open(&later, target);
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	assert_int_equal(client_unary(&later, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0), GRPC_STATUS_OK);
	client_close(&later);
}

// ---- sockets

static void expect_refusal(const char *part)
{
	struct err err = {""};
	assert_true(grpc_server_launch(&config, &err) < 0);
	if (strstr(err.text, part) == NULL)
		fail_msg("expected \"%s\" in \"%s\"", part, err.text);
}

static void expect_service(const char *at)
{
	struct client other;
	client_open(&other, at);
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	assert_int_equal(client_unary(&other, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0), GRPC_STATUS_OK);
	client_close(&other);
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

static void socket_paths_are_taken_with_care(void **state)
{
	grpc_server_stop();
	// A stale socket is removed.
	struct sockaddr_un address = address_of(socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	launch();
	expect_service(target);
	grpc_server_stop();
	// A plain file is not.
	fd = open(socket_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	expect_refusal("is not a socket");
	assert_int_equal(access(socket_path, F_OK), 0);
	unlink(socket_path);
	// A lock that somebody holds.
	char lock[128];
	snprintf(lock, sizeof(lock), "%s.lock", socket_path);
	fd = open(lock, O_RDWR | O_CREAT, 0600);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	expect_refusal("held by a running server");
	close(fd);
	config.grpc.socket_group = "no-such-group";
	expect_refusal("no-such-group");
	config.grpc.socket_group = empty;
	config.grpc.socket_mode = 0666;
	launch();
	struct stat st;
	assert_int_equal(stat(socket_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	config.grpc.socket_mode = 0660;
}

static void tcp_only_on_loopback(void **state)
{
	grpc_server_stop();
	config.grpc.tcp = "nonsense";
	expect_refusal("expected HOST:PORT");
	config.grpc.tcp = "0.0.0.0:0";
	expect_refusal("beyond loopback");
	config.grpc.insecure_tcp = true;
	launch();
	grpc_server_stop();
	config.grpc.insecure_tcp = false;
	config.grpc.tcp = "127.0.0.1:0";
	launch();
	assert_int_not_equal(grpc_server_port(), 0);
	char tcp[64];
	snprintf(tcp, sizeof(tcp), "127.0.0.1:%u", grpc_server_port());
	expect_service(tcp);
	config.grpc.tcp = empty;
}

// ---- TLS

struct certificate {
	EVP_PKEY *key;
	X509 *x509;
	char *key_pem, *pem;
};

static char *pem_of(BIO *bio)
{
	char *data;
	long bytes = BIO_get_mem_data(bio, &data);
	char *text = strndup(data, (size_t)bytes);
	BIO_free(bio);
	return text;
}

// Signed by issuer, or by itself and then an authority.
static struct certificate certify(const char *name, const struct certificate *issuer)
{
	struct certificate made = {.key = EVP_EC_gen("P-256"), .x509 = X509_new()};
	X509 *x509 = made.x509, *by = issuer != NULL ? issuer->x509 : x509;
	static long serial;
	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x509), -60);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_set_pubkey(x509, made.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x509, X509_get_subject_name(by));
	X509V3_CTX context;
	X509V3_set_ctx(&context, by, x509, NULL, NULL, 0);
	X509_EXTENSION *extension = issuer == NULL
		? X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints, "critical,CA:TRUE")
		: X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
	X509_add_ext(x509, extension, -1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(x509, issuer != NULL ? issuer->key : made.key, EVP_sha256()) > 0);
	BIO *key = BIO_new(BIO_s_mem()), *pem = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(key, made.key, NULL, NULL, 0, NULL, NULL);
	PEM_write_bio_X509(pem, x509);
	made.key_pem = pem_of(key);
	made.pem = pem_of(pem);
	return made;
}

static void certificate_free(struct certificate *certificate)
{
	EVP_PKEY_free(certificate->key);
	X509_free(certificate->x509);
	free(certificate->key_pem);
	free(certificate->pem);
}

static char *file_write(const char *name, const char *text)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return strdup(path);
}

static int status_over_tls(const char *authority, const struct certificate *own)
{
	char tcp[64];
	snprintf(tcp, sizeof(tcp), "127.0.0.1:%u", grpc_server_port());
	grpc_ssl_pem_key_cert_pair pair = {0};
	if (own != NULL)
		pair = (grpc_ssl_pem_key_cert_pair){.private_key = own->key_pem, .cert_chain = own->pem};
	struct client other;
	client_open_with(&other, tcp, grpc_ssl_credentials_create(authority, own != NULL ? &pair : NULL, NULL, NULL));
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	int status = client_unary(&other, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0);
	client_close(&other);
	return status;
}

static void tls_and_mutual_tls(void **state)
{
	struct certificate authority = certify("test authority", NULL), rogue = certify("rogue authority", NULL);
	struct certificate ours = certify("relay", &authority), friend = certify("cloud", &authority),
			   foe = certify("cloud", &rogue);
	grpc_server_stop();
	config.grpc.tls_cert = file_write("cert.pem", ours.pem);
	config.grpc.tls_key = file_write("key.pem", ours.key_pem);
	config.grpc.tcp = "127.0.0.1:0";
	launch();
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_OK);
	assert_int_equal(status_over_tls(rogue.pem, NULL), GRPC_STATUS_UNAVAILABLE);
	grpc_server_stop();
	config.grpc.tls_client_ca = file_write("ca.pem", authority.pem);
	launch();
	assert_int_equal(status_over_tls(authority.pem, &friend), GRPC_STATUS_OK);
	assert_int_equal(status_over_tls(authority.pem, NULL), GRPC_STATUS_UNAVAILABLE);
	assert_int_equal(status_over_tls(authority.pem, &foe), GRPC_STATUS_UNAVAILABLE);
	grpc_server_stop();
	char *key = config.grpc.tls_key;
	config.grpc.tls_key = "/nonexistent/key.pem";
	expect_refusal("/nonexistent/key.pem: No such file");
	free(config.grpc.tls_cert);
	free(config.grpc.tls_client_ca);
	free(key);
	config.grpc.tls_cert = config.grpc.tls_key = config.grpc.tls_client_ca = config.grpc.tcp = empty;
	struct certificate *all[] = {&authority, &rogue, &ours, &friend, &foe};
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		certificate_free(all[i]);
	launch();
}

static void sockets_are_inherited(void **state)
{
	char pid[16], at[140];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	grpc_server_stop();
	config.grpc.socket = inherited_path;
	launch();
	unsetenv("LISTEN_PID");
	snprintf(at, sizeof(at), "unix:%s", inherited_path);
	expect_service(at);
	grpc_server_stop();
	assert_int_equal(access(inherited_path, F_OK), 0); // the supervisor's, not ours to remove
	config.grpc.socket = socket_path;
	launch();
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
		cmocka_unit_test(rapid_reset_is_cut),
		cmocka_unit_test(connections_are_capped),
		cmocka_unit_test(half_open_connections_keep_nobody_out),
		cmocka_unit_test(connections_are_taken_at_a_bounded_rate),
		cmocka_unit_test(accepting_survives_emfile),
		cmocka_unit_test(socket_paths_are_taken_with_care),
		cmocka_unit_test(tcp_only_on_loopback),
		cmocka_unit_test(tls_and_mutual_tls),
		cmocka_unit_test(sockets_are_inherited),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
