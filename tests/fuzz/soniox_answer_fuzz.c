// SPDX-License-Identifier: ISC
//
// soniox_answer_fuzz.c - whatever Soniox sends, message by message (a newline ends one), into a transcript.
//
// Invariants: sequence numbers rise by one, times of a segment do not run backwards, none is empty.
//
// Runs on: any.
#include <stdlib.h>

#include "controlplane/transcript.h"

static uint64_t next_seq;

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	if (segment->seq != next_seq || segment->end_ms < segment->start_ms)
		abort();
	if (segment->is_final && segment->text[0] == '\0' && segment->translation[0] == '\0')
		abort();
	next_seq += segment->is_final;
}

static void on_end(struct transcript_listener *listener)
{
}

static int64_t spoken_at(void *arg, uint64_t ms)
{
	return (int64_t)ms * 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct transcript_config config = {.history_segments = 3, .history_bytes = 300, .spoken_at_us = spoken_at};
	struct transcript *transcript = transcript_create(&config);
	struct transcript_listener listener = {.segment = on_segment, .end = on_end};
	next_seq = 1;
	if (transcript == NULL)
		return 0;
	transcript_listen(transcript, &listener, 1);
	transcript_connected(transcript, 0);
	uint64_t now_ns = 1;
	for (size_t at = 0; at < bytes;) {
		const uint8_t *end = memchr(data + at, '\n', bytes - at);
		size_t length = end == NULL ? bytes - at : (size_t)(end - (data + at));
		struct soniox_answer answer;
		struct err err;
		bool lost = length == 1 && data[at] == '!';
		if (lost) { // the connection was
			transcript_connected(transcript, (uint64_t)at * 10);
		} else if (soniox_answer_parse((const char *)data + at, length, &answer, &err) == 0) {
			transcript_answer(transcript, &answer, now_ns);
			soniox_answer_free(&answer);
		} else if (err.text[0] == '\0') {
			abort();
		}
		now_ns += 1000000000;
		transcript_poll(transcript, !lost, now_ns);
		at += length + 1;
	}
	transcript_flush(transcript);
	transcript_free(transcript);
	return 0;
}
