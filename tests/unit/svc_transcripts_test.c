// SPDX-License-Identifier: ISC
//
// svc_transcripts_test.c - relay.v1.Transcripts over a real socket: watch, resume, slow callers, starting and ending. Slots are fakes.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "controlplane/grpc_server.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/transcripts.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"
#include "tests/support/grpc_folder.h"

#define SERVICE "/relay.v1.Transcripts/"

static struct client client, admin_client;

static int setup(void **state)
{
	struct err err;
	folder_make();
	grpc_init();
	fake_start();
	assert_int_equal(grpc_server_launch(&config, &err), 0);
	client_open(&client, target);
	client_open(&admin_client, admin_target);
	fake_user("anna", 1000);
	return 0;
}

static int teardown(void **state)
{
	client_close(&client);
	client_close(&admin_client);
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	return folder_remove();
}

static int transcribe(const char *user, bool off, Relay__V1__TranscribeOptions *options, char *ret_text, size_t size)
{
	Relay__V1__TranscribeRequest request = RELAY__V1__TRANSCRIBE_REQUEST__INIT;
	request.user_id = (char *)(uintptr_t)user;
	request.off = off;
	request.options = options;
	return client_unary(&client, SERVICE "Transcribe", &request.base, &relay__v1__transcribe_state__descriptor, NULL, ret_text, size);
}

// ---- what anna says, on the fake control thread

struct line {
	const char *text;
	bool final;
};

static void say_on_control(void *arg)
{
	const struct line *line = arg;
	struct soniox_token tokens[2] = {
		{.text = line->text, .speaker = "1", .language = "en", .is_final = line->final, .has_time = true},
		{.text = "<end>", .speaker = "", .language = "", .is_final = true}};
	static uint64_t at_ms = 0;
	tokens[0].start_ms = at_ms;
	at_ms += line->final ? 500 : 0;
	tokens[0].end_ms = tokens[0].start_ms + 400;
	struct soniox_answer answer = {.tokens = tokens, .token_count = line->final ? 2 : 1, .error_type = "", .error_message = "",
		.request_id = ""};
	transcript_answer(fake_find("anna")->transcript, &answer, clock_mono_ns());
}

static void say(const char *text, bool final)
{
	struct line line = {text, final};
	fake_sync(say_on_control, &line);
}

static void watch(struct client_call *call, struct client *through, const char *user, uint64_t from_seq, uint64_t epoch,
	bool finals_only)
{
	Relay__V1__WatchTranscriptsRequest request = RELAY__V1__WATCH_TRANSCRIPTS_REQUEST__INIT;
	request.user_id = (char *)(uintptr_t)user;
	request.from_seq = from_seq;
	request.epoch = epoch;
	request.finals_only = finals_only;
	client_start(call, through, SERVICE "Watch", 20000);
	assert_true(client_send(call, &request.base));
	client_half_close(call);
	assert_true(client_initial(call));
}

static Relay__V1__TranscriptEvent *next(struct client_call *call)
{
	ProtobufCMessage *message = client_recv(call, &relay__v1__transcript_event__descriptor);
	assert_non_null(message);
	return (void *)message;
}

static uint64_t expect_begin(struct client_call *call, bool complete)
{
	Relay__V1__TranscriptEvent *event = next(call);
	assert_int_equal(event->event_case, RELAY__V1__TRANSCRIPT_EVENT__EVENT_BEGIN);
	assert_int_equal(event->begin->complete, complete);
	uint64_t epoch = event->begin->epoch;
	protobuf_c_message_free_unpacked(&event->base, NULL);
	return epoch;
}

static void expect_segment(struct client_call *call, uint64_t seq, bool final, const char *text)
{
	Relay__V1__TranscriptEvent *event = next(call);
	assert_int_equal(event->event_case, RELAY__V1__TRANSCRIPT_EVENT__EVENT_SEGMENT);
	assert_int_equal(event->segment->seq, seq);
	assert_int_equal(event->segment->final, final);
	assert_string_equal(event->segment->text, text);
	assert_string_equal(event->segment->speaker, "1");
	assert_string_equal(event->segment->language, "en");
	protobuf_c_message_free_unpacked(&event->base, NULL);
}

// ---- tests

