// SPDX-License-Identifier: ISC
//
// userpacket_test.c - payload and sender out of a DataPacket; every truncation is refused or harmless.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "dataplane/userpacket.h"

// kind (1) = 1, user (2) = {payload (2) = 1,2,3; topic (4) = "t"}, participant_identity (4) = "alice", sequence (16) = 300.
static const uint8_t packet[] = {0x08, 1, 0x12, 8, 0x12, 3, 1, 2, 3, 0x22, 1, 't', 0x22, 5, 'a', 'l', 'i', 'c', 'e', 0x80, 0x01,
	0xac, 0x02};

static void finds_payload_and_sender(void **state)
{
	(void)state;
	struct userpacket user;
	assert_int_equal(userpacket_parse(packet, sizeof(packet), &user), DROP_NONE);
	assert_int_equal(user.payload_bytes, 3);
	assert_int_equal(user.payload[2], 3);
	assert_int_equal(user.identity_bytes, 5);
	assert_memory_equal(user.identity, "alice", 5);
	assert_int_equal(user.topic_bytes, 1);
}

static void old_identity_is_second_choice(void **state)
{
	(void)state;
	static const uint8_t old[] = {0x12, 8, 0x12, 1, 7, 0x2a, 3, 'b', 'o', 'b'};
	struct userpacket user;
	assert_int_equal(userpacket_parse(old, sizeof(old), &user), DROP_NONE);
	assert_int_equal(user.identity_bytes, 3);
	assert_memory_equal(user.identity, "bob", 3);
}

static void what_is_no_audio(void **state)
{
	(void)state;
	static const uint8_t speaker[] = {0x1a, 2, 0x0a, 0}, empty[] = {0x12, 2, 0x12, 0}, group[] = {0x0b};
	static const uint8_t long_varint[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1};
	struct userpacket user;
	assert_int_equal(userpacket_parse(speaker, sizeof(speaker), &user), DROP_DATA_NOT_AUDIO);
	assert_int_equal(userpacket_parse(empty, sizeof(empty), &user), DROP_DATA_NOT_AUDIO);
	assert_int_equal(userpacket_parse(NULL, 0, &user), DROP_DATA_NOT_AUDIO);
	assert_int_equal(userpacket_parse(group, sizeof(group), &user), DROP_DATA_MALFORMED);
	assert_int_equal(userpacket_parse(long_varint, sizeof(long_varint), &user), DROP_DATA_MALFORMED);
}

static void every_truncation(void **state)
{
	(void)state;
	for (size_t bytes = 0; bytes < sizeof(packet); bytes++) {
		uint8_t *copy = malloc(bytes + 1);
		struct userpacket user;
		memcpy(copy, packet, bytes);
		enum drop drop = userpacket_parse(copy, bytes, &user);
		if (drop == DROP_NONE)
			assert_true(user.payload + user.payload_bytes <= copy + bytes);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(finds_payload_and_sender),
		cmocka_unit_test(old_identity_is_second_choice), cmocka_unit_test(what_is_no_audio),
		cmocka_unit_test(every_truncation)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
