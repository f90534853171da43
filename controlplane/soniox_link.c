// SPDX-License-Identifier: ISC
//
// soniox_link.c - one connection to Soniox: start message, audio, control messages, answers.
//
// Runs on: control.

#include "controlplane/soniox_link.h"

#include <stdlib.h>

#include "controlplane/log.h"
#include "controlplane/ogg_opus.h"

#define MS UINT64_C(1000000)
#define SOCKET_PING_S 5
#define SOCKET_DEAD_S 12

static void lose(struct soniox_link *link, const struct soniox_policy *policy, const char *text, const char *request_id)
	RUNS_ON(control_role);
static void lose(struct soniox_link *link, const struct soniox_policy *policy, const char *text, const char *request_id)
{
	char words[512], id[64];
	snprintf(words, sizeof(words), "%s", text);
	snprintf(id, sizeof(id), "%.63s", request_id);
	soniox_link_close(link);
	link->events->lost(link, policy, words, id);
}

static void on_message(struct soniox_link *link, const struct ws_event *event) RUNS_ON(control_role);
static void on_message(struct soniox_link *link, const struct ws_event *event)
{
	struct soniox_answer answer;
	struct err err;
	if (soniox_answer_parse((const char *)event->data, event->bytes, &answer, &err) < 0) {
		lose(link, &soniox_unintelligible, err.text, "");
		return;
	}
	if (answer.is_error) {
		char text[384];
		snprintf(text, sizeof(text), "%d %s: %s", answer.error_code, answer.error_type, answer.error_message);
		lose(link, soniox_policy_for(answer.error_type, answer.error_code), text, answer.request_id);
	} else {
		link->events->answer(link, &answer);
	}
	soniox_answer_free(&answer);
}

static void on_event(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	struct soniox_link *link = arg;
	switch (event->type) {
	case WS_OPEN:
		link->open = true;
		link->events->open(link);
		break;
	case WS_MESSAGE:
		on_message(link, event);
		break;
	case WS_CLOSED:
		lose(link, soniox_policy_for(NULL, 0), event->text, "");
		break;
	case WS_FAILED: // a refused upgrade counts like an error frame
		lose(link, event->untrusted ? &soniox_untrusted : event->http_status != 0 ? soniox_policy_for(NULL, event->http_status)
											   : &soniox_unreachable,
			event->text, "");
		break;
	}
}

int soniox_link_connect(struct soniox_link *link, struct err *err)
{
	const struct soniox_service *service = link->service;
	struct ws_config config = {
		.url = service->url,
		.bearer = service->key,
		.ca_file = service->ca_file,
		.connect_limit_ms = service->connect_limit_ms,
		.text = true,
		.message_max = SONIOX_ANSWER_BYTES_MAX,
		.ping_s = SOCKET_PING_S,
		.dead_s = SOCKET_DEAD_S,
		.event = on_event,
		.arg = link,
	};
	link->open = link->ended = false;
	link->base = link->sent = link->final_ms = link->total_ms = 0;
	link->opened_ns = link->said_ns = link->due_ns = link->finalized_ns = 0;
	link->ws = service->ops.ws_connect(&config, err);
	return link->ws == NULL ? -EINVAL : 0;
}

static int say(struct soniox_link *link, const char *text, uint64_t now_ns) RUNS_ON(control_role);
static int say(struct soniox_link *link, const char *text, uint64_t now_ns)
{
	link->said_ns = now_ns;
	return link->service->ops.ws_send_text(link->ws, text, strlen(text));
}

int soniox_link_start(struct soniox_link *link, const struct soniox_options *options, const struct soniox_replay *replay,
	uint64_t base, uint64_t now_ns)
{
	struct soniox_unit unit;
	link->audio = link->service->audio;
	if (soniox_replay_get(replay, base, &unit)) {
		link->audio = unit.audio;
		base = unit.audio == SONIOX_OGG_OPUS ? MIN_OF(base, unit.start) : base;
	}
	char *text = soniox_start_message(options, link->audio, "relay");
	if (link->audio == SONIOX_OGG_OPUS)
		link->ogg = ogg_opus_create(link->service->ops.random());
	if (text == NULL || (link->audio == SONIOX_OGG_OPUS && link->ogg == NULL)) {
		free(text);
		return -ENOMEM;
	}
	link->opened_ns = link->due_ns = now_ns;
	link->base = link->sent = base;
	int ret = say(link, text, now_ns);
	free(text);
	return ret;
}

// Up to SONIOX_MESSAGE_MAX_MS of PCM from where the last message ended. Returns samples.
static uint32_t gather_pcm(const struct soniox_link *link, const struct soniox_replay *replay,
	uint8_t ret_pcm[static SONIOX_MESSAGE_MAX_MS * SONIOX_SAMPLES_PER_MS * 2])
{
	uint32_t most = SONIOX_MESSAGE_MAX_MS * SONIOX_SAMPLES_PER_MS, samples = 0;
	struct soniox_unit unit;
	while (samples < most && soniox_replay_get(replay, link->sent + samples, &unit) && unit.audio == SONIOX_PCM) {
		uint32_t skip = (uint32_t)(link->sent + samples - unit.start);
		uint32_t take = MIN_OF(unit.samples - skip, most - samples);
		memcpy(ret_pcm + samples * 2, unit.payload + skip * 2, take * 2);
		samples += take;
	}
	return samples;
}

