// SPDX-License-Identifier: ISC
//
// svc_reflection.c - grpc.reflection v1 and v1alpha: which services there are and what their messages look like.
//
// The two versions differ in the package's name only, so one set of generated types serves both. A server tells of its
// own services and what they import, of nothing else.
//
// Runs on: io (the call's worker).

#include "controlplane/svc_reflection.h"

#include <pthread.h>

#include "controlplane/descriptors.h"
#include "controlplane/request.h"
#include "proto/grpc/reflection/v1/reflection.pb-c.h"

#define SERVICES_MAX 8

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

static struct descriptor_set set;
static pthread_once_t set_once = PTHREAD_ONCE_INIT;

static void set_parse(void)
{
	if (descriptors_parse(protos_desc, (size_t)(protos_desc_end - protos_desc), &set) < 0)
		set.count = 0;
}

// Files to send: no file twice.
struct selection {
	const struct descriptor_file *files[DESCRIPTOR_FILES_MAX];
	unsigned count;
};

// The file and what it imports, directly or not.
static void select_file(struct selection *selection, const struct descriptor_file *file)
{
	if (file == NULL)
		return;
	for (unsigned i = 0; i < selection->count; i++)
		if (selection->files[i] == file)
			return;
	selection->files[selection->count++] = file;
	for (unsigned i = 0; i < file->import_count; i++)
		select_file(selection, descriptors_file(&set, file->imports[i].text, file->imports[i].bytes));
}

static bool offered(const struct call *call, const struct descriptor_file *file)
{
	struct selection ours = {.count = 0};
	for (const char *const *name = call->service->names; *name != NULL; name++)
		select_file(&ours, descriptors_symbol(&set, *name));
	for (unsigned i = 0; i < ours.count; i++)
		if (ours.files[i] == file)
			return true;
	return false;
}

static void answer_file(struct call *call, reflection_response *response, const struct descriptor_file *file)
	RUNS_ON(io_role);
static void answer_file(struct call *call, reflection_response *response, const struct descriptor_file *file)
{
	struct selection selection = {.count = 0};
	if (file != NULL && offered(call, file))
		select_file(&selection, file);
	Grpc__Reflection__V1__FileDescriptorResponse files = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
	Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
	ProtobufCBinaryData data[DESCRIPTOR_FILES_MAX];
	char sentence[] = "not found";
	if (selection.count > 0) {
		for (unsigned i = 0; i < selection.count; i++)
			data[i] = (ProtobufCBinaryData){.len = selection.files[i]->bytes,
				.data = (uint8_t *)(uintptr_t)selection.files[i]->data};
		files.n_file_descriptor_proto = selection.count;
		files.file_descriptor_proto = data;
		response->message_response_case =
			GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
		response->file_descriptor_response = &files;
	} else {
		error.error_code = GRPC_STATUS_NOT_FOUND;
		error.error_message = sentence;
		response->message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
		response->error_response = &error;
	}
	call_write(call, &response->base);
}

static void answer_services(struct call *call, reflection_response *response) RUNS_ON(io_role);
static void answer_services(struct call *call, reflection_response *response)
{
	Grpc__Reflection__V1__ListServiceResponse list = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
	Grpc__Reflection__V1__ServiceResponse services[SERVICES_MAX];
	Grpc__Reflection__V1__ServiceResponse *pointers[SERVICES_MAX];
	for (const char *const *name = call->service->names; *name != NULL && list.n_service < SERVICES_MAX; name++) {
		size_t i = list.n_service++;
		grpc__reflection__v1__service_response__init(&services[i]);
		services[i].name = (char *)(uintptr_t)*name;
		pointers[i] = &services[i];
	}
	list.service = pointers;
	response->message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	response->list_services_response = &list;
	call_write(call, &response->base);
}

static void answer_unsupported(struct call *call, reflection_response *response) RUNS_ON(io_role);
static void answer_unsupported(struct call *call, reflection_response *response)
{
	Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
	char sentence[] = "there are no extensions in proto3";
	error.error_code = GRPC_STATUS_UNIMPLEMENTED;
	error.error_message = sentence;
	response->message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
	response->error_response = &error;
	call_write(call, &response->base);
}

static void message(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *unpacked;
	struct err err;
	if (request_unpack(&grpc__reflection__v1__server_reflection_request__descriptor, data, bytes, &unpacked, &err) < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	pthread_once(&set_once, set_parse);
	reflection_request *request = (reflection_request *)unpacked;
	reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	response.valid_host = request->host;
	response.original_request = request;
	switch (request->message_request_case) {
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		answer_file(call, &response,
			descriptors_file(&set, request->file_by_filename, strlen(request->file_by_filename)));
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		answer_file(call, &response, descriptors_symbol(&set, request->file_containing_symbol));
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		answer_services(call, &response);
		break;
	default:
		answer_unsupported(call, &response);
	}
	protobuf_c_message_free_unpacked(unpacked, NULL);
}

// The next question is read when the answer has left: a client that does not read cannot make us pile up answers.
static void written(struct call *call, bool ok)
{
	ENTERS(io_role);
	if (ok)
		call_read(call);
}

static void half_closed(struct call *call)
{
	ENTERS(io_role);
	call_finish(call, GRPC_STATUS_OK, "%s", "");
}

const struct call_method svc_reflection_v1 = {
	.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	.streaming = true,
	.message = message,
	.written = written,
	.half_closed = half_closed,
};

const struct call_method svc_reflection_v1alpha = {
	.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	.streaming = true,
	.message = message,
	.written = written,
	.half_closed = half_closed,
};
