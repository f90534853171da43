// SPDX-License-Identifier: ISC
//
// request.h - turn a client's bytes into a protobuf message that is safe to use: bounded, UTF-8, no hidden NUL.
//
// Runs on: any.
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "dataplane/base.h"

// Longest user_id; struct slot_status holds it with its NUL.
#define REQUEST_USER_ID_MAX 255

// 0 with a message that protobuf_c_message_free_unpacked(message, NULL) frees; -EBADMSG when the bytes are no such
// message; -EINVAL when a value is not acceptable (too long, not UTF-8): the sentence names the field.
int request_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
	ProtobufCMessage **ret_message, struct err *err);

bool request_utf8_valid(const uint8_t *text, size_t bytes);
// A text of a stranger becomes fit for answers and logs: control characters and what is no UTF-8 turn into question marks.
void request_text_clean(char *text);
