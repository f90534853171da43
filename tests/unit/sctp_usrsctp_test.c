// SPDX-License-Identifier: ISC
//
// sctp_usrsctp_test.c - our SCTP against usrsctp over a bad network in virtual time: set-up from both sides, messages of all
// sizes both ways, loss, reordering, duplicates, restart, stream reset, shutdown, abort.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <usrsctp.h>

#include "dataplane/dcep.h"
#include "tests/support/sctp_endpoint.h"

#define MS 1000000ull
#define DELAY_MS 20
#define QUEUE 4096
#define LOSSY 4
#define RELIABLE 2
#define MESSAGES_MAX 4096

struct flying {
	uint64_t at_ns;
	bool to_us;
	size_t bytes;
	uint8_t data[2048];
};

static struct {
	uint64_t now_ns;
	struct flying queue[QUEUE];
	unsigned count;
	unsigned loss, reorder, duplicate; // percent
	unsigned drop_to_us, drop_to_peer; // so many of the next ones
	uint64_t random;
	uint64_t packets, lost;
} net;

static struct sctp_endpoint us;
static struct socket *peer;
static bool peer_up, peer_down;
static uint32_t us_got[MESSAGES_MAX], peer_got[MESSAGES_MAX]; // numbers, in order of arrival
static unsigned us_count, peer_count, us_bad, peer_bad, resets;

// usrsctp stamps what it sends with this clock and repeats nothing that looks younger than its timer: it lives in our time.
__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict ret_time, void *restrict zone)
{
	(void)zone;
	*ret_time = (struct timeval){(time_t)(net.now_ns / 1000000000u), (suseconds_t)(net.now_ns / 1000 % 1000000)};
	return 0;
}

static unsigned percent(void)
{
	net.random = net.random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(net.random >> 33) % 100;
}

static void fly(bool to_us, const void *data, size_t bytes)
{
	unsigned *drop = to_us ? &net.drop_to_us : &net.drop_to_peer;
	net.packets++;
	if (*drop > 0 || percent() < net.loss) {
		*drop -= *drop > 0;
		net.lost++;
		return;
	}
	unsigned copies = percent() < net.duplicate ? 2 : 1;
	for (unsigned i = 0; i < copies; i++) {
		assert_true(net.count < QUEUE && bytes <= sizeof(net.queue[0].data));
		struct flying *f = &net.queue[net.count++];
		*f = (struct flying){.at_ns = net.now_ns + DELAY_MS * MS, .to_us = to_us, .bytes = bytes};
		if (percent() < net.reorder)
			f->at_ns += 30 * MS;
		memcpy(f->data, data, bytes);
	}
}

static void us_send(void *arg, const uint8_t *packet, size_t bytes)
{
	(void)arg;
	assert_true(bytes <= SCTP_PACKET_MAX);
	fly(false, packet, bytes);
}

// A message: its number, then bytes that follow from it.
static void fill(uint8_t *data, size_t bytes, uint32_t number)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(number * 31 + i * 7);
	put_be32(data, number);
}

static bool intact(const uint8_t *data, size_t bytes, uint32_t *ret_number)
{
	static uint8_t expected[65536];
	if (bytes < 4 || bytes > sizeof(expected))
		return false;
	*ret_number = get_be32(data);
	fill(expected, bytes, *ret_number);
	return memcmp(data, expected, bytes) == 0;
}

static void us_message(void *arg, const struct sctp_message *message, bool at_once)
{
	(void)arg;
	(void)at_once;
	uint32_t number;
	if (message->ppid != PPID_BINARY || !intact(message->data, message->bytes, &number) || us_count == MESSAGES_MAX)
		us_bad++;
	else
		us_got[us_count++] = number;
}

static int peer_output(void *address, void *data, size_t bytes, uint8_t tos, uint8_t df)
{
	(void)address;
	(void)tos;
	(void)df;
	fly(true, data, bytes);
	return 0;
}

