// SPDX-License-Identifier: ISC
//
// roles.c - the role tokens; they exist for the compiler's analysis only.
//
// Runs on: any.

#include "dataplane/roles.h"

struct thread_role worker_role;
struct thread_role handshake_role;
struct thread_role assoc_role;
struct thread_role control_role;
struct thread_role io_role;
