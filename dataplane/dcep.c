// SPDX-License-Identifier: ISC
//
// dcep.c - the Data Channel Establishment Protocol.
//
// Runs on: any.

#include "dataplane/dcep.h"

#define OPEN_HEADER_BYTES 12

int dcep_parse(const uint8_t *data, size_t bytes, struct dcep_message *ret_message)
{
	*ret_message = (struct dcep_message){0};
	if (bytes >= 1 && data[0] == DCEP_ACK) {
		ret_message->type = DCEP_ACK;
		return 0;
	}
	if (bytes < OPEN_HEADER_BYTES || data[0] != DCEP_OPEN)
		return -EBADMSG;
	size_t label = get_be16(data + 8), protocol = get_be16(data + 10);
	if (label + protocol > bytes - OPEN_HEADER_BYTES)
		return -EBADMSG;
	*ret_message = (struct dcep_message){
		.type = DCEP_OPEN,
		.channel = data[1],
		.priority = get_be16(data + 2),
		.reliability = get_be32(data + 4),
		.label = (const char *)data + OPEN_HEADER_BYTES,
		.label_bytes = label,
	};
	return 0;
}

size_t dcep_open(uint8_t *data, size_t size, enum dcep_channel channel, uint32_t reliability, const char *label)
{
	size_t label_bytes = strlen(label);
	if (OPEN_HEADER_BYTES + label_bytes > size || label_bytes > UINT16_MAX)
		return 0;
	data[0] = DCEP_OPEN;
	data[1] = (uint8_t)channel;
	put_be16(data + 2, 0);
	put_be32(data + 4, reliability);
	put_be16(data + 8, (uint16_t)label_bytes);
	put_be16(data + 10, 0);
	memcpy(data + OPEN_HEADER_BYTES, label, label_bytes);
	return OPEN_HEADER_BYTES + label_bytes;
}
