// SPDX-License-Identifier: ISC
//
// soniox_service.h - what all streams to Soniox share: where it is, the key, times, the account's limits, the way out.
//
// Runs on: control.
#pragma once

#include "controlplane/soniox_admission.h"
#include "controlplane/soniox_message.h"
#include "controlplane/ws.h"
#include "dataplane/roles.h"

// What streams ask of WebSockets and of time; tests put their own in.
struct soniox_ops {
	struct ws *(*ws_connect)(const struct ws_config *config, struct err *err);
	int (*ws_send)(struct ws *ws, const void *data, size_t bytes);
	int (*ws_send_text)(struct ws *ws, const char *text, size_t bytes);
	size_t (*ws_queued_bytes)(const struct ws *ws);
	void (*ws_close)(struct ws *ws);
	uint64_t (*now_ns)(void);
	uint32_t (*random)(void);
};

struct soniox_service {
	struct soniox_ops ops;
	const char *url, *key, *ca_file; // borrowed
	enum soniox_audio audio;
	uint32_t ring_ms;   // of the slots: what a stream does not take off its ring in time is gone
	uint32_t replay_ms; // kept for a new connection
	uint32_t rotate_ms; // a connection is replaced after this, well before 300 minutes; 0: never
	uint32_t idle_ms;   // without audio a connection is ended after this; 0: never
	uint32_t stall_ms;  // audio unanswered for so long: the connection is given up; 0: never
	uint32_t connect_limit_ms;
	unsigned history_segments;
	size_t history_bytes;
	struct soniox_admission admission;
	// counters
	uint64_t connections, connections_failed, lost, rotations, refused;
	char alarm[256]; // the last thing an operator must act on, "" none
	int64_t alarm_at_ms;
};
