// SPDX-License-Identifier: ISC
//
// dataplane_transport.c - transports as control sees them: opened, told about the peer, mapped, probed, closed.
//
// Runs on: control.

#include <openssl/rand.h>
#include <stdlib.h>
#include <time.h>

#include "dataplane/home.h"
#include "dataplane/transport.h"
#include "dataplane/worker.h"

#define PORT_QUARANTINE_S 5

// Which local UDP ports are taken, per DPDK port: 0 free, UINT32_MAX in use, else second of its release.
static uint32_t port_state[DATAPLANE_PORTS_MAX][65536] OWNED_BY(control_role);
static uint16_t port_next[DATAPLANE_PORTS_MAX] OWNED_BY(control_role);
static struct transport *opened[TRANSPORTS_MAX] OWNED_BY(control_role); // by index
static uint64_t serial OWNED_BY(control_role);

static uint32_t now_s(void)
{
	return (uint32_t)(clock_mono_ns() / 1000000000u) + 1;
}

static int port_take(unsigned port, uint16_t *ret_port) RUNS_ON(control_role)
{
	const struct dataplane_port_config *config = &plane.config.ports[port];
	unsigned range = config->udp_port_max - config->udp_port_min + 1u;
	for (unsigned tried = 0; tried < range; tried++) {
		uint16_t candidate = (uint16_t)(config->udp_port_min + port_next[port]++ % range);
		uint32_t state = port_state[port][candidate];
		if (state != 0 && (state == UINT32_MAX || now_s() - state < PORT_QUARANTINE_S))
			continue;
		port_state[port][candidate] = UINT32_MAX;
		*ret_port = candidate;
		return 0;
	}
	return -EADDRINUSE;
}

static struct transport *find(transport_id id) RUNS_ON(control_role)
{
	struct transport *transport = opened[transport_index(id)];
	return transport != NULL && transport->id == id ? transport : NULL;
}

void worker_mail_send(unsigned worker, const struct worker_mail *mail)
{
	struct worker_mail *copy;
	// Workers empty their rings, and so fill the pool, at every turn of their loops.
	while (rte_mempool_get(plane.mail_pool, (void **)&copy) != 0)
		sched_yield();
	*copy = *mail;
	while (rte_ring_mp_enqueue(plane.workers[worker].mail, copy) != 0)
		sched_yield();
	doorbell_ring(&plane.workers[worker].bell);
}

static void transport_free(struct rcu_retired *retired)
{
	ENTERS(worker_role); // nobody else is left
	struct transport *transport = CONTAINER_OF(retired, struct transport, retired);
	srtp_destroy(transport->rx.srtp);
	srtp_destroy(atomic_load(&transport->next_srtp));
	dtls_record_destroy(transport->data_rx.record);
	dtls_record_destroy(atomic_load(&transport->next_record));
	free(transport);
}

static void transport_released(struct released *released)
{
	ENTERS(control_role);
	struct transport *transport = CONTAINER_OF(released, struct transport, released);
	plane.transports--;
	home_transport_gone(transport->home);
	rcu_retire(&transport->retired, transport_free);
}

void transport_release(struct transport *transport)
{
	if (atomic_fetch_sub_explicit(&transport->owners, 1, memory_order_acq_rel) != 1)
		return;
	transport->released.fn = transport_released;
	plane_release(&transport->released);
}

static int index_take(uint64_t *ret_id) RUNS_ON(control_role)
{
	for (unsigned tried = 0; tried < TRANSPORTS_MAX; tried++) {
		serial++;
		if (opened[serial % TRANSPORTS_MAX] == NULL) {
			*ret_id = serial << 20 | serial % TRANSPORTS_MAX;
			return 0;
		}
	}
	return -ENFILE;
}

// Nobody else can see the transport yet, so its parts are filled in whoever owns them later.
ROLE_UNCHECKED static int transport_init(struct transport *transport, const struct transport_config *config,
	struct err *err)
{
	struct ice_config ice;
	transport->generation = config->generation;
	transport->source = config->source;
	transport->home = home_of(config->source);
	transport->worker = (uint16_t)transport->home->worker;
	transport->data = config->data;
	transport->rwnd_bytes = SCTP_RWND_BYTES;
	snprintf(transport->data_rx.target, sizeof(transport->data_rx.target), "%s", config->data_identity);
	transport->data_rx.target_bytes = (uint16_t)strlen(transport->data_rx.target);
	transport->data_rx.voice = config->generation;
	transport->connect_limit_ms = config->connect_limit_ms ? config->connect_limit_ms : 5000;
	transport->owners = 3;
	if (RAND_bytes((unsigned char *)&transport->local_ssrc, sizeof(transport->local_ssrc)) != 1)
		return err_set(err, EIO, "no random numbers");
	handshake_ice_config(transport, &ice);
	transport->setup.ice = ice_create(&ice, err);
	return transport->setup.ice == NULL ? -ENOMEM : 0;
}

