// SPDX-License-Identifier: ISC
//
// neighbour.h - next hops: which MAC address an IPv4 address has. Written by handshake, read by workers without locks.
//
// An entry's address never changes while its MAC is set: the reader checks the address before and after.
#pragma once

#include <rte_ether.h>

#include "dataplane/base.h"
#include "dataplane/deadline.h"
#include "dataplane/roles.h"

#define NEIGHBOURS_MAX 256

struct neighbour_entry {
	_Atomic(uint32_t) ip;  // 0: free
	_Atomic(uint64_t) mac; // 48 bits, bit 63: valid
};

struct neighbour_table {
	struct neighbour_entry entries[NEIGHBOURS_MAX];
};

static inline uint64_t neighbour_pack(const struct rte_ether_addr *mac)
{
	uint64_t packed = 1ull << 63;
	for (int i = 0; i < 6; i++)
		packed |= (uint64_t)mac->addr_bytes[i] << (8 * i);
	return packed;
}

static inline uint32_t neighbour_hash(uint32_t ip)
{
	return (ip * 2654435761u) >> 24;
}

// The MAC of a next hop; false when it is not known (yet). Any thread.
static inline bool neighbour_lookup(struct neighbour_table *table, uint32_t ip, struct rte_ether_addr *ret_mac)
{
	for (uint32_t i = 0, at = neighbour_hash(ip); i < 8; i++, at = (at + 1) % NEIGHBOURS_MAX) {
		struct neighbour_entry *entry = &table->entries[at];
		if (atomic_load_explicit(&entry->ip, memory_order_acquire) != ip)
			continue;
		uint64_t packed = atomic_load_explicit(&entry->mac, memory_order_acquire);
		if (atomic_load_explicit(&entry->ip, memory_order_acquire) != ip || packed >> 63 == 0)
			return false;
		for (int b = 0; b < 6; b++)
			ret_mac->addr_bytes[b] = (uint8_t)(packed >> (8 * b));
		return true;
	}
	return false;
}

// The place of an address, or a free one within its probe length; -1 when there is none, and for 0.0.0.0, which no next hop has.
int neighbour_find(struct neighbour_table *table, uint32_t ip, bool make) RUNS_ON(handshake_role);
void neighbour_set(struct neighbour_table *table, int place, uint64_t packed_mac) RUNS_ON(handshake_role);
void neighbour_remove(struct neighbour_table *table, int place) RUNS_ON(handshake_role);
