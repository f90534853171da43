// SPDX-License-Identifier: ISC
//
// dtls_record_fuzz.c - datagrams into the record layer: raw ones, and ones whose records bear good tags, so that what lies
// behind the tag is reached too.
//
// Runs on: any.
//
// Input: a flag byte per datagram (1: seal each record first), two bytes length, the bytes.

#include "dataplane/dtls_record.h"
#include "dataplane/srtp.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_all(struct dtls_record *record, struct srtp_mgr *mgr, uint8_t *datagram, size_t bytes)
{
	for (size_t at = 0, before = 0; at < bytes; before = at) {
		struct dtls_plain plain;
		size_t flight;
		enum drop drop = dtls_record_open(record, mgr, datagram, bytes, &at, &plain);
		if (at <= before || at > bytes || drop >= DROP_COUNT)
			__builtin_trap();
		if (plain.kind == DTLS_PLAIN_DATA &&
			(drop != DROP_NONE || plain.data < datagram || plain.data + plain.bytes > datagram + bytes))
			__builtin_trap();
		if (plain.kind == DTLS_PLAIN_REPEAT)
			dtls_record_flight(record, (uint64_t)at * 10000000, &flight);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct srtp_mgr *mgr;
	if (mgr == NULL)
		mgr = srtp_mgr_create();
	struct dtls_record record = {.key_bytes = size % 2 ? 16 : 32, .flight_bytes = 75, .next_seq = 1}, peer = record;
	memset(record.remote_key, 7, sizeof(record.remote_key));
	memset(peer.local_key, 7, sizeof(peer.local_key));
	while (size >= 3) {
		size_t bytes = MIN_OF((size_t)get_be16(data + 1), size - 3);
		uint8_t *datagram = malloc(bytes + DTLS_RECORD_EXPANSION);
		if (data[0] & 1) {
			memcpy(datagram + DTLS_RECORD_HEAD_BYTES, data + 3, bytes);
			// The number can be anything, replays included.
			peer.next_seq = bytes > 8 ? get_be64(data + 3) >> (data[0] >> 2) & 0xffffffffffff : bytes;
			size_t sealed = dtls_record_seal(&peer, mgr, 20 + (data[0] >> 1 & 3), datagram, bytes);
			open_all(&record, mgr, datagram, sealed);
		} else {
			memcpy(datagram, data + 3, bytes);
			uint8_t *exact = malloc(bytes ? bytes : 1);
			memcpy(exact, datagram, bytes);
			open_all(&record, mgr, exact, bytes);
			free(exact);
		}
		free(datagram);
		data += 3 + bytes;
		size -= 3 + bytes;
	}
	return 0;
}
