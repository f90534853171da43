// SPDX-License-Identifier: ISC
//
// svc_stream_test.c - StreamAudio over a real socket: order, pace, loss, hand-over from one stream to the next.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>
#include <unistd.h>

#include "controlplane/grpc_call.h"
#include "controlplane/grpc_server.h"
#include "controlplane/latency.h"
#include "controlplane/svc_stream.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/audio.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"

#define GATE_LIMIT_S 60

#define METHOD "/mentra.livekit.bridge.LiveKitBridge/StreamAudio"

typedef Mentra__Livekit__Bridge__AudioChunk audio_chunk;

static char folder[64], socket_path[108], target[128], empty[] = "";
static struct config config;
static struct client client;

static int launch(unsigned workers)
{
	snprintf(folder, sizeof(folder), "/tmp/relay-stream-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(socket_path, sizeof(socket_path), "%s/bridge.sock", folder);
	snprintf(target, sizeof(target), "unix:%s", socket_path);
	config = (struct config){
		.grpc = {.socket = socket_path, .socket_mode = 0600, .socket_group = empty, .tcp = empty, .tls_cert = empty,
			.workers = workers, .max_connections = 16, .max_streams = 6}, // one connection has 4 of them
		.admin = {.socket = empty},
	};
	grpc_init();
	fake_start();
	struct err err = {""};
	if (grpc_server_launch(&config, &err) != 0)
		fail_msg("launch: %s", err.text);
	client_open(&client, target);
	return 0;
}

static int setup(void **state)
{
	return launch(2);
}

static int setup_alone(void **state)
{
	return launch(1);
}

static int teardown(void **state)
{
	client_close(&client);
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	char lock[128];
	snprintf(lock, sizeof(lock), "%s.lock", socket_path);
	unlink(lock);
	return rmdir(folder);
}

// The frame's number is in its first samples.
static void write_frame(struct fake_user *user)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {
		.bytes = PCM_CELL_BYTES,
		.flags = PCM_F_DECODED,
		.arrival_ns = clock_mono_ns(),
		.capture_us = 1700000000000000 + (int64_t)pcm_head(user->pcm) * PCM_CELL_MS * 1000,
	};
	uint64_t seq = pcm_head(user->pcm);
	memcpy(frame.samples, &seq, sizeof(seq));
	pcm_write(user->pcm, &frame);
}

static void start(struct client_call *call, char *user_id)
{
	client_start(call, &client, METHOD, 60000);
	assert_true(client_initial(call)); // comes before we say anything
	audio_chunk chunk = MENTRA__LIVEKIT__BRIDGE__AUDIO_CHUNK__INIT;
	chunk.user_id = user_id;
	assert_true(client_send(call, &chunk.base));
}

// Reads one message and checks that its frames are *next, *next + 1...; false at the end of the stream.
static bool receive(struct client_call *call, uint64_t *next, size_t *ret_bytes)
{
	audio_chunk *chunk = (audio_chunk *)client_recv(call, &mentra__livekit__bridge__audio_chunk__descriptor);
	if (chunk == NULL)
		return false;
	assert_int_equal(chunk->sample_rate, 16000);
	assert_int_equal(chunk->channels, 1);
	assert_int_equal(chunk->timestamp_ms, 1700000000000 + (int64_t)*next * PCM_CELL_MS);
	assert_int_equal(chunk->pcm_data.len % PCM_CELL_BYTES, 0);
	for (size_t at = 0; at < chunk->pcm_data.len; at += PCM_CELL_BYTES) {
		uint64_t seq;
		memcpy(&seq, chunk->pcm_data.data + at, sizeof(seq));
		assert_int_equal(seq, *next);
		(*next)++;
	}
	if (ret_bytes != NULL)
		*ret_bytes = chunk->pcm_data.len;
	protobuf_c_message_free_unpacked(&chunk->base, NULL);
	return true;
}

static void expect_end(struct client_call *call, int status, const char *text)
{
	int got = client_status(call);
	if (got != status)
		fail_msg("status %d \"%s\", expected %d", got, call->text, status);
	assert_string_equal(call->text, text);
	client_end(call);
}

static void first_message_decides(void **state)
{
	struct client_call call;
	client_start(&call, &client, METHOD, 60000);
	client_half_close(&call);
	expect_end(&call, GRPC_STATUS_INVALID_ARGUMENT,
		"failed to receive initial chunk: the client closed its side without sending one");
	start(&call, empty);
	expect_end(&call, GRPC_STATUS_INVALID_ARGUMENT, "userId required in first chunk");
	start(&call, "nobody");
	expect_end(&call, GRPC_STATUS_NOT_FOUND, "session not found for user nobody");
	client_start(&call, &client, METHOD, 60000);
	client_send_bytes(&call, "\x0a\xff", 2);
	expect_end(&call, GRPC_STATUS_INVALID_ARGUMENT,
		"failed to receive initial chunk: the message does not parse as mentra.livekit.bridge.AudioChunk");
}

