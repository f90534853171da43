// SPDX-License-Identifier: ISC
//
// soniox.c - transcription of users by Soniox: the streams, their timers, and the line they wait in.
//
// Runs on: control.

#include "controlplane/soniox.h"

#include <stdlib.h>
#include <sys/random.h>

#include "controlplane/control.h"
#include "controlplane/log.h"
#include "controlplane/slot.h"
#include "controlplane/soniox_room.h"
#include "controlplane/transcript_file.h"

#define CONNECT_LIMIT_MS 10000
#define HISTORY_BYTES_PER_SEGMENT 512
#define DRAIN_TICK_MS 20
#define MS UINT64_C(1000000)

struct soniox_user {
	struct soniox_user *next;
	char user_id[257];
	struct pcm *pcm, *opus;       // pcm NULL: the slot is gone, the stream ends
	struct soniox_stream *stream; // NULL: not transcribed
	struct soniox_room room;
	struct transcript_file file;
	enum soniox_health health; // as logged
	struct control_timer timer;
};

static struct {
	const struct config *config;
	struct soniox_service service;
	struct soniox_user *users;
	struct control_timer line_timer, drain_timer;
	uint64_t drain_until_ns;
	void (*drained)(void *arg);
	void *drained_arg;
} soniox;

static void line_move(void) RUNS_ON(control_role);

static uint32_t random_word(void)
{
	uint32_t word = 0;
	if (getrandom(&word, sizeof(word), GRND_NONBLOCK) != sizeof(word))
		word = (uint32_t)(clock_mono_ns() * 2654435761u >> 16);
	return word;
}

int soniox_init(const struct config *config, struct err *err)
{
	memset(&soniox, 0, sizeof(soniox));
	soniox.config = config;
	soniox.service = (struct soniox_service){
		.ops = {.ws_connect = ws_connect, .ws_send = ws_send, .ws_send_text = ws_send_text,
			.ws_queued_bytes = ws_queued_bytes, .ws_close = ws_close, .now_ns = clock_mono_ns, .random = random_word},
		.url = config->soniox.url,
		.key = config->soniox.key,
		.ca_file = config->soniox.ca_file,
		.audio = (enum soniox_audio)config->soniox.audio,
		.replay_ms = config->soniox.replay_ms,
		.rotate_ms = config->soniox.rotate_ms,
		.idle_ms = config->soniox.idle_ms,
		.stall_ms = config->soniox.stall_ms,
		.connect_limit_ms = CONNECT_LIMIT_MS,
		.history_segments = config->soniox.history,
		.history_bytes = (size_t)config->soniox.history * HISTORY_BYTES_PER_SEGMENT,
	};
	if (soniox_admission_init(&soniox.service.admission, config->soniox.concurrent, config->soniox.per_minute) < 0)
		return err_set(err, ENOMEM, "out of memory");
	return transcript_files_init(&config->soniox.files, err);
}

// ---- users

static struct soniox_user *find(const char *user_id)
{
	struct soniox_user *user = soniox.users;
	while (user != NULL && (user->pcm == NULL || strcmp(user->user_id, user_id) != 0))
		user = user->next;
	return user;
}

static void user_free(struct soniox_user *user) RUNS_ON(control_role);
static void user_free(struct soniox_user *user)
{
	struct soniox_user **link = &soniox.users;
	while (*link != user)
		link = &(*link)->next;
	*link = user->next;
	control_timer_stop(&user->timer);
	soniox_room_stop(&user->room);
	transcript_file_stop(&user->file);
	soniox_stream_free(user->stream);
	pcm_unref(user->pcm);
	pcm_unref(user->opus);
	free(user);
}

static void health_watch(struct soniox_user *user) RUNS_ON(control_role);
static void health_watch(struct soniox_user *user)
{
	struct soniox_view view;
	char sentence[512];
	soniox_stream_view(user->stream, &view);
	if (view.state != SONIOX_LIVE || view.health == user->health)
		return;
	bool matters = view.health == SONIOX_STALLED || user->health == SONIOX_STALLED;
	user->health = view.health;
	log_line(matters ? LOG_WARN : LOG_DEBUG, "Soniox stream changed", S("userId", user->user_id),
		S("health", soniox_health_word(view.health)), S("meaning", soniox_view_sentence(&view, sentence, sizeof(sentence))));
}

