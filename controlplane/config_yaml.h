// SPDX-License-Identifier: ISC
//
// config_yaml.h - the YAML file as it stands: every key a pointer, NULL when it is absent.
//
// Runs on: init.
#pragma once

#include "dataplane/base.h"

struct config_yaml_port {
	char *name, *device, *address, *gateway, *udp_ports;
	unsigned *queues;
};

struct config_yaml {
	struct {
		char *socket, *socket_mode, *socket_group, *tcp, *tls_cert, *tls_key, *tls_client_ca;
		bool *insecure_tcp;
		unsigned *workers, *max_connections, *max_streams;
	} *grpc;
	struct {
		char *socket;
	} *admin;
	struct {
		char *level, *service, *env, *server;
	} *log;
	struct config_yaml_port *ports;
	unsigned ports_count;
	struct {
		int *cores;
		unsigned cores_count;
		char *idle;
	} *workers;
	struct {
		unsigned *size_mb;
		bool *hugepages;
	} *memory;
	struct {
		char *ca_file;
	} *livekit;
	struct {
		char *input;
		unsigned *ring_ms, *max_wait_ms, *data_wait_ms;
		bool *conceal_data;
	} *audio;
	struct {
		char *enabled, *region, *url, *key_file, *ca_file, *audio, *model, *context_text, *translate_to, *files_dir, *files_format;
		char **language_hints, **context_terms, **translate_between;
		unsigned language_hints_count, context_terms_count, translate_between_count;
		unsigned *replay_ms, *concurrent, *per_minute, *rotate_ms, *idle_ms, *stall_ms, *history, *max_endpoint_delay_ms,
			*files_max_kb, *files_keep;
		bool *diarization, *language_identification, *endpointing, *language_hints_strict, *room_captions;
	} *soniox;
	struct {
		unsigned *join_ms, *signal_ms, *transport_ms, *first_frame_ms, *leave_grace_ms, *slot_linger_ms,
			*recover_limit_ms, *max_sessions;
	} *limits;
};

// 0, or negative errno with "FILE:LINE: sentence".
int config_yaml_load(const char *file, const char *text, size_t bytes, struct config_yaml **ret_yaml, struct err *err);
void config_yaml_free(struct config_yaml *yaml); // takes NULL
// The line of a key by its path ("ports[0].address"), of its nearest parent when it is absent.
unsigned config_yaml_line(const char *text, size_t bytes, const char *path);
