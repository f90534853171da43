// SPDX-License-Identifier: ISC
//
// sctp_endpoint.h - both halves of our SCTP, the worker's and assoc's, tied together in one thread as the dataplane ties them
// by rings.
//
// Runs on: any.
#pragma once

#include <stdlib.h>

#include "dataplane/sctp_assoc.h"

struct sctp_endpoint {
	struct sctp_rx rx;
	struct sctp_assoc *assoc;
	uint64_t now_ns;
	void (*send)(void *arg, const uint8_t *packet, size_t bytes);
	void (*message)(void *arg, const struct sctp_message *message, bool at_once);
	void *arg;
	bool refuse_assoc; // as if the ring to assoc were full
	unsigned sacks, ups, closes, at_once, punts, drops[DROP_COUNT];
};

static void endpoint_send_cb(void *arg, const uint8_t *packet, size_t bytes)
{
	struct sctp_endpoint *e = arg;
	e->send(e->arg, packet, bytes);
}

static void endpoint_up_cb(void *arg, const struct sctp_up *up)
{
	struct sctp_endpoint *e = arg;
	sctp_rx_start(&e->rx, up);
}

static void endpoint_message_cb(void *arg, const struct sctp_message *message)
{
	struct sctp_endpoint *e = arg;
	e->message(e->arg, message, false);
}

static void endpoint_state_cb(void *arg, enum sctp_state state)
{
	struct sctp_endpoint *e = arg;
	if (state == SCTP_STATE_UP)
		e->ups++;
	if (state == SCTP_STATE_CLOSED)
		e->closes++;
}

static inline int endpoint_start(struct sctp_endpoint *e)
{
	struct sctp_callbacks callbacks = {endpoint_send_cb, endpoint_up_cb, endpoint_message_cb, endpoint_state_cb, e};
	struct sctp_up down = {.up = false};
	sctp_rx_start(&e->rx, &down);
	e->assoc = sctp_assoc_create(&callbacks, e->now_ns, NULL);
	return e->assoc != NULL ? 0 : -1;
}

static inline void endpoint_sack(struct sctp_endpoint *e)
{
	uint8_t room[SCTP_RX_SACK_MAX];
	size_t bytes = sctp_rx_sack(&e->rx, room, sctp_assoc_rwnd(e->assoc));
	e->sacks++;
	e->send(e->arg, room, bytes);
}

static inline void endpoint_to_assoc(struct sctp_endpoint *e, uint8_t *packet, size_t bytes, bool accounted, bool *ret_again)
{
	e->punts++;
	e->drops[sctp_assoc_input(e->assoc, packet, bytes, accounted, e->rx.cum_tsn, e->now_ns, ret_again)]++;
}

// A packet as the record layer gives it. It is copied to an allocation of its size, so that a sanitizer sees its end.
static inline void endpoint_input(struct sctp_endpoint *e, const uint8_t *data, size_t bytes)
{
	uint8_t *packet = malloc(bytes ? bytes : 1);
	if (packet == NULL)
		return; // as if it were lost
	memcpy(packet, data, bytes);
	enum drop drop = sctp_packet_check(packet, bytes);
	bool again = drop == DROP_NONE;
	e->drops[drop]++;
	for (unsigned round = 0; again && round < 2; round++) {
		struct sctp_walk walk;
		struct sctp_message message;
		again = false;
		if (sctp_rx_begin(&e->rx, &walk, packet, bytes) == SCTP_RX_ASSOC) {
			if (round == 0)
				endpoint_to_assoc(e, packet, bytes, false, &again);
			continue;
		}
		while (sctp_rx_next(&e->rx, &walk, &message)) {
			e->at_once++;
			e->message(e->arg, &message, true);
		}
		if (walk.assoc && !e->refuse_assoc) {
			sctp_rx_handed_over(&e->rx, &walk);
			bool unused;
			endpoint_to_assoc(e, packet, bytes, true, &unused);
		}
		if (sctp_rx_end(&e->rx, &walk, e->now_ns))
			endpoint_sack(e);
	}
	free(packet);
}

// Timers; returns the next deadline, 0: none.
static inline uint64_t endpoint_poll(struct sctp_endpoint *e)
{
	if (e->rx.up && e->rx.sack_due_ns != 0 && e->rx.sack_due_ns <= e->now_ns)
		endpoint_sack(e);
	uint64_t next = sctp_assoc_poll(e->assoc, e->now_ns);
	if (e->rx.sack_due_ns != 0 && (next == 0 || e->rx.sack_due_ns < next))
		next = e->rx.sack_due_ns;
	return next;
}
