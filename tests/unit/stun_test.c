// SPDX-License-Identifier: ISC
//
// stun_test.c - the vectors of RFC 5769, our own messages read back, and everything malformed refused.
//
// Runs on: any.
#include "dataplane/stun.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>
#include <openssl/evp.h>

#define VECTOR(text) ((const uint8_t *)(text)), sizeof(text) - 1
#define PASSWORD "VOkJxbRl1RmTxUk/WvJxBt"
#define TRANSACTION "\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae"

// RFC 5769 2.1 to 2.4. The padding of 2.1 to 2.3 is made of blanks on purpose.
#define REQUEST                                                                                                        \
	"\x00\x01\x00\x58\x21\x12\xa4\x42" TRANSACTION "\x80\x22\x00\x10STUN test client"                              \
	"\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36"                             \
	"\x00\x06\x00\x09"                                                                                             \
	"evtj:h6vY   "                                                                                                 \
	"\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2"             \
	"\x80\x28\x00\x04\xe5\x7a\x3b\xcf"
#define ANSWER_IP4                                                                                                     \
	"\x01\x01\x00\x3c\x21\x12\xa4\x42" TRANSACTION "\x80\x22\x00\x0btest vector "                                  \
	"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"                                                             \
	"\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7"             \
	"\x80\x28\x00\x04\xc0\x7d\x4c\x96"
#define ANSWER_IP6                                                                                                     \
	"\x01\x01\x00\x48\x21\x12\xa4\x42" TRANSACTION "\x80\x22\x00\x0btest vector "                                  \
	"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"             \
	"\x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41"             \
	"\x80\x28\x00\x04\xc8\xfb\x0b\x4c"
#define LONG_TERM_TRANSACTION "\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e"
#define LONG_TERM_USER                                                                                                 \
	"\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9" // six katakana characters
#define LONG_TERM                                                                                                      \
	"\x00\x01\x00\x60\x21\x12\xa4\x42" LONG_TERM_TRANSACTION "\x00\x06\x00\x12" LONG_TERM_USER                     \
	"\x00\x00\x00\x15\x00\x1c"                                                                                     \
	"f//499k954d6OL34oL9FSTvy64sA"                                                                                 \
	"\x00\x14\x00\x0b"                                                                                             \
	"example.org\x00"                                                                                              \
	"\x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66"

static void test_rfc5769_request(void **state)
{
	struct stun_message m;
	assert_true(stun_decode(VECTOR(REQUEST), &m));
	assert_int_equal(m.kind, STUN_REQUEST);
	assert_int_equal(m.method, STUN_BINDING);
	assert_memory_equal(m.transaction, TRANSACTION, STUN_TRANSACTION_BYTES);
	assert_int_equal(m.username_bytes, 9);
	assert_memory_equal(m.username, "evtj:h6vY", 9);
	assert_int_equal(m.priority, 0x6e0001ff);
	assert_true(m.controlled);
	assert_false(m.controlling);
	assert_true(m.tie_breaker == UINT64_C(0x932ff9b151263b36));
	assert_int_equal(m.unknown_count, 0);
	assert_true(stun_check_fingerprint(&m));
	assert_true(stun_check_integrity(&m, PASSWORD, strlen(PASSWORD)));
	assert_false(stun_check_integrity(&m, PASSWORD "x", strlen(PASSWORD) + 1));
	assert_false(stun_check_integrity(&m, PASSWORD, strlen(PASSWORD) - 1));
}

static void test_rfc5769_answers(void **state)
{
	static const uint8_t ip4[] = {192, 0, 2, 1};
	static const uint8_t ip6[] = {
		0x20, 0x01, 0x0d, 0xb8, 0x12, 0x34, 0x56, 0x78, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77};
	struct stun_message m;
	assert_true(stun_decode(VECTOR(ANSWER_IP4), &m));
	assert_int_equal(m.kind, STUN_SUCCESS);
	assert_int_equal(m.mapped.family, STUN_FAMILY_IP4);
	assert_int_equal(m.mapped.port, 32853);
	assert_memory_equal(m.mapped.ip, ip4, sizeof(ip4));
	assert_true(stun_check_fingerprint(&m));
	assert_true(stun_check_integrity(&m, PASSWORD, strlen(PASSWORD)));

	assert_true(stun_decode(VECTOR(ANSWER_IP6), &m));
	assert_int_equal(m.mapped.family, STUN_FAMILY_IP6);
	assert_int_equal(m.mapped.port, 32853);
	assert_memory_equal(m.mapped.ip, ip6, sizeof(ip6));
	assert_true(stun_check_fingerprint(&m));
	assert_true(stun_check_integrity(&m, PASSWORD, strlen(PASSWORD)));
}

