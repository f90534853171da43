// SPDX-License-Identifier: ISC
//
// grpc_tls.h - TLS on connections that our own accept loop took, so that what holds for plaintext holds for them.
//
// grpc_server_add_channel_from_fd takes no TLS credentials, and gRPC's own listener no bounds.
#pragma once

#include "controlplane/config.h"

#include <grpc/grpc.h>

struct grpc_tls {
	void *handler; // gRPC's, of the server
};

// To be among the arguments of the server's creation.
grpc_arg grpc_tls_arg(struct grpc_tls *tls);
// With the configuration's certificate and key, between the server's creation and its start. 0 or negative errno with a sentence.
int grpc_tls_open(struct grpc_tls *tls, grpc_server *server, const struct config *config, struct err *err);
// Hands over an accepted connection and its descriptor. Between the server's start and the beginning of its shutdown. Any thread
// but packet cores.
void grpc_tls_take(const struct grpc_tls *tls, int listen_fd, int fd);
