// SPDX-License-Identifier: ISC
//
// dataplane.h - the one door: everything the control plane may ask of the dataplane, and what it hears back.
//
// Nothing behind it knows rooms, gRPC or JSON. A transport is one PeerConnection; a source (source.h) is one publication
// as a slot hears it; pcm.h is where the audio comes out.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/hearing.h"
#include "dataplane/pcm.h"
#include "dataplane/roles.h"

#define DATAPLANE_PORTS_MAX 8
#define DATAPLANE_WORKERS_MAX 32

enum dataplane_idle { DATAPLANE_IDLE_ADAPTIVE, DATAPLANE_IDLE_POLL };
enum source_input; // source.h
struct source;
struct source_config;
struct source_stats;

struct dataplane_port_config {
	char name[32];
	char device[128]; // "af_packet:IFACE", "af_xdp:IFACE", "memif:PATH", "pcap:RX[,TX]", "null", or a PCI address
	uint32_t address; // host order
	uint8_t prefix_bits;
	uint32_t gateway; // 0: none
	uint16_t queues;
	uint16_t udp_port_min, udp_port_max;
};

struct dataplane_config {
	struct dataplane_port_config ports[DATAPLANE_PORTS_MAX];
	unsigned port_count;
	int cores[DATAPLANE_WORKERS_MAX]; // worker i is pinned to cores[i]
	unsigned worker_count;
	enum dataplane_idle idle;
	uint32_t memory_mb;
	bool hugepages; // try them first
	void (*log)(int level, const char *text); // 0 debug .. 3 error; from slow threads only
};

// EAL, ports, threads. The caller's affinity is restored afterwards. 0 or negative errno with a sentence.
int dataplane_start(const struct dataplane_config *config, struct err *err);
void dataplane_stop(void);

// ---- transports (PeerConnections)

#define TRANSPORT_TEXT 128

struct transport_local { // what our SDP says
	char ufrag[32], pwd[64], fingerprint[TRANSPORT_TEXT]; // fingerprint: SHA-256, "AA:BB:..."
	uint32_t address;
	uint16_t port;
	uint32_t candidate_priority;
};

enum transport_setup { TRANSPORT_SETUP_ACTIVE, TRANSPORT_SETUP_PASSIVE }; // the peer's a=setup in its answer

struct transport_config {
	uint32_t generation;       // of the leg; every event and cell carries it
	struct source *source;     // of the slot; decides the home worker
	bool data;                 // m=application was offered
	char data_identity[256];   // data packets of this participant only; "": of nobody
	uint32_t connect_limit_ms; // ICE + DTLS, default 5000
};

// Identifies a transport for ever; a stale id is refused, never mistaken.
typedef uint64_t transport_id;

int transport_open(const struct transport_config *config, transport_id *ret_id, struct transport_local *ret_local,
	struct err *err) RUNS_ON(control_role);
struct transport_remote {
	char ufrag[260], pwd[260], fingerprint[TRANSPORT_TEXT];
	bool ice_lite;
	enum transport_setup setup;
};
int transport_set_remote(transport_id id, const struct transport_remote *remote, struct err *err) RUNS_ON(control_role);
int transport_add_candidate(transport_id id, struct endpoint remote, uint32_t priority) RUNS_ON(control_role);
// Map a received SSRC to the transport's source. Packets of it that came up to 200 ms earlier are delivered now.
// Payload types: 255 = not negotiated.
int transport_map(transport_id id, uint32_t ssrc, uint8_t pt_opus, uint8_t pt_red) RUNS_ON(control_role);
int transport_unmap(transport_id id, uint32_t ssrc) RUNS_ON(control_role);
// Publish a data message (DataPacket) on _reliable or _lossy.
int transport_send_data(transport_id id, bool reliable, const uint8_t *data, size_t bytes) RUNS_ON(control_role);
// Whose data packets are taken from now on; they are stamped with voice (hearing.h).
int transport_set_target(transport_id id, const char *data_identity, uint32_t voice) RUNS_ON(control_role);
// One STUN check at once; the answer is TRANSPORT_EVENT_PROBED. -ENOENT: there is nothing to probe.
int transport_probe(transport_id id) RUNS_ON(control_role);
// ICE restart (RFC 8445 9): new credentials for an offer; keys, SCTP and the way in use go on until the new one is found.
// Revives a transport whose consent expired.
int transport_restart(transport_id id, struct transport_local *ret_local, struct err *err) RUNS_ON(control_role);
// Ends it: SCTP abort, close_notify, port freed after a quarantine. No event of this id is delivered afterwards.
void transport_close(transport_id id) RUNS_ON(control_role);

