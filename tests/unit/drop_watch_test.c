// SPDX-License-Identifier: ISC
//
// drop_watch_test.c - what counters of drops mean: a flood while it goes on, losses for a minute, and nothing when all is well.
//
// Runs on: control (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "controlplane/drop_watch.h"

static struct drop_watch watch;
static struct drop_watch_view view;
static uint64_t counts[DROP_COUNT], now_ns;

static int begin(void **state)
{
	(void)state;
	memset(&watch, 0, sizeof(watch));
	memset(counts, 0, sizeof(counts));
	now_ns = 1;
	return 0;
}

static void second(enum drop reason, uint64_t count)
{
	counts[reason] += count;
	drop_watch_sample(&watch, counts, now_ns);
	now_ns += 1000000000;
	drop_watch_look(&watch, &view);
}

static void quiet_is_well(void **state)
{
	(void)state;
	counts[DROP_UDP_NO_TRANSPORT] = 1000000; // from before we looked
	counts[DROP_KERNEL_RING_FULL] = 1000;
	for (unsigned i = 0; i < 200; i++) {
		second(DROP_UDP_NO_TRANSPORT, 100);
		assert_int_equal(view.flood_rate, 0);
		assert_int_equal(view.lost[DROP_KERNEL_RING_FULL], 0);
	}
}

static void flood_is_told_while_it_lasts(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 70; i++)
		second(DROP_NONE, 0);
	for (unsigned i = 0; i < 5; i++) {
		counts[DROP_STUN_BAD_INTEGRITY] += 30000;
		second(DROP_UDP_NO_TRANSPORT, 100000);
	}
	assert_int_equal(view.flood_rate, 130000);
	assert_int_equal(view.flood_most, DROP_UDP_NO_TRANSPORT);
	for (unsigned i = 0; i < DROP_WATCH_FLOOD_SECONDS; i++)
		second(DROP_NONE, 0);
	assert_int_equal(view.flood_rate, 0);
}

static void losses_are_told_for_a_minute(void **state)
{
	(void)state;
	second(DROP_NONE, 0);
	second(DROP_KERNEL_RING_FULL, 7);
	for (unsigned i = 0; i < DROP_WATCH_SECONDS - 1; i++) {
		assert_int_equal(view.lost[DROP_KERNEL_RING_FULL], 7);
		assert_int_equal(view.flood_rate, 0);
		second(DROP_NONE, 0);
	}
	second(DROP_NONE, 0);
	assert_int_equal(view.lost[DROP_KERNEL_RING_FULL], 0);
}

// What one user does wrong is no flood, and strangers that are turned away are no loss.
static void kinds_are_told_apart(void **state)
{
	(void)state;
	static const enum drop own[] = {DROP_DATA_DUPLICATE, DROP_DATA_UNWANTED, DROP_COPY, DROP_JITTER_LATE, DROP_UPLINK_UNSUPPORTED};
	second(DROP_NONE, 0);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		second(own[i], 1000000);
		assert_int_equal(view.flood_rate, 0);
	}
	second(DROP_PUNT_FULL, 1000000);
	assert_int_equal(view.flood_most, DROP_PUNT_FULL);
	for (enum drop reason = DROP_NONE; reason < DROP_COUNT; reason++)
		assert_int_equal(view.lost[reason], 0);
	second(DROP_PUNT_KNOWN_FULL, 3); // who is known and was turned away is one
	assert_int_equal(view.lost[DROP_PUNT_KNOWN_FULL], 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(quiet_is_well, begin), cmocka_unit_test_setup(flood_is_told_while_it_lasts, begin),
		cmocka_unit_test_setup(losses_are_told_for_a_minute, begin), cmocka_unit_test_setup(kinds_are_told_apart, begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
