// SPDX-License-Identifier: ISC
//
// arp_test.c - next hops are learned, confirmed, doubted, and moved only when the old one is silent; fake time, no threads.
//
// Runs on: handshake.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <rte_eal.h>
#include <stdlib.h>

#include "dataplane/arp.h"
#include "dataplane/plane.h"

#define OUR_IP 0x0a630102u
#define HOP 0x0a630101u
#define MS 1000000ull

static uint64_t now_ns = 1000 * MS;

// What was asked since the last call.
static unsigned questions(void)
{
	struct rte_mbuf *mbuf;
	unsigned count = 0;
	while (rte_ring_sc_dequeue(plane.workers[0].inject, (void **)&mbuf) == 0) {
		count += get_be16(rte_pktmbuf_mtod(mbuf, uint8_t *) + 12) == 0x0806;
		rte_pktmbuf_free(mbuf);
	}
	return count;
}

// A message about us: opcode 1 asks, 2 answers.
static enum drop hear(uint8_t opcode, uint32_t sender, uint8_t mac_byte)
{
	ENTERS(handshake_role);
	uint8_t frame[42] = {0};
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0};
	memcpy(frame + 14, head, sizeof(head));
	frame[21] = opcode;
	memset(frame + 22, mac_byte, 6);
	put_be32(frame + 28, sender);
	put_be32(frame + 38, OUR_IP);
	return arp_input(0, frame, sizeof(frame), now_ns);
}

static enum drop claim(uint8_t mac_byte)
{
	return hear(2, HOP, mac_byte);
}

static uint8_t known_of(uint32_t ip)
{
	struct rte_ether_addr mac;
	return neighbour_lookup(plane.ports[0].neighbours, ip, &mac) ? mac.addr_bytes[0] : 0;
}

static uint8_t known(void)
{
	return known_of(HOP);
}

static void pass(unsigned ms)
{
	ENTERS(handshake_role);
	for (; ms > 0; ms -= 10) {
		now_ns += 10 * MS;
		arp_poll(now_ns);
	}
}

static void send_to(uint32_t ip)
{
	ENTERS(handshake_role);
	struct rte_mbuf *mbuf = plane_datagram(0, 20000, (struct endpoint){ip, 7882}, (const uint8_t *)"x", 1);
	assert_non_null(mbuf);
	arp_send(mbuf, 0, now_ns);
}

static void send_something(void)
{
	send_to(HOP);
}

static void learned_when_asked(void **state)
{
	assert_int_equal(claim(2), DROP_NONE);
	assert_int_equal(known(), 0); // nobody asked
	send_something();
	assert_int_equal(questions(), 1);
	assert_int_equal(claim(2), DROP_NONE);
	assert_int_equal(known(), 2);
	questions();
}

static void thief_while_it_answers(void **state)
{
	assert_int_equal(claim(6), DROP_ARP_SPOOFED);
	assert_int_equal(questions(), 0); // confirmed a moment ago
	pass(2000);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(claim(6), DROP_ARP_SPOOFED);
	assert_int_equal(questions(), 1); // in doubt we ask, once
	assert_int_equal(claim(2), DROP_NONE);
	assert_int_equal(claim(6), DROP_ARP_SPOOFED);
	assert_int_equal(known(), 2);
}

// After 30 s we ask by ourselves: the thief is quicker, the owner answers all the same.
static void thief_while_we_ask(void **state)
{
	for (unsigned round = 0; round < 5; round++) {
		pass(30000);
		assert_true(questions() >= 1);
		assert_int_equal(claim(6), DROP_ARP_SPOOFED);
		assert_int_equal(claim(2), DROP_NONE);
		assert_int_equal(known(), 2);
	}
}

// A gateway that failed over: the old address is silent, the new one is believed within a second.
static void moved(void **state)
{
	pass(2000);
	assert_int_equal(claim(3), DROP_ARP_SPOOFED);
	assert_int_equal(questions(), 1);
	pass(200);
	assert_int_equal(claim(3), DROP_ARP_SPOOFED);
	pass(600);
	assert_true(questions() >= 2);
	assert_int_equal(claim(3), DROP_NONE);
	assert_int_equal(known(), 3);
}

