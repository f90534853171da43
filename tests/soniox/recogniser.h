// SPDX-License-Identifier: ISC
//
// recogniser.h - what turns audio into tokens. Two of them: `scripted` names the units of the account, `sphinx` hears words.
//
// Runs on: any; the owner serialises. A recogniser belongs to one connection.
#pragma once

#include "tests/soniox/account.h"

#define TOKEN_TEXT_MAX 64

struct token {
	char text[TOKEN_TEXT_MAX]; // "<end>" and "<fin>" are tokens too
	uint32_t start_ms, end_ms; // from the start of the connection's audio
	float confidence;
};

struct token_list {
	struct token *tokens;
	size_t count, room;
};

void token_add(struct token_list *list, struct token token);
void token_clear(struct token_list *list);

// What the recogniser has to say. It appends to `finals` and rewrites `nonfinals`; the owner takes the finals away.
struct results {
	struct token_list finals, nonfinals;
	uint64_t final_ms, total_ms; // audio covered by finals; by all tokens
	bool endpoints;              // add <end> where speech pauses
};

struct recogniser {
	const struct recogniser_ops *ops;
	struct results results;
};

struct recogniser_ops {
	const char *name;
	bool wants_pcm;                                                // decoded samples; else units
	struct recogniser *(*create)(struct err *err);                 // may take a second and block; NULL with `err` filled
	void (*destroy)(struct recogniser *recogniser);                // takes NULL
	void (*pcm)(struct recogniser *, const int16_t *, size_t count); // 16 kHz mono
	void (*unit)(struct recogniser *, const struct unit *unit);
	void (*finalize)(struct recogniser *);                         // everything so far becomes final
};

extern const struct recogniser_ops recogniser_scripted;
extern const struct recogniser_ops recogniser_sphinx;
