// SPDX-License-Identifier: ISC
//
// link.c - one TCP connection, plain or TLS.
//
// Runs on: the connection's thread; link_wake: any.
#include "tests/soniox/link.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

// Polls the socket alone. 0: nothing came.
static int wait_for(struct link *link, short events, int ms)
{
	struct pollfd fd = {.fd = link->fd, .events = events};
	int status = poll(&fd, 1, ms);
	return status < 0 && errno == EINTR ? 1 : status;
}

static int tls_status(struct link *link, int result)
{
	switch (SSL_get_error(link->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return POLLIN;
	case SSL_ERROR_WANT_WRITE:
		return POLLOUT;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		ERR_clear_error();
		return -ECONNRESET;
	}
}

int link_open(struct link *link, int fd, SSL_CTX *tls, int limit_ms)
{
	*link = (struct link){.fd = fd, .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (link->wake_fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
		link_close(link, false);
		return -errno;
	}
	if (tls == NULL)
		return 0;
	link->ssl = SSL_new(tls);
	SSL_set_fd(link->ssl, fd);
	for (int done; (done = SSL_accept(link->ssl)) != 1;) {
		int status = tls_status(link, done);
		if (status <= 0 || wait_for(link, (short)status, limit_ms) == 0) {
			link_close(link, false);
			return -ECONNABORTED;
		}
	}
	return 0;
}

ssize_t link_read(struct link *link, void *data, size_t size)
{
	if (link->ssl == NULL) {
		ssize_t got = recv(link->fd, data, size, 0);
		return got >= 0 ? got : errno == EINTR ? -EAGAIN : -errno;
	}
	int got = SSL_read(link->ssl, data, (int)size);
	if (got > 0)
		return got;
	int status = tls_status(link, got);
	return status > 0 ? -EAGAIN : status;
}

int link_write(struct link *link, const void *data, size_t bytes, int limit_ms)
{
	for (size_t at = 0; at < bytes;) {
		const char *from = (const char *)data + at;
		int wanted;
		if (link->ssl != NULL) {
			int put = SSL_write(link->ssl, from, (int)(bytes - at));
			if (put > 0) {
				at += (size_t)put;
				continue;
			}
			wanted = tls_status(link, put);
			if (wanted <= 0)
				return -ECONNRESET;
		} else {
			ssize_t put = send(link->fd, from, bytes - at, MSG_NOSIGNAL);
			if (put > 0) {
				at += (size_t)put;
				continue;
			}
			if (errno != EAGAIN && errno != EINTR)
				return -errno;
			wanted = POLLOUT;
		}
		if (wait_for(link, (short)wanted, limit_ms) == 0)
			return -ETIMEDOUT;
	}
	return 0;
}

bool link_wait(struct link *link, enum link_watch watch, int ms)
{
	struct pollfd fds[2] = {
		{.fd = link->wake_fd, .events = POLLIN},
		// A broken connection would wake us again and again even without events.
		{.fd = watch == LINK_NOTHING ? -1 : link->fd, .events = watch == LINK_BYTES ? POLLIN : POLLRDHUP},
	};
	if (watch == LINK_BYTES && link->ssl != NULL && SSL_pending(link->ssl) > 0)
		return false;
	if (poll(fds, 2, ms) > 0 && fds[0].revents != 0) {
		uint64_t count;
		(void)!read(link->wake_fd, &count, sizeof(count));
	}
	return watch == LINK_HANGUP && fds[1].revents != 0;
}

void link_wake(struct link *link)
{
	uint64_t one = 1;
	(void)!write(link->wake_fd, &one, sizeof(one));
}

void link_close(struct link *link, bool reset)
{
	if (link->ssl != NULL) {
		if (!reset)
			SSL_shutdown(link->ssl);
		SSL_free(link->ssl);
		ERR_clear_error();
	}
	if (reset)
		setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	else
		shutdown(link->fd, SHUT_WR);
	close(link->fd);
	if (link->wake_fd >= 0)
		close(link->wake_fd);
}
