// SPDX-License-Identifier: ISC
//
// dtls_record_test.c - our record layer against OpenSSL in both roles, the SSL object long freed, and each pitfall of taking
// a connection over.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "dataplane/dtls_record.h"
#include "dataplane/srtp.h"
#include "tests/support/dtls_peer.h"

#define SUITE_128 "ECDHE-ECDSA-AES128-GCM-SHA256"
#define SUITE_256 "ECDHE-ECDSA-AES256-GCM-SHA384"
#define SECOND 1000000000ull

static struct srtp_mgr *mgr;
static struct dtls_peer peer;      // who stays OpenSSL
static struct dtls_record *record; // who was taken over
static struct dtls_record *mirror; // the peer's keys: to say what OpenSSL would never say
static struct dtls_trace trace;
static struct dtls_peer_datagram lost_flight;

static void wrote(void *arg, const uint8_t *datagram, size_t bytes)
{
	dtls_trace_sent(arg, datagram, bytes);
}

static bool lose_servers_last(bool from_client, const uint8_t *datagram, size_t bytes)
{
	if (from_client || (datagram[0] != DTLS_CHANGE_CIPHER && get_be16(datagram + 3) != 1))
		return false;
	memcpy(lost_flight.data + lost_flight.bytes, datagram, bytes);
	lost_flight.bytes += bytes;
	return true;
}

// A handshake with OpenSSL on both sides; then ours is taken over and freed.
static void establish(bool client, const char *suite, bool lose_last)
{
	static struct dtls_peer ours;
	dtls_peer_open(&ours, client, suite);
	dtls_peer_open(&peer, !client, suite);
	trace = (struct dtls_trace){0};
	struct dtls_trace peer_trace = {0};
	ours.wrote = peer.wrote = wrote;
	ours.arg = &trace;
	peer.arg = &peer_trace;
	lost_flight.bytes = 0;
	bool done = dtls_peer_connect(client ? &ours : &peer, client ? &peer : &ours, lose_last ? lose_servers_last : NULL);
	assert_int_equal(done, !lose_last);
	assert_true(SSL_is_init_finished(ours.ssl));
	struct err err = {""};
	record = dtls_record_create(ours.ssl, client, &trace, &err);
	assert_non_null(record);
	mirror = lose_last ? NULL : dtls_record_create(peer.ssl, !client, &peer_trace, &err);
	dtls_peer_close(&ours);
	peer.wrote = NULL;
	peer.sent_count = 0;
}

static void finish(void)
{
	dtls_record_destroy(record);
	dtls_record_destroy(mirror);
	dtls_peer_close(&peer);
	record = mirror = NULL;
}

// A record of the peer's keys with any header.
static size_t forge(uint8_t *room, enum dtls_content type, const void *plain, size_t bytes)
{
	memcpy(room + DTLS_RECORD_HEAD_BYTES, plain, bytes);
	return dtls_record_seal(mirror, mgr, type, room, bytes);
}

static enum drop open_one(uint8_t *datagram, size_t bytes, struct dtls_plain *ret_plain)
{
	size_t at = 0;
	enum drop drop = dtls_record_open(record, mgr, datagram, bytes, &at, ret_plain);
	assert_int_equal(at, bytes);
	return drop;
}