// One unit into the page; samples 0: the page is full.
static uint32_t page_add(struct ogg_opus *ogg, const struct soniox_unit *unit, uint64_t position)
{
	uint32_t left = unit->samples - (uint32_t)(position - unit->start), done;
	if (unit->bytes > 0) {
		int ret = ogg_opus_packet(ogg, unit->payload, unit->bytes, unit->samples * 3);
		if (ret != -EINVAL)
			return ret == 0 ? unit->samples : 0;
	}
	// What never came, or is no packet after all. The odd end of a gap has no length in Opus and is left out.
	(void)ogg_opus_gap(ogg, left / SONIOX_OGG_STEP * SONIOX_OGG_STEP * 3, &done);
	return done / 3 == left / SONIOX_OGG_STEP * SONIOX_OGG_STEP ? left : done / 3;
}

static uint32_t gather_page(struct soniox_link *link, const struct soniox_replay *replay)
{
	uint32_t most = SONIOX_MESSAGE_MAX_MS * SONIOX_SAMPLES_PER_MS, samples = 0, added;
	struct soniox_unit unit;
	while (samples < most && soniox_replay_get(replay, link->sent + samples, &unit) && unit.audio == SONIOX_OGG_OPUS) {
		added = page_add(link->ogg, &unit, link->sent + samples);
		if (added == 0)
			break;
		samples += added;
	}
	return samples;
}

static int send_message(struct soniox_link *link, const struct soniox_replay *replay, uint64_t now_ns) RUNS_ON(control_role);
static int send_message(struct soniox_link *link, const struct soniox_replay *replay, uint64_t now_ns)
{
	uint8_t pcm[SONIOX_MESSAGE_MAX_MS * SONIOX_SAMPLES_PER_MS * 2];
	const uint8_t *data = pcm;
	uint32_t samples = link->audio == SONIOX_PCM ? gather_pcm(link, replay, pcm) : gather_page(link, replay);
	size_t bytes = link->audio == SONIOX_PCM ? samples * 2 : ogg_opus_page(link->ogg, false, &data);
	if (samples == 0)
		return 0;
	int ret = bytes > 0 ? link->service->ops.ws_send(link->ws, data, bytes) : 0;
	if (ret < 0)
		return ret;
	link->sent += samples;
	link->said_ns = now_ns;
	link->due_ns = MAX_OF(link->due_ns, now_ns) + samples * MS / SONIOX_SAMPLES_PER_MS / SONIOX_SPEED;
	return 1;
}

int soniox_link_send(struct soniox_link *link, const struct soniox_replay *replay, bool flush, uint64_t now_ns)
{
	int messages = 0;
	uint64_t head = soniox_replay_head(replay);
	if (link->sent < soniox_replay_tail(replay))
		return -EOVERFLOW;
	while (link->sent < head) {
		if (!flush && head - link->sent < SONIOX_MESSAGE_MS * SONIOX_SAMPLES_PER_MS)
			break;
		if (link->due_ns > now_ns + SONIOX_BURST_MS / SONIOX_SPEED * MS)
			break;
		if (link->service->ops.ws_queued_bytes(link->ws) > SONIOX_QUEUED_MAX)
			break;
		int ret = send_message(link, replay, now_ns);
		if (ret < 0)
			return ret;
		if (ret == 0)
			break; // the other kind of audio
		messages++;
	}
	return messages;
}

bool soniox_link_at_change(const struct soniox_link *link, const struct soniox_replay *replay)
{
	struct soniox_unit unit;
	return soniox_replay_get(replay, link->sent, &unit) && unit.audio != link->audio;
}

void soniox_link_keepalive(struct soniox_link *link, uint64_t now_ns)
{
	if (!link->ended && now_ns >= link->said_ns + SONIOX_KEEPALIVE_MS * MS)
		(void)say(link, SONIOX_KEEPALIVE, now_ns);
}

void soniox_link_finalize(struct soniox_link *link, uint64_t now_ns)
{
	link->finalized_ns = now_ns;
	(void)say(link, SONIOX_FINALIZE, now_ns);
}

void soniox_link_end(struct soniox_link *link, uint64_t now_ns)
{
	const uint8_t *page;
	size_t bytes = link->ogg != NULL ? ogg_opus_page(link->ogg, true, &page) : 0;
	if (bytes > 0)
		(void)link->service->ops.ws_send(link->ws, page, bytes);
	link->ended = true;
	(void)say(link, "", now_ns);
}

void soniox_link_close(struct soniox_link *link)
{
	if (link->ws != NULL)
		link->service->ops.ws_close(link->ws);
	link->ws = NULL;
	link->open = false;
	ogg_opus_free(link->ogg);
	link->ogg = NULL;
}
