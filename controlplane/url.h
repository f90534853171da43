// SPDX-License-Identifier: ISC
//
// url.h - a server's address: ws, wss, http or https, with an optional base path; parsed, normalised, written again.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define URL_HOST_MAX 254
#define URL_PATH_MAX 512
#define URL_TEXT_MAX (URL_HOST_MAX + URL_PATH_MAX + 32)

struct url {
	bool secure;             // wss or https
	bool ipv6;               // host is an IPv6 literal, kept without brackets
	uint16_t port;           // never 0: the scheme's own when none was written
	char host[URL_HOST_MAX]; // lower case, without a final dot
	char path[URL_PATH_MAX]; // "" or "/a/b": no doubled and no final slash
};

// Takes the base URL an operator or client writes. A query, a fragment or user:password is refused: none of them can
// mean anything here, and they tend to hold secrets.
int url_parse(const char *text, struct url *ret_url, struct err *err);
// "wss://host:port/path" + suffix ("" or "/rtc/v1?x=y"), or https:// when http is set; a default port is left out.
// -ENAMETOOLONG when it does not fit.
int url_format(const struct url *url, bool http, const char *suffix, char *ret_text, size_t size);
// What a Host header says: host or [v6], and the port when it is not the scheme's.
int url_host_header(const struct url *url, char *ret_text, size_t size);
