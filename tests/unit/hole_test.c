// SPDX-License-Identifier: ISC
//
// hole_test.c - holes of every kind in a track, told as what they are: loss of packets of any length, outages, silence not sent, mutes.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <opus.h>
#include <stdlib.h>

#include "dataplane/source.h"

#define PACKETS 1000
#define LEG 100
#define SSRC 0x1234
#define MS 1000000ull
#define TICKS_PER_MS 48
#define SAMPLES_PER_MS 16
#define CALM 60 // packets until half a second has gone by

static struct {
	uint8_t payload[PACKETS][700];
	int bytes[PACKETS];
	unsigned ms; // of a packet
} speech;

static struct bench {
	struct pcm *pcm;
	struct source *source;
	uint64_t now_ns;
	struct source_stats stats;
	unsigned samples;
	int16_t heard[PACKETS * 60 * SAMPLES_PER_MS];
} bench;

static void speak(unsigned ms)
{
	int error, sample = 0;
	OpusEncoder *encoder = opus_encoder_create(48000, 1, OPUS_APPLICATION_VOIP, &error);
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(32000));
	speech.ms = ms;
	for (unsigned n = 0; n < PACKETS; n++) {
		int16_t pcm[60 * TICKS_PER_MS];
		for (unsigned i = 0; i < ms * TICKS_PER_MS; i++, sample++)
			pcm[i] = (int16_t)(4000 * sin(sample * 0.02 + 3 * sin(sample * 0.0004)) + 2500 * sin(sample * 0.05));
		speech.bytes[n] = opus_encode(encoder, pcm, (int)(ms * TICKS_PER_MS), speech.payload[n], sizeof(speech.payload[n]));
		assert_in_range(speech.bytes[n], 4, 700);
	}
	opus_encoder_destroy(encoder);
}

static void begin(unsigned ms)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	static const struct source_config config = {.input = SOURCE_TRACK};
	struct hearing hearing = {.mode = HEARING_ONE, .main = {LEG, 1, 0}};
	if (speech.ms != ms)
		speak(ms);
	bench.now_ns = 1000 * MS;
	bench.pcm = pcm_create(PACKETS * 60 * 2);
	bench.source = source_create(bench.pcm, &config);
	source_hear(bench.source, &hearing, bench.now_ns);
}

// Everything that was written, with whatever waited.
static void end(void)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	struct pcm_frame frame;
	uint64_t cursor = 0, lapped = 0;
	source_poll(bench.source, bench.now_ns + 1000 * MS);
	source_stats(bench.source, &bench.stats);
	for (bench.samples = 0; pcm_read(bench.pcm, &cursor, &frame, &lapped) == 1; bench.samples += frame.bytes / 2)
		memcpy(bench.heard + bench.samples, frame.samples, frame.bytes);
	assert_int_equal(lapped, 0);
	source_destroy(bench.source);
	pcm_unref(bench.pcm);
}

// Time goes on to the moment of packet `when`, with every timer at its own.
static void pass(unsigned when)
{
	ENTERS(worker_role);
	uint64_t to_ns = 1000 * MS + (uint64_t)when * speech.ms * MS;
	for (uint64_t due; (due = source_deadline_ns(bench.source)) != 0 && due <= to_ns;) {
		bench.now_ns = MAX_OF(bench.now_ns, due);
		source_poll(bench.source, bench.now_ns);
	}
	bench.now_ns = MAX_OF(bench.now_ns, to_ns);
}

// A packet of that number, said at the moment of packet `when`, as it came; its copy of the one before with red.
static void give(unsigned seq, unsigned when, const uint8_t *opus, int bytes, bool red)
{
	ENTERS(worker_role);
	uint8_t payload[1500];
	size_t at = 0;
	bool keep;
	if (red) {
		int before = speech.bytes[when - 1];
		put_be32(payload, 0x80000000u | 111u << 24 | speech.ms * TICKS_PER_MS << 10 | (uint32_t)before);
		payload[4] = 111;
		memcpy(payload + 5, speech.payload[when - 1], (size_t)before);
		at = 5 + (size_t)before;
	}
	memcpy(payload + at, opus, (size_t)bytes);
	struct source_rtp rtp = {.payload = payload, .payload_bytes = (uint16_t)(at + (size_t)bytes), .red = red,
		.seq = (uint16_t)(65000 + seq), .timestamp = when * speech.ms * TICKS_PER_MS, .ssrc = SSRC, .transport = LEG,
		.arrival_ns = bench.now_ns};
	source_rtp_input(bench.source, &rtp, &keep);
}

static void say(unsigned seq, unsigned when)
{
	give(seq, when, speech.payload[when], speech.bytes[when], false);
}

// What discontinuous transmission sends now and then.
static void be_silent(unsigned seq, unsigned when)
{
	static const uint8_t silence[3] = {0xf8, 0xff, 0xfe};
	give(seq, when, silence, sizeof(silence), false);
}

static void run(unsigned from, unsigned to)
{
	for (unsigned n = from; n < to; n++) {
		pass(n);
		say(n, n);
	}
}

