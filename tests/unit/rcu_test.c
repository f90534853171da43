// SPDX-License-Identifier: ISC
//
// rcu_test.c - the seam under stress: readers hold what they read as long as they like, the writer frees as soon as it may.
//
// Runs on: control (the test), worker (the readers). The grace period is made as short as it can be: after each exchange the writer
// waits for it. Under AddressSanitizer and ThreadSanitizer a reader that saw freed memory would end the test.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#ifndef RELAY_TSAN
#include <urcu-qsbr.h>
#endif

#include "dataplane/rcu.h"
#include "dataplane/roles.h"

#define READERS 2
#define EXCHANGES 400

struct thing {
	struct rcu_retired retired;
	uint64_t number, echo;
};

static _Atomic(struct thing *) current;
static _Atomic(bool) stop;
static _Atomic(uint64_t) reads, broken;
static unsigned freed; // by the writer, or by the library's thread before rcu_finish returns

static struct thing *thing_new(uint64_t number)
{
	struct thing *thing = calloc(1, sizeof(*thing));
	assert_non_null(thing);
	thing->number = thing->echo = number;
	return thing;
}

static void thing_free(struct rcu_retired *retired)
{
	struct thing *thing = CONTAINER_OF(retired, struct thing, retired);
	thing->number = 0; // where no sanitizer looks
	freed++;
	free(thing);
}

static void *reader(void *arg)
{
	ENTERS(worker_role);
	unsigned id = (unsigned)(uintptr_t)arg;
	rcu_reader_register(id);
	for (unsigned turn = 0; !atomic_load_explicit(&stop, memory_order_relaxed); turn++) {
		const struct thing *thing = atomic_load_explicit(&current, memory_order_acquire);
		for (unsigned look = 0; look < turn % 50; look++) { // held over many turns of the other threads
			if (thing->number == 0 || thing->number != thing->echo)
				atomic_fetch_add(&broken, 1);
			if (look % 8 == 0)
				sched_yield();
		}
		atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
		rcu_quiescent(id);
		if (turn % 64 == 0) { // asleep, as a worker without packets: no grace period waits for it
			rcu_offline(id);
			sched_yield();
			rcu_online(id);
		}
	}
	rcu_reader_unregister(id);
	return NULL;
}

static void grace_period(void)
{
#ifdef RELAY_TSAN
	ENTERS(control_role);
	rcu_poll();
#else
	urcu_qsbr_barrier();
#endif
}

static void what_is_read_is_not_freed(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct err err = {""};
	assert_int_equal(rcu_init(READERS, &err), 0);
	pthread_t threads[READERS];
	atomic_store(&current, thing_new(1));
	for (uintptr_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, (void *)i), 0);
	for (uint64_t number = 2; number < 2 + EXCHANGES; number++) {
		uint64_t before = atomic_load(&reads);
		while (atomic_load(&reads) < before + READERS)
			sched_yield();
		struct thing *old = atomic_exchange(&current, thing_new(number));
		rcu_retire(&old->retired, thing_free);
		grace_period();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	rcu_finish();
	print_message("  %d exchanges, %lu reads\n", EXCHANGES, atomic_load(&reads));
	assert_int_equal(freed, EXCHANGES);
	assert_int_equal(atomic_load(&broken), 0);
	free(atomic_load(&current));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_read_is_not_freed)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
