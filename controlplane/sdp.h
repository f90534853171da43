// SPDX-License-Identifier: ISC
//
// sdp.h - the session descriptions of a LiveKit PeerConnection: write our offer, read the SFU's answer.
//
// Runs on: any.
#pragma once

#include "dataplane/dataplane.h"

#define SDP_SECTIONS_MAX 16   // media sections of one offer, the data channel's included
#define SDP_CANDIDATES_MAX 16 // UDP over IPv4, component 1: what a transport can use
#define SDP_OFFER_MAX 8192    // an offer always fits
#define SDP_PT_OPUS 111       // what we offer; the SFU echoes it
#define SDP_PT_RED 63
#define SDP_PT_NONE 255

// Every section is in the one BUNDLE group: mid "0" is the data channel's, "1" .. the audio sections we listen on.
struct sdp_offer {
	const struct transport_local *local;
	uint64_t session_id;  // the same in all offers of a PeerConnection
	uint32_t version;     // counts them
	unsigned audio_count; // recvonly sections, at most SDP_SECTIONS_MAX - 1
};
// Returns the length, or -ENOBUFS / -EINVAL.
int sdp_write_offer(const struct sdp_offer *offer, char *ret_text, size_t size);

struct sdp_candidate {
	struct endpoint endpoint;
	uint32_t priority;
};

enum sdp_kind { SDP_AUDIO, SDP_APPLICATION, SDP_OTHER };

struct sdp_section {
	enum sdp_kind kind;
	char mid[16];
	bool rejected;          // port 0
	bool sends;             // a=sendonly or a=sendrecv
	uint32_t ssrc;          // 0: the section carries no track now
	char track[64];         // track id out of msid, "": none
	uint8_t pt_opus, pt_red; // SDP_PT_NONE: not negotiated
};

struct sdp_answer {
	struct transport_remote remote;
	unsigned section_count, candidate_count;
	struct sdp_section sections[SDP_SECTIONS_MAX];
	struct sdp_candidate candidates[SDP_CANDIDATES_MAX];
};
// Reads an answer. Unknown lines are skipped; what a transport cannot do without (ICE credentials, a SHA-256 fingerprint)
// is an error, and so are more sections than any offer of ours has.
int sdp_read_answer(const char *text, size_t bytes, struct sdp_answer *ret_answer, struct err *err);

// "candidate:..." with or without "a=". -ENOTSUP for what a transport cannot use: other components, TCP, IPv6, names.
int sdp_read_candidate(const char *text, size_t bytes, struct sdp_candidate *ret_candidate);
