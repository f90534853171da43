// SPDX-License-Identifier: ISC
//
// soniox_script.h - included by a test: a user who speaks and a scripted recogniser behind soniox_stream, in made-up time.
//
// Every millisecond of the audio carries its own number, so the recogniser knows what it hears: word K is spoken from K x 500 ms
// to K x 500 + 400. It is final 700 ms later. A connection that begins in mid word hears only "half K". So the transcript of a
// disturbed run equals the undisturbed one only when each connection began exactly where the last one was final.
//
// Runs on: control (the test).
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "controlplane/soniox_stream.h"

#define WORD_MS 500
#define SPOKEN_MS 400
#define FINAL_AFTER_MS 700
#define MOMENTS 20 // random ones, of each fault
#define FINAL_AFTER_MAX_MS 10000 // while the service is behind
#define CONNECT_MS 60
#define MS UINT64_C(1000000)
#define CONNECTIONS_MAX 4
#define MESSAGE_BYTES 4096
#define ROTATE_MS (290u * 60000) // as configured by default
#define REPLAY_MS 30000          // also
#define RING_MS 10000            // also

enum fault {
	NO_FAULT, RESET, STALL, DUPLICATE, LATE, REFUSED, SILENT_SERVER, JUNK, NOT_FINISHED, ERROR_FRAME,
};

// One connection as the server sees it. It is the struct ws of this test.
struct ws {
	bool used, open, started, ended;
	ws_event_fn *event;
	void *arg;
	uint64_t open_ns;
	uint64_t first_ms, heard_ms; // of the user's audio: first millisecond heard, behind the last
	uint64_t samples;
	unsigned words_final; // number of the next word that is not final
	bool stalled, is_ogg;
	unsigned pre_skip; // packets of 20 ms still to come before the first that counts
	char outbox[64][MESSAGE_BYTES];
	unsigned out_first, out_count;
	unsigned keepalives, finalizes;
};

static uint64_t spoken_ms; // by the user so far

static struct {
	uint64_t now_ns;
	struct ws connections[CONNECTIONS_MAX];
	unsigned opened, max_open;
	enum fault fault;
	int error_code;
	const char *error_type;
	uint64_t fault_ns;  // 0: never, or done
	unsigned refuse;    // so many connects
	uint64_t dead_until_ns; // no connection opens
	bool fault_done, finish_withheld;
	bool gap_allowed;
	unsigned final_after_ms;
	uint64_t final_known_ms; // as delivered
	uint64_t ms_heard_total; // by all connections
	uint64_t samples_sent;   // also to those that did not listen
	char held[MESSAGE_BYTES];         // LATE
	uint32_t seed;
	unsigned keepalives, finalizes, gaps, eos;
	bool ogg_expected;
} world;

static char words[1 << 19];
static size_t words_length;

static uint32_t fake_random(void)
{
	world.seed = world.seed * 1664525u + 1013904223u;
	return world.seed >> 8;
}

static uint64_t fake_now(void)
{
	return world.now_ns;
}

// ---- the server

static struct ws *fake_connect(const struct ws_config *config, struct err *err)
{
	assert_true(config->text);
	assert_string_equal(config->bearer, "key");
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct ws *ws = &world.connections[i];
		if (ws->used)
			continue;
		*ws = (struct ws){.used = true, .event = config->event, .arg = config->arg, .open_ns = world.now_ns + CONNECT_MS * MS};
		return ws;
	}
	fail_msg("more than %u connections", CONNECTIONS_MAX);
	return NULL;
}

static void out(struct ws *ws, const char *text)
{
	if (ws->stalled)
		return;
	assert_true(ws->out_count < 64);
	snprintf(ws->outbox[(ws->out_first + ws->out_count++) % 64], sizeof(ws->outbox[0]), "%s", text);
}

