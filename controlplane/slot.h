// SPDX-License-Identifier: ISC
//
// slot.h - what outlives connections, one per user: PCM ring, source, the current leg, the pending join, statistics.
// All of JoinRoom's, LeaveRoom's and StreamAudio's decisions are made here, on control. Contract.
#pragma once

#include "controlplane/config.h"
#include "controlplane/leg.h"
#include "dataplane/pcm.h"
#include "dataplane/source.h"

struct slot;

int slots_init(const struct config *config, struct err *err) RUNS_ON(control_role);
// Draining: no new joins ("shutting down"), all legs leave, streams end UNAVAILABLE last. done runs when all are gone or
// limit_ms passed.
void slots_drain(uint64_t limit_ms, void (*done)(void *arg), void *arg) RUNS_ON(control_role);
void slots_finish(void) RUNS_ON(control_role);

// ---- JoinRoom

// One caller of JoinRoom. Owned by the caller until done ran; done runs exactly once, on control, also after a cancel.
struct slot_join {
	const char *user_id, *room_name, *token, *livekit_url, *target_identity; // borrowed until done
	void (*done)(struct slot_join *join);
	void *arg;
	// the answer, valid in done
	bool success;
	char error[512]; // tokens cut out
	char participant_id[256]; // our identity
	unsigned participant_count;
	uint32_t generation;
	// private to slot.c
	struct slot *slot;
	struct slot_join *next;
	bool answered;
};
void slot_join(struct slot_join *join) RUNS_ON(control_role);
// The caller is gone or its deadline passed: done runs now with success=false. The shared work is torn down only when no
// caller is left and the point of no return was not passed.
void slot_join_cancel(struct slot_join *join) RUNS_ON(control_role);

// ---- LeaveRoom: false when the user has no session ("session not found").
bool slot_leave(const char *user_id, const char *reason) RUNS_ON(control_role);

// ---- StreamAudio

enum slot_stream_end {
	SLOT_STREAM_OK,          // left, replaced, newer stream, duplicate identity: status OK
	SLOT_STREAM_UNAVAILABLE, // the room is lost for good or the daemon stops: reason says why
};
// One StreamAudio call. Owned by the caller; after attach slot.c keeps the pointer until end ran or detach was called.
struct slot_stream {
	// The stream is over (control thread). Not called after slot_stream_detach.
	void (*end)(struct slot_stream *stream, enum slot_stream_end how, const char *reason);
	void *arg;
	bool from_now; // begin at the ring's head
	// set by attach
	struct pcm *pcm;       // a reference of the stream's own; the caller unrefs it
	uint64_t cursor;       // first frame to send
	uint32_t generation;   // of the slot's stream, for logs
	// progress, written by the caller's thread
	_Atomic(uint64_t) delivered; // seq after the last frame whose write completed
	// lapped: also what the stream before was not handed and was too old at attach
	_Atomic(uint64_t) lapped, frames, messages, bytes;
	// private to slot.c
	struct slot *slot;
};
// Newest wins: an older stream of the user is ended OK first. It begins after the last frame that one was handed, but with none
// older than the ring is long. -ENOENT: the user has no session.
int slot_stream_attach(const char *user_id, struct slot_stream *stream) RUNS_ON(control_role);
void slot_stream_detach(struct slot_stream *stream) RUNS_ON(control_role);

// ---- captions into the room

// One DataPacket on the reliable channel of the user's leg; -ENOTCONN when there is none.
int slot_send_data(const char *user_id, const uint8_t *data, size_t bytes) RUNS_ON(control_role);
void slot_track_sid(const char *user_id, char *ret_sid, size_t size) RUNS_ON(control_role); // "" when nothing is subscribed

// ---- decoding: Soniox begins or ends to take the user's PCM
void slot_pcm_changed(const char *user_id) RUNS_ON(control_role);

// ---- GetStatus, HealthCheck, relay.v1.Admin

struct slot_status {
	char user_id[256];
	bool exists, connected, recovering, stream_attached;
	char state[24];  // "joining", "connected", "recovering", "grace", "lingering"
	char participant_id[256], server_version[64], room[256], url[256], target[256];
	unsigned participant_count;
	int64_t last_disconnect_at_ms; // Unix ms, 0: never
	char last_disconnect_reason[32];
	int64_t since_ms; // in this state since (Unix ms)
	int64_t stream_since_ms; // a stream has come or gone (Unix ms); 0: never
	uint32_t generation;
	uint64_t joins, swaps, ring_head, stream_frames, stream_lapped, stream_delivered;
	bool target_present, track_subscribed, track_muted;
	struct source_stats source;
	struct transport_info transport;
};
// Never an error: an unknown user has exists=false and zeros.
void slot_status(const char *user_id, struct slot_status *ret_status) RUNS_ON(control_role);
// Calls fn for every slot.
void slot_each(void (*fn)(const struct slot_status *status, void *arg), void *arg) RUNS_ON(control_role);
struct slot_totals {
	unsigned active_sessions; // slots with a live or recovering leg
	unsigned slots, joining, connected, recovering, grace, lingering, streams;
	uint64_t joins, joins_failed, joins_superseded, swaps, leaves;
	bool draining;
};
void slot_totals(struct slot_totals *ret_totals) RUNS_ON(control_role);
