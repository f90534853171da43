// SPDX-License-Identifier: ISC
//
// grpc_message_fuzz.c - compressed gRPC messages, in two cuts: both read the same, and never more than a message may be.
//
// Input: a byte, how long the pieces of the second cut are; then the compressed message.
//
// Runs on: io.

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "controlplane/grpc_message.h"
#include "dataplane/base.h"

#define MAX_BYTES 65536u
#define PIECES_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_in_pieces(const uint8_t *data, size_t size, size_t piece, grpc_slice *ret_slice)
{
	ENTERS(io_role);
	static grpc_slice slices[PIECES_MAX];
	size_t count = 0;
	for (size_t at = 0; at < size; at += piece)
		slices[count++] = grpc_slice_from_copied_buffer((const char *)data + at, MIN_OF(piece, size - at));
	grpc_byte_buffer *buffer = grpc_raw_compressed_byte_buffer_create(slices, count, GRPC_COMPRESS_GZIP);
	for (size_t i = 0; i < count; i++)
		grpc_slice_unref(slices[i]);
	return grpc_message_read(buffer, MAX_BYTES, ret_slice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	grpc_slice whole, cut;
	if (size < 1 || size > PIECES_MAX)
		return 0;
	int rc = read_in_pieces(data + 1, size - 1, size, &whole), again = read_in_pieces(data + 1, size - 1, data[0] + 1u, &cut);
	if ((rc == 0) != (again == 0) || (rc == 0 && (GRPC_SLICE_LENGTH(whole) > MAX_BYTES || !grpc_slice_eq(whole, cut))))
		abort();
	if (rc == 0) {
		grpc_slice_unref(whole);
		grpc_slice_unref(cut);
	}
	return 0;
}
