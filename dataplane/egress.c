// SPDX-License-Identifier: ISC
//
// egress.c - the way out: what other threads or the worker itself want sent gets its udp, ip4 and eth headers, then goes.
//
// Runs on: worker.

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "dataplane/rtcp.h"
#include "dataplane/worker.h"

#include "dataplane/hot.h"

#define HEADERS_BYTES (sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr))
#define TTL 64
#define RTCP_BYTES_MAX 256
#define CNAME "relay"

static void egress_port_flush(struct worker *worker, unsigned port_index) RUNS_ON(worker_role)
{
	struct port *port = &plane.ports[port_index];
	unsigned count = worker->tx_count[port_index];
	uint16_t queue = (uint16_t)(worker->index % port->queues);
	uint16_t sent = rte_eth_tx_burst(port->id, queue, worker->tx[port_index], (uint16_t)count);
	stats_add(&worker->stats.tx_packets, sent);
	for (unsigned i = sent; i < count; i++)
		worker_drop(worker, worker->tx[port_index][i], DROP_TX_RING_FULL);
	worker->tx_count[port_index] = 0;
}

static void egress_frame(struct worker *worker, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	unsigned port = packet_of(mbuf)->port;
	worker->tx[port][worker->tx_count[port]++] = mbuf;
	if (worker->tx_count[port] == TX_BURST_MAX)
		egress_port_flush(worker, port);
}

static void egress_udp(struct worker *worker, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	const struct packet *packet = packet_of(mbuf);
	struct port *port = &plane.ports[packet->port];
	uint16_t payload_bytes = rte_pktmbuf_data_len(mbuf);
	struct rte_ether_addr next_hop;
	if (UNLIKELY(!neighbour_lookup(port->neighbours, port_next_hop(port, packet->remote.ip), &next_hop))) {
		worker_drop(worker, mbuf, DROP_NEXT_HOP_UNKNOWN);
		return;
	}
	struct rte_ether_hdr *eth = (void *)rte_pktmbuf_prepend(mbuf, HEADERS_BYTES);
	if (UNLIKELY(eth == NULL)) {
		worker_drop(worker, mbuf, DROP_ALLOC_FAILED);
		return;
	}
	rte_ether_addr_copy(&next_hop, &eth->dst_addr);
	rte_ether_addr_copy(&port->mac, &eth->src_addr);
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	struct rte_ipv4_hdr *ip = (void *)(eth + 1);
	*ip = (struct rte_ipv4_hdr){
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = rte_cpu_to_be_16((uint16_t)(HEADERS_BYTES - sizeof(*eth) + payload_bytes)),
		.fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		.time_to_live = TTL,
		.next_proto_id = IPPROTO_UDP,
		.src_addr = rte_cpu_to_be_32(port->config.address),
		.dst_addr = rte_cpu_to_be_32(packet->remote.ip),
	};
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	struct rte_udp_hdr *udp = (void *)(ip + 1);
	*udp = (struct rte_udp_hdr){
		.src_port = rte_cpu_to_be_16(packet->local_port),
		.dst_port = rte_cpu_to_be_16(packet->remote.port),
		.dgram_len = rte_cpu_to_be_16((uint16_t)(sizeof(*udp) + payload_bytes)),
	};
	udp->dgram_cksum = rte_ipv4_udptcp_cksum(ip, udp);
	egress_frame(worker, mbuf);
}

void egress_datagram(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	uint64_t remote = atomic_load_explicit(&transport->remote, memory_order_acquire);
	if (UNLIKELY(remote == 0)) {
		worker_drop(worker, mbuf, DROP_ICE_UNVALIDATED);
		return;
	}
	*packet_of(mbuf) = (struct packet){
		.kind = PACKET_OUT_UDP,
		.port = (uint8_t)transport->port,
		.local_port = transport->local.port,
		.remote = endpoint_unpack(remote),
	};
	stats_add(&transport->tx_packets, 1);
	stats_add(&transport->tx_bytes, rte_pktmbuf_data_len(mbuf));
	egress_udp(worker, mbuf);
}

void egress_record(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	uint16_t plain_bytes = rte_pktmbuf_data_len(mbuf);
	uint8_t *room = (uint8_t *)rte_pktmbuf_prepend(mbuf, DTLS_RECORD_HEAD_BYTES);
	if (UNLIKELY(room == NULL || rte_pktmbuf_append(mbuf, DTLS_RECORD_TAG_BYTES) == NULL)) {
		worker_drop(worker, mbuf, DROP_ALLOC_FAILED);
		return;
	}
	if (UNLIKELY(!ingress_has_record(transport) ||
		    dtls_record_seal(transport->data_rx.record, worker->srtp_mgr, DTLS_APPLICATION, room, plain_bytes) == 0)) {
		worker_drop(worker, mbuf, DROP_DTLS_UNEXPECTED);
		return;
	}
	egress_datagram(worker, transport, mbuf);
}

// An empty mbuf for an answer, with head_bytes left free before it; a drop is counted when there is none.
static struct rte_mbuf *egress_room(struct worker *worker, uint16_t head_bytes) RUNS_ON(worker_role)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	if (UNLIKELY(mbuf == NULL))
		stats_add(&worker->stats.drops[DROP_ALLOC_FAILED], 1);
	else
		mbuf->data_off = (uint16_t)(mbuf->data_off + head_bytes);
	return mbuf;
}

