// SPDX-License-Identifier: ISC
//
// sctp_sender.c - the sending half of an association.
//
// Runs on: assoc.

#include "dataplane/sctp_sender.h"

#include <stdlib.h>

#define PIECE_BYTES_MAX ((SCTP_PACKET_MAX - SCTP_HEADER_BYTES - SCTP_DATA_BYTES) & ~3)
#define CWND_FIRST 4380u // RFC 9260 7.2.1
#define RTO_FIRST_NS 1000000000u
#define RTO_MIN_NS 400000000u // the peer may delay a SACK by 200 ms
#define RTO_MAX_NS 10000000000u
#define MISSES_MAX 3
#define STREAMS_STEP 16

struct sctp_piece {
	struct sctp_piece *next;
	uint64_t sent_ns;
	uint32_t tsn, ppid;
	uint16_t stream, ssn, bytes;
	uint8_t flags, sends, misses;
	bool in_flight, acked, lost;
	uint8_t data[];
};

void sctp_sender_init(struct sctp_sender *out, uint32_t first_tsn, uint32_t peer_rwnd)
{
	*out = (struct sctp_sender){
		.next_tsn = first_tsn,
		.peer_rwnd = peer_rwnd,
		.cwnd = CWND_FIRST,
		.ssthresh = UINT32_MAX,
		.rto_ns = RTO_FIRST_NS,
	};
	out->end = &out->first;
}

static void drop_first(struct sctp_sender *out)
{
	struct sctp_piece *piece = out->first;
	out->first = piece->next;
	if (out->first == NULL)
		out->end = &out->first;
	if (piece->in_flight)
		out->flight -= piece->bytes;
	out->queued_bytes -= piece->bytes;
	out->pieces--;
	free(piece);
}

void sctp_sender_finish(struct sctp_sender *out)
{
	while (out->first != NULL)
		drop_first(out);
	free(out->next_ssn);
	out->next_ssn = NULL;
	out->streams = 0;
}

static uint16_t *ssn_of(struct sctp_sender *out, uint16_t stream)
{
	if (stream >= out->streams) {
		unsigned streams = (stream / STREAMS_STEP + 1u) * STREAMS_STEP;
		uint16_t *grown = realloc(out->next_ssn, streams * sizeof(*grown));
		if (grown == NULL)
			return NULL;
		memset(grown + out->streams, 0, (streams - out->streams) * sizeof(*grown));
		out->next_ssn = grown;
		out->streams = streams;
	}
	return &out->next_ssn[stream];
}

int sctp_sender_push(struct sctp_sender *out, uint16_t stream, uint32_t ppid, bool unordered, const void *data,
	size_t bytes)
{
	if (bytes == 0 || bytes > SCTP_MESSAGE_BYTES_MAX)
		return -EINVAL;
	unsigned pieces = (unsigned)((bytes + PIECE_BYTES_MAX - 1) / PIECE_BYTES_MAX);
	if (bytes > SCTP_SENDER_QUEUED_MAX - out->queued_bytes || pieces > SCTP_SENDER_PIECES_MAX - out->pieces)
		return -ENOBUFS;
	uint16_t *ssn = ssn_of(out, stream);
	struct sctp_piece *first = NULL, **end = &first;
	for (size_t at = 0; ssn != NULL && at < bytes;) {
		size_t part = MIN_OF(bytes - at, (size_t)PIECE_BYTES_MAX);
		struct sctp_piece *piece = malloc(sizeof(*piece) + part);
		if (piece == NULL) {
			ssn = NULL;
			break;
		}
		*piece = (struct sctp_piece){
			.stream = stream, .ssn = unordered ? 0 : *ssn, .ppid = ppid, .bytes = (uint16_t)part};
		piece->flags = (uint8_t)((at == 0 ? SCTP_DATA_BEGIN : 0) | (at + part == bytes ? SCTP_DATA_END : 0) |
					 (unordered ? SCTP_DATA_UNORDERED : 0));
		memcpy(piece->data, (const uint8_t *)data + at, part);
		at += part;
		*end = piece;
		end = &piece->next;
	}
	if (ssn == NULL) {
		for (struct sctp_piece *next; first != NULL; first = next) {
			next = first->next;
			free(first);
		}
		return -ENOMEM;
	}
	for (struct sctp_piece *piece = first; piece != NULL; piece = piece->next)
		piece->tsn = out->next_tsn++;
	if (!unordered)
		++*ssn;
	out->queued_bytes += bytes;
	out->pieces += pieces;
	*out->end = first;
	out->end = end;
	return 0;
}

