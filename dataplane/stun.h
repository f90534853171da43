// SPDX-License-Identifier: ISC
//
// stun.h - STUN messages (RFC 8489): read, write, sign, check. No state.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define STUN_HEADER_BYTES 20
#define STUN_TRANSACTION_BYTES 12
#define STUN_MESSAGE_MAX_BYTES 2048 // nothing longer is read or written
#define STUN_COOKIE 0x2112a442u
#define STUN_BINDING 0x001
#define STUN_UNKNOWN_MAX 8

enum stun_kind { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };

enum stun_attribute {
	STUN_USERNAME = 0x0006,
	STUN_MESSAGE_INTEGRITY = 0x0008,
	STUN_ERROR_CODE = 0x0009,
	STUN_UNKNOWN_ATTRIBUTES = 0x000a,
	STUN_REALM = 0x0014,
	STUN_NONCE = 0x0015,
	STUN_MESSAGE_INTEGRITY_SHA256 = 0x001c,
	STUN_XOR_MAPPED_ADDRESS = 0x0020,
	STUN_PRIORITY = 0x0024,
	STUN_USE_CANDIDATE = 0x0025,
	STUN_NOMINATION_OLD = 0x0030, // pion/ice before 4.4
	STUN_SOFTWARE = 0x8022,
	STUN_FINGERPRINT = 0x8028,
	STUN_ICE_CONTROLLED = 0x8029,
	STUN_ICE_CONTROLLING = 0x802a,
	STUN_NOMINATION = 0xc001, // libwebrtc's renomination
};

enum stun_error_code {
	STUN_UNKNOWN_ATTRIBUTE = 420,
	STUN_ROLE_CONFLICT = 487,
};

enum stun_family { STUN_FAMILY_NONE = 0, STUN_FAMILY_IP4 = 1, STUN_FAMILY_IP6 = 2 };

struct stun_address {
	enum stun_family family;
	uint16_t port;
	uint8_t ip[16]; // network order, 4 or 16 bytes
};

// A message that parses. Points into the datagram; what is absent is 0, NULL or false. Nothing in it can be trusted
// before stun_check_integrity said so.
struct stun_message {
	const uint8_t *datagram;
	size_t bytes;
	const uint8_t *transaction; // STUN_TRANSACTION_BYTES
	enum stun_kind kind;
	uint16_t method;
	uint16_t username_bytes;
	const uint8_t *username; // not terminated
	size_t integrity_at;     // offset of the attribute
	size_t fingerprint_at;
	struct stun_address mapped; // XOR-MAPPED-ADDRESS, in the clear
	uint64_t tie_breaker;
	uint32_t priority;
	uint32_t nomination;
	uint16_t error_code;
	bool controlling, controlled, use_candidate;
	uint8_t unknown_count;              // at most STUN_UNKNOWN_MAX are kept
	uint16_t unknown[STUN_UNKNOWN_MAX]; // attributes that must be understood and are not
};

// False: malformed. Attributes behind MESSAGE-INTEGRITY are ignored, as they are not signed.
bool stun_decode(const uint8_t *datagram, size_t bytes, struct stun_message *ret_message);
// MESSAGE-INTEGRITY is there and made with this key (short term: the password; long term: the MD5 of RFC 8489 9.2.2).
bool stun_check_integrity(const struct stun_message *message, const void *key, size_t key_bytes);
// False only when there is a FINGERPRINT and it is wrong.
bool stun_check_fingerprint(const struct stun_message *message);

// Writes into the caller's buffer; once something does not fit everything after is ignored and stun_end returns 0.
struct stun_writer {
	uint8_t *datagram;
	size_t capacity;
	size_t used;
	bool overflow;
};

void stun_begin(struct stun_writer *writer, uint8_t *datagram, size_t capacity, enum stun_kind kind, uint16_t method,
	const uint8_t transaction[STUN_TRANSACTION_BYTES]);
void stun_put(struct stun_writer *writer, uint16_t attribute, const void *value, size_t bytes);
void stun_put_u32(struct stun_writer *writer, uint16_t attribute, uint32_t value);
void stun_put_u64(struct stun_writer *writer, uint16_t attribute, uint64_t value);
void stun_put_mapped(struct stun_writer *writer, struct endpoint mapped);
void stun_put_error(struct stun_writer *writer, uint16_t code, const char *reason);
void stun_put_integrity(struct stun_writer *writer, const void *key, size_t key_bytes);
void stun_put_fingerprint(struct stun_writer *writer); // last
size_t stun_end(struct stun_writer *writer);           // bytes of the message, 0: it did not fit
