// SPDX-License-Identifier: ISC
//
// soniox_line_test.c - many users' streams over real WebSockets to the stand-in, in fast time: whatever goes wrong at a random
// moment, every word is there, none is there twice, and nothing was sent twice but what was not final.
//
// Each user speaks numbered cells (or packets), of which the stand-in makes a word each. Half of the users send PCM, half Opus.
// The stand-in runs in this process, on its own threads. Seeds rotate; RELAY_SEED repeats the moments of one. RELAY_MOMENTS: how many random
// moments of each fault (2), RELAY_SPEED: how many times faster than real time (6).
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
#include "controlplane/soniox_stream.h"
#include "tests/soniox/faults.h"
#include "tests/soniox/journal.h"
#include "tests/soniox/numbered.h"
#include "tests/soniox/server.h"
#include "tests/soniox/settings.h"
#include "tests/soniox/tick.h"

#define MS UINT64_C(1000000)
#define USERS_MAX 100
#define CELLS 500 // 10 s
#define RING_MS 10000
#define NUMBER_STEP 100000u
#define TICK_VOICE_NS (20 * MS) // at most: a starved test lets time stand still
#define END_LIMIT_MS 60000
#define STOPPED_MS 500
#define PATIENCE_MS 3600000
#define TRANSLATED_LATE_MS 1500 // finals come in bursts of 0.5 s, their translation with the next message

// %u: milliseconds of audio after which it happens.
static const char *const faults[] = {
	"{\"fault\":\"error\",\"code\":401,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"code\":402,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"code\":408,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"code\":413,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"code\":429,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"type\":\"max_concurrent_connections_reached\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"code\":500,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"error\",\"code\":503,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"stall\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"mute\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"mute\",\"ms\":3000,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"reset\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"drop\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"close\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"slow_read\",\"bytes_per_s\":8000,\"ms\":4000,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"late\",\"ms\":700,\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"duplicate\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"no_finished\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"cut\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"big\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"deep\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"utf8\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"masked\",\"at\":{\"audio_ms\":%u}}",
	"{\"fault\":\"garbage\",\"at\":{\"audio_ms\":%u}}",
	// While connecting: last, as the next attempt is to meet no other user's fault.
	"{\"fault\":\"refuse\"}",
	"{\"fault\":\"http\",\"status\":503}",
	"{\"fault\":\"http\",\"status\":302,\"location\":\"ws://127.0.0.1:1/\"}",
};

struct user {
	struct soniox_service *service;
	struct soniox_stream *stream;
	struct pcm *pcm, *opus;
	struct transcript_listener listener;
	unsigned number, spoken; // its first cell's number; cells
	struct heard {
		unsigned next, lost, doubled, strange;
	} words, translations;
	uint64_t run_ns, known_final_ms, stopped;
	bool is_ended, finishing;
};

// Who speaks, and under which limits.
struct choir {
	unsigned users, cells;
	bool all_at_once;        // else one connects after the other, and then all speak
	bool reset_in_the_middle; // all connections
	bool translated;          // each word comes again as a translation, with the next message
	unsigned places, per_minute; // of one account that all share; 0: each has its own
	uint32_t rotate_ms;
	const char *const *faults; // NULL: none
	unsigned fault_count, moments; // moments users have the same fault
};

static struct {
	uint64_t now_ns, real_ns;
	double speed;
	struct user users[USERS_MAX];
	struct soniox_service services[USERS_MAX];
	struct choir choir;
	unsigned count, started;
	unsigned placed_max, queued_max;
	uint64_t opened_before;
	bool speaking, was_reset, left_lying;
	struct control_timer timer;
	char url[128];
	uint32_t seed;
} world;

static uint32_t next_random(void)
{
	world.seed = world.seed * 1664525u + 1013904223u;
	return world.seed >> 8;
}

static uint64_t voice_now(void)
{
	return world.now_ns;
}

