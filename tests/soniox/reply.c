// SPDX-License-Identifier: ISC
//
// reply.c - results as the service writes them. Keys of errors never appear in a normal message: the official SDK takes their
// mere presence for an error.
//
// Runs on: any; the owner serialises.
#include "tests/soniox/reply.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#define PROGRESS_MS 300

void reply_init(struct reply *reply, const struct start *start)
{
	memset(reply, 0, sizeof(*reply));
	reply->start = start;
}

void reply_free(struct reply *reply)
{
	free(reply->shown.tokens);
	free(reply->untranslated.tokens);
}

void message_free(struct message *message)
{
	free(message->text);
	free(message->final_text);
}

static bool is_mark(const struct token *token)
{
	return token->text[0] == '<';
}

static json_t *token_json(const struct start *start, const struct token *token, bool final)
{
	json_t *object = json_pack("{s:s,s:I,s:I,s:f,s:b}", "text", token->text, "start_ms", (json_int_t)token->start_ms, "end_ms",
		(json_int_t)token->end_ms, "confidence", round(token->confidence * 100) / 100, "is_final", final);
	if (is_mark(token))
		return object;
	if (start->diarization)
		json_object_set_new(object, "speaker", json_string("1"));
	if (start->languages || start->target != NULL)
		json_object_set_new(object, "language", json_string(start->language));
	if (start->target != NULL)
		json_object_set_new(object, "translation_status", json_string("original"));
	return object;
}

// Nobody here can translate: the word in capitals stands for it. Translations have no times.
static json_t *translation_json(const struct start *start, const struct token *token)
{
	char text[TOKEN_TEXT_MAX];
	size_t i = 0;
	for (; token->text[i] != '\0'; i++)
		text[i] = (char)toupper((unsigned char)token->text[i]);
	text[i] = '\0';
	json_t *object = json_pack("{s:s,s:f,s:b,s:s,s:s,s:s}", "text", text, "confidence", 0.9, "is_final", true, "language",
		start->target, "translation_status", "translation", "source_language", start->language);
	if (start->diarization)
		json_object_set_new(object, "speaker", json_string("1"));
	return object;
}

static bool same(const struct token_list *a, const struct token_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->tokens[i].text, b->tokens[i].text) != 0)
			return false;
	return true;
}

static struct message pack(enum message_kind kind, json_t *object)
{
	struct message message = {.kind = kind};
	message.text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(4));
	if (message.text == NULL)
		abort();
	message.bytes = strlen(message.text);
	json_decref(object);
	return message;
}

static char *join(const struct token_list *finals)
{
	size_t bytes = 1;
	for (size_t i = 0; i < finals->count; i++)
		bytes += strlen(finals->tokens[i].text);
	char *text = calloc(1, bytes), *at = text;
	for (size_t i = 0; text != NULL && i < finals->count; i++)
		if (!is_mark(&finals->tokens[i]))
			at = stpcpy(at, finals->tokens[i].text);
	return text;
}

static void add_translations(struct reply *reply, json_t *tokens)
{
	for (size_t i = 0; i < reply->untranslated.count; i++)
		json_array_append_new(tokens, translation_json(reply->start, &reply->untranslated.tokens[i]));
	token_clear(&reply->untranslated);
}

static struct message pack_tokens(json_t *tokens, const struct results *results)
{
	struct message message = pack(MESSAGE_TOKENS, json_pack("{s:o,s:I,s:I}", "tokens", tokens, "final_audio_proc_ms",
		(json_int_t)results->final_ms, "total_audio_proc_ms", (json_int_t)results->total_ms));
	message.final_ms = results->final_ms;
	message.total_ms = results->total_ms;
	return message;
}

bool reply_translations(struct reply *reply, const struct results *results, struct message *ret)
{
	if (reply->untranslated.count == 0)
		return false;
	json_t *tokens = json_array();
	add_translations(reply, tokens);
	*ret = pack_tokens(tokens, results);
	return true;
}

bool reply_tokens(struct reply *reply, struct results *results, bool even_nothing, struct message *ret)
{
	struct token_list *finals = &results->finals, *nonfinals = &results->nonfinals;
	if (!even_nothing && finals->count == 0 && same(nonfinals, &reply->shown) &&
		results->total_ms < reply->said_ms + PROGRESS_MS)
		return false;
	json_t *tokens = json_array();
	uint32_t ends = 0, fins = 0;
	add_translations(reply, tokens); // of the message before: they come chunk by chunk, before the next words
	for (size_t i = 0; i < finals->count; i++) {
		if (is_mark(&finals->tokens[i]))
			add_translations(reply, tokens);
		else if (reply->start->target != NULL)
			token_add(&reply->untranslated, finals->tokens[i]);
		json_array_append_new(tokens, token_json(reply->start, &finals->tokens[i], true));
		ends += strcmp(finals->tokens[i].text, "<end>") == 0;
		fins += strcmp(finals->tokens[i].text, "<fin>") == 0;
	}
	token_clear(&reply->shown);
	for (size_t i = 0; i < nonfinals->count; i++) {
		json_array_append_new(tokens, token_json(reply->start, &nonfinals->tokens[i], false));
		token_add(&reply->shown, nonfinals->tokens[i]);
	}
	*ret = pack_tokens(tokens, results);
	ret->finals = (uint32_t)finals->count - ends - fins;
	ret->nonfinals = (uint32_t)nonfinals->count;
	ret->ends = ends;
	ret->fins = fins;
	ret->final_text = finals->count > 0 ? join(finals) : NULL;
	reply->said_ms = results->total_ms;
	token_clear(finals);
	return true;
}

struct message reply_finished(const struct results *results)
{
	struct message message = pack(MESSAGE_FINISHED, json_pack("{s:[],s:I,s:I,s:b}", "tokens", "final_audio_proc_ms",
		(json_int_t)results->final_ms, "total_audio_proc_ms", (json_int_t)results->total_ms, "finished", true));
	message.final_ms = results->final_ms;
	message.total_ms = results->total_ms;
	return message;
}

struct message reply_error(enum failure failure, const char *detail)
{
	struct message message = pack(MESSAGE_ERROR, failure_json(failure, detail));
	message.error_code = failure_text(failure)->code;
	message.error_type = failure_text(failure)->type;
	return message;
}
