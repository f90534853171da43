// SPDX-License-Identifier: ISC
//
// hearing_test.c - swaps on real threads: one keeps feeding two transports, the worker hears, control swaps as fast as it can and
// closes and opens transports meanwhile. Every number is heard once; the sanitizers look for what nobody should see.
//
// Runs on: control (the test), assoc (the feeder), worker.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <rte_lcore.h>

#include "dataplane/dataplane.h"
#include "dataplane/plane.h"
#include "tests/support/lone_worker.h"

#define ROUNDS 300
#define SAMPLES 16 // of a fed packet: 20 of them make a cell

static struct pcm *pcm;
static struct source *source;
static _Atomic(uint64_t) transports[2]; // 0: that way is closed
static _Atomic(uint64_t) fed, written_ahead;
static _Atomic(bool) stop;

// ---- the feeder: both ways bring the same packets, each at its own moment

static bool put(uint64_t transport, uint64_t number)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	if (mbuf == NULL)
		return false;
	// A DataPacket of the phone: user (2) with payload (2), participant_identity (4).
	enum { PAYLOAD = 1 + 2 * SAMPLES };
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(mbuf, 4 + PAYLOAD + 3);
	memcpy(data, (uint8_t[]){2 << 3 | 2, 2 + PAYLOAD, 2 << 3 | 2, PAYLOAD}, 4);
	memcpy(data + 4 + PAYLOAD, (uint8_t[]){4 << 3 | 2, 1, 'p'}, 3);
	data += 4;
	data[0] = (uint8_t)(number + 1);
	for (int i = 0; i < SAMPLES; i++)
		memcpy(data + 1 + 2 * i, &(int16_t){(int16_t)(number * SAMPLES + (uint64_t)i)}, 2);
	*packet_of(mbuf) = (struct packet){
		.arrival_ns = clock_mono_ns(), .transport = transport, .kind = PACKET_MESSAGE};
	struct worker *worker = &plane.workers[0];
	if (rte_ring_mp_enqueue(worker->inbox, mbuf) != 0) {
		rte_pktmbuf_free(mbuf);
		return false;
	}
	doorbell_ring(&worker->bell);
	return true;
}

static void *feeder(void *unused)
{
	rte_thread_register();
	for (uint64_t number = 0; !atomic_load(&stop); number++) {
		// The ring holds ten seconds and a sequence byte half its turn; who is faster waits.
		while (!atomic_load(&stop) && number > atomic_load(&written_ahead) + 40)
			sched_yield();
		for (unsigned way = 0; way < 2; way++) {
			uint64_t transport = atomic_load(&transports[(way + number) % 2]);
			while (transport != 0 && !put(transport, number) && !atomic_load(&stop))
				sched_yield();
		}
		atomic_store(&fed, number + 1);
	}
	rte_thread_unregister();
	return NULL;
}

// ---- control

static uint64_t cursor, expected;

static void read_on(void)
{
	struct pcm_frame frame;
	uint64_t lapped = 0;
	while (pcm_read(pcm, &cursor, &frame, &lapped) == 1) {
		for (unsigned i = 0; i < frame.bytes / 2u; i++, expected++)
			if (frame.samples[i] != (int16_t)expected)
				fail_msg("sample %d instead of %d at %lu", frame.samples[i], (int16_t)expected, expected);
	}
	assert_int_equal(lapped, 0);
	atomic_store(&written_ahead, expected / SAMPLES);
}

static void events_take(void)
{
	ENTERS(control_role);
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		;
}

static transport_id open_one(uint32_t generation)
{
	ENTERS(control_role);
	struct transport_config config = {.generation = generation, .source = source, .data = true, .data_identity = "p"};
	struct transport_local local;
	struct err err = {""};
	transport_id id = 0;
	if (transport_open(&config, &id, &local, &err) < 0)
		fail_msg("%s", err.text);
	return id;
}

static void hear(enum hearing_mode mode, transport_id main, uint32_t generation, transport_id other)
{
	ENTERS(control_role);
	struct hearing hearing = {.mode = mode, .main = {main, generation, 0}, .other = {other, generation - 1, 0}};
	assert_int_equal(dataplane_source_hear(source, &hearing), 0);
}

static void every_number_once_over_many_swaps(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_DATA, .data_wait_ms = 1000, .remainder_ms = 1000};
	pthread_t thread;
	pcm = pcm_create(10000);
	source = dataplane_source_create(pcm, &config);
	assert_non_null(source);
	transport_id old = open_one(1);
	hear(HEARING_ONE, old, 1, 0);
	atomic_store(&transports[0], old);
	assert_int_equal(pthread_create(&thread, NULL, feeder, NULL), 0);
	uint64_t limit = clock_mono_ns() + 200000000000u;
	unsigned rounds = 0, resumes = 0;
	for (uint32_t generation = 2; rounds < ROUNDS && clock_mono_ns() < limit; rounds++) {
		// As slots do it: another leg is measured, heard beside the old one until both brought the same, heard alone.
		unsigned way = atomic_load(&transports[0]) == old;
		transport_id fresh = open_one(generation);
		hear(HEARING_ALIGN, old, generation - 1, fresh);
		atomic_store(&transports[way], fresh);
		uint64_t from = atomic_load(&fed);
		while (atomic_load(&fed) < from + 3 && clock_mono_ns() < limit)
			read_on();
		hear(HEARING_BOTH, fresh, generation, old);
		for (bool heard = false, aligned = false; !aligned && clock_mono_ns() < limit;) {
			read_on();
			events_take();
			dataplane_source_progress(source, &heard, &aligned);
		}
		hear(HEARING_ONE, fresh, generation, 0);
		atomic_store(&transports[1 - way], 0);
		transport_close(old);
		old = fresh;
		// And resumes: another label for the same transport. The worker reads each, and nothing it does is waited for: only the
		// grace period stands between its reading and the release of the one before, which ThreadSanitizer can tell.
		for (unsigned i = 0; i < 5; i++, resumes++) {
			uint64_t before = atomic_load_explicit(&fed, memory_order_relaxed);
			while (atomic_load_explicit(&fed, memory_order_relaxed) < before + 3 && clock_mono_ns() < limit &&
				before < atomic_load_explicit(&written_ahead, memory_order_relaxed) + 30)
				sched_yield();
			hear(HEARING_ONE, fresh, ++generation, 0);
		}
		generation++;
		events_take();
	}
	while (expected < 1000 * SAMPLES && clock_mono_ns() < limit)
		read_on();
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	struct source_stats stats;
	dataplane_source_stats(source, &stats);
	print_message("  %u swaps, %u resumes, %lu packets heard, %lu copies\n", rounds, resumes, expected / SAMPLES, stats.copies);
	assert_int_equal(rounds, ROUNDS);
	assert_int_equal(stats.data_lost + stats.data_late + stats.data_resets, 0);
	transport_close(old);
	dataplane_source_destroy(source);
	pcm_unref(pcm);
	// Everything is given back: transports, source, buffers.
	struct dataplane_info info;
	do {
		events_take();
		dataplane_info(&info);
	} while ((info.transports > 0 || info.sources > 0 || info.mbufs_free < info.mbufs_total) && clock_mono_ns() < limit);
	assert_int_equal(info.transports + info.sources, 0);
	assert_int_equal(info.mbufs_free, info.mbufs_total);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_number_once_over_many_swaps)};
	return cmocka_run_group_tests(tests, lone_worker_start, lone_worker_stop);
}
