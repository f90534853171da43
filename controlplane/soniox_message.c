// SPDX-License-Identifier: ISC
//
// soniox_message.c - the JSON of Soniox' real-time protocol: the start message out, answers in.
//
// Runs on: any.

#include "controlplane/soniox_message.h"

#include <ctype.h>
#include <stdlib.h>

#define CONTEXT_CHARS_MAX 10000 // in all, about
#define TIME_MS_MAX (UINT64_C(1) << 40)

// ---- options

static int copy_text(char **ret_copy, const char *text)
{
	*ret_copy = text == NULL ? NULL : strdup(text);
	return text != NULL && *ret_copy == NULL ? -ENOMEM : 0;
}

int soniox_options_copy(struct soniox_options *ret_copy, const struct soniox_options *options)
{
	*ret_copy = *options;
	ret_copy->terms = ret_copy->text = NULL;
	if (copy_text(&ret_copy->terms, options->terms) == 0 && copy_text(&ret_copy->text, options->text) == 0)
		return 0;
	soniox_options_free(ret_copy);
	return -ENOMEM;
}

void soniox_options_free(struct soniox_options *options)
{
	free(options->terms);
	free(options->text);
	options->terms = options->text = NULL;
}

static bool language_valid(const char *language)
{
	return islower((unsigned char)language[0]) && islower((unsigned char)language[1]) &&
	       (language[2] == '\0' || language[2] == '-');
}

static int check_translation(const struct soniox_options *options, struct err *err)
{
	const char *const languages[] = {options->translate_to, options->translate_a, options->translate_b};
	for (size_t i = 0; i < ARRAY_SIZE(languages); i++)
		if (languages[i][0] != '\0' && !language_valid(languages[i]))
			return err_set(err, EINVAL, "translation: \"%s\" is no language code such as \"en\"", languages[i]);
	if ((options->translate_a[0] == '\0') != (options->translate_b[0] == '\0'))
		return err_set(err, EINVAL, "translation: two ways need two languages");
	if (options->translate_to[0] != '\0' && options->translate_a[0] != '\0')
		return err_set(err, EINVAL, "translation: one way or two ways, not both");
	return 0;
}

int soniox_options_check(const struct soniox_options *options, struct err *err)
{
	if (options->model[0] == '\0')
		return err_set(err, EINVAL, "model: is empty");
	for (unsigned i = 0; i < options->hint_count; i++) {
		if (!language_valid(options->language_hints[i]))
			return err_set(err, EINVAL, "language_hints: \"%s\" is no language code such as \"en\"",
				options->language_hints[i]);
		for (unsigned other = 0; other < i; other++)
			if (strcmp(options->language_hints[i], options->language_hints[other]) == 0)
				return err_set(err, EINVAL, "language_hints: \"%s\" is there twice", options->language_hints[i]);
	}
	if (options->max_endpoint_delay_ms != 0 &&
		(options->max_endpoint_delay_ms < 500 || options->max_endpoint_delay_ms > 3000))
		return err_set(err, EINVAL, "max_endpoint_delay_ms: must be 500 to 3000");
	size_t context = (options->terms != NULL ? strlen(options->terms) : 0) + (options->text != NULL ? strlen(options->text) : 0);
	if (context > CONTEXT_CHARS_MAX)
		return err_set(err, EINVAL, "context: %zu bytes are too much, at most %u", context, CONTEXT_CHARS_MAX);
	return check_translation(options, err);
}

// ---- the start message

static json_t *context_of(const struct soniox_options *options)
{
	json_t *context = json_object(), *terms = json_array();
	for (const char *at = options->terms != NULL ? options->terms : ""; *at != '\0';) {
		size_t length = strcspn(at, "\n");
		if (length > 0)
			json_array_append_new(terms, json_stringn(at, length));
		at += length + (at[length] == '\n');
	}
	if (json_array_size(terms) > 0)
		json_object_set(context, "terms", terms);
	json_decref(terms);
	if (options->text != NULL && options->text[0] != '\0')
		json_object_set_new(context, "text", json_string(options->text));
	return context;
}

static json_t *translation_of(const struct soniox_options *options)
{
	if (options->translate_to[0] != '\0')
		return json_pack("{s:s, s:s}", "type", "one_way", "target_language", options->translate_to);
	if (options->translate_a[0] != '\0')
		return json_pack("{s:s, s:s, s:s}", "type", "two_way", "language_a", options->translate_a, "language_b",
			options->translate_b);
	return NULL;
}

