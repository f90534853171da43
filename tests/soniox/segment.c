// SPDX-License-Identifier: ISC
//
// segment.c - finds speech between pauses by loudness alone.
//
// Runs on: any; the owner serialises.
#include "tests/soniox/segment.h"

#define LOUD_RMS 300     // quieter is silence; read speech is at 500 to 8000, its room at 40 to 250
#define LONG_CELLS 400   // after 8 s of speech a short gap will do
#define LONG_PAUSE 5     // cells
#define LONGEST_CELLS 700 // after 14 s none is needed

static bool is_loud(const int16_t *samples)
{
	uint64_t sum = 0;
	for (int i = 0; i < SEGMENT_CELL; i++)
		sum += (uint64_t)((int32_t)samples[i] * samples[i]);
	return sum > (uint64_t)LOUD_RMS * LOUD_RMS * SEGMENT_CELL;
}

static void give_recent(struct segmenter *s)
{
	for (unsigned i = 0; i < s->recent_count; i++)
		s->ops->cell(s->arg, s->recent[i], SEGMENT_CELL);
	s->recent_count = 0;
}

static void keep_recent(struct segmenter *s, const int16_t *samples)
{
	if (s->recent_count == SEGMENT_LEAD)
		memmove(s->recent[0], s->recent[1], sizeof(s->recent) - sizeof(s->recent[0]));
	else
		s->recent_count++;
	memcpy(s->recent[s->recent_count - 1], samples, sizeof(s->recent[0]));
}

static void end(struct segmenter *s, bool pause)
{
	s->ops->end(s->arg, pause);
	s->speaking = false;
	s->quiet = 0;
	s->let_go = s->cells - s->recent_count;
}

static void on_cell(struct segmenter *s, const int16_t *samples)
{
	bool loud = is_loud(samples);
	s->cells++;
	if (!s->speaking && !loud) {
		keep_recent(s, samples);
		s->let_go = s->cells - s->recent_count;
		return;
	}
	if (!s->speaking) {
		s->speaking = true;
		s->quiet = 0;
		s->first = s->cells - 1 - s->recent_count;
		s->ops->begin(s->arg, s->first);
	}
	s->quiet = loud ? 0 : s->quiet + 1;
	if (s->quiet > SEGMENT_TAIL) {
		keep_recent(s, samples);
	} else {
		give_recent(s);
		s->ops->cell(s->arg, samples, SEGMENT_CELL);
	}
	uint64_t length = s->cells - s->first;
	if (s->quiet >= SEGMENT_PAUSE)
		end(s, true);
	else if (length >= LONGEST_CELLS || (length >= LONG_CELLS && s->quiet >= LONG_PAUSE && s->recent_count == 0))
		end(s, false);
}

void segment_pcm(struct segmenter *s, const int16_t *samples, size_t count)
{
	while (count > 0) {
		size_t take = MIN_OF(count, SEGMENT_CELL - s->rest_samples);
		memcpy(s->rest + s->rest_samples, samples, take * sizeof(*samples));
		s->rest_samples += take;
		samples += take;
		count -= take;
		if (s->rest_samples == SEGMENT_CELL) {
			s->rest_samples = 0;
			on_cell(s, s->rest);
		}
	}
}

void segment_cut(struct segmenter *s)
{
	if (s->speaking) {
		give_recent(s);
		if (s->rest_samples > 0)
			s->ops->cell(s->arg, s->rest, s->rest_samples);
	}
	// The grid goes on: the cell that was begun keeps its place, but what was given of it is not given again.
	memset(s->rest, 0, sizeof(s->rest));
	s->recent_count = 0;
	if (s->speaking)
		end(s, false);
	s->let_go = s->cells;
}
