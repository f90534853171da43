// SPDX-License-Identifier: ISC
//
// segment.h - finds speech between pauses by loudness alone, so that the same samples always give the same segments, however
// they were cut and whatever came before the pause. A segment can be repeated exactly: whoever sends the audio again from a
// segment's end (or from anywhere in the silence the decoder has let go) gets the same next segment, sample for sample.
//
// Runs on: any; the owner serialises.
#pragma once

#include "dataplane/base.h"

#define SEGMENT_CELL 320 // samples: 20 ms
#define SEGMENT_CELL_MS 20
#define SEGMENT_LEAD 10  // cells of silence before speech that belong to it
#define SEGMENT_TAIL 15  // and after it
#define SEGMENT_PAUSE 25 // quiet cells that end a segment: lead and tail, so both segments around a pause get theirs

struct segment_ops {
	void (*begin)(void *arg, uint64_t first_cell);
	void (*cell)(void *arg, const int16_t *samples, size_t count); // count: SEGMENT_CELL, fewer at a forced end
	void (*end)(void *arg, bool pause); // pause: because speech paused
};

struct segmenter {
	const struct segment_ops *ops;
	void *arg;
	bool speaking;
	unsigned quiet;                // cells in a row
	uint64_t cells, first, let_go; // seen; where the segment began; before this nothing is needed any more
	int16_t rest[SEGMENT_CELL];    // of a cell
	size_t rest_samples;
	int16_t recent[SEGMENT_LEAD][SEGMENT_CELL]; // quiet cells that may belong to the next segment
	unsigned recent_count;
};

void segment_pcm(struct segmenter *segmenter, const int16_t *samples, size_t count);

// Ends the segment here, whatever is heard.
void segment_cut(struct segmenter *segmenter);
