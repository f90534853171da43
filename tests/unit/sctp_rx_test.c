// SPDX-License-Identifier: ISC
//
// sctp_rx_test.c - what the worker does with packets of an established association: deliver, strike out, leave, acknowledge.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/crc32c.h"
#include "dataplane/dcep.h"
#include "dataplane/sctp_rx.h"

#define LOSSY 3
#define RELIABLE 1
#define FIRST 0xfffffff0u // numbers wrap early in every test
#define MS 1000000ull

static struct sctp_rx rx;
static uint8_t packet[2048];
static size_t packet_bytes;
static uint64_t now;
static uint32_t delivered[4096];
static unsigned delivered_count;
static bool assoc_full;
static struct sctp_walk walk;

static void start(void)
{
	struct sctp_up up = {true, 0x11111111, 0x22222222, FIRST};
	rx = (struct sctp_rx){0};
	sctp_rx_start(&rx, &up);
	rx.channels[0] = LOSSY;
	rx.channels[1] = RELIABLE;
	now = 1000 * MS;
	delivered_count = 0;
	assoc_full = false;
	packet_bytes = sctp_packet_begin(packet, 0x11111111);
}

static void put(uint32_t offset, uint16_t stream, uint8_t flags, uint32_t ppid)
{
	uint8_t *head = packet + packet_bytes;
	packet_bytes = sctp_chunk_put(packet, packet_bytes, SCTP_CHUNK_DATA, flags, 12 + 4);
	put_be32(head + 4, FIRST + offset);
	put_be16(head + 8, stream);
	put_be16(head + 10, 0);
	put_be32(head + 12, ppid);
	put_be32(head + 16, offset);
}

static void put_lossy(uint32_t offset)
{
	put(offset, LOSSY, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_BINARY);
}

static void put_reliable(uint32_t offset)
{
	put(offset, RELIABLE, SCTP_DATA_WHOLE, PPID_BINARY);
}

// Sends the packet through; true: a SACK is due now.
static bool input(void)
{
	struct sctp_message message;
	assert_int_equal(sctp_packet_check(packet, packet_bytes), DROP_NONE);
	assert_int_equal(sctp_rx_begin(&rx, &walk, packet, packet_bytes), SCTP_RX_WALK);
	while (sctp_rx_next(&rx, &walk, &message))
		delivered[delivered_count++] = get_be32(message.data);
	if (walk.assoc && !assoc_full)
		sctp_rx_handed_over(&rx, &walk);
	packet_bytes = sctp_packet_begin(packet, 0x11111111);
	return sctp_rx_end(&rx, &walk, now);
}

static bool lossy(uint32_t offset)
{
	put_lossy(offset);
	return input();
}

static bool reliable(uint32_t offset)
{
	put_reliable(offset);
	return input();
}

struct sack {
	uint32_t cum, rwnd;
	unsigned blocks, duplicates;
	const uint8_t *list;
};

static uint8_t sack_packet[SCTP_RX_SACK_MAX];

static struct sack sack(void)
{
	memset(sack_packet, 0xee, sizeof(sack_packet));
	size_t bytes = sctp_rx_sack(&rx, sack_packet, 77777);
	assert_int_equal(sctp_packet_check(sack_packet, bytes), DROP_NONE);
	assert_int_equal(sctp_packet_tag(sack_packet), 0x22222222);
	uint32_t sum, zero = 0;
	memcpy(&sum, sack_packet + 8, 4);
	memcpy(sack_packet + 8, &zero, 4);
	assert_int_equal(sum, crc32c(sack_packet, bytes));
	assert_int_equal(sack_packet[12], SCTP_CHUNK_SACK);
	struct sack s = {get_be32(sack_packet + 16) - FIRST, get_be32(sack_packet + 20), get_be16(sack_packet + 24),
		get_be16(sack_packet + 26), sack_packet + 28};
	assert_int_equal(get_be16(sack_packet + 14), 16 + 4 * s.blocks + 4 * s.duplicates);
	assert_int_equal(s.rwnd, 77777);
	return s;
}

