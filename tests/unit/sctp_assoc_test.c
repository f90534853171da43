// SPDX-License-Identifier: ISC
//
// sctp_assoc_test.c - an association against packets made by hand: what no well-behaved peer would send, and what a network
// does to the set-up.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/sctp_by_hand.h"

// The bytes of our INIT: one extension, RE-CONFIG; neither FORWARD-TSN nor I-DATA, and no zero checksum.
static void init_lists_what_we_want(void **state)
{
	(void)state;
	open_endpoint();
	assert_int_equal(out_count, 1);
	assert_int_equal(sent(0), SCTP_CHUNK_INIT);
	assert_int_equal(sctp_packet_tag(out[0].data), 0);
	static const uint8_t extensions[] = {0x80, 0x08, 0, 5, SCTP_CHUNK_RECONFIG, 0, 0, 0};
	assert_int_equal(out[0].bytes, SCTP_HEADER_BYTES + 20 + sizeof(extensions));
	assert_memory_equal(out[0].data + SCTP_HEADER_BYTES + 20, extensions, sizeof(extensions));
	shut();
}

static void nobody_answers(void **state)
{
	(void)state;
	open_endpoint();
	out_count = 0;
	uint64_t before = us.now_ns, expected = 500 * MS;
	unsigned inits = 0;
	for (uint64_t next; (next = endpoint_poll(&us)) != 0;) {
		if (out_count > inits) {
			assert_int_equal(sent(inits++), SCTP_CHUNK_INIT);
			expected = MIN_OF(expected * 2, 5000 * MS);
			before = us.now_ns;
		}
		assert_true(next == before + expected);
		us.now_ns = next;
	}
	assert_int_equal(inits, 7);
	assert_int_equal(us.closes, 1);
	shut();
}

static void set_up_is_repeated_without_harm(void **state)
{
	(void)state;
	open_up();
	uint32_t tag = us.assoc->local_tag;
	begin(tag); // our COOKIE ACK was lost
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_COOKIE_ACK);
	answer_init(PEER_TAG, PEER_TSN); // a late copy of the INIT: the same answer
	assert_int_equal(us.assoc->offer.local_tag, tag);
	begin(tag);
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
	go();
	assert_int_equal(us.ups, 1);
	cookie[3] ^= 1;
	begin(tag);
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
	go();
	assert_int_equal(sent(0), -1);
	assert_int_equal(us.drops[DROP_SCTP_BAD_TAG], 1);
	shut();
}

static void a_restart_takes_its_cookie(void **state)
{
	(void)state;
	open_up();
	uint32_t old_tag = us.assoc->local_tag;
	begin(old_tag);
	put_data(0, 1, 0, SCTP_DATA_WHOLE, 10);
	put_data(1, 1, 1, SCTP_DATA_BEGIN, 10);
	go();
	assert_int_equal(got_count, 1);
	answer_init(PEER_TAG + 1, 5);
	assert_int_not_equal(us.assoc->offer.local_tag, old_tag);
	begin(old_tag); // until the cookie comes all goes on
	put_data(2, 1, 1, SCTP_DATA_END, 10);
	go();
	assert_int_equal(got_count, 2);
	begin(us.assoc->offer.local_tag);
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
	put_data(5u - PEER_TSN, 1, 0, SCTP_DATA_WHOLE, 20); // with its first data in the same packet
	go();
	assert_int_equal(us.ups, 2);
	assert_int_equal(got_count, 3);
	assert_int_equal(got[2].bytes, 20);
	assert_int_equal(us.rx.cum_tsn, 5);
	begin(old_tag);
	put_data(3, 1, 2, SCTP_DATA_WHOLE, 10);
	go();
	assert_int_equal(got_count, 3);
	assert_int_equal(us.drops[DROP_SCTP_BAD_TAG], 1);
	shut();
}

static void bad_inits_are_aborted(void **state)
{
	(void)state;
	open_endpoint();
	begin(0);
	put_init(9, 1, 0);
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_ABORT);
	assert_int_equal(sctp_packet_tag(out[0].data), 9);
	begin(0);
	put(SCTP_CHUNK_INIT, 0, "short", 5);
	go();
	assert_int_equal(sent(0), -1);
	begin(7); // an INIT has no tag
	put_init(9, 1, 10);
	go();
	assert_int_equal(sent(0), -1);
	assert_int_equal(us.drops[DROP_SCTP_MALFORMED], 2);
	assert_int_equal(us.drops[DROP_SCTP_BAD_TAG], 1);
	assert_int_equal(us.closes, 0);
	shut();
}