static void peer_notification(const union sctp_notification *notification)
{
	if (notification->sn_header.sn_type == SCTP_ASSOC_CHANGE) {
		uint16_t state = notification->sn_assoc_change.sac_state;
		peer_up |= state == SCTP_COMM_UP;
		peer_down |= state == SCTP_COMM_LOST || state == SCTP_SHUTDOWN_COMP || state == SCTP_CANT_STR_ASSOC;
	} else if (notification->sn_header.sn_type == SCTP_STREAM_RESET_EVENT) {
		const struct sctp_stream_reset_event *event = &notification->sn_strreset_event;
		if ((event->strreset_flags & (SCTP_STREAM_RESET_DENIED | SCTP_STREAM_RESET_FAILED)) == 0)
			resets++;
	}
}

static int peer_receive(struct socket *socket, union sctp_sockstore from, void *data, size_t bytes,
	struct sctp_rcvinfo info, int flags, void *arg)
{
	static uint8_t whole[70000];
	static size_t have;
	(void)socket;
	(void)from;
	(void)info;
	(void)arg;
	if (data == NULL)
		return 1;
	if (flags & MSG_NOTIFICATION) {
		peer_notification(data);
	} else if (have + bytes <= sizeof(whole)) {
		memcpy(whole + have, data, bytes);
		have += bytes;
		uint32_t number;
		if ((flags & MSG_EOR) && (!intact(whole, have, &number) || peer_count == MESSAGES_MAX))
			peer_bad++;
		else if (flags & MSG_EOR)
			peer_got[peer_count++] = number;
		if (flags & MSG_EOR)
			have = 0;
	}
	free(data);
	return 1;
}

static void peer_option(int name, const void *value, size_t bytes)
{
	assert_int_equal(usrsctp_setsockopt(peer, IPPROTO_SCTP, name, value, (socklen_t)bytes), 0);
}

static void peer_open(bool connects)
{
	static const uint16_t events[] = {SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT};
	struct sockaddr_conn address = {.sconn_family = AF_CONN, .sconn_port = htons(5000), .sconn_addr = &net};
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};
	const struct sctp_initmsg init = {.sinit_num_ostreams = 64, .sinit_max_instreams = 64};
	struct sctp_assoc_value reset = {.assoc_id = SCTP_ALL_ASSOC, .assoc_value = 1};
	const int on = 1, window = 1 << 20;
	peer_up = peer_down = false;
	peer = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, peer_receive, NULL, 0, NULL);
	assert_non_null(peer);
	usrsctp_set_non_blocking(peer, 1);
	usrsctp_setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	usrsctp_setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &window, sizeof(window));
	peer_option(SCTP_NODELAY, &on, sizeof(on));
	peer_option(SCTP_INITMSG, &init, sizeof(init));
	peer_option(SCTP_ENABLE_STREAM_RESET, &reset, sizeof(reset));
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		struct sctp_event event = {.se_assoc_id = SCTP_ALL_ASSOC, .se_type = events[i], .se_on = 1};
		peer_option(SCTP_EVENT, &event, sizeof(event));
	}
	assert_int_equal(usrsctp_bind(peer, (struct sockaddr *)&address, sizeof(address)), 0);
	if (connects) {
		int ret = usrsctp_connect(peer, (struct sockaddr *)&address, sizeof(address));
		assert_true(ret == 0 || errno == EINPROGRESS);
	} else {
		assert_int_equal(usrsctp_listen(peer, 1), 0);
	}
}

static int peer_send(uint16_t stream, bool unordered, uint32_t number, size_t bytes)
{
	static uint8_t data[65536];
	struct sctp_sendv_spa info = {.sendv_flags = SCTP_SEND_SNDINFO_VALID};
	info.sendv_sndinfo.snd_sid = stream;
	info.sendv_sndinfo.snd_ppid = htonl(PPID_BINARY);
	info.sendv_sndinfo.snd_flags = unordered ? SCTP_UNORDERED : 0;
	fill(data, bytes, number);
	return usrsctp_sendv(peer, data, bytes, NULL, 0, &info, sizeof(info), SCTP_SENDV_SPA, 0) == (ssize_t)bytes ? 0 : -1;
}

static int us_send_message(uint16_t stream, bool unordered, uint32_t number, size_t bytes)
{
	static uint8_t data[65536];
	fill(data, bytes, number);
	return sctp_assoc_send(us.assoc, stream, PPID_BINARY, unordered, data, bytes, us.now_ns);
}

