// SPDX-License-Identifier: ISC
//
// text_stream.c - LiveKit text streams on the wire: header, chunks and trailer, each a DataPacket.
//
// Runs on: any.

#include "controlplane/text_stream.h"

// Field numbers of DataPacket, and of what is in it.
#define PACKET_HEADER 13
#define PACKET_CHUNK 14
#define PACKET_TRAILER 15
#define WIRE_VARINT 0
#define WIRE_BYTES 2

struct writer {
	uint8_t *bytes;
	size_t at, size;
	bool full;
};

static void put_varint(struct writer *w, uint64_t value)
{
	do {
		if (w->at == w->size) {
			w->full = true;
			return;
		}
		w->bytes[w->at++] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
		value >>= 7;
	} while (value > 0);
}

static void put_bytes(struct writer *w, unsigned field, const void *data, size_t bytes)
{
	put_varint(w, field << 3 | WIRE_BYTES);
	put_varint(w, bytes);
	if (w->full || w->size - w->at < bytes) {
		w->full = true;
		return;
	}
	if (bytes > 0)
		memcpy(w->bytes + w->at, data, bytes);
	w->at += bytes;
}

static void put_text(struct writer *w, unsigned field, const char *text)
{
	put_bytes(w, field, text, strlen(text));
}

static void put_number(struct writer *w, unsigned field, uint64_t number)
{
	if (number == 0)
		return;
	put_varint(w, field << 3 | WIRE_VARINT);
	put_varint(w, number);
}

static int wrap(uint8_t *ret_packet, unsigned field, const struct writer *inner)
{
	struct writer outer = {.bytes = ret_packet, .size = TEXT_STREAM_PACKET_MAX};
	put_bytes(&outer, field, inner->bytes, inner->at);
	return inner->full || outer.full ? -EMSGSIZE : (int)outer.at;
}

int text_stream_header(uint8_t ret_packet[static TEXT_STREAM_PACKET_MAX], const char *stream_id, const char *topic, int64_t unix_ms,
	const struct text_stream_attribute *attributes, size_t count)
{
	uint8_t body[TEXT_STREAM_PACKET_MAX], pair[TEXT_STREAM_PACKET_MAX];
	struct writer w = {.bytes = body, .size = sizeof(body)};
	put_text(&w, 1, stream_id);
	put_number(&w, 2, (uint64_t)unix_ms);
	put_text(&w, 3, topic);
	put_text(&w, 4, "text/plain");
	for (size_t i = 0; i < count; i++) {
		struct writer entry = {.bytes = pair, .size = sizeof(pair)};
		if (attributes[i].value == NULL)
			continue;
		put_text(&entry, 1, attributes[i].key);
		put_text(&entry, 2, attributes[i].value);
		w.full |= entry.full;
		put_bytes(&w, 8, pair, entry.at);
	}
	put_bytes(&w, 9, NULL, 0); // text_header: empty, but without it the stream is silently ignored
	return wrap(ret_packet, PACKET_HEADER, &w);
}

int text_stream_chunk(uint8_t ret_packet[static TEXT_STREAM_PACKET_MAX], const char *stream_id, uint64_t index, const char *text,
	size_t bytes)
{
	uint8_t body[TEXT_STREAM_PACKET_MAX];
	struct writer w = {.bytes = body, .size = sizeof(body)};
	put_text(&w, 1, stream_id);
	put_number(&w, 2, index);
	put_bytes(&w, 3, text, bytes);
	return wrap(ret_packet, PACKET_CHUNK, &w);
}

int text_stream_trailer(uint8_t ret_packet[static TEXT_STREAM_PACKET_MAX], const char *stream_id)
{
	uint8_t body[TEXT_STREAM_PACKET_MAX];
	struct writer w = {.bytes = body, .size = sizeof(body)};
	put_text(&w, 1, stream_id);
	return wrap(ret_packet, PACKET_TRAILER, &w);
}

size_t text_stream_take(const char *text, size_t bytes)
{
	if (bytes <= TEXT_STREAM_CHUNK_MAX)
		return bytes;
	size_t take = TEXT_STREAM_CHUNK_MAX;
	while (take > 0 && ((uint8_t)text[take] & 0xc0) == 0x80) // the next one begins in mid character
		take--;
	return take > 0 ? take : TEXT_STREAM_CHUNK_MAX;
}
