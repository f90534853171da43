// SPDX-License-Identifier: ISC
//
// soniox_trust_test.c - who answers in Soniox' place: a certificate that is not believed, an address that sends elsewhere. The
// stream names it, shows no key and no audio, keeps trying within its bounds, and goes on when all is right again.
//
// The stand-in runs in this process, with TLS and a certificate of its own.
//
// Runs on: control (the test), threads of the stand-in, the WebSockets' thread.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "controlplane/control.h"
#include "controlplane/log.h"
#include "controlplane/resolve.h"
#include "controlplane/soniox_stream.h"
#include "tests/soniox/faults.h"
#include "tests/soniox/journal.h"
#include "tests/soniox/numbered.h"
#include "tests/soniox/server.h"
#include "tests/soniox/settings.h"
#include "tests/soniox/tick.h"
#include "tests/support/certificate.h"

#define MS UINT64_C(1000000)
#define LIMIT_NS (20000 * MS)
#define CELLS 100 // 2 s, spoken at once
#define PAUSES_MS 300 // at least, between three attempts

static struct soniox_service service;
static struct soniox_stream *stream;
static struct control_timer timer;
static uint64_t began_ns;
static const char *meaning, *error; // what the refusal must say
static json_int_t opened;           // connections that came to speak HTTP by then
static bool refused;
static struct soniox_view seen;
static char right_cert[CERTIFICATE_PATH_MAX], right_key[CERTIFICATE_PATH_MAX], other_cert[CERTIFICATE_PATH_MAX],
	other_key[CERTIFICATE_PATH_MAX], url[128];

// ---- one user, who has spoken

static uint32_t fixed_random(void)
{
	return 1;
}

static json_int_t connections_opened(void)
{
	json_t *log = journal_json(0, false, tick_ms());
	json_int_t count = json_integer_value(json_object_get(log, "opened"));
	json_decref(log);
	return count;
}

// Named, in the state and for the operator; tried again with pauses; nothing said.
static void check_refusal(void)
{
	char sentence[512];
	print_message("%s\n", soniox_view_sentence(&seen, sentence, sizeof(sentence)));
	assert_non_null(strstr(seen.error, meaning));
	if (strcasestr(seen.error, error) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", seen.error, error);
	assert_non_null(strstr(service.alarm, meaning));
	assert_int_equal(seen.connections + seen.sent_ms + seen.lost_ms, 0);
	assert_true(seen.down_since_ns >= began_ns && seen.down_since_ns < began_ns + PAUSES_MS * MS);
	assert_true(clock_mono_ns() > began_ns + PAUSES_MS * MS);
	assert_int_equal(connections_opened(), opened);
}

static bool goes_well(void)
{
	return seen.state == SONIOX_LIVE && seen.sent_ms == CELLS * 20 && seen.down_since_ns == 0;
}

static void on_tick(void *arg)
{
	ENTERS(control_role);
	uint64_t again, now = clock_mono_ns();
	for (struct soniox_ticket *ticket; (ticket = soniox_admission_next(&service.admission, now, &again)) != NULL;)
		soniox_stream_admitted(ticket);
	(void)soniox_stream_run(stream);
	soniox_stream_view(stream, &seen);
	if (!refused && seen.reconnects >= 3) {
		check_refusal();
		refused = true;
		service.ca_file = right_cert; // as after a restart with the right one
		service.url = url;
	}
	if ((refused && goes_well()) || now > began_ns + LIMIT_NS)
		control_stop();
	else
		control_timer_start(&timer, 5, on_tick, NULL);
}

static void begin(const char *ca_file)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	struct soniox_options options = {.model = "stt-rt-v5"};
	struct err err = {""};
	service = (struct soniox_service){
		.ops = {ws_connect, ws_send, ws_send_text, ws_queued_bytes, ws_close, clock_mono_ns, fixed_random}, .url = url,
		.key = "standin-key", .ca_file = ca_file, .ring_ms = 10000, .replay_ms = 30000, .stall_ms = 10000, .connect_limit_ms = 10000,
		.history_segments = 100, .history_bytes = 1 << 16};
	assert_int_equal(soniox_admission_init(&service.admission, 10, 100), 0);
	struct pcm *pcm = pcm_create(10000);
	stream = soniox_stream_create(&service, "u", pcm, NULL, &options, &err);
	assert_non_null(stream);
	for (unsigned i = 0; i < CELLS; i++) {
		struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DATA, .capture_us = i * 20000, .arrival_ns = clock_mono_ns()};
		numbered_cell(frame.samples, i);
		pcm_write(pcm, &frame);
	}
	pcm_unref(pcm);
	if (control_init(&err) < 0 || resolve_init(&err) < 0 || ws_init(&err) < 0)
		fail_msg("%s", err.text);
}

