// SPDX-License-Identifier: ISC
//
// svc_transcripts.c - relay.v1.Transcripts: who is transcribed, how it goes, and what asks for it.
//
// Runs on: io (the call's worker) but for the functions named _on_control.

#include "controlplane/svc_transcripts.h"

#include <stdlib.h>

#include "controlplane/request.h"
#include "controlplane/svc_backend.h"
#include "proto/relay/v1/transcripts.pb-c.h"

// One question on its way over control.
struct question {
	struct control_work start;
	struct call_mail mail;
	struct call_worker *worker;
	struct call *call;
	void (*work)(struct question *question);
	void (*answer)(struct question *question);
	ProtobufCMessage *request;
	struct soniox_view view;
	struct soniox_totals totals;
	grpc_status_code code; // OK: answer
	struct err err;
};

static void question_free(struct question *question)
{
	if (question->request != NULL)
		protobuf_c_message_free_unpacked(question->request, NULL);
	free(question);
}

static void question_mail(struct call_mail *mail)
{
	ENTERS(io_role);
	struct question *question = CONTAINER_OF(mail, struct question, mail);
	if (question->code != GRPC_STATUS_OK)
		call_finish(question->call, question->code, "%s", question->err.text);
	else
		question->answer(question);
	call_unref(question->call);
	question_free(question);
}

static void question_discard(struct call_mail *mail)
{
	question_free(CONTAINER_OF(mail, struct question, mail));
}

static void question_on_control(void *arg)
{
	struct question *question = arg;
	if (atomic_load(&call_stopped)) {
		question_free(question);
		return;
	}
	question->work(question);
	call_mail_send(question->worker, &question->mail);
}

static void question_start(struct call *call, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
	void (*work)(struct question *), void (*answer)(struct question *)) RUNS_ON(io_role);