struct end {
	struct fake_user *user;
	enum slot_stream_end how;
	const char *reason;
};

static void end_on_control(void *arg)
{
	struct end *end = arg;
	fake_end(end->user, end->how, end->reason);
}

static void frames_flow_and_uplink_is_counted(void **state)
{
	struct fake_user *user = fake_user("flow", 1000);
	struct client_call call;
	uint64_t next = 0, drops = atomic_load(&fake.drops[DROP_UPLINK_UNSUPPORTED]);
	size_t bytes;
	start(&call, "flow");
	struct latency_summary before, after;
	latency_summary(&latency_grpc, &before);
	for (unsigned i = 0; i < 20; i++) {
		write_frame(user);
		assert_true(receive(&call, &next, &bytes));
		assert_int_equal(bytes, PCM_CELL_BYTES);
	}
	audio_chunk up = MENTRA__LIVEKIT__BRIDGE__AUDIO_CHUNK__INIT;
	uint8_t sound[640] = {1};
	up.pcm_data = (ProtobufCBinaryData){.len = sizeof(sound), .data = sound};
	client_send(&call, &up.base);
	client_half_close(&call); // the downlink goes on
	for (unsigned i = 0; i < 20; i++) {
		write_frame(user);
		assert_true(receive(&call, &next, NULL));
	}
	assert_int_equal(next, 40);
	assert_int_equal(atomic_load(&fake.drops[DROP_UPLINK_UNSUPPORTED]), drops + 1);
	latency_summary(&latency_grpc, &after);
	assert_in_range(after.count - before.count, 19, 40); // the first frame may have been there before the stream
	fake_sync(end_on_control, &(struct end){user, SLOT_STREAM_UNAVAILABLE, "the room was deleted"});
	expect_end(&call, GRPC_STATUS_UNAVAILABLE, "the room was deleted");
	assert_int_equal(user->delivered, 40);
}

static void backlog_is_paced_and_packed(void **state)
{
	struct fake_user *user = fake_user("backlog", 4000);
	for (unsigned i = 0; i < 100; i++)
		write_frame(user);
	struct client_call call;
	uint64_t next = 0, began_ns = clock_mono_ns();
	size_t bytes, largest = 0;
	struct latency_summary before, after;
	latency_summary(&latency_grpc, &before);
	start(&call, "backlog");
	unsigned messages = 0;
	for (; next < 100; messages++) {
		assert_true(receive(&call, &next, &bytes));
		largest = MAX_OF(largest, bytes);
	}
	// 90 frames beyond the burst at 4 times real time: 450 ms.
	assert_in_range((clock_mono_ns() - began_ns) / 1000000, 430, 20000);
	assert_int_equal(largest, STREAM_FRAMES_PER_MESSAGE * PCM_CELL_BYTES);
	assert_in_range(messages, 20, 60);
	latency_summary(&latency_grpc, &after);
	assert_int_equal(after.count, before.count); // lay in the ring: says nothing about us
	fake_sync(end_on_control, &(struct end){user, SLOT_STREAM_OK, ""});
	expect_end(&call, GRPC_STATUS_OK, "");
}

static void lapped_frames_are_counted(void **state)
{
	struct fake_user *user = fake_user("lapped", 400); // 20 cells
	uint64_t drops = atomic_load(&fake.drops[DROP_PCM_LAPPED]);
	for (unsigned i = 0; i < 100; i++)
		write_frame(user);
	uint64_t next = pcm_tail(user->pcm), tail = next;
	struct client_call call;
	start(&call, "lapped");
	while (next < 100)
		assert_true(receive(&call, &next, NULL));
	assert_int_equal(atomic_load(&fake.drops[DROP_PCM_LAPPED]), drops + tail);
	fake_sync(end_on_control, &(struct end){user, SLOT_STREAM_OK, ""});
	expect_end(&call, GRPC_STATUS_OK, "");
}

static void cancelled_stream_is_detached(void **state)
{
	struct fake_user *user = fake_user("cancel", 1000);
	struct client_call call;
	uint64_t next = 0;
	start(&call, "cancel");
	write_frame(user);
	assert_true(receive(&call, &next, NULL));
	grpc_call_cancel(call.call, NULL);
	assert_int_equal(client_status(&call), GRPC_STATUS_CANCELLED);
	client_end(&call);
	for (unsigned i = 0; i < 10000 && atomic_load(&user->detaches) == 0; i++)
		usleep(1000);
	assert_int_equal(user->detaches, 1);
	assert_int_equal(user->delivered, 1);
	// The next one goes on where this one was.
	write_frame(user);
	start(&call, "cancel");
	assert_true(receive(&call, &next, NULL));
	assert_int_equal(next, 2);
	fake_sync(end_on_control, &(struct end){user, SLOT_STREAM_OK, ""});
	expect_end(&call, GRPC_STATUS_OK, "");
}

