// SPDX-License-Identifier: ISC
//
// ws_test.c - the WebSocket client against a small server that behaves in every way a server can, TLS included.
//
// Runs on: control (the test), and a thread for each connection of the server.
#include "controlplane/ws.h"

#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "controlplane/allowance.h"
#include "controlplane/control.h"
#include "controlplane/resolve.h"
#include "tests/support/ws_server.h"

// ---- the client

struct trial {
	const char *scheme, *host, *path, *validate, *ca_file;
	uint32_t limit_ms;
	const void *send; // after OPEN
	size_t send_bytes;
	unsigned stop_after; // messages
	bool close_at_open, as_text, want_text;
	size_t message_max;
	uint32_t ping_s, dead_s;
	// seen
	unsigned opens, messages, ends;
	enum ws_event_type end;
	int status;
	bool untrusted;
	char text[512];
	uint8_t *data; // of the last message
	size_t bytes;
	unsigned texts; // of the messages
	struct control_timer watchdog;
};

static void on_watchdog(void *arg)
{
	((struct trial *)arg)->ends = 99;
	control_stop();
}

static void on_event(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	struct trial *trial = arg;
	switch (event->type) {
	case WS_OPEN:
		trial->opens++;
		if (trial->as_text)
			assert_int_equal(ws_send_text(ws, trial->send, trial->send_bytes), 0);
		else if (trial->send != NULL)
			assert_int_equal(ws_send(ws, trial->send, trial->send_bytes), 0);
		if (!trial->close_at_open)
			return;
		ws_close(ws);
		control_stop();
		return;
	case WS_MESSAGE:
		trial->messages++;
		trial->texts += event->is_text;
		free(trial->data);
		trial->data = malloc(event->bytes + 1);
		if (event->bytes > 0)
			memcpy(trial->data, event->data, event->bytes);
		trial->bytes = event->bytes;
		if (trial->messages != trial->stop_after)
			return;
		break;
	default:
		trial->ends++;
		trial->end = event->type;
		trial->status = event->http_status;
		trial->untrusted = event->untrusted;
		snprintf(trial->text, sizeof(trial->text), "%s", event->text);
	}
	ws_close(ws);
	control_stop();
}

// Runs one connection from ws_connect to its end.
static void run(struct trial *trial)
{
	ENTERS(control_role);
	char url[512], validate[512];
	struct err err = {0};
	assert_int_equal(control_init(&err), 0);
	assert_int_equal(resolve_init(&err), 0);
	assert_int_equal(ws_init(&err), 0);
	const char *scheme = trial->scheme == NULL ? "ws" : trial->scheme, *host = trial->host == NULL ? "127.0.0.1" : trial->host;
	snprintf(url, sizeof(url), "%s://%s:%u%s", scheme, host, server.port, trial->path);
	snprintf(validate, sizeof(validate), "%s://%s:%u%s", scheme, host, server.port, trial->validate == NULL ? "" : trial->validate);
	struct ws_config config = {
		.url = url,
		.bearer = TOKEN,
		.ca_file = trial->ca_file,
		.connect_limit_ms = trial->limit_ms == 0 ? 5000 : trial->limit_ms,
		.validate_url = trial->validate == NULL ? NULL : validate,
		.text = trial->want_text,
		.message_max = trial->message_max,
		.ping_s = trial->ping_s,
		.dead_s = trial->dead_s,
		.event = on_event,
		.arg = trial,
	};
	struct ws *ws = ws_connect(&config, &err);
	assert_non_null(ws);
	control_timer_start(&trial->watchdog, 20000, on_watchdog, trial);
	control_run();
	control_timer_stop(&trial->watchdog);
	ws_finish();
	resolve_finish();
	control_finish();
}

static int plain_setup(void **state)
{
	server_start(NULL);
	return 0;
}

static int plain_teardown(void **state)
{
	server_stop();
	return 0;
}

static void test_echo(void **state)
{
	struct trial trial = {.path = "/ws/echo?x=%3D", .send = "hello", .send_bytes = 5, .stop_after = 1};
	run(&trial);
	assert_int_equal(trial.opens, 1);
	assert_int_equal(trial.bytes, 5);
	assert_memory_equal(trial.data, "hello", 5);
	assert_int_equal(trial.ends, 0);
	free(trial.data);
	assert_true(strncmp(server.last_request, "GET /ws/echo?x=%3D HTTP/1.1\r\n", 29) == 0);
	assert_non_null(strcasestr(server.last_request, "\r\nAuthorization: Bearer " TOKEN "\r\n"));
	assert_null(strcasestr(server.last_request, "Sec-WebSocket-Extensions"));
	assert_null(strcasestr(server.last_request, "Sec-WebSocket-Protocol"));
	char host[64];
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", server.port);
	assert_non_null(strcasestr(server.last_request, host));
}

static void test_resolves_names(void **state)
{
	struct trial trial = {.host = "localhost", .path = "/ws/echo", .send = "hello", .send_bytes = 5, .stop_after = 1};
	run(&trial);
	assert_int_equal(trial.messages, 1);
	free(trial.data);
}

