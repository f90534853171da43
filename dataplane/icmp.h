// SPDX-License-Identifier: ISC
//
// icmp.h - ICMP echo (RFC 792) and nothing more.
#pragma once

#include "dataplane/plane.h"

// A received frame with an ICMP message for us: an echo request is turned into its reply and sent (the mbuf is taken),
// anything else, and more of them than are answered in a second, is dropped by name.
void icmp_input(struct rte_mbuf *mbuf, uint64_t now_ns) RUNS_ON(handshake_role);
