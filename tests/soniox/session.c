// SPDX-License-Identifier: ISC
//
// session.c - the protocol: one connection from its keys to `finished`.
//
// Runs on: any; the owner serialises. Fields of the entry and what the account writes are touched under the journal's lock.
#include "tests/soniox/session.h"

#include <stdlib.h>

#include "tests/soniox/oggopus.h"
#include "tests/soniox/reply.h"
#include "tests/soniox/start.h"
#include "tests/soniox/tick.h"

#define SNIFF_BYTES 4

enum stage {
	STAGE_WAIT, // for the start message
	STAGE_RUN,
	STAGE_OVER, // ended, by whomever
};

struct session {
	struct session_out out;
	struct entry *entry;
	enum stage stage;
	char key[256]; // of the connection; empty: it will come with the start message
	struct start start;
	struct settings settings;
	uint64_t opened_ms, started_ms, first_audio_ms, last_input_ms;
	bool connected, requested; // entered in the limits
	uint64_t bytes;            // of audio
	uint8_t odd;               // half a sample
	bool has_odd;
	uint8_t sniffed[SNIFF_BYTES];
	size_t sniffed_bytes;
	struct oggopus *ogg;
	struct recogniser *recogniser;
	struct reply reply;
};

static void leave_limits(struct session *session)
{
	if (session->requested)
		limits_finish();
	if (session->connected)
		limits_disconnect();
	session->requested = session->connected = false;
}

void session_fail(struct session *session, enum failure failure, const char *detail)
{
	if (session->stage == STAGE_OVER)
		return;
	bool key = failure_text(failure)->code == 401;
	session->stage = STAGE_OVER;
	session->out.send(session->out.arg, key ? session->settings.error_delay_ms : 0, reply_error(failure, detail));
	session->out.end(session->out.arg, 0);
	leave_limits(session);
}

static void set_state(struct session *session, const char *state)
{
	journal_lock();
	session->entry->state = state;
	journal_unlock();
}

// ---- opening

struct session *session_create(const char *header_key, const char *protocol_key, struct entry *entry,
	const struct session_out *out)
{
	struct session *session = calloc(1, sizeof(*session));
	if (session == NULL)
		abort();
	session->out = *out;
	session->entry = entry;
	session->settings = settings_get();
	session->opened_ms = session->last_input_ms = tick_ms();
	const char *key = header_key != NULL ? header_key : protocol_key;
	snprintf(session->key, sizeof(session->key), "%s", key == NULL ? "" : key);
	journal_lock();
	entry->state = "open";
	entry->auth = header_key != NULL ? "header" : protocol_key != NULL ? "subprotocol" : "none";
	if (key != NULL)
		start_mask(key, entry->key, sizeof(entry->key));
	journal_unlock();
	enum failure failure = FAILURE_NONE;
	if (header_key != NULL && protocol_key != NULL)
		failure = FAILURE_AUTH_TWICE;
	else if (key != NULL && !keys_has(key))
		failure = strncmp(key, "snx_temp_", 9) == 0 ? FAILURE_KEY_TEMPORARY : FAILURE_KEY_INVALID;
	else
		failure = limits_connect();
	session->connected = failure == FAILURE_NONE;
	if (failure != FAILURE_NONE)
		session_fail(session, failure, NULL);
	return session;
}

void session_destroy(struct session *session)
{
	if (session == NULL)
		return;
	leave_limits(session);
	if (session->recogniser != NULL)
		session->recogniser->ops->destroy(session->recogniser);
	oggopus_destroy(session->ogg);
	reply_free(&session->reply);
	free(session);
}

static enum failure check_key(struct session *session)
{
	const char *in_start = session->start.api_key;
	if (session->key[0] != '\0')
		return in_start[0] != '\0' && strcmp(in_start, session->key) != 0 ? FAILURE_AUTH_DIFFERS : FAILURE_NONE;
	if (in_start[0] == '\0' || session->settings.refuse_start_key)
		return FAILURE_KEY_MISSING;
	if (!keys_has(in_start))
		return FAILURE_KEY_INVALID;
	journal_lock();
	session->entry->auth = "start";
	start_mask(in_start, session->entry->key, sizeof(session->entry->key));
	journal_unlock();
	return FAILURE_NONE;
}

