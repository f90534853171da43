// SPDX-License-Identifier: ISC
//
// svc_transcripts.h - relay.v1.Transcripts: what users say, live and resumable; and who is transcribed.
#pragma once

#include "controlplane/grpc_call.h"

extern const struct call_method svc_transcripts_watch, svc_transcripts_transcribe, svc_transcripts_finalize,
	svc_transcripts_get_state, svc_transcripts_get_totals;
