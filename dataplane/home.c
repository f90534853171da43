// SPDX-License-Identifier: ISC
//
// home.c - a source at its home worker: follow what control wants heard, keep packets until their turn, tell control.
//
// Runs on: worker.   Upstream: ingress, worker_mail.   Downstream: source.

#include "dataplane/home.h"

#include "dataplane/worker.h"

#include "dataplane/hot.h"

void home_follow(struct worker *worker, struct home *home)
{
	// What control mailed before it published comes first: an SSRC of the voice before is unmapped by then.
	if (!worker->reads_mail)
		worker_mail_read(worker);
	const struct home_hearing *published = atomic_load_explicit(&home->hearing, memory_order_acquire);
	if (published->serial == home->applied)
		return;
	bool held = source_holds(home->source) && home->held_count > 0;
	home->applied = published->serial;
	struct hearing hearing = published->hearing;
	hearing.fence = published->fences != home->fenced; // also one of a hearing that came and went unseen
	home->fenced = published->fences;
	source_hear(home->source, &hearing, worker->now_ns);
	if (held && published->hearing.mode == HEARING_ONE)
		source_overlapped(home->source, worker->now_ns - packet_of(home->held[0])->arrival_ns);
}

void home_keep(struct worker *worker, struct home *home, struct rte_mbuf *mbuf)
{
	if (home->held_count == HELD_MAX) {
		worker_drop(worker, home->held[0], DROP_HELD_FULL);
		memmove(home->held, home->held + 1, sizeof(home->held) - sizeof(home->held[0]));
		home->held_count--;
	}
	home->held[home->held_count++] = mbuf;
}

static void offer_again(struct worker *worker, struct home *home) RUNS_ON(worker_role)
{
	struct rte_mbuf *held[HELD_MAX];
	unsigned count = home->held_count;
	memcpy(held, home->held, count * sizeof(held[0]));
	home->held_count = 0;
	for (unsigned i = 0; i < count; i++) {
		struct transport *transport = transport_by_id(packet_of(held[i])->transport);
		if (transport == NULL)
			worker_drop(worker, held[i], DROP_STALE_GENERATION);
		else if (packet_of(held[i])->kind == PACKET_HELD_RTP)
			ingress_rtp(worker, transport, held[i]);
		else
			ingress_audio(worker, transport, held[i]);
	}
}

static void tell(struct home *home, _Atomic(uint32_t) *told, enum plane_event_code code) RUNS_ON(worker_role)
{
	if (LIKELY(atomic_load_explicit(told, memory_order_relaxed) == home->applied))
		return;
	uint64_t transport = atomic_load_explicit(&home->hearing, memory_order_acquire)->hearing.main.transport;
	uint32_t before = atomic_exchange_explicit(told, home->applied, memory_order_release);
	uintptr_t event = (uintptr_t)(transport << 3 | code);
	if (rte_ring_mp_enqueue(plane.worker_events, (void *)event) != 0)
		atomic_store_explicit(told, before, memory_order_release); // once more with the next packet
	else
		doorbell_ring(&plane.control_bell);
}

static void count(struct worker *worker, struct home *home) RUNS_ON(worker_role)
{
	uint64_t cells = source_cells(home->source);
	stats_add(&worker->stats.frames, cells - home->cells);
	home->cells = cells;
}

void home_fed(struct worker *worker, struct home *home)
{
	if (UNLIKELY(home->held_count > 0) && source_takes_held(home->source))
		offer_again(worker, home);
	if (source_heard(home->source))
		tell(home, &home->heard, PLANE_EVENT_HEARD);
	if (UNLIKELY(source_aligned(home->source)))
		tell(home, &home->aligned, PLANE_EVENT_ALIGNED);
	count(worker, home);
	if (home->listed || source_deadline_ns(home->source) == 0)
		return;
	home->listed = true;
	home->next = worker->open;
	worker->open = home;
}

void home_forget(struct worker *worker, struct home *home)
{
	for (struct home **link = &worker->open; *link != NULL; link = &(*link)->next) {
		if (*link == home) {
			*link = home->next;
			break;
		}
	}
	home->listed = false;
	for (unsigned i = 0; i < home->held_count; i++)
		worker_drop(worker, home->held[i], DROP_STALE_GENERATION);
	home->held_count = 0;
	home_release(home);
}
