// SPDX-License-Identifier: ISC
//
// world.c - any number of talking sessions around the real worker code, without a kernel, a network or a peer.
//
// Runs on: init, control and worker in one: there is only one thread.

#include "bench/world.h"

#include <rte_eth_ring.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/bench.h"
#include "dataplane/source_state.h"

#define FIRST_PORT 1024
#define PORTS_PER_ADDRESS 60000u
#define PT_OPUS 111
#define PT_RED 63

struct world world;

int __wrap_worker_main(void *arg);
int __wrap_worker_main(void *arg)
{
	return 0;
}

static void check(int ret, const char *what, const struct err *err)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, err != NULL ? err->text : strerror(-ret));
	exit(1);
}

static void quiet(int level, const char *text)
{
	if (level >= 3)
		fprintf(stderr, "%s\n", text);
}

// The one thread plays every role in turn, also within a function: the roles are not checked here.
ROLE_UNCHECKED void world_start(int core)
{
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .memory_mb = 128, .log = quiet};
	config.cores[0] = core;
	config.ports[0] = (struct dataplane_port_config){.name = "bench", .device = "null", .address = WORLD_IP,
		.prefix_bits = 24, .queues = 1, .udp_port_min = 20000, .udp_port_max = 60000};
	bench_unpin();
	check(dataplane_start(&config, &err), "dataplane", &err);
	world.wire = rte_ring_create("wire", 64, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (world.wire == NULL)
		check(-ENOMEM, "wire", NULL);
	world.wire_out = rte_ring_create("wire_out", 64, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	int port = world.wire_out == NULL ? -1 : rte_eth_from_rings("bench", &world.wire, 1, &world.wire_out, 1, 0);
	struct rte_eth_conf conf = {0};
	if (port < 0 || rte_eth_dev_configure((uint16_t)port, 1, 1, &conf) != 0 ||
		rte_eth_rx_queue_setup((uint16_t)port, 0, 64, SOCKET_ID_ANY, NULL, plane.pool) != 0 ||
		rte_eth_tx_queue_setup((uint16_t)port, 0, 64, SOCKET_ID_ANY, NULL) != 0 ||
		rte_eth_dev_start((uint16_t)port) != 0)
		check(-EIO, "ring device", NULL);
	plane.ports[0].id = (uint16_t)port;
	struct rte_ether_addr peer = {{2, 0, 0, 0, 0, 1}};
	neighbour_set(plane.ports[0].neighbours, neighbour_find(plane.ports[0].neighbours, WORLD_PEER.ip, true), neighbour_pack(&peer));
	for (unsigned p = 1; p < DATAPLANE_PORTS_MAX; p++) { // one address each
		plane.ports[p] = plane.ports[0];
		plane.ports[p].config.address = WORLD_IP + p;
	}
	check(speech_encode(world.speech, WORLD_SPEECH_FRAMES), "speech", NULL);
	bench_pin(core);
	rcu_online(0); // the main thread was registered by rcu_init
	world_worker()->now_ns = clock_mono_ns();
}

ROLE_UNCHECKED void world_stop(void)
{
	rcu_offline(0);
	dataplane_stop();
}

static struct endpoint address_of(unsigned session)
{
	return (struct endpoint){WORLD_IP + session / PORTS_PER_ADDRESS, (uint16_t)(FIRST_PORT + session % PORTS_PER_ADDRESS)};
}

const struct srtp *world_srtp(const struct world_session *session)
{
	ENTERS(worker_role);
	return session->transport->rx.srtp;
}

// As transport_open makes it, without ICE agent, port bookkeeping and threads.
static struct transport *transport_make(unsigned index, const struct world_session *session, struct err *err)
{
	ENTERS(worker_role);
	struct transport *transport = aligned_alloc(CACHE_LINE_BYTES, sizeof(*transport));
	if (transport == NULL)
		return NULL;
	memset(transport, 0, sizeof(*transport));
	transport->id = (uint64_t)(index + 1) << 20 | index;
	transport->local = address_of(index);
	transport->port = (uint16_t)(index / PORTS_PER_ADDRESS);
	transport->generation = 1;
	transport->source = session->source;
	transport->home = home_of(session->source);
	transport->rx.srtp = srtp_create(&world.keys, err);
	transport->rx.streams[0] = (struct transport_stream){session->ssrc, PT_OPUS, PT_RED, true, true};
	return transport->rx.srtp != NULL ? transport : NULL;
}

// ---- who listens to all of them

static struct {
	struct pcm_waker waker;
	_Atomic(uint64_t) marks[PCM_PLACES / 64];
	bool used;
} listener;

static void listener_open(void)
{
	ENTERS(worker_role);
	listener.waker.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	listener.waker.marks = listener.marks;
	if (listener.waker.event_fd < 0)
		check(-errno, "eventfd", NULL);
	for (unsigned i = 0; i < world.config.sessions; i++)
		check(pcm_waker_add(world.sessions[i].pcm, &listener.waker, (uint16_t)i), "a waker", NULL);
	atomic_store(&listener.waker.asleep, 1);
	listener.used = true;
	world_worker()->bells = (struct pcm_bells){.count = 0};
	pcm_bells_use(&world_worker()->bells);
}

static void listener_close(void)
{
	pcm_bells_use(NULL);
	close(listener.waker.event_fd);
	listener.used = false;
}

void world_listener_turn(void)
{
	if (!listener.used || atomic_load(&listener.waker.asleep) != 0)
		return;
	for (unsigned w = 0; w * 64 < world.config.sessions; w++)
		atomic_store_explicit(&listener.marks[w], 0, memory_order_relaxed);
	atomic_store(&listener.waker.asleep, 1);
}

// As after a while of talking: the whole ring has been written once and a sender report has come.
static void session_settle(struct world_session *session)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES};
	for (unsigned i = 0; i <= world.config.ring_ms / PCM_CELL_MS; i++)
		pcm_write(session->pcm, &frame);
}

