// SPDX-License-Identifier: ISC
//
// sctp_replay_test.c - traffic recorded from pion under loss (tests/vectors/pion) through record layer and SCTP: everything the
// phone said comes out, once, with few SACKs.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/channel.h"
#include "dataplane/dcep.h"
#include "dataplane/dtls_record.h"
#include "dataplane/sctp_assoc_state.h"
#include "dataplane/srtp.h"
#include "dataplane/userpacket.h"
#include "tests/support/sctp_endpoint.h"

#define FRAMES 200
#define ENTRY_BYTES 7
#define COOKIE_AT (SCTP_HEADER_BYTES + 20 + 4) // first parameter of our INIT ACK

static uint8_t *file;
static size_t file_bytes;
static struct srtp_mgr *mgr;

static struct {
	struct sctp_endpoint endpoint;
	struct channels channels;
	unsigned frames[256 + 1], frame_count, data_packets, forward_tsns, recorded_sacks, replays, closes;
	size_t big_bytes, small_bytes;
	bool opened;
} run;

static void send_cb(void *arg, const uint8_t *packet, size_t bytes)
{
	(void)arg;
	assert_int_equal(sctp_packet_check(packet, bytes), DROP_NONE);
}

static void message_cb(void *arg, const struct sctp_message *message, bool at_once)
{
	(void)arg;
	struct userpacket user;
	if (message->ppid == PPID_DCEP) {
		channels_dcep(&run.channels, run.endpoint.assoc, message, run.endpoint.now_ns);
		return;
	}
	assert_int_equal(userpacket_parse(message->data, message->bytes, &user), DROP_NONE);
	bool lossy = channels_find(&run.channels, message->stream) == CHANNEL_LOSSY;
	assert_int_equal(at_once, lossy);
	if (lossy) {
		assert_int_equal(user.payload_bytes, 641);
		run.frames[user.payload[0]]++;
		run.frame_count++;
		return;
	}
	for (size_t i = 0; i < user.payload_bytes; i++)
		assert_int_equal(user.payload[i], (uint8_t)(i * 7));
	*(user.topic_bytes == 3 ? &run.big_bytes : &run.small_bytes) += user.payload_bytes;
}

static void count_chunks(uint8_t *packet, size_t bytes)
{
	size_t at = SCTP_HEADER_BYTES;
	bool data = false;
	for (struct sctp_chunk chunk; sctp_packet_check(packet, bytes) == DROP_NONE && sctp_chunk_next(packet, bytes, &at, &chunk);) {
		data |= chunk.type == SCTP_CHUNK_DATA;
		run.forward_tsns += chunk.type == SCTP_CHUNK_FORWARD_TSN;
	}
	run.data_packets += data;
}

static void datagram_in(struct dtls_record *record, const uint8_t *data, size_t bytes)
{
	uint8_t copy[2048];
	assert_true(bytes <= sizeof(copy));
	memcpy(copy, data, bytes);
	for (size_t at = 0; at < bytes;) {
		struct dtls_plain plain;
		enum drop drop = dtls_record_open(record, mgr, copy, bytes, &at, &plain);
		run.replays += drop == DROP_DTLS_REPLAY;
		if (drop == DROP_DTLS_REPLAY)
			continue;
		assert_int_equal(drop, DROP_NONE);
		run.closes += plain.kind == DTLS_PLAIN_CLOSE;
		if (plain.kind != DTLS_PLAIN_DATA)
			continue;
		count_chunks(plain.data, plain.bytes);
		endpoint_input(&run.endpoint, plain.data, plain.bytes);
	}
}

// What relayd said at that moment: its tags and its cookie were random, and the peer's packets carry them.
static void recorded_out(const uint8_t *packet)
{
	struct sctp_assoc *assoc = run.endpoint.assoc;
	uint8_t type = packet[SCTP_HEADER_BYTES];
	run.recorded_sacks += type == SCTP_CHUNK_SACK;
	if (type == SCTP_CHUNK_INIT_ACK) {
		assert_int_equal(get_be32(packet + 16), assoc->offer.local_tag);
		memcpy(assoc->offer.cookie, packet + COOKIE_AT, SCTP_COOKIE_BYTES);
	}
}

