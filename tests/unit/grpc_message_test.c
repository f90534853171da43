// SPDX-License-Identifier: ISC
//
// grpc_message_test.c - messages that clients compress: read like any other, and none becomes larger than a message may be.
//
// Runs on: any.

#include <zlib.h>

#include "controlplane/grpc_call.h"
#include "controlplane/grpc_message.h"
#include "tests/support/grpc_world.h"

#define GZIP_BITS (MAX_WBITS + 16)
#define BOMB_BYTES 100000000u
#define GROWTH_MAX_KB (32u << 10)

// What the next message is made of, compressed.
struct packed {
	uint8_t *data;
	size_t bytes;
};

static struct packed pack_times(const void *data, size_t bytes, size_t times, int bits)
{
	struct packed packed = {.data = malloc(times * bytes / 100 + bytes + 4096)};
	z_stream z = {.next_out = packed.data, .avail_out = (uInt)(times * bytes / 100 + bytes + 4096)};
	assert_int_equal(deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
	for (size_t i = 0; i < times; i++) {
		z.next_in = (Bytef *)(uintptr_t)data;
		z.avail_in = (uInt)bytes;
		assert_int_equal(deflate(&z, i + 1 == times ? Z_FINISH : Z_NO_FLUSH), i + 1 == times ? Z_STREAM_END : Z_OK);
	}
	packed.bytes = z.total_out;
	deflateEnd(&z);
	return packed;
}

// Of BYTES zeros.
static struct packed pack_zeros(size_t bytes, int bits)
{
	static const uint8_t zeros[10000];
	assert_int_equal(bytes % sizeof(zeros), 0);
	return pack_times(zeros, sizeof(zeros), bytes / sizeof(zeros), bits);
}

// ---- one message

// In pieces of at most PIECE bytes, as the network cuts it.
static int read_message(const uint8_t *data, size_t bytes, size_t piece, size_t max, grpc_slice *ret_slice)
{
	ENTERS(io_role);
	grpc_slice slices[64];
	size_t count = 0;
	for (size_t at = 0; at < bytes; at += piece)
		slices[count++] = grpc_slice_from_copied_buffer((const char *)data + at, MIN_OF(piece, bytes - at));
	grpc_byte_buffer *buffer = grpc_raw_compressed_byte_buffer_create(slices, count, GRPC_COMPRESS_GZIP);
	for (size_t i = 0; i < count; i++)
		grpc_slice_unref(slices[i]);
	return grpc_message_read(buffer, max, ret_slice);
}

static void expect_read(const struct packed *packed, size_t piece, size_t max, const char *text)
{
	grpc_slice slice;
	assert_int_equal(read_message(packed->data, packed->bytes, piece, max, &slice), 0);
	assert_int_equal(GRPC_SLICE_LENGTH(slice), strlen(text));
	assert_memory_equal(GRPC_SLICE_START_PTR(slice), text, strlen(text));
	grpc_slice_unref(slice);
}

static void messages_inflate_whatever_their_pieces(void **state)
{
	char text[3000];
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	text[sizeof(text) - 1] = '\0';
	size_t length = strlen(text);
	struct packed gzip = pack_times(text, length, 1, GZIP_BITS), zlib = pack_times(text, length, 1, MAX_WBITS);
	struct packed nothing = pack_times(text, 0, 1, GZIP_BITS);
	grpc_slice slice;
	for (size_t piece = 2; piece <= gzip.bytes; piece++) {
		expect_read(&gzip, piece, length, text); // exactly as long as it may be
		expect_read(&zlib, MIN_OF(piece, zlib.bytes), 1 << 20, text);
		assert_int_equal(read_message(gzip.data, gzip.bytes, piece, length - 1, &slice), -EMSGSIZE);
	}
	expect_read(&nothing, nothing.bytes, 1 << 20, "");
	for (size_t bytes = 0; bytes < gzip.bytes; bytes++) // cut off
		assert_int_equal(read_message(gzip.data, bytes, 64, 1 << 20, &slice), -EBADMSG);
	uint8_t more[256];
	memcpy(more, gzip.data, gzip.bytes);
	memcpy(more + gzip.bytes, "more", 4);
	for (size_t piece = gzip.bytes; piece < gzip.bytes + 5; piece++)
		assert_int_equal(read_message(more, gzip.bytes + 4, piece, 1 << 20, &slice), -EBADMSG);
	assert_int_equal(read_message((const uint8_t *)"no gzip at all", 14, 14, 1 << 20, &slice), -EBADMSG);
	free(gzip.data);
	free(zlib.data);
	free(nothing.data);
}

// ---- over a socket

// A client that says that it compresses, and does so with what is worth it.
static void open_compressing(struct client *compressing)
{
	client_compression = GRPC_COMPRESS_GZIP;
	client_open(compressing, target);
	client_compression = GRPC_COMPRESS_NONE;
}

static void send_packed(struct client_call *call, const struct packed *packed)
{
	grpc_slice slice = grpc_slice_from_copied_buffer((const char *)packed->data, packed->bytes);
	grpc_byte_buffer *buffer = grpc_raw_compressed_byte_buffer_create(&slice, 1, GRPC_COMPRESS_GZIP);
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
	grpc_call_start_batch(call->call, &op, 1, &call->send_tag, NULL);
	client_pluck(call, &call->send_tag);
	grpc_byte_buffer_destroy(buffer);
	grpc_slice_unref(slice);
}

static void compressed_requests_are_read(void **state)
{
	struct client compressing;
	char long_user[60] = {0};
	memset(long_user, 'a', sizeof(long_user) - 1); // worth it
	fake_user(long_user, 200);
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	request.user_id = long_user;
	ProtobufCMessage *message;
	open_compressing(&compressing);
	assert_int_equal(client_unary(&compressing, BRIDGE "GetStatus", &request.base,
				 &mentra__livekit__bridge__bridge_status_response__descriptor, &message, NULL, 0),
		GRPC_STATUS_OK);
	assert_true(((Mentra__Livekit__Bridge__BridgeStatusResponse *)message)->connected);
	protobuf_c_message_free_unpacked(message, NULL);
	client_close(&compressing);
}

static void expect_status(struct client *compressing, const char *method, const struct packed *packed, int status, const char *part)
{
	struct client_call call;
	client_start(&call, compressing, method, 20000);
	send_packed(&call, packed);
	client_half_close(&call);
	assert_int_equal(client_status(&call), status);
	if (strstr(call.text, part) == NULL)
		fail_msg("expected \"%s\" in \"%s\"", part, call.text);
	client_end(&call);
}

static unsigned long peak_kb(void)
{
	char line[128];
	unsigned long kb = 0;
	FILE *file = fopen("/proc/self/status", "re");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		sscanf(line, "VmHWM: %lu", &kb);
	if (file != NULL)
		fclose(file);
	assert_int_not_equal(kb, 0);
	return kb;
}

static void bombs_are_refused_and_take_no_memory(void **state)
{
	struct client compressing;
	open_compressing(&compressing);
	struct packed bomb = pack_zeros(BOMB_BYTES, GZIP_BITS), broken = bomb;
	assert_in_range(bomb.bytes, 1, CALL_MESSAGE_BYTES_MAX / 4); // no message that is too long as it comes
	unsigned long before = peak_kb();
	for (unsigned i = 0; i < 3; i++) {
		expect_status(&compressing, BRIDGE "JoinRoom", &bomb, GRPC_STATUS_RESOURCE_EXHAUSTED, "larger than max");
		expect_status(&compressing, BRIDGE "StreamAudio", &bomb, GRPC_STATUS_RESOURCE_EXHAUSTED, "larger than max");
	}
	assert_in_range(peak_kb() - before, 0, GROWTH_MAX_KB);
	broken.bytes = 100;
	expect_status(&compressing, BRIDGE "JoinRoom", &broken, GRPC_STATUS_INVALID_ARGUMENT, "does not decompress");
	expect_answer(&compressing); // the connection lives on
	free(bomb.data);
	client_close(&compressing);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // one test by name
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_inflate_whatever_their_pieces),
		cmocka_unit_test(compressed_requests_are_read),
		cmocka_unit_test(bombs_are_refused_and_take_no_memory),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