static void carries_both_ways(bool client, const char *suite)
{
	establish(client, suite, false);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t plain[1100], room[1100 + DTLS_RECORD_EXPANSION], back[1200];
		size_t bytes = 1 + i * 11;
		memset(plain, (int)i, sizeof(plain));
		assert_int_equal(SSL_write(peer.ssl, plain, (int)bytes), bytes);
		assert_int_equal(peer.sent_count, 1);
		struct dtls_plain opened;
		assert_int_equal(open_one(peer.sent[0].data, peer.sent[0].bytes, &opened), DROP_NONE);
		peer.sent_count = 0;
		assert_int_equal(opened.kind, DTLS_PLAIN_DATA);
		assert_int_equal(opened.bytes, bytes);
		assert_memory_equal(opened.data, plain, bytes);

		memcpy(room + DTLS_RECORD_HEAD_BYTES, plain, bytes);
		size_t sealed = dtls_record_seal(record, mgr, DTLS_APPLICATION, room, bytes);
		assert_int_equal(sealed, bytes + DTLS_RECORD_EXPANSION);
		assert_int_equal(dtls_peer_read(&peer, room, sealed, back, sizeof(back)), bytes);
		assert_memory_equal(back, plain, bytes);
	}
	uint8_t room[64], back[64];
	size_t sealed = dtls_record_seal_close(record, mgr, room);
	assert_int_equal(dtls_peer_read(&peer, room, sealed, back, sizeof(back)), 0);
	assert_int_equal(SSL_get_error(peer.ssl, 0), SSL_ERROR_ZERO_RETURN);
	peer.sent_count = 0;
	SSL_shutdown(peer.ssl);
	struct dtls_plain opened;
	assert_int_equal(peer.sent_count, 1);
	assert_int_equal(open_one(peer.sent[0].data, peer.sent[0].bytes, &opened), DROP_NONE);
	assert_int_equal(opened.kind, DTLS_PLAIN_CLOSE);
	finish();
}

static void openssl_in_both_roles(void **state)
{
	(void)state;
	carries_both_ways(false, SUITE_128);
	carries_both_ways(true, SUITE_128);
	carries_both_ways(false, SUITE_256);
	carries_both_ways(true, SUITE_256);
}

// The state alone says all: a record that was moved, in use, opens what the peer sends next and is opened by it.
static void a_moved_record_goes_on(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		establish(false, i == 0 ? SUITE_128 : SUITE_256, false);
		for (unsigned turn = 0; turn < 2; turn++) {
			uint8_t room[64], back[64];
			struct dtls_plain opened;
			assert_int_equal(SSL_write(peer.ssl, "there", 5), 5);
			assert_int_equal(open_one(peer.sent[0].data, peer.sent[0].bytes, &opened), DROP_NONE);
			assert_memory_equal(opened.data, "there", 5);
			memcpy(room + DTLS_RECORD_HEAD_BYTES, "back", 4);
			size_t sealed = dtls_record_seal(record, mgr, DTLS_APPLICATION, room, 4);
			assert_int_equal(dtls_peer_read(&peer, room, sealed, back, sizeof(back)), 4);
			assert_memory_equal(back, "back", 4);
			assert_true(record->expanded);

			struct dtls_record *moved = aligned_alloc(CACHE_LINE_BYTES, sizeof(*moved));
			memset(moved, 0xa5, sizeof(*moved));
			memcpy(moved, record, DTLS_RECORD_STATE_BYTES);
			moved->expanded = false;
			dtls_record_destroy(record);
			record = moved;
			assert_int_equal(open_one(peer.sent[0].data, peer.sent[0].bytes, &opened), DROP_DTLS_REPLAY);
			peer.sent_count = 0;
		}
		finish();
	}
}

static void a_suite_we_have_not_is_refused(void **state)
{
	(void)state;
	static struct dtls_peer a, b;
	dtls_peer_open(&a, true, "ECDHE-ECDSA-AES256-SHA");
	dtls_peer_open(&b, false, "ECDHE-ECDSA-AES256-SHA");
	struct dtls_trace t = {0};
	a.wrote = wrote;
	a.arg = &t;
	assert_true(dtls_peer_connect(&a, &b, NULL));
	struct err err = {""};
	assert_null(dtls_record_create(a.ssl, true, &t, &err));
	assert_string_equal(err.text, "the DTLS connection has no AES-GCM record layer to take over");
	dtls_peer_close(&a);
	dtls_peer_close(&b);
}

