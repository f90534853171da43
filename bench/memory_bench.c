// SPDX-License-Identifier: ISC
//
// memory_bench.c - bytes a user costs, part by part: slot, leg, signalling, ring, source, decoder, transport, SRTP, DTLS, SCTP,
// gRPC stream.
//
// Runs on: whatever each part asks for; there is one thread but for gRPC's and the WebSockets', and each peer is a process.

#define NO_COMPAT_IMB_API_053 // its old names are OpenSSL's too
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STREAMS 256 // users who listen, one stream each
#define FAKE_USERS_MAX STREAMS
#include "bench/bench.h"
#include "controlplane/grpc_server.h"
#include "controlplane/slot_state.h"
#include "controlplane/soniox_replay.h"
#include "dataplane/dtls.h"
#include "dataplane/dtls_record.h"
#include "dataplane/home.h"
#include "dataplane/opus_dec.h"
#include "dataplane/sctp_assoc.h"
#include "dataplane/srtp_context.h"
#include "dataplane/transport.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"

#define COPIES 64
#define LIMIT_KIB 512
#define REPLAY_MS 30000 // soniox.replay_ms, where nobody sets it
#define METHOD "/mentra.livekit.bridge.LiveKitBridge/StreamAudio"
#define KIB 1024.0

static double allocated(void)
{
	struct mallinfo2 info = mallinfo2();
	return (double)(info.uordblks + info.hblkhd);
}

static double resident(void)
{
	unsigned long size = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (file == NULL || fscanf(file, "%lu %lu", &size, &pages) != 2)
		abort();
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "memory_bench: %s\n", what);
	exit(1);
}

#include "bench/signalling.h"

static struct {
	double total, handshake, packets, replay, ws;
	unsigned table;
} sum;

static void part(const char *label, double bytes)
{
	bench_row(sum.table, label, (double[]){bytes / KIB}, 1);
	sum.total += bytes;
}

// ---- what has no peer

static void rings_and_sources(void)
{
	ENTERS(control_role);
	struct pcm *rings[COPIES];
	struct source *sources[COPIES];
	struct source_config config = {.input = SOURCE_AUTO};
	double before = allocated();
	for (unsigned i = 0; i < COPIES; i++)
		must((rings[i] = pcm_create(10000)) != NULL, "ring");
	double ring = (allocated() - before) / COPIES;
	before = allocated();
	struct pcm *packets = pcm_create(2000);
	must(packets != NULL, "ring of packets");
	sum.packets = allocated() - before;
	pcm_unref(packets);
	before = allocated();
	for (unsigned i = 0; i < COPIES; i++)
		must((sources[i] = source_create(rings[i], &config)) != NULL, "source");
	double source = (allocated() - before) / COPIES, decoder = (double)opus_dec_bytes();
	part("PCM ring, 10 s", ring);
	part("source: order, repair, copies, its home", source - decoder + sizeof(struct home) + sizeof(struct home_hearing));
	part("Opus decoder", decoder);
	for (unsigned i = 0; i < COPIES; i++) {
		source_destroy(sources[i]);
		pcm_unref(rings[i]);
	}
}

// What a connection that breaks has again; only users that are transcribed have one.
static void replays(void)
{
	double before = allocated();
	struct soniox_replay *replay = soniox_replay_create(REPLAY_MS);
	must(replay != NULL, "replay");
	sum.replay = allocated() - before;
	soniox_replay_free(replay);
}

static void transports(void)
{
	ENTERS(control_role);
	struct ice_config config = {0};
	struct ice *ices[COPIES];
	struct transport transport = {0};
	transport.local = (struct endpoint){0x0a630102, 20000};
	handshake_ice_config(&transport, &config);
	double before = allocated();
	for (unsigned i = 0; i < COPIES; i++)
		must((ices[i] = ice_create(&config, NULL)) != NULL, "ice");
	part("transport", sizeof(struct transport));
	part("ICE agent", (allocated() - before) / COPIES);
	part("SRTP keys and state", sizeof(struct srtp));
	for (unsigned i = 0; i < COPIES; i++)
		ice_destroy(ices[i]);
}

static void signalling(void)
{
	part("slot", sizeof(struct slot));
	part("leg, with its token, in a room of up to nine", signalling_leg_bytes());
	sum.ws = signalling_bytes(false);
	part("signalling by wss: WebSocket and TLS", signalling_bytes(true));
}

