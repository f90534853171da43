// SPDX-License-Identifier: ISC
//
// source_world.h - included by a test: speech as two legs bring it, a source that hears them, and what came of it.
//
// Runs on: worker (played by the test).
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <opus.h>
#include <stdlib.h>

#include "dataplane/source.h"

#define PACKETS 120
#define OLD 100 // transport ids
#define NEW 200
#define MS 1000000ull

struct speech {
	uint8_t payload[PACKETS][400];
	int bytes[PACKETS];
	uint32_t timestamp[PACKETS]; // the publisher's
} speech;

// A voice of three wandering tones; in [silent_from, silent_to) the encoder sends nothing but its signs of life.
static void speak(int silent_from, int silent_to)
{
	int error;
	OpusEncoder *encoder = opus_encoder_create(48000, 1, OPUS_APPLICATION_VOIP, &error);
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(32000));
	int sample = 0, count = 0;
	for (int frame = 0; count < PACKETS; frame++) {
		int16_t pcm[960];
		for (int i = 0; i < 960; i++, sample++)
			pcm[i] = (int16_t)(4000 * sin(sample * 0.03 + 3 * sin(sample * 0.0004)) + 3000 * sin(sample * 0.11) +
					   rand() % 500);
		int bytes = opus_encode(encoder, pcm, 960, speech.payload[count], sizeof(speech.payload[0]));
		assert_true(bytes > 20);
		speech.timestamp[count] = (uint32_t)frame * 960;
		if (count >= silent_from && count < silent_to) {
			memcpy(speech.payload[count], (uint8_t[]){0xf8, 0xff, 0xfe}, 3); // the server's own silence
			bytes = 3;
			frame += 19; // one each 400 ms
		}
		speech.bytes[count++] = bytes;
	}
	opus_encoder_destroy(encoder);
}

// One subscription: the same packets under its own numbers.
struct copy {
	uint64_t transport;
	uint32_t ssrc, timestamp_offset;
	uint16_t seq_offset;
};
#define SAME_CLOCK {NEW, 0x2222, 5000, 700}
#define OTHER_CLOCK {NEW, 0x3333, 4905, 40000}
static const struct copy old_copy = {OLD, 0x1111, 5000, 65500}, same_clock = SAME_CLOCK, other_clock = OTHER_CLOCK;

struct kept {
	struct copy copy;
	int packet;
	bool data;
};

struct bench {
	struct pcm *pcm;
	struct source *source;
	uint64_t now_ns;
	struct kept kept[64];
	unsigned kept_count;
};

static void setup(struct bench *bench)
{
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_AUTO};
	*bench = (struct bench){.pcm = pcm_create(10000), .now_ns = 1000 * MS};
	bench->source = source_create(bench->pcm, &config);
}

static void teardown(struct bench *bench)
{
	ENTERS(control_role);
	source_destroy(bench->source);
	pcm_unref(bench->pcm);
}

static enum drop give(struct bench *bench, const struct copy *copy, int packet, bool again);
static enum drop give_data(struct bench *bench, const struct copy *copy, int packet);

static void settle(struct bench *bench)
{
	ENTERS(worker_role);
	if (bench->kept_count == 0 || !source_takes_held(bench->source))
		return;
	struct kept kept[64];
	unsigned count = bench->kept_count;
	memcpy(kept, bench->kept, sizeof(kept));
	bench->kept_count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (kept[i].data)
			give_data(bench, &kept[i].copy, kept[i].packet);
		else
			give(bench, &kept[i].copy, kept[i].packet, true);
	}
}

static enum drop give(struct bench *bench, const struct copy *copy, int packet, bool again)
{
	ENTERS(worker_role);
	bool keep;
	struct source_rtp rtp = {
		.payload = speech.payload[packet],
		.payload_bytes = (uint16_t)speech.bytes[packet],
		.seq = (uint16_t)(packet + copy->seq_offset),
		.timestamp = speech.timestamp[packet] + copy->timestamp_offset,
		.ssrc = copy->ssrc,
		.transport = copy->transport,
		.arrival_ns = bench->now_ns,
		.again = again,
	};
	enum drop drop = source_rtp_input(bench->source, &rtp, &keep);
	if (keep)
		bench->kept[bench->kept_count++] = (struct kept){*copy, packet, false};
	settle(bench);
	return drop;
}

static enum drop give_data(struct bench *bench, const struct copy *copy, int packet)
{
	ENTERS(worker_role);
	uint8_t payload[641] = {(uint8_t)(packet + 1)};
	bool keep;
	for (int i = 0; i < 320; i++) // every 30th frame is digital silence
		memcpy(payload + 1 + 2 * i, &(int16_t){(int16_t)(packet % 30 == 7 ? 0 : packet * 300 + i)}, 2);
	struct source_data data = {payload, sizeof(payload), copy->transport, 1, bench->now_ns, false};
	enum drop drop = source_data_input(bench->source, &data, &keep);
	if (keep)
		bench->kept[bench->kept_count++] = (struct kept){*copy, packet, true};
	settle(bench);
	return drop;
}

static void pass(struct bench *bench, uint64_t ms)
{
	ENTERS(worker_role);
	for (uint64_t end = bench->now_ns + ms * MS;;) {
		uint64_t deadline = source_deadline_ns(bench->source);
		if (deadline == 0 || deadline > end) {
			bench->now_ns = end;
			return;
		}
		bench->now_ns = MAX_OF(bench->now_ns, deadline);
		source_poll(bench->source, bench->now_ns);
		settle(bench);
	}
}

static void hear(struct bench *bench, enum hearing_mode mode, uint64_t main, uint32_t main_generation, uint64_t other,
	uint32_t other_generation, bool fence)
{
	ENTERS(worker_role);
	struct hearing hearing = {.mode = mode, .fence = fence, .main = {main, main_generation, 0},
		.other = {other, other_generation, 0}};
	source_hear(bench->source, &hearing, bench->now_ns);
	settle(bench);
}

// All samples written, and which generation each cell is of.
struct heard {
	int16_t samples[PACKETS * 20 * 320];
	unsigned count, cells;
	uint32_t generation[PACKETS * 20];
	uint16_t flags[PACKETS * 20];
};

static void collect(struct bench *bench, struct heard *heard)
{
	struct pcm_frame frame;
	uint64_t cursor = 0, lapped = 0;
	heard->count = heard->cells = 0;
	while (pcm_read(bench->pcm, &cursor, &frame, &lapped) == 1) {
		memcpy(heard->samples + heard->count, frame.samples, frame.bytes);
		heard->count += frame.bytes / 2;
		heard->generation[heard->cells] = frame.generation;
		heard->flags[heard->cells++] = frame.flags;
	}
	assert_int_equal(lapped, 0);
}

static struct heard heard;
