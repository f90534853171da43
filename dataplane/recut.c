// SPDX-License-Identifier: ISC
//
// recut.c - any run of samples becomes 20 ms cells in the ring.
//
// Runs on: worker.   Upstream: source.   Downstream: pcm.

#include "dataplane/recut.h"

#include "dataplane/hot.h"

static void emit(struct recut *recut, struct pcm *pcm, const int16_t *samples) RUNS_ON(worker_role)
{
	recut->frame.bytes = (uint16_t)(recut->samples * 2);
	pcm_write_cell(pcm, &recut->frame, samples);
	recut->samples = 0;
	recut->frame.flags = 0;
	recut->cells++;
}

void recut_run(struct recut *recut, struct pcm *pcm, const struct recut_run *run)
{
	for (unsigned done = 0; done < run->count;) {
		unsigned count = MIN_OF(run->count - done, PCM_CELL_SAMPLES - recut->samples);
		if (recut->samples == 0) {
			recut->frame.media_us = recut->media_us;
			recut->frame.capture_us = run->capture_us + (int64_t)done * 1000000 / PCM_RATE_HZ;
			recut->began_ns = run->arrival_ns;
		}
		recut->frame.flags |= run->flags;
		recut->frame.generation = run->generation;
		recut->frame.arrival_ns = run->arrival_ns;
		const int16_t *from = run->samples != NULL ? run->samples + done : NULL;
		recut->media_us += (int64_t)count * 1000000 / PCM_RATE_HZ;
		done += count;
		if (LIKELY(count == PCM_CELL_SAMPLES)) { // a whole cell goes straight into the ring
			recut->samples = count;
			emit(recut, pcm, from);
			continue;
		}
		int16_t *to = recut->frame.samples + recut->samples;
		if (from != NULL)
			memcpy(to, from, count * sizeof(int16_t));
		else
			memset(to, 0, count * sizeof(int16_t));
		recut->samples += count;
		if (recut->samples == PCM_CELL_SAMPLES)
			emit(recut, pcm, recut->frame.samples);
	}
}

void recut_flush(struct recut *recut, struct pcm *pcm)
{
	if (recut->samples > 0)
		emit(recut, pcm, recut->frame.samples);
}
