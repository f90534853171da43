// SPDX-License-Identifier: ISC
//
// alloc_grpc_test.c - every kind of call over real sockets, with each of our allocations failing in the server's threads: each call
// ends in time with an answer or a status, the server serves on, and nothing stays behind. Slots are fakes.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <link.h>
#include <unistd.h>

#include "tests/support/alloc_failure.h"

#include "controlplane/grpc_server.h"
#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/admin.pb-c.h"
#include "proto/relay/v1/transcripts.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"
#include "tests/support/grpc_folder.h"

#define BRIDGE "/mentra.livekit.bridge.LiveKitBridge/"
#define SETTLE_NS 10000000000ull
#define FRAMES 5
#define TRY_MS 200

static char anna_name[] = "anna";
static struct client client, compressing, operator;
static struct fake_user *anna;

// An answer, or a status that says what is missing; never silence, never a fault of ours.
static bool expect_status(const char *method, int status, const char *text)
{
	if (status == GRPC_STATUS_OK)
		return true;
	if (alloc_failed == 0 || status < 0 || status == GRPC_STATUS_DEADLINE_EXCEEDED || status == GRPC_STATUS_INTERNAL ||
		status == GRPC_STATUS_UNKNOWN || strlen(text) < 5)
		fail_msg("%s: status %d \"%s\", failing %lu, every %lu, last at program + 0x%lx", method, status, text, alloc_fail_at,
			alloc_fail_every, (unsigned long)((const char *)alloc_failed_from - &__executable_start));
	return false;
}

static bool ask(struct client *through, const char *method, const ProtobufCMessage *request)
{
	char text[256] = "";
	return expect_status(method, client_unary(through, method, request, NULL, NULL, text, sizeof(text)), text);
}

static bool join(void)
{
	static char token[] = "t", url[] = "ws://127.0.0.1:7880";
	Mentra__Livekit__Bridge__JoinRoomRequest request = MENTRA__LIVEKIT__BRIDGE__JOIN_ROOM_REQUEST__INIT;
	request.user_id = anna_name;
	request.token = token;
	request.livekit_url = url;
	return ask(&client, BRIDGE "JoinRoom", &request.base);
}

static void bridge_calls(void)
{
	Mentra__Livekit__Bridge__BridgeStatusRequest status = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	Mentra__Livekit__Bridge__HealthCheckRequest health = MENTRA__LIVEKIT__BRIDGE__HEALTH_CHECK_REQUEST__INIT;
	status.user_id = anna_name;
	ask(&client, BRIDGE "GetStatus", &status.base);
	ask(&client, BRIDGE "HealthCheck", &health.base);
	char long_name[60] = {0};
	memset(long_name, 'a', sizeof(long_name) - 1); // worth compressing
	status.user_id = long_name;
	ask(&compressing, BRIDGE "GetStatus", &status.base);
}

// One message, or the status that came instead; then the caller goes. What was said without memory is not heard: prod says more.
static void read_one(struct client_call *call, const char *method, void (*prod)(void *arg))
{
	grpc_event event;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
	grpc_call_start_batch(call->call, &op, 1, &call->recv_tag, NULL);
	unsigned tries = 0;
	do {
		if (prod != NULL)
			fake_sync(prod, NULL);
		event = grpc_completion_queue_pluck(call->client->queue, &call->recv_tag, client_deadline(TRY_MS), NULL);
	} while (event.type != GRPC_OP_COMPLETE && ++tries < CLIENT_LIMIT_S * 1000 / TRY_MS);
	if (event.type != GRPC_OP_COMPLETE)
		fail_msg("%s: nothing came, failing %lu, every %lu", method, alloc_fail_at, alloc_fail_every);
	if (call->received == NULL && expect_status(method, client_status(call), call->text))
		fail_msg("%s ended without a word", method);
	grpc_byte_buffer_destroy(call->received);
	client_end(call);
}

static void frames_on_control(void *unused)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DECODED, .arrival_ns = clock_mono_ns(), .capture_us = 1};
	for (unsigned i = 0; i < FRAMES; i++)
		pcm_write(anna->pcm, &frame);
}

static void audio(void)
{
	struct client_call call;
	Mentra__Livekit__Bridge__AudioChunk chunk = MENTRA__LIVEKIT__BRIDGE__AUDIO_CHUNK__INIT;
	chunk.user_id = anna_name;
	client_start(&call, &client, BRIDGE "StreamAudio", CLIENT_LIMIT_S * 1000);
	client_send(&call, &chunk.base);
	read_one(&call, "StreamAudio", frames_on_control);
}

static void say_on_control(void *unused)
{
	struct soniox_token tokens[2] = {
		{.text = " a word", .speaker = "1", .language = "en", .is_final = true, .has_time = true},
		{.text = "<end>", .speaker = "", .language = "", .is_final = true}};
	static uint64_t at_ms; // the same word at the same time would be no news
	tokens[0].start_ms = at_ms;
	tokens[0].end_ms = at_ms += 500;
	struct soniox_answer answer = {.tokens = tokens, .token_count = 2, .error_type = "", .error_message = "", .request_id = ""};
	if (anna->transcript != NULL)
		transcript_answer(anna->transcript, &answer, clock_mono_ns());
}

static bool transcribe(bool off)
{
	static char term[] = "relay", context[] = "a talk", *terms[] = {term};
	Relay__V1__TranscribeRequest request = RELAY__V1__TRANSCRIBE_REQUEST__INIT;
	Relay__V1__TranscribeOptions options = RELAY__V1__TRANSCRIBE_OPTIONS__INIT;
	request.user_id = anna_name;
	request.off = off;
	request.options = off ? NULL : &options;
	options.n_context_terms = 1;
	options.context_terms = terms;
	options.context_text = context;
	return ask(&client, "/relay.v1.Transcripts/Transcribe", &request.base);
}

