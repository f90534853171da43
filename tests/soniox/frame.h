// SPDX-License-Identifier: ISC
//
// frame.h - the server's end of the WebSocket framing (RFC 6455, section 5).
//
// Runs on: any; the owner serialises.
#pragma once

#include "dataplane/base.h"

#define FRAME_HEAD_MAX 10
#define FRAME_MESSAGE_MAX (1u << 20) // a longer message closes with 1009

enum frame_opcode {
	FRAME_CONTINUATION = 0,
	FRAME_TEXT = 1,
	FRAME_BINARY = 2,
	FRAME_CLOSE = 8,
	FRAME_PING = 9,
	FRAME_PONG = 10,
};

// Bytes of one connection, cut into messages. Zeroed to begin.
struct frames {
	uint8_t *in; // not cut yet
	size_t in_bytes, in_room, in_used;
	uint8_t *message; // fragments so far
	size_t message_bytes, message_room;
	enum frame_opcode opcode; // of the fragments; 0: none
};

struct frame {
	enum frame_opcode opcode; // never CONTINUATION
	const uint8_t *data;      // until the next call
	size_t bytes;
};

void frames_put(struct frames *frames, const uint8_t *data, size_t bytes);

// Returns 1 with a whole message or control frame, 0 when more bytes are needed, or minus the close code that the peer earned.
int frames_next(struct frames *frames, struct frame *ret);
void frames_free(struct frames *frames);

// Writes the head of an unmasked frame; returns its length.
size_t frame_head(uint8_t ret_head[static FRAME_HEAD_MAX], enum frame_opcode opcode, uint64_t bytes);

bool utf8_check(const uint8_t *text, size_t bytes);
