// SPDX-License-Identifier: ISC
//
// opus_dec_test.c - every packet length and channel count becomes 16 kHz mono of the same duration; FEC, concealment, garbage.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <opus/opus.h>
#include <stdlib.h>

#include "dataplane/opus_dec.h"

#define RATE 48000
#define PACKET_MAX 1500

static struct opus_dec dec;
static void *memory;

static int setup(void **state)
{
	(void)state;
	memory = aligned_alloc(64, (opus_dec_bytes() + 63) & ~(size_t)63);
	opus_dec_init(&dec, memory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

// A tone per channel; 0 is silence.
static void tone(int16_t *pcm, int samples, int channels, int at, double left_hz, double right_hz)
{
	for (int i = 0; i < samples; i++)
		for (int c = 0; c < channels; c++)
			pcm[i * channels + c] = (int16_t)(9000 * sin(2 * M_PI * (c ? right_hz : left_hz) * (at + i) / RATE));
}

// Power of one pitch in 16 kHz audio (Goertzel), relative to all power: near 1 for a pure tone.
static double share(const int16_t *pcm, int samples, double hz)
{
	double w = 2 * M_PI * hz / OPUS_DEC_RATE_HZ, s1 = 0, s2 = 0, all = 1;
	for (int i = 0; i < samples; i++) {
		double s = pcm[i] + 2 * cos(w) * s1 - s2;
		s2 = s1;
		s1 = s;
		all += (double)pcm[i] * pcm[i];
	}
	return 2 * (s1 * s1 + s2 * s2 - 2 * cos(w) * s1 * s2) / (samples * all);
}

static OpusEncoder *encoder_new(int channels, int application)
{
	int error;
	OpusEncoder *encoder = opus_encoder_create(RATE, channels, application, &error);
	assert_int_equal(error, OPUS_OK);
	return encoder;
}

// 2.5, 5, 10, 20, 40 and 60 ms, mono and stereo: a second of each, none longer or shorter.
static void every_length_and_channel_count(void **state)
{
	(void)state;
	static const int tenths[] = {25, 50, 100, 200, 400, 600};
	static int16_t in[RATE / 10 * 2], out[OPUS_DEC_RATE_HZ + OPUS_DEC_SAMPLES_MAX];
	uint8_t packet[PACKET_MAX];
	for (int channels = 1; channels <= 2; channels++) {
		for (size_t t = 0; t < ARRAY_SIZE(tenths); t++) {
			OpusEncoder *encoder = encoder_new(channels, OPUS_APPLICATION_AUDIO);
			int samples = RATE / 10000 * tenths[t] + RATE % 10000 * tenths[t] / 10000, got = 0;
			opus_dec_reset(&dec);
			for (int at = 0; at + samples <= RATE; at += samples) {
				tone(in, samples, channels, at, 440, 440);
				int bytes = opus_encode(encoder, in, samples, packet, sizeof(packet));
				assert_true(bytes > 0);
				assert_int_equal(opus_dec_duration(packet, (size_t)bytes), samples / OPUS_DEC_TICKS_PER_SAMPLE);
				int n = opus_dec_packet(&dec, packet, (size_t)bytes, out + got);
				assert_int_equal(n, samples / OPUS_DEC_TICKS_PER_SAMPLE);
				got += n;
			}
			if (share(out + got / 2, got / 2, 440) < 0.9)
				fail_msg("%d channels, %d.%d ms: the tone is not there", channels, tenths[t] / 10, tenths[t] % 10);
			opus_encoder_destroy(encoder);
		}
	}
}

// What is spoken on one side only is heard: stereo is mixed, not cut.
static void both_sides_are_heard(void **state)
{
	(void)state;
	static const double pitches[2][2] = {{440, 0}, {0, 440}};
	static int16_t in[960 * 2], out[50 * 320];
	uint8_t packet[PACKET_MAX];
	for (size_t side = 0; side < 2; side++) {
		OpusEncoder *encoder = encoder_new(2, OPUS_APPLICATION_AUDIO);
		opus_encoder_ctl(encoder, OPUS_SET_FORCE_CHANNELS(2));
		opus_dec_reset(&dec);
		for (int i = 0; i < 50; i++) {
			tone(in, 960, 2, i * 960, pitches[side][0], pitches[side][1]);
			int bytes = opus_encode(encoder, in, 960, packet, sizeof(packet));
			assert_int_equal(opus_packet_get_nb_channels(packet), 2);
			assert_int_equal(opus_dec_packet(&dec, packet, (size_t)bytes, out + 320 * i), 320);
		}
		assert_true(share(out + 8000, 8000, 440) > 0.9);
		opus_encoder_destroy(encoder);
	}
}

// A lost packet comes back from the next one's in-band copy, and only from a packet that has one.
static void fec_brings_a_packet_back(void **state)
{
	(void)state;
	static int16_t in[960], out[OPUS_DEC_SAMPLES_MAX];
	uint8_t packet[PACKET_MAX];
	bool had = false;
	for (int with = 0; with < 2; with++) {
		OpusEncoder *encoder = encoder_new(1, OPUS_APPLICATION_VOIP);
		opus_encoder_ctl(encoder, OPUS_SET_BITRATE(24000));
		opus_encoder_ctl(encoder, OPUS_SET_INBAND_FEC(with));
		opus_encoder_ctl(encoder, OPUS_SET_PACKET_LOSS_PERC(with ? 30 : 0));
		opus_encoder_ctl(encoder, OPUS_SET_MAX_BANDWIDTH(OPUS_BANDWIDTH_WIDEBAND));
		opus_encoder_ctl(encoder, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE));
		opus_dec_reset(&dec);
		for (int i = 0; i < 50; i++) {
			tone(in, 960, 1, i * 960, 300, 0);
			int bytes = opus_encode(encoder, in, 960, packet, sizeof(packet));
			bool has = opus_dec_has_fec(packet, (size_t)bytes);
			if (!with)
				assert_false(has);
			if (has && i > 25 && !had) {
				had = true;
				assert_int_equal(opus_dec_fec(&dec, packet, (size_t)bytes, 320, out), 320);
				assert_true(share(out, 320, 300) > 0.7);
			}
			assert_int_equal(opus_dec_packet(&dec, packet, (size_t)bytes, out), 320);
		}
		opus_encoder_destroy(encoder);
	}
	assert_true(had);
}

// The server's own silence (f8 ff fe) and a DTX packet are 20 ms; concealment gives what is asked for.
static void silence_and_concealment(void **state)
{
	(void)state;
	static const uint8_t silence[] = {0xf8, 0xff, 0xfe}, dtx[] = {0x78};
	int16_t out[OPUS_DEC_SAMPLES_MAX];
	opus_dec_reset(&dec);
	assert_int_equal(opus_dec_duration(silence, sizeof(silence)), 320);
	assert_int_equal(opus_dec_packet(&dec, silence, sizeof(silence), out), 320);
	assert_int_equal(opus_dec_duration(dtx, sizeof(dtx)), 320);
	assert_int_equal(opus_dec_packet(&dec, dtx, sizeof(dtx), out), 320);
	for (int samples = 40; samples <= 960; samples += 40)
		assert_int_equal(opus_dec_conceal(&dec, samples, out), samples);
}

static void garbage_is_refused(void **state)
{
	(void)state;
	static const uint8_t empty_code3[] = {0x7b}, no_frames[] = {0x7b, 0x00}, too_long[] = {0x1b, 0x3f, 1, 2, 3};
	int16_t out[OPUS_DEC_SAMPLES_MAX];
	assert_int_equal(opus_dec_packet(&dec, empty_code3, sizeof(empty_code3), out), -EINVAL);
	assert_int_equal(opus_dec_packet(&dec, no_frames, sizeof(no_frames), out), -EINVAL);
	assert_int_equal(opus_dec_duration(too_long, sizeof(too_long)), -EINVAL);
	assert_int_equal(opus_dec_packet(&dec, too_long, sizeof(too_long), out), -EINVAL);
	assert_int_equal(opus_dec_duration(too_long, 0), -EINVAL);
	assert_false(opus_dec_has_fec(too_long, 0));
	for (unsigned seed = 1; seed < 20000; seed++) {
		// Exactly as large as it says, so that a read beyond the end is seen.
		size_t bytes = 1 + seed % 61;
		uint8_t *packet = malloc(bytes);
		for (size_t i = 0; i < bytes; i++)
			packet[i] = (uint8_t)((seed * 2654435761u + i * 40503u) >> (i % 13));
		int duration = opus_dec_duration(packet, bytes), got = opus_dec_packet(&dec, packet, bytes, out);
		opus_dec_has_fec(packet, bytes);
		assert_true(got == -EINVAL || (got <= OPUS_DEC_SAMPLES_MAX && got == duration));
		free(packet);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_length_and_channel_count), cmocka_unit_test(both_sides_are_heard),
		cmocka_unit_test(fec_brings_a_packet_back), cmocka_unit_test(silence_and_concealment),
		cmocka_unit_test(garbage_is_refused)};
	return cmocka_run_group_tests(tests, setup, teardown);
}
