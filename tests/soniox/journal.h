// SPDX-License-Identifier: ISC
//
// journal.h - what happened on every connection, for the test's book-keeping.
//
// Runs on: any; everything here is guarded by one lock, also the fields of an entry.
#pragma once

#include "tests/soniox/account.h"

struct entry {
	uint64_t id; // 1, 2, ... in order of arrival
	uint64_t opened_ms, started_ms, first_audio_ms, last_input_ms, closed_ms; // stand-in time; 0: not yet
	const char *state; // "handshake", "open", "started", "ending", "closed"
	const char *auth;  // "header", "subprotocol", "start", "none"
	const char *ended; // NULL: not yet; "server", "client", "reset", "lost", "fault"
	char key[64];      // masked
	json_t *start, *unknown_keys;
	json_t *faults;    // names, in order of action

	struct {
		uint64_t text, binary, bytes, keepalives, finalizes, ends, pings, pongs, odd, after_end;
		uint32_t smallest, largest; // binary messages, bytes
		uint32_t close_code;
	} received;
	struct account account; // ranges of numbers and what had none
	uint64_t audio_ms;      // length of the audio received
	int64_t ahead_max_ms;   // audio received minus time passed since the first
	uint64_t gap_max_ms;    // longest time between two inputs (audio, control message)

	struct {
		uint64_t pages, packets, holes, skipped_bytes, granule_errors;
	} ogg;

	struct {
		uint64_t messages, finals, nonfinals, ends, fins, final_audio_proc_ms, total_audio_proc_ms;
		char *text; // of all finals, without <end> and <fin>
		size_t text_bytes;
		bool finished;
		int error_code;
		const char *error_type;
		uint32_t close_code;
	} sent;
	struct entry *next;
};

void journal_lock(void);
void journal_unlock(void); // also wakes whoever waits

// A new entry, its id counted. It lives until journal_forget after journal_close.
struct entry *journal_open(uint64_t now_ms);
void journal_close(struct entry *entry, const char *ended, uint64_t now_ms);

// Drops the entries of closed connections; ids go on. `all` at the end of the process.
void journal_forget(bool all);

// {"connections": [...], "opened": N, "closed": N, "now_ms": N}; `id` 0: all. With `units` every unit of audio is listed.
json_t *journal_json(uint64_t id, bool units, uint64_t now_ms);

// What to wait for: numbers to be reached; 0 means do not care. With `id` the counters of that connection.
struct journal_wait {
	uint64_t id, opened, closed, started, audio_ms, finals, messages, faults, fins, keepalives, bytes;
};

// Waits at most `limit_ms` of real time; returns whether it came.
bool journal_wait(const struct journal_wait *wait, uint32_t limit_ms);