static void on_timer(void *arg)
{
	ENTERS(control_role);
	struct soniox_user *user = arg;
	uint64_t next_ns = soniox_stream_run(user->stream), now = clock_mono_ns();
	line_move();
	if (soniox_stream_state(user->stream) == SONIOX_ENDED) {
		soniox_room_stop(&user->room);
		transcript_file_stop(&user->file);
		soniox_stream_free(user->stream);
		user->stream = NULL;
		if (user->pcm == NULL)
			user_free(user);
		else
			slot_pcm_changed(user->user_id);
		line_move();
		return;
	}
	health_watch(user);
	control_timer_start(&user->timer, next_ns > now ? (next_ns - now) / MS : 0, on_timer, user);
}

static int user_start(struct soniox_user *user, const struct soniox_options *options, struct err *err)
	RUNS_ON(control_role);
static int user_start(struct soniox_user *user, const struct soniox_options *options, struct err *err)
{
	user->stream = soniox_stream_create(&soniox.service, user->user_id, user->pcm, user->opus, options, err);
	if (user->stream == NULL)
		return -ENOMEM;
	user->health = SONIOX_HEALTHY;
	if (soniox.config->soniox.room_captions)
		soniox_room_start(&user->room, user->user_id, soniox_stream_transcript(user->stream));
	transcript_file_start(&user->file, &soniox.config->soniox.files, user->user_id, soniox_stream_transcript(user->stream));
	control_timer_start(&user->timer, 0, on_timer, user);
	slot_pcm_changed(user->user_id);
	return 0;
}

static void user_end(struct soniox_user *user) RUNS_ON(control_role);
static void user_end(struct soniox_user *user)
{
	soniox_stream_end(user->stream, SONIOX_END_LIMIT_MS);
	control_timer_start(&user->timer, 0, on_timer, user);
}

bool soniox_wants_packets(void)
{
	const struct config *config = soniox.config;
	return config != NULL && config->soniox.enabled != SONIOX_OFF && config->soniox.audio == SONIOX_OGG_OPUS;
}

bool soniox_takes_pcm(const struct soniox_user *user)
{
	return user != NULL && user->stream != NULL && user->opus == NULL;
}

struct soniox_user *soniox_slot_made(const char *user_id, struct pcm *pcm, struct pcm *opus)
{
	if (soniox.config == NULL || soniox.config->soniox.enabled == SONIOX_OFF)
		return NULL;
	struct soniox_user *user = calloc(1, sizeof(*user));
	struct err err;
	if (user == NULL)
		return NULL; // nobody is transcribed then; the call goes on
	snprintf(user->user_id, sizeof(user->user_id), "%s", user_id);
	user->pcm = pcm_ref(pcm);
	user->opus = opus != NULL ? pcm_ref(opus) : NULL;
	user->next = soniox.users;
	soniox.users = user;
	if (soniox.config->soniox.enabled == SONIOX_ALWAYS && user_start(user, &soniox.config->soniox.options, &err) < 0)
		log_line(LOG_ERROR, "Cannot transcribe", S("userId", user_id), S("error", err.text));
	return user;
}

void soniox_slot_gone(struct soniox_user *user)
{
	if (user == NULL)
		return;
	if (user->stream != NULL)
		user_end(user);
	pcm_unref(user->pcm);
	pcm_unref(user->opus);
	user->pcm = user->opus = NULL;
	if (user->stream == NULL)
		user_free(user);
}

// ---- the line

static void on_line_timer(void *arg)
{
	(void)arg;
	ENTERS(control_role);
	line_move();
}

static void line_move(void)
{
	uint64_t again_ns;
	for (struct soniox_ticket *ticket;
		(ticket = soniox_admission_next(&soniox.service.admission, clock_mono_ns(), &again_ns)) != NULL;)
		soniox_stream_admitted(ticket);
	uint64_t now = clock_mono_ns();
	if (again_ns == UINT64_MAX)
		control_timer_stop(&soniox.line_timer);
	else
		control_timer_start(&soniox.line_timer, again_ns > now ? (again_ns - now) / MS + 1 : 0, on_line_timer, NULL);
}

// ---- services

const struct soniox_options *soniox_default_options(void)
{
	return &soniox.config->soniox.options;
}

