// SPDX-License-Identifier: ISC
//
// config_test.c - the manual's defaults are the code's, errors name file, line and key, the environment overrides.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "controlplane/config.h"

static struct config *load_text(const char *text, char *const *environment, struct err *err)
{
	char path[] = "/tmp/relay-config-XXXXXX";
	int fd = mkstemp(path);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	struct config *config = config_load(path, environment, err);
	unlink(path);
	return config;
}

static void the_manual_shows_the_defaults(void **state)
{
	(void)state;
	struct err err = {""};
	struct config *manual = config_load("configs/relay.yaml", NULL, &err), *code = config_load(NULL, NULL, &err);
	assert_non_null(manual);
	assert_non_null(code);
	assert_string_equal(manual->grpc.socket, code->grpc.socket);
	assert_int_equal(manual->grpc.socket_mode, code->grpc.socket_mode);
	assert_string_equal(manual->grpc.tcp, code->grpc.tcp);
	assert_int_equal(manual->grpc.insecure_tcp, code->grpc.insecure_tcp);
	assert_int_equal(manual->grpc.workers, code->grpc.workers);
	assert_int_equal(manual->grpc.max_connections, code->grpc.max_connections);
	assert_int_equal(manual->grpc.max_streams, code->grpc.max_streams);
	assert_string_equal(manual->admin.socket, code->admin.socket);
	assert_int_equal(manual->log.level, code->log.level);
	assert_string_equal(manual->log.service, code->log.service);
	assert_int_equal(manual->dataplane.idle, code->dataplane.idle);
	assert_int_equal(manual->dataplane.memory_mb, code->dataplane.memory_mb);
	assert_int_equal(manual->dataplane.hugepages, code->dataplane.hugepages);
	assert_memory_equal(&manual->audio, &code->audio, sizeof(code->audio));
	assert_memory_equal(&manual->limits, &code->limits, sizeof(code->limits));
	assert_string_equal(manual->soniox.url, code->soniox.url);
	assert_string_equal(manual->soniox.files.dir, code->soniox.files.dir);
	assert_string_equal(manual->soniox.options.model, code->soniox.options.model);
	const unsigned numbers[][2] = {{manual->soniox.enabled, code->soniox.enabled}, {manual->soniox.audio, code->soniox.audio},
		{manual->soniox.replay_ms, code->soniox.replay_ms}, {manual->soniox.concurrent, code->soniox.concurrent},
		{manual->soniox.per_minute, code->soniox.per_minute}, {manual->soniox.rotate_ms, code->soniox.rotate_ms},
		{manual->soniox.idle_ms, code->soniox.idle_ms}, {manual->soniox.stall_ms, code->soniox.stall_ms},
		{manual->soniox.history, code->soniox.history}, {manual->soniox.room_captions, code->soniox.room_captions},
		{manual->soniox.files.max_kb, code->soniox.files.max_kb}, {manual->soniox.files.keep, code->soniox.files.keep},
		{manual->soniox.options.diarization, code->soniox.options.diarization},
		{manual->soniox.options.endpointing, code->soniox.options.endpointing},
		{manual->soniox.options.language_identification, code->soniox.options.language_identification},
		{manual->soniox.options.hint_count, code->soniox.options.hint_count}};
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		assert_int_equal(numbers[i][0], numbers[i][1]);
	config_free(manual);
	config_free(code);
}

#define PORT "ports: [{ device: \"null\", address: 10.0.0.2/24 }]\n"
#define WORKERS "workers: { cores: [0] }\n"

