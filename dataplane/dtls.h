// SPDX-License-Identifier: ISC
//
// dtls.h - DTLS 1.2 with OpenSSL over datagrams in memory: handshake, fingerprint, SRTP keys, then records. Contract.
//
// A struct dtls is used by one thread at a time: handshake until it is established, then assoc.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/srtp.h"

#define DTLS_FINGERPRINT_TEXT 96 // "AA:BB:..." of SHA-256, upper case, with NUL
#define DTLS_MTU 1200

// Certificate (ECDSA P-256, self-signed) and SSL_CTX, shared by every transport of the process.
struct dtls_identity;
struct dtls_identity *dtls_identity_create(struct err *err);
void dtls_identity_destroy(struct dtls_identity *identity);
const char *dtls_identity_fingerprint(const struct dtls_identity *identity); // sha-256

enum dtls_role { DTLS_SERVER, DTLS_CLIENT };
enum dtls_state { DTLS_HANDSHAKING, DTLS_ESTABLISHED, DTLS_FAILED, DTLS_CLOSED };

struct dtls;
// send hands one datagram to the wire (called inside input, timeout, start, write, close).
typedef void dtls_send_fn(void *arg, const uint8_t *datagram, size_t bytes);
// peer_fingerprint: SHA-256 from the peer's SDP, any case. profiles: NULL-free list ended by SRTP_PROFILE_NONE, in order
// of preference, or NULL for all three.
struct dtls *dtls_create(struct dtls_identity *identity, enum dtls_role role, const char *peer_fingerprint,
	const enum srtp_profile *profiles, dtls_send_fn *send, void *arg, struct err *err);
void dtls_set_send(struct dtls *dtls, dtls_send_fn *send, void *arg); // on hand-over to another thread
void dtls_destroy(struct dtls *dtls); // takes NULL; sends nothing

// Client role: send the first flight. Server role: nothing.
void dtls_start(struct dtls *dtls);
// Feed one received datagram (may hold several records). Plain application data goes to receive (may be NULL while
// handshaking), once per record. Never trusts the peer; state may change. DROP_NONE or the reason.
typedef void dtls_receive_fn(void *arg, const uint8_t *data, size_t bytes);
enum drop dtls_input(struct dtls *dtls, const uint8_t *datagram, size_t bytes, dtls_receive_fn *receive, void *arg);
// Absolute clock_mono_ns when dtls_timeout must be called, 0: no timer runs.
uint64_t dtls_deadline_ns(const struct dtls *dtls);
void dtls_timeout(struct dtls *dtls);

enum dtls_state dtls_state(const struct dtls *dtls);
const char *dtls_failure(const struct dtls *dtls); // sentence when DTLS_FAILED: alert, fingerprint mismatch, ...
// The fingerprint was verified before DTLS_ESTABLISHED is reported.
int dtls_export_srtp(struct dtls *dtls, struct srtp_keys *ret_keys);
// Application data, one record. 0 or negative errno.
int dtls_write(struct dtls *dtls, const uint8_t *data, size_t bytes);
void dtls_close(struct dtls *dtls); // sends close_notify
