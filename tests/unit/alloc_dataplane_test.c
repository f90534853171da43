// SPDX-License-Identifier: ISC
//
// alloc_dataplane_test.c - a transport and a source from their making to their end, with each of our allocations failing in whatever
// thread it is made: what fails says so, what was given up goes, nothing stays behind. Timers need no memory.
//
// Runs on: control (the test), worker, handshake and assoc threads as in relayd.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <unistd.h>

#include "tests/support/alloc_failure.h"

#include "dataplane/transport.h"

#define SETTLE_NS 10000000000ull
#define CROWD 200

static void expect(const char *what, int rc, const struct err *err)
{
	if (rc < 0 && (alloc_failed == 0 || (err != NULL && strlen(err->text) < 5)))
		fail_msg("%s: %d \"%s\", failing %lu, every %lu", what, rc, err != NULL ? err->text : "", alloc_fail_at, alloc_fail_every);
}

// What control does in its loop.
static void read_events(void)
{
	ENTERS(control_role);
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		;
}

static void one_transport(struct source *source, uint32_t generation)
{
	ENTERS(control_role);
	struct err err = {""};
	struct transport_config config = {.generation = generation, .source = source, .data = true, .connect_limit_ms = 3600000};
	struct transport_remote remote = {.ufrag = "peer", .pwd = "PeerPasswordOfThirtyTwoCharacter", .fingerprint = "AB:CD"};
	struct transport_local local;
	transport_id id;
	snprintf(config.data_identity, sizeof(config.data_identity), "phone");
	int rc = transport_open(&config, &id, &local, &err);
	expect("open", rc, &err);
	if (rc < 0)
		return;
	struct hearing hearing = {.mode = HEARING_ONE, .main = {id, generation, generation}};
	expect("hear", dataplane_source_hear(source, &hearing), NULL);
	expect("remote", transport_set_remote(id, &remote, &err), &err);
	expect("candidate", transport_add_candidate(id, (struct endpoint){0x0a000002, 7882}, 1), NULL);
	expect("map", transport_map(id, 1234, 111, 63), NULL);
	expect("target", transport_set_target(id, "another", generation + 1), NULL);
	expect("send", transport_send_data(id, true, (const uint8_t *)"word", 4), NULL);
	transport_probe(id); // there is nothing to probe yet
	expect("restart", transport_restart(id, &local, &err), &err);
	expect("unmap", transport_unmap(id, 1234), NULL);
	transport_close(id);
}

static void story(void)
{
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_AUTO};
	struct pcm *pcm = pcm_create(1000);
	struct source *source = pcm != NULL ? dataplane_source_create(pcm, &config) : NULL;
	expect("source", source == NULL ? -ENOMEM : 0, NULL);
	if (source != NULL) {
		one_transport(source, 1);
		one_transport(source, 2); // a leg that replaces the first
		dataplane_source_set_muted(source, true);
		dataplane_source_set_wanted(source, true);
	}
	dataplane_source_destroy(source);
	uint64_t limit = clock_mono_ns() + SETTLE_NS;
	while ((plane.transports > 0 || plane.sources > 0) && clock_mono_ns() < limit) {
		read_events();
		usleep(500);
	}
	if (plane.transports > 0 || plane.sources > 0)
		fail_msg("%u transports and %u sources are left, failing %lu, every %lu, last at program + 0x%lx", plane.transports,
			plane.sources, alloc_fail_at, alloc_fail_every, (unsigned long)((const char *)alloc_failed_from - &__executable_start));
	pcm_unref(pcm);
}

static unsigned long run(unsigned long at, unsigned long every, unsigned long usual)
{
	alloc_count = alloc_failed = 0;
	alloc_fail_at = at;
	alloc_fail_every = every;
	story();
	alloc_calm();
	uint64_t limit = clock_mono_ns() + SETTLE_NS;
	while (alloc_live_count > usual && clock_mono_ns() < limit) { // what waits for a grace period
		read_events();
		usleep(500);
	}
	if (alloc_live_count > usual)
		fail_msg("%lu allocations are left, %lu are usual, failing %lu, every %lu", alloc_live_count, usual, at, every);
	return alloc_failed;
}

