// SPDX-License-Identifier: ISC
//
// grpc_socket.h - listening sockets: made here (Unix with lock file, plaintext TCP) or inherited from the supervisor.
//
// Runs on: init.
#pragma once

#include "dataplane/base.h"

struct grpc_socket {
	int fd;       // -1: none
	int lock_fd;  // of PATH.lock, -1: none
	bool inherited;
	unsigned port; // TCP
	char path[108]; // Unix; "" for TCP
};

#define GRPC_SOCKET_NONE ((struct grpc_socket){.fd = -1, .lock_fd = -1})

// A Unix socket at PATH with exactly MODE, group GROUP ("" leaves it). A stale socket is removed under the lock; a file
// that is no socket, or a live owner of the lock, is an error.
int grpc_socket_unix(const char *path, unsigned mode, const char *group, struct grpc_socket *ret_socket, struct err *err);
// Plaintext TCP on "HOST:PORT". Beyond loopback only when allow_beyond.
int grpc_socket_tcp(const char *address, bool allow_beyond, struct grpc_socket *ret_socket, struct err *err);
// Is every address of "HOST:PORT" a loopback address? Negative errno when it does not resolve.
int grpc_socket_is_loopback(const char *address, struct err *err);
// Closes, and removes the path when we made it. Takes GRPC_SOCKET_NONE.
void grpc_socket_close(struct grpc_socket *socket);
