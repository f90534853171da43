// SPDX-License-Identifier: ISC
//
// sctp_assoc.h - one SCTP association as assoc knows it: set-up from both sides at once, restart, control chunks, whole
// messages of pieces and ordered streams, reliable sends. Packets and time in, packets out by callback. Contract.
//
// Runs on: assoc. Which TSNs came is the worker's knowledge (sctp_rx.h): this side gets each DATA chunk once, after the
// worker has taken it into account. An ABORT ends it for good; a peer that starts anew does so by INIT (restart).
#pragma once

#include "dataplane/roles.h"
#include "dataplane/sctp_rx.h"

enum sctp_state {
	SCTP_STATE_CONNECTING,
	SCTP_STATE_UP,     // established; said again after a restart: streams and numbers begin anew
	SCTP_STATE_CLOSED, // aborted, shut down, or the peer stopped answering
};

struct sctp_callbacks {
	void (*send)(void *arg, const uint8_t *packet, size_t bytes);  // one packet, checksum filled in
	void (*up)(void *arg, const struct sctp_up *up);               // for the worker; before the state callback
	void (*message)(void *arg, const struct sctp_message *message); // whole, in order where it has one
	void (*state)(void *arg, enum sctp_state state);
	void *arg;
};

struct sctp_assoc;
// Starts at once: both sides connect in WebRTC. NULL with err when memory is short.
struct sctp_assoc *sctp_assoc_create(const struct sctp_callbacks *callbacks, uint64_t now_ns, struct err *err);
void sctp_assoc_destroy(struct sctp_assoc *assoc); // sends nothing, calls nobody; takes NULL
// A packet that passed sctp_packet_check. accounted: the worker has been through it with this association's state; otherwise
// its DATA stays untouched and *ret_again tells that the worker must see the packet once more (all else is struck out).
// cum_tsn: of the worker at that moment.
enum drop sctp_assoc_input(struct sctp_assoc *assoc, uint8_t *packet, size_t bytes, bool accounted, uint32_t cum_tsn,
	uint64_t now_ns, bool *ret_again);
// Queues a message and sends what may go. 0 or negative errno: -ENOTCONN, -EINVAL, -ENOBUFS, -ENOMEM.
int sctp_assoc_send(struct sctp_assoc *assoc, uint16_t stream, uint32_t ppid, bool unordered, const void *data,
	size_t bytes, uint64_t now_ns);
// Timers. Returns the next absolute deadline, 0: none. Call it after input and send as well.
uint64_t sctp_assoc_poll(struct sctp_assoc *assoc, uint64_t now_ns);
enum sctp_state sctp_assoc_state(const struct sctp_assoc *assoc);
uint32_t sctp_assoc_rwnd(const struct sctp_assoc *assoc); // what the worker's SACKs offer
