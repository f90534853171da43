// SPDX-License-Identifier: ISC
//
// grpc_call.c - one RPC on the server, and the app worker it belongs to.
//
// Generic calls: with registered methods gRPC lets a call of an unknown method hang. The close notification is started
// first and is the only truth about "gone": a half-close can look like a cancel and the other way round.
//
// Runs on: io (the app worker threads).

#include "controlplane/grpc_call.h"

#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdlib.h>

#include "controlplane/grpc_message.h"
#include "controlplane/log.h"
#include "controlplane/svc_stream.h"

#define STATUS_LIMIT_NS 5000000000u // a peer that does not take our status by then is cut off
#define TICK_NS 250000000u
#define TURN_NS 300000u // for events, before streams are looked at again
#define SILENT_TURN 32 // that are ended before streams are looked at again

struct call_stats call_stats;
_Atomic(bool) call_draining, call_stopped;

static struct call_mail inbox_closed; // in place of a list: nobody reads any more

static bool arm(struct call_worker *worker, struct call_service *service) RUNS_ON(io_role);

// ---- life

void call_ref(struct call *call)
{
	call->refs++;
}

static void unlink_call(struct call *call) RUNS_ON(io_role);
static void unlink_call(struct call *call)
{
	if (call->prev != NULL)
		call->prev->next = call->next;
	else
		call->worker->calls = call->next;
	if (call->next != NULL)
		call->next->prev = call->prev;
}

// A call whose first message is waited for, at the end of its worker's list: the oldest is the first.
static void silent_begin(struct call *call) RUNS_ON(io_role);
static void silent_begin(struct call *call)
{
	struct call_worker *worker = call->worker;
	call->silent = true;
	call->opened_ns = clock_mono_ns();
	call->silent_prev = worker->silent_last;
	if (worker->silent_last != NULL)
		worker->silent_last->silent_next = call;
	else
		worker->silent_first = call;
	worker->silent_last = call;
}

static void silent_end(struct call *call) RUNS_ON(io_role);
static void silent_end(struct call *call)
{
	struct call_worker *worker = call->worker;
	if (!call->silent)
		return;
	call->silent = false;
	if (call->silent_prev != NULL)
		call->silent_prev->silent_next = call->silent_next;
	else
		worker->silent_first = call->silent_next;
	if (call->silent_next != NULL)
		call->silent_next->silent_prev = call->silent_prev;
	else
		worker->silent_last = call->silent_prev;
	call->silent_prev = call->silent_next = NULL;
}

// A place for one more of a connection that holds *own of them: it may have twice as many as are still free. Alone it gets two
// thirds; and however many others have all they may, one that comes new gets two thirds of the rest.
static bool place_take(struct call_places *places, _Atomic(unsigned) *own)
{
	unsigned taken = atomic_fetch_add(&places->taken, 1), had = atomic_fetch_add(own, 1);
	if (taken < places->max && had < 2 * (places->max - taken))
		return true;
	atomic_fetch_sub(&places->taken, 1);
	atomic_fetch_sub(own, 1);
	return false;
}

static void places_give(struct call *call)
{
	struct grpc_holding *own = grpc_conn_holding(call->conn);
	if (call->holds_call) {
		atomic_fetch_sub(&call->service->calls.taken, 1);
		atomic_fetch_sub(&own->calls, 1);
	}
	if (call->holds_stream) {
		atomic_fetch_sub(&call->service->streams.taken, 1);
		atomic_fetch_sub(&own->streams, 1);
	}
}

static void call_free(struct call *call)
{
	if (call->call != NULL)
		grpc_call_unref(call->call);
	grpc_call_details_destroy(&call->details);
	grpc_metadata_array_destroy(&call->metadata);
	if (call->received != NULL)
		grpc_byte_buffer_destroy(call->received);
	if (call->sent != NULL)
		grpc_byte_buffer_destroy(call->sent);
	grpc_slice_unref(call->status_text);
	grpc_conn_unref(call->conn);
	free(call);
}

void call_unref(struct call *call)
{
	if (--call->refs > 0)
		return;
	silent_end(call);
	unlink_call(call);
	places_give(call);
	if (call->finished && call->finished_ns != 0)
		call->worker->finishing--;
	if (call->method != NULL && call->method->destroy != NULL)
		call->method->destroy(call);
	atomic_fetch_sub(&call_stats.calls, 1);
	if (call->method != NULL && call->method->streaming)
		atomic_fetch_sub(&call_stats.streams, 1);
	call_free(call);
}

