// SPDX-License-Identifier: ISC
//
// sctp_setup.c - how an association comes up: INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, from both sides at once, and again
// when the peer restarts (RFC 9260 5).
//
// Runs on: assoc.

#include "dataplane/sctp_assoc_state.h"

#include <openssl/rand.h>
#include <stdlib.h>

#define OUT_STREAMS 1024
#define INITS_A_SECOND 10 // a peer that gets no answer repeats it once a second or less

static uint32_t random_word(void)
{
	uint32_t word = 0;
	while (word == 0)
		RAND_bytes((uint8_t *)&word, sizeof(word));
	return word;
}

static void send_init(struct sctp_assoc *assoc)
{
	uint8_t packet[SCTP_PACKET_MAX];
	struct sctp_init init = {.tag = assoc->local_tag, .rwnd = SCTP_RWND_BYTES, .tsn = assoc->local_tsn,
		.out_streams = OUT_STREAMS, .in_streams = SCTP_STREAMS_MAX};
	size_t at = sctp_init_put(packet, sctp_packet_begin(packet, 0), &init);
	sctp_packet_end(packet, at);
	assoc->callbacks.send(assoc->callbacks.arg, packet, at);
}

static void send_cookie_echo(struct sctp_assoc *assoc)
{
	sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_COOKIE_ECHO, 0, assoc->cookie, assoc->cookie_bytes);
}

void sctp_setup_begin(struct sctp_assoc *assoc)
{
	assoc->local_tag = random_word();
	assoc->local_tsn = random_word();
	assoc->phase = SCTP_PHASE_COOKIE_WAIT;
	send_init(assoc);
	sctp_timer(assoc, true);
}

void sctp_setup_repeat(struct sctp_assoc *assoc)
{
	if (assoc->phase == SCTP_PHASE_COOKIE_WAIT)
		send_init(assoc);
	else
		send_cookie_echo(assoc);
}

static void established(struct sctp_assoc *assoc)
{
	free(assoc->cookie);
	assoc->cookie = NULL;
	sctp_timer_stop(assoc);
	sctp_sender_finish(&assoc->out);
	sctp_sender_init(&assoc->out, assoc->local_tsn, assoc->peer_rwnd);
	struct sctp_reassembly fresh;
	sctp_reassembly_init(&fresh, assoc->in.deliver, assoc->in.arg);
	sctp_reassembly_finish(&assoc->in);
	assoc->in = fresh;
	assoc->reset_known = false;
	assoc->phase = SCTP_PHASE_ESTABLISHED;
	struct sctp_up up = {true, assoc->local_tag, assoc->peer_tag, assoc->peer_tsn};
	assoc->callbacks.up(assoc->callbacks.arg, &up);
}

// The answer names the offer it belongs to; asked again, it is the same (RFC 9260 5.2.1, 5.2.2).
enum drop sctp_setup_init(struct sctp_assoc *assoc, const struct sctp_chunk *chunk)
{
	struct sctp_init init;
	if (!sctp_rate_take(&assoc->inits, INITS_A_SECOND, assoc->now_ns))
		return DROP_SCTP_INIT_FLOOD;
	int ret = sctp_init_parse(chunk, &init);
	if (ret == -EBADMSG)
		return DROP_SCTP_MALFORMED;
	if (ret < 0) {
		uint32_t tag = assoc->peer_tag;
		assoc->peer_tag = init.tag;
		sctp_send_abort(assoc, SCTP_CAUSE_INVALID_PARAMETER);
		assoc->peer_tag = tag;
		return DROP_SCTP_MALFORMED;
	}
	struct sctp_offer *offer = &assoc->offer;
	bool same = offer->used && offer->peer_tag == init.tag && offer->peer_tsn == init.tsn;
	if (!same) {
		*offer = (struct sctp_offer){.used = true, .peer_tag = init.tag, .peer_tsn = init.tsn, .peer_rwnd = init.rwnd,
			.local_tag = assoc->local_tag, .local_tsn = assoc->local_tsn};
		RAND_bytes(offer->cookie, sizeof(offer->cookie));
		// Established with somebody else than this INIT's sender: it has restarted, and gets a fresh tag.
		if (assoc->phase >= SCTP_PHASE_ESTABLISHED && assoc->peer_tag != init.tag) {
			offer->local_tag = random_word();
			offer->local_tsn = random_word();
		}
	}
	uint8_t packet[SCTP_PACKET_MAX];
	struct sctp_init answer = init;
	answer.tag = offer->local_tag;
	answer.rwnd = SCTP_RWND_BYTES;
	answer.tsn = offer->local_tsn;
	answer.out_streams = OUT_STREAMS;
	answer.in_streams = SCTP_STREAMS_MAX;
	answer.cookie = offer->cookie;
	answer.cookie_bytes = sizeof(offer->cookie);
	size_t at = sctp_init_put(packet, sctp_packet_begin(packet, init.tag), &answer);
	sctp_packet_end(packet, at);
	assoc->callbacks.send(assoc->callbacks.arg, packet, at);
	return DROP_NONE;
}

