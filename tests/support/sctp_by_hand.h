// SPDX-License-Identifier: ISC
//
// sctp_by_hand.h - an association and a peer whose packets are made by hand, chunk by chunk.
//
// Runs on: any. Include after cmocka.h.
#pragma once

#include "dataplane/dcep.h"
#include "dataplane/sctp_assoc_state.h"
#include "tests/support/sctp_endpoint.h"

#define MS 1000000ull
#define PEER_TAG 0x77777777u
#define PEER_TSN 100000u

static struct sctp_endpoint us;
static struct {
	uint8_t data[SCTP_PACKET_MAX];
	size_t bytes;
} out[256];
static unsigned out_count, got_count;
static struct {
	uint16_t stream;
	size_t bytes;
	uint8_t first;
} got[256];
static uint8_t packet[4096];
static size_t packet_bytes;

static void send_cb(void *arg, const uint8_t *data, size_t bytes)
{
	(void)arg;
	assert_true(out_count < ARRAY_SIZE(out) && bytes <= SCTP_PACKET_MAX);
	memcpy(out[out_count].data, data, bytes);
	out[out_count++].bytes = bytes;
}

static void message_cb(void *arg, const struct sctp_message *message, bool at_once)
{
	(void)arg;
	(void)at_once;
	assert_true(got_count < ARRAY_SIZE(got));
	got[got_count].stream = message->stream;
	got[got_count].bytes = message->bytes;
	got[got_count++].first = message->data[0];
}

static inline void begin(uint32_t tag)
{
	packet_bytes = sctp_packet_begin(packet, tag);
}

static inline void put(uint8_t type, uint8_t flags, const void *body, size_t bytes)
{
	if (bytes > 0)
		memcpy(packet + packet_bytes + 4, body, bytes);
	packet_bytes = sctp_chunk_put(packet, packet_bytes, type, flags, bytes);
}

static inline void put_data(uint32_t offset, uint16_t stream, uint16_t ssn, uint8_t flags, size_t bytes)
{
	uint8_t body[2048];
	memset(body, (int)offset, sizeof(body));
	put_be32(body, PEER_TSN + offset);
	put_be16(body + 4, stream);
	put_be16(body + 6, ssn);
	put_be32(body + 8, PPID_BINARY);
	put(SCTP_CHUNK_DATA, flags, body, 12 + bytes);
}

static inline void put_init(uint32_t tag, uint32_t tsn, uint16_t streams)
{
	uint8_t body[16];
	put_be32(body, tag);
	put_be32(body + 4, 1048576);
	put_be16(body + 8, streams);
	put_be16(body + 10, streams);
	put_be32(body + 12, tsn);
	put(SCTP_CHUNK_INIT, 0, body, sizeof(body));
}

static inline void put_forward(uint32_t offset, uint16_t stream, uint16_t ssn)
{
	uint8_t body[8];
	put_be32(body, PEER_TSN + offset);
	put_be16(body + 4, stream);
	put_be16(body + 6, ssn);
	put(SCTP_CHUNK_FORWARD_TSN, 0, body, sizeof(body));
}

static inline void go(void)
{
	out_count = 0;
	endpoint_input(&us, packet, packet_bytes);
	endpoint_poll(&us);
}

// The type of the first chunk of the n-th packet sent, -1: none.
static inline int sent(unsigned n)
{
	return n < out_count ? out[n].data[SCTP_HEADER_BYTES] : -1;
}

static inline void open_endpoint(void)
{
	us = (struct sctp_endpoint){.now_ns = 1000 * MS, .send = send_cb, .message = message_cb};
	out_count = got_count = 0;
	assert_int_equal(endpoint_start(&us), 0);
}

static uint8_t cookie[SCTP_COOKIE_BYTES];

static inline void answer_init(uint32_t tag, uint32_t tsn)
{
	begin(0);
	put_init(tag, tsn, 100);
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_INIT_ACK);
	assert_int_equal(sctp_packet_tag(out[0].data), tag);
	memcpy(cookie, out[0].data + SCTP_HEADER_BYTES + 24, sizeof(cookie));
}

static inline void open_up(void)
{
	open_endpoint();
	answer_init(PEER_TAG, PEER_TSN);
	begin(us.assoc->offer.local_tag);
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_COOKIE_ACK);
	assert_int_equal(us.ups, 1);
	assert_true(us.rx.up);
}

static inline void shut(void)
{
	sctp_assoc_destroy(us.assoc);
}
