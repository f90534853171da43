// SPDX-License-Identifier: ISC
//
// alloc_soniox_test.c - a user who is transcribed by the stand-in, with each of our allocations failing in control and in the
// WebSocket thread: what is heard is what was said, once and in order; it ends in time, and nothing stays behind.
//
// The stand-in is a process of its own: its allocations do not fail. Where the stream tries again after a pause, relayd is stopped
// in the middle of it after RELAY_PATIENCE_MS (300); with 60000 each run is awaited, and one that failed once must have heard all.
//
// Runs on: control (the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/alloc_control.h"

#include "controlplane/soniox.h"
#include "tests/soniox/numbered.h"
#include "tests/soniox/server.h"
#include "tests/soniox/settings.h"
#include "tests/soniox/tick.h"
#include "tests/support/soniox_config.h"

#define LIMIT_MS 60000
#define CELLS 10
#define PATIENCE_MS 300
#define KEY "standin-key"

static struct config config;
static pid_t standin;
static struct pcm *voice;
static unsigned patience_ms;

static struct {
	struct soniox_user *user;
	struct transcript_listener listener;
	unsigned spoken, heard, next;
	bool listened, listens, gone, awaited;
	uint64_t gone_ns;
	struct control_timer tick, watchdog;
} run;

static void on_watchdog(void *arg)
{
	fail_msg("it does not end, failing %lu, every %lu, last at program + 0x%lx", alloc_fail_at, alloc_fail_every,
		(unsigned long)((const char *)alloc_failed_from - &__executable_start));
}

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	unsigned number;
	int length;
	for (const char *at = segment->is_final ? segment->text : ""; *at != '\0'; at += length) {
		assert_int_equal(sscanf(at, " n%u%n", &number, &length), 1);
		assert_in_range(number, run.next, CELLS - 1); // never again, never backwards
		run.next = number + 1;
		run.heard++;
	}
}

static void on_end(struct transcript_listener *listener)
{
	run.listens = false;
}

static void speak(void)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DATA, .arrival_ns = clock_mono_ns()};
	numbered_cell(frame.samples, run.spoken++);
	pcm_write(voice, &frame);
}

static void on_tick(void *arg)
{
	ENTERS(control_role);
	struct soniox_totals totals;
	if (run.spoken < CELLS) {
		speak();
	} else if (!run.gone) {
		soniox_slot_gone(run.user);
		run.gone = true;
		run.gone_ns = clock_mono_ns();
	}
	soniox_totals(&totals);
	run.awaited = run.gone && totals.users == 0;
	if (run.awaited || (alloc_failed > 0 && run.gone && clock_mono_ns() - run.gone_ns > patience_ms * UINT64_C(1000000)))
		control_stop();
	else
		control_timer_start(&run.tick, 2, on_tick, NULL);
}

static void user_begin(void) RUNS_ON(control_role);
static void user_begin(void)
{
	uint64_t epoch;
	bool complete;
	run.user = soniox_slot_made("anna", voice, NULL);
	run.listener = (struct transcript_listener){.segment = on_segment, .end = on_end};
	run.listens = soniox_listen("anna", &run.listener, 1, &epoch, &complete) == 0;
	assert_true(run.listens || alloc_failed > 0);
	run.listened = run.listens;
	control_timer_start(&run.watchdog, LIMIT_MS, on_watchdog, NULL);
	control_timer_start(&run.tick, 0, on_tick, NULL);
	control_run();
	control_timer_stop(&run.watchdog);
	assert_true(!run.listens || !run.awaited);
}

// All of it, once; true when something failed in it.
static bool run_once(unsigned long at, unsigned long every)
{
	ENTERS(control_role);
	struct err err = {""};
	memset(&run, 0, sizeof(run));
	alloc_control_open();
	voice = pcm_create(10000);
	assert_non_null(voice);
	alloc_control_arm(at, every);
	int rc = soniox_init(&config, &err);
	assert_true(rc == 0 || (alloc_failed > 0 && strlen(err.text) > 7));
	if (rc == 0)
		user_begin();
	bool failed = alloc_failed > 0;
	// Where the user could be made, one failure is got over.
	bool all = run.heard == CELLS;
	assert_true(all || (failed && (every != 0 || !run.awaited || !run.listened)));
	soniox_finish();
	pcm_unref(voice);
	alloc_control_close(at, every);
	return failed;
}

static void a_user_without_memory(void **state)
{
	(void)state;
	alloc_control_failures("a user", run_once, 10);
}

// Never returns.
static void standin_main(int port_to)
{
	struct server_config server = {.address = "127.0.0.1"};
	struct err err = {""};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	tick_init(1);
	settings_set_recogniser(&recogniser_scripted);
	settings_reset();
	keys_add(KEY);
	json_t *limits = json_pack("{s:i,s:i,s:i}", "concurrent", 100, "connections", 100, "per_minute", 1000000);
	uint16_t port = settings_change(limits, &err) == 0 && server_start(&server, &err) == 0 ? server_port() : 0;
	ssize_t written = write(port_to, &port, sizeof(port));
	while (written == sizeof(port))
		pause();
	_exit(1);
}

static int start(void **state)
{
	static char key[] = KEY;
	int ends[2];
	uint16_t port = 0;
	if (pipe(ends) < 0 || (standin = fork()) < 0)
		return -1;
	if (standin == 0)
		standin_main(ends[1]);
	if (read(ends[0], &port, sizeof(port)) != sizeof(port) || port == 0)
		return -1;
	soniox_config_set(&config, SONIOX_ALWAYS, port, key);
	const char *patience = getenv("RELAY_PATIENCE_MS");
	patience_ms = patience != NULL ? (unsigned)strtoul(patience, NULL, 10) : PATIENCE_MS;
	alloc_everywhere = true;
	return 0;
}

static int stop(void **state)
{
	kill(standin, SIGKILL);
	return waitpid(standin, NULL, 0) == standin ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_user_without_memory)};
	log_set_level(LOG_ERROR + 1);
	return cmocka_run_group_tests(tests, start, stop);
}
