// SPDX-License-Identifier: ISC
//
// leg.c - a leg's life: joined, ready, recovering by itself, lost for good, left.
//
// Runs on: control. Which event does what in which state:
//
//   state       | signalling lost       | transport failed      | leave: stop  | leave: shutdown, rejoin | limit passed
//   ------------+-----------------------+-----------------------+--------------+-------------------------+--------------
//   JOINING     | FAILED                | FAILED                | FAILED       | FAILED                  | FAILED
//   CONNECTED   | RECOVERING: resume    | RECOVERING: resume    | LOST         | RECOVERING: rejoin      | -
//   RECOVERING  | next attempt          | next attempt: rejoin  | LOST         | next attempt: rejoin    | LOST
//   frozen      | LOST                  | LOST                  | LOST         | LOST                    | LOST
//   ENDED       | -                     | -                     | -            | -                       | -
//
// A resume whose transport gives no sign of life is followed by an ICE restart; refused, it becomes a rejoin.

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "controlplane/leg_state.h"
#include "controlplane/log.h"

#define BUCKETS 1024
// A server that ends our PeerConnection says why a moment later, or has forgotten to.
#define CLOSED_WAIT_MS 1000
// A join that was given up is let in and says farewell within this; another of the same participant waits for it, or the late one
// would throw it out.
#define ABANDON_SETTLE_MS 250
#define ABANDONED_KEPT 64
#define CONSENT_FRESH_NS 5000000000ull
// Connected for so long, the next loss is a new one and the first attempt comes at once. A server that lets us in and drops us in
// turn does not make us dial at the speed of the round trip.
#define STEADY_NS 5000000000ull

static struct leg *buckets[BUCKETS]; // legs with a transport, by its index

struct leg_ops leg_ops = {
	.ws_connect = ws_connect,
	.ws_send = ws_send,
	.ws_close = ws_close,
	.ws_abandon = ws_abandon,
	.transport_open = transport_open,
	.transport_set_remote = transport_set_remote,
	.transport_add_candidate = transport_add_candidate,
	.transport_map = transport_map,
	.transport_unmap = transport_unmap,
	.transport_set_target = transport_set_target,
	.transport_probe = transport_probe,
	.transport_restart = transport_restart,
	.transport_close = transport_close,
};

void leg_report(struct leg *leg, enum leg_event_type type, const char *reason, const char *cause)
{
	if (leg->event != NULL)
		leg->event(leg->arg, leg, type, reason, cause != NULL ? cause : "");
}

// The slot, and its source with it, may be gone a moment later: nothing that comes in after this may begin anything. The signalling
// connection stays as it is, for the farewell.
void leg_silence(struct leg *leg)
{
	struct control_timer *timers[] = {&leg->limit_timer, &leg->ping_timer, &leg->silence_timer, &leg->permission_timer,
		&leg->retry_timer, &leg->recover_timer, &leg->closed_timer, &leg->takeover.limit_timer, &leg->takeover.probe_timer};
	leg->event = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
		control_timer_stop(timers[i]);
}

bool leg_silenced(const struct leg *leg)
{
	return leg->event == NULL;
}

// ---- which leg a transport belongs to

static void unindex(struct leg *leg)
{
	for (unsigned b = 0; b < BUCKETS; b++) {
		for (struct leg **link = &buckets[b]; *link != NULL; link = &(*link)->next) {
			if (*link == leg) {
				*link = leg->next;
				return;
			}
		}
	}
}

void leg_index(struct leg *leg)
{
	unindex(leg);
	if (!leg->transport_open)
		return;
	struct leg **bucket = &buckets[leg->transport % BUCKETS];
	leg->next = *bucket;
	*bucket = leg;
}

static struct leg *leg_of(transport_id transport)
{
	struct leg *leg = buckets[transport % BUCKETS];
	while (leg != NULL && leg->transport != transport)
		leg = leg->next;
	return leg;
}

// ---- the way down

