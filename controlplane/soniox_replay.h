// SPDX-License-Identifier: ISC
//
// soniox_replay.h - the last seconds of one user's audio as Soniox gets it, so that a new connection can have it again.
//
// The slot's ring is not enough: it is 10 s by default and may be 0.1 s, Soniox' finals can be later than that, and the Opus
// way leaves no PCM in it. So what a stream takes off the ring lives here too: `soniox.replay` of it, per user that has Soniox.
// Positions are samples at 16 kHz on the user's time line of audio, which no reconnect restarts.
//
// Runs on: control.
#pragma once

#include "dataplane/base.h"

#define SONIOX_SAMPLES_PER_MS 16

struct soniox_replay;

enum soniox_audio { SONIOX_PCM, SONIOX_OGG_OPUS };

// A frame of PCM, or an Opus packet; of this bytes 0 is audio that never arrived, of this length.
struct soniox_unit {
	enum soniox_audio audio;
	uint64_t start;     // position of its first sample
	uint32_t samples;   // at 16 kHz
	uint32_t bytes;
	int64_t capture_us; // Unix us
	const uint8_t *payload; // valid until the next put
};

struct soniox_replay *soniox_replay_create(uint32_t limit_ms); // NULL: out of memory
void soniox_replay_free(struct soniox_replay *replay);         // takes NULL
// Appends behind the last; the oldest give way. bytes is at most 2048.
void soniox_replay_put(struct soniox_replay *replay, enum soniox_audio audio, uint32_t samples, int64_t capture_us,
	const void *payload, size_t bytes);
uint64_t soniox_replay_head(const struct soniox_replay *replay); // position behind the last sample
uint64_t soniox_replay_tail(const struct soniox_replay *replay); // position of the oldest sample still here
// The unit that holds the sample at position, or the oldest one when that is gone. False: nothing there yet.
bool soniox_replay_get(const struct soniox_replay *replay, uint64_t position, struct soniox_unit *ret_unit);
// When the sample at position was captured (Unix us); an estimate when it is not here any more. 0: nothing was ever put.
int64_t soniox_replay_capture_us(const struct soniox_replay *replay, uint64_t position);