static void errors_name_line_and_key(void **state)
{
	(void)state;
	static const struct {
		const char *text, *line, *word;
	} cases[] = {
		{"grpc:\n  sokket: /x\n", ":2:", "sokket"},
		{"ports:\n  - device: \"null\"\n    address: 10.0.0.300/24\n" WORKERS, ":3:", "ports[0].address"},
		{"ports:\n  - device: \"null\"\n    address: 10.0.0.2\n" WORKERS, ":3:", "prefix"},
		{"ports:\n  - address: 10.0.0.2/24\n" WORKERS, ":2:", "ports[0].device"},
		{"ports:\n  - device: \"null\"\n    address: 10.0.0.2/24\n    gateway: 10.9.0.1\n" WORKERS, ":4:", "gateway"},
		{"ports:\n  - device: \"null\"\n    address: 10.0.0.2/24\n    udp_ports: 9-8\n" WORKERS, ":4:", "udp_ports"},
		{"ports:\n  - { device: \"null\", address: 10.0.0.2/24 }\n  - { device: \"null\", address: 10.0.1.2/24 }\n" WORKERS,
			":3:", "one port"},
		{PORT "workers:\n  cores: [x]\n", ":3:", "x"},
		{PORT "workers:\n  cores: [0]\n  idle: never\n", ":4:", "workers.idle"},
		{PORT, ":", "workers.cores"},
		{WORKERS, ":", "ports"},
		{PORT WORKERS "audio:\n  input: both\n", ":4:", "audio.input"},
		{PORT WORKERS "limits: { join_ms: 1 }\n", ":3:", "limits.join_ms"},
		{PORT WORKERS "grpc: { socket_mode: \"0999\" }\n", ":3:", "socket_mode"},
		{PORT WORKERS "log: { level: loud }\n", ":3:", "log.level"},
		{PORT WORKERS "soniox:\n  enabled: perhaps\n", ":4:", "soniox.enabled"},
		{PORT WORKERS "soniox:\n  region: mars\n", ":4:", "soniox.region"},
		{PORT WORKERS "soniox:\n  replay_ms: 10\n", ":4:", "soniox.replay_ms"},
		{PORT WORKERS "soniox:\n  language_hints: [en, en]\n", ":3:", "twice"},
		{PORT WORKERS "soniox:\n  translate_between: [en]\n", ":4:", "soniox.translate_between"},
		{PORT WORKERS "soniox:\n  key_file: /there/is/none\n", ":4:", "/there/is/none"},
		{PORT WORKERS "soniox: { enabled: always }\n", "soniox", "no key"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = {""};
		assert_null(load_text(cases[i].text, NULL, &err));
		if (strstr(err.text, cases[i].line) == NULL || strstr(err.text, cases[i].word) == NULL)
			fail_msg("case %zu: \"%s\" names neither %s nor %s", i, err.text, cases[i].line, cases[i].word);
	}
	struct err err = {""};
	assert_null(config_load("/there/is/no/such/file", NULL, &err));
	assert_non_null(strstr(err.text, "/there/is/no/such/file"));
}

static void the_environment_overrides(void **state)
{
	(void)state;
	struct err err = {""};
	char *const closed[] = {"PORT=9191", "LIVEKIT_GRPC_SOCKET=/tmp/x.sock", "LOG_LEVEL=warn", "ENV=prod", NULL};
	struct config *config = load_text(PORT WORKERS, closed, &err);
	assert_non_null(config);
	assert_string_equal(config->grpc.tcp, "127.0.0.1:9191");
	assert_string_equal(config->grpc.socket, "/tmp/x.sock");
	assert_int_equal(config->log.level, LOG_WARN);
	assert_string_equal(config->log.env, "prod");
	config_free(config);
	char *const open[] = {"PORT=9191", "RELAY_INSECURE_TCP=1", NULL};
	config = load_text(PORT WORKERS, open, &err);
	assert_string_equal(config->grpc.tcp, "0.0.0.0:9191");
	config_free(config);
	// What else is set around the older bridge changes nothing and breaks nothing.
	char *const older[] = {"BETTERSTACK_SOURCE_TOKEN=t", "BETTERSTACK_INGESTING_HOST=h", "NODE_ENV=staging", "REGION=eu",
		"SERVER_NAME=a1", "LIVEKIT_URL=ws://x", "PORT=", NULL};
	config = load_text(PORT WORKERS "grpc: { socket: /tmp/file.sock, tcp: \"\" }\n", older, &err);
	assert_non_null(config);
	assert_string_equal(config->log.env, "staging");
	assert_string_equal(config->log.server, "a1");
	assert_string_equal(config->grpc.socket, "/tmp/file.sock");
	assert_string_equal(config->grpc.tcp, "");
	config_free(config);
	char *const bad[] = {"PORT=http", NULL};
	assert_null(load_text(PORT WORKERS, bad, &err));
	assert_non_null(strstr(err.text, "PORT"));
}

static void soniox_is_safe_and_regional(void **state)
{
	(void)state;
	struct err err = {""};
	char key_path[] = "/tmp/relay-key-XXXXXX", text[512];
	int fd = mkstemp(key_path);
	assert_int_equal(write(fd, "secret-of-file \n", 16), 16);
	close(fd);
	char *const environment[] = {"SONIOX_API_KEY=secret-of-environment", NULL};
	struct config *config = load_text(PORT WORKERS "soniox: { enabled: on_request, region: eu, language_hints: [en, de], "
						       "context_terms: [Mentra, OS], translate_between: [en, es] }\n", environment, &err);
	assert_non_null(config);
	assert_string_equal(config->soniox.url, "wss://stt-rt.eu.soniox.com/transcribe-websocket");
	assert_string_equal(config->soniox.key, "secret-of-environment");
	assert_string_equal(config->soniox.options.terms, "Mentra\nOS");
	assert_string_equal(config->soniox.options.language_hints[1], "de");
	assert_string_equal(config->soniox.options.translate_b, "es");
	config_free(config);
	snprintf(text, sizeof(text), PORT WORKERS "soniox: { enabled: always, key_file: %s }\n", key_path);
	config = load_text(text, environment, &err);
	assert_non_null(config);
	assert_string_equal(config->soniox.key, "secret-of-file"); // what is written down wins
	config_free(config);
	unlink(key_path);
	// The key goes in clear to nobody but this machine.
	static const struct {
		const char *url;
		bool good;
	} urls[] = {{"ws://127.0.0.1:9000/x", true}, {"ws://localhost/x", true}, {"ws://[::1]:1/x", true}, {"wss://example.org/x", true},
		{"ws://example.org/x", false}, {"ws://127.0.0.1.example.org/x", false}, {"http//", false}, {"ftp://127.0.0.1/", false}};
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		char variable[128];
		snprintf(variable, sizeof(variable), "SONIOX_WS_URL=%s", urls[i].url);
		char *const both[] = {environment[0], variable, NULL};
		config = load_text(PORT WORKERS "soniox: { enabled: always }\n", both, &err);
		if ((config != NULL) != urls[i].good)
			fail_msg("%s: %s", urls[i].url, err.text);
		config_free(config);
		assert_null(strstr(err.text, "secret"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_manual_shows_the_defaults),
		cmocka_unit_test(errors_name_line_and_key), cmocka_unit_test(the_environment_overrides),
		cmocka_unit_test(soniox_is_safe_and_regional)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
