// SPDX-License-Identifier: ISC
//
// recut.h - any run of samples becomes 20 ms cells in the ring; a remainder that waits too long becomes a shorter one.
//
// Runs on: worker.
#pragma once

#include "dataplane/pcm.h"

struct recut {
	unsigned samples;       // in the frame
	uint64_t began_ns;      // its first sample arrived then
	int64_t media_us;       // of the next sample
	uint64_t cells;
	struct pcm_frame frame; // being filled
};

// What is known of a run of samples.
struct recut_run {
	const int16_t *samples; // NULL: silence
	unsigned count;
	uint16_t flags;
	uint32_t generation;
	int64_t capture_us; // of the first sample
	uint64_t arrival_ns;
};

void recut_run(struct recut *recut, struct pcm *pcm, const struct recut_run *run) RUNS_ON(worker_role);
void recut_flush(struct recut *recut, struct pcm *pcm) RUNS_ON(worker_role); // the remainder, if any
