// SPDX-License-Identifier: ISC
//
// soniox_packets.c - Opus packets of the track on the user's time line.
//
// Runs on: control.

#include "controlplane/soniox_packets.h"

#include "controlplane/ogg_opus.h"

#define TICKS_PER_SAMPLE 3

bool soniox_packets_take(struct soniox_packets *packets, struct soniox_replay *replay, const struct pcm_frame *frame)
{
	const uint8_t *payload = (const uint8_t *)frame->samples;
	int ticks = ogg_opus_ticks(payload, frame->bytes);
	if (ticks < 0)
		return false;
	uint32_t timestamp = (uint32_t)frame->media_us; // RTP time, not microseconds
	int32_t gap = (int32_t)(timestamp - packets->next);
	bool joined = packets->started && (frame->flags & PCM_F_FENCE) == 0;
	if (joined && gap > 0 && gap <= SONIOX_GAP_MAX_MS * OGG_OPUS_TICKS_PER_MS) {
		uint32_t samples = (uint32_t)gap / TICKS_PER_SAMPLE;
		int64_t began_us = frame->capture_us - (int64_t)samples * 1000 / SONIOX_SAMPLES_PER_MS;
		soniox_replay_put(replay, SONIOX_OGG_OPUS, samples, began_us, NULL, 0);
	}
	packets->started = true;
	packets->next = timestamp + (uint32_t)ticks;
	soniox_replay_put(replay, SONIOX_OGG_OPUS, (uint32_t)ticks / TICKS_PER_SAMPLE, frame->capture_us, payload, frame->bytes);
	return true;
}
