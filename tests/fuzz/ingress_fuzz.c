// SPDX-License-Identifier: ISC
//
// ingress_fuzz.c - whole frames into a worker: Ethernet, IPv4, UDP, the transport, SRTP, RTP, RED, RTCP, Opus, down to the ring;
// and what the worker punts of ARP and ICMP into its answers.
//
// Runs on: worker and handshake, one after the other on one thread.
//
// The input is a row of frames. A frame is taken as it is, or is completed: with addresses and lengths that let it reach a
// transport, and sealed with the transport's keys. Whatever comes, every packet buffer comes back to the pool.

#include <rte_eal.h>
#include <stdlib.h>

#include "dataplane/arp.h"
#include "dataplane/icmp.h"
#include "dataplane/transport.h"
#include "dataplane/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUR_IP 0x0a630102u
#define OUR_PORT 20000
#define SSRC 0x1234
#define PT_OPUS 111
#define PT_RED 63

enum { ADDRESSED = 1, SEALED = 2, CONTROL = 4, NEW_TIME = 8, ALONE = 16, RED = 32 };

static struct transport *transport;
static struct srtp *sender;
static struct srtp_keys keys = {.profile = SRTP_AEAD_AES_128_GCM};
static struct pcm *pcm;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static struct rte_ring *ring(const char *name)
{
	struct rte_ring *made = rte_ring_create(name, 256, SOCKET_ID_ANY, RING_F_SC_DEQ);
	must(made != NULL);
	return made;
}

ROLE_UNCHECKED static void plane_make(void)
{
	static char words[8][20] = {"fuzz", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m64", "--iova-mode=va",
		"--log-level=1"};
	char *arguments[ARRAY_SIZE(words)];
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		arguments[i] = words[i];
	struct worker *worker = &plane.workers[0];
	struct err err;
	must(rte_eal_init(ARRAY_SIZE(arguments), arguments) >= 0 && rcu_init(1, &err) == 0 && transport_table_init(&err) == 0);
	plane.config.worker_count = plane.config.port_count = 1;
	plane.pool = rte_pktmbuf_pool_create("packets", 1023, 0, PACKET_PRIVATE_BYTES, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	plane.punt = ring("punt");
	plane.punt_known = ring("punt_known");
	plane.assoc = ring("assoc");
	plane.worker_events = ring("events");
	worker->inbox = ring("inbox");
	worker->inject = ring("inject");
	worker->mail = ring("mail");
	worker->srtp_mgr = srtp_mgr_create();
	plane.ports[0].config.address = OUR_IP;
	plane.ports[0].neighbours = calloc(1, sizeof(*plane.ports[0].neighbours));
	must(plane.pool != NULL && worker->srtp_mgr != NULL && plane.ports[0].neighbours != NULL);
	rcu_online(0);
}

static void session_open(void)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	struct source_config config = {.input = SOURCE_AUTO};
	struct home *home = calloc(1, sizeof(*home));
	transport = aligned_alloc(CACHE_LINE_BYTES, sizeof(*transport));
	must(home != NULL && transport != NULL);
	memset(transport, 0, sizeof(*transport));
	pcm = pcm_create(200);
	must(pcm != NULL && (home->source = source_create(pcm, &config)) != NULL);
	source_set_owner(home->source, home);
	transport->id = 1 << 20 | 1;
	transport->local = (struct endpoint){OUR_IP, OUR_PORT};
	transport->generation = 1;
	transport->source = home->source;
	transport->home = home;
	transport->rx.srtp = srtp_create(&keys, NULL);
	sender = srtp_create(&keys, NULL);
	must(transport->rx.srtp != NULL && sender != NULL);
	transport->rx.streams[0] = (struct transport_stream){SSRC, PT_OPUS, PT_RED, true, false};
	transport_table_add(transport);
	static struct home_hearing hearing = {.hearing = {.mode = HEARING_ONE}, .serial = 1};
	hearing.hearing.main = (struct hearing_leg){transport->id, 1, 1};
	atomic_store(&home->hearing, &hearing);
	atomic_store(&home->published, hearing.serial);
}

static void session_close(void)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	plane.workers[0].open = NULL;
	for (unsigned i = 0; i < transport->rx.pending_count; i++)
		rte_pktmbuf_free(transport->pending[i]);
	transport_table_remove(transport);
	source_destroy(transport->source);
	free(transport->home);
	srtp_destroy(transport->rx.srtp);
	srtp_destroy(sender);
	pcm_unref(pcm);
	free(transport);
}

static void ring_empty(struct rte_ring *from, bool packets)
{
	void *object;
	while (rte_ring_sc_dequeue(from, &object) == 0)
		if (packets)
			rte_pktmbuf_free(object);
}

