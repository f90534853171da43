// SPDX-License-Identifier: ISC
//
// fake_slot.c - included by a test: a control thread and slots that do what the test says, behind svc_backend.
//
// Users: "slow..." joins only when cancelled, "bad..." fails, anybody else succeeds. A user added with fake_user has a ring.
//
// Runs on: any.

#include <pthread.h>
#include <stdlib.h>

#include "controlplane/svc_backend.h"

#ifndef FAKE_USERS_MAX
#define FAKE_USERS_MAX 64
#endif

struct fake_user {
	char name[64];
	struct pcm *pcm;
	struct slot_stream *stream;
	struct transcript *transcript; // NULL: not transcribed
	_Atomic(uint64_t) delivered;
	_Atomic(unsigned) attaches, detaches;
};

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_t thread;
	bool stop;
	struct control_work *first, **last;
	struct fake_user users[FAKE_USERS_MAX];
	unsigned user_count;
	struct slot_join *held;
	_Atomic(unsigned) joins, cancels, leaves;
	_Atomic(uint64_t) drops[DROP_COUNT];
	void (*_Atomic dropped)(enum drop reason); // told after it is counted, on the thread that dropped
} fake = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static void fake_post(struct control_work *work, void (*fn)(void *arg), void *arg)
{
	*work = (struct control_work){.fn = fn, .arg = arg};
	pthread_mutex_lock(&fake.mutex);
	*fake.last = work;
	fake.last = &work->next;
	pthread_cond_signal(&fake.cond);
	pthread_mutex_unlock(&fake.mutex);
}

static void *fake_control(void *arg)
{
	pthread_mutex_lock(&fake.mutex);
	while (!fake.stop || fake.first != NULL) {
		struct control_work *work = fake.first;
		if (work == NULL) {
			pthread_cond_wait(&fake.cond, &fake.mutex);
			continue;
		}
		fake.first = work->next;
		if (fake.first == NULL)
			fake.last = &fake.first;
		pthread_mutex_unlock(&fake.mutex);
		work->fn(work->arg); // and whatever holds it may be gone
		pthread_mutex_lock(&fake.mutex);
	}
	pthread_mutex_unlock(&fake.mutex);
	return NULL;
}

static inline void fake_start(void)
{
	fake.first = NULL;
	fake.last = &fake.first;
	fake.stop = false;
	pthread_create(&fake.thread, NULL, fake_control, NULL);
}

static inline void fake_finish(void)
{
	pthread_mutex_lock(&fake.mutex);
	fake.stop = true;
	pthread_cond_signal(&fake.cond);
	pthread_mutex_unlock(&fake.mutex);
	pthread_join(fake.thread, NULL);
	for (unsigned i = 0; i < fake.user_count; i++) {
		transcript_free(fake.users[i].transcript);
		pcm_unref(fake.users[i].pcm);
	}
	fake.user_count = 0;
}

// Run fn(arg) on the fake control thread and wait for it.
struct fake_call {
	struct control_work work;
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
};

static void fake_call_run(void *arg)
{
	struct fake_call *call = arg;
	call->fn(call->arg);
	pthread_mutex_lock(&call->mutex);
	call->done = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->mutex);
}

