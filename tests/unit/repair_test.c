// SPDX-License-Identifier: ISC
//
// repair_test.c - a source behind a network that breaks things: what was dropped is repaired, concealed or told, each exactly once,
// and the harm done to the audio is measured; time stays true over an hour of drifting clocks.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <opus.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/overtaken.h"
#include "dataplane/source.h"

#define PACKETS 1100 // 22 s
#define CALM 100     // the first packets come through, until a source no longer looks for copies, as it does after each swap
#define CALM_END 8   // and the last ones
#define LEG 100
#define SSRC 0x1234
#define MS 1000000ull
#define PACKET_MS 20
#define CELL_SAMPLES 320

enum protection { PLAIN, FEC, RED };
static const char *const protections[] = {"none", "FEC", "RED"};

static struct speech {
	uint8_t payload[PACKETS][400];
	int bytes[PACKETS];
} speech;

// A voice of three wandering tones that swells and fades, as speech does.
static void speak(bool fec)
{
	int error, sample = 0;
	OpusEncoder *encoder = opus_encoder_create(48000, 1, OPUS_APPLICATION_VOIP, &error);
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(32000));
	opus_encoder_ctl(encoder, OPUS_SET_INBAND_FEC(fec));
	opus_encoder_ctl(encoder, OPUS_SET_PACKET_LOSS_PERC(fec ? 20 : 0));
	opus_encoder_ctl(encoder, OPUS_SET_MAX_BANDWIDTH(OPUS_BANDWIDTH_WIDEBAND));
	srand(5);
	for (int n = 0; n < PACKETS; n++) {
		int16_t pcm[960];
		for (int i = 0; i < 960; i++, sample++)
			pcm[i] = (int16_t)((0.6 + 0.4 * sin(sample * 0.0005)) * (4000 * sin(sample * 0.02 + 3 * sin(sample * 0.0004)) +
					   2500 * sin(sample * 0.05) + 1500 * sin(sample * 0.09)) + rand() % 100);
		speech.bytes[n] = opus_encode(encoder, pcm, 960, speech.payload[n], sizeof(speech.payload[n]));
		assert_in_range(speech.bytes[n], 4, 400);
	}
	opus_encoder_destroy(encoder);
}

// ---- a source of its own, fed by hand

struct bench {
	struct pcm *pcm;
	struct source *source;
	uint64_t now_ns;
	bool overtaken; // what give_data says of its packet
};

static void setup(struct bench *bench, const struct source_config *config)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	*bench = (struct bench){.pcm = pcm_create(PACKETS * PACKET_MS * 2), .now_ns = 1000 * MS};
	bench->source = source_create(bench->pcm, config);
	struct hearing hearing = {.mode = HEARING_ONE, .main = {LEG, 1, 0}};
	source_hear(bench->source, &hearing, bench->now_ns);
}

static void teardown(struct bench *bench)
{
	ENTERS(control_role);
	source_destroy(bench->source);
	pcm_unref(bench->pcm);
}

// Time goes on to `to`, with every timer at its moment.
static void pass(struct bench *bench, uint64_t to_ns)
{
	ENTERS(worker_role);
	for (uint64_t due; (due = source_deadline_ns(bench->source)) != 0 && due <= to_ns;) {
		bench->now_ns = MAX_OF(bench->now_ns, due);
		source_poll(bench->source, bench->now_ns);
	}
	bench->now_ns = to_ns;
}

static enum drop give(struct bench *bench, int n, bool red)
{
	ENTERS(worker_role);
	uint8_t payload[1000];
	size_t at = 0;
	bool keep;
	if (red) { // the one before, then this one (RFC 2198)
		int before = n > 0 ? speech.bytes[n - 1] : 0;
		put_be32(payload, 0x80000000u | 111u << 24 | 960u << 10 | (uint32_t)before);
		payload[4] = 111;
		memcpy(payload + 5, speech.payload[n > 0 ? n - 1 : 0], (size_t)before);
		at = 5 + (size_t)before;
	}
	memcpy(payload + at, speech.payload[n], (size_t)speech.bytes[n]);
	struct source_rtp rtp = {.payload = payload, .payload_bytes = (uint16_t)(at + (size_t)speech.bytes[n]), .red = red,
		.seq = (uint16_t)(65000 + n), .timestamp = (uint32_t)n * 960, .ssrc = SSRC, .transport = LEG,
		.arrival_ns = bench->now_ns};
	return source_rtp_input(bench->source, &rtp, &keep);
}