static void end(struct leg *leg) RUNS_ON(control_role)
{
	leg->state = LEG_ENDED;
	control_timer_stop(&leg->retry_timer);
	control_timer_stop(&leg->recover_timer);
	leg_resume_abandon(leg);
	leg_hang_up(leg);
	leg_media_close(leg);
}

void leg_fail(struct leg *leg, const char *cause)
{
	char copy[512];
	if (leg->state == LEG_ENDED)
		return;
	if (leg->reached) {
		leg_recover(leg, "transport_lost", false);
		return;
	}
	snprintf(copy, sizeof(copy), "%s", cause);
	if (leg->joined) // do not stay in the room with half a connection
		leg_send(leg, livekit_leave());
	end(leg);
	leg_report(leg, LEG_EVENT_FAILED, "join_failed", copy);
}

void leg_lose(struct leg *leg, const char *reason, const char *cause)
{
	if (leg->state == LEG_ENDED)
		return;
	bool was_ready = leg->reached;
	end(leg);
	leg_report(leg, was_ready ? LEG_EVENT_LOST : LEG_EVENT_FAILED, reason, cause);
}

// ---- recovery

static void on_retry(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	leg->resuming = leg->transport_open && leg->transport_connected;
	if (!leg->resuming)
		leg_media_close(leg);
	leg_dial(leg);
}

static void on_recover_late(void *arg)
{
	ENTERS(control_role);
	struct leg *leg = arg;
	char reason[32];
	snprintf(reason, sizeof(reason), "%s", leg->reason);
	if (leg->joined) // a participant that the server has resumed and we cannot use would stay for ever
		leg_send(leg, livekit_leave());
	leg_lose(leg, reason, "not regained within the limit");
}

void leg_recover(struct leg *leg, const char *reason, bool keep_transport)
{
	uint32_t random = 0;
	if (leg->state == LEG_ENDED)
		return;
	if (leg->frozen) {
		leg_lose(leg, reason, "while a newer participant takes its place");
		return;
	}
	leg_hang_up(leg);
	if (keep_transport && leg->takeover.token != NULL && !leg->takeover.accepted) {
		// A server that takes the new connection in may end the old one first: no loss if it does. If it does not, the recovery
		// comes then: two resumes at once confuse a server.
		leg_recover_later(leg, reason);
		return;
	}
	if (!keep_transport) {
		leg_media_close(leg);
		leg->target_present = false;
	}
	if (leg->state == LEG_CONNECTED && clock_mono_ns() - leg->connected_ns >= STEADY_NS)
		backoff_reset(&leg->backoff);
	if (leg->state != LEG_RECOVERING) {
		leg->state = LEG_RECOVERING;
		snprintf(leg->reason, sizeof(leg->reason), "%s", reason);
		control_timer_start(&leg->recover_timer, leg->config->limits.recover_limit_ms, on_recover_late, leg);
		leg_report(leg, LEG_EVENT_STATE, leg->reason, "");
		if (leg->state != LEG_RECOVERING)
			return;
	}
	RAND_bytes((unsigned char *)&random, sizeof(random));
	control_timer_start(&leg->retry_timer, backoff_next_ms(&leg->backoff, random), on_retry, leg);
}

void leg_check_ready(struct leg *leg)
{
	if (leg->state == LEG_ENDED || leg->state == LEG_CONNECTED || !leg->joined || !leg->transport_up)
		return;
	if (leg->track_sid[0] != '\0' && leg->ssrc == 0 && leg->state == LEG_JOINING)
		return; // the answer that names the track is on its way
	bool recovered = leg->state == LEG_RECOVERING;
	leg->state = LEG_CONNECTED;
	leg->reached = true;
	leg->reason[0] = '\0';
	leg->ice_restarting = false;
	leg->connected_ns = clock_mono_ns();
	control_timer_stop(&leg->recover_timer);
	control_timer_stop(&leg->retry_timer);
	if (!leg->ready) {
		leg->ready = true;
		leg_report(leg, LEG_EVENT_READY, "", "");
	} else if (recovered) {
		leg_report(leg, LEG_EVENT_STATE, "", "");
	}
}

// ---- what the dataplane reports

static void on_closed_wait(void *arg)
{
	ENTERS(control_role);
	leg_recover(arg, "transport_lost", false);
}

