// SPDX-License-Identifier: ISC
//
// transcript_file.h - a transcript on disk: a line of JSON or a WebVTT cue per final segment, in files that are rotated.
//
// Control formats and queues; one io thread writes. A disk that is slow or full costs lines, which are counted, never audio.
//
// Runs on: control.
#pragma once

#include "controlplane/transcript.h"

enum transcript_format { TRANSCRIPT_JSONL, TRANSCRIPT_VTT };

struct transcript_file_config {
	const char *dir; // "" none
	enum transcript_format format;
	unsigned max_kb; // of a file; then the next one is begun
	unsigned keep;   // files per transcript; older ones are removed
};

struct transcript_file {
	struct transcript_listener listener;
	struct transcript *transcript; // NULL: not running
	const struct transcript_file_config *config;
	char user_id[257];
	uint64_t epoch;
	unsigned part;  // 1, 2...
	size_t bytes;   // of the part, as queued
};

int transcript_files_init(const struct transcript_file_config *config, struct err *err); // starts the thread when dir is set
void transcript_files_finish(void); // writes what is queued, within a second
uint64_t transcript_files_lost(void); // lines that did not get to disk. Any thread

// config is borrowed for good.
void transcript_file_start(struct transcript_file *file, const struct transcript_file_config *config, const char *user_id,
	struct transcript *transcript) RUNS_ON(control_role);
void transcript_file_stop(struct transcript_file *file) RUNS_ON(control_role); // idempotent

// DIR/USER-BEGIN.PART.EXT; what is unsafe in a user id is written as %XX. -ENAMETOOLONG.
int transcript_file_path(const struct transcript_file *file, unsigned part, char *ret_path, size_t size);
// One segment as it stands in the file. Returns bytes, 0 when out of memory; free(*ret_text).
size_t transcript_file_format(enum transcript_format format, const char *user_id, uint64_t epoch,
	const struct transcript_segment *segment, char **ret_text);