ROLE_UNCHECKED static void local_description(const struct transport *transport, struct transport_local *ret_local)
{
	snprintf(ret_local->ufrag, sizeof(ret_local->ufrag), "%s", ice_local_ufrag(transport->setup.ice));
	snprintf(ret_local->pwd, sizeof(ret_local->pwd), "%s", ice_local_pwd(transport->setup.ice));
	snprintf(ret_local->fingerprint, sizeof(ret_local->fingerprint), "%s",
		dtls_identity_fingerprint(plane.identity));
	ret_local->address = transport->local.ip;
	ret_local->port = transport->local.port;
	ret_local->candidate_priority = ice_local_priority();
}

int transport_open(const struct transport_config *config, transport_id *ret_id, struct transport_local *ret_local,
	struct err *err)
{
	if (home_of(config->source)->given_up) // it goes with its last transport: one more would let it go twice
		return err_set(err, ENOENT, "the session is gone");
	struct transport *transport = aligned_alloc(CACHE_LINE_BYTES, sizeof(*transport));
	struct slow *slow = slow_new(SLOW_OPEN, transport, 0), *close = slow_new(SLOW_CLOSE, transport, 0);
	if (transport == NULL || slow == NULL || close == NULL) {
		free(transport);
		free(slow);
		free(close);
		return err_set(err, ENOMEM, "out of memory");
	}
	memset(transport, 0, sizeof(*transport));
	transport->close = close;
	transport->local.ip = plane.config.ports[0].address;
	int ret = port_take(0, &transport->local.port);
	if (ret < 0)
		err_set(err, ret, "no UDP port is free in %u-%u", plane.config.ports[0].udp_port_min,
			plane.config.ports[0].udp_port_max);
	if (ret == 0 && (ret = index_take(&transport->id)) < 0)
		err_set(err, ret, "too many transports");
	if (ret == 0)
		ret = transport_init(transport, config, err);
	if (ret < 0) {
		if (transport->local.port != 0)
			port_state[0][transport->local.port] = 0;
		free(transport);
		free(slow);
		free(close);
		return ret;
	}
	local_description(transport, ret_local);
	*ret_id = transport->id;
	opened[transport_index(transport->id)] = transport;
	plane.transports++;
	home_transport_opened(transport->home);
	atomic_fetch_add(&plane.workers[transport->worker].transports, 1);
	transport_table_add(transport);
	mailbox_put(&plane.handshake_box, &slow->mail);
	return 0;
}

int transport_set_remote(transport_id id, const struct transport_remote *remote, struct err *err)
{
	struct transport *transport = find(id);
	struct slow *slow = transport != NULL ? slow_new(SLOW_REMOTE, transport, 0) : NULL;
	if (slow == NULL)
		return err_set(err, transport == NULL ? ENOENT : ENOMEM, "the transport is gone");
	slow->remote = *remote;
	mailbox_put(&plane.handshake_box, &slow->mail);
	return 0;
}

int transport_add_candidate(transport_id id, struct endpoint remote, uint32_t priority)
{
	struct transport *transport = find(id);
	struct slow *slow = transport != NULL ? slow_new(SLOW_CANDIDATE, transport, 0) : NULL;
	if (slow == NULL)
		return transport == NULL ? -ENOENT : -ENOMEM;
	slow->candidate = remote;
	slow->priority = priority;
	mailbox_put(&plane.handshake_box, &slow->mail);
	return 0;
}

int transport_map(transport_id id, uint32_t ssrc, uint8_t pt_opus, uint8_t pt_red)
{
	struct transport *transport = find(id);
	if (transport == NULL)
		return -ENOENT;
	struct worker_mail mail = {
		.type = WORKER_MAIL_MAP, .transport = id, .ssrc = ssrc, .pt_opus = pt_opus, .pt_red = pt_red};
	worker_mail_send(transport->worker, &mail);
	return 0;
}

