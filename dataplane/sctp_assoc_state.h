// SPDX-License-Identifier: ISC
//
// sctp_assoc_state.h - what is inside struct sctp_assoc; shared by its set-up (sctp_setup.c) and its life (sctp_assoc.c).
//
// Runs on: assoc.
#pragma once

#include "dataplane/sctp_assoc.h"
#include "dataplane/sctp_init.h"
#include "dataplane/sctp_reassembly.h"
#include "dataplane/sctp_sender.h"

_Static_assert(SCTP_FRAGMENTS_MAX >= SCTP_RX_AHEAD + SCTP_MESSAGE_BYTES_MAX / 256, "what waits at a hole, and a message before it");

enum sctp_phase {
	SCTP_PHASE_COOKIE_WAIT,
	SCTP_PHASE_COOKIE_ECHOED,
	SCTP_PHASE_ESTABLISHED,
	SCTP_PHASE_SHUTDOWN_RECEIVED, // what we still have to send goes first
	SCTP_PHASE_SHUTDOWN_ACK_SENT,
	SCTP_PHASE_CLOSED,
};

// The peer's INIT as we answered it; its cookie names it. No secret is needed: only the peer can speak under DTLS.
struct sctp_offer {
	bool used;
	uint8_t cookie[SCTP_COOKIE_BYTES];
	uint32_t local_tag, local_tsn, peer_tag, peer_tsn, peer_rwnd;
};

// How much of something a peer may ask for in a second.
struct sctp_rate {
	uint64_t since_ns;
	unsigned count;
};

struct sctp_assoc {
	struct sctp_callbacks callbacks;
	enum sctp_phase phase;
	uint64_t now_ns;
	uint32_t local_tag, local_tsn, peer_tag, peer_tsn, peer_rwnd;
	struct sctp_offer offer;
	struct sctp_rate inits, answers;
	bool reading; // a packet is in hand: what is sent meanwhile goes after it, together
	uint8_t *cookie; // the peer's, while ours is being echoed
	size_t cookie_bytes;
	uint64_t timer_ns, timer_rto_ns; // T1 or T2; absolute, 0: not running
	unsigned timer_tries;
	bool reset_known; // RE-CONFIG: a request was answered
	uint32_t reset_seq, reset_result;
	struct sctp_reassembly in;
	struct sctp_sender out;
};

// False: more than most this second. Each answer takes a place in the ring to the worker, which others need for their consent.
bool sctp_rate_take(struct sctp_rate *rate, unsigned most, uint64_t now_ns);
// Before every answer but INIT ACK and SACK. False: the chunk is not dealt with, the peer's timer repeats it.
bool sctp_may_answer(struct sctp_assoc *assoc);
// One packet with what put() adds; sent with the checksum.
void sctp_send_chunk(struct sctp_assoc *assoc, uint32_t tag, enum sctp_chunk_type type, uint8_t flags, const void *body,
	size_t bytes);
void sctp_send_abort(struct sctp_assoc *assoc, enum sctp_cause cause);
void sctp_close(struct sctp_assoc *assoc);
// Starts, restarts (first: tries begin at 0) or stops the set-up and shutdown timer.
void sctp_timer(struct sctp_assoc *assoc, bool first);
void sctp_timer_stop(struct sctp_assoc *assoc);

// ---- sctp_setup.c
void sctp_setup_begin(struct sctp_assoc *assoc);  // INIT
void sctp_setup_repeat(struct sctp_assoc *assoc); // T1: INIT or COOKIE ECHO again
enum drop sctp_setup_init(struct sctp_assoc *assoc, const struct sctp_chunk *chunk);
enum drop sctp_setup_init_ack(struct sctp_assoc *assoc, const struct sctp_chunk *chunk);
enum drop sctp_setup_cookie_echo(struct sctp_assoc *assoc, uint32_t tag, const struct sctp_chunk *chunk);
enum drop sctp_setup_cookie_ack(struct sctp_assoc *assoc);
enum drop sctp_setup_stale_cookie(struct sctp_assoc *assoc);