static void test_largest_message(void **state)
{
	uint8_t *data = malloc(WS_MESSAGE_MAX);
	for (size_t i = 0; i < WS_MESSAGE_MAX; i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	struct trial trial = {.path = "/ws/echo", .send = data, .send_bytes = WS_MESSAGE_MAX, .stop_after = 1};
	run(&trial);
	assert_int_equal(trial.bytes, WS_MESSAGE_MAX);
	assert_memory_equal(trial.data, data, WS_MESSAGE_MAX);
	free(trial.data);
	free(data);
}

// A leave that is sent right before closing arrives, although the program ends at once.
static void test_close_flushes(void **state)
{
	struct trial trial = {.path = "/ws/echo", .send = "leave", .send_bytes = 5, .close_at_open = true};
	run(&trial);
	// It has left us; the server's thread may still have to be scheduled to read it.
	for (uint64_t limit = clock_mono_ns() + 10000000000u; !atomic_load(&server.leave_seen) && clock_mono_ns() < limit;)
		sched_yield();
	assert_true(atomic_load(&server.leave_seen));
	assert_int_equal(trial.ends, 0);
}

static void test_fragments(void **state)
{
	struct trial trial = {.path = "/ws/fragments", .stop_after = 2};
	run(&trial);
	assert_int_equal(trial.messages, 2); // the text frame is not one of them
	assert_int_equal(trial.bytes, 0);
	free(trial.data);
	struct trial first = {.path = "/ws/fragments", .stop_after = 1};
	run(&first);
	assert_int_equal(first.bytes, 13);
	assert_memory_equal(first.data, "one two three", 13);
	free(first.data);
}

static void test_text(void **state)
{
	struct trial trial = {.path = "/ws/echo", .send = "{\"a\":1}", .send_bytes = 7, .as_text = true, .want_text = true,
		.stop_after = 1};
	run(&trial);
	assert_int_equal(trial.texts, 1);
	assert_int_equal(trial.bytes, 7);
	assert_memory_equal(trial.data, "{\"a\":1}", 7);
	free(trial.data);
	struct trial empty = {.path = "/ws/echo", .as_text = true, .want_text = true, .stop_after = 1};
	run(&empty);
	assert_int_equal(empty.texts, 1);
	assert_int_equal(empty.bytes, 0);
	free(empty.data);
	struct trial both = {.path = "/ws/fragments", .want_text = true, .stop_after = 3};
	run(&both);
	assert_int_equal(both.texts, 1);
	free(both.data);
}

static void test_own_limit(void **state)
{
	struct trial trial = {.path = "/ws/big", .message_max = 1000};
	run(&trial);
	assert_int_equal(trial.end, WS_CLOSED);
	assert_string_equal(trial.text, "the server sent a message of more than 1000 bytes");
}

static void test_floods(void **state)
{
	static const char *const paths[] = {"/ws/flood-empty", "/ws/flood-texts", "/ws/flood-big"};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct trial trial = {.path = paths[i]};
		run(&trial);
		assert_int_equal(trial.ends, 1);
		assert_int_equal(trial.end, WS_CLOSED);
		assert_string_equal(trial.text, "the server sends more than can be handled");
		assert_in_range(trial.messages, 0, 5000);
		free(trial.data);
	}
	// What a busy room says is well within it.
	struct allowance left;
	uint64_t now = 1000000000;
	allowance_begin(&left, 4 << 20, now);
	for (unsigned i = 0; i < 20000; i++)
		assert_true(allowance_take(&left, 500, now += 1000000));
}

static void test_dead_peer(void **state)
{
	struct trial trial = {.path = "/ws/dead", .ping_s = 1, .dead_s = 2};
	run(&trial);
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_CLOSED);
	assert_true(atomic_load(&server.pings) > 0);
}

static void test_busy_peer(void **state)
{
	struct trial trial = {.path = "/ws/busy", .ping_s = 1, .dead_s = 3};
	run(&trial);
	assert_int_equal(trial.messages, BUSY_MESSAGES);
	assert_int_equal(trial.end, WS_CLOSED);
	free(trial.data);
}

