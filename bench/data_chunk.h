// SPDX-License-Identifier: ISC
//
// data_chunk.h - a phone's frame of the data way as benches send it: an SCTP DATA chunk with a DataPacket of 20 ms of PCM.
#pragma once

#include "dataplane/base.h"

#define DATA_CHUNK_STREAM 1
#define DATA_CHUNK_IDENTITY "a-user-of-usual-length"
#define DATA_CHUNK_PCM_BYTES 641 // a sequence byte, and one cell

// Writes the chunk at an offset of an SCTP packet (its TSN is the caller's) and returns the offset behind it; *ret_pcm_at is where
// the sequence byte lies.
size_t data_chunk_put(uint8_t *packet, size_t at, size_t *ret_pcm_at);
