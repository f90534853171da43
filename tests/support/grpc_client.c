// SPDX-License-Identifier: ISC
//
// grpc_client.c - included by a test: a small blocking gRPC client on the C core, unary and streaming.
//
// Runs on: any.

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>

#include "dataplane/base.h"

#define CLIENT_LIMIT_S 20

struct client {
	grpc_channel *channel;
	grpc_completion_queue *queue;
};

// What channels that are opened from now on compress with, where it is worth it: a grpc_compression_algorithm.
static int client_compression;

static inline void client_open_with(struct client *client, const char *target, grpc_channel_credentials *credentials)
{
	grpc_arg args[] = {
		// A channel of its own: calls of one test must not share a connection with another's.
		{.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)"grpc.use_local_subchannel_pool", .value.integer = 1},
		{.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)"grpc.initial_reconnect_backoff_ms", .value.integer = 100},
		{.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)"grpc.max_receive_message_length", .value.integer = -1},
		{.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)"grpc.default_compression_algorithm",
			.value.integer = client_compression},
	};
	grpc_channel_args list = {.num_args = ARRAY_SIZE(args), .args = args};
	client->channel = grpc_channel_create(target, credentials, &list);
	client->queue = grpc_completion_queue_create_for_pluck(NULL);
	grpc_channel_credentials_release(credentials);
}

static inline void client_open(struct client *client, const char *target)
{
	client_open_with(client, target, grpc_insecure_credentials_create());
}

static inline void client_close(struct client *client)
{
	grpc_channel_destroy(client->channel);
	grpc_completion_queue_shutdown(client->queue);
	grpc_completion_queue_destroy(client->queue);
}

struct client_call {
	struct client *client;
	grpc_call *call;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
	bool finished, got_initial;
	int status_tag, initial_tag, send_tag, recv_tag, close_tag;
	grpc_byte_buffer *received;
	char text[1024]; // details
};

static inline gpr_timespec client_deadline(unsigned ms)
{
	return gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

static inline bool client_pluck(struct client_call *call, void *tag)
{
	grpc_event event = grpc_completion_queue_pluck(call->client->queue, tag, client_deadline(CLIENT_LIMIT_S * 1000), NULL);
	return event.type == GRPC_OP_COMPLETE && event.success;
}

// x-relay-transcribe of the next calls, NULL: none.
static const char *client_metadata;

static inline void client_start(struct client_call *call, struct client *client, const char *method, unsigned limit_ms)
{
	memset(call, 0, sizeof(*call));
	call->client = client;
	grpc_slice path = grpc_slice_from_copied_string(method);
	call->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue, path, NULL,
		client_deadline(limit_ms), NULL);
	grpc_slice_unref(path);
	grpc_metadata_array_init(&call->initial);
	grpc_metadata_array_init(&call->trailing);
	grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
	grpc_metadata pair;
	if (client_metadata != NULL) {
		pair.key = grpc_slice_from_static_string("x-relay-transcribe");
		pair.value = grpc_slice_from_static_string(client_metadata);
		ops[0].data.send_initial_metadata.count = 1;
		ops[0].data.send_initial_metadata.metadata = &pair;
	}
	ops[1].data.recv_status_on_client.status = &call->status;
	ops[1].data.recv_status_on_client.status_details = &call->details;
	ops[1].data.recv_status_on_client.trailing_metadata = &call->trailing;
	grpc_call_start_batch(call->call, ops, 1, &call->send_tag, NULL);
	client_pluck(call, &call->send_tag);
	grpc_call_start_batch(call->call, ops + 1, 1, &call->status_tag, NULL);
	// Asked for at once: without it the status does not come either.
	grpc_op op = {.op = GRPC_OP_RECV_INITIAL_METADATA};
	op.data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	grpc_call_start_batch(call->call, &op, 1, &call->initial_tag, NULL);
}

// Waits for the server's initial metadata.
static inline bool client_initial(struct client_call *call)
{
	call->got_initial = true;
	return client_pluck(call, &call->initial_tag);
}

static inline bool client_send_bytes(struct client_call *call, const void *data, size_t bytes)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(data, bytes);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
	grpc_call_start_batch(call->call, &op, 1, &call->send_tag, NULL);
	bool ok = client_pluck(call, &call->send_tag);
	grpc_byte_buffer_destroy(buffer);
	grpc_slice_unref(slice);
	return ok;
}

static inline bool client_send(struct client_call *call, const ProtobufCMessage *message)
{
	size_t bytes = protobuf_c_message_get_packed_size(message);
	uint8_t *data = malloc(bytes + 1);
	protobuf_c_message_pack(message, data);
	bool ok = client_send_bytes(call, data, bytes);
	free(data);
	return ok;
}

static inline bool client_half_close(struct client_call *call)
{
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
	grpc_call_start_batch(call->call, &op, 1, &call->close_tag, NULL);
	return client_pluck(call, &call->close_tag);
}

// The next message, NULL when the stream has ended. Without a descriptor it is read and dropped.
static inline ProtobufCMessage *client_recv(struct client_call *call, const ProtobufCMessageDescriptor *descriptor)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
	grpc_call_start_batch(call->call, &op, 1, &call->recv_tag, NULL);
	if (!client_pluck(call, &call->recv_tag) || call->received == NULL)
		return NULL;
	grpc_byte_buffer_reader reader;
	grpc_byte_buffer_reader_init(&reader, call->received);
	grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(call->received);
	call->received = NULL;
	ProtobufCMessage *message = descriptor == NULL
		? NULL
		: protobuf_c_message_unpack(descriptor, NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
	grpc_slice_unref(slice);
	return message;
}

// Waits for the status; its text is call->text. -1 when none comes in time.
static inline int client_status(struct client_call *call)
{
	if (!call->finished) {
		if (!client_pluck(call, &call->status_tag))
			return -1;
		call->finished = true;
		size_t bytes = MIN_OF(GRPC_SLICE_LENGTH(call->details), sizeof(call->text) - 1);
		memcpy(call->text, GRPC_SLICE_START_PTR(call->details), bytes);
		call->text[bytes] = '\0';
	}
	return (int)call->status;
}

static inline void client_end(struct client_call *call)
{
	if (!call->finished) {
		grpc_call_cancel(call->call, NULL);
		client_status(call);
	}
	if (!call->got_initial)
		client_initial(call);
	grpc_call_unref(call->call);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&call->trailing);
	grpc_slice_unref(call->details);
}

// One unary call. Returns the status; *ret_response (may be NULL) is for protobuf_c_message_free_unpacked.
static inline int client_unary(struct client *client, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret_response, char *ret_text, size_t text_size)
{
	struct client_call call;
	client_start(&call, client, method, CLIENT_LIMIT_S * 1000);
	ProtobufCMessage *response = NULL;
	client_send(&call, request);
	client_half_close(&call);
	if (client_initial(&call))
		response = client_recv(&call, descriptor);
	int status = client_status(&call);
	if (ret_text != NULL)
		snprintf(ret_text, text_size, "%s", call.text);
	client_end(&call);
	if (ret_response != NULL)
		*ret_response = response;
	else if (response != NULL)
		protobuf_c_message_free_unpacked(response, NULL);
	return status;
}
