// SPDX-License-Identifier: ISC
//
// data_chunk.c - a phone's frame of the data way as benches send it.

#include "bench/data_chunk.h"

#include "dataplane/dcep.h"
#include "dataplane/sctp_chunk.h"

static size_t put_field(uint8_t *to, unsigned number, const void *data, size_t bytes)
{
	size_t at = 0;
	to[at++] = (uint8_t)(number << 3 | 2);
	if (bytes > 127)
		to[at++] = (uint8_t)(bytes | 0x80);
	to[at++] = (uint8_t)(bytes > 127 ? bytes >> 7 : bytes);
	memcpy(to + at, data, bytes);
	return at + bytes;
}

size_t data_chunk_put(uint8_t *packet, size_t at, size_t *ret_pcm_at)
{
	uint8_t pcm[DATA_CHUNK_PCM_BYTES], user[800], message[900];
	memset(pcm, 0x35, sizeof(pcm));
	size_t bytes = put_field(user, 2, pcm, sizeof(pcm));
	size_t whole = put_field(message, 2, user, bytes);
	*ret_pcm_at = at + SCTP_DATA_BYTES + whole - sizeof(pcm);
	whole += put_field(message + whole, 4, DATA_CHUNK_IDENTITY, strlen(DATA_CHUNK_IDENTITY));
	size_t end = sctp_chunk_put(packet, at, SCTP_CHUNK_DATA, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED,
		SCTP_DATA_BYTES - SCTP_CHUNK_BYTES + whole);
	put_be16(packet + at + 8, DATA_CHUNK_STREAM);
	put_be32(packet + at + 12, PPID_BINARY);
	memcpy(packet + at + SCTP_DATA_BYTES, message, whole);
	return end;
}
