// SPDX-License-Identifier: ISC
//
// svc_bridge.c - mentra.livekit.bridge.LiveKitBridge: the unary calls of the cloud.
//
// A call becomes an op that is posted to control, answered there and mailed back to the call's worker.
//
// Runs on: io (the call's worker) but for the functions named _on_control.

#include "controlplane/svc_bridge.h"

#include <stdlib.h>

#include "controlplane/log.h"
#include "controlplane/request.h"
#include "controlplane/svc_backend.h"
#include "proto/mentra/livekit_bridge.pb-c.h"

#define UNPACK(type, call, data, bytes, ret_request, err)                                                              \
	request_unpack(&mentra__livekit__bridge__##type##__descriptor, data, bytes, ret_request, err)

static _Atomic(uint64_t) started_ns;

void svc_bridge_started(void)
{
	atomic_store(&started_ns, clock_mono_ns());
}

uint64_t svc_bridge_uptime_s(void)
{
	return (clock_mono_ns() - atomic_load(&started_ns)) / 1000000000u;
}

// ---- an op: one call's work on control

struct op {
	struct control_work start, cancel;
	struct call_mail mail;
	struct call_worker *worker;
	struct call *call; // worker only; has a reference while the answer is out
	void (*work)(struct op *op);   // on control; ends with op_answered, at once or later
	void (*answer)(struct op *op); // on the worker, only while somebody wants it
	_Atomic(unsigned) refs;
	ProtobufCMessage *request;
	bool done; // control only
	bool transcribe; // of a JoinRoom: its metadata asks for it
	union {
		struct slot_join join;
		struct slot_status status;
		struct slot_totals totals;
		bool found;
	};
};

static void op_unref(struct op *op)
{
	if (atomic_fetch_sub(&op->refs, 1) > 1)
		return;
	protobuf_c_message_free_unpacked(op->request, NULL);
	free(op);
}

static void op_mail(struct call_mail *mail)
{
	ENTERS(io_role);
	struct op *op = CONTAINER_OF(mail, struct op, mail);
	struct call *call = op->call;
	call->state = NULL;
	if (!call->closed)
		op->answer(op);
	call_unref(call);
	op_unref(op);
}

static void op_discard(struct call_mail *mail)
{
	op_unref(CONTAINER_OF(mail, struct op, mail));
}

static void op_answered(struct op *op)
{
	op->done = true;
	call_mail_send(op->worker, &op->mail);
}

static void work_on_control(void *arg)
{
	struct op *op = arg;
	if (atomic_load(&call_stopped))
		op_unref(op);
	else
		op->work(op);
}

// Takes over request.
static void op_start(struct call *call, ProtobufCMessage *request, bool transcribe, void (*work)(struct op *),
	void (*answer)(struct op *))
	RUNS_ON(io_role);
static void op_start(struct call *call, ProtobufCMessage *request, bool transcribe, void (*work)(struct op *),
	void (*answer)(struct op *))
{
	struct op *op = calloc(1, sizeof(*op));
	if (op == NULL) {
		protobuf_c_message_free_unpacked(request, NULL);
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	op->mail.fn = op_mail;
	op->mail.discard = op_discard;
	op->worker = call->worker;
	op->call = call;
	op->work = work;
	op->answer = answer;
	op->request = request;
	op->transcribe = transcribe;
	atomic_init(&op->refs, 1);
	call->state = op;
	call_ref(call);
	svc_backend.post(&op->start, work_on_control, op);
}

static void no_request(struct call *call)
{
	ENTERS(io_role);
	if (!call->heard)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the request has no message");
}

// ---- JoinRoom

static void join_answer(struct call *call, const struct slot_join *join, const char *error) RUNS_ON(io_role);
static void join_answer(struct call *call, const struct slot_join *join, const char *error)
{
	Mentra__Livekit__Bridge__JoinRoomResponse response = MENTRA__LIVEKIT__BRIDGE__JOIN_ROOM_RESPONSE__INIT;
	char empty[] = "";
	response.participant_id = empty;
	response.success = join != NULL && join->success;
	if (response.success) {
		response.participant_id = (char *)join->participant_id;
		response.participant_count = (int32_t)join->participant_count;
	}
	response.error = response.success ? empty : (char *)(uintptr_t)error;
	call_answer(call, &response.base);
}

static void join_done_on_control(struct slot_join *join)
{
	struct op *op = join->arg;
	struct err err;
	if (op->transcribe && join->success && svc_backend.transcribe(join->user_id, true, NULL, &err) < 0)
		log_line(LOG_WARN, "Cannot transcribe", S("userId", join->user_id), S("error", err.text));
	op_answered(op);
}

static void join_on_control(struct op *op)
{
	Mentra__Livekit__Bridge__JoinRoomRequest *request = (Mentra__Livekit__Bridge__JoinRoomRequest *)op->request;
	op->join = (struct slot_join){
		.user_id = request->user_id,
		.room_name = request->room_name,
		.token = request->token,
		.livekit_url = request->livekit_url,
		.target_identity = request->target_identity,
		.done = join_done_on_control,
		.arg = op,
	};
	svc_backend.join(&op->join);
}

static void join_answered(struct op *op)
{
	ENTERS(io_role);
	join_answer(op->call, &op->join, op->join.error[0] != '\0' ? op->join.error : "the join failed");
}

static void join_room(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	int rc = UNPACK(join_room_request, call, data, bytes, &message, &err);
	if (rc == -EINVAL) {
		join_answer(call, NULL, err.text);
		return;
	}
	if (rc < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	const Mentra__Livekit__Bridge__JoinRoomRequest *request = (void *)message;
	const char *missing = request->user_id[0] == '\0' ? "user_id is required"
		: request->token[0] == '\0'                   ? "token is required"
		: request->livekit_url[0] == '\0'             ? "livekit_url is required"
							      : NULL;
	if (missing != NULL) {
		join_answer(call, NULL, missing);
		protobuf_c_message_free_unpacked(message, NULL);
		return;
	}
	char word[8];
	bool transcribe = strcmp(call_metadata(call, "x-relay-transcribe", word, sizeof(word)), "on") == 0;
	op_start(call, message, transcribe, join_on_control, join_answered);
}

static void join_cancel_on_control(void *arg)
{
	struct op *op = arg;
	if (!op->done && !atomic_load(&call_stopped))
		svc_backend.join_cancel(&op->join);
	op_unref(op);
}

// The caller is gone or its deadline passed while control is still at it.
static void join_gone(struct call *call)
{
	ENTERS(io_role);
	struct op *op = call->state;
	if (op == NULL)
		return;
	atomic_fetch_add(&op->refs, 1);
	svc_backend.post(&op->cancel, join_cancel_on_control, op);
}

const struct call_method svc_bridge_join_room = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/JoinRoom",
	.message = join_room,
	.half_closed = no_request,
	.gone = join_gone,
};

// ---- LeaveRoom

static void leave_answer(struct call *call, bool success, const char *error) RUNS_ON(io_role);
static void leave_answer(struct call *call, bool success, const char *error)
{
	Mentra__Livekit__Bridge__LeaveRoomResponse response = MENTRA__LIVEKIT__BRIDGE__LEAVE_ROOM_RESPONSE__INIT;
	response.success = success;
	response.error = (char *)(uintptr_t)error;
	call_answer(call, &response.base);
}

static void leave_on_control(struct op *op)
{
	Mentra__Livekit__Bridge__LeaveRoomRequest *request = (Mentra__Livekit__Bridge__LeaveRoomRequest *)op->request;
	op->found = svc_backend.leave(request->user_id, request->reason);
	op_answered(op);
}

static void leave_answered(struct op *op)
{
	ENTERS(io_role);
	leave_answer(op->call, op->found, op->found ? "" : "session not found");
}

static void leave_room(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	int rc = UNPACK(leave_room_request, call, data, bytes, &message, &err);
	if (rc == -EINVAL)
		leave_answer(call, false, err.text);
	else if (rc < 0)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
	else
		op_start(call, message, false, leave_on_control, leave_answered);
}

const struct call_method svc_bridge_leave_room = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/LeaveRoom",
	.message = leave_room,
	.half_closed = no_request,
};

// ---- GetStatus: never an error, whoever asks for whomever

static void status_answer(struct call *call, struct slot_status *status) RUNS_ON(io_role);
static void status_answer(struct call *call, struct slot_status *status)
{
	Mentra__Livekit__Bridge__BridgeStatusResponse response = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_RESPONSE__INIT;
	char version[] = RELAY_VERSION;
	response.server_version = version;
	if (status != NULL && status->exists) {
		response.connected = status->connected;
		response.participant_id = status->participant_id;
		response.participant_count = (int32_t)status->participant_count;
		response.last_disconnect_at = status->last_disconnect_at_ms;
		response.last_disconnect_reason = status->last_disconnect_reason;
	}
	call_answer(call, &response.base);
}

static void status_on_control(struct op *op)
{
	svc_backend.status(((Mentra__Livekit__Bridge__BridgeStatusRequest *)op->request)->user_id, &op->status);
	op_answered(op);
}

static void status_answered(struct op *op)
{
	ENTERS(io_role);
	status_answer(op->call, &op->status);
}

static void get_status(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	int rc = UNPACK(bridge_status_request, call, data, bytes, &message, &err);
	if (rc == -EINVAL)
		status_answer(call, NULL); // no such user can exist
	else if (rc < 0)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
	else
		op_start(call, message, false, status_on_control, status_answered);
}

const struct call_method svc_bridge_get_status = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/GetStatus",
	.message = get_status,
	.half_closed = no_request,
};

