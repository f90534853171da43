// SPDX-License-Identifier: ISC
//
// soniox_stream_test.c - a user's stream against a scripted recogniser, in made-up time: no fault may cost or double a word.
//
// Runs on: control (the test).

#include "tests/support/soniox_script.h"

static void undisturbed(void **state)
{
	begin(1);
	steps(30000, true);
	until_ended(3000);
	assert_words(0, 60);
	assert_int_equal(world.opened, 1);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.sent_ms, 30000);
	assert_int_equal(seen.final_ms, 30000);
	assert_int_equal(seen.lost_ms + seen.uncertain_ms + seen.replayed_ms, 0);
	assert_int_equal(world.keepalives, 0);
	assert_int_equal(world.finalizes, 0);
	finish();
}

// 0.1 s, the least that can be configured: five cells, of which one may be in the writer's hands.
static void the_shortest_ring(void **state)
{
	ring_ms = 100;
	begin(1);
	ring_ms = RING_MS;
	steps(10000, true);
	steps(10000, false);
	world.fault = RESET;
	world.fault_ns = world.now_ns + 5000 * MS;
	steps(20000, true);
	until_ended(10000);
	assert_words(0, 60);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.lost_ms + seen.uncertain_ms, 0);
	finish();
}

static void each_fault_at_many_moments(void **state)
{
	static const struct {
		enum fault fault;
		int code;
		const char *type;
	} faults[] = {
		{RESET, 0, ""}, {STALL, 0, ""}, {DUPLICATE, 0, ""}, {LATE, 0, ""}, {REFUSED, 0, ""}, {SILENT_SERVER, 0, ""}, {JUNK, 0, ""},
		{NOT_FINISHED, 0, ""},
		{ERROR_FRAME, 408, "request_timeout"}, {ERROR_FRAME, 413, "max_duration_reached"}, {ERROR_FRAME, 500, "internal_error"},
		{ERROR_FRAME, 503, "service_unavailable"}, {ERROR_FRAME, 599, "never_heard_of"}, {ERROR_FRAME, 429, "limit_exceeded"},
		{ERROR_FRAME, 429, "max_concurrent_connections_reached"},
	};
	for (size_t f = 0; f < ARRAY_SIZE(faults); f++) {
		for (uint32_t seed = 0; seed < MOMENTS; seed++) {
			begin(seed * 7919 + (uint32_t)f);
			world.fault = faults[f].fault;
			world.error_code = faults[f].code;
			world.error_type = faults[f].type;
			world.fault_ns = world.now_ns + (2000 + fake_random() % 20000) * MS;
			steps(40000, true);
			until_ended(20000);
			if (!world.fault_done)
				fail_msg("fault %zu did not happen", f);
			assert_words(0, 80);
			struct soniox_view seen;
			view(&seen);
			assert_int_equal(seen.lost_ms, 0);
			// Nothing went twice but what the replay allows.
			assert_in_range(world.ms_heard_total, 40000, 40000 + seen.replayed_ms);
			assert_int_equal(world.samples_sent, (40000 + seen.replayed_ms) * SONIOX_SAMPLES_PER_MS);
			finish();
		}
	}
}

static void refused_for_good(void **state)
{
	static const struct {
		int code;
		const char *type;
	} errors[] = {{400, "invalid_request"}, {400, "model_not_available"}, {401, "unauthenticated"},
		{402, "organization_balance_exhausted"}, {403, "permission_denied"}, {418, "teapot"}};
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		ENTERS(control_role);
		begin(1);
		world.fault = ERROR_FRAME;
		world.error_code = errors[i].code;
		world.error_type = errors[i].type;
		world.fault_ns = world.now_ns + 3000 * MS;
		steps(20000, true);
		assert_int_equal(soniox_stream_state(stream), SONIOX_STOPPED);
		assert_int_equal(world.opened, 1);
		assert_int_equal(service.admission.placed, 0);
		assert_true(service.alarm[0] != '\0');
		struct soniox_view seen;
		view(&seen);
		assert_string_equal(seen.request_id, "r-1");
		// What was final has been told; what was not is heard again.
		assert_words(0, (unsigned)(world.final_known_ms + WORD_MS - SPOKEN_MS) / WORD_MS);
		assert_true(seen.transcript.segments > 0);
		// Asked for again, it tries again, with all that the replay has.
		world.fault = NO_FAULT;
		soniox_stream_retry(stream);
		steps(2000, true);
		assert_int_equal(soniox_stream_state(stream), SONIOX_LIVE);
		assert_int_equal(world.opened, 2);
		until_ended(20000);
		assert_words(0, 44);
		finish();
	}
}

static void no_audio_no_connection(void **state)
{
	begin(1);
	steps(60000, false);
	assert_int_equal(world.opened, 0);
	steps(5000, true);
	assert_int_equal(world.opened, 1);
	until_ended(3000);
	assert_words(0, 10);
	finish();
}

