// SPDX-License-Identifier: ISC
//
// quota_test.c - what may come at once, what in the long run, after a pause, and where the clock's word turns round.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/quota.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(at_once_and_in_the_long_run),
		cmocka_unit_test(who_keeps_to_it_loses_nothing), cmocka_unit_test(a_pause_takes_nothing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
