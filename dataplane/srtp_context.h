// SPDX-License-Identifier: ISC
//
// srtp_context.h - what is inside struct srtp: derived keys and per-SSRC state, one place, no pointers.
//
// Runs on: handshake makes it, worker uses it.
#pragma once

#include <intel-ipsec-mb.h>

#include "dataplane/srtp.h"

#define SRTP_REPLAY_BITS 64
#define SRTP_CM_TAG_BYTES 10
#define SRTP_GCM_TAG_BYTES 16

// Rollover counter and replay window of one SSRC (RFC 3711 3.3).
struct srtp_stream {
	uint32_t ssrc;
	bool used;
	uint64_t index;    // highest authenticated: ROC << 16 | SEQ; for SRTCP the 31-bit index
	uint64_t window;   // bit i: index - i was seen
	uint64_t last_use; // of the direction's clock: the longest silent place is given away
};

// Session keys of one protocol (SRTP or SRTCP) in one direction: the profile says which.
struct srtp_cipher {
	union {
		struct gcm_key_data gcm;
		struct {
			uint8_t enc[16 * 15] __attribute__((aligned(16))); // expanded AES keys of counter mode
			uint8_t ipad[20], opad[20];
		};
	};
} CACHE_ALIGNED;

struct srtp_direction {
	enum srtp_profile profile;
	uint32_t rtcp_index; // of what we send
	uint64_t clock;
	uint8_t rtp_salt[16]; // padded with zeros
	struct srtp_stream rtp_streams[SRTP_STREAMS_MAX];
	struct srtp_cipher rtp;
	uint8_t rtcp_salt[16];
	struct srtp_stream rtcp_streams[SRTP_STREAMS_MAX];
	struct srtp_cipher rtcp;
} CACHE_ALIGNED;
_Static_assert(offsetof(struct srtp_direction, rtp_streams[1]) == CACHE_LINE_BYTES,
	"all but the keys of a transport's first stream is one line");

struct srtp {
	struct srtp_direction remote, local;
};

struct srtp_mgr {
	IMB_MGR *imb;
	uint32_t rtp_lines, record_lines; // of a key, what an RTP packet and a DTLS record touch
};

// RFC 3711 4.3 and 7714 11: one session key from the master key, by label.
int srtp_derive(enum srtp_profile profile, const uint8_t *key, const uint8_t *salt, uint8_t label, uint8_t *ret_key,
	size_t bytes);
