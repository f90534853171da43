// SPDX-License-Identifier: ISC
//
// injector.c - the network that misbehaves: forwards frames between two interfaces, and from the first to the second it loses,
// repeats, delays and reorders media as it is told.
//
//   injector FROM TO SOCKET
//
// SOCKET (Unix, stream) takes lines of words and answers each with a line of JSON, the counters since the last `set`:
//   get
//   set [seed=N] [loss=PERCENT] [burst=PACKETS] [dup=PERCENT] [delay=MS] [jitter=MS] [reorder=PERCENT] [hold=MS]
// What a set does not name is off. burst: mean length of a loss (two states, Gilbert); 1: each packet by itself. jitter: up to so
// much on top of delay, evenly. reorder: that share is held for `hold` ms. Media is RTP and DTLS records with audio in them; all
// else passes, so that connections live and every packet that was dropped is a packet of audio.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 2048
#define QUEUE_MAX 4096
#define RECORD_AUDIO_MIN 400 // a record this long carries audio; SACKs and heartbeats are shorter
#define MS 1000000ull

enum media { NOT_MEDIA, MEDIA_RTP, MEDIA_RECORD };

struct settings {
	double loss, burst, dup, reorder; // shares of one; burst in packets
	double delay_ms, jitter_ms, hold_ms;
	uint64_t random;
	bool in_burst;
};

// Of RTP, by sequence number: how it came and went, since a retransmission has the number of the first try.
enum { SEEN = 1, PASSED = 2 };
struct counters {
	uint64_t rtp, rtp_dropped, rtp_again, rtp_again_dropped, rtp_dup, rtp_held;
	uint64_t records, records_dropped, records_dup, records_held, overflow;
	uint32_t ssrc; // of the stream that is counted
	uint8_t state[65536];
};

struct frame {
	uint64_t due_ns;
	size_t bytes;
	uint8_t data[FRAME_MAX];
};

static struct settings settings;
static struct counters counters;
static struct frame queue[QUEUE_MAX];
static unsigned queued;
static int from_fd, to_fd;

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

// xorshift64*: the same seed, the same network.
static double chance(void)
{
	settings.random ^= settings.random >> 12;
	settings.random ^= settings.random << 25;
	settings.random ^= settings.random >> 27;
	return (double)(settings.random * 2685821657736338717ull >> 11) / (double)(1ull << 53);
}

static bool is_lost(void)
{
	if (settings.loss <= 0)
		return false;
	if (settings.burst <= 1)
		return chance() < settings.loss;
	double enter = settings.loss / (settings.burst * (1 - settings.loss)), leave = 1 / settings.burst;
	settings.in_burst = settings.in_burst ? chance() >= leave : chance() < enter;
	return settings.in_burst;
}

// ---- frames

