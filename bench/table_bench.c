// SPDX-License-Identifier: ISC
//
// table_bench.c - what a packet costs as sessions grow from 10 to 100,000, beside a bare walk over as many cache lines.
//
// Runs on: worker.

#include <math.h>
#include <stdlib.h>

#include "bench/path.h"

#define RUNS 5
#define FROM 100u
#define TO 10000u
#define GROWTH_TARGET 1.2
#define GROWTH_LIMIT 1.6 // where it fails

static const unsigned counts[] = {10, FROM, 1000, TO, 100000};

static struct path_result measure(unsigned count)
{
	// Rings of three cells: the path's share of memory, not ten seconds of it.
	struct world_config config = {.sessions = count, .ring_ms = 60, .profile = SRTP_AEAD_AES_256_GCM, .red = true};
	struct path_result result;
	unsigned rounds = MAX_OF((bench_short() ? 4000u : 40000u) / count, 1u);
	world_open(&config);
	bare_open(count, config.profile, config.ring_ms, 12 + 5 + 2 * SPEECH_BYTES + 16);
	path_run(4, rounds, false, false, &result);
	bare_close();
	world_close();
	return result;
}

static void report(unsigned table, unsigned plot, unsigned count, const struct path_result *result)
{
	char label[32];
	snprintf(label, sizeof(label), "%u", count);
	double values[] = {result->total, result->bare_sum, result->total / result->bare_sum, result->bare[BARE_WALK],
		result->bare[BARE_LOOKUP], count <= 20000 ? result->bare[BARE_RTE_HASH] : NAN};
	bench_row(table, label, values, 6);
	bench_point(plot, "path", count, result->total);
	bench_point(plot, "sum of bare parts", count, result->bare_sum);
	bench_point(plot, "bare walk over the same memory", count, result->bare[BARE_WALK]);
}

struct growth {
	double path, sum, walk, ratio;
};

static struct growth growth_of(const struct path_result *from, const struct path_result *to)
{
	double path = to->total - from->total, walk = to->bare[BARE_WALK] - from->bare[BARE_WALK];
	return (struct growth){path, to->bare_sum - from->bare_sum, walk, path / walk};
}

static int by_ratio(const void *a, const void *b)
{
	double left = ((const struct growth *)a)->ratio, right = ((const struct growth *)b)->ratio;
	return left < right ? -1 : left > right;
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "table", "cost of a packet by number of sessions, without Opus");
	world_start(bench_core());
	unsigned table = bench_table("Cycles a packet (median of bursts of 32)",
		"sessions|path|bare sum|ratio|bare walk|cds_lfht lookup|rte_hash bulk");
	unsigned plot = bench_plot("Cost of a packet as sessions grow", "sessions", "cycles a packet", true);
	// The last one takes 9 GB: only in the full form.
	unsigned sizes = bench_short() ? ARRAY_SIZE(counts) - 1 : ARRAY_SIZE(counts);
	struct path_result from = {0}, to = {0};
	struct growth runs[RUNS];
	for (unsigned n = 0; n < sizes; n++) {
		struct path_result result = measure(counts[n]);
		report(table, plot, counts[n], &result);
		if (counts[n] == FROM)
			from = result;
		if (counts[n] == TO)
			to = result;
	}
	runs[0] = growth_of(&from, &to);
	for (unsigned run = 1; run < RUNS; run++) {
		from = measure(FROM);
		to = measure(TO);
		runs[run] = growth_of(&from, &to);
	}
	// What the same number of cache lines costs more, the path may cost more. The middle of the runs: others use these cores.
	qsort(runs, RUNS, sizeof(runs[0]), by_ratio);
	const struct growth *middle = &runs[RUNS / 2];
	unsigned growths = bench_table("From 100 to 10,000 sessions, cycles a packet more; the run in the middle of five", "what|cycles");
	bench_row(growths, "path", &middle->path, 1);
	bench_row(growths, "sum of bare parts", &middle->sum, 1);
	bench_row(growths, "bare walk over the same memory", &middle->walk, 1);
	bench_note("The walk reads every cache line of a session that the path touches and the table's entry, in the same order, and does "
		   "nothing with them. Growth against it in five runs: %.2f to %.2f.", runs[0].ratio, runs[RUNS - 1].ratio);
	if (bench_short())
		bench_note("Left out: the row of 100,000 sessions, which takes 9 GB; `table_bench --full` has it.");
	bench_note("Rings are short, 60 ms and three cells, so that 100,000 sessions fit: in one of ten seconds the cell that is written "
		   "would be cold at any number of them.");
	bench_target("growth 100 to 10,000 against the bare walk's", middle->ratio, true, GROWTH_TARGET);
	bench_check("growth 100 to 10,000 against the bare walk's, limit", middle->ratio, true, GROWTH_LIMIT);
	int status = bench_end();
	world_stop();
	return status;
}
