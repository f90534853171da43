// SPDX-License-Identifier: ISC
//
// oggopus.c - Ogg/Opus (RFC 7845) as it arrives. Pages by libogg, decoding by libopus.
//
// Runs on: any; the owner serialises.
#include "tests/soniox/oggopus.h"

#include <ogg/ogg.h>
#include <opus.h>
#include <stdlib.h>

#define SAMPLES_MAX 1920 // 120 ms at 16 kHz: the longest packet

enum expect {
	EXPECT_HEAD,
	EXPECT_TAGS,
	EXPECT_AUDIO,
};

struct oggopus {
	oggopus_pcm_fn *pcm;
	oggopus_packet_fn *packet;
	void *arg;
	ogg_sync_state sync;
	ogg_stream_state stream;
	bool has_stream;
	enum expect expect;
	uint32_t skip;        // samples at 16 kHz still to be thrown away
	uint64_t samples_48k; // of the packets so far, pre-skip included: what the granule position counts
	int64_t granule_base; // granule position before the first packet; -1: not known yet (a stream may begin late)
	OpusDecoder *decoder;
	struct oggopus_counts counts;
};

struct oggopus *oggopus_create(oggopus_pcm_fn *pcm, oggopus_packet_fn *packet, void *arg)
{
	struct oggopus *ogg = calloc(1, sizeof(*ogg));
	if (ogg == NULL)
		return NULL;
	ogg->pcm = pcm;
	ogg->packet = packet;
	ogg->arg = arg;
	ogg_sync_init(&ogg->sync);
	return ogg;
}

void oggopus_destroy(struct oggopus *ogg)
{
	if (ogg == NULL)
		return;
	if (ogg->has_stream)
		ogg_stream_clear(&ogg->stream);
	ogg_sync_clear(&ogg->sync);
	opus_decoder_destroy(ogg->decoder);
	free(ogg);
}

// OpusHead, RFC 7845 section 5.1.
static int on_head(struct oggopus *ogg, const ogg_packet *packet)
{
	const uint8_t *p = packet->packet;
	if (packet->bytes < 19 || memcmp(p, "OpusHead", 8) != 0 || (p[8] & 0xf0) != 0 || p[9] < 1 || p[9] > 2 || p[18] != 0)
		return -EBADMSG;
	ogg->skip = (uint32_t)(p[10] | p[11] << 8) / 3;
	ogg->samples_48k = 0;
	ogg->granule_base = -1;
	opus_decoder_destroy(ogg->decoder);
	ogg->decoder = NULL;
	int status = OPUS_OK;
	if (ogg->pcm != NULL) {
		ogg->decoder = opus_decoder_create(16000, 1, &status);
		if (ogg->decoder == NULL)
			return -ENOMEM;
		opus_decoder_ctl(ogg->decoder, OPUS_SET_GAIN((int16_t)(p[16] | p[17] << 8)));
	}
	return 0;
}

static int on_audio(struct oggopus *ogg, const ogg_packet *packet)
{
	int16_t samples[SAMPLES_MAX];
	int count = opus_packet_get_nb_samples(packet->packet, (opus_int32)packet->bytes, 16000);
	if (packet->bytes < 1 || count <= 0 || count > SAMPLES_MAX)
		return -EBADMSG;
	if (ogg->pcm != NULL) {
		count = opus_decode(ogg->decoder, packet->packet, (opus_int32)packet->bytes, samples, SAMPLES_MAX, 0);
		if (count <= 0)
			return -EBADMSG;
	}
	ogg->counts.packets++;
	ogg->samples_48k += (uint32_t)count * 3;
	uint32_t skipped = MIN_OF(ogg->skip, (uint32_t)count);
	ogg->skip -= skipped;
	if (ogg->pcm != NULL)
		ogg->pcm(ogg->arg, samples + skipped, (size_t)count - skipped);
	else if (skipped < (uint32_t)count) // what pre-skip takes whole is not audio
		ogg->packet(ogg->arg, packet->packet, (size_t)packet->bytes, (uint32_t)count - skipped);
	return 0;
}

static int on_packet(struct oggopus *ogg, const ogg_packet *packet)
{
	int status = 0;
	switch (ogg->expect) {
	case EXPECT_HEAD:
		status = on_head(ogg, packet);
		ogg->expect = EXPECT_TAGS;
		break;
	case EXPECT_TAGS:
		if (packet->bytes < 8 || memcmp(packet->packet, "OpusTags", 8) != 0)
			status = -EBADMSG;
		ogg->expect = EXPECT_AUDIO;
		break;
	case EXPECT_AUDIO:
		status = on_audio(ogg, packet);
		break;
	}
	return status;
}

// A page's granule position counts every sample of the packets that end on it (section 4); only a last page may say less.
static void check_granule(struct oggopus *ogg, const ogg_page *page)
{
	int64_t granule = ogg_page_granulepos(page);
	if (granule < 0 || ogg->samples_48k == 0)
		return;
	if (ogg->granule_base < 0)
		ogg->granule_base = MAX_OF(granule - (int64_t)ogg->samples_48k, 0);
	int64_t right = ogg->granule_base + (int64_t)ogg->samples_48k;
	if (granule != right && !(ogg_page_eos(page) && granule < right))
		ogg->counts.granule_errors++;
}

static int on_page(struct oggopus *ogg, ogg_page *page)
{
	if (ogg_page_bos(page)) { // the first stream, or the next one of a chain
		if (ogg->has_stream)
			ogg_stream_clear(&ogg->stream);
		ogg->has_stream = ogg_stream_init(&ogg->stream, ogg_page_serialno(page)) == 0;
		ogg->expect = EXPECT_HEAD;
	}
	if (!ogg->has_stream || ogg_stream_pagein(&ogg->stream, page) != 0)
		return -EBADMSG;
	ogg->counts.pages++;
	ogg_packet packet;
	for (int got; (got = ogg_stream_packetout(&ogg->stream, &packet)) != 0;) {
		int status = 0;
		if (got < 0)
			ogg->counts.holes++;
		else
			status = on_packet(ogg, &packet);
		if (status < 0)
			return status;
	}
	check_granule(ogg, page);
	return 0;
}

int oggopus_put(struct oggopus *ogg, const uint8_t *data, size_t bytes)
{
	char *room = ogg_sync_buffer(&ogg->sync, (long)bytes);
	if (room == NULL)
		return -ENOMEM;
	memcpy(room, data, bytes);
	ogg_sync_wrote(&ogg->sync, (long)bytes);
	ogg_page page;
	for (long got; (got = ogg_sync_pageseek(&ogg->sync, &page)) != 0;) {
		if (got < 0) {
			ogg->counts.skipped_bytes += (uint64_t)-got;
			continue;
		}
		int status = on_page(ogg, &page);
		if (status < 0)
			return status;
	}
	return 0;
}

struct oggopus_counts oggopus_counts(const struct oggopus *ogg)
{
	return ogg->counts;
}
