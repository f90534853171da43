// SPDX-License-Identifier: ISC
//
// soniox_pure_test.c - Soniox' parts without a connection: JSON, error policy, replay, clocks, admission.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "controlplane/soniox_admission.h"
#include "controlplane/soniox_clock.h"
#include "controlplane/soniox_message.h"
#include "controlplane/soniox_policy.h"
#include "controlplane/soniox_replay.h"

#define MS UINT64_C(1000000)

// ---- messages

static void start_message_has_what_was_asked(void **state)
{
	char terms[] = "MentraOS\nSoniox", text[] = "a call";
	struct soniox_options options = {.model = "stt-rt-v5", .language_hints = {"en", "de"}, .hint_count = 2, .terms = terms,
		.text = text, .diarization = true, .endpointing = true, .max_endpoint_delay_ms = 700, .translate_to = "es"};
	char *message = soniox_start_message(&options, SONIOX_PCM, "relay");
	assert_string_equal(message,
		"{\"model\":\"stt-rt-v5\",\"audio_format\":\"pcm_s16le\",\"sample_rate\":16000,\"num_channels\":1,"
		"\"language_hints\":[\"en\",\"de\"],\"context\":{\"terms\":[\"MentraOS\",\"Soniox\"],\"text\":\"a call\"},"
		"\"enable_speaker_diarization\":true,\"enable_endpoint_detection\":true,\"max_endpoint_delay_ms\":700,"
		"\"translation\":{\"type\":\"one_way\",\"target_language\":\"es\"},\"client_reference_id\":\"relay\"}");
	free(message);
	struct soniox_options plain = {.model = "m", .translate_a = "en", .translate_b = "es"};
	message = soniox_start_message(&plain, SONIOX_OGG_OPUS, "");
	assert_string_equal(message, "{\"model\":\"m\",\"audio_format\":\"ogg\",\"translation\":{\"type\":\"two_way\","
				     "\"language_a\":\"en\",\"language_b\":\"es\"}}");
	free(message);
}

static void options_are_checked_before_soniox_does(void **state)
{
	static const struct {
		struct soniox_options options;
		const char *word;
	} cases[] = {
		{{.model = ""}, "model"},
		{{.model = "m", .language_hints = {"en", "en"}, .hint_count = 2}, "twice"},
		{{.model = "m", .language_hints = {"EN"}, .hint_count = 1}, "language_hints"},
		{{.model = "m", .max_endpoint_delay_ms = 400}, "500"},
		{{.model = "m", .translate_to = "english"}, "translation"},
		{{.model = "m", .translate_a = "en"}, "two"},
		{{.model = "m", .translate_a = "en", .translate_b = "es", .translate_to = "de"}, "not both"},
	};
	struct err err;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(soniox_options_check(&cases[i].options, &err), -EINVAL);
		assert_non_null(strstr(err.text, cases[i].word));
	}
	char *long_text = calloc(1, 10002);
	memset(long_text, 'x', 10001);
	struct soniox_options longer = {.model = "m", .text = long_text};
	assert_int_equal(soniox_options_check(&longer, &err), -EINVAL);
	free(long_text);
}

static int parse(const char *text, struct soniox_answer *answer)
{
	struct err err;
	return soniox_answer_parse(text, strlen(text), answer, &err);
}

