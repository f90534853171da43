// SPDX-License-Identifier: ISC
//
// mailbox.h - a locked queue between slow threads with an eventfd to sleep on; messages are malloc'ed by the sender.
//
// Runs on: any but workers.
#pragma once

#include <pthread.h>

#include "dataplane/base.h"

struct mail {
	struct mail *next;
};

struct mailbox {
	pthread_mutex_t lock;
	struct mail *first, **last;
	int event_fd; // readable while mail waits
};

int mailbox_init(struct mailbox *box, struct err *err);
void mailbox_finish(struct mailbox *box); // the owner has emptied it
void mailbox_put(struct mailbox *box, struct mail *mail);
struct mail *mailbox_take(struct mailbox *box); // all of it, oldest first; NULL: none. Resets the eventfd.
