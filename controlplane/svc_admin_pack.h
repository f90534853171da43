// SPDX-License-Identifier: ISC
//
// svc_admin_pack.h - facts of the daemon as messages of relay.v1. Pages hold the message and what it points to.
//
// Runs on: any.
#pragma once

#include "controlplane/drop_watch.h"
#include "controlplane/grpc_listen.h"
#include "controlplane/latency.h"
#include "controlplane/slot.h"
#include "controlplane/swap_log.h"
#include "proto/relay/v1/admin.pb-c.h"

struct admin_facts {
	struct slot_totals totals;
	struct swap_totals swaps;
	struct dataplane_info info;
	struct latency_summary latency;
	struct grpc_listen_stats listen;
	struct drop_watch_view watch;
	unsigned calls, streams;
	uint64_t calls_total, calls_refused, calls_silent, messages_sent, frames_sent, frames_in_flight_lost;
	uint64_t uptime_s, control_lag_max_us;
	bool draining;
};

struct admin_drops_page {
	size_t count;
	Relay__V1__Drop drops[DROP_COUNT];
	Relay__V1__Drop *pointers[DROP_COUNT];
};
// Most first. Every reason, or only those that are not zero.
void admin_pack_drops(const uint64_t counts[static DROP_COUNT], bool only_nonzero, struct admin_drops_page *ret_page);

#define ADMIN_REASONS_MAX 16
struct admin_status_page {
	Relay__V1__Status status;
	Relay__V1__Totals totals;
	Relay__V1__SwapTotals swaps;
	Relay__V1__Latency latency;
	Relay__V1__Buffers mbufs;
	Relay__V1__Server server;
	Relay__V1__Port ports[DATAPLANE_PORTS_MAX], *port_pointers[DATAPLANE_PORTS_MAX];
	char port_addresses[DATAPLANE_PORTS_MAX][24];
	Relay__V1__Worker workers[DATAPLANE_WORKERS_MAX], *worker_pointers[DATAPLANE_WORKERS_MAX];
	struct admin_drops_page drops;
	char reasons[ADMIN_REASONS_MAX][240], *reason_pointers[ADMIN_REASONS_MAX];
	char version[32], health[16];
};
// For free(); NULL when memory is short. Points into facts.
struct admin_status_page *admin_pack_status(struct admin_facts *facts);

struct admin_session_page {
	Relay__V1__Session session;
	Relay__V1__StreamState stream;
	Relay__V1__SourceState source;
	Relay__V1__TransportState transport;
	char local[24], remote[24], state[16], profile[32];
};
// Points into status.
void admin_pack_session(struct slot_status *status, struct admin_session_page *ret_page);

// Points into record.
void admin_pack_swap(struct swap_record *record, Relay__V1__Swap *ret_swap);
