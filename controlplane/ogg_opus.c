// SPDX-License-Identifier: ISC
//
// ogg_opus.c - Opus packets, as they came, into an Ogg stream (RFC 3533, RFC 7845).
//
// Runs on: any.

#include "controlplane/ogg_opus.h"

#include <stdlib.h>

#define SEGMENTS_MAX 255
#define STEP_TICKS 120 // 2.5 ms
#define TICKS_MAX 5760 // 120 ms, the longest packet
#define PRE_SKIP 3840  // 80 ms, as RFC 7845 section 4.2 has it for a stream out of the middle of something

#define PAGE_BEGIN 2 // header type flags
#define PAGE_END 4

struct ogg_opus {
	uint32_t serial, sequence;
	uint64_t granule; // samples at 48 kHz so far, all packets
	bool primed, begun, ended;
	uint8_t toc; // of the last packet heard
	unsigned segments;
	size_t body_bytes;
	uint8_t lacing[SEGMENTS_MAX];
	uint8_t body[SEGMENTS_MAX * 255];
	size_t out_bytes;
	uint8_t out[2 * 128 + OGG_OPUS_PAGE_MAX]; // head, tags, and a page
};

// Frame size of a configuration in ticks (RFC 6716 table 2).
static uint32_t config_ticks(unsigned config)
{
	static const uint16_t silk[] = {480, 960, 1920, 2880}, hybrid[] = {480, 960}, celt[] = {120, 240, 480, 960};
	return config < 12 ? silk[config & 3] : config < 16 ? hybrid[config & 1] : celt[config & 3];
}

int ogg_opus_ticks(const uint8_t *packet, size_t bytes)
{
	if (bytes < 1 || bytes > OGG_OPUS_PACKET_MAX || ((packet[0] & 3) == 3 && bytes < 2))
		return -EINVAL;
	unsigned frames = (packet[0] & 3) == 0 ? 1 : (packet[0] & 3) < 3 ? 2 : packet[1] & 63;
	uint32_t ticks = config_ticks(packet[0] >> 3) * frames;
	return ticks == 0 || ticks > TICKS_MAX ? -EINVAL : (int)ticks;
}

struct ogg_opus *ogg_opus_create(uint32_t serial)
{
	struct ogg_opus *ogg = calloc(1, sizeof(*ogg));
	if (ogg == NULL)
		return NULL;
	ogg->serial = serial;
	ogg->toc = 31 << 3; // until something is heard: CELT, full band, 20 ms, mono
	return ogg;
}

void ogg_opus_free(struct ogg_opus *ogg)
{
	free(ogg);
}

// ---- pages

// CRC of Ogg: polynomial 0x04c11db7, not reflected, from zero.
static uint32_t crc_of(const uint8_t *data, size_t bytes)
{
	static uint32_t table[256];
	if (table[1] == 0) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t crc = i << 24;
			for (unsigned bit = 0; bit < 8; bit++)
				crc = crc << 1 ^ (crc & 0x80000000u ? 0x04c11db7u : 0);
			table[i] = crc;
		}
	}
	uint32_t crc = 0;
	for (size_t i = 0; i < bytes; i++)
		crc = crc << 8 ^ table[(crc >> 24 ^ data[i]) & 255];
	return crc;
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

// Appends a page to what goes out.
static void page_write(struct ogg_opus *ogg, uint8_t flags, uint64_t granule, const uint8_t *lacing, unsigned segments,
	const uint8_t *body, size_t body_bytes)
{
	uint8_t *page = ogg->out + ogg->out_bytes;
	size_t bytes = 27 + segments + body_bytes;
	memcpy(page, "OggS", 4);
	page[4] = 0;
	page[5] = flags;
	put_le32(page + 6, (uint32_t)granule);
	put_le32(page + 10, (uint32_t)(granule >> 32));
	put_le32(page + 14, ogg->serial);
	put_le32(page + 18, ogg->sequence++);
	put_le32(page + 22, 0);
	page[26] = (uint8_t)segments;
	if (segments > 0)
		memcpy(page + 27, lacing, segments);
	if (body_bytes > 0)
		memcpy(page + 27 + segments, body, body_bytes);
	put_le32(page + 22, crc_of(page, bytes));
	ogg->out_bytes += bytes;
}

