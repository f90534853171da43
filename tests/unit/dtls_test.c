// SPDX-License-Identifier: ISC
//
// dtls_test.c - the handshake against OpenSSL in both roles up to the take-over; what came too early is not lost; a wrong
// fingerprint or no common profile ends it.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/dtls.h"
#include "tests/support/dtls_peer.h"

#define SUITES "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"

static struct dtls_identity *identity;
static struct srtp_mgr *mgr;
static struct dtls_peer peer;
static struct dtls *dtls;
static struct dtls_peer_datagram ours[DTLS_PEER_QUEUE];
static unsigned ours_count;

static void send_cb(void *arg, const uint8_t *datagram, size_t bytes)
{
	(void)arg;
	assert_true(ours_count < DTLS_PEER_QUEUE && bytes <= sizeof(ours[0].data));
	memcpy(ours[ours_count].data, datagram, bytes);
	ours[ours_count++].bytes = bytes;
}

static void peer_fingerprint(char *text)
{
	uint8_t hash[32];
	unsigned bytes = sizeof(hash);
	X509_digest(SSL_get_certificate(peer.ssl), EVP_sha256(), hash, &bytes);
	for (unsigned i = 0; i < bytes; i++)
		sprintf(text + i * 3, "%02x%s", hash[i], i + 1 < bytes ? ":" : ""); // lower case: SDP may have either
}

static void begin(enum dtls_role role, const char *fingerprint)
{
	char text[DTLS_FINGERPRINT_TEXT];
	struct err err = {""};
	dtls_peer_open(&peer, role == DTLS_SERVER, SUITES);
	peer_fingerprint(text);
	ours_count = 0;
	dtls = dtls_create(identity, role, fingerprint != NULL ? fingerprint : text, NULL, send_cb, NULL, &err);
	assert_non_null(dtls);
	dtls_start(dtls);
	if (role == DTLS_SERVER)
		dtls_peer_handshake(&peer, NULL, 0);
}

// Hands the peer all we have sent.
static void to_peer(void)
{
	for (unsigned i = 0; i < ours_count; i++)
		dtls_peer_handshake(&peer, ours[i].data, ours[i].bytes);
	ours_count = 0;
}

static void to_us(void)
{
	for (unsigned i = 0; i < peer.sent_count; i++)
		dtls_input(dtls, peer.sent[i].data, peer.sent[i].bytes);
	peer.sent_count = 0;
}

static void end(void)
{
	dtls_destroy(dtls);
	dtls_peer_close(&peer);
	dtls = NULL;
}

static void carries_on(struct dtls_record *record)
{
	uint8_t room[64], back[64];
	memcpy(room + DTLS_RECORD_HEAD_BYTES, "to them", 7);
	size_t bytes = dtls_record_seal(record, mgr, DTLS_APPLICATION, room, 7);
	assert_int_equal(dtls_peer_read(&peer, room, bytes, back, sizeof(back)), 7);
	peer.sent_count = 0;
	assert_int_equal(SSL_write(peer.ssl, "to us", 5), 5);
	struct dtls_plain plain;
	size_t at = 0;
	assert_int_equal(dtls_record_open(record, mgr, peer.sent[0].data, peer.sent[0].bytes, &at, &plain), DROP_NONE);
	assert_memory_equal(plain.data, "to us", 5);
}

static void both_roles_until_the_take_over(void **state)
{
	(void)state;
	for (unsigned role = 0; role < 2; role++) {
		struct err err = {""};
		struct srtp_keys keys;
		begin(role == 0 ? DTLS_SERVER : DTLS_CLIENT, NULL);
		assert_null(dtls_take_record(dtls, &err)); // not yet
		for (unsigned round = 0; round < 10 && dtls_state(dtls) == DTLS_HANDSHAKING; round++) {
			to_us();
			to_peer();
		}
		assert_int_equal(dtls_state(dtls), DTLS_ESTABLISHED);
		to_peer();
		assert_true(SSL_is_init_finished(peer.ssl));
		assert_int_equal(dtls_export_srtp(dtls, &keys), 0);
		assert_int_equal(keys.profile, SRTP_AEAD_AES_128_GCM);
		struct dtls_record *record = dtls_take_record(dtls, &err);
		assert_non_null(record);
		dtls_destroy(dtls);
		dtls = NULL;
		carries_on(record);
		dtls_record_destroy(record);
		end();
	}
}

