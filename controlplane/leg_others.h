// SPDX-License-Identifier: ISC
//
// leg_others.h - who else is in a leg's room, as the server tells it. It costs the same for each that it tells, whatever it tells.
//
// Runs on: control.
#pragma once

#include "controlplane/livekit.h"
#include "controlplane/token.h"

#define LEG_SID_MAX 64
#define LEG_OTHERS_MAX 4096 // participants that are remembered; of a larger room the rest are not counted

// A participant of the room other than ourselves.
struct leg_participant {
	char sid[LEG_SID_MAX], identity[TOKEN_NAME_MAX];
	char track_sid[LEG_SID_MAX]; // of the audio track to listen to, "": none
	bool muted, target;          // target: it has the identity that is listened to
	uint16_t next;               // in its chain: place + 1, 0: none
};

struct leg_others {
	struct leg_participant *list; // who came last is last, until somebody leaves
	uint16_t *chains;             // by hash of the sid, as many as there is room: place + 1 of the first, 0: none
	unsigned count, room, targets;
	uint64_t keys[LEG_SID_MAX / 4 + 1]; // of the hash, secret: nobody can choose sids that share a chain
};

// Takes in what the server says of somebody. NULL when it is not, or no longer, in the room, has no sid, or finds no place.
struct leg_participant *leg_others_set(struct leg_others *others, const Livekit__ParticipantInfo *info, const char *target);
struct leg_participant *leg_others_find(const struct leg_others *others, const char *sid); // NULL: it is not there
// The newest of those with that identity: a phone that came back has another sid for a moment. NULL: none is there.
const struct leg_participant *leg_others_target(const struct leg_others *others);
void leg_others_retarget(struct leg_others *others, const char *target);
void leg_others_clear(struct leg_others *others);
void leg_others_free(struct leg_others *others);
