// SPDX-License-Identifier: ISC
//
// dataplane_test.c - frames from a capture file through the real worker and handshake threads: each dies by its name, ARP
// and ICMP are answered.
//
// Runs on: init, control.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/dataplane.h"
#include "dataplane/pcm.h"
#include "dataplane/source.h"

#define OUR_IP 0x0a630102u  // 10.99.1.2
#define PEER_IP 0x0a630101u // 10.99.1.1
#define CANDIDATES 1000

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
static char in_path[] = "/tmp/relay-dataplane-in-XXXXXX", out_path[] = "/tmp/relay-dataplane-out-XXXXXX";

static _Atomic(unsigned) complaints; // of candidates, in the log

static void put_record(FILE *file, const uint8_t *frame, uint32_t bytes)
{
	uint32_t header[4] = {1, 0, bytes, bytes};
	fwrite(header, sizeof(header), 1, file);
	fwrite(frame, bytes, 1, file);
}

static uint16_t checksum(const uint8_t *data, size_t bytes, uint32_t sum)
{
	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += get_be16(data + i);
	if (bytes & 1)
		sum += (uint32_t)data[bytes - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

// An IPv4 frame to us; returns its length.
static uint32_t ip_frame(uint8_t *frame, uint8_t protocol, const uint8_t *body, uint16_t bytes)
{
	memcpy(frame, broadcast, 6); // the device's own address is not known before it starts
	memcpy(frame + 6, peer_mac, 6);
	put_be16(frame + 12, 0x0800);
	uint8_t *ip = frame + 14;
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(20 + bytes));
	ip[8] = 64;
	ip[9] = protocol;
	put_be32(ip + 12, PEER_IP);
	put_be32(ip + 16, OUR_IP);
	put_be16(ip + 10, checksum(ip, 20, 0));
	memcpy(ip + 20, body, bytes);
	return 34u + bytes;
}

static uint32_t udp_frame_of(uint8_t *frame, uint16_t port, const uint8_t *payload, size_t payload_bytes)
{
	uint8_t udp[64] = {0};
	uint16_t bytes = (uint16_t)(8 + payload_bytes);
	put_be16(udp, 4000);
	put_be16(udp + 2, port);
	put_be16(udp + 4, bytes);
	memcpy(udp + 8, payload, payload_bytes);
	uint32_t pseudo = (PEER_IP >> 16) + (PEER_IP & 0xffff) + (OUR_IP >> 16) + (OUR_IP & 0xffff) + 17 + bytes;
	put_be16(udp + 6, checksum(udp, bytes, pseudo));
	return ip_frame(frame, 17, udp, bytes);
}

static uint32_t udp_frame(uint8_t *frame, uint16_t port, const char *text)
{
	return udp_frame_of(frame, port, (const uint8_t *)text, strlen(text));
}

// The head of a DTLS 1.2 record and some bytes; its last byte changed on the way.
static uint32_t record_frame_damaged(uint8_t *frame, uint8_t type, uint8_t epoch)
{
	uint8_t record[40] = {type, 0xfe, 0xfd, 0, epoch};
	put_be16(record + 11, sizeof(record) - 13);
	uint32_t bytes = udp_frame_of(frame, 20000, record, sizeof(record));
	frame[bytes - 1] ^= 1;
	return bytes;
}

static void write_capture(void)
{
	static const uint32_t file_header[6] = {0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1};
	FILE *file = fdopen(mkstemp(in_path), "wb");
	uint8_t frame[256];
	uint32_t bytes;
	fwrite(file_header, sizeof(file_header), 1, file);

	// Who has 10.99.1.2?
	memset(frame, 0, sizeof(frame));
	memcpy(frame, broadcast, 6);
	memcpy(frame + 6, peer_mac, 6);
	put_be16(frame + 12, 0x0806);
	static const uint8_t arp_head[] = {0, 1, 8, 0, 6, 4, 0, 1};
	memcpy(frame + 14, arp_head, 8);
	memcpy(frame + 22, peer_mac, 6);
	put_be32(frame + 28, PEER_IP);
	put_be32(frame + 38, OUR_IP);
	put_record(file, frame, 42);
	put_record(file, frame, 30); // ARP, cut short

	uint8_t echo[16] = {8, 0, 0, 0, 0x12, 0x34, 0, 1, 'r', 'e', 'l', 'a', 'y'};
	put_be16(echo + 2, checksum(echo, sizeof(echo), 0));
	bytes = ip_frame(frame, 1, echo, sizeof(echo));
	put_record(file, frame, bytes);
	echo[0] = 13; // a timestamp request
	bytes = ip_frame(frame, 1, echo, sizeof(echo));
	put_record(file, frame, bytes);

	put_record(file, frame, 10);
	bytes = udp_frame(frame, 20000, "nobody there");
	put_record(file, frame, bytes);
	frame[bytes - 1] ^= 1;
	put_record(file, frame, bytes); // UDP checksum
	put_record(file, frame, record_frame_damaged(frame, 23, 1)); // has a tag: goes on to whom it is for
	put_record(file, frame, record_frame_damaged(frame, 23, 0)); // has none
	put_record(file, frame, record_frame_damaged(frame, 22, 0));
	bytes = udp_frame(frame, 20000, "x");
	frame[14 + 8]--; // TTL changed, checksum not
	put_record(file, frame, bytes);
	bytes = udp_frame(frame, 20000, "x");
	put_record(file, frame, bytes - 4); // cut
	bytes = ip_frame(frame, 6, echo, sizeof(echo)); // TCP
	put_record(file, frame, bytes);
	bytes = udp_frame(frame, 20000, "x");
	put_be32(frame + 14 + 16, OUR_IP + 1);
	put_be16(frame + 14 + 10, 0);
	put_be16(frame + 14 + 10, checksum(frame + 14, 20, 0));
	put_record(file, frame, bytes); // not for us
	bytes = udp_frame(frame, 20000, "x");
	put_be16(frame + 14 + 6, 0x2000); // more fragments
	put_be16(frame + 14 + 10, 0);
	put_be16(frame + 14 + 10, checksum(frame + 14, 20, 0));
	put_record(file, frame, bytes);
	put_be16(frame + 12, 0x86dd);
	put_record(file, frame, bytes); // IPv6
	bytes = udp_frame(frame, 20000, "x");
	frame[0] = 2;
	put_record(file, frame, bytes); // another MAC address
	fclose(file);
}

static void wait_for(enum drop reason, uint64_t count)
{
	ENTERS(control_role);
	struct dataplane_info info;
	uint64_t limit = clock_mono_ns() + 20000000000u;
	do {
		dataplane_info(&info);
		if (info.drops[reason] >= count)
			break;
		sched_yield();
	} while (clock_mono_ns() < limit);
	if (info.drops[reason] != count)
		fail_msg("%s: %lu, expected %lu", drop_name(reason), info.drops[reason], count);
}

static void every_frame_dies_by_its_name(void **state)
{
	(void)state;
	static const enum drop expected[] = {DROP_ARP_MALFORMED, DROP_ICMP_IGNORED, DROP_ETH_SHORT, DROP_IP4_BAD_CHECKSUM,
		DROP_IP4_MALFORMED, DROP_IP4_UNKNOWN_PROTOCOL, DROP_IP4_NOT_FOR_US, DROP_IP4_FRAGMENT, DROP_ETH_UNKNOWN_TYPE,
		DROP_ETH_NOT_FOR_US};
	wait_for(DROP_UDP_NO_TRANSPORT, 2);
	wait_for(DROP_UDP_BAD_CHECKSUM, 3);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		wait_for(expected[i], 1);
}

// A signalling server may send candidates without end: they cost it nothing and must not fill the log.
static void surplus_candidates_do_not_fill_the_log(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct err err = {""};
	struct source_config track = {.input = SOURCE_TRACK};
	struct pcm *pcm = pcm_create(2000);
	struct source *source = dataplane_source_create(pcm, &track);
	struct transport_config config = {.generation = 1, .source = source};
	struct transport_local local;
	struct dataplane_info info;
	struct dataplane_event event;
	transport_id id;
	if (transport_open(&config, &id, &local, &err) < 0)
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < CANDIDATES; i++)
		assert_int_equal(transport_add_candidate(id, (struct endpoint){PEER_IP, (uint16_t)(1000 + i)}, 1), 0);
	transport_close(id); // behind them
	dataplane_source_destroy(source);
	uint64_t began = clock_mono_ns(), limit = began + 20000000000u;
	do {
		while (dataplane_event_next(&event))
			;
		dataplane_info(&info);
		sched_yield();
	} while (info.transports > 0 && clock_mono_ns() < limit);
	assert_int_equal(info.transports, 0);
	pcm_unref(pcm);
	unsigned seconds = (unsigned)((clock_mono_ns() - began) / 1000000000u) + 2;
	assert_in_range(atomic_load(&complaints), 1, seconds);
}