// What the recogniser says after each message: what became final, and what is heard but not final.
static void recognise(struct ws *ws)
{
	char text[MESSAGE_BYTES];
	int n = snprintf(text, sizeof(text), "{\"tokens\":[");
	bool first = true;
	unsigned spoken = (unsigned)((ws->heard_ms + WORD_MS - SPOKEN_MS) / WORD_MS);
	uint64_t final_end = 0;
	for (unsigned k = ws->words_final; k < spoken; k++) {
		uint64_t start = (uint64_t)k * WORD_MS, end = start + SPOKEN_MS;
		bool is_final = ws->ended || ws->heard_ms >= end + world.final_after_ms, half = ws->first_ms > start;
		if (end <= ws->first_ms)
			continue;
		if (start < ws->first_ms)
			start = ws->first_ms;
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			"%s{\"text\":\" %s%u\",\"start_ms\":%llu,\"end_ms\":%llu,\"confidence\":0.9,\"is_final\":%s,\"speaker\":\"1\"}",
			first ? "" : ",", half ? "half" : "w", k, (unsigned long long)(start - ws->first_ms),
			(unsigned long long)(end - ws->first_ms), is_final ? "true" : "false");
		first = false;
		if (is_final) {
			ws->words_final = k + 1;
			final_end = end;
		}
	}
	if (ws->words_final > 0 && final_end == 0)
		final_end = (uint64_t)(ws->words_final - 1) * WORD_MS + SPOKEN_MS;
	uint64_t final_ms = final_end > ws->first_ms ? final_end - ws->first_ms : 0;
	snprintf(text + n, sizeof(text) - (size_t)n, "],\"final_audio_proc_ms\":%llu,\"total_audio_proc_ms\":%llu}",
		(unsigned long long)final_ms, (unsigned long long)(ws->heard_ms - ws->first_ms));
	if (world.fault == LATE && world.held[0] == '\0' && world.fault_ns != 0 && world.now_ns >= world.fault_ns && !ws->ended) {
		snprintf(world.held, sizeof(world.held), "%s", text);
		return;
	}
	out(ws, text);
	if (world.fault == LATE && world.held[0] != '\0' && world.fault_ns != 0) {
		out(ws, world.held);
		world.fault_ns = 0;
		world.fault_done = true;
	}
	if (world.fault == DUPLICATE && world.fault_ns != 0 && world.now_ns >= world.fault_ns && strstr(text, "true") != NULL) {
		out(ws, text);
		world.fault_ns = 0;
		world.fault_done = true;
	}
}

// A packet of Opus: its number, or one byte for 20 ms that never came.
static void hear_packet(struct ws *ws, const uint8_t *packet, size_t bytes)
{
	if (bytes >= 8 && memcmp(packet, "OpusHead", 8) == 0)
		ws->pre_skip = (packet[10] | (unsigned)packet[11] << 8) / 960;
	if (bytes >= 8 && (memcmp(packet, "OpusHead", 8) == 0 || memcmp(packet, "OpusTags", 8) == 0))
		return;
	uint32_t number;
	if (ws->pre_skip > 0) {
		assert_int_equal(bytes, 1);
		ws->pre_skip--;
		return;
	}
	if (bytes == 1) {
		world.gaps++;
	} else {
		assert_int_equal(bytes, 5);
		memcpy(&number, packet + 1, 4);
		if (ws->samples == 0) {
			ws->first_ms = ws->heard_ms = (uint64_t)number * 20;
			assert_in_range(world.final_known_ms, ws->first_ms, ws->first_ms + 19); // the packet that holds it
		}
		assert_int_equal(number * 20, ws->heard_ms);
	}
	ws->samples += 320;
	ws->heard_ms += 20;
}

