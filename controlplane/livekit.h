// SPDX-License-Identifier: ISC
//
// livekit.h - LiveKit's signalling messages: requests encoded, responses decoded, and the few questions asked of them.
//
// Runs on: any.
#pragma once

#include "controlplane/sdp.h"
#include "dataplane/base.h"
#include "proto/livekit/rtc.pb-c.h"

#define LIVEKIT_PROTOCOL 17
#define LIVEKIT_PATH_MAX 2048

// The resource to dial under the base path: "/rtc/v1?join_request=..", or with legacy the older "/rtc?..", which servers
// from 1.9.1 to 1.9.9 answer in the same way. With validate, the one that explains a refusal over plain HTTP.
struct livekit_join {
	bool legacy, validate;
	const char *resume_sid; // our participant sid to take over, NULL: a new join
};
int livekit_join_path(const struct livekit_join *join, char *ret_text, size_t size);

// An encoded SignalRequest; data is NULL when memory is short. Free it with livekit_request_free.
struct livekit_request {
	uint8_t *data;
	size_t bytes;
};
struct livekit_request livekit_offer(const char *sdp, uint32_t id);
struct livekit_request livekit_subscription(const char *track_sid, bool subscribe);
struct livekit_request livekit_ping(int64_t now_ms);                     // for servers that know no other
struct livekit_request livekit_ping_req(int64_t now_ms, int64_t rtt_ms); // answered by pong_resp
struct livekit_request livekit_leave(void);
void livekit_request_free(struct livekit_request *request);

// Decodes one message; NULL when it is no SignalResponse or would take more than LIVEKIT_DECODED_MAX of memory.
#define LIVEKIT_DECODED_MAX (16u << 20) // twice what a room of 4,096 with much to tell needs
Livekit__SignalResponse *livekit_decode(const uint8_t *data, size_t bytes);
// The same within budget bytes of memory, of which it takes away what was needed, also for what came to nothing.
Livekit__SignalResponse *livekit_decode_within(const uint8_t *data, size_t bytes, size_t *budget);
void livekit_free(Livekit__SignalResponse *message); // takes NULL
const char *livekit_message_name(const Livekit__SignalResponse *message); // "join", ..; "unknown" for what we have no name for

// The participant's audio track to listen to: the microphone, else current while it still exists, else any audio track.
const Livekit__TrackInfo *livekit_pick_track(const Livekit__ParticipantInfo *participant, const char *current_sid);
// The track sid that the answer assigns to a section, "": none. Servers before 1.9.2 have no mapping: the msid decides.
const char *livekit_section_track(const Livekit__SessionDescription *answer, const struct sdp_section *section);
// A trickled candidate (JSON). -ENOTSUP for those a transport cannot use, and for the empty one that ends the list.
int livekit_read_candidate(const char *json, struct sdp_candidate *ret_candidate);

// What a LeaveRequest asks of us.
enum livekit_leave_kind {
	LIVEKIT_LEAVE_STOP,     // we were sent away: never come back by ourselves
	LIVEKIT_LEAVE_RESUME,   // a transport failed
	LIVEKIT_LEAVE_REJOIN,   // start anew
	LIVEKIT_LEAVE_SHUTDOWN, // the server goes: start anew, not at once
};
enum livekit_leave_kind livekit_leave_kind(const Livekit__LeaveRequest *leave);
const char *livekit_reason_text(int disconnect_reason); // "duplicate identity", ..
