// SPDX-License-Identifier: ISC
//
// leg_signal.c - a leg's conversation with the signalling server: dial, every message it can send, pings, hanging up.
//
// Runs on: control.

#include <openssl/crypto.h>
#include <stdlib.h>

#include "controlplane/leg_state.h"
#include "controlplane/log.h"
#include "controlplane/request.h"

#define PING_INTERVAL_MS 5000
#define PING_TIMEOUT_MS 15000
#define REDIALS_MAX 3
#define REDIAL_MS 100
#define PING_SECONDS_MAX 3600
#define COMPLAIN_NS 1000000000u

// ---- sending

int leg_send(struct leg *leg, struct livekit_request request)
{
	int ret = request.data == NULL ? -ENOMEM : leg->ws == NULL ? -ENOTCONN : 0;
	if (ret == 0)
		ret = leg_ops.ws_send(leg->ws, request.data, request.bytes);
	livekit_request_free(&request);
	return ret;
}

static void on_ping(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	int64_t now_ms = clock_wall_us() / 1000;
	leg_send(leg, livekit_ping(now_ms));
	leg_send(leg, livekit_ping_req(now_ms, leg->rtt_ms));
	control_timer_start(&leg->ping_timer, leg->ping_interval_ms, on_ping, leg);
}

static void on_silence(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	leg_hang_up(leg);
	leg_recover(leg, "signal_lost", true);
}

void leg_hang_up(struct leg *leg)
{
	control_timer_stop(&leg->ping_timer);
	control_timer_stop(&leg->silence_timer);
	control_timer_stop(&leg->limit_timer);
	if (leg->ws != NULL && !leg->joined && !leg->resuming) {
		// The server may be letting us in at this moment: nobody shall stay there on our behalf.
		struct livekit_request leave = livekit_leave();
		leg_ops.ws_abandon(leg->ws, leave.data, leave.data != NULL ? leave.bytes : 0);
		leg_abandoned(leg);
		livekit_request_free(&leave);
	} else if (leg->ws != NULL) {
		leg_ops.ws_close(leg->ws);
	}
	leg->ws = NULL;
	leg->joined = false;
}

// ---- participants

// All of a message is taken in before anything is made of it: however often it names the target, it changes once.
static void participants_seen(struct leg *leg, size_t count, Livekit__ParticipantInfo **infos) RUNS_ON(control_role)
{
	const char *seen = NULL;
	bool gone = false;
	for (size_t i = 0; i < count; i++) {
		const Livekit__ParticipantInfo *info = infos[i];
		if (info->sid[0] == '\0' || strcmp(info->sid, leg->sid) == 0)
			continue;
		const struct leg_participant *other = leg_others_set(&leg->others, info, leg->target);
		if (other != NULL && other->target)
			seen = info->sid;
		gone |= info->state == LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED && leg->target[0] != '\0' &&
			strcmp(info->identity, leg->target) == 0;
	}
	const struct leg_participant *target = seen != NULL ? leg_others_find(&leg->others, seen) : NULL;
	// A phone that came back has another sid: the departure of its older self does not count then.
	if (target != NULL && target->target)
		leg_target_seen(leg, target);
	else if (gone && leg->others.targets == 0)
		leg_target_gone(leg);
}

// ---- messages

// In ms: what the server says, within reason.
static uint32_t seconds_or(int32_t seconds, uint32_t otherwise_ms)
{
	return seconds > 0 ? (uint32_t)MIN_OF(seconds, PING_SECONDS_MAX) * 1000 : otherwise_ms;
}

bool leg_may_complain(struct leg *leg)
{
	uint64_t now = clock_mono_ns();
	if (leg->complained_ns != 0 && now - leg->complained_ns < COMPLAIN_NS)
		return false;
	leg->complained_ns = now;
	return true;
}

