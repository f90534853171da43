// SPDX-License-Identifier: ISC
//
// svc_stream.c - StreamAudio and Listen: a cursor into the user's ring, sent down one write at a time.
//
// Two threads share a stream: the call's worker sends, control attaches and ends it. They meet in one word, the claim:
// the worker claims frames before it hands them to gRPC, control sets the stop bit when it ends the stream. What was
// claimed counts as delivered from then on, so the user's next stream begins exactly after it: none lost, none doubled.
//
// Runs on: io (the call's worker) but for the functions marked control.

#include "controlplane/svc_stream.h"

#include <stdlib.h>

#include "controlplane/latency.h"
#include "controlplane/log.h"
#include "controlplane/request.h"
#include "controlplane/svc_backend.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/audio.pb-c.h"

#define CLAIM_STOPPED 1u // bit 0; the rest is the seq after the last claimed frame
#define FRAME_NS ((uint64_t)PCM_CELL_MS * 1000000u)
#define PACE_NS (FRAME_NS / STREAM_SPEED)
#define BURST_NS (STREAM_BURST_FRAMES * PACE_NS)
// Frames whose capture times differ by more than this from an unbroken run do not share a message.
#define RUN_SLACK_US 5000

typedef Mentra__Livekit__Bridge__AudioChunk audio_chunk;

struct stream {
	struct slot_stream slot;
	bool listen;       // the call is Listen: its messages say more
	unsigned coalesce; // frames a message waits for
	char user_id[REQUEST_USER_ID_MAX + 1];
	_Atomic(unsigned) refs; // worker, each post, each mail, and the slot while attached
	_Atomic(uint64_t) claim;
	struct call_worker *worker;
	struct control_work attach, detach, release;
	struct call_mail attach_mail, end_mail;
	// written on control, read on the worker after the mail
	int attach_rc;
	enum slot_stream_end how;
	char reason[256];
	// control
	bool attached OWNED_BY(control_role);
	// worker
	struct call *call OWNED_BY(io_role); // NULL: the call is gone
	struct stream *next OWNED_BY(io_role); // of its place
	unsigned place OWNED_BY(io_role);      // while running
	bool running OWNED_BY(io_role), ended OWNED_BY(io_role);
	uint64_t cursor OWNED_BY(io_role);
	bool live OWNED_BY(io_role);          // has caught up with the ring once: from then on latency is ours
	uint64_t full_ns OWNED_BY(io_role);   // when a message that is not full is sent anyway, 0: none waits
	uint64_t due_ns OWNED_BY(io_role);    // pacing: when the next frame would be due at full speed
	unsigned in_flight OWNED_BY(io_role); // frames of the outstanding write
};

static void stream_unref(struct stream *stream)
{
	if (atomic_fetch_sub(&stream->refs, 1) > 1)
		return;
	pcm_unref(stream->slot.pcm);
	free(stream);
}

static void delivered_raise(struct stream *stream, uint64_t seq)
{
	uint64_t old = atomic_load(&stream->slot.delivered);
	while (seq > old && !atomic_compare_exchange_weak(&stream->slot.delivered, &old, seq))
		;
}

// ---- control

static void release_on_control(void *arg)
{
	stream_unref(arg);
}

static void on_end(struct slot_stream *slot, enum slot_stream_end how, const char *reason)
{
	ENTERS(control_role);
	struct stream *stream = slot->arg;
	stream->attached = false;
	stream->how = how;
	snprintf(stream->reason, sizeof(stream->reason), "%s", reason != NULL ? reason : "");
	uint64_t claim = atomic_fetch_or(&stream->claim, CLAIM_STOPPED);
	delivered_raise(stream, claim >> 1);
	atomic_fetch_add(&stream->refs, 1);
	call_mail_send(stream->worker, &stream->end_mail); // takes that reference along
	// The slot looks at `delivered` when we return: its own reference goes after this callback.
	svc_backend.post(&stream->release, release_on_control, stream);
}

static void attach_on_control(void *arg)
{
	ENTERS(control_role);
	struct stream *stream = arg;
	if (atomic_load(&call_stopped)) {
		stream_unref(stream);
		return;
	}
	atomic_fetch_add(&stream->refs, 1); // the slot's
	stream->slot.end = on_end;
	stream->slot.arg = stream;
	stream->attached = true;
	stream->attach_rc = svc_backend.stream_attach(stream->user_id, &stream->slot);
	if (stream->attach_rc < 0) {
		stream->attached = false;
		stream_unref(stream);
	} else {
		// Nobody claims before the mail arrives, nobody stops before we return.
		atomic_store(&stream->claim, stream->slot.cursor << 1);
		atomic_store(&stream->slot.delivered, stream->slot.cursor);
	}
	call_mail_send(stream->worker, &stream->attach_mail); // takes the post's reference along
}

