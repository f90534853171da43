// SPDX-License-Identifier: ISC
//
// soniox_replay.c - the last seconds of one user's audio as Soniox gets it: units in a ring, their bytes in a slab.
//
// Runs on: control.

#include "controlplane/soniox_replay.h"

#include <stdlib.h>

#define UNIT_BYTES_MAX 2048
#define UNIT_MS_LEAST 5 // on average; shorter units shorten the replay
#define PCM_BYTES_PER_MS 32

struct entry {
	uint64_t start;
	uint32_t samples, bytes, offset;
	enum soniox_audio audio;
	int64_t capture_us;
};

struct soniox_replay {
	uint64_t limit; // samples
	uint64_t head;
	int64_t last_capture_us; // of head
	uint32_t first, count, room; // entries are a ring
	uint32_t write, slab_bytes;
	struct entry *entries;
	uint8_t *slab;
};

struct soniox_replay *soniox_replay_create(uint32_t limit_ms)
{
	struct soniox_replay *replay = calloc(1, sizeof(*replay));
	if (replay == NULL)
		return NULL;
	replay->limit = (uint64_t)limit_ms * SONIOX_SAMPLES_PER_MS;
	replay->room = limit_ms / UNIT_MS_LEAST + 16;
	replay->slab_bytes = limit_ms * PCM_BYTES_PER_MS + 2 * UNIT_BYTES_MAX;
	replay->entries = calloc(replay->room, sizeof(*replay->entries));
	replay->slab = malloc(replay->slab_bytes);
	if (replay->entries != NULL && replay->slab != NULL)
		return replay;
	soniox_replay_free(replay);
	return NULL;
}

void soniox_replay_free(struct soniox_replay *replay)
{
	if (replay == NULL)
		return;
	if (replay->slab != NULL)
		explicit_bzero(replay->slab, replay->slab_bytes); // somebody's voice
	free(replay->slab);
	free(replay->entries);
	free(replay);
}

static struct entry *entry_at(const struct soniox_replay *replay, uint32_t index)
{
	return &replay->entries[(replay->first + index) % replay->room];
}

static void drop_oldest(struct soniox_replay *replay)
{
	replay->first = (replay->first + 1) % replay->room;
	replay->count--;
}

// Room for bytes at replay->write: what is in the way is the oldest there is.
static void make_room(struct soniox_replay *replay, uint32_t bytes)
{
	if (replay->write + bytes > replay->slab_bytes) {
		while (replay->count > 0 && entry_at(replay, 0)->offset >= replay->write)
			drop_oldest(replay);
		replay->write = 0;
	}
	while (replay->count > 0) {
		const struct entry *oldest = entry_at(replay, 0);
		if (oldest->offset >= replay->write + bytes || oldest->offset + oldest->bytes <= replay->write)
			return;
		drop_oldest(replay);
	}
}

void soniox_replay_put(struct soniox_replay *replay, enum soniox_audio audio, uint32_t samples, int64_t capture_us,
	const void *payload, size_t bytes)
{
	bytes = MIN_OF(bytes, (size_t)UNIT_BYTES_MAX);
	while (replay->count > 0 && (replay->count == replay->room || replay->head + samples - entry_at(replay, 0)->start > replay->limit))
		drop_oldest(replay);
	make_room(replay, (uint32_t)bytes);
	struct entry *entry = entry_at(replay, replay->count++);
	*entry = (struct entry){.start = replay->head, .samples = samples, .bytes = (uint32_t)bytes, .offset = replay->write,
		.audio = audio, .capture_us = capture_us};
	if (bytes > 0)
		memcpy(replay->slab + replay->write, payload, bytes);
	replay->write += (uint32_t)bytes;
	replay->head += samples;
	replay->last_capture_us = capture_us + (int64_t)samples * 1000 / SONIOX_SAMPLES_PER_MS;
}

uint64_t soniox_replay_head(const struct soniox_replay *replay)
{
	return replay->head;
}

uint64_t soniox_replay_tail(const struct soniox_replay *replay)
{
	return replay->count > 0 ? entry_at(replay, 0)->start : replay->head;
}

// The entry with the largest start that is not behind position.
static const struct entry *find(const struct soniox_replay *replay, uint64_t position)
{
	uint32_t low = 0, high = replay->count;
	while (high - low > 1) {
		uint32_t middle = (low + high) / 2;
		if (entry_at(replay, middle)->start <= position)
			low = middle;
		else
			high = middle;
	}
	return entry_at(replay, low);
}

bool soniox_replay_get(const struct soniox_replay *replay, uint64_t position, struct soniox_unit *ret_unit)
{
	if (position >= replay->head || replay->count == 0)
		return false;
	const struct entry *entry = find(replay, position);
	*ret_unit = (struct soniox_unit){.audio = entry->audio, .start = entry->start, .samples = entry->samples, .bytes = entry->bytes,
		.capture_us = entry->capture_us, .payload = replay->slab + entry->offset};
	return true;
}

int64_t soniox_replay_capture_us(const struct soniox_replay *replay, uint64_t position)
{
	if (replay->count == 0)
		return replay->last_capture_us;
	const struct entry *entry = find(replay, position);
	return entry->capture_us + ((int64_t)position - (int64_t)entry->start) * 1000 / SONIOX_SAMPLES_PER_MS;
}
