// SPDX-License-Identifier: ISC
//
// dtls.h - the DTLS 1.2 handshake with OpenSSL over datagrams in memory: fingerprint, SRTP keys, then the record layer is
// taken over (dtls_record.h). Contract.
//
// Runs on: handshake.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/dtls_record.h"
#include "dataplane/srtp.h"

#define DTLS_FINGERPRINT_TEXT 96 // "AA:BB:..." of SHA-256, upper case, with NUL
#define DTLS_MTU 1200

// Certificate (ECDSA P-256, self-signed) and SSL_CTX, shared by every transport of the process.
struct dtls_identity;
struct dtls_identity *dtls_identity_create(struct err *err);
void dtls_identity_destroy(struct dtls_identity *identity);
const char *dtls_identity_fingerprint(const struct dtls_identity *identity); // sha-256

enum dtls_role { DTLS_SERVER, DTLS_CLIENT };
enum dtls_state { DTLS_HANDSHAKING, DTLS_ESTABLISHED, DTLS_FAILED };

struct dtls;
// send hands one datagram to the wire (called inside input, timeout, start).
typedef void dtls_send_fn(void *arg, const uint8_t *datagram, size_t bytes);
// peer_fingerprint: SHA-256 from the peer's SDP, any case. profiles: NULL-free list ended by SRTP_PROFILE_NONE, in order
// of preference, or NULL for all three.
struct dtls *dtls_create(struct dtls_identity *identity, enum dtls_role role, const char *peer_fingerprint,
	const enum srtp_profile *profiles, dtls_send_fn *send, void *arg, struct err *err);
void dtls_destroy(struct dtls *dtls); // takes NULL; sends nothing

// Client role: send the first flight. Server role: nothing.
void dtls_start(struct dtls *dtls);
// Feed one received datagram (may hold several records). Data and alerts under the new keys, which may come before the
// peer's Finished or with it, are kept unread (dtls_early). Alerts without encryption are dropped. Never trusts the peer; state may
// change. DROP_NONE or the reason.
enum drop dtls_input(struct dtls *dtls, const uint8_t *datagram, size_t bytes);
// Absolute clock_mono_ns when dtls_timeout must be called, 0: no timer runs.
uint64_t dtls_deadline_ns(const struct dtls *dtls);
void dtls_timeout(struct dtls *dtls);

enum dtls_state dtls_state(const struct dtls *dtls);
const char *dtls_failure(const struct dtls *dtls); // sentence when DTLS_FAILED: fingerprint mismatch, no common cipher, ...
// What the last alert said that came without encryption, NULL: none came. It is not believed, since anybody may have sent it, but a
// peer that gave up says so that way before it is silent.
const char *dtls_plain_alert(const struct dtls *dtls);
// The fingerprint was verified before DTLS_ESTABLISHED is reported.
int dtls_export_srtp(struct dtls *dtls, struct srtp_keys *ret_keys);
// The record layer of an established connection, the last use of it: destroy it afterwards. NULL with err.
struct dtls_record *dtls_take_record(struct dtls *dtls, struct err *err);
// The n-th record that came too early, to be opened by the record layer; NULL when there are no more.
const uint8_t *dtls_early(const struct dtls *dtls, unsigned n, size_t *ret_bytes);
