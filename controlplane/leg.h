// SPDX-License-Identifier: ISC
//
// leg.h - one participant in one room with its transport: signalling conversation and its state, with a generation.
// Everything runs on control; WebSocket work happens on io threads behind ws.h. Contract.
#pragma once

#include "controlplane/config.h"
#include "dataplane/dataplane.h"

struct leg;

enum leg_state {
	LEG_JOINING,     // until LEG_EVENT_READY or _FAILED
	LEG_CONNECTED,
	LEG_RECOVERING,  // resuming or rejoining by itself
	LEG_ENDED,
};

enum leg_event_type {
	LEG_EVENT_MEDIA,  // a transport was opened: leg_transport is another one from now on
	LEG_EVENT_JOINED, // the server has taken the participant in, and thrown out who had its identity before
	LEG_EVENT_READY,  // signalling joined, DTLS up, target subscribed or absent: once
	LEG_EVENT_FAILED, // the join failed: cause; the leg is ended
	LEG_EVENT_LOST,   // ended after READY for good: reason
	LEG_EVENT_STATE,  // CONNECTED <-> RECOVERING: reason
	LEG_EVENT_MUTED,  // leg_track_muted has changed
	LEG_EVENT_DATA,   // both data channels are usable
	LEG_EVENT_ARRIVED, // the first audio of a transport of this leg arrived, heard or not
	LEG_EVENT_HEARD,   // see dataplane_source_progress
	LEG_EVENT_ALIGNED,
	LEG_EVENT_RESUMED,       // leg_resume: signalling is taken over, the media path lives
	LEG_EVENT_REFUSED,       // leg_resume: the server knows the participant no more, or its media path is dead: cause
	LEG_EVENT_RESUME_FAILED, // leg_resume: no server, bad token ...: cause; the leg is as it was
};

// Reasons are the words of GetStatus: "", "left", "replaced", "duplicate_identity", "participant_removed", "room_deleted",
// "server_shutdown", "signal_lost", "transport_lost", "join_failed".
typedef void leg_event_fn(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause);

struct leg_config {
	const struct config *config;
	const char *url, *token, *target_identity; // copied
	const char *user_id;                       // for logs
	uint32_t generation;
	struct source *source; // borrowed from the slot, until the leg is silenced or left
	leg_event_fn *event;
	void *arg;
};

// Starts joining at once. NULL with err when an argument is bad (URL scheme, token without room or identity).
struct leg *leg_join(const struct leg_config *config, struct err *err) RUNS_ON(control_role);
// Says leave to the server (politely, bounded), closes the transport, then frees itself. No event is delivered after this
// call returns. reason is for the log.
void leg_leave(struct leg *leg, const char *reason) RUNS_ON(control_role); // takes NULL
// No event from now on, and nothing that server or network say is followed any more; leg_leave comes later and hangs up.
void leg_silence(struct leg *leg) RUNS_ON(control_role);

// ---- a JoinRoom to the place where the leg is

// Whether there is a participant and a media path to take over.
bool leg_resumable(const struct leg *leg);
// Takes over the participant with a new signalling connection; ends with one of the three events, never before it returns.
// Negative: nothing was begun.
int leg_resume(struct leg *leg, const char *token, struct err *err) RUNS_ON(control_role);
void leg_resume_abandon(struct leg *leg) RUNS_ON(control_role); // no event follows; takes a leg that resumes nothing
// The server has accepted the resume: there is no way back, whoever asked for it.
bool leg_resume_accepted(const struct leg *leg);
// Another target from now on; data packets of it are stamped with the generation. Its track is subscribed if it is there.
void leg_retarget(struct leg *leg, const char *target_identity, uint32_t generation) RUNS_ON(control_role);
void leg_set_generation(struct leg *leg, uint32_t generation) RUNS_ON(control_role);
// A newer participant of the same identity is about to take its place: whatever ends now is LOST at once, nothing is
// regained. thaw: it did not come to that.
void leg_freeze(struct leg *leg) RUNS_ON(control_role);
void leg_thaw(struct leg *leg) RUNS_ON(control_role);

enum leg_state leg_state(const struct leg *leg);
uint32_t leg_generation(const struct leg *leg);
const char *leg_url(const struct leg *leg);      // normalised
const char *leg_room(const struct leg *leg);     // video.room of the token
const char *leg_identity(const struct leg *leg); // sub of the token
const char *leg_target(const struct leg *leg);
const char *leg_server_version(const struct leg *leg); // "" before join
unsigned leg_participant_count(const struct leg *leg); // with ourselves
bool leg_target_present(const struct leg *leg);
bool leg_track_subscribed(const struct leg *leg);
bool leg_track_muted(const struct leg *leg);
transport_id leg_transport(const struct leg *leg); // 0: none
bool leg_data_open(const struct leg *leg);
uint32_t leg_voice(const struct leg *leg);         // generation in which the target was chosen
const char *leg_track_sid(const struct leg *leg); // "" when none is subscribed
bool leg_consent_fresh(const struct leg *leg); // answered within 5 s: GetStatus.connected

// What the dataplane reports of a transport; of one that no leg has any more it is ignored.
void leg_transport_event(const struct dataplane_event *event) RUNS_ON(control_role);