static bool start(struct call *call, const grpc_op *ops, size_t count, struct call_tag *tag) RUNS_ON(io_role);
static bool start(struct call *call, const grpc_op *ops, size_t count, struct call_tag *tag)
{
	call->refs++;
	grpc_call_error rc = grpc_call_start_batch(call->call, ops, count, tag, NULL);
	if (rc == GRPC_CALL_OK)
		return true;
	call->refs--; // the caller holds another
	log_line(LOG_ERROR, "gRPC refused a batch", S("error", grpc_call_error_to_string(rc)),
		S("method", call->method != NULL ? call->method->path : NULL));
	grpc_call_cancel_with_status(call->call, GRPC_STATUS_INTERNAL, "batch refused", NULL);
	return false;
}

// ---- what services do

const char *call_metadata(const struct call *call, const char *key, char *ret_value, size_t size)
{
	ret_value[0] = '\0';
	for (size_t i = 0; i < call->metadata.count; i++) {
		const grpc_metadata *pair = &call->metadata.metadata[i];
		if (grpc_slice_str_cmp(pair->key, key) == 0)
			snprintf(ret_value, size, "%.*s", (int)GRPC_SLICE_LENGTH(pair->value),
				(const char *)GRPC_SLICE_START_PTR(pair->value));
	}
	return ret_value;
}

void call_read(struct call *call)
{
	if (call->reading || call->closed || call->finished)
		return;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
	call->reading = start(call, &op, 1, &call->read_tag);
}

static grpc_byte_buffer *pack(const ProtobufCMessage *message)
{
	grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
	protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return buffer;
}

static size_t add_initial(struct call *call, grpc_op *op)
{
	if (call->initial_sent)
		return 0;
	call->initial_sent = true;
	*op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
	return 1;
}

static void finish_with(struct call *call, grpc_op *ops, size_t count, grpc_status_code code) RUNS_ON(io_role);
static void finish_with(struct call *call, grpc_op *ops, size_t count, grpc_status_code code)
{
	ops[count] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
	ops[count].data.send_status_from_server.status = code;
	ops[count].data.send_status_from_server.status_details = &call->status_text;
	call->finished = true;
	silent_end(call);
	if (start(call, ops, count + 1, &call->status_tag)) {
		call->finished_ns = clock_mono_ns();
		call->worker->finishing++;
	}
}

void call_answer(struct call *call, const ProtobufCMessage *message)
{
	if (call->closed || call->finished)
		return;
	grpc_op ops[3];
	size_t count = add_initial(call, ops);
	call->sent = pack(message);
	ops[count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = call->sent};
	call->answered = true;
	finish_with(call, ops, count + 1, GRPC_STATUS_OK);
}

bool call_write(struct call *call, const ProtobufCMessage *message)
{
	if (call->closed || call->finished || call->writing)
		return false;
	call->sent = pack(message);
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = call->sent};
	call->answered = true;
	// Completions come out of the queue, never inside this call.
	call->writing = start(call, &op, 1, &call->write_tag);
	return call->writing;
}

void call_finish(struct call *call, grpc_status_code code, const char *format, ...)
{
	if (call->closed || call->finished)
		return;
	// Longer than the peer's metadata limit and the status would turn into another one.
	char text[768];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	grpc_slice_unref(call->status_text);
	call->status_text = grpc_slice_from_copied_string(text);
	grpc_op ops[2];
	call->answered = true;
	finish_with(call, ops, add_initial(call, ops), code);
}

// ---- what the queue gives back

static void on_close(struct call_tag *tag, bool ok) RUNS_ON(io_role);
static void on_close(struct call_tag *tag, bool ok)
{
	struct call *call = CONTAINER_OF(tag, struct call, close_tag);
	call->closed = true;
	silent_end(call);
	call->cancelled = call->was_cancelled != 0 || !ok;
	// Also when we said something without having heard anything: that is how a reset looks from here.
	if (call->cancelled && !(call->heard && call->answered))
		grpc_conn_cancelled(call->conn, clock_mono_ns());
	if (call->method != NULL && call->method->gone != NULL)
		call->method->gone(call);
	call_unref(call);
}

