// SPDX-License-Identifier: ISC
//
// captions.h - what users say, live in the terminal; and how their transcription is.
//
// Runs on: any (relayctl has one thread).
#pragma once

#include <jansson.h>

#include "controlplane/relayctl/args.h"
#include "controlplane/relayctl/client.h"
#include "proto/relay/v1/admin.pb-c.h"
#include "proto/relay/v1/transcripts.pb-c.h"

// Until the user leaves or the operator interrupts.
enum client_result captions_follow(const struct args *args);

// Added to the session of a user and to the status. Nothing when the relayd does not transcribe.
void captions_show_links(const Relay__V1__Session *session); // from JoinRoom to words: which link is broken, since when
void captions_show_state(const char *user);
void captions_show_totals(void);
// The same object, with "links" and "transcription".
json_t *captions_json_session(json_t *object, const Relay__V1__Session *session);
json_t *captions_json_status(json_t *object);                    // the same object, with "transcription"