static void answers_are_read(void **state)
{
	struct soniox_answer answer;
	assert_int_equal(parse("{\"tokens\":[{\"text\":\" Hi\",\"start_ms\":60,\"end_ms\":180.5,\"confidence\":0.9,\"is_final\":true,"
			       "\"speaker\":\"1\",\"language\":\"en\",\"translation_status\":\"original\",\"new_key\":{}},"
			       "{\"text\":\" Hola\",\"is_final\":false,\"translation_status\":\"translation\",\"language\":\"es\"},"
			       "{\"text\":\"<end>\",\"is_final\":true,\"start_ms\":0,\"end_ms\":0}],"
			       "\"final_audio_proc_ms\":180,\"total_audio_proc_ms\":1200,\"error_code\":null}", &answer), 0);
	assert_int_equal(answer.token_count, 3);
	assert_string_equal(answer.tokens[0].text, " Hi");
	assert_int_equal(answer.tokens[0].end_ms, 180);
	assert_true(answer.tokens[0].is_final && answer.tokens[0].has_time);
	assert_int_equal(answer.tokens[0].translation, SONIOX_ORIGINAL);
	assert_false(answer.tokens[1].has_time);
	assert_string_equal(answer.tokens[1].speaker, "");
	assert_int_equal(answer.tokens[1].translation, SONIOX_TRANSLATED);
	assert_true(soniox_token_is_mark(&answer.tokens[2]));
	assert_int_equal(answer.final_ms, 180);
	assert_int_equal(answer.total_ms, 1200);
	assert_false(answer.is_error || answer.finished);
	soniox_answer_free(&answer);
	assert_int_equal(parse("{\"tokens\":[],\"finished\":true}", &answer), 0);
	assert_true(answer.finished);
	soniox_answer_free(&answer);
	assert_int_equal(parse("{\"tokens\":[],\"error_code\":401,\"error_type\":\"unauthenticated\",\"error_message\":\"no\","
			       "\"request_id\":\"r\"}", &answer), 0);
	assert_true(answer.is_error);
	assert_int_equal(answer.error_code, 401);
	assert_string_equal(answer.request_id, "r");
	soniox_answer_free(&answer);
}

static void hostile_answers_are_refused(void **state)
{
	struct soniox_answer answer;
	static const char *const bad[] = {"", "{", "[]", "1", "{\"tokens\":[1]}", "{\"tokens\":[{}]}", "{\"tokens\":[{\"text\":1}]}",
		"{\"tokens\":[{\"text\":\"\xff\"}]}", "{\"a\":\"\\u0000\"}"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i], &answer) != -EBADMSG)
			fail_msg("\"%s\" was taken", bad[i]);
	char deep[64];
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(parse(deep, &answer), -EBADMSG);
	char *big = malloc(SONIOX_ANSWER_BYTES_MAX + 2);
	memset(big, ' ', SONIOX_ANSWER_BYTES_MAX + 1);
	big[SONIOX_ANSWER_BYTES_MAX + 1] = '\0';
	assert_int_equal(parse(big, &answer), -EBADMSG);
	free(big);
	// Numbers that no clock shows are none.
	assert_int_equal(parse("{\"tokens\":[{\"text\":\"a\",\"start_ms\":9e99,\"end_ms\":-5}],\"final_audio_proc_ms\":-1,"
			       "\"total_audio_proc_ms\":1e300,\"error_code\":1e9}", &answer), 0);
	assert_int_equal(answer.tokens[0].start_ms, 0);
	assert_int_equal(answer.final_ms + answer.total_ms, 0);
	assert_int_equal(answer.error_code, 500);
	soniox_answer_free(&answer);
}

// ---- policy

