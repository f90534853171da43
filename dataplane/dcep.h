// SPDX-License-Identifier: ISC
//
// dcep.h - the Data Channel Establishment Protocol (RFC 8832): OPEN and ACK. Pure.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

enum dcep_type { DCEP_ACK = 0x02, DCEP_OPEN = 0x03 };
enum dcep_channel {
	DCEP_RELIABLE = 0x00,
	DCEP_RELIABLE_UNORDERED = 0x80,
	DCEP_REXMIT_UNORDERED = 0x81,
};
enum ppid { PPID_DCEP = 50, PPID_STRING = 51, PPID_BINARY = 53, PPID_STRING_EMPTY = 56, PPID_BINARY_EMPTY = 57 };

struct dcep_message {
	enum dcep_type type;
	uint8_t channel;
	uint16_t priority;
	uint32_t reliability;
	const char *label; // inside the message
	size_t label_bytes;
};

// 0 or -EBADMSG.
int dcep_parse(const uint8_t *data, size_t bytes, struct dcep_message *ret_message);
// Length written, 0 when it does not fit.
size_t dcep_open(uint8_t *data, size_t size, enum dcep_channel channel, uint32_t reliability, const char *label);
