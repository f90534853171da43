// SPDX-License-Identifier: ISC
//
// handshake.c - the thread of everything that is not media: ICE, DTLS handshakes, ARP, ICMP.
//
// Runs on: handshake. Owns struct transport.setup. What it decides reaches workers as keys and the selected remote, by way of
// assoc as the record layer of an established connection, control as events.

#include "dataplane/arp.h"
#include "dataplane/icmp.h"
#include "dataplane/transport.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <rte_lcore.h>

#define COMPLAIN_NS 1000000000u

static struct transport **known OWNED_BY(handshake_role); // by index
static struct deadline_heap timers OWNED_BY(handshake_role);
static uint64_t now_ns OWNED_BY(handshake_role);
static uint64_t complained_ns OWNED_BY(handshake_role); // of a peer, in the log

static void send_to(struct transport *transport, struct endpoint remote, const uint8_t *data, size_t bytes)
	RUNS_ON(handshake_role)
{
	struct rte_mbuf *mbuf = plane_datagram(transport->port, transport->local.port, remote, data, bytes);
	if (mbuf != NULL)
		arp_send(mbuf, transport->worker, now_ns);
}

static void ice_send_cb(void *arg, struct endpoint remote, const uint8_t *data, size_t bytes)
{
	ENTERS(handshake_role);
	send_to(arg, remote, data, bytes);
}

static void dtls_send_cb(void *arg, const uint8_t *data, size_t bytes)
{
	ENTERS(handshake_role);
	struct transport *transport = arg;
	uint64_t remote = atomic_load_explicit(&transport->remote, memory_order_relaxed);
	if (remote != 0)
		send_to(transport, endpoint_unpack(remote), data, bytes);
}

void handshake_ice_config(struct transport *transport, struct ice_config *ret_config)
{
	*ret_config = (struct ice_config){
		.local = transport->local,
		.connect_limit_ms = transport->connect_limit_ms,
		.send = ice_send_cb,
		.arg = transport,
	};
}

static void report(struct transport *transport, enum transport_state state, const char *reason) RUNS_ON(handshake_role)
{
	if (atomic_load_explicit(&transport->state, memory_order_relaxed) == (uint32_t)state)
		return;
	atomic_store_explicit(&transport->state, state, memory_order_release);
	struct dataplane_event event = {.type = TRANSPORT_EVENT_STATE, .transport = transport->id,
		.generation = transport->generation, .state = state};
	snprintf(event.reason, sizeof(event.reason), "%s", reason);
	plane_event(&event);
}

static void fail(struct transport *transport, const char *reason) RUNS_ON(handshake_role)
{
	transport->setup.failed = true;
	deadline_clear(&timers, &transport->setup.timer);
	report(transport, TRANSPORT_FAILED, reason);
}

// What came early or while the connection changed hands goes to the worker, which opens records from now on.
static enum drop forward(struct transport *transport, struct endpoint remote, const uint8_t *data, size_t bytes)
{
	struct rte_mbuf *mbuf = plane_datagram(transport->port, transport->local.port, remote, data, bytes);
	if (mbuf == NULL)
		return DROP_NONE; // counted
	struct packet *packet = packet_of(mbuf);
	packet->kind = PACKET_UDP;
	packet->transport = transport->id;
	packet->generation = transport->generation;
	packet->arrival_ns = clock_mono_ns();
	return plane_inbox(transport->worker, mbuf);
}

static void forward_early(struct transport *transport) RUNS_ON(handshake_role)
{
	struct endpoint remote = endpoint_unpack(atomic_load_explicit(&transport->remote, memory_order_relaxed));
	size_t bytes;
	const uint8_t *early;
	for (unsigned i = 0; (early = dtls_early(transport->setup.dtls, i, &bytes)) != NULL; i++) {
		enum drop drop = forward(transport, remote, early, bytes);
		if (drop != DROP_NONE)
			stats_drop(drop, 1);
	}
}

