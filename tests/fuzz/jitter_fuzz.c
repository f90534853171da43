// SPDX-License-Identifier: ISC
//
// jitter_fuzz.c - any packets at any time: in order, each once, none later than the bound, none made up.
//
// Runs on: worker.

#include <stdlib.h>

#include "dataplane/jitter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WAIT_MS 60
#define MS 1000000ull

// The payload says what it is: its number and length.
static void check(const struct jitter_packet *packet)
{
	for (size_t i = 0; i < packet->bytes; i++)
		if (packet->payload[i] != (uint8_t)(packet->seq + i))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct jitter jitter;
	static uint8_t payload[JITTER_PAYLOAD_MAX];
	uint64_t now = 1000 * MS;
	uint16_t base = 65500;
	jitter_init(&jitter, WAIT_MS);
	for (size_t at = 0; at + 4 <= size; at += 4) {
		// Mostly near the expected number; now and then anywhere.
		uint16_t seq = data[at] & 0x80 ? (uint16_t)(get_be16(data + at) << 1) : (uint16_t)(base + (data[at] & 0x3f) - 16);
		size_t bytes = (size_t)data[at + 1] * 6 % (JITTER_PAYLOAD_MAX + 1);
		now += (data[at + 2] & 0x3f) * MS;
		bool restarted, repaired = data[at + 3] & 1, wanted = jitter_wants(&jitter, seq);
		bool began = jitter.started;
		for (size_t i = 0; i < bytes; i++)
			payload[i] = (uint8_t)(seq + i);
		enum drop drop = jitter_put(&jitter, seq, seq * 960u, payload, bytes, repaired, now, &restarted);
		if (drop == DROP_NONE && began && !wanted && !restarted)
			abort();
		if (wanted && drop != DROP_NONE && drop != DROP_JITTER_FULL)
			abort();
		unsigned lost;
		uint64_t drain = drop == DROP_JITTER_FULL ? UINT64_MAX : now;
		for (const struct jitter_packet *packet; (packet = jitter_get(&jitter, drain, &lost)) != NULL;) {
			check(packet);
			if ((uint16_t)(packet->seq + 1) != jitter.next || lost >= JITTER_SLOTS)
				abort();
		}
		uint64_t deadline = jitter_deadline_ns(&jitter);
		if (deadline != 0 && (deadline <= now || deadline > now + WAIT_MS * MS))
			abort();
		if (jitter.held == 0 && jitter.chunks_taken != 0)
			abort();
		base = jitter.next;
	}
	return 0;
}
