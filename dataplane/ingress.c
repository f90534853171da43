// SPDX-License-Identifier: ISC
//
// ingress.c - the story of a packet, wire to PCM: eth, ip4, udp, transport, classify, srtp, rtp, source. Its second branch,
// DTLS records with SCTP and data packets inside, is ingress_data.c.
//
// Runs on: worker. Media stays here; everything else is punted to handshake or assoc through a bounded ring. A packet of a
// transport that another worker owns is handed over once its transport is known.

#include <netinet/in.h>
#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "dataplane/classify.h"
#include "dataplane/rtcp.h"
#include "dataplane/rtp.h"
#include "dataplane/worker.h"

#include "dataplane/hot.h"

#define AHEAD 5u // packets between a source's lines being asked for and being needed

// What is looked at before strangers: 48 datagrams a second of a transport, 100 at once, and as many confirmations of next hops. A
// handshake is some twenty datagrams, checks are a few a second, consent is one in two.
#define KNOWN_TICKS_EACH 320u
#define KNOWN_MOST 100u

// What of a burst is SRTP waits here for one call into the crypto library.
struct ingress_batch {
	struct srtp_job jobs[BURST_MAX];
	struct rte_mbuf *mbufs[BURST_MAX];
	struct transport *transports[BURST_MAX];
	unsigned count;
	// And what is DTLS, while its transport's state comes nearer.
	struct rte_mbuf *dtls_mbufs[BURST_MAX];
	struct transport *dtls_transports[BURST_MAX];
	unsigned dtls_count;
};

static void punt(struct worker *worker, struct rte_ring *ring, struct doorbell *bell, struct rte_mbuf *mbuf,
	enum packet_kind kind, enum drop full) RUNS_ON(worker_role)
{
	packet_of(mbuf)->kind = (uint8_t)kind;
	if (UNLIKELY(rte_ring_mp_enqueue(ring, mbuf) != 0)) {
		worker_drop(worker, mbuf, full);
		return;
	}
	doorbell_ring(bell);
}

// To the handshake thread, before strangers if it is known.
static void ingress_punt(struct worker *worker, struct rte_mbuf *mbuf, enum packet_kind kind, bool known) RUNS_ON(worker_role)
{
	struct rte_ring *ring = known ? plane.punt_known : plane.punt;
	punt(worker, ring, &plane.punt_bell, mbuf, kind, known ? DROP_PUNT_KNOWN_FULL : DROP_PUNT_FULL);
}

// eth: is it for us, and what is inside. Leaves the data at the network header.
static enum drop ingress_eth(const struct port *port, struct rte_mbuf *mbuf, uint16_t *ret_type)
{
	if (UNLIKELY(rte_pktmbuf_data_len(mbuf) < sizeof(struct rte_ether_hdr)))
		return DROP_ETH_SHORT;
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(mbuf, const struct rte_ether_hdr *);
	if (UNLIKELY(!rte_is_same_ether_addr(&eth->dst_addr, &port->mac) && !rte_is_broadcast_ether_addr(&eth->dst_addr)))
		return DROP_ETH_NOT_FOR_US;
	*ret_type = rte_be_to_cpu_16(eth->ether_type);
	return DROP_NONE;
}

static bool ingress_ip4_sum_is_good(const struct rte_mbuf *mbuf, const struct rte_ipv4_hdr *ip, uint16_t header_bytes)
{
	uint64_t by_hardware = mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
	if (by_hardware == RTE_MBUF_F_RX_IP_CKSUM_BAD)
		return false;
	return by_hardware == RTE_MBUF_F_RX_IP_CKSUM_GOOD || rte_raw_cksum(ip, header_bytes) == 0xffff;
}

