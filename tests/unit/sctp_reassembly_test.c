// SPDX-License-Identifier: ISC
//
// sctp_reassembly_test.c - chunks of a peer that wants us to work: what is held is bounded, and what each costs does not grow
// with it.
//
// Runs on: assoc (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/sctp_reassembly.h"
#include "dataplane/sctp_rx.h"

#define WHOLE SCTP_DATA_WHOLE
#define BEGIN SCTP_DATA_BEGIN
#define END SCTP_DATA_END
#define U SCTP_DATA_UNORDERED
#define PIECE_BYTES 1147 // of a full packet

static struct sctp_reassembly in;
static unsigned delivered;
static size_t last_bytes;
static uint16_t last_stream;
static uint8_t numbers[4096]; // the first byte of each message, in order

static void deliver(void *arg, const struct sctp_message *message)
{
	(void)arg;
	last_bytes = message->bytes;
	last_stream = message->stream;
	numbers[delivered++ % sizeof(numbers)] = message->data[0];
}

static int open_reassembly(void **state)
{
	(void)state;
	sctp_reassembly_init(&in, deliver, NULL);
	delivered = 0;
	return 0;
}

static int shut_reassembly(void **state)
{
	(void)state;
	sctp_reassembly_finish(&in);
	assert_int_equal(in.held, 0);
	assert_int_equal(in.held_bytes, 0);
	return 0;
}

static int put(uint32_t tsn, uint16_t stream, uint16_t ssn, uint8_t flags, size_t bytes)
{
	uint8_t room[2048] = {SCTP_CHUNK_DATA, flags};
	struct sctp_chunk chunk = {SCTP_CHUNK_DATA, flags, room, SCTP_DATA_BYTES + bytes};
	put_be16(room + 2, (uint16_t)chunk.bytes);
	put_be32(room + 4, tsn);
	put_be16(room + 8, stream);
	put_be16(room + 10, ssn);
	put_be32(room + 12, 53);
	memset(room + SCTP_DATA_BYTES, (int)ssn, bytes);
	return sctp_reassembly_input(&in, &chunk);
}

static void forward(uint32_t tsn, uint16_t stream, uint16_t ssn)
{
	uint8_t skipped[4];
	put_be16(skipped, stream);
	put_be16(skipped + 2, ssn);
	sctp_reassembly_forward(&in, tsn, skipped, sizeof(skipped));
}

// Every way to be kept: pieces of a message that never ends, messages whose turn never comes, on one stream or on all.
static void what_is_held_is_bounded(void **state)
{
	(void)state;
	static const struct {
		uint8_t flags;
		unsigned streams;
		bool numbered;
	} floods[] = {{U, 1, false}, {0, 1, false}, {WHOLE, 1, true}, {WHOLE, 200, true}};
	for (size_t i = 0; i < ARRAY_SIZE(floods); i++) {
		open_reassembly(NULL);
		unsigned held = 0;
		int ret = 0;
		while (ret == 0 && held < 20000) {
			unsigned round = held / floods[i].streams;
			ret = put(1000 + held, (uint16_t)(held % floods[i].streams), floods[i].numbered ? (uint16_t)(round + 1) : 0,
				floods[i].flags, 1);
			held += ret == 0;
		}
		assert_int_equal(ret, -ENOBUFS);
		assert_int_equal(held, SCTP_FRAGMENTS_MAX);
		assert_int_equal(in.held, SCTP_FRAGMENTS_MAX);
		assert_int_equal(in.steps, 0);
		assert_int_equal(delivered, 0);
		// A message that has to wait for nothing comes through all the same.
		assert_int_equal(put(5000, 255, 0, WHOLE, 20), 0);
		assert_int_equal(put(5001, 255, 0, WHOLE | U, 20), 0);
		assert_int_equal(delivered, 2);
		assert_int_equal(last_stream, 255);
		assert_int_equal(in.steps, 0);
		shut_reassembly(NULL);
	}
}

