// SPDX-License-Identifier: ISC
//
// hostility_test.c - floods on the wire beside people who talk: every hostile frame dies by a name, nobody loses a frame.
//
// Runs on: control (the test), worker and handshake threads as in relayd.
//
// The frames go through a ring device into the real worker (tests/support/ring_port.h). The flood is as fast as that ring takes it;
// packets of the talkers lie between. The rates that were reached are printed: up to there nothing is lost.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <opus/opus.h>
#include <sched.h>
#include <stdlib.h>

#include "dataplane/sctp_init.h"
#include "dataplane/stun.h"
#include "dataplane/transport.h"
#include "dataplane/worker.h"
#include "tests/support/ring_port.h"

#define OUR_IP 0x0a630102u
#define PEER_IP 0x0a630101u
#define USERS 4
#define FIFTH_IDENTITY "p"
#define FLOOD 150000u
#define PEER_PORT 7882
#define PEER_UFRAG "peer"
#define PEER_PWD "PeerPasswordOfThirtyTwoCharacter"
#define FRAME_MAX 400
#define PT_OPUS 111
#define LIMIT_NS 30000000000ull

struct user {
	struct pcm *pcm;
	struct source *source;
	transport_id id;
	struct transport_local local;
	struct srtp *sender;
	uint16_t seq;
	uint64_t sent;
	uint8_t last[FRAME_MAX]; // the last frame that was sent
	uint32_t last_bytes;
};

static struct user users[USERS];
// Nobody talks there: its peer, who has the keys, is the hostile one.
static struct user fifth;
static struct dtls_record fifth_peer;
static uint32_t fifth_tag; // of its association, ours
static unsigned init_acks;
static struct srtp_mgr *mgr;
static uint8_t opus[200];
static int opus_bytes;
static uint32_t noise = 1;

static uint32_t random_word(void)
{
	noise = noise * 1664525u + 1013904223u;
	return noise >> 8 ^ noise << 16;
}

// ---- frames

static uint32_t ip_frame(uint8_t *frame, uint8_t protocol, uint32_t source, uint32_t bytes)
{
	memset(frame, 0xff, 6); // the device's own address is not known
	memset(frame + 6, 2, 6);
	put_be16(frame + 12, 0x0800);
	uint8_t *ip = frame + 14;
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(20 + bytes));
	ip[8] = 64;
	ip[9] = protocol;
	put_be32(ip + 12, source);
	put_be32(ip + 16, OUR_IP);
	uint16_t sum = rte_ipv4_cksum((const struct rte_ipv4_hdr *)(const void *)ip);
	memcpy(ip + 10, &sum, 2);
	return 34 + bytes;
}

// The payload lies at frame + 42 already.
static uint32_t udp_frame(uint8_t *frame, uint32_t source, uint16_t port, uint32_t bytes)
{
	put_be16(frame + 34, PEER_PORT);
	put_be16(frame + 36, port);
	put_be16(frame + 38, (uint16_t)(8 + bytes));
	put_be16(frame + 40, 0);
	return ip_frame(frame, 17, source, 8 + bytes);
}

// Waits for room: only our own rings may lose something.
static void send_frame(const uint8_t *frame, uint32_t bytes)
{
	struct rte_mbuf *mbuf = NULL;
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	while ((mbuf = rte_pktmbuf_alloc(plane.pool)) == NULL && clock_mono_ns() < limit)
		sched_yield();
	assert_non_null(mbuf);
	memcpy(rte_pktmbuf_append(mbuf, (uint16_t)bytes), frame, bytes);
	while (rte_ring_sp_enqueue(wire, mbuf) != 0) {
		if (clock_mono_ns() > limit)
			fail_msg("the worker takes no more frames");
		sched_yield();
	}
}

// The user's next packet of speech, as its server sends it.
static uint32_t speech(struct user *user, uint8_t *frame)
{
	ENTERS(worker_role);
	uint8_t *rtp = frame + 42;
	uint32_t bytes = 12 + (uint32_t)opus_bytes;
	rtp[0] = 0x80;
	rtp[1] = PT_OPUS;
	put_be16(rtp + 2, user->seq);
	put_be32(rtp + 4, user->seq * 960u);
	put_be32(rtp + 8, 0x5000);
	user->seq++;
	memcpy(rtp + 12, opus, (size_t)opus_bytes);
	assert_int_equal(srtp_protect(mgr, user->sender, rtp, &bytes), 0);
	user->sent++;
	return udp_frame(frame, PEER_IP, user->local.port, bytes);
}