static void on_unit(void *arg, const struct unit *unit)
{
	struct session *session = arg;
	if (!session->recogniser->ops->wants_pcm)
		session->recogniser->ops->unit(session->recogniser, unit);
}

static void on_start(struct session *session, const char *text, size_t bytes)
{
	char detail[64];
	json_t *masked, *unknown;
	struct err err = {0};
	enum failure failure = start_check(text, bytes, &session->start, detail, &masked, &unknown);
	journal_lock();
	session->entry->start = masked;
	session->entry->unknown_keys = unknown;
	journal_unlock();
	enum failure key = masked == NULL ? FAILURE_NONE : check_key(session);
	if (key != FAILURE_NONE)
		failure = key;
	if (failure == FAILURE_NONE && session->start.audio == START_UNSUPPORTED)
		failure = FAILURE_DECODE; // the service has it, the stand-in has not
	if (failure == FAILURE_NONE)
		failure = limits_request(tick_ms());
	session->requested = failure == FAILURE_NONE;
	if (failure == FAILURE_NONE) {
		session->recogniser = session->settings.recogniser->create(&err);
		if (session->recogniser == NULL)
			failure = FAILURE_INTERNAL;
	}
	if (failure != FAILURE_NONE) {
		if (err.text[0] != '\0')
			fprintf(stderr, "soniox-standin: %s\n", err.text);
		session_fail(session, failure, detail);
		return;
	}
	session->recogniser->results.endpoints = session->start.endpoints;
	session->stage = STAGE_RUN;
	session->started_ms = session->last_input_ms = tick_ms();
	reply_init(&session->reply, &session->start);
	journal_lock();
	account_init(&session->entry->account, on_unit, session);
	session->entry->state = "started";
	session->entry->started_ms = MAX_OF(session->started_ms, 1);
	journal_unlock();
}

// ---- audio

static void on_pcm(void *arg, const int16_t *samples, size_t count)
{
	struct session *session = arg;
	struct recogniser *recogniser = session->recogniser;
	journal_lock();
	account_pcm(&session->entry->account, samples, count);
	session->entry->audio_ms = (session->entry->account.samples + session->entry->account.rest_samples) / 16;
	journal_unlock();
	if (recogniser->ops->wants_pcm)
		recogniser->ops->pcm(recogniser, samples, count);
}

static void on_packet(void *arg, const uint8_t *packet, size_t bytes, uint32_t samples)
{
	struct session *session = arg;
	journal_lock();
	account_packet(&session->entry->account, packet, bytes, samples);
	session->entry->audio_ms = session->entry->account.samples / 16;
	journal_unlock();
}

static void put_pcm(struct session *session, const uint8_t *data, size_t bytes)
{
	int16_t samples[1600];
	size_t count = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (!session->has_odd) {
			session->odd = data[i];
			session->has_odd = true;
			continue;
		}
		session->has_odd = false;
		samples[count++] = (int16_t)(session->odd | data[i] << 8);
		if (count == ARRAY_SIZE(samples)) {
			on_pcm(session, samples, count);
			count = 0;
		}
	}
	if (count > 0)
		on_pcm(session, samples, count);
}

static void put_ogg(struct session *session, const uint8_t *data, size_t bytes)
{
	if (session->ogg == NULL)
		session->ogg = oggopus_create(session->recogniser->ops->wants_pcm ? on_pcm : NULL, on_packet, session);
	int status = session->ogg == NULL ? -ENOMEM : oggopus_put(session->ogg, data, bytes);
	struct oggopus_counts counts = session->ogg == NULL ? (struct oggopus_counts){0} : oggopus_counts(session->ogg);
	journal_lock();
	session->entry->ogg.pages = counts.pages;
	session->entry->ogg.packets = counts.packets;
	session->entry->ogg.holes = counts.holes;
	session->entry->ogg.skipped_bytes = counts.skipped_bytes;
	session->entry->ogg.granule_errors = counts.granule_errors;
	journal_unlock();
	if (status < 0)
		session_fail(session, FAILURE_DECODE, NULL);
}