static unsigned collect(struct bench *bench, int16_t *samples, unsigned most)
{
	struct pcm_frame frame;
	uint64_t cursor = 0, lapped = 0;
	unsigned count = 0;
	while (pcm_read(bench->pcm, &cursor, &frame, &lapped) == 1) {
		assert_true(count + frame.bytes / 2 <= most);
		memcpy(samples + count, frame.samples, frame.bytes);
		count += frame.bytes / 2;
	}
	assert_int_equal(lapped, 0);
	return count;
}

// ---- the network

static uint64_t random_state;

static double chance(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (double)(random_state * 2685821657736338717ull >> 11) / (double)(1ull << 53);
}

// Share of loss by single packets (burst 1) or in bursts of that mean length (two states, Gilbert).
static unsigned make_losses(double share, double burst, uint64_t seed, bool *ret_lost)
{
	bool bad = false;
	unsigned count = 0;
	random_state = seed * 0x9e3779b97f4a7c15ull | 1;
	for (int n = 0; n < PACKETS; n++) {
		double enter = burst > 1 ? share / (burst * (1 - share)) : share;
		bad = burst > 1 && bad ? chance() >= 1 / burst : chance() < enter;
		ret_lost[n] = bad && n >= CALM && n < PACKETS - CALM_END;
		count += ret_lost[n];
	}
	return count;
}

// Mean of each 20 ms' signal-to-noise ratio in dB, each from -10 to 35.
static double segmental_snr(const int16_t *heard, const int16_t *reference, unsigned count)
{
	double sum = 0;
	unsigned segments = 0;
	for (unsigned at = 0; at + CELL_SAMPLES <= count; at += CELL_SAMPLES) {
		double signal = 0, noise = 1;
		for (unsigned i = at; i < at + CELL_SAMPLES; i++) {
			double wrong = heard[i] - reference[i];
			signal += (double)reference[i] * reference[i];
			noise += wrong * wrong;
		}
		if (signal < 1000.0 * CELL_SAMPLES)
			continue;
		double ratio = 10 * log10(signal / noise);
		sum += ratio < -10 ? -10 : ratio > 35 ? 35 : ratio;
		segments++;
	}
	return segments > 0 ? sum / segments : 0;
}

static int16_t clean[PACKETS * CELL_SAMPLES], heard[PACKETS * CELL_SAMPLES];

static void run(enum protection protection, const bool *lost, int16_t *samples, struct source_stats *ret_stats)
{
	struct source_config config = {.input = SOURCE_TRACK};
	struct bench bench;
	setup(&bench, &config);
	for (int n = 0; n < PACKETS; n++) {
		pass(&bench, 1000 * MS + (uint64_t)n * PACKET_MS * MS);
		if (!lost[n])
			assert_int_equal(give(&bench, n, protection == RED), DROP_NONE);
	}
	pass(&bench, bench.now_ns + 1000 * MS);
	// Not a sample of the time line is missing or too many, whatever was lost.
	assert_int_equal(collect(&bench, samples, PACKETS * CELL_SAMPLES), PACKETS * CELL_SAMPLES);
	source_stats(bench.source, ret_stats);
	teardown(&bench);
}

