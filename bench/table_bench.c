// SPDX-License-Identifier: ISC
//
// table_bench.c - what a packet costs as sessions grow from 10 to 100,000, beside a bare walk over as many cache lines.
//
// Runs on: worker.

#include <math.h>

#include "bench/path.h"

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "table", "cost of a packet by number of sessions, without Opus");
	world_start(bench_core());
	static const unsigned counts[] = {10, 100, 1000, 10000, 100000};
	unsigned table = bench_table("Cycles a packet (median of bursts of 32)",
		"sessions|path|bare sum|ratio|bare walk|lookup|rte_hash bulk");
	unsigned plot = bench_plot("Cost of a packet as sessions grow", "sessions", "cycles a packet", true);
	double path[ARRAY_SIZE(counts)] = {0}, sums[ARRAY_SIZE(counts)] = {0}, walks[ARRAY_SIZE(counts)] = {0};
	// The last one takes 9 GB: only in the full form.
	unsigned sizes = bench_short() ? ARRAY_SIZE(counts) - 1 : ARRAY_SIZE(counts);
	for (unsigned n = 0; n < sizes; n++) {
		// Rings of three cells: the path's share of memory, not ten seconds of it.
		struct world_config config = {.sessions = counts[n], .ring_ms = 60, .profile = SRTP_AEAD_AES_256_GCM, .red = true};
		struct path_result result;
		unsigned rounds = MAX_OF((bench_short() ? 4000u : 40000u) / counts[n], 1u);
		world_open(&config);
		bare_open(counts[n], config.profile, config.ring_ms, 12 + 5 + 2 * SPEECH_BYTES + 16);
		path_run(4, rounds, false, false, &result);
		bare_close();
		world_close();
		path[n] = result.total;
		sums[n] = result.bare_sum;
		walks[n] = result.bare[BARE_WALK];
		char label[32];
		snprintf(label, sizeof(label), "%u", counts[n]);
		double values[] = {result.total, result.bare_sum, result.total / result.bare_sum, result.bare[BARE_WALK],
			result.bare[BARE_LOOKUP], counts[n] <= 20000 ? result.bare[BARE_RTE_HASH] : NAN};
		bench_row(table, label, values, 6);
		bench_point(plot, "path", counts[n], result.total);
		bench_point(plot, "sum of bare parts", counts[n], result.bare_sum);
		bench_point(plot, "bare walk over the same memory", counts[n], result.bare[BARE_WALK]);
	}
	// What the same number of cache lines costs more, the path may cost more.
	double growth = path[3] - path[1], bare_growth = sums[3] - sums[1], walk_growth = walks[3] - walks[1];
	unsigned growths = bench_table("From 100 to 10,000 sessions, cycles a packet more", "what|cycles");
	bench_row(growths, "path", &growth, 1);
	bench_row(growths, "sum of bare parts", &bare_growth, 1);
	bench_row(growths, "bare walk over the same memory", &walk_growth, 1);
	bench_note("The walk reads every cache line of a session that the path touches, in the same order, and does nothing with it.");
	bench_target("growth 100 to 10,000 against the bare walk's", growth / walk_growth, true, 1.2);
	bench_check("growth 100 to 10,000 against the bare walk's, limit", growth / walk_growth, true, 3);
	int status = bench_end();
	world_stop();
	return status;
}
