// SPDX-License-Identifier: ISC
//
// svc_admin.h - relay.v1.Admin: what an operator sees.
#pragma once

#include "controlplane/grpc_call.h"

extern const struct call_method svc_admin_get_version, svc_admin_get_status, svc_admin_list_sessions,
	svc_admin_get_session, svc_admin_list_drops, svc_admin_list_swaps;
