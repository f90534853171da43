// SPDX-License-Identifier: ISC
//
// assoc.c - the thread of what needs memory or patience on the data way: associations coming up, control chunks, pieces and
// ordered streams, reliable sends and their timers.
//
// Runs on: assoc. Owns struct transport.assoc. Records and the numbers of received chunks are the worker's: packets come
// from it already open and go to it to be sealed; whole messages go to the transport's home worker by its inbox ring.

#include "dataplane/dcep.h"
#include "dataplane/transport.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <rte_lcore.h>

#define UP_RETRY_NS 5000000u

static struct transport **known OWNED_BY(assoc_role); // by index
static struct deadline_heap timers OWNED_BY(assoc_role);
static uint64_t now_ns OWNED_BY(assoc_role);

static void event(struct transport *transport, enum dataplane_event_type type)
{
	struct dataplane_event e = {.type = type, .transport = transport->id, .generation = transport->generation};
	e.state = atomic_load_explicit(&transport->state, memory_order_acquire);
	plane_event(&e);
}

static void ended(struct transport *transport) RUNS_ON(assoc_role)
{
	atomic_store_explicit(&transport->data_open, false, memory_order_release);
	if (!transport->assoc.closed)
		event(transport, TRANSPORT_EVENT_DATA_CLOSED);
	transport->assoc.closed = true;
}

// ---- to the worker

static enum drop to_worker(struct transport *transport, enum packet_kind kind, const void *data, size_t bytes,
	uint64_t arrival_ns)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	if (mbuf == NULL)
		return DROP_ALLOC_FAILED;
	void *room = bytes <= UINT16_MAX ? rte_pktmbuf_append(mbuf, (uint16_t)bytes) : NULL;
	if (room == NULL) {
		rte_pktmbuf_free(mbuf);
		return DROP_DATA_TOO_LARGE;
	}
	memcpy(room, data, bytes);
	*packet_of(mbuf) = (struct packet){
		.arrival_ns = arrival_ns,
		.transport = transport->id,
		.generation = transport->generation,
		.kind = (uint8_t)kind,
	};
	return plane_inbox(transport->worker, mbuf);
}

static void send_cb(void *arg, const uint8_t *packet, size_t bytes)
{
	struct transport *transport = arg;
	struct rte_mbuf *mbuf = plane_buffer(DTLS_RECORD_HEAD_BYTES, packet, bytes);
	if (mbuf == NULL)
		return;
	*packet_of(mbuf) = (struct packet){.kind = PACKET_OUT_SCTP, .transport = transport->id};
	plane_inject(transport->worker, mbuf);
}

// The worker must hear of it; a full ring only delays that.
static void tell_worker(struct transport *transport) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	assoc->up_untold =
		to_worker(transport, PACKET_SCTP_UP, &assoc->up, sizeof(assoc->up), now_ns) != DROP_NONE;
}

static void up_cb(void *arg, const struct sctp_up *up)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	transport->assoc.up = *up;
	tell_worker(transport);
}

static void publish_channels(struct transport *transport) RUNS_ON(assoc_role)
{
	const uint16_t *streams = transport->assoc.channels.streams;
	atomic_store_explicit(&transport->channels, (uint32_t)streams[CHANNEL_LOSSY] << 16 | streams[CHANNEL_RELIABLE],
		memory_order_release);
}

// ---- what the association says

static void message_cb(void *arg, const struct sctp_message *message)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	struct channels *channels = &transport->assoc.channels;
	if (message->ppid == PPID_DCEP) {
		enum drop flood = channels_dcep(channels, transport->assoc.sctp, message, now_ns);
		if (flood != DROP_NONE)
			stats_drop(flood, 1);
		publish_channels(transport);
		if (channels_usable(channels) &&
			!atomic_exchange_explicit(&transport->data_open, true, memory_order_acq_rel))
			event(transport, TRANSPORT_EVENT_DATA_OPEN);
		return;
	}
	if (message->ppid == PPID_STRING_EMPTY || message->ppid == PPID_BINARY_EMPTY)
		return;
	enum drop drop = DROP_DATA_NOT_AUDIO;
	if (channels_find(channels, message->stream) != CHANNEL_OTHER)
		drop = to_worker(transport, PACKET_MESSAGE, message->data, message->bytes, transport->assoc.arrival_ns);
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
}

static void state_cb(void *arg, enum sctp_state state)
{
	ENTERS(assoc_role);
	struct transport *transport = arg;
	if (state == SCTP_STATE_CLOSED) {
		ended(transport);
	} else if (transport->assoc.sctp != NULL) { // up, or up again: the channels begin anew
		atomic_store_explicit(&transport->data_open, false, memory_order_release);
		channels_open(&transport->assoc.channels, transport->assoc.sctp, now_ns);
	}
}

// After everything that can have moved the association: its timer, and the room it has for more.
static void advance(struct transport *transport) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	if (assoc->sctp == NULL)
		return;
	uint64_t next = sctp_assoc_poll(assoc->sctp, now_ns);
	atomic_store_explicit(&transport->rwnd_bytes, sctp_assoc_rwnd(assoc->sctp), memory_order_relaxed);
	if (assoc->up_untold)
		tell_worker(transport);
	if (assoc->up_untold && (next == 0 || next > now_ns + UP_RETRY_NS))
		next = now_ns + UP_RETRY_NS;
	deadline_set(&timers, &assoc->timer, next);
}

