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
#include <stdlib.h>

#include "dataplane/jitter.h"

#define WAIT_MS 60
#define MS 1000000ull
#define TICKS_PER_MS 48u

// At at_ms packet seq arrives (or, with nothing, time passes); then out lists what comes out, lost how many were given up.
struct step {
	unsigned at_ms;
	int seq; // -1: only time passes
	enum drop drop;
	int out[8]; // ended by -1
	unsigned lost;
};

static struct jitter jitter;

static enum drop put(uint16_t seq, uint32_t timestamp, uint64_t now_ns)
{
	static uint8_t payload[2];
	bool restarted;
	put_be16(payload, seq);
	return jitter_put(&jitter, seq, timestamp, payload, 2, false, now_ns, &restarted);
}

static void run(const struct step *steps, size_t count)
{
	jitter_init(&jitter, WAIT_MS);
	for (size_t i = 0; i < count; i++) {
		const struct step *step = &steps[i];
		uint64_t now = (1000 + step->at_ms) * MS;
		if (step->seq >= 0)
			assert_int_equal(put((uint16_t)step->seq, (uint32_t)step->seq * 960u, now), step->drop);
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
// 11 is late, not lost: when it comes, 12 goes at once; the gap behind it has waited since 14 came and not since 11.
SITUATION(late_packet_before_another_gap, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 12, DROP_NONE, {-1}, 0},
	{30, 14, DROP_NONE, {-1}, 0}, {70, 11, DROP_NONE, {11, 12, -1}, 0}, {89, 15, DROP_NONE, {-1}, 0},
	{90, -1, DROP_NONE, {14, 15, -1}, 1})
SITUATION(wrap_at_65535, {0, 65534, DROP_NONE, {65534, -1}, 0}, {20, 0, DROP_NONE, {-1}, 0},
	{21, 65535, DROP_NONE, {65535, 0, -1}, 0}, {40, 1, DROP_NONE, {1, -1}, 0})
SITUATION(loss_over_the_wrap, {0, 65533, DROP_NONE, {65533, -1}, 0}, {60, 1, DROP_NONE, {-1}, 0},
	{120, -1, DROP_NONE, {1, -1}, 3}, {121, 65535, DROP_JITTER_LATE, {-1}, 0}, {122, 1, DROP_JITTER_DUPLICATE, {-1}, 0})
SITUATION(duplicates, {0, 10, DROP_NONE, {10, -1}, 0}, {1, 10, DROP_JITTER_DUPLICATE, {-1}, 0},
	{20, 12, DROP_NONE, {-1}, 0}, {21, 12, DROP_JITTER_DUPLICATE, {-1}, 0}, {22, 11, DROP_NONE, {11, 12, -1}, 0},
	{23, 11, DROP_JITTER_DUPLICATE, {-1}, 0})
SITUATION(another_numbering, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 5000, DROP_NONE, {5000, -1}, 0},
	{40, 5001, DROP_NONE, {5001, -1}, 0})
// The server pads a muted track in sequence; after the unmute it goes on where it likes.
SITUATION(mute_then_rebase, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 11, DROP_NONE, {11, -1}, 0},
	{9000, 40000, DROP_NONE, {40000, -1}, 0}, {9020, 40001, DROP_NONE, {40001, -1}, 0},
	{9040, 12, DROP_NONE, {12, -1}, 0})
SITUATION(too_far_ahead_of_a_gap, {0, 10, DROP_NONE, {10, -1}, 0}, {20, 12, DROP_NONE, {-1}, 0},
	{21, 60, DROP_JITTER_FULL, {-1}, 0})

// ---- what is learned

static void take(uint64_t now_ns, unsigned count)
{
	unsigned lost;
	for (unsigned i = 0; i < count; i++) {
		assert_non_null(jitter_get(&jitter, now_ns, &lost));
		assert_int_equal(lost, 0);
	}
	assert_null(jitter_get(&jitter, now_ns, &lost));
}

// `count` packets from `seq` on, 20 ms apart, each late by what late_us gives for it.
static uint64_t talk(uint16_t seq, unsigned count, uint64_t at_ns, const unsigned *late_us, unsigned late_count)
{
	for (unsigned i = 0; i < count; i++, seq++, at_ns += 20 * MS) {
		uint64_t now = at_ns + (late_count ? late_us[i % late_count] * 1000ull : 0);
		assert_int_equal(put(seq, (uint32_t)seq * 960, now), DROP_NONE);
		take(now, 1); // in order there is no wait, whatever the jitter
	}
	return at_ns;
}

