// SPDX-License-Identifier: ISC
//
// quota_test.c - what may come at once, what in the long run, after a pause, and where the clock's word turns round; and whether
// the share of the association thread is enough for honest peers.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/sctp_rx.h"
#include "dataplane/worker.h"

#define TICK_NS ((uint64_t)1 << QUOTA_TICK_BITS)
#define TURN_NS (TICK_NS << 32)

static const uint64_t begins[] = {0, 1, 1000000000, TURN_NS - 1, TURN_NS - 100 * TICK_NS, TURN_NS + 7 * TICK_NS};

// How many of `tries` at this moment are taken.
static unsigned taken(uint32_t *paid_at, uint64_t now_ns, unsigned tries)
{
	unsigned count = 0;
	for (unsigned i = 0; i < tries; i++)
		count += quota_take(paid_at, now_ns, 2, 50);
	return count;
}

// Everything is paid off since a while.
static uint32_t paid(uint64_t now_ns)
{
	return (uint32_t)(now_ns >> QUOTA_TICK_BITS) - 5;
}

static void at_once_and_in_the_long_run(void **state)
{
	(void)state;
	for (unsigned b = 0; b < ARRAY_SIZE(begins); b++) {
		uint64_t now_ns = begins[b];
		uint32_t paid_at = paid(now_ns);
		assert_int_equal(taken(&paid_at, now_ns, 1000), 50);
		for (unsigned i = 0; i < 500; i++) { // a flood goes on: one in two ticks
			now_ns += 2 * TICK_NS;
			assert_int_equal(taken(&paid_at, now_ns, 100), 1);
		}
		now_ns += 20 * TICK_NS;
		assert_int_equal(taken(&paid_at, now_ns, 100), 10);
		now_ns += 1000 * TICK_NS; // never more than at once
		assert_int_equal(taken(&paid_at, now_ns, 100), 50);
	}
}

static void who_keeps_to_it_loses_nothing(void **state)
{
	(void)state;
	for (unsigned b = 0; b < ARRAY_SIZE(begins); b++) {
		uint32_t paid_at = paid(begins[b]);
		for (unsigned i = 0; i < 10000; i++)
			assert_int_equal(taken(&paid_at, begins[b] + i * 2 * TICK_NS, 1), 1);
	}
}

// A burst after a pause of any length, but for one that is a whole turn of the word.
static void a_pause_takes_nothing(void **state)
{
	(void)state;
	for (uint64_t pause = TICK_NS * 100; pause < TURN_NS - 100 * TICK_NS; pause = pause * 3 / 2) {
		uint32_t paid_at = 0;
		assert_int_equal(taken(&paid_at, 1000, 100), 50);
		assert_int_equal(taken(&paid_at, 1000 + pause, 100), 50);
	}
}

#define SECOND 1000000000ull
#define SHARE_A_SECOND ((uint32_t)(SECOND / TICK_NS / SHARE_TICKS_EACH))

static bool share_take(uint32_t *paid_at, unsigned chunks, uint64_t now_ns)
{
	return quota_take_some(paid_at, now_ns, chunks, SHARE_TICKS_EACH, SHARE_MOST);
}

// Packets of so many chunks, evenly over ten seconds; what is taken of them, in chunks.
static unsigned shared(unsigned packets_a_second, unsigned chunks)
{
	uint32_t paid_at = 0;
	unsigned sum = 0;
	for (uint64_t i = 0; i < 10ull * packets_a_second; i++)
		sum += share_take(&paid_at, chunks, 77 * SECOND + i * SECOND / packets_a_second) ? chunks : 0;
	return sum;
}

static void honest_peers_lose_nothing_of_their_share(void **state)
{
	(void)state;
	static const struct {
		unsigned packets_a_second, chunks;
	} cases[] = {{1, 1}, {50, 1}, {50, 10}, {3000, 1}, {3800, 1}, {95, SCTP_RX_SLOW_MAX}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(shared(cases[i].packets_a_second, cases[i].chunks), 10 * cases[i].packets_a_second * cases[i].chunks);
}

static void a_flood_gets_its_share(void **state)
{
	(void)state;
	static const struct {
		unsigned packets_a_second, chunks;
	} cases[] = {{5000, 1}, {100000, 1}, {10000, SCTP_RX_SLOW_MAX}, {1000000, 1}, {300000, SCTP_RX_SLOW_MAX}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_in_range(shared(cases[i].packets_a_second, cases[i].chunks), 10 * SHARE_A_SECOND - SCTP_RX_SLOW_MAX,
			10 * (SHARE_A_SECOND + 1) + SHARE_MOST);
}

// A whole window at once, with a third of it repeated; again as soon as that is paid for, and not before.
static void a_window_at_once_passes(void **state)
{
	(void)state;
	uint32_t paid_at = 0;
	uint64_t now_ns = 5 * SECOND;
	for (unsigned round = 0; round < 3; round++, now_ns += SHARE_MOST * SHARE_TICKS_EACH * TICK_NS) {
		for (unsigned i = 0; i < SHARE_MOST; i++)
			assert_true(share_take(&paid_at, 1, now_ns));
		assert_false(share_take(&paid_at, 1, now_ns));
		assert_false(share_take(&paid_at, 1, now_ns + (SHARE_TICKS_EACH - 1) * TICK_NS));
	}
	assert_true(SHARE_MOST >= SCTP_RX_AHEAD * 4 / 3);
	// What was refused cost nothing, and a long silence saves up no more than that.
	now_ns += 3600 * SECOND;
	assert_true(share_take(&paid_at, SHARE_MOST, now_ns));
	assert_false(share_take(&paid_at, 1, now_ns));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_once_and_in_the_long_run),
		cmocka_unit_test(who_keeps_to_it_loses_nothing),
		cmocka_unit_test(a_pause_takes_nothing),
		cmocka_unit_test(honest_peers_lose_nothing_of_their_share),
		cmocka_unit_test(a_flood_gets_its_share),
		cmocka_unit_test(a_window_at_once_passes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
