// SPDX-License-Identifier: ISC
//
// transport_table.c - find a transport by where its packets arrive, or by id: two arrays, read under RCU.
//
// By network port and UDP port there is nothing to search: eight bytes a UDP port, so that ten thousand sessions' entries are 80 KiB
// and stay near. A hash table was two to four lines a packet, each known only when the one before it had come.
//
// Runs on: control (writes), worker (reads).

#include "dataplane/transport.h"

#include <stdlib.h>

#define UDP_PORTS 65536u

static _Atomic(struct transport *) *by_id; // [TRANSPORTS_MAX]
static _Atomic(struct transport *) by_port[DATAPLANE_PORTS_MAX][UDP_PORTS]; // pages that nobody uses are never made

int transport_table_init(struct err *err)
{
	by_id = calloc(TRANSPORTS_MAX, sizeof(*by_id));
	if (by_id == NULL)
		return err_set(err, ENOMEM, "no memory for the transport table");
	return 0;
}

void transport_table_finish(void)
{
	free((void *)by_id);
	by_id = NULL;
}

void transport_table_add(struct transport *transport)
{
	atomic_store_explicit(&by_port[transport->port][transport->local.port], transport, memory_order_release);
	atomic_store_explicit(&by_id[transport_index(transport->id)], transport, memory_order_release);
}

void transport_table_remove(struct transport *transport)
{
	atomic_store_explicit(&by_port[transport->port][transport->local.port], NULL, memory_order_release);
	atomic_store_explicit(&by_id[transport_index(transport->id)], NULL, memory_order_release);
}

void transport_prefetch(unsigned port, uint16_t udp_port)
{
	__builtin_prefetch((const void *)&by_port[port][udp_port]);
}

struct transport *transport_lookup(unsigned port, uint16_t udp_port)
{
	return atomic_load_explicit(&by_port[port][udp_port], memory_order_acquire);
}

struct transport *transport_by_id(uint64_t id)
{
	struct transport *transport = atomic_load_explicit(&by_id[transport_index(id)], memory_order_acquire);
	return transport != NULL && transport->id == id ? transport : NULL;
}
