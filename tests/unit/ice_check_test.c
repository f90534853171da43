// SPDX-License-Identifier: ISC
//
// ice_check_test.c - the check list alone: whose turn it is, who is nominated, what late and wrong answers change.
//
// Runs on: any.
#include "dataplane/ice_check.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define MS UINT64_C(1000000)

struct bench {
	struct check_list list;
	uint32_t nomination;
	uint8_t id;
};

static struct endpoint remote(unsigned i)
{
	return (struct endpoint){.ip = 0x0a000001, .port = (uint16_t)(1000 + i)};
}

// Sends all that is due; returns how many.
static unsigned send_due(struct bench *bench, uint64_t now_ns)
{
	struct ice_pair *pair;
	unsigned sent = 0;
	while ((pair = check_list_due(&bench->list, now_ns)) != NULL) {
		uint8_t id[STUN_TRANSACTION_BYTES] = {++bench->id};
		assert_non_null(check_list_send(&bench->list, pair, id, &bench->nomination, now_ns));
		assert_true(++sent <= ICE_PAIRS_MAX);
	}
	uint64_t next_ns = check_list_next_ns(&bench->list);
	assert_true(next_ns == 0 || next_ns > now_ns);
	return sent;
}

static struct ice_transaction *newest(struct bench *bench, unsigned i)
{
	struct ice_pair *pair = check_list_find(&bench->list, remote(i));
	assert_non_null(pair);
	return &pair->transactions[pair->newest];
}

static bool succeed(struct bench *bench, unsigned i, struct ice_transaction *transaction, uint64_t now_ns)
{
	return check_list_succeed(&bench->list, check_list_find(&bench->list, remote(i)), transaction, now_ns);
}

static struct bench bench_of(unsigned count)
{
	struct bench bench = {0};
	check_list_init(&bench.list);
	for (unsigned i = 0; i < count; i++) // 0 is the best
		assert_int_equal(check_list_add(&bench.list, remote(i), 1000 - i, false), 0);
	return bench;
}

static void test_pace_and_first_repetition(void **state)
{
	struct bench bench = bench_of(ICE_REMOTES_MAX);
	for (unsigned i = 0; i < ICE_REMOTES_MAX; i++) {
		assert_int_equal(send_due(&bench, (100 + 20 * i) * MS), 1);
		assert_int_equal(send_due(&bench, (119 + 20 * i) * MS), 0);
		assert_int_equal(newest(&bench, i)->sends, 1);
		assert_int_equal(newest(&bench, i)->nomination, i == 0); // only the best one
	}
	// Sixteen at once: repeated every 320 ms at first, so that the list as a whole keeps its pace.
	assert_int_equal(newest(&bench, 0)->sends, 1);
	assert_int_equal(send_due(&bench, 420 * MS), 1);
	assert_int_equal(newest(&bench, 0)->sends, 2);
}

// A worse pair that answers first does not win against a better one that is about to.
static void test_better_one_is_waited_for(void **state)
{
	struct bench bench = bench_of(2);
	send_due(&bench, 100 * MS);
	send_due(&bench, 120 * MS);
	assert_false(succeed(&bench, 1, newest(&bench, 1), 121 * MS));
	assert_true(check_list_next_ns(&bench.list) <= 171 * MS);
	send_due(&bench, 165 * MS);
	assert_int_equal(bench.nomination, 1);
	assert_true(succeed(&bench, 0, newest(&bench, 0), 166 * MS));
	assert_int_equal(bench.list.selected, 0);
	assert_int_equal(send_due(&bench, 1000 * MS), 0);
	assert_true(check_list_find(&bench.list, remote(1))->valid);
}

// The higher nomination value counts, in whatever order the answers come.
static void test_late_nomination(void **state)
{
	for (int order = 0; order < 2; order++) {
		struct bench bench = bench_of(2);
		send_due(&bench, 100 * MS);
		send_due(&bench, 120 * MS);
		struct ice_transaction *first = newest(&bench, 0);
		succeed(&bench, 1, newest(&bench, 1), 121 * MS);
		send_due(&bench, 180 * MS);
		struct ice_transaction *second = newest(&bench, 1);
		assert_int_equal(first->nomination, 1);
		assert_int_equal(second->nomination, 2);
		if (order == 0) {
			assert_true(succeed(&bench, 1, second, 181 * MS));
			assert_false(succeed(&bench, 0, first, 182 * MS));
		} else {
			assert_true(succeed(&bench, 0, first, 181 * MS));
			assert_true(succeed(&bench, 1, second, 182 * MS));
		}
		assert_int_equal(bench.list.selected, 1);
		assert_true(check_list_find(&bench.list, remote(0))->valid);
	}
}

