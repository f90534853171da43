// SPDX-License-Identifier: ISC
//
// opus_dec.c - Opus straight to 16 kHz mono.
//
// Runs on: worker.

#include "dataplane/opus_dec.h"

#include <opus/opus.h>

#include "dataplane/hot.h"

size_t opus_dec_bytes(void)
{
	return (size_t)opus_decoder_get_size(1);
}

void opus_dec_init(struct opus_dec *dec, void *memory)
{
	dec->state = memory;
	opus_decoder_init(dec->state, OPUS_DEC_RATE_HZ, 1);
}

void opus_dec_reset(struct opus_dec *dec)
{
	opus_decoder_ctl(dec->state, OPUS_RESET_STATE);
}

int opus_dec_packet(struct opus_dec *dec, const uint8_t *packet, size_t bytes, int16_t *out)
{
	int samples = opus_decode(dec->state, packet, (opus_int32)bytes, out, OPUS_DEC_SAMPLES_MAX, 0);
	return samples > 0 ? samples : -EINVAL;
}

int opus_dec_fec(struct opus_dec *dec, const uint8_t *next_packet, size_t bytes, int samples, int16_t *out)
{
	int got = opus_decode(dec->state, next_packet, (opus_int32)bytes, out, samples, 1);
	return got > 0 ? got : -EINVAL;
}

int opus_dec_conceal(struct opus_dec *dec, int samples, int16_t *out)
{
	int got = opus_decode(dec->state, NULL, 0, out, samples, 0);
	return got > 0 ? got : -EINVAL;
}

int opus_dec_duration(const uint8_t *packet, size_t bytes)
{
	int samples = opus_packet_get_nb_samples(packet, (opus_int32)bytes, OPUS_DEC_RATE_HZ);
	return samples > 0 && samples <= OPUS_DEC_SAMPLES_MAX ? samples : -EINVAL;
}

bool opus_dec_has_fec(const uint8_t *packet, size_t bytes)
{
	// RFC 6716 4.2.3: a SILK frame begins with a VAD bit per frame, then the LBRR flag. CELT-only packets have none.
	if (bytes < 2 || packet[0] & 0x80)
		return false;
	const unsigned char *frames[48];
	opus_int16 sizes[48];
	if (opus_packet_parse(packet, (opus_int32)bytes, NULL, frames, sizes, NULL) <= 0 || sizes[0] <= 0)
		return false;
	int samples = opus_packet_get_samples_per_frame(packet, 48000);
	int silk_frames = samples > 960 ? samples / 960 : 1;
	return (frames[0][0] >> (7 - silk_frames) & 1) != 0;
}
