// SPDX-License-Identifier: ISC
//
// rcu.c - the seam's two bodies: liburcu QSBR, and rte_rcu_qsbr for ThreadSanitizer builds.
//
// Runs on: worker (reader side), control (writer side), init.

#include "dataplane/rcu.h"

#ifndef RELAY_TSAN

#include <urcu/urcu-qsbr.h>

_Static_assert(sizeof(((struct rcu_retired *)0)->library) >= sizeof(struct rcu_head), "room for the library's head");

int rcu_init(unsigned readers_max, struct err *err)
{
	(void)readers_max;
	(void)err;
	// Control calls call_rcu, which wants a registered thread; it reads nothing and is offline.
	urcu_qsbr_register_thread();
	urcu_qsbr_thread_offline();
	return 0;
}

void rcu_finish(void)
{
	urcu_qsbr_barrier();
	urcu_qsbr_unregister_thread();
}

void rcu_reader_register(unsigned reader)
{
	(void)reader;
	urcu_qsbr_register_thread();
}

void rcu_reader_unregister(unsigned reader)
{
	(void)reader;
	urcu_qsbr_unregister_thread();
}

void rcu_quiescent(unsigned reader)
{
	(void)reader;
	urcu_qsbr_quiescent_state();
}

void rcu_offline(unsigned reader)
{
	(void)reader;
	urcu_qsbr_thread_offline();
}

void rcu_online(unsigned reader)
{
	(void)reader;
	urcu_qsbr_thread_online();
}

static void library_free(struct rcu_head *head)
{
	struct rcu_retired *retired = CONTAINER_OF((void *)head, struct rcu_retired, library);
	retired->free(retired);
}

void rcu_retire(struct rcu_retired *retired, void (*free)(struct rcu_retired *))
{
	retired->free = free;
	urcu_qsbr_thread_online();
	urcu_qsbr_call_rcu((struct rcu_head *)(void *)&retired->library, library_free);
	urcu_qsbr_thread_offline();
}

void rcu_poll(void)
{
}

#else // RELAY_TSAN

#include <stdlib.h>
#include <rte_rcu_qsbr.h>

static struct rte_rcu_qsbr *qsbr;
static struct rcu_retired *first, **last = &first;

int rcu_init(unsigned readers_max, struct err *err)
{
	size_t bytes = rte_rcu_qsbr_get_memsize(readers_max);
	if (posix_memalign((void **)&qsbr, CACHE_LINE_BYTES, bytes) != 0)
		return err_set(err, ENOMEM, "no memory for RCU");
	rte_rcu_qsbr_init(qsbr, readers_max);
	return 0;
}

void rcu_finish(void)
{
	while (first != NULL) {
		struct rcu_retired *retired = first;
		first = retired->next;
		retired->free(retired);
	}
	last = &first;
	free(qsbr);
	qsbr = NULL;
}

void rcu_reader_register(unsigned reader)
{
	rte_rcu_qsbr_thread_register(qsbr, reader);
	rte_rcu_qsbr_thread_online(qsbr, reader);
}

void rcu_reader_unregister(unsigned reader)
{
	rte_rcu_qsbr_thread_offline(qsbr, reader);
	rte_rcu_qsbr_thread_unregister(qsbr, reader);
}

void rcu_quiescent(unsigned reader)
{
	rte_rcu_qsbr_quiescent(qsbr, reader);
}

void rcu_offline(unsigned reader)
{
	rte_rcu_qsbr_thread_offline(qsbr, reader);
}

void rcu_online(unsigned reader)
{
	rte_rcu_qsbr_thread_online(qsbr, reader);
}

void rcu_retire(struct rcu_retired *retired, void (*free_fn)(struct rcu_retired *))
{
	retired->free = free_fn;
	retired->next = NULL;
	retired->token = rte_rcu_qsbr_start(qsbr);
	*last = retired;
	last = &retired->next;
	rcu_poll();
}

void rcu_poll(void)
{
	while (first != NULL && rte_rcu_qsbr_check(qsbr, first->token, false) == 1) {
		struct rcu_retired *retired = first;
		first = retired->next;
		if (first == NULL)
			last = &first;
		retired->free(retired);
	}
}

#endif
