// SPDX-License-Identifier: ISC
//
// roles_negative.c - must not compile under clang -Wthread-safety -Werror: control calls what only a worker may.
//
// Runs on: any.

#include "dataplane/roles.h"

void worker_only(void) RUNS_ON(worker_role);
void from_control(void);

void from_control(void)
{
	ENTERS(control_role);
	worker_only();
}