static void on_join(struct leg *leg, const Livekit__JoinResponse *join) RUNS_ON(control_role)
{
	struct err err = {""};
	if (leg->joined) // said once on a connection; each one more would take another transport
		return;
	if (join->subscriber_primary) {
		leg_fail(leg, "the server wants two PeerConnections (it is older than LiveKit 1.9.1 or not open source): not supported yet");
		return;
	}
	leg->joined = true;
	leg->resuming = false;
	control_timer_stop(&leg->limit_timer);
	snprintf(leg->sid, sizeof(leg->sid), "%s", join->participant != NULL ? join->participant->sid : "");
	const char *version = join->server_info != NULL && join->server_info->version[0] ? join->server_info->version
											 : join->server_version;
	snprintf(leg->server_version, sizeof(leg->server_version), "%s", version);
	request_text_clean(leg->server_version);
	leg->ping_interval_ms = seconds_or(join->ping_interval, PING_INTERVAL_MS);
	leg->ping_timeout_ms = seconds_or(join->ping_timeout, PING_TIMEOUT_MS);
	control_timer_start(&leg->ping_timer, leg->ping_interval_ms, on_ping, leg);
	leg_others_clear(&leg->others);
	leg->target_present = false;
	leg_media_close(leg); // of an attempt before this one
	if (leg_media_open(leg, &err) < 0) {
		leg_fail(leg, err.text);
		return;
	}
	leg_report(leg, LEG_EVENT_MEDIA, "", "");
	leg_report(leg, LEG_EVENT_JOINED, "", "");
	if (leg->state == LEG_ENDED)
		return;
	participants_seen(leg, join->n_other_participants, join->other_participants);
	if (leg->track_sid[0] == '\0')
		leg_first_offer(leg);
}

void leg_signal_regained(struct leg *leg)
{
	leg->joined = true;
	leg->resuming = false;
	control_timer_stop(&leg->limit_timer);
	control_timer_stop(&leg->retry_timer);
	control_timer_start(&leg->ping_timer, leg->ping_interval_ms, on_ping, leg);
	control_timer_start(&leg->silence_timer, leg->ping_timeout_ms, on_silence, leg);
	if (leg->offer_outstanding != 0 || leg->offer_wanted) { // its answer may have gone down with the old connection
		leg->offer_outstanding = 0;
		leg_offer(leg);
	}
	leg_check_ready(leg);
}

static void on_reconnect(struct leg *leg) RUNS_ON(control_role)
{
	if (!leg->resuming) // answers no question of ours
		return;
	leg_signal_regained(leg);
	if (leg->state == LEG_RECOVERING && leg->transport_open && !leg->transport_up)
		leg_restart_ice(leg); // else the server would keep a participant whose media path is dead
}

static void on_leave(struct leg *leg, const Livekit__LeaveRequest *leave) RUNS_ON(control_role)
{
	char cause[160];
	snprintf(cause, sizeof(cause), "the server ended the participant: %s", livekit_reason_text((int)leave->reason));
	enum livekit_leave_kind kind = livekit_leave_kind(leave);
	bool refused_resume = leg->resuming && !leg->joined;
	leg_hang_up(leg);
	if (leave->reason == LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY && !leg->reached && leg->redials < REDIALS_MAX) {
		// A join of ours that was given up came through after this one. Whoever has a session is never stolen from: this is a
		// join that somebody is waiting for.
		leg_media_close(leg);
		leg_dial_later(leg, ++leg->redials * REDIAL_MS);
		return;
	}
	if (kind == LIVEKIT_LEAVE_STOP) {
		switch ((int)leave->reason) {
		case LIVEKIT__DISCONNECT_REASON__DUPLICATE_IDENTITY:
			leg_lose(leg, "duplicate_identity", cause);
			return;
		case LIVEKIT__DISCONNECT_REASON__ROOM_DELETED:
		case LIVEKIT__DISCONNECT_REASON__ROOM_CLOSED:
			leg_lose(leg, "room_deleted", cause);
			return;
		default:
			leg_lose(leg, "participant_removed", cause);
			return;
		}
	}
	if (!leg->reached) {
		leg_fail(leg, cause);
		return;
	}
	if (kind == LIVEKIT_LEAVE_SHUTDOWN) {
		leg_recover(leg, "server_shutdown", false);
	} else if (kind == LIVEKIT_LEAVE_RESUME && leg->transport_connected) {
		leg->transport_up = false; // whatever our own checks say: the server has given the path up and wants another
		leg_recover(leg, "transport_lost", true);
	} else
		leg_recover(leg, refused_resume && leg->reason[0] ? leg->reason : "transport_lost", false);
}