static void question_start(struct call *call, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
	void (*work)(struct question *), void (*answer)(struct question *))
{
	ProtobufCMessage *request;
	struct err err;
	if (request_unpack(descriptor, data, bytes, &request, &err) < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	struct question *question = calloc(1, sizeof(*question));
	if (question == NULL) {
		protobuf_c_message_free_unpacked(request, NULL);
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	question->mail.fn = question_mail;
	question->mail.discard = question_discard;
	question->worker = call->worker;
	question->call = call;
	question->work = work;
	question->answer = answer;
	question->request = request;
	call_ref(call);
	svc_backend.post(&question->start, question_on_control, question);
}

static void no_request(struct call *call)
{
	ENTERS(io_role);
	if (!call->heard)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "the request has no message");
}

// ---- the answer of most: how the transcription of a user is

static int64_t age_ms(uint64_t ns, uint64_t now_ns)
{
	return ns == 0 ? -1 : (int64_t)(now_ns > ns ? (now_ns - ns) / 1000000 : 0);
}

static void state_answer(struct question *question)
{
	ENTERS(io_role);
	struct soniox_view *view = &question->view;
	Relay__V1__TranscribeState state = RELAY__V1__TRANSCRIBE_STATE__INIT;
	uint64_t now = clock_mono_ns();
	char sentence[512], empty[] = "";
	state.exists = view->exists;
	if (!view->exists) {
		call_answer(question->call, &state.base);
		return;
	}
	bool live = view->state == SONIOX_LIVE;
	state.state = (char *)(uintptr_t)soniox_state_word(view->state);
	state.health = live ? (char *)(uintptr_t)soniox_health_word(view->health) : empty;
	state.sentence = (char *)(uintptr_t)soniox_view_sentence(view, sentence, sizeof(sentence));
	state.since_ms = clock_wall_us() / 1000 - age_ms(live ? view->health_since_ns : view->since_ns, now);
	state.down_since_ms = view->down_since_ns == 0 ? 0 : clock_wall_us() / 1000 - age_ms(view->down_since_ns, now);
	state.queue_position = view->queue_position;
	state.audio_arrived_age_ms = age_ms(view->clock.arrived_ns, now);
	state.audio_sent_age_ms = age_ms(view->clock.sent_ns, now);
	state.message_age_ms = age_ms(view->clock.message_ns, now);
	state.token_age_ms = age_ms(view->clock.token_ns, now);
	state.connections = view->connections;
	state.reconnects = view->reconnects;
	state.rotations = view->rotations;
	state.sent_ms = view->sent_ms;
	state.final_ms = view->final_ms;
	state.heard_ms = view->total_ms;
	state.backlog_ms = view->backlog_ms;
	state.lost_ms = view->lost_ms;
	state.uncertain_ms = view->uncertain_ms;
	state.replayed_ms = view->replayed_ms;
	state.segments = view->transcript.segments;
	state.tokens = view->transcript.tokens;
	state.repeats = view->transcript.repeats;
	state.next_seq = view->transcript.next_seq;
	state.oldest_seq = view->transcript.oldest_seq;
	state.epoch = view->epoch;
	state.last_error = view->error;
	state.last_error_at_ms = view->error_at_ms;
	state.request_id = view->request_id;
	call_answer(question->call, &state.base);
}

static void get_state_on_control(struct question *question)
{
	const Relay__V1__GetTranscribeStateRequest *request = (void *)question->request;
	svc_backend.transcribe_view(request->user_id, &question->view);
}

static void get_state(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	question_start(call, &relay__v1__get_transcribe_state_request__descriptor, data, bytes, get_state_on_control, state_answer);
}

// ---- Finalize

static void finalize_on_control(struct question *question)
{
	const Relay__V1__FinalizeRequest *request = (void *)question->request;
	int ret = svc_backend.finalize(request->user_id);
	if (ret == -ENOENT) {
		question->code = GRPC_STATUS_NOT_FOUND;
		err_set(&question->err, ENOENT, "user %s is not transcribed", request->user_id);
	} else if (ret < 0) {
		question->code = GRPC_STATUS_RESOURCE_EXHAUSTED;
		err_set(&question->err, EAGAIN, "not connected, or finalized less than 5 s ago");
	}
	svc_backend.transcribe_view(request->user_id, &question->view);
}

static void finalize(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	question_start(call, &relay__v1__finalize_request__descriptor, data, bytes, finalize_on_control, state_answer);
}

// ---- Transcribe

// Newlines between terms. NULL: out of memory.
static char *terms_join(char *const *terms, size_t count)
{
	size_t bytes = 1;
	for (size_t i = 0; i < count; i++)
		bytes += strlen(terms[i]) + 1;
	char *joined = calloc(1, bytes), *at = joined;
	for (size_t i = 0; joined != NULL && i < count; i++)
		at += sprintf(at, "%s%s", i > 0 ? "\n" : "", terms[i]);
	return joined;
}

static int options_read(const Relay__V1__TranscribeOptions *wire, struct soniox_options *options, struct err *err)
{
	if (strlen(wire->model) >= sizeof(options->model))
		return err_set(err, EINVAL, "model: is longer than %zu bytes", sizeof(options->model) - 1);
	snprintf(options->model, sizeof(options->model), "%s",
		wire->model[0] != '\0' ? wire->model : svc_backend.transcribe_defaults()->model);
	if (wire->n_language_hints > SONIOX_HINTS_MAX)
		return err_set(err, EINVAL, "language_hints: are at most %u", SONIOX_HINTS_MAX);
	if (wire->n_context_terms > SONIOX_TERMS_MAX)
		return err_set(err, EINVAL, "context_terms: are at most %u", SONIOX_TERMS_MAX);
	if (wire->n_translate_between != 0 && wire->n_translate_between != 2)
		return err_set(err, EINVAL, "translate_between: are two languages");
	for (; options->hint_count < wire->n_language_hints; options->hint_count++)
		snprintf(options->language_hints[options->hint_count], sizeof(options->language_hints[0]), "%s",
			wire->language_hints[options->hint_count]);
	if (wire->n_translate_between == 2) {
		snprintf(options->translate_a, sizeof(options->translate_a), "%s", wire->translate_between[0]);
		snprintf(options->translate_b, sizeof(options->translate_b), "%s", wire->translate_between[1]);
	}
	snprintf(options->translate_to, sizeof(options->translate_to), "%s", wire->translate_to);
	options->hints_strict = wire->language_hints_strict;
	options->diarization = wire->diarization;
	options->language_identification = wire->language_identification;
	options->endpointing = wire->endpointing;
	options->max_endpoint_delay_ms = wire->max_endpoint_delay_ms;
	options->terms = terms_join(wire->context_terms, wire->n_context_terms);
	options->text = strdup(wire->context_text);
	return options->terms == NULL || options->text == NULL ? err_set(err, ENOMEM, "out of memory") : 0;
}

static void transcribe_on_control(struct question *question)
{
	const Relay__V1__TranscribeRequest *request = (void *)question->request;
	struct soniox_options options = {0};
	int ret = request->options != NULL ? options_read(request->options, &options, &question->err) : 0;
	if (ret == 0)
		ret = svc_backend.transcribe(request->user_id, !request->off, request->options != NULL ? &options : NULL,
			&question->err);
	soniox_options_free(&options);
	question->code = ret == 0         ? GRPC_STATUS_OK
			 : ret == -ENOENT ? GRPC_STATUS_NOT_FOUND
			 : ret == -EPERM  ? GRPC_STATUS_FAILED_PRECONDITION
			 : ret == -EINVAL ? GRPC_STATUS_INVALID_ARGUMENT
					  : GRPC_STATUS_RESOURCE_EXHAUSTED;
	svc_backend.transcribe_view(request->user_id, &question->view);
}

static void transcribe(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	question_start(call, &relay__v1__transcribe_request__descriptor, data, bytes, transcribe_on_control, state_answer);
}

// ---- GetTranscribeTotals

static void totals_on_control(struct question *question)
{
	svc_backend.transcribe_totals(&question->totals);
}

static void totals_answer(struct question *question)
{
	ENTERS(io_role);
	struct soniox_totals *totals = &question->totals;
	Relay__V1__TranscribeTotals answer = RELAY__V1__TRANSCRIBE_TOTALS__INIT;
	answer.enabled = totals->enabled;
	answer.users = totals->users;
	answer.live = totals->live;
	answer.queued = totals->queued;
	answer.stopped = totals->stopped;
	answer.places = totals->places;
	answer.places_taken = totals->placed;
	answer.connections = totals->connections;
	answer.connections_failed = totals->connections_failed;
	answer.connections_lost = totals->lost;
	answer.rotations = totals->rotations;
	answer.refused = totals->refused;
	answer.lost_ms = totals->lost_ms;
	answer.uncertain_ms = totals->uncertain_ms;
	answer.segments = totals->segments;
	answer.repeats = totals->repeats;
	answer.alarm = totals->alarm;
	answer.alarm_at_ms = totals->alarm_at_ms;
	call_answer(question->call, &answer.base);
}

static void get_totals(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	question_start(call, &relay__v1__get_transcribe_totals_request__descriptor, data, bytes, totals_on_control, totals_answer);
}

#define METHOD(name, wire)                                                                                             \
	const struct call_method svc_transcripts_##name = {                                                            \
		.path = "/relay.v1.Transcripts/" wire, .message = name, .half_closed = no_request}
METHOD(transcribe, "Transcribe");
METHOD(finalize, "Finalize");
METHOD(get_state, "GetTranscribeState");
METHOD(get_totals, "GetTranscribeTotals");