static void a_flood_of_inits_is_answered_ten_times_a_second(void **state)
{
	(void)state;
	open_endpoint();
	for (unsigned second = 0; second < 3; second++) {
		unsigned answered = 0;
		for (unsigned i = 0; i < 100; i++) {
			begin(0);
			put_init(100 * second + i + 1, 1, 10);
			go();
			answered += sent(0) == SCTP_CHUNK_INIT_ACK;
		}
		assert_int_equal(answered, 10);
		assert_int_equal(us.drops[DROP_SCTP_INIT_FLOOD], 90 * (second + 1));
		us.now_ns += 1000 * MS;
	}
	shut();
}

static void unknown_parameters_are_reported(void **state)
{
	(void)state;
	open_endpoint();
	begin(0);
	put_init(9, 1, 10);
	// 0x4001: stop and report; 0x8001 (zero checksum): skip; 0xc123: skip and report.
	static const uint8_t more[] = {0x80, 1, 0, 8, 0, 0, 0, 1, 0xc1, 0x23, 0, 5, 9, 0, 0, 0, 0x40, 1, 0, 4, 0xc1, 0x24, 0, 4};
	memcpy(packet + packet_bytes, more, sizeof(more));
	packet_bytes += sizeof(more);
	put_be16(packet + SCTP_HEADER_BYTES + 2, 20 + sizeof(more));
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_INIT_ACK);
	const uint8_t *tail = out[0].data + SCTP_HEADER_BYTES + 20 + 20 + 8;
	static const uint8_t expected[] = {0, 8, 0, 9, 0xc1, 0x23, 0, 5, 9, 0, 0, 0, 0, 8, 0, 8, 0x40, 1, 0, 4};
	assert_int_equal(out[0].bytes, (size_t)(tail - out[0].data) + sizeof(expected));
	assert_memory_equal(tail, expected, sizeof(expected));
	shut();
}

static void stale_cookie_begins_anew(void **state)
{
	(void)state;
	open_endpoint();
	begin(us.assoc->local_tag);
	uint8_t ack[28];
	put_be32(ack, PEER_TAG);
	put_be32(ack + 4, 100000);
	put_be16(ack + 8, 10);
	put_be16(ack + 10, 10);
	put_be32(ack + 12, PEER_TSN);
	put_be16(ack + 16, 7);
	put_be16(ack + 18, 12);
	memcpy(ack + 20, "a cookie", 8);
	put(SCTP_CHUNK_INIT_ACK, 0, ack, sizeof(ack));
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_COOKIE_ECHO);
	assert_memory_equal(out[0].data + SCTP_HEADER_BYTES + 4, "a cookie", 8);
	us.now_ns += 500 * MS; // lost: T1
	out_count = 0;
	endpoint_poll(&us);
	assert_int_equal(sent(0), SCTP_CHUNK_COOKIE_ECHO);
	static const uint8_t stale[] = {0, SCTP_CAUSE_STALE_COOKIE, 0, 8, 0, 0, 0, 0};
	begin(us.assoc->local_tag);
	put(SCTP_CHUNK_ERROR, 0, stale, sizeof(stale));
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_INIT);
	begin(us.assoc->local_tag);
	put(SCTP_CHUNK_INIT_ACK, 0, ack, sizeof(ack));
	go();
	begin(us.assoc->local_tag);
	put(SCTP_CHUNK_COOKIE_ACK, 0, NULL, 0);
	go();
	assert_int_equal(us.ups, 1);
	shut();
}