static void detach_on_control(void *arg)
{
	ENTERS(control_role);
	struct stream *stream = arg;
	if (stream->attached && !atomic_load(&call_stopped)) {
		stream->attached = false;
		svc_backend.stream_detach(&stream->slot);
		stream_unref(stream); // the slot's
	}
	stream_unref(stream); // the post's
}

// ---- the worker: life

// The ring's place, or a new one that its writers are told of. -1: no memory, or no room in the ring.
static int place_of(struct call_worker *worker, struct pcm *pcm) RUNS_ON(io_role);
static int place_of(struct call_worker *worker, struct pcm *pcm)
{
	struct stream_places *places = &worker->places;
	unsigned at = places->count;
	for (unsigned i = 0; i < places->count; i++) {
		if (places->list[i].pcm == pcm)
			return (int)i;
		if (places->list[i].pcm == NULL)
			at = MIN_OF(at, i);
	}
	if (at == places->size) {
		unsigned size = MAX_OF(places->size * 2, 64u);
		struct stream_place *list = size <= PCM_PLACES ? realloc(places->list, size * sizeof(list[0])) : NULL;
		if (list == NULL)
			return -1;
		places->list = list;
		places->size = size;
	}
	if (pcm_waker_add(pcm, &worker->wake.waker, (uint16_t)at) < 0)
		return -1;
	places->list[at] = (struct stream_place){.pcm = pcm};
	places->count = MAX_OF(places->count, at + 1);
	return (int)at;
}

// False: there is no room for it.
static bool run_begin(struct stream *stream) RUNS_ON(io_role);
static bool run_begin(struct stream *stream)
{
	struct stream_places *places = &stream->worker->places;
	int at = place_of(stream->worker, stream->slot.pcm);
	if (at < 0)
		return false;
	struct stream_place *place = &places->list[at];
	stream->cursor = stream->slot.cursor;
	stream->live = stream->cursor == pcm_head(stream->slot.pcm);
	stream->place = (unsigned)at;
	stream->next = place->first;
	place->first = stream;
	place->due_ns = places->due_ns = 0; // what is there already rings no more
	stream->running = true;
	return true;
}

static void run_end(struct stream *stream) RUNS_ON(io_role);
static void run_end(struct stream *stream)
{
	if (!stream->running)
		return;
	struct stream_place *place = &stream->worker->places.list[stream->place];
	stream->running = false;
	struct stream **link = &place->first;
	while (*link != stream)
		link = &(*link)->next;
	*link = stream->next;
	if (place->first != NULL)
		return;
	pcm_waker_remove(place->pcm, &stream->worker->wake.waker, (uint16_t)stream->place);
	*place = (struct stream_place){.due_ns = UINT64_MAX};
}

// The peer vanished: what was on its way has an unknown fate and is not repeated.
static void detach(struct stream *stream) RUNS_ON(io_role);
static void detach(struct stream *stream)
{
	run_end(stream);
	uint64_t claim = atomic_fetch_or(&stream->claim, CLAIM_STOPPED);
	delivered_raise(stream, claim >> 1);
	atomic_fetch_add(&stream->refs, 1);
	svc_backend.post(&stream->detach, detach_on_control, stream);
}

static void attach_mail(struct call_mail *mail)
{
	ENTERS(io_role);
	struct stream *stream = CONTAINER_OF(mail, struct stream, attach_mail);
	struct call *call = stream->call;
	if (stream->attach_rc == 0 && (call == NULL || call->closed || call->finished)) {
		detach(stream);
	} else if (stream->attach_rc == 0 && !stream->ended && !run_begin(stream)) {
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "no room for another stream");
		detach(stream);
	} else if (stream->attach_rc == 0 && !stream->ended) {
		log_line(LOG_DEBUG, "StreamAudio attached", S("userId", stream->user_id),
			I("generation", stream->slot.generation), I("cursor", stream->cursor));
	} else if (stream->attach_rc == -ENOENT && call != NULL) {
		call_finish(call, GRPC_STATUS_NOT_FOUND, "session not found for user %s", stream->user_id);
	} else if (stream->attach_rc < 0 && call != NULL) {
		call_finish(call, GRPC_STATUS_UNAVAILABLE, "the stream cannot be attached: %s", strerror(-stream->attach_rc));
	}
	stream_unref(stream);
}

