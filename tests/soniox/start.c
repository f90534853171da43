// SPDX-License-Identifier: ISC
//
// start.c - the start message: every check the service documents (facts/soniox-and-cloud.md 1.3, 1.4, 1.9).
//
// Runs on: any.
#include "tests/soniox/start.h"

#include <stdlib.h>

#define CONTEXT_MAX 10000
#define REFERENCE_MAX 256

static const char *const models[] = {"stt-rt-v5", "stt-rt-v4", "stt-rt-v3", "stt-rt-preview", "stt-rt-v3-preview"};
static const char *const containers[] = {"aac", "aiff", "amr", "asf", "flac", "mp3", "wav", "webm"};
static const char *const raws[] = {"pcm_s8", "pcm_s8le", "pcm_s8be", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be",
	"pcm_s32le", "pcm_s32be", "pcm_u8", "pcm_u8le", "pcm_u8be", "pcm_u16le", "pcm_u16be", "pcm_u24le", "pcm_u24be",
	"pcm_u32le", "pcm_u32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "mulaw", "alaw", "s16le", "f32le"};
// What the service hears and translates into (ISO 639-1).
static const char *const languages[] = {"af", "sq", "ar", "az", "eu", "be", "bn", "bs", "bg", "ca", "zh", "hr", "cs", "da",
	"nl", "en", "et", "fi", "fr", "gl", "de", "el", "gu", "he", "hi", "hu", "id", "it", "ja", "kn", "kk", "ko", "lv", "lt",
	"mk", "ms", "ml", "mr", "no", "fa", "pl", "pt", "pa", "ro", "ru", "sr", "sk", "sl", "es", "sw", "sv", "tl", "ta", "te",
	"th", "tr", "uk", "ur", "vi", "cy"};
static const char *const known_keys[] = {"model", "audio_format", "sample_rate", "num_channels", "language_hints",
	"language_hints_strict", "context", "enable_speaker_diarization", "enable_language_identification",
	"enable_endpoint_detection", "max_endpoint_delay_ms", "endpoint_sensitivity", "endpoint_latency_adjustment_level",
	"translation", "client_reference_id", "api_key"};

static const char *find(const char *const *list, size_t count, const char *text)
{
	for (size_t i = 0; text != NULL && i < count; i++)
		if (strcmp(list[i], text) == 0)
			return list[i];
	return NULL;
}

#define FIND(list, text) find(list, ARRAY_SIZE(list), text)

// A key that is absent or null is not there.
static json_t *get(json_t *message, const char *key)
{
	json_t *value = json_object_get(message, key);
	return json_is_null(value) ? NULL : value;
}

static bool get_bool(json_t *message, const char *key, bool *ret)
{
	json_t *value = get(message, key);
	*ret = json_is_true(value);
	return value == NULL || json_is_boolean(value);
}

static bool in_range(json_t *message, const char *key, bool integer, double low, double high)
{
	json_t *value = get(message, key);
	if (value == NULL)
		return true;
	if (integer ? !json_is_integer(value) : !json_is_number(value))
		return false;
	return json_number_value(value) >= low && json_number_value(value) <= high;
}

static enum failure check_audio(json_t *message, struct start *ret, char *ret_detail)
{
	json_t *format = get(message, "audio_format"), *rate = get(message, "sample_rate"),
	       *channels = get(message, "num_channels");
	if (format == NULL || (json_is_string(format) && json_string_length(format) == 0))
		return FAILURE_FORMAT_MISSING;
	if (!json_is_string(format) || (rate != NULL && !json_is_integer(rate)) ||
		(channels != NULL && !json_is_integer(channels)))
		return FAILURE_START_MALFORMED;
	const char *name = json_string_value(format);
	if (strcmp(name, "auto") == 0) {
		ret->audio = START_AUTO;
	} else if (strcmp(name, "ogg") == 0) {
		ret->audio = START_OGG;
	} else if (FIND(raws, name) != NULL) {
		if (rate == NULL)
			return FAILURE_RATE_MISSING;
		if (channels == NULL)
			return FAILURE_CHANNELS_MISSING;
		bool ours = strcmp(name, "pcm_s16le") == 0 || strcmp(name, "s16le") == 0;
		ret->audio = ours && json_integer_value(rate) == 16000 && json_integer_value(channels) == 1 ? START_PCM
													   : START_UNSUPPORTED;
	} else if (FIND(containers, name) != NULL) {
		ret->audio = START_UNSUPPORTED;
	} else {
		snprintf(ret_detail, 64, "%s", name);
		return FAILURE_FORMAT;
	}
	return FAILURE_NONE;
}

static enum failure check_languages(json_t *message, struct start *ret)
{
	json_t *hints = get(message, "language_hints"), *hint, *other;
	size_t i, k;
	bool ignored;
	ret->language = "en";
	if ((hints != NULL && !json_is_array(hints)) || !get_bool(message, "language_hints_strict", &ignored))
		return FAILURE_START_MALFORMED;
	json_array_foreach(hints, i, hint) {
		const char *known = FIND(languages, json_string_value(hint));
		if (known == NULL)
			return FAILURE_HINT;
		if (i == 0)
			ret->language = known;
		json_array_foreach(hints, k, other) {
			if (k < i && strcmp(json_string_value(other), json_string_value(hint)) == 0)
				return FAILURE_HINTS_TWICE;
		}
	}
	return FAILURE_NONE;
}

static bool is_pairs(json_t *list, const char *first, const char *second)
{
	size_t i;
	json_t *item;
	if (list != NULL && !json_is_array(list))
		return false;
	json_array_foreach(list, i, item) {
		if (!json_is_string(json_object_get(item, first)) || !json_is_string(json_object_get(item, second)))
			return false;
	}
	return true;
}

static size_t text_length(json_t *value)
{
	size_t length = json_string_length(value), i;
	const char *key;
	json_t *item;
	json_array_foreach(value, i, item) length += text_length(item);
	json_object_foreach(value, key, item) length += text_length(item);
	return length;
}

static enum failure check_context(json_t *message)
{
	json_t *context = get(message, "context"), *terms, *term;
	size_t i;
	if (context == NULL)
		return FAILURE_NONE;
	if (!json_is_object(context) || !is_pairs(get(context, "general"), "key", "value") ||
		!is_pairs(get(context, "translation_terms"), "source", "target") ||
		(get(context, "text") != NULL && !json_is_string(get(context, "text"))))
		return FAILURE_START_MALFORMED;
	terms = get(context, "terms");
	if (terms != NULL && !json_is_array(terms))
		return FAILURE_START_MALFORMED;
	json_array_foreach(terms, i, term) {
		if (!json_is_string(term))
			return FAILURE_START_MALFORMED;
	}
	return text_length(context) > CONTEXT_MAX ? FAILURE_CONTEXT_LONG : FAILURE_NONE;
}

static enum failure check_translation(json_t *message, struct start *ret)
{
	json_t *translation = get(message, "translation");
	if (translation == NULL)
		return FAILURE_NONE;
	const char *type = json_string_value(json_object_get(translation, "type"));
	if (type == NULL)
		return FAILURE_START_MALFORMED;
	if (strcmp(type, "one_way") == 0) {
		ret->target = FIND(languages, json_string_value(json_object_get(translation, "target_language")));
		return ret->target != NULL ? FAILURE_NONE : FAILURE_TARGET;
	}
	if (strcmp(type, "two_way") != 0)
		return FAILURE_START_MALFORMED;
	const char *a = FIND(languages, json_string_value(json_object_get(translation, "language_a")));
	const char *b = FIND(languages, json_string_value(json_object_get(translation, "language_b")));
	ret->target = a != NULL && strcmp(a, ret->language) == 0 ? b : a;
	return a != NULL && b != NULL && a != b ? FAILURE_NONE : FAILURE_TARGET;
}

static enum failure check_options(json_t *message, const char *model, struct start *ret)
{
	if (!get_bool(message, "enable_speaker_diarization", &ret->diarization) ||
		!get_bool(message, "enable_language_identification", &ret->languages) ||
		!get_bool(message, "enable_endpoint_detection", &ret->endpoints) ||
		!in_range(message, "max_endpoint_delay_ms", true, 500, 3000) ||
		!in_range(message, "endpoint_sensitivity", false, -1, 1) ||
		!in_range(message, "endpoint_latency_adjustment_level", true, 0, 3))
		return FAILURE_START_MALFORMED;
	// Each came with a model ("stt-rt-v4", "-v5"); older ones refuse it. The alias is the newest.
	char version = strcmp(model, "stt-rt-preview") == 0 ? '5' : model[8];
	if ((version < '4' && get(message, "max_endpoint_delay_ms") != NULL) ||
		(version < '5' && (get(message, "endpoint_sensitivity") != NULL ||
					get(message, "endpoint_latency_adjustment_level") != NULL)))
		return FAILURE_START_MALFORMED;
	json_t *reference = get(message, "client_reference_id"), *key = get(message, "api_key");
	if ((reference != NULL && !json_is_string(reference)) || (key != NULL && !json_is_string(key)))
		return FAILURE_START_MALFORMED;
	return json_string_length(reference) > REFERENCE_MAX ? FAILURE_REFERENCE_LONG : FAILURE_NONE;
}

void start_mask(const char *key, char *ret, size_t size)
{
	size_t length = strlen(key);
	snprintf(ret, size, "%.*s... (%zu)", length >= 12 ? 4 : 0, key, length);
}

static void note(json_t *message, struct start *ret, json_t **ret_masked, json_t **ret_unknown)
{
	const char *key;
	json_t *value;
	*ret_unknown = json_array();
	json_object_foreach(message, key, value) {
		if (FIND(known_keys, key) == NULL)
			json_array_append_new(*ret_unknown, json_string(key));
	}
	*ret_masked = json_deep_copy(message);
	value = json_object_get(message, "api_key");
	if (json_is_string(value)) {
		char masked[64];
		snprintf(ret->api_key, sizeof(ret->api_key), "%s", json_string_value(value));
		start_mask(ret->api_key, masked, sizeof(masked));
		json_object_set_new(*ret_masked, "api_key", json_string(masked));
	}
}

enum failure start_check(const char *text, size_t bytes, struct start *ret, char ret_detail[static 64], json_t **ret_masked,
	json_t **ret_unknown)
{
	memset(ret, 0, sizeof(*ret));
	ret_detail[0] = '\0';
	*ret_masked = *ret_unknown = NULL;
	json_t *message = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(message)) {
		json_decref(message);
		return FAILURE_START_MALFORMED;
	}
	note(message, ret, ret_masked, ret_unknown);
	json_t *model = get(message, "model");
	enum failure failure = FAILURE_NONE;
	if (model != NULL && !json_is_string(model))
		failure = FAILURE_START_MALFORMED;
	else if (FIND(models, json_string_value(model)) == NULL)
		failure = FAILURE_MODEL;
	if (failure == FAILURE_NONE)
		failure = check_audio(message, ret, ret_detail);
	if (failure == FAILURE_NONE)
		failure = check_languages(message, ret);
	if (failure == FAILURE_NONE)
		failure = check_context(message);
	if (failure == FAILURE_NONE)
		failure = check_translation(message, ret);
	if (failure == FAILURE_NONE)
		failure = check_options(message, json_string_value(model), ret);
	json_decref(message);
	return failure;
}