static void control_chunks_are_answered(void **state)
{
	(void)state;
	open_up();
	uint32_t tag = us.assoc->local_tag;
	static const uint8_t beat[] = {0, 1, 0, 9, 'b', 'e', 'a', 't', '!'};
	begin(tag);
	put(SCTP_CHUNK_HEARTBEAT, 0, beat, sizeof(beat));
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_HEARTBEAT_ACK);
	assert_memory_equal(out[0].data + SCTP_HEADER_BYTES + 4, beat, sizeof(beat));
	assert_int_equal(get_be16(out[0].data + SCTP_HEADER_BYTES + 2), 4 + sizeof(beat));
	static const struct {
		uint8_t type;
		bool reported, goes_on;
	} unknown[] = {{0x3f, false, false}, {0x7f, true, false}, {0x9f, false, true}, {0xdf, true, true}};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		begin(tag);
		put(unknown[i].type, 0, "what", 4);
		put(SCTP_CHUNK_HEARTBEAT, 0, beat, sizeof(beat));
		go();
		assert_int_equal(out_count, unknown[i].reported + unknown[i].goes_on);
		if (unknown[i].reported) {
			assert_int_equal(sent(0), SCTP_CHUNK_ERROR);
			assert_int_equal(get_be16(out[0].data + 16), SCTP_CAUSE_UNKNOWN_CHUNK);
			assert_int_equal(out[0].data[20], unknown[i].type);
		}
	}
	// RE-CONFIG: not before all that was sent has come; what is not ours to do is denied.
	uint8_t reset[20] = {0, 13, 0, 18};
	put_be32(reset + 4, 50);
	put_be32(reset + 12, PEER_TSN);
	put_be16(reset + 16, 1);
	begin(tag);
	put(SCTP_CHUNK_RECONFIG, 0, reset, 18);
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_RECONFIG);
	assert_int_equal(get_be32(out[0].data + 24), 6);
	begin(tag);
	put_data(0, 1, 0, SCTP_DATA_WHOLE, 4);
	go();
	begin(tag);
	put(SCTP_CHUNK_RECONFIG, 0, reset, 18);
	go();
	assert_int_equal(get_be32(out[0].data + 20), 50);
	assert_int_equal(get_be32(out[0].data + 24), 1);
	reset[1] = 17;
	reset[3] = 12;
	reset[7] = 51;
	begin(tag);
	put(SCTP_CHUNK_RECONFIG, 0, reset, 12);
	go();
	assert_int_equal(get_be32(out[0].data + 24), 2);
	begin(tag);
	put_data(1, 1, 0, SCTP_DATA_WHOLE, 4); // the stream counts from 0 again
	go();
	assert_int_equal(got_count, 2);
	shut();
}

static void tags_decide_who_ends_it(void **state)
{
	(void)state;
	open_up();
	begin(us.assoc->local_tag + 1);
	put(SCTP_CHUNK_ABORT, 0, NULL, 0);
	go();
	begin(us.assoc->local_tag);
	put(SCTP_CHUNK_ABORT, SCTP_TAG_REFLECTED, NULL, 0);
	go();
	assert_int_equal(us.closes, 0);
	begin(PEER_TAG);
	put(SCTP_CHUNK_ABORT, SCTP_TAG_REFLECTED, NULL, 0);
	go();
	assert_int_equal(us.closes, 1);
	shut();
}

static void shutdown_is_repeated_and_completed(void **state)
{
	(void)state;
	open_up();
	uint32_t tag = us.assoc->local_tag;
	begin(tag);
	put(SCTP_CHUNK_SHUTDOWN, 0, "\0\0\0\0", 4);
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_SHUTDOWN_ACK);
	us.now_ns += 500 * MS;
	out_count = 0;
	endpoint_poll(&us);
	assert_int_equal(sent(0), SCTP_CHUNK_SHUTDOWN_ACK);
	begin(tag);
	put(SCTP_CHUNK_SHUTDOWN_COMPLETE, 0, NULL, 0);
	go();
	assert_int_equal(us.closes, 1);
	assert_int_equal(endpoint_poll(&us), 0);
	shut();
}

static void aborted_with(enum sctp_cause cause)
{
	bool found = false;
	for (unsigned i = 0; i < out_count; i++)
		found |= sent(i) == SCTP_CHUNK_ABORT && get_be16(out[i].data + 16) == cause;
	assert_true(found);
	assert_int_equal(us.closes, 1);
	shut();
}

static void broken_streams_are_aborted(void **state)
{
	(void)state;
	open_up();
	begin(us.assoc->local_tag);
	put_data(0, 1, 0, SCTP_DATA_WHOLE, 0);
	go();
	aborted_with(SCTP_CAUSE_NO_USER_DATA);

	open_up(); // a piece in the middle of nothing: its neighbour has ended
	begin(us.assoc->local_tag);
	put_data(1, 1, 1, SCTP_DATA_WHOLE, 9);
	put_data(2, 1, 1, SCTP_DATA_END, 9);
	go();
	aborted_with(SCTP_CAUSE_PROTOCOL_VIOLATION);

	open_up(); // two pieces of different streams
	begin(us.assoc->local_tag);
	put_data(0, 1, 0, SCTP_DATA_BEGIN, 9);
	put_data(1, 2, 0, SCTP_DATA_END, 9);
	go();
	aborted_with(SCTP_CAUSE_PROTOCOL_VIOLATION);

	open_up(); // a stream that was not granted: told, and nothing else
	begin(us.assoc->local_tag);
	put_data(0, SCTP_STREAMS_MAX, 0, SCTP_DATA_WHOLE, 9);
	go();
	assert_int_equal(sent(0), SCTP_CHUNK_ERROR);
	assert_int_equal(us.closes, 0);
	assert_int_equal(us.rx.cum_tsn, PEER_TSN);
	shut();
}

