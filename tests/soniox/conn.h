// SPDX-License-Identifier: ISC
//
// conn.h - one connection to the stand-in, on a thread of its own: HTTP, or a WebSocket with its session and its faults.
//
// Runs on: the connection's thread.
#pragma once

#include "tests/soniox/faults.h"
#include "tests/soniox/frame.h"
#include "tests/soniox/http_head.h"
#include "tests/soniox/link.h"
#include "tests/soniox/session.h"

#define CONN_FAULTS_MAX 8

struct outgoing {
	struct outgoing *next;
	uint64_t due; // stand-in time
	bool end;     // close with 1000; else a message
	struct message message;
};

struct conn {
	struct link link;
	char *input; // bytes read before the handshake was complete
	struct entry *entry;
	struct session *session;
	struct frames frames;
	struct outgoing *first, **last;
	struct fault faults[CONN_FAULTS_MAX];
	size_t fault_count;

	const char *ended; // NULL: it goes on
	bool reset;        // end by a reset
	bool deaf;         // an end was decided: the session hears no more

	// What faults make of it.
	uint64_t stalled_until, muted_until, slow_until; // stand-in time; 0: not
	uint32_t bytes_per_s, late_ms;
	uint64_t slow_from, slow_bytes;
	bool duplicate, no_finished;
};

// Serves one connection from its first byte to its end. `public` : it came to the port that clients use.
void conn_serve(struct conn *conn, bool public);

// Queues a message `after_ms` from now; takes it over.
void conn_send(struct conn *conn, uint32_t after_ms, struct message message);
void conn_end(struct conn *conn, uint32_t after_ms);

// Writes a frame now. The journal is the caller's affair.
void conn_put(struct conn *conn, enum frame_opcode opcode, const void *data, size_t bytes);

// conn_faults.c: does what is due of the connection's faults.
void conn_act(struct conn *conn);

// When the next fault by time is due.
uint64_t conn_fault_due(const struct conn *conn);

// Drops what waits to go out after an end of audio.
void conn_drop_end(struct conn *conn);