// "auto": what begins like a container we know is one; anything else is waited on, as the service does.
static void put_auto(struct session *session, const uint8_t *data, size_t bytes)
{
	while (bytes > 0 && session->sniffed_bytes < SNIFF_BYTES) {
		session->sniffed[session->sniffed_bytes++] = *data++;
		bytes--;
	}
	if (session->sniffed_bytes < SNIFF_BYTES)
		return;
	if (memcmp(session->sniffed, "OggS", 4) == 0) {
		session->start.audio = START_OGG;
		put_ogg(session, session->sniffed, SNIFF_BYTES);
		put_ogg(session, data, bytes);
	} else if (memcmp(session->sniffed, "RIFF", 4) == 0 || memcmp(session->sniffed, "fLaC", 4) == 0) {
		session_fail(session, FAILURE_DECODE, NULL); // containers the stand-in has not
	}
}

// The journal's view of how the input is paced.
static void note_input(struct session *session)
{
	uint64_t now = tick_ms();
	journal_lock();
	struct entry *entry = session->entry;
	entry->gap_max_ms = MAX_OF(entry->gap_max_ms, now - session->last_input_ms);
	entry->last_input_ms = now;
	if (session->first_audio_ms != 0) {
		int64_t ahead = (int64_t)entry->audio_ms - (int64_t)(now - session->first_audio_ms);
		entry->ahead_max_ms = MAX_OF(entry->ahead_max_ms, ahead);
	}
	journal_unlock();
	session->last_input_ms = now;
}

static void note_audio(struct session *session, size_t bytes)
{
	if (session->first_audio_ms == 0)
		session->first_audio_ms = MAX_OF(tick_ms(), 1);
	session->bytes += bytes;
	journal_lock();
	struct entry *entry = session->entry;
	entry->first_audio_ms = session->first_audio_ms;
	entry->received.bytes += bytes;
	entry->received.odd += bytes & 1;
	entry->received.largest = MAX_OF(entry->received.largest, (uint32_t)bytes);
	if (entry->received.smallest == 0 || bytes < entry->received.smallest)
		entry->received.smallest = (uint32_t)bytes;
	journal_unlock();
}

static void say(struct session *session, bool even_nothing)
{
	struct message message;
	if (reply_tokens(&session->reply, &session->recogniser->results, even_nothing, &message))
		session->out.send(session->out.arg, 0, message);
}

void session_binary(struct session *session, const uint8_t *data, size_t bytes)
{
	journal_lock();
	session->entry->received.binary++;
	session->entry->received.after_end += session->stage == STAGE_OVER;
	journal_unlock();
	if (session->stage == STAGE_WAIT)
		session_fail(session, FAILURE_START_BINARY, NULL);
	// By the current reference an empty chunk is no audio, and not the end.
	if (session->stage != STAGE_RUN || bytes == 0)
		return;
	note_audio(session, bytes);
	if (session->start.audio == START_PCM)
		put_pcm(session, data, bytes);
	else if (session->start.audio == START_OGG)
		put_ogg(session, data, bytes);
	else
		put_auto(session, data, bytes);
	note_input(session);
	if (session->stage == STAGE_RUN)
		say(session, false);
}

// ---- control messages

static void finalize(struct session *session)
{
	journal_lock();
	account_flush(&session->entry->account);
	journal_unlock();
	session->recogniser->ops->finalize(session->recogniser);
}