static void head_write(struct ogg_opus *ogg)
{
	// Version 1, one channel, pre-skip, 48 kHz, gain 0, mapping family 0.
	static const uint8_t head[19] = {
		'O', 'p', 'u', 's', 'H', 'e', 'a', 'd', 1, 1, PRE_SKIP & 255, PRE_SKIP >> 8, 0x80, 0xbb, 0, 0, 0, 0, 0};
	static const uint8_t tags[21] = {'O', 'p', 'u', 's', 'T', 'a', 'g', 's', 5, 0, 0, 0, 'r', 'e', 'l', 'a', 'y', 0, 0, 0, 0};
	static const uint8_t head_lacing[] = {sizeof(head)}, tags_lacing[] = {sizeof(tags)};
	page_write(ogg, PAGE_BEGIN, 0, head_lacing, 1, head, sizeof(head));
	page_write(ogg, 0, 0, tags_lacing, 1, tags, sizeof(tags));
}

// ---- packets

static int packet_add(struct ogg_opus *ogg, const uint8_t *packet, size_t bytes, uint32_t ticks)
{
	unsigned segments = (unsigned)(bytes / 255) + 1;
	if (ogg->segments + segments > SEGMENTS_MAX)
		return -ENOBUFS;
	for (size_t left = bytes;; left -= 255) {
		ogg->lacing[ogg->segments++] = (uint8_t)MIN_OF(left, (size_t)255);
		if (left < 255)
			break;
	}
	memcpy(ogg->body + ogg->body_bytes, packet, bytes);
	ogg->body_bytes += bytes;
	ogg->granule += ticks;
	return 0;
}

// The configuration for a concealed piece: of the mode and bandwidth heard last, as long as fits. Short ends are CELT's.
static unsigned gap_config(uint8_t toc, uint32_t ticks)
{
	unsigned config = toc >> 3;
	unsigned first = config < 12 ? config & ~3u : config < 16 ? config & ~1u : config & ~3u;
	unsigned count = config >= 12 && config < 16 ? 2 : 4;
	for (unsigned i = count; i-- > 0;)
		if (config_ticks(first + i) <= MIN_OF(ticks, 960u))
			return first + i;
	return ticks >= 240 ? 29 : 28;
}

static int gap_add(struct ogg_opus *ogg, uint32_t ticks, uint32_t *ret_done)
{
	while (*ret_done < ticks) {
		unsigned config = gap_config(ogg->toc, ticks - *ret_done);
		uint8_t packet = (uint8_t)(config << 3 | (ogg->toc & 4)); // one frame of no bytes; stereo as before
		int ret = packet_add(ogg, &packet, 1, config_ticks(config));
		if (ret < 0)
			return ret;
		*ret_done += config_ticks(config);
	}
	return 0;
}

// What pre-skip takes away again: a gap, which changes nothing in a decoder that has heard nothing yet.
static void prime(struct ogg_opus *ogg)
{
	uint32_t done = 0;
	if (!ogg->primed)
		(void)gap_add(ogg, PRE_SKIP, &done); // the page is empty: it fits
	ogg->primed = true;
}

int ogg_opus_packet(struct ogg_opus *ogg, const uint8_t *packet, size_t bytes, uint32_t ticks)
{
	int own = ogg_opus_ticks(packet, bytes);
	if (own < 0 || (uint32_t)own != ticks || ogg->ended)
		return -EINVAL;
	if (!ogg->primed)
		ogg->toc = packet[0];
	prime(ogg);
	int ret = packet_add(ogg, packet, bytes, ticks);
	if (ret == 0)
		ogg->toc = packet[0];
	return ret;
}

int ogg_opus_gap(struct ogg_opus *ogg, uint32_t ticks, uint32_t *ret_done)
{
	*ret_done = 0;
	if (ticks % STEP_TICKS != 0 || ogg->ended)
		return -EINVAL;
	prime(ogg);
	return gap_add(ogg, ticks, ret_done);
}

size_t ogg_opus_page(struct ogg_opus *ogg, bool last, const uint8_t **ret_page)
{
	ogg->out_bytes = 0;
	*ret_page = ogg->out;
	if (last && !ogg->ended)
		prime(ogg);
	if (ogg->ended || (ogg->segments == 0 && !last))
		return 0;
	if (!ogg->begun)
		head_write(ogg);
	ogg->begun = true;
	ogg->ended = last;
	uint64_t granule = ogg->segments > 0 ? ogg->granule : UINT64_MAX; // no packet ends on this page (RFC 3533 section 6)
	page_write(ogg, last ? PAGE_END : 0, granule, ogg->lacing, ogg->segments, ogg->body, ogg->body_bytes);
	ogg->segments = 0;
	ogg->body_bytes = 0;
	return ogg->out_bytes;
}