static void transports_without_memory(void **state)
{
	(void)state;
	run(0, 0, ULONG_MAX);
	uint64_t settled = clock_mono_ns() + SETTLE_NS / 10;
	while (clock_mono_ns() < settled) {
		read_events();
		usleep(500);
	}
	unsigned long usual = alloc_live_count, at = 1;
	run(0, 0, usual);
	unsigned long total = alloc_count;
	while (run(at, 0, usual) > 0)
		at++;
	for (unsigned every = 1; every <= ALLOC_EVERY_MAX; every++)
		run(0, every, usual);
	assert_true(at > 10);
	print_message("a source and two transports: %lu allocations, %lu runs with failures\n", total, at - 1 + ALLOC_EVERY_MAX);
}

static transport_id one_of_a_crowd(struct source *source)
{
	ENTERS(control_role);
	struct err err = {""};
	struct transport_config config = {.generation = 1, .source = source, .connect_limit_ms = 300};
	struct transport_remote remote = {.ufrag = "peer", .pwd = "PeerPasswordOfThirtyTwoCharacter", .fingerprint = "AB:CD"};
	struct transport_local local;
	transport_id id = 0;
	if (transport_open(&config, &id, &local, &err) < 0 || transport_set_remote(id, &remote, &err) < 0)
		fail_msg("%s", err.text);
	return id;
}

// Nobody answers them, and the handshake thread gets no memory at all: each ends at its limit all the same.
static void timers_need_no_memory(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_AUTO};
	struct pcm *pcm = pcm_create(1000);
	struct source *source = dataplane_source_create(pcm, &config);
	transport_id crowd[CROWD];
	assert_non_null(source);
	alloc_armed = true; // not this thread's
	alloc_fail_at = 0;
	alloc_fail_every = 1;
	for (unsigned i = 0; i < CROWD; i++)
		crowd[i] = one_of_a_crowd(source);
	uint64_t limit = clock_mono_ns() + SETTLE_NS;
	unsigned failed = 0;
	for (; failed < CROWD && clock_mono_ns() < limit; usleep(1000)) {
		struct transport_info info;
		while (failed < CROWD && transport_info(crowd[failed], &info) == 0 && info.state == TRANSPORT_FAILED)
			failed++;
		read_events();
	}
	alloc_calm();
	alloc_armed = false;
	for (unsigned i = 0; i < CROWD; i++)
		transport_close(crowd[i]);
	dataplane_source_destroy(source);
	for (limit = clock_mono_ns() + SETTLE_NS; plane.transports > 0 && clock_mono_ns() < limit; usleep(500))
		read_events();
	pcm_unref(pcm);
	assert_int_equal(failed, CROWD);
	assert_int_equal(plane.transports, 0);
}

// DPDK loads its drivers: what the loader keeps of them is not lost.
ALLOC_EXPORT const char *__lsan_default_suppressions(void);
ALLOC_EXPORT const char *__lsan_default_suppressions(void)
{
	return "leak:_dl_map_object_deps\nleak:add_name_to_object\n";
}

static int start(void **state)
{
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .memory_mb = 64};
	cpu_set_t allowed;
	sched_getaffinity(0, sizeof(allowed), &allowed);
	while (!CPU_ISSET(config.cores[0], &allowed))
		config.cores[0]++;
	config.ports[0] = (struct dataplane_port_config){.name = "test", .address = 0x0a000001, .prefix_bits = 24, .queues = 1,
		.udp_port_min = 20000, .udp_port_max = 29999};
	snprintf(config.ports[0].device, sizeof(config.ports[0].device), "null");
	if (dataplane_start(&config, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	alloc_everywhere = true;
	return 0;
}

static int stop(void **state)
{
	alloc_calm();
	dataplane_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(transports_without_memory), cmocka_unit_test(timers_need_no_memory)};
	return cmocka_run_group_tests(tests, start, stop);
}