// ---- what comes back on a connection is looked at before the stream sees it

static void tapped(void *arg, struct ws *ws, const struct ws_event *event);

// The link's own, which is the same for all.
static ws_event_fn *link_event;

static struct ws *tapped_connect(const struct ws_config *config, struct err *err) RUNS_ON(control_role);
static struct ws *tapped_connect(const struct ws_config *config, struct err *err)
{
	struct ws_config tap = *config;
	link_event = config->event;
	tap.event = tapped;
	return ws_connect(&tap, err);
}

static struct user *user_of(const struct soniox_stream *stream)
{
	struct user *user = world.users;
	while (user->stream != stream)
		user++;
	return user;
}

static void tapped(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	struct soniox_link *link = arg;
	struct user *user = user_of(link->owner);
	struct soniox_answer answer;
	struct err err;
	if (event->type == WS_MESSAGE && soniox_answer_parse((const char *)event->data, event->bytes, &answer, &err) == 0) {
		user->known_final_ms = MAX_OF(user->known_final_ms, link->base / SONIOX_SAMPLES_PER_MS + answer.final_ms);
		soniox_answer_free(&answer);
	}
	uint64_t known = user->known_final_ms;
	link_event(arg, ws, event);
	if (event->type != WS_OPEN)
		return;
	// It begins where the last one was known to be final: not later (a word would be lost), not earlier, unless it is for a
	// translation that was under way.
	uint64_t base_ms = link->base / SONIOX_SAMPLES_PER_MS, late_ms = world.choir.translated ? TRANSLATED_LATE_MS : 0;
	if (base_ms > known || known - base_ms >= (user->opus != NULL ? 20u : 1u) + late_ms)
		fail_msg("user %u begins again at %llu ms, final is %llu ms", user->number / NUMBER_STEP, (unsigned long long)base_ms,
			(unsigned long long)known);
}

// ---- users

// Numbered words behind a letter: n for those that were said, N for their translation.
static void count_words(const struct user *user, const char *text, char letter, struct heard *heard)
{
	for (const char *at = text; *at != '\0';) {
		unsigned number;
		char first;
		int length = 0;
		if (sscanf(at, " %c%u%n", &first, &number, &length) != 2 || first != letter || number < user->number ||
			number >= user->number + world.choir.cells) {
			heard->strange++;
			return;
		}
		at += length;
		number -= user->number;
		if (number < heard->next)
			heard->doubled++;
		else
			heard->lost += number - heard->next;
		heard->next = MAX_OF(heard->next, number + 1);
	}
}

static void on_segment(struct transcript_listener *listener, const struct transcript_segment *segment)
{
	struct user *user = listener->arg;
	if (!segment->is_final)
		return;
	count_words(user, segment->text, 'n', &user->words);
	count_words(user, segment->translation, 'N', &user->translations);
}

static void on_end(struct transcript_listener *listener)
{
}

static void service_begin(struct soniox_service *service, bool packets)
{
	const struct choir *choir = &world.choir;
	*service = (struct soniox_service){
		.ops = {tapped_connect, ws_send, ws_send_text, ws_queued_bytes, ws_close, voice_now, next_random},
		.url = world.url, .key = "standin-key", .ca_file = "", .audio = packets ? SONIOX_OGG_OPUS : SONIOX_PCM,
		.ring_ms = RING_MS, .replay_ms = 30000, .rotate_ms = choir->rotate_ms, .idle_ms = 300000, .stall_ms = 10000,
		.connect_limit_ms = 20000, .history_segments = 4000, .history_bytes = 1 << 20};
	unsigned places = choir->places > 0 ? choir->places : 10, per_minute = choir->per_minute > 0 ? choir->per_minute : 100;
	assert_int_equal(soniox_admission_init(&service->admission, places, per_minute), 0);
}

static struct soniox_options options_of_choir(void)
{
	struct soniox_options options = {.model = "stt-rt-v5", .endpointing = true};
	if (world.choir.translated)
		snprintf(options.translate_to, sizeof(options.translate_to), "de");
	return options;
}

