// SPDX-License-Identifier: ISC
//
// transport.h - one PeerConnection: its parts, each with one owner, and its life: opened, published, closed, freed.
//
// Control creates it and puts it into the table; workers find it by network port and UDP port, the handshake and assoc
// threads by its id in arrays of their own. Closing takes it out of the table, lets the owners give up their parts one
// after the other, and frees the memory after a grace period. No part points into another transport, but for the links of
// the worker's list of owed SACKs.
#pragma once

#include "dataplane/channel.h"
#include "dataplane/dataplane.h"
#include "dataplane/deadline.h"
#include "dataplane/dtls.h"
#include "dataplane/dtls_record.h"
#include "dataplane/ice.h"
#include "dataplane/overtaken.h"
#include "dataplane/packet.h"
#include "dataplane/plane.h"
#include "dataplane/rcu.h"
#include "dataplane/sctp_assoc.h"
#include "dataplane/srtp.h"
#include "dataplane/stats.h"

#define TRANSPORT_STREAMS_MAX 4
#define TRANSPORT_PENDING_MAX 16 // packets of an SSRC that signalling has not named yet
#define TRANSPORT_PENDING_MS 200

struct transport_stream {
	uint32_t ssrc;
	uint8_t pt_opus, pt_red;
	bool used, seen;
};

struct transport_rx {
	struct srtp *srtp;
	struct transport_stream streams[TRANSPORT_STREAMS_MAX];
	uint32_t media_paid_at; // quota.h: of authentic packets
	uint8_t pending_count;
	bool audio_seen; // control has heard of the first frame of the data way
};

// The data way: records, SCTP and the target of its packets.
struct transport_data {
	struct dtls_record *record;
	struct transport *sack_next, *sack_previous; // in the worker's list, by the time the SACK is due
	bool sack_listed;
	uint16_t target_bytes;
	uint32_t voice;   // stamped onto data packets: the generation in which the target was chosen
	struct overtaken overtaken; // of its data packets
	uint32_t share_paid_at;     // quota.h: of what goes to the association thread
	char target[256]; // data packets of this participant only; "": of nobody
	struct sctp_rx sctp CACHE_ALIGNED;
};
_Static_assert(offsetof(struct transport_data, target) < CACHE_LINE_BYTES, "beside the association a packet looks at one line");

struct transport_handshake {
	struct ice *ice;
	struct dtls *dtls; // until it is established
	char fingerprint[TRANSPORT_TEXT]; // the peer's
	bool have_remote, dtls_client, established, failed;
	uint64_t deadline_ns; // for ICE and DTLS together
	struct deadline timer;
	uint64_t probed_ns; // a probe went out then and is unanswered, 0: none
};

struct transport_assoc {
	struct sctp_assoc *sctp;
	struct channels channels;
	struct sctp_up up;   // what the worker was told last,
	bool up_untold;      // or could not be told yet
	uint64_t arrival_ns; // of the packet in hand
	struct deadline timer;
	bool closed;
};

struct transport {
	// First line: what the table's reader looks at and where the packet goes next. Immutable once published.
	struct endpoint local CACHE_ALIGNED;
	transport_id id;
	struct source *source;
	struct home *home; // the source's
	uint32_t generation;
	uint16_t port, worker;
	bool data;

	// Second line: what the worker needs of every packet.
	struct transport_rx rx OWNED_BY(worker_role) CACHE_ALIGNED;
	stats_counter rx_packets, rx_bytes; // worker writes

	_Atomic(struct srtp *) next_srtp; // handshake puts it, the worker takes it over whole
	_Atomic(uint64_t) remote;         // selected remote: ip << 16 | port; handshake writes
	_Atomic(struct dtls_record *) next_record; // assoc puts it; from then on DTLS is the worker's
	_Atomic(uint32_t) channels;       // assoc writes: streams of _lossy << 16 | _reliable
	_Atomic(uint32_t) rwnd_bytes;     // assoc writes: what SACKs offer
	stats_counter tx_packets, tx_bytes, data_holes; // worker writes
	uint32_t local_ssrc OWNED_BY(worker_role);        // of our receiver reports
	uint32_t punt_paid_at OWNED_BY(worker_role);      // quota.h: of what comes from the selected remote and is not media
	struct rte_mbuf *pending[TRANSPORT_PENDING_MAX] OWNED_BY(worker_role); // decrypted; rx.pending_count of them
	struct transport_data data_rx OWNED_BY(worker_role) CACHE_ALIGNED;

	uint32_t connect_limit_ms;
	struct slow *close; // control's: made with the transport, since closing must not fail

	struct transport_handshake setup OWNED_BY(handshake_role) CACHE_ALIGNED;
	struct transport_assoc assoc OWNED_BY(assoc_role);

	// Written by handshake or assoc, read by control.
	_Atomic(uint32_t) state; // enum transport_state
	_Atomic(uint64_t) consent_ns;
	_Atomic(uint32_t) rtt_us, srtp_profile;
	_Atomic(bool) data_open;

	_Atomic(unsigned) owners; // parts not yet given up after close
	struct released released;
	struct rcu_retired retired;
};
_Static_assert(offsetof(struct transport, rx) == CACHE_LINE_BYTES, "lookup and dispatch touch one line");
_Static_assert(offsetof(struct transport, punt_paid_at) < 3 * CACHE_LINE_BYTES, "what we send looks at one line");
_Static_assert(offsetof(struct transport, next_srtp) == 2 * CACHE_LINE_BYTES, "a packet's own state is one line");

static inline uint64_t endpoint_pack(struct endpoint e)
{
	return (uint64_t)e.ip << 16 | e.port;
}

static inline struct endpoint endpoint_unpack(uint64_t packed)
{
	return (struct endpoint){.ip = (uint32_t)(packed >> 16), .port = (uint16_t)packed};
}

// ---- the table (transport_table.c)
int transport_table_init(struct err *err);
void transport_table_finish(void);
void transport_table_add(struct transport *transport) RUNS_ON(control_role);
void transport_table_remove(struct transport *transport) RUNS_ON(control_role);
// By the network port that a packet to its address came in at (transport->port) and the packet's UDP port. Valid until the worker's
// next quiescent state.
struct transport *transport_lookup(unsigned port, uint16_t udp_port) RUNS_ON(worker_role);
void transport_prefetch(unsigned port, uint16_t udp_port) RUNS_ON(worker_role);
struct transport *transport_by_id(uint64_t id) RUNS_ON(worker_role);

// The agent's configuration, made before the transport is published (handshake.c).
void handshake_ice_config(struct transport *transport, struct ice_config *ret_config);

// ---- the owners give up their part (worker_mail, handshake, assoc); the last one lets control free it.
void transport_release(struct transport *transport);