static void dropped_is_repaired_and_concealed(void **state)
{
	static const double shares[] = {0, 0.01, 0.05, 0.1, 0.2};
	double snr[3][2][ARRAY_SIZE(shares)];
	bool lost[PACKETS];
	struct source_stats stats;
	const char *text = getenv("REPAIR_SEED");
	uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 1;
	(void)state;
	printf("seed %llu\n%6s %6s %6s %8s %5s %5s %9s %8s\n", (unsigned long long)seed, "loss", "burst", "by", "dropped", "RED", "FEC",
		"concealed", "SNR dB");
	for (int protection = PLAIN; protection <= RED; protection++) {
		speak(protection == FEC);
		make_losses(0, 1, seed, lost);
		run((enum protection)protection, lost, clean, &stats);
		for (int bursty = 0; bursty < 2; bursty++) {
			for (unsigned i = 0; i < ARRAY_SIZE(shares); i++) {
				unsigned dropped = make_losses(shares[i], bursty ? 4 : 1, seed + i, lost);
				run((enum protection)protection, lost, heard, &stats);
				double ratio = snr[protection][bursty][i] = segmental_snr(heard, clean, PACKETS * CELL_SAMPLES);
				printf("%4.0f %% %6d %6s %8u %5llu %5llu %9llu %8.1f\n", shares[i] * 100, bursty ? 4 : 1,
					protections[protection], dropped, (unsigned long long)stats.repaired_red,
					(unsigned long long)stats.repaired_fec, (unsigned long long)stats.concealed, ratio);
				assert_int_equal(stats.repaired_red + stats.lost, dropped);
				assert_int_equal(stats.repaired_fec + stats.concealed, stats.lost);
				assert_int_equal(stats.late + stats.duplicate + stats.decode_errors + stats.repaired_nack, 0);
				assert_true(protection != PLAIN || stats.repaired_red + stats.repaired_fec == 0);
				assert_true(shares[i] == 0 || dropped > 0);
				assert_true(shares[i] > 0 || ratio == 35);
			}
		}
	}
	for (unsigned i = 2; i < ARRAY_SIZE(shares); i++) { // each means is worth something, RED the most
		assert_true(snr[FEC][0][i] > snr[PLAIN][0][i] && snr[RED][0][i] > snr[FEC][0][i]);
		assert_true(snr[RED][1][i] > snr[PLAIN][1][i]);
	}
}

// ---- asked for again

// The sender repeats what it is asked for after a round trip; every other repetition is lost too when `half`.
static void run_asking(unsigned round_trip_ms, bool half, struct source_stats *ret_stats, unsigned *ret_dropped,
	unsigned *ret_asked)
{
	ENTERS(worker_role);
	struct source_config config = {.input = SOURCE_TRACK};
	struct bench bench;
	bool lost[PACKETS];
	struct answer {
		uint64_t due_ns; // 0: given
		int packet;
	} answers[1000] = {{0}};
	unsigned turn = 0;
	speak(false);
	*ret_dropped = make_losses(0.05, 2, 3, lost);
	*ret_asked = 0;
	setup(&bench, &config);
	for (uint64_t ms = 0; ms < PACKETS * PACKET_MS + 500; ms++) {
		int n = (int)(ms / PACKET_MS);
		pass(&bench, 1000 * MS + ms * MS);
		if (ms % PACKET_MS == 0 && n < PACKETS && !lost[n])
			give(&bench, n, false);
		for (unsigned i = 0; i < *ret_asked; i++) {
			if (answers[i].due_ns == 0 || answers[i].due_ns > bench.now_ns)
				continue;
			answers[i].due_ns = 0;
			if (!half || turn++ % 2 == 1)
				give(&bench, answers[i].packet, false);
		}
		struct source_ask ask;
		if (!source_ask(bench.source, LEG, bench.now_ns, &ask))
			continue;
		assert_int_equal(ask.ssrc, SSRC);
		for (int i = 0; i < 32; i++) {
			int wanted = (uint16_t)(ask.first + i - 65000);
			if ((ask.missing >> i & 1) == 0)
				continue;
			assert_true(wanted < PACKETS && lost[wanted]); // never for what came
			assert_true(*ret_asked < ARRAY_SIZE(answers));
			answers[(*ret_asked)++] = (struct answer){bench.now_ns + round_trip_ms * MS, wanted};
		}
	}
	source_stats(bench.source, ret_stats);
	printf("round trip %u ms: %u dropped, %u asked for, %llu came in time, %llu late, %llu lost\n", round_trip_ms, *ret_dropped, *ret_asked,
		(unsigned long long)ret_stats->repaired_nack, (unsigned long long)ret_stats->late, (unsigned long long)ret_stats->lost);
	teardown(&bench);
}

static void answered_requests_repair_all(void **state)
{
	struct source_stats stats;
	unsigned dropped, asked;
	(void)state;
	run_asking(12, false, &stats, &dropped, &asked);
	assert_true(dropped > 20);
	assert_int_equal(stats.repaired_nack, dropped);
	assert_int_equal(asked, dropped); // once each
	assert_int_equal(stats.lost + stats.concealed + stats.late, 0);
}