static void every_error_has_its_policy(void **state)
{
	static const struct {
		const char *type;
		int code;
		enum soniox_action action;
		bool alarm;
	} cases[] = {
		{"invalid_request", 400, SONIOX_NEVER, true}, {"model_not_available", 400, SONIOX_NEVER, true},
		{"unauthenticated", 401, SONIOX_NEVER, true}, {"organization_balance_exhausted", 402, SONIOX_NEVER, true},
		{"organization_monthly_budget_exhausted", 402, SONIOX_NEVER, true},
		{"project_monthly_budget_exhausted", 402, SONIOX_NEVER, true}, {"permission_denied", 403, SONIOX_NEVER, true},
		{"temp_api_key_session_expired", 403, SONIOX_NEVER, true}, {"request_timeout", 408, SONIOX_RETRY_NOW, false},
		{"max_duration_reached", 413, SONIOX_RETRY_NOW, false}, {"limit_exceeded", 429, SONIOX_RETRY_LATER, true},
		{"max_concurrent_connections_reached", 429, SONIOX_RETRY_LATER, true}, {"internal_error", 500, SONIOX_RETRY_SOON, false},
		{"service_unavailable", 503, SONIOX_RETRY_NOW, false},
		// without a type the number decides; the type wins over the number
		{"", 429, SONIOX_RETRY_LATER, true}, {NULL, 503, SONIOX_RETRY_NOW, false}, {"request_timeout", 400, SONIOX_RETRY_NOW, false},
		{NULL, 0, SONIOX_RETRY_NOW, false}, {"new_type", 418, SONIOX_NEVER, true}, {"new_type", 507, SONIOX_RETRY_SOON, false},
		{NULL, 302, SONIOX_RETRY_SOON, true}, {NULL, 200, SONIOX_RETRY_SOON, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct soniox_policy *policy = soniox_policy_for(cases[i].type, cases[i].code);
		if (policy->action != cases[i].action || policy->alarm != cases[i].alarm || policy->sentence[0] == '\0')
			fail_msg("case %zu: %s %d", i, cases[i].type != NULL ? cases[i].type : "-", cases[i].code);
	}
}

// ---- replay

static void replay_keeps_the_last_seconds(void **state)
{
	struct soniox_replay *replay = soniox_replay_create(1000);
	uint8_t cell[640];
	struct soniox_unit unit;
	assert_false(soniox_replay_get(replay, 0, &unit));
	for (unsigned i = 0; i < 500; i++) {
		memset(cell, (int)i & 255, sizeof(cell));
		soniox_replay_put(replay, SONIOX_PCM, 320, (int64_t)i * 20000, cell, sizeof(cell));
		assert_true(soniox_replay_head(replay) - soniox_replay_tail(replay) <= 16000);
	}
	assert_int_equal(soniox_replay_head(replay), 160000);
	assert_int_equal(soniox_replay_tail(replay), 144000);
	for (uint64_t at = 144000; at < 160000; at += 100) {
		assert_true(soniox_replay_get(replay, at, &unit));
		assert_int_equal(unit.start, at / 320 * 320);
		assert_int_equal(unit.payload[0], at / 320 & 255);
		assert_int_equal(unit.payload[639], at / 320 & 255);
	}
	assert_true(soniox_replay_get(replay, 5, &unit));
	assert_int_equal(unit.start, 144000);
	assert_false(soniox_replay_get(replay, 160000, &unit));
	assert_int_equal(soniox_replay_capture_us(replay, 144000 + 160), 450 * 20000 + 10000);
	assert_int_equal(soniox_replay_capture_us(replay, 0), 0); // an estimate of what is gone
	soniox_replay_free(replay);
}

static void replay_takes_units_of_any_size(void **state)
{
	struct soniox_replay *replay = soniox_replay_create(500);
	uint8_t data[2048];
	uint32_t random = 1;
	for (unsigned i = 0; i < 20000; i++) {
		random = random * 1664525u + 1013904223u;
		uint32_t bytes = (random >> 8) % 1300, samples = 40 + (random >> 20) % 1900;
		memset(data, (int)(soniox_replay_head(replay) & 255), sizeof(data));
		soniox_replay_put(replay, SONIOX_OGG_OPUS, samples, 0, data, bytes);
		struct soniox_unit unit;
		for (uint64_t at = soniox_replay_tail(replay); at < soniox_replay_head(replay); at = unit.start + unit.samples) {
			assert_true(soniox_replay_get(replay, at, &unit));
			if (unit.bytes > 0) {
				assert_int_equal(unit.payload[0], unit.start & 255);
				assert_int_equal(unit.payload[unit.bytes - 1], unit.start & 255);
			}
		}
	}
	soniox_replay_free(replay);
}

// ---- clocks

static void clocks_tell_what_is_broken(void **state)
{
	struct soniox_clock clock = {0};
	uint64_t now = 1000000 * MS, since;
	soniox_clock_opened(&clock, now);
	for (unsigned i = 0; i < 100; i++) { // ten seconds of speech
		now += 100 * MS;
		clock.arrived_ns = now;
		soniox_clock_sent(&clock, now);
		soniox_clock_message(&clock, i % 10 == 0, now);
		assert_int_equal(soniox_clock_judge(&clock, now, &since), SONIOX_HEALTHY);
	}
	uint64_t last_token = clock.token_ns;
	for (unsigned i = 0; i < 310; i++) { // audio and answers, no words
		now += 100 * MS;
		clock.arrived_ns = now;
		soniox_clock_sent(&clock, now);
		soniox_clock_message(&clock, false, now);
	}
	assert_int_equal(soniox_clock_judge(&clock, now, &since), SONIOX_SILENT);
	assert_int_equal(since, last_token);
	uint64_t first_unanswered = now + 100 * MS;
	for (unsigned i = 0; i < 60; i++) { // nothing comes back
		now += 100 * MS;
		clock.arrived_ns = now;
		soniox_clock_sent(&clock, now);
	}
	assert_int_equal(soniox_clock_judge(&clock, now, &since), SONIOX_STALLED);
	assert_int_equal(since, first_unanswered);
	soniox_clock_message(&clock, true, now);
	uint64_t last_audio = clock.arrived_ns;
	now += 3000 * MS;
	assert_int_equal(soniox_clock_judge(&clock, now, &since), SONIOX_STARVED);
	assert_int_equal(since, last_audio);
	for (unsigned health = SONIOX_HEALTHY; health <= SONIOX_STARVED; health++)
		assert_true(strlen(soniox_health_sentence((enum soniox_health)health)) > 20);
}

// ---- admission

static void nine_start_the_tenth_place_is_for_rotation(void **state)
{
	struct soniox_admission admission;
	struct soniox_ticket tickets[12] = {0}, rotation = {.rotation = true};
	uint64_t now = 1000 * MS, again;
	assert_int_equal(soniox_admission_init(&admission, 10, 100), 0);
	for (size_t i = 0; i < 12; i++)
		soniox_admission_ask(&admission, &tickets[i], now);
	for (size_t i = 0; i < 9; i++, now = again)
		assert_ptr_equal(soniox_admission_next(&admission, now, &again) != NULL ? &tickets[i]
											  : soniox_admission_next(&admission, again, &again), &tickets[i]);
	now += 1000 * MS;
	assert_null(soniox_admission_next(&admission, now, &again));
	assert_int_equal(again, UINT64_MAX);
	assert_int_equal(soniox_admission_position(&admission, &tickets[9]), 1);
	assert_int_equal(soniox_admission_position(&admission, &tickets[11]), 3);
	assert_int_equal(soniox_admission_waiting(&admission), 3);
	soniox_admission_ask(&admission, &rotation, now);
	assert_ptr_equal(soniox_admission_next(&admission, now, &again), &rotation);
	assert_int_equal(admission.placed, 10);
	soniox_admission_release(&admission, &tickets[0]); // what it replaced
	assert_null(soniox_admission_next(&admission, now + 1000 * MS, &again));
	soniox_admission_release(&admission, &tickets[1]);
	assert_ptr_equal(soniox_admission_next(&admission, now + 1000 * MS, &again), &tickets[9]);
	soniox_admission_release(&admission, &tickets[10]); // gives up waiting
	assert_int_equal(soniox_admission_position(&admission, &tickets[11]), 1);
	soniox_admission_finish(&admission);
}

// A hundred users return within a second: in no minute more than a hundred start, and never two at once.
static void mass_return_stays_within_the_rate(void **state)
{
	struct soniox_admission admission;
	enum { USERS = 350, RATE = 100 };
	struct soniox_ticket *tickets = calloc(USERS, sizeof(*tickets));
	uint64_t now = 1000 * MS, again, *starts = calloc(USERS, sizeof(*starts));
	unsigned started = 0;
	assert_int_equal(soniox_admission_init(&admission, 1000, RATE), 0);
	for (size_t i = 0; i < USERS; i++)
		soniox_admission_ask(&admission, &tickets[i], now);
	while (started < USERS) {
		struct soniox_ticket *ticket = soniox_admission_next(&admission, now, &again);
		if (ticket != NULL) {
			assert_ptr_equal(ticket, &tickets[started]);
			starts[started++] = now;
		} else {
			assert_true(again > now && again != UINT64_MAX);
			now = again;
		}
	}
	for (unsigned i = 0; i < USERS; i++) {
		if (i > 0)
			assert_true(starts[i] - starts[i - 1] >= SONIOX_SPACING_MS * MS);
		if (i >= RATE)
			assert_true(starts[i] - starts[i - RATE] > 60000 * MS);
	}
	assert_true(starts[RATE - 1] - starts[0] < 3000 * MS);
	free(tickets);
	free(starts);
	soniox_admission_finish(&admission);
}

static void a_refusal_makes_all_wait(void **state)
{
	struct soniox_admission admission;
	struct soniox_ticket ticket = {0};
	uint64_t now = 1000 * MS, again, last = 0;
	assert_int_equal(soniox_admission_init(&admission, 10, 100), 0);
	for (unsigned i = 0; i < 6; i++) {
		soniox_admission_refused(&admission, i * 1000003u, now);
		soniox_admission_ask(&admission, &ticket, now);
		assert_null(soniox_admission_next(&admission, now, &again));
		assert_in_range(again - now, 3750 * MS, 75000 * MS);
		if (i == 1)
			assert_true(again - now > last / 2);
		last = again - now;
		now = again;
		assert_ptr_equal(soniox_admission_next(&admission, now, &again), &ticket);
		soniox_admission_release(&admission, &ticket);
		now += 100 * MS;
	}
	assert_true(last > 30000 * MS);
	soniox_admission_accepted(&admission);
	soniox_admission_refused(&admission, 0, now);
	soniox_admission_ask(&admission, &ticket, now);
	assert_null(soniox_admission_next(&admission, now, &again));
	assert_true(again - now < 8000 * MS);
	soniox_admission_finish(&admission);
}

// Who lost a connection but holds a place goes before those who have none.
static void a_place_is_kept_while_reconnecting(void **state)
{
	struct soniox_admission admission;
	struct soniox_ticket first = {0}, second = {0}, third = {0};
	uint64_t now = 1000 * MS, again;
	assert_int_equal(soniox_admission_init(&admission, 3, 100), 0);
	soniox_admission_ask(&admission, &first, now);
	assert_ptr_equal(soniox_admission_next(&admission, now, &again), &first);
	soniox_admission_ask(&admission, &second, now);
	soniox_admission_ask(&admission, &third, now);
	soniox_admission_ask(&admission, &first, now);
	now += 1000 * MS;
	assert_ptr_equal(soniox_admission_next(&admission, now, &again), &first);
	now += 1000 * MS;
	assert_ptr_equal(soniox_admission_next(&admission, now, &again), &second);
	now += 1000 * MS;
	assert_null(soniox_admission_next(&admission, now, &again));
	struct soniox_ticket heir = {0};
	soniox_admission_pass(&second, &heir);
	assert_true(heir.placed && !second.placed);
	soniox_admission_release(&admission, &heir);
	assert_ptr_equal(soniox_admission_next(&admission, now, &again), &third);
	soniox_admission_finish(&admission);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_message_has_what_was_asked),
		cmocka_unit_test(options_are_checked_before_soniox_does),
		cmocka_unit_test(answers_are_read),
		cmocka_unit_test(hostile_answers_are_refused),
		cmocka_unit_test(every_error_has_its_policy),
		cmocka_unit_test(replay_keeps_the_last_seconds),
		cmocka_unit_test(replay_takes_units_of_any_size),
		cmocka_unit_test(clocks_tell_what_is_broken),
		cmocka_unit_test(nine_start_the_tenth_place_is_for_rotation),
		cmocka_unit_test(mass_return_stays_within_the_rate),
		cmocka_unit_test(a_refusal_makes_all_wait),
		cmocka_unit_test(a_place_is_kept_while_reconnecting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
