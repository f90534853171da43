// SPDX-License-Identifier: ISC
//
// svc_health.c - grpc.health.v1.Health: Check and Watch. Every service we offer is well until we drain.
//
// Runs on: io (the call's worker).

#include "controlplane/svc_health.h"

#include <stdlib.h>

#include "controlplane/request.h"
#include "proto/grpc/health/v1/health.pb-c.h"

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

// What Watch remembers.
struct watch {
	bool known;
	bool dirty; // the state changed while a message was on its way
};

static bool known(const struct call *call, const char *service)
{
	bool found = service[0] == '\0';
	for (const char *const *name = call->service->names; *name != NULL && !found; name++)
		found = strcmp(*name, service) == 0;
	return found;
}

static int status_of(bool is_known)
{
	if (!is_known)
		return STATUS(SERVICE_UNKNOWN);
	return atomic_load(&call_draining) ? STATUS(NOT_SERVING) : STATUS(SERVING);
}

static Grpc__Health__V1__HealthCheckRequest *unpack(struct call *call, const uint8_t *data, size_t bytes)
	RUNS_ON(io_role);
static Grpc__Health__V1__HealthCheckRequest *unpack(struct call *call, const uint8_t *data, size_t bytes)
{
	ProtobufCMessage *message;
	struct err err;
	if (request_unpack(&grpc__health__v1__health_check_request__descriptor, data, bytes, &message, &err) < 0)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
	return (Grpc__Health__V1__HealthCheckRequest *)message;
}

static void check(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	Grpc__Health__V1__HealthCheckRequest *request = unpack(call, data, bytes);
	if (request == NULL)
		return;
	if (known(call, request->service)) {
		Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
		response.status = status_of(true);
		call_answer(call, &response.base);
	} else {
		call_finish(call, GRPC_STATUS_NOT_FOUND, "unknown service %s", request->service);
	}
	protobuf_c_message_free_unpacked(&request->base, NULL);
}

static void no_request(struct call *call)
{
	ENTERS(io_role);
	if (!call->heard)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the request has no message");
}

const struct call_method svc_health_check = {
	.path = "/grpc.health.v1.Health/Check",
	.message = check,
	.half_closed = no_request,
};

// ---- Watch

static void watch_send(struct call *call) RUNS_ON(io_role);
static void watch_send(struct call *call)
{
	struct watch *watch = call->state;
	watch->dirty = call->writing;
	if (call->writing)
		return;
	Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	response.status = status_of(watch->known);
	call_write(call, &response.base);
}

static void watch_message(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	Grpc__Health__V1__HealthCheckRequest *request = unpack(call, data, bytes);
	if (request == NULL)
		return;
	struct watch *watch = calloc(1, sizeof(*watch));
	if (watch == NULL) {
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
	} else {
		watch->known = known(call, request->service);
		call->state = watch;
		watch_send(call);
	}
	protobuf_c_message_free_unpacked(&request->base, NULL);
}

static void watch_draining(struct call *call)
{
	ENTERS(io_role);
	struct watch *watch = call->state;
	if (watch != NULL && watch->known)
		watch_send(call);
}

static void watch_written(struct call *call, bool ok)
{
	ENTERS(io_role);
	struct watch *watch = call->state;
	if (ok && watch->dirty)
		watch_send(call);
}

static void watch_destroy(struct call *call)
{
	free(call->state);
	call->state = NULL;
}

const struct call_method svc_health_watch = {
	.path = "/grpc.health.v1.Health/Watch",
	.streaming = true,
	.message = watch_message,
	.half_closed = no_request,
	.draining = watch_draining,
	.written = watch_written,
	.destroy = watch_destroy,
};
