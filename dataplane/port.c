// SPDX-License-Identifier: ISC
//
// port.c - bring a DPDK port up and read its counters.
//
// Runs on: init, control.

#include "dataplane/port.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_bus_vdev.h>

#include "dataplane/plane.h"

// Frames per af_packet ring: 8192 ride out a stall of some 160 ms at 50 kpps (facts: dpdk.md 3).
#define AF_PACKET_FRAMES 8192
#define AF_PACKET_FRAMES_LEAST 256
#define AF_PACKET_FRAME_BYTES 2048
#define AF_PACKET_BLOCK_BYTES 1048576
#define QUEUE_DESCRIPTORS 1024

static const char *device_kind(const char *device, const char **ret_rest)
{
	static const char *const kinds[] = {"af_packet:", "af_xdp:", "memif:", "pcap:"};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strncmp(device, kinds[i], strlen(kinds[i])) == 0) {
			*ret_rest = device + strlen(kinds[i]);
			return kinds[i];
		}
	}
	*ret_rest = device;
	return strcmp(device, "null") == 0 ? "null" : "pci";
}

static unsigned port_queue_count(const struct dataplane_port_config *config, unsigned workers)
{
	// Every worker sends on a queue of its own, so a port has at least as many queues as there are workers.
	unsigned queues = MAX_OF(config->queues, workers);
	return MIN_OF(queues, PORT_QUEUES_MAX);
}

// Frames per ring such that all rings fit into the memory this process may lock: the PMD maps a receive and a transmit
// ring a queue with MAP_LOCKED, and who is not root of the machine has RLIMIT_MEMLOCK (8 MiB, often).
static unsigned af_packet_frames(const struct dataplane_port_config *config, unsigned queues)
{
	unsigned frames = AF_PACKET_FRAMES;
	for (; frames > AF_PACKET_FRAMES_LEAST; frames /= 2) {
		size_t bytes = 2 * (size_t)queues * frames * AF_PACKET_FRAME_BYTES;
		// Nothing is touched: the kernel checks the limit, and no page can be populated.
		void *probe = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
		if (probe != MAP_FAILED) {
			munmap(probe, bytes);
			break;
		}
	}
	if (frames < AF_PACKET_FRAMES)
		plane_log(1, "port %s: rings of %u frames instead of %d: the limit of locked memory (ulimit -l) allows no more",
			config->name, frames, AF_PACKET_FRAMES);
	return frames;
}

int port_eal_args(const struct dataplane_port_config *config, unsigned index, unsigned workers, char **args,
	unsigned *count, struct err *err)
{
	const char *rest;
	const char *kind = device_kind(config->device, &rest);
	unsigned queues = port_queue_count(config, workers);
	char *arg = NULL;
	int length = -1;
	if (strcmp(kind, "af_packet:") == 0) {
		if (if_nametoindex(rest) == 0)
			return err_set(err, ENODEV, "port %s: there is no interface %s", config->name, rest);
		unsigned frames = af_packet_frames(config, queues);
		length = asprintf(&arg, "--vdev=net_af_packet%u,iface=%s,qpairs=%u,framesz=%d,framecnt=%u,blocksz=%u", index,
			rest, queues, AF_PACKET_FRAME_BYTES, frames,
			MIN_OF(AF_PACKET_BLOCK_BYTES, frames * AF_PACKET_FRAME_BYTES));
	} else if (strcmp(kind, "af_xdp:") == 0) {
		if (if_nametoindex(rest) == 0)
			return err_set(err, ENODEV, "port %s: there is no interface %s", config->name, rest);
		length = asprintf(&arg, "--vdev=net_af_xdp%u,iface=%s,queue_count=%u,busy_budget=0", index, rest, queues);
	} else if (strcmp(kind, "memif:") == 0) {
		length = asprintf(&arg, "--vdev=net_memif%u,role=client,id=0,socket=%s,socket-abstract=no,rsize=11,bsize=2048",
			index, rest);
	} else if (strcmp(kind, "pcap:") == 0) {
		char files[96];
		snprintf(files, sizeof(files), "%s", rest);
		char *tx = strchr(files, ',');
		if (tx != NULL)
			*tx++ = '\0';
		if (tx != NULL)
			length = asprintf(&arg, "--vdev=net_pcap%u,rx_pcap=%s,tx_pcap=%s", index, files, tx);
		else
			length = asprintf(&arg, "--vdev=net_pcap%u,rx_pcap=%s,tx_drop=1", index, files);
	} else if (strcmp(kind, "null") == 0) {
		length = asprintf(&arg, "--vdev=net_null%u,no-rx=1", index);
	} else {
		length = asprintf(&arg, "--allow=%s", rest);
	}
	if (length < 0)
		return err_set(err, ENOMEM, "no memory");
	args[(*count)++] = arg;
	return 0;
}

static int port_find(const struct dataplane_port_config *config, unsigned index, uint16_t *ret_id, struct err *err)
{
	static const struct {
		const char *kind, *pmd;
	} names[] = {{"af_packet:", "net_af_packet"}, {"af_xdp:", "net_af_xdp"}, {"memif:", "net_memif"},
		{"pcap:", "net_pcap"}, {"null", "net_null"}};
	const char *rest;
	const char *kind = device_kind(config->device, &rest);
	char device[160];
	snprintf(device, sizeof(device), "%s", rest);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(kind, names[i].kind) == 0)
			snprintf(device, sizeof(device), "%s%u", names[i].pmd, index);
	if (rte_eth_dev_get_port_by_name(device, ret_id) != 0)
		return err_set(err, ENODEV, "port %s: DPDK found no device %s (is the driver bound?)", config->name,
			config->device);
	return 0;
}

