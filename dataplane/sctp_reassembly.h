// SPDX-License-Identifier: ISC
//
// sctp_reassembly.h - whole messages out of DATA chunks that came in pieces or belong to an ordered stream (RFC 9260 6.5,
// 6.6, 6.9). Pure; one per association.
//
// Runs on: assoc. Every chunk comes once (sctp_rx has sorted out duplicates) and has been acknowledged: it is kept until its
// message can be delivered, bounded by SCTP_RWND_BYTES, which the SACKs tell the peer. Contract.
#pragma once

#include "dataplane/sctp_chunk.h"

#define SCTP_STREAMS_MAX 256 // the peer may open that many

struct sctp_fragment;

struct sctp_reassembly {
	struct sctp_fragment *first, *last; // by TSN
	uint16_t *next_ssn;                 // by stream, as far as ordered messages came
	unsigned streams;
	size_t held_bytes; // with their bookkeeping
	void (*deliver)(void *arg, const struct sctp_message *message);
	void *arg;
};

void sctp_reassembly_init(struct sctp_reassembly *in,
	void (*deliver)(void *arg, const struct sctp_message *message), void *arg);
void sctp_reassembly_finish(struct sctp_reassembly *in); // forgets all; usable again after init
// A DATA chunk with at least one byte and a stream below SCTP_STREAMS_MAX. 0, -ENOBUFS when the peer has overrun the window,
// -ENOMEM, -EPROTO when its flags contradict its neighbours'.
int sctp_reassembly_input(struct sctp_reassembly *in, const struct sctp_chunk *chunk);
// FORWARD-TSN: what is at or below tsn and not whole is given up; skipped names streams and numbers, 4 bytes each.
void sctp_reassembly_forward(struct sctp_reassembly *in, uint32_t tsn, const uint8_t *skipped, size_t bytes);
// The peer starts the numbering of a stream anew (RFC 6525).
void sctp_reassembly_reset(struct sctp_reassembly *in, uint16_t stream);
