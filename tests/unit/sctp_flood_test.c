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
		cmocka_unit_test(a_flood_of_channels),
		cmocka_unit_test(a_flood_of_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
