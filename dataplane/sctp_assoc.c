// SPDX-License-Identifier: ISC
//
// sctp_assoc.c - the life of an association: packets checked against its tags, control chunks answered, messages in and out.
//
// Runs on: assoc.

#include "dataplane/sctp_assoc_state.h"

#include <stdlib.h>

#define TIMER_FIRST_NS 500000000u // T1, T2: LAN first, RFC 9260's second would cost a caption
#define TIMER_MAX_NS 5000000000u
#define TIMER_TRIES_MAX 8
#define ANSWERS_A_SECOND 32 // a peer asks for a few as it comes up or resets its streams, then for a heartbeat now and then
#define CONTROL_CHUNKS_MAX 8 // of one packet; a peer that bundles all it can has three or four

enum { // RFC 6525
	RECONFIG_OUTGOING = 13,
	RECONFIG_INCOMING = 14,
	RECONFIG_TSN = 15,
	RECONFIG_RESPONSE = 16,
	RECONFIG_ADD_OUTGOING = 17,
	RECONFIG_ADD_INCOMING = 18,
};
enum { RECONFIG_PERFORMED = 1, RECONFIG_DENIED = 2, RECONFIG_IN_PROGRESS = 6 };

// ---- small tools

bool sctp_rate_take(struct sctp_rate *rate, unsigned most, uint64_t now_ns)
{
	if (now_ns - rate->since_ns >= 1000000000)
		*rate = (struct sctp_rate){.since_ns = now_ns};
	if (rate->count >= most)
		return false;
	rate->count++;
	return true;
}

bool sctp_may_answer(struct sctp_assoc *assoc)
{
	return sctp_rate_take(&assoc->answers, ANSWERS_A_SECOND, assoc->now_ns);
}

void sctp_send_chunk(struct sctp_assoc *assoc, uint32_t tag, enum sctp_chunk_type type, uint8_t flags, const void *body,
	size_t bytes)
{
	uint8_t packet[SCTP_PACKET_MAX + SCTP_CHUNK_BYTES];
	bytes = MIN_OF(bytes, (size_t)(SCTP_PACKET_MAX - SCTP_HEADER_BYTES - SCTP_CHUNK_BYTES));
	size_t at = sctp_packet_begin(packet, tag);
	if (bytes > 0)
		memcpy(packet + at + SCTP_CHUNK_BYTES, body, bytes);
	at = sctp_chunk_put(packet, at, type, flags, bytes);
	sctp_packet_end(packet, at);
	assoc->callbacks.send(assoc->callbacks.arg, packet, at);
}

void sctp_send_abort(struct sctp_assoc *assoc, enum sctp_cause cause)
{
	uint8_t body[4];
	put_be16(body, (uint16_t)cause);
	put_be16(body + 2, sizeof(body));
	sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_ABORT, 0, body, sizeof(body));
}

void sctp_timer(struct sctp_assoc *assoc, bool first)
{
	if (first) {
		assoc->timer_rto_ns = TIMER_FIRST_NS;
		assoc->timer_tries = 0;
	}
	assoc->timer_ns = assoc->now_ns + assoc->timer_rto_ns;
}

void sctp_timer_stop(struct sctp_assoc *assoc)
{
	assoc->timer_ns = 0;
}

void sctp_close(struct sctp_assoc *assoc)
{
	if (assoc->phase == SCTP_PHASE_CLOSED)
		return;
	assoc->phase = SCTP_PHASE_CLOSED;
	assoc->timer_ns = 0;
	sctp_sender_finish(&assoc->out);
	sctp_sender_init(&assoc->out, 0, 0);
	free(assoc->cookie);
	assoc->cookie = NULL;
	struct sctp_up down = {.up = false};
	assoc->callbacks.up(assoc->callbacks.arg, &down);
	assoc->callbacks.state(assoc->callbacks.arg, SCTP_STATE_CLOSED);
}

static void deliver(void *arg, const struct sctp_message *message)
{
	struct sctp_assoc *assoc = arg;
	assoc->callbacks.message(assoc->callbacks.arg, message);
}

struct sctp_assoc *sctp_assoc_create(const struct sctp_callbacks *callbacks, uint64_t now_ns, struct err *err)
{
	struct sctp_assoc *assoc = calloc(1, sizeof(*assoc));
	if (assoc == NULL) {
		err_set(err, ENOMEM, "no memory for an SCTP association");
		return NULL;
	}
	assoc->callbacks = *callbacks;
	assoc->now_ns = now_ns;
	sctp_reassembly_init(&assoc->in, deliver, assoc);
	sctp_sender_init(&assoc->out, 0, 0);
	sctp_setup_begin(assoc);
	return assoc;
}