void egress_sack(struct worker *worker, struct transport *transport)
{
	struct rte_mbuf *mbuf = egress_room(worker, DTLS_RECORD_HEAD_BYTES);
	if (mbuf == NULL)
		return;
	uint32_t rwnd = atomic_load_explicit(&transport->rwnd_bytes, memory_order_relaxed);
	size_t bytes = sctp_rx_sack(&transport->data_rx.sctp, rte_pktmbuf_mtod(mbuf, uint8_t *), rwnd);
	rte_pktmbuf_append(mbuf, (uint16_t)bytes);
	egress_record(worker, transport, mbuf);
}

void egress_flight(struct worker *worker, struct transport *transport)
{
	size_t bytes;
	const uint8_t *flight = dtls_record_flight(transport->data_rx.record, worker->now_ns, &bytes);
	struct rte_mbuf *mbuf = flight != NULL ? egress_room(worker, 0) : NULL;
	if (mbuf == NULL)
		return;
	memcpy(rte_pktmbuf_append(mbuf, (uint16_t)bytes), flight, bytes);
	egress_datagram(worker, transport, mbuf);
}

void egress_goodbye(struct worker *worker, struct transport *transport)
{
	if (!ingress_has_record(transport))
		return;
	struct rte_mbuf *mbuf = transport->data_rx.sctp.up ? egress_room(worker, DTLS_RECORD_HEAD_BYTES) : NULL;
	if (mbuf != NULL) {
		size_t bytes = sctp_rx_abort(&transport->data_rx.sctp, rte_pktmbuf_mtod(mbuf, uint8_t *));
		rte_pktmbuf_append(mbuf, (uint16_t)bytes);
		egress_record(worker, transport, mbuf);
	}
	mbuf = egress_room(worker, 0);
	if (mbuf == NULL)
		return;
	size_t bytes = dtls_record_seal_close(transport->data_rx.record, worker->srtp_mgr, rte_pktmbuf_mtod(mbuf, uint8_t *));
	rte_pktmbuf_append(mbuf, (uint16_t)bytes);
	egress_datagram(worker, transport, mbuf);
}

static void egress_sctp(struct worker *worker, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	struct transport *transport = transport_by_id(packet_of(mbuf)->transport);
	if (UNLIKELY(transport == NULL))
		worker_drop(worker, mbuf, DROP_STALE_GENERATION);
	else
		egress_record(worker, transport, mbuf);
}

void egress_inject(struct worker *worker, struct rte_mbuf **mbufs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (packet_of(mbufs[i])->kind == PACKET_OUT_FRAME)
			egress_frame(worker, mbufs[i]);
		else if (packet_of(mbufs[i])->kind == PACKET_OUT_SCTP)
			egress_sctp(worker, mbufs[i]);
		else
			egress_udp(worker, mbufs[i]);
	}
}

void egress_flush(struct worker *worker)
{
	for (unsigned p = 0; p < plane.config.port_count; p++)
		if (worker->tx_count[p] > 0)
			egress_port_flush(worker, p);
}

// RTCP of ours that lies in the mbuf, protected and sent.
static void egress_rtcp(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf, uint32_t bytes)
	RUNS_ON(worker_role)
{
	if (srtcp_protect(worker->srtp_mgr, transport->rx.srtp, rte_pktmbuf_mtod(mbuf, uint8_t *), &bytes) != 0) {
		worker_drop(worker, mbuf, DROP_SRTP_NO_KEYS);
		return;
	}
	rte_pktmbuf_append(mbuf, (uint16_t)bytes);
	egress_datagram(worker, transport, mbuf);
}

void egress_report(struct worker *worker, struct transport *transport)
{
	struct source_reception reception;
	if (atomic_load_explicit(&transport->remote, memory_order_acquire) == 0 ||
		!source_reception_report(transport->source, transport->id, worker->now_ns, &reception))
		return;
	struct rte_mbuf *mbuf = egress_room(worker, 0);
	if (mbuf == NULL)
		return;
	uint8_t *data = rte_pktmbuf_mtod(mbuf, uint8_t *);
	egress_rtcp(worker, transport, mbuf,
		(uint32_t)rtcp_build_rr(data, RTCP_BYTES_MAX, transport->local_ssrc, &reception, 1, CNAME));
}

void egress_ask(struct worker *worker, struct transport *transport)
{
	struct source_ask ask;
	if (LIKELY(!source_ask(transport->source, transport->id, worker->now_ns, &ask)) ||
		atomic_load_explicit(&transport->remote, memory_order_acquire) == 0)
		return;
	struct rte_mbuf *mbuf = egress_room(worker, 0);
	if (mbuf == NULL)
		return;
	uint8_t *data = rte_pktmbuf_mtod(mbuf, uint8_t *);
	size_t bytes = rtcp_build_rr(data, RTCP_BYTES_MAX, transport->local_ssrc, NULL, 0, CNAME);
	bytes += rtcp_build_nack(data + bytes, RTCP_BYTES_MAX - bytes, transport->local_ssrc, ask.ssrc, ask.first, ask.missing);
	egress_rtcp(worker, transport, mbuf, (uint32_t)bytes);
}
