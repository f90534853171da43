// SPDX-License-Identifier: ISC
//
// codec_bench.c - what libopus costs: decode to 16 kHz as relayd does it, to 48 kHz, FEC and concealment, by number of decoders.
//
// Runs on: any.

#include <math.h>
#include <opus/opus.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/speech.h"
#include "dataplane/opus_dec.h"

#define FRAMES 250

static uint8_t speech[FRAMES][SPEECH_BYTES];

enum way { WAY_RELAY, WAY_BARE_16, WAY_BARE_48, WAY_CONCEAL, WAY_COUNT };
static const char *const ways[] = {"relay, 16 kHz", "bare libopus, 16 kHz", "bare libopus, 48 kHz", "concealment, 16 kHz"};

struct decoders {
	unsigned count;
	uint8_t **memory;
};

static void decoders_open(struct decoders *decoders, unsigned count, int rate)
{
	decoders->count = count;
	decoders->memory = calloc(count, sizeof(void *));
	for (unsigned i = 0; i < count; i++) {
		decoders->memory[i] = malloc(opus_dec_bytes());
		if (decoders->memory[i] == NULL || opus_decoder_init((OpusDecoder *)decoders->memory[i], rate, 1) != OPUS_OK)
			exit(1);
	}
}

static void decoders_close(struct decoders *decoders)
{
	for (unsigned i = 0; i < decoders->count; i++)
		free(decoders->memory[i]);
	free(decoders->memory);
}

static uint64_t decode(enum way way, uint8_t *memory, const uint8_t *packet)
{
	int16_t out[OPUS_DEC_SAMPLES_MAX];
	struct opus_dec dec = {memory};
	int samples;
	uint64_t began = bench_now();
	if (way == WAY_RELAY)
		samples = opus_dec_packet(&dec, packet, SPEECH_BYTES, out);
	else if (way == WAY_CONCEAL)
		samples = opus_dec_conceal(&dec, OPUS_DEC_RATE_HZ / 50, out);
	else
		samples = opus_decode((OpusDecoder *)memory, packet, SPEECH_BYTES, out, OPUS_DEC_SAMPLES_MAX, 0);
	uint64_t cycles = bench_now() - began;
	bench_keep(out);
	if (samples <= 0)
		abort();
	return cycles;
}

static double measure(enum way way, unsigned users, unsigned packets, double *ret_p99)
{
	struct decoders decoders;
	struct bench_series series = {0};
	decoders_open(&decoders, users, way == WAY_BARE_48 ? 48000 : 16000);
	unsigned rounds = MAX_OF(packets / users, 2u);
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned u = 0; u < users; u++) {
			const uint8_t *packet = speech[(r + u * 7) % FRAMES];
			// Concealment needs something to go on from.
			if (way == WAY_CONCEAL && r % 2 == 0) {
				decode(WAY_RELAY, decoders.memory[u], packet);
				continue;
			}
			uint64_t cycles = decode(way, decoders.memory[u], packet);
			if (r > 0)
				bench_add(&series, cycles);
		}
	}
	double p50 = bench_percentile(&series, 50);
	*ret_p99 = bench_percentile(&series, 99);
	bench_free(&series);
	decoders_close(&decoders);
	return p50;
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "codec", "Opus as phones send it: hybrid fullband, mono, 20 ms, 121 bytes");
	if (speech_encode(speech, FRAMES) < 0) {
		fprintf(stderr, "the encoder does not make such packets\n");
		return 1;
	}
	static const unsigned users[] = {1, 100, 400, 900};
	unsigned packets = bench_short() ? 3000 : 20000;
	unsigned table = bench_table("A frame of 20 ms", "what|users|p50 us|p99 us|users a core");
	unsigned plot = bench_plot("Decoding a 20 ms frame", "users round robin", "us a frame", true);
	double relay = 0, bare = 0, p99;
	for (unsigned n = 0; n < ARRAY_SIZE(users); n++) {
		for (enum way way = 0; way < WAY_COUNT; way++) {
			double p50 = measure(way, users[n], packets, &p99);
			double values[] = {users[n], bench_ns(p50) / 1e3, bench_ns(p99) / 1e3, bench_cycles_per_s() / 50 / p50};
			bench_row(table, ways[way], values, 4);
			bench_point(plot, ways[way], users[n], bench_ns(p50) / 1e3);
			if (users[n] == 400 && way == WAY_RELAY)
				relay = p50;
			if (users[n] == 400 && way == WAY_BARE_16)
				bare = p50;
		}
	}
	bench_note("A decoder is %zu bytes.", opus_dec_bytes());
	bench_check("relay's decoder against bare libopus, 400 users", relay / bare, true, 1.25);
	return bench_end();
}
