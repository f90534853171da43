// SPDX-License-Identifier: ISC
//
// sctp_flood_test.c - an association whose peer, who has the keys, wants to take the thread that all users share: answers, what is
// kept and what is looked at are bounded, by packet and by second.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/channel.h"
#include "tests/support/sctp_by_hand.h"

// Chunks that ask for an answer, as many as fit into a packet.
static void put_beats(void)
{
	put(SCTP_CHUNK_HEARTBEAT, 0, NULL, 0);
}

static void put_unknown(void)
{
	put(0xdf, 0, NULL, 0);
}

static void put_requests(void)
{
	static const uint8_t add[8] = {0, 17, 0, 8};
	put(SCTP_CHUNK_RECONFIG, 0, add, sizeof(add));
}

static void put_long_request(void)
{
	uint8_t adds[800];
	for (unsigned i = 0; i < sizeof(adds); i += 8)
		put_be64(adds + i, 0x0011000800000000u + i);
	put(SCTP_CHUNK_RECONFIG, 0, adds, sizeof(adds));
}

static void put_cookies(void)
{
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
}

static void put_shutdowns(void)
{
	put(SCTP_CHUNK_SHUTDOWN, 0, "\0\0\0\0", 4);
}

static void put_bad_streams(void)
{
	static uint32_t offset;
	put_data((us.rx.cum_tsn + 1 - PEER_TSN) + offset++ % 32, SCTP_STREAMS_MAX, 0, SCTP_DATA_WHOLE, 4);
}

// Nor does the set-up's own ping-pong go on for longer than that: a stale cookie after each INIT ACK.
static void put_stale(void)
{
	static const uint8_t stale[] = {0, SCTP_CAUSE_STALE_COOKIE, 0, 8, 0, 0, 0, 0};
	uint8_t ack[24] = {0};
	put_be32(ack, PEER_TAG);
	put_be16(ack + 8, 10);
	put_be16(ack + 10, 10);
	put_be16(ack + 16, 7);
	put_be16(ack + 18, 8);
	put(SCTP_CHUNK_INIT_ACK, 0, ack, sizeof(ack));
	put(SCTP_CHUNK_ERROR, 0, stale, sizeof(stale));
}

static unsigned without_sacks(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < out_count; i++)
		count += sent(i) != SCTP_CHUNK_SACK;
	return count;
}

static void answers_are_few(void **state)
{
	(void)state;
	static const struct {
		void (*put)(void);
		bool up;
	} floods[] = {{put_beats, true}, {put_unknown, true}, {put_requests, true}, {put_long_request, true}, {put_cookies, true},
		{put_shutdowns, true}, {put_bad_streams, true}, {put_stale, false}};
	for (size_t f = 0; f < ARRAY_SIZE(floods); f++) {
		if (floods[f].up)
			open_up();
		else
			open_endpoint();
		for (unsigned second = 0; second < 2; second++) {
			unsigned answered = 0;
			us.now_ns += 400 * MS; // before our own timer
			memset(us.drops, 0, sizeof(us.drops));
			for (unsigned i = 0; i < 100; i++) {
				begin(us.assoc->local_tag);
				while (packet_bytes < SCTP_PACKET_MAX - 100)
					floods[f].put();
				go();
				answered += without_sacks();
			}
			assert_in_range(answered, 31, 33); // one for the set-up before, one more by our timer
			assert_in_range(us.drops[DROP_SCTP_CONTROL_FLOOD], 90, 100);
			us.now_ns += 600 * MS;
		}
		assert_int_equal(us.closes, 0);
		shut();
	}
}

