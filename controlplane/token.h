// SPDX-License-Identifier: ISC
//
// token.h - what a LiveKit access token says about itself, read without verifying: only the server can verify it.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define TOKEN_BYTES_MAX 16384 // a longer text is no token
#define TOKEN_NAME_MAX 257    // LiveKit refuses rooms and identities above 256 characters

struct token {
	char identity[TOKEN_NAME_MAX]; // sub
	char room[TOKEN_NAME_MAX];     // video.room
	int64_t expires_s;             // exp, Unix time; 0: none written
};

// Refuses what is not three base64url parts with a JSON object in the middle, and tokens without identity or room.
// The error never repeats any part of the token.
int token_read(const char *text, struct token *ret_token, struct err *err);