static void user_begin(struct user *user, unsigned index) RUNS_ON(control_role);
static void user_begin(struct user *user, unsigned index)
{
	struct soniox_options options = options_of_choir();
	struct err err;
	bool shared = world.choir.places > 0, packets = !shared && index % 2 == 1;
	*user = (struct user){.number = index * NUMBER_STEP, .service = &world.services[shared ? 0 : index]};
	if (!shared || index == 0)
		service_begin(user->service, packets);
	user->pcm = pcm_create(RING_MS);
	user->opus = packets ? pcm_create(RING_MS) : NULL;
	user->stream = soniox_stream_create(user->service, "u", user->pcm, user->opus, &options, &err);
	assert_non_null(user->stream);
	user->listener = (struct transcript_listener){.segment = on_segment, .end = on_end, .arg = user};
	transcript_listen(soniox_stream_transcript(user->stream), &user->listener, 1);
}

static void user_speak(struct user *user) RUNS_ON(worker_role);
static void user_speak(struct user *user)
{
	struct pcm_frame frame = {.capture_us = (int64_t)(world.now_ns / 1000), .arrival_ns = world.now_ns};
	if (user->opus != NULL) {
		frame.bytes = NUMBERED_PACKET_BYTES;
		frame.media_us = user->spoken * 960;
		frame.flags = user->spoken == 0 ? PCM_F_FENCE : 0;
		numbered_packet((uint8_t *)frame.samples, user->number + user->spoken);
		pcm_write(user->opus, &frame);
	} else {
		frame.bytes = PCM_CELL_BYTES;
		frame.flags = PCM_F_DATA;
		numbered_cell(frame.samples, user->number + user->spoken);
		pcm_write(user->pcm, &frame);
	}
	user->spoken++;
}

static void user_run(struct user *user) RUNS_ON(control_role);
static void user_run(struct user *user)
{
	uint64_t again;
	for (struct soniox_ticket *ticket; (ticket = soniox_admission_next(&user->service->admission, world.now_ns, &again)) != NULL;)
		soniox_stream_admitted(ticket);
	if (world.now_ns < user->run_ns)
		return;
	user->run_ns = soniox_stream_run(user->stream);
	struct soniox_view view;
	soniox_stream_view(user->stream, &view);
	if (view.state == SONIOX_STOPPED && world.now_ns > view.since_ns + STOPPED_MS * MS) { // the key is right again, the bill is paid
		struct soniox_options options = options_of_choir();
		assert_int_equal(soniox_stream_options(user->stream, &options), 0);
		user->stopped++;
	}
	if (user->spoken == world.choir.cells && !user->finishing && view.state == SONIOX_LIVE) {
		soniox_stream_end(user->stream, END_LIMIT_MS);
		user->finishing = true;
	}
	user->is_ended = view.state == SONIOX_ENDED;
}

// ---- the choir: one after the other connects, then all speak

// Connections of this choir; one that an earlier fault holds open for ever stays in the stand-in's log.
static json_t *log_of_choir(void)
{
	json_t *log = journal_json(0, false, tick_ms()), *all = json_object_get(log, "connections"), *ours = json_array(), *connection;
	size_t i;
	json_array_foreach(all, i, connection)
		if ((uint64_t)json_integer_value(json_object_get(connection, "id")) > world.opened_before)
			json_array_append(ours, connection);
	json_decref(log);
	return ours;
}

