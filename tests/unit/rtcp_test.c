// SPDX-License-Identifier: ISC
//
// rtcp_test.c - compounds as servers send them and as they should not; what is built parses back.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "dataplane/rtcp.h"

// What a visitor heard.
struct heard {
	unsigned reports, blocks, byes;
	uint32_t report_ssrc, timestamp, sender;
	uint64_t ntp;
	struct rtcp_block block;
	char cname[64], reason[64];
};

static void on_report(void *arg, uint32_t ssrc, uint64_t ntp, uint32_t timestamp)
{
	struct heard *heard = arg;
	heard->reports++;
	heard->report_ssrc = ssrc;
	heard->ntp = ntp;
	heard->timestamp = timestamp;
}

static void on_block(void *arg, uint32_t sender, const struct rtcp_block *block)
{
	struct heard *heard = arg;
	heard->blocks++;
	heard->sender = sender;
	heard->block = *block;
}

static void on_cname(void *arg, uint32_t ssrc, const char *text, size_t bytes)
{
	struct heard *heard = arg;
	snprintf(heard->cname, sizeof(heard->cname), "%x %.*s", ssrc, (int)bytes, text);
}

static void on_bye(void *arg, uint32_t ssrc, const char *reason, size_t bytes)
{
	struct heard *heard = arg;
	heard->byes++;
	snprintf(heard->reason, sizeof(heard->reason), "%x %.*s", ssrc, (int)bytes, reason);
}

// An exact-size copy, so that a read past the end is seen.
static enum drop parse(const uint8_t *data, size_t bytes, struct heard *heard)
{
	struct rtcp_visitor visitor = {on_report, on_block, on_cname, on_bye, heard};
	uint8_t *copy = malloc(bytes ? bytes : 1);
	memcpy(copy, data, bytes);
	*heard = (struct heard){0};
	enum drop drop = rtcp_parse(copy, bytes, &visitor);
	free(copy);
	return drop;
}

static void rr_as_rfc_3550(void **state)
{
	struct source_reception reception = {.ssrc = 0x11223344, .extended_seq = 0x10005, .jitter = 77, .last_sr = 0xaabbccdd,
		.delay_since_sr = 65536, .cumulative_lost = -3, .fraction_lost = 64};
	uint8_t data[128];
	struct heard heard;
	size_t bytes = rtcp_build_rr(data, sizeof(data), 0x5555, &reception, 1, "relay");
	assert_int_equal(bytes, 32 + 16);
	assert_int_equal(data[0], 0x81);
	assert_int_equal(data[1], 201);
	assert_int_equal(get_be16(data + 2), 7);
	assert_int_equal(parse(data, bytes, &heard), DROP_NONE);
	assert_int_equal(heard.blocks, 1);
	assert_int_equal(heard.sender, 0x5555);
	assert_int_equal(heard.block.ssrc, 0x11223344);
	assert_int_equal(heard.block.fraction_lost, 64);
	assert_int_equal(heard.block.cumulative_lost, -3);
	assert_int_equal(heard.block.extended_seq, 0x10005);
	assert_int_equal(heard.block.jitter, 77);
	assert_int_equal(heard.block.last_sr, 0xaabbccdd);
	assert_int_equal(heard.block.delay_since_sr, 65536);
	assert_string_equal(heard.cname, "5555 relay");
}

static void losses_are_clamped_to_24_bits(void **state)
{
	static const struct {
		int32_t lost, told;
	} rows[] = {{0x7fffff, 0x7fffff}, {0x800000, 0x7fffff}, {INT32_MAX, 0x7fffff}, {-0x800000, -0x800000}, {INT32_MIN, -0x800000}};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct source_reception reception = {.cumulative_lost = rows[i].lost};
		uint8_t data[128];
		struct heard heard;
		size_t bytes = rtcp_build_rr(data, sizeof(data), 1, &reception, 1, "x");
		assert_int_equal(parse(data, bytes, &heard), DROP_NONE);
		assert_int_equal(heard.block.cumulative_lost, rows[i].told);
	}
}

static void rr_fits_or_is_not_built(void **state)
{
	struct source_reception reception = {0};
	uint8_t data[64];
	for (size_t size = 0; size < 48; size++)
		assert_int_equal(rtcp_build_rr(data, size, 1, &reception, 1, "relay"), 0);
	assert_int_equal(rtcp_build_rr(data, 48, 1, &reception, 1, "relay"), 48);
	assert_int_equal(rtcp_build_rr(data, sizeof(data), 1, NULL, 0, "relay"), 24);
}

// SR with a block, SDES with two chunks, BYE with a reason, padding at the end.
static const uint8_t whole[] = {
	0x81, 200, 0, 12, 0, 0, 0, 7, 0xe9, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 1, 0,       // SR
	0, 0, 0, 5, 0x20, 0xff, 0xff, 0xfe, 0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 6,                         // its block
	0x82, 202, 0, 6, 0, 0, 0, 7, 1, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 8, 2, 1, 'n', 1, 1, 'z', 0, 0,           // SDES
	0xa1, 203, 0, 4, 0, 0, 0, 7, 3, 'e', 'n', 'd', 0, 0, 0, 8, 0, 0, 0, 8,                                      // BYE, padded
};