// ip4: header, checksum, destination. ret_protocol and the offset of what follows.
static enum drop ingress_ip4(const struct port *port, struct rte_mbuf *mbuf, uint8_t *ret_protocol,
	uint16_t *ret_offset, uint16_t *ret_bytes)
{
	uint16_t at = sizeof(struct rte_ether_hdr);
	if (UNLIKELY(rte_pktmbuf_data_len(mbuf) < at + sizeof(struct rte_ipv4_hdr)))
		return DROP_IP4_MALFORMED;
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(mbuf, const struct rte_ipv4_hdr *, at);
	uint16_t header_bytes = (uint16_t)((ip->version_ihl & 15) * 4);
	uint16_t total = rte_be_to_cpu_16(ip->total_length);
	if (UNLIKELY(ip->version_ihl >> 4 != 4 || header_bytes < sizeof(*ip) || total < header_bytes ||
		    at + total > rte_pktmbuf_data_len(mbuf)))
		return DROP_IP4_MALFORMED;
	if (UNLIKELY(!ingress_ip4_sum_is_good(mbuf, ip, header_bytes)))
		return DROP_IP4_BAD_CHECKSUM;
	if (UNLIKELY(rte_be_to_cpu_32(ip->dst_addr) != port->config.address))
		return DROP_IP4_NOT_FOR_US;
	if (UNLIKELY((rte_be_to_cpu_16(ip->fragment_offset) & 0x3fff) != 0))
		return DROP_IP4_FRAGMENT;
	*ret_protocol = ip->next_proto_id;
	*ret_offset = (uint16_t)(at + header_bytes);
	*ret_bytes = (uint16_t)(total - header_bytes);
	packet_of(mbuf)->remote.ip = rte_be_to_cpu_32(ip->src_addr);
	return DROP_NONE;
}

static bool ingress_udp_sum_is_good(const struct rte_ipv4_hdr *ip, const struct rte_udp_hdr *udp, uint16_t length)
{
	uint32_t sum = rte_raw_cksum(udp, length) + (uint32_t)rte_ipv4_phdr_cksum(ip, 0);
	// The pseudo header of rte_ipv4_phdr_cksum takes the length from the IP header; they differ only by padding.
	uint16_t ip_payload = (uint16_t)(rte_be_to_cpu_16(ip->total_length) - (ip->version_ihl & 15) * 4);
	if (ip_payload != length)
		sum += (uint32_t)rte_cpu_to_be_16(length) + (uint16_t)~rte_cpu_to_be_16(ip_payload);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

// SRTP, SRTCP and DTLS application data: their tags prove more than a checksum, and nothing of them counts before the tag was good.
static bool ingress_has_tag(const uint8_t *payload, size_t bytes)
{
	enum classify kind = classify(payload, bytes);
	return kind == CLASSIFY_RTP || kind == CLASSIFY_RTCP ||
	       (kind == CLASSIFY_DTLS && bytes > DTLS_RECORD_HEAD_BYTES && payload[0] == DTLS_APPLICATION && get_be16(payload + 3) == 1);
}

// udp: header and checksum, of what has no tag; cuts the mbuf down to the payload.
static enum drop ingress_udp(struct rte_mbuf *mbuf, uint16_t offset, uint16_t bytes)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(mbuf, const struct rte_ipv4_hdr *, sizeof(struct rte_ether_hdr));
	const struct rte_udp_hdr *udp = rte_pktmbuf_mtod_offset(mbuf, const struct rte_udp_hdr *, offset);
	if (UNLIKELY(bytes < sizeof(*udp)))
		return DROP_UDP_MALFORMED;
	uint16_t length = rte_be_to_cpu_16(udp->dgram_len);
	if (UNLIKELY(length < sizeof(*udp) || length > bytes))
		return DROP_UDP_MALFORMED;
	uint64_t by_hardware = mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	if (UNLIKELY(by_hardware == RTE_MBUF_F_RX_L4_CKSUM_BAD))
		return DROP_UDP_BAD_CHECKSUM;
	if (UNLIKELY(!ingress_has_tag((const uint8_t *)(udp + 1), length - sizeof(*udp)) && udp->dgram_cksum != 0 &&
		    by_hardware != RTE_MBUF_F_RX_L4_CKSUM_GOOD && !ingress_udp_sum_is_good(ip, udp, length)))
		return DROP_UDP_BAD_CHECKSUM;
	struct packet *packet = packet_of(mbuf);
	packet->remote.port = rte_be_to_cpu_16(udp->src_port);
	packet->local_port = rte_be_to_cpu_16(udp->dst_port);
	mbuf->data_off = (uint16_t)(mbuf->data_off + offset + sizeof(*udp));
	mbuf->data_len = (uint16_t)(length - sizeof(*udp));
	mbuf->pkt_len = mbuf->data_len;
	return DROP_NONE;
}

static struct transport_stream *ingress_stream(struct transport_rx *rx, uint32_t ssrc)
{
	for (unsigned i = 0; i < TRANSPORT_STREAMS_MAX; i++)
		if (LIKELY(rx->streams[i].used && rx->streams[i].ssrc == ssrc))
			return &rx->streams[i];
	return NULL;
}