static void end_mail(struct call_mail *mail)
{
	ENTERS(io_role);
	struct stream *stream = CONTAINER_OF(mail, struct stream, end_mail);
	stream->ended = true;
	run_end(stream);
	if (stream->call != NULL && stream->how == SLOT_STREAM_OK)
		call_finish(stream->call, GRPC_STATUS_OK, "%s", "");
	else if (stream->call != NULL)
		call_finish(stream->call, GRPC_STATUS_UNAVAILABLE, "%s", stream->reason);
	stream_unref(stream);
}

static void attach_discard(struct call_mail *mail)
{
	stream_unref(CONTAINER_OF(mail, struct stream, attach_mail));
}

static void end_discard(struct call_mail *mail)
{
	stream_unref(CONTAINER_OF(mail, struct stream, end_mail));
}

static void begin(struct call *call, const char *user_id, const Relay__V1__ListenRequest *listen) RUNS_ON(io_role);
static void begin(struct call *call, const char *user_id, const Relay__V1__ListenRequest *listen)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	if (stream == NULL) {
		call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	snprintf(stream->user_id, sizeof(stream->user_id), "%s", user_id);
	stream->listen = listen != NULL;
	stream->slot.from_now = listen != NULL && listen->from_now;
	unsigned wanted_ms = listen != NULL ? listen->coalesce_ms : 0;
	stream->coalesce = MIN_OF(MAX_OF(wanted_ms / PCM_CELL_MS, 1u), STREAM_FRAMES_PER_MESSAGE);
	stream->worker = call->worker;
	stream->call = call;
	stream->attach_mail.fn = attach_mail;
	stream->attach_mail.discard = attach_discard;
	stream->end_mail.fn = end_mail;
	stream->end_mail.discard = end_discard;
	atomic_init(&stream->refs, 2); // the call's and the post's
	call->state = stream;
	svc_backend.post(&stream->attach, attach_on_control, stream);
}

// ---- the worker: what the client says

static void on_message(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	int rc = request_unpack(&mentra__livekit__bridge__audio_chunk__descriptor, data, bytes, &message, &err);
	if (rc < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s%s",
			call->state == NULL && rc == -EBADMSG ? "failed to receive initial chunk: " : "", err.text);
		return;
	}
	audio_chunk *chunk = (audio_chunk *)message;
	if (chunk->pcm_data.len > 0)
		svc_backend.drop(DROP_UPLINK_UNSUPPORTED, 1);
	if (call->state == NULL && chunk->user_id[0] == '\0')
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "userId required in first chunk");
	else if (call->state == NULL)
		begin(call, chunk->user_id, NULL);
	protobuf_c_message_free_unpacked(message, NULL);
	call_read(call);
}

static void on_listen(struct call *call, const uint8_t *data, size_t bytes)
{
	ENTERS(io_role);
	ProtobufCMessage *message;
	struct err err;
	if (request_unpack(&relay__v1__listen_request__descriptor, data, bytes, &message, &err) < 0) {
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	const Relay__V1__ListenRequest *request = (void *)message;
	if (request->user_id[0] == '\0')
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "user_id is required");
	else if (call->state == NULL)
		begin(call, request->user_id, request);
	protobuf_c_message_free_unpacked(message, NULL);
}

// After the first message this is no goodbye: the downlink goes on.
static void on_half_closed(struct call *call)
{
	ENTERS(io_role);
	if (call->state == NULL)
		call_finish(call, GRPC_STATUS_INVALID_ARGUMENT,
			"failed to receive initial chunk: the client closed its side without sending one");
}

static void on_gone(struct call *call)
{
	ENTERS(io_role);
	struct stream *stream = call->state;
	if (stream == NULL)
		return;
	if (stream->in_flight > 0 && call->cancelled)
		atomic_fetch_add(&call_stats.frames_in_flight_lost, stream->in_flight);
	if (stream->running)
		detach(stream);
}

static void on_destroy(struct call *call)
{
	ENTERS(io_role);
	struct stream *stream = call->state;
	if (stream == NULL)
		return;
	run_end(stream);
	stream->call = NULL;
	call->state = NULL;
	stream_unref(stream);
}

// ---- the worker: what goes down

// How many frames the pace allows now; n are allowed from due_ns + n * PACE_NS - BURST_NS on.
static unsigned paced(const struct stream *stream, uint64_t now_ns) RUNS_ON(io_role);
static unsigned paced(const struct stream *stream, uint64_t now_ns)
{
	if (now_ns + BURST_NS < stream->due_ns + PACE_NS)
		return 0;
	uint64_t frames = (now_ns + BURST_NS - MIN_OF(stream->due_ns, now_ns + BURST_NS)) / PACE_NS;
	return (unsigned)MIN_OF(frames, STREAM_BURST_FRAMES);
}