char *soniox_start_message(const struct soniox_options *options, enum soniox_audio audio, const char *reference)
{
	json_t *root = json_pack("{s:s, s:s}", "model", options->model, "audio_format",
		audio == SONIOX_PCM ? "pcm_s16le" : "ogg");
	if (root == NULL)
		return NULL;
	if (audio == SONIOX_PCM) {
		json_object_set_new(root, "sample_rate", json_integer(16000));
		json_object_set_new(root, "num_channels", json_integer(1));
	}
	if (options->hint_count > 0) {
		json_t *hints = json_array();
		for (unsigned i = 0; i < options->hint_count; i++)
			json_array_append_new(hints, json_string(options->language_hints[i]));
		json_object_set_new(root, "language_hints", hints);
		if (options->hints_strict)
			json_object_set_new(root, "language_hints_strict", json_true());
	}
	json_t *context = context_of(options);
	if (json_object_size(context) > 0)
		json_object_set(root, "context", context);
	json_decref(context);
	if (options->diarization)
		json_object_set_new(root, "enable_speaker_diarization", json_true());
	if (options->language_identification)
		json_object_set_new(root, "enable_language_identification", json_true());
	if (options->endpointing)
		json_object_set_new(root, "enable_endpoint_detection", json_true());
	if (options->endpointing && options->max_endpoint_delay_ms != 0)
		json_object_set_new(root, "max_endpoint_delay_ms", json_integer(options->max_endpoint_delay_ms));
	json_t *translation = translation_of(options);
	if (translation != NULL)
		json_object_set_new(root, "translation", translation);
	if (reference[0] != '\0')
		json_object_set_new(root, "client_reference_id", json_string(reference));
	char *text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

// ---- answers

// The parser recurses by depth; ours is bounded before it sees a byte.
static bool too_deep(const char *text, size_t bytes)
{
	unsigned depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < bytes; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > SONIOX_DEPTH_MAX)
				return true;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

static uint64_t ms_of(const json_t *value)
{
	double number = json_number_value(value); // 0 for what is no number
	return number > 0 && number < (double)TIME_MS_MAX ? (uint64_t)number : 0;
}

static enum soniox_translation translation_status(const char *word)
{
	if (strcmp(word, "translation") == 0)
		return SONIOX_TRANSLATED;
	return strcmp(word, "original") == 0 ? SONIOX_ORIGINAL : SONIOX_UNTRANSLATED;
}

static int read_token(const json_t *object, struct soniox_token *ret_token)
{
	const json_t *text = json_object_get(object, "text");
	const json_t *start = json_object_get(object, "start_ms"), *end = json_object_get(object, "end_ms");
	if (!json_is_string(text))
		return -EBADMSG;
	*ret_token = (struct soniox_token){
		.text = json_string_value(text),
		.speaker = string_of(object, "speaker"),
		.language = string_of(object, "language"),
		.is_final = json_is_true(json_object_get(object, "is_final")),
		.has_time = json_is_number(start) && json_is_number(end),
		.start_ms = ms_of(start),
		.end_ms = ms_of(end),
		.translation = translation_status(string_of(object, "translation_status")),
	};
	if (ret_token->end_ms < ret_token->start_ms)
		ret_token->end_ms = ret_token->start_ms;
	return 0;
}

static int read_tokens(const json_t *array, struct soniox_answer *answer, struct err *err)
{
	size_t count = json_array_size(array);
	if (count == 0)
		return 0;
	if (count > SONIOX_TOKENS_MAX)
		return err_set(err, EBADMSG, "Soniox sent %zu tokens at once, at most %u are taken", count, SONIOX_TOKENS_MAX);
	answer->tokens = calloc(count, sizeof(*answer->tokens));
	if (answer->tokens == NULL)
		return err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++)
		if (read_token(json_array_get(array, i), &answer->tokens[answer->token_count++]) < 0)
			return err_set(err, EBADMSG, "Soniox sent a token without text");
	return 0;
}

static void read_error(const json_t *root, struct soniox_answer *answer)
{
	const json_t *code = json_object_get(root, "error_code");
	answer->error_type = string_of(root, "error_type");
	answer->error_message = string_of(root, "error_message");
	answer->request_id = string_of(root, "request_id");
	// A server may write null for "no error".
	answer->is_error = json_is_number(code) || answer->error_type[0] != '\0' || answer->error_message[0] != '\0';
	double number = json_number_value(code);
	answer->error_code = number > 0 && number < 1000 ? (int)number : 0;
	if (answer->is_error && answer->error_code == 0)
		answer->error_code = 500;
}

int soniox_answer_parse(const char *text, size_t bytes, struct soniox_answer *ret_answer, struct err *err)
{
	*ret_answer = (struct soniox_answer){.error_type = "", .error_message = "", .request_id = ""};
	if (bytes > SONIOX_ANSWER_BYTES_MAX)
		return err_set(err, EBADMSG, "Soniox sent a message of %zu bytes", bytes);
	if (too_deep(text, bytes))
		return err_set(err, EBADMSG, "Soniox sent JSON nested deeper than %u", SONIOX_DEPTH_MAX);
	json_error_t problem;
	ret_answer->root = json_loadb(text, bytes, 0, &problem);
	if (ret_answer->root == NULL)
		return err_set(err, EBADMSG, "Soniox sent what is no JSON: %.200s", problem.text);
	if (!json_is_object(ret_answer->root)) {
		soniox_answer_free(ret_answer);
		return err_set(err, EBADMSG, "Soniox sent JSON that is no object");
	}
	read_error(ret_answer->root, ret_answer);
	ret_answer->final_ms = ms_of(json_object_get(ret_answer->root, "final_audio_proc_ms"));
	ret_answer->total_ms = ms_of(json_object_get(ret_answer->root, "total_audio_proc_ms"));
	ret_answer->finished = json_is_true(json_object_get(ret_answer->root, "finished"));
	int ret = read_tokens(json_object_get(ret_answer->root, "tokens"), ret_answer, err);
	if (ret < 0)
		soniox_answer_free(ret_answer);
	return ret;
}

void soniox_answer_free(struct soniox_answer *answer)
{
	free(answer->tokens);
	json_decref(answer->root);
	*answer = (struct soniox_answer){.error_type = "", .error_message = "", .request_id = ""};
}

bool soniox_token_is_mark(const struct soniox_token *token)
{
	return strcmp(token->text, "<end>") == 0 || strcmp(token->text, "<fin>") == 0;
}