// Sender reports go to the source, which maps media time to wall time; each is answered with a receiver report.
struct ingress_report {
	struct worker *worker;
	struct transport *transport;
	uint64_t arrival_ns;
	bool answer;
};

static void ingress_sender_report(void *arg, uint32_t ssrc, uint64_t ntp, uint32_t timestamp)
{
	struct ingress_report *report = arg;
	ENTERS(worker_role);
	if (ingress_stream(&report->transport->rx, ssrc) == NULL)
		return;
	source_sender_report(report->transport->source, report->transport->id, ssrc, ntp, timestamp, report->arrival_ns);
	report->answer = true;
}

static void ingress_goodbye(void *arg, uint32_t ssrc, const char *reason, size_t reason_bytes)
{
	const struct ingress_report *report = arg;
	ENTERS(worker_role);
	(void)reason, (void)reason_bytes;
	if (ingress_stream(&report->transport->rx, ssrc) == NULL)
		return;
	source_goodbye(report->transport->source, report->transport->id, ssrc);
	home_fed(report->worker, report->transport->home);
}

static void ingress_rtcp(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	uint32_t bytes = rte_pktmbuf_data_len(mbuf);
	uint8_t *data = rte_pktmbuf_mtod(mbuf, uint8_t *);
	enum drop drop = srtcp_unprotect(worker->srtp_mgr, transport->rx.srtp, data, &bytes);
	struct ingress_report report = {worker, transport, packet_of(mbuf)->arrival_ns, false};
	if (drop == DROP_NONE && UNLIKELY(!ingress_takes(worker, transport, report.arrival_ns))) {
		rte_pktmbuf_free(mbuf);
		return;
	}
	if (drop == DROP_NONE) {
		struct rtcp_visitor visitor = {.sender_report = ingress_sender_report, .bye = ingress_goodbye, .arg = &report};
		drop = rtcp_parse(data, bytes, &visitor);
	}
	if (report.answer)
		egress_report(worker, transport);
	if (drop != DROP_NONE)
		worker_drop(worker, mbuf, drop);
	else
		rte_pktmbuf_free(mbuf);
}

// A packet may overtake the answer that names its SSRC: a few are kept for a moment.
static void ingress_keep(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	struct transport_rx *rx = &transport->rx;
	uint64_t oldest_ns = packet_of(mbuf)->arrival_ns - TRANSPORT_PENDING_MS * 1000000ull;
	unsigned kept = 0;
	for (unsigned i = 0; i < rx->pending_count; i++) {
		if (packet_of(transport->pending[i])->arrival_ns < oldest_ns)
			worker_drop(worker, transport->pending[i], DROP_RTP_UNKNOWN_SSRC);
		else
			transport->pending[kept++] = transport->pending[i];
	}
	rx->pending_count = (uint8_t)kept;
	if (kept == TRANSPORT_PENDING_MAX) {
		worker_drop(worker, mbuf, DROP_RTP_UNKNOWN_SSRC);
		return;
	}
	transport->pending[rx->pending_count++] = mbuf;
}

void ingress_seen(struct transport *transport, bool *seen)
{
	if (LIKELY(*seen))
		return;
	uintptr_t event = (uintptr_t)(transport->id << 3 | PLANE_EVENT_ARRIVED);
	if (rte_ring_mp_enqueue(plane.worker_events, (void *)event) != 0)
		return; // once more with the next packet
	*seen = true;
	doorbell_ring(&plane.control_bell);
}

// A packet that the source took, would not have, or wants to be offered again.
static void ingress_done(struct worker *worker, struct home *home, const struct transport *transport, struct rte_mbuf *mbuf,
	enum drop drop, bool keep) RUNS_ON(worker_role)
{
	if (UNLIKELY(keep)) {
		packet_of(mbuf)->kind = PACKET_HELD_RTP;
		packet_of(mbuf)->transport = transport->id;
		home_keep(worker, home, mbuf);
	} else if (UNLIKELY(drop != DROP_NONE)) {
		worker_drop(worker, mbuf, drop);
	} else {
		rte_pktmbuf_free(mbuf);
	}
	home_fed(worker, home);
}

