// SPDX-License-Identifier: ISC
//
// alloc_ws_test.c - WebSockets to a server of TLS, by address and by name, with each of our allocations failing in control, in the
// WebSocket thread and in the resolver: each ends in a message or an error in words, in time, and nothing stays behind.
//
// Runs on: control (the test), and a thread for each connection of the server.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/alloc_control.h"

#include "controlplane/log.h"
#include "tests/support/ws_server.h"

#define LIMIT_MS 20000

static const struct call {
	const char *host, *path;
	bool talks, forgotten; // answers; nobody waits for it
} calls[] = {
	{"127.0.0.1", "/ws/echo", true, false},
	{"localhost", "/ws/echo", true, false},
	{"127.0.0.1", "/refused", false, false},
	{"127.0.0.1", "/ws/lost", false, false},
	{"localhost", "/ws/echo", false, true},
};

static char message[3000];
static unsigned turn, answers; // which call is on; messages heard in all
static struct control_timer watchdog;

static void on_watchdog(void *arg)
{
	fail_msg("nothing happens any more in call %u, failing %lu, every %lu, last at program + 0x%lx", turn, alloc_fail_at,
		alloc_fail_every, (unsigned long)((const char *)alloc_failed_from - &__executable_start));
}

static void call_next(void) RUNS_ON(control_role);

static void over(struct ws *ws) RUNS_ON(control_role)
{
	ws_close(ws);
	call_next();
}

static void on_event(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	const struct call *call = arg;
	int rc;
	assert_false(call->forgotten);
	switch (event->type) {
	case WS_OPEN:
		rc = ws_send(ws, message, sizeof(message));
		assert_true(rc == 0 || (rc == -ENOMEM && alloc_failed > 0));
		if (rc < 0)
			over(ws);
		return;
	case WS_MESSAGE:
		answers++;
		assert_int_equal(event->bytes, sizeof(message));
		assert_memory_equal(event->data, message, sizeof(message));
		break;
	default:
		if (call->talks && alloc_failed == 0)
			fail_msg("%s: %s", call->path, event->text);
		assert_true(strlen(event->text) > 7);
	}
	over(ws);
}

static struct ws *connect_to(const struct call *call) RUNS_ON(control_role)
{
	char url[128], validate[128];
	struct err err = {""};
	snprintf(url, sizeof(url), "wss://%s:%u%s", call->host, server.port, call->path);
	snprintf(validate, sizeof(validate), "wss://%s:%u/validate", call->host, server.port);
	struct ws_config config = {.url = url, .bearer = TOKEN, .ca_file = server_ca_path,
		.connect_limit_ms = LIMIT_MS / 2, .validate_url = validate, .event = on_event, .arg = (void *)(uintptr_t)call};
	struct ws *ws = ws_connect(&config, &err);
	assert_true(ws != NULL || (alloc_failed > 0 && strlen(err.text) > 7));
	return ws;
}

// The next call that somebody waits for.
static void call_next(void)
{
	while (++turn <= ARRAY_SIZE(calls)) {
		struct ws *ws = connect_to(&calls[turn - 1]);
		if (ws != NULL && !calls[turn - 1].forgotten)
			return;
		if (ws != NULL)
			ws_close(ws);
	}
	control_stop();
}

// All calls, once; true when something failed in it.
static bool run(unsigned long at, unsigned long every)
{
	ENTERS(control_role);
	alloc_control_open();
	alloc_control_arm(at, every);
	turn = answers = 0;
	control_timer_start(&watchdog, LIMIT_MS, on_watchdog, NULL);
	call_next();
	control_run();
	control_timer_stop(&watchdog);
	bool failed = alloc_failed > 0;
	assert_true(failed || answers == 2);
	alloc_control_close(at, every);
	return failed;
}

static void sockets_without_memory(void **state)
{
	(void)state;
	alloc_control_failures("sockets", run, 20);
}

static int start(void **state)
{
	memset(message, 'x', sizeof(message));
	server_start(server_tls("DNS:localhost,IP:127.0.0.1"));
	setenv("SSL_CERT_FILE", server_ca_path, 1); // reading the system's many in each run would take most of the time
	alloc_everywhere = true;
	return 0;
}

static int stop(void **state)
{
	server_stop();
	SSL_CTX_free(server.tls);
	return unlink(server_ca_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(sockets_without_memory)};
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, start, stop);
}
