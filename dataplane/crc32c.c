// SPDX-License-Identifier: ISC
//
// crc32c.c - CRC32c with the processor's instruction (SSE4.2 is part of x86-64-v2).
//
// Runs on: any.

#include "dataplane/crc32c.h"

#include <nmmintrin.h>

uint32_t crc32c(const uint8_t *data, size_t bytes)
{
	uint64_t crc = 0xffffffffu;
	for (; bytes >= 8; bytes -= 8, data += 8) {
		uint64_t word;
		memcpy(&word, data, 8);
		crc = _mm_crc32_u64(crc, word);
	}
	for (; bytes > 0; bytes--, data++)
		crc = _mm_crc32_u8((uint32_t)crc, *data);
	return ~(uint32_t)crc;
}
