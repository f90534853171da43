// SPDX-License-Identifier: ISC
//
// userpacket.c - find the user payload and the sender's identity in a LiveKit DataPacket without allocating.
//
// Runs on: any.

#include "dataplane/userpacket.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
	uint32_t number;
	unsigned type;
	const uint8_t *data; // of WIRE_BYTES
	size_t bytes;
};

static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
		uint8_t byte = *(*at)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static bool next_field(const uint8_t **at, const uint8_t *end, struct field *ret_field)
{
	uint64_t key, value;
	if (!varint(at, end, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
		return false;
	*ret_field = (struct field){.number = (uint32_t)(key >> 3), .type = (unsigned)(key & 7)};
	switch (ret_field->type) {
	case WIRE_VARINT:
		return varint(at, end, &value);
	case WIRE_64:
	case WIRE_32:
		value = ret_field->type == WIRE_64 ? 8 : 4;
		break;
	case WIRE_BYTES:
		if (!varint(at, end, &value))
			return false;
		ret_field->data = *at;
		ret_field->bytes = (size_t)value;
		break;
	default: // groups are not used
		return false;
	}
	if (value > (uint64_t)(end - *at))
		return false;
	*at += value;
	return true;
}

static bool user_parse(const uint8_t *at, const uint8_t *end, struct userpacket *packet, struct field *old_identity)
{
	for (struct field field; at < end;) {
		if (!next_field(&at, end, &field))
			return false;
		if (field.type != WIRE_BYTES)
			continue;
		if (field.number == 2) {
			packet->payload = field.data;
			packet->payload_bytes = field.bytes;
		} else if (field.number == 4) {
			packet->topic = (const char *)field.data;
			packet->topic_bytes = field.bytes;
		} else if (field.number == 5) {
			*old_identity = field;
		}
	}
	return true;
}

enum drop userpacket_parse(const uint8_t *data, size_t bytes, struct userpacket *ret_packet)
{
	const uint8_t *at = data, *end = data + bytes;
	struct field old_identity = {0};
	bool has_user = false;
	*ret_packet = (struct userpacket){0};
	for (struct field field; at < end;) {
		if (!next_field(&at, end, &field))
			return DROP_DATA_MALFORMED;
		if (field.type != WIRE_BYTES)
			continue;
		if (field.number == 2) {
			if (!user_parse(field.data, field.data + field.bytes, ret_packet, &old_identity))
				return DROP_DATA_MALFORMED;
			has_user = true;
		} else if (field.number == 4) {
			ret_packet->identity = (const char *)field.data;
			ret_packet->identity_bytes = field.bytes;
		}
	}
	if (!has_user || ret_packet->payload_bytes == 0)
		return DROP_DATA_NOT_AUDIO;
	if (ret_packet->identity_bytes == 0 && old_identity.bytes > 0) {
		ret_packet->identity = (const char *)old_identity.data;
		ret_packet->identity_bytes = old_identity.bytes;
	}
	return DROP_NONE;
}
