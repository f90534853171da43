// SPDX-License-Identifier: ISC
//
// worker_mail.c - what control asks of a worker: map an SSRC, give up a transport, mute or forget a source, hear another.
//
// Runs on: worker.

#include "dataplane/worker.h"

#include "dataplane/hot.h"

static void mail_map(struct worker *worker, struct transport *transport, const struct worker_mail *mail)
	RUNS_ON(worker_role)
{
	struct transport_rx *rx = &transport->rx;
	struct transport_stream *place = NULL;
	for (unsigned i = 0; i < TRANSPORT_STREAMS_MAX; i++) {
		if (rx->streams[i].used && rx->streams[i].ssrc == mail->ssrc)
			place = &rx->streams[i];
		else if (place == NULL && !rx->streams[i].used)
			place = &rx->streams[i];
	}
	if (place == NULL)
		place = &rx->streams[0];
	bool known = place->used && place->ssrc == mail->ssrc;
	*place = (struct transport_stream){mail->ssrc, mail->pt_opus, mail->pt_red, true, known && place->seen};

	// What overtook the answer is delivered now; what is still unknown goes back to waiting.
	struct rte_mbuf *waiting[TRANSPORT_PENDING_MAX];
	unsigned count = rx->pending_count;
	memcpy(waiting, transport->pending, sizeof(waiting));
	rx->pending_count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (packet_of(waiting[i])->arrival_ns + TRANSPORT_PENDING_MS * 1000000ull < worker->now_ns)
			worker_drop(worker, waiting[i], DROP_RTP_UNKNOWN_SSRC);
		else
			ingress_rtp(worker, transport, waiting[i]);
	}
}

static void mail_unmap(struct transport *transport, uint32_t ssrc) RUNS_ON(worker_role)
{
	for (unsigned i = 0; i < TRANSPORT_STREAMS_MAX; i++)
		if (transport->rx.streams[i].used && transport->rx.streams[i].ssrc == ssrc)
			transport->rx.streams[i] = (struct transport_stream){0};
}

static void mail_target(struct transport *transport, const struct worker_mail *mail) RUNS_ON(worker_role)
{
	struct transport_data *rx = &transport->data_rx;
	memcpy(rx->target, mail->target, sizeof(rx->target));
	rx->target_bytes = (uint16_t)strlen(rx->target);
	rx->voice = mail->voice;
}

static void mail_release(struct worker *worker, struct transport *transport) RUNS_ON(worker_role)
{
	for (unsigned i = 0; i < transport->rx.pending_count; i++)
		worker_drop(worker, transport->pending[i], DROP_STALE_GENERATION);
	transport->rx.pending_count = 0;
	ingress_sack_forget(worker, transport);
	egress_goodbye(worker, transport);
	// The crypto contexts stay in place: control frees them with the transport, after the grace period.
	transport_release(transport);
}

// Mail is also read in the middle of a burst and of the timers (home_follow): whoever is at work there still has the pointers.
static void leave(struct released **list, struct released *what) RUNS_ON(worker_role)
{
	what->next = *list;
	*list = what;
}

void worker_leave(struct worker *worker)
{
	for (struct released *what = worker->leaving_transports, *next; what != NULL; what = next) {
		next = what->next;
		mail_release(worker, CONTAINER_OF(what, struct transport, released));
	}
	for (struct released *what = worker->leaving_homes, *next; what != NULL; what = next) {
		next = what->next;
		home_forget(worker, CONTAINER_OF(what, struct home, released));
	}
	worker->leaving_transports = worker->leaving_homes = NULL;
}

void worker_mail_read(struct worker *worker)
{
	struct worker_mail *mail;
	worker->reads_mail = true;
	while (rte_ring_sc_dequeue(worker->mail, (void **)&mail) == 0) {
		struct transport *transport = mail->transport ? transport_by_id(mail->transport) : NULL;
		switch (mail->type) {
		case WORKER_MAIL_MAP:
			if (transport != NULL)
				mail_map(worker, transport, mail);
			break;
		case WORKER_MAIL_UNMAP:
			if (transport != NULL)
				mail_unmap(transport, mail->ssrc);
			break;
		case WORKER_MAIL_TARGET:
			if (transport != NULL)
				mail_target(transport, mail);
			break;
		case WORKER_MAIL_RELEASE:
			leave(&worker->leaving_transports, &mail->released->released);
			break;
		case WORKER_MAIL_MUTED:
			source_set_muted(mail->home->source, mail->muted);
			home_fed(worker, mail->home);
			break;
		case WORKER_MAIL_LOOK:
			home_look(worker, mail->home);
			home_fed(worker, mail->home);
			break;
		case WORKER_MAIL_FORGET:
			leave(&worker->leaving_homes, &mail->home->released);
			break;
		}
		rte_mempool_put(plane.mail_pool, mail);
	}
	worker->reads_mail = false;
}
