// SPDX-License-Identifier: ISC
//
// sctp_chunk.c - SCTP on the wire: check a packet, build one.
//
// Runs on: any.

#include "dataplane/sctp_chunk.h"

#include "dataplane/crc32c.h"

#include "dataplane/hot.h"

#define CHECKSUM_AT 8

enum drop sctp_packet_check(const uint8_t *packet, size_t bytes)
{
	if (UNLIKELY(bytes < SCTP_HEADER_BYTES + SCTP_CHUNK_BYTES || get_be16(packet) != SCTP_DATA_PORT ||
		    get_be16(packet + 2) != SCTP_DATA_PORT))
		return DROP_SCTP_MALFORMED;
	for (size_t at = SCTP_HEADER_BYTES; at < bytes;) {
		if (UNLIKELY(bytes - at < SCTP_CHUNK_BYTES))
			return DROP_SCTP_MALFORMED;
		size_t chunk = get_be16(packet + at + 2);
		if (UNLIKELY(chunk < SCTP_CHUNK_BYTES || chunk > bytes - at))
			return DROP_SCTP_MALFORMED;
		at += sctp_padded(chunk);
	}
	return DROP_NONE;
}

size_t sctp_packet_begin(uint8_t *packet, uint32_t tag)
{
	put_be16(packet, SCTP_DATA_PORT);
	put_be16(packet + 2, SCTP_DATA_PORT);
	put_be32(packet + 4, tag);
	memset(packet + CHECKSUM_AT, 0, 4);
	return SCTP_HEADER_BYTES;
}

void sctp_packet_end(uint8_t *packet, size_t bytes)
{
	memset(packet + CHECKSUM_AT, 0, 4);
	uint32_t crc = crc32c(packet, bytes);
	memcpy(packet + CHECKSUM_AT, &crc, 4); // little endian, RFC 9260 appendix A
}

size_t sctp_chunk_put(uint8_t *packet, size_t at, enum sctp_chunk_type type, uint8_t flags, size_t body_bytes)
{
	uint8_t *head = packet + at;
	size_t bytes = SCTP_CHUNK_BYTES + body_bytes;
	head[0] = (uint8_t)type;
	head[1] = flags;
	put_be16(head + 2, (uint16_t)bytes);
	memset(head + bytes, 0, sctp_padded(bytes) - bytes);
	return at + sctp_padded(bytes);
}