static void watch_live_and_resumed(void **state)
{
	struct client_call call, again;
	assert_int_equal(transcribe("anna", false, NULL, NULL, 0), GRPC_STATUS_OK);
	assert_string_equal(fake_last_model, "as configured");
	watch(&call, &client, "anna", 1, 0, false);
	uint64_t epoch = expect_begin(&call, true);
	say(" hel", false);
	expect_segment(&call, 1, false, "hel");
	say(" hello", true);
	expect_segment(&call, 1, true, "hello");
	say(" world", true);
	expect_segment(&call, 2, true, "world");
	client_end(&call); // the caller breaks off
	say(" missed", true);
	watch(&again, &admin_client, "anna", 3, epoch, true);
	assert_int_equal(expect_begin(&again, true), epoch);
	expect_segment(&again, 3, true, "missed");
	say(" not for me", false);
	say(" and on", true);
	expect_segment(&again, 4, true, "and on");
	assert_int_equal(transcribe("anna", true, NULL, NULL, 0), GRPC_STATUS_OK); // ends it
	assert_null(client_recv(&again, NULL));
	assert_int_equal(client_status(&again), GRPC_STATUS_OK);
	client_end(&again);
	// Back again: another transcript, whose numbers are its own.
	assert_int_equal(transcribe("anna", false, NULL, NULL, 0), GRPC_STATUS_OK);
	say(" anew", true);
	watch(&again, &client, "anna", 5, epoch, true);
	assert_true(expect_begin(&again, false) != epoch);
	expect_segment(&again, 1, true, "anew");
	client_end(&again);
}

static void refusals_have_words(void **state)
{
	struct client_call call;
	char text[256];
	watch(&call, &client, "nobody", 1, 0, false);
	assert_int_equal(client_status(&call), GRPC_STATUS_NOT_FOUND);
	assert_string_equal(call.text, "session not found for user nobody");
	client_end(&call);
	watch(&call, &client, "anna", 1, 0, false);
	assert_int_equal(client_status(&call), GRPC_STATUS_FAILED_PRECONDITION);
	assert_string_equal(call.text, "user anna is not transcribed");
	client_end(&call);
	assert_int_equal(transcribe("nobody", false, NULL, text, sizeof(text)), GRPC_STATUS_NOT_FOUND);
	assert_int_equal(transcribe("off", false, NULL, text, sizeof(text)), GRPC_STATUS_FAILED_PRECONDITION);
	Relay__V1__TranscribeOptions options = RELAY__V1__TRANSCRIBE_OPTIONS__INIT;
	char english[] = "en", *twice[] = {english, english}, model[] = "stt-rt-v6";
	options.n_language_hints = 2;
	options.language_hints = twice;
	assert_int_equal(transcribe("anna", false, &options, text, sizeof(text)), GRPC_STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(text, "twice"));
	options.n_language_hints = 1;
	assert_int_equal(transcribe("anna", false, &options, text, sizeof(text)), GRPC_STATUS_OK);
	assert_string_equal(fake_last_model, "fake");
	options.model = model;
	assert_int_equal(transcribe("anna", false, &options, text, sizeof(text)), GRPC_STATUS_OK);
	assert_string_equal(fake_last_model, "stt-rt-v6");
	Relay__V1__FinalizeRequest finalize = RELAY__V1__FINALIZE_REQUEST__INIT;
	finalize.user_id = english;
	assert_int_equal(client_unary(&client, SERVICE "Finalize", &finalize.base, NULL, NULL, NULL, 0), GRPC_STATUS_NOT_FOUND);
	char anna[] = "anna";
	finalize.user_id = anna;
	assert_int_equal(client_unary(&client, SERVICE "Finalize", &finalize.base, NULL, NULL, NULL, 0), GRPC_STATUS_RESOURCE_EXHAUSTED);
}