static void hear_ogg(struct ws *ws, const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		assert_true(bytes >= 27 && memcmp(data, "OggS", 4) == 0);
		unsigned segments = data[26];
		const uint8_t *lacing = data + 27, *body = lacing + segments;
		for (unsigned i = 0; i < segments; body += lacing[i++])
			hear_packet(ws, body, lacing[i]); // none of ours has 255 bytes
		world.eos += (data[5] & 4) != 0;
		bytes -= (size_t)(body - data);
		data = body;
	}
}

static int fake_send(struct ws *ws, const void *data, size_t bytes)
{
	assert_true(ws->open && ws->started && !ws->ended);
	if (ws->is_ogg) {
		uint64_t before = ws->heard_ms, samples = ws->samples;
		hear_ogg(ws, data, bytes);
		world.samples_sent += ws->samples - samples;
		if (!ws->stalled && ws->heard_ms > before) {
			world.ms_heard_total += ws->heard_ms - MAX_OF(before, ws->first_ms);
			recognise(ws);
		}
		return 0;
	}
	assert_int_equal(bytes % 2, 0);
	world.samples_sent += bytes / 2;
	assert_in_range(bytes, 2, SONIOX_MESSAGE_MAX_MS * 32);
	const uint8_t *at = data;
	for (size_t i = 0; i < bytes / 2; i++, ws->samples++) {
		uint16_t low;
		memcpy(&low, at + i * 2, 2);
		uint64_t number = spoken_ms - (uint16_t)(spoken_ms - low); // spoken within the last minute
		if (ws->samples == 0) {
			ws->first_ms = ws->heard_ms = number;
			if (!world.gap_allowed) // it begins where the last one was known to be final, not later, not earlier
				assert_int_equal(number, world.final_known_ms);
		}
		// Sample for sample, without a gap, without a repeat.
		assert_int_equal(number, ws->first_ms + ws->samples / 16);
		ws->heard_ms = number + 1;
	}
	if (ws->stalled)
		return 0;
	world.ms_heard_total += bytes / 32;
	recognise(ws);
	return 0;
}

static int fake_send_text(struct ws *ws, const char *text, size_t bytes)
{
	assert_true(ws->open && !ws->ended);
	if (!ws->started) {
		assert_non_null(strstr(text, "\"model\":\"stt-rt-v5\""));
		ws->is_ogg = strstr(text, "\"audio_format\":\"ogg\"") != NULL;
		assert_true(ws->is_ogg || strstr(text, "\"audio_format\":\"pcm_s16le\"") != NULL);
		assert_true(ws->is_ogg == world.ogg_expected);
		ws->started = true;
		return 0;
	}
	if (bytes == 0) {
		assert_true(ws->samples > 0); // or Soniox says 400 "No audio received."
		ws->ended = true;
		recognise(ws);
		if (world.fault == NOT_FINISHED && !world.finish_withheld) {
			world.finish_withheld = world.fault_done = true;
			ws->out_count = 0;
			ws->stalled = true;
			return 0;
		}
		out(ws, "{\"tokens\":[],\"final_audio_proc_ms\":0,\"total_audio_proc_ms\":0,\"finished\":true}");
		return 0;
	}
	if (strcmp(text, SONIOX_KEEPALIVE) == 0) {
		world.keepalives++;
		out(ws, "{\"tokens\":[],\"final_audio_proc_ms\":0,\"total_audio_proc_ms\":0}");
	} else {
		assert_string_equal(text, SONIOX_FINALIZE);
		world.finalizes++;
	}
	return 0;
}

static size_t fake_queued(const struct ws *ws)
{
	return 0;
}

static void fake_close(struct ws *ws)
{
	ws->used = ws->open = false;
}

static void deliver(struct ws *ws, enum ws_event_type type, const char *text, int status)
{
	struct ws_event event = {.type = type, .data = (const uint8_t *)text, .bytes = strlen(text), .is_text = true, .text = text,
		.http_status = status};
	ws->event(ws->arg, ws, &event);
}