// ---- DTLS: two ends, datagrams by hand

struct datagrams {
	uint8_t data[16][2048];
	size_t bytes[16];
	unsigned count;
};

static void keep(void *arg, const uint8_t *data, size_t bytes)
{
	struct datagrams *queue = arg;
	must(queue->count < 16 && bytes <= sizeof(queue->data[0]), "too many datagrams at once");
	memcpy(queue->data[queue->count], data, bytes);
	queue->bytes[queue->count++] = bytes;
}

static void pass(struct datagrams *queue, struct dtls *to)
{
	struct datagrams now = *queue;
	queue->count = 0;
	for (unsigned i = 0; i < now.count; i++)
		dtls_input(to, now.data[i], now.bytes[i]);
}

static void dtls_ends(void)
{
	static struct datagrams queues[2];
	struct err err = {""};
	struct dtls_identity *identity = dtls_identity_create(&err);
	struct dtls *ends[COPIES][2];
	must(identity != NULL, err.text);
	double before = allocated();
	for (unsigned i = 0; i < COPIES; i++) {
		for (unsigned e = 0; e < 2; e++) {
			ends[i][e] = dtls_create(identity, e == 0 ? DTLS_CLIENT : DTLS_SERVER, dtls_identity_fingerprint(identity),
				NULL, keep, &queues[e], &err);
			must(ends[i][e] != NULL, err.text);
		}
		dtls_start(ends[i][0]);
		for (unsigned turn = 0; turn < 20 && dtls_state(ends[i][0]) == DTLS_HANDSHAKING; turn++) {
			pass(&queues[0], ends[i][1]);
			pass(&queues[1], ends[i][0]);
		}
		must(dtls_state(ends[i][0]) == DTLS_ESTABLISHED, "the DTLS handshake did not end");
		queues[0].count = queues[1].count = 0;
	}
	sum.handshake = (allocated() - before) / COPIES / 2;
	// What is left of it when the record layer has taken over.
	double records = 0;
	for (unsigned i = 0; i < COPIES; i++) {
		double now = allocated();
		struct dtls_record *record = dtls_take_record(ends[i][0], &err);
		must(record != NULL, err.text);
		records += allocated() - now;
		dtls_record_destroy(record);
		dtls_destroy(ends[i][0]);
		dtls_destroy(ends[i][1]);
	}
	part("DTLS, established", records / COPIES);
	dtls_identity_destroy(identity);
}

// ---- SCTP: what assoc allocates; the worker's part is in the transport

static void sctp_keep(void *arg, const uint8_t *packet, size_t bytes)
{
	keep(arg, packet, bytes);
}

static void sctp_up(void *arg, const struct sctp_up *up)
{
}

static void sctp_message(void *arg, const struct sctp_message *message)
{
}

static void sctp_changed(void *arg, enum sctp_state state)
{
}

static void sctp_ends(void)
{
	static struct datagrams out;
	struct sctp_assoc *assocs[COPIES];
	struct sctp_callbacks callbacks = {sctp_keep, sctp_up, sctp_message, sctp_changed, &out};
	struct err err = {""};
	double before = allocated();
	for (unsigned i = 0; i < COPIES; i++, out.count = 0)
		must((assocs[i] = sctp_assoc_create(&callbacks, 1, &err)) != NULL, err.text);
	part("SCTP", (allocated() - before) / COPIES);
	for (unsigned i = 0; i < COPIES; i++)
		sctp_assoc_destroy(assocs[i]);
}

// ---- gRPC: the client is another process

// Each stream is another user's, so that all stay attached, and has brought a frame.
static int client_process(const char *target, int start_fd, int done_fd)
{
	static struct client_call calls[STREAMS];
	struct client client;
	char word;
	if (read(start_fd, &word, 1) != 1)
		return 1;
	grpc_init();
	client_open(&client, target);
	for (unsigned i = 0; i < STREAMS; i++) {
		Mentra__Livekit__Bridge__AudioChunk chunk = MENTRA__LIVEKIT__BRIDGE__AUDIO_CHUNK__INIT;
		char user[16];
		snprintf(user, sizeof(user), "user%u", i);
		chunk.user_id = user;
		client_start(&calls[i], &client, METHOD, 600000);
		if (!client_initial(&calls[i]) || !client_send(&calls[i], &chunk.base))
			return 1;
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		ProtobufCMessage *frame = client_recv(&calls[i], &mentra__livekit__bridge__audio_chunk__descriptor);
		if (frame == NULL)
			return 1;
		protobuf_c_message_free_unpacked(frame, NULL);
	}
	if (write(done_fd, "x", 1) != 1 || read(start_fd, &word, 1) != 1)
		return 1;
	_exit(0); // the server is about to go
}

