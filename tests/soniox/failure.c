// SPDX-License-Identifier: ISC
//
// failure.c - the errors of the service and their one form on the wire.
//
// Runs on: any.
#include "tests/soniox/failure.h"

#include <strings.h>
#include <sys/random.h>

static const struct failure_text texts[FAILURES] = {
#define FAILURE(name, code, type, message) [FAILURE_##name] = {#name, code, type, message},
#include "tests/soniox/failures.def"
#undef FAILURE
};

const struct failure_text *failure_text(enum failure failure)
{
	return &texts[failure];
}

enum failure failure_by_code(int code)
{
	// Of several errors with one code the usual one stands for it.
	switch (code) {
	case 400:
		return FAILURE_DECODE;
	case 429:
		return FAILURE_CONCURRENT;
	}
	for (int i = 1; i < FAILURES; i++)
		if (texts[i].code == code)
			return (enum failure)i;
	return FAILURE_NONE;
}

enum failure failure_by_text(const char *text)
{
	for (int i = 1; i < FAILURES; i++)
		if (strcasecmp(texts[i].name, text) == 0 || strcmp(texts[i].type, text) == 0 ||
			strcmp(texts[i].message, text) == 0)
			return (enum failure)i;
	return FAILURE_NONE;
}

void failure_request_id(char ret_id[static 37])
{
	uint8_t b[16] = {0};
	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		memset(b, 0, sizeof(b));
	b[6] = (uint8_t)((b[6] & 15) | 0x40);
	b[8] = (uint8_t)((b[8] & 63) | 0x80);
	snprintf(ret_id, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
		b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

json_t *failure_json(enum failure failure, const char *detail)
{
	const struct failure_text *text = &texts[failure];
	char message[512], id[37];
	const char *hole = strstr(text->message, "%s");
	if (hole != NULL)
		snprintf(message, sizeof(message), "%.*s%s%s", (int)(hole - text->message), text->message,
			detail == NULL ? "" : detail, hole + 2);
	else
		snprintf(message, sizeof(message), "%s", text->message);
	failure_request_id(id);
	return json_pack("{s:[],s:i,s:s,s:s,s:s,s:s}", "tokens", "error_code", text->code, "error_type", text->type,
		"error_message", message, "more_info", "https://soniox.com/docs/api-reference/errors", "request_id", id);
}
