// SPDX-License-Identifier: ISC
//
// links.h - the chain from JoinRoom to the words of a user, link by link: which holds, which is broken, since when. Pure.
//
// Runs on: any.
#pragma once

#include "proto/relay/v1/admin.pb-c.h"
#include "proto/relay/v1/transcripts.pb-c.h"

enum link_state {
	LINK_OK,
	LINK_WAITS, // nothing is wrong with it: the link before it brings nothing, or it is being made
	LINK_OFF,   // not asked for
	LINK_BROKEN,
};

enum link_name {
	LINK_JOIN,
	LINK_AUDIO,
	LINK_CLOUD,
	LINK_SONIOX,
	LINK_WORDS,
	LINKS,
};

struct link {
	enum link_state state;
	int64_t since_ms; // Unix ms: in this state; 0: not known
	char sentence[320];
};

// `transcription` may be NULL: it could not be asked.
void links_judge(const Relay__V1__Session *session, const Relay__V1__TranscribeState *transcription, int64_t now_ms,
	struct link ret_links[static LINKS]);
const char *link_name(enum link_name name);
const char *link_word(enum link_state state);
