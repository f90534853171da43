// SPDX-License-Identifier: ISC
//
// data_bare.c - the parts of a frame of the data way with nothing around them.
//
// Runs on: worker.

#include "bench/data_bare.h"

#include <stdlib.h>

#include "dataplane/crc32c.h"
#include "dataplane/dtls_record.h"
#include "dataplane/gcm_key.h"
#include "dataplane/pcm.h"
#include "dataplane/sctp_chunk.h"
#include "dataplane/srtp_context.h"

#define AHEAD 5                             // keys are asked for, as in ingress.c
#define SACK_BYTES (SCTP_HEADER_BYTES + 16) // without gaps
#define CELLS 50                            // a second of them
#define CELL_BYTES (11 * CACHE_LINE_BYTES)  // as pcm.c lays them

struct user {
	struct gcm_key_data remote CACHE_ALIGNED;
	struct gcm_key_data local CACHE_ALIGNED;
};

static struct {
	IMB_MGR *imb;
	uint32_t key_lines;
	struct user *users;
	uint8_t *cells; // of all users
	unsigned count;
	uint32_t sums; // so that none is optimised away
} bare;

const char *data_bare_name(enum data_bare part)
{
	static const char *const names[] = {"AES-128-GCM, the record opened", "CRC32c of the packet",
		"CRC32c and AES-128-GCM of every second frame's SACK", "(beside it: PCM copied into a cell)"};
	return names[part];
}

bool data_bare_counts(enum data_bare part)
{
	return part != DATA_BARE_COPY;
}

static void refuse(const char *what)
{
	fprintf(stderr, "the bare parts: %s\n", what);
	exit(1);
}

void data_bare_begin(struct srtp_mgr *mgr, unsigned users)
{
	bare.imb = mgr->imb;
	bare.key_lines = mgr->record_lines;
	bare.count = users;
	bare.users = aligned_alloc(CACHE_LINE_BYTES, users * sizeof(*bare.users));
	bare.cells = aligned_alloc(CACHE_LINE_BYTES, (size_t)users * CELLS * CELL_BYTES);
	if (bare.users == NULL || bare.cells == NULL)
		refuse("no memory");
	memset(bare.cells, 0, (size_t)users * CELLS * CELL_BYTES); // no page fault later
}

void data_bare_key(unsigned user, const uint8_t key[static 16])
{
	IMB_AES128_GCM_PRE(bare.imb, key, &bare.users[user].remote);
	IMB_AES128_GCM_PRE(bare.imb, key, &bare.users[user].local);
}

void data_bare_end(void)
{
	bench_keep(&bare.sums);
	free(bare.users);
	free(bare.cells);
}

static struct user *user_of(unsigned number)
{
	return &bare.users[number % bare.count];
}

static void prefetch_remote(unsigned number)
{
	gcm_key_prefetch((const uint8_t *)&user_of(number)->remote, bare.key_lines);
}

static void prefetch_local(unsigned number)
{
	gcm_key_prefetch((const uint8_t *)&user_of(number)->local, bare.key_lines);
}

static void part_open(unsigned first, uint8_t (*records)[DATA_BARE_ROOM], size_t plain_bytes)
{
	for (unsigned i = 0; i < AHEAD; i++)
		prefetch_remote(first + i);
	for (unsigned i = 0; i < DATA_BARE_BURST; i++) {
		struct gcm_context_data context;
		if (i + AHEAD < DATA_BARE_BURST)
			prefetch_remote(first + i + AHEAD);
		uint8_t iv[12] = {0}, aad[13], tag[DTLS_RECORD_TAG_BYTES], *head = records[i], *data = head + DTLS_RECORD_HEAD_BYTES;
		memcpy(iv + 4, head + DTLS_RECORD_HEADER_BYTES, DTLS_RECORD_NONCE_BYTES);
		memcpy(aad, head + 3, 8);
		memcpy(aad + 8, head, 3);
		put_be16(aad + 11, (uint16_t)plain_bytes);
		IMB_AES128_GCM_DEC(bare.imb, &user_of(first + i)->remote, &context, data, data, plain_bytes, iv, aad, sizeof(aad), tag,
			sizeof(tag));
		if (memcmp(tag, data + plain_bytes, sizeof(tag)) != 0)
			refuse("a record is not its user's");
	}
}

static void part_sum(uint8_t (*records)[DATA_BARE_ROOM], size_t plain_bytes)
{
	for (unsigned i = 0; i < DATA_BARE_BURST; i++)
		bare.sums += crc32c(records[i] + DTLS_RECORD_HEAD_BYTES, plain_bytes);
}

static void part_sack(unsigned first)
{
	static const uint8_t iv[12], aad[13];
	unsigned turn = first / bare.count % 2; // who waits in this round has one in the next
	for (unsigned i = turn; i < AHEAD; i += 2)
		prefetch_local(first + i);
	for (unsigned i = turn; i < DATA_BARE_BURST; i += 2) {
		struct gcm_context_data context;
		if (i + AHEAD + 1 < DATA_BARE_BURST)
			prefetch_local(first + i + AHEAD + 1);
		uint8_t sack[SACK_BYTES] = {0}, tag[DTLS_RECORD_TAG_BYTES];
		uint32_t sum = crc32c(sack, sizeof(sack));
		memcpy(sack + 8, &sum, sizeof(sum));
		IMB_AES128_GCM_ENC(bare.imb, &user_of(first + i)->local, &context, sack, sack, sizeof(sack), iv, aad, sizeof(aad), tag,
			sizeof(tag));
		bench_keep(sack);
		bench_keep(tag);
	}
}

// To where the cell's samples lie; they are near the end of the record.
static void part_copy(unsigned first, uint8_t (*records)[DATA_BARE_ROOM], size_t plain_bytes)
{
	for (unsigned i = 0; i < DATA_BARE_BURST; i++) {
		unsigned at = first + i;
		uint8_t *cell = bare.cells + ((size_t)(at % bare.count) * CELLS + at / bare.count % CELLS) * CELL_BYTES;
		memcpy(cell + CELL_BYTES - PCM_CELL_BYTES, records[i] + DTLS_RECORD_HEAD_BYTES + plain_bytes - PCM_CELL_BYTES, PCM_CELL_BYTES);
		bench_keep(cell);
	}
}

uint64_t data_bare_burst(enum data_bare part, unsigned first, uint8_t (*records)[DATA_BARE_ROOM], size_t plain_bytes)
{
	uint64_t began = bench_now();
	if (part == DATA_BARE_OPEN)
		part_open(first, records, plain_bytes);
	else if (part == DATA_BARE_SUM)
		part_sum(records, plain_bytes);
	else if (part == DATA_BARE_SACK)
		part_sack(first);
	else
		part_copy(first, records, plain_bytes);
	uint64_t cycles = bench_now() - began;
	return cycles - MIN_OF(bench_stamp_cost(), cycles);
}
