// SPDX-License-Identifier: ISC
//
// oggopus.h - Ogg/Opus (RFC 7845) as it arrives, in pieces of any size: packets, and 16 kHz mono samples if wanted.
//
// Runs on: any; the owner serialises.
#pragma once

#include "dataplane/base.h"

struct oggopus;

struct oggopus_counts {
	uint64_t pages, packets;   // packets: of audio
	uint64_t holes;            // missing pages
	uint64_t skipped_bytes;    // bytes between pages: damage
	uint64_t granule_errors;   // pages whose granule position is not the number of samples so far
};

typedef void oggopus_pcm_fn(void *arg, const int16_t *samples, size_t count);
// `samples`: its length at 16 kHz, less what the pre-skip takes of it.
typedef void oggopus_packet_fn(void *arg, const uint8_t *packet, size_t bytes, uint32_t samples);

// With `pcm` the packets are decoded, else `packet` gets them as they are. NULL: no memory.
struct oggopus *oggopus_create(oggopus_pcm_fn *pcm, oggopus_packet_fn *packet, void *arg);
void oggopus_destroy(struct oggopus *ogg);

// Negative errno: this is not Ogg/Opus, or a packet cannot be decoded.
int oggopus_put(struct oggopus *ogg, const uint8_t *data, size_t bytes);

struct oggopus_counts oggopus_counts(const struct oggopus *ogg);
