// SPDX-License-Identifier: ISC
//
// client.h - calls of relay.v1 one after the other, over relayd's operator socket.
//
// Runs on: any (relayctl has one thread).
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum client_result { CLIENT_OK = 0, CLIENT_REFUSED = 1, CLIENT_UNREACHABLE = 3 }; // exit codes

int client_open(const char *socket_path);
void client_close(void);
// The answer is for protobuf_c_message_free_unpacked. Otherwise client_error() says why.
enum client_result client_call(const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret_response);
// A call with one request and many answers: each is given to take, which frees nothing and returns false to end the call.
enum client_result client_stream(const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *descriptor, bool (*take)(void *arg, const ProtobufCMessage *message), void *arg);
const char *client_error(void);
