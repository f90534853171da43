// SPDX-License-Identifier: ISC
//
// red_fuzz.c - any payload parses or is refused; every block lies inside it.
//
// Runs on: any.

#include "dataplane/red.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct red_block blocks[RED_BLOCKS_MAX];
	unsigned count = 0;
	if (red_parse(data, size, blocks, &count) != DROP_NONE)
		return 0;
	for (unsigned i = 0; i < count; i++)
		if (blocks[i].payload < data || blocks[i].payload + blocks[i].bytes > data + size)
			__builtin_trap();
	return 0;
}
