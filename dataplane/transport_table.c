// SPDX-License-Identifier: ISC
//
// transport_table.c - find a transport by local address and port, or by id: cds_lfht and an array, read under RCU.
//
// Runs on: control (writes), worker (reads).

#include "dataplane/transport.h"

#include <stdlib.h>

static _Atomic(struct transport *) *by_id; // [TRANSPORTS_MAX]

#ifndef RELAY_TSAN

#include <urcu/urcu-qsbr.h>
#include <urcu/rculfhash.h>

_Static_assert(sizeof(((struct transport *)0)->node) >= sizeof(struct cds_lfht_node), "room for the library's node");

static struct cds_lfht *table;

static unsigned long hash_of(struct endpoint local)
{
	uint64_t key = endpoint_pack(local) * 0x9e3779b97f4a7c15u;
	return (unsigned long)(key ^ key >> 29);
}

static struct cds_lfht_node *node_of(struct transport *transport)
{
	return (struct cds_lfht_node *)(void *)&transport->node;
}

static int match(struct cds_lfht_node *node, const void *key)
{
	const struct transport *transport = CONTAINER_OF((void *)node, struct transport, node);
	return endpoint_equal(transport->local, *(const struct endpoint *)key);
}

static int hash_init(void)
{
	table = cds_lfht_new_flavor(1024, 1024, 0, CDS_LFHT_AUTO_RESIZE, &urcu_qsbr_flavor, NULL);
	return table == NULL ? -ENOMEM : 0;
}

static void hash_finish(void)
{
	cds_lfht_destroy(table, NULL);
}

static void hash_add(struct transport *transport) RUNS_ON(control_role)
{
	rcu_write_begin();
	cds_lfht_node_init(node_of(transport));
	cds_lfht_add(table, hash_of(transport->local), node_of(transport));
	rcu_write_end();
}

static void hash_remove(struct transport *transport) RUNS_ON(control_role)
{
	rcu_write_begin();
	cds_lfht_del(table, node_of(transport));
	rcu_write_end();
}

struct transport *transport_lookup(struct endpoint local)
{
	struct cds_lfht_iter iter;
	cds_lfht_lookup(table, hash_of(local), match, &local, &iter);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
	return node == NULL ? NULL : CONTAINER_OF((void *)node, struct transport, node);
}

#else // ThreadSanitizer cannot see into liburcu: a plain array by port number, one transport each.

static _Atomic(struct transport *) by_port[65536];

static int hash_init(void)
{
	return 0;
}

static void hash_finish(void)
{
}

static void hash_add(struct transport *transport)
{
	atomic_store_explicit(&by_port[transport->local.port], transport, memory_order_release);
}

static void hash_remove(struct transport *transport)
{
	atomic_store_explicit(&by_port[transport->local.port], NULL, memory_order_release);
}

struct transport *transport_lookup(struct endpoint local)
{
	struct transport *transport = atomic_load_explicit(&by_port[local.port], memory_order_acquire);
	return transport != NULL && endpoint_equal(transport->local, local) ? transport : NULL;
}

#endif

int transport_table_init(struct err *err)
{
	by_id = calloc(TRANSPORTS_MAX, sizeof(*by_id));
	if (by_id == NULL || hash_init() < 0)
		return err_set(err, ENOMEM, "no memory for the transport table");
	return 0;
}

void transport_table_finish(void)
{
	hash_finish();
	free((void *)by_id);
	by_id = NULL;
}

void transport_table_add(struct transport *transport)
{
	hash_add(transport);
	atomic_store_explicit(&by_id[transport_index(transport->id)], transport, memory_order_release);
}

void transport_table_remove(struct transport *transport)
{
	hash_remove(transport);
	atomic_store_explicit(&by_id[transport_index(transport->id)], NULL, memory_order_release);
}

struct transport *transport_by_id(uint64_t id)
{
	struct transport *transport = atomic_load_explicit(&by_id[transport_index(id)], memory_order_acquire);
	return transport != NULL && transport->id == id ? transport : NULL;
}