// Who looks whether its address is free says 0.0.0.0 and its MAC address, as every DHCP client does: that is nobody's next hop.
static void probe_teaches_nothing(void **state)
{
	ENTERS(handshake_role);
	struct neighbour_table *table = plane.ports[0].neighbours;
	questions();
	assert_int_equal(neighbour_find(table, 0, false), -1);
	assert_int_equal(neighbour_find(table, 0, true), -1);
	assert_int_equal(hear(1, 0, 9), DROP_NONE);
	assert_int_equal(questions(), 1); // the answer: it is taken
	for (unsigned i = 0; i < NEIGHBOURS_MAX; i++)
		assert_true(atomic_load(&table->entries[i].ip) != 0 || atomic_load(&table->entries[i].mac) == 0);
	// A next hop that gets the place in which 0.0.0.0 would have been found.
	uint32_t hop = HOP + 1;
	while (neighbour_hash(hop) != 0)
		hop++;
	send_to(hop);
	assert_int_equal(known_of(hop), 0);
	assert_int_equal(questions(), 1); // it is asked, not sent to a stranger
	assert_int_equal(hear(2, hop, 4), DROP_NONE);
	assert_int_equal(known_of(hop), 4);
	questions();
}

// Strangers that ask without end are answered now and then; the next hop that asks among them is answered.
static void more_questions_than_are_answered(void **state)
{
	(void)state;
	unsigned answered = 0, turned_away = 0;
	questions();
	for (unsigned ms = 0; ms < 1000; ms++, now_ns += MS) {
		for (unsigned i = 0; i < 20; i++) {
			enum drop drop = hear(1, OUR_IP + 7 + i, 9);
			assert_true(drop == DROP_NONE || drop == DROP_ARP_FLOOD);
			turned_away += drop == DROP_ARP_FLOOD;
		}
		answered += questions();
		if (ms % 100 == 0) {
			assert_int_equal(hear(1, HOP, known()), DROP_NONE);
			assert_int_equal(questions(), 1);
		}
	}
	assert_int_equal(answered + turned_away, 20000);
	assert_in_range(answered, ANSWERS_MOST + 900, ANSWERS_MOST + 1000);
}

static void malformed(void **state)
{
	ENTERS(handshake_role);
	uint8_t frame[42] = {0};
	for (size_t bytes = 0; bytes <= sizeof(frame); bytes++)
		assert_int_equal(arp_input(0, frame, bytes, now_ns), DROP_ARP_MALFORMED);
}

static int start(void **state)
{
	static char words[7][20] = {"test", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m64", "--log-level=1"};
	char *arguments[ARRAY_SIZE(words)];
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		arguments[i] = words[i];
	if (rte_eal_init(ARRAY_SIZE(words), arguments) < 0)
		return -1;
	plane.config.port_count = plane.config.worker_count = 1;
	plane.ports[0].config.address = OUR_IP;
	plane.ports[0].config.prefix_bits = 24;
	plane.ports[0].neighbours = calloc(1, sizeof(*plane.ports[0].neighbours));
	plane.workers[0].inject = rte_ring_create("inject", 256, SOCKET_ID_ANY, RING_F_SC_DEQ);
	plane.pool = rte_pktmbuf_pool_create("packets", 255, 0, PACKET_PRIVATE_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	return plane.pool != NULL && plane.workers[0].inject != NULL ? 0 : -1;
}

static int stop(void **state)
{
	ENTERS(handshake_role);
	arp_finish();
	questions();
	bool whole = rte_mempool_full(plane.pool);
	free(plane.ports[0].neighbours);
	rte_ring_free(plane.workers[0].inject);
	rte_mempool_free(plane.pool);
	rte_eal_cleanup();
	return whole ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learned_when_asked), cmocka_unit_test(thief_while_it_answers), cmocka_unit_test(thief_while_we_ask),
		cmocka_unit_test(moved), cmocka_unit_test(probe_teaches_nothing),
		cmocka_unit_test(more_questions_than_are_answered), cmocka_unit_test(malformed),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
