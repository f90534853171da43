// SPDX-License-Identifier: ISC
//
// grpc_server.h - the gRPC servers of the daemon: the bridge (Unix socket, TCP, TLS) and Admin (its own socket).
//
// Runs on: init.
#pragma once

#include "controlplane/config.h"

// Binds, spawns the threads and serves. Call with the affinity that every gRPC thread may inherit (not a packet core's),
// after control_init. 0 or negative errno with a sentence. (gRPC itself owns the name grpc_server_start.)
int grpc_server_launch(const struct config *config, struct err *err);
// grpc.health says NOT_SERVING from now on; inherited sockets are left to the next process. Any thread.
void grpc_server_set_draining(void);
// Stop accepting, end what is open (UNAVAILABLE), join the threads. Blocks, at most about 1 s. After slots_drain and
// control_run have returned; control_finish and slots_finish come afterwards.
void grpc_server_stop(void);
// The port that the TCP listener got ("HOST:0" asks for any); 0: none.
unsigned grpc_server_port(void);
