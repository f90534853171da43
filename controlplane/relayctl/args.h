// SPDX-License-Identifier: ISC
//
// args.h - relayctl's grammar: options anywhere, one command that may be shortened, its words.
//
// Runs on: any.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define ARGS_DEFAULT_SOCKET "/run/relay/relayctl.sock"

enum args_command { ARGS_STATUS, ARGS_SESSIONS, ARGS_SESSION, ARGS_CAPTIONS, ARGS_DROPS, ARGS_SWAPS, ARGS_VERSION, ARGS_HELP };

struct args {
	enum args_command command;
	const char *socket;
	const char *user; // of session, captions and swaps
	bool json, watch, finals;
	unsigned long long from_seq; // of captions
	char error[256]; // what is wrong and what was expected
};

// The words after the program's name. False: error says why.
bool args_parse(int count, char *const *words, const char *environment_socket, struct args *ret_args);

// What `relayctl help` prints.
extern const char args_help[];