static void every_second_packet_or_40_ms(void **state)
{
	(void)state;
	start();
	assert_false(lossy(0));
	assert_int_equal(rx.sack_due_ns, now + 40 * MS);
	now += 20 * MS;
	assert_true(lossy(1));
	assert_int_equal(sack().cum, 1);
	assert_int_equal(rx.sack_due_ns, 0);
	assert_false(lossy(2));
	put_lossy(3); // two chunks in one packet are one packet
	put_lossy(4);
	assert_true(input());
	assert_int_equal(sack().cum, 4);
	assert_int_equal(delivered_count, 5);
}

static void duplicates_are_struck_and_reported(void **state)
{
	(void)state;
	start();
	lossy(0);
	lossy(0);
	reliable(1);
	assert_true(walk.assoc);
	reliable(1);
	assert_false(walk.assoc);
	assert_int_equal(delivered_count, 1);
	struct sack s = sack();
	assert_int_equal(s.cum, 1);
	assert_int_equal(s.blocks, 0);
	assert_int_equal(s.duplicates, 2);
	assert_int_equal(get_be32(s.list) - FIRST, 0);
	assert_int_equal(get_be32(s.list + 4) - FIRST, 1);
	assert_int_equal(sack().duplicates, 0); // said once
	put_reliable(2); // twice in one packet
	put_reliable(2);
	input();
	assert_int_equal(walk.slow_count, 1);
	assert_int_equal(rx.cum_tsn - FIRST, 2);
}

static void gaps_over_the_wrap(void **state)
{
	(void)state;
	start();
	for (uint32_t i = 0; i < 60; i++)
		if (i != 5 && i != 17 && i != 18)
			lossy(i);
	struct sack s = sack();
	assert_int_equal(s.cum, 4);
	assert_int_equal(s.blocks, 2);
	static const uint8_t expected[] = {0, 2, 0, 12, 0, 15, 0, 55};
	assert_memory_equal(s.list, expected, sizeof(expected));
	assert_int_equal(rx.holes, 3);
	lossy(5);
	lossy(18);
	lossy(17);
	assert_int_equal(rx.holes, 3); // who is late makes none
	s = sack();
	assert_int_equal(s.cum, 59);
	assert_int_equal(s.blocks, 0);
}

static void a_hole_of_lossy_ones_waits_a_reliable_one_does_not(void **state)
{
	(void)state;
	start();
	lossy(0);
	sack();
	assert_false(lossy(2));
	sack();
	assert_true(reliable(4));
	assert_int_equal(sack().blocks, 2);
	lossy(1);
	lossy(3);
	sack();
	assert_false(reliable(5)); // in order: paced like the rest
}

static void window_ends(void **state)
{
	(void)state;
	start();
	lossy(0);
	lossy(SCTP_RX_AHEAD); // the last place
	assert_int_equal(delivered_count, 2);
	lossy(SCTP_RX_AHEAD + 1);
	assert_int_equal(walk.window_count, 1);
	assert_int_equal(delivered_count, 2);
	assert_int_equal(sack().blocks, 1);
	for (uint32_t i = 1; i < SCTP_RX_AHEAD; i++)
		lossy(i);
	assert_int_equal(rx.cum_tsn - FIRST, SCTP_RX_AHEAD);
	lossy(SCTP_RX_AHEAD + 1); // not acknowledged, so it comes again
	assert_int_equal(rx.cum_tsn - FIRST, SCTP_RX_AHEAD + 1);
	assert_int_equal(delivered_count, SCTP_RX_AHEAD + 2);
	lossy(0 - 5u); // long before the start
	lossy(0 - 400u);
	assert_int_equal(delivered_count, SCTP_RX_AHEAD + 2);
}

static void a_long_run_stays_exact(void **state)
{
	(void)state;
	start();
	for (uint32_t i = 0; i < 3000; i++) {
		lossy(i ^ 3); // each four in reverse
		if (i % 4 == 3)
			assert_int_equal(sack().blocks, 0);
	}
	assert_int_equal(delivered_count, 3000);
	for (uint32_t i = 2500; i < 3000; i++)
		lossy(i);
	assert_int_equal(delivered_count, 3000);
}