// The peer's data overtakes its own Finished, or comes in the same datagram, before or behind it.
static void early_data_is_kept(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 3; order++) {
		struct err err = {""};
		begin(DTLS_CLIENT, NULL);
		for (unsigned round = 0; round < 10 && !SSL_is_init_finished(peer.ssl); round++) {
			to_us();
			to_peer();
		}
		assert_int_equal(dtls_state(dtls), DTLS_HANDSHAKING);
		uint8_t flight[1024], datagram[2048];
		size_t flight_bytes = 0;
		for (unsigned i = 0; i < peer.sent_count; i++) {
			memcpy(flight + flight_bytes, peer.sent[i].data, peer.sent[i].bytes);
			flight_bytes += peer.sent[i].bytes;
		}
		peer.sent_count = 0;
		assert_int_equal(SSL_write(peer.ssl, "early", 5), 5);
		const struct dtls_peer_datagram *data = &peer.sent[0];
		if (order == 0) {
			assert_int_equal(dtls_input(dtls, data->data, data->bytes), DROP_NONE);
			assert_int_equal(dtls_state(dtls), DTLS_HANDSHAKING);
			assert_int_equal(dtls_input(dtls, flight, flight_bytes), DROP_NONE);
		} else {
			memcpy(datagram + (order == 1 ? flight_bytes : 0), data->data, data->bytes);
			memcpy(datagram + (order == 1 ? 0 : data->bytes), flight, flight_bytes);
			assert_int_equal(dtls_input(dtls, datagram, flight_bytes + data->bytes), DROP_NONE);
		}
		assert_int_equal(dtls_state(dtls), DTLS_ESTABLISHED);
		struct dtls_record *record = dtls_take_record(dtls, &err);
		assert_non_null(record);
		size_t bytes, at = 0, none;
		const uint8_t *early = dtls_early(dtls, 0, &bytes);
		assert_non_null(early);
		assert_null(dtls_early(dtls, 1, &none));
		memcpy(datagram, early, bytes);
		struct dtls_plain plain;
		assert_int_equal(dtls_record_open(record, mgr, datagram, bytes, &at, &plain), DROP_NONE);
		assert_int_equal(plain.bytes, 5);
		assert_memory_equal(plain.data, "early", 5);
		carries_on(record);
		dtls_record_destroy(record);
		end();
	}
}

static void a_wrong_fingerprint_ends_it(void **state)
{
	(void)state;
	begin(DTLS_SERVER, "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF");
	for (unsigned round = 0; round < 10 && dtls_state(dtls) == DTLS_HANDSHAKING; round++) {
		to_us();
		to_peer();
	}
	struct err err = {""};
	assert_int_equal(dtls_state(dtls), DTLS_FAILED);
	assert_string_equal(dtls_failure(dtls), "the peer's certificate does not match the fingerprint of its SDP");
	assert_null(dtls_take_record(dtls, &err));
	end();
}

