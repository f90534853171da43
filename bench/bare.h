// SPDX-License-Identifier: ISC
//
// bare.h - the parts of a packet's path with nothing around them, over as many sessions as the path itself has.
//
// Each walks its own memory in the order in which the sessions' packets come, so that both pay for the same cache misses.
#pragma once

#include <rte_mbuf.h>

#include "bench/bench.h"
#include "dataplane/srtp.h"

enum bare { BARE_MBUF, BARE_RX, BARE_LOOKUP, BARE_SRTP, BARE_COPY, BARE_ARRAY, BARE_OPUS, BARE_RTE_HASH, BARE_WALK, BARE_COUNT };

const char *bare_name(enum bare part);
// Of the sum that the path is held against. Beside it are shown: an array read that can stand for the lookup, Opus, rte_hash, the walk.
bool bare_counts(enum bare part);
void bare_open(unsigned sessions, enum srtp_profile profile, uint32_t ring_ms, uint32_t srtp_bytes);
void bare_close(void);
// Burst of 32 packets number `burst`: returns its cycles.
uint64_t bare_burst(enum bare part, unsigned burst);
