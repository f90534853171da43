// SPDX-License-Identifier: ISC
//
// account.h - what exactly arrived: cuts the audio of one connection into units, knows numbered cells and packets
// (numbered.h) by their number, and everything else by a hash.
//
// Runs on: any; the owner serialises.
#pragma once

#include "tests/soniox/numbered.h"

#include <jansson.h>

enum unit_kind {
	UNIT_NUMBERED, // a whole numbered cell or packet
	UNIT_LOUD,     // other audio
	UNIT_QUIET,    // silence: no sample above QUIET_PEAK, or an Opus packet of at most two bytes (DTX)
};

#define QUIET_PEAK 96

struct unit {
	enum unit_kind kind;
	uint32_t value;   // number, or hash (FNV-1a) of the bytes
	uint32_t samples; // at 16 kHz
};

typedef void unit_fn(void *arg, const struct unit *unit);

struct account {
	int16_t rest[NUMBERED_SAMPLES];
	uint32_t rest_samples;
	uint64_t samples;       // seen in all, at 16 kHz
	uint64_t other_samples; // in units that carry no number
	uint32_t damaged;       // cells with the head of a numbered one and another content
	uint32_t (*ranges)[2];  // numbers in order of arrival, runs joined
	uint32_t range_count, range_room;
	struct unit *units; // every one, in order of arrival
	uint32_t unit_count, unit_room;
	unit_fn *unit;
	void *arg;
};

void account_init(struct account *account, unit_fn *unit, void *arg);
void account_free(struct account *account);

// PCM as it comes; units are 320 samples, or fewer before a numbered cell that does not lie on the grid.
void account_pcm(struct account *account, const int16_t *samples, size_t count);

// One Opus packet of `samples` (at 16 kHz).
void account_packet(struct account *account, const uint8_t *packet, size_t bytes, uint32_t samples);

// Gives out what is left of a cell.
void account_flush(struct account *account);

// [[first, last], ...]
json_t *account_ranges(const struct account *account);

// ["n12", "h1a2b3c4d", "q", ...]: numbered, other (its hash), quiet.
json_t *account_units(const struct account *account);

uint32_t account_hash(const void *data, size_t bytes);
