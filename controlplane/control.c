// SPDX-License-Identifier: ISC
//
// control.c - the one event loop: epoll, a timer heap, and a locked queue of work that other threads post.
//
// Runs on: control; control_post and control_stop: any.

#include "controlplane/control.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct watch {
	struct watch *next;
	int fd;
	bool gone; // freed once the batch of events in hand is through
	void (*fn)(void *arg);
	void *arg;
};

static struct {
	int epoll_fd, event_fd;
	pthread_mutex_t lock;
	struct control_work *first, **last; // under lock
	_Atomic(bool) stop;
	_Atomic(uint64_t) lag_max_us;
	struct watch *watches;
	struct control_timer **heap;
	size_t count, room;
} loop = {.epoll_fd = -1, .event_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .last = &loop.first};

int control_init(struct err *err)
{
	loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	if (loop.epoll_fd < 0 || loop.event_fd < 0 ||
		epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, loop.event_fd, &event) != 0)
		return err_set(err, errno, "cannot make the event loop: %s", strerror(errno));
	atomic_store(&loop.stop, false);
	return 0;
}

void control_post(struct control_work *work, void (*fn)(void *arg), void *arg)
{
	*work = (struct control_work){.fn = fn, .arg = arg};
	pthread_mutex_lock(&loop.lock);
	bool was_empty = loop.first == NULL;
	*loop.last = work;
	loop.last = &work->next;
	pthread_mutex_unlock(&loop.lock);
	if (was_empty)
		eventfd_write(loop.event_fd, 1);
}

void control_stop(void)
{
	atomic_store(&loop.stop, true);
	eventfd_write(loop.event_fd, 1);
}

uint64_t control_lag_max_us(void)
{
	return atomic_load_explicit(&loop.lag_max_us, memory_order_relaxed);
}

static void call(void (*fn)(void *arg), void *arg)
{
	uint64_t began = clock_mono_ns();
	fn(arg);
	uint64_t took_us = (clock_mono_ns() - began) / 1000;
	if (took_us > atomic_load_explicit(&loop.lag_max_us, memory_order_relaxed))
		atomic_store_explicit(&loop.lag_max_us, took_us, memory_order_relaxed);
}

static void run_posts(void)
{
	eventfd_t ignored;
	eventfd_read(loop.event_fd, &ignored);
	pthread_mutex_lock(&loop.lock);
	struct control_work *work = loop.first;
	loop.first = NULL;
	loop.last = &loop.first;
	pthread_mutex_unlock(&loop.lock);
	while (work != NULL) {
		struct control_work *next = work->next;
		call(work->fn, work->arg);
		work = next;
	}
}

// ---- timers: a binary heap; heap_index is the place in it

static void place(size_t index, struct control_timer *timer)
{
	loop.heap[index] = timer;
	timer->heap_index = index;
}

static void sift_up(size_t index, struct control_timer *timer)
{
	for (; index > 0 && loop.heap[(index - 1) / 2]->deadline_ns > timer->deadline_ns; index = (index - 1) / 2)
		place(index, loop.heap[(index - 1) / 2]);
	place(index, timer);
}

static void sift_down(size_t index, struct control_timer *timer)
{
	for (size_t child; (child = index * 2 + 1) < loop.count; index = child) {
		if (child + 1 < loop.count && loop.heap[child + 1]->deadline_ns < loop.heap[child]->deadline_ns)
			child++;
		if (loop.heap[child]->deadline_ns >= timer->deadline_ns)
			break;
		place(index, loop.heap[child]);
	}
	place(index, timer);
}

void control_timer_stop(struct control_timer *timer)
{
	if (timer->deadline_ns == 0)
		return;
	size_t index = timer->heap_index;
	timer->deadline_ns = 0;
	struct control_timer *moved = loop.heap[--loop.count];
	if (moved == timer)
		return;
	if (index > 0 && loop.heap[(index - 1) / 2]->deadline_ns > moved->deadline_ns)
		sift_up(index, moved);
	else
		sift_down(index, moved);
}

void control_timer_start(struct control_timer *timer, uint64_t delay_ms, void (*fn)(void *), void *arg)
{
	control_timer_stop(timer);
	if (loop.count == loop.room) {
		size_t room = loop.room ? loop.room * 2 : 64;
		struct control_timer **heap = realloc(loop.heap, room * sizeof(struct control_timer *));
		if (heap == NULL)
			abort(); // a timer that never fires would break a promise silently
		loop.heap = heap;
		loop.room = room;
	}
	timer->fn = fn;
	timer->arg = arg;
	timer->deadline_ns = clock_mono_ns() + delay_ms * 1000000u;
	sift_up(loop.count++, timer);
}

static void run_timers(void) RUNS_ON(control_role)
{
	uint64_t now = clock_mono_ns();
	while (loop.count > 0 && loop.heap[0]->deadline_ns <= now) {
		struct control_timer *timer = loop.heap[0];
		control_timer_stop(timer);
		call(timer->fn, timer->arg);
	}
}

static int wait_ms(void)
{
	if (loop.count == 0)
		return 1000;
	uint64_t now = clock_mono_ns(), deadline = loop.heap[0]->deadline_ns;
	return deadline <= now ? 0 : (int)MIN_OF((deadline - now + 999999) / 1000000, 1000u);
}

// ---- file descriptors

int control_watch(int fd, void (*fn)(void *arg), void *arg)
{
	struct watch *watch = malloc(sizeof(*watch));
	if (watch == NULL)
		return -ENOMEM;
	*watch = (struct watch){.next = loop.watches, .fd = fd, .fn = fn, .arg = arg};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
	if (epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		int code = errno;
		free(watch);
		return -code;
	}
	loop.watches = watch;
	return 0;
}

void control_unwatch(int fd)
{
	for (struct watch *watch = loop.watches; watch != NULL; watch = watch->next) {
		if (watch->fd != fd || watch->gone)
			continue;
		epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		watch->gone = true;
	}
}

static void free_watches(bool all)
{
	for (struct watch **link = &loop.watches; *link != NULL;) {
		struct watch *watch = *link;
		if (!all && !watch->gone) {
			link = &watch->next;
			continue;
		}
		*link = watch->next;
		free(watch);
	}
}

void control_run(void)
{
	ENTERS(control_role);
	while (!atomic_load(&loop.stop)) {
		struct epoll_event events[32];
		int count = epoll_wait(loop.epoll_fd, events, ARRAY_SIZE(events), wait_ms());
		for (int i = 0; i < count; i++) {
			struct watch *watch = events[i].data.ptr;
			if (watch == NULL)
				run_posts();
			else if (!watch->gone)
				call(watch->fn, watch->arg);
		}
		free_watches(false);
		run_timers();
	}
}

void control_finish(void)
{
	run_posts();
	free_watches(true);
	free(loop.heap);
	loop.heap = NULL;
	loop.count = loop.room = 0;
	close(loop.epoll_fd);
	close(loop.event_fd);
	loop.epoll_fd = loop.event_fd = -1;
}
