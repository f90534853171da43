// SPDX-License-Identifier: ISC
//
// port.h - a DPDK port: EAL device arguments, queues, packet pool, link, and the kernel's own drop counter.
//
// Runs on: init (bring-up), worker (bursts), control (statistics).
#pragma once

#include <rte_ethdev.h>

#include "dataplane/dataplane.h"
#include "dataplane/neighbour.h"
#include "dataplane/packet.h"

#define PORT_QUEUES_MAX 16

struct port {
	struct dataplane_port_config config;
	uint16_t id; // DPDK's
	uint16_t queues;
	struct rte_ether_addr mac;
	struct neighbour_table *neighbours;
	int queue_fds[PORT_QUEUES_MAX];           // the PMD's socket to sleep on, -1: none
	uint64_t kernel_drops OWNED_BY(control_role); // accumulated PACKET_STATISTICS
};

// The EAL arguments one port needs, appended to args (each malloc'ed). queues is what the port will have.
int port_eal_args(const struct dataplane_port_config *config, unsigned index, unsigned workers, char **args,
	unsigned *count, struct err *err);
// After rte_eal_init: find, configure and start the device.
int port_start(struct port *port, const struct dataplane_port_config *config, unsigned index, unsigned workers,
	struct rte_mempool *pool, struct err *err);
void port_stop(struct port *port);
void port_info(struct port *port, struct dataplane_port_info *ret_info) RUNS_ON(control_role);
uint64_t port_kernel_drops(struct port *port) RUNS_ON(control_role);

// Whether an address is on the port's own network, and who gets a packet for it next.
static inline uint32_t port_next_hop(const struct port *port, uint32_t ip)
{
	uint32_t mask = port->config.prefix_bits ? ~0u << (32 - port->config.prefix_bits) : 0;
	if (((ip ^ port->config.address) & mask) == 0 || port->config.gateway == 0)
		return ip;
	return port->config.gateway;
}