static void put_fault(const char *format)
{
	char text[256];
	struct err err = {""};
	snprintf(text, sizeof(text), format, 300 + next_random() % 8500);
	json_t *fault = json_loads(text, 0, NULL);
	assert_non_null(fault);
	if (faults_add(fault, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	json_decref(fault);
}

static void start_next(void) RUNS_ON(control_role);
static void start_next(void)
{
	ENTERS(worker_role);
	if (world.started > 0) {
		struct soniox_view view;
		soniox_stream_view(world.users[world.started - 1].stream, &view);
		if (view.state != SONIOX_LIVE)
			return;
	}
	if (world.started == world.count) {
		world.speaking = true;
		return;
	}
	unsigned index = world.started++;
	if (world.choir.faults != NULL)
		put_fault(world.choir.faults[index / world.choir.moments]);
	user_speak(&world.users[index]); // it connects because there is something to say
}

static void reset_all(void)
{
	json_t *log = log_of_choir(), *connection;
	size_t i;
	struct err err;
	json_array_foreach(log, i, connection) {
		json_t *fault = json_pack("{s:s,s:O}", "fault", "reset", "connection", json_object_get(connection, "id"));
		assert_true(faults_add(fault, &err) > 0);
		json_decref(fault);
	}
	json_decref(log);
	server_wake();
	world.was_reset = true;
}

// Nobody goes before his turn, and who waits can see which one he is.
static void line_check(void) RUNS_ON(control_role);
static void line_check(void)
{
	unsigned queued = 0, positions = 0;
	for (unsigned i = 0; i < world.started; i++) {
		struct soniox_view view;
		soniox_stream_view(world.users[i].stream, &view);
		queued += view.queue_position > 0;
		positions += view.queue_position;
		assert_true((view.queue_position > 0) == (view.state == SONIOX_QUEUED) || world.choir.rotate_ms > 0);
	}
	assert_int_equal(positions, queued * (queued + 1) / 2);
	world.placed_max = MAX_OF(world.placed_max, world.services[0].admission.placed);
	world.queued_max = MAX_OF(world.queued_max, queued);
}

static bool all_live(void) RUNS_ON(control_role);
static bool all_live(void)
{
	for (unsigned i = 0; i < world.count; i++)
		if (soniox_stream_state(world.users[i].stream) != SONIOX_LIVE)
			return false;
	return true;
}

static void on_tick(void *arg)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	uint64_t real = clock_mono_ns();
	uint64_t passed = (uint64_t)((double)(real - world.real_ns) * world.speed);
	uint64_t before = world.now_ns;
	world.real_ns = real;
	world.now_ns += MIN_OF(passed, (uint64_t)TICK_VOICE_NS);
	bool cell = world.now_ns / (20 * MS) != before / (20 * MS), all_ended = true;
	if (!world.speaking)
		start_next();
	// In the middle all wait for the last to be connected, however busy the machine is.
	bool middle = world.choir.reset_in_the_middle && !world.was_reset && world.users[world.count - 1].spoken == world.choir.cells / 2;
	if (middle && all_live())
		reset_all();
	for (unsigned i = 0; i < world.started; i++) {
		struct user *user = &world.users[i];
		if (world.speaking && cell && !middle && user->spoken < world.choir.cells)
			user_speak(user);
		user_run(user);
		all_ended &= user->is_ended;
	}
	if (world.choir.places > 0 && world.now_ns / (100 * MS) != before / (100 * MS))
		line_check();
	if (world.speaking && all_ended)
		control_stop();
	else
		control_timer_start(&world.timer, 1, on_tick, NULL);
}

static void sing(const struct choir *choir) RUNS_ON(control_role);
static void sing(const struct choir *choir)
{
	struct err err = {""};
	if (world.left_lying)
		skip(); // a test before this one failed in the middle
	world.left_lying = true;
	world.choir = *choir;
	world.count = choir->users;
	world.speaking = choir->all_at_once;
	world.started = choir->all_at_once ? choir->users : 0;
	world.was_reset = false;
	world.placed_max = world.queued_max = 0;
	world.now_ns = MAX_OF(world.now_ns, 1000 * MS);
	world.real_ns = clock_mono_ns();
	limits_forget();
	json_t *log = journal_json(0, false, tick_ms());
	world.opened_before = (uint64_t)json_integer_value(json_object_get(log, "opened"));
	json_decref(log);
	for (unsigned i = 0; i < world.count; i++)
		user_begin(&world.users[i], i);
	if (control_init(&err) < 0 || ws_init(&err) < 0)
		fail_msg("%s", err.text);
	control_timer_start(&world.timer, 0, on_tick, NULL);
	control_run();
}

static void choir_free(void) RUNS_ON(control_role);
static void choir_free(void)
{
	for (unsigned i = 0; i < world.count; i++) {
		struct user *user = &world.users[i];
		soniox_stream_free(user->stream);
		if (world.choir.places == 0 || i == world.count - 1) {
			assert_int_equal(user->service->admission.placed, 0);
			soniox_admission_finish(&user->service->admission);
		}
		pcm_unref(user->pcm);
		pcm_unref(user->opus);
	}
	ws_finish();
	control_finish();
	faults_clear();
	journal_forget(false);
	world.left_lying = false;
}

// ---- what the stand-in received, against what was said and what the stream says of itself

struct receipt {
	uint64_t cells;
	uint8_t times[CELLS];
};

static bool fault_is(const char *text, enum fault_kind kind)
{
	char quoted[64];
	snprintf(quoted, sizeof(quoted), "{\"fault\":\"%s\"", fault_name(kind));
	return strncmp(text, quoted, strlen(quoted)) == 0;
}

// Kinds of faults as the log names them: how often each was wanted and happened.
static bool faults_happened(const json_t *log)
{
	int wanted[FAULT_KINDS] = {0};
	size_t i, k;
	json_t *connection, *name;
	for (unsigned u = 0; world.choir.faults != NULL && u < world.count; u++)
		for (int kind = 0; kind < FAULT_KINDS; kind++)
			wanted[kind] += fault_is(world.choir.faults[u / world.choir.moments], (enum fault_kind)kind);
	json_array_foreach(log, i, connection)
		json_array_foreach(json_object_get(connection, "faults"), k, name)
			for (int kind = 0; kind < FAULT_KINDS; kind++)
				wanted[kind] -= strcmp(json_string_value(name), fault_name((enum fault_kind)kind)) == 0;
	json_t *waiting = faults_json();
	bool all = json_array_size(waiting) == 0;
	json_decref(waiting);
	wanted[FAULT_REFUSE] = 0; // nothing of it is in the log
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		if (wanted[kind] > 0)
			print_error("%d of \"%s\" did not happen\n", wanted[kind], fault_name((enum fault_kind)kind));
		all &= wanted[kind] <= 0;
	}
	return all;
}

