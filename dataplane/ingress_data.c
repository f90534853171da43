// SPDX-License-Identifier: ISC
//
// ingress_data.c - the data way, as phones of today speak: DTLS record, SCTP, DataPacket, source.
//
// Runs on: worker.   Upstream: ingress.c, and assoc by the inbox ring.   Downstream: source, egress.c (SACKs), assoc (what
// needs memory or patience).

#include "dataplane/userpacket.h"
#include "dataplane/worker.h"

#include "dataplane/hot.h"

bool ingress_has_record(struct transport *transport)
{
	if (UNLIKELY(transport->data_rx.record == NULL))
		transport->data_rx.record = atomic_exchange_explicit(&transport->next_record, NULL, memory_order_acq_rel);
	return transport->data_rx.record != NULL;
}

// A copy for assoc: of the datagram in hand something may be left to read. chunks: what this takes of the peer's share. False,
// and counted, when assoc cannot take it or need not.
static bool hand_to_assoc(struct worker *worker, struct transport *transport, enum packet_kind kind, unsigned chunks,
	const uint8_t *data, size_t bytes, uint64_t arrival_ns) RUNS_ON(worker_role)
{
	if (UNLIKELY(!quota_take_some(&transport->data_rx.share_paid_at, worker->now_ns, chunks, SHARE_TICKS_EACH, SHARE_MOST))) {
		stats_add(&worker->stats.drops[DROP_SCTP_SHARE], 1);
		return false;
	}
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	uint8_t *room = mbuf != NULL && bytes <= UINT16_MAX ? (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)bytes) : NULL;
	if (UNLIKELY(room == NULL)) {
		stats_add(&worker->stats.drops[mbuf == NULL ? DROP_ALLOC_FAILED : DROP_DATA_TOO_LARGE], 1);
		rte_pktmbuf_free(mbuf);
		return false;
	}
	memcpy(room, data, bytes);
	*packet_of(mbuf) = (struct packet){
		.arrival_ns = arrival_ns,
		.transport = transport->id,
		.generation = transport->generation,
		.kind = (uint8_t)kind,
		.cum_tsn = transport->data_rx.sctp.cum_tsn,
	};
	if (UNLIKELY(rte_ring_mp_enqueue(plane.assoc, mbuf) != 0)) {
		worker_drop(worker, mbuf, DROP_ASSOC_FULL);
		return false;
	}
	doorbell_ring(&plane.assoc_bell);
	return true;
}

// A payload that is to be offered again: out of its datagram into a buffer of its own.
static void keep_payload(struct worker *worker, struct home *home, const struct source_data *data) RUNS_ON(worker_role)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	uint8_t *room = mbuf != NULL ? (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)data->bytes) : NULL;
	if (UNLIKELY(room == NULL)) {
		stats_add(&worker->stats.drops[DROP_ALLOC_FAILED], 1);
		rte_pktmbuf_free(mbuf);
		return;
	}
	memcpy(room, data->payload, data->bytes);
	*packet_of(mbuf) = (struct packet){.arrival_ns = data->arrival_ns,
		.transport = data->transport,
		.generation = data->generation,
		.kind = PACKET_HELD_AUDIO};
	home_keep(worker, home, mbuf);
}

static void to_source(struct worker *worker, struct transport *transport, const struct source_data *data)
	RUNS_ON(worker_role)
{
	struct home *home = home_of(transport->source);
	bool keep;
	home_look(worker, home);
	enum drop drop = source_data_input(transport->source, data, &keep);
	ingress_seen(transport, &transport->rx.audio_seen);
	if (UNLIKELY(keep))
		keep_payload(worker, home, data);
	else if (UNLIKELY(drop != DROP_NONE))
		stats_add(&worker->stats.drops[drop], 1);
	home_fed(worker, home);
}

void ingress_audio(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	const struct packet *packet = packet_of(mbuf);
	struct source_data data = {.payload = rte_pktmbuf_mtod(mbuf, uint8_t *),
		.bytes = rte_pktmbuf_data_len(mbuf),
		.transport = transport->id,
		.generation = packet->generation,
		.arrival_ns = packet->arrival_ns};
	to_source(worker, transport, &data);
	rte_pktmbuf_free(mbuf);
}

// A DataPacket. Anybody's but the target's, and everybody's when no target is named, has a reason to die.
// tsn NULL: one that assoc put together.
static void data_packet(struct worker *worker, struct transport *transport, const uint8_t *message, size_t bytes,
	const uint32_t *tsn, uint64_t arrival_ns) RUNS_ON(worker_role)
{
	struct transport_data *rx = &transport->data_rx;
	struct userpacket user;
	enum drop drop = userpacket_parse(message, bytes, &user);
	if (drop == DROP_NONE && (user.identity_bytes == 0 || user.identity_bytes != rx->target_bytes ||
					 memcmp(user.identity, rx->target, user.identity_bytes) != 0))
		drop = DROP_DATA_OTHER_IDENTITY;
	if (UNLIKELY(drop != DROP_NONE)) {
		stats_add(&worker->stats.drops[drop], 1);
		return;
	}
	if (UNLIKELY(!ingress_takes(worker, transport, arrival_ns)))
		return;
	struct source_data data = {.payload = user.payload,
		.bytes = user.payload_bytes,
		.transport = transport->id,
		.generation = rx->voice,
		.arrival_ns = arrival_ns,
		.overtaken = tsn != NULL && overtaken(&rx->overtaken, *tsn)};
	to_source(worker, transport, &data);
}

void ingress_message(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	data_packet(worker, transport, rte_pktmbuf_mtod(mbuf, uint8_t *), rte_pktmbuf_data_len(mbuf),
		NULL, packet_of(mbuf)->arrival_ns);
	rte_pktmbuf_free(mbuf);
}