static void established(struct transport *transport, const struct slow *slow) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	struct err err = {""};
	// From here on the worker opens records, and what it hands on finds the association below.
	atomic_store_explicit(&transport->next_record, slow->record, memory_order_release);
	if (!transport->data)
		return;
	struct sctp_callbacks callbacks = {
		.send = send_cb, .up = up_cb, .message = message_cb, .state = state_cb, .arg = transport};
	channels_init(&assoc->channels, slow->dtls_client);
	publish_channels(transport);
	assoc->sctp = sctp_assoc_create(&callbacks, now_ns, &err);
	if (assoc->sctp == NULL)
		plane_log(3, "no SCTP association: %s", err.text);
	advance(transport);
}

// The worker says goodbye: it has the keys.
static void close_transport(struct transport *transport) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	known[transport_index(transport->id)] = NULL;
	deadline_clear(&timers, &assoc->timer);
	sctp_assoc_destroy(assoc->sctp);
	assoc->sctp = NULL;
	transport_release(transport);
}

static void send_data(struct transport *transport, const struct slow *slow) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	enum channel channel = slow->reliable ? CHANNEL_RELIABLE : CHANNEL_LOSSY;
	int ret = -ENOTCONN;
	if (assoc->sctp != NULL && channels_usable(&assoc->channels))
		ret = sctp_assoc_send(assoc->sctp, assoc->channels.streams[channel], PPID_BINARY, !slow->reliable, slow->data,
			slow->bytes, now_ns);
	if (ret < 0)
		plane_log(1, "a data message was not sent: %s", strerror(-ret));
	advance(transport);
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
		send_data(transport, slow);
		break;
	case SLOW_CLOSE:
		close_transport(transport);
		break;
	default:
		break;
	}
	free(slow);
}

// ---- packets

// True: the mbuf has gone on.
static bool sctp_packet(struct transport *transport, struct rte_mbuf *mbuf, enum drop *ret_drop) RUNS_ON(assoc_role)
{
	struct transport_assoc *assoc = &transport->assoc;
	struct packet *packet = packet_of(mbuf);
	bool again = false;
	if (assoc->sctp == NULL) {
		*ret_drop = DROP_DTLS_UNEXPECTED;
		return false;
	}
	if (sctp_assoc_state(assoc->sctp) == SCTP_STATE_CLOSED) {
		*ret_drop = DROP_SCTP_CLOSED;
		return false;
	}
	assoc->arrival_ns = packet->arrival_ns;
	*ret_drop = sctp_assoc_input(assoc->sctp, rte_pktmbuf_mtod(mbuf, uint8_t *), rte_pktmbuf_data_len(mbuf),
		packet->kind == PACKET_SCTP, packet->cum_tsn, now_ns, &again);
	advance(transport);
	if (!again)
		return false;
	// Its DATA came with the last word of the set-up: the worker, told before, takes it into account now.
	packet->kind = PACKET_SCTP_UNREAD;
	*ret_drop = plane_inbox(transport->worker, mbuf);
	return true;
}

static void packet_input(struct rte_mbuf *mbuf) RUNS_ON(assoc_role)
{
	const struct packet *packet = packet_of(mbuf);
	struct transport *transport = known[transport_index(packet->transport)];
	enum drop drop = DROP_STALE_GENERATION;
	bool gone = false;
	if (transport != NULL && transport->id == packet->transport) {
		drop = DROP_NONE;
		if (packet->kind == PACKET_CLOSED)
			ended(transport);
		else
			gone = sctp_packet(transport, mbuf, &drop);
	}
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
	if (!gone)
		rte_pktmbuf_free(mbuf);
}

// ---- the loop

static void sleep_until(uint64_t deadline_ns) RUNS_ON(assoc_role)
{
	int timeout_ms = 1000;
	if (deadline_ns != 0) {
		uint64_t now = clock_mono_ns();
		timeout_ms = deadline_ns <= now ? 0 : (int)MIN_OF((deadline_ns - now + 999999) / 1000000, 1000u);
	}
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

// As handshake_start: an association whose timer could not be set would never repeat what was lost.
int assoc_start(struct err *err)
{
	ENTERS(assoc_role); // nobody else is there yet
	known = calloc(TRANSPORTS_MAX, sizeof(*known));
	if (known != NULL && deadline_reserve(&timers, TRANSPORTS_MAX) == 0)
		return 0;
	free(known);
	known = NULL;
	return err_set(err, ENOMEM, "no memory for the association thread");
}

void *assoc_main(void *unused)
{
	ENTERS(assoc_role);
	pthread_setname_np(pthread_self(), "assoc");
	rte_thread_register();
	while (!atomic_load_explicit(&plane.stop_slow, memory_order_acquire)) {
		struct rte_mbuf *mbufs[BURST_MAX];
		now_ns = clock_mono_ns();
		// The ring first, then the mail, then the packets: a connection is mailed before packets of it are queued.
		unsigned count = rte_ring_sc_dequeue_burst(plane.assoc, (void **)mbufs, BURST_MAX, NULL);
		for (struct mail *mail = mailbox_take(&plane.assoc_box), *next; mail != NULL; mail = next) {
			next = mail->next;
			slow_input(CONTAINER_OF(mail, struct slow, mail));
		}
		for (unsigned i = 0; i < count; i++)
			packet_input(mbufs[i]);
		for (struct deadline *due; (due = deadline_due(&timers, now_ns)) != NULL;)
			advance(CONTAINER_OF(due, struct transport, assoc.timer));
		if (count == 0)
			sleep_until(deadline_next(&timers));
	}
	deadline_finish(&timers);
	free(known);
	rte_thread_unregister();
	return NULL;
}