static void take_recorded_tag(void)
{
	for (size_t at = 13 + 1 + 36; at < file_bytes; at += ENTRY_BYTES + (size_t)get_be16(file + at + 5)) {
		const uint8_t *packet = file + at + ENTRY_BYTES;
		if (file[at] != 1 || packet[SCTP_HEADER_BYTES] != SCTP_CHUNK_INIT)
			continue;
		run.endpoint.assoc->local_tag = get_be32(packet + 16);
		run.endpoint.assoc->local_tsn = get_be32(packet + 28);
		return;
	}
	fail();
}

static void timers_until(uint64_t until_ns)
{
	struct sctp_endpoint *e = &run.endpoint;
	for (uint64_t next; (next = endpoint_poll(e)) != 0 && next <= until_ns;)
		e->now_ns = next;
	e->now_ns = until_ns;
}

static void replay(struct dtls_record *record, uint64_t start_ns)
{
	for (size_t at = 13 + 1 + 36; at < file_bytes;) {
		const uint8_t *entry = file + at;
		size_t bytes = get_be16(entry + 5);
		timers_until(start_ns + get_be32(entry + 1) * 1000ull);
		if (entry[0] == 0)
			datagram_in(record, entry + ENTRY_BYTES, bytes);
		else
			recorded_out(entry + ENTRY_BYTES);
		if (run.endpoint.ups == 1 && !run.opened) {
			channels_open(&run.channels, run.endpoint.assoc, run.endpoint.now_ns);
			run.opened = true;
		}
		run.endpoint.rx.channels[0] = run.channels.streams[CHANNEL_LOSSY];
		at += ENTRY_BYTES + bytes;
	}
}

static void all_that_was_said_comes_out_once(void **state)
{
	(void)state;
	struct dtls_record record = {.key_bytes = file[13]};
	memcpy(record.remote_key, file + 14, 32);
	memcpy(record.remote_salt, file + 46, 4);
	run.endpoint = (struct sctp_endpoint){.now_ns = 1000000000, .send = send_cb, .message = message_cb};
	channels_init(&run.channels, false);
	assert_int_equal(endpoint_start(&run.endpoint), 0);
	take_recorded_tag();
	replay(&record, 1000000000);

	assert_int_equal(run.endpoint.ups, 1);
	assert_true(channels_usable(&run.channels));
	assert_int_equal(run.frame_count, FRAMES);
	for (unsigned seq = 1; seq <= FRAMES; seq++)
		assert_int_equal(run.frames[seq], 1);
	assert_int_equal(run.big_bytes, 14000);
	assert_int_equal(run.small_bytes, 5000);
	assert_int_equal(run.forward_tsns, 0);
	// A SACK for every second packet, or a few more where a reliable message left a gap.
	assert_in_range(run.endpoint.sacks, run.data_packets / 2, run.data_packets * 6 / 10);
	assert_in_range(run.recorded_sacks, run.data_packets / 2, run.data_packets * 6 / 10);
	// The server's last words: ABORT, then close_notify.
	assert_int_equal(run.endpoint.closes, 1);
	assert_int_equal(run.closes, 1);
	assert_int_equal(run.replays, 0);

	// All of it once more is known.
	unsigned frames = run.frame_count, punts = run.endpoint.punts;
	replay(&record, 20000000000);
	assert_int_equal(run.frame_count, frames);
	assert_int_equal(run.endpoint.punts, punts);
	assert_true(run.replays > 200);
	sctp_assoc_destroy(run.endpoint.assoc);
}

static int load(void **state)
{
	(void)state;
	FILE *in = fopen("tests/vectors/pion/data_way.rec", "rb");
	mgr = srtp_mgr_create();
	file = malloc(1 << 20);
	if (in == NULL || mgr == NULL || file == NULL)
		return -1;
	file_bytes = fread(file, 1, 1 << 20, in);
	fclose(in);
	return memcmp(file, "relay dtls 1\n", 13) == 0 ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	srtp_mgr_destroy(mgr);
	free(file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_that_was_said_comes_out_once)};
	return cmocka_run_group_tests(tests, load, unload);
}