// The dearest a peer can have it: all that may be held is, and every chunk is due on the stream it is held on.
static void a_due_message_passes_what_waits(void **state)
{
	(void)state;
	uint32_t tsn = 1;
	for (unsigned i = 0; i < SCTP_FRAGMENTS_MAX; i++)
		assert_int_equal(put(tsn++, 3, (uint16_t)(20000 + i), WHOLE, 1), 0);
	for (unsigned i = 0; i < 20000; i++)
		assert_int_equal(put(tsn++, 3, (uint16_t)i, WHOLE, 1), 0);
	assert_int_equal(in.steps, 0);
	assert_int_equal(delivered, 20000 + SCTP_FRAGMENTS_MAX);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(numbers[(delivered - 1 - i) % sizeof(numbers)], (uint8_t)(20000 + SCTP_FRAGMENTS_MAX - 1 - i));
	assert_int_equal(in.held, 0);
}

// A message of as many pieces as may be held: whether it is whole is seen without walking it.
static void pieces_in_order_walk_past_nothing(void **state)
{
	(void)state;
	for (unsigned unordered = 0; unordered < 2; unordered++) {
		for (unsigned i = 0; i < SCTP_FRAGMENTS_MAX; i++) {
			uint8_t flags = i == 0 ? BEGIN : i == SCTP_FRAGMENTS_MAX - 1 ? END : 0;
			assert_int_equal(put(100 + i, 0, 0, (uint8_t)(flags | (unordered ? U : 0)), 2), 0);
			assert_int_equal(delivered, unordered + (i == SCTP_FRAGMENTS_MAX - 1));
		}
		assert_int_equal(last_bytes, 2 * SCTP_FRAGMENTS_MAX);
	}
	assert_int_equal(in.steps, 0);
}

// Backwards, each walks past those of the window that came before it, and past no other.
static void backwards_costs_the_window(void **state)
{
	(void)state;
	uint32_t tsn = 1;
	unsigned old = SCTP_FRAGMENTS_MAX - SCTP_RX_AHEAD;
	for (unsigned i = 0; i < old; i++)
		assert_int_equal(put(tsn++, 7, (uint16_t)(9000 + i), WHOLE, 1), 0);
	assert_int_equal(in.steps, 0);
	for (unsigned i = SCTP_RX_AHEAD; i-- > 0;)
		assert_int_equal(put(tsn + i, 7, (uint16_t)(9000 + old + i), WHOLE, 1), 0);
	// Two places each: by TSN, and in the stream's line.
	assert_int_equal(in.steps, 2 * (SCTP_RX_AHEAD * (SCTP_RX_AHEAD - 1) / 2));
	// All of them skipped at once, in order.
	in.steps = 0;
	forward(tsn + SCTP_RX_AHEAD, 7, 9000 + SCTP_FRAGMENTS_MAX);
	assert_int_equal(in.steps, SCTP_FRAGMENTS_MAX);
	assert_int_equal(delivered, SCTP_FRAGMENTS_MAX);
	for (unsigned i = 0; i < delivered; i++)
		assert_int_equal(numbers[i], (uint8_t)(9000 + i));
	assert_int_equal(in.held, 0);
}

// A FORWARD-TSN names as many streams as fit: what it does not skip it does not look at again for each.
static void a_long_forward_tsn_looks_once(void **state)
{
	(void)state;
	uint8_t skipped[1140];
	for (unsigned i = 0; i < SCTP_FRAGMENTS_MAX; i++)
		assert_int_equal(put(1 + i, 9, (uint16_t)(30000 + i), WHOLE, 1), 0);
	for (unsigned i = 0; i < sizeof(skipped) / 4; i++) {
		put_be16(skipped + 4 * (size_t)i, 9);
		put_be16(skipped + 4 * (size_t)i + 2, (uint16_t)i);
	}
	sctp_reassembly_forward(&in, 1 + SCTP_FRAGMENTS_MAX, skipped, sizeof(skipped));
	assert_int_equal(in.steps, SCTP_FRAGMENTS_MAX);
	assert_int_equal(in.held, SCTP_FRAGMENTS_MAX);
	assert_int_equal(delivered, 0);
}

