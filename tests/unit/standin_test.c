// SPDX-License-Identifier: ISC
//
// standin_test.c - the parts of the stand-in of Soniox that tests rely on blindly: pauses, accounting, framing, limits.
//
// Runs on: any.
#include "tests/soniox/segment.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/soniox/account.h"
#include "tests/soniox/frame.h"
#include "tests/soniox/settings.h"

// ---- segments

#define CELLS 2000

struct heard {
	uint64_t first; // cell of the whole time line
	uint32_t hash;
	size_t samples;
};

struct ear {
	struct segmenter segmenter;
	uint64_t offset; // cells of the time line before this run
	struct heard heard[CELLS];
	size_t count;
	uint64_t let_go[CELLS];
};

static void on_begin(void *arg, uint64_t first_cell)
{
	struct ear *ear = arg;
	ear->heard[ear->count] = (struct heard){.first = first_cell + ear->offset};
}

static void on_cell(void *arg, const int16_t *samples, size_t count)
{
	struct ear *ear = arg;
	struct heard *heard = &ear->heard[ear->count];
	heard->hash = heard->hash * 31 + account_hash(samples, count * 2);
	heard->samples += count;
}

static void on_end(void *arg, bool pause)
{
	((struct ear *)arg)->count++;
}

static const struct segment_ops ops = {on_begin, on_cell, on_end};

static void listen(struct ear *ear, const int16_t *samples, uint64_t from, uint64_t to)
{
	memset(ear, 0, sizeof(*ear));
	ear->segmenter.ops = &ops;
	ear->segmenter.arg = ear;
	ear->offset = from;
	for (uint64_t cell = from; cell < to; cell++) {
		segment_pcm(&ear->segmenter, samples + cell * SEGMENT_CELL, SEGMENT_CELL);
		ear->let_go[cell] = from + (ear->segmenter.speaking ? ear->segmenter.first : ear->segmenter.let_go);
	}
	segment_cut(&ear->segmenter);
}

// Speech and silence of random lengths, from a clap to 20 s.
static void fill(int16_t *samples, unsigned seed)
{
	srand(seed);
	for (unsigned cell = 0; cell < CELLS;) {
		unsigned length = rand() % 8 == 0 ? (unsigned)rand() % 1000 : (unsigned)rand() % 60;
		bool loud = rand() % 2;
		for (; length > 0 && cell < CELLS; length--, cell++)
			for (unsigned i = 0; i < SEGMENT_CELL; i++)
				samples[cell * SEGMENT_CELL + i] = (int16_t)((rand() % 2001 - 1000) * (loud ? 4 : 0) + rand() % 90);
	}
}

// Whoever begins again from what was let go hears the same segments, wherever the cut was.
static void test_segments_repeat(void **state)
{
	int16_t *samples = malloc(sizeof(*samples) * CELLS * SEGMENT_CELL);
	struct ear *whole = malloc(sizeof(*whole)), *again = malloc(sizeof(*again));
	unsigned segments = 0;
	for (unsigned seed = 1; seed <= 20; seed++) {
		fill(samples, seed);
		listen(whole, samples, 0, CELLS);
		segments += (unsigned)whole->count;
		for (unsigned cut = 7; cut < CELLS; cut += 97) {
			uint64_t from = whole->let_go[cut];
			listen(again, samples, from, CELLS);
			size_t done = 0;
			while (done < whole->count && whole->heard[done].first < from)
				done++;
			assert_int_equal(again->count, whole->count - done);
			assert_memory_equal(again->heard, whole->heard + done, again->count * sizeof(struct heard));
		}
	}
	assert_true(segments > 100);
	free(samples);
	free(whole);
	free(again);
}

static void test_segments_do_not_depend_on_cutting(void **state)
{
	int16_t *samples = malloc(sizeof(*samples) * CELLS * SEGMENT_CELL);
	struct ear *whole = malloc(sizeof(*whole)), *again = malloc(sizeof(*again));
	fill(samples, 99);
	listen(whole, samples, 0, CELLS);
	memset(again, 0, sizeof(*again));
	again->segmenter.ops = &ops;
	again->segmenter.arg = again;
	for (size_t at = 0, left = CELLS * SEGMENT_CELL; left > 0;) {
		size_t take = MIN_OF(left, (size_t)(rand() % 3000));
		segment_pcm(&again->segmenter, samples + at, take);
		at += take;
		left -= take;
	}
	segment_cut(&again->segmenter);
	assert_int_equal(again->count, whole->count);
	assert_memory_equal(again->heard, whole->heard, whole->count * sizeof(struct heard));
	free(samples);
	free(whole);
	free(again);
}

