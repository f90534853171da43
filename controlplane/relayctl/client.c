// SPDX-License-Identifier: ISC
//
// client.c - calls of relay.v1 one after the other, over relayd's operator socket.
//
// Runs on: any (relayctl has one thread).

#include "controlplane/relayctl/client.h"

#include <errno.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LIMIT_MS 5000

static struct {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	grpc_channel *channel;
	grpc_completion_queue *queue;
	char error[1024];
} client;

const char *client_error(void)
{
	return client.error;
}

static void quiet(gpr_log_func_args *args)
{
	(void)args; // what goes wrong comes back as a status
}

// gRPC would say "failed to connect to all addresses" whatever the cause.
static int probe(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(client.error, sizeof(client.error), "%s: a socket path may have at most %zu bytes", path,
			sizeof(address.sun_path) - 1);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (rc != 0)
		snprintf(client.error, sizeof(client.error), "%s: %s (is relayd running? --socket PATH or RELAYCTL_SOCKET)",
			path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

int client_open(const char *socket_path)
{
	if (probe(socket_path) != 0)
		return -1;
	gpr_set_log_function(quiet);
	grpc_init();
	snprintf(client.path, sizeof(client.path), "%s", socket_path);
	char target[sizeof(client.path) + 8];
	snprintf(target, sizeof(target), "unix:%s", client.path);
	grpc_arg unlimited = {.type = GRPC_ARG_INTEGER,
		.key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, .value.integer = -1};
	grpc_channel_args args = {.num_args = 1, .args = &unlimited};
	grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
	client.channel = grpc_channel_create(target, credentials, &args);
	grpc_channel_credentials_release(credentials);
	client.queue = grpc_completion_queue_create_for_pluck(NULL);
	return 0;
}

void client_close(void)
{
	if (client.channel == NULL)
		return;
	grpc_channel_destroy(client.channel);
	grpc_completion_queue_shutdown(client.queue);
	grpc_completion_queue_destroy(client.queue);
	grpc_shutdown();
	client.channel = NULL;
}

static ProtobufCMessage *unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *descriptor)
{
	grpc_byte_buffer_reader reader;
	if (!grpc_byte_buffer_reader_init(&reader, buffer))
		return NULL;
	grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	ProtobufCMessage *message =
		protobuf_c_message_unpack(descriptor, NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
	grpc_slice_unref(slice);
	return message;
}

static enum client_result explain(grpc_status_code status, grpc_slice details)
{
	int length = (int)GRPC_SLICE_LENGTH(details);
	const char *text = (const char *)GRPC_SLICE_START_PTR(details);
	if (status == GRPC_STATUS_UNAVAILABLE || status == GRPC_STATUS_DEADLINE_EXCEEDED) {
		snprintf(client.error, sizeof(client.error), "%s: relayd does not answer: %.*s", client.path, length, text);
		return CLIENT_UNREACHABLE;
	}
	if (status == GRPC_STATUS_UNIMPLEMENTED)
		snprintf(client.error, sizeof(client.error), "%s: this relayd does not know that question (other version, or the "
			"bridge's socket)", client.path);
	else
		snprintf(client.error, sizeof(client.error), "%.*s", length, text);
	return CLIENT_REFUSED;
}

enum client_result client_call(const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret_response)
{
	*ret_response = NULL;
	grpc_slice path = grpc_slice_from_copied_string(method);
	gpr_timespec limit = gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(LIMIT_MS, GPR_TIMESPAN));
	grpc_call *call = grpc_channel_create_call(client.channel, NULL, GRPC_PROPAGATE_DEFAULTS, client.queue, path, NULL,
		limit, NULL);
	grpc_slice_unref(path);
	grpc_slice packed = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
	protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(packed));
	grpc_byte_buffer *sent = grpc_raw_byte_buffer_create(&packed, 1), *received = NULL;
	grpc_slice_unref(packed);
	grpc_metadata_array initial, trailing;
	grpc_metadata_array_init(&initial);
	grpc_metadata_array_init(&trailing);
	grpc_status_code status = GRPC_STATUS_UNKNOWN;
	grpc_slice details = grpc_empty_slice();

	grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_SEND_MESSAGE},
		{.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA}, {.op = GRPC_OP_RECV_MESSAGE},
		{.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
	ops[1].data.send_message.send_message = sent;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
	ops[4].data.recv_message.recv_message = &received;
	ops[5].data.recv_status_on_client.status = &status;
	ops[5].data.recv_status_on_client.status_details = &details;
	ops[5].data.recv_status_on_client.trailing_metadata = &trailing;
	if (grpc_call_start_batch(call, ops, 6, call, NULL) == GRPC_CALL_OK)
		grpc_completion_queue_pluck(client.queue, call, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

	enum client_result result = CLIENT_OK;
	if (status == GRPC_STATUS_OK && received != NULL)
		*ret_response = unpack(received, descriptor);
	if (status != GRPC_STATUS_OK) {
		result = explain(status, details);
	} else if (*ret_response == NULL) {
		snprintf(client.error, sizeof(client.error), "the answer does not parse");
		result = CLIENT_REFUSED;
	}
	grpc_byte_buffer_destroy(sent);
	if (received != NULL)
		grpc_byte_buffer_destroy(received);
	grpc_metadata_array_destroy(&initial);
	grpc_metadata_array_destroy(&trailing);
	grpc_slice_unref(details);
	grpc_call_unref(call);
	return result;
}

// One batch to its end.
static bool batch(grpc_call *call, const grpc_op *ops, size_t count)
{
	if (grpc_call_start_batch(call, ops, count, (void *)ops, NULL) != GRPC_CALL_OK)
		return false;
	return grpc_completion_queue_pluck(client.queue, (void *)ops, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).success != 0;
}

static bool answers_take(grpc_call *call, const ProtobufCMessageDescriptor *descriptor,
	bool (*take)(void *arg, const ProtobufCMessage *message), void *arg)
{
	for (;;) {
		grpc_byte_buffer *received = NULL;
		grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &received};
		if (!batch(call, &op, 1) || received == NULL)
			return true;
		ProtobufCMessage *message = unpack(received, descriptor);
		grpc_byte_buffer_destroy(received);
		bool more = message != NULL && take(arg, message);
		if (message != NULL)
			protobuf_c_message_free_unpacked(message, NULL);
		if (!more)
			return false;
	}
}

