// SPDX-License-Identifier: ISC
//
// slot_machine.h - what a slot does: one table, phase by event. See slot_machine.c.
//
// Runs on: control.
#pragma once

#include "controlplane/slot_state.h"

enum slot_phase {
	SLOT_IDLE,     // no leg, nothing on its way
	SLOT_JOINING,  // no leg; one is being built
	SLOT_LIVE,     // a leg
	SLOT_GRACE,    // the user was left; the leg stays a moment
	SLOT_RESUMING, // a leg; its signalling is being taken over
	SLOT_SWAPPING, // a leg; another is being built beside it
	SLOT_PHASES,
};

enum slot_event {
	SLOT_JOIN_SHARED,    // JoinRoom to where the slot is already on its way
	SLOT_JOIN_HERE,      // JoinRoom to where the leg is, and it can be taken over
	SLOT_JOIN_ELSEWHERE, // any other JoinRoom
	SLOT_LEAVE,
	SLOT_CALLERS_GONE, // the last caller of JoinRoom has cancelled or ran out of time
	SLOT_RESUMED,
	SLOT_REFUSED,
	SLOT_RESUME_FAILED,
	SLOT_ACCEPTED, // the pending leg's participant is in the room
	SLOT_READY,    // the pending leg is up
	SLOT_ARRIVED,  // its first audio
	SLOT_DATA,     // its data channels are open
	SLOT_FAILED,   // it has ended
	SLOT_LOST,     // the leg has ended
	SLOT_JOIN_LATE,
	SLOT_FRAME_LATE,
	SLOT_GRACE_OVER,
	SLOT_LINGER_OVER,
	SLOT_SHUTDOWN,
	SLOT_EVENTS,
};

// What came with the event; each may be NULL.
struct slot_cause {
	struct slot_join *join;
	const struct place *place;
	const char *reason, *cause;
};

enum slot_phase slot_phase(const struct slot *slot);
const char *slot_phase_text(enum slot_phase phase);
// The slot may be gone afterwards.
void slot_fire(struct slot *slot, enum slot_event event, const struct slot_cause *cause) RUNS_ON(control_role);

// An action; NULL in the table: the event says nothing in that phase.
typedef void slot_action(struct slot *slot, const struct slot_cause *cause);
slot_action *slot_action_of(enum slot_phase phase, enum slot_event event);