enum transport_state {
	TRANSPORT_NEW,
	TRANSPORT_CHECKING,     // ICE
	TRANSPORT_HANDSHAKING,  // DTLS
	TRANSPORT_CONNECTED,    // keys are with the worker
	TRANSPORT_DISCONNECTED, // consent not answered for 5 s, still trying
	TRANSPORT_FAILED,       // see the reason; only transport_close is left
};

struct transport_info {
	enum transport_state state;
	uint32_t generation;
	struct endpoint local, remote;
	uint64_t consent_ns; // last answered consent check (clock_mono_ns), 0: never
	uint32_t rtt_us;
	uint16_t srtp_profile;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	bool data_open;
	uint32_t data_holes; // TSNs of the association that a later one overtook: lost on the way and sent again, or out of order
	unsigned worker;
};
int transport_info(transport_id id, struct transport_info *ret_info) RUNS_ON(control_role);

// ---- sources (see source.h for what they do): created by control, fed on their home worker

struct source *dataplane_source_create(struct pcm *pcm, const struct source_config *config) RUNS_ON(control_role);
// Takes NULL. The source hears nobody from here on; it is freed a grace period after the last of its transports is closed.
void dataplane_source_destroy(struct source *source) RUNS_ON(control_role);
// The swap: whom the source hears from its home worker's next packet on. Packets of transports that are not named die as
// STALE_GENERATION. -ENOMEM: everything is as it was.
int dataplane_source_hear(struct source *source, const struct hearing *hearing) RUNS_ON(control_role);
// Since the last dataplane_source_hear: whether something of the main leg came; whether both legs brought the same packets.
void dataplane_source_progress(const struct source *source, bool *ret_heard, bool *ret_aligned) RUNS_ON(control_role);
void dataplane_source_set_muted(struct source *source, bool muted) RUNS_ON(control_role);
void dataplane_source_set_wanted(struct source *source, bool wanted) RUNS_ON(control_role); // PCM by somebody
void dataplane_source_stats(const struct source *source, struct source_stats *ret_stats);

// ---- events, in order per transport; control polls the fd and takes them all

enum dataplane_event_type {
	TRANSPORT_EVENT_STATE,     // state, reason
	TRANSPORT_EVENT_DATA_OPEN, // both data channels are usable
	TRANSPORT_EVENT_DATA_CLOSED, // SCTP abort or DTLS close_notify by the peer: it has ended this PeerConnection
	TRANSPORT_EVENT_PROBED,    // a probe was answered
	SOURCE_EVENT_ARRIVED,      // the first audio of this transport arrived, heard or not
	SOURCE_EVENT_HEARD,        // see dataplane_source_progress; transport: of the main leg
	SOURCE_EVENT_ALIGNED,
};

struct dataplane_event {
	enum dataplane_event_type type;
	transport_id transport;
	uint32_t generation;
	enum transport_state state;
	char reason[160]; // sentence when FAILED
};

int dataplane_event_fd(void) RUNS_ON(control_role);
bool dataplane_event_next(struct dataplane_event *ret_event) RUNS_ON(control_role);

// ---- eyes (any thread)

struct dataplane_worker_info {
	unsigned core;
	unsigned transports;
	uint64_t loops, busy_ns, idle_sleeps, rx_packets, tx_packets, frames;
	double load; // 0..1 over the last second
	uint64_t cycles_per_packet;
	bool asleep;
};

struct dataplane_port_info {
	char name[32], device[128], mac[18];
	uint32_t address;
	uint8_t prefix_bits;
	bool up;
	uint16_t queues;
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed;
};

struct dataplane_info {
	unsigned worker_count, port_count;
	unsigned transports, sources;
	bool hugepages;
	uint32_t mbufs_total, mbufs_free;
	uint64_t drops[DROP_COUNT];
	struct dataplane_worker_info workers[DATAPLANE_WORKERS_MAX];
	struct dataplane_port_info ports[DATAPLANE_PORTS_MAX];
};
void dataplane_info(struct dataplane_info *ret_info) RUNS_ON(control_role);
// Count a loss that happened outside the dataplane (a lapped consumer, unsupported uplink) beside the others. Any thread.
void dataplane_drop(enum drop reason, uint64_t count);
