// SPDX-License-Identifier: ISC
//
// stun_fuzz.c - any bytes as a STUN message: what parses stays within the datagram and can be checked with any key.
//
// Runs on: any.

#include <stdlib.h>

#include "dataplane/stun.h"

static void require(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char pwd[] = "VOkJxbRl1RmTxUk/WvJxBt";
	struct stun_message message, again;
	if (!stun_decode(data, size, &message))
		return 0;
	require(message.bytes == size && message.transaction == data + 8);
	if (message.username != NULL)
		require(message.username >= data && message.username + message.username_bytes <= data + size);
	require(message.integrity_at == 0 || message.integrity_at + 24 <= size);
	require(message.fingerprint_at == 0 || message.fingerprint_at + 8 == size);
	require(message.unknown_count <= STUN_UNKNOWN_MAX);
	stun_check_fingerprint(&message);
	stun_check_integrity(&message, pwd, sizeof(pwd) - 1);
	stun_check_integrity(&message, data, size);

	// What it says, written again by us, reads the same and is signed right.
	uint8_t copy[STUN_MESSAGE_MAX_BYTES];
	struct stun_writer writer;
	stun_begin(&writer, copy, sizeof(copy), message.kind, message.method, message.transaction);
	if (message.username != NULL)
		stun_put(&writer, STUN_USERNAME, message.username, message.username_bytes);
	if (message.controlling)
		stun_put_u64(&writer, STUN_ICE_CONTROLLING, message.tie_breaker);
	stun_put_u32(&writer, STUN_PRIORITY, message.priority);
	if (message.error_code != 0)
		stun_put_error(&writer, message.error_code, "why");
	stun_put_integrity(&writer, pwd, sizeof(pwd) - 1);
	stun_put_fingerprint(&writer);
	size_t bytes = stun_end(&writer);
	require(bytes > 0 && stun_decode(copy, bytes, &again));
	require(again.kind == message.kind && again.method == message.method);
	require(again.username_bytes == message.username_bytes && again.priority == message.priority);
	require(again.error_code == message.error_code);
	require(stun_check_integrity(&again, pwd, sizeof(pwd) - 1) && stun_check_fingerprint(&again));
	return 0;
}
