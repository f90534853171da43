// SPDX-License-Identifier: ISC
//
// link.h - one TCP connection, plain or TLS, used by one thread that can be woken.
//
// Runs on: the connection's thread; link_wake: any.
#pragma once

#include "dataplane/base.h"

#include <openssl/ssl.h>

struct link {
	int fd, wake_fd;
	SSL *ssl; // NULL: plain
};

// Takes the socket over, also when it fails. With `tls` the handshake is done here, within `limit_ms` (real).
int link_open(struct link *link, int fd, SSL_CTX *tls, int limit_ms);

// Returns the bytes read; 0 at the end; -EAGAIN when there are none now; another negative errno when the link is lost.
ssize_t link_read(struct link *link, void *data, size_t size);

// Writes everything, waiting at most `limit_ms` without progress; 0 or negative errno.
int link_write(struct link *link, const void *data, size_t bytes, int limit_ms);

enum link_watch {
	LINK_BYTES,  // wait for bytes
	LINK_HANGUP, // only for the peer's end
	LINK_NOTHING,
};

// Waits for that, for link_wake or for `ms` (-1: no limit). True: the peer is gone (only with LINK_HANGUP).
bool link_wait(struct link *link, enum link_watch watch, int ms);
void link_wake(struct link *link);

// Ends in an orderly way, or by a reset.
void link_close(struct link *link, bool reset);