// ---- accounting

static void test_account_finds_numbers_anywhere(void **state)
{
	for (unsigned loose = 0; loose < 700; loose += 13) {
		struct account account;
		int16_t samples[700] = {0}, cell[NUMBERED_SAMPLES];
		account_init(&account, NULL, NULL);
		samples[loose == 0 ? 0 : loose - 1] = 1000;
		account_pcm(&account, samples, loose);
		for (uint32_t number = 0xfffe; number < 0x10003; number++) {
			numbered_cell(cell, number);
			account_pcm(&account, cell, NUMBERED_SAMPLES);
		}
		account_flush(&account);
		assert_int_equal(account.range_count, 1);
		assert_int_equal(account.ranges[0][0], 0xfffe);
		assert_int_equal(account.ranges[0][1], 0x10002);
		assert_int_equal(account.other_samples, loose);
		assert_int_equal(account.samples, loose + 5 * NUMBERED_SAMPLES);
		account_free(&account);
	}
}

// ---- framing

static int feed(const char *bytes, size_t count, struct frame *ret)
{
	static struct frames frames;
	frames_free(&frames);
	memset(&frames, 0, sizeof(frames));
	frames_put(&frames, (const uint8_t *)bytes, count);
	return frames_next(&frames, ret);
}

#define FEED(bytes) feed(bytes, sizeof(bytes) - 1, &frame)

static void test_frames(void **state)
{
	struct frame frame;
	assert_int_equal(FEED("\x81\x82\0\0\0\0hi"), 1);
	assert_int_equal(frame.opcode, FRAME_TEXT);
	assert_memory_equal(frame.data, "hi", 2);
	assert_int_equal(FEED("\x01\x81\0\0\0\0h\x89\x80\0\0\0\0\x80\x81\0\0\0\0i"), 1); // a ping in between
	assert_int_equal(frame.opcode, FRAME_PING);
	assert_int_equal(FEED("\x81\x80\0\0\0"), 0);
	assert_int_equal(FEED("\x81\x80\0\0\0\0"), 1);
	assert_int_equal(frame.bytes, 0);
	assert_int_equal(FEED("\x81\x02hi"), -1002);              // not masked
	assert_int_equal(FEED("\xc1\x80\0\0\0\0"), -1002);        // a reserved bit
	assert_int_equal(FEED("\x83\x80\0\0\0\0"), -1002);        // no such opcode
	assert_int_equal(FEED("\x09\x80\0\0\0\0"), -1002);        // half a ping
	assert_int_equal(FEED("\x80\x80\0\0\0\0"), -1002);        // goes on with nothing
	assert_int_equal(FEED("\x81\x82\0\0\0\0\xc3\x28"), -1007); // no UTF-8
	assert_int_equal(FEED("\x82\xff\0\0\0\0\0\x10\0\x01\0\0\0\0"), -1009);
}

static void test_utf8(void **state)
{
	static const char *const right[] = {"", "a", "\xc2\x80", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"},
			  *const wrong[] = {"\x80", "\xc0\x80", "\xc2", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
				  "\xf8\x88\x80\x80\x80", "\xff"};
	for (size_t i = 0; i < ARRAY_SIZE(right); i++)
		assert_true(utf8_check((const uint8_t *)right[i], strlen(right[i])));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(utf8_check((const uint8_t *)wrong[i], strlen(wrong[i])));
}

// ---- limits

static void test_limits(void **state)
{
	settings_set_recogniser(&recogniser_scripted);
	settings_reset();
	limits_forget();
	for (int i = 0; i < 10; i++)
		assert_int_equal(limits_request(1000), FAILURE_NONE);
	assert_int_equal(limits_request(1000), FAILURE_CONCURRENT);
	limits_finish();
	assert_int_equal(limits_request(1000), FAILURE_NONE);
	for (int i = 12; i < 100; i++) { // the refused one counted too
		limits_finish();
		assert_int_equal(limits_request(2000), FAILURE_NONE);
	}
	limits_finish();
	assert_int_equal(limits_request(3000), FAILURE_RATE);
	assert_int_equal(limits_request(60999), FAILURE_RATE);
	assert_int_equal(limits_request(61000), FAILURE_NONE); // the first twelve are a minute old
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_repeat),
		cmocka_unit_test(test_segments_do_not_depend_on_cutting),
		cmocka_unit_test(test_account_finds_numbers_anywhere),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
