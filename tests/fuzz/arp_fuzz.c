// SPDX-License-Identifier: ISC
//
// arp_fuzz.c - a neighbourhood that says anything: ARP frames whole or made up, our own datagrams, and time between them.
//
// Runs on: handshake; there is no other thread.
//
// The input is a row of steps. Whatever comes, a claim that is called spoofed has changed nothing, and every packet buffer comes
// back to the pool.

#include <rte_eal.h>
#include <stdlib.h>

#include "dataplane/arp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUR_IP 0x0a630102u
#define NET 0x0a630100u
#define FRAME_MAX 64
#define STEP_NS 20000000u

enum step { STEP_RAW, STEP_ARP, STEP_TIME, STEP_SEND, STEPS };

static uint64_t now_ns = 1000000000;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void plane_make(void)
{
	static char words[8][20] = {"fuzz", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m64", "--iova-mode=va",
		"--log-level=1"};
	char *arguments[ARRAY_SIZE(words)];
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		arguments[i] = words[i];
	must(rte_eal_init(ARRAY_SIZE(arguments), arguments) >= 0);
	plane.config.worker_count = plane.config.port_count = 1;
	plane.ports[0].config.address = OUR_IP;
	plane.ports[0].config.prefix_bits = 24;
	plane.ports[0].neighbours = calloc(1, sizeof(*plane.ports[0].neighbours));
	plane.workers[0].inject = rte_ring_create("inject", 256, SOCKET_ID_ANY, RING_F_SC_DEQ);
	plane.pool = rte_pktmbuf_pool_create("packets", 1023, 0, PACKET_PRIVATE_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	must(plane.ports[0].neighbours != NULL && plane.workers[0].inject != NULL && plane.pool != NULL);
}

static void sent_free(void)
{
	struct rte_mbuf *mbuf;
	while (rte_ring_sc_dequeue(plane.workers[0].inject, (void **)&mbuf) == 0)
		rte_pktmbuf_free(mbuf);
}

static uint64_t known(uint32_t ip)
{
	struct rte_ether_addr mac;
	return neighbour_lookup(plane.ports[0].neighbours, ip, &mac) ? neighbour_pack(&mac) : 0;
}

// Of exactly that length, so that a byte too many is seen.
static void hear(const uint8_t *frame, size_t bytes) RUNS_ON(handshake_role)
{
	uint8_t *copy = malloc(MAX_OF(bytes, (size_t)1));
	must(copy != NULL);
	memcpy(copy, frame, bytes);
	uint32_t sender = bytes >= 32 ? get_be32(copy + 28) : 0;
	uint64_t before = known(sender);
	enum drop drop = arp_input(0, copy, bytes, now_ns);
	must(drop == DROP_NONE || drop == DROP_ARP_MALFORMED || drop == DROP_ARP_SPOOFED || drop == DROP_ARP_FLOOD);
	must(drop == DROP_NONE || known(sender) == before);
	free(copy);
}

// A message as it should be: opcode, the claimed address and its place, and who is asked for.
static void hear_arp(const uint8_t *says) RUNS_ON(handshake_role)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0};
	uint8_t frame[42] = {0};
	put_be16(frame + 12, 0x0806);
	memcpy(frame + 14, head, sizeof(head));
	frame[21] = says[0] & 3;
	memset(frame + 22, says[1], 6);
	put_be32(frame + 28, says[2] == 0 ? 0 : NET + says[2]);
	put_be32(frame + 38, NET + says[3]);
	hear(frame, sizeof(frame));
}

static void send_to(uint32_t ip) RUNS_ON(handshake_role)
{
	struct rte_mbuf *mbuf = plane_datagram(0, 20000, (struct endpoint){ip, 7882}, (const uint8_t *)"x", 1);
	must(mbuf != NULL);
	arp_send(mbuf, 0, now_ns);
}

static size_t step(const uint8_t *data, size_t size) RUNS_ON(handshake_role)
{
	size_t bytes = MIN_OF((size_t)data[1], MIN_OF(size - 2, (size_t)FRAME_MAX));
	switch (data[0] % STEPS) {
	case STEP_RAW:
		hear(data + 2, bytes);
		return 2 + bytes;
	case STEP_ARP:
		if (size >= 5)
			hear_arp(data + 1);
		return 5;
	case STEP_TIME:
		now_ns += (uint64_t)data[1] * STEP_NS;
		arp_poll(now_ns);
		return 2;
	default:
		send_to(NET + data[1]);
		return 2;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ENTERS(handshake_role);
	if (plane.pool == NULL)
		plane_make();
	must(arp_start() == 0);
	now_ns += 10000000000u; // what was answered before is forgotten
	for (size_t at = 0; at + 2 <= size;) {
		at += step(data + at, size - at);
		sent_free();
	}
	arp_finish();
	sent_free();
	must(rte_mempool_full(plane.pool));
	return 0;
}
