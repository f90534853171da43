// SPDX-License-Identifier: ISC
//
// dcep_fuzz.c - any message parses or is refused; the label lies inside it.
//
// Runs on: any.

#include "dataplane/dcep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dcep_message message;
	if (dcep_parse(data, size, &message) == 0 && message.label_bytes > size)
		__builtin_trap();
	return 0;
}