// Does this frame go on exactly where the message so far ends?
static bool joins(const struct pcm_frame *frame, const struct pcm_frame *first, size_t bytes)
{
	int64_t expected_us = first->capture_us + (int64_t)(bytes / 2) * 1000000 / PCM_RATE_HZ;
	int64_t off_us = frame->capture_us - expected_us;
	return (frame->flags & PCM_F_FENCE) == 0 && frame->generation == first->generation && off_us <= RUN_SLACK_US && off_us >= -RUN_SLACK_US;
}

// Take up to MAX frames that follow one another off the ring. Returns how many; *ret_first keeps their times. What was lapped
// before the first of them is not counted yet.
static unsigned gather(struct stream *stream, unsigned max, uint8_t *pcm, size_t *ret_bytes, struct pcm_frame *ret_first,
	uint64_t arrivals_ns[static STREAM_FRAMES_PER_MESSAGE], uint64_t *ret_lapped) RUNS_ON(io_role);
static unsigned gather(struct stream *stream, unsigned max, uint8_t *pcm, size_t *ret_bytes, struct pcm_frame *ret_first,
	uint64_t arrivals_ns[static STREAM_FRAMES_PER_MESSAGE], uint64_t *ret_lapped)
{
	struct pcm_frame next;
	unsigned count = 0;
	*ret_bytes = 0;
	*ret_lapped = 0;
	while (count < max) {
		uint64_t cursor = stream->cursor, lapped = 0;
		struct pcm_frame *frame = count == 0 ? ret_first : &next;
		int got = pcm_read(stream->slot.pcm, &cursor, frame, &lapped);
		if (lapped > 0 && count > 0)
			break; // counted when it is read again
		if (lapped > 0) {
			*ret_lapped += lapped;
			stream->cursor = cursor - (got != 0 ? 1 : 0);
		}
		if (got == 0 || (count > 0 && !joins(frame, ret_first, *ret_bytes)))
			break;
		stream->cursor = cursor;
		memcpy(pcm + *ret_bytes, frame->samples, frame->bytes);
		*ret_bytes += frame->bytes;
		ret_first->flags |= frame->flags;
		arrivals_ns[count] = stream->live ? frame->arrival_ns : 0;
		count++;
	}
	return count;
}

static bool write_message(struct stream *stream, const struct pcm_frame *first, unsigned count, ProtobufCBinaryData pcm)
	RUNS_ON(io_role);
static bool write_message(struct stream *stream, const struct pcm_frame *first, unsigned count, ProtobufCBinaryData pcm)
{
	if (stream->listen) {
		Relay__V1__AudioFrames frames;
		relay__v1__audio_frames__init(&frames);
		frames.pcm = pcm;
		frames.sequence = first->seq;
		frames.count = count;
		frames.capture_us = first->capture_us;
		frames.media_us = first->media_us;
		frames.generation = first->generation;
		frames.flags = first->flags;
		return call_write(stream->call, &frames.base);
	}
	audio_chunk chunk;
	mentra__livekit__bridge__audio_chunk__init(&chunk);
	chunk.pcm_data = pcm;
	chunk.sample_rate = PCM_RATE_HZ;
	chunk.channels = 1;
	chunk.timestamp_ms = first->capture_us / 1000;
	return call_write(stream->call, &chunk.base);
}

