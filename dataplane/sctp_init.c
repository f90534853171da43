// SPDX-License-Identifier: ISC
//
// sctp_init.c - INIT and INIT ACK chunks with their parameters.
//
// Runs on: any.

#include "dataplane/sctp_init.h"

#define FIXED_BYTES 20 // chunk header and the fixed fields
#define PARAMETER_BYTES 4

enum parameter {
	PARAMETER_IPV4 = 5,
	PARAMETER_IPV6 = 6,
	PARAMETER_COOKIE = 7,
	PARAMETER_UNRECOGNIZED = 8,
	PARAMETER_COOKIE_PRESERVATIVE = 9,
	PARAMETER_ADDRESS_TYPES = 12,
	PARAMETER_EXTENSIONS = 0x8008,
};

static bool parameter_known(uint16_t type)
{
	switch (type) {
	case PARAMETER_IPV4:
	case PARAMETER_IPV6:
	case PARAMETER_UNRECOGNIZED:
	case PARAMETER_COOKIE_PRESERVATIVE:
	case PARAMETER_ADDRESS_TYPES:
	case PARAMETER_EXTENSIONS:
		return true;
	default:
		return false;
	}
}

static void report(struct sctp_init *init, const uint8_t *parameter, size_t bytes)
{
	if (sctp_padded(bytes) > sizeof(init->unknown) - init->unknown_bytes)
		return;
	memcpy(init->unknown + init->unknown_bytes, parameter, bytes);
	memset(init->unknown + init->unknown_bytes + bytes, 0, sctp_padded(bytes) - bytes);
	init->unknown_bytes += sctp_padded(bytes);
}

int sctp_init_parse(const struct sctp_chunk *chunk, struct sctp_init *ret_init)
{
	*ret_init = (struct sctp_init){0};
	if (chunk->bytes < FIXED_BYTES)
		return -EBADMSG;
	const uint8_t *head = chunk->at;
	ret_init->tag = get_be32(head + 4);
	ret_init->rwnd = get_be32(head + 8);
	ret_init->out_streams = get_be16(head + 12);
	ret_init->in_streams = get_be16(head + 14);
	ret_init->tsn = get_be32(head + 16);
	for (size_t at = FIXED_BYTES; at + PARAMETER_BYTES <= chunk->bytes;) {
		const uint8_t *parameter = head + at;
		uint16_t type = get_be16(parameter);
		size_t bytes = get_be16(parameter + 2);
		if (bytes < PARAMETER_BYTES || bytes > chunk->bytes - at)
			return -EBADMSG;
		at += sctp_padded(bytes);
		if (type == PARAMETER_COOKIE && chunk->type == SCTP_CHUNK_INIT_ACK) {
			ret_init->cookie = parameter + PARAMETER_BYTES;
			ret_init->cookie_bytes = bytes - PARAMETER_BYTES;
		} else if (!parameter_known(type)) {
			uint8_t rule = (uint8_t)(type >> 14);
			if (rule & SCTP_UNKNOWN_REPORT)
				report(ret_init, parameter, bytes);
			if (!(rule & SCTP_UNKNOWN_SKIP))
				break;
		}
	}
	if (ret_init->tag == 0 || ret_init->out_streams == 0 || ret_init->in_streams == 0)
		return -EPROTO;
	if (chunk->type == SCTP_CHUNK_INIT_ACK && (ret_init->cookie_bytes == 0 || ret_init->cookie_bytes > SCTP_PEER_COOKIE_MAX))
		return -EPROTO;
	return 0;
}

static uint8_t *put_parameter(uint8_t *at, uint16_t type, const uint8_t *value, size_t bytes)
{
	put_be16(at, type);
	put_be16(at + 2, (uint16_t)(PARAMETER_BYTES + bytes));
	memcpy(at + PARAMETER_BYTES, value, bytes);
	memset(at + PARAMETER_BYTES + bytes, 0, sctp_padded(bytes) - bytes);
	return at + PARAMETER_BYTES + sctp_padded(bytes);
}

size_t sctp_init_put(uint8_t *packet, size_t at, const struct sctp_init *init)
{
	static const uint8_t extensions[] = {SCTP_CHUNK_RECONFIG};
	uint8_t *head = packet + at, *next = head + FIXED_BYTES;
	put_be32(head + 4, init->tag);
	put_be32(head + 8, init->rwnd);
	put_be16(head + 12, init->out_streams);
	put_be16(head + 14, init->in_streams);
	put_be32(head + 16, init->tsn);
	if (init->cookie != NULL)
		next = put_parameter(next, PARAMETER_COOKIE, init->cookie, init->cookie_bytes);
	next = put_parameter(next, PARAMETER_EXTENSIONS, extensions, sizeof(extensions));
	for (size_t from = 0; init->cookie != NULL && from < init->unknown_bytes;) {
		size_t bytes = get_be16(init->unknown + from + 2);
		next = put_parameter(next, PARAMETER_UNRECOGNIZED, init->unknown + from, bytes);
		from += sctp_padded(bytes);
	}
	return sctp_chunk_put(packet, at, init->cookie != NULL ? SCTP_CHUNK_INIT_ACK : SCTP_CHUNK_INIT, 0,
		(size_t)(next - head) - SCTP_CHUNK_BYTES);
}
