// SPDX-License-Identifier: ISC
//
// path.h - bursts of the worker's path in a world, timed beside their bare parts. Shared by path_bench and table_bench.
#pragma once

#include "bench/bare.h"
#include "bench/stages.h"
#include "bench/world.h"

struct path_result {
	double total;             // cycles a packet, median over bursts: mbuf alloc to mbuf free
	double stages[STAGE_COUNT]; // of a run with wrappers, median
	double bare[BARE_COUNT];  // cycles a packet, median over bursts
	double bare_sum;          // of those that count
	uint64_t delivered;       // cells written in the timed bursts
	uint64_t packets;
};

// Every session's next packets, round after round; adds hundredths of cycles a packet per burst and returns how many there were.
uint64_t path_bursts(unsigned rounds, struct bench_series *ret_cycles);

// Packets of a second at 50 a user, each user at a random moment of the 20 ms, into a worker that polls: ns from the moment a
// packet is due to the moment its cell is in the ring, by the thread's own CPU time. The world has the users that make the load.
// Returns how many packets there were; as many values are in the series, or frames were lost or doubled.
unsigned path_latency(struct bench_series *ret_ns);

// Blocks of `rounds` packets a session, `blocks` times, each block followed by as many bursts of every bare part.
void path_run(unsigned blocks, unsigned rounds, bool opus, bool staged, struct path_result *ret_result);
