// SPDX-License-Identifier: ISC
//
// path_bench.c - a whole ingress burst on one core, mbuf to PCM cell: cycles per packet and stage, beside the bare parts.
//
// Runs on: worker.

#include <math.h>
#include <stdlib.h>

#include "bench/path.h"

#define RUNS 5
#define RATIO_TARGET 1.5 // everything but Opus against the sum of its bare parts
#define RATIO_LIMIT 1.6 // where the short form fails: a regression, not noise
#define USERS_TARGET 0.85
#define USERS_LIMIT 0.75

static const struct {
	enum srtp_profile profile;
	const char *name;
} profiles[] = {{SRTP_AEAD_AES_256_GCM, "AES-256-GCM"}, {SRTP_AEAD_AES_128_GCM, "AES-128-GCM"},
	{SRTP_AES128_CM_SHA1_80, "AES-CM + SHA1-80"}};

static void each_a_cell(uint64_t packets, uint64_t cells)
{
	if (cells != packets)
		bench_note("%lu packets gave %lu cells", packets, cells);
	bench_check("every packet became a cell, and one only", (double)MIN_OF(packets, cells) / (double)MAX_OF(packets, cells), false, 1);
}

static struct path_result measure_in(const struct world_config *in, bool opus, bool staged, unsigned packets)
{
	struct world_config config = *in;
	enum srtp_profile profile = config.profile;
	struct path_result result;
	unsigned sessions = config.sessions, payload = config.red ? 5 + 2 * SPEECH_BYTES : SPEECH_BYTES;
	config.ring_ms = sessions <= 2000 ? 10000 : 400;
	world_open(&config);
	bare_open(sessions, profile, config.ring_ms, 12 + payload + (profile == SRTP_AES128_CM_SHA1_80 ? 10 : 16));
	unsigned blocks = 4, rounds = MAX_OF(packets / sessions / blocks, 1u);
	path_run(blocks, rounds, opus, staged, &result);
	bare_close();
	world_close();
	each_a_cell(result.packets, result.delivered);
	return result;
}

static struct path_result measure(unsigned sessions, enum srtp_profile profile, bool red, bool opus, bool staged, unsigned packets)
{
	return measure_in(&(struct world_config){.sessions = sessions, .profile = profile, .red = red, .listened = true}, opus, staged,
		packets);
}

// Of a run that decodes against bare libopus, else against the sum.
static double ratio_of(const struct path_result *run)
{
	return run->total / (run->bare[BARE_OPUS] > 0 ? run->bare[BARE_OPUS] : run->bare_sum);
}

static int by_ratio(const void *a, const void *b)
{
	double left = ratio_of(a), right = ratio_of(b);
	return left < right ? -1 : left > right;
}

// The one in the middle of several runs, by its ratio: others on the core disturb some of them. Who disturbs makes everything
// dearer: the least that each side ever cost is what a regression is judged by.
static struct path_result measure_middle(unsigned sessions, enum srtp_profile profile, bool opus, unsigned packets,
	double *ret_least)
{
	struct path_result runs[RUNS];
	double path = INFINITY, bare = INFINITY;
	for (unsigned i = 0; i < RUNS; i++) {
		runs[i] = measure(sessions, profile, true, opus, false, packets);
		path = MIN_OF(path, runs[i].total);
		bare = MIN_OF(bare, runs[i].total / ratio_of(&runs[i]));
	}
	*ret_least = path / bare;
	qsort(runs, RUNS, sizeof(runs[0]), by_ratio);
	bench_note("Path %s, %d runs: %.2f to %.2f.", opus ? "with Opus against bare libopus" : "without Opus against its bare parts",
		RUNS, ratio_of(&runs[0]), ratio_of(&runs[RUNS - 1]));
	return runs[RUNS / 2];
}

