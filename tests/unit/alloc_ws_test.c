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

#include "tests/support/alloc_failure.h"

#include "controlplane/control.h"
#include "controlplane/log.h"
#include "controlplane/resolve.h"
#include "controlplane/ws.h"
#include "tests/support/ws_server.h"

#define LIMIT_MS 20000
#define WARM_TIMERS 8

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

static void no_event(void *arg)
{
}

// The heap of timers has its room: without it the program would stop by itself.
static void warm_timers(void) RUNS_ON(control_role)
{
	static struct control_timer warm[WARM_TIMERS];
	for (unsigned i = 0; i < WARM_TIMERS; i++)
		control_timer_start(&warm[i], LIMIT_MS, no_event, NULL);
	for (unsigned i = 0; i < WARM_TIMERS; i++)
		control_timer_stop(&warm[i]);
}

// All calls, once; true when something failed in it.
static bool run(unsigned long at, unsigned long every)
{
	ENTERS(control_role);
	struct err err = {""};
	alloc_begin(0, 0);
	alloc_armed = false; // control is one of the threads that fail
	assert_int_equal(control_init(&err), 0);
	warm_timers();
	assert_int_equal(resolve_init(&err), 0);
	assert_int_equal(ws_init(&err), 0);
	alloc_count = alloc_failed = 0;
	alloc_fail_at = at;
	alloc_fail_every = every;
	turn = answers = 0;
	control_timer_start(&watchdog, LIMIT_MS, on_watchdog, NULL);
	call_next();
	control_run();
	control_timer_stop(&watchdog);
	bool failed = alloc_failed > 0;
	assert_true(failed || answers == 2);
	ws_finish();
	resolve_finish();
	control_finish();
	if (alloc_live_count > 0) {
		alloc_print_left();
		fail_msg("%lu allocations are left, failing %lu, every %lu", alloc_live_count, at, every);
	}
	return failed;
}

static void sockets_without_memory(void **state)
{
	(void)state;
	unsigned long at = 1;
	assert_false(run(0, 0));
	unsigned long total = alloc_count;
	while (run(at, 0))
		at++;
	for (unsigned every = 1; every <= ALLOC_EVERY_MAX; every++)
		run(0, every);
	assert_true(at > 20);
	print_message("sockets: %lu allocations, %lu runs with failures\n", total, at - 1 + ALLOC_EVERY_MAX);
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
