// SPDX-License-Identifier: ISC
//
// plane.h - what the threads of the dataplane share: ports, workers, the rings and mailboxes between them.
//
// Private to dataplane/. Crossings: worker -> handshake and assoc by punt rings, they -> worker by inject and inbox rings,
// control -> worker by mail, control -> handshake -> assoc by mailboxes, everybody -> control by events.
#pragma once

#include <pthread.h>
#include <rte_ring.h>

#include "dataplane/dataplane.h"
#include "dataplane/ice.h"
#include "dataplane/mailbox.h"
#include "dataplane/packet.h"
#include "dataplane/port.h"
#include "dataplane/rcu.h"
#include "dataplane/source.h"
#include "dataplane/srtp.h"
#include "dataplane/stats.h"

#define PUNT_RING_SIZE 4096
#define INBOX_RING_SIZE 4096
#define INJECT_RING_SIZE 4096
#define MAIL_RING_SIZE 1024
#define TX_BURST_MAX 32

// Whether a ring is empty, as rte_ring_empty says it, but with loads that the memory model knows.
static inline bool plane_ring_empty(const struct rte_ring *ring)
{
	return __atomic_load_n(&ring->prod.tail, __ATOMIC_ACQUIRE) == __atomic_load_n(&ring->cons.tail, __ATOMIC_ACQUIRE);
}

// A ring with a sleeper behind it.
struct doorbell {
	_Atomic(uint32_t) asleep;
	int event_fd;
};

// The sleeper's side: announce, look again, then block on event_fd.
static inline void doorbell_arm(struct doorbell *bell)
{
	atomic_store_explicit(&bell->asleep, 1, memory_order_seq_cst);
}
static inline void doorbell_disarm(struct doorbell *bell)
{
	atomic_store_explicit(&bell->asleep, 0, memory_order_seq_cst);
}
// The producer's side, after the push: a system call only when somebody sleeps.
void doorbell_ring_slow(struct doorbell *bell);
static inline void doorbell_ring(struct doorbell *bell)
{
	if (UNLIKELY(atomic_load_explicit(&bell->asleep, memory_order_seq_cst) != 0))
		doorbell_ring_slow(bell);
}

// Something that has been given up by its owners and goes back to control, from any thread without a lock.
struct released {
	struct released *next; // until it is given up, an owner may chain it with its own part
	void (*fn)(struct released *released); // runs on control
};
void plane_release(struct released *released);

struct home; // a source at its worker: home.h

struct transport;

struct worker {
	unsigned index, lcore;
	struct doorbell bell;
	struct rte_ring *inbox;  // frames of our transports that arrived elsewhere, and what assoc has for us
	struct rte_ring *inject; // packets to send
	struct rte_ring *mail;   // from control
	struct srtp_mgr *srtp_mgr;
	uint64_t now_ns OWNED_BY(worker_role);
	struct rte_mbuf *tx[DATAPLANE_PORTS_MAX][TX_BURST_MAX] OWNED_BY(worker_role);
	unsigned tx_count[DATAPLANE_PORTS_MAX] OWNED_BY(worker_role);
	uint32_t arp_paid_at OWNED_BY(worker_role); // quota.h: of ARP frames that confirm a next hop
	struct home *open OWNED_BY(worker_role); // sources with a timer
	bool reads_mail OWNED_BY(worker_role);
	// What goes once nothing of this turn of the loop looks at it any more.
	struct released *leaving_transports OWNED_BY(worker_role), *leaving_homes OWNED_BY(worker_role);
	struct pcm_bells bells OWNED_BY(worker_role); // consumers to wake
	struct transport *sack_first OWNED_BY(worker_role), *sack_last OWNED_BY(worker_role); // who is owed a SACK
	struct stats_worker stats;
	_Atomic(uint32_t) transports;
	_Atomic(bool) stopped; // the thread's last word
	_Atomic(uint64_t) load_busy_ns, load_at_ns; // for the load of the last second
	double load OWNED_BY(control_role);
};

enum worker_mail_type {
	WORKER_MAIL_MAP,
	WORKER_MAIL_UNMAP,
	WORKER_MAIL_RELEASE, // give up the worker's part of a closed transport
	WORKER_MAIL_TARGET, // whose data packets, from now on
	WORKER_MAIL_MUTED,
	WORKER_MAIL_LOOK,   // a source hears somebody else from now on
	WORKER_MAIL_FORGET, // a source goes
};

