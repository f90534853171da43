// SPDX-License-Identifier: ISC
//
// leg_fuzz.c - a leg's whole life with a server that says what it likes, when it likes: messages, ends of connections, the media
// path coming and going, timers running out, the user being joined again. What must always hold is checked after each step.
//
// Runs on: control (played by the harness).
//
// Input: per step one byte (low four bits: what happens; bit 7 of a message: on the newest connection, else on the leg's), and for a
// message two bytes of length and the message.

#include "tests/support/leg_world.h"

// {"sub":"bridge","video":{"room":"room"}}
#define TOKEN "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicmlkZ2UiLCJ2aWRlbyI6eyJyb29tIjoicm9vbSJ9fQ.c2ln"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char no_file[] = "";
static struct config config = {.livekit = {.ca_file = no_file},
	.limits = {.join_ms = 10000, .signal_ms = 5000, .transport_ms = 5000, .recover_limit_ms = 60000}};
static bool ended;

static void on_event(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause)
{
	(void)arg;
	(void)leg;
	ended |= type == LEG_EVENT_FAILED || type == LEG_EVENT_LOST;
	if ((type == LEG_EVENT_FAILED || type == LEG_EVENT_REFUSED || type == LEG_EVENT_RESUME_FAILED) && cause[0] == '\0')
		abort(); // a refusal without a word
	if (type == LEG_EVENT_LOST && reason[0] == '\0')
		abort();
}

static void fire(struct control_timer *timer) RUNS_ON(control_role)
{
	if (!control_timer_armed(timer))
		return;
	void (*fn)(void *) = timer->fn;
	void *arg = timer->arg;
	control_timer_stop(timer);
	fn(arg);
}

static void tell(struct ws *ws, const struct ws_event *event)
{
	if (ws != NULL && !ws->closed)
		ws->event(ws->arg, ws, event);
}

static void transport_is(struct leg *leg, enum dataplane_event_type type, enum transport_state state) RUNS_ON(control_role)
{
	leg_transport_event(&(struct dataplane_event){.type = type, .transport = leg->transport, .state = state,
		.reason = "the path broke"});
}

static void time_passes(struct leg *leg, unsigned which) RUNS_ON(control_role)
{
	struct control_timer *timers[] = {&leg->retry_timer, &leg->limit_timer, &leg->ping_timer, &leg->silence_timer,
		&leg->permission_timer, &leg->recover_timer, &leg->closed_timer, &leg->takeover.limit_timer, &leg->takeover.probe_timer};
	fire(timers[which % ARRAY_SIZE(timers)]);
}

static void check(const struct leg *leg)
{
	unsigned open = 0;
	for (unsigned i = 0; i < socket_count; i++)
		open += !sockets[i].closed;
	if (open > 2 || opens - closes > 1 || leg->others.count > LEG_OTHERS_MAX || leg->others.count > leg->others.room ||
		leg->audio_count >= SDP_SECTIONS_MAX || (leg->state != LEG_ENDED && leg->token == NULL))
		abort();
}

// Returns bytes used.
static size_t step(struct leg *leg, const uint8_t *data, size_t size) RUNS_ON(control_role)
{
	struct err err = {""};
	struct ws_event event = {.text = "as the server likes", .data = (const uint8_t *)""};
	struct ws *newest = socket_count > 0 ? &sockets[socket_count - 1] : NULL, *own = leg->ws != NULL ? leg->ws : newest;
	struct ws *ws = data[0] & 128 ? newest : own;
	size_t used = 1;
	switch (data[0] & 15) {
	case 0:
		event.type = WS_OPEN;
		tell(ws, &event);
		break;
	case 1:
		event.type = WS_CLOSED;
		tell(ws, &event);
		break;
	case 2:
		event.type = WS_FAILED;
		event.http_status = data[0] & 16 ? 404 : data[0] & 32 ? 401 : 0;
		tell(ws, &event);
		break;
	case 3:
		transport_is(leg, TRANSPORT_EVENT_STATE, (enum transport_state)(data[0] >> 4 & 7));
		break;
	case 4:
		transport_is(leg, data[0] & 16 ? TRANSPORT_EVENT_PROBED : data[0] & 32 ? TRANSPORT_EVENT_DATA_CLOSED : TRANSPORT_EVENT_DATA_OPEN,
			TRANSPORT_CONNECTED);
		break;
	case 5:
		if (leg_resumable(leg))
			(void)leg_resume(leg, TOKEN, &err);
		break;
	case 6:
		leg_resume_abandon(leg);
		break;
	case 7:
		leg_retarget(leg, data[0] & 16 ? "phone" : "other", leg->generation + 1);
		break;
	case 8:
		leg_freeze(leg);
		break;
	case 9:
		leg_thaw(leg);
		break;
	case 10:
	case 11:
		time_passes(leg, (unsigned)data[0] >> 4 | (data[0] & 1u) << 3);
		break;
	default:
		if (size < 3)
			return size;
		event.type = WS_MESSAGE;
		event.bytes = MIN_OF((size_t)get_be16(data + 1), size - 3);
		event.data = data + 3;
		used = 3 + event.bytes;
		tell(ws, &event);
	}
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ENTERS(control_role);
	struct err err = {""};
	log_set_level(LOG_ERROR);
	leg_world_begin();
	ended = false;
	if (control_init(&err) < 0)
		abort();
	struct leg_config c = {.config = &config, .url = "ws://server:7880", .token = TOKEN, .target_identity = "phone",
		.user_id = "user", .generation = 1, .event = on_event};
	struct leg *leg = leg_join(&c, &err);
	if (leg == NULL)
		abort();
	fire(&leg->retry_timer);
	while (size > 0 && !ended) { // an ended leg is only left
		size_t used = step(leg, data, size);
		check(leg);
		data += used;
		size -= used;
	}
	leg_leave(leg, "over");
	control_finish();
	if (!leg_world_is_over())
		abort();
	return 0;
}
