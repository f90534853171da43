// SPDX-License-Identifier: ISC
//
// soniox_clock.h - three clocks of a stream (last audio sent, last message, last token) and what they say of its health.
//
// Alive is not working: a keepalive moves none of them. Pure.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define SONIOX_STARVED_MS 2000    // no audio came from the user for so long
#define SONIOX_UNANSWERED_MS 5000 // audio went out and no message came back
#define SONIOX_NO_TOKEN_MS 30000  // audio and messages flow, no word was heard

enum soniox_health {
	SONIOX_HEALTHY, // audio goes out, words come back
	SONIOX_SILENT,  // audio goes out, answers come back without words
	SONIOX_STALLED, // audio goes out, nothing comes back
	SONIOX_STARVED, // nothing to send
};

// Times of clock_mono_ns, 0: never.
struct soniox_clock {
	uint64_t opened_ns;
	uint64_t arrived_ns;    // last audio from the user
	uint64_t sent_ns;       // last audio to Soniox
	uint64_t message_ns;    // last message that carried progress of this connection's audio
	uint64_t token_ns;      // last token
	uint64_t unanswered_ns; // first audio sent since the last message
};

void soniox_clock_opened(struct soniox_clock *clock, uint64_t now_ns); // a new connection: what the last one owed is forgotten
void soniox_clock_sent(struct soniox_clock *clock, uint64_t now_ns);
void soniox_clock_message(struct soniox_clock *clock, bool token, uint64_t now_ns);
// Since when, too. Only while a connection is open.
enum soniox_health soniox_clock_judge(const struct soniox_clock *clock, uint64_t now_ns, uint64_t *ret_since_ns);
const char *soniox_health_word(enum soniox_health health);
const char *soniox_health_sentence(enum soniox_health health);
