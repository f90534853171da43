// SPDX-License-Identifier: ISC
//
// classify.h - which protocol a UDP payload speaks, by its first byte (RFC 7983, updated by RFC 9443).
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

enum classify { CLASSIFY_STUN, CLASSIFY_DTLS, CLASSIFY_RTP, CLASSIFY_RTCP, CLASSIFY_UNKNOWN };

#define CLASSIFY_RTP_FIRST 128 // first bytes below it are STUN's and DTLS's

static inline enum classify classify(const uint8_t *payload, size_t bytes)
{
	if (UNLIKELY(bytes < 2))
		return CLASSIFY_UNKNOWN;
	uint8_t first = payload[0];
	if (LIKELY(first >= CLASSIFY_RTP_FIRST && first <= 191)) {
		// RFC 5761: packet types 192..223 are RTCP when both share a port.
		return payload[1] >= 192 && payload[1] <= 223 ? CLASSIFY_RTCP : CLASSIFY_RTP;
	}
	if (first <= 3)
		return CLASSIFY_STUN;
	if (first >= 20 && first <= 63)
		return CLASSIFY_DTLS;
	return CLASSIFY_UNKNOWN;
}