// The writer of a ring in a hurry.
struct writer {
	struct fake_user *user;
	unsigned frames;
	pthread_t thread;
};

static void *writer_main(void *arg)
{
	struct writer *writer = arg;
	for (unsigned i = 0; i < writer->frames; i++) {
		write_frame(writer->user);
		usleep(5000);
	}
	return NULL;
}

static void newest_stream_wins_and_loses_nothing(void **state)
{
	struct writer writer = {.user = fake_user("winner", 20000), .frames = 400};
	pthread_create(&writer.thread, NULL, writer_main, &writer);
	struct client_call calls[2];
	uint64_t next = 0;
	unsigned current = 0, taken = 0;
	start(&calls[0], "winner");
	while (next < writer.frames) {
		for (unsigned i = 0; i < 7 && next < writer.frames; i++)
			assert_true(receive(&calls[current], &next, NULL));
		if (next == writer.frames)
			break;
		start(&calls[1 - current], "winner");
		// What the old one still had on its way arrives before its OK; the new one starts after that.
		while (receive(&calls[current], &next, NULL))
			;
		expect_end(&calls[current], GRPC_STATUS_OK, "");
		current = 1 - current;
		taken++;
	}
	pthread_join(writer.thread, NULL);
	assert_int_equal(next, writer.frames);
	assert_in_range(taken, 10, 400);
	fake_sync(end_on_control, &(struct end){writer.user, SLOT_STREAM_OK, ""});
	expect_end(&calls[current], GRPC_STATUS_OK, "");
}

static void listen_says_more_and_begins_where_it_is_told(void **state)
{
	struct fake_user *user = fake_user("listener", 1000);
	for (int i = 0; i < 7; i++)
		write_frame(user);
	for (int from_now = 0; from_now < 2; from_now++) {
		struct client_call call;
		client_start(&call, &client, "/relay.v1.Audio/Listen", 60000);
		assert_true(client_initial(&call));
		char user_id[] = "listener";
		Relay__V1__ListenRequest request = RELAY__V1__LISTEN_REQUEST__INIT;
		request.user_id = user_id;
		request.from_now = from_now;
		request.coalesce_ms = 60;
		assert_true(client_send(&call, &request.base));
		while (atomic_load(&user->attaches) < (unsigned)from_now + 1)
			sched_yield();
		for (int i = 0; from_now && i < 3; i++)
			write_frame(user);
		uint64_t next = from_now ? 7 : 0;
		for (unsigned messages = 0; next < (from_now ? 10 : 7); messages++) {
			Relay__V1__AudioFrames *frames =
				(Relay__V1__AudioFrames *)client_recv(&call, &relay__v1__audio_frames__descriptor);
			assert_non_null(frames);
			assert_int_equal(frames->sequence, next);
			assert_int_equal(frames->pcm.len, frames->count * PCM_CELL_BYTES);
			assert_int_equal(frames->capture_us, 1700000000000000 + (int64_t)next * PCM_CELL_MS * 1000);
			assert_int_equal(frames->flags, PCM_F_DECODED);
			assert_true(messages > 0 || frames->count >= 3); // a message waits for 60 ms of audio
			next += frames->count;
			protobuf_c_message_free_unpacked(&frames->base, NULL);
		}
		grpc_call_cancel(call.call, NULL);
		assert_int_equal(client_status(&call), GRPC_STATUS_CANCELLED);
		client_end(&call);
		while (atomic_load(&user->detaches) < (unsigned)from_now + 1)
			sched_yield();
	}
}

static void too_many_streams_are_refused(void **state)
{
	struct client_call calls[5];
	char *users[] = {"many-0", "many-1", "many-2", "many-3"};
	struct fake_user *made[4];
	for (unsigned i = 0; i < 4; i++) {
		made[i] = fake_user(users[i], 200);
		start(&calls[i], users[i]);
	}
	client_start(&calls[4], &client, METHOD, 20000);
	assert_int_equal(client_status(&calls[4]), GRPC_STATUS_RESOURCE_EXHAUSTED);
	client_end(&calls[4]);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t next = 0;
		write_frame(made[i]);
		assert_true(receive(&calls[i], &next, NULL));
		fake_sync(end_on_control, &(struct end){made[i], SLOT_STREAM_OK, ""});
		expect_end(&calls[i], GRPC_STATUS_OK, "");
	}
}

// ---- a worker that is held where it counts lapped frames

static sem_t gate_reached, gate_open;

static void gate(enum drop reason)
{
	if (reason != DROP_PCM_LAPPED)
		return;
	sem_post(&gate_reached);
	sem_wait(&gate_open);
}

