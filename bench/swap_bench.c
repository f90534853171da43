// SPDX-License-Identifier: ISC
//
// swap_bench.c - the swap itself, without a network: cycles of the exchange, how long a replaced hearing lives (grace period), what
// is in memory meanwhile, swaps per second, and what swaps cost the other users of the worker.
//
// The long form on a real server is bench/swap.
//
// Runs on: control (the bench's own thread), worker.

#include <malloc.h>
#include <sched.h>
#include <stdlib.h>

#include <rte_lcore.h>

#include "bench/bench.h"
#include "dataplane/dataplane.h"
#include "dataplane/home.h"
#include "dataplane/plane.h"

#define OTHERS 32 // users beside the one that swaps
#define PAYLOAD 641

struct user {
	struct pcm *pcm;
	struct source *source;
	transport_id transport;
	uint32_t generation;
	uint32_t number; // of the packet it says next; its low byte is the sequence byte
};

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "swap_bench: %s\n", what);
	exit(1);
}

static void events_take(void)
{
	ENTERS(control_role);
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		;
}

static transport_id open_one(struct user *user)
{
	ENTERS(control_role);
	struct transport_config config = {.generation = user->generation, .source = user->source, .data = true};
	struct transport_local local;
	struct err err = {""};
	transport_id id = 0;
	snprintf(config.data_identity, sizeof(config.data_identity), "p");
	must(transport_open(&config, &id, &local, &err) == 0, err.text);
	return id;
}

static void hear(struct user *user, enum hearing_mode mode, transport_id main, transport_id other)
{
	ENTERS(control_role);
	struct hearing hearing = {.mode = mode, .main = {main, user->generation, 0}, .other = {other, user->generation, 0}};
	must(dataplane_source_hear(user->source, &hearing) == 0, "out of memory");
}

static void user_make(struct user *user)
{
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_DATA};
	*user = (struct user){.pcm = pcm_create(10000), .generation = 1, .number = 1};
	must(user->pcm != NULL, "out of memory");
	user->source = dataplane_source_create(user->pcm, &config);
	must(user->source != NULL, "out of memory");
	user->transport = open_one(user);
	hear(user, HEARING_ONE, user->transport, 0);
}

// One data packet, as it comes out of SCTP, to the user's worker. No two have the same content, as with speech.
static void speak(const struct user *user, transport_id transport)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	must(mbuf != NULL, "no packet buffer is free");
	// A DataPacket of the phone: user (2) with payload (2), participant_identity (4).
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(mbuf, 6 + PAYLOAD + 3);
	memcpy(data, (uint8_t[]){2 << 3 | 2, ((PAYLOAD + 3) & 127) | 128, (PAYLOAD + 3) >> 7, 2 << 3 | 2, (PAYLOAD & 127) | 128, PAYLOAD >> 7}, 6);
	memset(data + 6, 0, PAYLOAD);
	data[6] = (uint8_t)user->number;
	memcpy(data + 7, &user->number, sizeof(user->number));
	memcpy(data + 6 + PAYLOAD, (uint8_t[]){4 << 3 | 2, 1, 'p'}, 3);
	*packet_of(mbuf) = (struct packet){.arrival_ns = clock_mono_ns(), .transport = transport, .kind = PACKET_MESSAGE};
	while (rte_ring_mp_enqueue(plane.workers[0].inbox, mbuf) != 0)
		sched_yield();
	doorbell_ring(&plane.workers[0].bell);
}

// A phone says a packet each 20 ms: the worker has taken one before the next is said.
static void inbox_wait_empty(void)
{
	while (!rte_ring_empty(plane.workers[0].inbox))
		sched_yield();
}

// ---- the exchange and the grace period

struct stone { // retired right after the exchange: it goes when the replaced hearing goes
	struct rcu_retired retired;
	uint64_t at_ns;
	_Atomic(uint64_t) gone_ns;
};

static _Atomic(unsigned) stones_gone;

static void stone_gone(struct rcu_retired *retired)
{
	struct stone *stone = CONTAINER_OF(retired, struct stone, retired);
	atomic_store(&stone->gone_ns, clock_mono_ns());
	atomic_fetch_add(&stones_gone, 1);
}

