// SPDX-License-Identifier: ISC
//
// arp.c - ARP (RFC 826): answer for our addresses, learn next hops, age them.
//
// Runs on: handshake. A claim does not move a next hop that works: it makes us ask, and counts only when the known address
// leaves several questions unanswered.

#include "dataplane/arp.h"

#include "dataplane/quota.h"

#include <rte_arp.h>

#define ARP_REACHABLE_NS 30000000000ull
#define ARP_FIRST_RETRY_NS 100000000ull
#define ARP_RETRY_MAX_NS 1000000000ull
#define ARP_TRIES_MAX 5
#define ARP_WAITING_MAX 4
#define ARP_MOVED_TRIES 3                // unanswered questions until another MAC address is believed
#define ARP_DOUBT_INTERVAL_NS 1000000000u // a claim makes us ask at most so often

enum arp_state { ARP_INCOMPLETE, ARP_REACHABLE, ARP_PROBING };

struct arp_entry {
	struct deadline timer;
	bool used;
	enum arp_state state;
	unsigned tries;
	uint32_t ip;
	uint64_t confirmed_ns;
	uint32_t answers_paid_at; // quota.h: a next hop is answered however many strangers ask
	unsigned port, worker;
	struct rte_mbuf *waiting[ARP_WAITING_MAX];
	unsigned waiting_count;
};

static struct arp_entry entries[DATAPLANE_PORTS_MAX][NEIGHBOURS_MAX] OWNED_BY(handshake_role);
static struct deadline_heap timers OWNED_BY(handshake_role);
static uint32_t answers_paid_at OWNED_BY(handshake_role); // of everybody else

static void arp_emit(unsigned port_index, unsigned worker, uint16_t opcode, const struct rte_ether_addr *to,
	uint32_t target_ip) RUNS_ON(handshake_role)
{
	const struct port *port = &plane.ports[port_index];
	static const struct rte_ether_addr broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	static const struct rte_ether_addr zero = {{0}};
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	if (mbuf == NULL) {
		stats_drop(DROP_ALLOC_FAILED, 1);
		return;
	}
	struct rte_ether_hdr *eth = (void *)rte_pktmbuf_append(mbuf, sizeof(*eth) + sizeof(struct rte_arp_hdr));
	rte_ether_addr_copy(to != NULL ? to : &broadcast, &eth->dst_addr);
	rte_ether_addr_copy(&port->mac, &eth->src_addr);
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
	struct rte_arp_hdr *arp = (void *)(eth + 1);
	arp->arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = RTE_ETHER_ADDR_LEN;
	arp->arp_plen = 4;
	arp->arp_opcode = rte_cpu_to_be_16(opcode);
	rte_ether_addr_copy(&port->mac, &arp->arp_data.arp_sha);
	arp->arp_data.arp_sip = rte_cpu_to_be_32(port->config.address);
	rte_ether_addr_copy(opcode == RTE_ARP_OP_REPLY ? to : &zero, &arp->arp_data.arp_tha);
	arp->arp_data.arp_tip = rte_cpu_to_be_32(target_ip);
	*packet_of(mbuf) = (struct packet){.kind = PACKET_OUT_FRAME, .port = (uint8_t)port_index};
	plane_inject(worker, mbuf);
}

static struct arp_entry *arp_entry_of(unsigned port, uint32_t ip, bool make) RUNS_ON(handshake_role)
{
	int place = neighbour_find(plane.ports[port].neighbours, ip, make);
	if (place < 0)
		return NULL;
	struct arp_entry *entry = &entries[port][place];
	if (!entry->used)
		*entry = (struct arp_entry){.used = true, .ip = ip, .port = port, .state = ARP_INCOMPLETE};
	return entry;
}

static void arp_ask(struct arp_entry *entry, uint64_t now_ns) RUNS_ON(handshake_role)
{
	uint64_t wait_ns = ARP_FIRST_RETRY_NS << MIN_OF(entry->tries, 4u);
	entry->tries++;
	arp_emit(entry->port, entry->worker, RTE_ARP_OP_REQUEST, NULL, entry->ip);
	deadline_set(&timers, &entry->timer, now_ns + MIN_OF(wait_ns, ARP_RETRY_MAX_NS));
}

static void arp_forget(struct arp_entry *entry) RUNS_ON(handshake_role)
{
	for (unsigned i = 0; i < entry->waiting_count; i++) {
		stats_drop(DROP_NEXT_HOP_UNKNOWN, 1);
		rte_pktmbuf_free(entry->waiting[i]);
	}
	deadline_clear(&timers, &entry->timer);
	neighbour_remove(plane.ports[entry->port].neighbours, (int)(entry - entries[entry->port]));
	*entry = (struct arp_entry){0};
}

static void arp_learn(struct arp_entry *entry, const struct rte_ether_addr *mac, uint64_t now_ns) RUNS_ON(handshake_role)
{
	neighbour_set(plane.ports[entry->port].neighbours, (int)(entry - entries[entry->port]), neighbour_pack(mac));
	entry->state = ARP_REACHABLE;
	entry->tries = 0;
	entry->confirmed_ns = now_ns;
	deadline_set(&timers, &entry->timer, now_ns + ARP_REACHABLE_NS);
	for (unsigned i = 0; i < entry->waiting_count; i++)
		plane_inject(entry->worker, entry->waiting[i]);
	entry->waiting_count = 0;
}

