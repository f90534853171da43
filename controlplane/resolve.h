// SPDX-License-Identifier: ISC
//
// resolve.h - names into IPv4 addresses on io threads, since the system's resolver blocks. A name that nobody answers for holds up
// itself and its neighbours in the same zone, nobody else.
#pragma once

#include <sys/socket.h>

#include "dataplane/base.h"
#include "dataplane/roles.h"

#define RESOLVE_ADDRESSES_MAX 8
#define RESOLVE_QUEUE_MAX 1024 // names, however many ask for each; the last half for zones that are known to answer
#define RESOLVE_THREADS 8

struct resolve;
// status: 0, or a negative errno with no address (-ENOENT: there is no such name).
typedef void resolve_fn(void *arg, int status, const struct sockaddr_storage *addresses, unsigned count);

int resolve_init(struct err *err);
// Nobody is called any more. Waits a second at most: a thread that the system's resolver still holds then is left behind.
void resolve_finish(void);
// done runs on control, later, once, unless it is cancelled. A literal address needs no thread. NULL: no memory or too many names.
struct resolve *resolve_start(const char *host, uint16_t port, resolve_fn *done, void *arg) RUNS_ON(control_role);
void resolve_cancel(struct resolve *resolve) RUNS_ON(control_role); // takes NULL
