// SPDX-License-Identifier: ISC
//
// ingress_test.c - what the handshake thread looks at first: as much of a known peer as it needs, and nothing that strangers send.
//
// Runs on: worker (the test), no threads.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <rte_ip.h>
#include <stdlib.h>

#include "dataplane/worker.h"

#define OUR_IP 0x0a630102u
#define PEER ((struct endpoint){0x0a630101u, 7882})
#define STRANGER ((struct endpoint){0x0a630103u, 7882})
#define AT_ONCE 100u // what goes before strangers (ingress.c)
#define MANY 1000u

static const struct rte_ether_addr hop = {{2, 0, 0, 0, 0, 1}};
static struct transport *transports[2];

static unsigned emptied(struct rte_ring *ring)
{
	struct rte_mbuf *mbuf;
	unsigned count = 0;
	for (; rte_ring_sc_dequeue(ring, (void **)&mbuf) == 0; count++)
		rte_pktmbuf_free(mbuf);
	return count;
}

static void receive(const uint8_t *frame, uint16_t bytes)
{
	ENTERS(worker_role);
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	assert_non_null(mbuf);
	memcpy(rte_pktmbuf_append(mbuf, bytes), frame, bytes);
	ingress_wire(&plane.workers[0], 0, &mbuf, 1);
}

static void receive_udp(unsigned to, struct endpoint from, uint8_t first)
{
	ENTERS(worker_role);
	uint8_t frame[80] = {0};
	struct rte_ipv4_hdr *ip = (void *)(frame + 14);
	put_be16(frame + 12, 0x0800);
	ip->version_ihl = 0x45;
	ip->time_to_live = 64;
	ip->next_proto_id = 17;
	ip->total_length = rte_cpu_to_be_16(sizeof(frame) - 14);
	ip->src_addr = rte_cpu_to_be_32(from.ip);
	ip->dst_addr = rte_cpu_to_be_32(OUR_IP);
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	put_be16(frame + 34, from.port);
	put_be16(frame + 36, transports[to]->local.port);
	put_be16(frame + 38, sizeof(frame) - 34);
	frame[42] = first;
	receive(frame, sizeof(frame));
}

static void receive_arp(uint8_t mac_byte)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 2};
	uint8_t frame[42] = {0};
	put_be16(frame + 12, 0x0806);
	memcpy(frame + 14, head, sizeof(head));
	memcpy(frame + 22, hop.addr_bytes, sizeof(hop));
	frame[27] = mac_byte;
	put_be32(frame + 28, PEER.ip);
	receive(frame, sizeof(frame));
}

static void assert_punted(unsigned known, unsigned strangers)
{
	assert_int_equal(emptied(plane.punt_known), known);
	assert_int_equal(emptied(plane.punt), strangers);
}

static uint64_t drops(enum drop reason)
{
	return stats_get(&plane.workers[0].stats.drops[reason]);
}

static void known_as_far_as_needed(void **state)
{
	(void)state;
	ENTERS(worker_role);
	static const uint8_t firsts[] = {0, 1, 22}; // STUN, STUN, a DTLS handshake
	for (unsigned i = 0; i < ARRAY_SIZE(firsts); i++) {
		plane.workers[0].now_ns += 10000000000u;
		for (unsigned n = 0; n < MANY; n++)
			receive_udp(0, PEER, firsts[i]);
		assert_punted(AT_ONCE, MANY - AT_ONCE);
		receive_udp(1, PEER, firsts[i]); // the other one has its own
		assert_punted(1, 0);
		plane.workers[0].now_ns += 1000000000u;
		for (unsigned n = 0; n < MANY; n++)
			receive_udp(0, PEER, firsts[i]);
		assert_punted(47, MANY - 47);
	}
}

// A flood of theirs takes nothing from the peer.
static void strangers_behind(void **state)
{
	(void)state;
	ENTERS(worker_role);
	plane.workers[0].now_ns += 10000000000u;
	for (unsigned n = 0; n < MANY; n++)
		receive_udp(0, STRANGER, 1);
	assert_punted(0, MANY);
	receive_udp(0, PEER, 1);
	assert_punted(1, 0);
}

