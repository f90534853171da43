// SPDX-License-Identifier: ISC
//
// grpc_request_fuzz.c - any bytes as any request that a service reads. The first byte chooses which.
//
// Runs on: any.

#include <stdlib.h>

#include "controlplane/request.h"
#include "proto/grpc/health/v1/health.pb-c.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/admin.pb-c.h"
#include "proto/relay/v1/audio.pb-c.h"
#include "proto/relay/v1/transcripts.pb-c.h"

// The corpus knows them by their places.
static const ProtobufCMessageDescriptor *const descriptors[] = {
	&mentra__livekit__bridge__join_room_request__descriptor,
	&mentra__livekit__bridge__leave_room_request__descriptor,
	&mentra__livekit__bridge__audio_chunk__descriptor,
	&mentra__livekit__bridge__bridge_status_request__descriptor,
	&mentra__livekit__bridge__health_check_request__descriptor,
	&grpc__health__v1__health_check_request__descriptor,
	&grpc__reflection__v1__server_reflection_request__descriptor,
	&relay__v1__get_session_request__descriptor,
	&relay__v1__list_swaps_request__descriptor,
	&relay__v1__listen_request__descriptor,
	&relay__v1__watch_transcripts_request__descriptor,
	&relay__v1__transcribe_request__descriptor,
	&relay__v1__finalize_request__descriptor,
	&relay__v1__get_transcribe_state_request__descriptor,
};

static void string_checked(const char *name, const char *text)
{
	if (!request_utf8_valid((const uint8_t *)text, strlen(text)) || strlen(text) > 16384)
		abort();
	if (strcmp(name, "user_id") == 0 && strlen(text) > REQUEST_USER_ID_MAX)
		abort();
}

static void message_checked(const ProtobufCMessage *message);

static void field_checked(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *place = (const char *)message + field->offset;
	const char *quantifier = (const char *)message + field->quantifier_offset;
	bool text = field->type == PROTOBUF_C_TYPE_STRING;
	if (!text && field->type != PROTOBUF_C_TYPE_MESSAGE)
		return;
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && *(const int *)quantifier != (int)field->id)
		return;
	bool many = field->label == PROTOBUF_C_LABEL_REPEATED;
	void *const *values = many ? *(void *const *const *)place : (void *const *)place;
	size_t count = many ? *(const size_t *)quantifier : 1;
	for (size_t i = 0; i < count; i++) {
		if (text)
			string_checked(field->name, values[i]);
		else if (values[i] != NULL)
			message_checked(values[i]);
	}
}

// What was accepted is what the services rely on: every string, however deep, ends, is UTF-8 and short enough.
static void message_checked(const ProtobufCMessage *message)
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++)
		field_checked(message, &message->descriptor->fields[i]);
}

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
	message_checked(message);
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}
