// SPDX-License-Identifier: ISC
//
// descriptors_fuzz.c - any bytes as a symbol, and as a descriptor set. The first byte chooses.
//
// Runs on: any.

#include <stdlib.h>

#include "controlplane/descriptors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct descriptor_set ours, theirs;
	if (size == 0)
		return 0;
	if (ours.count == 0 && descriptors_parse(protos_desc, (size_t)(protos_desc_end - protos_desc), &ours) < 0)
		abort();
	char symbol[256];
	size_t length = MIN_OF(size - 1, sizeof(symbol) - 1);
	memcpy(symbol, data + 1, length);
	symbol[length] = '\0';
	descriptors_symbol(&ours, symbol);
	descriptors_file(&ours, symbol, strlen(symbol));
	if (descriptors_parse(data + 1, size - 1, &theirs) == 0) {
		descriptors_symbol(&theirs, "a.b.c");
		if (theirs.count > 0)
			descriptors_file(&theirs, "x", 1);
	}
	return 0;
}
