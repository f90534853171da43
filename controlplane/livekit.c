// SPDX-License-Identifier: ISC
//
// livekit.c - encodes and decodes LiveKit's signalling messages.
//
// Runs on: any.
#include "controlplane/livekit.h"

#include <jansson.h>
#include <stdlib.h>

#define CANDIDATE_JSON_MAX 4096

// ---- requests

static int base64url_encode(const uint8_t *data, size_t bytes, char *ret, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t used = 0;
	for (size_t i = 0; i < bytes; i += 3) {
		size_t left = bytes - i;
		uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
				(left > 2 ? data[i + 2] : 0);
		if (used + 4 + 6 >= size) // the last group may end in "%3D%3D"
			return -ENAMETOOLONG;
		ret[used++] = digits[bits >> 18 & 63];
		ret[used++] = digits[bits >> 12 & 63];
		if (left > 1)
			ret[used++] = digits[bits >> 6 & 63];
		if (left > 2)
			ret[used++] = digits[bits & 63];
		for (size_t pad = left; pad < 3; pad++) { // the server insists on padding
			memcpy(ret + used, "%3D", 3);
			used += 3;
		}
	}
	ret[used] = '\0';
	return 0;
}

int livekit_join_path(const struct livekit_join *join, char *ret_text, size_t size)
{
	// sdk GO: the server then assumes that we have no ICE/TCP. Any other name makes it hand out TCP candidates alone
	// for minutes after one short UDP failure, to the next joins of the same identity as well.
	Livekit__ClientInfo info = LIVEKIT__CLIENT_INFO__INIT;
	info.sdk = LIVEKIT__CLIENT_INFO__SDK__GO;
	info.version = RELAY_VERSION;
	info.protocol = LIVEKIT_PROTOCOL;
	info.os = "linux";
	Livekit__ConnectionSettings settings = LIVEKIT__CONNECTION_SETTINGS__INIT; // auto_subscribe false
	Livekit__JoinRequest request = LIVEKIT__JOIN_REQUEST__INIT;
	request.client_info = &info;
	request.connection_settings = &settings;
	if (join->resume_sid != NULL) {
		request.reconnect = true;
		request.reconnect_reason = LIVEKIT__RECONNECT_REASON__RR_SIGNAL_DISCONNECTED;
		request.participant_sid = (char *)join->resume_sid;
	}
	uint8_t inner[768], outer[800];
	if (livekit__join_request__get_packed_size(&request) > sizeof(inner))
		return -ENAMETOOLONG;
	Livekit__WrappedJoinRequest wrapped = LIVEKIT__WRAPPED_JOIN_REQUEST__INIT;
	wrapped.join_request.data = inner;
	wrapped.join_request.len = livekit__join_request__pack(&request, inner);
	size_t bytes = livekit__wrapped_join_request__pack(&wrapped, outer);

	char text[1200];
	int rc = base64url_encode(outer, bytes, text, sizeof(text));
	if (rc < 0)
		return rc;
	// The older path may belong to a server that does not know join_request and goes by the single parameters.
	int n = snprintf(ret_text, size, "/rtc%s%s?%sjoin_request=%s", join->legacy ? "" : "/v1",
		join->validate ? "/validate" : "", join->legacy ? "protocol=17&auto_subscribe=0&sdk=go&" : "", text);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static struct livekit_request encode(const Livekit__SignalRequest *message)
{
	struct livekit_request request = {.bytes = livekit__signal_request__get_packed_size(message)};
	request.data = malloc(request.bytes + 1);
	if (request.data != NULL)
		livekit__signal_request__pack(message, request.data);
	return request;
}

struct livekit_request livekit_offer(const char *sdp, uint32_t id)
{
	Livekit__SessionDescription offer = LIVEKIT__SESSION_DESCRIPTION__INIT;
	offer.type = "offer";
	offer.sdp = (char *)sdp;
	offer.id = id;
	Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
	message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_OFFER;
	message.offer = &offer;
	return encode(&message);
}

struct livekit_request livekit_subscription(const char *track_sid, bool subscribe)
{
	char *sids[1] = {(char *)track_sid};
	Livekit__UpdateSubscription update = LIVEKIT__UPDATE_SUBSCRIPTION__INIT;
	update.n_track_sids = 1;
	update.track_sids = sids;
	update.subscribe = subscribe;
	Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
	message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_SUBSCRIPTION;
	message.subscription = &update;
	return encode(&message);
}

struct livekit_request livekit_ping(int64_t now_ms)
{
	Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
	message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING;
	message.ping = now_ms;
	return encode(&message);
}

struct livekit_request livekit_ping_req(int64_t now_ms, int64_t rtt_ms)
{
	Livekit__Ping ping = LIVEKIT__PING__INIT;
	ping.timestamp = now_ms;
	ping.rtt = rtt_ms;
	Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
	message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_PING_REQ;
	message.ping_req = &ping;
	return encode(&message);
}

struct livekit_request livekit_leave(void)
{
	Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
	leave.reason = LIVEKIT__DISCONNECT_REASON__CLIENT_INITIATED;
	Livekit__SignalRequest message = LIVEKIT__SIGNAL_REQUEST__INIT;
	message.message_case = LIVEKIT__SIGNAL_REQUEST__MESSAGE_LEAVE;
	message.leave = &leave;
	return encode(&message);
}

void livekit_request_free(struct livekit_request *request)
{
	free(request->data);
	*request = (struct livekit_request){0};
}

// ---- responses

// An empty element costs two bytes on the wire and hundreds in memory, so what a message may unfold to is bounded.
static void *budget_alloc(void *data, size_t size)
{
	size_t *budget = data;
	if (size > *budget)
		return NULL;
	*budget -= size;
	return malloc(size);
}

static void budget_free(void *data, void *pointer)
{
	(void)data;
	free(pointer);
}

Livekit__SignalResponse *livekit_decode_within(const uint8_t *data, size_t bytes, size_t *budget)
{
	ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free, .allocator_data = budget};
	return livekit__signal_response__unpack(&allocator, bytes, data);
}

