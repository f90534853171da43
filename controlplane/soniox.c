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

// A stream and who hears it. One that ends may go on without its user, who is gone or has another by then.
struct voice {
	struct voice *next;
	struct soniox_user *user; // NULL: none any more
	bool ends;                // takes no more audio
	char user_id[257];
	struct soniox_stream *stream;
	struct soniox_room room;
	struct transcript_file file;
	enum soniox_health health; // as logged
	struct control_timer timer;
};

// As long as the slot.
struct soniox_user {
	struct soniox_user *next;
	char user_id[257];
	struct pcm *pcm, *opus;
	struct voice *voice; // NULL: not transcribed
};

static struct {
	const struct config *config;
	struct soniox_service service;
	struct soniox_user *users;
	struct voice *voices;
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
		.ring_ms = config->audio.ring_ms,
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

// ---- voices

static void voice_free(struct voice *voice) RUNS_ON(control_role);
static void voice_free(struct voice *voice)
{
	struct voice **link = &soniox.voices;
	while (*link != voice)
		link = &(*link)->next;
	*link = voice->next;
	if (voice->user != NULL)
		voice->user->voice = NULL;
	control_timer_stop(&voice->timer);
	soniox_room_stop(&voice->room);
	transcript_file_stop(&voice->file);
	soniox_stream_free(voice->stream);
	free(voice);
}

static void health_watch(struct voice *voice) RUNS_ON(control_role);
static void health_watch(struct voice *voice)
{
	struct soniox_view view;
	char sentence[512];
	soniox_stream_view(voice->stream, &view);
	if (view.state != SONIOX_LIVE || view.health == voice->health)
		return;
	bool matters = view.health == SONIOX_STALLED || voice->health == SONIOX_STALLED;
	voice->health = view.health;
	log_line(matters ? LOG_WARN : LOG_DEBUG, "Soniox stream changed", S("userId", voice->user_id),
		S("health", soniox_health_word(view.health)), S("meaning", soniox_view_sentence(&view, sentence, sizeof(sentence))));
}

static void on_timer(void *arg)
{
	ENTERS(control_role);
	struct voice *voice = arg;
	uint64_t next_ns = soniox_stream_run(voice->stream), now = clock_mono_ns();
	line_move();
	if (soniox_stream_state(voice->stream) == SONIOX_ENDED) {
		struct soniox_user *user = voice->user;
		voice_free(voice);
		if (user != NULL)
			slot_pcm_changed(user->user_id);
		line_move();
		return;
	}
	health_watch(voice);
	control_timer_start(&voice->timer, next_ns > now ? (next_ns - now) / MS : 0, on_timer, voice);
}

static void voice_end(struct voice *voice) RUNS_ON(control_role);
static void voice_end(struct voice *voice)
{
	voice->ends = true;
	soniox_stream_end(voice->stream, SONIOX_END_LIMIT_MS);
	control_timer_start(&voice->timer, 0, on_timer, voice);
}

// ---- users

static struct soniox_user *find(const char *user_id)
{
	struct soniox_user *user = soniox.users;
	while (user != NULL && strcmp(user->user_id, user_id) != 0)
		user = user->next;
	return user;
}

// Its last words come by themselves.
static void voice_part(struct soniox_user *user)
{
	user->voice->user = NULL;
	user->voice = NULL;
}

static void user_free(struct soniox_user *user)
{
	struct soniox_user **link = &soniox.users;
	while (*link != user)
		link = &(*link)->next;
	*link = user->next;
	if (user->voice != NULL)
		voice_part(user);
	pcm_unref(user->pcm);
	pcm_unref(user->opus);
	free(user);
}

static int user_start(struct soniox_user *user, const struct soniox_options *options, struct err *err)
	RUNS_ON(control_role);
static int user_start(struct soniox_user *user, const struct soniox_options *options, struct err *err)
{
	struct voice *voice = calloc(1, sizeof(*voice));
	if (voice == NULL)
		return err_set(err, ENOMEM, "out of memory");
	voice->stream = soniox_stream_create(&soniox.service, user->user_id, user->pcm, user->opus, options, err);
	if (voice->stream == NULL) {
		free(voice);
		return -ENOMEM;
	}
	snprintf(voice->user_id, sizeof(voice->user_id), "%s", user->user_id);
	voice->health = SONIOX_HEALTHY;
	voice->user = user;
	user->voice = voice;
	voice->next = soniox.voices;
	soniox.voices = voice;
	struct transcript *transcript = soniox_stream_transcript(voice->stream);
	if (soniox.config->soniox.room_captions)
		soniox_room_start(&voice->room, user->user_id, transcript);
	transcript_file_start(&voice->file, &soniox.config->soniox.files, user->user_id, transcript);
	control_timer_start(&voice->timer, 0, on_timer, voice);
	slot_pcm_changed(user->user_id);
	return 0;
}

bool soniox_wants_packets(void)
{
	const struct config *config = soniox.config;
	return config != NULL && config->soniox.enabled != SONIOX_OFF && config->soniox.audio == SONIOX_OGG_OPUS;
}

bool soniox_takes_pcm(const struct soniox_user *user)
{
	return user != NULL && user->voice != NULL && user->opus == NULL;
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
	if (user->voice != NULL)
		voice_end(user->voice);
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
		if (user->voice != NULL)
			voice_end(user->voice);
		return 0;
	}
	if (options != NULL && soniox_options_check(options, err) < 0)
		return -EINVAL;
	if (user->voice != NULL && user->voice->ends) // what is said from now on is for another
		voice_part(user);
	if (user->voice == NULL)
		return user_start(user, options != NULL ? options : &soniox.config->soniox.options, err);
	if (options == NULL)
		soniox_stream_retry(user->voice->stream);
	else if (soniox_stream_options(user->voice->stream, options) < 0)
		return err_set(err, ENOMEM, "out of memory");
	return 0;
}

