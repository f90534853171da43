// SPDX-License-Identifier: ISC
//
// request.c - check a serialized request before protobuf-c sees it.
//
// protobuf-c does not check UTF-8, cuts strings at an embedded NUL, and turns a few bytes into many allocations. So the
// wire is walked once beforehand: fields counted, lengths and strings checked against the message's own descriptor.
//
// Runs on: any.

#include "controlplane/request.h"

#define FIELDS_MAX 512 // of one message; the largest is a list of terms for a recogniser
#define DEPTH_MAX 4
#define STRING_BYTES_MAX 1024

// Strings that may be longer or must be shorter than STRING_BYTES_MAX.
static const struct {
	const char *name;
	size_t bytes_max;
} limits[] = {
	{"user_id", REQUEST_USER_ID_MAX},
	{"room_name", 255},
	{"target_identity", 255},
	{"request_id", 255},
	{"reason", 255},
	{"service", 255},
	{"token", 16384},
	{"livekit_url", 2048},
	{"audio_url", 2048},
	{"context_text", 10000},
};

static size_t limit_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (strcmp(limits[i].name, name) == 0)
			return limits[i].bytes_max;
	return STRING_BYTES_MAX;
}

bool request_utf8_valid(const uint8_t *text, size_t bytes)
{
	for (size_t i = 0; i < bytes;) {
		uint8_t lead = text[i];
		if (lead < 0x80) {
			i++;
			continue;
		}
		unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
		if (lead < 0xc2 || lead > 0xf4 || bytes - i <= more)
			return false;
		uint32_t point = lead & (0x3fu >> more);
		for (unsigned k = 1; k <= more; k++) {
			if ((text[i + k] & 0xc0) != 0x80)
				return false;
			point = point << 6 | (text[i + k] & 0x3f);
		}
		// Over-long forms, surrogates and what lies beyond Unicode.
		if ((more == 2 && point < 0x800) || (more == 3 && point < 0x10000) || point > 0x10ffff ||
			(point >= 0xd800 && point <= 0xdfff))
			return false;
		i += more + 1;
	}
	return true;
}

void request_text_clean(char *text)
{
	for (size_t i = 0; text[i] != '\0';) {
		size_t length = 1; // of the character; only a valid one is left as it is
		while (length <= 4 && text[i + length - 1] != '\0' && !request_utf8_valid((const uint8_t *)text + i, length))
			length++;
		if (length > 4 || text[i + length - 1] == '\0' || (uint8_t)text[i] < ' ' || text[i] == 127) {
			text[i] = '?';
			length = 1;
		}
		i += length;
	}
}

static bool varint_read(const uint8_t **p, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (*p == end)
			return false;
		uint8_t byte = *(*p)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static int string_check(const char *name, const uint8_t *text, size_t bytes, struct err *err)
{
	if (bytes > limit_of(name))
		return err_set(err, -EINVAL, "%s is longer than %zu bytes", name, limit_of(name));
	if (memchr(text, 0, bytes) != NULL)
		return err_set(err, -EINVAL, "%s contains a NUL byte", name);
	if (!request_utf8_valid(text, bytes))
		return err_set(err, -EINVAL, "%s is not valid UTF-8", name);
	return 0;
}

static int walk(const ProtobufCMessageDescriptor *descriptor, const uint8_t *p, size_t bytes, unsigned depth,
	struct err *err)
{
	const uint8_t *end = p + bytes;
	int refusal = 0; // a bad value is told only if the rest parses
	for (unsigned fields = 0; p < end; fields++) {
		uint64_t key, size = 0;
		if (fields == FIELDS_MAX || !varint_read(&p, end, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
			return -EBADMSG;
		switch (key & 7) {
		case 0:
			if (!varint_read(&p, end, &size))
				return -EBADMSG;
			continue;
		case 1:
			size = 8;
			break;
		case 2:
			if (!varint_read(&p, end, &size))
				return -EBADMSG;
			break;
		case 5:
			size = 4;
			break;
		default:
			return -EBADMSG;
		}
		if (size > (size_t)(end - p))
			return -EBADMSG;
		const ProtobufCFieldDescriptor *field =
			protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
		if ((key & 7) == 2 && field != NULL && field->type == PROTOBUF_C_TYPE_STRING && refusal == 0)
			refusal = string_check(field->name, p, (size_t)size, err);
		if ((key & 7) == 2 && field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE) {
			int rc = depth == DEPTH_MAX ? -EBADMSG : walk(field->descriptor, p, (size_t)size, depth + 1, err);
			if (rc == -EBADMSG)
				return rc;
			refusal = refusal != 0 ? refusal : rc;
		}
		p += size;
	}
	return refusal;
}

int request_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
	ProtobufCMessage **ret_message, struct err *err)
{
	*ret_message = NULL;
	int rc = walk(descriptor, data, bytes, 0, err);
	if (rc == -EINVAL)
		return rc;
	if (rc == 0)
		*ret_message = protobuf_c_message_unpack(descriptor, NULL, bytes, data);
	if (*ret_message == NULL)
		return err_set(err, -EBADMSG, "the message does not parse as %s", descriptor->name);
	return 0;
}
