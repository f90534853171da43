// SPDX-License-Identifier: ISC
//
// frame.c - the server's end of the WebSocket framing (RFC 6455, section 5).
//
// Runs on: any; the owner serialises.
#include "tests/soniox/frame.h"

#include <stdlib.h>

#define CLOSE_PROTOCOL 1002
#define CLOSE_TEXT 1007
#define CLOSE_TOO_BIG 1009

static void grow(uint8_t **data, size_t *room, size_t bytes)
{
	if (bytes <= *room)
		return;
	size_t more = MAX_OF(bytes, *room * 2);
	uint8_t *grown = realloc(*data, more);
	if (grown == NULL)
		abort();
	*data = grown;
	*room = more;
}

void frames_put(struct frames *frames, const uint8_t *data, size_t bytes)
{
	// What was handed out is gone by now.
	if (frames->in_used > 0) {
		frames->in_bytes -= frames->in_used;
		memmove(frames->in, frames->in + frames->in_used, frames->in_bytes);
		frames->in_used = 0;
	}
	if (bytes == 0)
		return;
	grow(&frames->in, &frames->in_room, frames->in_bytes + bytes);
	memcpy(frames->in + frames->in_bytes, data, bytes);
	frames->in_bytes += bytes;
}

void frames_free(struct frames *frames)
{
	free(frames->in);
	free(frames->message);
}

// One frame's head. Returns its length, 0 when bytes are missing, or minus a close code.
static int read_head(const uint8_t *p, size_t have, uint64_t *ret_bytes)
{
	if (have < 2)
		return 0;
	int opcode = p[0] & 15, length = p[1] & 127, head = length == 126 ? 8 : length == 127 ? 14 : 6;
	bool control = opcode >= 8;
	if ((p[0] & 0x70) != 0 || (p[1] & 0x80) == 0 || (opcode > 2 && opcode < 8) || opcode > 10)
		return -CLOSE_PROTOCOL;
	if (control && (length > 125 || (p[0] & 0x80) == 0))
		return -CLOSE_PROTOCOL;
	if (have < (size_t)head)
		return 0;
	*ret_bytes = length == 126 ? get_be16(p + 2) : length == 127 ? get_be64(p + 2) : (uint64_t)length;
	return *ret_bytes > FRAME_MESSAGE_MAX ? -CLOSE_TOO_BIG : head;
}

static int give(struct frame *ret, enum frame_opcode opcode, const uint8_t *data, size_t bytes)
{
	*ret = (struct frame){opcode, data, bytes};
	return opcode == FRAME_TEXT && !utf8_check(data, bytes) ? -CLOSE_TEXT : 1;
}

// A data frame joins the message. Returns 1 when that is whole.
static int join(struct frames *frames, enum frame_opcode opcode, bool last, const uint8_t *data, size_t bytes, struct frame *ret)
{
	bool first = opcode != FRAME_CONTINUATION;
	if (first == (frames->opcode != 0))
		return -CLOSE_PROTOCOL;
	if (first && last)
		return give(ret, opcode, data, bytes);
	if (first) {
		frames->opcode = opcode;
		frames->message_bytes = 0;
	}
	if (frames->message_bytes + bytes > FRAME_MESSAGE_MAX)
		return -CLOSE_TOO_BIG;
	grow(&frames->message, &frames->message_room, frames->message_bytes + bytes);
	if (bytes > 0)
		memcpy(frames->message + frames->message_bytes, data, bytes);
	frames->message_bytes += bytes;
	if (!last)
		return 0;
	opcode = frames->opcode;
	frames->opcode = 0;
	return give(ret, opcode, frames->message, frames->message_bytes);
}

int frames_next(struct frames *frames, struct frame *ret)
{
	if (frames->in == NULL) // nothing has come yet
		return 0;
	for (;;) {
		uint8_t *p = frames->in + frames->in_used;
		size_t have = frames->in_bytes - frames->in_used;
		uint64_t bytes;
		int head = read_head(p, have, &bytes);
		if (head <= 0)
			return head;
		if (have - (size_t)head < bytes)
			return 0;
		uint8_t *data = p + head, *mask = data - 4;
		for (uint64_t i = 0; i < bytes; i++)
			data[i] ^= mask[i % 4];
		frames->in_used += (size_t)head + bytes;
		enum frame_opcode opcode = p[0] & 15;
		if (opcode >= FRAME_CLOSE)
			return give(ret, opcode, data, bytes);
		int status = join(frames, opcode, (p[0] & 0x80) != 0, data, bytes, ret);
		if (status != 0)
			return status;
	}
}

size_t frame_head(uint8_t ret_head[static FRAME_HEAD_MAX], enum frame_opcode opcode, uint64_t bytes)
{
	ret_head[0] = 0x80 | (uint8_t)opcode;
	if (bytes < 126) {
		ret_head[1] = (uint8_t)bytes;
		return 2;
	}
	if (bytes < 65536) {
		ret_head[1] = 126;
		put_be16(ret_head + 2, (uint16_t)bytes);
		return 4;
	}
	ret_head[1] = 127;
	put_be64(ret_head + 2, bytes);
	return 10;
}

// RFC 3629: shortest form, no surrogates, nothing above U+10FFFF.
bool utf8_check(const uint8_t *text, size_t bytes)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	for (size_t i = 0; i < bytes;) {
		uint8_t lead = text[i];
		size_t more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : 9;
		if (more > 3 || bytes - i <= more)
			return false;
		uint32_t point = more == 0 ? lead : lead & (0x3fu >> more);
		for (size_t k = 1; k <= more; k++) {
			if (text[i + k] >> 6 != 2)
				return false;
			point = point << 6 | (text[i + k] & 0x3f);
		}
		if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
			return false;
		i += more + 1;
	}
	return true;
}
