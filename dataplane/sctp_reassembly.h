// SPDX-License-Identifier: ISC
//
// sctp_reassembly.h - whole messages out of DATA chunks that came in pieces or belong to an ordered stream (RFC 9260 6.5,
// 6.6, 6.9). Pure; one per association.
//
// Runs on: assoc. Every chunk comes once (sctp_rx has sorted out duplicates) and has been acknowledged: it is kept until its
// message can be delivered, bounded by SCTP_RWND_BYTES, which the SACKs tell the peer, and by SCTP_FRAGMENTS_MAX. What a chunk
// costs does not grow with what is held: all users share the thread. Only one that comes before later numbers walks past them,
// and those are within the worker's window. Contract.
#pragma once

#include "dataplane/sctp_chunk.h"

#define SCTP_STREAMS_MAX 256 // the peer may open that many
// Chunks that are held. A peer that keeps to the rules has those of one message of 64 KiB before the first hole, and above it
// no more than the worker's window takes.
#define SCTP_FRAGMENTS_MAX 640

struct sctp_fragment;

// The ordered messages of a stream.
struct sctp_order {
	struct sctp_fragment *first, *last; // those that have begun and wait, by number
	uint16_t next_ssn;                  // as far as they came
};

struct sctp_reassembly {
	struct sctp_fragment *first, *last; // by TSN
	struct sctp_order *orders;          // by stream
	unsigned streams, held;
	size_t held_bytes; // with their bookkeeping
	uint64_t steps;    // fragments that were looked at to find a place or what to give up: the tests hold it against the chunks
	void (*deliver)(void *arg, const struct sctp_message *message);
	void *arg;
};

void sctp_reassembly_init(struct sctp_reassembly *in,
	void (*deliver)(void *arg, const struct sctp_message *message), void *arg);
void sctp_reassembly_finish(struct sctp_reassembly *in); // forgets all; usable again after init
// A DATA chunk with at least one byte and a stream below SCTP_STREAMS_MAX. 0, -ENOBUFS when it has to wait and the peer has
// overrun the window or the number, -ENOMEM, -EPROTO when its flags or its number contradict its neighbours'.
int sctp_reassembly_input(struct sctp_reassembly *in, const struct sctp_chunk *chunk);
// FORWARD-TSN: what is at or below tsn and not whole is given up; skipped names streams and numbers, 4 bytes each.
void sctp_reassembly_forward(struct sctp_reassembly *in, uint32_t tsn, const uint8_t *skipped, size_t bytes);
// The peer starts the numbering of a stream anew (RFC 6525).
void sctp_reassembly_reset(struct sctp_reassembly *in, uint16_t stream);
