// SPDX-License-Identifier: ISC
//
// svc_bridge.h - mentra.livekit.bridge.LiveKitBridge: the unary calls of the cloud.
#pragma once

#include "controlplane/grpc_call.h"

extern const struct call_method svc_bridge_join_room, svc_bridge_leave_room, svc_bridge_play_audio,
	svc_bridge_stop_audio, svc_bridge_health_check, svc_bridge_get_status;

void svc_bridge_started(void); // uptime counts from here
uint64_t svc_bridge_uptime_s(void);