static void step(void)
{
	net.now_ns += MS;
	us.now_ns = net.now_ns;
	for (unsigned i = 0; i < net.count;) {
		if (net.queue[i].at_ns > net.now_ns) {
			i++;
			continue;
		}
		struct flying f = net.queue[i];
		memmove(&net.queue[i], &net.queue[i + 1], (--net.count - i) * sizeof(f));
		if (f.to_us)
			endpoint_input(&us, f.data, f.bytes);
		else
			usrsctp_conninput(&net, f.data, f.bytes, 0);
	}
	endpoint_poll(&us);
	if (net.now_ns / MS % 10 == 0)
		usrsctp_handle_timers(10);
}

#define RUN_UNTIL(condition, ms)                                                                                       \
	do {                                                                                                           \
		for (unsigned i_ = 0; i_ < (ms) && !(condition); i_++)                                                 \
			step();                                                                                        \
		assert_true(condition);                                                                                \
	} while (0)

static void run(unsigned ms)
{
	for (unsigned i = 0; i < ms; i++)
		step();
}

static void us_open(void)
{
	us = (struct sctp_endpoint){.now_ns = net.now_ns, .send = us_send, .message = us_message};
	assert_int_equal(endpoint_start(&us), 0);
}

static void quiet(void)
{
	net.loss = net.reorder = net.duplicate = net.drop_to_us = net.drop_to_peer = 0;
}

static bool both_up(void)
{
	return peer_up && us.ups == 1;
}

static void world_open(void)
{
	quiet();
	net.count = 0;
	us_count = peer_count = us_bad = peer_bad = resets = 0;
	peer_open(true);
	us_open();
	us.rx.channels[0] = LOSSY;
	RUN_UNTIL(both_up(), 2000);
	us.rx.channels[0] = LOSSY;
	us.rx.channels[1] = RELIABLE;
}

static void world_close(void)
{
	quiet();
	usrsctp_close(peer);
	sctp_assoc_destroy(us.assoc);
	us.assoc = NULL;
	net.count = 0;
}

// Every number 0..count-1 once; ordered: and in that order.
static void check(const uint32_t *got, unsigned have, unsigned count, bool ordered)
{
	static uint8_t seen[MESSAGES_MAX];
	memset(seen, 0, sizeof(seen));
	assert_int_equal(have, count);
	for (unsigned i = 0; i < have; i++) {
		assert_true(got[i] < count);
		assert_int_equal(seen[got[i]]++, 0);
		if (ordered)
			assert_int_equal(got[i], i);
	}
}

static void set_up_from_every_side(void **state)
{
	(void)state;
	// Who connects, and how many of the first packets each way are lost.
	static const struct {
		bool connects;
		unsigned to_us, to_peer;
	} cases[] = {{true, 0, 0}, {false, 0, 0}, {true, 1, 0}, {true, 0, 1}, {true, 1, 1}, {true, 2, 1}, {true, 1, 2},
		{true, 3, 3}, {false, 1, 0}, {false, 0, 1}, {false, 2, 2}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		quiet();
		net.drop_to_us = cases[i].to_us;
		net.drop_to_peer = cases[i].to_peer;
		peer_open(cases[i].connects);
		us_open();
		if (cases[i].connects) {
			RUN_UNTIL(both_up(), 20000);
			run(200);
			assert_int_equal(us.ups, 1); // a collision is no restart
			assert_int_equal(peer_send(RELIABLE, false, 0, 100), 0);
			us_count = 0;
			RUN_UNTIL(us_count == 1, 2000);
		} else {
			RUN_UNTIL(us.ups == 1, 20000);
		}
		world_close();
	}
}

static const size_t sizes[] = {4, 5, 100, 701, 1132, 1133, 1136, 1200, 2300, 5000, 20000, 65535, 4, 64000};