static void slow_answers_teach_the_wait(void **state)
{
	struct source_stats stats;
	unsigned dropped, asked;
	(void)state;
	run_asking(45, false, &stats, &dropped, &asked); // more than a quiet network's wait, less than the bound
	assert_int_equal(stats.repaired_nack + stats.lost, dropped);
	assert_true(stats.repaired_nack > dropped * 8 / 10);
}

static void answers_that_are_too_late_change_nothing(void **state)
{
	struct source_stats stats;
	unsigned dropped, asked;
	(void)state;
	run_asking(150, false, &stats, &dropped, &asked);
	assert_int_equal(stats.lost, dropped);
	assert_int_equal(stats.repaired_nack, 0);
	assert_int_equal(stats.concealed, dropped);
	assert_true(stats.late >= dropped); // each answer
	assert_true(asked <= 4 * dropped);  // within the bound of 60 ms
}

static void lost_answers_are_asked_for_again(void **state)
{
	struct source_stats stats;
	unsigned dropped, asked;
	(void)state;
	run_asking(25, true, &stats, &dropped, &asked);
	assert_int_equal(stats.repaired_nack + stats.lost, dropped);
	assert_true(asked > dropped && stats.repaired_nack > dropped / 2);
}

// ---- clocks

// An hour of a phone whose clock is off: capture times stay true, nothing waits, no delay grows.
static void hour_of_drift(int ppm)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	struct pcm *packets = pcm_create(1000);
	struct source_config config = {.input = SOURCE_TRACK, .opus = packets};
	struct bench bench;
	struct pcm_frame frame;
	uint64_t cursor = 0, lapped = 0;
	double worst_ms = 0;
	const int64_t began_us = 1700000000000000;
	setup(&bench, &config);
	source_set_wanted(bench.source, false); // the time line of packets is the same, and is all that is looked at
	bench.now_ns = 0;
	for (int n = 0; n < 3600 * 1000 / PACKET_MS; n++) {
		uint8_t payload[3] = {0xf8, 0xff, 0xfe};
		bool keep;
		double true_ns = (double)n * PACKET_MS * (double)MS * (1 - ppm * 1e-6); // a fast clock's 20 ms are shorter
		pass(&bench, 1000 * MS + (uint64_t)true_ns);
		if (n % 150 == 1) { // a sender report every 3 s: wall clock and media clock at one moment
			double wall_s = (double)began_us * 1e-6 + 2208988800.0 + true_ns * 1e-9;
			uint64_t ntp = (uint64_t)wall_s << 32 | (uint64_t)((wall_s - floor(wall_s)) * 4294967296.0);
			source_sender_report(bench.source, LEG, SSRC, ntp, (uint32_t)n * 960, bench.now_ns);
		}
		struct source_rtp rtp = {.payload = payload, .payload_bytes = 3, .seq = (uint16_t)n, .timestamp = (uint32_t)n * 960,
			.ssrc = SSRC, .transport = LEG, .arrival_ns = bench.now_ns};
		assert_int_equal(source_rtp_input(bench.source, &rtp, &keep), DROP_NONE);
		assert_int_equal(source_deadline_ns(bench.source), 0);
		assert_int_equal(pcm_read(packets, &cursor, &frame, &lapped), 1); // at once, each
		if (n > 1)
			worst_ms = fmax(worst_ms, fabs((double)(frame.capture_us - began_us) * 1e-3 - true_ns * 1e-6));
	}
	struct source_stats stats;
	source_stats(bench.source, &stats);
	assert_int_equal(stats.lost + stats.late + stats.concealed + stats.dtx_frames, 0);
	printf("%+d ppm: capture time at most %.2f ms off within an hour\n", ppm, worst_ms);
	assert_true(worst_ms < 1);
	teardown(&bench);
	pcm_unref(packets);
}

static void clock_drift_100ppm_for_an_hour(void **state)
{
	(void)state;
	hour_of_drift(100);
	hour_of_drift(-100);
}

// ---- the end of a stream

