// SPDX-License-Identifier: ISC
//
// sctp_init.h - INIT and INIT ACK chunks with their parameters (RFC 9260 3.3.2, 3.3.3): read and written. Pure.
//
// Runs on: any. We list RE-CONFIG as our only extension: without FORWARD-TSN the SFU sends lost messages again; I-DATA listed
// would be used; a zero checksum is never offered (facts dtls-sctp 3). Contract.
#pragma once

#include "dataplane/sctp_chunk.h"

#define SCTP_COOKIE_BYTES 16
#define SCTP_PEER_COOKIE_MAX 1024
#define SCTP_UNKNOWN_MAX 256

struct sctp_init {
	uint32_t tag, rwnd, tsn;
	uint16_t out_streams, in_streams;
	const uint8_t *cookie; // INIT ACK: inside the chunk
	size_t cookie_bytes;
	uint8_t unknown[SCTP_UNKNOWN_MAX]; // parameters to report, as they came, padded
	size_t unknown_bytes;
};

// 0; -EBADMSG: it does not parse; -EPROTO: it does and must be answered by ABORT (no streams, no cookie where one belongs).
int sctp_init_parse(const struct sctp_chunk *chunk, struct sctp_init *ret_init);
// Appends an INIT, or with a cookie an INIT ACK that reports unknown parameters. Returns the new length.
size_t sctp_init_put(uint8_t *packet, size_t at, const struct sctp_init *init);