static void silence_is_kept_alive_and_not_healthy(void **state)
{
	ENTERS(control_role);
	begin(1);
	steps(5000, true);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.health, SONIOX_HEALTHY);
	steps(60000, false);
	view(&seen);
	assert_int_equal(seen.state, SONIOX_LIVE);
	assert_int_equal(seen.health, SONIOX_STARVED);
	assert_in_range(world.keepalives, 6, 8);
	assert_int_equal(world.finalizes, 1);
	assert_int_equal(world.opened, 1);
	steps(5000, true);
	view(&seen);
	assert_int_equal(seen.health, SONIOX_HEALTHY);
	until_ended(3000);
	assert_words(0, 20);
	finish();
}

static void long_silence_costs_nothing(void **state)
{
	ENTERS(control_role);
	begin(1);
	service.idle_ms = 20000;
	steps(5000, true);
	steps(60000, false);
	assert_int_equal(soniox_stream_state(stream), SONIOX_IDLE);
	assert_int_equal(service.admission.placed, 0);
	assert_in_range(world.keepalives, 1, 3);
	steps(5000, true);
	until_ended(3000);
	assert_int_equal(world.opened, 2);
	assert_words(0, 20);
	finish();
}

// Half a second is said after the end was announced for want of audio, and before Soniox' last word; then the user leaves.
static void leave_in_mid_finish(void)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	begin(1);
	service.idle_ms = 20000;
	steps(5000, true);
	for (unsigned i = 0; i < 6000 && soniox_stream_state(stream) != SONIOX_FINISHING; i++)
		step(false);
	assert_int_equal(soniox_stream_state(stream), SONIOX_FINISHING);
	for (unsigned ms = 0; ms < WORD_MS; ms += PCM_CELL_MS)
		speak();
}

static void what_is_said_before_the_last_word_is_sent(void **state)
{
	leave_in_mid_finish();
	until_ended(10000);
	assert_words(0, 11);
	assert_int_equal(world.opened, 2);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.sent_ms, 5000 + WORD_MS);
	assert_int_equal(seen.lost_ms + seen.uncertain_ms, 0);
	finish();
}

// Refused for good instead: nobody asks again, and it is told what was not sent.
static void refused_before_the_last_word(void **state)
{
	leave_in_mid_finish();
	world.fault = ERROR_FRAME;
	world.error_code = 402;
	world.error_type = "organization_balance_exhausted";
	world.fault_ns = world.now_ns;
	until_ended(1000);
	assert_true(world.fault_done);
	assert_int_equal(world.opened, 1);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.lost_ms, WORD_MS);
	finish();
}

static void rotation_overlaps_and_loses_nothing(void **state)
{
	for (uint32_t seed = 0; seed < MOMENTS; seed++) {
		begin(seed);
		service.rotate_ms = 16000;
		steps(60000, true);
		until_ended(3000);
		assert_words(0, 120);
		assert_true(world.opened >= 4);
		assert_int_equal(world.max_open, 2);
		struct soniox_view seen;
		view(&seen);
		assert_int_equal(seen.reconnects, 0);
		assert_true(seen.rotations >= 3);
		finish();
	}
}

// The connection of a rotation that came while nobody spoke has had no audio when the end comes.
static void rotation_in_silence(void **state)
{
	begin(1);
	service.rotate_ms = 16000;
	steps(10000, true);
	steps(40000, false);
	until_ended(3000);
	assert_words(0, 20);
	assert_true(world.opened >= 3);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.reconnects + seen.lost_ms + seen.uncertain_ms, 0);
	finish();
}

// The longest stream has 300 minutes.
static void long_speech_is_rotated_in_time(void **state)
{
	begin(2);
	service.rotate_ms = ROTATE_MS;
	for (unsigned minute = 0; minute < 320; minute++) {
		steps(60000, true);
		for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
			if (world.connections[i].open)
				assert_true(world.now_ns < world.connections[i].open_ns + 300 * 60000 * MS);
	}
	until_ended(3000);
	assert_words(0, 320 * 120);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.rotations, 1);
	assert_int_equal(world.max_open, 2);
	assert_int_equal(seen.reconnects + seen.lost_ms + seen.uncertain_ms, 0);
	finish();
}

static void rotation_without_a_place_breaks_first(void **state)
{
	ENTERS(control_role);
	begin(3);
	service.admission.places = 1;
	service.admission.kept = 0;
	service.rotate_ms = 16000;
	steps(16000 + 300000 + 10000, true);
	assert_true(world.opened >= 2);
	assert_int_equal(world.max_open, 1);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.rotations, 1);
	assert_int_equal(seen.lost_ms, 0);
	soniox_stream_free(stream);
	soniox_admission_finish(&service.admission);
	pcm_unref(pcm);
}

