// SPDX-License-Identifier: ISC
//
// gcm_key.h - which cache lines of an expanded AES-GCM key ipsec-mb touches, and asking for them ahead.
//
// Where the powers of the hash key lie, and how many a packet of some size takes, differs with the instructions that the
// library picks for the processor: it is asked, not known.
#pragma once

#include <intel-ipsec-mb.h>

#include "dataplane/base.h"

// Bit n: a packet of up to so many bytes touches line n of an expanded AES-256 key (of an AES-128 key no others). Any thread.
uint32_t gcm_key_lines(IMB_MGR *imb, size_t bytes);

// Any thread; takes no locks and reads nothing.
static inline void gcm_key_prefetch(const void *key, uint32_t lines)
{
	for (; lines != 0; lines &= lines - 1)
		__builtin_prefetch((const uint8_t *)key + (size_t)__builtin_ctz(lines) * CACHE_LINE_BYTES);
}
