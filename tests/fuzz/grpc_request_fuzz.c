// SPDX-License-Identifier: ISC
//
// grpc_request_fuzz.c - any bytes as any request. The first byte chooses which.
//
// Runs on: any.

#include <stdlib.h>

#include "controlplane/request.h"
#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/admin.pb-c.h"

static const ProtobufCMessageDescriptor *const descriptors[] = {
	&mentra__livekit__bridge__join_room_request__descriptor,
	&mentra__livekit__bridge__leave_room_request__descriptor,
	&mentra__livekit__bridge__audio_chunk__descriptor,
	&mentra__livekit__bridge__bridge_status_request__descriptor,
	&mentra__livekit__bridge__health_check_request__descriptor,
	&grpc__health__v1__health_check_request__descriptor,
	&grpc__reflection__v1__server_reflection_request__descriptor,
	&relay__v1__get_session_request__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const ProtobufCMessageDescriptor *descriptor = descriptors[data[0] % ARRAY_SIZE(descriptors)];
	ProtobufCMessage *message;
	struct err err = {""};
	int rc = request_unpack(descriptor, data + 1, size - 1, &message, &err);
	if ((rc == 0) != (message != NULL) || (rc < 0) != (err.text[0] != '\0'))
		abort();
	if (rc < 0)
		return 0;
	// What was accepted is what the services rely on: every string ends, is UTF-8 and short enough.
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		if (field->type != PROTOBUF_C_TYPE_STRING || field->label == PROTOBUF_C_LABEL_REPEATED ||
			(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
			continue;
		const char *text = *(char *const *)((const char *)message + field->offset);
		if (!request_utf8_valid((const uint8_t *)text, strlen(text)) || strlen(text) > 16384)
			abort();
		if (strcmp(field->name, "user_id") == 0 && strlen(text) > REQUEST_USER_ID_MAX)
			abort();
	}
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}
