// SPDX-License-Identifier: ISC
//
// text_stream.h - LiveKit text streams on the wire: header, chunks and trailer, each a DataPacket. Pure.
//
// Source: facts browser-peer.md 2. The three-packet form, which every client reads.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define TEXT_STREAM_CHUNK_MAX 1000 // bytes of text in a chunk: one packet of the data channel fits one datagram
#define TEXT_STREAM_PACKET_MAX 1300

struct text_stream_attribute {
	const char *key, *value; // value NULL: left out
};

// Each writes one DataPacket and returns its bytes, or -EMSGSIZE.
int text_stream_header(uint8_t ret_packet[static TEXT_STREAM_PACKET_MAX], const char *stream_id, const char *topic, int64_t unix_ms,
	const struct text_stream_attribute *attributes, size_t count);
int text_stream_chunk(uint8_t ret_packet[static TEXT_STREAM_PACKET_MAX], const char *stream_id, uint64_t index, const char *text,
	size_t bytes);
int text_stream_trailer(uint8_t ret_packet[static TEXT_STREAM_PACKET_MAX], const char *stream_id);
// How much of the text goes into the next chunk: as much as fits without splitting a character.
size_t text_stream_take(const char *text, size_t bytes);