static void test_ends(void **state)
{
	static const struct {
		const char *path;
		unsigned opens;
		enum ws_event_type end;
		const char *text;
	} cases[] = {
		{"/ws/midframe", 1, WS_CLOSED, "connection lost"},
		{"/ws/lost", 1, WS_CLOSED, "connection lost"},
		{"/ws/close", 1, WS_CLOSED, "closed by the server (4000 bye (token))"},
		{"/ws/big", 1, WS_CLOSED, "the server sent a message of more than 2097152 bytes"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct trial trial = {.path = cases[i].path};
		run(&trial);
		assert_int_equal(trial.ends, 1);
		assert_string_equal(trial.text, cases[i].text);
		assert_int_equal(trial.end, cases[i].end);
		assert_int_equal(trial.opens, cases[i].opens);
		assert_int_equal(trial.messages, 0);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *path, *validate;
		int status;
		const char *text;
	} cases[] = {
		{"/refused", "/validate", 401, "HTTP 401: invalid token: (token), error: token is expired"},
		{"/refused", NULL, 401, "HTTP 401"},
		{"/refused", "/silent", 401, "HTTP 401"},
		{"/redirect", "/redirect", 302, "HTTP 302"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct trial trial = {.path = cases[i].path, .validate = cases[i].validate};
		run(&trial);
		assert_int_equal(trial.ends, 1);
		assert_int_equal(trial.end, WS_FAILED);
		assert_string_equal(trial.text, cases[i].text);
		assert_int_equal(trial.status, cases[i].status);
		assert_int_equal(trial.opens, 0);
	}
	struct trial endless = {.path = "/refused", .validate = "/endless"};
	run(&endless);
	assert_int_equal(endless.ends, 1);
	assert_true(strncmp(endless.text, "HTTP 401: xxxxxxx", 17) == 0);
}

static void test_no_http(void **state)
{
	struct trial trial = {.path = "/junk"};
	run(&trial);
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_FAILED);
	assert_int_equal(trial.status, 0);
	struct trial wrong = {.path = "/wrong-accept"};
	run(&wrong);
	assert_int_equal(wrong.end, WS_FAILED);
	assert_int_equal(wrong.status, 0);
	print_message("%s\n", wrong.text);
	assert_non_null(strstr(wrong.text, "cannot connect to 127.0.0.1"));
}

static void test_silent(void **state)
{
	uint64_t before = clock_mono_ns();
	struct trial trial = {.path = "/silent", .limit_ms = 300};
	run(&trial);
	uint64_t took_ms = (clock_mono_ns() - before) / 1000000;
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_FAILED);
	assert_non_null(strstr(trial.text, "no answer within 300 ms"));
	assert_in_range(took_ms, 290, 5000);
}

static void test_nobody_there(void **state)
{
	uint16_t port = server.port;
	server.port = 1; // nothing listens there
	struct trial trial = {.path = "/ws/echo"};
	run(&trial);
	server.port = port;
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_FAILED);
	assert_true(strncmp(trial.text, "cannot connect to 127.0.0.1:1: ", 31) == 0);
}

static void test_bad_arguments(void **state)
{
	ENTERS(control_role);
	static const struct ws_config cases[] = {
		{.url = "ftp://a/"},
		{.url = "ws://"},
		{.url = "ws://a/x y"},
		{.url = "ws://a/\r\nX: y"},
		{.url = "ws://a/", .bearer = "x\r\nCookie: y"},
		{.url = "ws://a/", .validate_url = "http://b/"},
		{.url = "ws://a/", .ca_file = "/nonexistent/ca.pem"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = {0};
		assert_null(ws_connect(&cases[i], &err));
		assert_true(err.text[0] != '\0');
	}
}

// ---- TLS

static void tls_trial(const char *names, const char *host, bool trusted, bool success)
{
	SSL_CTX *tls = server_tls(names);
	server_start(tls);
	struct trial trial = {.scheme = "wss", .host = host, .path = "/ws/echo", .send = "hi", .send_bytes = 2, .stop_after = 1,
		.ca_file = trusted ? server_ca_path : NULL};
	run(&trial);
	assert_int_equal(trial.opens, success);
	assert_int_equal(trial.messages, success);
	if (!success) {
		assert_int_equal(trial.end, WS_FAILED);
		if (strcasestr(trial.text, "certificate") == NULL)
			fail_msg("\"%s\" does not say that it is the certificate", trial.text);
		assert_true(trial.untrusted);
		assert_string_equal(server.last_request, ""); // the token was not shown
	}
	free(trial.data);
	server_stop();
	SSL_CTX_free(tls);
	unlink(server_ca_path);
}

static void test_tls(void **state)
{
	tls_trial("DNS:localhost", "localhost", true, true);
	tls_trial("DNS:localhost", "localhost", false, false);
	tls_trial("DNS:other.example", "localhost", true, false);
	tls_trial("IP:127.0.0.1", "127.0.0.1", true, true);
	tls_trial("IP:127.0.0.2", "127.0.0.1", true, false);
	tls_trial("IP:127.0.0.1", "127.0.0.1", false, false);
	tls_trial("DNS:127.0.0.1", "127.0.0.1", true, false);
}

int main(void)
{
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, plain_setup, plain_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(test_echo),
		PLAIN(test_resolves_names),
		PLAIN(test_largest_message),
		PLAIN(test_close_flushes),
		PLAIN(test_fragments),
		PLAIN(test_text),
		PLAIN(test_own_limit),
		PLAIN(test_floods),
		PLAIN(test_dead_peer),
		PLAIN(test_busy_peer),
		PLAIN(test_ends),
		PLAIN(test_refused),
		PLAIN(test_no_http),
		PLAIN(test_silent),
		PLAIN(test_nobody_there),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_tls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