// ---- SACKs that may wait: all wait equally long, so the list is in order of their time

static void sack_list(struct worker *worker, struct transport *transport) RUNS_ON(worker_role)
{
	struct transport_data *rx = &transport->data_rx;
	rx->sack_listed = true;
	rx->sack_next = NULL;
	rx->sack_previous = worker->sack_last;
	*(worker->sack_last != NULL ? &worker->sack_last->data_rx.sack_next : &worker->sack_first) = transport;
	worker->sack_last = transport;
}

void ingress_sack_forget(struct worker *worker, struct transport *transport)
{
	struct transport_data *rx = &transport->data_rx;
	if (!rx->sack_listed)
		return;
	rx->sack_listed = false;
	*(rx->sack_previous != NULL ? &rx->sack_previous->data_rx.sack_next : &worker->sack_first) = rx->sack_next;
	*(rx->sack_next != NULL ? &rx->sack_next->data_rx.sack_previous : &worker->sack_last) = rx->sack_previous;
}

uint64_t ingress_sacks(struct worker *worker)
{
	for (struct transport *transport; (transport = worker->sack_first) != NULL;) {
		uint64_t due_ns = transport->data_rx.sctp.sack_due_ns;
		if (due_ns > worker->now_ns && transport->data_rx.sctp.up)
			return due_ns;
		ingress_sack_forget(worker, transport);
		if (due_ns != 0 && transport->data_rx.sctp.up)
			egress_sack(worker, transport);
	}
	return 0;
}

// ---- SCTP

static void ingress_sctp(struct worker *worker, struct transport *transport, uint8_t *data, size_t bytes,
	uint64_t arrival_ns, bool again) RUNS_ON(worker_role)
{
	struct sctp_rx *rx = &transport->data_rx.sctp;
	struct sctp_walk walk;
	struct sctp_message message;
	enum drop drop = transport->data ? sctp_packet_check(data, bytes) : DROP_DTLS_UNEXPECTED;
	if (UNLIKELY(drop != DROP_NONE)) {
		stats_add(&worker->stats.drops[drop], 1);
		return;
	}
	uint32_t channels = atomic_load_explicit(&transport->channels, memory_order_acquire);
	rx->channels[0] = (uint16_t)(channels >> 16);
	rx->channels[1] = (uint16_t)channels;
	if (UNLIKELY(sctp_rx_begin(rx, &walk, data, bytes) == SCTP_RX_ASSOC)) {
		if (again)
			stats_add(&worker->stats.drops[DROP_SCTP_BAD_TAG], 1);
		else
			hand_to_assoc(worker, transport, PACKET_SCTP_UNREAD, 1, data, bytes, arrival_ns);
		return;
	}
	while (sctp_rx_next(rx, &walk, &message))
		data_packet(worker, transport, message.data, message.bytes, &message.tsn, arrival_ns);
	if (UNLIKELY(walk.window_count > 0))
		stats_add(&worker->stats.drops[DROP_SCTP_WINDOW], walk.window_count);
	if (UNLIKELY(walk.assoc) &&
		hand_to_assoc(worker, transport, PACKET_SCTP, MAX_OF(walk.slow_count, 1u), data, bytes, arrival_ns))
		sctp_rx_handed_over(rx, &walk);
	if (UNLIKELY(rx->holes != 0)) {
		stats_add(&transport->data_holes, rx->holes);
		rx->holes = 0;
	}
	if (sctp_rx_end(rx, &walk, worker->now_ns))
		egress_sack(worker, transport);
	else if (rx->sack_due_ns != 0 && !transport->data_rx.sack_listed)
		sack_list(worker, transport);
}

void ingress_sctp_again(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	ingress_sctp(worker, transport, rte_pktmbuf_mtod(mbuf, uint8_t *), rte_pktmbuf_data_len(mbuf),
		packet_of(mbuf)->arrival_ns, true);
	rte_pktmbuf_free(mbuf);
}

void ingress_sctp_up(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	struct sctp_up up;
	memcpy(&up, rte_pktmbuf_mtod(mbuf, const void *), sizeof(up));
	sctp_rx_start(&transport->data_rx.sctp, &up);
	transport->data_rx.overtaken = (struct overtaken){0};
	ingress_sack_forget(worker, transport);
	rte_pktmbuf_free(mbuf);
}

// ---- records

void ingress_dtls(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf)
{
	uint8_t *data = rte_pktmbuf_mtod(mbuf, uint8_t *);
	size_t bytes = rte_pktmbuf_data_len(mbuf);
	uint64_t arrival_ns = packet_of(mbuf)->arrival_ns;
	for (size_t at = 0; at < bytes;) {
		struct dtls_plain plain;
		enum drop drop = dtls_record_open(transport->data_rx.record, worker->srtp_mgr, data, bytes, &at, &plain);
		if (UNLIKELY(drop != DROP_NONE)) {
			stats_add(&worker->stats.drops[drop], 1);
			continue;
		}
		switch (plain.kind) {
		case DTLS_PLAIN_DATA:
			ingress_sctp(worker, transport, plain.data, plain.bytes, arrival_ns, false);
			break;
		case DTLS_PLAIN_CLOSE:
			hand_to_assoc(worker, transport, PACKET_CLOSED, 1, plain.data, 0, arrival_ns);
			break;
		case DTLS_PLAIN_REPEAT: // only whom ICE knows
			if (endpoint_pack(packet_of(mbuf)->remote) ==
				atomic_load_explicit(&transport->remote, memory_order_acquire))
				egress_flight(worker, transport);
			break;
		case DTLS_PLAIN_NOTHING:
			break;
		}
	}
	rte_pktmbuf_free(mbuf);
}
