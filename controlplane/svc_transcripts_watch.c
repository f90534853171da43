// SPDX-License-Identifier: ISC
//
// svc_transcripts_watch.c - relay.v1.Transcripts/Watch: a listener on control, a queue on the call's worker.
//
// Control copies each segment into a mail; the worker writes them one after the other. A caller who reads slowly misses interims,
// which the next ones replace; finals are kept, and when too many wait the call ends with the number to go on from.
//
// Runs on: io (the call's worker) but for the functions marked control.

#include <stdlib.h>

#include "controlplane/request.h"
#include "controlplane/svc_backend.h"
#include "controlplane/svc_transcripts.h"
#include "proto/relay/v1/transcripts.pb-c.h"

#define QUEUED_MAX 2000 // events; the history is at most a few thousand segments

struct watch;

struct event {
	struct call_mail mail;
	struct event *next;
	struct watch *watch;
	enum { EVENT_BEGIN, EVENT_SEGMENT, EVENT_END, EVENT_REFUSED } type;
	struct transcript_segment segment;
	uint64_t epoch;
	bool complete;
	grpc_status_code code;
	char text[]; // and behind it the translation; or the sentence of a refusal
};

struct watch {
	struct transcript_listener listener;
	_Atomic(unsigned) refs; // the call's, each event's, each post's, the transcript's
	struct control_work attach, detach;
	struct call_worker *worker;
	char user_id[REQUEST_USER_ID_MAX + 1];
	uint64_t from_seq, epoch;
	bool finals_only;
	// control
	struct event *spare OWNED_BY(control_role); // for the last word, which may not fail
	bool attached OWNED_BY(control_role);
	bool gone OWNED_BY(control_role); // the call ended before it was attached
	// worker
	struct call *call OWNED_BY(io_role); // NULL: gone
	struct event *first OWNED_BY(io_role), **last OWNED_BY(io_role);
	unsigned queued OWNED_BY(io_role);
	uint64_t next_seq OWNED_BY(io_role); // after the last final written
};

#define LAST_WORD_MAX (REQUEST_USER_ID_MAX + 64)

static void watch_free(struct watch *watch)
{
	ENTERS(control_role); // or nobody has it yet, or any more
	if (watch != NULL)
		free(watch->spare);
	free(watch);
}

static struct watch *watch_new(void)
{
	ENTERS(control_role);
	struct watch *watch = calloc(1, sizeof(*watch));
	if (watch == NULL)
		return NULL;
	watch->spare = calloc(1, sizeof(*watch->spare) + LAST_WORD_MAX + 1);
	if (watch->spare != NULL)
		return watch;
	free(watch);
	return NULL;
}

static void watch_unref(struct watch *watch)
{
	if (atomic_fetch_sub(&watch->refs, 1) == 1)
		watch_free(watch);
}

// ---- control

static void event_mail(struct call_mail *mail);

static void event_discard(struct call_mail *mail)
{
	struct event *event = CONTAINER_OF(mail, struct event, mail);
	watch_unref(event->watch);
	free(event);
}

static struct event *event_fill(struct event *event, struct watch *watch, const char *text, const char *translation)
{
	size_t text_bytes = strlen(text) + 1;
	memcpy(event->text, text, text_bytes);
	memcpy(event->text + text_bytes, translation, strlen(translation) + 1);
	event->mail.fn = event_mail;
	event->mail.discard = event_discard;
	event->watch = watch;
	atomic_fetch_add(&watch->refs, 1);
	return event;
}

// Takes the texts along. NULL: out of memory.
static struct event *event_make(struct watch *watch, const char *text, const char *translation)
{
	struct event *event = calloc(1, sizeof(*event) + strlen(text) + 1 + strlen(translation) + 1);
	return event != NULL ? event_fill(event, watch, text, translation) : NULL;
}

// Once: nothing comes after it.
static void last_word(struct watch *watch, int type, grpc_status_code code, const char *text) RUNS_ON(control_role)
{
	struct event *event = watch->spare;
	if (event == NULL)
		return;
	watch->spare = NULL;
	event_fill(event, watch, text, "");
	event->type = type;
	event->code = code;
	call_mail_send(watch->worker, &event->mail);
}

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	struct watch *watch = listener->arg;
	if (watch->finals_only && !segment->is_final)
		return;
	struct event *event = event_make(watch, segment->text, segment->translation);
	if (event == NULL)
		return; // an interim is replaced; a missing final shows in the numbers
	event->type = EVENT_SEGMENT;
	event->segment = *segment;
	event->segment.text = event->text;
	event->segment.translation = event->text + strlen(event->text) + 1;
	call_mail_send(watch->worker, &event->mail);
}

