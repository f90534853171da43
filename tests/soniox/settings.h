// SPDX-License-Identifier: ISC
//
// settings.h - what the stand-in may be told: limits, times, keys. One for the process; the control verbs change it.
//
// Runs on: any; settings_get copies under a lock.
#pragma once

#include "tests/soniox/failure.h"
#include "tests/soniox/recogniser.h"

struct settings {
	uint32_t concurrent, connections, per_minute;   // limits of the one project (facts 1.10)
	uint32_t inactivity_ms, start_ms, link_ms;      // without input; without any message before the start; open before the start
	uint32_t decode_ms, duration_ms;                // "auto" audio that nobody can decode; longest stream
	uint32_t error_delay_ms, finish_delay_ms, close_delay_ms; // how long the service thinks about it
	bool refuse_start_key;                          // the key in the start message is no longer accepted (15 January 2027)
	const struct recogniser_ops *recogniser;
};

void settings_reset(void);
struct settings settings_get(void);

// Takes the keys of a JSON object that are there; refuses an unknown key, a wrong type, or a negative number.
int settings_change(json_t *changes, struct err *err);
json_t *settings_json(void);

// The recogniser that new sessions get.
void settings_set_recogniser(const struct recogniser_ops *recogniser);

void keys_add(const char *key);
void keys_remove(const char *key);
bool keys_has(const char *key);
void keys_clear(void);

// Admission. A connection is open from keys to close; a request from its start message to its end.
// Each returns FAILURE_NONE, or the error; what was entered is left again with the matching call.
enum failure limits_connect(void);
void limits_disconnect(void);
enum failure limits_request(uint64_t now_ms);
void limits_finish(void);
void limits_forget(void); // the requests of the last minute
json_t *limits_json(void); // as GET /v1/concurrency-limits answers
