// SPDX-License-Identifier: ISC
//
// ring_port.h - included by one file of a test: a pair of rings in the place of the dataplane's configured port.
//
// The test is linked with --wrap=port_start. What it puts onto `wire` the worker receives; what that sends is in `wire_out`.
//
// Runs on: init, control (the test), worker.
#pragma once

#include <rte_eth_ring.h>

#include "dataplane/plane.h"

static struct rte_ring *wire, *wire_out;

int __real_port_start(struct port *port, const struct dataplane_port_config *config, unsigned index, unsigned workers,
	struct rte_mempool *pool, struct err *err);
int __wrap_port_start(struct port *port, const struct dataplane_port_config *config, unsigned index, unsigned workers,
	struct rte_mempool *pool, struct err *err);

// The rings are worked here and not by DPDK's ring device: it is a library that ThreadSanitizer has not instrumented, so what
// passes through it would look like a race.
static uint16_t wire_receive(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return (uint16_t)rte_ring_sc_dequeue_burst(wire, (void **)mbufs, count, NULL);
}

static uint16_t wire_send(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return (uint16_t)rte_ring_sp_enqueue_burst(wire_out, (void **)mbufs, count, NULL);
}

// The same holds for the pool's ring: that who gets a buffer comes after who gave it back is said here, buffer by buffer.
#define POOL_SLOTS 65536
static _Atomic(unsigned) given_back[POOL_SLOTS];
static rte_mempool_enqueue_t pool_put_real;
static rte_mempool_dequeue_t pool_get_real;

static _Atomic(unsigned) *slot_of(const void *buffer)
{
	return &given_back[(uintptr_t)buffer / CACHE_LINE_BYTES % POOL_SLOTS];
}

static int pool_put(struct rte_mempool *pool, void *const *buffers, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		atomic_fetch_add_explicit(slot_of(buffers[i]), 1, memory_order_release);
	return pool_put_real(pool, buffers, count);
}

static int pool_get(struct rte_mempool *pool, void **buffers, unsigned count)
{
	int ret = pool_get_real(pool, buffers, count);
	for (unsigned i = 0; ret == 0 && i < count; i++)
		(void)atomic_load_explicit(slot_of(buffers[i]), memory_order_acquire);
	return ret;
}

static void watch_pool(const struct rte_mempool *pool)
{
	struct rte_mempool_ops *ops = rte_mempool_get_ops(pool->ops_index);
	pool_put_real = ops->enqueue;
	pool_get_real = ops->dequeue;
	ops->enqueue = pool_put;
	ops->dequeue = pool_get;
}

// Before any worker runs: the port of the configuration, then a pair of rings in its place.
int __wrap_port_start(struct port *port, const struct dataplane_port_config *config, unsigned index, unsigned workers,
	struct rte_mempool *pool, struct err *err)
{
	struct rte_eth_conf conf = {0};
	int ret = __real_port_start(port, config, index, workers, pool, err);
	watch_pool(pool);
	wire = rte_ring_create("wire", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	wire_out = rte_ring_create("wire_out", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	int id = wire != NULL && wire_out != NULL ? rte_eth_from_rings("wire", &wire, 1, &wire_out, 1, 0) : -1;
	if (ret < 0 || id < 0 || rte_eth_dev_configure((uint16_t)id, 1, 1, &conf) != 0 ||
		rte_eth_rx_queue_setup((uint16_t)id, 0, 1024, SOCKET_ID_ANY, NULL, pool) != 0 ||
		rte_eth_tx_queue_setup((uint16_t)id, 0, 1024, SOCKET_ID_ANY, NULL) != 0 || rte_eth_dev_start((uint16_t)id) != 0)
		return err_set(err, EIO, "the ring device does not start");
	rte_eth_fp_ops[id].rx_pkt_burst = wire_receive;
	rte_eth_fp_ops[id].tx_pkt_burst = wire_send;
	port->id = (uint16_t)id;
	return 0;
}
