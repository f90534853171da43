// SPDX-License-Identifier: ISC
//
// config.h - relayd's YAML file: parsed, validated, explained by line; environment variables of the old program override.
// Contract. configs/relay.yaml is the manual and shows every key with its default.
//
// Runs on: init.
#pragma once

#include "controlplane/log.h"
#include "dataplane/dataplane.h"

struct config {
	struct {
		char *socket;       // Unix socket path, "" = none             LIVEKIT_GRPC_SOCKET
		unsigned socket_mode; // "0660"
		char *socket_group; // "" = leave
		char *tcp;          // "HOST:PORT" or "" = none                PORT (then 127.0.0.1:PORT unless RELAY_INSECURE_TCP=1)
		bool insecure_tcp;  // plaintext beyond loopback allowed       RELAY_INSECURE_TCP
		char *tls_cert, *tls_key, *tls_client_ca;
		unsigned workers;   // app worker threads, default 1
		unsigned max_connections, max_streams; // 256, 20000
	} grpc;
	struct {
		char *socket; // relay.v1.Admin, 0600
	} admin;
	struct {
		enum log_level level; // LOG_LEVEL
		char *service;        // "livekit-bridge"
		char *env;            // NODE_ENV / ENV
		char *server;         // SERVER_NAME
	} log;
	struct dataplane_config dataplane; // ports, workers, memory, idle
	struct {
		char *ca_file; // extra trust anchors for wss, "" = system only
	} livekit;
	struct {
		int input;             // enum source_input
		unsigned ring_ms;      // 10000
		unsigned max_wait_ms;  // 60
		unsigned data_wait_ms; // 60
	} audio;
	struct {
		unsigned join_ms, signal_ms, transport_ms, first_frame_ms; // 10000, 5000, 5000, 500
		unsigned leave_grace_ms, slot_linger_ms, recover_limit_ms; // 500, 60000, 60000
		unsigned max_sessions;                                     // 10000
	} limits;
};

// Reads FILE (NULL: defaults only), applies defaults and the environment (NULL-terminated "K=V" list, NULL: none).
// Errors name file, line and key: "relay.yaml:12: ports[0].address: ...". NULL on error.
struct config *config_load(const char *file, char *const *environment, struct err *err);
void config_free(struct config *config); // takes NULL