static void talk(struct user *user)
{
	user->last_bytes = speech(user, user->last);
	send_frame(user->last, user->last_bytes);
}

// ---- the peer: answers ARP and connectivity checks, and asks for consent itself

static unsigned checks_asked, checks_answered, misdirected, echoes;
static const uint8_t peer_mac[6] = {2, 2, 2, 2, 2, 2};

static void check_answer(const uint8_t *datagram, size_t bytes, uint16_t port)
{
	struct stun_message message;
	struct stun_writer writer;
	uint8_t frame[FRAME_MAX];
	if (!stun_decode(datagram, bytes, &message))
		return;
	checks_answered += message.kind == STUN_SUCCESS;
	if (message.kind != STUN_REQUEST)
		return;
	stun_begin(&writer, frame + 42, FRAME_MAX - 42, STUN_SUCCESS, STUN_BINDING, message.transaction);
	stun_put_mapped(&writer, (struct endpoint){OUR_IP, port});
	stun_put_integrity(&writer, PEER_PWD, strlen(PEER_PWD));
	stun_put_fingerprint(&writer);
	send_frame(frame, udp_frame(frame, PEER_IP, port, (uint32_t)stun_end(&writer)));
}

static void arp_answer(const uint8_t *request)
{
	uint8_t frame[42];
	memcpy(frame, request + 6, 6);
	memset(frame + 6, 2, 6);
	memcpy(frame + 12, request + 12, 10);
	put_be16(frame + 20, 2);
	memset(frame + 22, 2, 6);
	memcpy(frame + 28, request + 38, 4);
	memcpy(frame + 32, request + 22, 10);
	send_frame(frame, sizeof(frame));
}

// What the fifth user's association says.
static void read_record(const uint8_t *datagram, size_t bytes)
{
	struct dtls_plain plain = {0};
	uint8_t copy[FRAME_MAX];
	size_t at = 0;
	assert_true(bytes <= sizeof(copy));
	memcpy(copy, datagram, bytes);
	assert_int_equal(dtls_record_open(&fifth_peer, mgr, copy, bytes, &at, &plain), DROP_NONE);
	if (plain.kind != DTLS_PLAIN_DATA)
		return;
	init_acks += plain.data[SCTP_HEADER_BYTES] == SCTP_CHUNK_INIT_ACK;
	if (plain.data[SCTP_HEADER_BYTES] == SCTP_CHUNK_INIT)
		fifth_tag = get_be32(plain.data + SCTP_HEADER_BYTES + SCTP_CHUNK_BYTES);
}

// What the worker sent.
static void peer_serve(void)
{
	struct rte_mbuf *mbuf;
	while (rte_ring_sc_dequeue(wire_out, (void **)&mbuf) == 0) {
		const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
		uint16_t bytes = rte_pktmbuf_data_len(mbuf);
		// The thief may be told where we are, and nothing else.
		misdirected += get_be16(frame + 12) == 0x0800 && memcmp(frame, peer_mac, 6) != 0;
		echoes += bytes > 34 && get_be16(frame + 12) == 0x0800 && frame[23] == 1 && frame[34] == 0;
		if (bytes >= 42 && get_be16(frame + 12) == 0x0806 && get_be16(frame + 20) == 1)
			arp_answer(frame);
		else if (bytes > 42 && get_be16(frame + 12) == 0x0800 && frame[23] == 17 && frame[42] == DTLS_APPLICATION)
			read_record(frame + 42, bytes - 42u);
		else if (bytes > 42 && get_be16(frame + 12) == 0x0800 && frame[23] == 17)
			check_answer(frame + 42, bytes - 42u, get_be16(frame + 34));
		rte_pktmbuf_free(mbuf);
	}
}

static void peer_ask(const struct user *user)
{
	uint8_t frame[FRAME_MAX], id[STUN_TRANSACTION_BYTES];
	struct stun_writer writer;
	char name[64];
	for (unsigned i = 0; i < sizeof(id); i++)
		id[i] = (uint8_t)random_word();
	snprintf(name, sizeof(name), "%s:" PEER_UFRAG, user->local.ufrag);
	stun_begin(&writer, frame + 42, FRAME_MAX - 42, STUN_REQUEST, STUN_BINDING, id);
	stun_put(&writer, STUN_USERNAME, name, strlen(name));
	stun_put_u64(&writer, STUN_ICE_CONTROLLED, 1);
	stun_put_u32(&writer, STUN_PRIORITY, 1000);
	stun_put_integrity(&writer, user->local.pwd, strlen(user->local.pwd));
	stun_put_fingerprint(&writer);
	send_frame(frame, udp_frame(frame, PEER_IP, user->local.port, (uint32_t)stun_end(&writer)));
	checks_asked++;
}

