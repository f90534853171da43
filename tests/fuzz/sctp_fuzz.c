// SPDX-License-Identifier: ISC
//
// sctp_fuzz.c - packets into both halves of an association, from the first INIT on; the harness lends tags, cookie and
// numbers, so that any state is reached, and checks what must always hold.
//
// Runs on: any.
//
// Input: per step one control byte, two bytes length, the bytes. Bits of the control byte: 0 put our tag into the packet;
// 1 put the last cookie into a COOKIE ECHO; 2 count the TSN of the first DATA from the cumulative one; 3 let 60 ms pass;
// 4 let 2 s pass; 5 the ring to assoc is full; 6 send a message of our own; 7 count a SACK from our first TSN.

#include "tests/support/sctp_endpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	uint32_t our_tag, our_tsn;
	uint8_t cookie[64];
	size_t cookie_bytes;
	uint64_t delivered;
} seen;

static void send_cb(void *arg, const uint8_t *packet, size_t bytes)
{
	(void)arg;
	if (sctp_packet_check(packet, bytes) != DROP_NONE || bytes > SCTP_PACKET_MAX || bytes % 4 != 0)
		__builtin_trap();
	uint8_t type = packet[SCTP_HEADER_BYTES];
	if (type == SCTP_CHUNK_INIT || type == SCTP_CHUNK_INIT_ACK) {
		seen.our_tag = get_be32(packet + 16);
		seen.our_tsn = get_be32(packet + 28);
	}
	if (type == SCTP_CHUNK_INIT_ACK) {
		seen.cookie_bytes = MIN_OF((size_t)get_be16(packet + 34) - 4, sizeof(seen.cookie));
		memcpy(seen.cookie, packet + 36, seen.cookie_bytes);
	}
}

static void message_cb(void *arg, const struct sctp_message *message, bool at_once)
{
	(void)arg;
	(void)at_once;
	if (message->bytes == 0 || message->bytes > SCTP_MESSAGE_BYTES_MAX)
		__builtin_trap();
	for (size_t i = 0; i < message->bytes; i++)
		seen.delivered += message->data[i]; // read all of it
}

static void lend(struct sctp_endpoint *e, uint8_t flags, uint8_t *packet, size_t bytes)
{
	put_be16(packet, SCTP_DATA_PORT);
	put_be16(packet + 2, SCTP_DATA_PORT);
	if (flags & 1)
		put_be32(packet + 4, seen.our_tag);
	size_t at = SCTP_HEADER_BYTES;
	struct sctp_chunk chunk;
	if (sctp_packet_check(packet, bytes) != DROP_NONE || !sctp_chunk_next(packet, bytes, &at, &chunk))
		return;
	if ((flags & 2) && chunk.type == SCTP_CHUNK_COOKIE_ECHO && chunk.bytes >= 4 + seen.cookie_bytes)
		memcpy(chunk.at + 4, seen.cookie, seen.cookie_bytes);
	if ((flags & 4) && (chunk.type == SCTP_CHUNK_DATA || chunk.type == SCTP_CHUNK_FORWARD_TSN) && chunk.bytes >= 8)
		put_be32(chunk.at + 4, e->rx.cum_tsn + 1 + get_be32(chunk.at + 4) % 512 - 64);
	if ((flags & 128) && chunk.type == SCTP_CHUNK_SACK && chunk.bytes >= 16)
		put_be32(chunk.at + 4, seen.our_tsn + get_be32(chunk.at + 4) % 64 - 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sctp_endpoint e = {.now_ns = 1000000000, .send = send_cb, .message = message_cb};
	memset(&seen, 0, sizeof(seen));
	if (endpoint_start(&e) < 0)
		return 0;
	e.rx.channels[0] = 1;
	while (size >= 3) {
		uint8_t flags = data[0];
		size_t bytes = MIN_OF((size_t)get_be16(data + 1), size - 3);
		if (bytes >= SCTP_HEADER_BYTES) {
			uint8_t *packet = malloc(bytes);
			memcpy(packet, data + 3, bytes);
			lend(&e, flags, packet, bytes);
			e.refuse_assoc = (flags & 32) != 0;
			endpoint_input(&e, packet, bytes);
			free(packet);
		}
		e.rx.channels[0] = 1;
		if (flags & 64)
			sctp_assoc_send(e.assoc, flags % 7, 53, flags % 2, data, MIN_OF(size, (size_t)3000), e.now_ns);
		e.now_ns += (flags & 8 ? 60000000u : 0) + (flags & 16 ? 2000000000u : 0);
		endpoint_poll(&e);
		if (sctp_assoc_rwnd(e.assoc) > SCTP_RWND_BYTES || e.closes > 1 || sctp_after(e.rx.cum_tsn, e.rx.max_tsn))
			__builtin_trap();
		data += 3 + bytes;
		size -= 3 + bytes;
	}
	sctp_assoc_destroy(e.assoc);
	return 0;
}