// An answer goes the way of everything that others than the worker send.
static void punts_answer(uint64_t now_ns)
{
	ENTERS(handshake_role);
	void *object;
	while (rte_ring_sc_dequeue(plane.punt, &object) == 0) {
		struct rte_mbuf *mbuf = object;
		if (packet_of(mbuf)->kind == PACKET_ICMP) {
			icmp_input(mbuf, now_ns);
			continue;
		}
		if (packet_of(mbuf)->kind == PACKET_ARP)
			arp_input(0, rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf), now_ns);
		rte_pktmbuf_free(mbuf);
	}
}

// The input's bytes become an RTP or RTCP packet of ours, sealed as the sender would.
static uint32_t seal(uint8_t *payload, uint32_t bytes, uint8_t what, uint16_t seq)
{
	ENTERS(worker_role);
	struct srtp_mgr *mgr = plane.workers[0].srtp_mgr;
	uint32_t sealed;
	if (what & CONTROL) {
		bytes = MAX_OF(bytes, 8u);
		put_be16(payload, 0x80c8);
		put_be32(payload + 4, SSRC);
		sealed = bytes;
		return srtcp_protect(mgr, sender, payload, &sealed) == 0 ? sealed : bytes;
	}
	bytes = MAX_OF(bytes, 12u);
	payload[0] = 0x80 | (payload[0] & 0x3f);
	payload[1] = what & RED ? PT_RED : PT_OPUS;
	put_be16(payload + 2, (uint16_t)(seq + (payload[2] & 7)));
	put_be32(payload + 8, SSRC + (payload[8] == 0xff));
	sealed = bytes;
	return srtp_protect(mgr, sender, payload, &sealed) == 0 ? sealed : bytes;
}

static uint32_t address(uint8_t *frame, uint32_t payload_bytes)
{
	struct rte_ipv4_hdr *ip = (void *)(frame + 14);
	memset(frame, 0, 42);
	put_be16(frame + 12, 0x0800);
	frame[14] = 0x45;
	put_be16(frame + 16, (uint16_t)(28 + payload_bytes));
	frame[22] = 64;
	frame[23] = 17;
	put_be32(frame + 26, OUR_IP - 1);
	put_be32(frame + 30, OUR_IP);
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	put_be16(frame + 34, 4000);
	put_be16(frame + 36, OUR_PORT);
	put_be16(frame + 38, (uint16_t)(8 + payload_bytes));
	return 42 + payload_bytes;
}

static struct rte_mbuf *frame_make(const uint8_t *data, uint32_t bytes, uint8_t what, uint16_t seq)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	must(mbuf != NULL);
	uint8_t *frame = rte_pktmbuf_mtod(mbuf, uint8_t *);
	if (what & ADDRESSED) {
		memset(frame + 42, 0, 16);
		memcpy(frame + 42, data, bytes);
		bytes = address(frame, what & SEALED ? seal(frame + 42, bytes, what, seq) : bytes);
	} else {
		memcpy(frame, data, bytes);
	}
	mbuf->data_len = (uint16_t)bytes;
	mbuf->pkt_len = bytes;
	return mbuf;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint16_t seq = 1;
	static uint64_t answers_ns = 1000000000;
	ENTERS(worker_role);
	if (plane.pool == NULL)
		plane_make();
	session_open();
	struct worker *worker = &plane.workers[0];
	struct rte_mbuf *burst[BURST_MAX];
	unsigned count = 0;
	worker->now_ns = 1000000000;
	for (size_t at = 0; at + 2 <= size;) {
		uint8_t what = data[at];
		uint32_t bytes = (uint32_t)MIN_OF((size_t)data[at + 1] * 2, size - at - 2);
		burst[count++] = frame_make(data + at + 2, bytes, what, seq++);
		at += 2 + bytes;
		if (count == BURST_MAX || (what & ALONE) || at + 2 > size) {
			ingress_wire(worker, 0, burst, count);
			count = 0;
		}
		if (what & NEW_TIME) {
			worker->now_ns += 30000000;
			source_poll(transport->source, worker->now_ns);
		}
	}
	if (count > 0)
		ingress_wire(worker, 0, burst, count);
	egress_flush(worker);
	punts_answer(answers_ns += 1000000000); // what was answered before is forgotten
	ring_empty(worker->inject, true);
	ring_empty(plane.punt_known, true);
	ring_empty(plane.assoc, true);
	ring_empty(worker->inbox, true);
	ring_empty(plane.worker_events, false);
	session_close();
	must(rte_mempool_full(plane.pool));
	return 0;
}
