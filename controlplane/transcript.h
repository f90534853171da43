// SPDX-License-Identifier: ISC
//
// transcript.h - what one user said: segments with sequence numbers on one time line, over all connections to Soniox.
//
// Fed with Soniox' answers; tells listeners. Finals are appended once: one that comes again, of the same connection or of the
// next that heard the same audio, is recognised by its time and text. What was not final is replaced by the next message.
// A segment ends at an endpoint, where speaker or language change, at a long pause, or when it gets long.
//
// Runs on: control.
#pragma once

#include "controlplane/soniox_message.h"
#include "dataplane/roles.h"

#define TRANSCRIPT_WORD_MAX 16 // of a speaker, of a language

struct transcript;

struct transcript_segment {
	uint64_t seq;         // 1, 2... per transcript; of an interim: the one it will have
	uint64_t start_ms, end_ms; // of the user's audio as relay sent it, over all connections
	int64_t spoken_at_ms; // Unix ms of start
	bool is_final;
	char speaker[TRANSCRIPT_WORD_MAX], language[TRANSCRIPT_WORD_MAX]; // "" when Soniox does not say
	char translation_language[TRANSCRIPT_WORD_MAX];
	const char *text, *translation; // "" for none; valid during the call
};

struct transcript_listener {
	struct transcript_listener *next;
	void (*segment)(struct transcript_listener *listener, const struct transcript_segment *segment);
	// Nothing more will come. The listener is already out of the list.
	void (*end)(struct transcript_listener *listener);
	void *arg;
};

struct transcript_config {
	unsigned history_segments;
	size_t history_bytes;
	int64_t (*spoken_at_us)(void *arg, uint64_t ms); // Unix us of a point of the time line
	void *arg;
};

struct transcript_stats {
	uint64_t segments, tokens, repeats; // repeats: finals that came again and were left out
	uint64_t oldest_seq, next_seq;
};

struct transcript *transcript_create(const struct transcript_config *config); // NULL: out of memory
void transcript_free(struct transcript *transcript); // takes NULL; listeners hear the end

// Which transcript the sequence numbers are of: a user who left and came back has another.
uint64_t transcript_epoch(const struct transcript *transcript);

// A connection begins whose audio starts at base_ms of the time line. Finals of it that lie before what is final already are
// repeats; its names of speakers are matched with those we gave, by who said what is heard twice.
void transcript_connected(struct transcript *transcript, uint64_t base_ms);
// One message of the connection. True when it had a token.
bool transcript_answer(struct transcript *transcript, const struct soniox_answer *answer, uint64_t now_ns);
// Words are final whose translation has not come whole: a new connection that begins at from_ms of the time line (or earlier, and
// not behind what is confirmed) will hear them again, and of what it says only the translation is taken.
bool transcript_untranslated(const struct transcript *transcript, uint64_t *ret_from_ms);
// Ends a segment that nothing was added to for a while. connected: what is not final may go on, and is waited for; else it is left
// for the next connection to hear again. Returns when to call again (clock_mono_ns); UINT64_MAX: after the next message.
uint64_t transcript_poll(struct transcript *transcript, bool connected, uint64_t now_ns);
// All audio was heard or given up: everything, also what never became final, becomes a segment now.
void transcript_flush(struct transcript *transcript);

// Hears the kept segments from from_seq on at once (0: none), then whatever comes. False: from_seq is not kept any more, and
// the listener begins with the oldest.
bool transcript_listen(struct transcript *transcript, struct transcript_listener *listener, uint64_t from_seq);
void transcript_unlisten(struct transcript *transcript, struct transcript_listener *listener);
void transcript_stats(const struct transcript *transcript, struct transcript_stats *ret_stats);
