// SPDX-License-Identifier: ISC
//
// assoc.c - the thread that owns usrsctp and established SSL objects: DTLS records in, data packets of the target out.
//
// Runs on: assoc. Owns struct transport.assoc. User payloads go to the transport's home worker through its inbox ring.

#include "dataplane/transport.h"
#include "dataplane/userpacket.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <rte_lcore.h>

#define ASSOC_TICK_MS 50

static struct transport **known OWNED_BY(assoc_role); // by index

static void dtls_send_cb(void *arg, const uint8_t *data, size_t bytes)
{
	struct transport *transport = arg;
	uint64_t remote = atomic_load_explicit(&transport->remote, memory_order_acquire);
	if (remote == 0)
		return;
	struct rte_mbuf *mbuf =
		plane_datagram(transport->port, transport->local.port, endpoint_unpack(remote), data, bytes);
	if (mbuf != NULL)
		plane_inject(transport->worker, mbuf);
}

static void event(struct transport *transport, enum dataplane_event_type type)
{
	struct dataplane_event e = {.type = type, .transport = transport->id, .generation = transport->generation};
	e.state = atomic_load_explicit(&transport->state, memory_order_acquire);
	plane_event(&e);
}

static void sctp_send_cb(void *arg, const uint8_t *packet, size_t bytes)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	if (transport->assoc.dtls != NULL)
		dtls_write(transport->assoc.dtls, packet, bytes);
}

static enum drop to_worker(struct transport *transport, const struct userpacket *user) RUNS_ON(assoc_role)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	if (mbuf == NULL)
		return DROP_ALLOC_FAILED;
	uint8_t *room = user->payload_bytes <= UINT16_MAX ? (void *)rte_pktmbuf_append(mbuf, (uint16_t)user->payload_bytes)
							  : NULL;
	if (room == NULL) {
		rte_pktmbuf_free(mbuf);
		return DROP_DATA_TOO_LARGE;
	}
	memcpy(room, user->payload, user->payload_bytes);
	*packet_of(mbuf) = (struct packet){
		.arrival_ns = transport->assoc.arrival_ns,
		.transport = transport->id,
		.generation = transport->assoc.voice,
		.kind = PACKET_AUDIO,
	};
	struct worker *worker = &plane.workers[transport->worker];
	if (rte_ring_mp_enqueue(worker->inbox, mbuf) != 0) {
		rte_pktmbuf_free(mbuf);
		return DROP_INBOX_FULL;
	}
	doorbell_ring(&worker->bell);
	return DROP_NONE;
}

static void sctp_message_cb(void *arg, enum sctp_channel channel, const uint8_t *data, size_t bytes)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	struct userpacket user;
	enum drop drop = channel == SCTP_CHANNEL_OTHER ? DROP_DATA_NOT_AUDIO : userpacket_parse(data, bytes, &user);
	// Anybody but the target, and everybody when no target is named.
	if (drop == DROP_NONE && (user.identity_bytes == 0 || user.identity_bytes != strlen(transport->assoc.data_identity) ||
					 memcmp(user.identity, transport->assoc.data_identity, user.identity_bytes) != 0))
		drop = DROP_DATA_OTHER_IDENTITY;
	if (drop == DROP_NONE)
		drop = to_worker(transport, &user);
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
}

static void sctp_state_cb(void *arg, enum sctp_state state)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	atomic_store_explicit(&transport->data_open, state == SCTP_STATE_OPEN, memory_order_release);
	if (state == SCTP_STATE_OPEN)
		event(transport, TRANSPORT_EVENT_DATA_OPEN);
	if (state == SCTP_STATE_CLOSED && !transport->assoc.closed) {
		transport->assoc.closed = true;
		event(transport, TRANSPORT_EVENT_DATA_CLOSED);
	}
}

static void dtls_receive_cb(void *arg, const uint8_t *data, size_t bytes)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	if (transport->assoc.sctp == NULL)
		return;
	enum drop drop = sctp_input(transport->assoc.sctp, data, bytes);
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
}

static void established(struct transport *transport, struct slow *slow) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	struct err err = {""};
	assoc->dtls = slow->dtls;
	dtls_set_send(assoc->dtls, dtls_send_cb, transport);
	if (!transport->data)
		return;
	struct sctp_callbacks callbacks = {
		.send = sctp_send_cb, .message = sctp_message_cb, .state = sctp_state_cb, .arg = transport};
	assoc->sctp = sctp_create(&callbacks, slow->dtls_client, &err);
	if (assoc->sctp == NULL)
		plane_log(3, "no SCTP association: %s", err.text);
	// What arrived together with the last flight waits inside the SSL object.
	dtls_input(assoc->dtls, NULL, 0, dtls_receive_cb, transport);
}