// The accounts of a join are kept for a second or two, reports are only heard once the stream has begun.
void world_settle(void)
{
	ENTERS(worker_role);
	for (unsigned i = 0; i < world.config.sessions; i++) {
		struct world_session *session = &world.sessions[i];
		session->source->watch_until_ns = 0;
		source_sender_report(session->source, session->transport->id, session->ssrc, 0xe9000000ull << 32,
			(uint32_t)session->seq * 960, clock_mono_ns());
	}
}

ROLE_UNCHECKED void world_open(const struct world_config *config)
{
	struct err err = {""};
	world.config = *config;
	world.round = 0;
	world.sessions = calloc(config->sessions, sizeof(world.sessions[0]));
	world.keys = (struct srtp_keys){.profile = config->profile};
	for (unsigned i = 0; i < sizeof(world.keys.remote_key); i++)
		world.keys.remote_key[i] = world.keys.local_key[i] = (uint8_t)(i * 37 + 5);
	memcpy(world.keys.remote_salt, "a salt of 14 b", sizeof(world.keys.remote_salt));
	memcpy(world.keys.local_salt, "a salt of 14 b", sizeof(world.keys.local_salt));
	world.sender = srtp_create(&world.keys, &err);
	if (world.sessions == NULL || world.sender == NULL)
		check(-ENOMEM, "sessions", &err);
	// All on the main thread: offline while it writes the table, or the table's resize would wait for us.
	rcu_offline(0);
	for (unsigned i = 0; i < config->sessions; i++) {
		struct world_session *session = &world.sessions[i];
		struct source_config source = {.input = config->data ? SOURCE_DATA : SOURCE_TRACK};
		session->ssrc = 0x10000000u + i * 2654435761u % 0x0fffffffu;
		session->seq = 1000;
		session->pcm = pcm_create(config->ring_ms);
		session->opus = source.opus = config->passing ? pcm_create(2000) : NULL;
		session->source = session->pcm != NULL ? dataplane_source_create(session->pcm, &source) : NULL;
		session->transport = session->source != NULL ? transport_make(i, session, &err) : NULL;
		if (session->transport == NULL)
			check(-ENOMEM, "session", &err);
		dataplane_source_set_wanted(session->source, !config->passing);
		transport_table_add(session->transport);
		// As control publishes whom it hears, before anybody can look: nothing to retire.
		struct home *home = session->transport->home;
		struct home_hearing *hearing = atomic_load(&home->hearing);
		hearing->hearing = (struct hearing){.mode = HEARING_ONE, .main = {session->transport->id, 1, 1}};
		hearing->serial = home->serial = 1;
		atomic_store(&home->published, 1);
		atomic_store(&home->heard, 1); // control knows already
		session_settle(session);
		if (config->data)
			world_data_open(i);
	}
	if (config->listened)
		listener_open();
	rcu_online(0);
}

void world_close(void)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	rcu_offline(0);
	if (listener.used)
		listener_close();
	for (unsigned i = 0; i < world.config.sessions; i++) {
		struct world_session *session = &world.sessions[i];
		transport_table_remove(session->transport);
		if (world.config.data)
			world_data_close(i);
		srtp_destroy(session->transport->rx.srtp);
		free(session->transport);
		struct home *home = home_of(session->source);
		for (struct home **link = &world_worker()->open; *link != NULL;) {
			if (*link == home)
				*link = home->next;
			else
				link = &(*link)->next;
		}
		home_release(home);
		pcm_unref(session->pcm);
		pcm_unref(session->opus);
	}
	struct dataplane_event event;
	while (dataplane_event_next(&event))
		continue;
	rcu_online(0);
	srtp_destroy(world.sender);
	free(world.sessions);
	free(world.frames);
	world.frames = NULL;
	world.frames_count = world.frames_size = world.next = 0;
}