// What a rule-abiding peer can make us hold: a message of 64 KiB of which the last piece is missing, and a window behind it.
static void a_large_message_and_a_window_fit(void **state)
{
	(void)state;
	uint32_t tsn = 0xffffff00; // and the numbers wrap
	unsigned pieces = (SCTP_MESSAGE_BYTES_MAX + PIECE_BYTES - 1) / PIECE_BYTES;
	for (unsigned i = 0; i < pieces - 1; i++)
		assert_int_equal(put(tsn + i, 0, 0, i == 0 ? BEGIN : 0, PIECE_BYTES), 0);
	uint32_t hole = tsn + pieces - 1;
	for (unsigned i = 1; i < SCTP_RX_AHEAD; i++)
		assert_int_equal(put(hole + i, 0, (uint16_t)i, WHOLE, 100), 0);
	assert_int_equal(delivered, 0);
	assert_true(in.held_bytes < SCTP_RWND_BYTES);
	assert_int_equal(put(hole, 0, 0, END, SCTP_MESSAGE_BYTES_MAX - (pieces - 1) * PIECE_BYTES), 0);
	assert_int_equal(delivered, SCTP_RX_AHEAD);
	assert_int_equal(in.held, 0);
	assert_int_equal(in.steps, SCTP_RX_AHEAD - 1); // the missing one alone had to look for its place
}

static void numbers_against_the_tsns_are_refused(void **state)
{
	(void)state;
	assert_int_equal(put(10, 1, 5, WHOLE, 1), 0);
	assert_int_equal(put(11, 1, 4, WHOLE, 1), -EPROTO); // a later TSN, an earlier number
	assert_int_equal(put(9, 1, 6, WHOLE, 1), -EPROTO);  // and the other way round
	assert_int_equal(put(12, 1, 5, WHOLE, 1), -EPROTO); // the same number twice
	assert_int_equal(in.held, 1);
	assert_int_equal(put(20, 2, 0, BEGIN, 1), 0);
	assert_int_equal(put(22, 2, 0, WHOLE, 1), -EPROTO); // what is due has begun otherwise
	assert_int_equal(put(9, 1, 4, WHOLE, 1), 0);
	assert_int_equal(delivered, 0);
}

// Skipped or reset, what had begun and can never be delivered is given back.
static void what_is_given_up_is_given_back(void **state)
{
	(void)state;
	assert_int_equal(put(10, 1, 2, BEGIN, 1), 0);
	assert_int_equal(put(11, 1, 2, 0, 1), 0);
	assert_int_equal(put(13, 1, 3, WHOLE, 1), 0);
	forward(5, 1, 2); // by its number, ahead of its TSN
	assert_int_equal(delivered, 1);
	assert_int_equal(in.held, 0);
	assert_int_equal(put(12, 1, 2, END, 1), 0); // its rest
	assert_int_equal(in.held, 0);
	assert_int_equal(put(20, 1, 9, BEGIN, 1), 0);
	assert_int_equal(put(21, 1, 9, END, 1), 0);
	assert_int_equal(put(22, 1, 10, BEGIN, 1), 0);
	sctp_reassembly_reset(&in, 1);
	assert_int_equal(in.held, 0);
	assert_int_equal(put(23, 1, 0, WHOLE, 1), 0);
	assert_int_equal(delivered, 2);
	// By TSN alone: the head of a run goes, and the rest stays a run.
	assert_int_equal(put(30, 4, 1, BEGIN, 1), 0);
	assert_int_equal(put(31, 4, 1, 0, 1), 0);
	assert_int_equal(put(32, 4, 1, 0, 1), 0);
	sctp_reassembly_forward(&in, 30, NULL, 0);
	assert_int_equal(in.held, 2);
	assert_int_equal(put(33, 4, 1, END, 1), 0);
	sctp_reassembly_forward(&in, 33, NULL, 0);
	assert_int_equal(in.held, 0);
	assert_int_equal(delivered, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_held_is_bounded),
		cmocka_unit_test_setup_teardown(a_due_message_passes_what_waits, open_reassembly, shut_reassembly),
		cmocka_unit_test_setup_teardown(pieces_in_order_walk_past_nothing, open_reassembly, shut_reassembly),
		cmocka_unit_test_setup_teardown(backwards_costs_the_window, open_reassembly, shut_reassembly),
		cmocka_unit_test_setup_teardown(a_long_forward_tsn_looks_once, open_reassembly, shut_reassembly),
		cmocka_unit_test_setup_teardown(a_large_message_and_a_window_fit, open_reassembly, shut_reassembly),
		cmocka_unit_test_setup_teardown(numbers_against_the_tsns_are_refused, open_reassembly, shut_reassembly),
		cmocka_unit_test_setup_teardown(what_is_given_up_is_given_back, open_reassembly, shut_reassembly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
