// SPDX-License-Identifier: ISC
//
// seqbyte_test.c - the data way's window: what waits behind a gap comes out whole and in order, and its store can be full.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/seqbyte.h"

#define MS 1000000ull

static struct seqbyte order;
static unsigned lost;

static enum drop put(uint8_t seq, size_t bytes, uint64_t now_ns)
{
	uint8_t payload[SEQBYTE_PAYLOAD_MAX];
	memset(payload, seq, sizeof(payload));
	return seqbyte_put(&order, seq, payload, bytes, now_ns, &lost);
}

static void expect(uint8_t seq, size_t bytes, uint64_t now_ns)
{
	const struct seqbyte_packet *packet = seqbyte_get(&order, now_ns, &lost);
	assert_non_null(packet);
	assert_int_equal(packet->seq, seq);
	assert_int_equal(packet->bytes, bytes);
	if (packet != &order.direct) { // one in order is the caller's memory
		assert_int_equal(packet->payload[0], seq);
		assert_int_equal(packet->payload[bytes - 1], seq);
	}
}

static void a_full_window_of_20ms_packets_waits(void **state)
{
	seqbyte_init(&order, 60);
	assert_int_equal(put(250, 640, MS), DROP_NONE);
	expect(250, 640, MS);
	for (unsigned i = 1; i < SEQBYTE_SLOTS; i++)
		assert_int_equal(put((uint8_t)(251 + i), 640, (i + 1) * MS), DROP_NONE);
	assert_int_equal(put(252, 640, 20 * MS), DROP_DATA_DUPLICATE);
	assert_null(seqbyte_get(&order, 20 * MS, &lost));
	assert_int_equal(seqbyte_deadline_ns(&order), 62 * MS);
	assert_int_equal(put(251, 640, 21 * MS), DROP_NONE);
	for (unsigned i = 0; i < SEQBYTE_SLOTS; i++) {
		expect((uint8_t)(251 + i), 640, 21 * MS);
		assert_int_equal(lost, 0);
	}
	assert_null(seqbyte_get(&order, 21 * MS, &lost));
	assert_int_equal(seqbyte_deadline_ns(&order), 0);
}

static void large_packets_fill_the_store(void **state)
{
	seqbyte_init(&order, 60);
	assert_int_equal(put(1, 640, MS), DROP_NONE);
	expect(1, 640, MS);
	for (uint8_t seq = 3; seq < 7; seq++)
		assert_int_equal(put(seq, SEQBYTE_PAYLOAD_MAX, 2 * MS), DROP_NONE);
	assert_int_equal(put(7, SEQBYTE_PAYLOAD_MAX, 3 * MS), DROP_JITTER_FULL);
	expect(3, SEQBYTE_PAYLOAD_MAX, UINT64_MAX); // the gap is given up
	assert_int_equal(lost, 1);
	assert_int_equal(put(7, SEQBYTE_PAYLOAD_MAX, 3 * MS), DROP_NONE);
	for (uint8_t seq = 4; seq < 8; seq++)
		expect(seq, SEQBYTE_PAYLOAD_MAX, 3 * MS);
	assert_int_equal(order.chunks_taken, 0);
	assert_int_equal(put(2, 640, 4 * MS), DROP_DATA_LATE);
	assert_int_equal(put(7, 640, 4 * MS), DROP_DATA_DUPLICATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_window_of_20ms_packets_waits),
		cmocka_unit_test(large_packets_fill_the_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
