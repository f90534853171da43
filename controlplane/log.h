// SPDX-License-Identifier: ISC
//
// log.h - structured log: one JSON object a line on stdout. Tokens and secrets never get in. Contract.
//
// Top-level fields: dt (RFC 3339, ms), level, message, service, then the key-value pairs as named (userId, roomName, ...).
// Runs on: any but workers (never blocks for long: one write per line).
#pragma once

#include "dataplane/base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
int log_level_parse(const char *text, enum log_level *ret_level);
void log_set_fields(const char *service, const char *env, const char *server); // NULL leaves one out

// One pair of a line. Made by the macros below; an absent (NULL) string is left out.
struct log_field {
	const char *key;
	enum { LOG_STR, LOG_INT, LOG_DOUBLE, LOG_BOOL } type;
	const char *str;
	int64_t integer;
	double real;
};
#define S(k, v) ((struct log_field){.key = (k), .type = LOG_STR, .str = (v)})
#define I(k, v) ((struct log_field){.key = (k), .type = LOG_INT, .integer = (int64_t)(v)})
#define D(k, v) ((struct log_field){.key = (k), .type = LOG_DOUBLE, .real = (v)})
#define B(k, v) ((struct log_field){.key = (k), .type = LOG_BOOL, .integer = (v)})

// log_line(LOG_INFO, "Successfully joined room", S("userId", user), S("roomName", room), I("generation", 3));
// JSON escaping, invalid UTF-8 replaced, strings cut at 2 KiB; anything that looks like a JWT (eyJ....x.y) is replaced by
// "(token)", and the query of an URL by "(query)".
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);
#define log_line(level, message, ...)                                                                                  \
	log_write(level, message, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ) {0}},                          \
		sizeof((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ) {0}}) / sizeof(struct log_field) - 1)
// Plain text for library log hooks (DPDK, lws, gRPC).
void log_text(enum log_level level, const char *component, const char *text);
// Copy text with tokens and URL queries cut out (for error strings that go to clients). Returns ret_text.
const char *log_redact(const char *text, char *ret_text, size_t size);
