// SPDX-License-Identifier: ISC
//
// bare.c - the parts of a packet's path with nothing around them.
//
// Runs on: worker.

#include "bench/bare.h"

#include <intel-ipsec-mb.h>
#include <opus/opus.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <stdlib.h>
#include <urcu/urcu-qsbr.h>
#include <urcu/rculfhash.h>

#include "bench/world.h"
#include "dataplane/source_state.h"
#include "dataplane/srtp_context.h"

#define BURST 32

struct node {
	struct cds_lfht_node node;
	uint64_t key;
} CACHE_ALIGNED;

struct cipher {
	struct gcm_key_data gcm __attribute__((aligned(64)));
	uint8_t enc[16 * 15] __attribute__((aligned(16)));
	uint8_t ipad[20], opad[20], salt[16];
};

static struct {
	unsigned sessions;
	enum srtp_profile profile;
	uint32_t srtp_bytes, cell_count;
	struct cds_lfht *table;
	struct node **nodes; // also the array that is read in place of the table
	struct rte_hash *hash;
	struct cipher **ciphers;
	uint8_t **rings;
	OpusDecoder **decoders;
	IMB_MGR *imb;
	uint8_t packets[BURST][512], plain[BURST][512];
	uint64_t found;
} bare;

const char *bare_name(enum bare part)
{
	static const char *const names[] = {"mbuf alloc and free", "rx burst", "cds_lfht lookup", "ipsec-mb", "memcpy payload and cell",
		"array read, for the lookup", "libopus", "rte_hash bulk lookup", "bare walk over the same memory"};
	return names[part];
}

bool bare_counts(enum bare part)
{
	return part <= BARE_COPY;
}

static unsigned long hash_of(uint64_t key)
{
	key *= 0x9e3779b97f4a7c15u;
	return (unsigned long)(key ^ key >> 29);
}

static int match(struct cds_lfht_node *node, const void *key)
{
	return CONTAINER_OF(node, struct node, node)->key == *(const uint64_t *)key;
}

static void *must(void *memory)
{
	if (memory == NULL) {
		fprintf(stderr, "no memory for the bare parts\n");
		exit(1);
	}
	return memory;
}

static uint64_t key_of(unsigned session)
{
	return (uint64_t)WORLD_IP << 16 | (1024 + session);
}

static void cipher_open(struct cipher *cipher)
{
	uint8_t key[32], unused[16 * 15] __attribute__((aligned(16))), block[64];
	memset(key, 7, sizeof(key));
	memset(block, 0x36, sizeof(block));
	if (bare.profile == SRTP_AES128_CM_SHA1_80) {
		IMB_AES_KEYEXP_128(bare.imb, key, cipher->enc, unused);
		IMB_SHA1_ONE_BLOCK(bare.imb, block, cipher->ipad);
		IMB_SHA1_ONE_BLOCK(bare.imb, block, cipher->opad);
	} else if (bare.profile == SRTP_AEAD_AES_128_GCM) {
		IMB_AES128_GCM_PRE(bare.imb, key, &cipher->gcm);
	} else {
		IMB_AES256_GCM_PRE(bare.imb, key, &cipher->gcm);
	}
	memset(cipher->salt, 3, sizeof(cipher->salt));
}

void bare_open(unsigned sessions, enum srtp_profile profile, uint32_t ring_ms, uint32_t srtp_bytes)
{
	bare.sessions = sessions;
	bare.profile = profile;
	bare.srtp_bytes = srtp_bytes;
	bare.cell_count = MAX_OF(ring_ms / PCM_CELL_MS, 2u);
	bare.imb = must(alloc_mb_mgr(0));
	init_mb_mgr_auto(bare.imb, NULL);
	bare.nodes = must(calloc(sessions, sizeof(void *)));
	bare.ciphers = must(calloc(sessions, sizeof(void *)));
	bare.rings = must(calloc(sessions, sizeof(void *)));
	bare.decoders = must(calloc(sessions, sizeof(void *)));
	bare.table = must(cds_lfht_new_flavor(1024, 1024, 0, CDS_LFHT_AUTO_RESIZE, &urcu_qsbr_flavor, NULL));
	struct rte_hash_parameters parameters = {.name = "bare", .entries = sessions * 2 + 64, .key_len = 8,
		.hash_func = rte_hash_crc, .socket_id = SOCKET_ID_ANY};
	bare.hash = sessions <= 20000 ? must(rte_hash_create(&parameters)) : NULL;
	for (unsigned i = 0; i < sessions; i++) {
		bare.nodes[i] = must(aligned_alloc(64, sizeof(struct node)));
		bare.nodes[i]->key = key_of(i);
		cds_lfht_node_init(&bare.nodes[i]->node);
		cds_lfht_add(bare.table, hash_of(bare.nodes[i]->key), &bare.nodes[i]->node);
		if (bare.hash != NULL)
			rte_hash_add_key_data(bare.hash, &bare.nodes[i]->key, bare.nodes[i]);
		bare.ciphers[i] = must(aligned_alloc(64, (sizeof(struct cipher) + 63) & ~(size_t)63));
		cipher_open(bare.ciphers[i]);
		bare.rings[i] = must(malloc(bare.cell_count * sizeof(struct pcm_frame)));
		memset(bare.rings[i], 0, bare.cell_count * sizeof(struct pcm_frame)); // no page fault later
	}
}

