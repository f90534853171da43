// SPDX-License-Identifier: ISC
//
// arp.h - ARP (RFC 826): answer for our addresses, learn next hops, age them, and hold a few packets meanwhile.
#pragma once

#include "dataplane/plane.h"

// Before anything else: the memory that timers need, since later nobody could be told that there is none. -ENOMEM.
int arp_start(void) RUNS_ON(handshake_role);
// A received ARP frame; the mbuf stays the caller's. DROP_NONE when it was of use.
enum drop arp_input(unsigned port, const uint8_t *frame, size_t bytes, uint64_t now_ns) RUNS_ON(handshake_role);
// Send a datagram (plane_datagram) of ours; when its next hop is unknown it waits for the answer. Takes the mbuf.
void arp_send(struct rte_mbuf *mbuf, unsigned worker, uint64_t now_ns) RUNS_ON(handshake_role);
// Timers; returns the next deadline, 0: none.
uint64_t arp_poll(uint64_t now_ns) RUNS_ON(handshake_role);
void arp_finish(void) RUNS_ON(handshake_role);