void sctp_assoc_destroy(struct sctp_assoc *assoc)
{
	if (assoc == NULL)
		return;
	sctp_reassembly_finish(&assoc->in);
	sctp_sender_finish(&assoc->out);
	free(assoc->cookie);
	free(assoc);
}

// Everything that may go now. A peer in shutdown is answered when all of ours has arrived.
static void flush(struct sctp_assoc *assoc)
{
	if (assoc->phase != SCTP_PHASE_ESTABLISHED && assoc->phase != SCTP_PHASE_SHUTDOWN_RECEIVED)
		return;
	for (;;) {
		uint8_t packet[SCTP_PACKET_MAX + SCTP_CHUNK_BYTES];
		size_t head = sctp_packet_begin(packet, assoc->peer_tag);
		size_t at = sctp_sender_fill(&assoc->out, packet, head, assoc->now_ns);
		if (at == head)
			break;
		sctp_packet_end(packet, at);
		assoc->callbacks.send(assoc->callbacks.arg, packet, at);
	}
	if (assoc->phase == SCTP_PHASE_SHUTDOWN_RECEIVED && sctp_sender_idle(&assoc->out)) {
		assoc->phase = SCTP_PHASE_SHUTDOWN_ACK_SENT;
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
		sctp_timer(assoc, true);
	}
}

// ---- control chunks

static enum drop report_unknown(struct sctp_assoc *assoc, const struct sctp_chunk *chunk)
{
	if (!sctp_may_answer(assoc))
		return DROP_SCTP_CONTROL_FLOOD;
	uint8_t cause[4 + 64];
	size_t bytes = MIN_OF(chunk->bytes, sizeof(cause) - 4);
	put_be16(cause, SCTP_CAUSE_UNKNOWN_CHUNK);
	put_be16(cause + 2, (uint16_t)(4 + bytes));
	memcpy(cause + 4, chunk->at, bytes);
	sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_ERROR, 0, cause, 4 + bytes);
	return DROP_NONE;
}

static enum drop error_chunk(struct sctp_assoc *assoc, const struct sctp_chunk *chunk)
{
	if (chunk->bytes >= 8 && get_be16(chunk->at + 4) == SCTP_CAUSE_STALE_COOKIE)
		return sctp_setup_stale_cookie(assoc);
	return DROP_NONE; // it says that the peer did not like something: nothing of ours depends on it
}

static uint32_t reset_streams(struct sctp_assoc *assoc, const uint8_t *request, size_t bytes, uint32_t cum_tsn)
{
	if (bytes < 16)
		return RECONFIG_DENIED;
	if (sctp_after(get_be32(request + 12), cum_tsn))
		return RECONFIG_IN_PROGRESS; // what was sent before has not all come yet
	for (size_t at = 16; at + 2 <= bytes; at += 2)
		sctp_reassembly_reset(&assoc->in, get_be16(request + at));
	for (uint16_t stream = 0; bytes == 16 && stream < SCTP_STREAMS_MAX; stream++)
		sctp_reassembly_reset(&assoc->in, stream);
	return RECONFIG_PERFORMED;
}

// Requests are answered: the reset of streams the peer sends on is done, everything else denied.
static enum drop reconfig_chunk(struct sctp_assoc *assoc, const struct sctp_chunk *chunk, uint32_t cum_tsn)
{
	for (size_t at = SCTP_CHUNK_BYTES; at + 8 <= chunk->bytes;) {
		const uint8_t *request = chunk->at + at;
		uint16_t type = get_be16(request);
		size_t bytes = get_be16(request + 2);
		if (bytes < 8 || bytes > chunk->bytes - at)
			return DROP_SCTP_MALFORMED;
		at += sctp_padded(bytes);
		if (type < RECONFIG_OUTGOING || type > RECONFIG_ADD_INCOMING || type == RECONFIG_RESPONSE)
			continue;
		if (!sctp_may_answer(assoc))
			return DROP_SCTP_CONTROL_FLOOD;
		uint32_t seq = get_be32(request + 4), result = RECONFIG_DENIED;
		bool again = assoc->reset_known && seq == assoc->reset_seq && assoc->reset_result != RECONFIG_IN_PROGRESS;
		if (again)
			result = assoc->reset_result;
		else if (type == RECONFIG_OUTGOING)
			result = reset_streams(assoc, request, bytes, cum_tsn);
		assoc->reset_known = true;
		assoc->reset_seq = seq;
		assoc->reset_result = result;
		uint8_t response[12];
		put_be16(response, RECONFIG_RESPONSE);
		put_be16(response + 2, sizeof(response));
		put_be32(response + 4, seq);
		put_be32(response + 8, result);
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_RECONFIG, 0, response, sizeof(response));
	}
	return DROP_NONE;
}

