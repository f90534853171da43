// SPDX-License-Identifier: ISC
//
// svc_backend.h - all that the gRPC services ask of the rest of the daemon, in one table.
//
// The daemon's table is svc_backend.c; a unit test links its own instead.
//
// Runs on: any.
#pragma once

#include "controlplane/control.h"
#include "controlplane/slot.h"
#include "controlplane/swap_log.h"
#include "controlplane/soniox.h"
#include "dataplane/dataplane.h"

struct svc_backend {
	// any thread
	void (*post)(struct control_work *work, void (*fn)(void *arg), void *arg);
	void (*drop)(enum drop reason, uint64_t count);
	uint64_t (*control_lag_max_us)(void);
	// control only
	void (*join)(struct slot_join *join);
	void (*join_cancel)(struct slot_join *join);
	bool (*leave)(const char *user_id, const char *reason);
	int (*stream_attach)(const char *user_id, struct slot_stream *stream);
	void (*stream_detach)(struct slot_stream *stream);
	void (*status)(const char *user_id, struct slot_status *ret_status);
	void (*each)(void (*fn)(const struct slot_status *status, void *arg), void *arg);
	void (*totals)(struct slot_totals *ret_totals);
	void (*info)(struct dataplane_info *ret_info);
	void (*swaps)(const char *user_id, bool (*fn)(const struct swap_record *record, void *arg), void *arg);
	void (*swap_totals)(struct swap_totals *ret_totals);
	int (*transcribe)(const char *user_id, bool on, const struct soniox_options *options, struct err *err);
	const struct soniox_options *(*transcribe_defaults)(void);
	int (*finalize)(const char *user_id);
	int (*listen)(const char *user_id, struct transcript_listener *listener, uint64_t from_seq, uint64_t *ret_epoch,
		bool *ret_complete);
	void (*unlisten)(struct transcript_listener *listener);
	void (*transcribe_view)(const char *user_id, struct soniox_view *ret_view);
	void (*transcribe_totals)(struct soniox_totals *ret_totals);
};

extern const struct svc_backend svc_backend;