ROLE_UNCHECKED void bare_close(void)
{
	for (unsigned i = 0; i < bare.sessions; i++) {
		cds_lfht_del(bare.table, &bare.nodes[i]->node);
		free(bare.ciphers[i]);
		free(bare.rings[i]);
		free(bare.decoders[i]);
	}
	rcu_quiescent(0);
	rcu_offline(0);
	cds_lfht_destroy(bare.table, NULL);
	rcu_online(0);
	for (unsigned i = 0; i < bare.sessions; i++)
		free(bare.nodes[i]);
	rte_hash_free(bare.hash);
	free_mb_mgr(bare.imb);
	free(bare.nodes);
	free(bare.ciphers);
	free(bare.rings);
	free(bare.decoders);
}

static void part_mbuf(void)
{
	struct rte_mbuf *mbufs[BURST];
	if (rte_pktmbuf_alloc_bulk(plane.pool, mbufs, BURST) == 0)
		for (unsigned i = 0; i < BURST; i++)
			rte_pktmbuf_free(mbufs[i]);
}

static void part_lookup(unsigned first)
{
	for (unsigned i = 0; i < BURST; i++) {
		uint64_t key = key_of((first + i) % bare.sessions);
		struct cds_lfht_iter iter;
		cds_lfht_lookup(bare.table, hash_of(key), match, &key, &iter);
		bare.found += cds_lfht_iter_get_node(&iter) != NULL;
	}
}

static void part_array(unsigned first)
{
	for (unsigned i = 0; i < BURST; i++)
		bare.found += *(struct node *volatile *)&bare.nodes[(first + i) % bare.sessions] != NULL;
}

static void part_rte_hash(unsigned first)
{
	uint64_t keys[BURST], hits = 0;
	const void *pointers[BURST];
	void *data[BURST];
	for (unsigned i = 0; i < BURST; i++) {
		keys[i] = key_of((first + i) % bare.sessions);
		pointers[i] = &keys[i];
	}
	if (bare.hash != NULL)
		rte_hash_lookup_bulk_data(bare.hash, pointers, BURST, &hits, data);
	bare.found += hits;
}

static void part_gcm(unsigned first)
{
	for (unsigned i = 0; i < BURST; i++) {
		struct cipher *cipher = bare.ciphers[(first + i) % bare.sessions];
		struct gcm_context_data context;
		uint8_t tag[16], *packet = bare.packets[i];
		size_t bytes = bare.srtp_bytes - 12 - 16;
		if (bare.profile == SRTP_AEAD_AES_128_GCM)
			IMB_AES128_GCM_DEC(bare.imb, &cipher->gcm, &context, packet + 12, packet + 12, bytes, cipher->salt, packet, 12,
				tag, 16);
		else
			IMB_AES256_GCM_DEC(bare.imb, &cipher->gcm, &context, packet + 12, packet + 12, bytes, cipher->salt, packet, 12,
				tag, 16);
		bench_keep(tag);
	}
}

static void part_cm(unsigned first)
{
	uint8_t tags[BURST][20], ivs[BURST][16] = {{0}};
	for (unsigned i = 0; i < BURST; i++) {
		struct cipher *cipher = bare.ciphers[(first + i) % bare.sessions];
		IMB_JOB *job = IMB_GET_NEXT_JOB(bare.imb);
		*job = (IMB_JOB){.cipher_mode = IMB_CIPHER_CNTR, .hash_alg = IMB_AUTH_HMAC_SHA_1,
			.cipher_direction = IMB_DIR_DECRYPT, .chain_order = IMB_ORDER_HASH_CIPHER, .enc_keys = cipher->enc,
			.dec_keys = cipher->enc, .key_len_in_bytes = 16, .src = bare.packets[i], .dst = bare.packets[i] + 12,
			.cipher_start_src_offset_in_bytes = 12, .msg_len_to_cipher_in_bytes = bare.srtp_bytes - 22,
			.msg_len_to_hash_in_bytes = bare.srtp_bytes - 6, .iv = ivs[i], .iv_len_in_bytes = 16,
			.auth_tag_output = tags[i], .auth_tag_output_len_in_bytes = 10};
		job->u.HMAC._hashed_auth_key_xor_ipad = cipher->ipad;
		job->u.HMAC._hashed_auth_key_xor_opad = cipher->opad;
		IMB_SUBMIT_JOB_NOCHECK(bare.imb);
	}
	while (IMB_FLUSH_JOB(bare.imb) != NULL)
		continue;
	bench_keep(tags);
}