static void on_update(struct leg *leg, const Livekit__ParticipantUpdate *update) RUNS_ON(control_role)
{
	participants_seen(leg, update->n_participants, update->participants);
}

void leg_token_set(struct leg *leg, const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		return;
	OPENSSL_cleanse(leg->token, strlen(leg->token));
	free(leg->token);
	leg->token = copy;
}

static void on_moved(struct leg *leg, const Livekit__RoomMovedResponse *moved) RUNS_ON(control_role)
{
	if (moved->token[0] != '\0')
		leg_token_set(leg, moved->token);
	if (moved->participant != NULL)
		snprintf(leg->sid, sizeof(leg->sid), "%s", moved->participant->sid);
	leg_others_clear(&leg->others);
	leg_target_gone(leg);
	participants_seen(leg, moved->n_other_participants, moved->other_participants);
}

static void on_subscription_response(struct leg *leg, const Livekit__SubscriptionResponse *response)
{
	// Repeated every 3 s and not terminal: the server keeps trying, and so do we.
	if (leg_may_complain(leg))
		log_line(LOG_WARN, "The server could not subscribe the track", S("userId", leg->user_id),
			S("track", response->track_sid), I("error", response->err));
}

static void on_message(struct leg *leg, const Livekit__SignalResponse *message) RUNS_ON(control_role)
{
	switch (message->message_case) {
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN:
		on_join(leg, message->join);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT:
		on_reconnect(leg);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ANSWER:
		leg_answer(leg, message->answer);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_OFFER:
		leg_fail(leg, "the server sent an offer: it wants two PeerConnections, which is not supported yet");
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_TRICKLE:
		leg_candidate(leg, message->trickle->candidateinit);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_UPDATE:
		on_update(leg, message->update);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_PERMISSION_UPDATE:
		leg_permission(leg, message->subscription_permission_update);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_MEDIA_SECTIONS_REQUIREMENT:
		leg_sections_required(leg, message->media_sections_requirement->num_audios);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_REFRESH_TOKEN:
		leg_token_set(leg, message->refresh_token);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE:
		on_leave(leg, message->leave);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_SUBSCRIPTION_RESPONSE:
		on_subscription_response(leg, message->subscription_response);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_ROOM_MOVED:
		on_moved(leg, message->room_moved);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_PONG_RESP:
		leg->rtt_ms = MAX_OF(clock_wall_us() / 1000 - message->pong_resp->last_ping_timestamp, 0);
		break;
	default:
		// Deliberately ignored: what concerns publishing (track_published, mute, track_unpublished, track_subscribed,
		// subscribed_audio_codec_update, request_response), video (stream_state_update, subscribed_quality_update),
		// data tracks and blobs, and what is only for show (room_update, speakers_changed, connection_quality, pong).
		break;
	}
}

// ---- the WebSocket

static void refused(struct leg *leg, const struct ws_event *event) RUNS_ON(control_role)
{
	leg->ws = NULL;
	control_timer_stop(&leg->limit_timer);
	if (event->http_status == 404 && !leg->legacy && !leg->reached) { // a server between 1.9.1 and 1.9.9
		leg->legacy = true;
		leg_dial(leg);
		return;
	}
	if (!leg->reached) {
		leg_fail(leg, event->text != NULL && event->text[0] ? event->text : "the server could not be reached");
		return;
	}
	leg_recover(leg, leg->reason[0] ? leg->reason : "signal_lost", true);
}

void leg_signal_ended(const struct ws_event *event, char *ret_cause, size_t size)
{
	snprintf(ret_cause, size, "the signalling connection ended: %s",
		event->text != NULL && event->text[0] != '\0' ? event->text : "closed by the server");
}

// Control works for what a message unfolds to, and few bytes can unfold to much. False: this server has had its share. ret_message:
// NULL when it does not parse.
static bool message_read(struct leg *leg, const struct ws_event *event, Livekit__SignalResponse **ret_message)
{
	size_t budget = LIVEKIT_DECODED_MAX;
	*ret_message = livekit_decode_within(event->data, event->bytes, &budget);
	if (credit_take(&leg->unfolded, (double)(LIVEKIT_DECODED_MAX - budget), clock_mono_ns()))
		return true;
	livekit_free(*ret_message);
	*ret_message = NULL;
	return false;
}

