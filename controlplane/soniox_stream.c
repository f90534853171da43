// SPDX-License-Identifier: ISC
//
// soniox_stream.c - one user's voice to Soniox and the words back, over as many connections as it takes.
//
// Two positions decide everything: confirmed (all before it is final, and is never sent again) and the link's sent. A new
// connection, whatever ended the last one, begins at confirmed. A planned rotation is the same with the order turned round: the
// new connection is opened first, and takes over from confirmed at the moment it is open.
//
// Runs on: control.

#include "controlplane/soniox_stream.h"

#include <stdlib.h>

#include "controlplane/backoff.h"
#include "controlplane/log.h"
#include "controlplane/soniox_packets.h"

#define MS UINT64_C(1000000)
#define RUN_BUSY_NS (20 * MS)
#define RUN_IDLE_NS (100 * MS)
#define RUNS_PER_RING 3      // the oldest of a short ring is not overwritten before it is taken, although a run may be late
#define TAIL_MS 150          // no more audio for so long: what is left goes out although it fills no message
#define GAP_FINALIZE_MS 1500 // no more audio for so long: what was said becomes final
#define FINALIZE_LEAST_MS 5000
#define FINISH_LIMIT_MS 8000
#define FINISH_ATTEMPTS 3
#define SOUND_MS 10000       // a connection that lasted so long was a good one: the next failure is the first
#define ROTATE_GRACE_MS 300000
#define ROTATE_RETRY_MS 30000

struct soniox_stream {
	struct soniox_service *service;
	char user_id[257];
	struct pcm *pcm, *opus; // NULL: the slot is gone; opus also when packets are not sent as they come
	uint64_t cursor, opus_cursor;
	struct soniox_packets packets;
	struct soniox_options options;
	struct soniox_replay *replay;
	struct transcript *transcript;
	struct soniox_link links[2];
	struct soniox_link *link, *next; // next: of a rotation, NULL otherwise
	enum soniox_state state;
	uint64_t since_ns, down_since_ns, retry_ns, end_ns; // end: ENDED at the latest; 0: goes on
	uint64_t rotate_ns;                  // the link's, 0: never
	uint64_t confirmed;
	uint64_t sent_max; // behind the last sample any link sent
	struct soniox_clock clock;
	struct backoff backoff;
	uint64_t connections, reconnects, rotations, lost, uncertain, replayed; // the last three in samples
	char error[256], request_id[64];
	int64_t error_at_ms;
};

static void on_open(struct soniox_link *link);
static void on_answer(struct soniox_link *link, const struct soniox_answer *answer);
static void on_lost(struct soniox_link *link, const struct soniox_policy *policy, const char *text, const char *request_id);
static const struct soniox_link_events link_events = {.open = on_open, .answer = on_answer, .lost = on_lost};

static uint64_t now_of(const struct soniox_stream *stream)
{
	return stream->service->ops.now_ns();
}

static void enter(struct soniox_stream *stream, enum soniox_state state)
{
	stream->state = state;
	stream->since_ns = now_of(stream);
}

static int64_t spoken_at_us(void *arg, uint64_t ms)
{
	const struct soniox_stream *stream = arg;
	return soniox_replay_capture_us(stream->replay, ms * SONIOX_SAMPLES_PER_MS);
}

// ---- life

