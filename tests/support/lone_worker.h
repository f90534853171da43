// SPDX-License-Identifier: ISC
//
// lone_worker.h - a dataplane with one worker and a port that brings nothing, as set-up and end of a group of tests.
//
// Include after cmocka.h.
#pragma once

#include <sched.h>

#include "dataplane/dataplane.h"

static int lone_worker_start(void **state)
{
	(void)state;
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .memory_mb = 128};
	cpu_set_t mask;
	sched_getaffinity(0, sizeof(mask), &mask);
	while (!CPU_ISSET(config.cores[0], &mask))
		config.cores[0]++;
	config.ports[0] = (struct dataplane_port_config){.name = "test", .device = "null", .address = 0x0a630102, .prefix_bits = 24,
		.queues = 1, .udp_port_min = 20000, .udp_port_max = 29999};
	if (dataplane_start(&config, &err) == 0)
		return 0;
	print_error("%s\n", err.text);
	return -1;
}

static int lone_worker_stop(void **state)
{
	(void)state;
	dataplane_stop();
	return 0;
}
