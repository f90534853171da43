// SPDX-License-Identifier: ISC
//
// srtp_bench.c - SRTP unprotect by profile, burst and number of sessions, beside bare ipsec-mb on the same packets.
//
// Runs on: worker.

#include <intel-ipsec-mb.h>
#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "dataplane/srtp_context.h"

#define PAYLOAD_BYTES 121
#define ROOM 256
#define RATIO_LIMIT 3.0 // where it fails: 1.8 to 2.6 were measured

static const struct {
	enum srtp_profile profile;
	const char *name;
} profiles[] = {{SRTP_AEAD_AES_256_GCM, "AES-256-GCM"}, {SRTP_AEAD_AES_128_GCM, "AES-128-GCM"},
	{SRTP_AES128_CM_SHA1_80, "AES-CM + SHA1-80"}};

struct session {
	struct srtp *srtp;
	uint16_t seq;
};

static struct srtp_mgr *mgr;
static uint8_t packets[SRTP_BURST_MAX][ROOM], sealed[SRTP_BURST_MAX][ROOM];

static struct session *sessions_open(unsigned count, enum srtp_profile profile)
{
	struct srtp_keys keys = {.profile = profile};
	for (unsigned i = 0; i < sizeof(keys.local_key); i++)
		keys.local_key[i] = keys.remote_key[i] = (uint8_t)(3 + i * 5);
	struct session *sessions = calloc(count, sizeof(*sessions));
	for (unsigned i = 0; i < count; i++) {
		sessions[i].srtp = srtp_create(&keys, NULL);
		sessions[i].seq = 1000;
		if (sessions[i].srtp == NULL)
			exit(1);
	}
	return sessions;
}

static void sessions_close(struct session *sessions, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		srtp_destroy(sessions[i].srtp);
	free(sessions);
}

// The next packet of each session from `first` on, sealed; jobs point at a copy.
static void burst_make(struct session *sessions, unsigned count, unsigned first, unsigned burst, struct srtp_job *jobs)
{
	ENTERS(worker_role);
	for (unsigned i = 0; i < burst; i++) {
		struct session *session = &sessions[(first + i) % count];
		uint8_t *packet = packets[i];
		memset(packet, 0x5a, ROOM);
		packet[0] = 0x80;
		packet[1] = 63;
		put_be16(packet + 2, session->seq++);
		put_be32(packet + 8, 0x1234);
		uint32_t bytes = 12 + PAYLOAD_BYTES;
		srtp_protect(mgr, session->srtp, packet, &bytes);
		memcpy(sealed[i], packet, ROOM);
		jobs[i] = (struct srtp_job){session->srtp, packet, bytes, DROP_NONE};
	}
}

// The same packets with nothing but the library.
static uint64_t bare_burst(struct session *sessions, unsigned count, unsigned first, unsigned burst, enum srtp_profile profile,
	uint32_t bytes)
{
	struct gcm_context_data context;
	uint8_t tags[SRTP_BURST_MAX][20], ivs[SRTP_BURST_MAX][16] = {{0}};
	uint64_t began = bench_now();
	for (unsigned i = 0; i < burst; i++) {
		struct srtp_cipher *cipher = &sessions[(first + i) % count].srtp->remote.rtp;
		uint8_t *packet = sealed[i];
		if (profile == SRTP_AEAD_AES_256_GCM) {
			IMB_AES256_GCM_DEC(mgr->imb, &cipher->gcm, &context, packet + 12, packet + 12, bytes - 28, ivs[i], packet, 12,
				tags[i], 16);
		} else if (profile == SRTP_AEAD_AES_128_GCM) {
			IMB_AES128_GCM_DEC(mgr->imb, &cipher->gcm, &context, packet + 12, packet + 12, bytes - 28, ivs[i], packet, 12,
				tags[i], 16);
		} else {
			IMB_JOB *job = IMB_GET_NEXT_JOB(mgr->imb);
			*job = (IMB_JOB){.cipher_mode = IMB_CIPHER_CNTR, .hash_alg = IMB_AUTH_HMAC_SHA_1,
				.cipher_direction = IMB_DIR_DECRYPT, .chain_order = IMB_ORDER_HASH_CIPHER,
				.enc_keys = cipher->enc, .dec_keys = cipher->enc, .key_len_in_bytes = 16, .src = packet,
				.dst = packet + 12, .cipher_start_src_offset_in_bytes = 12,
				.msg_len_to_cipher_in_bytes = bytes - 22, .msg_len_to_hash_in_bytes = bytes - 6, .iv = ivs[i],
				.iv_len_in_bytes = 16, .auth_tag_output = tags[i], .auth_tag_output_len_in_bytes = 10};
			job->u.HMAC._hashed_auth_key_xor_ipad = cipher->ipad;
			job->u.HMAC._hashed_auth_key_xor_opad = cipher->opad;
			IMB_SUBMIT_JOB_NOCHECK(mgr->imb);
		}
	}
	while (profile == SRTP_AES128_CM_SHA1_80 && IMB_FLUSH_JOB(mgr->imb) != NULL)
		continue;
	bench_keep(tags);
	return bench_now() - began;
}

