// SPDX-License-Identifier: ISC
//
// livekit_test.c - requests have the bytes LiveKit expects, responses are told apart, and none can eat the memory.
//
// Runs on: any.
#include "controlplane/livekit.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static void assert_bytes(struct livekit_request request, const char *bytes, size_t n)
{
	assert_non_null(request.data);
	assert_int_equal(request.bytes, n);
	assert_memory_equal(request.data, bytes, n);
	livekit_request_free(&request);
	assert_null(request.data);
}
#define ASSERT_BYTES(request, literal) assert_bytes(request, literal, sizeof(literal) - 1)

// Field numbers written out by hand: tag = number << 3 | wire type.
static void test_requests(void **state)
{
	ASSERT_BYTES(livekit_offer("v=0", 7), "\x0a\x0e\x0a\x05offer\x12\x03v=0\x18\x07");
	ASSERT_BYTES(livekit_subscription("TR_a", true), "\x32\x08\x0a\x04TR_a\x10\x01");
	ASSERT_BYTES(livekit_subscription("TR_a", false), "\x32\x06\x0a\x04TR_a");
	ASSERT_BYTES(livekit_leave(), "\x42\x02\x10\x01");
	ASSERT_BYTES(livekit_ping(5), "\x70\x05");
	ASSERT_BYTES(livekit_ping_req(5, 3), "\x82\x01\x04\x08\x05\x10\x03");
}

static size_t decode_base64url(const char *text, uint8_t *ret)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned have = 0, used = 0;
	size_t length = strcspn(text, "%");
	for (size_t i = 0; i < length; i++) {
		bits = bits << 6 | (uint32_t)(strchr(digits, text[i]) - digits);
		have += 6;
		if (have >= 8)
			ret[used++] = (uint8_t)(bits >> (have -= 8));
	}
	size_t pad = strlen(text) - length; // "%3D" each
	assert_int_equal((length + pad / 3) % 4, 0);
	return used;
}

static Livekit__JoinRequest *decode_join(const char *path, const char *prefix)
{
	uint8_t bytes[2048];
	assert_true(strncmp(path, prefix, strlen(prefix)) == 0);
	size_t n = decode_base64url(path + strlen(prefix), bytes);
	Livekit__WrappedJoinRequest *wrapped = livekit__wrapped_join_request__unpack(NULL, n, bytes);
	assert_non_null(wrapped);
	assert_int_equal(wrapped->compression, LIVEKIT__WRAPPED_JOIN_REQUEST__COMPRESSION__NONE);
	Livekit__JoinRequest *join = livekit__join_request__unpack(NULL, wrapped->join_request.len, wrapped->join_request.data);
	livekit__wrapped_join_request__free_unpacked(wrapped, NULL);
	assert_non_null(join);
	return join;
}

static void test_join_path(void **state)
{
	char path[LIVEKIT_PATH_MAX];
	assert_int_equal(livekit_join_path(&(struct livekit_join){0}, path, sizeof(path)), 0);
	Livekit__JoinRequest *join = decode_join(path, "/rtc/v1?join_request=");
	assert_int_equal(join->client_info->sdk, LIVEKIT__CLIENT_INFO__SDK__GO);
	assert_int_equal(join->client_info->protocol, 17);
	assert_false(join->connection_settings->auto_subscribe);
	assert_false(join->reconnect);
	livekit__join_request__free_unpacked(join, NULL);

	// Every length of sid, so that every padding occurs.
	for (unsigned n = 1; n < 40; n++) {
		char sid[64] = {0};
		memset(sid, 's', n);
		struct livekit_join resume = {.validate = true, .resume_sid = sid};
		assert_int_equal(livekit_join_path(&resume, path, sizeof(path)), 0);
		join = decode_join(path, "/rtc/v1/validate?join_request=");
		assert_true(join->reconnect);
		assert_int_equal(join->reconnect_reason, LIVEKIT__RECONNECT_REASON__RR_SIGNAL_DISCONNECTED);
		assert_string_equal(join->participant_sid, sid);
		livekit__join_request__free_unpacked(join, NULL);
	}
	struct livekit_join legacy = {.legacy = true};
	assert_int_equal(livekit_join_path(&legacy, path, sizeof(path)), 0);
	livekit__join_request__free_unpacked(
		decode_join(path, "/rtc?protocol=17&auto_subscribe=0&sdk=go&join_request="), NULL);
	assert_int_equal(livekit_join_path(&legacy, path, 20), -ENAMETOOLONG);
	char huge[2000] = {0};
	memset(huge, 's', sizeof(huge) - 1);
	assert_int_equal(livekit_join_path(&(struct livekit_join){.resume_sid = huge}, path, sizeof(path)), -ENAMETOOLONG);
}

