// SPDX-License-Identifier: ISC
//
// reception_test.c - what a receiver report says, worked out by hand: loss, jitter, numbers over the wrap and after a jump, delays.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/reception.h"
#include "dataplane/source.h"

#define MS 1000000ull
#define NTP_OF(seconds, fraction) ((uint64_t)(2208988800u + (seconds)) << 32 | (fraction))

static struct reception reception;

static unsigned count_run(uint16_t first, unsigned count)
{
	unsigned behind = 0;
	for (unsigned i = 0; i < count; i++)
		behind += reception_count(&reception, (uint16_t)(first + i));
	return behind;
}

static struct source_reception report(void)
{
	struct source_reception block;
	assert_true(reception_report(&reception, 0, &block));
	return block;
}

static void nothing_is_reported_before_anything_came(void **state)
{
	struct source_reception block;
	reception = (struct reception){0};
	assert_false(reception_report(&reception, 0, &block));
}

static void numbers_go_on_over_the_wrap(void **state)
{
	reception_start(&reception, 7, 65530);
	assert_int_equal(count_run(65530, 20), 0);
	struct source_reception block = report();
	assert_int_equal(block.ssrc, 7);
	assert_int_equal(block.extended_seq, 0x10000 + 13);
	assert_int_equal(block.cumulative_lost, 0);
	assert_int_equal(block.fraction_lost, 0);
}

static void each_report_has_the_fraction_since_the_last(void **state)
{
	reception_start(&reception, 7, 100);
	count_run(100, 90);
	count_run(200, 10); // ten are missing between
	struct source_reception block = report();
	assert_int_equal(block.extended_seq, 209);
	assert_int_equal(block.cumulative_lost, 10);
	assert_int_equal(block.fraction_lost, 10 * 256 / 110);
	count_run(210, 50);
	block = report();
	assert_int_equal(block.cumulative_lost, 10);
	assert_int_equal(block.fraction_lost, 0);
	count_run(261, 3); // one
	block = report();
	assert_int_equal(block.cumulative_lost, 11);
	assert_int_equal(block.fraction_lost, 256 / 4);
	block = report(); // nothing came
	assert_int_equal(block.fraction_lost, 0);
}

static void what_comes_again_is_less_than_nothing_lost(void **state)
{
	reception_start(&reception, 7, 100);
	count_run(100, 10);
	assert_int_equal(count_run(105, 3), 3); // behind, and counted
	struct source_reception block = report();
	assert_int_equal(block.extended_seq, 109);
	assert_int_equal(block.cumulative_lost, -3);
	assert_int_equal(block.fraction_lost, 0);
}

static void reordering_is_no_loss(void **state)
{
	reception_start(&reception, 7, 65534);
	count_run(65534, 1);
	assert_false(reception_count(&reception, 0)); // over the wrap
	assert_true(reception_count(&reception, 65535));
	assert_false(reception_count(&reception, 1));
	struct source_reception block = report();
	assert_int_equal(block.extended_seq, 0x10001);
	assert_int_equal(block.cumulative_lost, 0);
}

static void another_numbering_needs_two_in_a_row(void **state)
{
	static const uint16_t jumps[] = {100 + 9 + 5000, 65536 - 400, 65536 - 30000 + 109};
	for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
		reception_start(&reception, 7, 100);
		count_run(100, 10);
		reception_count(&reception, jumps[i]); // alone: anything may have a wrong number
		count_run(110, 5);
		struct source_reception block = report();
		assert_int_equal(block.extended_seq, 114);
		assert_int_equal(block.cumulative_lost, 0);
		assert_int_equal(count_run(jumps[i], 8), 0);
		block = report();
		assert_int_equal(block.extended_seq, (uint16_t)(jumps[i] + 7));
		assert_int_equal(block.cumulative_lost, 0); // counted from the second on
		assert_int_equal(block.fraction_lost, 0);
		count_run((uint16_t)(jumps[i] + 9), 1);
		assert_int_equal(report().cumulative_lost, 1);
	}
}

// RFC 3550 A.8: J += (|D| - J) / 16, in ticks.
static void jitter_by_hand(void **state)
{
	reception_start(&reception, 7, 0);
	for (uint32_t n = 0; n < 4; n++) // every second one is 10 ms late: |D| = 480 each time
		reception_arrived(&reception, n * 960, 1000 * MS + n * 20 * MS + n % 2 * 10 * MS);
	double expected = 0;
	for (unsigned i = 0; i < 3; i++)
		expected += (480 - expected) / 16;
	assert_int_equal(report().jitter, (uint32_t)expected); // 30, 58.1, 84.5
	assert_int_equal((uint32_t)expected, 84);
	double before = reception.jitter_ticks;
	reception_arrived(&reception, 5 * 960, 1000 * MS + 3600 * 1000 * MS); // clocks that jump are not jitter
	assert_true(reception.jitter_ticks == before);
}

static void the_last_sender_report_and_its_age(void **state)
{
	struct source_reception block;
	reception_start(&reception, 7, 0);
	count_run(0, 1);
	assert_int_equal(report().last_sr, 0);
	assert_int_equal(report().delay_since_sr, 0);
	assert_true(sender_clock_set(&reception.clock, NTP_OF(0x1234, 0xabcd0000u), 960, 5000 * MS));
	assert_true(reception_report(&reception, 6500 * MS, &block));
	assert_int_equal(block.last_sr, (uint32_t)(NTP_OF(0x1234, 0xabcd0000u) >> 16));
	assert_int_equal(block.delay_since_sr, 3 * 65536 / 2);
	int64_t us;
	assert_true(sender_clock_us(&reception.clock, 960 + 48000, &us)); // a second later
	assert_int_equal(us, (0x1234 + 1) * 1000000ll + (0xabcd * 1000000ll >> 16));
	assert_true(sender_clock_us(&reception.clock, 960 - 48000, &us)); // and before
	assert_int_equal(us, (0x1234 - 1) * 1000000ll + (0xabcd * 1000000ll >> 16));
	assert_false(sender_clock_set(&reception.clock, 5ull << 32, 0, 0)); // 1900
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_reported_before_anything_came),
		cmocka_unit_test(numbers_go_on_over_the_wrap),
		cmocka_unit_test(each_report_has_the_fraction_since_the_last),
		cmocka_unit_test(what_comes_again_is_less_than_nothing_lost),
		cmocka_unit_test(reordering_is_no_loss),
		cmocka_unit_test(another_numbering_needs_two_in_a_row),
		cmocka_unit_test(jitter_by_hand),
		cmocka_unit_test(the_last_sender_report_and_its_age),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
