// SPDX-License-Identifier: ISC
//
// srtp_test.c - SRTP and SRTCP against libsrtp2 in every profile and both directions, the RFCs' vectors, replay, ROC.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "dataplane/srtp_context.h"
#include "tests/support/srtp_oracle.h"

static const enum srtp_profile profiles[] = {SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM};
static struct srtp_mgr *mgr;
static unsigned seed = 1;

static struct srtp *make(enum srtp_profile profile, struct srtp_keys *keys)
{
	struct err err = {""};
	*keys = (struct srtp_keys){.profile = profile};
	for (unsigned i = 0; i < 32; i++) {
		keys->local_key[i] = (uint8_t)(i * 7 + 1);
		keys->remote_key[i] = (uint8_t)(i * 11 + 3);
	}
	for (unsigned i = 0; i < 14; i++) {
		keys->local_salt[i] = (uint8_t)(i * 13 + 5);
		keys->remote_salt[i] = (uint8_t)(i * 17 + 9);
	}
	struct srtp *srtp = srtp_create(keys, &err);
	assert_non_null(srtp);
	return srtp;
}

static struct srtp_oracle *peer(enum srtp_profile profile, const struct srtp_keys *keys, bool sends)
{
	struct srtp_oracle *oracle = srtp_oracle_create(profile, sends ? keys->remote_key : keys->local_key,
		srtp_profile_key_bytes(profile), sends ? keys->remote_salt : keys->local_salt,
		srtp_profile_salt_bytes(profile), sends);
	assert_non_null(oracle);
	return oracle;
}

// A packet with a random payload, now and then with CSRCs and an extension.
static uint32_t rtp_packet(uint8_t *packet, uint16_t seq, uint32_t ssrc)
{
	unsigned csrcs = rand_r(&seed) % 3, extension = rand_r(&seed) % 2 ? rand_r(&seed) % 4 : 0;
	packet[0] = (uint8_t)(0x80 | (extension ? 0x10 : 0) | csrcs);
	packet[1] = 111;
	put_be16(packet + 2, seq);
	put_be32(packet + 4, seq * 960u);
	put_be32(packet + 8, ssrc);
	uint32_t at = 12 + 4 * csrcs;
	if (extension) {
		put_be16(packet + at, 0xbede);
		put_be16(packet + at + 2, (uint16_t)extension);
		at += 4 + 4 * extension;
	}
	uint32_t payload = 1 + (uint32_t)rand_r(&seed) % 400;
	for (uint32_t i = 12; i < at + payload; i++)
		if (i >= at)
			packet[i] = (uint8_t)rand_r(&seed);
	return at + payload;
}

static void unprotects_what_libsrtp_sends(void **state)
{
	(void)state;
	ENTERS(worker_role);
	for (size_t p = 0; p < ARRAY_SIZE(profiles); p++) {
		struct srtp_keys keys;
		struct srtp *srtp = make(profiles[p], &keys);
		struct srtp_oracle *oracle = peer(profiles[p], &keys, true);
		// Across the wrap of the sequence number, in bursts, two sources mixed.
		for (unsigned burst = 0, seq = 65300; burst < 20; burst++) {
			static uint8_t packets[32][700], plain[32][700];
			struct srtp_job jobs[32];
			uint32_t lengths[32];
			for (unsigned i = 0; i < 32; i++) {
				lengths[i] = rtp_packet(packets[i], (uint16_t)seq, 1000 + i % 2);
				seq += i % 2;
				memcpy(plain[i], packets[i], lengths[i]);
				int bytes = (int)lengths[i];
				assert_int_equal(srtp_oracle_run(oracle, false, packets[i], &bytes), 0);
				jobs[i] = (struct srtp_job){srtp, packets[i], (uint32_t)bytes, DROP_NONE};
			}
			srtp_unprotect_burst(mgr, jobs, 32);
			for (unsigned i = 0; i < 32; i++) {
				assert_int_equal(jobs[i].drop, DROP_NONE);
				assert_int_equal(jobs[i].bytes, lengths[i]);
				assert_memory_equal(packets[i], plain[i], lengths[i]);
			}
		}
		srtp_oracle_destroy(oracle);
		srtp_destroy(srtp);
	}
}

static void libsrtp_unprotects_what_we_send(void **state)
{
	(void)state;
	ENTERS(worker_role);
	for (size_t p = 0; p < ARRAY_SIZE(profiles); p++) {
		struct srtp_keys keys;
		struct srtp *srtp = make(profiles[p], &keys);
		struct srtp_oracle *oracle = peer(profiles[p], &keys, false);
		for (unsigned n = 0; n < 500; n++) {
			uint8_t packet[700], plain[700];
			uint32_t bytes = rtp_packet(packet, (uint16_t)(65400 + n), 77), length = bytes;
			memcpy(plain, packet, bytes);
			assert_int_equal(srtp_protect(mgr, srtp, packet, &bytes), 0);
			assert_true(bytes <= length + SRTP_EXPANSION_MAX);
			int got = (int)bytes;
			assert_int_equal(srtp_oracle_run(oracle, false, packet, &got), 0);
			assert_int_equal(got, length);
			assert_memory_equal(packet, plain, length);
		}
		srtp_oracle_destroy(oracle);
		srtp_destroy(srtp);
	}
}

