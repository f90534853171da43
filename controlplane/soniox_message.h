// SPDX-License-Identifier: ISC
//
// soniox_message.h - the JSON of Soniox' real-time protocol: the start message out, answers in. Pure.
//
// Source: facts soniox-and-cloud.md 1.3, 1.7, 1.8, 1.9.
//
// Runs on: any.
#pragma once

#include <jansson.h>

#include "controlplane/soniox_replay.h"
#include "dataplane/base.h"

#define SONIOX_ANSWER_BYTES_MAX (256u << 10) // of one message; 1,000 tokens of it are common, more is not
#define SONIOX_TOKENS_MAX 4096
#define SONIOX_DEPTH_MAX 16
#define SONIOX_TERMS_MAX 256
#define SONIOX_HINTS_MAX 16

#define SONIOX_KEEPALIVE "{\"type\":\"keepalive\"}"
#define SONIOX_FINALIZE "{\"type\":\"finalize\"}"

// What is asked for one user. Owned by its holder; all text copied.
struct soniox_options {
	char model[64];
	char language_hints[SONIOX_HINTS_MAX][8]; // ISO 639-1, unique
	unsigned hint_count;
	bool hints_strict;
	char *terms; // newline between them, "" or NULL: none
	char *text;  // free text of the context
	bool diarization, language_identification, endpointing;
	unsigned max_endpoint_delay_ms; // 0: Soniox' own default
	char translate_to[8];           // one way, "": off
	char translate_a[8], translate_b[8]; // two ways
};

int soniox_options_copy(struct soniox_options *ret_copy, const struct soniox_options *options); // -ENOMEM
void soniox_options_free(struct soniox_options *options); // the text, not the struct
// What Soniox would answer with 400 is found here first: the sentence names the option.
int soniox_options_check(const struct soniox_options *options, struct err *err);

// The first message; free() it. NULL: out of memory. reference ends up in Soniox' usage log, "": none.
char *soniox_start_message(const struct soniox_options *options, enum soniox_audio audio, const char *reference);

enum soniox_translation { SONIOX_UNTRANSLATED, SONIOX_ORIGINAL, SONIOX_TRANSLATED };

// One token; its text lives as long as the answer.
struct soniox_token {
	const char *text, *speaker, *language; // "" when absent
	bool is_final, has_time;
	uint64_t start_ms, end_ms; // of this connection's audio
	enum soniox_translation translation;
};

struct soniox_answer {
	struct soniox_token *tokens;
	unsigned token_count;
	uint64_t final_ms, total_ms; // final_audio_proc_ms, total_audio_proc_ms
	bool finished;
	bool is_error;
	int error_code;
	const char *error_type, *error_message, *request_id; // "" when absent
	json_t *root; // keeps the text
};

// -EBADMSG: not what Soniox sends, with a sentence. Unknown keys are skipped.
int soniox_answer_parse(const char *text, size_t bytes, struct soniox_answer *ret_answer, struct err *err);
void soniox_answer_free(struct soniox_answer *answer);
// "<end>" (endpoint) and "<fin>" (finalize done) are marks, not text.
bool soniox_token_is_mark(const struct soniox_token *token);
