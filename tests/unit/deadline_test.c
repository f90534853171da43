// SPDX-License-Identifier: ISC
//
// deadline_test.c - timers come due in order, whatever was set, moved and cleared before.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "dataplane/deadline.h"

#define COUNT 500

static void in_order(void **state)
{
	(void)state;
	struct deadline_heap heap = {0};
	struct deadline items[COUNT] = {{0}};
	unsigned seed = 7, set = 0;
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(deadline_set(&heap, &items[i], 1 + (uint64_t)rand_r(&seed) % 1000), 0);
	for (unsigned i = 0; i < COUNT; i += 3)
		deadline_clear(&heap, &items[i]);
	for (unsigned i = 1; i < COUNT; i += 3)
		deadline_set(&heap, &items[i], 1 + (uint64_t)rand_r(&seed) % 1000);
	for (unsigned i = 0; i < COUNT; i++)
		set += items[i].place != 0;
	uint64_t last = 0;
	unsigned taken = 0;
	for (struct deadline *due; (due = deadline_due(&heap, 2000)) != NULL; taken++) {
		assert_true(due->at_ns >= last);
		assert_int_equal(due->place, 0);
		last = due->at_ns;
	}
	assert_int_equal(taken, set);
	assert_int_equal(deadline_next(&heap), 0);
	deadline_finish(&heap);
}

// What was reserved is enough: no set moves the heap, in whatever order they come and go.
static void reserved_room_is_enough(void **state)
{
	(void)state;
	struct deadline_heap heap = {0};
	struct deadline items[COUNT] = {{0}};
	assert_int_equal(deadline_reserve(&heap, COUNT), 0);
	struct deadline **room = heap.items;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < COUNT; i++)
			assert_int_equal(deadline_set(&heap, &items[i], 1 + (i * 7919 + round) % 1000), 0);
		assert_int_equal(deadline_reserve(&heap, 10), 0); // never less
		assert_ptr_equal(heap.items, room);
		assert_int_equal(heap.count, COUNT);
		assert_int_equal(heap.room, COUNT);
		for (unsigned i = 0; i < COUNT / 2; i++)
			assert_non_null(deadline_due(&heap, 2000));
	}
	deadline_finish(&heap);
}

static void not_before_time(void **state)
{
	(void)state;
	struct deadline_heap heap = {0};
	struct deadline a = {0}, b = {0};
	deadline_set(&heap, &a, 10);
	deadline_set(&heap, &b, 20);
	assert_null(deadline_due(&heap, 9));
	assert_ptr_equal(deadline_due(&heap, 10), &a);
	assert_null(deadline_due(&heap, 19));
	assert_int_equal(deadline_next(&heap), 20);
	deadline_set(&heap, &b, 0); // 0 removes
	assert_int_equal(deadline_next(&heap), 0);
	deadline_finish(&heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order), cmocka_unit_test(reserved_room_is_enough), cmocka_unit_test(not_before_time)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