enum drop sctp_setup_init_ack(struct sctp_assoc *assoc, const struct sctp_chunk *chunk)
{
	struct sctp_init init;
	if (assoc->phase != SCTP_PHASE_COOKIE_WAIT)
		return DROP_NONE; // RFC 9260 5.2.3: too late, or a collision won by the other side
	if (!sctp_may_answer(assoc))
		return DROP_SCTP_CONTROL_FLOOD;
	int ret = sctp_init_parse(chunk, &init);
	if (ret == -EBADMSG)
		return DROP_SCTP_MALFORMED;
	uint8_t *cookie = ret == 0 ? malloc(init.cookie_bytes) : NULL;
	if (cookie == NULL) {
		assoc->peer_tag = init.tag;
		sctp_send_abort(assoc, ret < 0 ? SCTP_CAUSE_INVALID_PARAMETER : SCTP_CAUSE_OUT_OF_RESOURCE);
		sctp_close(assoc);
		return DROP_SCTP_MALFORMED;
	}
	memcpy(cookie, init.cookie, init.cookie_bytes);
	assoc->cookie = cookie;
	assoc->cookie_bytes = init.cookie_bytes;
	assoc->peer_tag = init.tag;
	assoc->peer_tsn = init.tsn;
	assoc->peer_rwnd = init.rwnd;
	assoc->phase = SCTP_PHASE_COOKIE_ECHOED;
	send_cookie_echo(assoc);
	if (init.unknown_bytes > 0) {
		uint8_t cause[4 + SCTP_UNKNOWN_MAX];
		put_be16(cause, SCTP_CAUSE_UNKNOWN_PARAMETERS);
		put_be16(cause + 2, (uint16_t)(4 + init.unknown_bytes));
		memcpy(cause + 4, init.unknown, init.unknown_bytes);
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_ERROR, 0, cause, 4 + init.unknown_bytes);
	}
	sctp_timer(assoc, true);
	return DROP_NONE;
}

enum drop sctp_setup_cookie_echo(struct sctp_assoc *assoc, uint32_t tag, const struct sctp_chunk *chunk)
{
	const struct sctp_offer *offer = &assoc->offer;
	if (!offer->used || chunk->bytes != SCTP_CHUNK_BYTES + sizeof(offer->cookie) ||
		memcmp(chunk->at + SCTP_CHUNK_BYTES, offer->cookie, sizeof(offer->cookie)) != 0 || tag != offer->local_tag)
		return DROP_SCTP_BAD_TAG; // of an offer that a newer INIT has replaced
	// RFC 9260 5.2.4: while we were setting up ourselves it is a collision (B); a peer tag that is not the present one is a
	// restart (A); else our COOKIE ACK was lost (D).
	bool fresh = assoc->phase < SCTP_PHASE_ESTABLISHED || assoc->peer_tag != offer->peer_tag ||
		     assoc->local_tag != offer->local_tag;
	if (fresh && assoc->phase == SCTP_PHASE_SHUTDOWN_ACK_SENT)
		return DROP_SCTP_CLOSED;
	if (!sctp_may_answer(assoc))
		return DROP_SCTP_CONTROL_FLOOD;
	if (fresh) {
		assoc->local_tag = offer->local_tag;
		assoc->local_tsn = offer->local_tsn;
		assoc->peer_tag = offer->peer_tag;
		assoc->peer_tsn = offer->peer_tsn;
		assoc->peer_rwnd = offer->peer_rwnd;
		established(assoc);
	}
	sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_COOKIE_ACK, 0, NULL, 0);
	if (fresh)
		assoc->callbacks.state(assoc->callbacks.arg, SCTP_STATE_UP);
	return DROP_NONE;
}

enum drop sctp_setup_cookie_ack(struct sctp_assoc *assoc)
{
	if (assoc->phase != SCTP_PHASE_COOKIE_ECHOED)
		return DROP_NONE;
	established(assoc);
	assoc->callbacks.state(assoc->callbacks.arg, SCTP_STATE_UP);
	return DROP_NONE;
}

enum drop sctp_setup_stale_cookie(struct sctp_assoc *assoc)
{
	if (assoc->phase != SCTP_PHASE_COOKIE_ECHOED)
		return DROP_NONE;
	if (!sctp_may_answer(assoc))
		return DROP_SCTP_CONTROL_FLOOD;
	free(assoc->cookie);
	assoc->cookie = NULL;
	assoc->phase = SCTP_PHASE_COOKIE_WAIT;
	send_init(assoc);
	return DROP_NONE;
}