static enum drop shutdown_chunk(struct sctp_assoc *assoc, const struct sctp_chunk *chunk)
{
	if (chunk->bytes < 8)
		return DROP_SCTP_MALFORMED;
	if (assoc->phase == SCTP_PHASE_ESTABLISHED)
		assoc->phase = SCTP_PHASE_SHUTDOWN_RECEIVED;
	if (assoc->phase == SCTP_PHASE_SHUTDOWN_RECEIVED)
		sctp_sender_acked(&assoc->out, get_be32(chunk->at + 4), assoc->now_ns);
	else if (assoc->phase == SCTP_PHASE_SHUTDOWN_ACK_SENT && !sctp_may_answer(assoc))
		return DROP_SCTP_CONTROL_FLOOD;
	else if (assoc->phase == SCTP_PHASE_SHUTDOWN_ACK_SENT)
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
	return DROP_NONE;
}

static enum drop data_chunk(struct sctp_assoc *assoc, const struct sctp_chunk *chunk)
{
	if (assoc->phase < SCTP_PHASE_ESTABLISHED)
		return DROP_SCTP_BAD_TAG;
	if (chunk->bytes <= SCTP_DATA_BYTES) {
		sctp_send_abort(assoc, SCTP_CAUSE_NO_USER_DATA);
		sctp_close(assoc);
		return DROP_SCTP_MALFORMED;
	}
	if (get_be16(chunk->at + 8) >= SCTP_STREAMS_MAX) { // RFC 9260 6.5: acknowledged, thrown away, told
		if (!sctp_may_answer(assoc))
			return DROP_SCTP_CONTROL_FLOOD;
		uint8_t cause[8] = {0, SCTP_CAUSE_INVALID_STREAM, 0, 8};
		memcpy(cause + 4, chunk->at + 8, 2);
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_ERROR, 0, cause, sizeof(cause));
		return DROP_SCTP_MALFORMED;
	}
	int ret = sctp_reassembly_input(&assoc->in, chunk);
	if (ret == 0)
		return DROP_NONE;
	// What was acknowledged cannot be given back: the stream is broken.
	sctp_send_abort(assoc, ret == -EPROTO ? SCTP_CAUSE_PROTOCOL_VIOLATION : SCTP_CAUSE_OUT_OF_RESOURCE);
	sctp_close(assoc);
	return ret == -EPROTO ? DROP_SCTP_MALFORMED : DROP_SCTP_WINDOW;
}

static enum drop established_chunk(struct sctp_assoc *assoc, const struct sctp_chunk *chunk, uint32_t cum_tsn)
{
	switch (chunk->type) {
	case SCTP_CHUNK_SACK:
		return sctp_sender_sack(&assoc->out, chunk, assoc->now_ns) == 0 ? DROP_NONE : DROP_SCTP_MALFORMED;
	case SCTP_CHUNK_HEARTBEAT:
		if (!sctp_may_answer(assoc))
			return DROP_SCTP_CONTROL_FLOOD;
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_HEARTBEAT_ACK, 0, chunk->at + SCTP_CHUNK_BYTES,
			chunk->bytes - SCTP_CHUNK_BYTES);
		return DROP_NONE;
	case SCTP_CHUNK_SHUTDOWN:
		return shutdown_chunk(assoc, chunk);
	case SCTP_CHUNK_SHUTDOWN_ACK: // we never ask for one; the peer may be done all the same (RFC 9260 8.5.1)
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_SHUTDOWN_COMPLETE, 0, NULL, 0);
		sctp_close(assoc);
		return DROP_NONE;
	case SCTP_CHUNK_RECONFIG:
		return reconfig_chunk(assoc, chunk, cum_tsn);
	case SCTP_CHUNK_FORWARD_TSN:
		if (chunk->bytes < 8)
			return DROP_SCTP_MALFORMED;
		sctp_reassembly_forward(&assoc->in, get_be32(chunk->at + 4), chunk->at + 8, chunk->bytes - 8);
		return DROP_NONE;
	default:
		return DROP_NONE;
	}
}

