// SPDX-License-Identifier: ISC
//
// udp_flood.c - random datagrams at a rate: udp-flood ADDRESS PORT_MIN PORT_MAX PACKETS_PER_SECOND SECONDS. Prints how many it sent.
//
// Runs on: a process of its own.

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/base.h"

#define BATCH 64
#define BYTES_MAX 200

static uint32_t noise = 1;

static uint32_t random_word(void)
{
	noise = noise * 1664525u + 1013904223u;
	return noise >> 8 ^ noise << 16;
}

int main(int argc, char **argv)
{
	struct in_addr address;
	if (argc != 6 || inet_pton(AF_INET, argv[1], &address) != 1) {
		fprintf(stderr, "usage: udp-flood ADDRESS PORT_MIN PORT_MAX PACKETS_PER_SECOND SECONDS\n");
		return 2;
	}
	unsigned port_min = (unsigned)atoi(argv[2]), ports = (unsigned)atoi(argv[3]) - port_min + 1;
	double rate = strtod(argv[4], NULL), seconds = strtod(argv[5], NULL);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static uint8_t payloads[BATCH][BYTES_MAX];
	static struct sockaddr_in to[BATCH];
	static struct iovec parts[BATCH];
	static struct mmsghdr messages[BATCH];
	uint64_t sent = 0, began = clock_mono_ns();
	while (fd >= 0) {
		double elapsed = (double)(clock_mono_ns() - began) / 1e9;
		if (elapsed >= seconds)
			break;
		uint64_t due = (uint64_t)(elapsed * rate);
		unsigned count = due > sent ? (unsigned)MIN_OF(due - sent, (uint64_t)BATCH) : 0;
		if (count == 0) {
			usleep(200);
			continue;
		}
		for (unsigned i = 0; i < count; i++) {
			for (unsigned k = 0; k < BYTES_MAX; k += 4)
				put_be32(payloads[i] + k, random_word());
			to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = address,
				.sin_port = htons((uint16_t)(port_min + random_word() % ports))};
			parts[i] = (struct iovec){payloads[i], 20 + random_word() % (BYTES_MAX - 20)};
			messages[i].msg_hdr = (struct msghdr){.msg_name = &to[i], .msg_namelen = sizeof(to[i]), .msg_iov = &parts[i],
				.msg_iovlen = 1};
		}
		int done = sendmmsg(fd, messages, count, 0);
		sent += done > 0 ? (unsigned)done : 0;
	}
	printf("%llu %.0f\n", (unsigned long long)sent, (double)sent / ((double)(clock_mono_ns() - began) / 1e9));
	return 0;
}