// Somebody says where a next hop is.
static enum drop arp_claim(struct arp_entry *entry, const struct rte_ether_addr *mac, uint64_t now_ns) RUNS_ON(handshake_role)
{
	struct rte_ether_addr known;
	bool other = neighbour_lookup(plane.ports[entry->port].neighbours, entry->ip, &known) &&
		     !rte_is_same_ether_addr(&known, mac);
	if (other && entry->state == ARP_REACHABLE && now_ns - entry->confirmed_ns >= ARP_DOUBT_INTERVAL_NS) {
		entry->state = ARP_PROBING;
		arp_ask(entry, now_ns);
	}
	if (other && (entry->state == ARP_REACHABLE || entry->tries < ARP_MOVED_TRIES))
		return DROP_ARP_SPOOFED;
	if (entry->state != ARP_REACHABLE)
		arp_learn(entry, mac, now_ns);
	return DROP_NONE;
}

enum drop arp_input(unsigned port_index, const uint8_t *frame, size_t bytes, uint64_t now_ns)
{
	const struct port *port = &plane.ports[port_index];
	if (bytes < sizeof(struct rte_ether_hdr) + sizeof(struct rte_arp_hdr))
		return DROP_ARP_MALFORMED;
	const struct rte_arp_hdr *arp = (const void *)(frame + sizeof(struct rte_ether_hdr));
	if (arp->arp_hardware != RTE_BE16(RTE_ARP_HRD_ETHER) || arp->arp_protocol != RTE_BE16(RTE_ETHER_TYPE_IPV4) ||
		arp->arp_hlen != RTE_ETHER_ADDR_LEN || arp->arp_plen != 4)
		return DROP_ARP_MALFORMED;
	uint32_t sender_ip = rte_be_to_cpu_32(arp->arp_data.arp_sip);
	uint32_t target_ip = rte_be_to_cpu_32(arp->arp_data.arp_tip);
	// A probe (RFC 5227) comes from 0.0.0.0, which has no entry: it is answered, and nothing is learned from it.
	struct arp_entry *entry = arp_entry_of(port_index, sender_ip, false);
	enum drop drop = entry != NULL ? arp_claim(entry, &arp->arp_data.arp_sha, now_ns) : DROP_NONE;
	if (arp->arp_opcode != RTE_BE16(RTE_ARP_OP_REQUEST) || target_ip != port->config.address)
		return drop;
	uint32_t *paid_at = entry != NULL && drop == DROP_NONE ? &entry->answers_paid_at : &answers_paid_at;
	if (!quota_take(paid_at, now_ns, ANSWER_TICKS_EACH, ANSWERS_MOST))
		return DROP_ARP_FLOOD;
	arp_emit(port_index, 0, RTE_ARP_OP_REPLY, &arp->arp_data.arp_sha, sender_ip);
	return drop;
}

void arp_send(struct rte_mbuf *mbuf, unsigned worker, uint64_t now_ns)
{
	const struct packet *packet = packet_of(mbuf);
	const struct port *port = &plane.ports[packet->port];
	uint32_t next_hop = port_next_hop(port, packet->remote.ip);
	struct rte_ether_addr mac;
	if (neighbour_lookup(port->neighbours, next_hop, &mac)) {
		plane_inject(worker, mbuf);
		return;
	}
	struct arp_entry *entry = arp_entry_of(packet->port, next_hop, true);
	if (entry == NULL || entry->waiting_count == ARP_WAITING_MAX) {
		stats_drop(DROP_NEXT_HOP_UNKNOWN, 1);
		rte_pktmbuf_free(mbuf);
		return;
	}
	entry->waiting[entry->waiting_count++] = mbuf;
	entry->worker = worker;
	if (entry->tries == 0)
		arp_ask(entry, now_ns);
}

uint64_t arp_poll(uint64_t now_ns)
{
	for (struct deadline *due; (due = deadline_due(&timers, now_ns)) != NULL;) {
		struct arp_entry *entry = CONTAINER_OF(due, struct arp_entry, timer);
		if (entry->state == ARP_REACHABLE)
			entry->state = ARP_PROBING; // still used meanwhile
		if (entry->tries >= ARP_TRIES_MAX)
			arp_forget(entry);
		else
			arp_ask(entry, now_ns);
	}
	return deadline_next(&timers);
}

int arp_start(void)
{
	return deadline_reserve(&timers, ARRAY_SIZE(entries) * NEIGHBOURS_MAX);
}

void arp_finish(void)
{
	for (unsigned p = 0; p < plane.config.port_count; p++)
		for (unsigned i = 0; i < NEIGHBOURS_MAX; i++)
			if (entries[p][i].used)
				arp_forget(&entries[p][i]);
	deadline_finish(&timers);
}
