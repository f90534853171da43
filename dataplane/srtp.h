// SPDX-License-Identifier: ISC
//
// srtp.h - SRTP and SRTCP (RFC 3711, 7714) in bursts on ipsec-mb: keys, ROC, replay window. Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/roles.h"

// DTLS-SRTP protection profile numbers (RFC 5764, 7714).
enum srtp_profile {
	SRTP_PROFILE_NONE = 0,
	SRTP_AES128_CM_SHA1_80 = 0x0001,
	SRTP_AEAD_AES_128_GCM = 0x0007,
	SRTP_AEAD_AES_256_GCM = 0x0008,
};

#define SRTP_STREAMS_MAX 8    // SSRCs with a ROC and a replay window of their own, per direction
#define SRTP_EXPANSION_MAX 32 // bytes a packet can grow when protected (tag, SRTCP index)

// Master keys and salts as exported from DTLS, already told apart into ours and the peer's.
struct srtp_keys {
	enum srtp_profile profile;
	uint8_t local_key[32], local_salt[14];
	uint8_t remote_key[32], remote_salt[14];
};

size_t srtp_profile_key_bytes(enum srtp_profile profile);  // 16 or 32
size_t srtp_profile_salt_bytes(enum srtp_profile profile); // 14 or 12

// Per-thread crypto manager (wraps IMB_MGR). Made at init, used by one thread only.
struct srtp_mgr;
struct srtp_mgr *srtp_mgr_create(void);
void srtp_mgr_destroy(struct srtp_mgr *mgr); // takes NULL

// One direction pair of contexts of one transport. Derived keys and stream state in one place, no pointer to other
// objects: it can be copied to another worker or process as it stands.
struct srtp;
// Derives the session keys. NULL with err when the profile is unknown or memory is short. Handshake or init thread.
struct srtp *srtp_create(const struct srtp_keys *keys, struct err *err);
void srtp_destroy(struct srtp *srtp); // wipes the keys; takes NULL

struct srtp_job {
	struct srtp *srtp;
	uint8_t *packet; // in place
	uint32_t bytes;  // in: protected length; out: plain length
	enum drop drop;  // out: DROP_NONE or the reason
};

#define SRTP_BURST_MAX 64u

// A packet of this context will be unprotected in a moment.
void srtp_prefetch(const struct srtp_mgr *mgr, const struct srtp *srtp) RUNS_ON(worker_role);
// Unprotect up to 64 RTP packets of any mix of contexts and profiles. Replay windows are updated only after the tag
// was good, in the order of the jobs. Jobs of one burst may name the same SSRC.
void srtp_unprotect_burst(struct srtp_mgr *mgr, struct srtp_job *jobs, unsigned count) RUNS_ON(worker_role);
enum drop srtcp_unprotect(struct srtp_mgr *mgr, struct srtp *srtp, uint8_t *packet, uint32_t *bytes)
	RUNS_ON(worker_role);
// Outgoing. The buffer has SRTP_EXPANSION_MAX bytes of room behind the packet. 0 or negative errno.
int srtp_protect(struct srtp_mgr *mgr, struct srtp *srtp, uint8_t *packet, uint32_t *bytes) RUNS_ON(worker_role);
int srtcp_protect(struct srtp_mgr *mgr, struct srtp *srtp, uint8_t *packet, uint32_t *bytes) RUNS_ON(worker_role);
