// SPDX-License-Identifier: ISC
//
// home.h - a source at its home worker: whom it hears, packets that wait for their turn, its timers and accounts.
//
// Control publishes what is heard as one pointer; the worker follows it with the next packet or mail, after it has read the
// mail that was sent before.
#pragma once

#include "dataplane/plane.h"

#define HELD_MAX 64

struct worker;
struct transport;

struct home_hearing {
	struct hearing hearing;
	uint32_t serial;
	uint32_t fences; // of all hearings so far: the worker follows only the newest, and none may be skipped
	struct rcu_retired retired;
};

struct home {
	struct released released;
	struct source *source;
	_Atomic(uint32_t) published;            // serial of the hearing, or the one before it; control writes
	_Atomic(uint32_t) heard, aligned;       // serials for which the worker has seen that; worker writes
	uint32_t applied OWNED_BY(worker_role); // serial the source knows
	unsigned held_count OWNED_BY(worker_role);
	bool listed OWNED_BY(worker_role);    // in the worker's list of sources with a timer
	uint64_t cells OWNED_BY(worker_role); // of the source, as far as the worker has counted them
	// What follows not every packet looks at.
	struct home *next OWNED_BY(worker_role);
	uint32_t fenced OWNED_BY(worker_role); // fences the source knows
	_Atomic(struct home_hearing *) hearing; // never NULL; control exchanges it
	uint32_t serial OWNED_BY(control_role); // given out last
	unsigned transports OWNED_BY(control_role); // that may still bring packets
	bool given_up OWNED_BY(control_role);       // goes with the last of them
	unsigned worker;
	struct rcu_retired retired;
	struct rte_mbuf *held[HELD_MAX] OWNED_BY(worker_role);
};
_Static_assert(offsetof(struct home, next) <= CACHE_LINE_BYTES, "what every packet looks at is one line");

static inline struct home *home_of(const struct source *source)
{
	return source_owner(source);
}

// A transport that feeds the home comes; it is gone from every thread. With the last one goes a home that control has given up.
void home_transport_opened(struct home *home) RUNS_ON(control_role);
void home_transport_gone(struct home *home) RUNS_ON(control_role);
// Before every input: follows a newer hearing. The common case is one comparison.
void home_follow(struct worker *worker, struct home *home) RUNS_ON(worker_role);
static inline void home_look(struct worker *worker, struct home *home) RUNS_ON(worker_role);
static inline void home_look(struct worker *worker, struct home *home)
{
	if (UNLIKELY(atomic_load_explicit(&home->published, memory_order_acquire) != home->applied))
		home_follow(worker, home);
}
// A packet that waits: RTP (decrypted) or audio of the data way, as its kind says. Takes the mbuf.
void home_keep(struct worker *worker, struct home *home, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
// After every input and timer: offers again what was kept, tells control, counts what was written, sees to the timer.
void home_fed(struct worker *worker, struct home *home) RUNS_ON(worker_role);
// The source goes: nothing of it is left at the worker.
void home_forget(struct worker *worker, struct home *home) RUNS_ON(worker_role);