static void close_transport(struct transport *transport) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	known[transport_index(transport->id)] = NULL;
	sctp_destroy(assoc->sctp); // its ABORT still goes through the SSL object
	assoc->sctp = NULL;
	if (assoc->dtls != NULL) {
		dtls_close(assoc->dtls);
		dtls_destroy(assoc->dtls);
		assoc->dtls = NULL;
	}
	transport_release(transport);
}

static void slow_input(struct slow *slow) RUNS_ON(assoc_role)
{
	struct transport *transport = slow->transport;
	switch (slow->type) {
	case SLOW_OPEN:
		known[transport_index(transport->id)] = transport;
		break;
	case SLOW_ESTABLISHED:
		established(transport, slow);
		break;
	case SLOW_SEND_DATA:
		if (transport->assoc.sctp != NULL)
			sctp_send(transport->assoc.sctp, slow->reliable ? SCTP_CHANNEL_RELIABLE : SCTP_CHANNEL_LOSSY,
				slow->data, slow->bytes);
		break;
	case SLOW_TARGET:
		memcpy(transport->assoc.data_identity, slow->data, slow->bytes);
		transport->assoc.voice = slow->voice;
		break;
	case SLOW_CLOSE:
		close_transport(transport);
		break;
	default:
		break;
	}
	free(slow);
}

static void packet_input(struct rte_mbuf *mbuf) RUNS_ON(assoc_role)
{
	const struct packet *packet = packet_of(mbuf);
	struct transport *transport = known[transport_index(packet->transport)];
	enum drop drop = DROP_STALE_GENERATION;
	if (transport != NULL && transport->id == packet->transport) {
		struct transport_assoc *assoc = &transport->assoc;
		if (assoc->dtls == NULL) {
			drop = DROP_DTLS_UNEXPECTED;
		} else {
			assoc->arrival_ns = packet->arrival_ns;
			drop = dtls_input(assoc->dtls, rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf),
				dtls_receive_cb, transport);
			if (dtls_state(assoc->dtls) == DTLS_CLOSED && !assoc->closed) {
				assoc->closed = true;
				event(transport, TRANSPORT_EVENT_DATA_CLOSED);
			}
		}
	}
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
	rte_pktmbuf_free(mbuf);
}

static void sleep_until(uint64_t deadline_ns) RUNS_ON(assoc_role)
{
	uint64_t now = clock_mono_ns();
	int timeout_ms = deadline_ns <= now ? 0 : (int)((deadline_ns - now + 999999) / 1000000);
	struct pollfd fds[2] = {{.fd = plane.assoc_bell.event_fd, .events = POLLIN},
		{.fd = plane.assoc_box.event_fd, .events = POLLIN}};
	doorbell_arm(&plane.assoc_bell);
	if (plane_ring_empty(plane.assoc) && timeout_ms > 0)
		poll(fds, 2, timeout_ms);
	doorbell_disarm(&plane.assoc_bell);
	eventfd_t ignored;
	if (fds[0].revents != 0)
		eventfd_read(plane.assoc_bell.event_fd, &ignored);
}

void *assoc_main(void *unused)
{
	ENTERS(assoc_role);
	pthread_setname_np(pthread_self(), "assoc");
	rte_thread_register();
	known = calloc(TRANSPORTS_MAX, sizeof(*known));
	uint64_t ticked_ns = clock_mono_ns();
	while (!atomic_load_explicit(&plane.stop_slow, memory_order_acquire)) {
		struct rte_mbuf *mbufs[BURST_MAX];
		// The ring first, then the mail, then the packets: an SSL object is mailed before packets for it are queued.
		unsigned count = rte_ring_sc_dequeue_burst(plane.assoc, (void **)mbufs, BURST_MAX, NULL);
		for (struct mail *mail = mailbox_take(&plane.assoc_box), *next; mail != NULL; mail = next) {
			next = mail->next;
			slow_input(CONTAINER_OF(mail, struct slow, mail));
		}
		for (unsigned i = 0; i < count; i++)
			packet_input(mbufs[i]);
		uint64_t now = clock_mono_ns();
		if (now - ticked_ns >= ASSOC_TICK_MS * 1000000ull) {
			sctp_tick((uint32_t)((now - ticked_ns) / 1000000));
			ticked_ns = now;
		}
		if (count == 0)
			sleep_until(ticked_ns + ASSOC_TICK_MS * 1000000ull);
	}
	free(known);
	rte_thread_unregister();
	return NULL;
}