// What is wrong with a message that cannot be read.
static void refuse_message(struct call *call, int rc) RUNS_ON(io_role);
static void refuse_message(struct call *call, int rc)
{
	if (rc == -EBADMSG)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the message does not decompress");
	else if (rc == -EMSGSIZE)
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "decompressed the message is larger than max (%u)",
			CALL_MESSAGE_BYTES_MAX);
	else
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

static void on_read(struct call_tag *tag, bool ok) RUNS_ON(io_role);
static void on_read(struct call_tag *tag, bool ok)
{
	struct call *call = CONTAINER_OF(tag, struct call, read_tag);
	// Out of its place before anything may start the next read, which can fill the place at once.
	grpc_byte_buffer *buffer = call->received;
	call->received = NULL;
	call->reading = false;
	silent_end(call);
	grpc_slice slice;
	int rc;
	if (buffer == NULL) {
		if (call->method->half_closed != NULL && !call->finished)
			call->method->half_closed(call);
	} else if (!ok || call->finished) {
		grpc_byte_buffer_destroy(buffer);
	} else if ((rc = grpc_message_read(buffer, CALL_MESSAGE_BYTES_MAX, &slice)) < 0) {
		refuse_message(call, rc);
	} else {
		call->heard = true;
		call->method->message(call, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
		grpc_slice_unref(slice);
	}
	call_unref(call);
}

static void on_initial(struct call_tag *tag, bool ok) RUNS_ON(io_role);
static void on_initial(struct call_tag *tag, bool ok)
{
	call_unref(CONTAINER_OF(tag, struct call, initial_tag));
}

static void on_write(struct call_tag *tag, bool ok) RUNS_ON(io_role);
static void on_write(struct call_tag *tag, bool ok)
{
	struct call *call = CONTAINER_OF(tag, struct call, write_tag);
	grpc_byte_buffer_destroy(call->sent);
	call->sent = NULL;
	call->writing = false;
	if (ok)
		atomic_fetch_add_explicit(&call_stats.messages_sent, 1, memory_order_relaxed);
	if (call->method->written != NULL)
		call->method->written(call, ok);
	call_unref(call);
}

static void on_status(struct call_tag *tag, bool ok) RUNS_ON(io_role);
static void on_status(struct call_tag *tag, bool ok)
{
	struct call *call = CONTAINER_OF(tag, struct call, status_tag);
	call->finished_ns = 0;
	call->worker->finishing--;
	call_unref(call);
}

// ---- a new call

static const struct call_method *find_method(const struct call_service *service, grpc_slice path)
{
	for (const struct call_method *const *m = service->methods; *m != NULL; m++)
		if (grpc_slice_str_cmp(path, (*m)->path) == 0)
			return *m;
	return NULL;
}

// Whether the call may be: its connection and its service have places for it.
static bool admit(struct call *call) RUNS_ON(io_role);
static bool admit(struct call *call)
{
	struct grpc_holding *own = grpc_conn_holding(call->conn);
	call->holds_call = place_take(&call->service->calls, &own->calls);
	if (call->holds_call && call->method->streaming)
		call->holds_stream = place_take(&call->service->streams, &own->streams);
	bool admitted = call->holds_call && (call->holds_stream || !call->method->streaming);
	if (!admitted)
		atomic_fetch_add_explicit(&call_stats.calls_refused, 1, memory_order_relaxed);
	return admitted;
}

static void on_new(struct call_tag *tag, bool ok) RUNS_ON(io_role);
static void on_new(struct call_tag *tag, bool ok)
{
	struct call *call = CONTAINER_OF(tag, struct call, new_tag);
	struct call_worker *worker = call->worker;
	if (!ok) { // shutdown gives the armed slots back
		call_free(call);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(worker->arms); i++)
		if (worker->arms[i].service == call->service && !arm(worker, call->service))
			worker->arms[i].missing++;
	call->next = worker->calls;
	if (call->next != NULL)
		call->next->prev = call;
	worker->calls = call;
	call->refs = 1; // until the end of this function
	atomic_fetch_add(&call_stats.calls, 1);
	atomic_fetch_add_explicit(&call_stats.calls_total, 1, memory_order_relaxed);
	char *peer = grpc_call_get_peer(call->call);
	call->conn = grpc_conn_find(peer);
	gpr_free(peer);

	grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
	op.data.recv_close_on_server.cancelled = &call->was_cancelled;
	if (!start(call, &op, 1, &call->close_tag))
		goto out;
	call->method = find_method(call->service, call->details.method);
	if (call->method != NULL && call->method->streaming)
		atomic_fetch_add(&call_stats.streams, 1);
	if (call->method == NULL) {
		call_finish(call, GRPC_STATUS_UNIMPLEMENTED, "unknown method");
	} else if (!admit(call)) {
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many open calls");
	} else {
		if (call->method->streaming) {
			add_initial(call, &op);
			start(call, &op, 1, &call->initial_tag);
		}
		silent_begin(call);
		call_read(call);
	}
out:
	call_unref(call);
}

// on_new with its role: the compiler does not follow function pointers.
#define TAG(name)                                                                                                      \
	static void tag_##name(struct call_tag *tag, bool ok)                                                          \
	{                                                                                                              \
		ENTERS(io_role);                                                                                       \
		on_##name(tag, ok);                                                                                    \
	}
TAG(new)
TAG(close)
TAG(read)
TAG(initial)
TAG(write)
TAG(status)

static bool arm(struct call_worker *worker, struct call_service *service)
{
	struct call *call = calloc(1, sizeof(*call));
	if (call == NULL)
		return false;
	call->worker = worker;
	call->service = service;
	call->new_tag.fn = tag_new;
	call->close_tag.fn = tag_close;
	call->read_tag.fn = tag_read;
	call->initial_tag.fn = tag_initial;
	call->write_tag.fn = tag_write;
	call->status_tag.fn = tag_status;
	call->status_text = grpc_empty_slice();
	grpc_call_details_init(&call->details);
	grpc_metadata_array_init(&call->metadata);
	grpc_call_error rc = grpc_server_request_call(service->server, &call->call, &call->details, &call->metadata,
		worker->queue, worker->queue, &call->new_tag);
	if (rc != GRPC_CALL_OK)
		call_free(call);
	return rc == GRPC_CALL_OK;
}

// ---- mail

void call_mail_send(struct call_worker *worker, struct call_mail *mail)
{
	struct call_mail *head = atomic_load(&worker->inbox);
	do {
		if (head == &inbox_closed) {
			mail->discard(mail);
			return;
		}
		mail->next = head;
	} while (!atomic_compare_exchange_weak(&worker->inbox, &head, mail));
	grpc_wake_up(&worker->wake);
}

static void mail_take(struct call_worker *worker, struct call_mail *leave, bool run)
{
	struct call_mail *newest = atomic_exchange(&worker->inbox, leave), *oldest = NULL;
	while (newest != NULL) { // a stack: turn it round
		struct call_mail *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL) {
		struct call_mail *mail = oldest;
		oldest = mail->next;
		if (run)
			mail->fn(mail);
		else
			mail->discard(mail);
	}
}

// ---- the worker

void call_worker_end_all(struct call_worker *worker, const char *reason)
{
	for (struct call *call = worker->calls, *next; call != NULL; call = next) {
		next = call->next;
		call_finish(call, GRPC_STATUS_UNAVAILABLE, "%s", reason);
	}
}

// A peer that does not read keeps its status, and with it the call, from leaving.
static void cut_stuck(struct call_worker *worker, uint64_t now_ns) RUNS_ON(io_role);
static void cut_stuck(struct call_worker *worker, uint64_t now_ns)
{
	for (struct call *call = worker->calls; call != NULL; call = call->next)
		if (call->finished_ns != 0 && now_ns > call->finished_ns + STATUS_LIMIT_NS)
			grpc_call_cancel_with_status(call->call, GRPC_STATUS_UNAVAILABLE, "the peer does not read", NULL);
}

// Who never says what it wants holds a place for nothing. Returns when the next one will have had its time.
static uint64_t end_silent(struct call_worker *worker, uint64_t now_ns) RUNS_ON(io_role);
static uint64_t end_silent(struct call_worker *worker, uint64_t now_ns)
{
	for (unsigned i = 0; worker->silent_first != NULL; i++) {
		struct call *call = worker->silent_first;
		uint64_t due_ns = call->opened_ns + CALL_FIRST_MESSAGE_NS;
		if (now_ns < due_ns || i == SILENT_TURN)
			return due_ns;
		silent_end(call);
		atomic_fetch_add_explicit(&call_stats.calls_silent, 1, memory_order_relaxed);
		call_finish(call, GRPC_STATUS_DEADLINE_EXCEEDED, "no message came within %u s",
			(unsigned)(CALL_FIRST_MESSAGE_NS / 1000000000u));
	}
	return UINT64_MAX;
}

// What is not an answer to an event; returns when it wants to run again.
static uint64_t housekeeping(struct call_worker *worker, uint64_t now_ns, uint64_t *tick_ns) RUNS_ON(io_role);
static uint64_t housekeeping(struct call_worker *worker, uint64_t now_ns, uint64_t *tick_ns)
{
	bool draining = atomic_load_explicit(&call_draining, memory_order_relaxed);
	if (draining != worker->seen_draining) {
		worker->seen_draining = draining;
		for (struct call *call = worker->calls; call != NULL; call = call->next)
			if (call->method != NULL && call->method->draining != NULL && !call->finished)
				call->method->draining(call);
	}
	uint64_t silent_ns = end_silent(worker, now_ns);
	bool due = worker->finishing > 0;
	for (unsigned i = 0; i < ARRAY_SIZE(worker->arms); i++)
		due |= worker->arms[i].missing > 0;
	if (!due)
		return silent_ns;
	if (now_ns < *tick_ns)
		return MIN_OF(*tick_ns, silent_ns);
	*tick_ns = now_ns + TICK_NS;
	if (worker->finishing > 0)
		cut_stuck(worker, now_ns);
	for (unsigned i = 0; i < ARRAY_SIZE(worker->arms); i++)
		while (worker->arms[i].missing > 0 && arm(worker, worker->arms[i].service))
			worker->arms[i].missing--;
	return MIN_OF(*tick_ns, silent_ns);
}

static gpr_timespec deadline_of(uint64_t next_ns, uint64_t now_ns)
{
	if (next_ns == UINT64_MAX)
		return gpr_inf_future(GPR_CLOCK_MONOTONIC);
	gpr_timespec span = gpr_time_from_nanos(next_ns > now_ns ? (int64_t)(next_ns - now_ns) : 0, GPR_TIMESPAN);
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), span);
}