// Both answers go out by the one worker; the capture is read after everything stopped.
static void arp_and_echo_are_answered(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct dataplane_info info;
	uint64_t limit = clock_mono_ns() + 20000000000u;
	// The worker counts a packet as sent a moment before it lets go of the last mbuf in its hands.
	do
		dataplane_info(&info);
	while ((info.ports[0].tx_packets < 2 || info.mbufs_free < info.mbufs_total) && clock_mono_ns() < limit);
	assert_int_equal(info.ports[0].tx_packets, 2);
	assert_int_equal(info.mbufs_free, info.mbufs_total);
	dataplane_stop();

	FILE *file = fopen(out_path, "rb");
	assert_non_null(file);
	uint8_t data[1024];
	size_t bytes = fread(data, 1, sizeof(data), file);
	fclose(file);
	bool arp = false, echo = false;
	for (size_t at = 24; at + 16 <= bytes;) {
		uint32_t length;
		memcpy(&length, data + at + 8, 4);
		const uint8_t *frame = data + at + 16;
		assert_memory_equal(frame, peer_mac, 6);
		if (get_be16(frame + 12) == 0x0806) {
			arp = true;
			assert_int_equal(get_be16(frame + 20), 2);
			assert_int_equal(get_be32(frame + 28), OUR_IP);
			assert_memory_equal(frame + 6, frame + 22, 6);
		} else {
			echo = true;
			assert_int_equal(frame[34], 0);
			assert_int_equal(get_be32(frame + 26), OUR_IP);
			assert_int_equal(get_be32(frame + 30), PEER_IP);
			assert_int_equal(checksum(frame + 14, 20, 0), 0);
			assert_int_equal(checksum(frame + 34, 16, 0), 0);
			assert_memory_equal(frame + 42, "relay", 5);
		}
		at += 16 + length;
	}
	assert_true(arp);
	assert_true(echo);
	unlink(in_path);
	unlink(out_path);
}

