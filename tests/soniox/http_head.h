// SPDX-License-Identifier: ISC
//
// http_head.h - the head of an HTTP request (RFC 9112) and the opening handshake of a WebSocket (RFC 6455, section 4.2).
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

// The head of an HTTP request, as far as anybody here asks.
struct http_head {
	char method[8], path[128], query[512];
	char authorization[512], protocols[512], key[64]; // of the headers Authorization, Sec-WebSocket-Protocol and -Key
	bool upgrade;                                      // a right WebSocket request of version 13
	size_t content_bytes;
	size_t head_bytes; // its own length, the empty line included
};

// Returns 1 when the head is complete, 0 when bytes are missing, -EBADMSG when it is none.
int http_head_parse(const char *text, size_t bytes, struct http_head *ret);

// Sec-WebSocket-Accept of that key.
void http_accept(const char *key, char ret_accept[static 64]);