static void messages_from_the_peer(void **state)
{
	(void)state;
	static const struct {
		unsigned loss, reorder, duplicate;
	} weather[] = {{0, 0, 0}, {0, 20, 10}, {5, 0, 0}, {10, 10, 5}};
	for (size_t w = 0; w < ARRAY_SIZE(weather) * 5; w++) {
		for (unsigned unordered = 0; unordered < 2; unordered++) {
			world_open();
			net.loss = weather[w % ARRAY_SIZE(weather)].loss;
			net.reorder = weather[w % ARRAY_SIZE(weather)].reorder;
			net.duplicate = weather[w % ARRAY_SIZE(weather)].duplicate;
			unsigned sent = 0;
			for (unsigned round = 0; round < 4; round++) {
				for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
					while (peer_send(unordered ? LOSSY : RELIABLE, unordered, sent, sizes[i]) != 0)
						step();
					sent++;
				}
				run(100);
			}
			RUN_UNTIL(us_count == sent, 300000);
			run(500);
			check(us_got, us_count, sent, !unordered);
			assert_int_equal(us_bad, 0);
			assert_int_equal(sctp_assoc_rwnd(us.assoc), SCTP_RWND_BYTES); // nothing is held any more
			assert_int_equal(us.closes, 0);
			world_close();
		}
	}
}

static void speech_from_the_peer(void **state)
{
	(void)state;
	world_open();
	run(200); // the last words of the set-up
	us.sacks = us.punts = 0;
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(peer_send(LOSSY, true, i, 701), 0);
		run(20);
	}
	RUN_UNTIL(us_count == 500, 1000);
	check(us_got, us_count, 500, true);
	assert_int_equal(us.at_once, 500); // assoc had no part in it
	assert_int_equal(us.punts, 0);
	assert_in_range(us.sacks, 249, 251);
	// With loss every frame still comes: it is sent again, since we announce no FORWARD-TSN.
	net.loss = 5;
	us_count = 0;
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(peer_send(LOSSY, true, i, 701), 0);
		run(20);
	}
	RUN_UNTIL(us_count == 500, 20000);
	check(us_got, us_count, 500, false);
	world_close();
}

static void messages_to_the_peer(void **state)
{
	(void)state;
	static const struct {
		unsigned loss, reorder, duplicate;
	} weather[] = {{0, 0, 0}, {0, 20, 10}, {5, 0, 0}, {10, 10, 5}};
	for (size_t w = 0; w < ARRAY_SIZE(weather) * 5; w++) {
		for (unsigned unordered = 0; unordered < 2; unordered++) {
			world_open();
			net.loss = weather[w % ARRAY_SIZE(weather)].loss;
			net.reorder = weather[w % ARRAY_SIZE(weather)].reorder;
			net.duplicate = weather[w % ARRAY_SIZE(weather)].duplicate;
			unsigned sent = 0;
			for (unsigned round = 0; round < 4; round++) {
				for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
					assert_int_equal(us_send_message(unordered ? LOSSY : RELIABLE, unordered, sent++, sizes[i]), 0);
				RUN_UNTIL(peer_count == sent, 300000);
			}
			run(1000);
			check(peer_got, peer_count, sent, !unordered);
			assert_int_equal(peer_bad, 0);
			assert_int_equal(us.closes, 0);
			assert_int_equal(sctp_assoc_poll(us.assoc, us.now_ns), 0); // all acknowledged: no timer runs
			world_close();
		}
	}
}

static void limits_of_sending(void **state)
{
	(void)state;
	world_open();
	static uint8_t data[65536];
	assert_int_equal(sctp_assoc_send(us.assoc, RELIABLE, PPID_BINARY, false, data, 0, us.now_ns), -EINVAL);
	assert_int_equal(sctp_assoc_send(us.assoc, RELIABLE, PPID_BINARY, false, data, 65536, us.now_ns), -EINVAL);
	unsigned queued = 0;
	int ret;
	while ((ret = us_send_message(RELIABLE, false, queued, 65535)) == 0)
		queued++;
	assert_int_equal(ret, -ENOBUFS);
	assert_int_equal(queued, 1048576 / 65535);
	RUN_UNTIL(peer_count == queued, 60000);
	check(peer_got, peer_count, queued, true);
	// A peer that is gone: after its tries the association says so, once.
	net.loss = 100;
	assert_int_equal(us_send_message(RELIABLE, false, 0, 10), 0);
	RUN_UNTIL(us.closes == 1, 120000);
	run(1000);
	assert_int_equal(us.closes, 1);
	assert_int_equal(us_send_message(RELIABLE, false, 0, 10), -ENOTCONN);
	world_close();
}

