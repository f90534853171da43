// SPDX-License-Identifier: ISC
//
// standin_fuzz.c - nothing a client or a test sends can make the stand-in of Soniox misbehave. The first byte chooses who is
// fed: 0 the HTTP head, 1 the framing (cut in two it must give the same), 2 a session, 3 Ogg/Opus, 4 the control verbs' JSON,
// 5 the PCM accounting.
//
// Runs on: any.
#include "tests/soniox/frame.h"

#include <stdlib.h>

#include "tests/soniox/faults.h"
#include "tests/soniox/http_head.h"
#include "tests/soniox/oggopus.h"
#include "tests/soniox/session.h"
#include "tests/soniox/tick.h"

static void feed_head(const uint8_t *data, size_t bytes)
{
	struct http_head head;
	if (http_head_parse((const char *)data, bytes, &head) > 0 && head.head_bytes > bytes)
		abort();
}

// A hash of every message in order, and how it ended.
static uint32_t run_frames(const uint8_t *data, size_t bytes, size_t first)
{
	struct frames frames = {0};
	struct frame frame;
	uint32_t hash = 0;
	int status = 0;
	for (int part = 0; part < 2 && status >= 0; part++) {
		frames_put(&frames, part == 0 ? data : data + first, part == 0 ? first : bytes - first);
		while ((status = frames_next(&frames, &frame)) > 0)
			hash = hash * 31 + account_hash(frame.data, frame.bytes) + (uint32_t)frame.opcode;
	}
	frames_free(&frames);
	return hash * 31 + (uint32_t)status;
}

static void feed_frames(const uint8_t *data, size_t bytes)
{
	if (bytes > 0 && run_frames(data + 1, bytes - 1, bytes - 1) != run_frames(data + 1, bytes - 1, data[0] % bytes))
		abort();
}

static void on_send(void *arg, uint32_t after_ms, struct message message)
{
	json_t *object = json_loads(message.text, 0, NULL);
	if (!json_is_object(object) || !utf8_check((const uint8_t *)message.text, message.bytes))
		abort();
	json_decref(object);
	message_free(&message);
}

static void on_end(void *arg, uint32_t after_ms)
{
	if (++*(unsigned *)arg > 1)
		abort(); // a session ends once
}

// Messages: a byte of kind (even: text), two of length, the bytes. With an odd second byte a right start comes first.
static void feed_session(const uint8_t *data, size_t bytes)
{
	static const char start[] = "{\"model\":\"stt-rt-v5\",\"audio_format\":\"pcm_s16le\",\"sample_rate\":16000,"
				    "\"num_channels\":1,\"enable_endpoint_detection\":true}";
	unsigned ends = 0;
	struct session_out out = {on_send, on_end, &ends};
	struct entry *entry = journal_open(tick_ms());
	bool begun = bytes > 0 && (data[0] & 1) != 0;
	struct session *session = session_create(begun ? "key" : NULL, NULL, entry, &out);
	limits_forget();
	if (begun)
		session_text(session, start, sizeof(start) - 1);
	for (size_t at = 1; at + 3 <= bytes;) {
		size_t length = MIN_OF((size_t)get_be16(data + at + 1), bytes - at - 3);
		if (data[at] % 2 == 0)
			session_text(session, (const char *)data + at + 3, length);
		else
			session_binary(session, data + at + 3, length);
		tick_advance(data[at]);
		session_tick(session);
		at += 3 + length;
	}
	session_destroy(session);
	journal_close(entry, "stopped", tick_ms());
	json_decref(journal_json(0, true, 0));
	journal_forget(true);
}

static void on_pcm(void *arg, const int16_t *samples, size_t count)
{
	*(uint64_t *)arg += count;
}

static void on_packet(void *arg, const uint8_t *packet, size_t bytes, uint32_t samples)
{
	*(uint64_t *)arg += samples;
}

static void feed_ogg(const uint8_t *data, size_t bytes)
{
	uint64_t samples = 0;
	struct oggopus *ogg = oggopus_create(bytes % 2 == 0 ? on_pcm : NULL, on_packet, &samples);
	for (size_t at = 0; at < bytes; at += 100)
		if (oggopus_put(ogg, data + at, MIN_OF(bytes - at, (size_t)100)) < 0)
			break;
	oggopus_destroy(ogg);
}

static void feed_control(const uint8_t *data, size_t bytes)
{
	struct err err;
	json_t *object = json_loadb((const char *)data, bytes, 0, NULL);
	if (object != NULL && faults_add(object, &err) < 0 && err.text[0] == '\0')
		abort();
	json_decref(faults_json());
	faults_clear();
	(void)settings_change(object, &err);
	settings_reset();
	json_decref(object);
}

static void feed_account(const uint8_t *data, size_t bytes)
{
	struct account account;
	int16_t samples[64];
	account_init(&account, NULL, NULL);
	for (size_t at = 0; at + 2 <= bytes; at += sizeof(samples)) {
		size_t count = MIN_OF(bytes - at, sizeof(samples)) / 2;
		memcpy(samples, data + at, count * 2);
		account_pcm(&account, samples, count);
	}
	account_flush(&account);
	if (account.samples != bytes / 2)
		abort();
	account_free(&account);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static void (*const feeds[])(const uint8_t *, size_t) = {feed_head, feed_frames, feed_session, feed_ogg, feed_control,
		feed_account};
	static bool ready;
	if (!ready) {
		tick_init(0);
		settings_set_recogniser(&recogniser_scripted);
		settings_reset();
		keys_add("key");
		ready = true;
	}
	if (bytes > 0)
		feeds[data[0] % ARRAY_SIZE(feeds)](data + 1, bytes - 1);
	return 0;
}
