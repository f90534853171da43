// SPDX-License-Identifier: ISC
//
// log.c - structured log: one JSON object a line on stdout, one write per line. Tokens never get in.
//
// Runs on: any but workers.

#include "controlplane/log.h"

#include <ctype.h>
#include <unistd.h>

#define STRING_MAX 2048
#define LINE_MAX_BYTES 16384

static _Atomic(int) level_now = LOG_INFO;
static char service_name[64] = "relayd", env_name[64], server_name[64];

static const char *const level_words[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level)
{
	atomic_store(&level_now, (int)level);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
	for (unsigned i = 0; i < ARRAY_SIZE(level_words); i++) {
		if (strcasecmp(text, level_words[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	if (strcasecmp(text, "warning") == 0) {
		*ret_level = LOG_WARN;
		return 0;
	}
	return -EINVAL;
}

void log_set_fields(const char *service, const char *env, const char *server)
{
	snprintf(service_name, sizeof(service_name), "%s", service != NULL ? service : "relayd");
	snprintf(env_name, sizeof(env_name), "%s", env != NULL ? env : "");
	snprintf(server_name, sizeof(server_name), "%s", server != NULL ? server : "");
}

// ---- redaction

static bool token_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '=' || c == '%';
}

// Length of a JWT that begins here (eyJ....x[.y]), 0: none.
static size_t token_length(const char *text)
{
	if (strncmp(text, "eyJ", 3) != 0)
		return 0;
	size_t at = 0, dots = 0;
	while (token_char(text[at]) || (text[at] == '.' && token_char(text[at + 1]))) {
		dots += text[at] == '.';
		at++;
	}
	return dots > 0 || at > 64 ? at : 0;
}

// Length of the query of an URL whose '?' is here, 0: not one.
static size_t query_length(const char *text, const char *begin)
{
	if (*text != '?')
		return 0;
	const char *word = text;
	while (word > begin && !isspace((unsigned char)word[-1]) && word[-1] != '"' && word[-1] != '\'')
		word--;
	const char *scheme = strstr(word, "://");
	if (scheme == NULL || scheme > text)
		return 0;
	size_t at = 1;
	while (text[at] != '\0' && !isspace((unsigned char)text[at]) && text[at] != '"' && text[at] != '\'')
		at++;
	return at;
}

const char *log_redact(const char *text, char *ret_text, size_t size)
{
	size_t out = 0;
	for (const char *at = text; *at != '\0' && out + 1 < size;) {
		bool word_begins = at == text || !token_char(at[-1]);
		size_t token = word_begins ? token_length(at) : 0;
		size_t query = token == 0 ? query_length(at, text) : 0;
		if (token == 0 && query == 0) {
			ret_text[out++] = *at++;
			continue;
		}
		int added = snprintf(ret_text + out, size - out, "%s", token ? "(token)" : "(query)");
		out = MIN_OF(out + (size_t)added, size - 1);
		at += token + query;
	}
	ret_text[out] = '\0';
	return ret_text;
}

// ---- one line

struct line {
	char data[LINE_MAX_BYTES];
	size_t bytes;
};

static void put(struct line *line, const char *text, size_t bytes)
{
	bytes = MIN_OF(bytes, sizeof(line->data) - 2 - line->bytes); // room for the brace and the newline
	memcpy(line->data + line->bytes, text, bytes);
	line->bytes += bytes;
}

__attribute__((format(printf, 2, 3))) static void put_format(struct line *line, const char *format, ...)
{
	char text[128];
	va_list args;
	va_start(args, format);
	int bytes = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put(line, text, MIN_OF((size_t)bytes, sizeof(text) - 1));
}

// Bytes of a valid UTF-8 sequence at text, 0 when it is none.
static size_t utf8_length(const uint8_t *text)
{
	if (text[0] < 0x80)
		return 1;
	size_t length = text[0] >= 0xf0 && text[0] <= 0xf4 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc2 ? 2 : 0;
	if (text[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
		(text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return length;
}

static void put_string(struct line *line, const char *text)
{
	char clean[STRING_MAX];
	log_redact(text, clean, sizeof(clean));
	put(line, "\"", 1);
	for (const uint8_t *at = (const uint8_t *)clean; *at != '\0';) {
		if (line->bytes > sizeof(line->data) - 64)
			break; // the line stays valid JSON
		size_t length = utf8_length(at);
		if (length == 0) {
			put(line, "\\ufffd", 6);
			at++;
			continue;
		}
		if (*at == '"' || *at == '\\')
			put_format(line, "\\%c", *at);
		else if (*at == '\n')
			put(line, "\\n", 2);
		else if (*at < 0x20)
			put_format(line, "\\u%04x", *at);
		else
			put(line, (const char *)at, length);
		at += length;
	}
	put(line, "\"", 1);
}

static void put_pair(struct line *line, const char *key, const char *value)
{
	put_format(line, ",\"%s\":", key);
	put_string(line, value);
}

static void put_time(struct line *line)
{
	struct timespec now;
	struct tm parts;
	char text[64];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	put_format(line, "{\"dt\":\"%s.%03ldZ\"", text, now.tv_nsec / 1000000);
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	if ((int)level < atomic_load_explicit(&level_now, memory_order_relaxed))
		return;
	struct line line;
	line.bytes = 0;
	put_time(&line);
	put_pair(&line, "level", level_words[level]);
	put_pair(&line, "message", message);
	put_pair(&line, "service", service_name);
	if (env_name[0])
		put_pair(&line, "env", env_name);
	if (server_name[0])
		put_pair(&line, "server", server_name);
	for (size_t i = 0; i < count; i++) {
		const struct log_field *field = &fields[i];
		if (field->key == NULL || (field->type == LOG_STR && field->str == NULL) ||
			line.bytes > sizeof(line.data) - STRING_MAX)
			continue;
		if (field->type == LOG_STR) {
			put_pair(&line, field->key, field->str);
			continue;
		}
		put_format(&line, ",\"%s\":", field->key);
		if (field->type == LOG_INT)
			put_format(&line, "%lld", (long long)field->integer);
		else if (field->type == LOG_BOOL)
			put_format(&line, "%s", field->integer ? "true" : "false");
		else
			put_format(&line, "%.6g", field->real);
	}
	line.data[line.bytes++] = '}';
	line.data[line.bytes++] = '\n';
	// One write: lines of different threads do not mix.
	ssize_t written = write(STDOUT_FILENO, line.data, line.bytes);
	(void)written;
}

void log_text(enum log_level level, const char *component, const char *text)
{
	log_line(level, text, S("component", component));
}
