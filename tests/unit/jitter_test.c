// SPDX-License-Identifier: ISC
//
// jitter_test.c - what arrives when, and what is handed out when: tables named after situations.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/jitter.h"

#define WAIT_MS 60
#define MS 1000000ull

// At at_ms packet seq arrives (or, with nothing, time passes); then out lists what comes out, lost how many were given up.
struct step {
	unsigned at_ms;
	int seq; // -1: only time passes
	enum drop drop;
	int out[8]; // ended by -1
	unsigned lost;
};

static void run(const struct step *steps, size_t count)
{
	static struct jitter jitter;
	jitter_init(&jitter, WAIT_MS);
	for (size_t i = 0; i < count; i++) {
		const struct step *step = &steps[i];
		uint64_t now = (1000 + step->at_ms) * MS;
		uint8_t payload[2] = {(uint8_t)(step->seq >> 8), (uint8_t)step->seq};
		bool restarted;
		if (step->seq >= 0)
			assert_int_equal(jitter_put(&jitter, (uint16_t)step->seq, (uint32_t)step->seq * 960u, payload, 2, false, now,
					&restarted), step->drop);
		unsigned lost_total = 0, lost, n = 0;
		for (const struct jitter_packet *packet; (packet = jitter_get(&jitter, now, &lost)) != NULL; n++) {
			lost_total += lost;
			assert_true(n < ARRAY_SIZE(step->out) && step->out[n] >= 0);
			assert_int_equal(packet->seq, step->out[n]);
			assert_int_equal(get_be16(packet->payload), step->out[n]);
		}
		assert_int_equal(step->out[n], -1);
		assert_int_equal(lost_total, step->lost);
		// A timer exists only while a gap is open, and then within the bound.
		uint64_t deadline = jitter_deadline_ns(&jitter);
		assert_true(deadline == 0 || (deadline > now && deadline <= now + WAIT_MS * MS));
	}
}

#define SITUATION(name, ...)                                                                                           \
	static void name(void **state)                                                                                 \
	{                                                                                                              \
		(void)state;                                                                                           \
		static const struct step steps[] = {__VA_ARGS__};                                                      \
		run(steps, ARRAY_SIZE(steps));                                                                         \
	}

SITUATION(in_order, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 11, DROP_NONE, {11, -1}, 0}, {40, 12, DROP_NONE, {12, -1}, 0})
SITUATION(swapped_pair, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 12, DROP_NONE, {-1}, 0}, {21, 11, DROP_NONE, {11, 12, -1}, 0})
SITUATION(late_loss_20ms, {0, 10, DROP_NONE, {10, -1}, 0}, {40, 12, DROP_NONE, {-1}, 0}, {60, 13, DROP_NONE, {-1}, 0},
	{99, -1, DROP_NONE, {-1}, 0}, {100, -1, DROP_NONE, {12, 13, -1}, 1}, {101, 11, DROP_JITTER_LATE, {-1}, 0})
SITUATION(burst_after_gap, {0, 10, DROP_NONE, {10, -1}, 0}, {50, 14, DROP_NONE, {-1}, 0}, {50, 13, DROP_NONE, {-1}, 0},
	{51, 12, DROP_NONE, {-1}, 0}, {51, 11, DROP_NONE, {11, 12, 13, 14, -1}, 0})
SITUATION(two_gaps_have_their_own_wait, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 12, DROP_NONE, {-1}, 0},
	{60, 14, DROP_NONE, {-1}, 0}, {80, -1, DROP_NONE, {12, -1}, 1}, {119, -1, DROP_NONE, {-1}, 0},
	{120, -1, DROP_NONE, {14, -1}, 1})
SITUATION(wrap_at_65535, {0, 65534, DROP_NONE, {65534, -1}, 0}, {20, 0, DROP_NONE, {-1}, 0},
	{21, 65535, DROP_NONE, {65535, 0, -1}, 0}, {40, 1, DROP_NONE, {1, -1}, 0})
SITUATION(duplicates, {0, 10, DROP_NONE, {10, -1}, 0}, {1, 10, DROP_JITTER_DUPLICATE, {-1}, 0},
	{20, 12, DROP_NONE, {-1}, 0}, {21, 12, DROP_JITTER_DUPLICATE, {-1}, 0}, {22, 11, DROP_NONE, {11, 12, -1}, 0},
	{23, 11, DROP_JITTER_DUPLICATE, {-1}, 0})
SITUATION(another_numbering, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 5000, DROP_NONE, {5000, -1}, 0},
	{40, 5001, DROP_NONE, {5001, -1}, 0})
SITUATION(too_far_ahead_of_a_gap, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 12, DROP_NONE, {-1}, 0},
	{21, 60, DROP_JITTER_FULL, {-1}, 0})

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order), cmocka_unit_test(swapped_pair), cmocka_unit_test(late_loss_20ms),
		cmocka_unit_test(burst_after_gap), cmocka_unit_test(two_gaps_have_their_own_wait),
		cmocka_unit_test(wrap_at_65535), cmocka_unit_test(duplicates), cmocka_unit_test(another_numbering),
		cmocka_unit_test(too_far_ahead_of_a_gap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
