// SPDX-License-Identifier: ISC
//
// eal.h - DPDK's environment made from our configuration: an operator never writes an EAL argument.
//
// Runs on: init.
#pragma once

#include "dataplane/dataplane.h"

// Initialises EAL with lcore i + 1 pinned to cores[i]; lcore 0 is the caller, whose affinity is restored.
int eal_start(const struct dataplane_config *config, bool *ret_hugepages, struct err *err);
void eal_stop(void);
