// SPDX-License-Identifier: ISC
//
// url_test.c - spellings of one place become one text; what is no place is refused.
//
// Runs on: any.
#include "controlplane/url.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_normalises(void **state)
{
	static const struct {
		const char *in, *ws, *http;
	} cases[] = {
		{"ws://a", "ws://a", "http://a"},
		{"WSS://Example.COM:443/", "wss://example.com", "https://example.com"},
		{"https://example.com.:443", "wss://example.com", "https://example.com"},
		{"http://example.com:80/", "ws://example.com", "http://example.com"},
		{"ws://example.com:443", "ws://example.com:443", "http://example.com:443"},
		{"wss://example.com:80", "wss://example.com:80", "https://example.com:80"},
		{"ws://10.0.0.1:7880", "ws://10.0.0.1:7880", "http://10.0.0.1:7880"},
		{"wss://host/base/path", "wss://host/base/path", "https://host/base/path"},
		{"wss://host//base///path//", "wss://host/base/path", "https://host/base/path"},
		{"wss://host:/a%20b", "wss://host/a%20b", "https://host/a%20b"},
		{"ws://[::1]:7880/x", "ws://[::1]:7880/x", "http://[::1]:7880/x"},
		{"ws://[0:0:0:0:0:0:0:1]", "ws://[::1]", "http://[::1]"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct url url;
		struct err err = {0};
		char text[URL_TEXT_MAX];
		assert_int_equal(url_parse(cases[i].in, &url, &err), 0);
		assert_int_equal(url_format(&url, false, "", text, sizeof(text)), 0);
		assert_string_equal(text, cases[i].ws);
		assert_int_equal(url_format(&url, true, "", text, sizeof(text)), 0);
		assert_string_equal(text, cases[i].http);
	}
}

static void test_refuses(void **state)
{
	static const char *const cases[] = {"", "a", "ftp://a", "ws:/a", "ws://", "ws:///x", "ws://.", "ws://a..", "ws://.a", "ws://a..b", "ws://:80", "ws://a:0",
		"ws://a:65536", "ws://a:99999999999999999999", "ws://a:8x", "ws://a b", "ws://a/b c", "ws://u:p@a", "ws://a?x=y",
		"ws://a/b?access_token=z", "ws://a/#f", "ws://[::1", "ws://[::g]", "ws://[::1]x", "ws://a/\x01", "ws://a\r\nX: y",
		"ws://a/\xc3\xa4", "ws://h\xc3\xa4st"};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct url url;
		struct err err = {0};
		assert_int_equal(url_parse(cases[i], &url, &err), -EINVAL);
		assert_true(strncmp(err.text, "URL ", 4) == 0);
	}
	assert_int_equal(url_parse(NULL, &(struct url){0}, NULL), -EINVAL);
}

static void test_bounds(void **state)
{
	char text[2048] = "ws://";
	struct url url;
	memset(text + 5, 'a', 300);
	assert_int_equal(url_parse(text, &url, NULL), -EINVAL);
	strcpy(text, "ws://a/");
	memset(text + 7, 'b', 600);
	assert_int_equal(url_parse(text, &url, NULL), -EINVAL);
	assert_int_equal(url_parse("wss://example.com/base", &url, NULL), 0);
	char small[27];
	assert_int_equal(url_format(&url, false, "/rtc", small, sizeof(small)), 0);
	assert_string_equal(small, "wss://example.com/base/rtc");
	assert_int_equal(url_format(&url, false, "/rtcx", small, sizeof(small)), -ENAMETOOLONG);
	assert_int_equal(url_host_header(&url, small, 12), 0);
	assert_int_equal(url_host_header(&url, small, 11), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normalises),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
