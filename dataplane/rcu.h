// SPDX-License-Identifier: ISC
//
// rcu.h - the one RCU seam: workers read for free, control retires without waiting.
//
// liburcu's QSBR flavour; builds for ThreadSanitizer map it to rte_rcu_qsbr, whose atomics the sanitizer can follow
// (facts: dpdk.md 5). Only workers are readers; a sleeping worker is offline.
#pragma once

#include "dataplane/base.h"
#include "dataplane/roles.h"

// Embedded in whatever is retired.
struct rcu_retired {
	struct {
		void *next;
		void *fn;
	} library; // room for the library's own head
	void (*free)(struct rcu_retired *retired);
	struct rcu_retired *next;
	uint64_t token;
};

int rcu_init(unsigned readers_max, struct err *err);
void rcu_finish(void); // after every reader unregistered: runs what is still retired

void rcu_reader_register(unsigned reader) RUNS_ON(worker_role);
void rcu_reader_unregister(unsigned reader) RUNS_ON(worker_role);
void rcu_quiescent(unsigned reader) RUNS_ON(worker_role);
void rcu_offline(unsigned reader) RUNS_ON(worker_role);
void rcu_online(unsigned reader) RUNS_ON(worker_role);

// free(retired) runs after a grace period, on a thread of the library's own (or inside rcu_poll).
void rcu_retire(struct rcu_retired *retired, void (*free)(struct rcu_retired *)) RUNS_ON(control_role);
void rcu_poll(void) RUNS_ON(control_role); // now and then; a no-op with liburcu
