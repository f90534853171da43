// SPDX-License-Identifier: ISC
//
// dataplane.c - bring-up and tear-down in order, sources, and what the operator sees.
//
// Runs on: init, control.

#include "dataplane/dataplane.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_mempool.h>

#include "dataplane/eal.h"
#include "dataplane/transport.h"
#include "dataplane/worker.h"

#define MBUF_CACHE 256
#define MAIL_COUNT 8191

static int doorbell_init(struct doorbell *bell, struct err *err)
{
	bell->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return bell->event_fd < 0 ? err_set(err, errno, "eventfd: %s", strerror(errno)) : 0;
}

static struct rte_ring *ring_new(const char *name, unsigned index, unsigned size, unsigned flags)
{
	char text[RTE_RING_NAMESIZE];
	snprintf(text, sizeof(text), "%s%u", name, index);
	return rte_ring_create(text, size, SOCKET_ID_ANY, flags);
}

static int pools_start(struct err *err)
{
	unsigned mbufs = MIN_OF(MAX_OF(plane.config.memory_mb * 100u, 8191u), 262143u);
	plane.pool = rte_pktmbuf_pool_create("packets", mbufs, MBUF_CACHE, PACKET_PRIVATE_BYTES,
		RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (plane.pool == NULL)
		return err_set(err, rte_errno, "no memory for %u packet buffers (memory.size_mb): %s", mbufs,
			rte_strerror(rte_errno));
	plane.mail_pool = rte_mempool_create("mail", MAIL_COUNT, sizeof(struct worker_mail), 0, 0, NULL, NULL, NULL, NULL,
		SOCKET_ID_ANY, 0);
	plane.punt = ring_new("punt", 0, PUNT_RING_SIZE, RING_F_SC_DEQ);
	plane.punt_known = ring_new("punt_known", 0, PUNT_RING_SIZE, RING_F_SC_DEQ);
	plane.assoc = ring_new("assoc", 0, PUNT_RING_SIZE, RING_F_SC_DEQ);
	plane.worker_events = ring_new("events", 0, PUNT_RING_SIZE, RING_F_SC_DEQ);
	if (plane.mail_pool == NULL || plane.punt == NULL || plane.punt_known == NULL || plane.assoc == NULL || plane.worker_events == NULL)
		return err_set(err, ENOMEM, "no memory for the rings between threads (memory.size_mb)");
	return 0;
}

static int worker_start(unsigned index, struct err *err)
{
	struct worker *worker = &plane.workers[index];
	worker->index = index;
	worker->lcore = index + 1;
	worker->inbox = ring_new("inbox", index, INBOX_RING_SIZE, RING_F_SC_DEQ);
	worker->inject = ring_new("inject", index, INJECT_RING_SIZE, RING_F_SC_DEQ);
	worker->mail = ring_new("mail", index, MAIL_RING_SIZE, RING_F_SC_DEQ);
	worker->srtp_mgr = srtp_mgr_create();
	if (worker->inbox == NULL || worker->inject == NULL || worker->mail == NULL || worker->srtp_mgr == NULL)
		return err_set(err, ENOMEM, "no memory for worker %u", index);
	return doorbell_init(&worker->bell, err);
}

static int slow_threads_start(struct err *err)
{
	int ret = handshake_start(err);
	if (ret == 0)
		ret = assoc_start(err);
	if (ret < 0)
		return ret;
	ret = pthread_create(&plane.handshake_thread, NULL, handshake_main, NULL);
	if (ret == 0)
		ret = pthread_create(&plane.assoc_thread, NULL, assoc_main, NULL);
	return ret == 0 ? 0 : err_set(err, ret, "cannot start a thread: %s", strerror(ret));
}

int dataplane_start(const struct dataplane_config *config, struct err *err)
{
	plane.config = *config;
	if (config->port_count == 0 || config->worker_count == 0)
		return err_set(err, EINVAL, "at least one port and one worker are needed");
	int ret = eal_start(config, &plane.hugepages, err);
	if (ret < 0)
		return ret;
	plane_log(1, plane.hugepages ? "hugepages: in use" : "hugepages: none available, going on with ordinary pages");
	ret = rcu_init(DATAPLANE_WORKERS_MAX, err);
	if (ret == 0)
		ret = transport_table_init(err);
	if (ret == 0)
		ret = pools_start(err);
	if (ret == 0)
		ret = doorbell_init(&plane.punt_bell, err);
	if (ret == 0)
		ret = doorbell_init(&plane.assoc_bell, err);
	if (ret == 0)
		ret = mailbox_init(&plane.handshake_box, err);
	if (ret == 0)
		ret = mailbox_init(&plane.assoc_box, err);
	if (ret == 0)
		ret = mailbox_init(&plane.control_box, err);
	// Control always counts as asleep: every event of a worker rings.
	plane.control_bell.event_fd = plane.control_box.event_fd;
	atomic_store(&plane.control_bell.asleep, 1);
	if (ret == 0) {
		plane.identity = dtls_identity_create(err);
		ret = plane.identity == NULL ? -EIO : 0;
	}
	for (unsigned p = 0; ret == 0 && p < config->port_count; p++)
		ret = port_start(&plane.ports[p], &config->ports[p], p, config->worker_count, plane.pool, err);
	for (unsigned w = 0; ret == 0 && w < config->worker_count; w++)
		ret = worker_start(w, err);
	if (ret == 0)
		ret = slow_threads_start(err);
	for (unsigned w = 0; ret == 0 && w < config->worker_count; w++)
		if (rte_eal_remote_launch(worker_main, &plane.workers[w], plane.workers[w].lcore) != 0)
			ret = err_set(err, EIO, "worker %u does not start", w);
	return ret;
}

static void ring_drain(struct rte_ring *ring)
{
	struct rte_mbuf *mbuf;
	while (rte_ring_sc_dequeue(ring, (void **)&mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	rte_ring_free(ring);
}

static void events_discard(void) RUNS_ON(control_role)
{
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		continue;
}

// Waits until everything that was closed has been given up by its owners, at most a second.
static void settle(void) RUNS_ON(control_role)
{
	uint64_t limit = clock_mono_ns() + 1000000000u;
	while ((plane.transports > 0 || plane.sources > 0) && clock_mono_ns() < limit) {
		struct pollfd fd = {.fd = plane.control_box.event_fd, .events = POLLIN};
		poll(&fd, 1, 20);
		events_discard();
	}
}

void dataplane_stop(void)
{
	ENTERS(control_role);
	settle();
	atomic_store_explicit(&plane.stop_slow, true, memory_order_release);
	eventfd_write(plane.handshake_box.event_fd, 1);
	eventfd_write(plane.assoc_box.event_fd, 1);
	pthread_join(plane.handshake_thread, NULL);
	pthread_join(plane.assoc_thread, NULL);
	atomic_store_explicit(&plane.stop_workers, true, memory_order_release);
	for (unsigned w = 0; w < plane.config.worker_count; w++) {
		eventfd_write(plane.workers[w].bell.event_fd, 1);
		rte_eal_wait_lcore(plane.workers[w].lcore);
		// What the worker did last is seen from here on, also by tools that cannot look into EAL's join.
		(void)atomic_load_explicit(&plane.workers[w].stopped, memory_order_acquire);
	}
	events_discard();
	rcu_finish();
	for (unsigned w = 0; w < plane.config.worker_count; w++) {
		struct worker *worker = &plane.workers[w];
		ring_drain(worker->inbox);
		ring_drain(worker->inject);
		rte_ring_free(worker->mail);
		srtp_mgr_destroy(worker->srtp_mgr);
		close(worker->bell.event_fd);
	}
	ring_drain(plane.punt);
	ring_drain(plane.punt_known);
	ring_drain(plane.assoc);
	rte_ring_free(plane.worker_events);
	for (unsigned p = 0; p < plane.config.port_count; p++)
		port_stop(&plane.ports[p]);
	dtls_identity_destroy(plane.identity);
	mailbox_finish(&plane.handshake_box);
	mailbox_finish(&plane.assoc_box);
	mailbox_finish(&plane.control_box);
	close(plane.punt_bell.event_fd);
	close(plane.assoc_bell.event_fd);
	transport_table_finish();
	eal_stop();
}

// ---- events

int dataplane_event_fd(void)
{
	return plane.control_box.event_fd;
}

static struct mail *waiting OWNED_BY(control_role);

bool dataplane_event_next(struct dataplane_event *ret_event)
{
	if (waiting == NULL)
		waiting = mailbox_take(&plane.control_box);
	struct released *released = atomic_exchange_explicit(&plane.released, NULL, memory_order_acquire);
	while (released != NULL) {
		struct released *next = released->next;
		released->fn(released);
		released = next;
	}
	rcu_poll();
	if (waiting != NULL) {
		struct event_mail *mail = CONTAINER_OF(waiting, struct event_mail, mail);
		waiting = waiting->next;
		*ret_event = mail->event;
		free(mail);
		return true;
	}
	void *word;
	if (rte_ring_sc_dequeue(plane.worker_events, &word) == 0) {
		static const enum dataplane_event_type types[] = {[PLANE_EVENT_ARRIVED] = SOURCE_EVENT_ARRIVED,
			[PLANE_EVENT_HEARD] = SOURCE_EVENT_HEARD, [PLANE_EVENT_ALIGNED] = SOURCE_EVENT_ALIGNED};
		*ret_event = (struct dataplane_event){.type = types[(uintptr_t)word & 7], .transport = (uintptr_t)word >> 3};
		return true;
	}
	// An event that arrived between the take and now has rung the eventfd again.
	atomic_store(&plane.control_bell.asleep, 1);
	return !plane_ring_empty(plane.worker_events) || atomic_load(&plane.released) != NULL
		       ? dataplane_event_next(ret_event)
		       : false;
}

// ---- eyes

void dataplane_drop(enum drop reason, uint64_t count)
{
	stats_drop(reason, count);
}

static void worker_info(struct worker *worker, struct dataplane_worker_info *ret_info) RUNS_ON(control_role)
{
	uint64_t now = clock_mono_ns(), busy = stats_get(&worker->stats.busy_ns);
	uint64_t since = atomic_load(&worker->load_at_ns);
	if (since == 0 || now - since >= 1000000000u) {
		if (since != 0)
			worker->load = (double)(busy - atomic_load(&worker->load_busy_ns)) / (double)(now - since);
		atomic_store(&worker->load_at_ns, now);
		atomic_store(&worker->load_busy_ns, busy);
	}
	uint64_t packets = stats_get(&worker->stats.rx_packets);
	*ret_info = (struct dataplane_worker_info){
		.core = (unsigned)plane.config.cores[worker->index],
		.transports = atomic_load(&worker->transports),
		.loops = stats_get(&worker->stats.loops),
		.busy_ns = busy,
		.idle_sleeps = stats_get(&worker->stats.idle_sleeps),
		.rx_packets = packets,
		.tx_packets = stats_get(&worker->stats.tx_packets),
		.frames = stats_get(&worker->stats.frames),
		.load = worker->load,
		.cycles_per_packet = packets ? stats_get(&worker->stats.busy_cycles) / packets : 0,
		.asleep = atomic_load(&worker->bell.asleep) != 0,
	};
}

void dataplane_info(struct dataplane_info *ret_info)
{
	*ret_info = (struct dataplane_info){
		.worker_count = plane.config.worker_count,
		.port_count = plane.config.port_count,
		.transports = plane.transports,
		.sources = plane.sources,
		.hugepages = plane.hugepages,
		.mbufs_total = plane.pool->size,
		.mbufs_free = rte_mempool_avail_count(plane.pool),
	};
	for (unsigned d = 1; d < DROP_COUNT; d++) {
		ret_info->drops[d] = stats_dropped(d);
		for (unsigned w = 0; w < plane.config.worker_count; w++)
			ret_info->drops[d] += stats_get(&plane.workers[w].stats.drops[d]);
	}
	for (unsigned w = 0; w < plane.config.worker_count; w++)
		worker_info(&plane.workers[w], &ret_info->workers[w]);
	for (unsigned p = 0; p < plane.config.port_count; p++) {
		ret_info->drops[DROP_KERNEL_RING_FULL] += port_kernel_drops(&plane.ports[p]);
		port_info(&plane.ports[p], &ret_info->ports[p]);
	}
}
