// SPDX-License-Identifier: ISC
//
// svc_health.h - grpc.health.v1.Health: Check and Watch.
#pragma once

#include "controlplane/grpc_call.h"

extern const struct call_method svc_health_check, svc_health_watch;
