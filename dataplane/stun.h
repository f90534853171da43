// SPDX-License-Identifier: ISC
//
// stun.h - STUN messages (RFC 8489): parse, build, integrity, fingerprint; the attributes of ICE (RFC 8445). No state.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

#define STUN_HEADER_BYTES 20
#define STUN_MESSAGE_MAX 548
#define STUN_ID_BYTES 12

enum stun_class { STUN_REQUEST = 0, STUN_INDICATION = 1, STUN_SUCCESS = 2, STUN_ERROR = 3 };
#define STUN_BINDING 1

// What a message says. Pointers are into the message; nothing is NUL-terminated.
struct stun_message {
	enum stun_class class;
	uint16_t method;
	uint8_t id[STUN_ID_BYTES];
	const char *username;
	size_t username_bytes;
	bool has_mapped, has_priority, use_candidate, controlling, controlled, has_integrity, has_fingerprint, unknown_required;
	struct endpoint mapped; // XOR-MAPPED-ADDRESS or MAPPED-ADDRESS, IPv4
	uint32_t priority;
	uint64_t tie_breaker;
	uint16_t error_code;
	size_t integrity_at; // offset of the MESSAGE-INTEGRITY attribute
};

// Structure and, when there is one, the FINGERPRINT. DROP_NONE, DROP_STUN_MALFORMED or DROP_STUN_BAD_INTEGRITY.
enum drop stun_parse(const uint8_t *data, size_t bytes, struct stun_message *ret_message);
// Whether MESSAGE-INTEGRITY was made with this password (short-term credentials).
bool stun_integrity(const uint8_t *data, const struct stun_message *message, const char *password);
bool stun_integrity_key(const uint8_t *data, const struct stun_message *message, const uint8_t *key, size_t key_bytes);

struct stun_builder {
	uint8_t data[STUN_MESSAGE_MAX];
	size_t bytes;
};
void stun_begin(struct stun_builder *builder, enum stun_class class, uint16_t method, const uint8_t *id);
void stun_add(struct stun_builder *builder, uint16_t type, const void *value, size_t bytes);
void stun_add_u32(struct stun_builder *builder, uint16_t type, uint32_t value);
void stun_add_xor_mapped(struct stun_builder *builder, struct endpoint mapped);
// MESSAGE-INTEGRITY, then FINGERPRINT: last.
void stun_finish(struct stun_builder *builder, const char *password);

enum stun_attribute {
	STUN_MAPPED_ADDRESS = 0x0001,
	STUN_USERNAME = 0x0006,
	STUN_MESSAGE_INTEGRITY = 0x0008,
	STUN_ERROR_CODE = 0x0009,
	STUN_XOR_MAPPED_ADDRESS = 0x0020,
	STUN_PRIORITY = 0x0024,
	STUN_USE_CANDIDATE = 0x0025,
	STUN_NOMINATION_OLD = 0x0030, // renomination as pion/ice 4.2 reads it (facts: livekit-observed.md O8)
	STUN_FINGERPRINT = 0x8028,
	STUN_ICE_CONTROLLED = 0x8029,
	STUN_ICE_CONTROLLING = 0x802a,
	STUN_NOMINATION = 0xc001,
};