static void exchange(struct user *user, unsigned rounds)
{
	ENTERS(control_role);
	struct bench_series cycles = {0}, grace_us = {0};
	struct stone *stones = calloc(rounds, sizeof(*stones));
	unsigned waiting = 0;
	must(stones != NULL, "out of memory");
	for (unsigned i = 0; i < rounds; i++) {
		user->generation++;
		uint64_t began = bench_now();
		hear(user, HEARING_ONE, user->transport, 0);
		bench_add(&cycles, bench_now() - began - bench_stamp_cost());
		stones[i].at_ns = clock_mono_ns();
		rcu_retire(&stones[i].retired, stone_gone);
		waiting = MAX_OF(waiting, i + 1 - atomic_load(&stones_gone));
		if (i % 16 == 15)
			events_take();
		sched_yield();
	}
	for (unsigned i = 0; i < rounds; i++) {
		while (atomic_load(&stones[i].gone_ns) == 0)
			sched_yield();
		bench_add(&grace_us, (atomic_load(&stones[i].gone_ns) - stones[i].at_ns) / 1000);
	}
	unsigned table = bench_table("The exchange", "what|p50|p99|max");
	double row[] = {bench_percentile(&cycles, 50), bench_percentile(&cycles, 99), bench_percentile(&cycles, 100)};
	bench_row(table, "cycles, with the worker's wake-up", row, 3);
	double grace[] = {bench_percentile(&grace_us, 50), bench_percentile(&grace_us, 99), bench_percentile(&grace_us, 100)};
	bench_row(table, "us until the replaced one is freed", grace, 3);
	bench_note("A replaced hearing is %zu bytes; %u of them waited at once for the end of a grace period, at one exchange after the "
		"other. The library frees them in batches of 10 ms.", sizeof(struct home_hearing), waiting);
	bench_free(&cycles);
	bench_free(&grace_us);
	free(stones);
}

// ---- whole swaps: another transport, both heard until they brought the same packets, the old one closed

static void swap_once(struct user *user)
{
	ENTERS(control_role);
	transport_id old = user->transport;
	user->generation++;
	user->transport = open_one(user);
	hear(user, HEARING_ALIGN, old, user->transport);
	hear(user, HEARING_BOTH, user->transport, old);
	for (bool heard = false, aligned = false; !aligned;) {
		speak(user, old);
		speak(user, user->transport);
		user->number++;
		inbox_wait_empty();
		events_take();
		dataplane_source_progress(user->source, &heard, &aligned);
	}
	hear(user, HEARING_ONE, user->transport, 0);
	transport_close(old);
	events_take();
}

static void whole_swaps(struct user *user, unsigned rounds)
{
	ENTERS(control_role);
	size_t before = mallinfo2().uordblks, most = 0;
	uint64_t began = clock_mono_ns();
	for (unsigned i = 0; i < rounds; i++) {
		swap_once(user);
		most = MAX_OF(most, (size_t)mallinfo2().uordblks);
	}
	double seconds = (double)(clock_mono_ns() - began) / 1e9;
	struct source_stats stats;
	dataplane_source_stats(user->source, &stats);
	unsigned table = bench_table("Whole swaps of one user, no network", "what|value");
	bench_row(table, "swaps a second", (double[]){rounds / seconds}, 1);
	bench_row(table, "KiB in flight at most", (double[]){most > before ? (double)(most - before) / 1024 : 0}, 1);
	bench_check("packets lost over all swaps", (double)(stats.data_lost + stats.data_late), true, 0);
	bench_check("packets written twice over all swaps", (double)stats.swap.doubled, true, 0);
}

// ---- the others

static void others_hear(struct user *users, struct bench_series *latency_us, unsigned rounds, struct user *swaps)
{
	for (unsigned i = 0; i < rounds; i++) {
		struct user *user = &users[i % OTHERS];
		if (swaps != NULL)
			swap_once(swaps);
		uint64_t head = pcm_head(user->pcm), began = clock_mono_ns();
		speak(user, user->transport);
		user->number++;
		while (pcm_head(user->pcm) == head)
			sched_yield();
		bench_add(latency_us, (clock_mono_ns() - began) / 1000);
	}
}

static void others(struct user *swapping, unsigned rounds)
{
	static struct user users[OTHERS];
	struct bench_series alone = {0}, beside = {0};
	for (unsigned i = 0; i < OTHERS; i++)
		user_make(&users[i]);
	others_hear(users, &alone, rounds, NULL);
	others_hear(users, &beside, rounds, swapping);
	unsigned table = bench_table("Other users of the worker: us from packet in to frame in the ring", "while|p50|p99");
	bench_row(table, "nobody swaps", (double[]){bench_percentile(&alone, 50), bench_percentile(&alone, 99)}, 2);
	bench_row(table, "one user swaps between any two packets",
		(double[]){bench_percentile(&beside, 50), bench_percentile(&beside, 99)}, 2);
	bench_free(&alone);
	bench_free(&beside);
}

int main(int argc, char **argv)
{
	ENTERS(control_role);
	bench_begin(argc, argv, "swap", "what replacing a session costs");
	bench_unpin();
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .cores = {bench_core()}, .memory_mb = 128};
	config.ports[0] = (struct dataplane_port_config){.name = "null", .device = "null", .address = 0x0a630102, .prefix_bits = 24,
		.queues = 1, .udp_port_min = 10000, .udp_port_max = 60000};
	must(dataplane_start(&config, &err) == 0, err.text);
	rte_thread_register();
	struct user user;
	user_make(&user);
	unsigned rounds = bench_short() ? 2000 : 20000;
	exchange(&user, rounds);
	whole_swaps(&user, rounds);
	others(&user, rounds);
	bench_note("The worker sleeps between packets (idle: adaptive), so a latency is mostly a wake-up; both rows are of one run.");
	return bench_end();
}
