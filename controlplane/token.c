// SPDX-License-Identifier: ISC
//
// token.c - reads the claims in the middle of a JWT.
//
// Runs on: any.
#include "controlplane/token.h"

#include <jansson.h>
#include <stdlib.h>

static int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

// Unpadded base64url, as JWTs have it. Returns the length or -1.
static ptrdiff_t base64url_decode(const char *text, size_t length, uint8_t *ret)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t used = 0;
	if (length % 4 == 1)
		return -1;
	for (size_t i = 0; i < length; i++) {
		int value = base64url_value(text[i]);
		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			ret[used++] = (uint8_t)(bits >> have);
		}
	}
	return (ptrdiff_t)used;
}

static int copy_name(const json_t *value, const char *what, char *ret, struct err *err)
{
	if (!json_is_string(value) || json_string_length(value) == 0)
		return err_set(err, EINVAL, "token has no %s", what);
	if (json_string_length(value) >= TOKEN_NAME_MAX)
		return err_set(err, EINVAL, "token has more than 256 bytes of %s", what);
	memcpy(ret, json_string_value(value), json_string_length(value) + 1);
	return 0;
}

static int read_claims(const json_t *claims, struct token *token, struct err *err)
{
	int rc = copy_name(json_object_get(claims, "sub"), "identity (sub)", token->identity, err);
	if (rc < 0)
		return rc;
	const json_t *video = json_object_get(claims, "video");
	rc = copy_name(json_object_get(video, "room"), "room (video.room)", token->room, err);
	if (rc < 0)
		return rc;
	const json_t *exp = json_object_get(claims, "exp");
	if (json_is_integer(exp))
		token->expires_s = json_integer_value(exp);
	else if (json_is_real(exp) && json_real_value(exp) > 0 && json_real_value(exp) < 1e15)
		token->expires_s = (int64_t)json_real_value(exp);
	return 0;
}

int token_read(const char *text, struct token *ret_token, struct err *err)
{
	size_t length = text == NULL ? 0 : strnlen(text, TOKEN_BYTES_MAX + 1);
	if (length == 0)
		return err_set(err, EINVAL, "token is missing");
	if (length > TOKEN_BYTES_MAX)
		return err_set(err, EINVAL, "token is longer than %d bytes", TOKEN_BYTES_MAX);
	const char *first = strchr(text, '.');
	const char *second = first == NULL ? NULL : strchr(first + 1, '.');
	if (second == NULL || strchr(second + 1, '.') != NULL)
		return err_set(err, EINVAL, "token is not a JWT");
	for (const char *p = text; *p != '\0'; p++) { // it goes into an HTTP header
		if (*p != '.' && base64url_value(*p) < 0)
			return err_set(err, EINVAL, "token is not a JWT");
	}

	uint8_t *payload = malloc(length);
	if (payload == NULL)
		return err_set(err, ENOMEM, "out of memory");
	ptrdiff_t bytes = base64url_decode(first + 1, (size_t)(second - first) - 1, payload);
	json_t *claims = bytes < 0 ? NULL : json_loadb((const char *)payload, (size_t)bytes, 0, NULL);
	free(payload);
	if (!json_is_object(claims)) {
		json_decref(claims);
		return err_set(err, EINVAL, "token is not a JWT");
	}
	struct token token = {0};
	int rc = read_claims(claims, &token, err);
	json_decref(claims);
	if (rc == 0)
		*ret_token = token;
	return rc;
}
