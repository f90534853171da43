// SPDX-License-Identifier: ISC
//
// tsan_ring.h - included before everything in builds for ThreadSanitizer: a ring with several producers, as the memory model wants it.
//
// A producer that waits for the one before it publishes both their elements, but DPDK lets it wait with a relaxed load, so that by
// the model the consumer never synchronised with the first. x86 has no such reordering; here the wait acquires, and what is reported
// of a ring or of what went through it is a race.
//
// Runs on: any.
#pragma once

#include <rte_config.h>
#include <rte_pause.h>

#define rte_wait_until_equal_32(address, expected, order) rte_wait_until_equal_32(address, expected, __ATOMIC_ACQUIRE)