// ---- the hostile ones; each returns the frame's length

static uint32_t random_ports(uint8_t *frame)
{
	uint16_t port = (uint16_t)(40000 + random_word() % 20000);
	for (unsigned i = 42; i < 142; i += 4)
		put_be32(frame + i, random_word());
	return udp_frame(frame, random_word(), port, 20 + random_word() % 80);
}

static uint32_t random_bytes(uint8_t *frame)
{
	for (unsigned i = 42; i < 242; i += 4)
		put_be32(frame + i, random_word());
	return udp_frame(frame, random_word(), users[random_word() % USERS].local.port, 2 + random_word() % 190);
}

static uint32_t stun_wrong_integrity(uint8_t *frame)
{
	const struct user *user = &users[random_word() % USERS];
	uint8_t id[STUN_TRANSACTION_BYTES], message[STUN_MESSAGE_MAX_BYTES];
	struct stun_writer writer;
	char name[64];
	for (unsigned i = 0; i < sizeof(id); i++)
		id[i] = (uint8_t)random_word();
	snprintf(name, sizeof(name), "%s:peer", user->local.ufrag);
	stun_begin(&writer, message, sizeof(message), STUN_REQUEST, STUN_BINDING, id);
	stun_put(&writer, STUN_USERNAME, name, strlen(name));
	stun_put_integrity(&writer, "not the password", 16);
	stun_put_fingerprint(&writer);
	size_t bytes = stun_end(&writer);
	memcpy(frame + 42, message, bytes);
	return udp_frame(frame, PEER_IP + 1 + random_word() % 64, user->local.port, (uint32_t)bytes);
}

// In the name of the server whose pair is selected: one transport's, the others have the same server. As many as there can be: one
// message for all, which claims to be signed.
static uint32_t stun_known_source(uint8_t *frame)
{
	static const uint8_t filling[200];
	static uint8_t message[FRAME_MAX];
	static size_t bytes;
	if (bytes == 0) {
		struct stun_writer writer;
		char name[64];
		snprintf(name, sizeof(name), "%s:peer", fifth.local.ufrag);
		stun_begin(&writer, message, sizeof(message), STUN_REQUEST, STUN_BINDING, (const uint8_t *)"forgedforged");
		stun_put(&writer, STUN_USERNAME, name, strlen(name));
		stun_put(&writer, STUN_SOFTWARE, filling, sizeof(filling));
		stun_put_integrity(&writer, "not the password", 16);
		bytes = stun_end(&writer);
	}
	memcpy(frame + 42, message, bytes);
	return udp_frame(frame, PEER_IP, fifth.local.port, (uint32_t)bytes);
}

static uint32_t client_hello(uint8_t *frame)
{
	static const uint8_t head[] = {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 254, 253};
	memset(frame + 42, 0, 70);
	memcpy(frame + 42, head, sizeof(head));
	put_be32(frame + 42 + 30, random_word());
	return udp_frame(frame, random_word(), users[random_word() % USERS].local.port, 67);
}

static uint32_t replayed(uint8_t *frame)
{
	const struct user *user = &users[random_word() % USERS];
	memcpy(frame, user->last, user->last_bytes);
	return user->last_bytes;
}

static uint32_t truncated(uint8_t *frame)
{
	const struct user *user = &users[random_word() % USERS];
	uint32_t bytes = user->last_bytes - 42, cut = 1 + random_word() % (bytes - 2);
	memcpy(frame, user->last, user->last_bytes);
	put_be16(frame + 44, (uint16_t)(get_be16(frame + 44) + 1000)); // not seen yet
	return udp_frame(frame, random_word(), user->local.port, bytes - cut);
}

static uint32_t icmp(uint8_t *frame, uint8_t type, uint8_t code)
{
	memset(frame + 34, 0, 36);
	frame[34] = type;
	frame[35] = code;
	put_be32(frame + 38, random_word());
	uint16_t sum = (uint16_t)~rte_raw_cksum(frame + 34, 36);
	memcpy(frame + 36, &sum, 2);
	return ip_frame(frame, 1, random_word(), 36);
}

static uint32_t icmp_redirect(uint8_t *frame)
{
	return icmp(frame, 5, 1);
}