// Packet seq, due at due_ns, never comes; how long the one behind it waits.
static uint64_t wait_of_gap(uint16_t seq, uint64_t due_ns)
{
	unsigned lost;
	uint64_t now_ns = due_ns + 20 * MS;
	assert_int_equal(put((uint16_t)(seq + 1), (uint32_t)(seq + 1) * 960, now_ns), DROP_NONE);
	uint64_t deadline = jitter_deadline_ns(&jitter);
	assert_null(jitter_get(&jitter, deadline - 1, &lost));
	assert_non_null(jitter_get(&jitter, deadline, &lost));
	assert_int_equal(lost, 1);
	return deadline - now_ns;
}

static void quiet_network_waits_one_packet(void **state)
{
	jitter_init(&jitter, WAIT_MS);
	uint64_t now = talk(100, 100, 1000 * MS, NULL, 0);
	assert_int_equal(wait_of_gap(200, now), JITTER_WAIT_MIN_NS);
}

static void noisy_network_waits_longer(void **state)
{
	static const unsigned late_us[] = {0, 9000, 1000, 12000, 3000, 8000};
	jitter_init(&jitter, WAIT_MS);
	uint64_t now = talk(100, 300, 1000 * MS, late_us, 6);
	uint64_t wait = wait_of_gap(400, now);
	assert_true(wait > 35 * MS && wait <= WAIT_MS * MS);
	// Calm again: back to the least.
	now = talk(402, 300, now + 40 * MS, NULL, 0);
	assert_true(wait_of_gap(702, now) < 21 * MS);
}

static void storm_stays_within_the_bound(void **state)
{
	static const unsigned late_us[] = {0, 19000, 0, 150000, 140000, 120000};
	jitter_init(&jitter, WAIT_MS);
	uint64_t now = talk(100, 300, 1000 * MS, late_us, 6);
	assert_int_equal(wait_of_gap(400, now), WAIT_MS * MS);
}

// A packet that came after it was given up teaches how long to wait for the next one.
static void late_packet_raises_the_wait(void **state)
{
	unsigned lost;
	jitter_init(&jitter, WAIT_MS);
	uint64_t now = talk(100, 100, 1000 * MS, NULL, 0);
	assert_int_equal(put(201, 201 * 960, now + 20 * MS), DROP_NONE);
	assert_non_null(jitter_get(&jitter, now + 40 * MS, &lost));
	now = talk(202, 1, now + 40 * MS, NULL, 0);
	assert_int_equal(put(200, 200 * 960, now - 5 * MS), DROP_JITTER_LATE); // 35 ms after 201
	now = talk(203, 5, now, NULL, 0);
	uint64_t wait = wait_of_gap(208, now);
	assert_true(wait > 38 * MS && wait < 41 * MS);
	// And it is forgotten.
	now = talk(210, 1000, now + 40 * MS, NULL, 0);
	assert_true(wait_of_gap(1210, now) < 22 * MS);
}

// An hour at 40 ppm, either way: nothing waits, nothing restarts, the measured jitter stays what it is.
static void clock_drift_40ppm(void **state)
{
	for (int sign = -1; sign <= 1; sign += 2) {
		jitter_init(&jitter, WAIT_MS);
		for (uint32_t i = 0; i < 180000; i++) {
			uint64_t now = 1000 * MS + (uint64_t)i * (uint64_t)(20 * (int64_t)MS + sign * 800);
			assert_int_equal(put((uint16_t)i, i * 960, now), DROP_NONE);
			take(now, 1);
			assert_int_equal(jitter_deadline_ns(&jitter), 0);
		}
		assert_true(jitter.jitter_ns < 1000);
	}
}

// The sender is silent for 400 ms and its numbers go on without a gap: not jitter, no wait.
static void dtx_400ms_gap(void **state)
{
	jitter_init(&jitter, WAIT_MS);
	uint64_t now = talk(100, 50, 1000 * MS, NULL, 0);
	for (unsigned i = 0; i < 20; i++, now += 400 * MS) {
		assert_int_equal(put((uint16_t)(150 + i), 150 * 960 + i * 400 * TICKS_PER_MS, now), DROP_NONE);
		take(now, 1);
	}
	assert_true(jitter.jitter_ns < MS);
	assert_int_equal(jitter.wait_ns, JITTER_WAIT_MIN_NS);
}

// Large packets behind a gap: as many as the store holds, and their bytes stay whole.
// ---- a network that does everything at once

#define CHAOS 20000
struct chaos {
	uint64_t at_ns;
	uint16_t seq;
};
static struct chaos chaos[CHAOS * 2];
static uint64_t chaos_arrival_ns[CHAOS];

static int chaos_order(const void *a, const void *b)
{
	const struct chaos *left = a, *right = b;
	return left->at_ns < right->at_ns ? -1 : left->at_ns > right->at_ns;
}