static void on_log(int level, const char *text)
{
	if (strstr(text, "candidate") != NULL)
		atomic_fetch_add(&complaints, 1);
}

static int start(void **state)
{
	(void)state;
	struct err err = {""};
	struct dataplane_config config = {.port_count = 1, .worker_count = 1, .memory_mb = 128, .log = on_log};
	struct dataplane_port_config *port = &config.ports[0];
	cpu_set_t before, after;
	write_capture();
	close(mkstemp(out_path));
	sched_getaffinity(0, sizeof(before), &before);
	while (!CPU_ISSET(config.cores[0], &before))
		config.cores[0]++;
	*port = (struct dataplane_port_config){
		.name = "test", .address = OUR_IP, .prefix_bits = 24, .queues = 1, .udp_port_min = 20000, .udp_port_max = 20100};
	snprintf(port->device, sizeof(port->device), "pcap:%s,%s", in_path, out_path);
	if (dataplane_start(&config, &err) < 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	sched_getaffinity(0, sizeof(after), &after);
	return CPU_EQUAL(&before, &after) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_frame_dies_by_its_name), cmocka_unit_test(surplus_candidates_do_not_fill_the_log),
		cmocka_unit_test(arp_and_echo_are_answered)};
	return cmocka_run_group_tests(tests, start, NULL);
}