// The server may still have the participant: a resume with an ICE restart keeps keys and channels. Once.
static void transport_failed(struct leg *leg, const char *cause) RUNS_ON(control_role)
{
	if (!leg->reached)
		leg_fail(leg, cause);
	else if (leg->takeover.token != NULL)
		leg_recover_later(leg, "transport_lost"); // the takeover decides, by its own limit
	else
		leg_recover(leg, "transport_lost", leg->transport_connected && !leg->ice_restarting);
}

void leg_transport_event(const struct dataplane_event *event)
{
	struct leg *leg = leg_of(event->transport);
	if (leg == NULL || leg->state == LEG_ENDED || leg_silenced(leg))
		return;
	switch (event->type) {
	case TRANSPORT_EVENT_STATE:
		leg->transport_up = event->state == TRANSPORT_CONNECTED;
		if (leg->transport_up) {
			leg->transport_connected = true;
			leg_check_ready(leg);
		} else if (event->state == TRANSPORT_FAILED) {
			transport_failed(leg, event->reason);
		}
		break;
	case TRANSPORT_EVENT_DATA_CLOSED:
		control_timer_start(&leg->closed_timer, CLOSED_WAIT_MS, on_closed_wait, leg);
		break;
	case TRANSPORT_EVENT_PROBED:
		leg->transport_up = true;
		leg_takeover_probed(leg);
		leg_check_ready(leg);
		break;
	case TRANSPORT_EVENT_DATA_OPEN:
		leg->data_open = true;
		leg_report(leg, LEG_EVENT_DATA, "", "");
		break;
	case SOURCE_EVENT_ARRIVED:
		leg_report(leg, LEG_EVENT_ARRIVED, "", "");
		break;
	case SOURCE_EVENT_HEARD:
		leg_report(leg, LEG_EVENT_HEARD, "", "");
		break;
	case SOURCE_EVENT_ALIGNED:
		leg_report(leg, LEG_EVENT_ALIGNED, "", "");
		break;
	}
}

// ---- joins that were given up half way

static struct {
	uint64_t key, at_ns;
} abandoned[ABANDONED_KEPT];
static unsigned abandoned_count;

static uint64_t participant_key(const struct leg *leg)
{
	uint64_t key = 14695981039346656037u;
	const char *const parts[] = {leg->url_text, leg->claims.room, leg->claims.identity};
	for (size_t p = 0; p < ARRAY_SIZE(parts); p++)
		for (const char *c = parts[p];; c++) { // with its end, so that parts do not run together
			key = (key ^ (uint8_t)*c) * 1099511628211u;
			if (*c == '\0')
				break;
		}
	return key;
}

void leg_abandoned(const struct leg *leg)
{
	abandoned[abandoned_count % ABANDONED_KEPT].key = participant_key(leg);
	abandoned[abandoned_count++ % ABANDONED_KEPT].at_ns = clock_mono_ns();
}

static bool abandoned_lately(const struct leg *leg)
{
	uint64_t key = participant_key(leg), now_ns = clock_mono_ns();
	for (unsigned i = 0; i < ABANDONED_KEPT; i++)
		if (abandoned[i].key == key && now_ns - abandoned[i].at_ns < ABANDON_SETTLE_MS * 1000000ull)
			return true;
	return false;
}

// ---- from outside

