// SPDX-License-Identifier: ISC
//
// grpc_message.c - a received message's bytes in one piece, inflated by us where the client compressed them.
//
// Runs on: io (the app worker threads).

#include "controlplane/grpc_message.h"

#include <errno.h>
#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>
#include <zlib.h>

#include "dataplane/base.h"

#define WINDOW_ANY (MAX_WBITS + 32) // gzip and zlib, told apart by their heads
#define FIRST_BYTES 1024u

struct inflating {
	z_stream z;
	uint8_t *out;
	size_t size, max; // allocated; one byte over max is enough to know
};

// Room for more output: twice as much, never more than a byte over the limit.
static int grow(struct inflating *into)
{
	size_t had = into->size;
	if (had > into->max)
		return -EMSGSIZE;
	size_t size = MIN_OF(MAX_OF(had * 2, FIRST_BYTES), into->max + 1);
	uint8_t *out = realloc(into->out, size);
	if (out == NULL)
		return -ENOMEM;
	into->out = out;
	into->size = size;
	into->z.next_out = out + had;
	into->z.avail_out = (uInt)(size - had);
	return 0;
}

// Takes one slice of the input. 0: more is to come, 1: that was the end of the compressed data.
static int inflate_slice(struct inflating *into, grpc_slice slice)
{
	into->z.next_in = GRPC_SLICE_START_PTR(slice);
	into->z.avail_in = (uInt)GRPC_SLICE_LENGTH(slice);
	int rc = 0;
	while (rc == 0 && (into->z.avail_in > 0 || into->z.avail_out == 0)) {
		rc = into->z.avail_out == 0 ? grow(into) : 0;
		int z = rc == 0 ? inflate(&into->z, Z_NO_FLUSH) : Z_OK;
		if (z == Z_STREAM_END)
			return into->z.avail_in > 0 ? -EBADMSG : 1;
		if (z == Z_BUF_ERROR && into->z.avail_in == 0)
			return rc;
		if (z != Z_OK)
			rc = z == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
	}
	return rc;
}

static int inflate_all(grpc_byte_buffer_reader *reader, size_t max, grpc_slice *ret_slice)
{
	struct inflating into = {.max = max};
	if (inflateInit2(&into.z, WINDOW_ANY) != Z_OK)
		return -ENOMEM;
	int rc = 0;
	grpc_slice slice;
	while (rc >= 0 && grpc_byte_buffer_reader_next(reader, &slice)) {
		if (GRPC_SLICE_LENGTH(slice) > 0)
			rc = rc == 1 ? -EBADMSG : inflate_slice(&into, slice);
		grpc_slice_unref(slice);
	}
	size_t bytes = into.size - into.z.avail_out;
	inflateEnd(&into.z);
	if (rc == 0)
		rc = -EBADMSG; // it ends too early
	if (rc > 0 && bytes > max)
		rc = -EMSGSIZE;
	if (rc < 0) {
		free(into.out);
		return rc;
	}
	*ret_slice = grpc_slice_new(into.out, bytes, free);
	return 0;
}

int grpc_message_read(grpc_byte_buffer *buffer, size_t max, grpc_slice *ret_slice)
{
	grpc_byte_buffer_reader reader;
	int rc = grpc_byte_buffer_reader_init(&reader, buffer) != 0 ? 0 : -EBADMSG;
	if (rc == 0) {
		if (buffer->data.raw.compression != GRPC_COMPRESS_NONE)
			rc = inflate_all(&reader, max, ret_slice);
		else
			*ret_slice = grpc_byte_buffer_reader_readall(&reader);
		grpc_byte_buffer_reader_destroy(&reader);
	}
	grpc_byte_buffer_destroy(buffer);
	return rc;
}