int transport_unmap(transport_id id, uint32_t ssrc)
{
	struct transport *transport = find(id);
	if (transport == NULL)
		return -ENOENT;
	struct worker_mail mail = {.type = WORKER_MAIL_UNMAP, .transport = id, .ssrc = ssrc};
	worker_mail_send(transport->worker, &mail);
	return 0;
}

int transport_send_data(transport_id id, bool reliable, const uint8_t *data, size_t bytes)
{
	struct transport *transport = find(id);
	if (transport == NULL)
		return -ENOENT;
	if (bytes > SCTP_MESSAGE_BYTES_MAX)
		return -EMSGSIZE;
	struct slow *slow = slow_new(SLOW_SEND_DATA, transport, bytes);
	if (slow == NULL)
		return -ENOMEM;
	slow->reliable = reliable;
	slow->bytes = bytes;
	memcpy(slow->data, data, bytes);
	mailbox_put(&plane.assoc_box, &slow->mail);
	return 0;
}

int transport_probe(transport_id id)
{
	struct transport *transport = find(id);
	struct slow *slow = transport != NULL ? slow_new(SLOW_PROBE, transport, 0) : NULL;
	if (slow == NULL)
		return transport == NULL ? -ENOENT : -ENOMEM;
	mailbox_put(&plane.handshake_box, &slow->mail);
	return 0;
}

int transport_set_target(transport_id id, const char *data_identity, uint32_t voice)
{
	struct transport *transport = find(id);
	if (transport == NULL)
		return -ENOENT;
	struct worker_mail mail = {.type = WORKER_MAIL_TARGET, .transport = id, .voice = voice};
	snprintf(mail.target, sizeof(mail.target), "%s", data_identity);
	worker_mail_send(transport->worker, &mail);
	return 0;
}

int transport_restart(transport_id id, struct transport_local *ret_local, struct err *err)
{
	struct transport *transport = find(id);
	struct slow *slow = transport != NULL ? slow_new(SLOW_RESTART, transport, 0) : NULL;
	if (slow == NULL)
		return err_set(err, transport == NULL ? ENOENT : ENOMEM, "the transport is gone");
	int ret = ice_credentials_make(&slow->credentials, err);
	if (ret < 0) {
		free(slow);
		return ret;
	}
	snprintf(ret_local->ufrag, sizeof(ret_local->ufrag), "%s", slow->credentials.ufrag);
	snprintf(ret_local->pwd, sizeof(ret_local->pwd), "%s", slow->credentials.pwd);
	mailbox_put(&plane.handshake_box, &slow->mail);
	return 0;
}

void transport_close(transport_id id)
{
	struct transport *transport = find(id);
	if (transport == NULL)
		return;
	opened[transport_index(id)] = NULL;
	port_state[0][transport->local.port] = now_s();
	atomic_fetch_sub(&plane.workers[transport->worker].transports, 1);
	transport_table_remove(transport);
	struct worker_mail mail = {.type = WORKER_MAIL_RELEASE, .released = transport};
	worker_mail_send(transport->worker, &mail);
	mailbox_put(&plane.handshake_box, &transport->close->mail);
}

int transport_info(transport_id id, struct transport_info *ret_info)
{
	struct transport *transport = find(id);
	*ret_info = (struct transport_info){0};
	if (transport == NULL)
		return -ENOENT;
	*ret_info = (struct transport_info){
		.state = atomic_load_explicit(&transport->state, memory_order_acquire),
		.generation = transport->generation,
		.local = transport->local,
		.remote = endpoint_unpack(atomic_load(&transport->remote)),
		.consent_ns = atomic_load(&transport->consent_ns),
		.rtt_us = atomic_load(&transport->rtt_us),
		.srtp_profile = (uint16_t)atomic_load(&transport->srtp_profile),
		.rx_packets = stats_get(&transport->rx_packets),
		.data_holes = (uint32_t)stats_get(&transport->data_holes),
		.rx_bytes = stats_get(&transport->rx_bytes),
		.tx_packets = stats_get(&transport->tx_packets),
		.tx_bytes = stats_get(&transport->tx_bytes),
		.data_open = atomic_load(&transport->data_open),
		.worker = transport->worker,
	};
	return 0;
}
