// SPDX-License-Identifier: ISC
//
// svc_stream.h - StreamAudio and relay.v1.Audio.Listen: a cursor into the user's ring, sent down one write at a time.
#pragma once

#include "controlplane/grpc_call.h"

#define STREAM_SPEED 4              // a backlog goes out at most so many times faster than real time
#define STREAM_BURST_FRAMES 10      // that may go out at once
#define STREAM_BEHIND_FRAMES 5      // a stream with more than this waiting puts several frames into one message
#define STREAM_FRAMES_PER_MESSAGE 5 // at most: 100 ms, 3,200 bytes

extern const struct call_method svc_stream_audio; // mentra.livekit.bridge
extern const struct call_method svc_stream_listen; // relay.v1.Audio

// Send what may be sent: on streams whose ring is marked, if anybody has rung, and on those that are due. Returns when it wants to
// run again (clock_mono_ns), UINT64_MAX: at the next wake-up.
uint64_t svc_stream_run(struct call_worker *worker, uint64_t now_ns, bool rung) RUNS_ON(io_role);
// The worker has ended, and with it every call.
void svc_stream_finish(struct call_worker *worker) RUNS_ON(io_role);