static void expect(const char *name, uint64_t lost, uint64_t concealed, uint64_t silent_ms, unsigned packets)
{
	unsigned samples = packets * speech.ms * SAMPLES_PER_MS;
	if (bench.stats.lost != lost || bench.stats.concealed + bench.stats.repaired_fec != concealed ||
		bench.stats.dtx_frames * 20 != silent_ms || bench.samples != samples)
		fail_msg("%s: %llu lost, %llu concealed, %llu ms silent, %u of %u samples", name, (unsigned long long)bench.stats.lost,
			(unsigned long long)(bench.stats.concealed + bench.stats.repaired_fec),
			(unsigned long long)bench.stats.dtx_frames * 20, bench.samples, samples);
	assert_int_equal(bench.stats.decode_errors + bench.stats.duplicate + bench.stats.late + bench.stats.renumbered, 0);
}

// One in ten is lost, of packets of every length that a phone may choose.
static void loss_of_packets_of_any_length(void **state)
{
	static const unsigned lengths[] = {5, 10, 20, 40, 60};
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		unsigned dropped = 0;
		begin(lengths[i]);
		for (unsigned n = 0; n < 400; n++) {
			pass(n);
			if (n % 10 == 7)
				dropped++;
			else
				say(n, n);
		}
		end();
		expect("one in ten", dropped, dropped, 0, 400);
	}
}

static void packets_of_any_length_that_change_places(void **state)
{
	static int16_t undisturbed[PACKETS * 60 * SAMPLES_PER_MS];
	static const unsigned lengths[] = {5, 10, 20, 60};
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		begin(lengths[i]);
		run(0, 200);
		end();
		expect("in order", 0, 0, 0, 200);
		memcpy(undisturbed, bench.heard, bench.samples * sizeof(int16_t));
		begin(lengths[i]);
		for (unsigned n = 0; n < 200; n++) {
			bool swapped = n > 50 && n % 20 < 2; // each tenth pair, both when the second is due
			pass(swapped ? n | 1 : n);
			say(n ^ swapped, n ^ swapped);
		}
		end();
		expect("pairs", 0, 0, 0, 200);
		assert_memory_equal(bench.heard, undisturbed, bench.samples * sizeof(int16_t));
	}
}

// Nothing comes for a while that is said: that many are lost, filled in up to two seconds, and around a swap its accounts say so.
static void outages(void **state)
{
	static const struct {
		const char *name;
		unsigned missing;
		bool filled;
	} cases[] = {{"outage_620ms", 31, true}, {"outage_640ms", 32, true}, {"outage_700ms", 35, true}, {"outage_2s", 100, true},
		{"outage_2020ms", 101, false}, {"outage_8s", 400, false}, {"outage_12s", 600, false}};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned missing = cases[i].missing, filled = cases[i].filled ? missing : 0;
		begin(20);
		run(0, 10); // the source is still watched, as after each swap
		run(10 + missing, 110 + missing);
		end();
		expect(cases[i].name, missing, filled, 0, 110 + filled);
		if (missing < 50)
			assert_int_equal(bench.stats.swap.lost, missing);
	}
}

static void an_outage_ends_with_a_copy_of_what_was_lost_last(void **state)
{
	for (unsigned missing = 30; missing < 36; missing++) {
		begin(20);
		run(0, CALM);
		pass(CALM + missing);
		give(CALM + missing, CALM + missing, speech.payload[CALM + missing], speech.bytes[CALM + missing], true);
		run(CALM + missing + 1, CALM + missing + 50);
		end();
		expect("with RED", missing - 1, missing - 1, 0, CALM + missing + 50);
		assert_int_equal(bench.stats.repaired_red, 1);
	}
}

// What waits behind a gap is told and heard before a numbering that begins anew.
static void a_new_numbering_behind_a_gap(void **state)
{
	begin(20);
	run(0, CALM);
	pass(CALM + 1);
	say(CALM + 1, CALM + 1);
	say(CALM + 20000, CALM + 2); // not as much later as its number says
	end();
	expect("another numbering", 1, 1, 0, CALM + 3);
}

static void loss_beside_silence_that_was_not_sent(void **state)
{
	begin(20);
	run(0, CALM);
	pass(CALM + 20); // the one right behind the speech is lost, then nothing is sent for 380 ms
	say(CALM + 1, CALM + 20);
	end();
	expect("loss_before_dtx_400ms", 1, 1, 19 * 20, CALM + 21);

	begin(20);
	run(0, CALM);
	pass(CALM);
	be_silent(CALM, CALM); // a sign of life each 400 ms; the second is lost
	pass(CALM + 40);
	be_silent(CALM + 2, CALM + 40);
	pass(CALM + 60);
	say(CALM + 3, CALM + 60);
	end();
	expect("lost_dtx_packet", 1, 1, (38 + 19) * 20, CALM + 61);
}

static void loss_in_a_mute_is_told_and_not_heard(void **state)
{
	ENTERS(worker_role);
	begin(20);
	run(0, CALM);
	source_set_muted(bench.source, true);
	pass(CALM + 50);
	say(CALM + 1, CALM + 50);
	for (unsigned n = 1; n < 20; n++) {
		pass(CALM + 50 + n);
		if (n == 10) // nothing waits any more
			source_set_muted(bench.source, false);
		say(CALM + 1 + n, CALM + 50 + n);
	}
	end();
	expect("loss_in_mute", 1, 0, 0, CALM + 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loss_of_packets_of_any_length),
		cmocka_unit_test(packets_of_any_length_that_change_places),
		cmocka_unit_test(outages),
		cmocka_unit_test(an_outage_ends_with_a_copy_of_what_was_lost_last),
		cmocka_unit_test(a_new_numbering_behind_a_gap),
		cmocka_unit_test(loss_beside_silence_that_was_not_sent),
		cmocka_unit_test(loss_in_a_mute_is_told_and_not_heard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
