// SPDX-License-Identifier: ISC
//
// mailbox.c - a locked queue between slow threads with an eventfd to sleep on.
//
// Runs on: any but workers.

#include "dataplane/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box, struct err *err)
{
	pthread_mutex_init(&box->lock, NULL);
	box->first = NULL;
	box->last = &box->first;
	box->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (box->event_fd < 0)
		return err_set(err, errno, "eventfd: %s", strerror(errno));
	return 0;
}

void mailbox_finish(struct mailbox *box)
{
	if (box->event_fd >= 0)
		close(box->event_fd);
	box->event_fd = -1;
	pthread_mutex_destroy(&box->lock);
}

void mailbox_put(struct mailbox *box, struct mail *mail)
{
	mail->next = NULL;
	pthread_mutex_lock(&box->lock);
	bool was_empty = box->first == NULL;
	*box->last = mail;
	box->last = &mail->next;
	pthread_mutex_unlock(&box->lock);
	if (was_empty)
		eventfd_write(box->event_fd, 1);
}

struct mail *mailbox_take(struct mailbox *box)
{
	eventfd_t ignored;
	eventfd_read(box->event_fd, &ignored);
	pthread_mutex_lock(&box->lock);
	struct mail *first = box->first;
	box->first = NULL;
	box->last = &box->first;
	pthread_mutex_unlock(&box->lock);
	return first;
}