static void goodbye_ends_the_wait(void **state)
{
	ENTERS(worker_role);
	struct source_config config = {.input = SOURCE_AUTO};
	struct source_stats stats;
	struct source_reception report;
	struct bench bench;
	bool keep;
	(void)state;
	speak(false);
	setup(&bench, &config);
	for (int n = 0; n < 5; n++)
		give(&bench, n, false);
	give(&bench, 6, false); // behind a gap
	assert_true(source_deadline_ns(bench.source) != 0);
	source_goodbye(bench.source, LEG, SSRC + 1); // another's
	source_goodbye(bench.source, LEG + 1, SSRC);
	assert_true(source_deadline_ns(bench.source) != 0);
	assert_true(source_reception_report(bench.source, LEG, bench.now_ns, &report));
	source_goodbye(bench.source, LEG, SSRC);
	source_stats(bench.source, &stats);
	assert_int_equal(stats.frames, 7);
	assert_int_equal(source_deadline_ns(bench.source), 0);
	assert_false(source_reception_report(bench.source, LEG, bench.now_ns, &report));
	// The data way speaks at once, not after two seconds of doubt.
	uint8_t payload[641] = {1};
	struct source_data data = {payload, sizeof(payload), LEG, 1, bench.now_ns, false};
	assert_int_equal(source_data_input(bench.source, &data, &keep), DROP_NONE);
	assert_int_equal(give(&bench, 7, false), DROP_NONE); // and a stream that comes back is heard
	teardown(&bench);
}

// ---- the data way

static unsigned lost_count(const bool *lost, unsigned count)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < count; i++)
		sum += lost[i];
	return sum;
}

static enum drop give_data(struct bench *bench, uint8_t seq, int16_t value, unsigned samples)
{
	ENTERS(worker_role);
	uint8_t payload[4096] = {seq};
	bool keep;
	for (unsigned i = 0; i < samples; i++)
		memcpy(payload + 1 + 2 * i, &value, 2);
	struct source_data data = {payload, 1 + 2 * (size_t)samples, LEG, 1, bench->now_ns, bench->overtaken};
	return source_data_input(bench->source, &data, &keep);
}

// A server repeats what was lost for as long as it takes: each one comes, after 2 to 200 packets that were sent later.
static void what_comes_seconds_late_is_no_new_numbering(void **state)
{
	enum { COUNT = 3000, LATEST = 200 };
	static bool lost[COUNT];
	static uint32_t due[COUNT + LATEST + 1][4];
	static unsigned dues[COUNT + LATEST + 1];
	struct source_config config = {.input = SOURCE_DATA};
	struct overtaken order = {0};
	struct source_stats stats;
	struct bench bench;
	unsigned missing = 0, repeated = 0;
	uint32_t noise = 7;
	(void)state;
	setup(&bench, &config);
	for (uint32_t n = 0; n < COUNT; n++) {
		noise = noise * 1664525u + 1013904223u;
		lost[n] = n > 0 && n < COUNT - 1 && noise >> 28 == 0;
		unsigned at = n + 2 + (noise >> 8) % (LATEST - 1);
		if (lost[n] && dues[at] < ARRAY_SIZE(due[0]))
			due[at][dues[at]++] = n;
		missing += lost[n] && at - n > 3; // 60 ms are waited
	}
	for (uint32_t n = 0; n < COUNT + LATEST; n++) {
		pass(&bench, 1000 * MS + (uint64_t)n * PACKET_MS * MS);
		if (n < COUNT && !lost[n]) {
			bench.overtaken = overtaken(&order, n + 1);
			assert_false(bench.overtaken);
			assert_int_equal(give_data(&bench, (uint8_t)(n + 1), 1, CELL_SAMPLES), DROP_NONE);
		}
		for (unsigned i = 0; i < dues[n]; i++, repeated++) {
			bench.overtaken = overtaken(&order, due[n][i] + 1);
			give_data(&bench, (uint8_t)(due[n][i] + 1), 1, CELL_SAMPLES);
		}
	}
	source_stats(bench.source, &stats);
	assert_int_equal(stats.data_resets, 0);
	assert_int_equal(stats.data_packets + stats.data_lost, COUNT);
	assert_in_range(stats.data_lost, missing - missing / 50, missing + missing / 50); // what comes just in time, or just not
	assert_int_equal(stats.data_packets - (COUNT - lost_count(lost, COUNT)) + stats.data_late, repeated);
	teardown(&bench);
}