static void the_peer_restarts(void **state)
{
	(void)state;
	world_open();
	for (unsigned i = 0; i < 5; i++)
		peer_send(RELIABLE, false, i, 3000);
	RUN_UNTIL(us_count == 5, 5000);
	// It forgets all without a word: what it still says on closing is lost.
	net.loss = 100;
	usrsctp_close(peer);
	net.count = 0;
	net.loss = 0;
	peer_open(true);
	RUN_UNTIL(peer_up && us.ups == 2, 20000);
	us_count = 0;
	for (unsigned i = 0; i < 5; i++) {
		peer_send(RELIABLE, false, i, 3000); // its stream numbers begin at 0 again
		assert_int_equal(us_send_message(RELIABLE, false, i, 3000), 0);
	}
	RUN_UNTIL(us_count == 5 && peer_count == 5, 5000);
	check(us_got, us_count, 5, true);
	check(peer_got, peer_count, 5, true);
	assert_int_equal(us.closes, 0);
	world_close();
}

static void streams_are_reset(void **state)
{
	(void)state;
	world_open();
	for (unsigned i = 0; i < 3; i++)
		peer_send(RELIABLE, false, i, 3000);
	RUN_UNTIL(us_count == 3, 5000);
	run(200); // it resets only what has been acknowledged
	uint8_t room[sizeof(struct sctp_reset_streams) + 2] __attribute__((aligned(8))) = {0};
	struct sctp_reset_streams *reset = (void *)room;
	const uint16_t stream = RELIABLE;
	reset->srs_flags = SCTP_STREAM_RESET_OUTGOING;
	reset->srs_number_streams = 1;
	memcpy(reset->srs_stream_list, &stream, sizeof(stream));
	net.drop_to_peer = 1; // our answer is lost once: asked again, it must be the same
	assert_int_equal(usrsctp_setsockopt(peer, IPPROTO_SCTP, SCTP_RESET_STREAMS, room, sizeof(room)), 0);
	RUN_UNTIL(resets == 1, 20000);
	us_count = 0;
	for (unsigned i = 0; i < 3; i++)
		peer_send(RELIABLE, false, i, 3000);
	RUN_UNTIL(us_count == 3, 5000);
	check(us_got, us_count, 3, true);
	world_close();
}

static void shutdown_of_the_peer(void **state)
{
	(void)state;
	world_open();
	assert_int_equal(us_send_message(RELIABLE, false, 0, 60000), 0); // ours still arrives
	usrsctp_shutdown(peer, SHUT_WR);
	RUN_UNTIL(us.closes == 1 && peer_down, 20000);
	assert_int_equal(peer_count, 1);
	assert_false(us.rx.up);
	world_close();
}

static void aborts(void **state)
{
	(void)state;
	world_open();
	usrsctp_close(peer);
	RUN_UNTIL(us.closes == 1, 5000);
	assert_false(us.rx.up);
	assert_int_equal(us_send_message(RELIABLE, false, 0, 10), -ENOTCONN);
	peer_open(true);
	run(3000); // what has ended stays ended: a new transport comes by signalling
	assert_int_equal(us.ups, 1);
	world_close();

	world_open();
	uint8_t room[64];
	us_send(NULL, room, sctp_rx_abort(&us.rx, room));
	RUN_UNTIL(peer_down, 5000);
	world_close();
}

static int start_usrsctp(void **state)
{
	(void)state;
	net.random = 1;
	net.now_ns = 1000 * MS;
	usrsctp_init_nothreads(0, peer_output, NULL);
	usrsctp_sysctl_set_sctp_ecn_enable(0);
	usrsctp_sysctl_set_sctp_blackhole(2);
	usrsctp_register_address(&net);
	return 0;
}

static int stop_usrsctp(void **state)
{
	(void)state;
	usrsctp_deregister_address(&net);
	for (unsigned tries = 0; tries < 1000 && usrsctp_finish() != 0; tries++)
		usrsctp_handle_timers(100);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_up_from_every_side),
		cmocka_unit_test(messages_from_the_peer),
		cmocka_unit_test(speech_from_the_peer),
		cmocka_unit_test(messages_to_the_peer),
		cmocka_unit_test(limits_of_sending),
		cmocka_unit_test(the_peer_restarts),
		cmocka_unit_test(streams_are_reset),
		cmocka_unit_test(shutdown_of_the_peer),
		cmocka_unit_test(aborts),
	};
	return cmocka_run_group_tests(tests, start_usrsctp, stop_usrsctp);
}
