// SPDX-License-Identifier: ISC
//
// speech.c - Opus packets as phones send them, out of a made-up voice.
//
// Runs on: any.

#include "bench/speech.h"

#include <math.h>
#include <opus/opus.h>

#define RATE 48000
#define FRAME (RATE / 50)
#define FORMANTS 3

struct voice {
	double phase, memory[FORMANTS][2];
	uint32_t noise;
	unsigned at; // sample
};

static const double vowels[][FORMANTS] = {{730, 1090, 2440}, {270, 2290, 3010}, {300, 870, 2240}, {530, 1840, 2480},
	{570, 840, 2410}, {440, 1020, 2240}};

static double noise(struct voice *voice)
{
	voice->noise = voice->noise * 1664525u + 1013904223u;
	return (double)(int32_t)voice->noise / 2147483648.0;
}

static double sample(struct voice *voice)
{
	double t = (double)voice->at++ / RATE;
	unsigned syllable = (unsigned)(t / 0.18);
	double within = t / 0.18 - syllable;
	bool hiss = syllable % 4 == 3, pause = syllable % 11 == 10;
	double pitch = 110 + 25 * sin(t * 2.1) + 8 * sin(t * 31);
	voice->phase += pitch / RATE;
	double pulse = 0;
	if (voice->phase >= 1) {
		voice->phase -= 1;
		pulse = 1;
	}
	double input = hiss ? noise(voice) * 0.05 : pulse + noise(voice) * 0.004;
	double sum = 0;
	for (unsigned f = 0; f < FORMANTS; f++) {
		double hz = vowels[syllable % 6][f] * (hiss ? 2.2 : 1), width = exp(-M_PI * (80 + 40 * f) / RATE);
		double out = input + 2 * width * cos(2 * M_PI * hz / RATE) * voice->memory[f][0] -
			     width * width * voice->memory[f][1];
		voice->memory[f][1] = voice->memory[f][0];
		voice->memory[f][0] = out;
		sum += out / (1 + f);
	}
	double envelope = pause ? 0.002 : sin(M_PI * within);
	return sum * 0.08 * envelope;
}

int speech_encode(uint8_t (*ret_frames)[SPEECH_BYTES], unsigned count)
{
	struct voice voice = {.noise = 7};
	int error;
	OpusEncoder *encoder = opus_encoder_create(RATE, 1, OPUS_APPLICATION_VOIP, &error);
	if (encoder == NULL)
		return -ENOMEM;
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(SPEECH_BYTES * 8 * 50));
	opus_encoder_ctl(encoder, OPUS_SET_VBR(0));
	opus_encoder_ctl(encoder, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE));
	opus_encoder_ctl(encoder, OPUS_SET_BANDWIDTH(OPUS_BANDWIDTH_FULLBAND));
	opus_encoder_ctl(encoder, OPUS_SET_COMPLEXITY(5));
	int ret = 0;
	// The first frames settle the encoder's choice of mode.
	for (unsigned i = 0; ret == 0 && i < count + 10; i++) {
		float samples[FRAME];
		uint8_t packet[SPEECH_BYTES];
		for (unsigned s = 0; s < FRAME; s++)
			samples[s] = (float)sample(&voice);
		int bytes = opus_encode_float(encoder, samples, FRAME, packet, sizeof(packet));
		if (i < 10)
			continue;
		if (bytes != SPEECH_BYTES || packet[0] >> 3 != SPEECH_CONFIG)
			ret = -EIO;
		else
			memcpy(ret_frames[i - 10], packet, SPEECH_BYTES);
	}
	opus_encoder_destroy(encoder);
	return ret;
}
