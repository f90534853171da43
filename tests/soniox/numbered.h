// SPDX-License-Identifier: ISC
//
// numbered.h - test audio that carries its own number: 20 ms cells of PCM and Opus packets. The stand-in reads the numbers
// back, so that a test can prove which part of a time line arrived, and how often. Every sample of a cell follows from its
// number: one wrong sample and it no longer counts.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define NUMBERED_SAMPLES 320 // 20 ms at 16 kHz
#define NUMBERED_HEAD_0 0x524c
#define NUMBERED_HEAD_1 0x5953
#define NUMBERED_PACKET_BYTES 24

static inline void numbered_cell(int16_t ret_samples[static NUMBERED_SAMPLES], uint32_t number)
{
	uint32_t noise = number * 2654435761u | 1;
	ret_samples[0] = NUMBERED_HEAD_0;
	ret_samples[1] = NUMBERED_HEAD_1;
	ret_samples[2] = (int16_t)(number & 0xffff);
	ret_samples[3] = (int16_t)(number >> 16);
	for (int i = 4; i < NUMBERED_SAMPLES; i++) {
		noise ^= noise << 13;
		noise ^= noise >> 17;
		noise ^= noise << 5;
		ret_samples[i] = (int16_t)(noise >> 16);
	}
}

// Is this a whole numbered cell?
static inline bool numbered_read(const int16_t samples[static NUMBERED_SAMPLES], uint32_t *ret_number)
{
	int16_t right[NUMBERED_SAMPLES];
	*ret_number = (uint16_t)samples[2] | (uint32_t)(uint16_t)samples[3] << 16;
	numbered_cell(right, *ret_number);
	return memcmp(samples, right, sizeof(right)) == 0;
}

// An Opus packet of 20 ms by its TOC (RFC 6716, 3.1: SILK wideband, one frame) that carries a number and is not meant to be
// decoded; returns its length.
static inline size_t numbered_packet(uint8_t ret_packet[static NUMBERED_PACKET_BYTES], uint32_t number)
{
	memcpy(ret_packet, "\x48RLYS", 5);
	for (int i = 0; i < 4; i++)
		ret_packet[5 + i] = (uint8_t)(number >> (8 * i));
	for (int i = 9; i < NUMBERED_PACKET_BYTES; i++)
		ret_packet[i] = (uint8_t)(number * 31 + (uint32_t)i * 7);
	return NUMBERED_PACKET_BYTES;
}

static inline bool numbered_packet_read(const uint8_t *packet, size_t bytes, uint32_t *ret_number)
{
	uint8_t right[NUMBERED_PACKET_BYTES];
	if (bytes != NUMBERED_PACKET_BYTES)
		return false;
	*ret_number = (uint32_t)packet[5] | (uint32_t)packet[6] << 8 | (uint32_t)packet[7] << 16 | (uint32_t)packet[8] << 24;
	numbered_packet(right, *ret_number);
	return memcmp(packet, right, sizeof(right)) == 0;
}
