// SPDX-License-Identifier: ISC
//
// leg_world.h - included by one file of a test: WebSockets and transports for real legs that do nothing but count.
//
// Runs on: control (played by the test).
#pragma once

#include <stdlib.h>

#include "controlplane/leg_state.h"

struct ws {
	char url[1024], bearer[512];
	bool closed, abandoned;
	ws_event_fn *event;
	void *arg;
};

static struct ws sockets[64];
static unsigned socket_count, opens, closes, probes, restarts, targets;
static transport_id next_transport;

static struct ws *fake_connect(const struct ws_config *c, struct err *err)
{
	if (socket_count == ARRAY_SIZE(sockets)) {
		err_set(err, EMFILE, "no more sockets in this world");
		return NULL;
	}
	struct ws *ws = &sockets[socket_count++];
	*ws = (struct ws){.event = c->event, .arg = c->arg};
	snprintf(ws->url, sizeof(ws->url), "%s", c->url);
	snprintf(ws->bearer, sizeof(ws->bearer), "%s", c->bearer);
	return ws;
}
static int fake_send(struct ws *ws, const void *data, size_t bytes)
{
	return 0;
}
static void fake_close(struct ws *ws)
{
	if (ws->closed)
		abort(); // closed twice
	ws->closed = true;
}
static void fake_abandon(struct ws *ws, const void *farewell, size_t bytes)
{
	ws->abandoned = bytes > 0; // with a farewell
	fake_close(ws);
}
static int fake_open(const struct transport_config *c, transport_id *ret_id, struct transport_local *ret_local, struct err *err)
{
	opens++;
	*ret_id = next_transport++;
	*ret_local = (struct transport_local){.ufrag = "ufrag", .pwd = "password-of-22-characters", .fingerprint = "AA:BB", .port = 1};
	return 0;
}
static int fake_remote(transport_id id, const struct transport_remote *remote, struct err *err)
{
	return 0;
}
static int fake_candidate(transport_id id, struct endpoint remote, uint32_t priority)
{
	return 0;
}
static int fake_map(transport_id id, uint32_t ssrc, uint8_t pt_opus, uint8_t pt_red)
{
	return 0;
}
static int fake_unmap(transport_id id, uint32_t ssrc)
{
	return 0;
}
static int fake_target(transport_id id, const char *identity, uint32_t voice)
{
	targets++;
	return 0;
}
static int fake_probe(transport_id id)
{
	probes++;
	return 0;
}
static int fake_restart(transport_id id, struct transport_local *ret_local, struct err *err)
{
	restarts++;
	return 0;
}
static void fake_transport_close(transport_id id)
{
	closes++;
}

static inline void leg_world_begin(void)
{
	socket_count = opens = closes = probes = restarts = targets = 0;
	next_transport = 100;
	leg_ops = (struct leg_ops){.ws_connect = fake_connect, .ws_send = fake_send, .ws_close = fake_close, .ws_abandon = fake_abandon,
		.transport_open = fake_open, .transport_set_remote = fake_remote, .transport_add_candidate = fake_candidate,
		.transport_map = fake_map, .transport_unmap = fake_unmap, .transport_set_target = fake_target,
		.transport_probe = fake_probe, .transport_restart = fake_restart, .transport_close = fake_transport_close};
}

// Everything that was opened is closed.
static inline bool leg_world_is_over(void)
{
	for (unsigned i = 0; i < socket_count; i++)
		if (!sockets[i].closed)
			return false;
	return opens == closes;
}