static void report_stages(const struct path_result *plain, const struct path_result *decoding)
{
	unsigned table = bench_table("Where a packet's cycles go (wrapped run: the wrappers keep stages from overlapping)",
		"stage|no Opus|decoding|ns decoding");
	double sums[2] = {0, 0};
	for (unsigned stage = STAGE_MBUF; stage < STAGE_COUNT; stage++) {
		double values[] = {plain->stages[stage], decoding->stages[stage], bench_ns(decoding->stages[stage])};
		bench_row(table, stage_name(stage), values, 3);
		sums[0] += values[0];
		sums[1] += values[1];
	}
	bench_row(table, "sum", (double[]){sums[0], sums[1], bench_ns(sums[1])}, 3);
	bench_row(table, "sum without Opus",
		(double[]){sums[0] - plain->stages[STAGE_OPUS], sums[1] - decoding->stages[STAGE_OPUS],
			bench_ns(sums[1] - decoding->stages[STAGE_OPUS])}, 3);
}

// The sum with an array read in place of the hash table's lookup: what the path itself has.
static double array_sum(const struct path_result *result)
{
	return result->bare_sum - result->bare[BARE_LOOKUP] + result->bare[BARE_ARRAY];
}

static void report_bare(const struct path_result *plain, const struct path_result *decoding, const struct path_result *unheard)
{
	unsigned table = bench_table("The path and its bare parts, cycles a packet (median of bursts of 32)", "part|cycles|ns");
	for (unsigned part = 0; part < BARE_COUNT; part++) {
		double cycles = part == BARE_OPUS ? decoding->bare[part] : plain->bare[part];
		bench_row(table, bare_name(part), (double[]){cycles, bench_ns(cycles)}, 2);
	}
	bench_row(table, "sum of mbuf, rx, lookup, SRTP, copy", (double[]){plain->bare_sum, bench_ns(plain->bare_sum)}, 2);
	bench_row(table, "the same with an array for the lookup", (double[]){array_sum(plain), bench_ns(array_sum(plain))}, 2);
	bench_row(table, "path without Opus", (double[]){plain->total, bench_ns(plain->total)}, 2);
	bench_row(table, "the same where nobody sleeps over the rings", (double[]){unheard->total, bench_ns(unheard->total)}, 2);
	bench_row(table, "sum beside a decoder", (double[]){decoding->bare_sum, bench_ns(decoding->bare_sum)}, 2);
	bench_row(table, "path with Opus", (double[]){decoding->total, bench_ns(decoding->total)}, 2);
}

