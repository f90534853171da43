// SPDX-License-Identifier: ISC
//
// sctp_rx.h - the receiving half of an established SCTP association: which TSNs came, what is delivered at once, when a
// SACK goes out. What needs memory or patience (fragments, ordered streams, control chunks) is left for assoc.
//
// Runs on: worker. Two cache lines of plain state; no heap. Contract, with the reasons in facts dtls-sctp 3 and 4:
// a SACK for every second packet with DATA or after 40 ms; at once only when a message for assoc (reliable) leaves a gap; never
// for a FORWARD-TSN, which would echo at the rate of the round trip.
#pragma once

#include "dataplane/sctp_chunk.h"

#define SCTP_RX_BITS 512   // TSNs remembered: 384 above the cumulative one, 128 at and below it
#define SCTP_RX_AHEAD 384
#define SCTP_RX_SLOW_MAX 32 // chunks of one packet that can go to assoc
#define SCTP_RX_SACK_EVERY 2
#define SCTP_RX_SACK_DELAY_NS 40000000u
#define SCTP_RX_SACK_MAX 256 // bytes of a packet with a SACK
#define SCTP_RX_CHANNELS 2
#define SCTP_RX_NO_STREAM 0xffff

// What assoc tells the worker when an association is up, was restarted, or has ended.
struct sctp_up {
	bool up;
	uint32_t local_tag, peer_tag, peer_tsn; // peer_tsn: the first one that will come
};

struct sctp_rx {
	uint64_t sack_due_ns; // 0: no SACK is owed
	uint32_t local_tag, peer_tag, cum_tsn, max_tsn;
	bool up;
	uint8_t unacked; // packets with DATA since the last SACK
	uint8_t duplicate_count;
	uint16_t channels[SCTP_RX_CHANNELS]; // streams whose whole, unordered messages are delivered at once
	uint32_t duplicates[4];
	uint32_t holes; // TSNs that a later one overtook (lost on the way and sent again, or out of order); the caller takes them
	uint64_t seen[SCTP_RX_BITS / 64]; // by TSN modulo SCTP_RX_BITS
};
_Static_assert(sizeof(struct sctp_rx) <= 128, "two cache lines");

// One packet being read.
struct sctp_walk {
	uint8_t *packet;
	size_t bytes, at;
	bool data;    // it held DATA
	bool owed;    // a FORWARD-TSN: answered by the next SACK, never by one of its own
	bool assoc;   // something is left for assoc
	bool at_once; // the SACK must not wait
	unsigned slow_count, window_count; // window_count: chunks beyond the window, not taken
	uint32_t slow[SCTP_RX_SLOW_MAX]; // TSNs that count as received once assoc has the packet
};

enum sctp_rx_verdict {
	SCTP_RX_WALK,  // call sctp_rx_next until it says false
	SCTP_RX_ASSOC, // not of this association as far as the worker knows: assoc decides
};

void sctp_rx_start(struct sctp_rx *rx, const struct sctp_up *up);
// A packet that passed sctp_packet_check.
enum sctp_rx_verdict sctp_rx_begin(const struct sctp_rx *rx, struct sctp_walk *walk, uint8_t *packet, size_t bytes);
// The next message that is delivered in place; its TSN counts as received. Chunks that are done with are struck out.
bool sctp_rx_next(struct sctp_rx *rx, struct sctp_walk *walk, struct sctp_message *ret_message);
// Assoc has taken the packet (walk.assoc): its chunks count as received from now on. Without this call they do not, and the
// peer sends them again.
void sctp_rx_handed_over(struct sctp_rx *rx, const struct sctp_walk *walk);
// After the packet; true: send a SACK now.
bool sctp_rx_end(struct sctp_rx *rx, const struct sctp_walk *walk, uint64_t now_ns);
// The next packet with DATA will be answered at once.
static inline bool sctp_rx_sack_is_next(const struct sctp_rx *rx)
{
	return rx->unacked + 1 >= SCTP_RX_SACK_EVERY;
}
// A packet with the SACK, checksum and all; room holds SCTP_RX_SACK_MAX bytes. rwnd_bytes: what we have room for.
size_t sctp_rx_sack(struct sctp_rx *rx, uint8_t *room, uint32_t rwnd_bytes);
// A packet with an ABORT.
size_t sctp_rx_abort(const struct sctp_rx *rx, uint8_t *room);