static void on_end(struct transcript_listener *listener)
{
	ENTERS(control_role);
	struct watch *watch = listener->arg;
	watch->attached = false;
	last_word(watch, EVENT_END, GRPC_STATUS_OK, "");
	watch_unref(watch); // the transcript's
}

static void refuse(struct watch *watch, grpc_status_code code, const char *sentence) RUNS_ON(control_role)
{
	char text[LAST_WORD_MAX];
	snprintf(text, sizeof(text), sentence, watch->user_id);
	last_word(watch, EVENT_REFUSED, code, text);
}

static void attach_on_control(void *arg)
{
	ENTERS(control_role);
	struct watch *watch = arg;
	if (atomic_load(&call_stopped) || watch->gone) {
		watch_unref(watch);
		return;
	}
	struct soniox_view view;
	svc_backend.transcribe_view(watch->user_id, &view);
	// Numbers of another transcript mean nothing here: all of this one.
	bool other = watch->epoch != 0 && view.exists && view.epoch != watch->epoch;
	uint64_t from_seq = other && watch->from_seq > 0 ? 1 : watch->from_seq;
	struct event *begin = event_make(watch, "", "");
	if (begin == NULL) {
		refuse(watch, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		watch_unref(watch); // the post's
		return;
	}
	if (view.exists) {
		begin->type = EVENT_BEGIN;
		begin->epoch = view.epoch;
		begin->complete = !other && (from_seq == 0 || from_seq >= view.transcript.oldest_seq);
		call_mail_send(watch->worker, &begin->mail);
	} else {
		event_discard(&begin->mail);
	}
	watch->listener = (struct transcript_listener){.segment = on_segment, .end = on_end, .arg = watch};
	uint64_t epoch;
	bool complete;
	atomic_fetch_add(&watch->refs, 1); // the transcript's
	int ret = svc_backend.listen(watch->user_id, &watch->listener, from_seq, &epoch, &complete);
	watch->attached = ret == 0;
	if (ret < 0) {
		watch_unref(watch);
		refuse(watch, ret == -ENOENT ? GRPC_STATUS_NOT_FOUND : GRPC_STATUS_FAILED_PRECONDITION,
			ret == -ENOENT ? "session not found for user %s" : "user %s is not transcribed");
	}
	watch_unref(watch); // the post's
}

static void detach_on_control(void *arg)
{
	ENTERS(control_role);
	struct watch *watch = arg;
	watch->gone = true;
	if (watch->attached && !atomic_load(&call_stopped)) {
		watch->attached = false;
		svc_backend.unlisten(&watch->listener);
		watch_unref(watch);
	}
	watch_unref(watch);
}

// ---- the worker

static void queue_put(struct watch *watch, struct event *event) RUNS_ON(io_role);
static void queue_put(struct watch *watch, struct event *event)
{
	// Only the newest interim is worth its way.
	struct event *tail = watch->first == NULL ? NULL : CONTAINER_OF(watch->last, struct event, next);
	bool interim = event->type == EVENT_SEGMENT && !event->segment.is_final;
	event->next = NULL;
	if (interim && tail != NULL && tail->type == EVENT_SEGMENT && !tail->segment.is_final) {
		struct event **link = &watch->first;
		while (*link != tail)
			link = &(*link)->next;
		*link = event;
		watch->last = &event->next;
		event_discard(&tail->mail);
		return;
	}
	*watch->last = event;
	watch->last = &event->next;
	watch->queued++;
}

static struct event *queue_take(struct watch *watch) RUNS_ON(io_role);
static struct event *queue_take(struct watch *watch)
{
	struct event *event = watch->first;
	if (event == NULL)
		return NULL;
	watch->first = event->next;
	if (watch->first == NULL)
		watch->last = &watch->first;
	watch->queued--;
	return event;
}

static void write_segment(struct watch *watch, const struct transcript_segment *segment) RUNS_ON(io_role);
static void write_segment(struct watch *watch, const struct transcript_segment *segment)
{
	Relay__V1__TranscriptEvent event = RELAY__V1__TRANSCRIPT_EVENT__INIT;
	Relay__V1__TranscriptSegment wire = RELAY__V1__TRANSCRIPT_SEGMENT__INIT;
	wire.seq = segment->seq;
	wire.final = segment->is_final;
	wire.text = (char *)(uintptr_t)segment->text;
	wire.start_ms = segment->start_ms;
	wire.end_ms = segment->end_ms;
	wire.spoken_at_ms = segment->spoken_at_ms;
	wire.speaker = (char *)(uintptr_t)segment->speaker;
	wire.language = (char *)(uintptr_t)segment->language;
	wire.translation = (char *)(uintptr_t)segment->translation;
	wire.translation_language = (char *)(uintptr_t)segment->translation_language;
	event.event_case = RELAY__V1__TRANSCRIPT_EVENT__EVENT_SEGMENT;
	event.segment = &wire;
	if (segment->is_final)
		watch->next_seq = segment->seq + 1;
	call_write(watch->call, &event.base);
}

static void write_next(struct watch *watch) RUNS_ON(io_role);
static void write_next(struct watch *watch)
{
	struct call *call = watch->call;
	if (call == NULL || call->writing || call->finished || call->closed)
		return;
	struct event *event = queue_take(watch);
	if (event == NULL)
		return;
	if (event->type == EVENT_BEGIN) {
		Relay__V1__TranscriptEvent wire = RELAY__V1__TRANSCRIPT_EVENT__INIT;
		Relay__V1__TranscriptBegin begin = RELAY__V1__TRANSCRIPT_BEGIN__INIT;
		begin.epoch = event->epoch;
		begin.complete = event->complete;
		wire.event_case = RELAY__V1__TRANSCRIPT_EVENT__EVENT_BEGIN;
		wire.begin = &begin;
		call_write(call, &wire.base);
	} else if (event->type == EVENT_SEGMENT) {
		write_segment(watch, &event->segment);
	} else if (event->type == EVENT_END) {
		call_finish(call, GRPC_STATUS_OK, "%s", "");
	} else {
		call_finish(call, event->code, "%s", event->text);
	}
	event_discard(&event->mail);
}

static void event_mail(struct call_mail *mail)
{
	ENTERS(io_role);
	struct event *event = CONTAINER_OF(mail, struct event, mail);
	struct watch *watch = event->watch;
	if (watch->call == NULL || watch->call->finished) {
		event_discard(mail);
		return;
	}
	queue_put(watch, event);
	if (watch->queued > QUEUED_MAX)
		call_finish(watch->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "too slow: go on with from_seq %llu",
			(unsigned long long)watch->next_seq);
	write_next(watch);
}

static void on_message(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	if (call->state != NULL)
		return;
	if (request_unpack(&relay__v1__watch_transcripts_request__descriptor, data, bytes, &message, &err) < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	const Relay__V1__WatchTranscriptsRequest *request = (void *)message;
	struct watch *watch = watch_new();
	if (watch == NULL) {
		protobuf_c_message_free_unpacked(message, NULL);
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	snprintf(watch->user_id, sizeof(watch->user_id), "%s", request->user_id);
	watch->from_seq = watch->next_seq = request->from_seq;
	watch->epoch = request->epoch;
	watch->finals_only = request->finals_only;
	watch->worker = call->worker;
	watch->call = call;
	watch->last = &watch->first;
	atomic_init(&watch->refs, 2); // the call's and the post's
	protobuf_c_message_free_unpacked(message, NULL);
	call->state = watch;
	svc_backend.post(&watch->attach, attach_on_control, watch);
}

static void on_half_closed(struct call *call)
{
	ENTERS(io_role);
	if (!call->heard)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the request has no message");
}

static void on_written(struct call *call, bool ok)
{
	ENTERS(io_role);
	if (call->state != NULL && ok)
		write_next(call->state);
}

static void on_gone(struct call *call)
{
	ENTERS(io_role);
	struct watch *watch = call->state;
	if (watch == NULL)
		return;
	atomic_fetch_add(&watch->refs, 1);
	svc_backend.post(&watch->detach, detach_on_control, watch);
}

static void on_destroy(struct call *call)
{
	ENTERS(io_role);
	struct watch *watch = call->state;
	if (watch == NULL)
		return;
	for (struct event *event; (event = queue_take(watch)) != NULL;)
		event_discard(&event->mail);
	watch->call = NULL;
	call->state = NULL;
	watch_unref(watch);
}

const struct call_method svc_transcripts_watch = {
	.path = "/relay.v1.Transcripts/Watch",
	.streaming = true,
	.message = on_message,
	.half_closed = on_half_closed,
	.written = on_written,
	.gone = on_gone,
	.destroy = on_destroy,
};