static struct source_stats data_over(bool conceal, uint8_t seq_after, unsigned pause_ms, unsigned *ret_samples)
{
	struct source_config config = {.input = SOURCE_DATA, .conceal_data = conceal};
	struct source_stats stats;
	struct bench bench;
	setup(&bench, &config);
	for (uint8_t seq = 200; seq < 210; seq++)
		assert_int_equal(give_data(&bench, seq, seq, CELL_SAMPLES), DROP_NONE);
	pass(&bench, bench.now_ns + pause_ms * MS);
	assert_int_equal(give_data(&bench, seq_after, 7, CELL_SAMPLES), DROP_NONE);
	pass(&bench, bench.now_ns + 100 * MS);
	source_stats(bench.source, &stats);
	*ret_samples = collect(&bench, heard, PACKETS * CELL_SAMPLES);
	for (unsigned i = 0; i < *ret_samples; i++) // what came, and silence between
		assert_int_equal(heard[i], i < 10 * CELL_SAMPLES ? 200 + (int)(i / CELL_SAMPLES)
					   : i < *ret_samples - CELL_SAMPLES ? 0 : 7);
	teardown(&bench);
	return stats;
}

static void lost_data_becomes_silence(void **state)
{
	static const struct {
		const char *name;
		bool conceal;
		uint8_t seq_after;
		unsigned pause_ms;
		unsigned lost, resets, silence;
	} cases[] = {
		{"three_lost", true, 213, 80, 3, 0, 3},
		{"left_out_unless_asked_for", false, 213, 80, 3, 0, 0},
		{"fifty_lost_over_the_wrap", true, 4, 1000, 50, 0, 50},
		{"nothing_lost_over_a_pause", true, 210, 5000, 0, 0, 0},
		{"four_lost_beside_a_pause", true, 214, 5000, 4, 0, 4},
		{"outage_4s", true, 210 + 199 - 256, 4000, 199, 0, 0},
		{"outage_6s", true, 210 + 299 - 512 + 256, 6000, 299, 0, 0},
		{"outage_30s", true, (210 + 1499) % 256, 30100, 1499, 0, 0},
		{"app_started_over", true, 1, 5000, 0, 1, 0},
		{"app_started_over_and_its_first_was_lost", true, 2, 5000, 0, 1, 0},
		{"app_started_over_at_once", true, 150, 600, 0, 1, 0},
		{"longer_than_a_pause_is_absence", true, 210 + 110 - 256, 2300, 110, 0, 0},
	};
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned samples;
		struct source_stats stats = data_over(cases[i].conceal, cases[i].seq_after, cases[i].pause_ms, &samples);
		if (stats.data_lost != cases[i].lost || stats.data_resets != cases[i].resets ||
			stats.data_concealed != cases[i].silence || samples != (11 + cases[i].silence) * CELL_SAMPLES)
			fail_msg("%s: %llu lost, %llu resets, %llu concealed, %u samples", cases[i].name,
				(unsigned long long)stats.data_lost, (unsigned long long)stats.data_resets,
				(unsigned long long)stats.data_concealed, samples);
	}
}

// The same networks on the data way, which has no repair of its own: each lost packet is told, and with silence in its place every
// other one is where it belongs.
static void dropped_data_is_told(void **state)
{
	static const double shares[] = {0, 0.01, 0.05, 0.1, 0.2};
	struct source_config config = {.input = SOURCE_DATA, .conceal_data = true};
	bool lost[PACKETS];
	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(shares); i++) {
		unsigned dropped = make_losses(shares[i / 2], i % 2 ? 4 : 1, 1 + i, lost);
		struct source_stats stats;
		struct bench bench;
		setup(&bench, &config);
		for (int n = 0; n < PACKETS; n++) {
			pass(&bench, 1000 * MS + (uint64_t)n * PACKET_MS * MS);
			if (!lost[n])
				assert_int_equal(give_data(&bench, (uint8_t)(n + 1), (int16_t)(n + 1), CELL_SAMPLES), DROP_NONE);
		}
		pass(&bench, bench.now_ns + 1000 * MS);
		source_stats(bench.source, &stats);
		assert_int_equal(stats.data_lost, dropped);
		assert_int_equal(stats.data_concealed, dropped);
		assert_int_equal(stats.data_late + stats.data_resets + stats.data_duplicate, 0);
		assert_int_equal(collect(&bench, heard, PACKETS * CELL_SAMPLES), PACKETS * CELL_SAMPLES);
		for (int n = 0; n < PACKETS * CELL_SAMPLES; n++)
			assert_int_equal(heard[n], lost[n / CELL_SAMPLES] ? 0 : n / CELL_SAMPLES + 1);
		teardown(&bench);
	}
}

