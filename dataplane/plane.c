// SPDX-License-Identifier: ISC
//
// plane.c - what the dataplane's threads share, and the small crossings between them.
//
// Runs on: any.

#include "dataplane/plane.h"

#include <stdlib.h>
#include <sys/eventfd.h>

struct plane plane;

void doorbell_ring_slow(struct doorbell *bell)
{
	if (atomic_exchange_explicit(&bell->asleep, 0, memory_order_seq_cst) != 0)
		eventfd_write(bell->event_fd, 1);
}

void plane_log(int level, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (plane.config.log != NULL)
		plane.config.log(level, text);
}

void plane_inject(unsigned worker, struct rte_mbuf *mbuf)
{
	struct worker *w = &plane.workers[worker];
	if (rte_ring_mp_enqueue(w->inject, mbuf) != 0) {
		stats_drop(DROP_INJECT_FULL, 1);
		rte_pktmbuf_free(mbuf);
		return;
	}
	doorbell_ring(&w->bell);
}

enum drop plane_inbox(unsigned worker, struct rte_mbuf *mbuf)
{
	struct worker *w = &plane.workers[worker];
	if (rte_ring_mp_enqueue(w->inbox, mbuf) != 0) {
		rte_pktmbuf_free(mbuf);
		return DROP_INBOX_FULL;
	}
	doorbell_ring(&w->bell);
	return DROP_NONE;
}

struct rte_mbuf *plane_buffer(uint16_t head_bytes, const void *data, size_t bytes)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(plane.pool);
	void *room = NULL;
	if (mbuf != NULL && bytes <= UINT16_MAX) {
		mbuf->data_off = (uint16_t)(mbuf->data_off + head_bytes);
		room = rte_pktmbuf_append(mbuf, (uint16_t)bytes);
	}
	if (room == NULL) {
		stats_drop(DROP_ALLOC_FAILED, 1);
		rte_pktmbuf_free(mbuf);
		return NULL;
	}
	memcpy(room, data, bytes);
	return mbuf;
}

struct rte_mbuf *plane_datagram(unsigned port, uint16_t local_port, struct endpoint remote, const uint8_t *data,
	size_t bytes)
{
	struct rte_mbuf *mbuf = plane_buffer(0, data, bytes);
	if (mbuf != NULL)
		*packet_of(mbuf) = (struct packet){
			.kind = PACKET_OUT_UDP, .port = (uint8_t)port, .local_port = local_port, .remote = remote};
	return mbuf;
}

void plane_event(const struct dataplane_event *event)
{
	struct event_mail *mail = malloc(sizeof(*mail));
	if (mail == NULL) {
		plane_log(3, "an event was lost: out of memory");
		return;
	}
	mail->event = *event;
	mailbox_put(&plane.control_box, &mail->mail);
}

void plane_release(struct released *released)
{
	struct released *first = atomic_load_explicit(&plane.released, memory_order_relaxed);
	do
		released->next = first;
	while (!atomic_compare_exchange_weak_explicit(&plane.released, &first, released, memory_order_release,
		memory_order_relaxed));
	doorbell_ring(&plane.control_bell);
}

struct slow *slow_new(enum slow_type type, struct transport *transport, size_t extra)
{
	struct slow *slow = calloc(1, sizeof(*slow) + extra);
	if (slow != NULL) {
		slow->type = type;
		slow->transport = transport;
	}
	return slow;
}