// RFC 9260 6.3.1
static void rtt_sample(struct sctp_sender *out, uint64_t rtt_ns)
{
	if (out->srtt_ns == 0) {
		out->srtt_ns = rtt_ns;
		out->rttvar_ns = rtt_ns / 2;
	} else {
		uint64_t off = rtt_ns > out->srtt_ns ? rtt_ns - out->srtt_ns : out->srtt_ns - rtt_ns;
		out->rttvar_ns = (3 * out->rttvar_ns + off) / 4;
		out->srtt_ns = (7 * out->srtt_ns + rtt_ns) / 8;
	}
	uint64_t rto = out->srtt_ns + 4 * out->rttvar_ns;
	out->rto_ns = MIN_OF(MAX_OF(rto, (uint64_t)RTO_MIN_NS), (uint64_t)RTO_MAX_NS);
}

// Counts a piece as arrived; returns its bytes when that is news.
static uint32_t arrived(struct sctp_sender *out, struct sctp_piece *piece, uint64_t now_ns)
{
	if (piece->in_flight) {
		out->flight -= piece->bytes;
		piece->in_flight = false;
	}
	if (piece->acked || piece->sends == 0)
		return 0;
	piece->acked = true;
	piece->lost = false;
	if (piece->sends == 1) // Karn: a repeated one tells nothing
		rtt_sample(out, now_ns - piece->sent_ns);
	return piece->bytes;
}

static void halve(struct sctp_sender *out)
{
	out->ssthresh = MAX_OF(out->cwnd / 2, 4u * SCTP_PACKET_MAX);
}

// RFC 9260 7.2.4: three reports that skip a piece, and it is lost.
static void missed(struct sctp_sender *out, struct sctp_piece *piece)
{
	if (!piece->in_flight || piece->sends > 1 || ++piece->misses < MISSES_MAX)
		return;
	piece->lost = true;
	piece->in_flight = false;
	out->flight -= piece->bytes;
	if (!out->recovering) {
		halve(out);
		out->cwnd = out->ssthresh;
		out->partial_acked = 0;
		out->recovering = true;
		out->recover_tsn = out->next_tsn - 1;
	}
}

static void grow(struct sctp_sender *out, uint32_t acked, bool was_full)
{
	if (!was_full || out->recovering)
		return;
	if (out->cwnd <= out->ssthresh) {
		out->cwnd += MIN_OF(acked, (uint32_t)SCTP_PACKET_MAX);
		return;
	}
	out->partial_acked += acked;
	if (out->partial_acked >= out->cwnd) {
		out->partial_acked -= out->cwnd;
		out->cwnd += SCTP_PACKET_MAX;
	}
}

static uint32_t cumulative(struct sctp_sender *out, uint32_t cum_tsn, uint64_t now_ns)
{
	uint32_t acked = 0;
	while (out->first != NULL && out->first->sends > 0 && !sctp_after(out->first->tsn, cum_tsn)) {
		acked += arrived(out, out->first, now_ns);
		drop_first(out);
	}
	if (out->recovering && !sctp_after(out->recover_tsn, cum_tsn))
		out->recovering = false;
	return acked;
}

static bool anything_sent(const struct sctp_sender *out)
{
	return out->first != NULL && out->first->sends > 0;
}

void sctp_sender_acked(struct sctp_sender *out, uint32_t cum_tsn, uint64_t now_ns)
{
	if (cumulative(out, cum_tsn, now_ns) > 0)
		out->t3_ns = anything_sent(out) ? now_ns + out->rto_ns : 0;
}