// One message of control to a worker; comes from a mempool so that the worker can give it back.
struct worker_mail {
	enum worker_mail_type type;
	uint64_t transport;
	struct transport *released;
	struct home *home;
	uint32_t ssrc;
	uint8_t pt_opus, pt_red;
	bool muted;
	uint32_t voice;
	char target[256];
};

// Copies the message. Waits while the worker's ring is full or the pool of messages empty: one that gives something up must not fail.
void worker_mail_send(unsigned worker, const struct worker_mail *mail) RUNS_ON(control_role);

enum plane_event_code { PLANE_EVENT_ARRIVED = 1, PLANE_EVENT_HEARD, PLANE_EVENT_ALIGNED };

struct plane {
	struct dataplane_config config;
	bool hugepages;
	struct rte_mempool *pool, *mail_pool;
	struct port ports[DATAPLANE_PORTS_MAX];
	struct worker workers[DATAPLANE_WORKERS_MAX];
	struct dtls_identity *identity;
	struct rte_ring *punt;  // workers -> handshake
	struct rte_ring *punt_known; // the same, of who is known and within a quota: looked at first, so that no flood starves consent
	struct rte_ring *assoc; // workers -> assoc
	struct doorbell punt_bell, assoc_bell;
	struct mailbox handshake_box, assoc_box; // slow messages
	struct mailbox control_box;              // to control: events and things to free
	struct rte_ring *worker_events;          // workers -> control: id << 3 | enum plane_event_code
	_Atomic(struct released *) released;     // stack of what goes back to control
	struct doorbell control_bell;            // its event_fd is control_box's
	pthread_t handshake_thread, assoc_thread;
	_Atomic(bool) stop_workers, stop_slow;
	unsigned transports OWNED_BY(control_role), sources OWNED_BY(control_role);
};

extern struct plane plane;

// Answers to strangers, echo and ARP each: 954 a second, 250 at once. They go through the ring that consent goes through.
#define ANSWER_TICKS_EACH 16u // quota.h
#define ANSWERS_MOST 250u

void plane_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Hand a packet to a worker for sending; takes the mbuf. From handshake and assoc.
void plane_inject(unsigned worker, struct rte_mbuf *mbuf);
// Hand a packet to a worker as input; takes the mbuf. From handshake and assoc. The reason is the caller's to count.
enum drop plane_inbox(unsigned worker, struct rte_mbuf *mbuf);
// An mbuf with a copy of data and head_bytes left free before it (beside the headers' room, which stays aligned that way);
// NULL and a counted drop when the pool is empty. From handshake and assoc.
struct rte_mbuf *plane_buffer(uint16_t head_bytes, const void *data, size_t bytes);
// An mbuf with a copy of a UDP payload, ready for plane_inject; NULL and a counted drop when the pool is empty.
struct rte_mbuf *plane_datagram(unsigned port, uint16_t local_port, struct endpoint remote, const uint8_t *data,
	size_t bytes);
struct event_mail {
	struct mail mail;
	struct dataplane_event event;
};
// Tell control something about a transport. From handshake and assoc.
void plane_event(const struct dataplane_event *event);

void home_release(struct home *home) RUNS_ON(worker_role);

// The main functions of the threads.
int worker_main(void *worker);
int handshake_start(struct err *err); // init, before the thread runs
int assoc_start(struct err *err);     // the same
void *handshake_main(void *unused);
void *assoc_main(void *unused);

// ---- slow messages
enum slow_type {
	SLOW_OPEN,       // control -> handshake -> assoc: a transport was published
	SLOW_REMOTE,     // control -> handshake
	SLOW_CANDIDATE,  // control -> handshake
	SLOW_PROBE,      // control -> handshake
	SLOW_RESTART,    // control -> handshake: ICE credentials of a restart
	SLOW_ESTABLISHED, // handshake -> assoc: the record layer, on its way to the worker
	SLOW_SEND_DATA,  // control -> assoc
	SLOW_CLOSE,      // control -> handshake -> assoc
};
struct slow {
	struct mail mail;
	enum slow_type type;
	struct transport *transport; // alive until both have seen SLOW_CLOSE
	struct transport_remote remote;
	struct endpoint candidate;
	uint32_t priority;
	struct ice_credentials credentials;
	struct dtls_record *record;
	bool dtls_client, reliable;
	size_t bytes;
	uint8_t data[]; // SLOW_SEND_DATA
};
struct slow *slow_new(enum slow_type type, struct transport *transport, size_t extra);