// Which packets a generic NACK names, as RFC 4585 6.2.1 reads: a number, and bits for the sixteen after it.
static void nack_names_what_is_missing(void **state)
{
	static const struct {
		uint16_t first;
		uint32_t missing;
		size_t bytes;
	} cases[] = {{100, 1, 16}, {100, 0x1ffff, 16}, {100, 0x20001, 20}, {65530, 0xffffffff, 20}, {7, 0x80000000, 16},
		{7, 0x80008000, 16}};
	(void)state;
	uint8_t data[64];
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t bytes = rtcp_build_nack(data, sizeof(data), 0x5555, 0x7777, cases[i].first, cases[i].missing);
		uint32_t named = 0;
		assert_int_equal(bytes, cases[i].bytes);
		assert_int_equal(get_be32(data), 0x81cd0000u | (uint32_t)(bytes / 4 - 1));
		assert_int_equal(get_be32(data + 4), 0x5555);
		assert_int_equal(get_be32(data + 8), 0x7777);
		for (size_t at = 12; at < bytes; at += 4)
			for (unsigned bit = 0; bit <= 16; bit++)
				if (bit == 0 || (get_be16(data + at + 2) >> (bit - 1) & 1) != 0)
					named |= 1u << (uint16_t)(get_be16(data + at) + bit - cases[i].first);
		assert_int_equal(named, cases[i].missing);
		assert_int_equal(rtcp_build_nack(data, bytes - 1, 1, 2, cases[i].first, cases[i].missing), 0);
		assert_int_equal(rtcp_parse(data, bytes, &(struct rtcp_visitor){0}), DROP_NONE);
	}
	assert_int_equal(rtcp_build_nack(data, sizeof(data), 1, 2, 3, 0), 0);
}

static void whole_compound(void **state)
{
	struct heard heard;
	assert_int_equal(parse(whole, sizeof(whole), &heard), DROP_NONE);
	assert_int_equal(heard.reports, 1);
	assert_int_equal(heard.report_ssrc, 7);
	assert_true(heard.ntp == 0xe900000180000000u);
	assert_int_equal(heard.timestamp, 0x1234);
	assert_int_equal(heard.blocks, 1);
	assert_int_equal(heard.block.ssrc, 5);
	assert_int_equal(heard.block.cumulative_lost, -2);
	assert_string_equal(heard.cname, "8 z");
	assert_int_equal(heard.byes, 1);
	assert_string_equal(heard.reason, "7 end");
}

// Nothing of a compound counts when one byte of its frame is missing.
static void cut_anywhere(void **state)
{
	struct heard heard;
	for (size_t bytes = 0; bytes < sizeof(whole); bytes++) {
		bool between = bytes == 52 || bytes == 80; // whole packets in front
		assert_int_equal(parse(whole, bytes, &heard), between ? DROP_NONE : DROP_RTCP_MALFORMED);
		assert_int_equal(heard.reports + heard.blocks + heard.byes, between ? 2 : 0);
	}
}

static void malformed(void **state)
{
	static const struct {
		const char *what;
		uint8_t data[32];
		size_t bytes;
	} rows[] = {
		{"version 1", {0x40, 201, 0, 1, 0, 0, 0, 1}, 8},
		{"SR without sender info", {0x80, 200, 0, 1, 0, 0, 0, 1}, 8},
		{"RR with a block that is not there", {0x81, 201, 0, 1, 0, 0, 0, 1}, 8},
		{"RR without its sender", {0x80, 201, 0, 0}, 4},
		{"SDES chunk without an end", {0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, 'a', 'b'}, 12},
		{"SDES item longer than its packet", {0x81, 202, 0, 2, 0, 0, 0, 1, 1, 9, 'a', 0}, 12},
		{"SDES chunk that is not there", {0x82, 202, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0}, 12},
		{"BYE with more sources than it holds", {0x82, 203, 0, 1, 0, 0, 0, 1}, 8},
		{"BYE reason longer than its packet", {0x81, 203, 0, 2, 0, 0, 0, 1, 4, 'a', 'b', 'c'}, 12},
		{"padding of nothing", {0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0}, 12},
		{"padding that is not whole words", {0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3}, 12},
		{"padding longer than its packet", {0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 12}, 12},
		{"padding in front of another packet", {0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0x80, 201, 0, 1, 0, 0, 0, 1}, 20},
		{"three bytes left over", {0x80, 201, 0, 1, 0, 0, 0, 1, 0x80, 201, 0}, 11},
	};
	struct heard heard;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (parse(rows[i].data, rows[i].bytes, &heard) != DROP_RTCP_MALFORMED || heard.reports + heard.blocks + heard.byes > 0)
			fail_msg("%s was taken", rows[i].what);
}

// Feedback, APP and XR are skipped; a packet alone is legal (RFC 5506); a BYE may name nobody.
static void skipped_and_alone(void **state)
{
	static const uint8_t feedback[] = {0x8f, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 204, 0, 2, 0, 0, 0, 1, 'n', 'a', 'm', 'e',
		0x80, 207, 0, 1, 0, 0, 0, 1};
	static const uint8_t bye[] = {0x80, 203, 0, 0};
	struct heard heard;
	assert_int_equal(parse(feedback, sizeof(feedback), &heard), DROP_NONE);
	assert_int_equal(parse(bye, sizeof(bye), &heard), DROP_NONE);
	assert_int_equal(heard.byes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rr_as_rfc_3550), cmocka_unit_test(losses_are_clamped_to_24_bits),
		cmocka_unit_test(rr_fits_or_is_not_built), cmocka_unit_test(nack_names_what_is_missing), cmocka_unit_test(whole_compound), cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(malformed), cmocka_unit_test(skipped_and_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