static void bad_datagrams_harm_nothing(void **state)
{
	(void)state;
	begin(DTLS_SERVER, NULL);
	static const uint8_t stub[] = {22, 0xfe, 0xfd, 0, 0}, lie[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 1};
	static const uint8_t alien[13] = {99, 3, 3};
	static uint8_t huge[4096];
	assert_int_equal(dtls_input(dtls, stub, 0), DROP_DTLS_MALFORMED);
	assert_int_equal(dtls_input(dtls, stub, sizeof(stub)), DROP_DTLS_MALFORMED);
	assert_int_equal(dtls_input(dtls, lie, sizeof(lie)), DROP_DTLS_MALFORMED);
	assert_int_equal(dtls_input(dtls, alien, sizeof(alien)), DROP_DTLS_MALFORMED);
	assert_int_equal(dtls_input(dtls, huge, sizeof(huge)), DROP_DTLS_MALFORMED);
	uint8_t early[60] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 47}; // forged: kept, and refused when its tag is looked at
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(dtls_input(dtls, early, sizeof(early)), DROP_NONE);
	for (unsigned round = 0; round < 10 && dtls_state(dtls) == DTLS_HANDSHAKING; round++) {
		to_us();
		to_peer();
	}
	to_peer();
	assert_int_equal(dtls_state(dtls), DTLS_ESTABLISHED);
	struct err err = {""};
	struct dtls_record *record = dtls_take_record(dtls, &err);
	struct dtls_plain plain;
	size_t bytes, at = 0;
	unsigned n = 0;
	for (const uint8_t *e; (e = dtls_early(dtls, n, &bytes)) != NULL; n++)
		continue;
	assert_int_equal(n, 8);
	assert_int_equal(dtls_record_open(record, mgr, early, sizeof(early), &at, &plain), DROP_DTLS_BAD_RECORD);
	carries_on(record);
	dtls_record_destroy(record);
	end();
}

// Whoever knows two addresses can send these in the peer's name. At every step of the handshake, alone and before a real datagram.
static void forged_plain_records_end_nothing(void **state)
{
	(void)state;
	static const uint8_t forged[][15] = {
		{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}, // fatal: handshake failure
		{21, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0},  // close_notify, and the version of a first flight
		{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0},
		{23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 'h', 'i'},
		{24, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0}, // heartbeat
		{20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 1},
		{20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 2},
	};
	for (unsigned role = 0; role < 2; role++) {
		struct err err = {""};
		uint8_t both[2048];
		begin(role == 0 ? DTLS_SERVER : DTLS_CLIENT, NULL);
		assert_null(dtls_plain_alert(dtls));
		for (unsigned round = 0; round < 10 && dtls_state(dtls) == DTLS_HANDSHAKING; round++) {
			for (unsigned i = 0; i < ARRAY_SIZE(forged); i++) {
				assert_int_equal(dtls_input(dtls, forged[i], 13u + forged[i][12]), DROP_DTLS_PLAIN);
				assert_int_equal(dtls_state(dtls), DTLS_HANDSHAKING);
			}
			assert_string_equal(dtls_plain_alert(dtls), "close notify"); // of the last one that is whole
			if (peer.sent_count > 0) {
				memcpy(both, forged[0], sizeof(forged[0]));
				memcpy(both + sizeof(forged[0]), peer.sent[0].data, peer.sent[0].bytes);
				assert_int_equal(dtls_input(dtls, both, sizeof(forged[0]) + peer.sent[0].bytes), DROP_DTLS_PLAIN);
				memmove(&peer.sent[0], &peer.sent[1], --peer.sent_count * sizeof(peer.sent[0]));
			}
			to_us();
			to_peer();
		}
		to_peer();
		assert_int_equal(dtls_state(dtls), DTLS_ESTABLISHED);
		struct dtls_record *record = dtls_take_record(dtls, &err);
		assert_non_null(record);
		carries_on(record);
		dtls_record_destroy(record);
		end();
	}
}

static int set_up(void **state)
{
	(void)state;
	struct err err = {""};
	identity = dtls_identity_create(&err);
	mgr = srtp_mgr_create();
	return identity != NULL && mgr != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	dtls_identity_destroy(identity);
	srtp_mgr_destroy(mgr);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_roles_until_the_take_over),
		cmocka_unit_test(early_data_is_kept),
		cmocka_unit_test(a_wrong_fingerprint_ends_it),
		cmocka_unit_test(bad_datagrams_harm_nothing),
		cmocka_unit_test(forged_plain_records_end_nothing),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
