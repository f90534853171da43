// SPDX-License-Identifier: ISC
//
// resolve.c - names into IPv4 addresses on an io thread.
//
// Runs on: control (start, cancel, done), io (the resolver's thread).

#include "controlplane/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "controlplane/control.h"

struct resolve {
	struct resolve *next;
	struct control_work answer;
	char host[256];
	uint16_t port;
	resolve_fn *done; // NULL: cancelled
	void *arg;
	int status;
	unsigned count;
	struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct resolve *first, **last;
	unsigned queued;
	bool stop;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .last = &queue.first};

static void look_up(struct resolve *resolve, int flags)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	struct addrinfo *list = NULL;
	int code = getaddrinfo(resolve->host, NULL, &hints, &list);
	resolve->status = code == 0 ? 0 : code == EAI_MEMORY ? -ENOMEM : code == EAI_AGAIN ? -EAGAIN : -ENOENT;
	for (struct addrinfo *at = list; at != NULL && resolve->count < RESOLVE_ADDRESSES_MAX; at = at->ai_next) {
		if (at->ai_addrlen > sizeof(resolve->addresses[0]))
			continue;
		struct sockaddr_storage *address = &resolve->addresses[resolve->count++];
		memcpy(address, at->ai_addr, at->ai_addrlen);
		((struct sockaddr_in *)address)->sin_port = htons(resolve->port);
	}
	if (list != NULL)
		freeaddrinfo(list);
}

static void deliver(void *arg)
{
	struct resolve *resolve = arg;
	if (resolve->done != NULL)
		resolve->done(resolve->arg, resolve->status, resolve->addresses, resolve->count);
	free(resolve);
}

static void *resolve_main(void *unused)
{
	(void)unused;
	ENTERS(io_role);
	pthread_setname_np(pthread_self(), "resolve");
	pthread_mutex_lock(&queue.lock);
	while (!queue.stop) {
		struct resolve *resolve = queue.first;
		if (resolve == NULL) {
			pthread_cond_wait(&queue.more, &queue.lock);
			continue;
		}
		queue.first = resolve->next;
		if (queue.first == NULL)
			queue.last = &queue.first;
		queue.queued--;
		pthread_mutex_unlock(&queue.lock);
		look_up(resolve, AI_ADDRCONFIG);
		control_post(&resolve->answer, deliver, resolve);
		pthread_mutex_lock(&queue.lock);
	}
	pthread_mutex_unlock(&queue.lock);
	return NULL;
}

int resolve_init(struct err *err)
{
	queue.stop = false;
	int code = pthread_create(&queue.thread, NULL, resolve_main, NULL);
	return code == 0 ? 0 : err_set(err, code, "cannot start the resolver: %s", strerror(code));
}

void resolve_finish(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.stop = true;
	pthread_cond_signal(&queue.more);
	pthread_mutex_unlock(&queue.lock);
	pthread_join(queue.thread, NULL);
	while (queue.first != NULL) {
		struct resolve *resolve = queue.first;
		queue.first = resolve->next;
		free(resolve);
	}
	queue.last = &queue.first;
	queue.queued = 0;
}

struct resolve *resolve_start(const char *host, uint16_t port, resolve_fn *done, void *arg)
{
	struct resolve *resolve = calloc(1, sizeof(*resolve));
	if (resolve == NULL || strlen(host) >= sizeof(resolve->host)) {
		free(resolve);
		return NULL;
	}
	snprintf(resolve->host, sizeof(resolve->host), "%s", host);
	resolve->port = port;
	resolve->done = done;
	resolve->arg = arg;
	look_up(resolve, AI_NUMERICHOST);
	if (resolve->status == 0) {
		control_post(&resolve->answer, deliver, resolve);
		return resolve;
	}
	pthread_mutex_lock(&queue.lock);
	bool room = queue.queued < RESOLVE_QUEUE_MAX;
	if (room) {
		queue.queued++;
		*queue.last = resolve;
		queue.last = &resolve->next;
		pthread_cond_signal(&queue.more);
	}
	pthread_mutex_unlock(&queue.lock);
	if (!room) {
		free(resolve);
		return NULL;
	}
	return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
	if (resolve != NULL)
		resolve->done = NULL; // read and written on control only; the memory goes when its turn comes
}