static void strike(struct ws *ws)
{
	char text[256];
	world.fault_ns = 0;
	world.fault_done = true;
	switch (world.fault) {
	case RESET:
		deliver(ws, WS_CLOSED, "connection lost", 0);
		break;
	case STALL:
		ws->stalled = true;
		break;
	case JUNK:
		deliver(ws, WS_MESSAGE, "{\"tokens\":[{\"text\":", 0);
		break;
	case REFUSED:
		world.refuse = 2;
		deliver(ws, WS_CLOSED, "connection lost", 0);
		break;
	case SILENT_SERVER:
		world.dead_until_ns = world.now_ns + 9000 * MS;
		deliver(ws, WS_CLOSED, "connection lost", 0);
		break;
	case ERROR_FRAME:
		snprintf(text, sizeof(text),
			"{\"tokens\":[],\"error_code\":%d,\"error_type\":\"%s\",\"error_message\":\"m\",\"request_id\":\"r-1\"}", world.error_code,
			world.error_type);
		deliver(ws, WS_MESSAGE, text, 0);
		break;
	default:
		break;
	}
}

static void serve_one(struct ws *ws)
{
	if (!ws->open && world.now_ns >= ws->open_ns && world.now_ns >= world.dead_until_ns) {
		if (world.refuse > 0) {
			world.refuse--;
			deliver(ws, WS_FAILED, "HTTP 503", 503);
			return;
		}
		ws->open = true;
		world.opened++;
		unsigned open = 0;
		for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
			open += world.connections[i].open;
		world.max_open = MAX_OF(world.max_open, open);
		deliver(ws, WS_OPEN, "", 0);
		return;
	}
	if (!ws->open && world.now_ns >= ws->open_ns + 10000 * MS) {
		deliver(ws, WS_FAILED, "no answer within 10000 ms", 0);
		return;
	}
	if (ws->open && world.fault != DUPLICATE && world.fault != LATE && world.fault_ns != 0 && world.now_ns >= world.fault_ns) {
		strike(ws);
		return;
	}
	while (ws->used && ws->out_count > 0) {
		const char *text = ws->outbox[ws->out_first % 64];
		ws->out_first++;
		ws->out_count--;
		const char *final = strstr(text, "final_audio_proc_ms\":");
		if (final != NULL)
			world.final_known_ms = MAX_OF(world.final_known_ms, ws->first_ms + strtoull(final + 21, NULL, 10));
		if (strstr(text, "\"finished\":true") != NULL)
			world.final_known_ms = ws->heard_ms;
		deliver(ws, WS_MESSAGE, text, 0);
	}
}

// ---- the user

static struct soniox_service service;
static struct pcm *pcm, *opus;
static bool speaks_packets, (*packet_lost)(unsigned number);
static struct soniox_stream *stream;
static struct transcript_listener listener;
static uint64_t next_run_ns, last_seq;

static void on_segment(struct transcript_listener *unused, const struct transcript_segment *segment)
{
	if (!segment->is_final)
		return;
	assert_int_equal(segment->seq, last_seq + 1);
	last_seq = segment->seq;
	assert_true(words_length + strlen(segment->text) + 2 < sizeof(words));
	words_length += (size_t)sprintf(words + words_length, "%s ", segment->text);
}

static void on_end(struct transcript_listener *unused)
{
}

static void speak(void) RUNS_ON(worker_role);
static void speak(void)
{
	if (speaks_packets) {
		uint32_t number = (uint32_t)(spoken_ms / 20);
		struct pcm_frame packet = {.bytes = 5, .capture_us = (int64_t)(world.now_ns / 1000), .arrival_ns = world.now_ns,
			.media_us = (uint32_t)(number * 960 - 5000),
			.flags = number == 0 ? PCM_F_FENCE : 0};
		memcpy((uint8_t *)packet.samples, &(uint8_t){31 << 3}, 1);
		memcpy((uint8_t *)packet.samples + 1, &number, 4);
		if (packet_lost == NULL || !packet_lost(number))
			pcm_write(opus, &packet);
	}
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .capture_us = (int64_t)(world.now_ns / 1000), .arrival_ns = world.now_ns,
		.flags = speaks_packets ? PCM_F_DECODED : PCM_F_DATA};
	for (unsigned i = 0; i < PCM_CELL_SAMPLES; i++) {
		uint16_t number = (uint16_t)(spoken_ms + i / 16);
		memcpy(&frame.samples[i], &number, 2);
	}
	pcm_write(pcm, &frame);
	spoken_ms += PCM_CELL_MS;
}