void ingress_rtp(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	struct rtp_header header;
	enum drop drop = rtp_parse(rte_pktmbuf_mtod(mbuf, uint8_t *), rte_pktmbuf_data_len(mbuf), &header);
	if (UNLIKELY(drop != DROP_NONE)) {
		worker_drop(worker, mbuf, drop);
		return;
	}
	struct transport_stream *stream = ingress_stream(&transport->rx, header.ssrc);
	if (UNLIKELY(stream == NULL)) {
		ingress_keep(worker, transport, mbuf);
		return;
	}
	if (UNLIKELY(header.payload_type != stream->pt_opus && header.payload_type != stream->pt_red)) {
		worker_drop(worker, mbuf, DROP_RTP_UNKNOWN_PT);
		return;
	}
	struct source_rtp packet = {
		.payload = header.payload,
		.payload_bytes = (uint16_t)header.payload_bytes,
		.red = header.payload_type == stream->pt_red,
		.marker = header.marker,
		.seq = header.seq,
		.timestamp = header.timestamp,
		.ssrc = header.ssrc,
		.transport = transport->id,
		.arrival_ns = packet_of(mbuf)->arrival_ns,
		.again = packet_of(mbuf)->kind == PACKET_HELD_RTP,
	};
	if (UNLIKELY(!packet.again && !ingress_takes(worker, transport, packet.arrival_ns))) {
		rte_pktmbuf_free(mbuf);
		return;
	}
	struct home *home = transport->home;
	bool keep;
	home_look(worker, home);
	drop = source_rtp_input(transport->source, &packet, &keep);
	egress_ask(worker, transport);
	ingress_seen(transport, &stream->seen);
	ingress_done(worker, home, transport, mbuf, drop, keep);
}

// What the data way's record and source will touch; the association's state was asked for before.
static void ingress_prefetch_data(const struct worker *worker, const struct transport *transport) RUNS_ON(worker_role)
{
	bool sack = sctp_rx_sack_is_next(&transport->data_rx.sctp);
	if (sack)
		__builtin_prefetch(&transport->remote, 1);
	dtls_record_prefetch(transport->data_rx.record, worker->srtp_mgr, sack);
	source_prefetch_data(transport->source);
}

static void ingress_flush(struct worker *worker, struct ingress_batch *batch) RUNS_ON(worker_role)
{
	srtp_unprotect_burst(worker->srtp_mgr, batch->jobs, batch->count);
	for (unsigned i = 0; i < MIN_OF(batch->count, AHEAD); i++)
		source_prefetch(batch->transports[i]->source);
	for (unsigned i = 0; i < batch->count; i++) {
		struct rte_mbuf *mbuf = batch->mbufs[i];
		if (UNLIKELY(batch->jobs[i].drop != DROP_NONE)) {
			worker_drop(worker, mbuf, batch->jobs[i].drop);
			continue;
		}
		mbuf->data_len = (uint16_t)batch->jobs[i].bytes;
		mbuf->pkt_len = mbuf->data_len;
		// A decoder may run between two packets: few steps ahead, not the whole burst.
		if (i + AHEAD < batch->count)
			source_prefetch(batch->transports[i + AHEAD]->source);
		if (i + 3 < batch->count)
			source_prefetch_ring(batch->transports[i + 3]->source);
		if (i + 2 < batch->count)
			source_prefetch_cell(batch->transports[i + 2]->source);
		ingress_rtp(worker, batch->transports[i], mbuf);
	}
	for (unsigned i = 0; i < MIN_OF(batch->dtls_count, AHEAD); i++)
		ingress_prefetch_data(worker, batch->dtls_transports[i]);
	for (unsigned i = 0; i < batch->dtls_count; i++) {
		if (i + AHEAD < batch->dtls_count)
			ingress_prefetch_data(worker, batch->dtls_transports[i + AHEAD]);
		if (i + 3 < batch->dtls_count)
			source_prefetch_ring(batch->dtls_transports[i + 3]->source);
		if (i + 2 < batch->dtls_count)
			source_prefetch_cell(batch->dtls_transports[i + 2]->source);
		ingress_dtls(worker, batch->dtls_transports[i], batch->dtls_mbufs[i]);
	}
	batch->count = batch->dtls_count = 0;
}