// The handshake is over: keys and record layer to the worker, the latter by way of assoc. The SSL object is freed.
static void established(struct transport *transport) RUNS_ON(handshake_role)
{
	struct transport_handshake *setup = &transport->setup;
	struct srtp_keys keys;
	struct err err = {""};
	if (dtls_export_srtp(setup->dtls, &keys) < 0) {
		fail(transport, "the DTLS handshake agreed on no SRTP profile");
		return;
	}
	struct srtp *srtp = srtp_create(&keys, &err);
	atomic_store_explicit(&transport->srtp_profile, keys.profile, memory_order_relaxed);
	explicit_bzero(&keys, sizeof(keys));
	if (srtp == NULL) {
		fail(transport, err.text);
		return;
	}
	struct dtls_record *record = dtls_take_record(setup->dtls, &err);
	struct slow *slow = record != NULL ? slow_new(SLOW_ESTABLISHED, transport, 0) : NULL;
	if (slow == NULL) {
		srtp_destroy(srtp);
		dtls_record_destroy(record);
		fail(transport, record == NULL ? err.text : "out of memory");
		return;
	}
	atomic_store_explicit(&transport->next_srtp, srtp, memory_order_release);
	slow->record = record;
	slow->dtls_client = setup->dtls_client;
	setup->established = true;
	mailbox_put(&plane.assoc_box, &slow->mail);
	forward_early(transport);
	dtls_destroy(setup->dtls);
	setup->dtls = NULL;
	report(transport, TRANSPORT_CONNECTED, "");
}

static void dtls_step(struct transport *transport) RUNS_ON(handshake_role)
{
	struct transport_handshake *setup = &transport->setup;
	switch (dtls_state(setup->dtls)) {
	case DTLS_ESTABLISHED:
		established(transport);
		break;
	case DTLS_FAILED: {
		char reason[160];
		snprintf(reason, sizeof(reason), "DTLS: %s", dtls_failure(setup->dtls));
		stats_drop(DROP_DTLS_FAILED, 1);
		fail(transport, reason);
		break;
	}
	case DTLS_HANDSHAKING:
		break;
	}
}

static bool dtls_begin(struct transport *transport) RUNS_ON(handshake_role)
{
	struct transport_handshake *setup = &transport->setup;
	if (setup->dtls != NULL)
		return true;
	struct err err = {""};
	setup->dtls = dtls_create(plane.identity, setup->dtls_client ? DTLS_CLIENT : DTLS_SERVER, setup->fingerprint, NULL,
		dtls_send_cb, transport, &err);
	if (setup->dtls == NULL) {
		fail(transport, err.text);
		return false;
	}
	dtls_start(setup->dtls);
	return true;
}

static void fail_late(struct transport *transport, bool connected) RUNS_ON(handshake_role)
{
	char reason[160];
	const char *alert = transport->setup.dtls != NULL ? dtls_plain_alert(transport->setup.dtls) : NULL;
	if (!connected)
		fail(transport, "no connectivity check was answered by the server");
	else if (alert == NULL)
		fail(transport, "the DTLS handshake did not end in time");
	else {
		snprintf(reason, sizeof(reason), "the DTLS handshake did not end in time; the server's last alert: %s", alert);
		fail(transport, reason);
	}
}

// Looks at everything that can have changed, reports it, and sets the one timer of the transport.
static void advance(struct transport *transport) RUNS_ON(handshake_role)
{
	struct transport_handshake *setup = &transport->setup;
	if (setup->failed || setup->ice == NULL)
		return;
	uint64_t next = ice_poll(setup->ice, now_ns);
	enum ice_state ice = ice_state(setup->ice);
	struct endpoint selected;
	if (ice_selected(setup->ice, &selected))
		atomic_store_explicit(&transport->remote, endpoint_pack(selected), memory_order_release);
	atomic_store_explicit(&transport->consent_ns, ice_consent_ns(setup->ice), memory_order_relaxed);
	atomic_store_explicit(&transport->rtt_us, ice_rtt_us(setup->ice), memory_order_relaxed);

	if (ice == ICE_FAILED) {
		fail(transport, setup->established ? "consent expired: the server answers no connectivity checks"
						   : "no connectivity check was answered by the server");
		return;
	}
	if (setup->probed_ns != 0 && ice_consent_ns(setup->ice) >= setup->probed_ns) {
		struct dataplane_event event = {.type = TRANSPORT_EVENT_PROBED, .transport = transport->id};
		setup->probed_ns = 0;
		plane_event(&event);
	}
	if (ice == ICE_CHECKING && !setup->established)
		report(transport, TRANSPORT_CHECKING, "");
	if (ice == ICE_CONNECTED && !setup->established) {
		report(transport, TRANSPORT_HANDSHAKING, "");
		if (!dtls_begin(transport))
			return;
	}
	if (setup->dtls != NULL) {
		uint64_t due = dtls_deadline_ns(setup->dtls);
		if (due != 0 && due <= now_ns) {
			dtls_timeout(setup->dtls);
			due = dtls_deadline_ns(setup->dtls);
		}
		dtls_step(transport);
		if (setup->failed)
			return;
		if (setup->dtls != NULL && due != 0 && (next == 0 || due < next))
			next = due;
	}
	if (setup->established)
		report(transport, ice == ICE_CONNECTED ? TRANSPORT_CONNECTED : TRANSPORT_DISCONNECTED, "");
	else if (setup->deadline_ns != 0 && now_ns >= setup->deadline_ns) {
		fail_late(transport, ice == ICE_CONNECTED);
		return;
	} else if (setup->deadline_ns != 0 && (next == 0 || setup->deadline_ns < next))
		next = setup->deadline_ns;
	deadline_set(&timers, &setup->timer, next);
}

