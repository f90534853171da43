// SPDX-License-Identifier: ISC
//
// resolve.h - names into IPv4 addresses on an io thread, since the system's resolver blocks.
#pragma once

#include <sys/socket.h>

#include "dataplane/base.h"
#include "dataplane/roles.h"

#define RESOLVE_ADDRESSES_MAX 8
#define RESOLVE_QUEUE_MAX 1024

struct resolve;
// status: 0, or a negative errno with no address (-ENOENT: there is no such name).
typedef void resolve_fn(void *arg, int status, const struct sockaddr_storage *addresses, unsigned count);

int resolve_init(struct err *err);
void resolve_finish(void);
// done runs on control, later, once, unless it is cancelled. A literal address needs no thread. NULL: the queue is full.
struct resolve *resolve_start(const char *host, uint16_t port, resolve_fn *done, void *arg) RUNS_ON(control_role);
void resolve_cancel(struct resolve *resolve) RUNS_ON(control_role); // takes NULL