// The nonce goes on where OpenSSL stopped; it is not the sequence number, and no pair is used twice.
static void nonce_goes_on(void **state)
{
	(void)state;
	for (unsigned role = 0; role < 2; role++) {
		establish(role == 1, SUITE_128, false);
		uint64_t nonce = trace.nonce, seq = trace.seq;
		assert_int_equal(seq, 0); // Finished is the first of epoch 1
		for (unsigned i = 1; i <= 3; i++) {
			uint8_t room[64];
			dtls_record_seal(record, mgr, DTLS_APPLICATION, room, 4);
			assert_int_equal(get_be16(room + 3), 1);
			assert_int_equal(get_be64(room + 3) & 0xffffffffffff, seq + i);
			assert_true(get_be64(room + DTLS_RECORD_HEADER_BYTES) == nonce + i);
		}
		finish();
	}
	establish(false, SUITE_128, false);
	record->next_seq = (1ull << 48) - 1;
	uint8_t room[64];
	assert_int_not_equal(dtls_record_seal(record, mgr, DTLS_APPLICATION, room, 4), 0);
	assert_int_equal(dtls_record_seal(record, mgr, DTLS_APPLICATION, room, 4), 0); // used up, never around
	finish();
}

// The peer has not got our CCS and Finished. Its flight comes again when our SSL object is gone: ours goes out again, byte
// for byte, and its handshake ends.
static void lost_last_flight(void **state)
{
	(void)state;
	dtls_peer_timer_us = 300000;
	establish(false, SUITE_128, true);
	dtls_peer_timer_us = 60000000;
	assert_true(lost_flight.bytes > 60);
	assert_false(SSL_is_init_finished(peer.ssl));
	struct timeval left;
	while (DTLSv1_get_timeout(peer.ssl, &left) == 1 && (left.tv_sec > 0 || left.tv_usec > 0))
		nanosleep(&(struct timespec){.tv_nsec = left.tv_usec * 1000}, NULL); // its timer, no guess
	assert_int_equal(DTLSv1_handle_timeout(peer.ssl), 1);
	assert_true(peer.sent_count > 0);
	bool asked = false;
	for (unsigned i = 0; i < peer.sent_count; i++) {
		for (size_t at = 0; at < peer.sent[i].bytes;) {
			struct dtls_plain opened;
			assert_int_equal(dtls_record_open(record, mgr, peer.sent[i].data, peer.sent[i].bytes, &at, &opened), DROP_NONE);
			assert_int_not_equal(opened.kind, DTLS_PLAIN_DATA);
			asked |= opened.kind == DTLS_PLAIN_REPEAT;
		}
	}
	assert_true(asked);
	size_t bytes;
	const uint8_t *flight = dtls_record_flight(record, 10 * SECOND, &bytes);
	assert_non_null(flight);
	assert_int_equal(bytes, lost_flight.bytes);
	assert_memory_equal(flight, lost_flight.data, bytes);
	peer.sent_count = 0;
	assert_true(dtls_peer_handshake(&peer, flight, bytes));
	// A flood of them is answered 20 times a second, and still after a minute.
	unsigned answered = 0;
	for (uint64_t now = 20 * SECOND; now < 21 * SECOND; now += SECOND / 1000)
		answered += dtls_record_flight(record, now, &bytes) != NULL;
	assert_int_equal(answered, 20);
	flight = dtls_record_flight(record, 100 * SECOND, &bytes);
	assert_memory_equal(flight, lost_flight.data, bytes);
	// A repeated flight harms nobody; records go on with the next number.
	uint8_t room[64], back[64];
	assert_int_equal(dtls_peer_read(&peer, flight, bytes, back, sizeof(back)), -1);
	memset(room + DTLS_RECORD_HEAD_BYTES, 7, 5);
	size_t sealed = dtls_record_seal(record, mgr, DTLS_APPLICATION, room, 5);
	assert_int_equal(dtls_peer_read(&peer, room, sealed, back, sizeof(back)), 5);
	finish();
}