static uint32_t icmp_echo(uint8_t *frame)
{
	return icmp(frame, 8, 0);
}

// "The next hop is me", over and over.
static uint32_t arp_spoofing(uint8_t *frame)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 2};
	memset(frame, 0xff, 6);
	memset(frame + 6, 6, 6);
	put_be16(frame + 12, 0x0806);
	memcpy(frame + 14, head, sizeof(head));
	memset(frame + 22, 6, 6);
	put_be32(frame + 28, PEER_IP);
	memset(frame + 32, 0xff, 6);
	put_be32(frame + 38, OUR_IP);
	return 42;
}

// The next hop's own addresses in what is no ARP: it looks as if it confirmed the hop.
static uint32_t arp_confirming(uint8_t *frame)
{
	uint32_t bytes = arp_spoofing(frame);
	memset(frame + 6, 2, 6);
	memset(frame + 22, 2, 6);
	frame[18] = 7;
	return bytes;
}

static size_t init_packet(uint8_t *packet)
{
	struct sctp_init init = {.tag = random_word() | 1, .rwnd = 65536, .tsn = random_word(), .out_streams = 1024, .in_streams = 1024};
	size_t bytes = sctp_init_put(packet, sctp_packet_begin(packet, 0), &init);
	sctp_packet_end(packet, bytes);
	return bytes;
}

// Without DTLS around it, over IP and over UDP.
static uint32_t init_bare(uint8_t *frame)
{
	bool in_udp = random_word() % 2;
	size_t bytes = init_packet(frame + (in_udp ? 42 : 34));
	return in_udp ? udp_frame(frame, random_word(), users[random_word() % USERS].local.port, (uint32_t)bytes)
		      : ip_frame(frame, 132, random_word(), (uint32_t)bytes);
}

static uint32_t init_sealed(uint8_t *frame)
{
	uint8_t *record = frame + 42;
	size_t bytes = init_packet(record + DTLS_RECORD_HEAD_BYTES);
	bytes = dtls_record_seal(&fifth_peer, mgr, DTLS_APPLICATION, record, bytes);
	return udp_frame(frame, PEER_IP, fifth.local.port, (uint32_t)bytes);
}

// Chunks that nobody knows and that ask to be told so, as many as fit.
static uint32_t unknown_sealed(uint8_t *frame)
{
	uint8_t *record = frame + 42, *packet = record + DTLS_RECORD_HEAD_BYTES;
	size_t bytes = sctp_packet_begin(packet, fifth_tag);
	while (bytes < FRAME_MAX - 100)
		bytes = sctp_chunk_put(packet, bytes, (enum sctp_chunk_type)0xdf, 0, 0);
	sctp_packet_end(packet, bytes);
	bytes = dtls_record_seal(&fifth_peer, mgr, DTLS_APPLICATION, record, bytes);
	return udp_frame(frame, PEER_IP, fifth.local.port, (uint32_t)bytes);
}

// In records that somebody without the keys has made.
static uint32_t init_forged(uint8_t *frame)
{
	uint32_t bytes = init_sealed(frame);
	frame[42 + DTLS_RECORD_HEAD_BYTES + random_word() % 20] ^= 1;
	return udp_frame(frame, random_word(), fifth.local.port, bytes - 42);
}

// Everything is right with it: keys, numbers, Opus. Only that it is a hundred hours of speech an hour.
static uint32_t valid_speech(uint8_t *frame)
{
	return speech(&fifth, frame);
}

static uint32_t broken_frames(uint8_t *frame)
{
	for (unsigned i = 0; i < 80; i += 4)
		put_be32(frame + i, random_word());
	memset(frame, 0xff, 6);
	put_be16(frame + 12, 0x0800);
	return 14 + random_word() % 60;
}

// ---- what it must not do

static uint64_t dropped(const enum drop *names)
{
	ENTERS(control_role);
	struct dataplane_info info;
	uint64_t sum = 0;
	dataplane_info(&info);
	for (; *names != DROP_NONE; names++)
		sum += info.drops[*names];
	return sum;
}

static uint64_t heard(void)
{
	uint64_t cells = 0;
	for (unsigned u = 0; u < USERS; u++)
		cells += pcm_head(users[u].pcm);
	return cells;
}

static uint64_t wait_until(const char *what, uint64_t (*value)(const void *), const void *arg, uint64_t wanted)
{
	uint64_t limit = clock_mono_ns() + LIMIT_NS, now = 0;
	while ((now = value(arg)) < wanted && clock_mono_ns() < limit)
		sched_yield();
	if (now < wanted)
		fail_msg("%s: %lu, expected %lu", what, now, wanted);
	return now;
}

