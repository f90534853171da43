// SPDX-License-Identifier: ISC
//
// svc_backend.c - the daemon's table of what the gRPC services ask for.
//
// Runs on: any (each entry as its own header says).

#include "controlplane/svc_backend.h"

const struct svc_backend svc_backend = {
	.post = control_post,
	.drop = dataplane_drop,
	.control_lag_max_us = control_lag_max_us,
	.join = slot_join,
	.join_cancel = slot_join_cancel,
	.leave = slot_leave,
	.stream_attach = slot_stream_attach,
	.stream_detach = slot_stream_detach,
	.status = slot_status,
	.each = slot_each,
	.totals = slot_totals,
	.info = dataplane_info,
	.swaps = swap_log_each,
	.swap_totals = swap_log_totals,
	.transcribe = soniox_transcribe,
	.transcribe_defaults = soniox_default_options,
	.finalize = soniox_finalize,
	.listen = soniox_listen,
	.unlisten = soniox_unlisten,
	.transcribe_view = soniox_view,
	.transcribe_totals = soniox_totals,
};