static void the_window_closes_and_is_enforced(void **state)
{
	(void)state;
	open_up();
	uint32_t rwnd = sctp_assoc_rwnd(us.assoc);
	assert_int_equal(rwnd, SCTP_RWND_BYTES);
	unsigned offset = 1;
	for (; us.closes == 0 && offset < 380; offset++) { // the first never comes, so nothing can be delivered
		begin(us.assoc->local_tag);
		put_data(offset, 1, (uint16_t)offset, SCTP_DATA_WHOLE, 1900);
		go();
		assert_true(sctp_assoc_rwnd(us.assoc) < rwnd || rwnd == 0);
		rwnd = sctp_assoc_rwnd(us.assoc);
	}
	assert_int_equal(rwnd, 0);
	assert_in_range(offset, 2 * SCTP_RWND_BYTES / 2000, 2 * SCTP_RWND_BYTES / 1900 + 3);
	assert_int_equal(got_count, 0);
	aborted_with(SCTP_CAUSE_OUT_OF_RESOURCE);
}

// We do not announce FORWARD-TSN. A peer that sends it all the same is followed.
static void forward_tsn_moves_streams_on(void **state)
{
	(void)state;
	open_up();
	begin(us.assoc->local_tag);
	put_data(1, 1, 1, SCTP_DATA_WHOLE, 9); // waits for number 0
	put_data(2, 1, 2, SCTP_DATA_BEGIN, 9); // will never be whole
	put_data(4, 1, 3, SCTP_DATA_WHOLE, 9);
	go();
	assert_int_equal(got_count, 0);
	begin(us.assoc->local_tag);
	put_forward(3, 1, 2);
	go();
	assert_int_equal(got_count, 2); // 1, which was whole, then 3
	assert_int_equal(got[0].first, 1);
	assert_int_equal(got[1].first, 4);
	assert_int_equal(us.rx.cum_tsn - PEER_TSN, 4);
	assert_int_equal(sctp_assoc_rwnd(us.assoc), SCTP_RWND_BYTES);
	begin(us.assoc->local_tag);
	put_forward(5, 1, 0x9000); // far behind: ignored
	put_data(6, 1, 4, SCTP_DATA_WHOLE, 9);
	go();
	assert_int_equal(got_count, 3);
	shut();
}

static void fragments_in_every_order(void **state)
{
	(void)state;
	static const unsigned orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	static const uint8_t flags[] = {SCTP_DATA_BEGIN, 0, SCTP_DATA_END};
	for (unsigned unordered = 0; unordered < 2; unordered++) {
		for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
			open_up();
			for (unsigned n = 0; n < 3; n++) {
				unsigned k = orders[i][n];
				begin(us.assoc->local_tag);
				put_data(k, 1, 0, (uint8_t)(flags[k] | (unordered ? SCTP_DATA_UNORDERED : 0)), 100 + k);
				go();
				assert_int_equal(got_count, n == 2);
			}
			assert_int_equal(got[0].bytes, 303);
			assert_int_equal(got[0].first, 0);
			assert_int_equal(sctp_assoc_rwnd(us.assoc), SCTP_RWND_BYTES);
			shut();
		}
	}
}

static void data_before_the_association_is_up(void **state)
{
	(void)state;
	open_endpoint();
	begin(us.assoc->local_tag);
	put_data(0, 1, 0, SCTP_DATA_WHOLE, 9);
	go();
	assert_int_equal(got_count, 0);
	answer_init(PEER_TAG, PEER_TSN);
	begin(us.assoc->local_tag); // COOKIE ECHO and the first data in one packet
	put(SCTP_CHUNK_COOKIE_ECHO, 0, cookie, sizeof(cookie));
	put_data(0, 1, 0, SCTP_DATA_WHOLE, 9);
	go();
	assert_int_equal(got_count, 1);
	assert_int_equal(us.rx.cum_tsn, PEER_TSN);
	shut();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_lists_what_we_want),
		cmocka_unit_test(nobody_answers),
		cmocka_unit_test(set_up_is_repeated_without_harm),
		cmocka_unit_test(a_restart_takes_its_cookie),
		cmocka_unit_test(bad_inits_are_aborted), cmocka_unit_test(a_flood_of_inits_is_answered_ten_times_a_second),
		cmocka_unit_test(unknown_parameters_are_reported),
		cmocka_unit_test(stale_cookie_begins_anew),
		cmocka_unit_test(control_chunks_are_answered),
		cmocka_unit_test(tags_decide_who_ends_it),
		cmocka_unit_test(shutdown_is_repeated_and_completed),
		cmocka_unit_test(broken_streams_are_aborted),
		cmocka_unit_test(the_window_closes_and_is_enforced),
		cmocka_unit_test(forward_tsn_moves_streams_on),
		cmocka_unit_test(fragments_in_every_order),
		cmocka_unit_test(data_before_the_association_is_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