static bool receipts_read(struct receipt *receipts)
{
	json_t *log = log_of_choir(), *connection, *range;
	size_t i, k;
	memset(receipts, 0, world.count * sizeof(*receipts));
	json_array_foreach(log, i, connection) {
		json_t *received = json_object_get(connection, "received");
		assert_int_equal(json_integer_value(json_object_get(received, "damaged_cells")), 0);
		const char *error = json_string_value(json_object_get(json_object_get(connection, "sent"), "error_type"));
		if (world.choir.faults == NULL && error != NULL) // no limit is ever hit, nothing asked that is not allowed
			fail_msg("the stand-in had to refuse: %s after %lld ms of audio", error,
				(long long)json_integer_value(json_object_get(received, "audio_ms")));
		json_t *ranges = json_object_get(received, "numbers");
		assert_true(json_array_size(ranges) <= 1); // without a gap, without a repeat
		json_array_foreach(ranges, k, range) {
			unsigned first = (unsigned)json_integer_value(json_array_get(range, 0));
			unsigned last = (unsigned)json_integer_value(json_array_get(range, 1));
			struct receipt *receipt = &receipts[first / NUMBER_STEP];
			assert_true(last % NUMBER_STEP < world.choir.cells && first / NUMBER_STEP == last / NUMBER_STEP);
			for (unsigned cell = first % NUMBER_STEP; cell <= last % NUMBER_STEP; cell++)
				receipt->times[cell]++;
			receipt->cells += last - first + 1;
		}
	}
	bool all = faults_happened(log);
	json_decref(log);
	return all;
}