static void test_decode(void **state)
{
	// answer{id 1, type, mid_to_track_id{"1":"TR_b"}} with an unknown field 99 in the middle
	static const uint8_t answer[] = "\x12\x19\x0a\x06" "answer\x9a\x06\x01x\x18\x01\x22\x09\x0a\x01" "1\x12\x04TR_b";
	Livekit__SignalResponse *message = livekit_decode(answer, sizeof(answer) - 1);
	assert_non_null(message);
	assert_int_equal(message->message_case, LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER);
	assert_string_equal(livekit_message_name(message), "answer");
	struct sdp_section section = {.mid = "1", .track = "TR_msid"};
	assert_string_equal(livekit_section_track(message->answer, &section), "TR_b");
	strcpy(section.mid, "2");
	assert_string_equal(livekit_section_track(message->answer, &section), "TR_msid");
	livekit_free(message);

	// a oneof member nobody has heard of
	message = livekit_decode((const uint8_t *)"\xfa\x07\x00", 3);
	assert_non_null(message);
	assert_string_equal(livekit_message_name(message), "unknown");
	livekit_free(message);
	message = livekit_decode(NULL, 0);
	assert_string_equal(livekit_message_name(message), "unknown");
	livekit_free(message);

	assert_null(livekit_decode(answer, sizeof(answer) - 4)); // cut short
	assert_null(livekit_decode((const uint8_t *)"\xff\xff\xff", 3));
	livekit_free(NULL);
}

// 2 MiB of empty participants would unfold to about 200 MiB.
static void test_decode_is_bounded(void **state)
{
	size_t body = (2u << 20) - 8;
	uint8_t *data = calloc(1, body + 5);
	data[0] = 0x2a; // update
	for (int i = 0; i < 4; i++)
		data[1 + i] = (uint8_t)((body >> (7 * i) & 127) | (i < 3 ? 128 : 0));
	for (size_t i = 0; i < body; i += 2)
		data[5 + i] = 0x0a;
	assert_null(livekit_decode(data, body + 5));
	free(data);
}

// A large room whose participants have much to tell is far below what a message may unfold to; what it needed is taken away.
static void test_decode_of_a_large_room(void **state)
{
	enum { COUNT = 4096, EACH = 512 };
	static Livekit__ParticipantInfo infos[COUNT], *list[COUNT];
	static uint8_t text[256] = {254, 1}; // its length, then what is in it
	ProtobufCMessageUnknownField about[6]; // name, metadata, permission ...: read and put aside
	Livekit__TrackInfo track = LIVEKIT__TRACK_INFO__INIT, *tracks[] = {&track, &track};
	char sid[] = "PA_xyzxyzxyzxyz";
	track.sid = (char[]){"TR_AMxyzxyzxyzxyz"};
	for (unsigned i = 0; i < ARRAY_SIZE(about); i++)
		about[i] = (ProtobufCMessageUnknownField){.tag = 1000 + i, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
			.len = sizeof(text), .data = text};
	for (unsigned i = 0; i < COUNT; i++) {
		infos[i] = (Livekit__ParticipantInfo)LIVEKIT__PARTICIPANT_INFO__INIT;
		infos[i].sid = infos[i].identity = sid;
		infos[i].base.n_unknown_fields = ARRAY_SIZE(about);
		infos[i].base.unknown_fields = about;
		infos[i].n_tracks = ARRAY_SIZE(tracks);
		infos[i].tracks = tracks;
		list[i] = &infos[i];
	}
	Livekit__ParticipantUpdate update = LIVEKIT__PARTICIPANT_UPDATE__INIT;
	update.n_participants = COUNT;
	update.participants = list;
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE;
	response.update = &update;
	uint8_t *data = malloc(livekit__signal_response__get_packed_size(&response));
	size_t bytes = livekit__signal_response__pack(&response, data), budget = LIVEKIT_DECODED_MAX;
	Livekit__SignalResponse *message = livekit_decode_within(data, bytes, &budget);
	assert_non_null(message);
	assert_int_equal(message->update->n_participants, COUNT);
	livekit_free(message);
	assert_in_range(LIVEKIT_DECODED_MAX - budget, COUNT * EACH, LIVEKIT_DECODED_MAX / 4 * 3);
	// Also by what comes to nothing.
	budget = LIVEKIT_DECODED_MAX / 4;
	assert_null(livekit_decode_within(data, bytes, &budget));
	assert_in_range(budget, 0, LIVEKIT_DECODED_MAX / 8);
	free(data);
}

