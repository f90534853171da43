// SPDX-License-Identifier: ISC
//
// neighbour.c - the writer's side of the next-hop table.
//
// Runs on: handshake.

#include "dataplane/neighbour.h"

int neighbour_find(struct neighbour_table *table, uint32_t ip, bool make)
{
	int free_place = -1;
	if (ip == 0)
		return -1; // it would be found in every free place
	for (uint32_t i = 0, at = neighbour_hash(ip); i < 8; i++, at = (at + 1) % NEIGHBOURS_MAX) {
		uint32_t held = atomic_load_explicit(&table->entries[at].ip, memory_order_relaxed);
		if (held == ip)
			return (int)at;
		if (held == 0 && free_place < 0)
			free_place = (int)at;
	}
	if (make && free_place >= 0)
		atomic_store_explicit(&table->entries[free_place].ip, ip, memory_order_release);
	return make ? free_place : -1;
}

void neighbour_set(struct neighbour_table *table, int place, uint64_t packed_mac)
{
	atomic_store_explicit(&table->entries[place].mac, packed_mac, memory_order_release);
}

void neighbour_remove(struct neighbour_table *table, int place)
{
	atomic_store_explicit(&table->entries[place].mac, 0, memory_order_release);
	atomic_store_explicit(&table->entries[place].ip, 0, memory_order_release);
}
