// SPDX-License-Identifier: ISC
//
// swap_log.h - accounts of JoinRooms that found a session: what became of them, how long each phase took, what it cost.
//
// Runs on: control.
#pragma once

#include "dataplane/base.h"
#include "dataplane/roles.h"

#define SWAP_LOG_SIZE 512 // the last ones of all users

enum swap_kind {
	SWAP_NONE,    // nothing changed
	SWAP_RESUME,  // same participant, signalling taken over
	SWAP_OVERLAP, // another participant in the same room: both are heard for a moment
	SWAP_ARRIVAL, // another publication: from its first frame on
	SWAP_FULL,    // same identity joined anew: the server removes the old participant
};
enum swap_result { SWAP_DONE, SWAP_FAILED, SWAP_CANCELLED, SWAP_SUPERSEDED, SWAP_LEFT, SWAP_SHARED };

struct swap_record {
	uint64_t number; // 1, 2, 3...
	char user_id[257], room[257];
	enum swap_kind kind;
	enum swap_result result;
	char reason[32];  // "new_join_request"
	char cause[256];  // why it failed, or why a resume was refused
	uint32_t from_generation, generation;
	int64_t at_ms;    // Unix time of the request
	uint32_t signal_us, media_us, swap_us, audio_us; // since the request; 0: did not come to that
	uint64_t frames_before, frames_carried; // written by legs before; of these not yet delivered at the swap
	uint64_t lost, doubled, copies;
	uint32_t gap_us, overlap_us;
};

struct swap_totals {
	uint64_t count; // done
	uint64_t by_kind[SWAP_FULL + 1];
	uint64_t lost, doubled;
	uint32_t worst_gap_us;
};

// Keeps the record under the next number and writes the line that the runbook looks for.
void swap_log_add(struct swap_record *record) RUNS_ON(control_role);
// Newest first, of that user ("" or NULL: of all); fn returns false to stop.
void swap_log_each(const char *user_id, bool (*fn)(const struct swap_record *record, void *arg), void *arg)
	RUNS_ON(control_role);
void swap_log_totals(struct swap_totals *ret_totals) RUNS_ON(control_role);
const char *swap_kind_text(enum swap_kind kind);
const char *swap_result_text(enum swap_result result);
