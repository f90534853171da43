// SPDX-License-Identifier: ISC
//
// control.h - the one event loop: timers, file descriptors, and work posted by other threads. Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/roles.h"

int control_init(struct err *err);                // before any thread posts
void control_run(void);                           // the control thread; returns after control_stop
void control_stop(void);                          // any thread, also a signal handler's
void control_finish(void);                        // runs what is still queued, frees

// Run fn(arg) on the control thread, in order per posting thread. Embedded in its owner, so that posting needs no memory and cannot
// fail; not posted again before fn is called. fn may post it again, or free the owner. Never blocks. Any thread but workers.
struct control_work {
	struct control_work *next;
	void (*fn)(void *arg);
	void *arg;
};
void control_post(struct control_work *work, void (*fn)(void *arg), void *arg);

// One-shot timer, embedded in its owner. Arming an armed timer moves it. fn may re-arm or free the owner.
struct control_timer {
	void (*fn)(void *arg);
	void *arg;
	uint64_t deadline_ns; // clock_mono_ns; 0: not armed
	size_t heap_index;
};
void control_timer_start(struct control_timer *timer, uint64_t delay_ms, void (*fn)(void *), void *arg)
	RUNS_ON(control_role);
void control_timer_stop(struct control_timer *timer) RUNS_ON(control_role);
static inline bool control_timer_armed(const struct control_timer *timer)
{
	return timer->deadline_ns != 0;
}

// Call fn(arg) whenever fd is readable. Level-triggered.
int control_watch(int fd, void (*fn)(void *arg), void *arg) RUNS_ON(control_role);
void control_unwatch(int fd) RUNS_ON(control_role);
// Longest time one callback took since start, for `relayctl status`. Any thread.
uint64_t control_lag_max_us(void);