static void on_end(struct session *session)
{
	journal_lock();
	session->entry->received.ends++;
	session->entry->state = "ending";
	journal_unlock();
	if (session->bytes == 0 || session->start.audio == START_AUTO) {
		session_fail(session, session->bytes == 0 ? FAILURE_NO_AUDIO : FAILURE_DECODE, NULL);
		return;
	}
	struct message translations;
	finalize(session);
	say(session, false);
	if (reply_translations(&session->reply, &session->recogniser->results, &translations))
		session->out.send(session->out.arg, 0, translations);
	session->stage = STAGE_OVER;
	session->out.send(session->out.arg, session->settings.finish_delay_ms,
		reply_finished(&session->recogniser->results));
	session->out.end(session->out.arg, session->settings.close_delay_ms);
	leave_limits(session);
}

static void on_control(struct session *session, const char *text, size_t bytes)
{
	json_t *control = json_loadb(text, bytes, 0, NULL);
	json_t *type = json_object_get(control, "type"), *silence = json_object_get(control, "trailing_silence_ms");
	const char *name = json_is_string(type) ? json_string_value(type) : "";
	if (!json_is_object(control) || (silence != NULL && (!json_is_number(silence) || json_number_value(silence) < 0))) {
		session_fail(session, FAILURE_CONTROL_MALFORMED, NULL);
	} else if (strcmp(name, "keepalive") == 0) {
		journal_lock();
		session->entry->received.keepalives++;
		journal_unlock();
		note_input(session);
		if (session->stage == STAGE_RUN)
			say(session, true);
	} else if (strcmp(name, "finalize") == 0 && session->stage == STAGE_RUN) {
		journal_lock();
		session->entry->received.finalizes++;
		journal_unlock();
		note_input(session);
		finalize(session);
		token_add(&session->recogniser->results.finals, (struct token){.text = "<fin>", .confidence = 1});
		say(session, false);
	} else {
		session_fail(session, FAILURE_CONTROL_TYPE, NULL);
	}
	json_decref(control);
}

// Before the start message a connection that brought its key may be kept warm.
static bool is_warming(struct session *session, const char *text, size_t bytes)
{
	json_t *message = json_loadb(text, bytes, 0, NULL);
	const char *type = json_string_value(json_object_get(message, "type"));
	bool warming = session->key[0] != '\0' && type != NULL && strcmp(type, "keepalive") == 0 &&
		json_object_get(message, "model") == NULL;
	json_decref(message);
	return warming;
}

void session_text(struct session *session, const char *text, size_t bytes)
{
	journal_lock();
	session->entry->received.text++;
	session->entry->received.after_end += session->stage == STAGE_OVER;
	journal_unlock();
	if (session->stage == STAGE_OVER)
		return;
	if (session->stage == STAGE_RUN && bytes == 0)
		on_end(session);
	else if (session->stage == STAGE_RUN || is_warming(session, text, bytes))
		on_control(session, text, bytes);
	else
		on_start(session, text, bytes);
}

// ---- time

uint64_t session_tick(struct session *session)
{
	const struct settings *s = &session->settings;
	uint64_t now = tick_ms(), due = TICK_NEVER;
	enum failure failure = FAILURE_NONE;
	if (session->stage == STAGE_WAIT) {
		due = MIN_OF(session->last_input_ms + s->start_ms, session->opened_ms + s->link_ms);
		failure = FAILURE_START_TIMEOUT;
	} else if (session->stage == STAGE_RUN) {
		due = session->started_ms + s->duration_ms;
		failure = FAILURE_DURATION;
		bool undecoded = session->start.audio == START_AUTO && session->first_audio_ms != 0;
		if (now < due && undecoded && session->first_audio_ms + s->decode_ms < due) {
			due = session->first_audio_ms + s->decode_ms;
			failure = FAILURE_DECODE_TIMEOUT;
		}
		if (now < due && session->last_input_ms + s->inactivity_ms < due) {
			due = session->last_input_ms + s->inactivity_ms;
			failure = session->first_audio_ms == 0 ? FAILURE_FIRST_AUDIO_TIMEOUT : FAILURE_TIMEOUT;
		}
	}
	if (due == TICK_NEVER || now < due)
		return due;
	session_fail(session, failure, NULL);
	set_state(session, "ending");
	return TICK_NEVER;
}