// ---- HealthCheck

static void totals_on_control(struct op *op)
{
	svc_backend.totals(&op->totals);
	op_answered(op);
}

static void totals_answered(struct op *op)
{
	ENTERS(io_role);
	Mentra__Livekit__Bridge__HealthCheckResponse response = MENTRA__LIVEKIT__BRIDGE__HEALTH_CHECK_RESPONSE__INIT;
	bool draining = op->totals.draining || atomic_load(&call_draining);
	response.status = draining ? MENTRA__LIVEKIT__BRIDGE__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
				   : MENTRA__LIVEKIT__BRIDGE__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	response.active_sessions = (int32_t)op->totals.active_sessions;
	response.active_streams = (int32_t)op->totals.streams;
	response.uptime_seconds = (int64_t)svc_bridge_uptime_s();
	call_answer(op->call, &response.base);
}

static void health_check(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	if (UNPACK(health_check_request, call, data, bytes, &message, &err) < 0)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
	else
		op_start(call, message, false, totals_on_control, totals_answered);
}

const struct call_method svc_bridge_health_check = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/HealthCheck",
	.message = health_check,
	.half_closed = no_request,
};

// ---- PlayAudio, StopAudio

static void playback(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	call_finish(call, GRPC_STATUS_UNIMPLEMENTED, "this version of relay does not play audio into rooms yet");
}

const struct call_method svc_bridge_play_audio = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/PlayAudio",
	.message = playback,
	.half_closed = no_request,
};

const struct call_method svc_bridge_stop_audio = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/StopAudio",
	.message = playback,
	.half_closed = no_request,
};
