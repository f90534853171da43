// SPDX-License-Identifier: ISC
//
// sctp_rx.c - the receiving half of an established SCTP association.
//
// Runs on: worker.   Upstream: dtls_record.   Downstream: ingress_data (messages), assoc (everything else).

#include "dataplane/sctp_rx.h"

#include "dataplane/dcep.h"

#include "dataplane/hot.h"

#define GAP_BLOCKS_MAX 48
#define SACK_FIXED_BYTES 12 // cumulative TSN, window, two counts

enum { BEHIND = SCTP_RX_BITS - SCTP_RX_AHEAD };

static uint64_t *word(struct sctp_rx *rx, uint32_t tsn)
{
	return &rx->seen[tsn % SCTP_RX_BITS / 64];
}

static bool is_seen(const struct sctp_rx *rx, uint32_t tsn)
{
	return (rx->seen[tsn % SCTP_RX_BITS / 64] >> tsn % 64 & 1) != 0;
}

// The place that comes into reach above is the one that leaves it below.
static void advance(struct sctp_rx *rx)
{
	rx->cum_tsn++;
	uint32_t fresh = rx->cum_tsn + SCTP_RX_AHEAD;
	*word(rx, fresh) &= ~(1ull << fresh % 64);
}

static void mark(struct sctp_rx *rx, uint32_t tsn)
{
	*word(rx, tsn) |= 1ull << tsn % 64;
	if (sctp_after(tsn, rx->max_tsn)) {
		rx->holes += tsn - rx->max_tsn - 1;
		rx->max_tsn = tsn;
	}
	while (rx->cum_tsn != rx->max_tsn && is_seen(rx, rx->cum_tsn + 1))
		advance(rx);
}

void sctp_rx_start(struct sctp_rx *rx, const struct sctp_up *up)
{
	uint16_t channels[SCTP_RX_CHANNELS];
	bool was_up = rx->up;
	memcpy(channels, rx->channels, sizeof(channels));
	*rx = (struct sctp_rx){
		.up = up->up,
		.local_tag = up->local_tag,
		.peer_tag = up->peer_tag,
		.cum_tsn = up->peer_tsn - 1,
		.max_tsn = up->peer_tsn - 1,
	};
	// All that is at or below the start counts as seen.
	for (uint32_t behind = 0; behind < BEHIND; behind++)
		*word(rx, rx->cum_tsn - behind) |= 1ull << (rx->cum_tsn - behind) % 64;
	if (was_up)
		memcpy(rx->channels, channels, sizeof(channels));
	else
		memset(rx->channels, 0xff, sizeof(rx->channels));
}

enum sctp_rx_verdict sctp_rx_begin(const struct sctp_rx *rx, struct sctp_walk *walk, uint8_t *packet, size_t bytes)
{
	*walk = (struct sctp_walk){.packet = packet, .bytes = bytes, .at = SCTP_HEADER_BYTES};
	if (UNLIKELY(!rx->up || sctp_packet_tag(packet) != rx->local_tag))
		return SCTP_RX_ASSOC;
	return SCTP_RX_WALK;
}

static void strike(struct sctp_chunk *chunk)
{
	chunk->at[0] = SCTP_CHUNK_STRUCK;
}

static void note_duplicate(struct sctp_rx *rx, uint32_t tsn)
{
	if (rx->duplicate_count < ARRAY_SIZE(rx->duplicates))
		rx->duplicates[rx->duplicate_count++] = tsn;
}

static bool is_channel(const struct sctp_rx *rx, uint16_t stream)
{
	return stream != SCTP_RX_NO_STREAM && (stream == rx->channels[0] || stream == rx->channels[1]);
}

// Left for assoc, and counted as received only when assoc has it.
static void leave(const struct sctp_rx *rx, struct sctp_walk *walk, struct sctp_chunk *chunk, uint32_t tsn)
{
	for (unsigned i = 0; i < walk->slow_count; i++) {
		if (walk->slow[i] == tsn) { // twice in one packet
			strike(chunk);
			return;
		}
	}
	if (walk->slow_count == SCTP_RX_SLOW_MAX) {
		strike(chunk);
		walk->window_count++;
		return;
	}
	walk->slow[walk->slow_count++] = tsn;
	walk->assoc = true;
	// A hole below it, and not one that this same packet fills.
	if (tsn != rx->cum_tsn + 1 && !(walk->slow_count > 1 && walk->slow[walk->slow_count - 2] == tsn - 1))
		walk->at_once = true;
}