struct leg *leg_join(const struct leg_config *config, struct err *err)
{
	struct leg *leg = calloc(1, sizeof(*leg));
	if (leg == NULL) {
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	leg->config = config->config;
	leg->event = config->event;
	leg->arg = config->arg;
	leg->generation = leg->voice = config->generation;
	leg->source = config->source;
	leg->state = LEG_JOINING;
	credit_begin(&leg->unfolded, LIVEKIT_DECODED_MAX, LEG_UNFOLDED_PER_SECOND, clock_mono_ns());
	snprintf(leg->user_id, sizeof(leg->user_id), "%s", config->user_id);
	snprintf(leg->target, sizeof(leg->target), "%s", config->target_identity);
	int ret = url_parse(config->url, &leg->url, err);
	if (ret == 0)
		ret = token_read(config->token, &leg->claims, err);
	if (ret == 0 && url_format(&leg->url, false, "", leg->url_text, sizeof(leg->url_text)) < 0)
		ret = err_set(err, ENAMETOOLONG, "the URL is too long");
	leg->token = ret == 0 ? strdup(config->token) : NULL;
	if (ret == 0 && leg->token == NULL)
		ret = err_set(err, ENOMEM, "out of memory");
	if (ret < 0) {
		free(leg);
		return NULL;
	}
	leg_dial_later(leg, abandoned_lately(leg) ? ABANDON_SETTLE_MS : 0);
	return leg;
}

static void on_dial(void *arg)
{
	ENTERS(control_role);
	leg_dial(arg);
}

// A turn of the loop later: no event comes before the caller has the leg in its hands.
void leg_dial_later(struct leg *leg, uint64_t delay_ms)
{
	control_timer_start(&leg->retry_timer, delay_ms, on_dial, leg);
}

void leg_leave(struct leg *leg, const char *reason)
{
	if (leg == NULL)
		return;
	if (leg->joined)
		leg_send(leg, livekit_leave());
	leg->resuming = false; // a resume that the server may be accepting at this moment takes the farewell along too
	log_line(LOG_DEBUG, "Leg ends", S("userId", leg->user_id), S("reason", reason), I("generation", leg->generation));
	end(leg);
	OPENSSL_cleanse(leg->token, strlen(leg->token));
	free(leg->token);
	leg_others_free(&leg->others);
	free(leg);
}

// ---- making room for a newer participant

void leg_freeze(struct leg *leg)
{
	leg->frozen = true;
	leg_resume_abandon(leg);
	if (leg->state != LEG_RECOVERING)
		return;
	control_timer_stop(&leg->retry_timer);
	control_timer_stop(&leg->recover_timer);
	leg_hang_up(leg);
}

void leg_thaw(struct leg *leg)
{
	leg->frozen = false;
	if (leg->state != LEG_RECOVERING)
		return;
	control_timer_start(&leg->recover_timer, leg->config->limits.recover_limit_ms, on_recover_late, leg);
	leg_recover(leg, leg->reason, leg->transport_open && leg->transport_connected);
}

void leg_set_generation(struct leg *leg, uint32_t generation)
{
	leg->generation = generation;
}

enum leg_state leg_state(const struct leg *leg)
{
	return leg->state;
}

uint32_t leg_generation(const struct leg *leg)
{
	return leg->generation;
}

const char *leg_url(const struct leg *leg)
{
	return leg->url_text;
}

const char *leg_room(const struct leg *leg)
{
	return leg->claims.room;
}

const char *leg_identity(const struct leg *leg)
{
	return leg->claims.identity;
}

const char *leg_target(const struct leg *leg)
{
	return leg->target;
}

const char *leg_server_version(const struct leg *leg)
{
	return leg->server_version;
}

unsigned leg_participant_count(const struct leg *leg)
{
	return leg->others.count + 1;
}

bool leg_target_present(const struct leg *leg)
{
	return leg->target_present;
}

bool leg_track_subscribed(const struct leg *leg)
{
	return leg->ssrc != 0;
}

const char *leg_track_sid(const struct leg *leg)
{
	return leg->track_sid;
}

bool leg_track_muted(const struct leg *leg)
{
	return leg->track_muted;
}

transport_id leg_transport(const struct leg *leg)
{
	return leg->transport_open ? leg->transport : 0;
}

bool leg_data_open(const struct leg *leg)
{
	return leg->data_open;
}

uint32_t leg_voice(const struct leg *leg)
{
	return leg->voice;
}

bool leg_consent_fresh(const struct leg *leg)
{
	struct transport_info info;
	ENTERS(control_role);
	if (!leg->transport_open || !leg->transport_connected || transport_info(leg->transport, &info) < 0)
		return false;
	return info.consent_ns != 0 && clock_mono_ns() - info.consent_ns < CONSENT_FRESH_NS;
}