static void epochs(void **state)
{
	(void)state;
	establish(false, SUITE_128, false);
	uint8_t room[128];
	struct dtls_plain opened;
	size_t bytes = forge(room, DTLS_APPLICATION, "hello", 5);
	room[4] = 0;
	assert_int_equal(open_one(room, bytes, &opened), DROP_DTLS_UNEXPECTED); // data of epoch 0
	room[4] = 2;
	assert_int_equal(open_one(room, bytes, &opened), DROP_DTLS_UNEXPECTED);
	room[4] = 1;
	assert_int_equal(open_one(room, bytes, &opened), DROP_NONE);
	static const uint8_t alert[] = {DTLS_ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	memcpy(room, alert, sizeof(alert)); // anybody can send that
	assert_int_equal(open_one(room, sizeof(alert), &opened), DROP_DTLS_UNEXPECTED);
	assert_int_equal(opened.kind, DTLS_PLAIN_NOTHING);
	uint8_t hello[] = {DTLS_HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 12, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	assert_int_equal(open_one(hello, sizeof(hello), &opened), DROP_DTLS_UNEXPECTED); // a peer that starts anew
	hello[13] = 16;
	assert_int_equal(open_one(hello, sizeof(hello), &opened), DROP_NONE);
	assert_int_equal(opened.kind, DTLS_PLAIN_REPEAT);
	finish();
	establish(true, SUITE_128, false); // the client's last flight was answered: nothing to repeat
	assert_int_equal(open_one(hello, sizeof(hello), &opened), DROP_DTLS_UNEXPECTED);
	size_t unused;
	assert_null(dtls_record_flight(record, SECOND, &unused));
	finish();
}

static void alerts_and_handshakes_after_it(void **state)
{
	(void)state;
	establish(false, SUITE_128, false);
	static const struct {
		uint8_t type, body[2];
		size_t bytes;
		enum dtls_plain_kind kind;
	} cases[] = {
		{DTLS_ALERT, {1, 90}, 2, DTLS_PLAIN_NOTHING},
		{DTLS_ALERT, {1, 0}, 2, DTLS_PLAIN_CLOSE},
		{DTLS_ALERT, {2, 40}, 2, DTLS_PLAIN_CLOSE},
		{DTLS_ALERT, {2, 40}, 1, DTLS_PLAIN_NOTHING},
		{DTLS_HANDSHAKE, {20, 0}, 2, DTLS_PLAIN_NOTHING},
		{DTLS_CHANGE_CIPHER, {1, 0}, 1, DTLS_PLAIN_NOTHING},
		{99, {1, 0}, 1, DTLS_PLAIN_NOTHING},
		{DTLS_APPLICATION, {1, 0}, 0, DTLS_PLAIN_DATA},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[64];
		struct dtls_plain opened;
		size_t bytes = forge(room, cases[i].type, cases[i].body, cases[i].bytes);
		assert_int_equal(open_one(room, bytes, &opened), DROP_NONE);
		assert_int_equal(opened.kind, cases[i].kind);
	}
	finish();
}

static void replay_window(void **state)
{
	(void)state;
	establish(false, SUITE_128, false);
	static uint8_t rooms[200][64], copy[64];
	size_t bytes = 0;
	struct dtls_plain opened;
	for (unsigned i = 0; i < 200; i++)
		bytes = forge(rooms[i], DTLS_APPLICATION, "x", 1);
	static const struct {
		unsigned index;
		bool spoil;
		enum drop drop;
	} steps[] = {
		{5, false, DROP_NONE}, {5, false, DROP_DTLS_REPLAY}, {4, false, DROP_NONE}, {4, false, DROP_DTLS_REPLAY},
		{150, true, DROP_DTLS_BAD_RECORD}, // must not move the window
		{3, false, DROP_NONE}, {100, false, DROP_NONE}, {37, false, DROP_NONE}, {37, false, DROP_DTLS_REPLAY},
		{36, false, DROP_DTLS_REPLAY}, // 64 behind
		{99, true, DROP_DTLS_BAD_RECORD}, {99, false, DROP_NONE}, {199, false, DROP_NONE}, {100, false, DROP_DTLS_REPLAY},
		{136, false, DROP_NONE},
	};
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		memcpy(copy, rooms[steps[i].index], bytes);
		copy[bytes - 1] ^= steps[i].spoil;
		assert_int_equal(open_one(copy, bytes, &opened), steps[i].drop);
	}
	// Each authenticated byte counts: type, version, epoch and number, nonce, body, tag.
	for (size_t i = 0; i < bytes; i++) {
		if (i == 11 || i == 12)
			continue; // the length: below
		memcpy(copy, rooms[198], bytes);
		copy[i] ^= 0x40;
		assert_int_not_equal(open_one(copy, bytes, &opened), DROP_NONE);
	}
	memcpy(copy, rooms[198], bytes);
	assert_int_equal(open_one(copy, bytes, &opened), DROP_NONE);
	finish();
}

static void several_records_in_a_datagram(void **state)
{
	(void)state;
	establish(false, SUITE_128, false);
	uint8_t datagram[512];
	size_t bytes = forge(datagram, DTLS_APPLICATION, "one", 3);
	bytes += forge(datagram + bytes, DTLS_APPLICATION, "two", 3);
	datagram[bytes - 1] ^= 1; // a bad one in the middle takes no other with it
	bytes += forge(datagram + bytes, DTLS_APPLICATION, "three", 5);
	static const uint8_t close_notify[] = {1, 0};
	bytes += forge(datagram + bytes, DTLS_ALERT, close_notify, 2);
	memset(datagram + bytes, 0, 5); // and a stub
	bytes += 5;
	static const struct {
		enum drop drop;
		enum dtls_plain_kind kind;
		size_t bytes;
	} expected[] = {{DROP_NONE, DTLS_PLAIN_DATA, 3}, {DROP_DTLS_BAD_RECORD, DTLS_PLAIN_NOTHING, 0},
		{DROP_NONE, DTLS_PLAIN_DATA, 5}, {DROP_NONE, DTLS_PLAIN_CLOSE, 2}, {DROP_DTLS_MALFORMED, DTLS_PLAIN_NOTHING, 0}};
	unsigned count = 0;
	for (size_t at = 0; at < bytes; count++) {
		struct dtls_plain opened;
		assert_int_equal(dtls_record_open(record, mgr, datagram, bytes, &at, &opened), expected[count].drop);
		assert_int_equal(opened.kind, expected[count].kind);
		assert_int_equal(opened.bytes, expected[count].bytes);
	}
	assert_int_equal(count, ARRAY_SIZE(expected));
	finish();
}

static void cut_and_overlong_records(void **state)
{
	(void)state;
	establish(false, SUITE_128, false);
	uint8_t room[64];
	size_t bytes = forge(room, DTLS_APPLICATION, "hello", 5);
	struct dtls_plain opened;
	for (size_t cut = 1; cut < bytes; cut++) {
		uint8_t *exact = malloc(cut);
		memcpy(exact, room, cut);
		assert_int_equal(open_one(exact, cut, &opened), DROP_DTLS_MALFORMED);
		free(exact);
	}
	for (uint16_t length = 0; length < 24; length++) {
		uint8_t copy[64];
		memcpy(copy, room, bytes);
		put_be16(copy + 11, length);
		assert_int_equal(open_one(copy, 13u + length, &opened), DROP_DTLS_BAD_RECORD);
	}
	static uint8_t huge[20000];
	memcpy(huge, room, bytes);
	put_be16(huge + 11, (1u << 14) + 2049);
	assert_int_equal(open_one(huge, 13 + (1u << 14) + 2049, &opened), DROP_DTLS_MALFORMED);
	assert_int_equal(open_one(room, bytes, &opened), DROP_NONE); // untouched by all that
	finish();
}

static int set_up(void **state)
{
	(void)state;
	mgr = srtp_mgr_create();
	return mgr != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	srtp_mgr_destroy(mgr);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(openssl_in_both_roles),
		cmocka_unit_test(a_moved_record_goes_on),
		cmocka_unit_test(a_suite_we_have_not_is_refused),
		cmocka_unit_test(nonce_goes_on),
		cmocka_unit_test(lost_last_flight),
		cmocka_unit_test(epochs),
		cmocka_unit_test(alerts_and_handshakes_after_it),
		cmocka_unit_test(replay_window),
		cmocka_unit_test(several_records_in_a_datagram),
		cmocka_unit_test(cut_and_overlong_records),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
