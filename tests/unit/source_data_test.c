// SPDX-License-Identifier: ISC
//
// source_data_test.c - a source fed by data packets, while its slot changes legs: every frame once, and only who is named is heard.
//
// Runs on: worker (played by the test).

#include "tests/support/source_world.h"

static void data_comes_once_from_two_legs(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed < 40; seed++) {
		struct bench bench;
		ENTERS(worker_role);
		srand(seed);
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		int next_old = 0, next_new = 0, count = 300;
		// The two legs run apart by up to 8 packets, one or the other ahead.
		while (next_old < 200 || next_new < count) {
			int published = MIN_OF((int)((bench.now_ns - 1000 * MS) / (20 * MS)), count);
			bool both = next_new >= 60 && next_new < 150;
			if (next_old == 50 && next_new == 0) {
				next_new = 50;
				hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
			}
			if (next_new > 0 && next_new < published && rand() % 3 != 0) {
				give_data(&bench, &same_clock, next_new++);
				if (next_new == 70)
					hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			}
			if (next_old < MIN_OF(published, 200) && (rand() % 3 != 0 || both)) {
				if (next_old == 150 && next_new > 150)
					hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
				give_data(&bench, &old_copy, next_old++);
			}
			pass(&bench, 2);
		}
		pass(&bench, 200);
		collect(&bench, &heard);
		for (int i = 0; i < count; i++)
			assert_int_equal(heard.samples[i * 320 + 5], (int16_t)(i % 30 == 7 ? 0 : i * 300 + 5));
		assert_int_equal(heard.count, count * 320);
		struct source_stats stats;
		source_stats(bench.source, &stats);
		assert_int_equal(stats.data_lost + stats.data_late + stats.data_resets + stats.swap.doubled, 0);
		assert_true(stats.copies >= 2);
		teardown(&bench);
	}
}

static void an_app_that_starts_over_is_no_copy(void **state)
{
	(void)state;
	struct bench bench;
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < 120; i++) {
		give_data(&bench, &old_copy, i);
		pass(&bench, 20);
	}
	hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
	for (int i = 0; i < 50; i++) { // both legs bring the new numbering
		give_data(&bench, &old_copy, i);
		give_data(&bench, &same_clock, i);
		pass(&bench, 20);
	}
	collect(&bench, &heard);
	assert_int_equal(heard.count, 170 * 320);
	struct source_stats stats;
	source_stats(bench.source, &stats);
	assert_int_equal(stats.data_resets, 1);
	teardown(&bench);
}

static void who_is_not_named_is_not_heard(void **state)
{
	(void)state;
	struct bench bench;
	ENTERS(worker_role);
	speak(-1, -1);
	setup(&bench);
	assert_int_equal(give(&bench, &old_copy, 0, false), DROP_STALE_GENERATION);
	hear(&bench, HEARING_ONE, OLD, 5, 0, 0, false);
	assert_int_equal(give(&bench, &same_clock, 0, false), DROP_STALE_GENERATION);
	assert_int_equal(give_data(&bench, &same_clock, 0), DROP_STALE_GENERATION);
	struct hearing hearing = {.mode = HEARING_ONE, .main = {OLD, 6, 6}};
	source_hear(bench.source, &hearing, bench.now_ns);
	assert_int_equal(give_data(&bench, &old_copy, 0), DROP_STALE_GENERATION); // of the voice before
	hear(&bench, HEARING_NOBODY, 0, 0, 0, 0, false);
	assert_int_equal(give(&bench, &old_copy, 0, false), DROP_STALE_GENERATION);
	collect(&bench, &heard);
	assert_int_equal(heard.cells, 0);
	teardown(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_comes_once_from_two_legs),
		cmocka_unit_test(an_app_that_starts_over_is_no_copy),
		cmocka_unit_test(who_is_not_named_is_not_heard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
