// SPDX-License-Identifier: ISC
//
// opus_dec.h - Opus straight to 16 kHz mono: decode, in-band FEC, concealment. The state is inside its owner.
//
// Runs on: worker.
#pragma once

#include "dataplane/base.h"

#define OPUS_DEC_RATE_HZ 16000
#define OPUS_DEC_SAMPLES_MAX (OPUS_DEC_RATE_HZ * 120 / 1000) // the longest packet
#define OPUS_DEC_TICKS_PER_SAMPLE 3                          // RTP clock 48 kHz

struct opus_dec {
	void *state; // behind the struct that holds it
};

size_t opus_dec_bytes(void);
void opus_dec_init(struct opus_dec *dec, void *memory); // memory of opus_dec_bytes, 8-byte aligned
void opus_dec_reset(struct opus_dec *dec);
// All return samples written or -EINVAL. out has room for OPUS_DEC_SAMPLES_MAX.
int opus_dec_packet(struct opus_dec *dec, const uint8_t *packet, size_t bytes, int16_t *out);
// The packet before this one, from its in-band copy; samples is that packet's length.
int opus_dec_fec(struct opus_dec *dec, const uint8_t *next_packet, size_t bytes, int samples, int16_t *out);
int opus_dec_conceal(struct opus_dec *dec, int samples, int16_t *out);
// Length of a packet in samples, without decoding.
int opus_dec_duration(const uint8_t *packet, size_t bytes);
bool opus_dec_has_fec(const uint8_t *packet, size_t bytes);
