// SPDX-License-Identifier: ISC
//
// token_fuzz.c - no text makes the token reader misbehave; half of the inputs are wrapped so that the claims get fuzzed.
//
// Runs on: any.
#include "controlplane/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	struct token token;
	struct err err;
	char *text = calloc(1, bytes * 2 + 64);
	if (text == NULL)
		return 0;
	memcpy(text, data, bytes);
	(void)token_read(text, &token, &err);
	size_t used = 2;
	memcpy(text, "a.", 2);
	for (size_t bit = 0; bit < bytes * 8; bit += 6) {
		unsigned two = (unsigned)data[bit / 8] << 8 | (bit / 8 + 1 < bytes ? data[bit / 8 + 1] : 0);
		text[used++] = digits[two >> (10 - bit % 8) & 63];
	}
	memcpy(text + used, ".b", 3);
	if (token_read(text, &token, &err) == 0 && (token.identity[0] == '\0' || token.room[0] == '\0'))
		abort();
	free(text);
	return 0;
}