Livekit__SignalResponse *livekit_decode(const uint8_t *data, size_t bytes)
{
	size_t budget = LIVEKIT_DECODED_MAX;
	return livekit_decode_within(data, bytes, &budget);
}

void livekit_free(Livekit__SignalResponse *message)
{
	ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free};
	if (message != NULL)
		livekit__signal_response__free_unpacked(message, &allocator);
}

const char *livekit_message_name(const Livekit__SignalResponse *message)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
		&livekit__signal_response__descriptor, (unsigned)message->message_case);
	return field == NULL ? "unknown" : field->name;
}

const Livekit__TrackInfo *livekit_pick_track(const Livekit__ParticipantInfo *participant, const char *current_sid)
{
	const Livekit__TrackInfo *picked = NULL;
	bool picked_current = false;
	for (size_t i = 0; i < participant->n_tracks; i++) {
		const Livekit__TrackInfo *track = participant->tracks[i];
		if (track->type != LIVEKIT__TRACK_TYPE__AUDIO || track->sid[0] == '\0')
			continue;
		bool current = strcmp(track->sid, current_sid) == 0;
		bool microphone = track->source == LIVEKIT__TRACK_SOURCE__MICROPHONE;
		bool picked_microphone = picked != NULL && picked->source == LIVEKIT__TRACK_SOURCE__MICROPHONE;
		if (picked == NULL || (microphone && !picked_microphone) ||
			(current && !picked_current && microphone == picked_microphone)) {
			picked = track;
			picked_current = current;
		}
	}
	return picked;
}

const char *livekit_section_track(const Livekit__SessionDescription *answer, const struct sdp_section *section)
{
	for (size_t i = 0; i < answer->n_mid_to_track_id; i++) {
		const Livekit__SessionDescription__MidToTrackIdEntry *entry = answer->mid_to_track_id[i];
		if (section->mid[0] != '\0' && strcmp(entry->key, section->mid) == 0)
			return entry->value;
	}
	return section->track;
}

int livekit_read_candidate(const char *json, struct sdp_candidate *ret_candidate)
{
	size_t length = strnlen(json, CANDIDATE_JSON_MAX);
	json_t *init = length == CANDIDATE_JSON_MAX ? NULL : json_loadb(json, length, 0, NULL);
	const json_t *candidate = json_object_get(init, "candidate");
	int rc = -EINVAL;
	if (json_is_string(candidate))
		rc = json_string_length(candidate) == 0 ? -ENOTSUP
							: sdp_read_candidate(json_string_value(candidate),
								  json_string_length(candidate), ret_candidate);
	json_decref(init);
	return rc;
}

static const struct {
	const char *text;
	enum livekit_leave_kind kind; // of a leave whose action is DISCONNECT
} reasons[] = {
	[LIVEKIT__DISCONNECT_REASON__UNKNOWN_REASON] = {"unknown reason", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__CLIENT_INITIATED] = {"client initiated", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY] = {"duplicate identity", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__SERVER_SHUTDOWN] = {"server shutdown", LIVEKIT_LEAVE_SHUTDOWN},
	[LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED] = {"participant removed", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__ROOM_DELETED] = {"room deleted", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__STATE_MISMATCH] = {"state mismatch", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__JOIN_FAILURE] = {"join failure", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__MIGRATION] = {"migration", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__SIGNAL_CLOSE] = {"signal close", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__ROOM_CLOSED] = {"room closed", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__USER_UNAVAILABLE] = {"user unavailable", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__USER_REJECTED] = {"user rejected", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__SIP_TRUNK_FAILURE] = {"SIP trunk failure", LIVEKIT_LEAVE_STOP},
	[LIVEKIT__DISCONNECT_REASON__CONNECTION_TIMEOUT] = {"connection timeout", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__MEDIA_FAILURE] = {"media failure", LIVEKIT_LEAVE_REJOIN},
	[LIVEKIT__DISCONNECT_REASON__AGENT_ERROR] = {"agent error", LIVEKIT_LEAVE_STOP},
};

const char *livekit_reason_text(int reason)
{
	return reason >= 0 && (size_t)reason < ARRAY_SIZE(reasons) ? reasons[reason].text : "unknown reason";
}

enum livekit_leave_kind livekit_leave_kind(const Livekit__LeaveRequest *leave)
{
	size_t reason = (size_t)leave->reason;
	enum livekit_leave_kind kind = reason < ARRAY_SIZE(reasons) ? reasons[reason].kind : LIVEKIT_LEAVE_REJOIN;
	// The four that must never bring us back stand above what the action asks for.
	if (leave->reason == LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY ||
		leave->reason == LIVEKIT__DISCONNECT_REASON__PARTICIPANT_REMOVED ||
		leave->reason == LIVEKIT__DISCONNECT_REASON__ROOM_DELETED ||
		leave->reason == LIVEKIT__DISCONNECT_REASON__ROOM_CLOSED)
		return LIVEKIT_LEAVE_STOP;
	if (leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__RESUME)
		return LIVEKIT_LEAVE_RESUME;
	if (leave->action == LIVEKIT__LEAVE_REQUEST__ACTION__RECONNECT || leave->can_reconnect)
		return LIVEKIT_LEAVE_REJOIN;
	return kind;
}