// Returns when this stream wants to run again without being woken.
static uint64_t send_some(struct stream *stream, uint64_t now_ns) RUNS_ON(io_role);
static uint64_t send_some(struct stream *stream, uint64_t now_ns)
{
	struct call *call = stream->call;
	uint64_t head = pcm_head(stream->slot.pcm);
	if (head == stream->cursor || call->writing || call->finished || call->closed)
		return UINT64_MAX; // woken by the writer, or by the write's end
	// Behind: fewer, fuller messages. They cost the client half as much.
	unsigned max = head - stream->cursor > STREAM_BEHIND_FRAMES ? STREAM_FRAMES_PER_MESSAGE : stream->coalesce;
	if (head - stream->cursor < stream->coalesce) {
		if (stream->full_ns == 0)
			stream->full_ns = now_ns + stream->coalesce * FRAME_NS;
		if (now_ns < stream->full_ns)
			return stream->full_ns;
	}
	stream->full_ns = 0;
	if (paced(stream, now_ns) < max)
		return stream->due_ns + max * PACE_NS - BURST_NS;
	uint8_t pcm[STREAM_FRAMES_PER_MESSAGE * PCM_CELL_BYTES];
	uint64_t arrivals_ns[STREAM_FRAMES_PER_MESSAGE];
	struct pcm_frame first;
	size_t bytes;
	// The only other writer of the claim sets the stop bit: then these frames belong to the next stream, and so do the lapped ones.
	uint64_t before = atomic_load(&stream->claim), lapped;
	if ((before & CLAIM_STOPPED) != 0)
		return UINT64_MAX;
	unsigned count = gather(stream, max, pcm, &bytes, &first, arrivals_ns, &lapped);
	if (!atomic_compare_exchange_strong(&stream->claim, &before, stream->cursor << 1))
		return UINT64_MAX;
	if (lapped > 0) {
		atomic_fetch_add(&stream->slot.lapped, lapped);
		svc_backend.drop(DROP_PCM_LAPPED, lapped);
	}
	if (count == 0)
		return UINT64_MAX;
	stream->in_flight = count;
	if (!write_message(stream, &first, count, (ProtobufCBinaryData){.len = bytes, .data = pcm}))
		return UINT64_MAX;
	uint64_t handed_ns = clock_mono_ns();
	for (unsigned i = 0; i < count; i++)
		if (arrivals_ns[i] != 0)
			latency_record(&latency_grpc, handed_ns > arrivals_ns[i] ? (handed_ns - arrivals_ns[i]) / 1000 : 0);
	stream->live |= stream->cursor >= head;
	stream->due_ns = MAX_OF(stream->due_ns, now_ns) + count * PACE_NS;
	atomic_fetch_add_explicit(&stream->slot.bytes, bytes, memory_order_relaxed);
	return UINT64_MAX;
}

// Has the streams of a ring send what they may.
static void place_look(struct call_worker *worker, unsigned at, uint64_t now_ns) RUNS_ON(io_role);
static void place_look(struct call_worker *worker, unsigned at, uint64_t now_ns)
{
	struct stream_place *place = &worker->places.list[at];
	place->due_ns = UINT64_MAX;
	for (struct stream *stream = place->first; stream != NULL; stream = stream->next)
		place->due_ns = MIN_OF(place->due_ns, send_some(stream, now_ns));
	worker->places.due_ns = MIN_OF(worker->places.due_ns, place->due_ns);
}

static void on_written(struct call *call, bool ok)
{
	ENTERS(io_role);
	struct stream *stream = call->state;
	if (!ok || stream == NULL)
		return; // on_gone counts what was in flight
	delivered_raise(stream, atomic_load(&stream->claim) >> 1);
	atomic_fetch_add_explicit(&stream->slot.frames, stream->in_flight, memory_order_relaxed);
	atomic_fetch_add_explicit(&stream->slot.messages, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&call_stats.frames_sent, stream->in_flight, memory_order_relaxed);
	stream->in_flight = 0;
	if (stream->running && pcm_head(stream->slot.pcm) != stream->cursor)
		place_look(stream->worker, stream->place, clock_mono_ns()); // what came meanwhile has been looked at in vain
}

uint64_t svc_stream_run(struct call_worker *worker, uint64_t now_ns, bool rung)
{
	struct stream_places *places = &worker->places;
	for (unsigned w = 0; rung && w * 64 < places->count; w++) {
		uint64_t marks = atomic_load(&places->marks[w]) != 0 ? atomic_exchange(&places->marks[w], 0) : 0;
		for (; marks != 0; marks &= marks - 1) {
			unsigned at = w * 64 + (unsigned)__builtin_ctzll(marks);
			if (at < places->count) // else it has been given up
				place_look(worker, at, now_ns);
		}
	}
	if (now_ns < places->due_ns)
		return places->due_ns;
	places->due_ns = UINT64_MAX;
	for (unsigned i = 0; i < places->count; i++) {
		if (now_ns >= places->list[i].due_ns)
			place_look(worker, i, now_ns);
		else
			places->due_ns = MIN_OF(places->due_ns, places->list[i].due_ns);
	}
	return places->due_ns;
}

void svc_stream_finish(struct call_worker *worker)
{
	free(worker->places.list);
	worker->places.list = NULL;
	worker->places.count = worker->places.size = 0;
}

const struct call_method svc_stream_audio = {
	.path = "/mentra.livekit.bridge.LiveKitBridge/StreamAudio",
	.streaming = true,
	.message = on_message,
	.half_closed = on_half_closed,
	.written = on_written,
	.gone = on_gone,
	.destroy = on_destroy,
};

const struct call_method svc_stream_listen = {
	.path = "/relay.v1.Audio/Listen",
	.streaming = true,
	.message = on_listen,
	.half_closed = on_half_closed,
	.written = on_written,
	.gone = on_gone,
	.destroy = on_destroy,
};
