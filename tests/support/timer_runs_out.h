// SPDX-License-Identifier: ISC
//
// timer_runs_out.h - a timer of control fires because the test says so, not because time has passed.
//
// Include after cmocka.h. Runs on: control (played by the test).
#pragma once

#include "controlplane/control.h"

static void timer_runs_out(struct control_timer *timer)
{
	ENTERS(control_role);
	assert_true(control_timer_armed(timer));
	void (*fn)(void *) = timer->fn;
	void *arg = timer->arg;
	control_timer_stop(timer);
	fn(arg);
}
