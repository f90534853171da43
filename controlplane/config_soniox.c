// SPDX-License-Identifier: ISC
//
// config_soniox.c - the section soniox: of relay.yaml.
//
// Runs on: init.

#include "controlplane/config_soniox.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>

#include "controlplane/url.h"

#define KEY_BYTES_MAX 512
#define PATH_BYTES 64

static const struct {
	const char *name, *url;
} regions[] = {
	{"us", "wss://stt-rt.soniox.com/transcribe-websocket"},
	{"eu", "wss://stt-rt.eu.soniox.com/transcribe-websocket"},
	{"jp", "wss://stt-rt.jp.soniox.com/transcribe-websocket"},
};

static int replace(char **field, const char *value)
{
	char *copy = strdup(value);
	if (copy == NULL)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

int config_soniox_defaults(struct config *config)
{
	config->soniox.enabled = SONIOX_OFF;
	config->soniox.audio = SONIOX_PCM;
	config->soniox.replay_ms = 30000;
	config->soniox.concurrent = 10;
	config->soniox.per_minute = 100;
	config->soniox.rotate_ms = 290 * 60000;
	config->soniox.idle_ms = 300000;
	config->soniox.stall_ms = 10000;
	config->soniox.history = 1000;
	config->soniox.files = (struct transcript_file_config){.format = TRANSCRIPT_JSONL, .max_kb = 1024, .keep = 10};
	snprintf(config->soniox.options.model, sizeof(config->soniox.options.model), "stt-rt-v5");
	config->soniox.options.language_identification = config->soniox.options.endpointing = true;
	int ret = replace(&config->soniox.url, regions[0].url);
	ret |= replace(&config->soniox.key, "");
	ret |= replace(&config->soniox.ca_file, "");
	config->soniox.files.dir = strdup("");
	ret |= config->soniox.files.dir == NULL;
	ret |= replace(&config->soniox.options.terms, "");
	ret |= replace(&config->soniox.options.text, "");
	return ret ? -ENOMEM : 0;
}

static int bad(char *ret_path, const char *key, struct err *err, const char *sentence)
{
	snprintf(ret_path, PATH_BYTES, "soniox.%s", key);
	return err_set(err, EINVAL, "%s", sentence);
}

// ---- numbers, flags, words

typedef __typeof__(*((struct config_yaml *)0)->soniox) section;

static int read_numbers(struct config *config, const section *yaml, char *ret_path, struct err *err)
{
	const struct {
		const char *key;
		unsigned *field;
		const unsigned *value;
		unsigned least, most;
	} numbers[] = {
		{"replay_ms", &config->soniox.replay_ms, yaml->replay_ms, 1000, 120000},
		{"concurrent", &config->soniox.concurrent, yaml->concurrent, 1, 100000},
		{"per_minute", &config->soniox.per_minute, yaml->per_minute, 1, 10000},
		{"rotate_ms", &config->soniox.rotate_ms, yaml->rotate_ms, 0, 295 * 60000},
		{"idle_ms", &config->soniox.idle_ms, yaml->idle_ms, 0, 86400000},
		{"stall_ms", &config->soniox.stall_ms, yaml->stall_ms, 0, 600000},
		{"files_max_kb", &config->soniox.files.max_kb, yaml->files_max_kb, 16, 1048576},
		{"files_keep", &config->soniox.files.keep, yaml->files_keep, 1, 10000},
		{"history", &config->soniox.history, yaml->history, 1, 100000},
		{"max_endpoint_delay_ms", &config->soniox.options.max_endpoint_delay_ms, yaml->max_endpoint_delay_ms, 0, 3000},
	};
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char sentence[64];
		snprintf(sentence, sizeof(sentence), "must be %u to %u", numbers[i].least, numbers[i].most);
		if (numbers[i].value != NULL)
			*numbers[i].field = *numbers[i].value;
		if (*numbers[i].field < numbers[i].least || *numbers[i].field > numbers[i].most)
			return bad(ret_path, numbers[i].key, err, sentence);
	}
	return 0;
}

static void read_flags(struct config *config, const section *yaml)
{
	struct soniox_options *options = &config->soniox.options;
	const struct {
		bool *field;
		const bool *value;
	} flags[] = {
		{&options->diarization, yaml->diarization},
		{&options->language_identification, yaml->language_identification},
		{&options->endpointing, yaml->endpointing},
		{&options->hints_strict, yaml->language_hints_strict},
		{&config->soniox.room_captions, yaml->room_captions},
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].value != NULL)
			*flags[i].field = *flags[i].value;
}