// Answers plain checks, never the nomination: after a second the next one is asked.
static void test_nominee_that_keeps_silent(void **state)
{
	struct bench bench = bench_of(3);
	for (uint64_t t = 100; t < 160; t += 20)
		send_due(&bench, t * MS);
	succeed(&bench, 1, newest(&bench, 1), 150 * MS);
	succeed(&bench, 2, newest(&bench, 2), 150 * MS);
	for (uint64_t t = 160; t < 1200; t++)
		send_due(&bench, t * MS);
	assert_int_equal(newest(&bench, 1)->nomination, 2);
	assert_int_equal(newest(&bench, 2)->nomination, 0);
	for (uint64_t t = 1200; t < 1400; t++)
		send_due(&bench, t * MS);
	assert_int_equal(newest(&bench, 2)->nomination, 3);
	assert_true(succeed(&bench, 2, newest(&bench, 2), 1400 * MS));
	assert_int_equal(bench.list.selected, 2);
}

static void test_refused(void **state)
{
	struct bench bench = bench_of(2);
	send_due(&bench, 100 * MS);
	struct ice_pair *pair = check_list_find(&bench.list, remote(0));
	struct ice_transaction *transaction = newest(&bench, 0);
	check_list_refuse(&bench.list, pair, transaction, false, 101 * MS);
	assert_int_equal(pair->state, ICE_PAIR_FAILED);
	// The next one gets the nomination that died with it.
	assert_int_equal(send_due(&bench, 120 * MS), 1);
	assert_int_equal(newest(&bench, 1)->nomination, 2);
	assert_int_equal(send_due(&bench, 150 * MS), 0);
	// The peer's own check gives it another chance, as a new transaction.
	check_list_trigger(&bench.list, pair, 151 * MS);
	assert_int_equal(send_due(&bench, 151 * MS), 1);
	assert_true(newest(&bench, 0)->open);
	assert_int_equal(newest(&bench, 0)->sends, 1);
	assert_ptr_not_equal(newest(&bench, 0), transaction);
	// "Again" is a new transaction too, but not at once.
	transaction = newest(&bench, 1);
	check_list_refuse(&bench.list, check_list_find(&bench.list, remote(1)), transaction, true, 152 * MS);
	assert_int_equal(send_due(&bench, 153 * MS), 0);
	assert_int_equal(send_due(&bench, 202 * MS), 1);
	assert_ptr_not_equal(newest(&bench, 1), transaction);
}

static void test_trigger_just_after_sending(void **state)
{
	struct bench bench = bench_of(1);
	struct ice_pair *pair = check_list_find(&bench.list, remote(0));
	send_due(&bench, 100 * MS);
	check_list_trigger(&bench.list, pair, 110 * MS);
	assert_int_equal(send_due(&bench, 110 * MS), 0);
	check_list_trigger(&bench.list, pair, 121 * MS);
	assert_int_equal(send_due(&bench, 121 * MS), 1);
	assert_int_equal(newest(&bench, 0)->sends, 2); // the same question once more
}

static void test_places(void **state)
{
	struct bench bench = bench_of(0);
	for (unsigned i = 0; i < ICE_REFLEXIVE_MAX; i++)
		assert_int_equal(check_list_add(&bench.list, remote(i), 1, true), 0);
	assert_int_equal(check_list_add(&bench.list, remote(50), 1, true), -ENOSPC);
	assert_int_equal(check_list_add(&bench.list, remote(0), 1, true), 0);
	// Named by signalling: an ordinary one from now on, its place is free again.
	assert_int_equal(check_list_add(&bench.list, remote(0), 2, false), 0);
	assert_int_equal(check_list_add(&bench.list, remote(50), 1, true), 0);
	assert_int_equal(check_list_add(&bench.list, remote(51), 1, true), -ENOSPC);
	for (unsigned i = 1; i < ICE_REMOTES_MAX; i++)
		assert_int_equal(check_list_add(&bench.list, remote(100 + i), 1, false), 0);
	assert_int_equal(check_list_add(&bench.list, remote(200), 1, false), -ENOSPC);
	assert_int_equal(bench.list.count, ICE_PAIRS_MAX);
	assert_int_equal(check_list_add(&bench.list, remote(101), 1, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace_and_first_repetition),
		cmocka_unit_test(test_better_one_is_waited_for),
		cmocka_unit_test(test_late_nomination),
		cmocka_unit_test(test_nominee_that_keeps_silent),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_trigger_just_after_sending),
		cmocka_unit_test(test_places),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