static void check_user(unsigned index, const struct receipt *receipt, const char *fault) RUNS_ON(control_role);
static void check_user(unsigned index, const struct receipt *receipt, const char *fault)
{
	struct user *user = &world.users[index];
	struct soniox_view view;
	soniox_stream_view(user->stream, &view);
	unsigned missing = 0, cells = world.choir.cells;
	struct heard words = user->words, translations = user->translations;
	words.lost += cells - words.next;
	translations.lost += (world.choir.translated ? cells : 0) - translations.next;
	for (unsigned cell = 0; cell < cells; cell++)
		missing += receipt->times[cell] == 0;
	uint64_t twice_ms = (receipt->cells - MIN_OF(receipt->cells, (uint64_t)cells)) * 20;
	if (words.lost + words.doubled + words.strange + translations.lost + translations.doubled + translations.strange + missing > 0 ||
		view.lost_ms + view.uncertain_ms > 0 || twice_ms > view.replayed_ms + 20 * view.reconnects)
		fail_msg("%s (user %u): words lost %u, doubled %u, strange %u; translations lost %u, doubled %u, strange %u; cells never "
			 "sent %u, sent twice %llu ms of %llu ms replayed; lost %llu ms, uncertain %llu ms; %s",
			fault, index, words.lost, words.doubled, words.strange, translations.lost, translations.doubled,
			translations.strange, missing, (unsigned long long)twice_ms, (unsigned long long)view.replayed_ms,
			(unsigned long long)view.lost_ms, (unsigned long long)view.uncertain_ms, view.error);
}

static unsigned number_of(const char *name, unsigned usual)
{
	const char *text = getenv(name);
	return text != NULL ? (unsigned)strtoul(text, NULL, 10) : usual;
}

static void everybody_is_right(const char *what, uint64_t *ret_reconnects, uint64_t *ret_rotations) RUNS_ON(control_role);
static void everybody_is_right(const char *what, uint64_t *ret_reconnects, uint64_t *ret_rotations)
{
	static struct receipt receipts[USERS_MAX];
	bool all = receipts_read(receipts);
	for (unsigned i = 0; i < world.count; i++) {
		struct soniox_view view;
		soniox_stream_view(world.users[i].stream, &view);
		*ret_reconnects += view.reconnects;
		*ret_rotations += view.rotations;
		check_user(i, &receipts[i], world.choir.faults != NULL ? world.choir.faults[i / world.choir.moments] : what);
	}
	if (!all)
		fail_msg("not every fault happened");
}

static void nothing_wrong(void **state)
{
	ENTERS(control_role);
	uint64_t reconnects = 0, rotations = 0;
	sing(&(struct choir){.users = 10, .cells = CELLS});
	everybody_is_right("nothing", &reconnects, &rotations);
	assert_int_equal(reconnects + rotations, 0);
	choir_free();
}

static void each_fault(bool translated) RUNS_ON(control_role);
static void each_fault(bool translated)
{
	unsigned wanted = number_of("RELAY_MOMENTS", 2), acted = 0;
	uint64_t reconnects = 0, rotations = 0;
	for (unsigned made = 0; made < wanted; made += 2) {
		print_message("RELAY_SEED=%u\n", world.seed);
		sing(&(struct choir){.users = 2 * ARRAY_SIZE(faults), .cells = CELLS, .faults = faults, .fault_count = ARRAY_SIZE(faults),
			.moments = 2, .translated = translated});
		everybody_is_right("", &reconnects, &rotations);
		acted += world.count;
		choir_free();
	}
	print_message("%u faults of %zu kinds, %llu reconnects: %u words%s, none lost or doubled\n", acted, ARRAY_SIZE(faults),
		(unsigned long long)reconnects, acted * CELLS, translated ? " and as many translations" : "");
}

