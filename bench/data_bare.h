// SPDX-License-Identifier: ISC
//
// data_bare.h - the parts of a frame of the data way with nothing around them, over as many users as the way itself has.
//
// A user's keys are expanded once, lie in cache lines of their own and are asked for a few packets ahead, as the worker's are; users
// come in the same order.
#pragma once

#include "bench/bench.h"

#define DATA_BARE_BURST 32
#define DATA_BARE_ROOM 1024 // of a record

enum data_bare { DATA_BARE_OPEN, DATA_BARE_SUM, DATA_BARE_SACK, DATA_BARE_COPY, DATA_BARE_COUNT };

struct srtp_mgr;

const char *data_bare_name(enum data_bare part);
// Of the sum that the way is held against: the frame is read where it lies, copying its PCM is shown beside.
bool data_bare_counts(enum data_bare part);
void data_bare_begin(struct srtp_mgr *mgr, unsigned users);
void data_bare_key(unsigned user, const uint8_t key[static 16]); // the peer's; ours costs the same
void data_bare_end(void);
// A burst's records, of users from `first` on, `plain_bytes` in each. Opened in place by the first part: parts go in their order.
// Returns cycles.
uint64_t data_bare_burst(enum data_bare part, unsigned first, uint8_t (*records)[DATA_BARE_ROOM], size_t plain_bytes);