static int interface_open(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
	int on = 1;
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		fprintf(stderr, "injector: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	return fd;
}

static enum media media_of(const uint8_t *frame, size_t bytes, const uint8_t **ret_payload)
{
	if (bytes < 14 + 20 + 8 + 13 || frame[12] != 8 || frame[13] != 0 || frame[14] != 0x45 || frame[23] != 17)
		return NOT_MEDIA;
	const uint8_t *payload = frame + 14 + 20 + 8;
	*ret_payload = payload;
	if (payload[0] >> 6 == 2)
		return payload[1] >= 192 && payload[1] < 224 ? NOT_MEDIA : MEDIA_RTP;
	return payload[0] == 23 && bytes >= 14 + 20 + 8 + RECORD_AUDIO_MIN ? MEDIA_RECORD : NOT_MEDIA;
}

static void put(int fd, const uint8_t *frame, size_t bytes)
{
	if (send(fd, frame, bytes, 0) < 0)
		counters.overflow++;
}

static void put_later(const uint8_t *frame, size_t bytes, uint64_t due_ns)
{
	if (queued == QUEUE_MAX) {
		counters.overflow++;
		return;
	}
	struct frame *waiting = &queue[queued++];
	waiting->due_ns = due_ns;
	waiting->bytes = bytes;
	memcpy(waiting->data, frame, bytes);
}

// What is due goes in the order in which it is due; returns when the next one is, 0: none waits.
static uint64_t put_due(uint64_t now)
{
	for (;;) {
		unsigned first = 0;
		for (unsigned i = 1; i < queued; i++)
			if (queue[i].due_ns < queue[first].due_ns)
				first = i;
		if (queued == 0)
			return 0;
		if (queue[first].due_ns > now)
			return queue[first].due_ns;
		put(to_fd, queue[first].data, queue[first].bytes);
		queue[first] = queue[--queued];
	}
}

// Counts an RTP packet by its number; dropped or not.
static void count_rtp(const uint8_t *payload, bool dropped)
{
	uint32_t ssrc = (uint32_t)payload[8] << 24 | (uint32_t)payload[9] << 16 | (uint32_t)payload[10] << 8 | payload[11];
	uint8_t *state = &counters.state[payload[2] << 8 | payload[3]];
	if (counters.ssrc != ssrc)
		memset(counters.state, 0, sizeof(counters.state));
	counters.ssrc = ssrc;
	if (*state & SEEN) {
		counters.rtp_again++;
		counters.rtp_again_dropped += dropped;
	} else {
		counters.rtp++;
		counters.rtp_dropped += dropped;
	}
	*state |= dropped ? SEEN : SEEN | PASSED;
}

static void disturb(const uint8_t *frame, size_t bytes, uint64_t now)
{
	const uint8_t *payload;
	enum media media = media_of(frame, bytes, &payload);
	if (media == NOT_MEDIA) {
		put(to_fd, frame, bytes);
		return;
	}
	bool rtp = media == MEDIA_RTP, dropped = is_lost();
	if (rtp)
		count_rtp(payload, dropped);
	else
		counters.records++, counters.records_dropped += dropped;
	if (dropped)
		return;
	double wait_ms = settings.delay_ms;
	if (settings.jitter_ms > 0)
		wait_ms += chance() * settings.jitter_ms;
	if (settings.reorder > 0 && chance() < settings.reorder) {
		wait_ms += settings.hold_ms;
		*(rtp ? &counters.rtp_held : &counters.records_held) += 1;
	}
	unsigned copies = settings.dup > 0 && chance() < settings.dup ? 2 : 1;
	*(rtp ? &counters.rtp_dup : &counters.records_dup) += copies - 1;
	for (; copies > 0; copies--) {
		if (wait_ms > 0)
			put_later(frame, bytes, now + (uint64_t)(wait_ms * (double)MS));
		else
			put(to_fd, frame, bytes);
	}
}

// ---- commands

static void set(char *words)
{
	double percent_loss = 0, burst = 1, dup = 0, delay = 0, jitter = 0, reorder = 0, hold = 0, seed = 1;
	const struct {
		const char *name;
		double *value;
	} known[] = {{"loss=", &percent_loss}, {"burst=", &burst}, {"dup=", &dup}, {"delay=", &delay}, {"jitter=", &jitter},
		{"reorder=", &reorder}, {"hold=", &hold}, {"seed=", &seed}};
	for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
		for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (strncmp(word, known[i].name, strlen(known[i].name)) == 0)
				*known[i].value = strtod(word + strlen(known[i].name), NULL);
	settings = (struct settings){.loss = percent_loss / 100, .burst = burst, .dup = dup / 100, .reorder = reorder / 100,
		.delay_ms = delay, .jitter_ms = jitter, .hold_ms = hold, .random = (uint64_t)seed * 0x9e3779b97f4a7c15ull | 1};
	memset(&counters, 0, sizeof(counters));
}

static void answer(int fd)
{
	uint64_t never = 0;
	for (unsigned i = 0; i < 65536; i++)
		never += counters.state[i] == SEEN;
	dprintf(fd,
		"{\"rtp\":%llu,\"rtp_dropped\":%llu,\"rtp_never\":%llu,\"rtp_again\":%llu,\"rtp_again_dropped\":%llu,\"rtp_dup\":%llu,"
		"\"rtp_held\":%llu,\"records\":%llu,\"records_dropped\":%llu,\"records_dup\":%llu,\"records_held\":%llu,\"overflow\":%llu,"
		"\"waiting\":%u}\n",
		(unsigned long long)counters.rtp, (unsigned long long)counters.rtp_dropped, (unsigned long long)never,
		(unsigned long long)counters.rtp_again, (unsigned long long)counters.rtp_again_dropped,
		(unsigned long long)counters.rtp_dup, (unsigned long long)counters.rtp_held, (unsigned long long)counters.records,
		(unsigned long long)counters.records_dropped, (unsigned long long)counters.records_dup,
		(unsigned long long)counters.records_held, (unsigned long long)counters.overflow, queued);
}

// One connection, one line, one answer.
static void serve(int listener)
{
	char line[256];
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		return;
	ssize_t bytes = read(fd, line, sizeof(line) - 1);
	line[bytes > 0 ? bytes : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	answer(fd);
	if (strncmp(line, "set", 3) == 0)
		set(line + 3);
	close(fd);
}

static int listener_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 8) != 0) {
		fprintf(stderr, "injector: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	uint8_t frame[FRAME_MAX];
	ssize_t bytes;
	if (argc != 4) {
		fprintf(stderr, "usage: injector FROM TO SOCKET\n");
		return 2;
	}
	from_fd = interface_open(argv[1]);
	to_fd = interface_open(argv[2]);
	int listener = listener_open(argv[3]);
	for (;;) {
		uint64_t now = now_ns(), due = put_due(now);
		struct timespec wait = {.tv_sec = (time_t)((due > now ? due - now : 0) / 1000000000),
			.tv_nsec = (long)((due > now ? due - now : 0) % 1000000000)};
		struct pollfd fds[] = {{from_fd, POLLIN, 0}, {to_fd, POLLIN, 0}, {listener, POLLIN, 0}};
		if (ppoll(fds, 3, due != 0 ? &wait : NULL, NULL) < 0 && errno != EINTR)
			return 1;
		while ((bytes = recv(from_fd, frame, sizeof(frame), 0)) > 0)
			disturb(frame, (size_t)bytes, now_ns());
		while ((bytes = recv(to_fd, frame, sizeof(frame), 0)) > 0)
			put(from_fd, frame, (size_t)bytes);
		if (fds[2].revents & POLLIN)
			serve(listener);
	}
}