int sctp_sender_sack(struct sctp_sender *out, const struct sctp_chunk *chunk, uint64_t now_ns)
{
	if (chunk->bytes < 16)
		return -EBADMSG;
	const uint8_t *body = chunk->at + SCTP_CHUNK_BYTES;
	uint32_t cum_tsn = get_be32(body);
	unsigned blocks = get_be16(body + 8), duplicates = get_be16(body + 10);
	if (chunk->bytes < 16 + 4 * (size_t)blocks + 4 * (size_t)duplicates)
		return -EBADMSG;
	// What was never sent cannot be acknowledged, and an older SACK that comes late says nothing new.
	if (sctp_after(cum_tsn, out->next_tsn - 1) || (out->first != NULL && sctp_after(out->first->tsn - 1, cum_tsn)))
		return 0;
	bool was_full = out->flight + SCTP_PACKET_MAX > out->cwnd;
	uint32_t acked = cumulative(out, cum_tsn, now_ns), gap_acked = 0, highest = cum_tsn;
	struct sctp_piece *piece = out->first;
	for (unsigned i = 0; i < blocks; i++) {
		uint32_t begin = cum_tsn + get_be16(body + 12 + 4 * (size_t)i), end = cum_tsn + get_be16(body + 14 + 4 * (size_t)i);
		while (piece != NULL && sctp_after(begin, piece->tsn))
			piece = piece->next;
		for (; piece != NULL && piece->sends > 0 && !sctp_after(piece->tsn, end); piece = piece->next) {
			uint32_t news = arrived(out, piece, now_ns);
			gap_acked += news;
			if (news > 0)
				highest = piece->tsn;
		}
	}
	for (piece = out->first; piece != NULL && sctp_after(highest, piece->tsn); piece = piece->next)
		if (!piece->acked)
			missed(out, piece);
	grow(out, acked + gap_acked, was_full && acked > 0);
	uint32_t rwnd = get_be32(body + 4);
	out->peer_rwnd = rwnd > out->flight ? rwnd - out->flight : 0;
	if (!anything_sent(out))
		out->t3_ns = 0;
	else if (acked > 0 || out->t3_ns == 0)
		out->t3_ns = now_ns + out->rto_ns;
	return 0;
}

static size_t put_piece(struct sctp_sender *out, struct sctp_piece *piece, uint8_t *packet, size_t at, uint64_t now_ns)
{
	uint8_t *head = packet + at;
	size_t next = sctp_chunk_put(packet, at, SCTP_CHUNK_DATA, piece->flags, SCTP_DATA_BYTES - SCTP_CHUNK_BYTES + piece->bytes);
	put_be32(head + 4, piece->tsn);
	put_be16(head + 8, piece->stream);
	put_be16(head + 10, piece->ssn);
	put_be32(head + 12, piece->ppid);
	memcpy(head + SCTP_DATA_BYTES, piece->data, piece->bytes);
	piece->lost = false;
	piece->in_flight = true;
	piece->misses = 0;
	if (piece->sends < UINT8_MAX)
		piece->sends++;
	piece->sent_ns = now_ns;
	out->flight += piece->bytes;
	out->peer_rwnd -= MIN_OF(out->peer_rwnd, (uint32_t)piece->bytes);
	if (out->t3_ns == 0)
		out->t3_ns = now_ns + out->rto_ns;
	return next;
}

size_t sctp_sender_fill(struct sctp_sender *out, uint8_t *packet, size_t at, uint64_t now_ns)
{
	for (struct sctp_piece *piece = out->first; piece != NULL; piece = piece->next) {
		if (piece->sends > 0 && !piece->lost)
			continue;
		if (at + sctp_padded(SCTP_DATA_BYTES + (size_t)piece->bytes) > SCTP_PACKET_MAX)
			break;
		// One may always be under way, however small the windows are (RFC 9260 6.1 A).
		if (out->flight > 0 && (out->flight >= out->cwnd || (piece->sends == 0 && piece->bytes > out->peer_rwnd)))
			break;
		at = put_piece(out, piece, packet, at, now_ns);
	}
	return at;
}

int sctp_sender_poll(struct sctp_sender *out, uint64_t now_ns)
{
	if (out->t3_ns == 0 || out->t3_ns > now_ns)
		return 0;
	out->t3_ns = 0;
	for (struct sctp_piece *piece = out->first; piece != NULL && piece->sends > 0; piece = piece->next) {
		if (piece == out->first)
			piece->acked = false; // whatever a gap block once said: it was never confirmed cumulatively
		if (piece->acked)
			continue;
		if (piece->sends >= SCTP_SENDER_TRIES_MAX)
			return -ETIMEDOUT;
		if (piece->in_flight)
			out->flight -= piece->bytes;
		piece->in_flight = false;
		piece->lost = true;
	}
	halve(out);
	out->cwnd = SCTP_PACKET_MAX;
	out->partial_acked = 0;
	out->recovering = false;
	out->rto_ns = MIN_OF(out->rto_ns * 2, (uint64_t)RTO_MAX_NS);
	return 0;
}