static void part_copy(unsigned first, unsigned burst)
{
	uint8_t payload[SPEECH_BYTES];
	for (unsigned i = 0; i < BURST; i++) {
		unsigned at = first + i, session = at % bare.sessions;
		struct pcm_frame *cells = (struct pcm_frame *)(void *)bare.rings[session];
		memcpy(payload, bare.packets[i] + 12, sizeof(payload));
		bench_keep(payload);
		memcpy(cells[(burst + at / bare.sessions) % bare.cell_count].samples, bare.plain[i], PCM_CELL_BYTES / 2);
		memcpy(cells[(burst + at / bare.sessions) % bare.cell_count].samples + PCM_CELL_SAMPLES / 2, bare.plain[i],
			PCM_CELL_BYTES / 2);
		bench_keep(cells);
	}
}

static void walk(const void *from, size_t bytes)
{
	uintptr_t line = (uintptr_t)from & ~(uintptr_t)63, end = (uintptr_t)from + bytes;
	for (; line < end; line += CACHE_LINE_BYTES)
		bare.found += *(const volatile uint8_t *)line;
}

// What a packet without Opus reads and writes of its session, each line once, doing nothing with it.
static void part_walk(unsigned first, unsigned burst)
{
	ENTERS(worker_role);
	for (unsigned i = 0; i < BURST; i++) {
		const struct world_session *session = &world.sessions[(first + i) % bare.sessions];
		const struct source *source = session->source;
		const uint8_t *srtp = (const uint8_t *)world_srtp(session), *keys = srtp + offsetof(struct srtp, remote.rtp);
		bare.found += (uintptr_t)transport_lookup(session->transport->port, session->transport->local.port);
		walk(session->transport, 2 * CACHE_LINE_BYTES);
		walk(session->transport->home, CACHE_LINE_BYTES);
		walk(srtp, CACHE_LINE_BYTES);
		for (unsigned line = 0; line < sizeof(struct srtp_cipher) / CACHE_LINE_BYTES; line++)
			if (world_worker()->srtp_mgr->rtp_lines >> line & 1)
				walk(keys + (size_t)line * CACHE_LINE_BYTES, 1);
		walk(source, 3 * CACHE_LINE_BYTES);
		walk(&source->feeds[0], sizeof(source->feeds[0]));
		walk(&source->track, offsetof(struct source_track, jitter.slots));
		walk(&source->counters, CACHE_LINE_BYTES);
		walk(session->pcm, CACHE_LINE_BYTES);
		const uint8_t *cells = (const uint8_t *)session->pcm + 2 * CACHE_LINE_BYTES;
		walk(cells + burst % (world.config.ring_ms / PCM_CELL_MS) * 11 * CACHE_LINE_BYTES, 11 * CACHE_LINE_BYTES);
	}
}

int __real_opus_decode(OpusDecoder *decoder, const unsigned char *data, int32_t bytes, int16_t *pcm, int size, int fec);

static void part_opus(unsigned first)
{
	int16_t samples[PCM_CELL_SAMPLES];
	for (unsigned i = 0; i < BURST; i++) {
		unsigned at = first + i, session = at % bare.sessions;
		const uint8_t *packet = world.speech[(at / bare.sessions + session * 7) % WORLD_SPEECH_FRAMES];
		__real_opus_decode(bare.decoders[session], packet, SPEECH_BYTES, samples, PCM_CELL_SAMPLES, 0);
		bench_keep(samples);
	}
}

static void opus_open(void)
{
	for (unsigned i = 0; i < bare.sessions; i++) {
		bare.decoders[i] = must(malloc((size_t)opus_decoder_get_size(1)));
		opus_decoder_init(bare.decoders[i], PCM_RATE_HZ, 1);
	}
}

uint64_t bare_burst(enum bare part, unsigned burst)
{
	unsigned first = burst * BURST, count = BURST;
	struct rte_mbuf *mbufs[BURST];
	if (part == BARE_OPUS && bare.decoders[0] == NULL)
		opus_open();
	if (part == BARE_RX) {
		rte_pktmbuf_alloc_bulk(plane.pool, mbufs, BURST);
		rte_ring_sp_enqueue_burst(world.wire, (void **)mbufs, BURST, NULL);
	}
	uint64_t began = bench_now();
	switch (part) {
	case BARE_MBUF:
		part_mbuf();
		break;
	case BARE_RX:
		count = rte_eth_rx_burst(plane.ports[0].id, 0, mbufs, BURST);
		break;
	case BARE_LOOKUP:
		part_lookup(first);
		break;
	case BARE_SRTP:
		if (bare.profile == SRTP_AES128_CM_SHA1_80)
			part_cm(first);
		else
			part_gcm(first);
		break;
	case BARE_COPY:
		part_copy(first, burst);
		break;
	case BARE_ARRAY:
		part_array(first);
		break;
	case BARE_OPUS:
		part_opus(first);
		break;
	case BARE_RTE_HASH:
		part_rte_hash(first);
		break;
	default:
		part_walk(first, burst);
	}
	uint64_t cycles = bench_now() - began;
	if (part == BARE_RX)
		for (unsigned i = 0; i < count; i++)
			rte_pktmbuf_free(mbufs[i]);
	return cycles;
}
