// SPDX-License-Identifier: ISC
//
// worker.h - what the files that run on a worker call of each other. The loop is worker.c; the stories are ingress.c and
// egress.c.
#pragma once

#include "dataplane/home.h"
#include "dataplane/plane.h"
#include "dataplane/quota.h"
#include "dataplane/transport.h"

// What of a transport may reach its source: 477 packets a second, 3,000 at once. Speech is 50 a second, 100 in packets of 10 ms
// or with RTP and data packets side by side; NACK has a packet repeated three times at most. What a stall held back comes at
// once: under heavy loss a server's SCTP was seen to hold back 22 s. A server that sends more costs 80 ms once and 1.2 % of a
// core in decoded Opus.
#define MEDIA_TICKS_EACH 32u
#define MEDIA_MOST 3000u
// What of a transport may go to the association thread, which reads what a worker cannot finish: control chunks, pieces, ordered
// messages. A peer that keeps to the rules has at most the 384 numbers of sctp_rx.h under way, so 512 chunks at once are room for
// it, with what it repeats; 3,815 a second are 4.4 MB/s of pieces in full packets. A packet without any counts as one. What is over
// is not acknowledged: the peer repeats it, slower, as if the network had lost it.
#define SHARE_TICKS_EACH 4u
#define SHARE_MOST 512u

static inline void worker_drop(struct worker *worker, struct rte_mbuf *mbuf, enum drop reason) RUNS_ON(worker_role);
static inline void worker_drop(struct worker *worker, struct rte_mbuf *mbuf, enum drop reason)
{
	stats_add(&worker->stats.drops[reason], 1);
	rte_pktmbuf_free(mbuf);
}

// ---- ingress.c
void ingress_wire(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
void ingress_inbox(struct worker *worker, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
// Tells control once that audio of this transport has arrived; seen is where that is remembered.
void ingress_seen(struct transport *transport, bool *seen) RUNS_ON(worker_role);
// Whether one more authentic packet of the transport is taken; a counted drop when its server sends more than audio needs. What
// anybody could have made up is not asked for here: a flood of it must not use up what the server may send.
static inline bool ingress_takes(struct worker *worker, struct transport *transport, uint64_t arrival_ns) RUNS_ON(worker_role);
static inline bool ingress_takes(struct worker *worker, struct transport *transport, uint64_t arrival_ns)
{
	bool takes = quota_take(&transport->rx.media_paid_at, arrival_ns, MEDIA_TICKS_EACH, MEDIA_MOST);
	if (UNLIKELY(!takes))
		stats_add(&worker->stats.drops[DROP_MEDIA_FLOOD], 1);
	return takes;
}
// One decrypted RTP packet to the transport's source. Keeps the mbuf of an SSRC nobody has named yet, frees it otherwise.
void ingress_rtp(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);

// ---- ingress_data.c
// Whether this worker opens the transport's DTLS records by now.
bool ingress_has_record(struct transport *transport) RUNS_ON(worker_role);
// A datagram of DTLS records; takes the mbuf.
void ingress_dtls(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
// From assoc: an SCTP packet to take into account, a new state of the association, a whole message; each takes the mbuf.
void ingress_sctp_again(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
void ingress_sctp_up(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
void ingress_message(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
// A user payload that was kept and may be heard now; takes the mbuf.
void ingress_audio(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
// Sends the SACKs that are due; returns when the next one is, 0: none is owed.
uint64_t ingress_sacks(struct worker *worker) RUNS_ON(worker_role);
void ingress_sack_forget(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);

// ---- egress.c
void egress_inject(struct worker *worker, struct rte_mbuf **mbufs, unsigned count) RUNS_ON(worker_role);
void egress_flush(struct worker *worker) RUNS_ON(worker_role);
// An mbuf with a UDP payload to the transport's peer. The transport has a remote address, or the mbuf is dropped.
void egress_datagram(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
// Plain bytes become one DTLS record, sent. They lie DTLS_RECORD_HEAD_BYTES behind where an mbuf's data begins.
void egress_record(struct worker *worker, struct transport *transport, struct rte_mbuf *mbuf) RUNS_ON(worker_role);
// What we owe of SACK now; the last flight of the handshake again; ABORT and close_notify.
void egress_sack(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);
void egress_flight(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);
void egress_goodbye(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);
// A receiver report for the source's stream, protected and sent.
void egress_report(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);
// Asks the sender for packets of the track that are missing (NACK), if any are to be asked for now.
void egress_ask(struct worker *worker, struct transport *transport) RUNS_ON(worker_role);

// ---- worker_mail.c
void worker_mail_read(struct worker *worker) RUNS_ON(worker_role);
// Gives up the transports and sources that mail said go. Once a turn of the loop, when no burst, timer or list is being walked.
static inline void worker_leave_due(struct worker *worker) RUNS_ON(worker_role);
void worker_leave(struct worker *worker) RUNS_ON(worker_role);
static inline void worker_leave_due(struct worker *worker)
{
	if (UNLIKELY(worker->leaving_transports != NULL || worker->leaving_homes != NULL))
		worker_leave(worker);
}

