// SPDX-License-Identifier: ISC
//
// svc_reflection.h - grpc.reflection v1 and v1alpha.
#pragma once

#include "controlplane/grpc_call.h"

extern const struct call_method svc_reflection_v1, svc_reflection_v1alpha;
