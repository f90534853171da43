// SPDX-License-Identifier: ISC
//
// path.c - bursts of the worker's path, timed beside their bare parts.
//
// Runs on: worker.

#include "bench/path.h"

#include <stdlib.h>

#define BELLS_NS 500000u // as worker.c

static unsigned bare_at;

// One burst from the pool to the pool; returns how many packets it held.
static unsigned burst(uint64_t *ret_cycles)
{
	ENTERS(worker_role);
	struct worker *worker = world_worker();
	struct rte_mbuf *mbufs[BURST_MAX];
	unsigned port;
	uint64_t began = bench_now();
	enum stage back_to = stages_on ? stage_enter(STAGE_MBUF) : STAGE_OUTSIDE;
	if (rte_pktmbuf_alloc_bulk(plane.pool, mbufs, BURST_MAX) != 0)
		abort();
	if (stages_on)
		stage_leave(back_to);
	uint64_t cycles = bench_now() - began;
	unsigned fed = world_feed(mbufs, BURST_MAX, &port);
	for (unsigned i = fed; i < BURST_MAX; i++)
		rte_pktmbuf_free(mbufs[i]);

	began = bench_now();
	worker->now_ns = clock_mono_ns();
	back_to = stages_on ? stage_enter(STAGE_RX) : STAGE_OUTSIDE;
	unsigned count = rte_eth_rx_burst(plane.ports[0].id, 0, mbufs, BURST_MAX);
	if (stages_on) {
		stage_leave(back_to);
		back_to = stage_enter(STAGE_HEADERS);
	}
	ingress_wire(worker, port, mbufs, count);
	if (worker->bells.count > 0 && worker->now_ns - worker->bells.rung_ns >= BELLS_NS)
		pcm_bells_ring(&worker->bells, worker->now_ns);
	if (stages_on)
		stage_leave(back_to);
	rcu_quiescent(0);
	*ret_cycles = cycles + bench_now() - began - 2 * bench_stamp_cost();
	world_listener_turn();
	return count;
}

// ---- latency under load

// The clock is this thread's CPU time, moved on where the worker has nothing to do: whoever else runs on this core, and the
// bench's own making of packets, are not counted.
static struct {
	uint64_t *due_ns; // of each frame of the block
	uint64_t skipped_ns, hidden_ns;
	unsigned written, count; // of cells; of due_ns
	struct bench_series *series;
} latency;

static uint64_t cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t latency_now(void)
{
	return cpu_ns() + latency.skipped_ns - latency.hidden_ns;
}

static void cell_written(void)
{
	unsigned frame = MIN_OF(latency.written, latency.count - 1); // a cell too many is seen by their number
	latency.written++;
	bench_add(latency.series, latency_now() - latency.due_ns[frame]);
}

