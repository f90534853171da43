// SPDX-License-Identifier: ISC
//
// alloc_control.h - alloc_failure.h for control and the threads that it starts: the resolver's and the WebSockets'.
//
// Include after cmocka.h and alloc_failure.h. Runs on: control (the test).
#pragma once

#include "controlplane/control.h"
#include "controlplane/resolve.h"
#include "controlplane/ws.h"
#include "tests/support/alloc_failure.h"

#define ALLOC_WARM_TIMERS 16

static void alloc_no_event(void *arg)
{
}

// Everything started, and nothing fails yet.
static void alloc_control_open(void) RUNS_ON(control_role);
static void alloc_control_open(void)
{
	static struct control_timer warm[ALLOC_WARM_TIMERS];
	struct err err = {""};
	alloc_begin(0, 0);
	alloc_armed = false; // control is one of the threads that fail
	assert_int_equal(control_init(&err), 0);
	// The heap of timers has its room: without it the program would stop by itself.
	for (unsigned i = 0; i < ALLOC_WARM_TIMERS; i++)
		control_timer_start(&warm[i], 20000, alloc_no_event, NULL);
	for (unsigned i = 0; i < ALLOC_WARM_TIMERS; i++)
		control_timer_stop(&warm[i]);
	assert_int_equal(resolve_init(&err), 0);
	assert_int_equal(ws_init(&err), 0);
}

static void alloc_control_arm(unsigned long at, unsigned long every)
{
	alloc_count = alloc_failed = 0;
	alloc_fail_at = at;
	alloc_fail_every = every;
}

static void alloc_control_close(unsigned long at, unsigned long every) RUNS_ON(control_role);
static void alloc_control_close(unsigned long at, unsigned long every)
{
	ws_finish();
	resolve_finish();
	control_finish();
	if (alloc_live_count == 0)
		return;
	alloc_print_left();
	fail_msg("%lu allocations are left, failing %lu, every %lu", alloc_live_count, at, every);
}

// run: all of it once, true when something failed in it. At least so many allocations are the program's own.
static void alloc_control_failures(const char *name, bool (*run)(unsigned long at, unsigned long every), unsigned long least)
{
	unsigned long at = 1;
	assert_false(run(0, 0));
	unsigned long total = alloc_count;
	while (run(at, 0))
		at++;
	for (unsigned every = 1; every <= ALLOC_EVERY_MAX; every++)
		run(0, every);
	assert_true(at > least);
	print_message("%s: %lu allocations, %lu runs with failures\n", name, total, at - 1 + ALLOC_EVERY_MAX);
}
