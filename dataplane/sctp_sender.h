// SPDX-License-Identifier: ISC
//
// sctp_sender.h - the sending half of an association: a few reliable messages, cut, kept until acknowledged, sent again by
// T3 or after three missing reports, within the peer's window and a congestion window (RFC 9260 6, 7). Pure.
//
// Runs on: assoc. Contract.
#pragma once

#include "dataplane/sctp_chunk.h"

#define SCTP_SENDER_QUEUED_MAX 1048576u // bytes that wait or are under way
#define SCTP_SENDER_PIECES_MAX 1024     // and of chunks: as many as that makes of full ones, and some small ones
#define SCTP_SENDER_TRIES_MAX 8         // of one chunk, then the association has failed

struct sctp_piece;

struct sctp_sender {
	struct sctp_piece *first, **end; // all that is not acknowledged cumulatively, by TSN
	uint32_t next_tsn, peer_rwnd, cwnd, ssthresh, partial_acked, flight, recover_tsn;
	bool recovering;
	uint16_t *next_ssn; // by stream
	unsigned streams, pieces; // pieces: in the queue
	size_t queued_bytes;
	uint64_t srtt_ns, rttvar_ns, rto_ns, t3_ns; // t3_ns: absolute, 0: not running
};

void sctp_sender_init(struct sctp_sender *out, uint32_t first_tsn, uint32_t peer_rwnd);
void sctp_sender_finish(struct sctp_sender *out); // forgets all
// Queues one message of 1..SCTP_MESSAGE_BYTES_MAX bytes. 0, -EINVAL, -ENOBUFS, -ENOMEM.
int sctp_sender_push(struct sctp_sender *out, uint16_t stream, uint32_t ppid, bool unordered, const void *data,
	size_t bytes);
// A SACK chunk. 0 or -EBADMSG.
int sctp_sender_sack(struct sctp_sender *out, const struct sctp_chunk *chunk, uint64_t now_ns);
// The cumulative TSN of a SHUTDOWN.
void sctp_sender_acked(struct sctp_sender *out, uint32_t cum_tsn, uint64_t now_ns);
// Appends the DATA chunks that may go now to a packet of at bytes; returns its new length. Call until nothing is added.
size_t sctp_sender_fill(struct sctp_sender *out, uint8_t *packet, size_t at, uint64_t now_ns);
// Runs T3 when it is due. 0, or -ETIMEDOUT when the peer acknowledges nothing any more.
int sctp_sender_poll(struct sctp_sender *out, uint64_t now_ns);
static inline uint64_t sctp_sender_deadline_ns(const struct sctp_sender *out)
{
	return out->t3_ns;
}
static inline bool sctp_sender_idle(const struct sctp_sender *out)
{
	return out->first == NULL;
}
