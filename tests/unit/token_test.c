// SPDX-License-Identifier: ISC
//
// token_test.c - claims are found in real tokens; anything else is refused without repeating the token.
//
// Runs on: any.
#include "controlplane/token.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

// {"alg":"HS256","typ":"JWT"} . {"iss":"devkey","sub":"bot-1","exp":1700021600,"video":{"roomJoin":true,"room":"test"}}
#define HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
#define PAYLOAD                                                                                                                \
	"eyJpc3MiOiJkZXZrZXkiLCJzdWIiOiJib3QtMSIsImV4cCI6MTcwMDAyMTYwMCwidmlkZW8iOnsicm9vbUpvaW4iOnRydWUsInJvb20iOiJ0ZXN0In19"

// Makes "HEADER.base64url(json).sig". The caller frees it.
static char *make(const char *json)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = strlen(json), used = 0;
	char *text = malloc(n * 2 + 64);
	used += (size_t)sprintf(text, "%s.", HEADER);
	for (size_t bit = 0; bit < n * 8; bit += 6) {
		size_t at = bit / 8;
		unsigned two = (unsigned)(uint8_t)json[at] << 8 | (at + 1 < n ? (uint8_t)json[at + 1] : 0);
		text[used++] = digits[two >> (10 - bit % 8) & 63];
	}
	strcpy(text + used, ".c2ln");
	return text;
}

static void test_reads(void **state)
{
	struct token token;
	assert_int_equal(token_read(HEADER "." PAYLOAD ".c2ln", &token, NULL), 0);
	assert_string_equal(token.identity, "bot-1");
	assert_string_equal(token.room, "test");
	assert_int_equal(token.expires_s, 1700021600);

	char *text = make("{\"sub\":\"\\u00e4 ~\",\"video\":{\"room\":\"r\"}}");
	assert_int_equal(token_read(text, &token, NULL), 0);
	assert_string_equal(token.identity, "\xc3\xa4 ~");
	assert_int_equal(token.expires_s, 0);
	free(text);
}

static void refused(const char *text, const char *why)
{
	struct token token = {.expires_s = 7};
	struct err err = {0};
	assert_int_equal(token_read(text, &token, &err), -EINVAL);
	assert_string_equal(err.text, why);
	assert_int_equal(token.expires_s, 7); // untouched
}

static void test_refuses(void **state)
{
	refused(NULL, "token is missing");
	refused("", "token is missing");
	static const char *const cases[] = {"abc", "a.b", "a..c", ".", "..", "a.b.c.d", HEADER ".!!!!.x", HEADER "." PAYLOAD "=.x",
		HEADER ".bnVsbA.x", HEADER ".W10.x", HEADER "." PAYLOAD ".x\r\nCookie: y", HEADER ".AAAAA.x"};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused(cases[i], "token is not a JWT");

	static const struct {
		const char *json, *why;
	} claims[] = {
		{"{}", "token has no identity (sub)"},
		{"{\"sub\":7}", "token has no identity (sub)"},
		{"{\"sub\":\"\",\"video\":{\"room\":\"r\"}}", "token has no identity (sub)"},
		{"{\"sub\":\"a\"}", "token has no room (video.room)"},
		{"{\"sub\":\"a\",\"video\":[]}", "token has no room (video.room)"},
		{"{\"sub\":\"a\",\"video\":{\"room\":\"\"}}", "token has no room (video.room)"},
		{"{\"sub\":\"a\\u0000b\",\"video\":{\"room\":\"r\"}}", "token is not a JWT"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
		char *text = make(claims[i].json);
		refused(text, claims[i].why);
		free(text);
	}
}

static void test_bounds(void **state)
{
	char json[1024], name[400] = {0};
	memset(name, 'n', 257);
	snprintf(json, sizeof(json), "{\"sub\":\"%s\",\"video\":{\"room\":\"r\"}}", name);
	char *text = make(json);
	refused(text, "token has more than 256 bytes of identity (sub)");
	free(text);
	name[256] = '\0';
	snprintf(json, sizeof(json), "{\"sub\":\"%s\",\"video\":{\"room\":\"r\"}}", name);
	text = make(json);
	struct token token;
	assert_int_equal(token_read(text, &token, NULL), 0);
	free(text);

	char *huge = malloc(TOKEN_BYTES_MAX + 2);
	memset(huge, 'a', TOKEN_BYTES_MAX + 1);
	huge[TOKEN_BYTES_MAX + 1] = '\0';
	refused(huge, "token is longer than 16384 bytes");
	free(huge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