static int earlier(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

unsigned path_latency(struct bench_series *ret_ns)
{
	ENTERS(worker_role);
	enum { ROUNDS = 50, WARM_UP = 5, PERIOD_NS = 20000000 };
	struct worker *worker = world_worker();
	struct bench_series ignored = {0};
	unsigned users = world.config.sessions;
	uint64_t *moments = calloc(users, sizeof(uint64_t));
	latency.due_ns = calloc((size_t)users * ROUNDS, sizeof(uint64_t));
	if (moments == NULL || latency.due_ns == NULL)
		abort();
	srand(7);
	for (unsigned u = 0; u < users; u++)
		moments[u] = (uint64_t)rand() % PERIOD_NS;
	qsort(moments, users, sizeof(uint64_t), earlier);
	stages_no_opus = false;
	path_bursts(WARM_UP, &ignored); // who has just joined costs more
	bench_free(&ignored);
	world_settle();
	world_prepare(ROUNDS);
	latency.skipped_ns = latency.hidden_ns = 0;
	uint64_t began = latency_now() + PERIOD_NS;
	for (unsigned i = 0; i < users * ROUNDS; i++)
		latency.due_ns[i] = began + (uint64_t)(i / users) * PERIOD_NS + moments[i % users];
	latency.written = 0;
	latency.count = world.frames_count;
	latency.series = ret_ns;
	stages_on_cell = cell_written;
	while (world.next < world.frames_count) {
		struct rte_mbuf *mbufs[BURST_MAX];
		unsigned due = 0, port;
		uint64_t now = latency_now(), next = latency.due_ns[world.next];
		if (next > now) {
			latency.skipped_ns += next - now;
			continue;
		}
		worker->now_ns = clock_mono_ns();
		while (due < BURST_MAX && world.next + due < world.frames_count && latency.due_ns[world.next + due] <= now)
			due++;
		uint64_t began_ns = cpu_ns();
		if (rte_pktmbuf_alloc_bulk(plane.pool, mbufs, due) != 0)
			abort();
		unsigned fed = world_feed(mbufs, due, &port);
		latency.hidden_ns += cpu_ns() - began_ns;
		for (unsigned i = fed; i < due; i++)
			rte_pktmbuf_free(mbufs[i]);
		unsigned count = rte_eth_rx_burst(plane.ports[0].id, 0, mbufs, BURST_MAX);
		ingress_wire(worker, port, mbufs, count);
		rcu_quiescent(0);
	}
	stages_on_cell = NULL;
	free(moments);
	free(latency.due_ns);
	return latency.count;
}

uint64_t path_bursts(unsigned rounds, struct bench_series *ret_cycles)
{
	uint64_t packets = 0;
	world_prepare(rounds);
	while (world.next < world.frames_count) {
		uint64_t cycles;
		unsigned count = burst(&cycles);
		if (count > 0)
			bench_add(ret_cycles, cycles * 100 / count);
		packets += count;
	}
	return packets;
}

static double per_packet(struct bench_series *series)
{
	// Hundredths of a cycle a packet.
	double value = bench_percentile(series, 50) / 100;
	bench_free(series);
	return value;
}

void path_run(unsigned blocks, unsigned rounds, bool opus, bool staged, struct path_result *ret_result)
{
	ENTERS(worker_role);
	struct worker *worker = world_worker();
	struct bench_series total = {0}, bare[BARE_COUNT] = {{0}}, stages[STAGE_COUNT] = {{0}};
	*ret_result = (struct path_result){0};
	stages_no_opus = !opus;
	for (unsigned block = 0; block < blocks + 1; block++) {
		world_prepare(rounds);
		bool warm_up = block == 0;
		uint64_t cells = stats_get(&worker->stats.frames);
		stages_on = staged && !warm_up;
		unsigned bursts = 0;
		while (world.next < world.frames_count) {
			uint64_t cycles;
			if (stages_on)
				stages_reset();
			unsigned count = burst(&cycles);
			bursts++;
			if (warm_up || count == 0)
				continue;
			ret_result->packets += count;
			bench_add(&total, cycles * 100 / count);
			for (unsigned stage = 0; stages_on && stage < STAGE_COUNT; stage++)
				bench_add(&stages[stage], (uint64_t)(stage_cycles(stage) * 100 / count));
		}
		stages_on = false;
		if (warm_up)
			world_settle();
		else
			ret_result->delivered += stats_get(&worker->stats.frames) - cells;
		// Part after part within a burst: they share the caches as they do in the path.
		for (unsigned b = 0; b < bursts && !staged; b++) {
			for (unsigned part = 0; part < BARE_COUNT; part++) {
				if ((part == BARE_OPUS && !opus) || part >= BARE_RTE_HASH)
					continue;
				uint64_t cycles = bare_burst(part, bare_at + b);
				if (!warm_up)
					bench_add(&bare[part], (cycles - MIN_OF(bench_stamp_cost(), cycles)) * 100 / BURST_MAX);
			}
		}
		for (unsigned b = 0; b < bursts && !staged && !warm_up; b++)
			for (unsigned part = BARE_RTE_HASH; part < BARE_COUNT; part++)
				bench_add(&bare[part], bare_burst(part, bare_at + b) * 100 / BURST_MAX);
		bare_at += bursts;
	}
	ret_result->total = per_packet(&total);
	for (unsigned part = 0; part < BARE_COUNT; part++) {
		ret_result->bare[part] = bare[part].count > 0 ? per_packet(&bare[part]) : 0;
		if (bare_counts(part))
			ret_result->bare_sum += ret_result->bare[part];
	}
	for (unsigned stage = 0; stage < STAGE_COUNT; stage++)
		ret_result->stages[stage] = stages[stage].count > 0 ? per_packet(&stages[stage]) : 0;
}
