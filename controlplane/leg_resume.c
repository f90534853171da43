// SPDX-License-Identifier: ISC
//
// leg_resume.c - a JoinRoom takes over a living leg: a second signalling connection with the new token, opened before the old one
// closes, while the media path is carried over untouched (facts: livekit-observed.md O3).
//
// Beside the dialling the old transport is probed by one connectivity check. One that does not answer within 300 ms is dead: the
// server, which has accepted the resume, is offered an ICE restart then; without it the participant would stay in the room for
// ever, deaf (O7). Two takeovers never run at once.
//
// Runs on: control.

#include <openssl/crypto.h>
#include <stdlib.h>

#include "controlplane/leg_state.h"
#include "controlplane/log.h"

#define PROBE_LIMIT_MS 300
// A restart is one or two round trips; a join has no time for a dead path.
#define RESTART_LIMIT_MS 1000

static void on_recover_due(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	char reason[sizeof(leg->recover_due)];
	memcpy(reason, leg->recover_due, sizeof(reason));
	leg->recover_due[0] = '\0';
	if (reason[0] != '\0') // else another takeover has succeeded in between
		leg_recover(leg, reason, leg->transport_open && leg->transport_connected);
}

void leg_recover_later(struct leg *leg, const char *reason)
{
	snprintf(leg->recover_due, sizeof(leg->recover_due), "%s", reason);
}

// What the leg put off for the takeover it does now, a turn of the loop later: nobody is in the middle of it then.
static void takeover_clear(struct leg *leg) RUNS_ON(control_role)
{
	struct leg_takeover *takeover = &leg->takeover;
	if (leg->recover_due[0] != '\0')
		control_timer_start(&leg->closed_timer, 0, on_recover_due, leg);
	control_timer_stop(&takeover->limit_timer);
	control_timer_stop(&takeover->probe_timer);
	if (takeover->ws != NULL)
		leg_ops.ws_close(takeover->ws);
	if (takeover->token != NULL)
		OPENSSL_cleanse(takeover->token, strlen(takeover->token));
	free(takeover->token);
	*takeover = (struct leg_takeover){0};
}

static void takeover_end(struct leg *leg, enum leg_event_type type, const char *cause) RUNS_ON(control_role)
{
	char copy[512];
	snprintf(copy, sizeof(copy), "%s", cause);
	takeover_clear(leg);
	leg_report(leg, type, "", copy);
}

bool leg_resumable(const struct leg *leg)
{
	return leg->reached && leg->state != LEG_ENDED && leg->sid[0] != '\0' && leg->transport_open &&
	       leg->transport_connected;
}

static void on_takeover_late(void *arg)
{
	ENTERS(control_role);
	takeover_end(arg, LEG_EVENT_RESUME_FAILED, "the server did not answer the resume in time");
}

static void on_restart_late(void *arg)
{
	ENTERS(control_role);
	takeover_end(arg, LEG_EVENT_REFUSED, "the media path is dead and an ICE restart did not bring it back");
}

// Both have to come: the server's word and a sign of life of the transport.
static void takeover_advance(struct leg *leg) RUNS_ON(control_role)
{
	struct leg_takeover *takeover = &leg->takeover;
	if (!takeover->accepted)
		return;
	if (takeover->alive) {
		leg->recover_due[0] = '\0';
		takeover_end(leg, LEG_EVENT_RESUMED, "");
		return;
	}
	if (!takeover->dead || takeover->restarted)
		return;
	takeover->restarted = true;
	control_timer_start(&takeover->limit_timer, RESTART_LIMIT_MS, on_restart_late, leg);
	leg_restart_ice(leg);
}

static void on_probe_late(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	leg->takeover.dead = true;
	takeover_advance(leg);
}

int leg_resume(struct leg *leg, const char *token, struct err *err)
{
	struct leg_takeover *takeover = &leg->takeover;
	takeover_clear(leg);
	takeover->token = strdup(token);
	if (takeover->token == NULL)
		return err_set(err, ENOMEM, "out of memory");
	takeover->ws = leg_connect(leg, leg->sid, takeover->token, err);
	if (takeover->ws == NULL) {
		takeover_clear(leg);
		return -ECONNABORTED;
	}
	if (leg->state == LEG_RECOVERING && !leg->joined) { // two resumes at once confuse the server
		control_timer_stop(&leg->retry_timer);
		leg_hang_up(leg);
		leg_recover_later(leg, leg->reason);
	}
	control_timer_start(&takeover->limit_timer, leg->config->limits.signal_ms + 500, on_takeover_late, leg);
	control_timer_start(&takeover->probe_timer, leg_ops.transport_probe(leg->transport) < 0 ? 0 : PROBE_LIMIT_MS, on_probe_late,
		leg);
	return 0;
}

void leg_resume_abandon(struct leg *leg)
{
	takeover_clear(leg);
}

bool leg_resume_accepted(const struct leg *leg)
{
	return leg->takeover.accepted;
}

void leg_takeover_probed(struct leg *leg)
{
	struct leg_takeover *takeover = &leg->takeover;
	if (takeover->token == NULL)
		return;
	takeover->alive = true;
	control_timer_stop(&takeover->probe_timer);
	takeover_advance(leg);
}

// The old connection's end, in whichever order the server does it, is no loss from here on.
static void takeover_accepted(struct leg *leg) RUNS_ON(control_role)
{
	struct leg_takeover *takeover = &leg->takeover;
	leg_hang_up(leg);
	leg->ws = takeover->ws;
	takeover->ws = NULL;
	leg_token_set(leg, takeover->token);
	takeover->accepted = true;
	control_timer_stop(&takeover->limit_timer);
	leg_signal_regained(leg);
	takeover_advance(leg);
}

void leg_takeover_message(struct leg *leg, const Livekit__SignalResponse *message)
{
	char cause[160];
	switch (message->message_case) {
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_RECONNECT:
		takeover_accepted(leg);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_LEAVE:
		snprintf(cause, sizeof(cause), "the server refused the resume: %s",
			livekit_reason_text((int)message->leave->reason));
		takeover_end(leg, LEG_EVENT_REFUSED, cause);
		break;
	case LIVEKIT__SIGNAL_RESPONSE__MESSAGE_JOIN:
		takeover_end(leg, LEG_EVENT_REFUSED, "the server took the resume for a new join");
		break;
	default:
		break; // nothing else is said before one of these
	}
}

void leg_takeover_lost(struct leg *leg, const struct ws_event *event)
{
	const char *text = event->text != NULL && event->text[0] != '\0' ? event->text : "the server could not be reached";
	char cause[600];
	leg_signal_ended(event, cause, sizeof(cause));
	takeover_end(leg, LEG_EVENT_RESUME_FAILED, event->type == WS_CLOSED ? cause : text);
}
