// SPDX-License-Identifier: ISC
//
// ogg_opus.h - Opus packets, as they came, into an Ogg stream (RFC 3533, RFC 7845); gaps are filled so that time stays true. Pure.
//
// A gap becomes packets of one byte: the configuration of what was heard before with an empty frame, at which every decoder
// conceals (RFC 7845 section 4.1). The stream begins with a gap as long as its pre-skip: time 0 of what is heard is the first sample
// of the first packet.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define OGG_OPUS_PACKET_MAX 1275
#define OGG_OPUS_PAGE_MAX (27 + 255 + 255 * 255)
#define OGG_OPUS_TICKS_PER_MS 48

struct ogg_opus; // one logical stream; pages are given out as they fill

struct ogg_opus *ogg_opus_create(uint32_t serial); // NULL: out of memory
void ogg_opus_free(struct ogg_opus *ogg);          // takes NULL
// Adds one packet to the page being built; -EINVAL: not an Opus packet, or its time is not ticks; -ENOBUFS: the page is full,
// take it first. ticks at 48 kHz.
int ogg_opus_packet(struct ogg_opus *ogg, const uint8_t *packet, size_t bytes, uint32_t ticks);
// Adds concealment for a gap. ticks are multiples of 2.5 ms; -ENOBUFS as above: *ret_done of it are in.
int ogg_opus_gap(struct ogg_opus *ogg, uint32_t ticks, uint32_t *ret_done);
// The page built so far, behind the head pages the first time; last: with the end-of-stream mark, and if need be empty. Bytes; 0:
// nothing to give. Valid until the next call.
size_t ogg_opus_page(struct ogg_opus *ogg, bool last, const uint8_t **ret_page);

// Duration of a packet in ticks of 48 kHz (RFC 6716 3.1), or -EINVAL.
int ogg_opus_ticks(const uint8_t *packet, size_t bytes);