static void wait_until_equal(const char *what, uint64_t (*value)(const void *), const void *arg, uint64_t wanted)
{
	uint64_t now = wait_until(what, value, arg, wanted);
	if (now != wanted)
		fail_msg("%s: %lu, expected %lu", what, now, wanted);
}

static uint64_t fifth_taken(void)
{
	struct source_stats stats;
	dataplane_source_stats(fifth.source, &stats);
	return stats.packets;
}

// Each hostile frame is dropped by a name; only some INITs of the peer itself and some echo requests are answered, and what the
// fifth user's server says is heard as far as it is speech.
static uint64_t dealt_with(const void *names)
{
	peer_serve();
	return dropped(names) + init_acks + echoes + fifth_taken();
}

static uint64_t heard_value(const void *unused)
{
	return heard();
}

static uint64_t answered_value(const void *unused)
{
	peer_serve();
	return checks_answered;
}

// forged: in a name whose real owner speaks too, so that he may be turned away among them.
static void flood(const char *what, uint32_t (*make)(uint8_t *frame), const enum drop *names, bool forged)
{
	uint8_t frame[FRAME_MAX];
	static const enum drop punt_full[] = {DROP_PUNT_FULL, DROP_NONE};
	uint64_t spoken = 0, before = dealt_with(names), full = dropped(punt_full);
	for (unsigned u = 0; u < USERS; u++) {
		talk(&users[u]);
		spoken += users[u].sent;
	}
	uint64_t began = clock_mono_ns(), next = began;
	for (unsigned i = 0; i < FLOOD; i++) {
		send_frame(frame, make(frame));
		if (i % 64 == 0)
			peer_serve();
		if (clock_mono_ns() < next)
			continue;
		next += 20000000;
		for (unsigned u = 0; u < USERS; u++) {
			talk(&users[u]);
			peer_ask(&users[u]);
		}
		peer_serve();
	}
	double seconds = (double)(clock_mono_ns() - began) / 1e9;
	spoken = 0;
	for (unsigned u = 0; u < USERS; u++)
		spoken += users[u].sent;
	uint64_t dealt = wait_until(what, dealt_with, names, before + FLOOD);
	if (!forged && dealt != before + FLOOD)
		fail_msg("%s: %lu, expected %lu", what, dealt, before + FLOOD);
	wait_until_equal("frames of the talkers", heard_value, NULL, spoken);
	// Who is known is heard first, however many strangers shout.
	wait_until_equal("connectivity checks answered", answered_value, NULL, checks_asked);
	print_message("%-28s %4.0f kpps, %lu frames spoken and %u checks asked so far, none lost; %lu strangers turned away\n", what,
		FLOOD / seconds / 1000, spoken, checks_asked, dropped(punt_full) - full);
}

#define FLOOD_TEST_AS(name, text, forged, ...)                                                                         \
	static void name##_flood(void **state)                                                                         \
	{                                                                                                              \
		static const enum drop names[] = {__VA_ARGS__, DROP_NONE};                                              \
		(void)state;                                                                                           \
		flood(text, name, names, forged);                                                                      \
	}
#define FLOOD_TEST(name, text, ...) FLOOD_TEST_AS(name, text, false, __VA_ARGS__)

FLOOD_TEST(random_ports, "random UDP, spoofed sources", DROP_UDP_NO_TRANSPORT)
FLOOD_TEST(random_bytes, "random bytes to the users", DROP_CLASSIFY_UNKNOWN, DROP_STUN_MALFORMED, DROP_ICE_UNVALIDATED,
	DROP_PUNT_FULL, DROP_SRTP_AUTH, DROP_SRTP_SHORT, DROP_SRTP_REPLAY, DROP_SRTCP_AUTH, DROP_SRTCP_REPLAY, DROP_STUN_UNEXPECTED)
FLOOD_TEST(stun_wrong_integrity, "STUN, wrong integrity", DROP_STUN_BAD_INTEGRITY, DROP_STUN_BAD_USERNAME, DROP_STUN_UNEXPECTED,
	DROP_PUNT_FULL)