static void assoc_full_means_not_received(void **state)
{
	(void)state;
	start();
	assoc_full = true;
	put_lossy(0);
	put_reliable(1);
	input();
	assert_int_equal(delivered_count, 1);
	assert_int_equal(sack().cum, 0);
	assoc_full = false;
	reliable(1);
	assert_true(walk.assoc);
	assert_int_equal(sack().cum, 1);
}

static void what_is_left_for_assoc(void **state)
{
	(void)state;
	struct {
		uint16_t stream;
		uint8_t flags;
		uint32_t ppid;
		bool assoc, delivered;
	} cases[] = {
		{LOSSY, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_BINARY, false, true},
		{LOSSY, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED | 8, PPID_STRING, false, true},
		{LOSSY, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_BINARY_EMPTY, false, false},
		{LOSSY, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_DCEP, true, false},
		{LOSSY, SCTP_DATA_BEGIN | SCTP_DATA_UNORDERED, PPID_BINARY, true, false},
		{LOSSY, SCTP_DATA_END | SCTP_DATA_UNORDERED, PPID_BINARY, true, false},
		{LOSSY, SCTP_DATA_UNORDERED, PPID_BINARY, true, false},
		{LOSSY, SCTP_DATA_WHOLE, PPID_BINARY, true, false},
		{RELIABLE, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_BINARY, false, true},
		{9, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_BINARY, true, false}, // a channel not heard of yet
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start();
		put(0, cases[i].stream, cases[i].flags, cases[i].ppid);
		input();
		assert_int_equal(walk.assoc, cases[i].assoc);
		assert_int_equal(delivered_count, cases[i].delivered);
		assert_int_equal(rx.cum_tsn - FIRST, 0);
		assert_int_equal(packet[SCTP_HEADER_BYTES], cases[i].assoc ? SCTP_CHUNK_DATA : SCTP_CHUNK_STRUCK);
	}
	static const uint8_t controls[] = {SCTP_CHUNK_INIT, SCTP_CHUNK_SACK, SCTP_CHUNK_HEARTBEAT, SCTP_CHUNK_ABORT, SCTP_CHUNK_SHUTDOWN, SCTP_CHUNK_RECONFIG};
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
		start();
		packet_bytes = sctp_chunk_put(packet, packet_bytes, controls[i], 0, 0);
		assert_false(input());
		assert_true(walk.assoc);
		assert_int_equal(rx.sack_due_ns, 0);
	}
}

static void unknown_chunks_stop_or_skip(void **state)
{
	(void)state;
	static const struct {
		uint8_t type;
		unsigned delivered;
	} cases[] = {{0x3f, 0}, {0x7f, 0}, {0x9f, 1}, {0xdf, 1}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start();
		packet_bytes = sctp_chunk_put(packet, packet_bytes, cases[i].type, 0, 0);
		put_lossy(0);
		input();
		assert_int_equal(delivered_count, cases[i].delivered);
		assert_true(walk.assoc); // which knows what to report
	}
}

static void forward_tsn(uint32_t offset)
{
	uint8_t *head = packet + packet_bytes;
	packet_bytes = sctp_chunk_put(packet, packet_bytes, SCTP_CHUNK_FORWARD_TSN, 0, 4);
	put_be32(head + 4, FIRST + offset);
}

static void a_forward_tsn_gets_no_sack_of_its_own(void **state)
{
	(void)state;
	start();
	lossy(0);
	sack();
	forward_tsn(3);
	assert_false(input());
	assert_true(walk.assoc);
	assert_int_equal(rx.cum_tsn - FIRST, 3);
	assert_int_equal(rx.sack_due_ns, now + 40 * MS);
	forward_tsn(4);
	assert_false(input());
	forward_tsn(5);
	assert_false(input());
	assert_int_equal(sack().cum, 5);
	forward_tsn(5); // again, and an older one
	assert_false(input());
	forward_tsn(2);
	assert_false(input());
	assert_int_equal(rx.cum_tsn - FIRST, 5);
	forward_tsn(5 + SCTP_RX_AHEAD + 1); // absurd
	input();
	assert_int_equal(rx.cum_tsn - FIRST, 5);
}