// What was given up comes after all, in a run and in order, as a server sends it that repeats what was lost: late, and no app that
// started over, however long it paused. One that did is heard at once or, where its numbers meet the holes, a moment later.
static void late_runs_are_no_restart(void **state)
{
	static const struct {
		const char *name;
		uint8_t first;   // number of the first packet; ten come, four are lost, ten more come
		unsigned pause_ms;
		uint8_t from, count; // then these
		unsigned late, resets;
	} cases[] = {
		{"a_run_of_four", 100, 0, 110, 4, 4, 0},
		{"after_a_stall", 100, 1200, 110, 4, 4, 0},
		{"over_the_wrap", 244, 1200, 254, 4, 4, 0},
		{"twice", 100, 0, 111, 1, 1, 0},
		{"restart_after_a_pause", 100, 3000, 1, 6, 0, 1},
		{"restart_at_once", 100, 20, 1, 6, 0, 1},
		{"restart_behind_the_beginning", 20, 20, 1, 6, 0, 1},
		{"restart_anywhere", 100, 3000, 60, 6, 0, 1},
		{"restart_that_meets_the_hole", 100, 3000, 112, 6, 2, 1},
	};
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct source_config config = {.input = SOURCE_DATA};
		struct source_stats stats;
		struct bench bench;
		setup(&bench, &config);
		for (unsigned n = 0; n < 24; n++) {
			if (n < 10 || n >= 14)
				assert_int_equal(give_data(&bench, (uint8_t)(cases[i].first + n), 1, CELL_SAMPLES), DROP_NONE);
			pass(&bench, bench.now_ns + PACKET_MS * MS);
		}
		pass(&bench, bench.now_ns + cases[i].pause_ms * MS);
		for (unsigned n = 0; n < cases[i].count; n++) {
			give_data(&bench, (uint8_t)(cases[i].from + n), 2, CELL_SAMPLES);
			pass(&bench, bench.now_ns + 1 * MS);
		}
		source_stats(bench.source, &stats);
		if (stats.data_lost != 4 || stats.data_late != cases[i].late || stats.data_resets != cases[i].resets)
			fail_msg("%s: %llu lost, %llu late, %llu duplicate, %llu resets", cases[i].name, (unsigned long long)stats.data_lost,
				(unsigned long long)stats.data_late, (unsigned long long)stats.data_duplicate,
				(unsigned long long)stats.data_resets);
		teardown(&bench);
	}
}

static void too_large_a_message_is_named(void **state)
{
	struct source_config config = {.input = SOURCE_DATA};
	struct source_stats stats;
	struct bench bench;
	(void)state;
	setup(&bench, &config);
	assert_int_equal(give_data(&bench, 1, 1, 1024), DROP_NONE); // 64 ms: the most
	assert_int_equal(give_data(&bench, 2, 1, 1025), DROP_DATA_TOO_LARGE);
	assert_int_equal(give_data(&bench, 2, 1, CELL_SAMPLES), DROP_NONE);
	source_stats(bench.source, &stats);
	assert_int_equal(stats.data_late + stats.data_duplicate + stats.data_lost, 0);
	assert_int_equal(stats.data_packets, 2);
	teardown(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dropped_is_repaired_and_concealed),
		cmocka_unit_test(answered_requests_repair_all),
		cmocka_unit_test(slow_answers_teach_the_wait),
		cmocka_unit_test(answers_that_are_too_late_change_nothing),
		cmocka_unit_test(lost_answers_are_asked_for_again),
		cmocka_unit_test(clock_drift_100ppm_for_an_hour),
		cmocka_unit_test(goodbye_ends_the_wait),
		cmocka_unit_test(what_comes_seconds_late_is_no_new_numbering), cmocka_unit_test(lost_data_becomes_silence),
		cmocka_unit_test(dropped_data_is_told),
		cmocka_unit_test(late_runs_are_no_restart),
		cmocka_unit_test(too_large_a_message_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
