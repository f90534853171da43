// SPDX-License-Identifier: ISC
//
// icmp.c - ICMP echo (RFC 792) and nothing more.
//
// Runs on: handshake.

#include "dataplane/icmp.h"

#include <rte_icmp.h>
#include <rte_ip.h>

#include "dataplane/quota.h"

static uint32_t answers_paid_at OWNED_BY(handshake_role); // quota.h

static void icmp_drop(struct rte_mbuf *mbuf, enum drop reason)
{
	stats_drop(reason, 1);
	rte_pktmbuf_free(mbuf);
}

void icmp_input(struct rte_mbuf *mbuf, uint64_t now_ns)
{
	// The worker has checked Ethernet and IPv4 headers.
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(mbuf, struct rte_ether_hdr *);
	struct rte_ipv4_hdr *ip = (void *)(eth + 1);
	uint16_t header_bytes = (uint16_t)((ip->version_ihl & 15) * 4);
	uint16_t icmp_bytes = (uint16_t)(rte_be_to_cpu_16(ip->total_length) - header_bytes);
	struct rte_icmp_hdr *icmp = (void *)((uint8_t *)ip + header_bytes);
	if (icmp_bytes < sizeof(*icmp) || icmp->icmp_type != RTE_IP_ICMP_ECHO_REQUEST ||
		rte_raw_cksum(icmp, icmp_bytes) != 0xffff) {
		icmp_drop(mbuf, DROP_ICMP_IGNORED);
		return;
	}
	if (!quota_take(&answers_paid_at, now_ns, ANSWER_TICKS_EACH, ANSWERS_MOST)) {
		icmp_drop(mbuf, DROP_ICMP_FLOOD);
		return;
	}
	struct packet *packet = packet_of(mbuf);
	rte_ether_addr_copy(&eth->src_addr, &eth->dst_addr);
	rte_ether_addr_copy(&plane.ports[packet->port].mac, &eth->src_addr);
	uint32_t source = ip->src_addr;
	ip->src_addr = ip->dst_addr;
	ip->dst_addr = source;
	ip->time_to_live = 64;
	ip->hdr_checksum = 0;
	ip->hdr_checksum = (uint16_t)~rte_raw_cksum(ip, header_bytes);
	icmp->icmp_type = RTE_IP_ICMP_ECHO_REPLY;
	icmp->icmp_cksum = 0;
	icmp->icmp_cksum = (uint16_t)~rte_raw_cksum(icmp, icmp_bytes);
	packet->kind = PACKET_OUT_FRAME;
	plane_inject(0, mbuf);
}
