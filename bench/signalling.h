// SPDX-License-Identifier: ISC
//
// signalling.h - included by a bench: what a leg and its signalling connection take, with a small server in a process of its own.
//
// The bench has must(), allocated() and COPIES. WebSockets are opened one after the other, as users come, and stay.
//
// Runs on: control; ws.h's own thread beside it.
#pragma once

#include <sys/wait.h>

#include "bench/bench.h"
#include "controlplane/control.h"
#include "controlplane/leg_state.h"
#include "controlplane/resolve.h"
#include "controlplane/ws.h"

// The server is a unit test's.
#define assert_non_null(pointer) must((pointer) != NULL, #pointer)
#define assert_int_equal(left, right) must((left) == (right), #left)
#include "tests/support/ws_server.h"

// As LiveKit's are.
static const char signalling_token[] =
	"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4OTM0NTYwMDAsImlzcyI6IkFQSXpYdzNrOXJRYlRuN"
	"SIsIm5iZiI6MTczNTY4OTYwMCwic3ViIjoiY2xvdWQtYWdlbnQ6YS11c2VyIiwidmlkZW8iOnsicm9vbSI6ImEtcm9"
	"vbSIsInJvb21Kb2luIjp0cnVlLCJjYW5QdWJsaXNoIjp0cnVlLCJjYW5TdWJzY3JpYmUiOnRydWUsImNhblB1Ymxpc"
	"2hEYXRhIjp0cnVlfX0.kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

struct signalling_server {
	pid_t pid;
	int until; // closed: the server may go
	char url[64], ca[CERTIFICATE_PATH_MAX];
};

struct signalling_place {
	uint16_t port;
	char ca[CERTIFICATE_PATH_MAX];
};

static void signalling_serve(bool secure, int until, int out)
{
	struct signalling_place place = {0};
	char byte;
	server_start(secure ? server_tls("IP:127.0.0.1") : NULL);
	place.port = server.port;
	memcpy(place.ca, server_ca_path, sizeof(place.ca));
	must(write(out, &place, sizeof(place)) == sizeof(place), "nobody asks for the server");
	must(read(until, &byte, 1) == 0, "the server is told something");
	server_stop();
	_exit(0);
}

// Before there is any thread.
static void signalling_begin(struct signalling_server *ret, bool secure)
{
	struct signalling_place place;
	int until[2], out[2];
	fflush(NULL);
	must(pipe(until) == 0 && pipe(out) == 0 && (ret->pid = fork()) >= 0, "a process for the server");
	if (ret->pid == 0) {
		close(until[1]);
		signalling_serve(secure, until[0], out[1]);
	}
	close(until[0]);
	close(out[1]);
	must(read(out[0], &place, sizeof(place)) == sizeof(place), "the server does not start");
	close(out[0]);
	ret->until = until[1];
	memcpy(ret->ca, place.ca, sizeof(ret->ca));
	snprintf(ret->url, sizeof(ret->url), "%s://127.0.0.1:%u/ws", secure ? "wss" : "ws", place.port);
}

static void signalling_end(struct signalling_server *server_process)
{
	int status;
	close(server_process->until);
	must(waitpid(server_process->pid, &status, 0) == server_process->pid && status == 0, "the server does not end well");
	if (server_process->ca[0] != '\0')
		unlink(server_process->ca);
}

struct signalling {
	const struct signalling_server *server;
	struct ws *list[COPIES + 1]; // the first one brings what all share
	unsigned open;
	double before;
};

static void signalling_next(struct signalling *signalling) RUNS_ON(control_role);

static void signalling_event(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	struct signalling *signalling = arg;
	must(event->type == WS_OPEN, event->text);
	signalling->open++;
	if (signalling->open == ARRAY_SIZE(signalling->list))
		control_stop();
	else
		signalling_next(signalling);
}

static void signalling_next(struct signalling *signalling)
{
	char path[LIVEKIT_PATH_MAX], url[LIVEKIT_PATH_MAX + 64];
	struct livekit_join join = {0};
	struct err err = {""};
	must(livekit_join_path(&join, path, sizeof(path)) >= 0, "a path");
	snprintf(url, sizeof(url), "%s%s", signalling->server->url, path);
	struct ws_config config = {.url = url, .bearer = signalling_token, .ca_file = signalling->server->ca, .connect_limit_ms = 10000,
		.validate_url = url, .event = signalling_event, .arg = signalling};
	if (signalling->open == 1)
		signalling->before = allocated();
	signalling->list[signalling->open] = ws_connect(&config, &err);
	must(signalling->list[signalling->open] != NULL, err.text);
}

// Bytes of one that is open and idle: ours, libwebsockets' and OpenSSL's; not the kernel's.
static double signalling_bytes(bool secure)
{
	ENTERS(control_role);
	struct signalling_server process;
	struct signalling signalling = {.server = &process};
	struct err err = {""};
	signalling_begin(&process, secure);
	must(control_init(&err) == 0 && resolve_init(&err) == 0 && ws_init(&err) == 0, err.text);
	signalling_next(&signalling);
	control_run();
	double bytes = (allocated() - signalling.before) / COPIES;
	for (unsigned i = 0; i < ARRAY_SIZE(signalling.list); i++)
		ws_close(signalling.list[i]);
	ws_finish();
	resolve_finish();
	control_finish();
	signalling_end(&process);
	return bytes;
}

static void signalling_no_event(void *arg, struct leg *leg, enum leg_event_type type, const char *reason, const char *cause)
{
}

// Bytes of a leg of a small room, without its signalling connection and its transport.
static double signalling_leg_bytes(void)
{
	ENTERS(control_role);
	struct leg *legs[COPIES];
	struct config config = {0};
	struct leg_config leg = {.config = &config, .url = "wss://a-server-of-usual-length.example.com", .token = signalling_token,
		.target_identity = "a-user", .user_id = "a-user", .generation = 1, .event = signalling_no_event};
	struct err err = {""};
	char sid[] = "PA_somebody";
	Livekit__ParticipantInfo somebody = LIVEKIT__PARTICIPANT_INFO__INIT;
	somebody.sid = sid;
	must(control_init(&err) == 0, err.text);
	double before = allocated();
	for (unsigned i = 0; i < COPIES; i++) {
		must((legs[i] = leg_join(&leg, &err)) != NULL, err.text);
		must(leg_others_set(&legs[i]->others, &somebody, "a-user") != NULL, "a participant");
	}
	double bytes = (allocated() - before) / COPIES;
	for (unsigned i = 0; i < COPIES; i++)
		leg_leave(legs[i], "left");
	control_finish();
	return bytes;
}
