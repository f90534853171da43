// SPDX-License-Identifier: ISC
//
// request_test.c - what a client's bytes may and may not be.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controlplane/descriptors.h"
#include "controlplane/request.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/mentra/livekit_bridge.pb-c.h"

#define JOIN (&mentra__livekit__bridge__join_room_request__descriptor)

static void expect(const ProtobufCMessageDescriptor *descriptor, const char *bytes, size_t size, int rc, const char *text)
{
	ProtobufCMessage *message;
	struct err err = {""};
	assert_int_equal(request_unpack(descriptor, (const uint8_t *)bytes, size, &message, &err), rc);
	assert_int_equal(message != NULL, rc == 0);
	assert_string_equal(err.text, text);
	protobuf_c_message_free_unpacked(message, NULL);
}
#define EXPECT(bytes, rc, text) expect(JOIN, bytes, sizeof(bytes) - 1, rc, text)
#define NOT_PARSED "the message does not parse as mentra.livekit.bridge.JoinRoomRequest"

static void utf8(void **state)
{
	static const char *const good[] = {
		"", "plain", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x8e\xa4", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80"};
	static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe2\x82", "\xe0\x80\x80", "\xed\xa0\x80",
		"\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xc3z"};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(request_utf8_valid((const uint8_t *)good[i], strlen(good[i])));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(request_utf8_valid((const uint8_t *)bad[i], strlen(bad[i])));
}

static void values(void **state)
{
	EXPECT("", 0, "");
	EXPECT("\x0a\x04" "anna", 0, "");
	EXPECT("\x0a\x03" "a\0b", -EINVAL, "user_id contains a NUL byte");
	EXPECT("\x0a\x02" "\xc3\x28", -EINVAL, "user_id is not valid UTF-8");
	EXPECT("\x0a\x04" "anna\x92\x03\x01x", 0, ""); // an unknown field is kept out of the way
	char big[400] = {0x0a, (char)0x80, 0x02};      // 256 bytes
	memset(big + 3, 'x', 256);
	expect(JOIN, big, 3 + 256, -EINVAL, "user_id is longer than 255 bytes");
	big[1] = (char)0xff;
	big[2] = 0x01;
	expect(JOIN, big, 3 + 255, 0, "");
}

static void strangers_texts_are_cleaned(void **state)
{
	static const struct {
		const char *text, *clean;
	} cases[] = {
		{"", ""}, {"plain", "plain"}, {"Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x98\x80", "Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x98\x80"},
		{"a\xff" "b", "a?b"}, {"cut \xe2\x82", "cut ??"}, {"\xed\xa0\x80", "???"}, {"one\ntwo\x1b[31m", "one?two?[31m"},
		{"\xc3(", "?("}, {"\x7f", "?"}, {"\xf0\x9f\x98", "???"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s", cases[i].text);
		request_text_clean(text);
		assert_string_equal(text, cases[i].clean);
	}
}

static void malformed(void **state)
{
	EXPECT("\x0a", -EBADMSG, NOT_PARSED);
	EXPECT("\x0a\x05" "anna", -EBADMSG, NOT_PARSED);
	EXPECT("\x00", -EBADMSG, NOT_PARSED);
	EXPECT("\x0b", -EBADMSG, NOT_PARSED);     // a group
	EXPECT("\x08\x01", -EBADMSG, NOT_PARSED); // user_id as a number
	EXPECT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", -EBADMSG, NOT_PARSED);
	EXPECT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -EBADMSG, NOT_PARSED);
	// A bad value does not hide that the rest is no message.
	EXPECT("\x0a\x01\xff\x0a", -EBADMSG, NOT_PARSED);
}

static void many_fields_are_no_amplifier(void **state)
{
	char bytes[513 * 2] = {0};
	for (size_t i = 0; i < sizeof(bytes); i += 2)
		bytes[i] = 0x7a; // field 15, which nobody knows, empty, over and over
	expect(JOIN, bytes, 512 * 2, 0, "");
	expect(JOIN, bytes, 513 * 2, -EBADMSG, NOT_PARSED);
}

static void nested_strings_are_checked(void **state)
{
	static const char good[] = "\x2a\x03\x0a\x01x", bad[] = "\x2a\x03\x0a\x01\xff";
	const ProtobufCMessageDescriptor *reflection = &grpc__reflection__v1__server_reflection_request__descriptor;
	expect(reflection, good, sizeof(good) - 1, 0, "");
	expect(reflection, bad, sizeof(bad) - 1, -EINVAL, "containing_type is not valid UTF-8");
}

static void own_descriptors_are_found(void **state)
{
	static struct descriptor_set set;
	assert_int_equal(descriptors_parse(protos_desc, (size_t)(protos_desc_end - protos_desc), &set), 0);
	assert_true(set.count >= 5);
	static const char *const there[] = {"mentra.livekit.bridge.LiveKitBridge", "mentra.livekit.bridge.AudioChunk",
		"mentra.livekit.bridge.LiveKitBridge.StreamAudio", "mentra.livekit.bridge.PlayAudioEvent.EventType",
		"mentra.livekit.bridge.PlayAudioEvent.MetadataEntry", "grpc.health.v1.Health.Watch", "relay.v1.Admin"};
	static const char *const not_there[] = {"", "mentra", "mentra.livekit.bridge", "mentra.livekit.bridge.",
		"mentra.livekit.bridge.Audio", "mentra.livekit.bridge.AudioChunk.x", "mentra.livekit.bridge.AudioChunkX",
		"mentra.livekit.bridgeX.AudioChunk"};
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		assert_non_null(descriptors_symbol(&set, there[i]));
	for (size_t i = 0; i < ARRAY_SIZE(not_there); i++)
		assert_null(descriptors_symbol(&set, not_there[i]));
	const struct descriptor_file *file = descriptors_symbol(&set, "relay.v1.Admin");
	assert_ptr_equal(descriptors_file(&set, file->name.text, file->name.bytes), file);
	assert_null(descriptors_file(&set, "nothing", 7));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8),
		cmocka_unit_test(strangers_texts_are_cleaned),
		cmocka_unit_test(values),
		cmocka_unit_test(malformed),
		cmocka_unit_test(many_fields_are_no_amplifier),
		cmocka_unit_test(nested_strings_are_checked),
		cmocka_unit_test(own_descriptors_are_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
