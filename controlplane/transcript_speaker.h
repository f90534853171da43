// SPDX-License-Identifier: ISC
//
// transcript_speaker.h - names of speakers that last over connections: Soniox numbers them anew on each.
//
// The audio that was not final when a connection ended is heard again by the next one. Who spoke there has a number on both, and
// so the new number is known. One that does not occur there keeps its meaning only while one person has ever spoken; else it
// gets a number nobody had, so that two people never become one.
//
// Runs on: control.
#pragma once

#include "dataplane/base.h"

#define TRANSCRIPT_SPEAKERS_MAX 32
#define TRANSCRIPT_SPEAKER_SPANS_MAX 64

struct transcript_speaker {
	unsigned connections;
	unsigned names; // given so far: "1".."names"
	struct {
		char theirs[16], ours[16];
	} map[TRANSCRIPT_SPEAKERS_MAX]; // of this connection
	unsigned mapped;
	struct transcript_speaker_span {
		uint64_t start_ms, end_ms;
		char ours[16];
	} spans[TRANSCRIPT_SPEAKER_SPANS_MAX], old[TRANSCRIPT_SPEAKER_SPANS_MAX]; // not final: of the last message; of the connection before
	unsigned span_count, old_count;
};

void transcript_speaker_init(struct transcript_speaker *speakers);
void transcript_speaker_connected(struct transcript_speaker *speakers);
void transcript_speaker_message(struct transcript_speaker *speakers); // what was not final is replaced
// Our name for theirs, who spoke then. Valid until the next call.
const char *transcript_speaker_name(struct transcript_speaker *speakers, const char *theirs, uint64_t start_ms, uint64_t end_ms);
// The same for what is not final; remembered for the next connection.
const char *transcript_speaker_interim(struct transcript_speaker *speakers, const char *theirs, uint64_t start_ms,
	uint64_t end_ms);