// Of a worker that polls, at a share of what it can carry.
static void report_latency(double packet_cycles)
{
	static const double loads[] = {0.2, 0.5, 0.8, 0.9};
	unsigned table = bench_table("us from packet in to frame in the ring, decoding, random arrivals", "load|users|p50|p90|p99|max");
	unsigned plot = bench_plot("Packet in to frame in the ring", "load, %", "us", false);
	for (unsigned i = 0; i < ARRAY_SIZE(loads); i++) {
		struct world_config config = {.sessions = (unsigned)(loads[i] * bench_cycles_per_s() / 50 / packet_cycles), .ring_ms = 400,
			.profile = profiles[0].profile, .red = true};
		struct bench_series series = {0};
		world_open(&config);
		unsigned packets = path_latency(&series);
		world_close();
		each_a_cell(packets, series.count);
		double p99 = bench_percentile(&series, 99) / 1e3;
		char label[16];
		snprintf(label, sizeof(label), "%.0f %%", loads[i] * 100);
		bench_row(table, label,
			(double[]){config.sessions, bench_percentile(&series, 50) / 1e3, bench_percentile(&series, 90) / 1e3, p99,
				bench_percentile(&series, 100) / 1e3}, 5);
		bench_point(plot, "p50", loads[i] * 100, bench_percentile(&series, 50) / 1e3);
		bench_point(plot, "p99", loads[i] * 100, p99);
		if (loads[i] == 0.8)
			bench_target("p99 from packet in to frame in the ring at 80 % load, us", p99, true, 1000);
		bench_free(&series);
	}
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "path", "wire to PCM cell on one core");
	world_start(bench_core());
	stages_calibrate();
	unsigned scale = bench_short() ? 1 : 8, sessions = 400;

	double least, least_opus;
	struct path_result plain = measure_middle(sessions, profiles[0].profile, false, 16000 * scale, &least);
	struct path_result plain_staged = measure(sessions, profiles[0].profile, true, false, true, 16000 * scale);
	struct path_result decoding = measure_middle(sessions, profiles[0].profile, true, 6400 * scale, &least_opus);
	struct path_result decoding_staged = measure(sessions, profiles[0].profile, true, true, true, 6400 * scale);
	report_stages(&plain_staged, &decoding_staged);
	const struct world_config silent = {.sessions = sessions, .profile = profiles[0].profile, .red = true};
	struct path_result unheard = measure_in(&silent, false, false, 16000 * scale);
	report_bare(&plain, &decoding, &unheard);

	unsigned table = bench_table("By profile and packet, without Opus, cycles a packet", "packets|path|bare sum|ratio|SRTP bare");
	for (unsigned i = 0; i < ARRAY_SIZE(profiles); i++) {
		for (unsigned red = 0; red < 2; red++) {
			struct path_result result = i == 0 && red == 1
							    ? plain
							    : measure(sessions, profiles[i].profile, red != 0, false, false, 8000 * scale);
			char label[64];
			snprintf(label, sizeof(label), "%s, %s", profiles[i].name, red ? "RED with one copy" : "plain Opus");
			bench_row(table, label,
				(double[]){result.total, result.bare_sum, result.total / result.bare_sum, result.bare[BARE_SRTP]}, 4);
		}
	}

	report_latency(decoding.total);
	double users = bench_cycles_per_s() / 50 / decoding.total, bare_users = bench_cycles_per_s() / 50 / decoding.bare[BARE_OPUS];
	unsigned users_table = bench_table("Users a core at 50 packets a second", "what|users");
	bench_row(users_table, "decoding, the whole path", &users, 1);
	bench_row(users_table, "bare libopus", &bare_users, 1);
	double without = bench_cycles_per_s() / 50 / plain.total;
	bench_row(users_table, "passing on without decoding", &without, 1);
	bench_note("%u sessions round robin, AES-256-GCM (what LiveKit picks), RED with one copy of 121 bytes, 10 s rings.", sessions);
	bench_note("A thread sleeps over all rings, as gRPC's does: each cell sets its mark, and a bell is rung every 0.5 ms at most.");
	bench_note("Latency is by the worker's own CPU time: others on the core, who a pinned worker does not have, are not counted.");
	bench_note("Beside a decoder a packet's share is the difference of two numbers of some 70,000 cycles: one per cent of them is a "
		   "third of the parts. Read the wrapped run beside it.");
	bench_note("The packet itself is in the nearest cache when it is looked at: a ring device, not a NIC.");
	bench_target("path without Opus against its bare parts", plain.total / plain.bare_sum, true, RATIO_TARGET);
	bench_target("path without Opus against its bare parts, with an array read for the hash lookup",
		plain.total / array_sum(&plain), true, RATIO_TARGET);
	bench_note("Beside a decoder the path less bare libopus is at %.2f of its bare parts there: a difference of two numbers thirty "
		   "times as large, so no target; the stages above tell more.",
		(decoding.total - decoding.bare[BARE_OPUS]) / decoding.bare_sum);
	bench_check("least path without Opus against least bare parts of the runs, limit", least, true, RATIO_LIMIT);
	bench_target("users with decoding against bare libopus", decoding.bare[BARE_OPUS] / decoding.total, false, USERS_TARGET);
	bench_check("users with decoding against bare libopus, least against least of the runs, limit", 1 / least_opus, false,
		USERS_LIMIT);
	int status = bench_end();
	world_stop();
	return status;
}