static void rtcp_both_ways(void **state)
{
	(void)state;
	ENTERS(worker_role);
	for (size_t p = 0; p < ARRAY_SIZE(profiles); p++) {
		struct srtp_keys keys;
		struct srtp *srtp = make(profiles[p], &keys);
		struct srtp_oracle *sends = peer(profiles[p], &keys, true), *hears = peer(profiles[p], &keys, false);
		for (unsigned n = 0; n < 50; n++) {
			uint8_t report[128] = {0x80, 200, 0, 6, 0, 0, 0, 9}, plain[28], kept[128];
			for (unsigned i = 8; i < 28; i++)
				report[i] = (uint8_t)rand_r(&seed);
			memcpy(plain, report, 28);
			int sealed = 28;
			assert_int_equal(srtp_oracle_run(sends, true, report, &sealed), 0);
			memcpy(kept, report, sizeof(kept));
			uint32_t bytes = (uint32_t)sealed;
			assert_int_equal(srtcp_unprotect(mgr, srtp, report, &bytes), DROP_NONE);
			assert_int_equal(bytes, 28);
			assert_memory_equal(report, plain, 28);
			bytes = (uint32_t)sealed;
			assert_int_equal(srtcp_unprotect(mgr, srtp, kept, &bytes), DROP_SRTCP_REPLAY);

			uint8_t ours[128];
			memcpy(ours, plain, 28);
			bytes = 28;
			assert_int_equal(srtcp_protect(mgr, srtp, ours, &bytes), 0);
			int got = (int)bytes;
			assert_int_equal(srtp_oracle_run(hears, true, ours, &got), 0);
			assert_int_equal(got, 28);
			assert_memory_equal(ours, plain, 28);
		}
		srtp_oracle_destroy(sends);
		srtp_oracle_destroy(hears);
		srtp_destroy(srtp);
	}
}

static void tampered_and_replayed_packets_die(void **state)
{
	(void)state;
	ENTERS(worker_role);
	for (size_t p = 0; p < ARRAY_SIZE(profiles); p++) {
		struct srtp_keys keys;
		struct srtp *srtp = make(profiles[p], &keys);
		struct srtp_oracle *oracle = peer(profiles[p], &keys, true);
		uint8_t packet[700], copy[700], twice[700];
		for (unsigned seq = 1; seq < 60; seq++) {
			int bytes = (int)rtp_packet(packet, (uint16_t)seq, 5);
			assert_int_equal(srtp_oracle_run(oracle, false, packet, &bytes), 0);
			memcpy(copy, packet, sizeof(copy));
			memcpy(twice, packet, sizeof(twice));
			copy[12 + (unsigned)rand_r(&seed) % ((unsigned)bytes - 12)] ^= 0x40;
			struct srtp_job bad = {srtp, copy, (uint32_t)bytes, DROP_NONE};
			srtp_unprotect_burst(mgr, &bad, 1);
			assert_int_equal(bad.drop, DROP_SRTP_AUTH);
			// Nothing of the forgery stuck: the true one is good, once, also when both copies are in one burst.
			struct srtp_job both[2] = {{srtp, packet, (uint32_t)bytes, DROP_NONE}, {srtp, twice, (uint32_t)bytes, DROP_NONE}};
			srtp_unprotect_burst(mgr, both, 2);
			assert_int_equal(both[0].drop, DROP_NONE);
			assert_int_equal(both[1].drop, DROP_SRTP_REPLAY);
		}
		uint8_t shorty[20] = {0x80};
		struct srtp_job cut = {srtp, shorty, sizeof(shorty), DROP_NONE};
		srtp_unprotect_burst(mgr, &cut, 1);
		assert_int_equal(cut.drop, DROP_SRTP_SHORT);
		srtp_oracle_destroy(oracle);
		srtp_destroy(srtp);
	}
}