static inline void fake_sync(void (*fn)(void *arg), void *arg)
{
	struct fake_call call = {.fn = fn, .arg = arg, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	fake_post(&call.work, fake_call_run, &call);
	pthread_mutex_lock(&call.mutex);
	while (!call.done)
		pthread_cond_wait(&call.cond, &call.mutex);
	pthread_mutex_unlock(&call.mutex);
}

static void fake_user_add(void *arg)
{
	struct fake_user *made = arg;
	fake.users[fake.user_count++] = *made;
}

// A user with a ring. Users live on the control thread; only the test thread adds.
static inline struct fake_user *fake_user(const char *name, uint32_t ring_ms)
{
	struct fake_user made = {.pcm = pcm_create(ring_ms)};
	snprintf(made.name, sizeof(made.name), "%s", name);
	fake_sync(fake_user_add, &made);
	return &fake.users[fake.user_count - 1];
}

static struct fake_user *fake_find(const char *name)
{
	for (unsigned i = 0; i < fake.user_count; i++)
		if (strcmp(fake.users[i].name, name) == 0)
			return &fake.users[i];
	return NULL;
}

static void fake_end(struct fake_user *user, enum slot_stream_end how, const char *reason)
{
	struct slot_stream *stream = user->stream;
	if (stream == NULL)
		return;
	user->stream = NULL;
	pcm_ref(user->pcm); // keeps the ring for the test while the stream drops its own
	stream->end(stream, how, reason);
	user->delivered = atomic_load(&stream->delivered);
	pcm_unref(user->pcm);
}

static void fake_join(struct slot_join *join)
{
	atomic_fetch_add(&fake.joins, 1);
	if (strncmp(join->user_id, "slow", 4) == 0) {
		fake.held = join;
		return;
	}
	join->success = strncmp(join->user_id, "bad", 3) != 0;
	snprintf(join->error, sizeof(join->error), "%s",
		join->success ? "" : "failed to connect to room: connection refused");
	snprintf(join->participant_id, sizeof(join->participant_id), "cloud-agent:%.64s", join->user_id);
	join->participant_count = 2;
	join->done(join);
}

static void fake_join_cancel(struct slot_join *join)
{
	atomic_fetch_add(&fake.cancels, 1);
	if (fake.held == join)
		fake.held = NULL;
	join->success = false;
	join->done(join);
}

static bool fake_leave(const char *user_id, const char *reason)
{
	struct fake_user *user = fake_find(user_id);
	if (user == NULL)
		return false;
	atomic_fetch_add(&fake.leaves, 1);
	fake_end(user, SLOT_STREAM_OK, "left");
	return true;
}

static int fake_attach(const char *user_id, struct slot_stream *stream)
{
	struct fake_user *user = fake_find(user_id);
	if (user == NULL)
		return -ENOENT;
	fake_end(user, SLOT_STREAM_OK, "newer stream");
	stream->pcm = pcm_ref(user->pcm);
	stream->cursor = stream->from_now ? pcm_head(user->pcm) : user->delivered;
	stream->generation = atomic_fetch_add(&user->attaches, 1) + 1;
	user->stream = stream;
	return 0;
}

static void fake_detach(struct slot_stream *stream)
{
	for (unsigned i = 0; i < fake.user_count; i++) {
		struct fake_user *user = &fake.users[i];
		if (user->stream != stream)
			continue;
		user->delivered = atomic_load(&stream->delivered);
		user->stream = NULL;
		user->detaches++;
	}
}

static void fake_status(const char *user_id, struct slot_status *ret_status)
{
	memset(ret_status, 0, sizeof(*ret_status));
	struct fake_user *user = fake_find(user_id);
	if (user == NULL)
		return;
	ret_status->exists = ret_status->connected = true;
	snprintf(ret_status->user_id, sizeof(ret_status->user_id), "%s", user_id);
	snprintf(ret_status->participant_id, sizeof(ret_status->participant_id), "cloud-agent:%s", user->name);
	snprintf(ret_status->state, sizeof(ret_status->state), "connected");
	snprintf(ret_status->last_disconnect_reason, sizeof(ret_status->last_disconnect_reason), "signal_lost");
	snprintf(ret_status->server_version, sizeof(ret_status->server_version), "1.13.5");
	ret_status->participant_count = 3;
	ret_status->last_disconnect_at_ms = 1700000000123;
	ret_status->stream_attached = user->stream != NULL;
	ret_status->ring_head = pcm_head(user->pcm);
	ret_status->stream_delivered = user->delivered;
}

static void fake_each(void (*fn)(const struct slot_status *status, void *arg), void *arg)
{
	for (unsigned i = 0; i < fake.user_count; i++) {
		struct slot_status status;
		fake_status(fake.users[i].name, &status);
		fn(&status, arg);
	}
}

static void fake_totals(struct slot_totals *ret_totals)
{
	*ret_totals = (struct slot_totals){.active_sessions = fake.user_count, .slots = fake.user_count};
	for (unsigned i = 0; i < fake.user_count; i++)
		ret_totals->streams += fake.users[i].stream != NULL;
}

static void fake_drop(enum drop reason, uint64_t count)
{
	atomic_fetch_add(&fake.drops[reason], count);
	void (*dropped)(enum drop) = atomic_load(&fake.dropped);
	if (dropped != NULL)
		dropped(reason);
}

static void fake_info(struct dataplane_info *ret_info)
{
	*ret_info = (struct dataplane_info){
		.worker_count = 1,
		.port_count = 1,
		.mbufs_total = 8192,
		.mbufs_free = 8000,
		.workers = {{.core = 1, .load = 0.25, .frames = 12345, .transports = 2, .cycles_per_packet = 900}},
		.ports = {{.name = "media0", .device = "null", .mac = "02:00:00:00:00:01", .address = 0x0a000002, .prefix_bits = 24,
			.up = true, .queues = 1}},
	};
	for (unsigned i = 0; i < DROP_COUNT; i++)
		ret_info->drops[i] = atomic_load(&fake.drops[i]);
}

static uint64_t fake_lag(void)
{
	return 42;
}

static void fake_swaps(const char *user_id, bool (*fn)(const struct swap_record *record, void *arg), void *arg)
{
	struct swap_record record = {.number = 7, .kind = SWAP_RESUME, .generation = 3, .gap_us = 21000};
	snprintf(record.user_id, sizeof(record.user_id), "%s", user_id);
	while (fn(&record, arg))
		record.number--;
}

static void fake_swap_totals(struct swap_totals *ret_totals)
{
	*ret_totals = (struct swap_totals){.count = 9, .by_kind = {[SWAP_RESUME] = 9}, .worst_gap_us = 21000};
}

// ---- transcription: user "off..." may not, finalize says that it was too soon

static struct soniox_options fake_options = {.model = "fake"};
static char fake_last_model[64];

static const struct soniox_options *fake_defaults(void)
{
	return &fake_options;
}

static int64_t fake_spoken_at(void *arg, uint64_t ms)
{
	return (int64_t)ms * 1000;
}

static int fake_transcribe(const char *user_id, bool on, const struct soniox_options *options, struct err *err)
{
	struct fake_user *user = fake_find(user_id);
	struct transcript_config config = {.history_segments = 5000, .history_bytes = 1 << 20, .spoken_at_us = fake_spoken_at};
	if (strncmp(user_id, "off", 3) == 0)
		return err_set(err, EPERM, "transcription is off");
	if (user == NULL)
		return err_set(err, ENOENT, "session not found for user %s", user_id);
	if (options != NULL && soniox_options_check(options, err) < 0)
		return -EINVAL;
	snprintf(fake_last_model, sizeof(fake_last_model), "%s", options != NULL ? options->model : "as configured");
	if (!on || user->transcript == NULL)
		transcript_free(user->transcript);
	user->transcript = !on ? NULL : user->transcript != NULL ? user->transcript : transcript_create(&config);
	return 0;
}

static int fake_finalize(const char *user_id)
{
	struct fake_user *user = fake_find(user_id);
	return user == NULL || user->transcript == NULL ? -ENOENT : -EAGAIN;
}

static int fake_listen(const char *user_id, struct transcript_listener *listener, uint64_t from_seq, uint64_t *ret_epoch,
	bool *ret_complete)
{
	struct fake_user *user = fake_find(user_id);
	if (user == NULL)
		return -ENOENT;
	if (user->transcript == NULL)
		return -ESRCH;
	*ret_epoch = transcript_epoch(user->transcript);
	*ret_complete = transcript_listen(user->transcript, listener, from_seq);
	return 0;
}

static void fake_unlisten(struct transcript_listener *listener)
{
	for (unsigned i = 0; i < fake.user_count; i++)
		if (fake.users[i].transcript != NULL)
			transcript_unlisten(fake.users[i].transcript, listener);
}

static void fake_transcribe_view(const char *user_id, struct soniox_view *ret_view)
{
	struct fake_user *user = fake_find(user_id);
	*ret_view = (struct soniox_view){0};
	if (user == NULL || user->transcript == NULL)
		return;
	*ret_view = (struct soniox_view){.exists = true, .state = SONIOX_LIVE, .health = SONIOX_STARVED, .sent_ms = 4200,
		.epoch = transcript_epoch(user->transcript)};
	transcript_stats(user->transcript, &ret_view->transcript);
}

static void fake_transcribe_totals(struct soniox_totals *ret_totals)
{
	*ret_totals = (struct soniox_totals){.enabled = true, .users = 3, .places = 10, .alarm = "no money"};
}

const struct svc_backend svc_backend = {
	.transcribe = fake_transcribe,
	.transcribe_defaults = fake_defaults,
	.finalize = fake_finalize,
	.listen = fake_listen,
	.unlisten = fake_unlisten,
	.transcribe_view = fake_transcribe_view,
	.transcribe_totals = fake_transcribe_totals,
	.post = fake_post,
	.drop = fake_drop,
	.control_lag_max_us = fake_lag,
	.join = fake_join,
	.join_cancel = fake_join_cancel,
	.leave = fake_leave,
	.stream_attach = fake_attach,
	.stream_detach = fake_detach,
	.status = fake_status,
	.each = fake_each,
	.totals = fake_totals,
	.info = fake_info,
	.swaps = fake_swaps,
	.swap_totals = fake_swap_totals,
};
