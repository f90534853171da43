// SPDX-License-Identifier: ISC
//
// latency_test.c - quantiles of the histogram against sorted samples.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

#include "controlplane/latency.h"

static void empty_is_all_zero(void **state)
{
	static struct latency latency;
	struct latency_summary s;
	latency_summary(&latency, &s);
	assert_int_equal(s.count + s.p50_us + s.p99_us + s.max_us, 0);
}

static void small_values_are_exact(void **state)
{
	static struct latency latency;
	struct latency_summary s;
	for (unsigned i = 1; i <= 10; i++)
		latency_record(&latency, i);
	latency_summary(&latency, &s);
	assert_int_equal(s.count, 10);
	assert_int_equal(s.p50_us, 5);
	assert_int_equal(s.p99_us, 10);
	assert_int_equal(s.max_us, 10);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

// Never below the true quantile, at most one sixteenth above it.
static void expect_quantile(uint64_t got, uint64_t truth)
{
	if (got < truth || got > truth + truth / 16 + 1)
		fail_msg("got %llu, true %llu", (unsigned long long)got, (unsigned long long)truth);
}

static void quantiles_are_close_and_never_too_good(void **state)
{
	static struct latency latency;
	static uint64_t samples[10000];
	struct latency_summary s;
	uint64_t seed = 12345;
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		samples[i] = (seed >> 33) % (1u << (1 + (seed >> 20) % 28));
		latency_record(&latency, samples[i]);
	}
	qsort(samples, ARRAY_SIZE(samples), sizeof(samples[0]), compare);
	latency_summary(&latency, &s);
	expect_quantile(s.p50_us, samples[4999]);
	expect_quantile(s.p99_us, samples[9899]);
	assert_int_equal(s.max_us, samples[9999]);
}

static void one_slow_in_a_hundred_is_the_maximum(void **state)
{
	static struct latency latency;
	struct latency_summary s;
	for (unsigned i = 0; i < 99; i++)
		latency_record(&latency, 10);
	latency_record(&latency, 50000);
	latency_summary(&latency, &s);
	assert_int_equal(s.p50_us, 10);
	assert_int_equal(s.p99_us, 10);
	assert_int_equal(s.max_us, 50000);
	latency_record(&latency, 60000);
	latency_record(&latency, 70000);
	latency_summary(&latency, &s);
	expect_quantile(s.p99_us, 60000); // the 101st of 102
}

static void huge_values_stay_inside(void **state)
{
	static struct latency latency;
	struct latency_summary s;
	latency_record(&latency, UINT64_MAX);
	latency_record(&latency, (uint64_t)1 << 32);
	latency_record(&latency, UINT32_MAX);
	latency_summary(&latency, &s);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.max_us, UINT64_MAX);
	assert_int_equal(s.p50_us, UINT32_MAX);
}

static struct latency shared;

static void *record_many(void *arg)
{
	for (unsigned i = 0; i < 100000; i++)
		latency_record(&shared, i % 1000);
	return NULL;
}

static void threads_lose_nothing(void **state)
{
	pthread_t threads[2];
	struct latency_summary s;
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, record_many, NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	latency_summary(&shared, &s);
	assert_int_equal(s.count, 200000);
	assert_int_equal(s.max_us, 999);
	expect_quantile(s.p50_us, 499);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_is_all_zero),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(quantiles_are_close_and_never_too_good),
		cmocka_unit_test(one_slow_in_a_hundred_is_the_maximum),
		cmocka_unit_test(huge_values_stay_inside),
		cmocka_unit_test(threads_lose_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