static void test_pick_track(void **state)
{
	Livekit__TrackInfo tracks[4];
	Livekit__TrackInfo *list[4] = {&tracks[0], &tracks[1], &tracks[2], &tracks[3]};
	for (int i = 0; i < 4; i++)
		livekit__track_info__init(&tracks[i]);
	tracks[0].sid = "TR_video", tracks[0].type = LIVEKIT__TRACK_TYPE__VIDEO;
	tracks[1].sid = "TR_any", tracks[2].sid = "TR_any2";
	tracks[3].sid = "TR_mic", tracks[3].source = LIVEKIT__TRACK_SOURCE__MICROPHONE;
	Livekit__ParticipantInfo info = LIVEKIT__PARTICIPANT_INFO__INIT;
	assert_null(livekit_pick_track(&info, ""));
	info.tracks = list;
	info.n_tracks = 1;
	assert_null(livekit_pick_track(&info, ""));
	info.n_tracks = 3;
	assert_string_equal(livekit_pick_track(&info, "")->sid, "TR_any");
	assert_string_equal(livekit_pick_track(&info, "TR_any2")->sid, "TR_any2");
	assert_string_equal(livekit_pick_track(&info, "TR_gone")->sid, "TR_any");
	info.n_tracks = 4;
	assert_string_equal(livekit_pick_track(&info, "TR_any2")->sid, "TR_mic");
	tracks[2].source = LIVEKIT__TRACK_SOURCE__MICROPHONE;
	assert_string_equal(livekit_pick_track(&info, "TR_mic")->sid, "TR_mic");
	assert_string_equal(livekit_pick_track(&info, "")->sid, "TR_any2");
}

static void test_candidate(void **state)
{
	struct sdp_candidate candidate;
	assert_int_equal(livekit_read_candidate("{\"candidate\":\"candidate:1 1 udp 9 1.2.3.4 5 typ host\",\"sdpMid\":\"0\"}",
				 &candidate), 0);
	assert_int_equal(candidate.endpoint.ip, 0x01020304);
	assert_int_equal(candidate.priority, 9);
	assert_int_equal(livekit_read_candidate("{\"candidate\":\"\"}", &candidate), -ENOTSUP);
	assert_int_equal(livekit_read_candidate("{\"candidate\":1}", &candidate), -EINVAL);
	assert_int_equal(livekit_read_candidate("[]", &candidate), -EINVAL);
	assert_int_equal(livekit_read_candidate("", &candidate), -EINVAL);
}

static void test_leave(void **state)
{
	static const struct {
		int reason, action;
		bool can_reconnect;
		enum livekit_leave_kind kind;
	} cases[] = {
		{LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY, 0, false, LIVEKIT_LEAVE_STOP},
		{LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY, 2, true, LIVEKIT_LEAVE_STOP},
		{LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED, 0, false, LIVEKIT_LEAVE_STOP},
		{LIVEKIT__DISCONNECT_REASON__ROOM_DELETED, 0, false, LIVEKIT_LEAVE_STOP},
		{LIVEKIT__DISCONNECT_REASON__ROOM_CLOSED, 1, false, LIVEKIT_LEAVE_STOP},
		{LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN, 0, false, LIVEKIT_LEAVE_SHUTDOWN},
		{LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN, 2, false, LIVEKIT_LEAVE_REJOIN},
		{LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT, 1, false, LIVEKIT_LEAVE_RESUME},
		{LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH, 2, false, LIVEKIT_LEAVE_REJOIN},
		{LIVEKIT__DISCONNECT_REASON__UNKNOWN_REASON, 0, true, LIVEKIT_LEAVE_REJOIN},
		{99, 0, false, LIVEKIT_LEAVE_REJOIN},
		{-1, 0, false, LIVEKIT_LEAVE_REJOIN},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
		leave.reason = (Livekit__DisconnectReason)cases[i].reason;
		leave.action = (Livekit__LeaveRequest__Action)cases[i].action;
		leave.can_reconnect = cases[i].can_reconnect;
		assert_int_equal(livekit_leave_kind(&leave), cases[i].kind);
	}
	assert_string_equal(livekit_reason_text(LIVEKIT__DISCONNECT_REASON__AGENT_ERROR), "agent error");
	assert_string_equal(livekit_reason_text(-5), "unknown reason");
	assert_string_equal(livekit_reason_text(17), "unknown reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_join_path),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_decode_is_bounded),
		cmocka_unit_test(test_decode_of_a_large_room),
		cmocka_unit_test(test_pick_track),
		cmocka_unit_test(test_candidate),
		cmocka_unit_test(test_leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
