// SPDX-License-Identifier: ISC
//
// share_test.c - one peer's share of the association thread: what gets through of floods and of honest traffic.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/sctp_rx.h"
#include "dataplane/share.h"

#define SECOND 1000000000ull

// Packets of so many chunks, evenly over ten seconds; what is taken of them, in chunks.
static unsigned taken(unsigned packets_a_second, unsigned chunks)
{
	struct share share = {0};
	unsigned sum = 0;
	for (uint64_t i = 0; i < 10ull * packets_a_second; i++)
		sum += share_take(&share, chunks, 77 * SECOND + i * SECOND / packets_a_second) ? chunks : 0;
	return sum;
}

static void honest_peers_lose_nothing(void **state)
{
	(void)state;
	static const struct {
		unsigned packets_a_second, chunks;
	} cases[] = {{1, 1}, {50, 1}, {50, 10}, {3000, 1}, {4000, 1}, {100, SCTP_RX_SLOW_MAX}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(taken(cases[i].packets_a_second, cases[i].chunks), 10 * cases[i].packets_a_second * cases[i].chunks);
}

static void a_flood_gets_its_share(void **state)
{
	(void)state;
	static const struct {
		unsigned packets_a_second, chunks;
	} cases[] = {{5000, 1}, {100000, 1}, {10000, SCTP_RX_SLOW_MAX}, {1000000, 1}, {300000, SCTP_RX_SLOW_MAX}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_in_range(taken(cases[i].packets_a_second, cases[i].chunks), 10 * SHARE_A_SECOND - SCTP_RX_SLOW_MAX,
			10 * SHARE_A_SECOND + SHARE_BURST);
}

// A whole window at once, with a third of it repeated; again as soon as that is paid for, and not before.
static void a_window_at_once_passes(void **state)
{
	(void)state;
	struct share share = {0};
	uint64_t now_ns = 5 * SECOND, paid_ns = SHARE_BURST * SECOND / SHARE_A_SECOND;
	for (unsigned round = 0; round < 3; round++, now_ns += paid_ns) {
		for (unsigned i = 0; i < SHARE_BURST; i++)
			assert_true(share_take(&share, 1, now_ns));
		assert_false(share_take(&share, 1, now_ns));
		assert_false(share_take(&share, 1, now_ns + SECOND / SHARE_A_SECOND - 1));
	}
	assert_true(SHARE_BURST >= SCTP_RX_AHEAD * 4 / 3);
	// What was refused cost nothing, and a long silence saves up no more than that.
	now_ns += 3600 * SECOND;
	assert_true(share_take(&share, SHARE_BURST, now_ns));
	assert_false(share_take(&share, 1, now_ns));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(honest_peers_lose_nothing),
		cmocka_unit_test(a_flood_gets_its_share),
		cmocka_unit_test(a_window_at_once_passes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
