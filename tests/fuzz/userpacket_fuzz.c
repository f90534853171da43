// SPDX-License-Identifier: ISC
//
// userpacket_fuzz.c - any message parses or is refused; what is found lies inside it.
//
// Runs on: any.

#include "dataplane/userpacket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct userpacket user;
	if (userpacket_parse(data, size, &user) == DROP_NONE && (user.payload < data || user.payload + user.payload_bytes > data + size))
		__builtin_trap();
	return 0;
}