static unsigned chaos_take(uint64_t now_ns, int *last)
{
	unsigned count = 0, lost;
	for (const struct jitter_packet *packet; (packet = jitter_get(&jitter, now_ns, &lost)) != NULL; count += 1 + lost) {
		assert_int_equal(packet->seq, *last + 1 + (int)lost); // in order, none twice, each missing one told
		assert_true(now_ns - chaos_arrival_ns[packet->seq] <= WAIT_MS * MS);
		*last = packet->seq;
	}
	return count;
}

// Loss, duplicates and delays of up to four packets: what is here waits for nobody longer than the bound.
static void chaos_stays_within_the_bound(void **state)
{
	unsigned events = 0, accounted = 0;
	int last = -1;
	(void)state;
	srand(11);
	for (unsigned seq = 0; seq < CHAOS; seq++) {
		for (int copies = seq > 0 && rand() % 10 == 0 ? 0 : 1 + (rand() % 20 == 0); copies > 0; copies--) {
			uint64_t late_ns = seq == 0 ? 0 : (uint64_t)(rand() % 80000) * 1000;
			chaos[events++] = (struct chaos){(1000 + seq * 20) * MS + late_ns, (uint16_t)seq};
		}
	}
	qsort(chaos, events, sizeof(chaos[0]), chaos_order);
	jitter_init(&jitter, WAIT_MS);
	for (unsigned i = 0; i < events; i++) {
		for (uint64_t due; (due = jitter_deadline_ns(&jitter)) != 0 && due <= chaos[i].at_ns;)
			accounted += chaos_take(due, &last);
		if (put(chaos[i].seq, chaos[i].seq * 960u, chaos[i].at_ns) == DROP_NONE)
			chaos_arrival_ns[chaos[i].seq] = chaos[i].at_ns;
		accounted += chaos_take(chaos[i].at_ns, &last);
	}
	assert_int_equal(accounted, last + 1);
	assert_true(last > CHAOS - 10);
}

static void large_packets_fill_the_store(void **state)
{
	static uint8_t payload[JITTER_PAYLOAD_MAX];
	bool restarted;
	unsigned stored = 0, lost;
	jitter_init(&jitter, WAIT_MS);
	assert_int_equal(put(9, 9 * 960, 1000 * MS), DROP_NONE);
	take(1000 * MS, 1);
	for (uint16_t seq = 11; seq < 31; seq++) {
		memset(payload, seq, sizeof(payload));
		enum drop drop = jitter_put(&jitter, seq, seq * 960u, payload, 1275, false, 1001 * MS, &restarted);
		assert_true(drop == DROP_NONE || (drop == DROP_JITTER_FULL && stored == 6));
		stored += drop == DROP_NONE;
	}
	for (unsigned i = 0; i < stored; i++) {
		const struct jitter_packet *packet = jitter_get(&jitter, UINT64_MAX, &lost);
		assert_non_null(packet);
		assert_int_equal(packet->bytes, 1275);
		assert_int_equal(packet->payload[0], 11 + i);
		assert_int_equal(packet->payload[1274], 11 + i);
	}
	assert_int_equal(jitter.chunks_taken, 0);
	assert_int_equal(jitter_put(&jitter, 17, 0, payload, JITTER_PAYLOAD_MAX + 1, false, 0, &restarted), DROP_RTP_MALFORMED);
}

// A packet in order is where the caller has it: nothing was copied.
static void in_order_is_not_copied(void **state)
{
	uint8_t payload[200];
	bool restarted;
	unsigned lost;
	jitter_init(&jitter, WAIT_MS);
	assert_int_equal(jitter_put(&jitter, 1, 0, payload, sizeof(payload), false, MS, &restarted), DROP_NONE);
	assert_false(jitter_wants(&jitter, 1));
	assert_true(jitter_wants(&jitter, 2));
	assert_ptr_equal(jitter_get(&jitter, MS, &lost)->payload, payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order), cmocka_unit_test(swapped_pair), cmocka_unit_test(late_loss_20ms),
		cmocka_unit_test(burst_after_gap), cmocka_unit_test(two_gaps_have_their_own_wait),
		cmocka_unit_test(late_packet_before_another_gap), cmocka_unit_test(wrap_at_65535),
		cmocka_unit_test(loss_over_the_wrap), cmocka_unit_test(duplicates), cmocka_unit_test(another_numbering),
		cmocka_unit_test(mute_then_rebase), cmocka_unit_test(too_far_ahead_of_a_gap),
		cmocka_unit_test(quiet_network_waits_one_packet), cmocka_unit_test(noisy_network_waits_longer),
		cmocka_unit_test(storm_stays_within_the_bound), cmocka_unit_test(late_packet_raises_the_wait),
		cmocka_unit_test(clock_drift_40ppm), cmocka_unit_test(dtx_400ms_gap), cmocka_unit_test(large_packets_fill_the_store),
		cmocka_unit_test(in_order_is_not_copied), cmocka_unit_test(chaos_stays_within_the_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