static void a_message_overtaken_by_its_forward_tsn_is_heard_once(void **state)
{
	(void)state;
	start();
	lossy(0);
	forward_tsn(2);
	input();
	lossy(3);
	lossy(2); // late, but not too late for speech
	lossy(2);
	lossy(1);
	assert_int_equal(delivered_count, 4);
	assert_int_equal(delivered[2], 2);
	reliable(0 - 1u);
	assert_false(walk.assoc);
	forward_tsn(10);
	input();
	reliable(7); // an ordered stream has gone on
	assert_false(walk.assoc);
}

static void another_association(void **state)
{
	(void)state;
	start();
	sctp_packet_begin(packet, 0x11111112);
	put_lossy(0);
	assert_int_equal(sctp_rx_begin(&rx, &walk, packet, packet_bytes), SCTP_RX_ASSOC);
	struct sctp_up down = {.up = false};
	sctp_rx_start(&rx, &down);
	sctp_packet_begin(packet, 0x11111111);
	assert_int_equal(sctp_rx_begin(&rx, &walk, packet, packet_bytes), SCTP_RX_ASSOC);
	// A restart: new tags and numbers, nothing of the old run counts.
	start();
	lossy(0);
	struct sctp_up up = {true, 5, 6, 1000};
	sctp_rx_start(&rx, &up);
	assert_int_equal(rx.channels[0], LOSSY);
	sctp_packet_begin(packet, 5);
	put(1000 - FIRST, LOSSY, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, PPID_BINARY);
	struct sctp_message message;
	assert_int_equal(sctp_rx_begin(&rx, &walk, packet, packet_bytes), SCTP_RX_WALK);
	assert_true(sctp_rx_next(&rx, &walk, &message));
	assert_int_equal(rx.cum_tsn, 1000);
}

static void malformed_packets(void **state)
{
	(void)state;
	start();
	put_lossy(0);
	for (size_t bytes = 0; bytes < packet_bytes; bytes++)
		if (bytes != SCTP_HEADER_BYTES + 20) // the whole chunk without anything cut
			assert_int_equal(sctp_packet_check(packet, bytes), DROP_SCTP_MALFORMED);
	packet[1]++;
	assert_int_equal(sctp_packet_check(packet, packet_bytes), DROP_SCTP_MALFORMED);
	packet[1]--;
	put_be16(packet + SCTP_HEADER_BYTES + 2, 3); // a chunk shorter than its header
	assert_int_equal(sctp_packet_check(packet, packet_bytes), DROP_SCTP_MALFORMED);
	// DATA without data: assoc aborts.
	start();
	packet_bytes = sctp_chunk_put(packet, packet_bytes, SCTP_CHUNK_DATA, 7, 12);
	put_lossy(1);
	input();
	assert_true(walk.assoc);
	assert_int_equal(delivered_count, 0);
}

static void many_gaps_fit(void **state)
{
	(void)state;
	start();
	for (uint32_t i = 1; i < 300; i += 2)
		lossy(i);
	struct sack s = sack();
	assert_int_equal(s.blocks, 48);
	assert_int_equal(get_be16(s.list), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_second_packet_or_40_ms),
		cmocka_unit_test(duplicates_are_struck_and_reported),
		cmocka_unit_test(gaps_over_the_wrap),
		cmocka_unit_test(a_hole_of_lossy_ones_waits_a_reliable_one_does_not),
		cmocka_unit_test(window_ends),
		cmocka_unit_test(a_long_run_stays_exact),
		cmocka_unit_test(assoc_full_means_not_received),
		cmocka_unit_test(what_is_left_for_assoc),
		cmocka_unit_test(unknown_chunks_stop_or_skip),
		cmocka_unit_test(a_forward_tsn_gets_no_sack_of_its_own),
		cmocka_unit_test(a_message_overtaken_by_its_forward_tsn_is_heard_once),
		cmocka_unit_test(another_association),
		cmocka_unit_test(malformed_packets),
		cmocka_unit_test(many_gaps_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