static struct transport *find(uint64_t id) RUNS_ON(handshake_role)
{
	struct transport *transport = known[transport_index(id)];
	return transport != NULL && transport->id == id ? transport : NULL;
}

static enum drop datagram(struct rte_mbuf *mbuf) RUNS_ON(handshake_role)
{
	const struct packet *packet = packet_of(mbuf);
	const uint8_t *data = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	size_t bytes = rte_pktmbuf_data_len(mbuf);
	struct transport *transport = find(packet->transport);
	if (transport == NULL || transport->setup.ice == NULL)
		return DROP_STALE_GENERATION;
	struct transport_handshake *setup = &transport->setup;
	enum drop drop = DROP_NONE;
	if (data[0] <= 3) {
		drop = ice_input(setup->ice, packet->remote, data, bytes, now_ns);
	} else if (!ice_is_valid_remote(setup->ice, packet->remote)) {
		return DROP_ICE_UNVALIDATED;
	} else if (setup->established || setup->failed || !setup->have_remote) {
		return DROP_DTLS_UNEXPECTED;
	} else {
		if (atomic_load_explicit(&transport->remote, memory_order_relaxed) == 0)
			atomic_store_explicit(&transport->remote, endpoint_pack(packet->remote), memory_order_release);
		if (!dtls_begin(transport))
			return DROP_DTLS_FAILED;
		drop = dtls_input(setup->dtls, data, bytes);
	}
	advance(transport);
	return drop;
}

// A record that the worker punted here before it had the keys: back to it.
static bool forward_record(struct rte_mbuf *mbuf) RUNS_ON(handshake_role)
{
	const struct transport *transport = find(packet_of(mbuf)->transport);
	if (transport == NULL || !transport->setup.established || *rte_pktmbuf_mtod(mbuf, const uint8_t *) <= 3)
		return false;
	enum drop drop = plane_inbox(transport->worker, mbuf);
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
	return true;
}

static void packet_input(struct rte_mbuf *mbuf) RUNS_ON(handshake_role)
{
	enum drop drop;
	switch (packet_of(mbuf)->kind) {
	case PACKET_ARP:
		drop = arp_input(packet_of(mbuf)->port, rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf),
			now_ns);
		break;
	case PACKET_ICMP:
		icmp_input(mbuf, now_ns);
		return;
	default:
		if (forward_record(mbuf))
			return;
		drop = datagram(mbuf);
	}
	if (drop != DROP_NONE)
		stats_drop(drop, 1);
	rte_pktmbuf_free(mbuf);
}

static void close_transport(struct slow *slow) RUNS_ON(handshake_role)
{
	struct transport *transport = slow->transport;
	struct transport_handshake *setup = &transport->setup;
	known[transport_index(transport->id)] = NULL;
	deadline_clear(&timers, &setup->timer);
	ice_destroy(setup->ice);
	setup->ice = NULL;
	dtls_destroy(setup->dtls);
	setup->dtls = NULL;
	mailbox_put(&plane.assoc_box, &slow->mail); // assoc gives up its part next
	transport_release(transport);
}

// Whether one more line about a peer may go into the log: each of a server's messages may be worth one.
static bool may_complain(void) RUNS_ON(handshake_role)
{
	if (complained_ns != 0 && now_ns - complained_ns < COMPLAIN_NS)
		return false;
	complained_ns = now_ns;
	return true;
}

static void set_remote(struct transport *transport, const struct transport_remote *remote) RUNS_ON(handshake_role)
{
	struct err err = {""};
	int ret = ice_set_remote(transport->setup.ice, remote->ufrag, remote->pwd, remote->ice_lite, &err);
	if (ret > 0 && may_complain())
		plane_log(1, "port %u: the peer changed its ICE credentials before it was connected", transport->local.port);
	if (ret < 0)
		fail(transport, err.text);
}

