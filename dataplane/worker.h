// SPDX-License-Identifier: ISC
//
// worker.h - what the files that run on a worker call of each other. The loop is worker.c; the stories are ingress.c and
// egress.c.
#pragma once

#include "dataplane/plane.h"
#include "dataplane/transport.h"

static inline void worker_drop(struct worker *worker, struct rte_mbuf *mbuf, enum drop reason) RUNS_ON(worker_role);
static inline void worker_drop(struct worker *worker, struct rte_mbuf *mbuf, enum drop reason)
{
	stats_add(&worker->stats.drops[reason], 1);
	rte_pktmbuf_free(mbuf);
}

// ---- ingress.c
void ingress_wire(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
void ingress_inbox(struct worker *worker, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
// One decrypted RTP packet to the transport's source. Keeps the mbuf of an SSRC nobody has named yet, frees it otherwise.
void ingress_rtp(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);

// ---- egress.c
void egress_inject(struct worker *worker, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
void egress_flush(struct worker *worker) RUNS_ON(worker_role);
// A receiver report for the source's stream, protected and sent.
void egress_report(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);

// ---- worker_mail.c
void worker_mail_read(struct worker *worker) RUNS_ON(worker_role);

// ---- worker.c
// After every input: counts what was written, and keeps an eye on the source while it has a timer.
void worker_source_fed(struct worker *worker, struct home *home) RUNS_ON(worker_role);

static inline struct home *home_of(const struct source *source)
{
	return source_owner(source);
}

// Whether the slot hears this transport's leg at present.
static inline bool worker_heard(const struct transport *transport)
{
	uint32_t active = atomic_load_explicit(&home_of(transport->source)->active, memory_order_acquire);
	return active == 0 || active == transport->generation;
}
