// SPDX-License-Identifier: ISC
//
// rtp.c - the RTP header.
//
// Runs on: any.

#include "dataplane/rtp.h"

#include "dataplane/hot.h"

enum drop rtp_parse(const uint8_t *packet, size_t bytes, struct rtp_header *ret_header)
{
	if (bytes < 12 || packet[0] >> 6 != 2)
		return DROP_RTP_MALFORMED;
	size_t at = 12 + 4 * (packet[0] & 15u), end = bytes;
	if (at > bytes)
		return DROP_RTP_MALFORMED;
	if (packet[0] & 0x10) {
		if (bytes - at < 4)
			return DROP_RTP_MALFORMED;
		size_t extension = 4 + 4 * (size_t)get_be16(packet + at + 2);
		if (extension > bytes - at)
			return DROP_RTP_MALFORMED;
		at += extension;
	}
	if (packet[0] & 0x20) {
		size_t padding = packet[bytes - 1];
		if (padding == 0 || padding > bytes - at)
			return DROP_RTP_MALFORMED;
		end -= padding;
	}
	*ret_header = (struct rtp_header){
		.marker = packet[1] >> 7,
		.payload_type = packet[1] & 0x7f,
		.seq = get_be16(packet + 2),
		.timestamp = get_be32(packet + 4),
		.ssrc = get_be32(packet + 8),
		.payload = packet + at,
		.payload_bytes = end - at,
	};
	return DROP_NONE;
}