// A few chunks of a packet, and one of each kind that walks; DATA beside them all the same.
static void control_chunks_of_a_packet_are_few(void **state)
{
	(void)state;
	open_up();
	begin(us.assoc->local_tag);
	for (unsigned i = 0; i < 100; i++)
		put(SCTP_CHUNK_HEARTBEAT, 0, NULL, 0);
	put_data(0, 1, 0, SCTP_DATA_WHOLE, 9);
	go();
	assert_int_equal(out_count, 8);
	assert_int_equal(us.drops[DROP_SCTP_CONTROL_FLOOD], 1);
	assert_int_equal(got_count, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sctp_assoc_send(us.assoc, 1, PPID_BINARY, false, "message", 7, us.now_ns), 0);
	assert_int_equal(us.assoc->out.pieces, 3);
	uint8_t sack[12] = {0};
	put_be32(sack + 4, 100000);
	begin(us.assoc->local_tag);
	for (unsigned i = 0; i < 3; i++) {
		put_be32(sack, us.assoc->local_tsn + i);
		put(SCTP_CHUNK_SACK, 0, sack, sizeof(sack));
	}
	go();
	assert_int_equal(us.assoc->out.pieces, 2);
	assert_int_equal(us.drops[DROP_SCTP_CONTROL_FLOOD], 2);
	begin(us.assoc->local_tag);
	put(SCTP_CHUNK_SACK, 0, sack, sizeof(sack));
	put_forward(4, 1, 4);
	put_forward(9, 1, 9);
	go();
	assert_int_equal(us.assoc->out.pieces, 0);
	assert_int_equal(us.drops[DROP_SCTP_CONTROL_FLOOD], 3);
	assert_int_equal(us.assoc->in.orders[1].next_ssn, 5);
	shut();
}

static struct channels channels;
static unsigned opens, refused;

static void open_cb(void *arg, const struct sctp_message *message, bool at_once)
{
	(void)arg;
	(void)at_once;
	opens++;
	refused += channels_dcep(&channels, us.assoc, message, us.now_ns) == DROP_SCTP_CONTROL_FLOOD;
}

// A peer that opens channels and acknowledges nothing: the answers of one packet share one, and those that wait are bounded.
static void a_flood_of_channels(void **state)
{
	(void)state;
	open_up();
	us.message = open_cb;
	opens = refused = 0;
	channels_init(&channels, false);
	uint8_t body[12 + 12] = {0};
	uint32_t tsn = PEER_TSN;
	for (unsigned i = 0; i < 200; i++) {
		begin(us.assoc->local_tag);
		for (unsigned n = 0; n < SCTP_RX_SLOW_MAX; n++, tsn++) {
			put_be32(body, tsn);
			put_be16(body + 4, (uint16_t)(n % 4));
			put_be16(body + 6, (uint16_t)((tsn - PEER_TSN) / 4));
			put_be32(body + 8, PPID_DCEP);
			body[12] = DCEP_OPEN;
			put(SCTP_CHUNK_DATA, SCTP_DATA_WHOLE, body, sizeof(body));
		}
		go();
		assert_in_range(out_count, 0, 2); // one with answers, one with a SACK
		assert_in_range(us.assoc->out.pieces, 1, SCTP_SENDER_PIECES_MAX);
	}
	assert_int_equal(opens, 200 * SCTP_RX_SLOW_MAX);
	assert_int_equal(refused, opens - SCTP_SENDER_PIECES_MAX);
	shut();
}

// Pieces of a message that never ends, in packets full of them: so many are kept, then it is enough.
static void a_flood_of_pieces(void **state)
{
	(void)state;
	open_up();
	uint32_t offset = 0;
	while (offset < SCTP_FRAGMENTS_MAX) {
		begin(us.assoc->local_tag);
		for (unsigned n = 0; n < SCTP_RX_SLOW_MAX; n++, offset++)
			put_data(offset, 1, 0, offset == 0 ? SCTP_DATA_BEGIN : 0, 1);
		go();
		assert_int_equal(us.assoc->in.held, offset);
	}
	assert_int_equal(us.closes, 0);
	begin(us.assoc->local_tag); // what need not wait comes through, on another stream too
	put_data(offset++, 2, 0, SCTP_DATA_WHOLE, 9);
	put_data(offset++, 3, 0, SCTP_DATA_WHOLE | SCTP_DATA_UNORDERED, 9);
	go();
	assert_int_equal(got_count, 2);
	begin(us.assoc->local_tag);
	put_data(offset, 1, 0, 0, 1);
	go();
	assert_int_equal(us.drops[DROP_SCTP_WINDOW], 1);
	assert_int_equal(us.closes, 1);
	assert_int_equal(sent(0), SCTP_CHUNK_ABORT);
	assert_int_equal(get_be16(out[0].data + 16), SCTP_CAUSE_OUT_OF_RESOURCE);
	shut();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_few),
		cmocka_unit_test(control_chunks_of_a_packet_are_few),
		cmocka_unit_test(a_flood_of_channels),
		cmocka_unit_test(a_flood_of_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