FLOOD_TEST_AS(stun_known_source, "STUN in the server's name", true, DROP_STUN_BAD_INTEGRITY, DROP_STUN_BAD_USERNAME, DROP_PUNT_FULL)
FLOOD_TEST_AS(arp_confirming, "ARP in the next hop's name", true, DROP_ARP_MALFORMED, DROP_PUNT_FULL)
FLOOD_TEST(client_hello, "DTLS ClientHello", DROP_ICE_UNVALIDATED, DROP_PUNT_FULL)
FLOOD_TEST(replayed, "replayed SRTP", DROP_SRTP_REPLAY)
FLOOD_TEST(truncated, "truncated SRTP", DROP_SRTP_AUTH, DROP_SRTP_SHORT, DROP_CLASSIFY_UNKNOWN)
FLOOD_TEST(icmp_redirect, "ICMP redirects", DROP_ICMP_IGNORED, DROP_PUNT_FULL)
FLOOD_TEST(icmp_echo, "ICMP echo requests", DROP_ICMP_FLOOD, DROP_PUNT_FULL)
FLOOD_TEST(arp_spoofing, "ARP spoofing of the next hop", DROP_ARP_SPOOFED, DROP_PUNT_FULL)
FLOOD_TEST(init_bare, "SCTP INIT outside of DTLS", DROP_IP4_UNKNOWN_PROTOCOL, DROP_CLASSIFY_UNKNOWN)
FLOOD_TEST(init_forged, "SCTP INIT, forged records", DROP_DTLS_BAD_RECORD, DROP_DTLS_REPLAY)
FLOOD_TEST(init_sealed, "SCTP INIT of the peer itself", DROP_SCTP_INIT_FLOOD, DROP_SCTP_SHARE, DROP_ASSOC_FULL, DROP_SCTP_CLOSED)
FLOOD_TEST(unknown_sealed, "unknown chunks of that peer", DROP_SCTP_CONTROL_FLOOD, DROP_SCTP_SHARE,
	DROP_ASSOC_FULL, DROP_SCTP_CLOSED)
FLOOD_TEST(valid_speech, "valid speech of a server", DROP_MEDIA_FLOOD, DROP_JITTER_LATE, DROP_JITTER_DUPLICATE, DROP_JITTER_FULL)
FLOOD_TEST(broken_frames, "broken Ethernet and IPv4", DROP_IP4_MALFORMED, DROP_IP4_BAD_CHECKSUM, DROP_IP4_NOT_FOR_US)

// How many authentic packets one transport may bring within that time.
static uint64_t quota(uint64_t ns)
{
	return MEDIA_MOST + (ns >> QUOTA_TICK_BITS) / MEDIA_TICKS_EACH + 1;
}

// 26 us of a core for each packet that is decoded: however many come, few are.
static void few_of_a_flood_are_decoded(void **state)
{
	uint64_t began = clock_mono_ns(), before = fifth_taken();
	valid_speech_flood(state);
	uint64_t taken = fifth_taken() - before;
	assert_in_range(taken, 1, quota(clock_mono_ns() - began));
}

// The answers go through the ring that consent goes through.
static void few_echoes_are_answered(void **state)
{
	uint64_t began = clock_mono_ns();
	unsigned before = echoes;
	icmp_echo_flood(state);
	assert_in_range(echoes - before, 1, ANSWERS_MOST + ((clock_mono_ns() - began) >> QUOTA_TICK_BITS) / ANSWER_TICKS_EACH + 1);
}

// What a stall held back comes at once, and is heard: under loss a server's SCTP was seen to send 22 s of frames so.
static void a_burst_after_a_stall_is_heard(void **state)
{
	(void)state;
	uint64_t spoken = 0;
	for (unsigned i = 0; i < 1100; i++)
		for (unsigned u = 0; u < USERS; u++)
			talk(&users[u]);
	for (unsigned u = 0; u < USERS; u++)
		spoken += users[u].sent;
	wait_until_equal("frames of the talkers", heard_value, NULL, spoken);
}

// A DataPacket that came out of the fifth user's association: user (2) with payload (2), participant_identity (4).
static void say_data(char identity)
{
	const uint8_t message[] = {2 << 3 | 2, 5, 2 << 3 | 2, 3, 1, 0, 0, 4 << 3 | 2, 1, (uint8_t)identity};
	struct rte_mbuf *mbuf = NULL;
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	while ((mbuf = rte_pktmbuf_alloc(plane.pool)) == NULL && clock_mono_ns() < limit)
		sched_yield();
	assert_non_null(mbuf);
	memcpy(rte_pktmbuf_append(mbuf, sizeof(message)), message, sizeof(message));
	*packet_of(mbuf) = (struct packet){.arrival_ns = clock_mono_ns(), .transport = fifth.id, .kind = PACKET_MESSAGE};
	while (rte_ring_mp_enqueue(plane.workers[0].inbox, mbuf) != 0 && clock_mono_ns() < limit)
		sched_yield();
	doorbell_ring(&plane.workers[0].bell);
}