// -EINVAL when value is none of the words.
static int word(int *field, const char *value, const char *const *words, size_t count)
{
	for (size_t i = 0; value != NULL && i < count; i++)
		if (strcmp(value, words[i]) == 0) {
			*field = (int)i;
			return 0;
		}
	return value == NULL ? 0 : -EINVAL;
}

static int read_words(struct config *config, const section *yaml, char *ret_path, struct err *err)
{
	static const char *const enabled[] = {[SONIOX_OFF] = "off", [SONIOX_ON_REQUEST] = "on_request", [SONIOX_ALWAYS] = "always"};
	static const char *const audio[] = {[SONIOX_PCM] = "pcm", [SONIOX_OGG_OPUS] = "ogg_opus"};
	static const char *const formats[] = {[TRANSCRIPT_JSONL] = "jsonl", [TRANSCRIPT_VTT] = "vtt"};
	int region = -1, format = config->soniox.files.format;
	const char *names[ARRAY_SIZE(regions)];
	for (size_t i = 0; i < ARRAY_SIZE(regions); i++)
		names[i] = regions[i].name;
	if (word(&config->soniox.enabled, yaml->enabled, enabled, ARRAY_SIZE(enabled)) < 0)
		return bad(ret_path, "enabled", err, "must be off, on_request or always");
	if (word(&config->soniox.audio, yaml->audio, audio, ARRAY_SIZE(audio)) < 0)
		return bad(ret_path, "audio", err, "must be pcm or ogg_opus");
	if (word(&region, yaml->region, names, ARRAY_SIZE(names)) < 0)
		return bad(ret_path, "region", err, "must be us, eu or jp");
	if (word(&format, yaml->files_format, formats, ARRAY_SIZE(formats)) < 0)
		return bad(ret_path, "files_format", err, "must be jsonl or vtt");
	config->soniox.files.format = (enum transcript_format)format;
	if (yaml->files_dir != NULL && replace((char **)(uintptr_t)&config->soniox.files.dir, yaml->files_dir) < 0)
		return bad(ret_path, "files_dir", err, "out of memory");
	if (region >= 0 && replace(&config->soniox.url, regions[region].url) < 0)
		return bad(ret_path, "region", err, "out of memory");
	if (yaml->url != NULL && yaml->url[0] != '\0' && replace(&config->soniox.url, yaml->url) < 0)
		return bad(ret_path, "url", err, "out of memory");
	if (yaml->ca_file != NULL && replace(&config->soniox.ca_file, yaml->ca_file) < 0)
		return bad(ret_path, "ca_file", err, "out of memory");
	return 0;
}

// ---- the options of every user

static int read_terms(struct soniox_options *options, const section *yaml)
{
	size_t bytes = 1;
	for (unsigned i = 0; i < yaml->context_terms_count; i++)
		bytes += strlen(yaml->context_terms[i]) + 1;
	char *terms = calloc(1, bytes), *at = terms;
	if (terms == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < yaml->context_terms_count; i++)
		at += sprintf(at, "%s%s", i > 0 ? "\n" : "", yaml->context_terms[i]);
	free(options->terms);
	options->terms = terms;
	return 0;
}

static int read_options(struct config *config, const section *yaml, char *ret_path, struct err *err)
{
	struct soniox_options *options = &config->soniox.options;
	if (yaml->model != NULL)
		snprintf(options->model, sizeof(options->model), "%s", yaml->model);
	if (yaml->language_hints_count > SONIOX_HINTS_MAX)
		return bad(ret_path, "language_hints", err, "are at most 16");
	options->hint_count = yaml->language_hints_count;
	for (unsigned i = 0; i < options->hint_count; i++)
		snprintf(options->language_hints[i], sizeof(options->language_hints[i]), "%s", yaml->language_hints[i]);
	if (read_terms(options, yaml) < 0 || (yaml->context_text != NULL && replace(&options->text, yaml->context_text) < 0))
		return bad(ret_path, "context_terms", err, "out of memory");
	if (yaml->translate_to != NULL)
		snprintf(options->translate_to, sizeof(options->translate_to), "%s", yaml->translate_to);
	if (yaml->translate_between_count != 0 && yaml->translate_between_count != 2)
		return bad(ret_path, "translate_between", err, "must be two languages, such as [en, es]");
	if (yaml->translate_between_count == 2) {
		snprintf(options->translate_a, sizeof(options->translate_a), "%s", yaml->translate_between[0]);
		snprintf(options->translate_b, sizeof(options->translate_b), "%s", yaml->translate_between[1]);
	}
	if (soniox_options_check(options, err) == 0)
		return 0;
	snprintf(ret_path, PATH_BYTES, "soniox"); // the sentence begins with the option's name
	return -EINVAL;
}

