// SPDX-License-Identifier: ISC
//
// args.c - relayctl's grammar: options anywhere, one command that may be shortened, its words.
//
// Runs on: any.

#include "controlplane/relayctl/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum args_command command;
} commands[] = {
	{"status", ARGS_STATUS},
	{"sessions", ARGS_SESSIONS},
	{"session", ARGS_SESSION},
	{"captions", ARGS_CAPTIONS},
	{"drops", ARGS_DROPS},
	{"swaps", ARGS_SWAPS},
	{"version", ARGS_VERSION},
	{"help", ARGS_HELP},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

const char args_help[] =
	"usage: relayctl [--socket PATH] [--json] COMMAND\n"
	"\n"
	"  status          one screen: health and why, ports, workers, sessions, latency, losses\n"
	"  status --watch  the same, every second\n"
	"  sessions        every user with a session\n"
	"  session USER    all that is known of one\n"
	"  captions USER   what the user says, as it is said; what is not final yet is written over\n"
	"  drops           every reason a packet or frame can be dropped for, with its count\n"
	"  swaps [USER]    JoinRooms that found a session: how each was replaced, how fast, what it cost\n"
	"  version         of relayctl and of the relayd that answers\n"
	"  help            this text\n"
	"\n"
	"  -s, --socket PATH  where relayd listens for operators\n"
	"                     (default: $RELAYCTL_SOCKET, then " ARGS_DEFAULT_SOCKET ")\n"
	"  -j, --json         for programs: one JSON object, names that stay\n"
	"  -w, --watch        again every second until interrupted\n"
	"  -f, --finals       of captions: only what is final\n"
	"      --from SEQ     of captions: also what was said from this segment on; 0: only what comes (default: 1)\n"
	"  -h, --help  -V, --version\n"
	"\n"
	"A command may be shortened as long as it is the only one that begins so.\n"
	"Exit code: 0 done, 1 relayd refused, 2 not understood, 3 relayd is not reachable.\n";

// At most this much of a word is repeated in an error.
#define SHOWN 64

static bool find_command(const char *word, struct args *args)
{
	unsigned matches = 0;
	char names[96] = "";
	size_t length = strlen(word);
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(word, commands[i].name) == 0) {
			args->command = commands[i].command;
			return true;
		}
		if (length > 0 && strncmp(word, commands[i].name, length) == 0) {
			args->command = commands[i].command;
			size_t used = strlen(names);
			snprintf(names + used, sizeof(names) - used, "%s%s", matches > 0 ? ", " : "", commands[i].name);
			matches++;
		}
	}
	if (matches > 1)
		snprintf(args->error, sizeof(args->error), "\"%s\" could be %s", word, names);
	else if (matches == 0)
		snprintf(args->error, sizeof(args->error),
			"\"%.*s\" is no command; expected status, sessions, session, captions, drops, swaps, version or help", SHOWN, word);
	return matches == 1;
}

// Takes one word, or two for an option with a value. Returns how many, 0 on error.
static int option(int left, char *const *words, struct args *args)
{
	const char *word = words[0];
	if (strcmp(word, "-j") == 0 || strcmp(word, "--json") == 0) {
		args->json = true;
		return 1;
	}
	if (strcmp(word, "-w") == 0 || strcmp(word, "--watch") == 0) {
		args->watch = true;
		return 1;
	}
	if (strncmp(word, "--socket=", 9) == 0 && word[9] != '\0') {
		args->socket = word + 9;
		return 1;
	}
	if (strcmp(word, "-s") == 0 || strcmp(word, "--socket") == 0) {
		if (left > 1 && words[1][0] != '\0') {
			args->socket = words[1];
			return 2;
		}
		snprintf(args->error, sizeof(args->error), "%s expects a path", word);
		return 0;
	}
	if (strcmp(word, "-f") == 0 || strcmp(word, "--finals") == 0) {
		args->finals = true;
		return 1;
	}
	if (strcmp(word, "--from") == 0 || strncmp(word, "--from=", 7) == 0) {
		bool apart = word[6] == '\0';
		const char *number = apart ? (left > 1 ? words[1] : "") : word + 7;
		char *end;
		args->from_seq = strtoull(number, &end, 10);
		if (number[0] >= '0' && number[0] <= '9' && *end == '\0')
			return apart ? 2 : 1;
		snprintf(args->error, sizeof(args->error), "--from expects the number of a segment");
		return 0;
	}
	snprintf(args->error, sizeof(args->error),
		"\"%.*s\" is no option; expected --socket PATH, --json, --watch, --help or --version", SHOWN, word);
	return 0;
}

static bool takes_user(enum args_command command)
{
	return command == ARGS_SESSION || command == ARGS_CAPTIONS;
}

bool args_parse(int count, char *const *words, const char *environment_socket, struct args *ret_args)
{
	bool given = environment_socket != NULL && environment_socket[0] != '\0';
	*ret_args = (struct args){.command = ARGS_HELP, .from_seq = 1, .socket = given ? environment_socket : ARGS_DEFAULT_SOCKET};
	bool have_command = false, words_only = false;
	for (int i = 0; i < count;) {
		const char *word = words[i];
		if (!words_only && (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)) {
			ret_args->command = ARGS_HELP;
			return true;
		}
		if (!words_only && (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) && !have_command) {
			ret_args->command = ARGS_VERSION;
			have_command = true;
			i++;
		} else if (!words_only && strcmp(word, "--") == 0) {
			words_only = true;
			i++;
		} else if (!words_only && word[0] == '-' && word[1] != '\0') {
			int taken = option(count - i, words + i, ret_args);
			if (taken == 0)
				return false;
			i += taken;
		} else if (!have_command) {
			if (!find_command(word, ret_args))
				return false;
			have_command = true;
			i++;
		} else if ((takes_user(ret_args->command) || ret_args->command == ARGS_SWAPS) && ret_args->user == NULL) {
			ret_args->user = word;
			i++;
		} else {
			snprintf(ret_args->error, sizeof(ret_args->error), "\"%.*s\" is one word too many", SHOWN, word);
			return false;
		}
	}
	if (!have_command) {
		snprintf(ret_args->error, sizeof(ret_args->error),
			"expected a command: status, sessions, session, captions, drops, swaps, version or help");
		return false;
	}
	if (takes_user(ret_args->command) && (ret_args->user == NULL || ret_args->user[0] == '\0')) {
		const char *name = ret_args->command == ARGS_SESSION ? "session" : "captions";
		snprintf(ret_args->error, sizeof(ret_args->error), "%s expects a user: relayctl %s USER", name, name);
		return false;
	}
	return true;
}
