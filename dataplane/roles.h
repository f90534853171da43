// SPDX-License-Identifier: ISC
//
// roles.h - which thread may call a function and which owns a field, checked by clang -Wthread-safety.
//
// Runs on: any.
//
// RUNS_ON(role) on a prototype: only a thread of that role calls it. OWNED_BY(role) on a field: only that role
// touches it. ENTERS(role) is what the main function of a thread says once, first thing. init and any carry no mark.
#pragma once

#if defined(__clang__)
#define ROLE_ATTRIBUTE(x) __attribute__((x))
#else
#define ROLE_ATTRIBUTE(x)
#endif

#define RUNS_ON(role) ROLE_ATTRIBUTE(requires_capability(&role))
#define OWNED_BY(role) ROLE_ATTRIBUTE(guarded_by(&role))
#define ROLE_UNCHECKED ROLE_ATTRIBUTE(no_thread_safety_analysis)

struct ROLE_ATTRIBUTE(capability("thread role")) thread_role {
	char unused;
};

extern struct thread_role worker_role;    // pinned packet cores
extern struct thread_role handshake_role; // ICE, DTLS handshakes, ARP, ICMP
extern struct thread_role assoc_role;     // SCTP: set-up, control chunks, ordered streams, sends
extern struct thread_role control_role;   // the one event loop: slots, legs, tables
extern struct thread_role io_role;        // sockets and disks: WebSocket, gRPC, resolver

// Said once by the main function of a thread, and by every callback that a library calls on that thread.
static inline void enters(struct thread_role *role) ROLE_ATTRIBUTE(assert_capability(role));
static inline void enters(struct thread_role *role)
{
	(void)role;
}
#define ENTERS(role) enters(&role)
