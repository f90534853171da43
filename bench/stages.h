// SPDX-License-Identifier: ISC
//
// stages.h - where the cycles of a packet go: the linker puts a wrapper around each function named here (stages.c).
//
// Cycles are charged to the innermost stage. What the wrappers themselves cost is measured and taken off.
#pragma once

#include "bench/bench.h"

enum stage {
	STAGE_OUTSIDE, // not counted
	STAGE_MBUF,    // taking packet buffers from the pool, as a driver does that refills its ring
	STAGE_RX,
	STAGE_HEADERS, // ingress itself: eth, ip4, udp, classify, mbuf trimming and freeing
	STAGE_LOOKUP,
	STAGE_SRTP,
	STAGE_RTP,
	STAGE_SOURCE, // the source itself: reception statistics, time line
	STAGE_RED,
	STAGE_JITTER,
	STAGE_OPUS,
	STAGE_RECUT,
	STAGE_PCM,
	STAGE_TIMER, // after every input: cells counted, deadlines
	STAGE_COUNT,
};

extern bool stages_on;      // otherwise a wrapper is a call and a branch
extern bool stages_no_opus; // opus_decode returns at once
extern void (*stages_on_cell)(void); // after each cell, NULL: nothing

const char *stage_name(enum stage stage);
void stages_calibrate(void);
void stages_reset(void);
enum stage stage_enter(enum stage stage); // returns the one that was left
void stage_leave(enum stage back_to);
double stage_cycles(enum stage stage); // since the reset, without the wrappers