// The data way has the same limit, for the target's packets: what others in the room say is not the server's to pay.
static void data_has_the_same_limit(void **state)
{
	(void)state;
	static const enum drop others[] = {DROP_DATA_OTHER_IDENTITY, DROP_NONE}, heard_ones[] = {DROP_DATA_UNWANTED, DROP_NONE},
			       floods[] = {DROP_MEDIA_FLOOD, DROP_NONE}, all[] = {DROP_DATA_UNWANTED, DROP_MEDIA_FLOOD, DROP_NONE};
	uint64_t flood_before = dropped(floods), others_before = dealt_with(others);
	for (unsigned i = 0; i < 20000; i++)
		say_data('o');
	wait_until_equal("data packets of others", dealt_with, others, others_before + 20000);
	assert_int_equal(dropped(floods), flood_before);
	uint64_t began = clock_mono_ns(), before = dropped(heard_ones), all_before = dealt_with(all);
	for (unsigned i = 0; i < 20000; i++)
		say_data(FIFTH_IDENTITY[0]);
	wait_until_equal("data packets of the target", dealt_with, all, all_before + 20000);
	assert_in_range(dropped(heard_ones) - before, 1, quota(clock_mono_ns() - began));
}

// After all of it nothing is missing and every buffer is back.
static void nothing_is_left(void **state)
{
	(void)state;
	ENTERS(control_role);
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	struct source_stats stats;
	for (unsigned u = 0; u < USERS; u++) {
		dataplane_source_stats(users[u].source, &stats);
		assert_int_equal(stats.packets, users[u].sent);
		assert_int_equal(stats.lost + stats.concealed + stats.late, 0);
		assert_int_equal(stats.frames, users[u].sent);
	}
	assert_int_equal(misdirected, 0);
	static const enum drop share[] = {DROP_SCTP_SHARE, DROP_NONE};
	assert_true(dropped(share) > 0);
	static const enum drop known_full[] = {DROP_PUNT_KNOWN_FULL, DROP_NONE};
	assert_int_equal(dropped(known_full), 0);
	struct rte_mbuf *answer;
	do {
		while (rte_ring_sc_dequeue(wire_out, (void **)&answer) == 0)
			rte_pktmbuf_free(answer);
		sched_yield();
	} while (!rte_mempool_full(plane.pool) && clock_mono_ns() < limit);
	assert_true(rte_mempool_full(plane.pool));
}

// ---- set-up