static void states_and_totals(void **state)
{
	ProtobufCMessage *message;
	Relay__V1__GetTranscribeStateRequest request = RELAY__V1__GET_TRANSCRIBE_STATE_REQUEST__INIT;
	char anna[] = "anna", nobody[] = "nobody";
	request.user_id = nobody;
	assert_int_equal(client_unary(&client, SERVICE "GetTranscribeState", &request.base, &relay__v1__transcribe_state__descriptor,
				 &message, NULL, 0), GRPC_STATUS_OK);
	assert_false(((Relay__V1__TranscribeState *)message)->exists);
	protobuf_c_message_free_unpacked(message, NULL);
	assert_int_equal(transcribe("anna", false, NULL, NULL, 0), GRPC_STATUS_OK);
	request.user_id = anna;
	assert_int_equal(client_unary(&client, SERVICE "GetTranscribeState", &request.base, &relay__v1__transcribe_state__descriptor,
				 &message, NULL, 0), GRPC_STATUS_OK);
	Relay__V1__TranscribeState *seen = (void *)message;
	assert_true(seen->exists);
	assert_string_equal(seen->state, "live");
	assert_string_equal(seen->health, "starved");
	assert_non_null(strstr(seen->sentence, "no audio"));
	assert_int_equal(seen->sent_ms, 4200);
	assert_int_equal(seen->token_age_ms, -1);
	protobuf_c_message_free_unpacked(message, NULL);
	Relay__V1__GetTranscribeTotalsRequest nothing = RELAY__V1__GET_TRANSCRIBE_TOTALS_REQUEST__INIT;
	assert_int_equal(client_unary(&admin_client, SERVICE "GetTranscribeTotals", &nothing.base,
				 &relay__v1__transcribe_totals__descriptor, &message, NULL, 0), GRPC_STATUS_OK);
	assert_string_equal(((Relay__V1__TranscribeTotals *)message)->alarm, "no money");
	protobuf_c_message_free_unpacked(message, NULL);
}

// Who does not read gets every final, up to a limit, then a number to go on from; interims in between are skipped.
static void slow_callers_lose_no_final(void **state)
{
	struct client_call call;
	assert_int_equal(transcribe("anna", false, NULL, NULL, 0), GRPC_STATUS_OK);
	watch(&call, &client, "anna", 1, 0, false);
	char *text = malloc(3001);
	text[0] = ' ';
	memset(text + 1, 'x', 2999);
	text[3000] = '\0';
	for (unsigned i = 0; i < 4500; i++)
		say(text, true);
	expect_begin(&call, true);
	uint64_t seq = 1;
	for (ProtobufCMessage *message; (message = client_recv(&call, &relay__v1__transcript_event__descriptor)) != NULL; seq++) {
		assert_int_equal(((Relay__V1__TranscriptEvent *)message)->segment->seq, seq);
		protobuf_c_message_free_unpacked(message, NULL);
	}
	assert_int_equal(client_status(&call), GRPC_STATUS_RESOURCE_EXHAUSTED);
	char expected[64];
	snprintf(expected, sizeof(expected), "too slow: go on with from_seq %llu", (unsigned long long)seq);
	assert_string_equal(call.text, expected);
	client_end(&call);
	free(text);
}

static void metadata_of_a_join_starts_it(void **state)
{
	Mentra__Livekit__Bridge__JoinRoomRequest request = MENTRA__LIVEKIT__BRIDGE__JOIN_ROOM_REQUEST__INIT;
	char anna[] = "anna", token[] = "t", url[] = "ws://127.0.0.1:7880";
	request.user_id = anna;
	request.token = token;
	request.livekit_url = url;
	for (unsigned asked = 0; asked < 2; asked++) {
		struct client_call call;
		client_metadata = asked ? "on" : NULL;
		client_start(&call, &client, "/mentra.livekit.bridge.LiveKitBridge/JoinRoom", 20000);
		client_metadata = NULL;
		client_send(&call, &request.base);
		client_half_close(&call);
		assert_true(client_initial(&call));
		ProtobufCMessage *message = client_recv(&call, &mentra__livekit__bridge__join_room_response__descriptor);
		assert_true(((Mentra__Livekit__Bridge__JoinRoomResponse *)message)->success);
		protobuf_c_message_free_unpacked(message, NULL);
		client_end(&call);
		watch(&call, &client, "anna", 1, 0, false);
		if (asked)
			expect_begin(&call, true);
		else
			assert_int_equal(client_status(&call), GRPC_STATUS_FAILED_PRECONDITION);
		client_end(&call);
	}
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(watch_live_and_resumed),
		TEST(refusals_have_words),
		TEST(states_and_totals),
		TEST(slow_callers_lose_no_final),
		TEST(metadata_of_a_join_starts_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
