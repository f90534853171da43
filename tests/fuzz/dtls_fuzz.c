// SPDX-License-Identifier: ISC
//
// dtls_fuzz.c - datagrams into a handshake that waits for its peer: the entry is refused or OpenSSL's, and nothing leaks.
//
// Runs on: any.
//
// Input: two bytes length, the bytes; again. An odd first byte makes us the client.

#include "dataplane/dtls.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_cb(void *arg, const uint8_t *datagram, size_t bytes)
{
	(void)arg;
	if (bytes == 0 || bytes > DTLS_MTU + 64 || datagram[1] != 0xfe)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dtls_identity *identity;
	struct err err;
	if (identity == NULL)
		identity = dtls_identity_create(&err);
	if (size == 0)
		return 0;
	struct dtls *dtls = dtls_create(identity, data[0] & 1 ? DTLS_CLIENT : DTLS_SERVER,
		dtls_identity_fingerprint(identity), NULL, send_cb, NULL, &err);
	if (dtls == NULL)
		return 0;
	dtls_start(dtls);
	for (data++, size--; size >= 2;) {
		size_t bytes = MIN_OF((size_t)get_be16(data), size - 2);
		uint8_t *datagram = malloc(bytes ? bytes : 1);
		memcpy(datagram, data + 2, bytes);
		dtls_input(dtls, datagram, bytes);
		free(datagram);
		data += 2 + bytes;
		size -= 2 + bytes;
	}
	size_t early;
	for (unsigned n = 0; dtls_early(dtls, n, &early) != NULL; n++)
		if (early > 1500)
			__builtin_trap();
	if (dtls_state(dtls) == DTLS_ESTABLISHED)
		__builtin_trap(); // nobody can have our secrets
	dtls_destroy(dtls);
	return 0;
}
