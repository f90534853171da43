// SPDX-License-Identifier: ISC
//
// tick.h - the stand-in's clock: milliseconds that can run fast or jump, so that a test of 20 s does not take 20 s.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define TICK_NEVER UINT64_MAX

void tick_init(double speed);

// Stand-in time since the start.
uint64_t tick_ms(void);

// From now on the clock runs at this many times real time (0: it stands still and only jumps).
void tick_set_speed(double speed);

// Jumps ahead.
void tick_advance(uint64_t ms);

double tick_speed(void);

// How long to poll, in real milliseconds, until the clock shows `due`; -1 when it never will by itself.
int tick_poll_ms(uint64_t due);
