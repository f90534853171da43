// SPDX-License-Identifier: ISC
//
// dtls_fuzz.c - the entry of a DTLS handshake, either role: any datagrams at any step of a real one.
//
// Runs on: handshake.
//
// The input is a row of steps. A step passes a real datagram between two ends, or sends one end a datagram of the input's, or
// one of the peer's with some bytes changed. Only an end whose peer has the right certificate may be established, and only by
// datagrams that were passed on whole.

#include <stdlib.h>

#include "dataplane/dtls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define QUEUE 32
#define DATAGRAM 2048

struct end {
	struct dtls *dtls;
	struct {
		uint8_t bytes[DATAGRAM];
		size_t length;
	} out[QUEUE];
	unsigned count;
};

enum step { STEP_PASS, STEP_RAW, STEP_CHANGED, STEP_TWICE, STEP_DROP, STEP_COUNT };

static void keep(void *arg, const uint8_t *datagram, size_t bytes)
{
	struct end *end = arg;
	if (end->count == QUEUE || bytes > DATAGRAM)
		return; // lost on the way
	memcpy(end->out[end->count].bytes, datagram, bytes);
	end->out[end->count++].length = bytes;
}

static void take_first(struct end *end)
{
	end->count--;
	memmove(&end->out[0], &end->out[1], end->count * sizeof(end->out[0]));
}

static void feed(struct end *end, const uint8_t *datagram, size_t bytes)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);
	if (copy == NULL)
		abort();
	memcpy(copy, datagram, bytes);
	dtls_input(end->dtls, copy, bytes);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct end ends[2];
	static struct dtls_identity *identity;
	if (identity == NULL)
		identity = dtls_identity_create(NULL);
	if (identity == NULL)
		abort();
	for (unsigned e = 0; e < 2; e++) {
		ends[e].count = 0;
		ends[e].dtls = dtls_create(identity, e == 0 ? DTLS_CLIENT : DTLS_SERVER, dtls_identity_fingerprint(identity), NULL, keep,
			&ends[e], NULL);
		if (ends[e].dtls == NULL)
			abort();
	}
	dtls_start(ends[0].dtls);
	for (size_t at = 0; at + 2 <= size;) {
		struct end *to = &ends[data[at] & 1], *from = &ends[!(data[at] & 1)];
		enum step step = (data[at] >> 1) % STEP_COUNT;
		uint8_t argument = data[at + 1];
		at += 2;
		if (step == STEP_RAW) {
			size_t length = MIN_OF((size_t)argument * 2, size - at);
			feed(to, data + at, length);
			at += length;
			continue;
		}
		if (from->count == 0)
			continue;
		if (step == STEP_CHANGED && at + 1 <= size) {
			from->out[0].bytes[(size_t)argument * 5 % from->out[0].length] ^= data[at++];
			feed(to, from->out[0].bytes, from->out[0].length);
		} else if (step != STEP_DROP) {
			feed(to, from->out[0].bytes, from->out[0].length);
		}
		if (step != STEP_TWICE)
			take_first(from);
	}
	for (unsigned e = 0; e < 2; e++) {
		struct srtp_keys keys;
		if (dtls_state(ends[e].dtls) == DTLS_ESTABLISHED && dtls_export_srtp(ends[e].dtls, &keys) < 0)
			abort();
		if (dtls_state(ends[e].dtls) == DTLS_FAILED && dtls_failure(ends[e].dtls)[0] == '\0')
			abort();
		dtls_destroy(ends[e].dtls);
	}
	return 0;
}