// The sockets of an af_packet or af_xdp PMD, in queue order: found by looking at our own descriptors.
static void port_find_queue_fds(struct port *port)
{
	const char *rest;
	const char *kind = device_kind(port->config.device, &rest);
	for (unsigned q = 0; q < PORT_QUEUES_MAX; q++)
		port->queue_fds[q] = -1;
	int domain_wanted = strcmp(kind, "af_packet:") == 0 ? AF_PACKET : strcmp(kind, "af_xdp:") == 0 ? 44 : 0;
	if (domain_wanted == 0)
		return;
	int ifindex = (int)if_nametoindex(rest);
	unsigned found = 0;
	for (int fd = 3; fd < 4096 && found < port->queues; fd++) {
		int domain = 0;
		socklen_t len = sizeof(domain);
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 || domain != domain_wanted)
			continue;
		if (domain == AF_PACKET) {
			struct sockaddr_ll address = {0};
			socklen_t address_len = sizeof(address);
			if (getsockname(fd, (struct sockaddr *)&address, &address_len) != 0 ||
				address.sll_ifindex != ifindex)
				continue;
		}
		port->queue_fds[found++] = fd;
	}
}

int port_start(struct port *port, const struct dataplane_port_config *config, unsigned index, unsigned workers,
	struct rte_mempool *pool, struct err *err)
{
	port->config = *config;
	int ret = port_find(config, index, &port->id, err);
	if (ret < 0)
		return ret;
	struct rte_eth_dev_info info;
	ret = rte_eth_dev_info_get(port->id, &info);
	if (ret != 0)
		return err_set(err, ret, "port %s: %s", config->name, strerror(-ret));
	port->queues = (uint16_t)port_queue_count(config, workers);
	if (port->queues > info.max_rx_queues || port->queues > info.max_tx_queues)
		return err_set(err, EINVAL, "port %s: %u queues for %u workers, the device has %u", config->name, port->queues,
			workers, MIN_OF(info.max_rx_queues, info.max_tx_queues));

	struct rte_eth_conf conf = {0};
	if (port->queues > 1 && (info.flow_type_rss_offloads & RTE_ETH_RSS_UDP) != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & RTE_ETH_RSS_UDP;
	}
	conf.rxmode.offloads = info.rx_offload_capa & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
	ret = rte_eth_dev_configure(port->id, port->queues, port->queues, &conf);
	uint16_t rx_descriptors = QUEUE_DESCRIPTORS, tx_descriptors = QUEUE_DESCRIPTORS;
	if (ret == 0)
		ret = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx_descriptors, &tx_descriptors);
	for (uint16_t q = 0; ret == 0 && q < port->queues; q++) {
		ret = rte_eth_rx_queue_setup(port->id, q, rx_descriptors, SOCKET_ID_ANY, NULL, pool);
		if (ret == 0)
			ret = rte_eth_tx_queue_setup(port->id, q, tx_descriptors, SOCKET_ID_ANY, NULL);
	}
	if (ret == 0)
		ret = rte_eth_dev_start(port->id);
	if (ret == 0)
		ret = rte_eth_macaddr_get(port->id, &port->mac);
	if (ret != 0)
		return err_set(err, ret, "port %s (%s): cannot start: %s", config->name, config->device, strerror(-ret));
	port->neighbours = calloc(1, sizeof(*port->neighbours));
	if (port->neighbours == NULL)
		return err_set(err, ENOMEM, "no memory");
	port_find_queue_fds(port);
	return 0;
}

void port_stop(struct port *port)
{
	rte_eth_dev_stop(port->id);
	rte_eth_dev_close(port->id);
	free(port->neighbours);
	port->neighbours = NULL;
}

uint64_t port_kernel_drops(struct port *port)
{
	const char *rest;
	if (strcmp(device_kind(port->config.device, &rest), "af_packet:") != 0)
		return 0;
	for (unsigned q = 0; q < port->queues; q++) {
		struct tpacket_stats stats; // the kernel clears it at each read
		socklen_t len = sizeof(stats);
		if (port->queue_fds[q] >= 0 &&
			getsockopt(port->queue_fds[q], SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
			port->kernel_drops += stats.tp_drops;
	}
	return port->kernel_drops;
}

void port_info(struct port *port, struct dataplane_port_info *ret_info)
{
	struct rte_eth_stats stats = {0};
	struct rte_eth_link link = {0};
	rte_eth_stats_get(port->id, &stats);
	rte_eth_link_get_nowait(port->id, &link);
	snprintf(ret_info->name, sizeof(ret_info->name), "%s", port->config.name);
	snprintf(ret_info->device, sizeof(ret_info->device), "%s", port->config.device);
	rte_ether_format_addr(ret_info->mac, sizeof(ret_info->mac), &port->mac);
	ret_info->address = port->config.address;
	ret_info->prefix_bits = port->config.prefix_bits;
	ret_info->up = link.link_status != 0;
	ret_info->queues = port->queues;
	ret_info->rx_packets = stats.ipackets;
	ret_info->rx_bytes = stats.ibytes;
	ret_info->tx_packets = stats.opackets;
	ret_info->tx_bytes = stats.obytes;
	ret_info->rx_missed = stats.imissed + stats.rx_nombuf;
}