// RFC 9260 8.5: whose packet is it. INIT has no tag; COOKIE ECHO carries that of the offer; a reflected one is ours for them.
static bool tag_is_right(const struct sctp_assoc *assoc, uint32_t tag, const struct sctp_chunk *first)
{
	switch (first->type) {
	case SCTP_CHUNK_INIT:
		return tag == 0;
	case SCTP_CHUNK_COOKIE_ECHO:
		return tag == assoc->local_tag || (assoc->offer.used && tag == assoc->offer.local_tag);
	case SCTP_CHUNK_ABORT:
	case SCTP_CHUNK_SHUTDOWN_COMPLETE:
		if (first->flags & SCTP_TAG_REFLECTED)
			return assoc->peer_tag != 0 && tag == assoc->peer_tag;
		return tag == assoc->local_tag;
	default:
		return tag == assoc->local_tag;
	}
}

static enum drop control_chunk(struct sctp_assoc *assoc, uint32_t tag, const struct sctp_chunk *chunk, uint32_t cum_tsn)
{
	switch (chunk->type) {
	case SCTP_CHUNK_INIT:
		return sctp_setup_init(assoc, chunk);
	case SCTP_CHUNK_INIT_ACK:
		return sctp_setup_init_ack(assoc, chunk);
	case SCTP_CHUNK_COOKIE_ECHO:
		return sctp_setup_cookie_echo(assoc, tag, chunk);
	case SCTP_CHUNK_COOKIE_ACK:
		return sctp_setup_cookie_ack(assoc);
	case SCTP_CHUNK_ERROR:
		return error_chunk(assoc, chunk);
	case SCTP_CHUNK_ABORT:
		sctp_close(assoc);
		return DROP_NONE;
	case SCTP_CHUNK_SHUTDOWN_COMPLETE:
		if (assoc->phase == SCTP_PHASE_SHUTDOWN_ACK_SENT)
			sctp_close(assoc);
		return DROP_NONE;
	default:
		return assoc->phase >= SCTP_PHASE_ESTABLISHED ? established_chunk(assoc, chunk, cum_tsn) : DROP_NONE;
	}
}

static bool wants_worker(const struct sctp_chunk *chunk)
{
	return chunk->type == SCTP_CHUNK_DATA || chunk->type == SCTP_CHUNK_FORWARD_TSN;
}

// The control chunks of one packet so far.
struct controls {
	unsigned count;
	bool sack, forward;
};

// A SACK walks what is under way, a FORWARD-TSN what is held: one packet brings one of each, and few chunks in all.
static bool too_many(struct controls *controls, uint8_t type)
{
	bool second = (type == SCTP_CHUNK_SACK && controls->sack) || (type == SCTP_CHUNK_FORWARD_TSN && controls->forward);
	controls->sack |= type == SCTP_CHUNK_SACK;
	controls->forward |= type == SCTP_CHUNK_FORWARD_TSN;
	return type != SCTP_CHUNK_DATA && (controls->count++ >= CONTROL_CHUNKS_MAX || second);
}

static enum drop read_chunk(struct sctp_assoc *assoc, uint32_t tag, const struct sctp_chunk *chunk, uint32_t cum_tsn)
{
	if (chunk->type == SCTP_CHUNK_DATA)
		return data_chunk(assoc, chunk);
	if (sctp_chunk_known(chunk->type))
		return control_chunk(assoc, tag, chunk, cum_tsn);
	return sctp_unknown_rule(chunk->type) & SCTP_UNKNOWN_REPORT ? report_unknown(assoc, chunk) : DROP_NONE;
}

