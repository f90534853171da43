// SPDX-License-Identifier: ISC
//
// home_test.c - what control does in the middle of a worker's turn: sources that go, get a timer, or shall hear somebody else
// while the timers are walked.
//
// Runs on: control (the test), worker. The linker puts a hook where the worker asks a source for its deadline: there the test plays
// control, at the very moment that would otherwise have to be hit by chance. Deadlines are the test's own.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>

#include "dataplane/dataplane.h"
#include "dataplane/home.h"
#include "dataplane/plane.h"
#include "tests/support/lone_worker.h"

#define FAR_NS 3600000000000u

enum step { NOTHING, FORGET_IT, LIST_OTHER, FENCE_AND_GO_ON };

static struct pcm *pcm;
static struct source *one, *other;
static _Atomic(enum step) step; // what happens at the worker's next look at one
static _Atomic(uint64_t) deadline_one, deadline_other;
static _Atomic(unsigned) looks_one, looks_other; // how often the worker asked
static _Atomic(unsigned) hearings, fences;       // that the worker has followed

static void hear(struct source *source, bool fence)
{
	ENTERS(control_role);
	struct hearing hearing = {.mode = HEARING_ONE, .fence = fence};
	assert_int_equal(dataplane_source_hear(source, &hearing), 0);
}

static void hear_nobody(struct source *source)
{
	hear(source, false);
}

static void mute(struct source *source)
{
	ENTERS(control_role);
	dataplane_source_set_muted(source, true);
}

static void destroy(struct source *source)
{
	ENTERS(control_role);
	dataplane_source_destroy(source);
}

uint64_t __wrap_source_deadline_ns(const struct source *source);
uint64_t __wrap_source_deadline_ns(const struct source *source)
{
	if (source != one) {
		atomic_fetch_add(&looks_other, 1);
		return atomic_load(&deadline_other);
	}
	atomic_fetch_add(&looks_one, 1);
	switch (atomic_exchange(&step, NOTHING)) {
	case FORGET_IT: // a swap and the end of the session: the worker reads both once it looks for what it hears
		hear_nobody(one);
		destroy(one);
		break;
	case LIST_OTHER:
		hear_nobody(one);
		atomic_store(&deadline_other, clock_mono_ns() + FAR_NS);
		mute(other); // the worker looks at its timer then
		atomic_store(&deadline_one, 0);
		return 1; // due for the last time
	case FENCE_AND_GO_ON: // the worker finds only the newer of the two
		hear(one, true);
		hear(one, false);
		break;
	case NOTHING:
		break;
	}
	return atomic_load(&deadline_one);
}

void __real_source_hear(struct source *source, const struct hearing *hearing, uint64_t now_ns);
void __wrap_source_hear(struct source *source, const struct hearing *hearing, uint64_t now_ns);
void __wrap_source_hear(struct source *source, const struct hearing *hearing, uint64_t now_ns)
{
	__real_source_hear(source, hearing, now_ns);
	atomic_fetch_add(&fences, hearing->fence);
	atomic_fetch_add(&hearings, 1);
}

static struct source *create(void)
{
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_DATA, .data_wait_ms = 60, .remainder_ms = 1000};
	struct source *source = dataplane_source_create(pcm, &config);
	assert_non_null(source);
	return source;
}

static void events_take(void)
{
	ENTERS(control_role);
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		;
}

static bool wait_more(uint64_t limit_ns)
{
	events_take();
	sched_yield();
	return clock_mono_ns() < limit_ns;
}

static unsigned sources_left(void)
{
	ENTERS(control_role);
	struct dataplane_info info;
	dataplane_info(&info);
	return info.sources;
}

static void wait_for_looks(_Atomic(unsigned) *looks, unsigned more)
{
	unsigned from = atomic_load(looks);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; atomic_load(looks) < from + more;)
		if (!wait_more(limit))
			fail_msg("the worker does not look at its timer any more");
}

static void a_source_that_goes_while_its_timer_runs_is_not_looked_at_again(void **state)
{
	(void)state;
	pcm = pcm_create(1000);
	one = create();
	other = create(); // now: later it might be given the place of one, and be taken for it
	atomic_store(&deadline_one, 1); // due at every turn, and still open when it has had its turn
	mute(one);
	wait_for_looks(&looks_one, 3);
	atomic_store(&step, FORGET_IT);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; sources_left() > 1;)
		if (!wait_more(limit))
			fail_msg("the source is not given back");
	// Nobody has it: the worker has gone through turns since, and what it asks for would count.
	unsigned looks = atomic_load(&looks_one);
	atomic_store(&deadline_other, 1);
	mute(other);
	wait_for_looks(&looks_other, 100);
	assert_int_equal(atomic_load(&looks_one), looks);
	destroy(other);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; sources_left() > 0;)
		if (!wait_more(limit))
			fail_msg("the source is not given back");
	pcm_unref(pcm);
}