static double measure(enum srtp_profile profile, unsigned count, unsigned burst, unsigned total, double *ret_bare)
{
	ENTERS(worker_role);
	struct session *sessions = sessions_open(count, profile);
	struct bench_series ours = {0}, bare = {0};
	struct srtp_job jobs[SRTP_BURST_MAX];
	for (unsigned done = 0; done < total + count; done += burst) {
		burst_make(sessions, count, done, burst, jobs);
		uint32_t bytes = jobs[0].bytes;
		uint64_t began = bench_now();
		srtp_unprotect_burst(mgr, jobs, burst);
		uint64_t cycles = bench_now() - began;
		for (unsigned i = 0; i < burst; i++) {
			if (jobs[i].drop == DROP_NONE)
				continue;
			fprintf(stderr, "a packet was refused: %d\n", (int)jobs[i].drop);
			exit(1);
		}
		uint64_t bare_cycles = bare_burst(sessions, count, done, burst, profile, bytes);
		if (done < count)
			continue;
		bench_add(&ours, cycles * 100 / burst);
		bench_add(&bare, bare_cycles * 100 / burst);
	}
	double cycles = bench_percentile(&ours, 50) / 100;
	*ret_bare = bench_percentile(&bare, 50) / 100;
	bench_free(&ours);
	bench_free(&bare);
	sessions_close(sessions, count);
	return cycles;
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "srtp", "SRTP unprotect of 121-byte payloads beside bare ipsec-mb");
	mgr = srtp_mgr_create();
	if (mgr == NULL)
		return 1;
	static const unsigned bursts[] = {1, 8, 32}, counts[] = {1, 100, 1000};
	unsigned total = bench_short() ? 6000 : 60000;
	unsigned table = bench_table("Cycles a packet (median)", "profile|sessions|burst|relay|bare|ratio|ns");
	unsigned plot = bench_plot("SRTP unprotect, 1,000 sessions", "burst", "cycles a packet", true);
	double worst = 0;
	for (unsigned p = 0; p < ARRAY_SIZE(profiles); p++) {
		for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
			for (unsigned b = 0; b < ARRAY_SIZE(bursts); b++) {
				double bare, cycles = measure(profiles[p].profile, counts[c], bursts[b], total, &bare);
				double values[] = {counts[c], bursts[b], cycles, bare, cycles / bare, bench_ns(cycles)};
				bench_row(table, profiles[p].name, values, 6);
				if (counts[c] == 1000)
					bench_point(plot, profiles[p].name, bursts[b], cycles);
				if (counts[c] > 1 && bursts[b] == 32)
					worst = MAX_OF(worst, cycles / bare);
			}
		}
	}
	bench_note("bare: the library alone on the same packets and keys, right after; it finds the keys in the cache.");
	bench_check("unprotect against bare ipsec-mb, bursts of 32, the worst", worst, true, RATIO_LIMIT);
	srtp_mgr_destroy(mgr);
	return bench_end();
}
