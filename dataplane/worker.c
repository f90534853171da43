// SPDX-License-Identifier: ISC
//
// worker.c - the loop of a pinned core: poll, hand over, decode, send, say so to RCU, sleep when there is nothing.
//
// Runs on: worker.

#include "dataplane/worker.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <rte_cycles.h>

#include "dataplane/hot.h"

// Empty polls before an adaptive worker sleeps, and how long it sleeps at most.
#define IDLE_POLLS 16
#define IDLE_SLEEP_MAX_NS 100000000u
// A sleeping consumer is woken at most so often: a wake-up costs the worker 15 us and more, as much as half a frame of Opus.
#define BELLS_NS 500000u

// Runs the timers that are due; returns the next one, 0: none.
static uint64_t worker_timers(struct worker *worker) RUNS_ON(worker_role)
{
	// A source's turn may read mail, and that may put others at the head of the list; none leaves it meanwhile.
	for (struct home *home = worker->open; home != NULL; home = home->next) {
		uint64_t deadline = source_deadline_ns(home->source);
		if (deadline == 0 || deadline > worker->now_ns)
			continue;
		home_look(worker, home);
		source_poll(home->source, worker->now_ns);
		home_fed(worker, home);
	}
	uint64_t next = 0;
	struct home **link = &worker->open;
	for (struct home *home; (home = *link) != NULL;) {
		uint64_t deadline = source_deadline_ns(home->source);
		if (deadline == 0) {
			*link = home->next;
			home->listed = false;
			continue;
		}
		if (next == 0 || deadline < next)
			next = deadline;
		link = &home->next;
	}
	return next;
}

static unsigned worker_ports(struct worker *worker) RUNS_ON(worker_role)
{
	struct rte_mbuf *mbufs[BURST_MAX];
	unsigned total = 0;
	for (unsigned p = 0; p < plane.config.port_count; p++) {
		struct port *port = &plane.ports[p];
		for (unsigned q = worker->index; q < port->queues; q += plane.config.worker_count) {
			unsigned count = rte_eth_rx_burst(port->id, (uint16_t)q, mbufs, BURST_MAX);
			if (count > 0)
				ingress_wire(worker, p, mbufs, count);
			total += count;
		}
	}
	return total;
}

static unsigned worker_rings(struct worker *worker) RUNS_ON(worker_role)
{
	struct rte_mbuf *mbufs[BURST_MAX];
	unsigned in = rte_ring_sc_dequeue_burst(worker->inbox, (void **)mbufs, BURST_MAX, NULL);
	if (in > 0)
		ingress_inbox(worker, mbufs, in);
	unsigned out = rte_ring_sc_dequeue_burst(worker->inject, (void **)mbufs, BURST_MAX, NULL);
	if (out > 0)
		egress_inject(worker, mbufs, out);
	if (UNLIKELY(!plane_ring_empty(worker->mail)))
		worker_mail_read(worker);
	return in + out;
}

static bool worker_has_work(const struct worker *worker)
{
	return !plane_ring_empty(worker->inbox) || !plane_ring_empty(worker->inject) || !plane_ring_empty(worker->mail);
}

// The one place where a worker blocks: nothing came for a while and the configuration allows it.
static void worker_sleep(struct worker *worker, uint64_t deadline_ns) RUNS_ON(worker_role)
{
	if (worker->bells.count > 0)
		pcm_bells_ring(&worker->bells, worker->now_ns);
	struct pollfd fds[1 + DATAPLANE_PORTS_MAX * PORT_QUEUES_MAX];
	nfds_t count = 0;
	fds[count++] = (struct pollfd){.fd = worker->bell.event_fd, .events = POLLIN};
	for (unsigned p = 0; p < plane.config.port_count; p++) {
		struct port *port = &plane.ports[p];
		for (unsigned q = worker->index; q < port->queues; q += plane.config.worker_count)
			if (port->queue_fds[q] >= 0)
				fds[count++] = (struct pollfd){.fd = port->queue_fds[q], .events = POLLIN};
	}
	// A device without a socket to wait on must not be left alone for long.
	uint64_t sleep_ns = count > 1 ? IDLE_SLEEP_MAX_NS : 1000000u;
	if (deadline_ns != 0)
		sleep_ns = deadline_ns > worker->now_ns ? MIN_OF(sleep_ns, deadline_ns - worker->now_ns) : 0;
	struct timespec timeout = {.tv_sec = 0, .tv_nsec = (long)sleep_ns};

	doorbell_arm(&worker->bell);
	if (!worker_has_work(worker) && sleep_ns > 0) {
		rcu_offline(worker->index);
		ppoll(fds, count, &timeout, NULL);
		rcu_online(worker->index);
		stats_add(&worker->stats.idle_sleeps, 1);
	}
	doorbell_disarm(&worker->bell);
	if (fds[0].revents != 0) {
		eventfd_t ignored;
		eventfd_read(worker->bell.event_fd, &ignored);
	}
}

int worker_main(void *arg)
{
	struct worker *worker = arg;
	ENTERS(worker_role);
	rcu_reader_register(worker->index);
	pcm_bells_use(&worker->bells);
	unsigned empty_polls = 0;
	bool adaptive = plane.config.idle == DATAPLANE_IDLE_ADAPTIVE;
	while (!atomic_load_explicit(&plane.stop_workers, memory_order_acquire)) {
		uint64_t began_cycles = rte_rdtsc();
		worker->now_ns = clock_mono_ns();
		unsigned work = worker_ports(worker);
		work += worker_rings(worker);
		uint64_t deadline = worker_timers(worker), sack = ingress_sacks(worker);
		if (sack != 0 && (deadline == 0 || sack < deadline))
			deadline = sack;
		worker_leave_due(worker);
		egress_flush(worker);
		if (worker->bells.count > 0 && worker->now_ns - worker->bells.rung_ns >= BELLS_NS)
			pcm_bells_ring(&worker->bells, worker->now_ns);
		rcu_quiescent(worker->index);
		stats_add(&worker->stats.loops, 1);
		if (work > 0) {
			empty_polls = 0;
			stats_add(&worker->stats.busy_ns, clock_mono_ns() - worker->now_ns);
			stats_add(&worker->stats.busy_cycles, rte_rdtsc() - began_cycles);
			continue;
		}
		if (++empty_polls < IDLE_POLLS)
			continue;
		if (adaptive)
			worker_sleep(worker, deadline);
		empty_polls = 0;
	}
	pcm_bells_ring(&worker->bells, worker->now_ns);
	pcm_bells_use(NULL);
	rcu_reader_unregister(worker->index);
	atomic_store_explicit(&worker->stopped, true, memory_order_release);
	return 0;
}