static void an_outage_longer_than_the_replay_is_told(void **state)
{
	struct soniox_view seen;
	begin(1);
	world.fault = SILENT_SERVER;
	world.gap_allowed = true;
	steps(10000, true);
	world.fault_ns = world.now_ns;
	steps(10, true);
	world.dead_until_ns = world.now_ns + 45000 * MS;
	steps(20000, true);
	uint64_t began_ns = world.now_ns - 20000 * MS;
	for (unsigned i = 0; i < 20; i++) { // since then it is down, over all attempts
		steps(1000, true);
		view(&seen);
		assert_in_range(seen.down_since_ns, began_ns - 200 * MS, began_ns);
	}
	steps(25000, true);
	until_ended(5000);
	view(&seen);
	assert_int_equal(seen.down_since_ns, 0);
	assert_in_range(seen.lost_ms, 14000, 27000);
	assert_int_equal(seen.sent_ms + seen.lost_ms >= 75000, 1);
	char sentence[512];
	assert_non_null(strstr(soniox_view_sentence(&seen, sentence, sizeof(sentence)), "ms were never sent"));
	finish();
}

// Finals come 10 s late, then nothing at all: until that is noticed and another connection stands, the replay holds all that was not
// final.
static void a_stall_of_a_service_that_is_behind(void **state)
{
	for (uint32_t seed = 0; seed < (MOMENTS < 20 ? 1 : MOMENTS); seed++) {
		begin(seed);
		world.final_after_ms = FINAL_AFTER_MAX_MS;
		world.fault = STALL;
		world.fault_ns = world.now_ns + (12000 + fake_random() % 10000) * MS;
		steps(60000, true);
		until_ended(30000);
		assert_true(world.fault_done);
		assert_words(0, 120);
		struct soniox_view seen;
		char sentence[512];
		view(&seen);
		assert_int_equal(seen.lost_ms + seen.uncertain_ms, 0);
		assert_null(strstr(soniox_view_sentence(&seen, sentence, sizeof(sentence)), "never sent"));
		finish();
	}
}

// Each connection is lost when it has had a second of the ten that are not final: what counts as sent again is what was sent again.
static void replays_that_are_cut_short(void **state)
{
	ENTERS(control_role);
	begin(1);
	world.final_after_ms = FINAL_AFTER_MAX_MS;
	world.fault = RESET;
	steps(15000, true);
	for (unsigned lost = 0; lost < 5; lost++) {
		unsigned opened = world.opened;
		world.fault_ns = world.now_ns;
		for (unsigned i = 0; i < 6000 && world.opened == opened; i++)
			step(true);
		assert_int_equal(world.opened, opened + 1);
	}
	steps(20000, true);
	until_ended(20000);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.lost_ms + seen.uncertain_ms, 0);
	assert_int_equal(seen.sent_ms, spoken_ms);
	assert_int_equal(world.samples_sent, (seen.sent_ms + seen.replayed_ms) * SONIOX_SAMPLES_PER_MS);
	finish();
}

static void options_change_beside_the_old_connection(void **state)
{
	ENTERS(control_role);
	begin(1);
	steps(10000, true);
	struct soniox_options options = {.model = "stt-rt-v5", .diarization = true};
	assert_int_equal(soniox_stream_options(stream, &options), 0);
	steps(10000, true);
	until_ended(3000);
	assert_int_equal(world.opened, 2);
	assert_int_equal(world.max_open, 2);
	assert_words(0, 40);
	finish();
}

static void finalize_is_not_too_often(void **state)
{
	ENTERS(control_role);
	begin(1);
	assert_int_equal(soniox_stream_finalize(stream), -EAGAIN);
	steps(5000, true);
	assert_int_equal(soniox_stream_finalize(stream), 0);
	assert_int_equal(soniox_stream_finalize(stream), -EAGAIN);
	until_ended(3000);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(undisturbed),
		cmocka_unit_test(the_shortest_ring),
		cmocka_unit_test(each_fault_at_many_moments),
		cmocka_unit_test(refused_for_good),
		cmocka_unit_test(no_audio_no_connection),
		cmocka_unit_test(silence_is_kept_alive_and_not_healthy),
		cmocka_unit_test(long_silence_costs_nothing),
		cmocka_unit_test(what_is_said_before_the_last_word_is_sent),
		cmocka_unit_test(refused_before_the_last_word),
		cmocka_unit_test(rotation_overlaps_and_loses_nothing),
		cmocka_unit_test(rotation_in_silence),
		cmocka_unit_test(long_speech_is_rotated_in_time),
		cmocka_unit_test(rotation_without_a_place_breaks_first),
		cmocka_unit_test(an_outage_longer_than_the_replay_is_told),
		cmocka_unit_test(a_stall_of_a_service_that_is_behind),
		cmocka_unit_test(replays_that_are_cut_short),
		cmocka_unit_test(options_change_beside_the_old_connection),
		cmocka_unit_test(finalize_is_not_too_often),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