static void each_fault_at_random_moments(void **state)
{
	ENTERS(control_role);
	each_fault(false);
}

static void each_fault_while_words_are_translated(void **state)
{
	ENTERS(control_role);
	each_fault(true);
}

static void rotation_is_not_heard(void **state)
{
	ENTERS(control_role);
	uint64_t reconnects = 0, rotations = 0;
	for (int translated = 0; translated < 2; translated++) {
		reconnects = rotations = 0;
		sing(&(struct choir){.users = 20, .cells = CELLS, .rotate_ms = 2500, .translated = translated == 1});
		everybody_is_right("rotation", &reconnects, &rotations);
		assert_int_equal(reconnects, 0);
		assert_true(rotations >= 20 * 3);
		choir_free();
	}
}

static void limits_set(unsigned concurrent, unsigned per_minute)
{
	struct err err;
	// The stand-in's clock goes on while a busy machine lets ours stand: its patience is not what is tested here.
	json_t *limits = json_pack("{s:i,s:i,s:i,s:i,s:i,s:i}", "concurrent", concurrent, "connections", 2 * concurrent, "per_minute",
		per_minute, "inactivity_ms", PATIENCE_MS, "start_ms", PATIENCE_MS, "link_ms", PATIENCE_MS);
	assert_int_equal(settings_change(limits, &err), 0);
	json_decref(limits);
}

// Nine at a time, as one of the ten places is kept for rotation.
static void a_hundred_come_at_once_to_ten_places(void **state)
{
	ENTERS(control_role);
	uint64_t reconnects = 0, rotations = 0;
	limits_set(10, 100);
	sing(&(struct choir){.users = 100, .cells = 100, .all_at_once = true, .places = 10, .per_minute = 100});
	everybody_is_right("a hundred", &reconnects, &rotations);
	assert_int_equal(world.placed_max, 9);
	assert_in_range(world.queued_max, 91, 100);
	assert_int_equal(world.services[0].refused + reconnects, 0);
	choir_free();
	limits_set(1000, 100000);
}

static void a_hundred_are_cut_off_and_return_at_once(void **state)
{
	ENTERS(control_role);
	uint64_t reconnects = 0, rotations = 0;
	limits_set(101, 200);
	sing(&(struct choir){.users = 100, .cells = 300, .all_at_once = true, .places = 101, .per_minute = 200, .reset_in_the_middle = true});
	everybody_is_right("a hundred return", &reconnects, &rotations);
	assert_int_equal(reconnects, 100);
	assert_int_equal(world.services[0].refused, 0);
	choir_free();
	limits_set(1000, 100000);
}

static int setup(void **state)
{
	struct server_config config = {.address = "127.0.0.1"};
	struct err err = {""};
	signal(SIGPIPE, SIG_IGN);
	world.speed = number_of("RELAY_SPEED", 6);
	world.seed = number_of("RELAY_SEED", (unsigned)(clock_wall_us() / 1000));
	tick_init(world.speed);
	log_set_level(LOG_ERROR + 1);
	settings_set_recogniser(&recogniser_scripted);
	settings_reset();
	keys_add("standin-key");
	limits_set(1000, 100000);
	if (server_start(&config, &err) < 0)
		fail_msg("%s", err.text);
	snprintf(world.url, sizeof(world.url), "ws://127.0.0.1:%u/transcribe-websocket", server_port());
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_wrong),
		cmocka_unit_test(rotation_is_not_heard),
		cmocka_unit_test(a_hundred_come_at_once_to_ten_places),
		cmocka_unit_test(a_hundred_are_cut_off_and_return_at_once),
		// Last: the stand-in may hold connections that it was told to stall.
		cmocka_unit_test(each_fault_while_words_are_translated),
		cmocka_unit_test(each_fault_at_random_moments),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
