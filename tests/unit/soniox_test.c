// SPDX-License-Identifier: ISC
//
// soniox_test.c - a user whose transcription is turned off and on: what is said belongs to exactly one of its streams.
//
// The user speaks numbered cells, of which the stand-in, in this process, makes a word each.
//
// Runs on: control (the test), threads of the stand-in, the WebSockets' thread.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>

#include "controlplane/control.h"
#include "controlplane/log.h"
#include "controlplane/soniox.h"
#include "controlplane/ws.h"
#include "tests/soniox/journal.h"
#include "tests/soniox/numbered.h"
#include "tests/soniox/server.h"
#include "tests/soniox/settings.h"
#include "tests/soniox/tick.h"
#include "tests/support/soniox_config.h"

#define LIMIT_MS 60000
#define CELLS 50 // of each stream
#define STREAMS 2
#define KEY "standin-key"

static struct config config;
static struct pcm *voice;
static struct soniox_user *user;
static unsigned spoken;
static bool turned, gone;
static struct control_timer tick, watchdog;

static struct heard {
	struct transcript_listener listener;
	uint64_t epoch;
	unsigned first, next, words, ends; // numbers
} heard[STREAMS];

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	struct heard *to = listener->arg;
	unsigned number;
	int length;
	for (const char *at = segment->is_final ? segment->text : ""; *at != '\0'; at += length) {
		assert_int_equal(sscanf(at, " n%u%n", &number, &length), 1);
		if (number != to->next)
			fail_msg("word %u instead of %u", number, to->next);
		to->next++;
		to->words++;
	}
}

static void on_end(struct transcript_listener *listener)
{
	struct heard *to = listener->arg;
	to->ends++;
}

// Turned on; what is said from now on is to be heard there.
static void turn_on(struct heard *to) RUNS_ON(control_role);
static void turn_on(struct heard *to)
{
	struct err err = {""};
	bool complete;
	if (soniox_transcribe("anna", true, NULL, &err) < 0)
		fail_msg("%s", err.text);
	*to = (struct heard){.listener = {.segment = on_segment, .end = on_end, .arg = to}, .first = spoken, .next = spoken};
	assert_int_equal(soniox_listen("anna", &to->listener, 1, &to->epoch, &complete), 0);
	assert_true(complete);
}

static void speak(void)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DATA, .arrival_ns = clock_mono_ns()};
	numbered_cell(frame.samples, spoken++);
	pcm_write(voice, &frame);
}

static void on_watchdog(void *arg)
{
	control_stop();
}

static void on_tick(void *arg)
{
	ENTERS(control_role);
	struct soniox_view view;
	struct soniox_totals totals;
	struct err err;
	soniox_view("anna", &view);
	soniox_totals(&totals);
	if (spoken % CELLS != 0 || (spoken == CELLS && turned)) {
		speak();
	} else if (spoken == CELLS && view.state == SONIOX_LIVE) {
		assert_int_equal(soniox_transcribe("anna", false, NULL, &err), 0);
		soniox_view("anna", &view);
		assert_true(view.exists && view.state != SONIOX_ENDED); // its last words are awaited
		turn_on(&heard[1]);
		turned = true;
		soniox_totals(&totals);
		assert_int_equal(totals.users, 2);
	} else if (spoken == 2 * CELLS && !gone) {
		soniox_slot_gone(user);
		gone = true;
	} else if (gone && totals.users == 0) {
		control_stop();
		return;
	}
	control_timer_start(&tick, 2, on_tick, NULL);
}

static void turned_on_while_the_last_words_are_awaited(void **state)
{
	ENTERS(control_role);
	struct err err = {""};
	if (control_init(&err) < 0 || ws_init(&err) < 0 || soniox_init(&config, &err) < 0)
		fail_msg("%s", err.text);
	voice = pcm_create(10000);
	user = soniox_slot_made("anna", voice, NULL);
	assert_non_null(user);
	turn_on(&heard[0]);
	speak();
	control_timer_start(&watchdog, LIMIT_MS, on_watchdog, NULL);
	control_timer_start(&tick, 0, on_tick, NULL);
	control_run();
	if (!gone || heard[1].ends == 0)
		fail_msg("after %u cells and %u words it does not go on", spoken, heard[0].words + heard[1].words);
	assert_true(heard[0].epoch != heard[1].epoch);
	for (unsigned i = 0; i < STREAMS; i++) { // each its own, whole
		assert_int_equal(heard[i].first, i * CELLS);
		assert_int_equal(heard[i].words, CELLS);
		assert_int_equal(heard[i].ends, 1);
	}
	control_timer_stop(&watchdog);
	soniox_finish();
	pcm_unref(voice);
	ws_finish();
	control_finish();
}

static int setup(void **state)
{
	static char key[] = KEY;
	struct server_config server = {.address = "127.0.0.1"};
	struct err err = {""};
	signal(SIGPIPE, SIG_IGN);
	tick_init(1);
	log_set_level(LOG_ERROR + 1);
	settings_set_recogniser(&recogniser_scripted);
	settings_reset();
	keys_add(KEY);
	if (server_start(&server, &err) < 0)
		fail_msg("%s", err.text);
	soniox_config_set(&config, SONIOX_ON_REQUEST, server_port(), key);
	return 0;
}

static int teardown(void **state)
{
	server_stop();
	journal_forget(true);
	keys_clear();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(turned_on_while_the_last_words_are_awaited)};
	return cmocka_run_group_tests(tests, setup, teardown);
}