void *call_worker_main(void *arg)
{
	ENTERS(io_role);
	struct call_worker *worker = arg;
	char name[16];
	snprintf(name, sizeof(name), "grpc-app-%u", worker->index);
	pthread_setname_np(pthread_self(), name);
	for (unsigned i = 0; i < ARRAY_SIZE(worker->arms); i++)
		worker->arms[i].missing = worker->arms[i].service != NULL ? worker->arms[i].service->slots : 0;
	for (uint64_t tick_ns = 0;;) {
		// Asleep first, then look: what comes after the look finds us asleep and wakes us. Who has rung has set it to 0; if nobody
		// has, there is nothing new since the last look.
		bool rung = atomic_exchange(&worker->wake.waker.asleep, 1) == 0;
		mail_take(worker, NULL, true);
		uint64_t now_ns = clock_mono_ns();
		uint64_t next_ns = svc_stream_run(worker, now_ns, rung);
		next_ns = MIN_OF(next_ns, housekeeping(worker, now_ns, &tick_ns));
		grpc_event event = grpc_completion_queue_next(worker->queue, deadline_of(next_ns, now_ns), NULL);
		uint64_t began_ns = clock_mono_ns();
		while (event.type == GRPC_OP_COMPLETE) {
			struct call_tag *tag = event.tag;
			tag->fn(tag, event.success != 0);
			if (clock_mono_ns() - began_ns > TURN_NS) {
				atomic_store(&worker->wake.waker.asleep, 0); // busy: the next look comes without being rung for
				break;
			}
			event = grpc_completion_queue_next(worker->queue, gpr_inf_past(GPR_CLOCK_MONOTONIC), NULL);
		}
		if (event.type == GRPC_QUEUE_SHUTDOWN)
			break;
	}
	mail_take(worker, &inbox_closed, false);
	// Calls that control still held: their answers come no more.
	while (worker->calls != NULL) {
		worker->calls->refs = 1;
		call_unref(worker->calls);
	}
	svc_stream_finish(worker);
	return NULL;
}
