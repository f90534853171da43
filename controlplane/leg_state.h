// SPDX-License-Identifier: ISC
//
// leg_state.h - what is inside a leg; shared by its signalling (leg_signal.c), its media (leg_media.c) and its life (leg.c).
//
// Runs on: control.
#pragma once

#include "controlplane/allowance.h"
#include "controlplane/backoff.h"
#include "controlplane/control.h"
#include "controlplane/leg.h"
#include "controlplane/leg_others.h"
#include "controlplane/livekit.h"
#include "controlplane/token.h"
#include "controlplane/url.h"
#include "controlplane/ws.h"

#define LEG_UNFOLDED_PER_SECOND (4u << 20) // bytes of memory that messages may unfold to; at once as much as one of them may

// A resume that a JoinRoom asked for, in progress while token is not NULL (leg_resume.c).
struct leg_takeover {
	struct ws *ws; // until the server accepts; then it is the leg's
	char *token;
	bool accepted;    // by the server
	bool alive, dead; // the transport answered, or did not in time
	bool restarted;   // ICE
	struct control_timer limit_timer, probe_timer;
};

// What legs ask of WebSockets and transports; tests put their own in.
struct leg_ops {
	struct ws *(*ws_connect)(const struct ws_config *config, struct err *err);
	int (*ws_send)(struct ws *ws, const void *data, size_t bytes);
	void (*ws_close)(struct ws *ws);
	void (*ws_abandon)(struct ws *ws, const void *farewell, size_t bytes);
	int (*transport_open)(const struct transport_config *config, transport_id *ret_id, struct transport_local *ret_local,
		struct err *err);
	int (*transport_set_remote)(transport_id id, const struct transport_remote *remote, struct err *err);
	int (*transport_add_candidate)(transport_id id, struct endpoint remote, uint32_t priority);
	int (*transport_map)(transport_id id, uint32_t ssrc, uint8_t pt_opus, uint8_t pt_red);
	int (*transport_unmap)(transport_id id, uint32_t ssrc);
	int (*transport_set_target)(transport_id id, const char *data_identity, uint32_t voice);
	int (*transport_probe)(transport_id id);
	int (*transport_restart)(transport_id id, struct transport_local *ret_local, struct err *err);
	void (*transport_close)(transport_id id);
};
extern struct leg_ops leg_ops;

struct leg {
	struct leg *next; // in its bucket by transport
	const struct config *config;
	leg_event_fn *event;
	void *arg;
	uint32_t generation, voice;
	struct source *source;
	char user_id[257], target[TOKEN_NAME_MAX], url_text[URL_TEXT_MAX];
	struct url url;
	struct token claims;
	char *token; // the newest: ours, or as refreshed by the server

	enum leg_state state;
	bool ready;          // READY was reported
	bool reached;        // a first join succeeded: later failures are losses
	bool frozen;         // somebody newer takes its place
	char recover_due[32]; // why it has to recover when the takeover that decides comes to nothing; empty: it has not
	unsigned redials;    // of a join that a late one of our own threw out
	struct leg_takeover takeover;
	char reason[32];     // why it recovers

	// signalling
	struct ws *ws;
	bool joined;         // this connection has given us join or reconnect
	bool resuming, legacy;
	char sid[LEG_SID_MAX], server_version[64];
	uint32_t ping_interval_ms, ping_timeout_ms;
	int64_t rtt_ms;
	struct leg_others others;
	struct credit unfolded; // by messages of all its connections
	uint64_t complained_ns; // of the server, in the log

	// media
	transport_id transport;
	struct transport_local local;
	bool transport_open, transport_connected; // connected: DTLS has been established
	bool transport_up;    // consent is fresh
	bool ice_restarting, data_open;
	uint64_t session_id;
	uint32_t offer_id, offer_outstanding; // 0: none
	unsigned audio_count;
	bool offer_wanted;
	bool target_present, track_muted, permission_waited;
	char track_sid[LEG_SID_MAX]; // subscribed, "": none
	uint32_t ssrc;               // mapped, 0: none

	struct control_timer limit_timer, ping_timer, silence_timer, permission_timer, retry_timer, recover_timer, closed_timer;
	struct backoff backoff;
	uint64_t connected_ns; // since when
};

// ---- leg.c
bool leg_silenced(const struct leg *leg); // nobody has it any more: it only waits to leave
void leg_report(struct leg *leg, enum leg_event_type type, const char *reason, const char *cause);
void leg_fail(struct leg *leg, const char *cause) RUNS_ON(control_role);                     // before READY
void leg_lose(struct leg *leg, const char *reason, const char *cause) RUNS_ON(control_role); // for good
// Something broke: try to get back. keep_transport: the media path lives, signalling alone is missing.
void leg_recover(struct leg *leg, const char *reason, bool keep_transport) RUNS_ON(control_role);
void leg_check_ready(struct leg *leg) RUNS_ON(control_role);
void leg_dial_later(struct leg *leg, uint64_t delay_ms) RUNS_ON(control_role);
// A join of this participant was given up while the server may still be letting it in: another must not overtake it.
void leg_abandoned(const struct leg *leg) RUNS_ON(control_role);
void leg_index(struct leg *leg) RUNS_ON(control_role); // under its transport

// ---- leg_resume.c
// Once the takeover that is on its way has come to nothing; not at all if it succeeds.
void leg_recover_later(struct leg *leg, const char *reason) RUNS_ON(control_role);
void leg_takeover_probed(struct leg *leg) RUNS_ON(control_role);
void leg_takeover_message(struct leg *leg, const Livekit__SignalResponse *message) RUNS_ON(control_role);
void leg_takeover_lost(struct leg *leg, const struct ws_event *event) RUNS_ON(control_role);

// ---- leg_signal.c
void leg_dial(struct leg *leg) RUNS_ON(control_role);
// A signalling connection with that token; resume_sid: of the participant to take over, NULL: a new join.
struct ws *leg_connect(struct leg *leg, const char *resume_sid, const char *token, struct err *err) RUNS_ON(control_role);
// How a connection that was open came to its end, in a sentence.
void leg_signal_ended(const struct ws_event *event, char *ret_cause, size_t size);
// Whether one more line about this server may go into the log, which it must not fill: one a second.
bool leg_may_complain(struct leg *leg);
// The server has given us the participant again.
void leg_signal_regained(struct leg *leg) RUNS_ON(control_role);
void leg_token_set(struct leg *leg, const char *token);
void leg_hang_up(struct leg *leg) RUNS_ON(control_role);
int leg_send(struct leg *leg, struct livekit_request request) RUNS_ON(control_role); // frees the request

// ---- leg_media.c
int leg_media_open(struct leg *leg, struct err *err) RUNS_ON(control_role);
void leg_media_close(struct leg *leg) RUNS_ON(control_role);
void leg_restart_ice(struct leg *leg) RUNS_ON(control_role); // an offer with new credentials
void leg_offer(struct leg *leg) RUNS_ON(control_role); // now, or when the one outstanding is answered
void leg_answer(struct leg *leg, const Livekit__SessionDescription *answer) RUNS_ON(control_role);
void leg_candidate(struct leg *leg, const char *json) RUNS_ON(control_role);
void leg_sections_required(struct leg *leg, unsigned audios) RUNS_ON(control_role);
void leg_target_seen(struct leg *leg, const struct leg_participant *target) RUNS_ON(control_role);
void leg_target_gone(struct leg *leg) RUNS_ON(control_role);
void leg_permission(struct leg *leg, const Livekit__SubscriptionPermissionUpdate *update) RUNS_ON(control_role);
void leg_first_offer(struct leg *leg) RUNS_ON(control_role);
