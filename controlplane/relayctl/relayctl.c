// SPDX-License-Identifier: ISC
//
// relayctl.c - the operator's tool: asks relayd over its own socket and shows the answer.
//
// Runs on: any (one thread, its own program).

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "controlplane/relayctl/args.h"
#include "controlplane/relayctl/captions.h"
#include "controlplane/relayctl/client.h"
#include "controlplane/relayctl/show.h"

#define EXIT_USAGE 2
#define SESSION_SWAPS 5 // the last ones of the user

static void print_json(json_t *object, bool one_line)
{
	json_dumpf(object, stdout, one_line ? JSON_COMPACT : JSON_INDENT(2));
	printf("\n");
	json_decref(object);
}

// Asks and shows once.
static enum client_result run(const struct args *args)
{
	Relay__V1__GetStatusRequest nothing = RELAY__V1__GET_STATUS_REQUEST__INIT;
	Relay__V1__GetSessionRequest whose = RELAY__V1__GET_SESSION_REQUEST__INIT;
	Relay__V1__ListSwapsRequest which = RELAY__V1__LIST_SWAPS_REQUEST__INIT;
	ProtobufCMessage *answer = NULL, *swaps = NULL;
	enum client_result result = CLIENT_OK;
	switch (args->command) {
	case ARGS_STATUS:
		result = client_call("/relay.v1.Admin/GetStatus", &nothing.base, &relay__v1__status__descriptor, &answer);
		break;
	case ARGS_SESSIONS:
		result = client_call("/relay.v1.Admin/ListSessions", &nothing.base,
			&relay__v1__list_sessions_response__descriptor, &answer);
		break;
	case ARGS_SESSION:
		whose.user_id = (char *)(uintptr_t)args->user;
		result = client_call("/relay.v1.Admin/GetSession", &whose.base, &relay__v1__session__descriptor, &answer);
		which.user_id = whose.user_id;
		which.limit = SESSION_SWAPS;
		if (result == CLIENT_OK)
			result = client_call("/relay.v1.Admin/ListSwaps", &which.base,
				&relay__v1__list_swaps_response__descriptor, &swaps);
		break;
	case ARGS_DROPS:
		result = client_call("/relay.v1.Admin/ListDrops", &nothing.base, &relay__v1__list_drops_response__descriptor,
			&answer);
		break;
	case ARGS_SWAPS:
		which.user_id = (char *)(uintptr_t)(args->user != NULL ? args->user : "");
		result = client_call("/relay.v1.Admin/ListSwaps", &which.base, &relay__v1__list_swaps_response__descriptor,
			&answer);
		break;
	case ARGS_VERSION:
		result = client_call("/relay.v1.Admin/GetVersion", &nothing.base, &relay__v1__version__descriptor, &answer);
		break;
	case ARGS_CAPTIONS:
		result = captions_follow(args);
		break;
	case ARGS_HELP:
		break;
	}
	if (result != CLIENT_OK) {
		fprintf(stderr, "relayctl: %s\n", client_error());
		if (answer != NULL)
			protobuf_c_message_free_unpacked(answer, NULL);
		return result;
	}
	if (args->watch && !args->json && isatty(STDOUT_FILENO))
		printf("\033[H\033[2J");
	switch (args->command) {
	case ARGS_STATUS:
		args->json ? print_json(captions_json_status(json_status((void *)answer)), args->watch) : show_status((void *)answer);
		if (!args->json)
			captions_show_totals();
		break;
	case ARGS_SESSIONS:
		args->json ? print_json(json_sessions((void *)answer), args->watch) : show_sessions((void *)answer);
		break;
	case ARGS_SESSION:
		if (args->json) {
			json_t *seen = json_session_swaps((void *)answer, (void *)swaps);
			print_json(captions_json_session(seen, (void *)answer), args->watch);
		} else {
			show_session((void *)answer);
			captions_show_links((void *)answer);
			captions_show_state(args->user);
			show_swaps((void *)swaps);
		}
		break;
	case ARGS_DROPS:
		args->json ? print_json(json_drops((void *)answer), args->watch) : show_drops((void *)answer);
		break;
	case ARGS_SWAPS:
		args->json ? print_json(json_swaps((void *)answer), args->watch) : show_swaps((void *)answer);
		break;
	case ARGS_VERSION:
		args->json ? print_json(json_version((void *)answer), args->watch) : show_version((void *)answer);
		break;
	case ARGS_CAPTIONS:
	case ARGS_HELP:
		return CLIENT_OK;
	}
	protobuf_c_message_free_unpacked(answer, NULL);
	if (swaps != NULL)
		protobuf_c_message_free_unpacked(swaps, NULL);
	return CLIENT_OK;
}

int main(int argc, char **argv)
{
	struct args args;
	if (!args_parse(argc - 1, argv + (argc > 0), getenv("RELAYCTL_SOCKET"), &args)) {
		fprintf(stderr, "relayctl: %s\n", args.error);
		return EXIT_USAGE;
	}
	if (args.command == ARGS_HELP) {
		fputs(args_help, stdout);
		return 0;
	}
	if (client_open(args.socket) != 0) {
		// Its own version can be told without anybody's help.
		if (args.command == ARGS_VERSION && !args.json)
			show_version(NULL);
		else if (args.command == ARGS_VERSION)
			print_json(json_version(NULL), false);
		fprintf(stderr, "relayctl: %s\n", client_error());
		return CLIENT_UNREACHABLE;
	}
	enum client_result result = run(&args);
	while (result == CLIENT_OK && args.watch && fflush(stdout) == 0) {
		sleep(1);
		result = run(&args);
	}
	client_close();
	return (int)result;
}