static void step(bool speaking) RUNS_ON(control_role)
{
	ENTERS(worker_role);
	world.now_ns += 10 * MS;
	if (speaking && world.now_ns / (10 * MS) % 2 == 0)
		speak();
	uint64_t again;
	for (struct soniox_ticket *ticket; (ticket = soniox_admission_next(&service.admission, world.now_ns, &again)) != NULL;)
		soniox_stream_admitted(ticket);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		if (world.connections[i].used)
			serve_one(&world.connections[i]);
	if (world.now_ns >= next_run_ns)
		next_run_ns = soniox_stream_run(stream);
}

static void steps(unsigned ms, bool speaking)
{
	ENTERS(control_role);
	for (unsigned i = 0; i < ms / 10; i++)
		step(speaking);
}

static bool with_opus;
static uint32_t ring_ms = RING_MS;

static void begin(uint32_t seed)
{
	ENTERS(control_role);
	struct soniox_options options = {.model = "stt-rt-v5", .endpointing = true};
	struct err err;
	memset(&world, 0, sizeof(world));
	world.now_ns = 1000 * MS;
	world.seed = seed;
	world.final_after_ms = FINAL_AFTER_MS;
	words[0] = '\0';
	words_length = 0;
	spoken_ms = next_run_ns = last_seq = 0;
	service = (struct soniox_service){
		.ops = {fake_connect, fake_send, fake_send_text, fake_queued, fake_close, fake_now, fake_random},
		.url = "ws://127.0.0.1/", .key = "key", .ca_file = "", .ring_ms = ring_ms, .replay_ms = REPLAY_MS,
		.idle_ms = 300000, .stall_ms = 10000, .connect_limit_ms = 10000, .history_segments = 1000, .history_bytes = 1 << 20};
	assert_int_equal(soniox_admission_init(&service.admission, 10, 100), 0);
	pcm = pcm_create(ring_ms);
	opus = with_opus ? pcm_create(2000) : NULL;
	stream = soniox_stream_create(&service, "u", pcm, opus, &options, &err);
	assert_non_null(stream);
	listener = (struct transcript_listener){.segment = on_segment, .end = on_end};
	transcript_listen(soniox_stream_transcript(stream), &listener, 1);
}

static void until_ended(unsigned limit_ms)
{
	ENTERS(control_role);
	soniox_stream_end(stream, 30000);
	for (unsigned i = 0; i < limit_ms / 10 && soniox_stream_state(stream) != SONIOX_ENDED; i++)
		step(false);
	assert_int_equal(soniox_stream_state(stream), SONIOX_ENDED);
}

static void finish(void)
{
	ENTERS(control_role);
	soniox_stream_free(stream);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		assert_false(world.connections[i].used);
	assert_int_equal(service.admission.placed, 0);
	soniox_admission_finish(&service.admission);
	pcm_unref(pcm);
	pcm_unref(opus);
}

static void view(struct soniox_view *ret_view)
{
	ENTERS(control_role);
	soniox_stream_view(stream, ret_view);
}

static void assert_words(unsigned from, unsigned to)
{
	static char expected[1 << 19];
	size_t at = 0;
	expected[0] = '\0';
	for (unsigned k = from; k < to; k++)
		at += (size_t)sprintf(expected + at, "w%u ", k);
	assert_string_equal(words, expected);
}
