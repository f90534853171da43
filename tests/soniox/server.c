// SPDX-License-Identifier: ISC
//
// server.c - two listeners and a thread for each connection.
//
// Runs on: a thread for the listeners, one for each connection; the rest on any.
#include "tests/soniox/server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/soniox/conn.h"

#define CONNECTIONS_MAX 512
#define TLS_LIMIT_MS 10000

struct served {
	struct served *next;
	struct conn conn;
	int fd;
	bool public, open; // open: its link may be woken
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct served *first;
	unsigned count;
	bool wanted; // the clients' port shall be open
	int fd, control_fd, wake_fd;
	struct sockaddr_in address;
	uint16_t port, control_port;
	SSL_CTX *tls;
	pthread_t thread;
	_Atomic(bool) stopping;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .fd = -1};

static int listen_on(uint16_t port, uint16_t *ret_port, struct err *err)
{
	struct sockaddr_in address = server.address;
	socklen_t length = sizeof(address);
	address.sin_port = htons(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 256) != 0) {
		int status = err_set(err, errno, "port %u: %s", port, strerror(errno));
		close(fd);
		return status;
	}
	getsockname(fd, (struct sockaddr *)&address, &length);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void served_remove(struct served *served)
{
	pthread_mutex_lock(&server.lock);
	struct served **link = &server.first;
	while (*link != served)
		link = &(*link)->next;
	*link = served->next;
	server.count--;
	pthread_cond_broadcast(&server.changed);
	pthread_mutex_unlock(&server.lock);
	free(served);
}

static void served_open(struct served *served, bool open)
{
	pthread_mutex_lock(&server.lock);
	served->open = open;
	pthread_mutex_unlock(&server.lock);
}

static void *connection_main(void *arg)
{
	struct served *served = arg;
	if (link_open(&served->conn.link, served->fd, served->public ? server.tls : NULL, TLS_LIMIT_MS) == 0) {
		served_open(served, true);
		conn_serve(&served->conn, served->public);
		served_open(served, false);
		link_close(&served->conn.link, served->conn.reset);
	}
	served_remove(served);
	return NULL;
}

static void take(int listener, bool public)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct served *served = calloc(1, sizeof(*served));
	pthread_mutex_lock(&server.lock);
	bool full = served == NULL || server.count >= CONNECTIONS_MAX;
	if (!full) {
		served->fd = fd;
		served->public = public;
		served->next = server.first;
		server.first = served;
		server.count++;
	}
	pthread_mutex_unlock(&server.lock);
	pthread_t thread;
	if (full) {
		close(fd);
		free(served);
	} else if (pthread_create(&thread, NULL, connection_main, served) != 0) {
		close(fd);
		served_remove(served);
	} else {
		pthread_detach(thread);
	}
}

// Brings the clients' port to what is wanted; on the listeners' thread, so that nobody polls a closed descriptor.
static void follow_wish(void)
{
	pthread_mutex_lock(&server.lock);
	if (!server.wanted && server.fd >= 0) {
		close(server.fd);
		server.fd = -1;
	} else if (server.wanted && server.fd < 0) {
		uint16_t same;
		server.fd = listen_on(server.port, &same, NULL);
	}
	pthread_cond_broadcast(&server.changed);
	pthread_mutex_unlock(&server.lock);
}

static void *listen_main(void *arg)
{
	while (!server_stopping()) {
		struct pollfd fds[] = {
			{.fd = server.wake_fd, .events = POLLIN},
			{.fd = server.control_fd, .events = POLLIN},
			{.fd = server.fd, .events = POLLIN},
		};
		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents != 0) {
			uint64_t count;
			(void)!read(server.wake_fd, &count, sizeof(count));
			follow_wish();
		}
		if (fds[1].revents != 0)
			take(server.control_fd, false);
		if (fds[2].revents != 0 && server.fd >= 0)
			take(server.fd, true);
	}
	return NULL;
}

static void wake_listener(void)
{
	uint64_t one = 1;
	(void)!write(server.wake_fd, &one, sizeof(one));
}

int server_listen(bool open, struct err *err)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&server.lock);
	server.wanted = open;
	wake_listener();
	int status = 0;
	while ((server.fd >= 0) != open && status == 0)
		status = pthread_cond_timedwait(&server.changed, &server.lock, &until);
	pthread_mutex_unlock(&server.lock);
	return status == 0 ? 0 : err_set(err, status, "the port does not %s", open ? "open" : "close");
}

static int tls_start(const struct server_config *config, struct err *err)
{
	if (config->cert_file == NULL)
		return 0;
	server.tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(server.tls, TLS1_2_VERSION);
	if (SSL_CTX_use_certificate_chain_file(server.tls, config->cert_file) != 1 ||
		SSL_CTX_use_PrivateKey_file(server.tls, config->key_file, SSL_FILETYPE_PEM) != 1)
		return err_set(err, EINVAL, "%s, %s: not a certificate and its key", config->cert_file, config->key_file);
	return 0;
}

int server_start(const struct server_config *config, struct err *err)
{
	int status = tls_start(config, err);
	server.address.sin_family = AF_INET;
	if (status == 0 && inet_pton(AF_INET, config->address, &server.address.sin_addr) != 1)
		status = err_set(err, EINVAL, "%s: not an IPv4 address", config->address);
	if (status < 0)
		return status;
	server.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	server.fd = listen_on(config->port, &server.port, err);
	server.control_fd = server.fd < 0 ? -1 : listen_on(config->control_port, &server.control_port, err);
	if (server.control_fd < 0)
		return -EADDRINUSE;
	server.wanted = true;
	status = pthread_create(&server.thread, NULL, listen_main, NULL);
	return status == 0 ? 0 : err_set(err, status, "no thread: %s", strerror(status));
}

uint16_t server_port(void)
{
	return server.port;
}

uint16_t server_control_port(void)
{
	return server.control_port;
}

void server_wake(void)
{
	pthread_mutex_lock(&server.lock);
	for (struct served *served = server.first; served != NULL; served = served->next)
		if (served->open)
			link_wake(&served->conn.link);
	pthread_mutex_unlock(&server.lock);
}

bool server_stopping(void)
{
	return atomic_load(&server.stopping);
}

void server_stop(void)
{
	atomic_store(&server.stopping, true);
	wake_listener();
	pthread_join(server.thread, NULL);
	server_wake();
	pthread_mutex_lock(&server.lock);
	while (server.count > 0)
		pthread_cond_wait(&server.changed, &server.lock);
	pthread_mutex_unlock(&server.lock);
	if (server.fd >= 0)
		close(server.fd);
	close(server.control_fd);
	close(server.wake_fd);
	SSL_CTX_free(server.tls);
}