static void ingress_collect_dtls(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf,
	struct ingress_batch *batch) RUNS_ON(worker_role)
{
	if (batch->dtls_count == BURST_MAX)
		ingress_flush(worker, batch);
	rte_prefetch0(&transport->data_rx.sctp);
	rte_prefetch0((const uint8_t *)&transport->data_rx.sctp + CACHE_LINE_BYTES);
	rte_prefetch0(transport->source);
	rte_prefetch0(transport->home);
	batch->dtls_mbufs[batch->dtls_count] = mbuf;
	batch->dtls_transports[batch->dtls_count++] = transport;
}

// Whether the datagram comes from the selected remote. An address can be forged, so more than a transport needs counts as
// strangers': whoever forges it harms no other transport, and what he covers is still read as long as there is time.
static bool ingress_known(struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	const struct packet *packet = packet_of(mbuf);
	return endpoint_pack(packet->remote) == atomic_load_explicit(&transport->remote, memory_order_relaxed) &&
	       quota_take(&transport->punt_paid_at, packet->arrival_ns, KNOWN_TICKS_EACH, KNOWN_MOST);
}

// From the transport on, on its own worker.
static void ingress_transport(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf,
	struct ingress_batch *batch) RUNS_ON(worker_role)
{
	uint8_t *payload = rte_pktmbuf_mtod(mbuf, uint8_t *);
	uint16_t bytes = rte_pktmbuf_data_len(mbuf);
	stats_add(&transport->rx_packets, 1);
	stats_add(&transport->rx_bytes, bytes);
	enum classify kind = classify(payload, bytes);
	if (UNLIKELY(transport->rx.srtp == NULL) && (kind == CLASSIFY_RTP || kind == CLASSIFY_RTCP)) {
		transport->rx.srtp = atomic_exchange_explicit(&transport->next_srtp, NULL, memory_order_acq_rel);
		if (transport->rx.srtp == NULL) {
			worker_drop(worker, mbuf, DROP_SRTP_NO_KEYS);
			return;
		}
	}
	switch (kind) {
	case CLASSIFY_RTP:
		srtp_prefetch(worker->srtp_mgr, transport->rx.srtp);
		__builtin_prefetch(transport->source);
		__builtin_prefetch(transport->home);
		batch->jobs[batch->count] = (struct srtp_job){.srtp = transport->rx.srtp, .packet = payload, .bytes = bytes};
		batch->mbufs[batch->count] = mbuf;
		batch->transports[batch->count++] = transport;
		return;
	case CLASSIFY_RTCP:
		ingress_rtcp(worker, transport, mbuf);
		return;
	case CLASSIFY_STUN:
		ingress_punt(worker, mbuf, PACKET_UDP, ingress_known(transport, mbuf));
		return;
	case CLASSIFY_DTLS:
		if (LIKELY(ingress_has_record(transport)))
			ingress_collect_dtls(worker, transport, mbuf, batch);
		else
			ingress_punt(worker, mbuf, PACKET_UDP, ingress_known(transport, mbuf));
		return;
	default:
		worker_drop(worker, mbuf, DROP_CLASSIFY_UNKNOWN);
	}
}

// Whether an ARP frame confirms a next hop: that goes before what claims one, as long as it is not more than hops say.
static bool ingress_arp_known(struct worker *worker, const struct port *port, const struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	struct rte_ether_addr known;
	if (rte_pktmbuf_data_len(mbuf) < sizeof(struct rte_ether_hdr) + sizeof(struct rte_arp_hdr))
		return false;
	const struct rte_arp_hdr *arp = rte_pktmbuf_mtod_offset(mbuf, const struct rte_arp_hdr *, sizeof(struct rte_ether_hdr));
	return neighbour_lookup(port->neighbours, rte_be_to_cpu_32(arp->arp_data.arp_sip), &known) &&
	       rte_is_same_ether_addr(&known, &arp->arp_data.arp_sha) &&
	       quota_take(&worker->arp_paid_at, worker->now_ns, KNOWN_TICKS_EACH, KNOWN_MOST);
}

