// SPDX-License-Identifier: ISC
//
// userpacket.h - find the user payload and the sender's identity in a LiveKit DataPacket without allocating. Contract.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"

struct userpacket {
	const uint8_t *payload; // inside the input
	size_t payload_bytes;
	const char *identity; // not NUL-terminated; inside the input
	size_t identity_bytes;
	const char *topic;
	size_t topic_bytes;
};

// DROP_NONE, DROP_DATA_MALFORMED, or DROP_DATA_NOT_AUDIO (no user packet, or an empty payload).
enum drop userpacket_parse(const uint8_t *data, size_t bytes, struct userpacket *ret_packet);
