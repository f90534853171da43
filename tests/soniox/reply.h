// SPDX-License-Identifier: ISC
//
// reply.h - results as the service writes them (facts/soniox-and-cloud.md 1.8).
//
// Runs on: any; the owner serialises.
#pragma once

#include "tests/soniox/session.h"
#include "tests/soniox/start.h"

struct reply {
	const struct start *start;
	uint64_t said_ms;        // total_audio_proc_ms of the last message
	struct token_list shown; // non-finals of the last message
	struct token_list untranslated; // finals of the last message
};

void reply_init(struct reply *reply, const struct start *start);
void reply_free(struct reply *reply);

// Takes the finals away and writes a message when there is news: finals, other non-finals, or 300 ms of progress; with
// `even_nothing` always. Returns whether it wrote one.
bool reply_tokens(struct reply *reply, struct results *results, bool even_nothing, struct message *ret);

// The translations that are still due. Returns whether there were any.
bool reply_translations(struct reply *reply, const struct results *results, struct message *ret);

struct message reply_finished(const struct results *results);
struct message reply_error(enum failure failure, const char *detail);