// Down to the UDP payload; false when the frame ends here, dropped or punted.
static bool ingress_frame(struct worker *worker, unsigned port_index, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	const struct port *port = &plane.ports[port_index];
	*packet_of(mbuf) = (struct packet){.arrival_ns = worker->now_ns, .port = (uint8_t)port_index};
	uint16_t type = 0, offset = 0, bytes = 0;
	uint8_t protocol = 0;
	enum drop drop = ingress_eth(port, mbuf, &type);
	if (drop == DROP_NONE && type == RTE_ETHER_TYPE_ARP) {
		ingress_punt(worker, mbuf, PACKET_ARP, ingress_arp_known(worker, port, mbuf));
		return false;
	}
	if (drop == DROP_NONE && type != RTE_ETHER_TYPE_IPV4)
		drop = DROP_ETH_UNKNOWN_TYPE;
	if (drop == DROP_NONE)
		drop = ingress_ip4(port, mbuf, &protocol, &offset, &bytes);
	if (drop == DROP_NONE && protocol == IPPROTO_ICMP) {
		ingress_punt(worker, mbuf, PACKET_ICMP, false);
		return false;
	}
	if (drop == DROP_NONE && protocol != IPPROTO_UDP)
		drop = DROP_IP4_UNKNOWN_PROTOCOL;
	if (drop == DROP_NONE)
		drop = ingress_udp(mbuf, offset, bytes);
	if (UNLIKELY(drop != DROP_NONE))
		worker_drop(worker, mbuf, drop);
	return drop == DROP_NONE;
}

// False: the packet went to the worker that owns it.
static bool ingress_owned(struct worker *worker, const struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role)
{
	struct packet *packet = packet_of(mbuf);
	packet->transport = transport->id;
	packet->generation = transport->generation;
	if (LIKELY(transport->worker == worker->index))
		return true;
	struct worker *owner = &plane.workers[transport->worker];
	punt(worker, owner->inbox, &owner->bell, mbuf, PACKET_UDP, DROP_HANDOVER_FULL);
	return false;
}

// Stage by stage over the whole burst: while one packet's memory is on its way, the others are worked on.
void ingress_wire(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned count)
{
	struct rte_mbuf *datagrams[BURST_MAX];
	struct transport *owners[BURST_MAX];
	struct ingress_batch batch;
	unsigned datagram_count = 0, found = 0;
	batch.count = batch.dtls_count = 0;
	stats_add(&worker->stats.rx_packets, count);
	for (unsigned i = 0; i < count; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < count; i++) {
		if (UNLIKELY(!ingress_frame(worker, port, mbufs[i])))
			continue;
		datagrams[datagram_count++] = mbufs[i];
		transport_prefetch(port, packet_of(mbufs[i])->local_port);
	}
	for (unsigned i = 0; i < datagram_count; i++) {
		struct transport *transport = transport_lookup(port, packet_of(datagrams[i])->local_port);
		if (UNLIKELY(transport == NULL)) {
			worker_drop(worker, datagrams[i], DROP_UDP_NO_TRANSPORT);
			continue;
		}
		__builtin_prefetch(transport);
		__builtin_prefetch(&transport->rx, 1);
		if (*rte_pktmbuf_mtod(datagrams[i], const uint8_t *) < CLASSIFY_RTP_FIRST)
			__builtin_prefetch(&transport->data_rx);
		datagrams[found] = datagrams[i];
		owners[found++] = transport;
	}
	for (unsigned i = 0; i < found; i++)
		if (LIKELY(ingress_owned(worker, owners[i], datagrams[i])))
			ingress_transport(worker, owners[i], datagrams[i], &batch);
	if (batch.count + batch.dtls_count > 0)
		ingress_flush(worker, &batch);
}

void ingress_inbox(struct worker *worker, struct rte_mbuf **mbufs, unsigned count)
{
	struct ingress_batch batch;
	batch.count = batch.dtls_count = 0;
	for (unsigned i = 0; i < count; i++) {
		struct packet *packet = packet_of(mbufs[i]);
		struct transport *transport = transport_by_id(packet->transport);
		if (UNLIKELY(transport == NULL)) {
			worker_drop(worker, mbufs[i], DROP_STALE_GENERATION);
			continue;
		}
		switch (packet->kind) {
		case PACKET_MESSAGE:
			ingress_message(worker, transport, mbufs[i]);
			break;
		case PACKET_SCTP_UNREAD:
			ingress_sctp_again(worker, transport, mbufs[i]);
			break;
		case PACKET_SCTP_UP:
			ingress_sctp_up(worker, transport, mbufs[i]);
			break;
		default:
			ingress_transport(worker, transport, mbufs[i], &batch);
		}
	}
	if (batch.count + batch.dtls_count > 0)
		ingress_flush(worker, &batch);
}
