// SPDX-License-Identifier: ISC
//
// worker.h - what the files that run on a worker call of each other. The loop is worker.c; the stories are ingress.c and
// egress.c.
#pragma once

#include "dataplane/home.h"
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

// The same for one user payload of the data way.
void ingress_audio(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);

// ---- egress.c
void egress_inject(struct worker *worker, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
void egress_flush(struct worker *worker) RUNS_ON(worker_role);
// A receiver report for the source's stream, protected and sent.
void egress_report(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);

// ---- worker_mail.c
void worker_mail_read(struct worker *worker) RUNS_ON(worker_role);