// True: a message to deliver in place.
static bool data_chunk(struct sctp_rx *rx, struct sctp_walk *walk, struct sctp_chunk *chunk, struct sctp_message *ret_message)
{
	const uint8_t *head = chunk->at;
	walk->data = true;
	if (UNLIKELY(chunk->bytes <= SCTP_DATA_BYTES)) { // RFC 9260 6.2: no user data, assoc aborts
		walk->assoc = true;
		walk->at = walk->bytes;
		return false;
	}
	uint32_t tsn = get_be32(head + 4);
	int32_t ahead = (int32_t)(tsn - rx->cum_tsn);
	if (UNLIKELY(ahead > SCTP_RX_AHEAD)) {
		walk->window_count++;
		strike(chunk);
		return false;
	}
	if (UNLIKELY(ahead <= -BEHIND || is_seen(rx, tsn))) {
		note_duplicate(rx, tsn);
		strike(chunk);
		return false;
	}
	*ret_message = (struct sctp_message){
		.stream = get_be16(head + 8),
		.ppid = get_be32(head + 12),
		.tsn = tsn,
		.unordered = (head[1] & SCTP_DATA_UNORDERED) != 0,
		.data = head + SCTP_DATA_BYTES,
		.bytes = chunk->bytes - SCTP_DATA_BYTES,
	};
	bool whole = (head[1] & SCTP_DATA_WHOLE) == SCTP_DATA_WHOLE;
	if (UNLIKELY(!whole || !ret_message->unordered || ret_message->ppid == PPID_DCEP ||
		    !is_channel(rx, ret_message->stream))) {
		if (ahead > 0)
			leave(rx, walk, chunk, tsn);
		else
			strike(chunk); // overtaken by a FORWARD-TSN: its stream has gone on without it
		return false;
	}
	// A lossy message that its own FORWARD-TSN overtook (ahead <= 0, not seen) is still worth hearing.
	mark(rx, tsn);
	strike(chunk);
	return ret_message->ppid == PPID_BINARY || ret_message->ppid == PPID_STRING;
}

// We do not announce it; who sends it all the same is believed.
static void forward_tsn(struct sctp_rx *rx, struct sctp_walk *walk, const struct sctp_chunk *chunk)
{
	if (chunk->bytes < SCTP_CHUNK_BYTES + 4)
		return;
	uint32_t tsn = get_be32(chunk->at + 4);
	int32_t ahead = (int32_t)(tsn - rx->cum_tsn);
	walk->owed = true;
	walk->assoc = true; // its streams go on there
	if (ahead <= 0 || ahead > SCTP_RX_AHEAD)
		return;
	while (rx->cum_tsn != tsn)
		advance(rx); // what was not seen stays so
	if (sctp_after(tsn, rx->max_tsn))
		rx->max_tsn = tsn;
	while (rx->cum_tsn != rx->max_tsn && is_seen(rx, rx->cum_tsn + 1))
		advance(rx);
}

bool sctp_rx_next(struct sctp_rx *rx, struct sctp_walk *walk, struct sctp_message *ret_message)
{
	struct sctp_chunk chunk;
	while (sctp_chunk_next(walk->packet, walk->bytes, &walk->at, &chunk)) {
		if (LIKELY(chunk.type == SCTP_CHUNK_DATA)) {
			if (data_chunk(rx, walk, &chunk, ret_message))
				return true;
		} else if (chunk.type == SCTP_CHUNK_FORWARD_TSN) {
			forward_tsn(rx, walk, &chunk);
		} else if (chunk.type != SCTP_CHUNK_STRUCK) {
			walk->assoc = true;
			// What stops an unknown chunk's packet stops it for its DATA as well.
			if (!sctp_chunk_known(chunk.type) && !(sctp_unknown_rule(chunk.type) & SCTP_UNKNOWN_SKIP))
				return false;
		}
	}
	return false;
}

void sctp_rx_handed_over(struct sctp_rx *rx, const struct sctp_walk *walk)
{
	for (unsigned i = 0; i < walk->slow_count; i++)
		if ((int32_t)(walk->slow[i] - rx->cum_tsn) > 0)
			mark(rx, walk->slow[i]);
}

bool sctp_rx_end(struct sctp_rx *rx, const struct sctp_walk *walk, uint64_t now_ns)
{
	if (walk->data)
		rx->unacked++;
	if (walk->data && (walk->at_once || rx->unacked >= SCTP_RX_SACK_EVERY))
		return true;
	if ((walk->data || walk->owed) && rx->sack_due_ns == 0)
		rx->sack_due_ns = now_ns + SCTP_RX_SACK_DELAY_NS;
	return false;
}

size_t sctp_rx_sack(struct sctp_rx *rx, uint8_t *room, uint32_t rwnd_bytes)
{
	size_t at = sctp_packet_begin(room, rx->peer_tag);
	uint8_t *body = room + at + SCTP_CHUNK_BYTES;
	unsigned blocks = 0;
	uint8_t *list = body + SACK_FIXED_BYTES;
	uint32_t span = rx->max_tsn - rx->cum_tsn;
	for (uint32_t offset = 1; offset <= span && blocks < GAP_BLOCKS_MAX; offset++) {
		if (!is_seen(rx, rx->cum_tsn + offset))
			continue;
		uint32_t begin = offset;
		while (offset < span && is_seen(rx, rx->cum_tsn + offset + 1))
			offset++;
		put_be16(list, (uint16_t)begin);
		put_be16(list + 2, (uint16_t)offset);
		list += 4;
		blocks++;
	}
	for (unsigned i = 0; i < rx->duplicate_count; i++, list += 4)
		put_be32(list, rx->duplicates[i]);
	put_be32(body, rx->cum_tsn);
	put_be32(body + 4, rwnd_bytes);
	put_be16(body + 8, (uint16_t)blocks);
	put_be16(body + 10, rx->duplicate_count);
	at = sctp_chunk_put(room, at, SCTP_CHUNK_SACK, 0, (size_t)(list - body));
	sctp_packet_end(room, at);
	rx->unacked = 0;
	rx->sack_due_ns = 0;
	rx->duplicate_count = 0;
	return at;
}

size_t sctp_rx_abort(const struct sctp_rx *rx, uint8_t *room)
{
	size_t at = sctp_packet_begin(room, rx->peer_tag);
	at = sctp_chunk_put(room, at, SCTP_CHUNK_ABORT, 0, 0);
	sctp_packet_end(room, at);
	return at;
}
