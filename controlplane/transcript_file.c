// SPDX-License-Identifier: ISC
//
// transcript_file.c - a transcript on disk: a line of JSON or a WebVTT cue per final segment, in files that are rotated.
//
// Runs on: control; io (the writer thread).

#include "controlplane/transcript_file.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/log.h"

#define QUEUED_MAX (4u << 20) // bytes that a stalled disk may hold up
#define PATH_BYTES 1024
#define FINISH_LIMIT_S 1

struct job {
	struct job *next;
	char path[PATH_BYTES], old_path[PATH_BYTES]; // append here, remove that ("": nothing)
	size_t bytes;
	char data[];
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *first, **last; // under lock, all of these
	size_t queued;
	bool running, stop;
	_Atomic(uint64_t) lost;
	bool complained; // io
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

// ---- io: the writer

static bool append(const struct job *job) RUNS_ON(io_role);
static bool append(const struct job *job)
{
	int fd = open(job->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t at = 0;
	while (fd >= 0 && at < job->bytes) {
		ssize_t n = write(fd, job->data + at, job->bytes - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	int error = errno;
	if (fd >= 0)
		close(fd);
	if (at == job->bytes) {
		writer.complained = false;
		return true;
	}
	if (!writer.complained)
		log_line(LOG_ERROR, "Cannot write a transcript", S("path", job->path), S("error", strerror(error)));
	writer.complained = true; // once, until it works again
	return false;
}

static void *writer_main(void *arg)
{
	ENTERS(io_role);
	(void)pthread_setname_np(pthread_self(), "transcripts");
	pthread_mutex_lock(&writer.lock);
	for (;;) {
		struct job *job = writer.first;
		if (job == NULL) {
			if (writer.stop)
				break;
			pthread_cond_wait(&writer.wake, &writer.lock);
			continue;
		}
		writer.first = job->next;
		if (writer.first == NULL)
			writer.last = &writer.first;
		pthread_mutex_unlock(&writer.lock);
		if (!append(job))
			atomic_fetch_add(&writer.lost, 1);
		if (job->old_path[0] != '\0')
			(void)unlink(job->old_path);
		pthread_mutex_lock(&writer.lock);
		writer.queued -= job->bytes;
		free(job);
	}
	pthread_mutex_unlock(&writer.lock);
	return NULL;
}

int transcript_files_init(const struct transcript_file_config *config, struct err *err)
{
	writer.first = NULL;
	writer.last = &writer.first;
	writer.queued = 0;
	writer.stop = writer.running = writer.complained = false;
	if (config->dir[0] == '\0')
		return 0;
	if (mkdir(config->dir, 0700) != 0 && errno != EEXIST)
		return err_set(err, errno, "soniox.files_dir: %s: %s", config->dir, strerror(errno));
	if (access(config->dir, W_OK | X_OK) != 0)
		return err_set(err, errno, "soniox.files_dir: %s: %s", config->dir, strerror(errno));
	sigset_t all, before; // signals are for the main thread
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&writer.thread, NULL, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return err_set(err, rc, "the thread that writes transcripts cannot be started: %s", strerror(rc));
	writer.running = true;
	return 0;
}

void transcript_files_finish(void)
{
	if (!writer.running)
		return;
	pthread_mutex_lock(&writer.lock);
	writer.stop = true;
	pthread_cond_signal(&writer.wake);
	pthread_mutex_unlock(&writer.lock);
	struct timespec limit;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += FINISH_LIMIT_S;
	if (pthread_timedjoin_np(writer.thread, NULL, &limit) != 0)
		log_line(LOG_ERROR, "Transcripts are not all on disk: it does not take them");
	writer.running = false;
}

uint64_t transcript_files_lost(void)
{
	return atomic_load(&writer.lost);
}

// ---- control: what is written where

int transcript_file_path(const struct transcript_file *file, unsigned part, char *ret_path, size_t size)
{
	char name[3 * sizeof(file->user_id)], begin[32];
	size_t at = 0;
	for (const char *c = file->user_id; *c != '\0'; c++) {
		bool safe = isalnum((unsigned char)*c) || *c == '-' || *c == '_' || *c == '@' || (*c == '.' && c != file->user_id);
		at += (size_t)sprintf(name + at, safe ? "%c" : "%%%02X", (unsigned char)*c);
	}
	name[MIN_OF(at, (size_t)180)] = '\0'; // a file name has at most 255 bytes
	time_t seconds = (time_t)(file->epoch / 1000000);
	struct tm utc;
	gmtime_r(&seconds, &utc);
	strftime(begin, sizeof(begin), "%Y%m%dT%H%M%SZ", &utc);
	int n = snprintf(ret_path, size, "%s/%s-%s.%u.%s", file->config->dir, name, begin, part,
		file->config->format == TRANSCRIPT_VTT ? "vtt" : "jsonl");
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static void vtt_time(FILE *out, int64_t ms)
{
	ms = MAX_OF(ms, (int64_t)0);
	fprintf(out, "%02lld:%02lld:%02lld.%03lld", (long long)(ms / 3600000), (long long)(ms / 60000 % 60),
		(long long)(ms / 1000 % 60), (long long)(ms % 1000));
}

static void vtt_text(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else
			fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
	}
}

static void format_vtt(FILE *out, uint64_t epoch, const struct transcript_segment *segment)
{
	int64_t start = segment->spoken_at_ms - (int64_t)(epoch / 1000);
	fprintf(out, "%llu\n", (unsigned long long)segment->seq);
	vtt_time(out, start);
	fputs(" --> ", out);
	vtt_time(out, start + (int64_t)(segment->end_ms - segment->start_ms));
	fputc('\n', out);
	if (segment->speaker[0] != '\0') {
		fputs("<v ", out);
		vtt_text(out, segment->speaker);
		fputc('>', out);
	}
	vtt_text(out, segment->text);
	if (segment->translation[0] != '\0') {
		fputs("\n<i>", out);
		vtt_text(out, segment->translation);
		fputs("</i>", out);
	}
	fputs("\n\n", out);
}

static void format_jsonl(FILE *out, const char *user_id, uint64_t epoch, const struct transcript_segment *segment)
{
	json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "user_id", user_id, "epoch", (json_int_t)epoch, "seq",
		(json_int_t)segment->seq, "start_ms", (json_int_t)segment->start_ms, "end_ms", (json_int_t)segment->end_ms,
		"spoken_at_ms", (json_int_t)segment->spoken_at_ms, "text", segment->text);
	if (segment->speaker[0] != '\0')
		json_object_set_new(object, "speaker", json_string(segment->speaker));
	if (segment->language[0] != '\0')
		json_object_set_new(object, "language", json_string(segment->language));
	if (segment->translation[0] != '\0') {
		json_object_set_new(object, "translation", json_string(segment->translation));
		json_object_set_new(object, "translation_language", json_string(segment->translation_language));
	}
	if (object != NULL)
		json_dumpf(object, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(object);
}

size_t transcript_file_format(enum transcript_format format, const char *user_id, uint64_t epoch,
	const struct transcript_segment *segment, char **ret_text)
{
	size_t bytes = 0;
	*ret_text = NULL;
	FILE *out = open_memstream(ret_text, &bytes);
	if (out == NULL)
		return 0;
	if (format == TRANSCRIPT_VTT)
		format_vtt(out, epoch, segment);
	else
		format_jsonl(out, user_id, epoch, segment);
	return fclose(out) == 0 ? bytes : 0;
}

static void head_of(const struct transcript_file *file, char *ret_text, size_t size)
{
	char begin[40] = "";
	time_t seconds = (time_t)(file->epoch / 1000000);
	struct tm utc;
	gmtime_r(&seconds, &utc);
	strftime(begin, sizeof(begin), "%Y-%m-%dT%H:%M:%SZ", &utc);
	snprintf(ret_text, size, file->config->format == TRANSCRIPT_VTT ? "WEBVTT\n\nNOTE 00:00:00.000 is %s\n\n" : "%.0s", begin);
}

static void queue(struct transcript_file *file, const char *text, size_t bytes) RUNS_ON(control_role);
static void queue(struct transcript_file *file, const char *text, size_t bytes)
{
	char head[80] = "";
	bool next = file->part == 0 || file->bytes + bytes > (size_t)file->config->max_kb * 1024;
	if (next) {
		file->part++;
		file->bytes = 0;
		head_of(file, head, sizeof(head));
	}
	size_t head_bytes = strlen(head);
	struct job *job = calloc(1, sizeof(*job) + head_bytes + bytes);
	if (job == NULL || transcript_file_path(file, file->part, job->path, sizeof(job->path)) < 0) {
		atomic_fetch_add(&writer.lost, 1);
		free(job);
		return;
	}
	if (next && file->part > file->config->keep)
		(void)transcript_file_path(file, file->part - file->config->keep, job->old_path, sizeof(job->old_path));
	memcpy(job->data, head, head_bytes);
	memcpy(job->data + head_bytes, text, bytes);
	job->bytes = head_bytes + bytes;
	file->bytes += job->bytes;
	pthread_mutex_lock(&writer.lock);
	bool full = writer.queued + job->bytes > QUEUED_MAX;
	if (!full) {
		writer.queued += job->bytes;
		*writer.last = job;
		writer.last = &job->next;
		pthread_cond_signal(&writer.wake);
	}
	pthread_mutex_unlock(&writer.lock);
	if (full) {
		atomic_fetch_add(&writer.lost, 1);
		free(job);
	}
}

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	ENTERS(control_role);
	struct transcript_file *file = listener->arg;
	char *text;
	if (!segment->is_final)
		return;
	size_t bytes = transcript_file_format(file->config->format, file->user_id, file->epoch, segment, &text);
	if (bytes > 0)
		queue(file, text, bytes);
	free(text);
}

static void on_end(struct transcript_listener *listener)
{
	struct transcript_file *file = listener->arg;
	file->transcript = NULL;
}

void transcript_file_start(struct transcript_file *file, const struct transcript_file_config *config, const char *user_id,
	struct transcript *transcript)
{
	if (config->dir[0] == '\0')
		return;
	*file = (struct transcript_file){.listener = {.segment = on_segment, .end = on_end, .arg = file}, .transcript = transcript,
		.config = config, .epoch = transcript_epoch(transcript)};
	snprintf(file->user_id, sizeof(file->user_id), "%s", user_id);
	(void)transcript_listen(transcript, &file->listener, 0);
}

void transcript_file_stop(struct transcript_file *file)
{
	if (file->transcript != NULL)
		transcript_unlisten(file->transcript, &file->listener);
	file->transcript = NULL;
}
