// SPDX-License-Identifier: ISC
//
// rtp.h - the RTP header (RFC 3550 5.1) with its extension (RFC 8285) skipped. Pure.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

struct rtp_header {
	bool marker;
	uint8_t payload_type;
	uint16_t seq;
	uint32_t timestamp, ssrc;
	const uint8_t *payload; // inside the packet, padding removed
	size_t payload_bytes;
};

enum drop rtp_parse(const uint8_t *packet, size_t bytes, struct rtp_header *ret_header);