static enum drop read_packet(struct sctp_assoc *assoc, uint8_t *packet, size_t bytes, bool accounted, uint32_t cum_tsn,
	bool *ret_again)
{
	size_t at = SCTP_HEADER_BYTES;
	uint32_t tag = sctp_packet_tag(packet);
	enum drop drop = DROP_NONE;
	struct controls controls = {0};
	bool first = true;
	for (struct sctp_chunk chunk; assoc->phase != SCTP_PHASE_CLOSED && sctp_chunk_next(packet, bytes, &at, &chunk); first = false) {
		if (first && !tag_is_right(assoc, tag, &chunk))
			return DROP_SCTP_BAD_TAG;
		if (chunk.type == SCTP_CHUNK_STRUCK)
			continue;
		if (wants_worker(&chunk) && !accounted) {
			*ret_again = assoc->phase == SCTP_PHASE_ESTABLISHED || assoc->phase == SCTP_PHASE_SHUTDOWN_RECEIVED;
			continue;
		}
		bool flood = too_many(&controls, chunk.type);
		enum drop fault = flood ? DROP_SCTP_CONTROL_FLOOD : read_chunk(assoc, tag, &chunk, cum_tsn);
		drop = drop == DROP_NONE ? fault : drop;
		if (!sctp_chunk_known(chunk.type) && !(sctp_unknown_rule(chunk.type) & SCTP_UNKNOWN_SKIP)) {
			put_be16(chunk.at + 2, (uint16_t)(bytes - (size_t)(chunk.at - packet))); // and all behind it
			at = bytes;
		}
		chunk.at[0] = SCTP_CHUNK_STRUCK;
	}
	return drop;
}

enum drop sctp_assoc_input(struct sctp_assoc *assoc, uint8_t *packet, size_t bytes, bool accounted, uint32_t cum_tsn,
	uint64_t now_ns, bool *ret_again)
{
	*ret_again = false;
	assoc->now_ns = now_ns;
	assoc->reading = true;
	enum drop drop = read_packet(assoc, packet, bytes, accounted, cum_tsn, ret_again);
	assoc->reading = false;
	if (assoc->phase == SCTP_PHASE_CLOSED)
		*ret_again = false;
	flush(assoc);
	return drop;
}

int sctp_assoc_send(struct sctp_assoc *assoc, uint16_t stream, uint32_t ppid, bool unordered, const void *data,
	size_t bytes, uint64_t now_ns)
{
	assoc->now_ns = now_ns;
	if (assoc->phase != SCTP_PHASE_ESTABLISHED)
		return -ENOTCONN;
	int ret = sctp_sender_push(&assoc->out, stream, ppid, unordered, data, bytes);
	if (ret == 0 && !assoc->reading) // else with what else the packet asks for
		flush(assoc);
	return ret;
}

static void timer_due(struct sctp_assoc *assoc)
{
	if (++assoc->timer_tries >= TIMER_TRIES_MAX) {
		if (assoc->peer_tag != 0)
			sctp_send_abort(assoc, SCTP_CAUSE_OUT_OF_RESOURCE);
		sctp_close(assoc);
		return;
	}
	assoc->timer_rto_ns = MIN_OF(assoc->timer_rto_ns * 2, (uint64_t)TIMER_MAX_NS);
	if (assoc->phase == SCTP_PHASE_SHUTDOWN_ACK_SENT)
		sctp_send_chunk(assoc, assoc->peer_tag, SCTP_CHUNK_SHUTDOWN_ACK, 0, NULL, 0);
	else
		sctp_setup_repeat(assoc);
	sctp_timer(assoc, false);
}

uint64_t sctp_assoc_poll(struct sctp_assoc *assoc, uint64_t now_ns)
{
	assoc->now_ns = now_ns;
	if (assoc->timer_ns != 0 && assoc->timer_ns <= now_ns)
		timer_due(assoc);
	if (sctp_sender_poll(&assoc->out, now_ns) < 0) {
		sctp_send_abort(assoc, SCTP_CAUSE_OUT_OF_RESOURCE);
		sctp_close(assoc);
	}
	flush(assoc);
	uint64_t t3 = sctp_sender_deadline_ns(&assoc->out);
	return t3 != 0 && (assoc->timer_ns == 0 || t3 < assoc->timer_ns) ? t3 : assoc->timer_ns;
}

enum sctp_state sctp_assoc_state(const struct sctp_assoc *assoc)
{
	if (assoc->phase == SCTP_PHASE_CLOSED)
		return SCTP_STATE_CLOSED;
	return assoc->phase >= SCTP_PHASE_ESTABLISHED ? SCTP_STATE_UP : SCTP_STATE_CONNECTING;
}

uint32_t sctp_assoc_rwnd(const struct sctp_assoc *assoc)
{
	return assoc->in.held_bytes < SCTP_RWND_BYTES ? (uint32_t)(SCTP_RWND_BYTES - assoc->in.held_bytes) : 0;
}
