// SPDX-License-Identifier: ISC
//
// start.h - the start message: every check the service documents (facts/soniox-and-cloud.md 1.3, 1.4, 1.9).
//
// Runs on: any.
#pragma once

#include "tests/soniox/failure.h"

enum start_audio {
	START_PCM,         // pcm_s16le at 16 kHz, mono: what the recognisers take
	START_OGG,         // Ogg/Opus
	START_AUTO,        // sniff a container
	START_UNSUPPORTED, // a format the service has and the stand-in has not
};

struct start {
	enum start_audio audio;
	bool endpoints, diarization, languages;
	const char *language; // two letters, the first hint or "en"; static
	char api_key[256];    // empty: none in the message
	const char *target;   // translate into this language; NULL: no translation
};

// Checks the first text message. Returns FAILURE_NONE and fills `ret`, or the error; `ret_detail` then holds what its message
// names. `ret_masked` gets the message with the key made unreadable (owned by the caller, may be NULL for what is no JSON) and
// "unknown_keys" goes to `ret_unknown`, an array: keys that the reference does not have (any more); they are tolerated.
enum failure start_check(const char *text, size_t bytes, struct start *ret, char ret_detail[static 64], json_t **ret_masked,
	json_t **ret_unknown);

// Makes a key unreadable but recognisable: its first four characters and its length.
void start_mask(const char *key, char *ret, size_t size);