static void hops_as_far_as_needed(void **state)
{
	(void)state;
	ENTERS(worker_role);
	plane.workers[0].now_ns += 10000000000u;
	for (unsigned n = 0; n < MANY; n++)
		receive_arp(9);
	assert_punted(0, MANY); // a claim
	for (unsigned n = 0; n < MANY; n++)
		receive_arp(hop.addr_bytes[5]);
	assert_punted(AT_ONCE, MANY - AT_ONCE);
}

// Who is known and turned away is counted apart from strangers.
static void names_of_full_rings(void **state)
{
	(void)state;
	ENTERS(worker_role);
	struct rte_ring *known = plane.punt_known, *strangers = plane.punt;
	plane.workers[0].now_ns += 10000000000u;
	plane.punt_known = plane.punt = rte_ring_create("small", 16, SOCKET_ID_ANY, RING_F_SC_DEQ);
	assert_non_null(plane.punt);
	for (unsigned n = 0; n < 20; n++)
		receive_udp(0, PEER, 1);
	assert_int_equal(drops(DROP_PUNT_KNOWN_FULL), 5);
	assert_int_equal(drops(DROP_PUNT_FULL), 0);
	receive_udp(0, STRANGER, 1);
	assert_int_equal(drops(DROP_PUNT_KNOWN_FULL), 5);
	assert_int_equal(drops(DROP_PUNT_FULL), 1);
	assert_int_equal(emptied(plane.punt), 15);
	rte_ring_free(plane.punt);
	plane.punt_known = known;
	plane.punt = strangers;
}

static struct transport *transport_make(unsigned index)
{
	ENTERS(control_role);
	struct transport *transport = aligned_alloc(CACHE_LINE_BYTES, sizeof(*transport));
	if (transport == NULL)
		return NULL;
	memset(transport, 0, sizeof(*transport));
	transport->id = (uint64_t)(index + 1) << 20 | index;
	transport->local = (struct endpoint){OUR_IP, (uint16_t)(20000 + index)};
	atomic_store(&transport->remote, endpoint_pack(PEER));
	transport_table_add(transport);
	return transport;
}

static int start(void **state)
{
	(void)state;
	ENTERS(worker_role);
	ENTERS(handshake_role);
	static char words[7][20] = {"test", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m64", "--log-level=1"};
	char *arguments[ARRAY_SIZE(words)];
	struct err err = {""};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		arguments[i] = words[i];
	if (rte_eal_init(ARRAY_SIZE(words), arguments) < 0 || transport_table_init(&err) < 0)
		return -1;
	plane.config.port_count = plane.config.worker_count = 1;
	plane.ports[0].config.address = OUR_IP;
	plane.ports[0].neighbours = calloc(1, sizeof(*plane.ports[0].neighbours));
	plane.punt = rte_ring_create("punt", 2048, SOCKET_ID_ANY, RING_F_SC_DEQ);
	plane.punt_known = rte_ring_create("punt_known", 2048, SOCKET_ID_ANY, RING_F_SC_DEQ);
	plane.pool = rte_pktmbuf_pool_create("packets", 2047, 0, PACKET_PRIVATE_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	transports[0] = transport_make(0);
	transports[1] = transport_make(1);
	if (plane.ports[0].neighbours == NULL || plane.punt == NULL || plane.punt_known == NULL || plane.pool == NULL ||
		transports[0] == NULL || transports[1] == NULL)
		return -1;
	struct neighbour_table *table = plane.ports[0].neighbours;
	neighbour_set(table, neighbour_find(table, PEER.ip, true), neighbour_pack(&hop));
	plane.workers[0].now_ns = 1000000000;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	ENTERS(control_role);
	bool whole = rte_mempool_full(plane.pool);
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		transport_table_remove(transports[i]);
		free(transports[i]);
	}
	transport_table_finish();
	free(plane.ports[0].neighbours);
	rte_ring_free(plane.punt);
	rte_ring_free(plane.punt_known);
	rte_mempool_free(plane.pool);
	rte_eal_cleanup();
	return whole ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(known_as_far_as_needed), cmocka_unit_test(strangers_behind),
		cmocka_unit_test(hops_as_far_as_needed), cmocka_unit_test(names_of_full_rings)};
	return cmocka_run_group_tests(tests, start, stop);
}