static uint16_t payload_build(uint8_t *at, const uint8_t *before, const uint8_t *now)
{
	if (!world.config.red) {
		memcpy(at, now, SPEECH_BYTES);
		return SPEECH_BYTES;
	}
	put_be32(at, (0x80u | PT_OPUS) << 24 | 960u << 10 | SPEECH_BYTES);
	at[4] = PT_OPUS;
	memcpy(at + 5, before, SPEECH_BYTES);
	memcpy(at + 5 + SPEECH_BYTES, now, SPEECH_BYTES);
	return 5 + 2 * SPEECH_BYTES;
}

size_t world_headers(unsigned index, uint8_t *frame, size_t bytes)
{
	uint8_t *ip = frame + 14, *udp = ip + 20;
	struct endpoint local = address_of(index);
	memset(frame, 0, WORLD_HEADERS_BYTES);
	memcpy(frame, &plane.ports[0].mac, 6);
	frame[6] = 2;
	put_be16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(28 + bytes));
	ip[8] = 64;
	ip[9] = 17;
	put_be32(ip + 12, WORLD_PEER.ip);
	put_be32(ip + 16, local.ip);
	uint16_t sum = (uint16_t)~rte_raw_cksum(ip, 20);
	memcpy(ip + 10, &sum, 2);
	put_be16(udp, WORLD_PEER.port);
	put_be16(udp + 2, local.port);
	put_be16(udp + 4, (uint16_t)(8 + bytes));
	sum = rte_ipv4_udptcp_cksum((const struct rte_ipv4_hdr *)(const void *)ip, udp);
	memcpy(udp + 6, &sum, 2);
	return WORLD_HEADERS_BYTES + bytes;
}

static void frame_build(struct world_frame *frame, unsigned index, struct srtp_mgr *mgr)
{
	ENTERS(worker_role);
	struct world_session *session = &world.sessions[index];
	uint8_t *rtp = frame->data + WORLD_HEADERS_BYTES;
	unsigned at = world.round + index * 7;
	rtp[0] = 0x80;
	rtp[1] = world.config.red ? PT_RED : PT_OPUS;
	put_be16(rtp + 2, session->seq);
	put_be32(rtp + 4, (uint32_t)session->seq * 960);
	put_be32(rtp + 8, session->ssrc);
	uint32_t bytes = 12u + payload_build(rtp + 12, world.speech[(at + WORLD_SPEECH_FRAMES - 1) % WORLD_SPEECH_FRAMES],
				       world.speech[at % WORLD_SPEECH_FRAMES]);
	session->seq++;
	if (srtp_protect(mgr, world.sender, rtp, &bytes) != 0)
		check(-EIO, "protect", NULL);
	frame->bytes = (uint16_t)world_headers(index, frame->data, bytes);
}

void world_prepare(unsigned rounds)
{
	unsigned count = rounds * world.config.sessions;
	if (count > world.frames_size) {
		free(world.frames);
		world.frames = malloc(count * sizeof(world.frames[0]));
		world.frames_size = count;
	}
	if (world.frames == NULL)
		check(-ENOMEM, "frames", NULL);
	for (unsigned r = 0; r < rounds; r++, world.round++)
		for (unsigned i = 0; i < world.config.sessions; i++)
			frame_build(&world.frames[r * world.config.sessions + i], i, world_worker()->srtp_mgr);
	world.frames_count = count;
	world.next = 0;
}

// A session is fed faster than any server may send. What is measured is the path, not its limit: before a session has used up what
// may come at once, it gets that anew.
static void quotas_fill(void)
{
	ENTERS(worker_role);
	if (world.fed++ % (MEDIA_MOST / 2) != 0)
		return;
	for (unsigned i = 0; i < world.config.sessions; i++)
		world.sessions[i].transport->rx.media_paid_at = 0;
}

unsigned world_feed(struct rte_mbuf **mbufs, unsigned count, unsigned *ret_port)
{
	unsigned session = world.next % world.config.sessions;
	unsigned to_boundary = MIN_OF(PORTS_PER_ADDRESS - session % PORTS_PER_ADDRESS, world.config.sessions - session);
	*ret_port = session / PORTS_PER_ADDRESS;
	count = MIN_OF(count, world.frames_count - world.next);
	if (world.config.sessions > PORTS_PER_ADDRESS)
		count = MIN_OF(count, to_boundary);
	for (unsigned i = 0; i < count; i++) {
		if (world.next % world.config.sessions == 0)
			quotas_fill();
		const struct world_frame *frame = &world.frames[world.next++];
		memcpy(rte_pktmbuf_mtod(mbufs[i], uint8_t *), frame->data, frame->bytes);
		mbufs[i]->data_len = frame->bytes;
		mbufs[i]->pkt_len = frame->bytes;
	}
	return rte_ring_sp_enqueue_burst(world.wire, (void **)mbufs, count, NULL);
}
