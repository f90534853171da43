// SPDX-License-Identifier: ISC
//
// channel.h - the two data channels LiveKit knows by name, opened in band by DCEP (RFC 8832) on an association that is up.
//
// Runs on: assoc. Contract.
#pragma once

#include "dataplane/sctp_assoc.h"

enum channel { CHANNEL_RELIABLE, CHANNEL_LOSSY, CHANNEL_OTHER };
enum { CHANNELS = CHANNEL_OTHER };

struct channels {
	uint16_t streams[CHANNELS]; // by enum channel
	bool usable[CHANNELS];      // acknowledged, or opened by the peer
};

// dtls_client decides even or odd streams (RFC 8832 6).
void channels_init(struct channels *channels, bool dtls_client);
// Asks for both. Again after a restart: nothing of before counts.
void channels_open(struct channels *channels, struct sctp_assoc *assoc, uint64_t now_ns);
// A message with PPID_DCEP: answered, remembered. The peer's own channel of a name replaces ours. DROP_SCTP_CONTROL_FLOOD: one
// more channel than there is room for the answer; it stays unanswered.
enum drop channels_dcep(struct channels *channels, struct sctp_assoc *assoc, const struct sctp_message *message, uint64_t now_ns);
bool channels_usable(const struct channels *channels); // both
enum channel channels_find(const struct channels *channels, uint16_t stream);
