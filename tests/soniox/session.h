// SPDX-License-Identifier: ISC
//
// session.h - the protocol: one connection from its keys to `finished` (facts/soniox-and-cloud.md part 1). Knows no sockets:
// it is told what came and hands out messages.
//
// Runs on: any; the owner serialises.
#pragma once

#include "tests/soniox/journal.h"
#include "tests/soniox/settings.h"

enum message_kind {
	MESSAGE_TOKENS,
	MESSAGE_FINISHED,
	MESSAGE_ERROR,
};

// A message and what is in it, for the journal.
struct message {
	enum message_kind kind;
	char *text; // JSON, malloc'ed
	size_t bytes;
	char *final_text; // words that became final; malloc'ed, NULL: none
	uint32_t finals, nonfinals, ends, fins;
	uint64_t final_ms, total_ms;
	int error_code;
	const char *error_type;
};

void message_free(struct message *message);

struct session_out {
	// Takes the message over; it goes out `after_ms` from now, in order.
	void (*send)(void *arg, uint32_t after_ms, struct message message);
	// The server closes with 1000 after that.
	void (*end)(void *arg, uint32_t after_ms);
	void *arg;
};

struct session;

// The connection's keys: from `Authorization: Bearer` and from the sub-protocol; NULL: none. `entry` outlives the session.
struct session *session_create(const char *header_key, const char *protocol_key, struct entry *entry,
	const struct session_out *out);
void session_destroy(struct session *session);

void session_text(struct session *session, const char *text, size_t bytes);
void session_binary(struct session *session, const uint8_t *data, size_t bytes);

// Acts on what is due; returns when it wants to be called again.
uint64_t session_tick(struct session *session);

// Ends with that error, as the service would.
void session_fail(struct session *session, enum failure failure, const char *detail);
