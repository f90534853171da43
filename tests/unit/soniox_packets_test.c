// SPDX-License-Identifier: ISC
//
// soniox_packets_test.c - a user's stream that sends the phone's own Opus packets, in made-up time: lost ones, faults, other audio.
//
// Runs on: control (the test).

#include "tests/support/soniox_script.h"

static bool every_tenth(unsigned number)
{
	return number % 10 == 9;
}

static int opus_setup(void **state)
{
	with_opus = speaks_packets = true;
	return 0;
}

static int opus_teardown(void **state)
{
	with_opus = speaks_packets = false;
	packet_lost = NULL;
	return 0;
}

static void packets_go_as_they_came(void **state)
{
	begin(1);
	world.ogg_expected = true;
	steps(30000, true);
	until_ended(3000);
	assert_words(0, 60);
	assert_int_equal(world.gaps, 0);
	assert_int_equal(world.eos, 1);
	struct soniox_view seen;
	view(&seen);
	assert_int_equal(seen.final_ms, 30000);
	assert_int_equal(seen.lost_ms + seen.uncertain_ms + seen.replayed_ms, 0);
	finish();
}

static void lost_packets_leave_time_true(void **state)
{
	packet_lost = every_tenth;
	begin(1);
	world.ogg_expected = true;
	steps(30000, true);
	until_ended(3000);
	assert_words(0, 60); // the same words at the same times
	assert_int_equal(world.gaps, 149); // behind the last one nothing came
	finish();
}

static void packets_survive_faults(void **state)
{
	static const enum fault faults[] = {RESET, STALL, DUPLICATE, LATE, REFUSED, JUNK, NOT_FINISHED};
	for (size_t f = 0; f < ARRAY_SIZE(faults); f++) {
		for (uint32_t seed = 0; seed < MOMENTS; seed++) {
			begin(seed * 104729 + (uint32_t)f);
			world.ogg_expected = true;
			world.fault = faults[f];
			world.fault_ns = world.now_ns + (2000 + fake_random() % 20000) * MS;
			steps(40000, true);
			until_ended(20000);
			assert_true(world.fault_done);
			assert_words(0, 80);
			finish();
		}
	}
}

// The phone turns from its track to data packets: a connection has one format, so another one follows.
static void the_kind_of_audio_changes(void **state)
{
	begin(1);
	world.ogg_expected = true;
	steps(10000, true);
	speaks_packets = world.ogg_expected = false;
	steps(10000, true);
	until_ended(5000);
	assert_words(0, 40);
	assert_int_equal(world.opened, 2);
	speaks_packets = true;
	finish();
}

// A rotation in silence opened a connection for packets, but then data frames come.
static void the_kind_of_audio_changes_in_silence(void **state)
{
	begin(1);
	world.ogg_expected = true;
	service.rotate_ms = 16000;
	service.audio = SONIOX_OGG_OPUS;
	steps(10000, true);
	steps(10000, false);
	assert_int_equal(world.opened, 2);
	speaks_packets = world.ogg_expected = false;
	steps(10000, true);
	until_ended(5000);
	assert_words(0, 40);
	assert_true(world.opened >= 3);
	speaks_packets = true;
	finish();
}

// Both kinds are still to be sent when the user leaves.
static void the_kind_of_audio_changes_before_the_end(void **state)
{
	ENTERS(control_role);
	for (unsigned packets_first = 0; packets_first < 2; packets_first++) {
		begin(1);
		speaks_packets = world.ogg_expected = packets_first == 1;
		world.dead_until_ns = world.now_ns + 6500 * MS; // nobody takes it
		steps(3000, true);
		speaks_packets = !speaks_packets;
		steps(3000, true);
		assert_int_equal(world.opened, 0);
		soniox_stream_end(stream, 30000);
		for (unsigned i = 0; i < 500 && world.opened == 0; i++)
			step(false);
		assert_int_equal(world.opened, 1);
		world.ogg_expected = speaks_packets;
		until_ended(15000);
		assert_words(0, 12);
		assert_int_equal(world.opened, 2);
		struct soniox_view seen;
		view(&seen);
		assert_int_equal(seen.sent_ms, 6000);
		assert_int_equal(seen.lost_ms + seen.uncertain_ms, 0);
		finish();
	}
	speaks_packets = true;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(packets_go_as_they_came, opus_setup, opus_teardown),
		cmocka_unit_test_setup_teardown(lost_packets_leave_time_true, opus_setup, opus_teardown),
		cmocka_unit_test_setup_teardown(packets_survive_faults, opus_setup, opus_teardown),
		cmocka_unit_test_setup_teardown(the_kind_of_audio_changes, opus_setup, opus_teardown),
		cmocka_unit_test_setup_teardown(the_kind_of_audio_changes_in_silence, opus_setup, opus_teardown),
		cmocka_unit_test_setup_teardown(the_kind_of_audio_changes_before_the_end, opus_setup, opus_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
