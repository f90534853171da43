// SPDX-License-Identifier: ISC
//
// align.c - find the constant differences between two numberings of one publication.
//
// Runs on: worker.   Upstream: source.

#include "dataplane/align.h"

#include "dataplane/hot.h"

#define MATCHES_WANTED 2
#define HALF_PACKET_MS 10
#define HALF_PACKET_TICKS 480 // a clock that the server has re-based is off by less

static bool near(uint32_t a, uint32_t b)
{
	return a - b + HALF_PACKET_TICKS <= 2 * HALF_PACKET_TICKS;
}

void align_reset(struct align *align)
{
	align->count[ALIGN_FIRST] = align->count[ALIGN_SECOND] = 0;
	align->matches = 0;
	align->fixed = align->close = false;
}

uint64_t align_hash(const uint8_t *payload, size_t bytes)
{
	return bytes <= ALIGN_PAYLOAD_MIN ? 0 : align_hash_any(payload, bytes);
}

uint64_t align_hash_any(const uint8_t *payload, size_t bytes)
{
	uint64_t hash = 0x9e3779b97f4a7c15u ^ bytes, word;
	for (; bytes >= sizeof(word); payload += sizeof(word), bytes -= sizeof(word)) {
		memcpy(&word, payload, sizeof(word));
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, payload, bytes);
	hash = (hash ^ word) * 0xc4ceb9fe1a85ec53u;
	hash ^= hash >> 29;
	return hash == 0 ? 1 : hash;
}

static unsigned kept(const struct align *align, enum align_side side)
{
	return MIN_OF(align->count[side], (unsigned)ALIGN_PACKETS);
}

// The difference first minus second of one pair of packets.
static bool agree(struct align *align, const struct align_packet *first, const struct align_packet *second)
{
	uint16_t seq_offset = (uint16_t)(first->seq - second->seq);
	uint32_t timestamp_offset = first->timestamp - second->timestamp;
	if (align->matches == 0 || seq_offset != align->seq_offset || timestamp_offset != align->timestamp_offset)
		align->matches = 0;
	align->seq_offset = seq_offset;
	align->timestamp_offset = timestamp_offset;
	return ++align->matches >= MATCHES_WANTED;
}

static bool at_one_moment(const struct align_packet *a, const struct align_packet *b)
{
	return (uint16_t)(a->arrival_ms - b->arrival_ms + HALF_PACKET_MS) <= 2 * HALF_PACKET_MS;
}

// The packet of the opposite side with that content, NULL: none, or there is no telling which.
static const struct align_packet *twin(const struct align *align, enum align_side side, const struct align_packet *packet)
{
	const struct align_packet *only = NULL, *close = NULL;
	unsigned count = 0, close_count = 0;
	for (unsigned i = 0; i < kept(align, side); i++) {
		const struct align_packet *other = &align->packets[side][i];
		if (other->hash != packet->hash)
			continue;
		only = other;
		count++;
		if (at_one_moment(other, packet)) {
			close = other;
			close_count++;
		}
	}
	if (close_count == 1)
		return close;
	return count == 1 && close_count == 0 ? only : NULL;
}

static bool repeats(const struct align *align, enum align_side side, uint64_t hash)
{
	unsigned count = 0;
	for (unsigned i = 0; i < kept(align, side); i++)
		count += align->packets[side][i].hash == hash;
	return count > 1;
}

bool align_put(struct align *align, enum align_side side, uint16_t seq, uint32_t timestamp, uint64_t hash, uint64_t arrival_ns)
{
	struct align_packet *packet = &align->packets[side][align->count[side]++ % ALIGN_PACKETS];
	*packet = (struct align_packet){hash, timestamp, seq, (uint16_t)(arrival_ns / 1000000)};
	if (align->fixed || hash == 0)
		return false;
	const struct align_packet *other = twin(align, side == ALIGN_FIRST ? ALIGN_SECOND : ALIGN_FIRST, packet);
	if (other == NULL)
		return false;
	// Of the same content and moment is better evidence than of the same content: that may be another of its like.
	bool close = at_one_moment(other, packet);
	if (!close && (align->close || repeats(align, side, hash)))
		return false;
	if (close && !align->close)
		align->matches = 0;
	align->close = close;
	align->fixed = side == ALIGN_FIRST ? agree(align, packet, other) : agree(align, other, packet);
	return align->fixed;
}

bool align_by_timestamp(struct align *align, uint32_t timestamp_offset)
{
	for (unsigned s = 0; s < kept(align, ALIGN_SECOND); s++) {
		for (unsigned f = 0; f < kept(align, ALIGN_FIRST); f++) {
			const struct align_packet *first = &align->packets[ALIGN_FIRST][f], *second = &align->packets[ALIGN_SECOND][s];
			if (!near(first->timestamp, second->timestamp + timestamp_offset))
				continue;
			align->seq_offset = (uint16_t)(first->seq - second->seq);
			align->timestamp_offset = timestamp_offset;
			align->fixed = true;
			return true;
		}
	}
	return false;
}

static bool among(const struct align_packet *packets, unsigned count, uint64_t hash)
{
	for (unsigned i = 0; i < MIN_OF(count, (unsigned)ALIGN_PACKETS); i++)
		if (packets[i].hash == hash)
			return true;
	return false;
}

bool align_knows(const struct align *align, enum align_side side, uint64_t hash)
{
	return among(align->packets[side], align->count[side], hash);
}

bool align_ring_knows(const struct align_ring *ring, uint64_t hash)
{
	return among(ring->packets, ring->count, hash);
}

bool align_ring_put(struct align_ring *ring, uint32_t timestamp, uint64_t hash)
{
	if (hash == 0)
		return false;
	for (unsigned i = 0; i < MIN_OF(ring->count, (unsigned)ALIGN_PACKETS); i++)
		if (ring->packets[i].hash == hash && near(ring->packets[i].timestamp, timestamp))
			return true;
	ring->packets[ring->count++ % ALIGN_PACKETS] = (struct align_packet){.hash = hash, .timestamp = timestamp};
	return false;
}
