// SPDX-License-Identifier: ISC
//
// swap_log.c - the accounts of swaps: the last ones, totals, and a line in the log each.
//
// Runs on: control.

#include "controlplane/swap_log.h"

#include "controlplane/log.h"

static struct swap_record records[SWAP_LOG_SIZE];
static uint64_t added;
static struct swap_totals totals;

const char *swap_kind_text(enum swap_kind kind)
{
	static const char *const texts[] = {[SWAP_NONE] = "none", [SWAP_RESUME] = "resume", [SWAP_OVERLAP] = "overlap",
		[SWAP_ARRIVAL] = "arrival", [SWAP_FULL] = "full"};
	return texts[kind];
}

const char *swap_result_text(enum swap_result result)
{
	static const char *const texts[] = {[SWAP_DONE] = "done", [SWAP_FAILED] = "failed", [SWAP_CANCELLED] = "cancelled",
		[SWAP_SUPERSEDED] = "superseded", [SWAP_LEFT] = "left", [SWAP_SHARED] = "shared"};
	return texts[result];
}

void swap_log_add(struct swap_record *record)
{
	record->number = ++added;
	records[(added - 1) % SWAP_LOG_SIZE] = *record;
	if (record->result == SWAP_DONE) {
		totals.count++;
		totals.by_kind[record->kind]++;
		totals.lost += record->lost;
		totals.doubled += record->doubled;
		totals.worst_gap_us = MAX_OF(totals.worst_gap_us, record->gap_us);
	}
	log_line(LOG_INFO, "Replacing existing bridge session", S("userId", record->user_id), S("roomName", record->room),
		S("reason", record->reason), S("kind", swap_kind_text(record->kind)),
		S("result", swap_result_text(record->result)), S("cause", record->cause),
		I("fromGeneration", record->from_generation), I("generation", record->generation),
		I("signalUs", record->signal_us), I("mediaUs", record->media_us), I("swapUs", record->swap_us),
		I("audioUs", record->audio_us), I("framesBefore", record->frames_before),
		I("framesCarried", record->frames_carried), I("framesLost", record->lost),
		I("framesDoubled", record->doubled), I("copies", record->copies), I("gapMs", record->gap_us / 1000),
		I("overlapMs", record->overlap_us / 1000));
}

void swap_log_each(const char *user_id, bool (*fn)(const struct swap_record *record, void *arg), void *arg)
{
	uint64_t oldest = added > SWAP_LOG_SIZE ? added - SWAP_LOG_SIZE : 0;
	for (uint64_t n = added; n > oldest; n--) {
		const struct swap_record *record = &records[(n - 1) % SWAP_LOG_SIZE];
		if (user_id != NULL && user_id[0] != '\0' && strcmp(record->user_id, user_id) != 0)
			continue;
		if (!fn(record, arg))
			return;
	}
}

void swap_log_totals(struct swap_totals *ret_totals)
{
	*ret_totals = totals;
}
