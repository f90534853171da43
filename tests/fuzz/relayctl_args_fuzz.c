// SPDX-License-Identifier: ISC
//
// relayctl_args_fuzz.c - any words as relayctl's command line. NUL bytes separate words.
//
// Runs on: any.

#include <stdint.h>
#include <stdlib.h>

#include "controlplane/relayctl/args.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1), *words[32];
	if (copy == NULL)
		return 0;
	memcpy(copy, data, size);
	copy[size] = '\0';
	int count = 0;
	for (size_t at = 0; at < size && count < 32; at += strlen(copy + at) + 1)
		words[count++] = copy + at;
	struct args args;
	bool ok = args_parse(count, words, NULL, &args);
	if (ok != (args.error[0] == '\0') || args.socket == NULL)
		abort();
	if (ok && args.command == ARGS_SESSION && (args.user == NULL || args.user[0] == '\0'))
		abort();
	free(copy);
	return 0;
}
