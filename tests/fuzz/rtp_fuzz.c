// SPDX-License-Identifier: ISC
//
// rtp_fuzz.c - any packet parses or is refused; the payload lies inside it.
//
// Runs on: any.

#include "dataplane/rtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rtp_header header;
	if (rtp_parse(data, size, &header) == DROP_NONE && (header.payload < data || header.payload + header.payload_bytes > data + size))
		__builtin_trap();
	return 0;
}
