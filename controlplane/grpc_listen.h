// SPDX-License-Identifier: ISC
//
// grpc_listen.h - the accept loop: hands connections to a gRPC server, knows who they are, cuts those that misbehave.
//
// gRPC's own listener dies for good at the first EMFILE, cannot be bounded and cannot tell the peer's user.
#pragma once

#include <grpc/grpc.h>

#include "controlplane/grpc_socket.h"
#include "dataplane/roles.h"

// Calls that a connection may open and cancel before we answered, per second. More is an attack (rapid reset).
#define GRPC_CANCELS_PER_SECOND 500

// One accepted connection. Known by what gRPC calls its peer: the number of its fd or, with TLS, the peer's address and port.
struct grpc_conn;
struct grpc_tls;

// Whose connections count together: whoever takes all of the callers' leaves the operator's.
enum grpc_listen_who { GRPC_LISTEN_CALLERS, GRPC_LISTEN_OPERATOR, GRPC_LISTEN_WHO_COUNT };
#define GRPC_LISTEN_OPERATOR_MAX 64

// Calls and streams that a connection holds, counted by grpc_call.c.
struct grpc_holding {
	_Atomic(unsigned) calls, streams;
};

// max_connections: of the callers.
int grpc_listen_start(unsigned max_connections, struct err *err);
// Accept from a socket into a server, with TLS unless tls is NULL. After start; the socket stays the caller's.
int grpc_listen_add(const struct grpc_socket *socket, grpc_server *server, const struct grpc_tls *tls, enum grpc_listen_who who,
	struct err *err);
// Accept no more from it, from the return on: who connects waits in its queue for the next process. Any thread.
void grpc_listen_leave(const struct grpc_socket *socket);
void grpc_listen_stop(void);

// The connection of a call whose peer is "fd:N" or "ipv4:ADDRESS:PORT", with a reference, or NULL. Any thread.
struct grpc_conn *grpc_conn_find(const char *peer);
void grpc_conn_unref(struct grpc_conn *conn); // takes NULL
// Lives as long as the reference. Of NULL: connections that ended before their call came, which count as one.
struct grpc_holding *grpc_conn_holding(struct grpc_conn *conn);
// One more call was cancelled before it was answered; past the budget the connection is shut down. Takes NULL.
void grpc_conn_cancelled(struct grpc_conn *conn, uint64_t now_ns);

struct grpc_listen_stats {
	unsigned connections;
	uint64_t accepted, refused, cut;
};
void grpc_listen_stats(struct grpc_listen_stats *ret_stats);