static int user_open(struct user *user)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	struct err err = {""};
	struct source_config source = {.input = SOURCE_TRACK};
	struct srtp_keys keys = {.profile = SRTP_AEAD_AES_256_GCM};
	static int opened;
	memset(keys.remote_key, ++opened, sizeof(keys.remote_key));
	memset(keys.local_key, 99, sizeof(keys.local_key));
	user->pcm = pcm_create(2000);
	user->source = dataplane_source_create(user->pcm, &source);
	struct transport_config config = {.generation = 1, .source = user->source, .data = user == &fifth,
		.data_identity = FIFTH_IDENTITY, .connect_limit_ms = 3600000};
	struct transport_remote remote = {.ufrag = PEER_UFRAG, .pwd = PEER_PWD, .ice_lite = true, .setup = TRANSPORT_SETUP_ACTIVE};
	if (user->source == NULL || transport_open(&config, &user->id, &user->local, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	struct hearing hearing = {.mode = HEARING_ONE, .main = {user->id, 1, 1}};
	if (dataplane_source_hear(user->source, &hearing) < 0)
		return -1;
	// The keys as the handshake thread hands them over.
	struct transport *transport = transport_by_id(user->id);
	atomic_store_explicit(&transport->next_srtp, srtp_create(&keys, &err), memory_order_release);
	memcpy(keys.local_key, keys.remote_key, sizeof(keys.local_key));
	user->sender = srtp_create(&keys, &err);
	user->seq = 100;
	if (user->sender == NULL || transport_map(user->id, 0x5000, PT_OPUS, 255) < 0 ||
		transport_set_remote(user->id, &remote, &err) < 0)
		return -1;
	return transport_add_candidate(user->id, (struct endpoint){PEER_IP, PEER_PORT}, 1000);
}

// The fifth user's association, as the handshake thread hands it over: with the keys of a handshake that is done.
static int fifth_open(void)
{
	ENTERS(control_role);
	ENTERS(worker_role);
	if (user_open(&fifth) < 0)
		return -1;
	struct transport *transport = transport_by_id(fifth.id);
	struct slow *slow = slow_new(SLOW_ESTABLISHED, transport, 0);
	struct dtls_record *record = aligned_alloc(CACHE_LINE_BYTES, sizeof(*record));
	if (slow == NULL || record == NULL)
		return -1;
	*record = (struct dtls_record){.next_seq = 1, .next_nonce = 1, .key_bytes = 32};
	memset(record->remote_key, 5, sizeof(record->remote_key));
	fifth_peer = *record;
	memcpy(fifth_peer.local_key, record->remote_key, sizeof(record->remote_key));
	memcpy(fifth_peer.remote_key, record->local_key, sizeof(record->local_key));
	slow->record = record;
	mailbox_put(&plane.assoc_box, &slow->mail);
	return 0;
}

static int start(void **state)
{
	(void)state;
	ENTERS(worker_role);
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .memory_mb = 160};
	struct dataplane_port_config *port = &config.ports[0];
	cpu_set_t allowed;
	sched_getaffinity(0, sizeof(allowed), &allowed);
	while (!CPU_ISSET(config.cores[0], &allowed))
		config.cores[0]++;
	int error;
	OpusEncoder *encoder = opus_encoder_create(48000, 1, OPUS_APPLICATION_VOIP, &error);
	int16_t samples[960] = {0};
	for (unsigned i = 0; i < 960; i++)
		samples[i] = (int16_t)(i * 997 % 8000);
	opus_bytes = encoder != NULL ? opus_encode(encoder, samples, 960, opus, sizeof(opus)) : 0;
	opus_encoder_destroy(encoder);
	mgr = srtp_mgr_create();
	if (opus_bytes <= 2 || mgr == NULL)
		return -1;
	*port = (struct dataplane_port_config){
		.name = "test", .address = OUR_IP, .prefix_bits = 24, .queues = 1, .udp_port_min = 20000, .udp_port_max = 20100};
	snprintf(port->device, sizeof(port->device), "null");
	if (dataplane_start(&config, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	for (unsigned u = 0; u < USERS; u++)
		if (user_open(&users[u]) < 0)
			return -1;
	if (fifth_open() < 0)
		return -1;
	// Until every user's path is selected.
	uint64_t limit = clock_mono_ns() + LIMIT_NS;
	for (unsigned u = 0; u <= USERS; u++) {
		const struct transport *transport = transport_by_id(u < USERS ? users[u].id : fifth.id);
		while (atomic_load(&transport->remote) == 0) {
			if (clock_mono_ns() > limit)
				return -1;
			peer_serve();
			sched_yield();
		}
	}
	while (fifth_tag == 0 && clock_mono_ns() < limit) {
		peer_serve();
		sched_yield();
	}
	return fifth_tag != 0 ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	ENTERS(control_role);
	for (unsigned u = 0; u <= USERS; u++) {
		struct user *user = u < USERS ? &users[u] : &fifth;
		transport_close(user->id);
		dataplane_source_destroy(user->source);
		srtp_destroy(user->sender);
	}
	dataplane_stop();
	for (unsigned u = 0; u < USERS; u++)
		pcm_unref(users[u].pcm);
	pcm_unref(fifth.pcm);
	srtp_mgr_destroy(mgr);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_sealed_flood), // first: the set-up that nobody answers ends after a while
		cmocka_unit_test(random_ports_flood), cmocka_unit_test(random_bytes_flood), cmocka_unit_test(stun_wrong_integrity_flood),
		cmocka_unit_test(stun_known_source_flood), cmocka_unit_test(arp_confirming_flood),
		cmocka_unit_test(client_hello_flood), cmocka_unit_test(replayed_flood), cmocka_unit_test(truncated_flood),
		cmocka_unit_test(icmp_redirect_flood), cmocka_unit_test(few_echoes_are_answered),
		cmocka_unit_test(arp_spoofing_flood),
		cmocka_unit_test(init_bare_flood), cmocka_unit_test(init_forged_flood), cmocka_unit_test(init_sealed_flood),
		cmocka_unit_test(broken_frames_flood), cmocka_unit_test(few_of_a_flood_are_decoded),
		cmocka_unit_test(a_burst_after_a_stall_is_heard), cmocka_unit_test(data_has_the_same_limit),
		cmocka_unit_test(nothing_is_left),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