static void test_rfc5769_long_term(void **state)
{
	static const char secret[] = LONG_TERM_USER ":example.org:TheMatrIX";
	uint8_t key[EVP_MAX_MD_SIZE], datagram[256];
	unsigned key_bytes = 0;
	struct stun_message m;
	struct stun_writer w;
	assert_true(EVP_Digest(secret, sizeof(secret) - 1, key, &key_bytes, EVP_md5(), NULL));
	assert_int_equal(key_bytes, 16);
	assert_true(stun_decode(VECTOR(LONG_TERM), &m));
	assert_int_equal(m.username_bytes, 18);
	assert_int_equal(m.fingerprint_at, 0);
	assert_true(stun_check_fingerprint(&m));
	assert_true(stun_check_integrity(&m, key, key_bytes));
	assert_false(stun_check_integrity(&m, PASSWORD, strlen(PASSWORD)));

	// Zero padding: ours comes out byte for byte.
	stun_begin(&w, datagram, sizeof(datagram), STUN_REQUEST, STUN_BINDING, (const uint8_t *)LONG_TERM_TRANSACTION);
	stun_put(&w, STUN_USERNAME, LONG_TERM_USER, 18);
	stun_put(&w, STUN_NONCE, "f//499k954d6OL34oL9FSTvy64sA", 28);
	stun_put(&w, STUN_REALM, "example.org", 11);
	stun_put_integrity(&w, key, key_bytes);
	assert_int_equal(stun_end(&w), sizeof(LONG_TERM) - 1);
	assert_memory_equal(datagram, LONG_TERM, sizeof(LONG_TERM) - 1);
}

// Any flipped bit is noticed by the parser, the fingerprint or the integrity, except in what they exclude.
static void test_every_bit_counts(void **state)
{
	uint8_t datagram[sizeof(REQUEST) - 1];
	struct stun_message m;
	for (size_t bit = 0; bit < sizeof(datagram) * 8; bit++) {
		memcpy(datagram, REQUEST, sizeof(datagram));
		datagram[bit / 8] ^= (uint8_t)(1 << bit % 8);
		bool parses = stun_decode(datagram, sizeof(datagram), &m);
		bool accepted = parses && m.fingerprint_at != 0 && stun_check_fingerprint(&m);
		assert_false(accepted);
		bool excluded = bit / 8 >= sizeof(datagram) - 8;
		assert_false(!excluded && parses && stun_check_integrity(&m, PASSWORD, strlen(PASSWORD)));
	}
}

static void test_types(void **state)
{
	static const struct {
		enum stun_kind kind;
		uint16_t method, type;
	} cases[] = {{STUN_REQUEST, 0x001, 0x0001}, {STUN_INDICATION, 0x001, 0x0011}, {STUN_SUCCESS, 0x001, 0x0101},
		{STUN_ERROR, 0x001, 0x0111}, {STUN_SUCCESS, 0x003, 0x0103}, {STUN_INDICATION, 0x007, 0x0017},
		{STUN_ERROR, 0xfff, 0x3fff}, {STUN_REQUEST, 0xfff, 0x3eef}, {STUN_REQUEST, 0x080, 0x0200}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t datagram[64];
		struct stun_writer w;
		struct stun_message m;
		stun_begin(&w, datagram, sizeof(datagram), cases[i].kind, cases[i].method, (const uint8_t *)TRANSACTION);
		assert_int_equal(stun_end(&w), STUN_HEADER_BYTES);
		assert_int_equal(get_be16(datagram), cases[i].type);
		assert_true(stun_decode(datagram, STUN_HEADER_BYTES, &m));
		assert_int_equal(m.kind, cases[i].kind);
		assert_int_equal(m.method, cases[i].method);
	}
}

static size_t write_all(uint8_t *datagram, size_t capacity)
{
	struct stun_writer w;
	stun_begin(&w, datagram, capacity, STUN_ERROR, STUN_BINDING, (const uint8_t *)TRANSACTION);
	stun_put(&w, STUN_USERNAME, "ab:cde", 6);
	stun_put_u64(&w, STUN_ICE_CONTROLLING, UINT64_C(0x0123456789abcdef));
	stun_put_u32(&w, STUN_PRIORITY, 0xfffefdfc);
	stun_put(&w, STUN_USE_CANDIDATE, NULL, 0);
	stun_put_u32(&w, STUN_NOMINATION, 77);
	stun_put_mapped(&w, (struct endpoint){.ip = 0xc0000201, .port = 32853});
	stun_put_error(&w, STUN_ROLE_CONFLICT, "Role Conflict");
	stun_put(&w, 0x7abc, "x", 1);
	stun_put_integrity(&w, "secret", 6);
	stun_put_fingerprint(&w);
	return stun_end(&w);
}

