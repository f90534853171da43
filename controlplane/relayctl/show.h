// SPDX-License-Identifier: ISC
//
// show.h - the answers of relayd, for people and as JSON.
//
// Runs on: any.
#pragma once

#include <jansson.h>

#include "proto/relay/v1/admin.pb-c.h"

void show_status(const Relay__V1__Status *status);
void show_sessions(const Relay__V1__ListSessionsResponse *response);
void show_session(const Relay__V1__Session *session);
void show_swaps(const Relay__V1__ListSwapsResponse *response);
void show_drops(const Relay__V1__ListDropsResponse *response);
void show_version(const Relay__V1__Version *version); // NULL: relayd is not reachable

// The caller prints and frees.
json_t *json_status(const Relay__V1__Status *status);
json_t *json_sessions(const Relay__V1__ListSessionsResponse *response);
json_t *json_session(const Relay__V1__Session *session);
json_t *json_swaps(const Relay__V1__ListSwapsResponse *response);
json_t *json_session_swaps(const Relay__V1__Session *session, const Relay__V1__ListSwapsResponse *swaps);
json_t *json_drops(const Relay__V1__ListDropsResponse *response);
json_t *json_version(const Relay__V1__Version *version);