// ---- the key

// Tokens of HTTP headers have no spaces; a trailing newline is an editor's.
static int key_take(struct config *config, const char *key)
{
	char clean[KEY_BYTES_MAX];
	snprintf(clean, sizeof(clean), "%s", key);
	size_t length = strlen(clean);
	while (length > 0 && isspace((unsigned char)clean[length - 1]))
		clean[--length] = '\0';
	int ret = 0;
	for (size_t i = 0; i < length; i++)
		if (clean[i] <= ' ' || clean[i] > '~')
			ret = -EINVAL;
	if (ret == 0)
		ret = replace(&config->soniox.key, clean);
	explicit_bzero(clean, sizeof(clean));
	return ret;
}

static int read_key(struct config *config, const section *yaml, char *ret_path, struct err *err)
{
	char key[KEY_BYTES_MAX] = "", sentence[512];
	if (yaml->key_file == NULL || yaml->key_file[0] == '\0')
		return 0;
	FILE *file = fopen(yaml->key_file, "re");
	if (file == NULL) {
		snprintf(sentence, sizeof(sentence), "%.300s: %s", yaml->key_file, strerror(errno));
		return bad(ret_path, "key_file", err, sentence);
	}
	size_t bytes = fread(key, 1, sizeof(key) - 1, file);
	fclose(file);
	key[bytes] = '\0';
	int ret = bytes == 0 ? -EINVAL : key_take(config, key);
	explicit_bzero(key, sizeof(key));
	return ret < 0 ? bad(ret_path, "key_file", err, "holds no key: one line of printable characters is expected") : 0;
}

int config_soniox_read(struct config *config, const struct config_yaml *yaml, char ret_path[static 64], struct err *err)
{
	if (yaml->soniox == NULL)
		return 0;
	int ret = read_numbers(config, yaml->soniox, ret_path, err);
	read_flags(config, yaml->soniox);
	if (ret == 0)
		ret = read_words(config, yaml->soniox, ret_path, err);
	if (ret == 0)
		ret = read_options(config, yaml->soniox, ret_path, err);
	if (ret == 0)
		ret = read_key(config, yaml->soniox, ret_path, err);
	return ret;
}

// ---- the whole

static bool is_loopback(const char *host)
{
	struct in_addr address;
	bool is_ipv4 = inet_pton(AF_INET, host, &address) == 1;
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || (is_ipv4 && ntohl(address.s_addr) >> 24 == 127);
}

int config_soniox_finish(struct config *config, const char *url, const char *key, struct err *err)
{
	if (url != NULL && replace(&config->soniox.url, url) < 0)
		return err_set(err, ENOMEM, "out of memory");
	if (config->soniox.key[0] == '\0' && key != NULL && key_take(config, key) < 0)
		return err_set(err, EINVAL, "SONIOX_API_KEY: has a character that no key has");
	if (config->soniox.enabled == SONIOX_OFF)
		return 0;
	if (config->soniox.key[0] == '\0')
		return err_set(err, EINVAL, "soniox.enabled: there is no key: set soniox.key_file or SONIOX_API_KEY");
	struct url parsed;
	char base[URL_TEXT_MAX] = "";
	const char *place = strstr(config->soniox.url, "://");
	size_t length = place == NULL ? 0 : (size_t)(place + 3 - config->soniox.url) + strcspn(place + 3, "/?");
	if (length > 0 && length < sizeof(base))
		memcpy(base, config->soniox.url, length);
	if (url_parse(base, &parsed, NULL) < 0)
		return err_set(err, EINVAL, "soniox.url: %s is no URL of a WebSocket", config->soniox.url);
	if (!parsed.secure && !is_loopback(parsed.host))
		return err_set(err, EINVAL, "soniox.url: ws:// would show the key on the way to %s; only wss:// goes beyond loopback",
			parsed.host);
	return 0;
}

void config_soniox_free(struct config *config)
{
	if (config->soniox.key != NULL)
		explicit_bzero(config->soniox.key, strlen(config->soniox.key));
	free(config->soniox.key);
	free(config->soniox.url);
	free(config->soniox.ca_file);
	free((char *)(uintptr_t)config->soniox.files.dir);
	soniox_options_free(&config->soniox.options);
}