// Waits until all listen, then says something to each.
static void speak_once(void)
{
	ENTERS(worker_role);
	uint64_t limit = clock_mono_ns() + 60000000000u;
	for (unsigned i = 0; i < STREAMS; i++) {
		struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .arrival_ns = clock_mono_ns()};
		while (atomic_load(&fake.users[i].attaches) == 0) {
			must(clock_mono_ns() < limit, "a stream is not attached");
			usleep(1000);
		}
		pcm_write(fake.users[i].pcm, &frame);
	}
}

static void grpc_streams(void)
{
	char folder[] = "/tmp/relay-memory-bench-XXXXXX", path[96], target[108], lock[108], empty[] = "", word;
	int start[2], done[2], status;
	must(mkdtemp(folder) != NULL && pipe(start) == 0 && pipe(done) == 0, "pipes");
	snprintf(path, sizeof(path), "%s/bridge.sock", folder);
	snprintf(target, sizeof(target), "unix:%s", path);
	pid_t child = fork();
	if (child == 0)
		_exit(client_process(target, start[0], done[1]));
	struct config config = {
		.grpc = {.socket = path, .socket_mode = 0600, .socket_group = empty, .tcp = empty, .tls_cert = empty, .workers = 1,
			.max_connections = 16, .max_streams = 2 * STREAMS},
		.admin = {.socket = empty},
	};
	struct err err = {""};
	bench_unpin();
	grpc_init();
	fake_start();
	for (unsigned i = 0; i < STREAMS; i++) {
		char user[16];
		snprintf(user, sizeof(user), "user%u", i);
		fake_user(user, 200);
	}
	must(grpc_server_launch(&config, &err) == 0, err.text);
	double before = resident();
	must(write(start[1], "x", 1) == 1, "the client does not start");
	close(done[1]);
	speak_once();
	must(read(done[0], &word, 1) == 1, "a client's stream brings nothing");
	part("gRPC stream, attached (resident)", (resident() - before) / STREAMS);
	must(write(start[1], "x", 1) == 1 && waitpid(child, &status, 0) == child, "the client does not end");
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(lock);
	rmdir(folder);
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "memory", "bytes a user costs");
	sum.table = bench_table("KiB a user", "part|KiB");
	signalling(); // its server is forked while there is no thread
	rings_and_sources();
	replays();
	transports();
	dtls_ends();
	sctp_ends();
	grpc_streams();
	bench_row(sum.table, "sum", (double[]){sum.total / KIB}, 1);
	bench_row(sum.table, "signalling by ws, in place of wss", (double[]){sum.ws / KIB}, 1);
	bench_row(sum.table, "beside it in a room of 4,096: participants that are remembered",
		(double[]){LEG_OTHERS_MAX * (sizeof(struct leg_participant) + sizeof(uint32_t)) / KIB}, 1);
	bench_row(sum.table, "beside it while the DTLS handshake lasts", (double[]){sum.handshake / KIB}, 1);
	bench_row(sum.table, "beside it where Soniox takes Ogg: 2 s of packets", (double[]){sum.packets / KIB}, 1);
	bench_row(sum.table, "beside it where Soniox transcribes: 30 s of audio", (double[]){sum.replay / KIB}, 1);
	bench_note("Packet buffers are shared by all: 2.4 KiB each, memory.size_mb x 100 of them.");
	bench_note("The kernel's buffers of sockets are not counted. A swap has two legs, transports and connections while it lasts.");
	bench_target("KiB a user with the 10 s ring, by wss", sum.total / KIB, true, LIMIT_KIB);
	bench_check("KiB a user with the 10 s ring, by wss, limit", sum.total / KIB, true, LIMIT_KIB);
	return bench_end();
}