int soniox_finalize(const char *user_id)
{
	struct soniox_user *user = find(user_id);
	return user == NULL || user->voice == NULL ? -ENOENT : soniox_stream_finalize(user->voice->stream);
}

int soniox_listen(const char *user_id, struct transcript_listener *listener, uint64_t from_seq, uint64_t *ret_epoch,
	bool *ret_complete)
{
	struct soniox_user *user = find(user_id);
	if (user == NULL)
		return -ENOENT;
	if (user->voice == NULL)
		return -ESRCH;
	struct transcript *transcript = soniox_stream_transcript(user->voice->stream);
	*ret_epoch = transcript_epoch(transcript);
	*ret_complete = transcript_listen(transcript, listener, from_seq);
	return 0;
}

void soniox_unlisten(struct transcript_listener *listener)
{
	for (struct voice *voice = soniox.voices; voice != NULL; voice = voice->next)
		transcript_unlisten(soniox_stream_transcript(voice->stream), listener);
}

void soniox_view(const char *user_id, struct soniox_view *ret_view)
{
	struct soniox_user *user = find(user_id);
	*ret_view = (struct soniox_view){0};
	if (user != NULL && user->voice != NULL)
		soniox_stream_view(user->voice->stream, ret_view);
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
	for (struct voice *voice = soniox.voices; voice != NULL; voice = voice->next) {
		struct soniox_view view;
		soniox_stream_view(voice->stream, &view);
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
	if (soniox.voices != NULL && clock_mono_ns() < soniox.drain_until_ns) {
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
	for (struct voice *voice = soniox.voices; voice != NULL; voice = voice->next)
		voice_end(voice);
	on_drain(NULL);
}

void soniox_finish(void)
{
	control_timer_stop(&soniox.line_timer);
	control_timer_stop(&soniox.drain_timer);
	while (soniox.voices != NULL)
		voice_free(soniox.voices);
	while (soniox.users != NULL)
		user_free(soniox.users);
	soniox_admission_finish(&soniox.service.admission);
	transcript_files_finish();
	soniox.config = NULL;
}