static void slow_input(struct slow *slow) RUNS_ON(handshake_role)
{
	struct transport *transport = slow->transport;
	struct transport_handshake *setup = &transport->setup;
	switch (slow->type) {
	case SLOW_OPEN:
		known[transport_index(transport->id)] = transport;
		mailbox_put(&plane.assoc_box, &slow->mail);
		return;
	case SLOW_CLOSE:
		close_transport(slow);
		return;
	case SLOW_REMOTE:
		setup->dtls_client = slow->remote.setup == TRANSPORT_SETUP_PASSIVE;
		snprintf(setup->fingerprint, sizeof(setup->fingerprint), "%s", slow->remote.fingerprint);
		if (!setup->have_remote)
			setup->deadline_ns = now_ns + transport->connect_limit_ms * 1000000ull;
		setup->have_remote = true;
		set_remote(transport, &slow->remote);
		break;
	case SLOW_CANDIDATE:
		if (ice_add_remote_candidate(setup->ice, slow->candidate, slow->priority) < 0 && may_complain())
			plane_log(1, "a remote candidate was left out: there are too many");
		break;
	case SLOW_PROBE:
		setup->probed_ns = now_ns;
		ice_probe(setup->ice, now_ns);
		break;
	case SLOW_RESTART:
		ice_restart_with(setup->ice, &slow->credentials);
		setup->probed_ns = now_ns; // the first sign of life, on whichever way, is reported
		setup->failed = setup->failed && !setup->established;
		break;
	default:
		break;
	}
	advance(transport);
	free(slow);
}

static void sleep_until(uint64_t deadline_ns) RUNS_ON(handshake_role)
{
	int timeout_ms = 1000;
	if (deadline_ns != 0) {
		uint64_t now = clock_mono_ns();
		timeout_ms = deadline_ns <= now ? 0 : (int)MIN_OF((deadline_ns - now + 999999) / 1000000, 1000u);
	}
	struct pollfd fds[2] = {{.fd = plane.punt_bell.event_fd, .events = POLLIN},
		{.fd = plane.handshake_box.event_fd, .events = POLLIN}};
	doorbell_arm(&plane.punt_bell);
	if (plane_ring_empty(plane.punt) && plane_ring_empty(plane.punt_known) && timeout_ms > 0)
		poll(fds, 2, timeout_ms);
	doorbell_disarm(&plane.punt_bell);
	eventfd_t ignored;
	if (fds[0].revents != 0)
		eventfd_read(plane.punt_bell.event_fd, &ignored);
}

// All the memory that timers can need, untouched until it is used: a transport whose timer could not be set would never fail.
int handshake_start(struct err *err)
{
	ENTERS(handshake_role); // nobody else is there yet
	known = calloc(TRANSPORTS_MAX, sizeof(*known));
	if (known != NULL && deadline_reserve(&timers, TRANSPORTS_MAX) == 0 && arp_start() == 0)
		return 0;
	free(known);
	known = NULL;
	deadline_finish(&timers);
	return err_set(err, ENOMEM, "no memory for the handshake thread");
}

void *handshake_main(void *unused)
{
	ENTERS(handshake_role);
	pthread_setname_np(pthread_self(), "handshake");
	rte_thread_register();
	while (!atomic_load_explicit(&plane.stop_slow, memory_order_acquire)) {
		struct rte_mbuf *mbufs[BURST_MAX];
		now_ns = clock_mono_ns();
		unsigned count = rte_ring_sc_dequeue_burst(plane.punt_known, (void **)mbufs, BURST_MAX, NULL);
		if (count < BURST_MAX)
			count += rte_ring_sc_dequeue_burst(plane.punt, (void **)mbufs + count, BURST_MAX - count, NULL);
		for (struct mail *mail = mailbox_take(&plane.handshake_box), *next; mail != NULL; mail = next) {
			next = mail->next;
			slow_input(CONTAINER_OF(mail, struct slow, mail));
		}
		for (unsigned i = 0; i < count; i++)
			packet_input(mbufs[i]);
		for (struct deadline *due; (due = deadline_due(&timers, now_ns)) != NULL;)
			advance(CONTAINER_OF(due, struct transport, setup.timer));
		uint64_t arp_next = arp_poll(now_ns);
		uint64_t next = deadline_next(&timers);
		if (next == 0 || (arp_next != 0 && arp_next < next))
			next = arp_next;
		if (count == 0)
			sleep_until(next);
	}
	arp_finish();
	deadline_finish(&timers);
	free(known);
	rte_thread_unregister();
	return NULL;
}
