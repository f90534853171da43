// SPDX-License-Identifier: ISC
//
// leg_server.h - included by one file of a test: what the signalling server of leg_world.h says.
//
// Runs on: control (played by the test).
#pragma once

#include "tests/support/leg_world.h"

static inline void say(struct ws *ws, const Livekit__SignalResponse *response)
{
	uint8_t *data = malloc(livekit__signal_response__get_packed_size(response) + 1);
	size_t bytes = livekit__signal_response__pack(response, data);
	struct ws_event event = {.type = WS_MESSAGE, .data = data, .bytes = bytes};
	ws->event(ws->arg, ws, &event);
	free(data);
}

static inline void says_join_as(struct ws *ws, bool subscriber_primary)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__JoinResponse join = LIVEKIT__JOIN_RESPONSE__INIT;
	Livekit__ParticipantInfo self = LIVEKIT__PARTICIPANT_INFO__INIT;
	self.sid = (char[]){"PA_us"};
	join.participant = &self;
	join.subscriber_primary = subscriber_primary;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN;
	response.join = &join;
	say(ws, &response);
}

static inline void says_join(struct ws *ws)
{
	says_join_as(ws, false);
}

static inline void says_reconnect(struct ws *ws)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__ReconnectResponse reconnect = LIVEKIT__RECONNECT_RESPONSE__INIT;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT;
	response.reconnect = &reconnect;
	say(ws, &response);
}

static inline void says_answer(struct ws *ws, uint32_t id, const char *sdp)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__SessionDescription answer = LIVEKIT__SESSION_DESCRIPTION__INIT;
	answer.id = id;
	answer.sdp = (char *)sdp;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER;
	response.answer = &answer;
	say(ws, &response);
}

static inline void says_permission(struct ws *ws, char *track_sid, bool allowed)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__SubscriptionPermissionUpdate update = LIVEKIT__SUBSCRIPTION_PERMISSION_UPDATE__INIT;
	update.track_sid = track_sid;
	update.allowed = allowed;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_PERMISSION_UPDATE;
	response.subscription_permission_update = &update;
	say(ws, &response);
}

static inline void says_update(struct ws *ws, Livekit__ParticipantInfo **infos, size_t count)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__ParticipantUpdate update = LIVEKIT__PARTICIPANT_UPDATE__INIT;
	update.n_participants = count;
	update.participants = infos;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE;
	response.update = &update;
	say(ws, &response);
}

static inline void says_leave(struct ws *ws, int action, int reason)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	Livekit__LeaveRequest leave = LIVEKIT__LEAVE_REQUEST__INIT;
	leave.action = action;
	leave.reason = reason;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE;
	response.leave = &leave;
	say(ws, &response);
}

static inline void says_token(struct ws *ws, char *token)
{
	Livekit__SignalResponse response = LIVEKIT__SIGNAL_RESPONSE__INIT;
	response.message_case = LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN;
	response.refresh_token = token;
	say(ws, &response);
}

static inline void loses(struct ws *ws)
{
	struct ws_event event = {.type = WS_CLOSED, .text = "connection lost"};
	ws->event(ws->arg, ws, &event);
}

static inline void refuses(struct ws *ws, int status, const char *text)
{
	struct ws_event event = {.type = WS_FAILED, .http_status = status, .text = text};
	ws->event(ws->arg, ws, &event);
}