int soniox_transcribe(const char *user_id, bool on, const struct soniox_options *options, struct err *err)
{
	if (soniox.config->soniox.enabled == SONIOX_OFF)
		return err_set(err, EPERM, "transcription is off in this relayd (soniox.enabled)");
	struct soniox_user *user = find(user_id);
	if (user == NULL)
		return err_set(err, ENOENT, "session not found for user %s", user_id);
	if (!on) {
		if (user->stream != NULL)
			user_end(user);
		return 0;
	}
	if (options != NULL && soniox_options_check(options, err) < 0)
		return -EINVAL;
	if (user->stream == NULL)
		return user_start(user, options != NULL ? options : &soniox.config->soniox.options, err);
	if (options == NULL)
		soniox_stream_retry(user->stream);
	else if (soniox_stream_options(user->stream, options) < 0)
		return err_set(err, ENOMEM, "out of memory");
	return 0;
}

int soniox_finalize(const char *user_id)
{
	struct soniox_user *user = find(user_id);
	return user == NULL || user->stream == NULL ? -ENOENT : soniox_stream_finalize(user->stream);
}

int soniox_listen(const char *user_id, struct transcript_listener *listener, uint64_t from_seq, uint64_t *ret_epoch,
	bool *ret_complete)
{
	struct soniox_user *user = find(user_id);
	if (user == NULL)
		return -ENOENT;
	if (user->stream == NULL)
		return -ESRCH;
	struct transcript *transcript = soniox_stream_transcript(user->stream);
	*ret_epoch = transcript_epoch(transcript);
	*ret_complete = transcript_listen(transcript, listener, from_seq);
	return 0;
}

void soniox_unlisten(struct transcript_listener *listener)
{
	for (struct soniox_user *user = soniox.users; user != NULL; user = user->next)
		if (user->stream != NULL)
			transcript_unlisten(soniox_stream_transcript(user->stream), listener);
}

void soniox_view(const char *user_id, struct soniox_view *ret_view)
{
	struct soniox_user *user = find(user_id);
	*ret_view = (struct soniox_view){0};
	if (user != NULL && user->stream != NULL)
		soniox_stream_view(user->stream, ret_view);
}

void soniox_totals(struct soniox_totals *ret_totals)
{
	const struct soniox_service *service = &soniox.service;
	*ret_totals = (struct soniox_totals){
		.enabled = soniox.config != NULL && soniox.config->soniox.enabled != SONIOX_OFF,
		.places = service->admission.places,
		.placed = service->admission.placed,
		.connections = service->connections,
		.connections_failed = service->connections_failed,
		.lost = service->lost,
		.rotations = service->rotations,
		.refused = service->refused,
		.alarm_at_ms = service->alarm_at_ms,
	};
	snprintf(ret_totals->alarm, sizeof(ret_totals->alarm), "%s", service->alarm);
	for (struct soniox_user *user = soniox.users; user != NULL; user = user->next) {
		if (user->stream == NULL)
			continue;
		struct soniox_view view;
		soniox_stream_view(user->stream, &view);
		ret_totals->users++;
		ret_totals->live += view.state == SONIOX_LIVE || view.state == SONIOX_FINISHING;
		ret_totals->queued += view.state == SONIOX_QUEUED;
		ret_totals->stopped += view.state == SONIOX_STOPPED;
		ret_totals->lost_ms += view.lost_ms;
		ret_totals->uncertain_ms += view.uncertain_ms;
		ret_totals->segments += view.transcript.segments;
		ret_totals->repeats += view.transcript.repeats;
	}
}

// ---- the end

static void on_drain(void *arg)
{
	(void)arg;
	ENTERS(control_role);
	bool any = false;
	for (struct soniox_user *user = soniox.users; user != NULL; user = user->next)
		any |= user->stream != NULL;
	if (any && clock_mono_ns() < soniox.drain_until_ns) {
		control_timer_start(&soniox.drain_timer, DRAIN_TICK_MS, on_drain, NULL);
		return;
	}
	if (soniox.drained != NULL)
		soniox.drained(soniox.drained_arg);
	soniox.drained = NULL;
}

void soniox_drain(uint32_t limit_ms, void (*done)(void *arg), void *arg)
{
	soniox.drained = done;
	soniox.drained_arg = arg;
	soniox.drain_until_ns = clock_mono_ns() + limit_ms * MS;
	for (struct soniox_user *user = soniox.users; user != NULL; user = user->next)
		if (user->stream != NULL)
			user_end(user);
	on_drain(NULL);
}

void soniox_finish(void)
{
	control_timer_stop(&soniox.line_timer);
	control_timer_stop(&soniox.drain_timer);
	while (soniox.users != NULL)
		user_free(soniox.users);
	soniox_admission_finish(&soniox.service.admission);
	transcript_files_finish();
	soniox.config = NULL;
}