static void a_timer_that_begins_while_the_timers_run_is_kept(void **state)
{
	(void)state;
	pcm = pcm_create(1000);
	atomic_store(&deadline_one, 0);
	atomic_store(&deadline_other, 0);
	one = create();
	other = create();
	atomic_store(&deadline_one, 1);
	mute(one); // the only one in the list, and so its head
	wait_for_looks(&looks_one, 3);
	atomic_store(&step, LIST_OTHER);
	while (atomic_load(&step) != NOTHING)
		sched_yield();
	wait_for_looks(&looks_other, 20);
	atomic_store(&deadline_other, 0);
	destroy(one);
	destroy(other);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; sources_left() > 0;)
		if (!wait_more(limit))
			fail_msg("the sources are not given back");
	one = NULL; // its place may be given to another
	pcm_unref(pcm);
}

static void a_source_stays_until_its_last_transport_is_closed(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct transport_local local;
	struct err err = {""};
	transport_id id = 0;
	pcm = pcm_create(1000);
	other = create();
	struct transport_config config = {.generation = 1, .source = other, .data = true, .data_identity = "p"};
	assert_int_equal(transport_open(&config, &id, &local, &err), 0);
	struct hearing hearing = {.mode = HEARING_ONE, .main = {id, 1, 0}};
	assert_int_equal(dataplane_source_hear(other, &hearing), 0);
	destroy(other); // as a session ends: its leg says goodbye first, and its packets still come
	atomic_store(&deadline_other, 1);
	mute(other); // stands for such a packet: the worker looks at the source's timer
	wait_for_looks(&looks_other, 100);
	assert_int_equal(sources_left(), 1);
	atomic_store(&deadline_other, 0);
	transport_close(id);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; sources_left() > 0;)
		if (!wait_more(limit))
			fail_msg("the source is not given back");
	pcm_unref(pcm);
}

// A leg that has not heard yet that its session is gone: the source would go once for each last transport.
static void a_source_that_was_given_up_takes_no_other_transport(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct transport_local local;
	struct err err = {""};
	transport_id id = 0, late = 0;
	pcm = pcm_create(1000);
	atomic_store(&deadline_other, 0);
	other = create();
	struct transport_config config = {.generation = 1, .source = other, .data = true, .data_identity = "p"};
	assert_int_equal(transport_open(&config, &id, &local, &err), 0);
	destroy(other);
	assert_int_equal(transport_open(&config, &late, &local, &err), -ENOENT);
	assert_string_equal(err.text, "the session is gone");
	assert_int_equal(sources_left(), 1);
	transport_close(id);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; sources_left() > 0;)
		if (!wait_more(limit))
			fail_msg("the source is not given back");
	pcm_unref(pcm);
}

static void wait_for_hearings(unsigned count)
{
	for (uint64_t limit = clock_mono_ns() + 20000000000u; atomic_load(&hearings) < count;)
		if (!wait_more(limit))
			fail_msg("the worker does not follow");
}

static void a_fence_holds_though_the_worker_never_saw_its_hearing(void **state)
{
	(void)state;
	pcm = pcm_create(1000);
	one = create();
	atomic_store(&hearings, 0);
	atomic_store(&fences, 0);
	atomic_store(&deadline_one, 1);
	mute(one);
	wait_for_looks(&looks_one, 3);
	atomic_store(&step, FENCE_AND_GO_ON);
	wait_for_hearings(1);
	assert_int_equal(atomic_load(&fences), 1);
	hear(one, false);
	wait_for_hearings(2); // the two before were followed as one
	assert_int_equal(atomic_load(&fences), 1);
	hear(one, true);
	wait_for_hearings(3);
	assert_int_equal(atomic_load(&fences), 2);
	atomic_store(&deadline_one, 0);
	destroy(one);
	for (uint64_t limit = clock_mono_ns() + 20000000000u; sources_left() > 0;)
		if (!wait_more(limit))
			fail_msg("the source is not given back");
	one = NULL;
	pcm_unref(pcm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_that_goes_while_its_timer_runs_is_not_looked_at_again),
		cmocka_unit_test(a_timer_that_begins_while_the_timers_run_is_kept),
		cmocka_unit_test(a_source_stays_until_its_last_transport_is_closed),
		cmocka_unit_test(a_source_that_was_given_up_takes_no_other_transport),
		cmocka_unit_test(a_fence_holds_though_the_worker_never_saw_its_hearing),
	};
	return cmocka_run_group_tests(tests, lone_worker_start, lone_worker_stop);
}
