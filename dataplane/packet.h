// SPDX-License-Identifier: ISC
//
// packet.h - what we know of an mbuf, kept in its private area; and how threads find a transport again by its id.
//
// Runs on: any.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/base.h"

#define PACKET_PRIVATE_BYTES 64
#define BURST_MAX 32

enum packet_kind {
	PACKET_WIRE,      // a frame as it came
	PACKET_UDP,       // in: data starts at the UDP payload, transport is known
	PACKET_ARP,       // in, punted: a whole frame
	PACKET_ICMP,      // in, punted: a whole frame
	PACKET_SCTP,      // worker -> assoc: a plain SCTP packet whose DATA the worker has taken into account
	PACKET_SCTP_UNREAD, // worker -> assoc: one it has not; assoc -> worker: the same, for its DATA
	PACKET_SCTP_UP,   // assoc -> worker: a struct sctp_up
	PACKET_CLOSED,    // worker -> assoc: the peer closed the DTLS connection; no data
	PACKET_MESSAGE,   // assoc -> worker: a whole message of a data channel
	PACKET_HELD_RTP,   // in, decrypted: waits at a source's home
	PACKET_HELD_AUDIO, // in, a user payload of the data way: the same
	PACKET_OUT_UDP,   // out: a UDP payload; local and remote are filled in
	PACKET_OUT_SCTP,  // assoc -> worker, out: a plain SCTP packet to be sealed
	PACKET_OUT_FRAME, // out: a whole frame (ARP, ICMP)
};

struct packet {
	uint64_t arrival_ns;   // clock_mono_ns at receive burst
	uint64_t transport;    // transport_id, 0: none
	struct endpoint remote; // in: source, out: destination
	uint32_t generation;
	uint16_t local_port;   // host order
	uint8_t port;          // index into the configured ports
	uint8_t kind;          // enum packet_kind
	uint32_t cum_tsn;      // PACKET_SCTP: of the worker, before this packet's chunks for assoc
};
_Static_assert(sizeof(struct packet) <= PACKET_PRIVATE_BYTES, "fits the mbuf's private area");

static inline struct packet *packet_of(struct rte_mbuf *mbuf)
{
	return rte_mbuf_to_priv(mbuf);
}

// A transport id is index | serial << 20: threads keep their own array by index and compare the whole id.
#define TRANSPORTS_BITS 17
#define TRANSPORTS_MAX (1u << TRANSPORTS_BITS)
static inline uint32_t transport_index(uint64_t id)
{
	return (uint32_t)(id & 0xfffff) % TRANSPORTS_MAX;
}