static void test_written_is_read(void **state)
{
	uint8_t datagram[256];
	struct stun_message m;
	size_t bytes = write_all(datagram, sizeof(datagram));
	assert_true(bytes > 0 && bytes % 4 == 0);
	assert_true(stun_decode(datagram, bytes, &m));
	assert_int_equal(m.kind, STUN_ERROR);
	assert_memory_equal(m.username, "ab:cde", 6);
	assert_true(m.controlling && !m.controlled && m.use_candidate);
	assert_true(m.tie_breaker == UINT64_C(0x0123456789abcdef));
	assert_true(m.priority == 0xfffefdfc);
	assert_int_equal(m.nomination, 77);
	assert_int_equal(m.mapped.port, 32853);
	assert_memory_equal(m.mapped.ip, "\xc0\x00\x02\x01", 4);
	assert_int_equal(m.error_code, 487);
	assert_int_equal(m.unknown_count, 1);
	assert_int_equal(m.unknown[0], 0x7abc);
	assert_true(stun_check_integrity(&m, "secret", 6));
	assert_true(stun_check_fingerprint(&m));
	// Every smaller buffer is refused as a whole, none is overrun.
	for (size_t capacity = 0; capacity < bytes; capacity++) {
		uint8_t *exact = malloc(capacity + 1);
		assert_int_equal(write_all(exact, capacity), 0);
		free(exact);
	}
}

static void test_malformed(void **state)
{
	static const struct {
		const char *text;
		size_t bytes;
	} cases[] = {
#define CASE(text) {text, sizeof(text) - 1}
		CASE("\x00\x01\x00\x00\x21\x12\xa4\x42zzzzzzzzzzz"),                                  // short
		CASE("\x00\x01\x00\x00\x21\x12\xa4\x43zzzzzzzzzzzz"),                                 // cookie
		CASE("\x80\x01\x00\x00\x21\x12\xa4\x42zzzzzzzzzzzz"),                                 // not STUN
		CASE("\x00\x01\x00\x04\x21\x12\xa4\x42zzzzzzzzzzzz"),                                 // longer than it is
		CASE("\x00\x01\x00\x00\x21\x12\xa4\x42zzzzzzzzzzzz\x80\x22\x00\x00"),                 // shorter
		CASE("\x00\x01\x00\x02\x21\x12\xa4\x42zzzzzzzzzzzz\x80\x22"),                         // not of four
		CASE("\x00\x01\x00\x04\x21\x12\xa4\x42zzzzzzzzzzzz\x80\x22\x00\x01"),                 // beyond the end
		CASE("\x00\x01\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x80\x22\xff\xff\x00\x00\x00\x00"), // far beyond
		CASE("\x00\x01\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x08\x00\x04zzzz"),             // integrity of 4
		CASE("\x00\x01\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x24\x00\x03zzzz"),             // priority of 3
		CASE("\x00\x01\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x25\x00\x01zzzz"),             // USE-CANDIDATE of 1
		CASE("\x00\x01\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x80\x2a\x00\x04zzzz"),             // tie-breaker of 4
		CASE("\x01\x01\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x20\x00\x04\x00\x01zz"),       // no address
		CASE("\x01\x01\x00\x0c\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x20\x00\x08\x00\x03zzzzzz"),   // family 3
		CASE("\x01\x01\x00\x0c\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x20\x00\x08\x00\x02zzzzzz"),   // IPv6 of 4
		CASE("\x01\x11\x00\x08\x21\x12\xa4\x42zzzzzzzzzzzz\x00\x09\x00\x04\x00\x00\x07\x00"), // code 700
		CASE("\x00\x01\x00\x0c\x21\x12\xa4\x42zzzzzzzzzzzz\x80\x28\x00\x04zzzz\x80\x22\x00\x00"), // behind it
	};
	struct stun_message m;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_false(stun_decode((const uint8_t *)cases[i].text, cases[i].bytes, &m));
	for (size_t bytes = 0; bytes < sizeof(REQUEST) - 1; bytes++)
		assert_false(stun_decode((const uint8_t *)REQUEST, bytes, &m));
}

// What stands behind MESSAGE-INTEGRITY is not signed and must not count.
static void test_behind_integrity(void **state)
{
	uint8_t datagram[256];
	struct stun_writer w;
	struct stun_message m;
	stun_begin(&w, datagram, sizeof(datagram), STUN_REQUEST, STUN_BINDING, (const uint8_t *)TRANSACTION);
	stun_put_integrity(&w, "secret", 6);
	stun_put(&w, STUN_USE_CANDIDATE, NULL, 0);
	stun_put(&w, STUN_USERNAME, "abc", 3);
	assert_true(stun_decode(datagram, stun_end(&w), &m));
	assert_true(stun_check_integrity(&m, "secret", 6));
	assert_false(m.use_candidate);
	assert_null(m.username);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc5769_request),
		cmocka_unit_test(test_rfc5769_answers),
		cmocka_unit_test(test_rfc5769_long_term),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_written_is_read),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_behind_integrity),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
