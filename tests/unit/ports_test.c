// SPDX-License-Identifier: ISC
//
// ports_test.c - devices that need no card and no root: memif with a peer in another process, null. Each dataplane runs in a
// process of its own, since DPDK starts once in a process.
//
// Runs on: init, control.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "dataplane/dataplane.h"

#define OUR_IP 0x0a630102u  // 10.99.1.2
#define PEER_IP 0x0a630101u // 10.99.1.1
#define LIMIT_NS 10000000000u
#define ECHOES 200u

static char folder[] = "/tmp/relay-ports-XXXXXX", socket_path[64];

// In the processes of this test: the line that failed is the exit code.
#define MUST(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "ports_test.c:%d: %s\n", __LINE__, #condition);                                \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

static int first_core(void)
{
	cpu_set_t allowed;
	int core = 0;
	sched_getaffinity(0, sizeof(allowed), &allowed);
	while (!CPU_ISSET(core, &allowed))
		core++;
	return core;
}

static void start_dataplane(const char *device)
{
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .memory_mb = 128, .cores = {first_core()}};
	config.ports[0] = (struct dataplane_port_config){
		.name = "test", .address = OUR_IP, .prefix_bits = 24, .queues = 1, .udp_port_min = 20000, .udp_port_max = 20100};
	snprintf(config.ports[0].device, sizeof(config.ports[0].device), "%s", device);
	int ret = dataplane_start(&config, &err);
	if (ret < 0)
		fprintf(stderr, "%s\n", err.text);
	MUST(ret == 0);
}