static const struct ws_event too_much = {.type = WS_CLOSED, .text = "the server sends more than can be handled"};

// The connection of a resume that a JoinRoom asked for, until the server accepts it.
static void on_takeover_ws(struct leg *leg, const struct ws_event *event) RUNS_ON(control_role)
{
	Livekit__SignalResponse *message;
	if (event->type == WS_OPEN)
		return;
	if (event->type != WS_MESSAGE) {
		leg_takeover_lost(leg, event);
		return;
	}
	if (!message_read(leg, event, &message))
		leg_takeover_lost(leg, &too_much);
	else if (message != NULL)
		leg_takeover_message(leg, message);
	livekit_free(message);
}

static void on_lost(struct leg *leg, const struct ws_event *event) RUNS_ON(control_role)
{
	char cause[600];
	leg_signal_ended(event, cause, sizeof(cause));
	leg_hang_up(leg);
	if (leg->reached)
		leg_recover(leg, "signal_lost", true);
	else
		leg_fail(leg, cause);
}

static void on_ws_message(struct leg *leg, const struct ws_event *event) RUNS_ON(control_role)
{
	Livekit__SignalResponse *message;
	if (!message_read(leg, event, &message)) {
		on_lost(leg, &too_much);
		return;
	}
	if (leg->joined)
		control_timer_start(&leg->silence_timer, leg->ping_timeout_ms, on_silence, leg);
	if (message != NULL)
		on_message(leg, message);
	else if (leg_may_complain(leg))
		log_line(LOG_WARN, "A signalling message that does not parse", S("userId", leg->user_id), I("bytes", event->bytes));
	livekit_free(message);
}

static void on_ws(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	if (leg_silenced(leg)) // a JoinResponse that is late would open a transport for a source that may be gone
		return;
	if (ws == leg->takeover.ws) {
		on_takeover_ws(leg, event);
		return;
	}
	if (ws != leg->ws)
		return;
	switch (event->type) {
	case WS_OPEN:
		break;
	case WS_MESSAGE:
		on_ws_message(leg, event);
		break;
	case WS_FAILED:
		leg_ops.ws_close(ws);
		refused(leg, event);
		break;
	case WS_CLOSED:
		on_lost(leg, event);
		break;
	}
}

static void on_signal_late(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	leg_hang_up(leg);
	if (leg->reached)
		leg_recover(leg, leg->reason[0] ? leg->reason : "signal_lost", true);
	else
		leg_fail(leg, "the server did not answer the join in time");
}

struct ws *leg_connect(struct leg *leg, const char *resume_sid, const char *token, struct err *err)
{
	char path[LIVEKIT_PATH_MAX], url[LIVEKIT_PATH_MAX + URL_TEXT_MAX], validate[LIVEKIT_PATH_MAX + URL_TEXT_MAX];
	struct livekit_join join = {.legacy = leg->legacy, .resume_sid = resume_sid};
	int ret = livekit_join_path(&join, path, sizeof(path));
	if (ret >= 0)
		ret = url_format(&leg->url, false, path, url, sizeof(url));
	join.validate = true;
	if (ret >= 0)
		ret = livekit_join_path(&join, path, sizeof(path));
	if (ret >= 0)
		ret = url_format(&leg->url, true, path, validate, sizeof(validate));
	if (ret < 0) {
		err_set(err, ENAMETOOLONG, "the URL is too long");
		return NULL;
	}
	struct ws_config config = {
		.url = url,
		.bearer = token,
		.ca_file = leg->config->livekit.ca_file,
		.connect_limit_ms = leg->config->limits.signal_ms,
		.validate_url = validate,
		.event = on_ws,
		.arg = leg,
	};
	return leg_ops.ws_connect(&config, err);
}

void leg_dial(struct leg *leg)
{
	struct err err = {""};
	leg->joined = false;
	leg->ws = leg_connect(leg, leg->resuming ? leg->sid : NULL, leg->token, &err);
	if (leg->ws == NULL) {
		if (leg->reached)
			leg_recover(leg, leg->reason[0] ? leg->reason : "signal_lost", true);
		else
			leg_fail(leg, err.text);
		return;
	}
	control_timer_start(&leg->limit_timer, leg->config->limits.signal_ms + 500, on_signal_late, leg);
}