enum client_result client_stream(const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *descriptor, bool (*take)(void *arg, const ProtobufCMessage *message), void *arg)
{
	grpc_slice path = grpc_slice_from_copied_string(method);
	grpc_call *call = grpc_channel_create_call(client.channel, NULL, GRPC_PROPAGATE_DEFAULTS, client.queue, path, NULL,
		gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	grpc_slice_unref(path);
	grpc_slice packed = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
	protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(packed));
	grpc_byte_buffer *sent = grpc_raw_byte_buffer_create(&packed, 1);
	grpc_slice_unref(packed);
	grpc_metadata_array initial, trailing;
	grpc_metadata_array_init(&initial);
	grpc_metadata_array_init(&trailing);
	grpc_status_code status = GRPC_STATUS_UNKNOWN;
	grpc_slice details = grpc_empty_slice();
	grpc_op begin[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_SEND_MESSAGE},
		{.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};
	begin[1].data.send_message.send_message = sent;
	begin[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
	grpc_op end = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
	end.data.recv_status_on_client.status = &status;
	end.data.recv_status_on_client.status_details = &details;
	end.data.recv_status_on_client.trailing_metadata = &trailing;
	bool to_the_end = !batch(call, begin, 4) || answers_take(call, descriptor, take, arg);
	if (!to_the_end)
		grpc_call_cancel(call, NULL);
	(void)batch(call, &end, 1);
	enum client_result result = status == GRPC_STATUS_OK || !to_the_end ? CLIENT_OK : explain(status, details);
	grpc_byte_buffer_destroy(sent);
	grpc_metadata_array_destroy(&initial);
	grpc_metadata_array_destroy(&trailing);
	grpc_slice_unref(details);
	grpc_call_unref(call);
	return result;
}