static void more_sources_than_places(void **state)
{
	(void)state;
	ENTERS(worker_role);
	struct srtp_keys keys;
	struct srtp *srtp = make(SRTP_AEAD_AES_256_GCM, &keys);
	struct srtp_oracle *oracle = peer(SRTP_AEAD_AES_256_GCM, &keys, true);
	for (unsigned ssrc = 1; ssrc <= SRTP_STREAMS_MAX * 3; ssrc++) {
		uint8_t packet[700];
		int bytes = (int)rtp_packet(packet, 9, ssrc);
		assert_int_equal(srtp_oracle_run(oracle, false, packet, &bytes), 0);
		struct srtp_job job = {srtp, packet, (uint32_t)bytes, DROP_NONE};
		srtp_unprotect_burst(mgr, &job, 1);
		assert_int_equal(job.drop, DROP_NONE); // the longest silent source gave its place
	}
	srtp_oracle_destroy(oracle);
	srtp_destroy(srtp);
}

// RFC 3711 B.3.
static void key_derivation_vector(void **state)
{
	(void)state;
	static const uint8_t key[] = {0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41, 0x39};
	static const uint8_t salt[] = {0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6};
	static const uint8_t cipher[] = {0xc6, 0x1e, 0x7a, 0x93, 0x74, 0x4f, 0x39, 0xee, 0x10, 0x73, 0x4a, 0xfe, 0x3f, 0xf7, 0xa0, 0x87};
	static const uint8_t salted[] = {0x30, 0xcb, 0xbc, 0x08, 0x86, 0x3d, 0x8c, 0x85, 0xd4, 0x9d, 0xb3, 0x4a, 0x9a, 0xe1};
	static const uint8_t auth[] = {0xce, 0xbe, 0x32, 0x1f, 0x6f, 0xf7, 0x71, 0x6b, 0x6f, 0xd4, 0xab, 0x49, 0xaf, 0x25, 0x6a, 0x15, 0x6d, 0x38, 0xba, 0xa4};
	uint8_t got[20];
	srtp_derive(SRTP_AES128_CM_SHA1_80, key, salt, 0, got, 16);
	assert_memory_equal(got, cipher, 16);
	srtp_derive(SRTP_AES128_CM_SHA1_80, key, salt, 2, got, 14);
	assert_memory_equal(got, salted, 14);
	srtp_derive(SRTP_AES128_CM_SHA1_80, key, salt, 1, got, 20);
	assert_memory_equal(got, auth, 20);
}

// RFC 7714 16.1.1: AEAD_AES_128_GCM; the vector gives session keys.
static void gcm_vector(void **state)
{
	(void)state;
	ENTERS(worker_role);
	static const uint8_t sealed[] = {0xf2, 0x4d, 0xe3, 0xa3, 0xfb, 0x34, 0xde, 0x6c, 0xac, 0xba, 0x86, 0x1c, 0x9d, 0x7e, 0x4b,
		0xca, 0xbe, 0x63, 0x3b, 0xd5, 0x0d, 0x29, 0x4e, 0x6f, 0x42, 0xa5, 0xf4, 0x7a, 0x51, 0xc7, 0xd1, 0x9b, 0x36, 0xde,
		0x3a, 0xdf, 0x88, 0x33, 0x89, 0x9d, 0x7f, 0x27, 0xbe, 0xb1, 0x6a, 0x91, 0x52, 0xcf, 0x76, 0x5e, 0xe4, 0x39, 0x0c,
		0xce};
	static const uint8_t header[] = {0x80, 0x40, 0xf1, 0x7b, 0x80, 0x41, 0xf8, 0xd3, 0x55, 0x01, 0xa0, 0xb2};
	static const char text[] = "Gallia est omnis divisa in partes tres";
	struct srtp_keys keys;
	struct srtp *srtp = make(SRTP_AEAD_AES_128_GCM, &keys);
	uint8_t key[16], packet[128];
	for (unsigned i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	IMB_AES128_GCM_PRE(mgr->imb, key, &srtp->local.rtp.gcm);
	memcpy(srtp->local.rtp_salt, "Quid pro quo", 12);
	memcpy(packet, header, sizeof(header));
	memcpy(packet + 12, text, strlen(text));
	uint32_t bytes = (uint32_t)(12 + strlen(text));
	assert_int_equal(srtp_protect(mgr, srtp, packet, &bytes), 0);
	assert_int_equal(bytes, 12 + sizeof(sealed));
	assert_memory_equal(packet + 12, sealed, sizeof(sealed));
	srtp_destroy(srtp);
}

static int start(void **state)
{
	(void)state;
	mgr = srtp_mgr_create();
	return mgr == NULL ? -1 : 0;
}

static int stop(void **state)
{
	(void)state;
	srtp_mgr_destroy(mgr);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unprotects_what_libsrtp_sends),
		cmocka_unit_test(libsrtp_unprotects_what_we_send),
		cmocka_unit_test(rtcp_both_ways),
		cmocka_unit_test(tampered_and_replayed_packets_die),
		cmocka_unit_test(more_sources_than_places),
		cmocka_unit_test(key_derivation_vector),
		cmocka_unit_test(gcm_vector),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