static void transcripts(void)
{
	struct client_call call;
	Relay__V1__WatchTranscriptsRequest request = RELAY__V1__WATCH_TRANSCRIPTS_REQUEST__INIT;
	request.user_id = anna_name;
	transcribe(false);
	client_start(&call, &client, "/relay.v1.Transcripts/Watch", CLIENT_LIMIT_S * 1000);
	client_send(&call, &request.base);
	client_half_close(&call);
	read_one(&call, "Watch", say_on_control);
}

static void health_and_reflection(void)
{
	struct client_call call;
	Grpc__Health__V1__HealthCheckRequest health = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	health.service = empty;
	ask(&client, "/grpc.health.v1.Health/Check", &health.base);
	client_start(&call, &client, "/grpc.health.v1.Health/Watch", CLIENT_LIMIT_S * 1000);
	client_send(&call, &health.base);
	client_half_close(&call);
	read_one(&call, "health Watch", NULL);
	Grpc__Reflection__V1__ServerReflectionRequest reflection = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	reflection.message_request_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
	reflection.file_containing_symbol = (char[]){"mentra.livekit.bridge.LiveKitBridge"};
	client_start(&call, &client, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", CLIENT_LIMIT_S * 1000);
	client_send(&call, &reflection.base);
	read_one(&call, "reflection", NULL);
}

static void admin_calls(void)
{
	Relay__V1__GetStatusRequest status = RELAY__V1__GET_STATUS_REQUEST__INIT;
	Relay__V1__GetSessionRequest session = RELAY__V1__GET_SESSION_REQUEST__INIT;
	session.user_id = anna_name;
	ask(&operator, "/relay.v1.Admin/GetStatus", &status.base);
	ask(&operator, "/relay.v1.Admin/GetSession", &session.base);
	ask(&operator, "/relay.v1.Admin/ListSessions", &status.base);
	ask(&operator, "/relay.v1.Admin/ListSwaps", &status.base);
	ask(&operator, "/relay.v1.Admin/ListDrops", &status.base);
}

// A connection of its own for each time, so that accepting may fail as well.
static void story(void)
{
	client_open(&client, target);
	client_open(&operator, admin_target);
	client_compression = GRPC_COMPRESS_GZIP;
	client_open(&compressing, target);
	client_compression = GRPC_COMPRESS_NONE;
	join();
	bridge_calls();
	audio();
	transcripts();
	health_and_reflection();
	admin_calls();
	Mentra__Livekit__Bridge__LeaveRoomRequest leave = MENTRA__LIVEKIT__BRIDGE__LEAVE_ROOM_REQUEST__INIT;
	leave.user_id = anna_name;
	ask(&client, BRIDGE "LeaveRoom", &leave.base);
	client_close(&client);
	client_close(&compressing);
	client_close(&operator);
}

// What the threads of the server still give back comes within a moment.
static void settle(unsigned long usual)
{
	uint64_t limit = clock_mono_ns() + SETTLE_NS;
	while (alloc_live_count > usual && clock_mono_ns() < limit)
		usleep(1000);
	if (alloc_live_count <= usual)
		return;
	alloc_print_left();
	fail_msg("%lu allocations are left, %lu are usual", alloc_live_count, usual);
}

// With memory again everything works: no place for a call was lost, no call hangs.
static unsigned long calm(void)
{
	unsigned long failed = alloc_failed;
	alloc_calm();
	alloc_failed = 0;
	client_open(&client, target);
	assert_true(join());
	audio();
	assert_true(transcribe(true));
	client_close(&client);
	return failed;
}

static unsigned long run(unsigned long at, unsigned long every, unsigned long usual)
{
	alloc_count = alloc_failed = 0;
	alloc_fail_at = at;
	alloc_fail_every = every;
	story();
	unsigned long failed = calm();
	settle(usual);
	return failed;
}

static void calls_without_memory(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		run(0, 0, ULONG_MAX);
	usleep(300000);
	unsigned long usual = alloc_live_count, total = alloc_count, at = 1;
	run(0, 0, usual + 1);
	while (run(at, 0, usual) > 0)
		at++;
	for (unsigned every = 1; every <= ALLOC_EVERY_MAX; every++)
		run(0, every, usual);
	assert_true(at > 20);
	print_message("every kind of call: %lu allocations, %lu runs with failures\n", total, at - 1 + ALLOC_EVERY_MAX);
}

// ---- set-up

static int find_protobuf(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *inside = arg;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const char *from = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
		if (info->dlpi_phdr[i].p_type != PT_LOAD || inside < from || inside >= from + info->dlpi_phdr[i].p_memsz)
			continue;
		alloc_protobuf = from;
		alloc_protobuf_end = from + info->dlpi_phdr[i].p_memsz;
		return 1;
	}
	return 0;
}

static int start(void **state)
{
	struct err err = {""};
	assert_int_equal(dl_iterate_phdr(find_protobuf, dlsym(RTLD_DEFAULT, "protobuf_c_message_free_unpacked")), 1);
	folder_make();
	alloc_armed = alloc_everywhere = true; // this thread is the caller, and spared
	grpc_init();
	fake_start();
	anna = fake_user(anna_name, 1000);
	if (grpc_server_launch(&config, &err) == 0)
		return 0;
	print_error("%s\n", err.text);
	return -1;
}

static int stop(void **state)
{
	alloc_calm();
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	return folder_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(calls_without_memory)};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, start, stop);
}