static void gate_wait(void)
{
	struct timespec limit;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += GATE_LIMIT_S;
	if (sem_timedwait(&gate_reached, &limit) == 0)
		return;
	atomic_store(&fake.dropped, NULL);
	sem_post(&gate_open);
	fail_msg("the worker met no lapped frame");
}

// Caught up: the one frame is with the client, and the worker knows.
static struct fake_user *begin_with_a_frame(const char *name, struct client_call *call, uint64_t *ret_next)
{
	struct fake_user *user = fake_user(name, 400);
	*ret_next = 0;
	start(call, user->name);
	write_frame(user);
	assert_true(receive(call, ret_next, NULL));
	while (atomic_load(&user->stream->frames) == 0)
		sched_yield();
	return user;
}

static uint64_t lap(struct fake_user *user)
{
	for (unsigned i = 0; i < 100; i++)
		write_frame(user);
	return pcm_tail(user->pcm);
}

static void receive_rest(struct fake_user *user, struct client_call *call, uint64_t next)
{
	while (next < pcm_head(user->pcm))
		assert_true(receive(call, &next, NULL));
	fake_sync(end_on_control, &(struct end){user, SLOT_STREAM_OK, ""});
	expect_end(call, GRPC_STATUS_OK, "");
}

// Control ends a stream that is behind, just before the worker looks at it: what it missed is the next one's, and counted once.
static void lapped_frames_of_an_ended_stream_are_counted_once(void **state)
{
	struct client_call calls[3];
	uint64_t next, tails[3], drops = atomic_load(&fake.drops[DROP_PCM_LAPPED]);
	struct fake_user *before = begin_with_a_frame("before", &calls[0], &next); // the worker looks at it before the next one
	struct fake_user *ended = begin_with_a_frame("ended", &calls[1], &next);
	struct fake_user *first = fake_user("first", 400);
	sem_init(&gate_reached, 0, 0);
	sem_init(&gate_open, 0, 0);
	tails[2] = lap(first);
	atomic_store(&fake.dropped, gate);
	start(&calls[2], first->name);
	gate_wait(); // while it stands there two more are lapped
	tails[0] = lap(before);
	tails[1] = lap(ended);
	sem_post(&gate_open);
	gate_wait(); // at the first of them
	fake_sync(end_on_control, &(struct end){ended, SLOT_STREAM_OK, ""});
	atomic_store(&fake.dropped, NULL);
	sem_post(&gate_open);
	expect_end(&calls[1], GRPC_STATUS_OK, "");
	assert_int_equal(ended->delivered, 1);
	assert_int_equal(atomic_load(&fake.drops[DROP_PCM_LAPPED]) - drops, tails[2] + tails[0] - 1);
	start(&calls[1], ended->name);
	receive_rest(ended, &calls[1], tails[1]);
	assert_int_equal(atomic_load(&fake.drops[DROP_PCM_LAPPED]) - drops, tails[2] + tails[0] - 1 + tails[1] - 1);
	receive_rest(before, &calls[0], tails[0]);
	receive_rest(first, &calls[2], tails[2]);
	sem_destroy(&gate_reached);
	sem_destroy(&gate_open);
}

// Streams that ended just now still get their status out.
static void server_stops_with_streams_open(void **state)
{
	struct fake_user *user = fake_user("open", 1000);
	struct client_call call;
	uint64_t next = 0;
	start(&call, "open");
	write_frame(user);
	assert_true(receive(&call, &next, NULL));
	fake_sync(end_on_control, &(struct end){user, SLOT_STREAM_UNAVAILABLE, "shutting down"});
	uint64_t began_ns = clock_mono_ns();
	grpc_server_stop();
	assert_in_range((clock_mono_ns() - began_ns) / 1000000, 0, 3000);
	expect_end(&call, GRPC_STATUS_UNAVAILABLE, "shutting down");
	assert_int_equal(atomic_load(&call_stats.calls), 0);
	assert_int_equal(atomic_load(&call_stats.streams), 0);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // one test by name
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_message_decides),
		cmocka_unit_test(frames_flow_and_uplink_is_counted),
		cmocka_unit_test(backlog_is_paced_and_packed),
		cmocka_unit_test(lapped_frames_are_counted),
		cmocka_unit_test(cancelled_stream_is_detached),
		cmocka_unit_test(newest_stream_wins_and_loses_nothing),
		cmocka_unit_test(listen_says_more_and_begins_where_it_is_told),
		cmocka_unit_test(too_many_streams_are_refused),
		cmocka_unit_test(server_stops_with_streams_open),
	};
	const struct CMUnitTest alone[] = {
		cmocka_unit_test(lapped_frames_of_an_ended_stream_are_counted_once),
	};
	return cmocka_run_group_tests(tests, setup, teardown) + cmocka_run_group_tests(alone, setup_alone, teardown);
}
