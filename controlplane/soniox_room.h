// SPDX-License-Identifier: ISC
//
// soniox_room.h - captions into the room: every change of a transcript as a text stream of topic lk.transcription.
//
// Runs on: control.
#pragma once

#include "controlplane/transcript.h"

struct soniox_room {
	struct transcript_listener listener;
	struct transcript *transcript; // NULL: not running
	char user_id[257];
	uint64_t epoch, streams;
	uint64_t interim_ns; // when the last interim went out
	uint64_t failed;     // packets that could not be sent: no leg, no data channel
};

void soniox_room_start(struct soniox_room *room, const char *user_id, struct transcript *transcript) RUNS_ON(control_role);
void soniox_room_stop(struct soniox_room *room) RUNS_ON(control_role); // idempotent
