// SPDX-License-Identifier: ISC
//
// ice.h - ICE agent (RFC 8445): controlling, full, IPv4/UDP, one component, one local host candidate; consent (RFC 7675).
//
// A pure state machine: datagrams and time in, datagrams out by callback. One agent per transport, used by the handshake
// thread only. Contract.
//
// Runs on: handshake.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define ICE_UFRAG_TEXT 32
#define ICE_PWD_TEXT 64
#define ICE_REMOTES_MAX 16

enum ice_state {
	ICE_NEW,          // no remote credentials or candidates yet
	ICE_CHECKING,
	ICE_CONNECTED,    // a pair is nominated and consent is fresh
	ICE_DISCONNECTED, // consent was not answered for 5 s; still trying
	ICE_FAILED,       // no pair within the limit, or no consent for 15 s
};

typedef void ice_send_fn(void *arg, struct endpoint remote, const uint8_t *datagram, size_t bytes);

struct ice_config {
	struct endpoint local;
	uint32_t connect_limit_ms;  // CHECKING -> FAILED, default 5000 when 0
	uint32_t consent_period_ms; // default 2000 when 0, randomised 0.8..1.2
	uint32_t consent_fresh_ms;  // default 5000 when 0
	uint32_t consent_limit_ms;  // default 15000 when 0
	ice_send_fn *send;
	void *arg;
};

struct ice_credentials {
	char ufrag[ICE_UFRAG_TEXT], pwd[ICE_PWD_TEXT];
};
// From a CSPRNG. Any thread.
int ice_credentials_make(struct ice_credentials *ret_credentials, struct err *err);

struct ice;
// Makes fresh local credentials and a tie-breaker from a CSPRNG.
struct ice *ice_create(const struct ice_config *config, struct err *err);
void ice_destroy(struct ice *ice); // takes NULL; wipes credentials

const char *ice_local_ufrag(const struct ice *ice); // 4..256 ice-chars, valid for the agent's life
const char *ice_local_pwd(const struct ice *ice);   // 22..256
uint32_t ice_local_priority(void);                  // of the host candidate, for SDP

// Remote credentials; called again with others after an ICE restart or before a pair of this generation carries traffic, the same
// ones again are fine. 1: they replace others, -EALREADY: they would, but a pair carries traffic. lite: remote said a=ice-lite. Neither this nor a candidate sends anything by itself: call ice_poll at once afterwards.
int ice_set_remote(struct ice *ice, const char *ufrag, const char *pwd, bool lite, struct err *err);
// -ENOSPC beyond ICE_REMOTES_MAX; a duplicate is ignored (0). May come before or after the credentials, also between
// ice_restart and the new credentials: it belongs to the newest generation.
int ice_add_remote_candidate(struct ice *ice, struct endpoint remote, uint32_t priority);
// New local credentials and a new generation: the old pair goes on carrying traffic until the new one is nominated.
int ice_restart(struct ice *ice, struct err *err);
// The same with credentials that are known elsewhere already.
void ice_restart_with(struct ice *ice, const struct ice_credentials *credentials);

// One received STUN message. Answers requests (also before credentials of the peer are known: answered by our own
// password), learns peer-reflexive candidates, matches responses. 487 and role conflict handled.
enum drop ice_input(struct ice *ice, struct endpoint remote, const uint8_t *datagram, size_t bytes, uint64_t now_ns);
// Timers: returns the next absolute deadline (0: none). Input changes it: call it after ice_input as well.
uint64_t ice_poll(struct ice *ice, uint64_t now_ns);

enum ice_state ice_state(const struct ice *ice);
bool ice_selected(const struct ice *ice, struct endpoint *ret_remote);     // the nominated pair's remote; not once FAILED
bool ice_is_valid_remote(const struct ice *ice, struct endpoint remote);   // passed a check: DTLS may come from it
uint64_t ice_consent_ns(const struct ice *ice); // when consent was last answered, 0: never
uint32_t ice_rtt_us(const struct ice *ice);     // last answered check
// Send one check at once on the selected pair and restart its retransmissions (the "is it alive" probe of a join);
// answered when ice_consent_ns moves. Call ice_poll for the new deadline. Does nothing without a selected pair.
void ice_probe(struct ice *ice, uint64_t now_ns);
