// SPDX-License-Identifier: ISC
//
// pcm_test.c - the broadcast ring: every reader gets every frame once and whole, or knows how many it missed.
//
// Runs on: worker (the writer), any (readers).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/pcm.h"

#define FRAMES 20000
#define READERS 3

static void write_frame(struct pcm *pcm, unsigned n) RUNS_ON(worker_role)
{
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .media_us = n, .generation = n};
	for (unsigned i = 0; i < PCM_CELL_SAMPLES; i++)
		frame.samples[i] = (int16_t)(n * 7 + i);
	pcm_write(pcm, &frame);
}

static bool frame_is_whole(const struct pcm_frame *frame)
{
	unsigned n = (unsigned)frame->seq;
	if (frame->media_us != (int64_t)n || frame->generation != n)
		return false;
	for (unsigned i = 0; i < PCM_CELL_SAMPLES; i++)
		if (frame->samples[i] != (int16_t)(n * 7 + i))
			return false;
	return true;
}

static void a_lapped_reader_knows(void **state)
{
	(void)state;
	ENTERS(worker_role);
	struct pcm *pcm = pcm_create(10 * PCM_CELL_MS);
	struct pcm_frame frame;
	uint64_t cursor = 0, lapped = 0;
	assert_int_equal(pcm_read(pcm, &cursor, &frame, &lapped), 0);
	for (unsigned n = 0; n < 25; n++)
		write_frame(pcm, n);
	unsigned got = 0;
	while (pcm_read(pcm, &cursor, &frame, &lapped)) {
		assert_true(frame_is_whole(&frame));
		got++;
	}
	assert_int_equal(got + lapped, 25);
	assert_true(got >= 9);
	write_frame(pcm, 25);
	pcm_wipe(pcm);
	assert_int_equal(pcm_read(pcm, &cursor, &frame, &lapped), 0);
	assert_int_equal(pcm_head(pcm), 26);
	pcm_unref(pcm);
}

static void only_a_sleeper_is_woken(void **state)
{
	(void)state;
	ENTERS(worker_role);
	struct pcm *pcm = pcm_create(200);
	struct pcm_waker waker = {.event_fd = eventfd(0, EFD_NONBLOCK)};
	eventfd_t count;
	assert_int_equal(pcm_waker_add(pcm, &waker, 0), 0);
	write_frame(pcm, 0);
	assert_int_equal(eventfd_read(waker.event_fd, &count), -1);
	atomic_store(&waker.asleep, 1);
	write_frame(pcm, 1);
	write_frame(pcm, 2);
	assert_int_equal(eventfd_read(waker.event_fd, &count), 0);
	assert_int_equal(count, 1);
	pcm_waker_remove(pcm, &waker, 0);
	atomic_store(&waker.asleep, 1);
	write_frame(pcm, 3);
	assert_int_equal(eventfd_read(waker.event_fd, &count), -1);
	close(waker.event_fd);
	pcm_unref(pcm);
}

static void a_write_marks_its_place(void **state)
{
	(void)state;
	ENTERS(worker_role);
	static _Atomic(uint64_t) marks[PCM_PLACES / 64];
	struct pcm_waker waker = {.event_fd = eventfd(0, EFD_NONBLOCK), .marks = marks}, other = {.event_fd = -1};
	struct pcm *first = pcm_create(200), *last = pcm_create(200);
	assert_int_equal(pcm_waker_add(first, &waker, 5), 0);
	assert_int_equal(pcm_waker_add(last, &other, 1), 0); // has none, and is not asleep
	assert_int_equal(pcm_waker_add(last, &waker, PCM_PLACES - 1), 0);
	write_frame(first, 0);
	assert_true(marks[0] == 1u << 5 && marks[PCM_PLACES / 64 - 1] == 0);
	write_frame(last, 0);
	write_frame(last, 1);
	assert_true(marks[0] == 1u << 5 && marks[PCM_PLACES / 64 - 1] == 1ull << 63);
	marks[0] = marks[PCM_PLACES / 64 - 1] = 0;
	pcm_waker_remove(first, &waker, 5);
	write_frame(first, 1);
	write_frame(last, 2);
	assert_true(marks[0] == 0 && marks[PCM_PLACES / 64 - 1] == 1ull << 63);
	// The same waker may be there in several places, but not more often than there is room.
	for (unsigned i = 0; i < PCM_WAKERS_MAX; i++)
		assert_int_equal(pcm_waker_add(first, &waker, (uint16_t)i), 0);
	assert_int_equal(pcm_waker_add(first, &waker, PCM_WAKERS_MAX), -ENOSPC);
	write_frame(first, 2);
	assert_true(marks[0] == (1u << PCM_WAKERS_MAX) - 1);
	close(waker.event_fd);
	pcm_unref(first);
	pcm_unref(last);
}

struct reader {
	pthread_t thread;
	struct pcm *pcm;
	uint64_t got, lapped, broken, disorder;
};

static void *read_all(void *arg)
{
	struct reader *reader = arg;
	uint64_t cursor = 0, expected = 0;
	while (cursor < FRAMES) {
		struct pcm_frame frame;
		if (!pcm_read(reader->pcm, &cursor, &frame, &reader->lapped)) {
			sched_yield();
			continue;
		}
		reader->got++;
		reader->broken += !frame_is_whole(&frame);
		reader->disorder += frame.seq < expected;
		expected = frame.seq + 1;
	}
	return NULL;
}

static void one_writer_many_readers(void **state)
{
	(void)state;
	ENTERS(worker_role);
	struct pcm *pcm = pcm_create(16 * PCM_CELL_MS);
	struct reader readers[READERS] = {{0}};
	for (unsigned r = 0; r < READERS; r++) {
		readers[r].pcm = pcm;
		pthread_create(&readers[r].thread, NULL, read_all, &readers[r]);
	}
	for (unsigned n = 0; n < FRAMES; n++) {
		write_frame(pcm, n);
		if (n % 8 == 0)
			sched_yield();
	}
	for (unsigned r = 0; r < READERS; r++) {
		pthread_join(readers[r].thread, NULL);
		assert_int_equal(readers[r].got + readers[r].lapped, FRAMES);
		assert_int_equal(readers[r].broken, 0);
		assert_int_equal(readers[r].disorder, 0);
		assert_true(readers[r].got > 0);
	}
	pcm_unref(pcm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_lapped_reader_knows), cmocka_unit_test(only_a_sleeper_is_woken),
		cmocka_unit_test(a_write_marks_its_place),
		cmocka_unit_test(one_writer_many_readers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