// Refused three times with this meaning and error; then all is mended, and nothing that was said meanwhile is lost.
static void refused_then_mended(const char *expected_meaning, const char *expected_error, json_int_t expected_opened)
	RUNS_ON(control_role);
static void refused_then_mended(const char *expected_meaning, const char *expected_error, json_int_t expected_opened)
{
	meaning = expected_meaning;
	error = expected_error;
	opened = expected_opened;
	refused = false;
	began_ns = clock_mono_ns();
	control_timer_start(&timer, 0, on_tick, NULL);
	control_run();
	if (!refused || !goes_well())
		fail_msg("%s, last error: %s", soniox_state_word(seen.state), seen.error);
	assert_int_equal(seen.lost_ms + seen.uncertain_ms, 0);
	soniox_stream_free(stream);
	soniox_admission_finish(&service.admission);
	ws_finish();
	resolve_finish();
	control_finish();
	journal_forget(false);
}

static void a_certificate_of_somebody_else(void **state)
{
	ENTERS(control_role);
	begin(other_cert);
	refused_then_mended("not believed to be Soniox", "certificate", connections_opened()); // it saw no request, and so no key
}

static void a_certificate_for_another_name(void **state)
{
	ENTERS(control_role);
	char by_number[sizeof(url)];
	snprintf(by_number, sizeof(by_number), "wss://127.0.0.1:%u/transcribe-websocket", server_port());
	begin(right_cert);
	service.url = by_number;
	refused_then_mended("not believed to be Soniox", "certificate", connections_opened());
}

static void redirect(void)
{
	char location[128];
	struct err err = {""};
	snprintf(location, sizeof(location), "ws://127.0.0.1:%u/transcribe-websocket", server_control_port()); // plain, and it is there
	json_t *fault = json_pack("{s:s,s:i,s:s,s:i}", "fault", "http", "status", 301, "location", location, "connections", 3);
	if (faults_add(fault, &err) < 0)
		fail_msg("%s", err.text);
	json_decref(fault);
}

static void a_redirect_to_plain_text(void **state)
{
	ENTERS(control_role);
	redirect();
	begin(right_cert);
	refused_then_mended("sends elsewhere", "HTTP 301", connections_opened() + 3); // each was asked once, and nobody else
}

static int setup(void **state)
{
	struct err err = {""};
	signal(SIGPIPE, SIG_IGN);
	tick_init(1);
	log_set_level(LOG_ERROR + 1);
	settings_set_recogniser(&recogniser_scripted);
	settings_reset();
	keys_add("standin-key");
	certificate_make("DNS:localhost", right_cert, right_key);
	certificate_make("DNS:localhost", other_cert, other_key);
	struct server_config config = {.address = "127.0.0.1", .cert_file = right_cert, .key_file = right_key};
	if (server_start(&config, &err) < 0)
		fail_msg("%s", err.text);
	snprintf(url, sizeof(url), "wss://localhost:%u/transcribe-websocket", server_port());
	return 0;
}

static int teardown(void **state)
{
	server_stop();
	journal_forget(true);
	keys_clear();
	const char *const files[] = {right_cert, right_key, other_cert, other_key};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(files[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_certificate_of_somebody_else),
		cmocka_unit_test(a_certificate_for_another_name),
		cmocka_unit_test(a_redirect_to_plain_text),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
