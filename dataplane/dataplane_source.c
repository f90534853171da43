// SPDX-License-Identifier: ISC
//
// dataplane_source.c - sources as control sees them: made, told whom to hear, asked what they have heard, destroyed.
//
// Runs on: control.

#include <stdlib.h>

#include "dataplane/home.h"

#define HOME_BYTES ((sizeof(struct home) + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES)

static void hearing_free(struct rcu_retired *retired)
{
	free(CONTAINER_OF(retired, struct home_hearing, retired));
}

static void home_free(struct rcu_retired *retired)
{
	struct home *home = CONTAINER_OF(retired, struct home, retired);
	ENTERS(control_role);
	source_destroy(home->source);
	free(atomic_load(&home->hearing));
	free(home);
}

static void home_released(struct released *released)
{
	ENTERS(control_role);
	struct home *home = CONTAINER_OF(released, struct home, released);
	plane.sources--;
	rcu_retire(&home->retired, home_free);
}

void home_release(struct home *home)
{
	home->released.fn = home_released;
	plane_release(&home->released);
}

struct source *dataplane_source_create(struct pcm *pcm, const struct source_config *config)
{
	static unsigned turn;
	struct home *home = aligned_alloc(CACHE_LINE_BYTES, HOME_BYTES);
	struct home_hearing *hearing = calloc(1, sizeof(*hearing)); // serial 0: nobody is heard
	struct source *source = home != NULL && hearing != NULL ? source_create(pcm, config) : NULL;
	if (source == NULL) {
		free(home);
		free(hearing);
		return NULL;
	}
	memset(home, 0, HOME_BYTES);
	home->source = source;
	atomic_init(&home->hearing, hearing);
	home->worker = turn++ % plane.config.worker_count;
	source_set_owner(source, home);
	plane.sources++;
	return source;
}

static void forget_when_unfed(struct home *home) RUNS_ON(control_role)
{
	if (!home->given_up || home->transports > 0)
		return;
	struct worker_mail mail = {.type = WORKER_MAIL_FORGET, .home = home};
	worker_mail_send(home->worker, &mail);
}

void dataplane_source_destroy(struct source *source)
{
	if (source == NULL)
		return;
	// A leg says goodbye before it closes its transport, and what that still brings is nobody's.
	dataplane_source_hear(source, &(struct hearing){.mode = HEARING_NOBODY});
	struct home *home = home_of(source);
	home->given_up = true;
	forget_when_unfed(home);
}

void home_transport_opened(struct home *home)
{
	home->transports++;
}

void home_transport_gone(struct home *home)
{
	home->transports--;
	forget_when_unfed(home);
}

int dataplane_source_hear(struct source *source, const struct hearing *hearing)
{
	struct home *home = home_of(source);
	struct home_hearing *fresh = calloc(1, sizeof(*fresh));
	if (fresh == NULL)
		return -ENOMEM;
	fresh->hearing = *hearing;
	fresh->serial = ++home->serial;
	fresh->fences = atomic_load_explicit(&home->hearing, memory_order_relaxed)->fences + hearing->fence;
	// The swap: from here on the worker's next packet is of the new hearing.
	struct home_hearing *old = atomic_exchange_explicit(&home->hearing, fresh, memory_order_acq_rel);
	atomic_store_explicit(&home->published, fresh->serial, memory_order_release);
	rcu_retire(&old->retired, hearing_free);
	// What waits for its turn must not wait for a packet as well. Without a message it does.
	struct worker_mail mail = {.type = WORKER_MAIL_LOOK, .home = home};
	worker_mail_send(home->worker, &mail);
	return 0;
}

void dataplane_source_progress(const struct source *source, bool *ret_heard, bool *ret_aligned) RUNS_ON(control_role)
{
	const struct home *home = home_of(source);
	*ret_heard = atomic_load_explicit(&home->heard, memory_order_acquire) == home->serial && home->serial != 0;
	*ret_aligned = atomic_load_explicit(&home->aligned, memory_order_acquire) == home->serial && home->serial != 0;
}

void dataplane_source_set_muted(struct source *source, bool muted)
{
	struct worker_mail mail = {.type = WORKER_MAIL_MUTED, .home = home_of(source), .muted = muted};
	worker_mail_send(mail.home->worker, &mail);
}

void dataplane_source_set_wanted(struct source *source, bool wanted)
{
	source_set_wanted(source, wanted);
}

void dataplane_source_stats(const struct source *source, struct source_stats *ret_stats)
{
	source_stats(source, ret_stats);
}