static void expect_exit(pid_t pid)
{
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("ended by signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

// ---- memif: the peer asks for our address and pings it

struct peer {
	struct rte_mempool *pool;
	struct rte_ether_addr mac, theirs;
};

static uint16_t checksum(const uint8_t *data, size_t bytes)
{
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += get_be16(data + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void peer_start(struct peer *peer)
{
	char device[160], lcores[16];
	snprintf(device, sizeof(device), "--vdev=net_memif0,role=server,id=0,socket=%s,socket-abstract=no,rsize=11,bsize=2048",
		socket_path);
	snprintf(lcores, sizeof(lcores), "-l%d", first_core());
	char *args[] = {"peer", lcores, "--no-huge", "--no-shconf", "-m64", "--no-pci", "--no-telemetry", "--iova-mode=va",
		"--log-level=error", device};
	struct rte_eth_conf conf = {0};
	MUST(rte_eal_init(ARRAY_SIZE(args), args) >= 0);
	peer->pool = rte_pktmbuf_pool_create("peer", 4095, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	MUST(peer->pool != NULL);
	MUST(rte_eth_dev_configure(0, 1, 1, &conf) == 0);
	MUST(rte_eth_rx_queue_setup(0, 0, 1024, SOCKET_ID_ANY, NULL, peer->pool) == 0);
	MUST(rte_eth_tx_queue_setup(0, 0, 1024, SOCKET_ID_ANY, NULL) == 0);
	MUST(rte_eth_dev_start(0) == 0);
	MUST(rte_eth_macaddr_get(0, &peer->mac) == 0);
}

static bool peer_send(struct peer *peer, const uint8_t *frame, uint16_t bytes)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(peer->pool);
	MUST(mbuf != NULL);
	memcpy(rte_pktmbuf_append(mbuf, bytes), frame, bytes);
	if (rte_eth_tx_burst(0, 0, &mbuf, 1) == 1)
		return true;
	rte_pktmbuf_free(mbuf); // not connected yet, or full
	return false;
}

// Takes what came; counts echo answers, learns the address from an ARP answer.
static unsigned peer_receive(struct peer *peer)
{
	struct rte_mbuf *mbufs[32];
	unsigned echoes = 0, count = rte_eth_rx_burst(0, 0, mbufs, ARRAY_SIZE(mbufs));
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(mbufs[i], const uint8_t *);
		if (get_be16(frame + 12) == 0x0806 && get_be16(frame + 20) == 2 && get_be32(frame + 28) == OUR_IP)
			memcpy(&peer->theirs, frame + 22, 6);
		echoes += get_be16(frame + 12) == 0x0800 && frame[23] == 1 && frame[34] == 0 && get_be32(frame + 30) == PEER_IP;
		rte_pktmbuf_free(mbufs[i]);
	}
	return echoes;
}

static uint16_t arp_frame(const struct peer *peer, uint8_t *frame)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
	memset(frame, 0, 64);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, &peer->mac, 6);
	put_be16(frame + 12, 0x0806);
	memcpy(frame + 14, head, sizeof(head));
	memcpy(frame + 22, &peer->mac, 6);
	put_be32(frame + 28, PEER_IP);
	put_be32(frame + 38, OUR_IP);
	return 42;
}

static uint16_t echo_frame(const struct peer *peer, uint8_t *frame)
{
	memset(frame, 0, 64);
	memcpy(frame, &peer->theirs, 6);
	memcpy(frame + 6, &peer->mac, 6);
	put_be16(frame + 12, 0x0800);
	frame[14] = 0x45;
	put_be16(frame + 16, 36);
	frame[22] = 64;
	frame[23] = 1;
	put_be32(frame + 26, PEER_IP);
	put_be32(frame + 30, OUR_IP);
	put_be16(frame + 24, checksum(frame + 14, 20));
	frame[34] = 8;
	put_be16(frame + 36, checksum(frame + 34, 16));
	return 50;
}

static void peer_main(int ready_fd)
{
	struct peer peer = {0};
	uint8_t frame[64];
	static const struct rte_ether_addr nobody = {{0}};
	peer_start(&peer);
	MUST(write(ready_fd, "", 1) == 1);
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	while (memcmp(&peer.theirs, &nobody, 6) == 0) {
		peer_send(&peer, frame, arp_frame(&peer, frame));
		for (int i = 0; i < 50; i++) {
			peer_receive(&peer);
			usleep(1000);
		}
		MUST(clock_mono_ns() < limit);
	}
	// One at a time: none may be lost on a ring that is never full.
	uint16_t bytes = echo_frame(&peer, frame);
	for (unsigned sent = 0, answered = 0; answered < ECHOES; answered += peer_receive(&peer)) {
		if (sent == answered && peer_send(&peer, frame, bytes))
			sent++;
		sched_yield();
		if (clock_mono_ns() >= limit)
			fprintf(stderr, "%u sent, %u answered\n", sent, answered);
		MUST(clock_mono_ns() < limit);
	}
	put_be16(frame + 12, 0x86dd);
	MUST(peer_send(&peer, frame, bytes));
	// The ring lives as long as its server: wait until it was read.
	getchar();
	_exit(0);
}

static void memif_main(void)
{
	ENTERS(control_role);
	char device[96];
	int pipe_fds[2], ready_fds[2];
	MUST(pipe(pipe_fds) == 0 && pipe(ready_fds) == 0);
	pid_t peer = fork();
	if (peer == 0) {
		dup2(pipe_fds[0], STDIN_FILENO);
		close(pipe_fds[1]);
		peer_main(ready_fds[1]);
	}
	close(pipe_fds[0]);
	MUST(read(ready_fds[0], device, 1) == 1); // a socket that is bound and does not listen yet refuses us
	snprintf(device, sizeof(device), "memif:%s", socket_path);
	start_dataplane(device);
	struct dataplane_info info;
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	do {
		dataplane_info(&info);
		usleep(1000);
	} while (info.drops[DROP_ETH_UNKNOWN_TYPE] == 0 && clock_mono_ns() < limit);
	for (unsigned d = 1; d < DROP_COUNT; d++)
		if (info.drops[d] != 0 && d != DROP_ETH_UNKNOWN_TYPE)
			fprintf(stderr, "%s: %lu\n", drop_name(d), info.drops[d]);
	MUST(info.drops[DROP_ETH_UNKNOWN_TYPE] == 1);
	MUST(info.ports[0].up);
	MUST(info.ports[0].tx_packets >= ECHOES + 1);
	MUST(info.drops[DROP_TX_RING_FULL] == 0);
	// The PMD unmaps the shared memory when its peer goes, also under a worker that reads it: we go first.
	dataplane_stop();
	close(pipe_fds[1]);
	int status = -1;
	MUST(waitpid(peer, &status, 0) == peer && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	exit(0);
}

static void memif_answers_its_peer(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0)
		memif_main();
	expect_exit(pid);
}

// ---- null

static void null_starts_and_stops(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		ENTERS(control_role);
		struct dataplane_info info;
		start_dataplane("null");
		dataplane_info(&info);
		MUST(info.port_count == 1 && info.ports[0].rx_packets == 0);
		dataplane_stop();
		exit(0);
	}
	expect_exit(pid);
}

static void unknown_devices_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *device, *word;
	} cases[] = {{"af_packet:no-such-if", "no-such-if"}, {"af_xdp:no-such-if", "no-such-if"}, {"memif:", "memif"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct err err = {""};
			struct dataplane_config config = {
				.port_count = 1, .worker_count = 1, .memory_mb = 64, .cores = {first_core()}};
			config.ports[0] = (struct dataplane_port_config){.name = "test", .queues = 1};
			snprintf(config.ports[0].device, sizeof(config.ports[0].device), "%s", cases[i].device);
			MUST(dataplane_start(&config, &err) < 0);
			fprintf(stderr, "%s\n", err.text);
			MUST(strstr(err.text, cases[i].word) != NULL);
			_exit(0);
		}
		expect_exit(pid);
	}
}

int main(void)
{
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(socket_path, sizeof(socket_path), "%s/memif.sock", folder);
	const struct CMUnitTest tests[] = {cmocka_unit_test(memif_answers_its_peer), cmocka_unit_test(null_starts_and_stops),
		cmocka_unit_test(unknown_devices_are_named)};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(socket_path);
	rmdir(folder);
	return failed;
}
