// SPDX-License-Identifier: ISC
//
// grpc_wake.c - wake an app worker that waits in its completion queue, from a packet core or from control.
//
// Runs on: io (the pump thread).

#include "controlplane/grpc_wake.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
	pthread_t thread;
	bool running;
	int stop_fd;
	unsigned count;
	struct grpc_wake *wakes[GRPC_WAKES_MAX];
} pump = {.stop_fd = -1};

int grpc_wake_open(struct grpc_wake *wake, grpc_completion_queue *queue, void *tag, struct err *err)
{
	if (wake->waker.event_fd <= 0) {
		wake->waker.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (wake->waker.event_fd < 0)
			return err_set(err, errno, "eventfd: %s", strerror(errno));
	}
	wake->tag = tag;
	wake->channel = grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "wake-ups only");
	wake->call = grpc_channel_create_call(wake->channel, NULL, 0, queue, grpc_slice_from_static_string("/wake"), NULL,
		gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	return 0;
}

void grpc_wake_close(struct grpc_wake *wake)
{
	if (wake->call != NULL)
		grpc_call_unref(wake->call);
	if (wake->channel != NULL)
		grpc_channel_destroy(wake->channel);
	wake->call = NULL;
	wake->channel = NULL;
}

static void event_write(int fd)
{
	uint64_t one = 1;
	// Fails only when the counter is full, and then the reader is woken anyway.
	ssize_t written = write(fd, &one, sizeof(one));
	(void)written;
}

void grpc_wake_up(struct grpc_wake *wake)
{
	if (atomic_exchange(&wake->waker.asleep, 0) != 0)
		event_write(wake->waker.event_fd);
}

static void *pump_main(void *arg)
{
	ENTERS(io_role);
	pthread_setname_np(pthread_self(), "grpc-pump");
	struct pollfd fds[GRPC_WAKES_MAX + 1];
	for (unsigned i = 0; i < pump.count; i++)
		fds[i] = (struct pollfd){.fd = pump.wakes[i]->waker.event_fd, .events = POLLIN};
	fds[pump.count] = (struct pollfd){.fd = pump.stop_fd, .events = POLLIN};
	for (;;) {
		if (poll(fds, pump.count + 1, -1) < 0)
			continue; // EINTR
		if (fds[pump.count].revents != 0)
			return NULL;
		for (unsigned i = 0; i < pump.count; i++) {
			uint64_t value;
			if (fds[i].revents != 0 && read(fds[i].fd, &value, sizeof(value)) == sizeof(value))
				grpc_call_start_batch(pump.wakes[i]->call, NULL, 0, pump.wakes[i]->tag, NULL);
		}
	}
}

int grpc_pump_start(struct grpc_wake **wakes, unsigned count, struct err *err)
{
	pump.count = MIN_OF(count, GRPC_WAKES_MAX);
	memcpy(pump.wakes, wakes, pump.count * sizeof(pump.wakes[0]));
	pump.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (pump.stop_fd < 0)
		return err_set(err, errno, "eventfd: %s", strerror(errno));
	int rc = pthread_create(&pump.thread, NULL, pump_main, NULL);
	if (rc != 0) {
		close(pump.stop_fd);
		return err_set(err, rc, "pump thread: %s", strerror(rc));
	}
	pump.running = true;
	return 0;
}

void grpc_pump_stop(void)
{
	if (!pump.running)
		return;
	event_write(pump.stop_fd);
	pthread_join(pump.thread, NULL);
	close(pump.stop_fd);
	pump.running = false;
}
