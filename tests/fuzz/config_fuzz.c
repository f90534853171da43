// SPDX-License-Identifier: ISC
//
// config_fuzz.c - any configuration file loads or is refused with a sentence.
//
// Runs on: any.

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "controlplane/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int file = -1;
	struct err err = {""};
	char path[64];
	if (file < 0)
		file = memfd_create("config", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	struct config *config = config_load(path, NULL, &err);
	if (config == NULL && err.text[0] == '\0')
		__builtin_trap();
	config_free(config);
	return 0;
}
