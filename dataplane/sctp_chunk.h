// SPDX-License-Identifier: ISC
//
// sctp_chunk.h - SCTP on the wire (RFC 9260): common header, chunks, serial arithmetic, parsing and building in place. Pure.
//
// Runs on: any. Numbers are read and written as bytes: a packet lies anywhere in a DTLS record.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define SCTP_DATA_PORT 5000 // both sides (RFC 8841)
#define SCTP_HEADER_BYTES 12
#define SCTP_CHUNK_BYTES 4
#define SCTP_DATA_BYTES 16 // header of a DATA chunk
#define SCTP_PACKET_MAX 1163 // DTLS_MTU less what a record adds
#define SCTP_MESSAGE_BYTES_MAX 65535
#define SCTP_RWND_BYTES 262144u // what the peer may have under way to us in messages that are not whole yet

enum sctp_chunk_type {
	SCTP_CHUNK_DATA = 0,
	SCTP_CHUNK_INIT = 1,
	SCTP_CHUNK_INIT_ACK = 2,
	SCTP_CHUNK_SACK = 3,
	SCTP_CHUNK_HEARTBEAT = 4,
	SCTP_CHUNK_HEARTBEAT_ACK = 5,
	SCTP_CHUNK_ABORT = 6,
	SCTP_CHUNK_SHUTDOWN = 7,
	SCTP_CHUNK_SHUTDOWN_ACK = 8,
	SCTP_CHUNK_ERROR = 9,
	SCTP_CHUNK_COOKIE_ECHO = 10,
	SCTP_CHUNK_COOKIE_ACK = 11,
	SCTP_CHUNK_SHUTDOWN_COMPLETE = 14,
	SCTP_CHUNK_RECONFIG = 130,    // RFC 6525
	SCTP_CHUNK_FORWARD_TSN = 192, // RFC 3758
	// Never assigned, upper bits "skip": a chunk that has been dealt with is struck out with it before the packet moves on.
	SCTP_CHUNK_STRUCK = 0xbf,
};
enum { SCTP_DATA_END = 1, SCTP_DATA_BEGIN = 2, SCTP_DATA_UNORDERED = 4, SCTP_DATA_WHOLE = 3 };
enum { SCTP_TAG_REFLECTED = 1 }; // T bit of ABORT and SHUTDOWN-COMPLETE
// What to do with a chunk or parameter that is not known (RFC 9260 3.2, 3.2.1).
enum { SCTP_UNKNOWN_REPORT = 1, SCTP_UNKNOWN_SKIP = 2 };
enum sctp_cause {
	SCTP_CAUSE_INVALID_STREAM = 1,
	SCTP_CAUSE_STALE_COOKIE = 3,
	SCTP_CAUSE_OUT_OF_RESOURCE = 4,
	SCTP_CAUSE_UNKNOWN_CHUNK = 6,
	SCTP_CAUSE_INVALID_PARAMETER = 7,
	SCTP_CAUSE_UNKNOWN_PARAMETERS = 8,
	SCTP_CAUSE_NO_USER_DATA = 9,
	SCTP_CAUSE_PROTOCOL_VIOLATION = 13,
};

struct sctp_chunk {
	uint8_t type, flags;
	uint8_t *at;   // its header
	size_t bytes;  // with the header, without padding
};

// One message, or a piece of one, inside a packet.
struct sctp_message {
	uint16_t stream;
	uint32_t ppid;
	uint32_t tsn; // of a whole message that is delivered in place
	bool unordered;
	const uint8_t *data;
	size_t bytes;
};

// Whether a comes after b (RFC 1982).
static inline bool sctp_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static inline size_t sctp_padded(size_t bytes)
{
	return (bytes + 3) & ~(size_t)3;
}

static inline uint8_t sctp_unknown_rule(uint8_t type)
{
	return type >> 6; // SCTP_UNKNOWN_REPORT | SCTP_UNKNOWN_SKIP; 0: stop, say nothing
}

static inline bool sctp_chunk_known(uint8_t type)
{
	return type <= SCTP_CHUNK_COOKIE_ACK || type == SCTP_CHUNK_SHUTDOWN_COMPLETE || type == SCTP_CHUNK_RECONFIG || type == SCTP_CHUNK_FORWARD_TSN;
}

// Ports, and chunks that tile the packet: everything that reads chunks afterwards may rely on it. The checksum needs no
// look, the record around it was authentic.
enum drop sctp_packet_check(const uint8_t *packet, size_t bytes);
static inline uint32_t sctp_packet_tag(const uint8_t *packet)
{
	return get_be32(packet + 4);
}
// The chunk at *at of a checked packet, and *at behind it; false at the end.
static inline bool sctp_chunk_next(uint8_t *packet, size_t bytes, size_t *at, struct sctp_chunk *ret_chunk)
{
	if (*at + SCTP_CHUNK_BYTES > bytes)
		return false;
	uint8_t *head = packet + *at;
	*ret_chunk = (struct sctp_chunk){head[0], head[1], head, get_be16(head + 2)};
	*at += sctp_padded(ret_chunk->bytes);
	return true;
}

// ---- building
size_t sctp_packet_begin(uint8_t *packet, uint32_t tag);   // SCTP_HEADER_BYTES
void sctp_packet_end(uint8_t *packet, size_t bytes);       // the checksum; bytes is a multiple of 4
// A chunk with room for a body; pads it with zeros. Returns the place of the next one.
size_t sctp_chunk_put(uint8_t *packet, size_t at, enum sctp_chunk_type type, uint8_t flags, size_t body_bytes);
