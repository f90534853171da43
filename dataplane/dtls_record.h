// SPDX-License-Identifier: ISC
//
// dtls_record.h - the DTLS 1.2 record layer (RFC 6347, AES-GCM: RFC 5288) after OpenSSL's handshake: open, seal, replay
// window, the last flight kept for a peer that lost it.
//
// Made by the handshake thread out of an established SSL object, which is freed right after; then the worker's alone.
// What it knows is a few hundred bytes without a pointer: it can be moved to another worker or process as it stands. Beside it
// lie the keys as ipsec-mb wants them, expanded; whoever gets it moved clears `expanded`. Source: facts dtls-sctp 1. Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/roles.h"

#define DTLS_RECORD_HEADER_BYTES 13
#define DTLS_RECORD_NONCE_BYTES 8
#define DTLS_RECORD_TAG_BYTES 16
#define DTLS_RECORD_HEAD_BYTES (DTLS_RECORD_HEADER_BYTES + DTLS_RECORD_NONCE_BYTES) // before the plaintext
#define DTLS_RECORD_EXPANSION (DTLS_RECORD_HEAD_BYTES + DTLS_RECORD_TAG_BYTES)
#define DTLS_RECORD_FLIGHT_MAX 160
#define DTLS_RECORD_EXPANDED_BYTES 1024 // room for ipsec-mb's struct gcm_key_data, whose header does not go with OpenSSL's
#define DTLS_RECORD_FLIGHT_PAUSE_NS 50000000u // epoch 0 is unauthenticated: at most so often

enum dtls_content { DTLS_CHANGE_CIPHER = 20, DTLS_ALERT = 21, DTLS_HANDSHAKE = 22, DTLS_APPLICATION = 23 };

struct dtls_record {
	uint64_t top, window;     // replay: highest sequence number seen; bit i: top - i was seen. window 0: none yet
	uint64_t next_seq;        // of epoch 1, what we send next
	uint64_t next_nonce;      // explicit nonce of it: goes on where OpenSSL stopped, never starts anew
	uint8_t key_bytes;        // 16 or 32
	bool expanded;            // remote_expanded and local_expanded were made out of the keys, with the first record
	uint8_t flight_bytes;     // 0: nothing to repeat (we were the client)
	uint8_t remote_salt[4], local_salt[4];
	uint8_t remote_key[32], local_key[32];
	uint64_t flight_sent_ns;  // when it was repeated last
	uint8_t flight[DTLS_RECORD_FLIGHT_MAX]; // CCS and Finished exactly as they went out

	uint8_t remote_expanded[DTLS_RECORD_EXPANDED_BYTES] CACHE_ALIGNED;
	uint8_t local_expanded[DTLS_RECORD_EXPANDED_BYTES];
};
#define DTLS_RECORD_STATE_BYTES offsetof(struct dtls_record, remote_expanded)
_Static_assert(DTLS_RECORD_STATE_BYTES <= 320, "a few hundred bytes per user that cannot be made again");
_Static_assert(offsetof(struct dtls_record, remote_key) <= CACHE_LINE_BYTES, "beside the expanded keys a record touches one line");

enum dtls_plain_kind {
	DTLS_PLAIN_NOTHING, // authentic or harmless, and of no use: a repeated Finished, a warning
	DTLS_PLAIN_DATA,
	DTLS_PLAIN_CLOSE,   // close_notify or a fatal alert, authentic
	DTLS_PLAIN_REPEAT,  // the peer sends its last flight again: it has not got ours
};

struct dtls_plain {
	enum dtls_plain_kind kind;
	uint8_t *data; // inside the datagram
	size_t bytes;
};

struct srtp_mgr; // the thread's crypto manager (srtp.h)

// Opens the record at *at of a datagram in place and moves *at behind it; call while *at < bytes. The window moves only when
// the tag was good. A record that does not parse ends the datagram.
enum drop dtls_record_open(struct dtls_record *record, struct srtp_mgr *mgr, uint8_t *datagram, size_t bytes, size_t *at,
	struct dtls_plain *ret_plain);
// Seals the plain bytes at room + DTLS_RECORD_HEAD_BYTES; room holds plain_bytes + DTLS_RECORD_EXPANSION. Returns the length
// of the record, 0 when the sequence numbers are used up.
size_t dtls_record_seal(struct dtls_record *record, struct srtp_mgr *mgr, enum dtls_content type, uint8_t *room,
	size_t plain_bytes);
// Asks for the lines that open will touch, and seal as well.
void dtls_record_prefetch(const struct dtls_record *record, const struct srtp_mgr *mgr, bool seal);
// A close_notify alert; room holds 2 + DTLS_RECORD_EXPANSION bytes.
size_t dtls_record_seal_close(struct dtls_record *record, struct srtp_mgr *mgr, uint8_t *room);
// The last flight if it may be repeated now, NULL otherwise.
const uint8_t *dtls_record_flight(struct dtls_record *record, uint64_t now_ns, size_t *ret_bytes);

// ---- set-up (dtls_record_setup.c), handshake thread

// What is seen of the records OpenSSL writes: no call of it tells sequence numbers or nonces.
struct dtls_trace {
	uint64_t seq, nonce; // of the last record of epoch 1
	bool encrypted;      // there was one
	uint8_t flight[DTLS_RECORD_FLIGHT_MAX]; // from the last ChangeCipherSpec on
	size_t flight_bytes;
};
void dtls_trace_sent(struct dtls_trace *trace, const uint8_t *datagram, size_t bytes);

struct ssl_st;
// The state of an established connection; the SSL object must not send afterwards. NULL with err when its cipher is not
// AES-GCM or memory is short.
struct dtls_record *dtls_record_create(struct ssl_st *ssl, bool client, const struct dtls_trace *trace, struct err *err);
void dtls_record_destroy(struct dtls_record *record); // wipes the keys; takes NULL