struct soniox_stream *soniox_stream_create(struct soniox_service *service, const char *user_id, struct pcm *pcm,
	struct pcm *opus, const struct soniox_options *options, struct err *err)
{
	struct soniox_stream *stream = calloc(1, sizeof(*stream));
	if (stream == NULL) {
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	struct transcript_config config = {.history_segments = service->history_segments, .history_bytes = service->history_bytes,
		.spoken_at_us = spoken_at_us, .arg = stream};
	stream->service = service;
	snprintf(stream->user_id, sizeof(stream->user_id), "%s", user_id);
	for (size_t i = 0; i < ARRAY_SIZE(stream->links); i++) {
		stream->links[i] = (struct soniox_link){.service = service, .events = &link_events, .owner = stream};
		stream->links[i].ticket.owner = &stream->links[i];
	}
	stream->link = &stream->links[0];
	stream->replay = soniox_replay_create(service->replay_ms);
	stream->transcript = transcript_create(&config);
	if (stream->replay == NULL || stream->transcript == NULL || soniox_options_copy(&stream->options, options) < 0) {
		soniox_stream_free(stream);
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	stream->pcm = pcm_ref(pcm);
	stream->cursor = pcm_head(pcm);
	if (opus != NULL) {
		stream->opus = pcm_ref(opus);
		stream->opus_cursor = pcm_head(opus);
	}
	enter(stream, SONIOX_IDLE);
	return stream;
}

static void hang_up(struct soniox_stream *stream, struct soniox_link *link) RUNS_ON(control_role);
static void hang_up(struct soniox_stream *stream, struct soniox_link *link)
{
	soniox_link_close(link);
	soniox_admission_release(&stream->service->admission, &link->ticket);
}

void soniox_stream_free(struct soniox_stream *stream)
{
	if (stream == NULL)
		return;
	hang_up(stream, &stream->links[0]);
	hang_up(stream, &stream->links[1]);
	transcript_free(stream->transcript);
	soniox_replay_free(stream->replay);
	soniox_options_free(&stream->options);
	pcm_unref(stream->pcm);
	pcm_unref(stream->opus);
	free(stream);
}

// No connection any more. What was sent and is not final never will be.
static void settle(struct soniox_stream *stream) RUNS_ON(control_role);
static void settle(struct soniox_stream *stream)
{
	if (stream->next != NULL)
		hang_up(stream, stream->next);
	stream->next = NULL;
	hang_up(stream, stream->link);
	transcript_flush(stream->transcript);
	stream->uncertain += stream->sent_max - MIN_OF(stream->sent_max, stream->confirmed);
	stream->confirmed = MAX_OF(stream->confirmed, stream->sent_max);
	stream->down_since_ns = 0;
	enter(stream, SONIOX_IDLE);
}

static void end(struct soniox_stream *stream)
{
	uint64_t head = soniox_replay_head(stream->replay);
	stream->lost += head - MIN_OF(head, stream->sent_max);
	enter(stream, SONIOX_ENDED);
	log_line(LOG_INFO, "Soniox stream ended", S("userId", stream->user_id),
		I("sentMs", stream->sent_max / SONIOX_SAMPLES_PER_MS), I("lostMs", stream->lost / SONIOX_SAMPLES_PER_MS),
		I("uncertainMs", stream->uncertain / SONIOX_SAMPLES_PER_MS), I("connections", stream->connections));
}

static bool wants_connection(const struct soniox_stream *stream)
{
	return soniox_replay_head(stream->replay) > MAX_OF(stream->confirmed, stream->sent_max);
}

// Soniox said all it had to say. What came meanwhile, or is of the other kind, is for another connection, also at the end.
static void finished(struct soniox_stream *stream) RUNS_ON(control_role);
static void finished(struct soniox_stream *stream)
{
	settle(stream);
	if (stream->end_ns != 0 && !wants_connection(stream))
		end(stream);
}

// Another connection would not help, or is not tried any more.
static void given_up(struct soniox_stream *stream) RUNS_ON(control_role);
static void given_up(struct soniox_stream *stream)
{
	settle(stream);
	if (stream->end_ns != 0)
		end(stream);
}

// ---- audio in

static void take_pcm(struct soniox_stream *stream, const struct pcm_frame *frame, uint64_t now_ns)
{
	soniox_replay_put(stream->replay, SONIOX_PCM, frame->bytes / 2, frame->capture_us, frame->samples, frame->bytes);
	stream->clock.arrived_ns = now_ns;
}

// The frame at *cursor, which stays there; what was lapped before it is counted once.
static bool peek(const struct pcm *pcm, uint64_t *cursor, struct pcm_frame *ret_frame, uint64_t *lapped)
{
	uint64_t behind = *cursor;
	bool got = pcm_read(pcm, &behind, ret_frame, lapped) != 0;
	*cursor = got ? behind - 1 : behind;
	return got;
}

// The next data frame; the track comes as packets.
static bool next_data(struct soniox_stream *stream, struct pcm_frame *ret_frame, uint64_t *lapped)
{
	while (peek(stream->pcm, &stream->cursor, ret_frame, lapped)) {
		if ((ret_frame->flags & PCM_F_DATA) != 0)
			return true;
		stream->cursor++;
	}
	return false;
}

// Packets of the track and data frames, as they came: a phone may turn from one to the other.
static uint64_t pull_both(struct soniox_stream *stream, uint64_t now_ns)
{
	struct pcm_frame data, packet;
	uint64_t lapped = 0;
	for (;;) {
		bool have_data = next_data(stream, &data, &lapped);
		bool have_packet = peek(stream->opus, &stream->opus_cursor, &packet, &lapped);
		if (!have_data && !have_packet)
			return lapped;
		if (have_packet && (!have_data || packet.arrival_ns <= data.arrival_ns)) {
			stream->opus_cursor++;
			if (soniox_packets_take(&stream->packets, stream->replay, &packet))
				stream->clock.arrived_ns = now_ns;
		} else {
			stream->cursor++;
			take_pcm(stream, &data, now_ns);
		}
	}
}

static void pull(struct soniox_stream *stream, uint64_t now_ns)
{
	struct pcm_frame frame;
	uint64_t lapped = 0;
	if (stream->opus != NULL)
		lapped = pull_both(stream, now_ns);
	else
		while (stream->pcm != NULL && pcm_read(stream->pcm, &stream->cursor, &frame, &lapped) != 0)
			take_pcm(stream, &frame, now_ns);
	stream->lost += lapped * PCM_CELL_SAMPLES;
}

void soniox_stream_end(struct soniox_stream *stream, uint32_t limit_ms)
{
	uint64_t now = now_of(stream);
	if (stream->end_ns != 0)
		return;
	pull(stream, now);
	pcm_unref(stream->pcm);
	pcm_unref(stream->opus);
	stream->pcm = stream->opus = NULL;
	stream->end_ns = now + limit_ms * MS;
	(void)soniox_stream_run(stream);
}

// ---- connecting

static void ask(struct soniox_stream *stream, uint64_t now_ns) RUNS_ON(control_role);
static void ask(struct soniox_stream *stream, uint64_t now_ns)
{
	stream->link->ticket.rotation = false;
	soniox_admission_ask(&stream->service->admission, &stream->link->ticket, now_ns);
	enter(stream, SONIOX_QUEUED);
}

void soniox_stream_admitted(struct soniox_ticket *ticket)
{
	struct soniox_link *link = ticket->owner;
	struct soniox_stream *stream = link->owner;
	struct err err = {""};
	stream->service->connections++;
	if (link == stream->link)
		enter(stream, SONIOX_CONNECTING);
	if (soniox_link_connect(link, &err) < 0)
		on_lost(link, &soniox_untried, err.text, "");
}

static void run_live(struct soniox_stream *stream, uint64_t now_ns) RUNS_ON(control_role);

// The link is open: it begins where nothing is final yet.
static void begin(struct soniox_stream *stream, uint64_t now_ns) RUNS_ON(control_role);
static void begin(struct soniox_stream *stream, uint64_t now_ns)
{
	struct soniox_link *link = stream->link;
	pull(stream, now_ns); // not again before the first second is on its way: what is oldest now would be gone
	uint64_t tail = soniox_replay_tail(stream->replay), base = MAX_OF(stream->confirmed, tail);
	stream->lost += base - MIN_OF(base, MAX_OF(stream->confirmed, stream->sent_max));
	stream->uncertain += MIN_OF(base, stream->sent_max) - MIN_OF(base, stream->confirmed);
	stream->confirmed = base;
	stream->connections++;
	stream->rotate_ns = 0;
	if (stream->service->rotate_ms > 0) // spread, as those who came together would all go together
		stream->rotate_ns = now_ns + stream->service->rotate_ms * MS -
				    stream->service->ops.random() % (stream->service->rotate_ms / 16 + 1) * MS;
	soniox_clock_opened(&stream->clock, now_ns);
	log_line(LOG_INFO, "Soniox connected", S("userId", stream->user_id), I("fromMs", base / SONIOX_SAMPLES_PER_MS),
		I("replayMs", (stream->sent_max - MIN_OF(stream->sent_max, base)) / SONIOX_SAMPLES_PER_MS),
		I("connection", stream->connections));
	enter(stream, SONIOX_LIVE);
	if (soniox_link_start(link, &stream->options, stream->replay, base, now_ns) < 0)
		soniox_link_close(link); // out of memory: noticed there
	transcript_connected(stream->transcript, link->base / SONIOX_SAMPLES_PER_MS);
	run_live(stream, now_ns);
}

// Soniox calls it an error when a connection ends that had none.
static bool had_audio(const struct soniox_link *link)
{
	return link->sent > link->base;
}

static void on_open(struct soniox_link *link)
{
	ENTERS(control_role);
	struct soniox_stream *stream = link->owner;
	uint64_t now = now_of(stream);
	if (link == stream->next) {
		struct soniox_link *old = stream->link;
		stream->next = NULL;
		stream->link = link;
		if (old->open && !old->ended && had_audio(old))
			soniox_link_end(old, now);
		hang_up(stream, old);
		stream->rotations++;
		stream->service->rotations++;
	}
	begin(stream, now);
}

// ---- losing a connection

static void alarm_raise(struct soniox_stream *stream, const struct soniox_policy *policy, const char *text)
{
	struct soniox_service *service = stream->service;
	snprintf(service->alarm, sizeof(service->alarm), "%s (%s)", policy->sentence, text);
	service->alarm_at_ms = clock_wall_us() / 1000;
}

static void retry(struct soniox_stream *stream, enum soniox_action action, uint64_t now_ns) RUNS_ON(control_role);
static void retry(struct soniox_stream *stream, enum soniox_action action, uint64_t now_ns)
{
	struct soniox_service *service = stream->service;
	if (action == SONIOX_NEVER) {
		soniox_admission_release(&service->admission, &stream->link->ticket);
		if (stream->end_ns != 0)
			given_up(stream);
		else
			enter(stream, SONIOX_STOPPED);
		return;
	}
	if (action == SONIOX_RETRY_LATER) { // the account is full: give the place back, all wait
		soniox_admission_release(&service->admission, &stream->link->ticket);
		soniox_admission_refused(&service->admission, service->ops.random(), now_ns);
		service->refused++;
	}
	if (action == SONIOX_RETRY_SOON && stream->backoff.attempts == 0)
		stream->backoff.attempts = 1;
	uint32_t wait_ms = backoff_next_ms(&stream->backoff, service->ops.random());
	stream->retry_ns = now_ns + wait_ms * MS;
	if (wait_ms == 0)
		ask(stream, now_ns);
	else
		enter(stream, SONIOX_BACKOFF);
}

// The connection of a rotation failed: the old one goes on.
static void rotation_lost(struct soniox_stream *stream, struct soniox_link *link, enum soniox_action action, uint64_t now_ns)
	RUNS_ON(control_role);
static void rotation_lost(struct soniox_stream *stream, struct soniox_link *link, enum soniox_action action, uint64_t now_ns)
{
	hang_up(stream, link);
	stream->next = NULL;
	stream->rotate_ns = now_ns + ROTATE_RETRY_MS * MS;
	if (action == SONIOX_RETRY_LATER)
		soniox_admission_refused(&stream->service->admission, stream->service->ops.random(), now_ns);
}

static void on_lost(struct soniox_link *link, const struct soniox_policy *policy, const char *text, const char *request_id)
{
	ENTERS(control_role);
	struct soniox_stream *stream = link->owner;
	uint64_t now = now_of(stream);
	bool was_up = link->opened_ns != 0;
	snprintf(stream->error, sizeof(stream->error), "%s (%s)", policy->sentence, text);
	snprintf(stream->request_id, sizeof(stream->request_id), "%s", request_id);
	stream->error_at_ms = clock_wall_us() / 1000;
	if (was_up)
		stream->service->lost++;
	else
		stream->service->connections_failed++;
	log_line(policy->alarm ? LOG_ERROR : LOG_WARN, was_up ? "Soniox connection lost" : "Soniox connection failed",
		S("userId", stream->user_id), S("error", text), S("meaning", policy->sentence), S("errorType", policy->type),
		S("requestId", request_id[0] ? request_id : NULL), B("willRetry", policy->action != SONIOX_NEVER));
	if (policy->alarm)
		alarm_raise(stream, policy, text);
	if (link != stream->next && stream->down_since_ns == 0)
		stream->down_since_ns = !was_up ? stream->since_ns : stream->clock.unanswered_ns != 0 ? stream->clock.unanswered_ns : now;
	if (link == stream->next) {
		rotation_lost(stream, link, policy->action, now);
		return;
	}
	if (was_up && now > link->opened_ns + SOUND_MS * MS && link->total_ms > 0)
		backoff_reset(&stream->backoff);
	stream->reconnects++;
	if (stream->next != NULL) { // the one to take over is on its way already
		hang_up(stream, link);
		stream->link = stream->next;
		stream->next = NULL;
		enter(stream, stream->link->ticket.waiting ? SONIOX_QUEUED : SONIOX_CONNECTING);
		return;
	}
	bool nothing_left = stream->confirmed >= soniox_replay_head(stream->replay);
	if (stream->state == SONIOX_FINISHING && (nothing_left || stream->backoff.attempts >= FINISH_ATTEMPTS)) {
		given_up(stream);
		return;
	}
	retry(stream, policy->action, now);
}

// ---- answers

static void on_answer(struct soniox_link *link, const struct soniox_answer *answer)
{
	ENTERS(control_role);
	struct soniox_stream *stream = link->owner;
	uint64_t now = now_of(stream);
	if (link != stream->link || stream->state < SONIOX_LIVE)
		return;
	// No server may confirm what it never got.
	uint64_t had_ms = (link->sent - link->base) / SONIOX_SAMPLES_PER_MS;
	link->final_ms = MAX_OF(link->final_ms, MIN_OF(answer->final_ms, had_ms));
	link->total_ms = MAX_OF(link->total_ms, MIN_OF(answer->total_ms, had_ms));
	stream->down_since_ns = 0;
	bool token = transcript_answer(stream->transcript, answer, now);
	soniox_clock_message(&stream->clock, token, now);
	uint64_t final = link->base + link->final_ms * SONIOX_SAMPLES_PER_MS, from_ms;
	if (transcript_untranslated(stream->transcript, &from_ms)) // translated by this connection, or heard again by the next
		final = MIN_OF(final, from_ms * SONIOX_SAMPLES_PER_MS);
	stream->confirmed = MAX_OF(stream->confirmed, final);
	if (link->total_ms > 0)
		soniox_admission_accepted(&stream->service->admission);
	if (answer->finished && link->ended) {
		stream->confirmed = MAX_OF(stream->confirmed, link->sent);
		finished(stream);
	}
}

// ---- what is due

static void rotate(struct soniox_stream *stream, uint64_t now_ns) RUNS_ON(control_role);
static void rotate(struct soniox_stream *stream, uint64_t now_ns)
{
	if (stream->rotate_ns == 0 || now_ns < stream->rotate_ns || stream->end_ns != 0)
		return;
	if (stream->next == NULL) {
		stream->next = stream->link == &stream->links[0] ? &stream->links[1] : &stream->links[0];
		stream->next->ticket.rotation = true;
		soniox_admission_ask(&stream->service->admission, &stream->next->ticket, now_ns);
		return;
	}
	if (!stream->next->ticket.waiting || now_ns < stream->rotate_ns + ROTATE_GRACE_MS * MS)
		return;
	// No place for a second connection: break before make, out of the replay.
	hang_up(stream, stream->next);
	stream->next = NULL;
	soniox_link_close(stream->link);
	stream->rotations++;
	ask(stream, now_ns);
}

static bool no_audio_for(const struct soniox_stream *stream, uint64_t ms, uint64_t now_ns)
{
	return now_ns > stream->clock.arrived_ns + ms * MS;
}

// All is sent. True when the end was announced.
static bool rest(struct soniox_stream *stream, uint64_t now_ns) RUNS_ON(control_role);
static bool rest(struct soniox_stream *stream, uint64_t now_ns)
{
	struct soniox_link *link = stream->link;
	uint32_t idle_ms = stream->service->idle_ms;
	if (stream->end_ns != 0 || (idle_ms > 0 && no_audio_for(stream, idle_ms, now_ns))) {
		if (!had_audio(link)) { // a rotation in silence: all before it is final
			finished(stream);
			return true;
		}
		soniox_link_end(link, now_ns);
		enter(stream, SONIOX_FINISHING);
		return true;
	}
	bool heard = stream->confirmed < link->sent && link->finalized_ns < stream->clock.sent_ns;
	if (heard && no_audio_for(stream, GAP_FINALIZE_MS, now_ns) &&
		(link->finalized_ns == 0 || now_ns > link->finalized_ns + FINALIZE_LEAST_MS * MS))
		soniox_link_finalize(link, now_ns);
	soniox_link_keepalive(link, now_ns);
	return false;
}

static void run_live(struct soniox_stream *stream, uint64_t now_ns)
{
	struct soniox_link *link = stream->link;
	bool flush = stream->end_ns != 0 || no_audio_for(stream, TAIL_MS, now_ns);
	uint64_t from = link->sent;
	int sent = link->ws == NULL ? -ENOMEM : soniox_link_send(link, stream->replay, flush, now_ns);
	if (sent > 0)
		soniox_clock_sent(&stream->clock, now_ns);
	stream->replayed += MIN_OF(link->sent, stream->sent_max) - MIN_OF(from, stream->sent_max);
	stream->sent_max = MAX_OF(stream->sent_max, link->sent);
	uint64_t unanswered = stream->clock.unanswered_ns;
	uint32_t stall_ms = stream->service->stall_ms;
	if (sent < 0 || (stall_ms > 0 && unanswered != 0 && now_ns > unanswered + stall_ms * MS)) {
		soniox_link_close(link);
		on_lost(link, soniox_policy_for(NULL, 0), sent == -EOVERFLOW ? "audio is taken too slowly" : sent < 0 ? strerror(-sent) : "audio is not answered", "");
		return;
	}
	rotate(stream, now_ns);
	if (stream->state != SONIOX_LIVE)
		return;
	if (soniox_link_at_change(link, stream->replay) && !had_audio(link)) { // opened in silence, for the other kind
		soniox_link_close(link);
		ask(stream, now_ns);
	} else if (soniox_link_at_change(link, stream->replay)) { // a connection has one format
		soniox_link_end(link, now_ns);
		enter(stream, SONIOX_FINISHING);
	} else if (link->sent < soniox_replay_head(stream->replay))
		soniox_link_keepalive(link, now_ns); // less than a message: soon one
	else
		(void)rest(stream, now_ns);
}

static void run_waiting(struct soniox_stream *stream, uint64_t now_ns) RUNS_ON(control_role);
static void run_waiting(struct soniox_stream *stream, uint64_t now_ns)
{
	switch (stream->state) {
	case SONIOX_IDLE:
		if (wants_connection(stream))
			ask(stream, now_ns);
		else if (stream->end_ns != 0)
			finished(stream);
		break;
	case SONIOX_BACKOFF:
		if (now_ns >= stream->retry_ns)
			ask(stream, now_ns);
		break;
	case SONIOX_FINISHING:
		if (now_ns > stream->since_ns + FINISH_LIMIT_MS * MS) {
			soniox_link_close(stream->link);
			on_lost(stream->link, soniox_policy_for(NULL, 0), "Soniox did not finish", "");
		}
		break;
	case SONIOX_STOPPED:
		if (stream->end_ns != 0)
			given_up(stream);
		break;
	default:
		break;
	}
}

uint64_t soniox_stream_run(struct soniox_stream *stream)
{
	uint64_t now = now_of(stream);
	if (stream->state == SONIOX_ENDED)
		return UINT64_MAX;
	pull(stream, now);
	if (stream->end_ns != 0 && now >= stream->end_ns)
		given_up(stream);
	else if (stream->state == SONIOX_LIVE)
		run_live(stream, now);
	else
		run_waiting(stream, now);
	(void)transcript_poll(stream->transcript, stream->state == SONIOX_LIVE || stream->state == SONIOX_FINISHING, now);
	uint64_t idle_ns = MIN_OF(RUN_IDLE_NS, stream->service->ring_ms * MS / RUNS_PER_RING);
	if (stream->state != SONIOX_LIVE)
		return now + idle_ns;
	uint64_t pending = (soniox_replay_head(stream->replay) - stream->link->sent) * MS / SONIOX_SAMPLES_PER_MS;
	return now + MIN_OF(idle_ns, MAX_OF(RUN_BUSY_NS, RUN_IDLE_NS - MIN_OF(pending, RUN_IDLE_NS)));
}

// ---- asked for

int soniox_stream_finalize(struct soniox_stream *stream)
{
	uint64_t now = now_of(stream);
	struct soniox_link *link = stream->link;
	if (stream->state != SONIOX_LIVE || (link->finalized_ns != 0 && now < link->finalized_ns + FINALIZE_LEAST_MS * MS))
		return -EAGAIN;
	soniox_link_finalize(link, now);
	return 0;
}

int soniox_stream_options(struct soniox_stream *stream, const struct soniox_options *options)
{
	struct soniox_options copy;
	if (soniox_options_copy(&copy, options) < 0)
		return -ENOMEM;
	soniox_options_free(&stream->options);
	stream->options = copy;
	uint64_t now = now_of(stream);
	if (stream->state == SONIOX_LIVE)
		stream->rotate_ns = now;
	soniox_stream_retry(stream);
	return 0;
}

void soniox_stream_retry(struct soniox_stream *stream)
{
	if (stream->state != SONIOX_STOPPED)
		return;
	backoff_reset(&stream->backoff);
	ask(stream, now_of(stream));
}

struct transcript *soniox_stream_transcript(struct soniox_stream *stream)
{
	return stream->transcript;
}

enum soniox_state soniox_stream_state(const struct soniox_stream *stream)
{
	return stream->state;
}

void soniox_stream_view(const struct soniox_stream *stream, struct soniox_view *ret_view)
{
	uint64_t head = soniox_replay_head(stream->replay), now = now_of(stream);
	const struct soniox_link *link = stream->link;
	*ret_view = (struct soniox_view){
		.exists = true,
		.state = stream->state,
		.since_ns = stream->since_ns,
		.down_since_ns = stream->down_since_ns,
		.queue_position = soniox_admission_position(&stream->service->admission, &link->ticket),
		.clock = stream->clock,
		.connections = stream->connections,
		.reconnects = stream->reconnects,
		.rotations = stream->rotations,
		.sent_ms = stream->sent_max / SONIOX_SAMPLES_PER_MS,
		.final_ms = stream->confirmed / SONIOX_SAMPLES_PER_MS,
		.total_ms = link->base / SONIOX_SAMPLES_PER_MS + link->total_ms,
		.backlog_ms = (head - MIN_OF(head, stream->state == SONIOX_LIVE ? link->sent : stream->sent_max)) / SONIOX_SAMPLES_PER_MS,
		.lost_ms = stream->lost / SONIOX_SAMPLES_PER_MS,
		.uncertain_ms = stream->uncertain / SONIOX_SAMPLES_PER_MS,
		.replayed_ms = stream->replayed / SONIOX_SAMPLES_PER_MS,
		.epoch = transcript_epoch(stream->transcript),
		.error_at_ms = stream->error_at_ms,
	};
	if (stream->state == SONIOX_LIVE)
		ret_view->health = soniox_clock_judge(&stream->clock, now, &ret_view->health_since_ns);
	transcript_stats(stream->transcript, &ret_view->transcript);
	snprintf(ret_view->error, sizeof(ret_view->error), "%s", stream->error);
	snprintf(ret_view->request_id, sizeof(ret_view->request_id), "%s", stream->request_id);
}
