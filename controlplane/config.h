// SPDX-License-Identifier: ISC
//
// config.h - relayd's YAML file: parsed, validated, explained by line; environment variables of the old program override.
// Contract. configs/relay.yaml is the manual and shows every key with its default.
//
// Runs on: init.
#pragma once

#include "controlplane/log.h"
#include "controlplane/soniox_message.h"
#include "controlplane/transcript_file.h"
#include "dataplane/dataplane.h"

enum soniox_enabled { SONIOX_OFF, SONIOX_ON_REQUEST, SONIOX_ALWAYS };

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
		bool conceal_data;     // false
	} audio;
	struct {
		int enabled;          // enum soniox_enabled
		char *url;            // of the region, or as given            SONIOX_WS_URL
		char *key;            // out of key_file or                    SONIOX_API_KEY
		char *ca_file;
		int audio;            // enum soniox_audio
		unsigned replay_ms;   // 30000
		unsigned concurrent, per_minute; // the account's limits: 10, 100
		unsigned rotate_ms;   // 290 minutes
		unsigned idle_ms;     // 300000
		unsigned stall_ms;    // 10000
		unsigned history;     // segments kept per user, 1000
		bool room_captions;   // publish into the room as text streams
		struct transcript_file_config files; // dir "" = none
		struct soniox_options options; // the defaults of every user
	} soniox;
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
