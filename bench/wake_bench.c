// SPDX-License-Identifier: ISC
//
// wake_bench.c - from the worker's write into the ring to a reader's hands: an eventfd, a cursor, and all of gRPC to a client, with
// the moment shown at which relayd has given a frame to the library.
//
// Runs on: worker (the writer), io (the readers).

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/listener.h"
#include "controlplane/grpc_server.h"

#define STREAMS_MAX FAKE_USERS_MAX
#define BELLS_NS 500000u // as worker.c

// ---- a reader with a cursor and a waker, and nothing else

struct reader {
	struct pcm *pcm;
	struct pcm_waker waker;
	struct bench_series latency; // ns
	unsigned wanted;
	_Atomic(bool) ready;
};

static void *reader_main(void *arg)
{
	struct reader *reader = arg;
	uint64_t cursor = 0, lapped = 0;
	struct pcm_frame frame;
	atomic_store(&reader->ready, true);
	while (reader->latency.count < reader->wanted) {
		if (pcm_read(reader->pcm, &cursor, &frame, &lapped) == 1) {
			bench_add(&reader->latency, clock_mono_ns() - frame.arrival_ns);
			continue;
		}
		atomic_store(&reader->waker.asleep, 1);
		if (pcm_head(reader->pcm) > cursor) {
			atomic_store(&reader->waker.asleep, 0);
			continue;
		}
		struct pollfd fd = {.fd = reader->waker.event_fd, .events = POLLIN};
		poll(&fd, 1, 1000);
		eventfd_t ignored;
		eventfd_read(reader->waker.event_fd, &ignored);
	}
	return NULL;
}

// What ringing cost the writer.
static struct bench_series ringing;

static void bells_ring(struct pcm_bells *bells, uint64_t now)
{
	uint64_t began = bench_now();
	pcm_bells_ring(bells, now);
	bench_add(&ringing, bench_now() - began);
}

static void frame_write(struct pcm *pcm, struct bench_series *cost)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DECODED, .arrival_ns = clock_mono_ns()};
	frame.capture_us = clock_wall_us();
	memcpy(frame.samples, &frame.arrival_ns, sizeof(frame.arrival_ns));
	uint64_t began = bench_now();
	pcm_write(pcm, &frame);
	bench_add(cost, bench_now() - began);
}

// Every stream one frame each period, spread over it; the writer spins and rings as a worker does, or at every write.
static void write_paced(struct pcm **rings, unsigned count, unsigned rounds, unsigned period_us, bool collect,
	struct bench_series *cost)
{
	struct pcm_bells bells = {.count = 0};
	uint64_t next = clock_mono_ns() + 20000000, step = period_us * 1000ull / count, now;
	pcm_bells_use(collect ? &bells : NULL);
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < count; i++, next += step) {
			while ((now = clock_mono_ns()) < next) {
				if (bells.count > 0 && now - bells.rung_ns >= BELLS_NS)
					bells_ring(&bells, now);
				__builtin_ia32_pause();
			}
			frame_write(rings[i], cost);
		}
	}
	pcm_bells_ring(&bells, clock_mono_ns());
	pcm_bells_use(NULL);
}

static void row(unsigned table, const char *label, struct bench_series *latency, struct bench_series *cost)
{
	double values[] = {bench_percentile(latency, 50) / 1e3, bench_percentile(latency, 90) / 1e3,
		bench_percentile(latency, 99) / 1e3, bench_percentile(latency, 100) / 1e3,
		bench_ns(bench_percentile(cost, 50)) / 1e3, ringing.count > 0 ? bench_ns(bench_percentile(&ringing, 50)) / 1e3 : NAN,
		(double)ringing.count / cost->count};
	bench_free(&ringing);
	bench_row(table, label, values, 7);
}

static void cursor_run(unsigned table, unsigned rounds, unsigned period_us, bool collect)
{
	struct reader reader = {.pcm = pcm_create((rounds + 2) * PCM_CELL_MS), .wanted = rounds};
	struct bench_series cost = {0};
	pthread_t thread;
	reader.waker.event_fd = eventfd(0, EFD_CLOEXEC);
	pcm_waker_add(reader.pcm, &reader.waker, 0);
	bench_unpin();
	pthread_create(&thread, NULL, reader_main, &reader);
	bench_pin(bench_core());
	while (!atomic_load(&reader.ready))
		continue;
	write_paced(&reader.pcm, 1, rounds, period_us, collect, &cost);
	pthread_join(thread, NULL);
	char label[80];
	snprintf(label, sizeof(label), "a cursor, %u frames/s, %s", 1000000 / period_us,
		collect ? "rung as the worker does" : "rung at each write");
	row(table, label, &reader.latency, &cost);
	bench_free(&reader.latency);
	bench_free(&cost);
	close(reader.waker.event_fd);
	pcm_unref(reader.pcm);
}

// ---- all of gRPC

static struct listener listeners[STREAMS_MAX];

// What relayd itself counts of each frame: from its arrival (here: its write) to the frame in gRPC's hands. Between two rows, when
// nobody streams.
static struct latency_summary handed_take(void)
{
	struct latency_summary handed;
	latency_summary(&latency_grpc, &handed);
	memset(&latency_grpc, 0, sizeof(latency_grpc));
	return handed;
}

// elsewhere: the server is another process.
static void streams_begin(struct pcm **rings, unsigned streams, unsigned coalesce_ms, const char *target, bool elsewhere)
{
	memset(listeners, 0, sizeof(listeners));
	bench_unpin();
	for (unsigned i = 0; i < streams; i++) {
		rings[i] = elsewhere ? NULL : fake.users[i].pcm;
		listeners[i].coalesce_ms = coalesce_ms;
		listeners[i].beside = coalesce_ms > 0 && i > 0 ? &listeners[0].client : NULL; // as a cloud does
		if (!listener_start(&listeners[i], target, i)) {
			fprintf(stderr, "a stream does not start\n");
			exit(1);
		}
	}
	// Attached: until then frames would be counted as old ones.
	for (unsigned i = 0; i < streams && !elsewhere; i++)
		while (atomic_load(&fake.users[i].attaches) == 0)
			sched_yield();
}

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void streams_settle(unsigned streams, unsigned rounds)
{
	uint64_t limit = clock_mono_ns() + (uint64_t)rounds * 20000000u + 20000000000u;
	for (unsigned i = 0; i < streams; i++)
		while (__atomic_load_n(&listeners[i].latency.count, __ATOMIC_RELAXED) < rounds && clock_mono_ns() < limit)
			usleep(1000);
}

static void streams_end(unsigned streams, struct bench_series *ret_all)
{
	for (unsigned i = 0; i < streams; i++) {
		struct listener *listener = &listeners[i];
		grpc_call_cancel(listener->call.call, NULL);
		pthread_join(listener->thread, NULL);
		client_end(&listener->call);
		client_close(&listener->client);
		for (unsigned n = 0; n < listener->latency.count; n++)
			bench_add(ret_all, listener->latency.values[n]);
		bench_free(&listener->latency);
		while (atomic_load(&fake.users[i].detaches) == 0)
			sched_yield();
		atomic_store(&fake.users[i].attaches, 0);
		atomic_store(&fake.users[i].detaches, 0);
	}
}

static void grpc_run(unsigned table, unsigned halves, unsigned plot, unsigned streams, unsigned rounds, const char *target)
{
	struct pcm *rings[STREAMS_MAX];
	struct bench_series cost = {0}, all = {0};
	streams_begin(rings, streams, 0, target, false);
	bench_pin(bench_core());
	write_paced(rings, streams, rounds, 20000, true, &cost);
	bench_unpin();
	streams_settle(streams, rounds);
	streams_end(streams, &all);
	struct latency_summary handed = handed_take();
	char label[48];
	snprintf(label, sizeof(label), "gRPC to its client, %u stream%s", streams, streams == 1 ? "" : "s");
	row(table, label, &all, &cost);
	double p50 = bench_percentile(&all, 50) / 1e3, p99 = bench_percentile(&all, 99) / 1e3;
	snprintf(label, sizeof(label), "%u stream%s", streams, streams == 1 ? "" : "s");
	bench_row(halves, label, (double[]){(double)handed.p50_us, p50, (double)handed.p99_us, p99}, 4);
	bench_point(plot, "in gRPC's hands, p50", streams, (double)handed.p50_us);
	bench_point(plot, "at the client, p50", streams, p50);
	bench_point(plot, "in gRPC's hands, p99", streams, (double)handed.p99_us);
	bench_point(plot, "at the client, p99", streams, p99);
	double frames = (double)rounds * streams;
	bench_check("frames that reached the client of those written", (double)all.count / frames, false, 1);
	bench_check("frames that relayd saw in gRPC's hands of those written", (double)handed.count / frames, false, 0.98);
	bench_free(&all);
	bench_free(&cost);
}

// ---- what a frame costs by the number of frames that a message waits for: the clients are another process

static const unsigned waits_ms[] = {20, 40, 60, 100};

struct client_report {
	double p50, p99, cpu_us; // of a frame
	uint64_t frames;
};

static struct client_process {
	int start[2], done[2];
	pid_t pid;
} processes[ARRAY_SIZE(waits_ms)];

static void client_process(struct client_process *process, unsigned coalesce_ms, unsigned rounds, const char *target)
{
	struct pcm *rings[STREAMS_MAX];
	struct bench_series all = {0};
	struct client_report report = {0};
	char word;
	if (read(process->start[0], &word, 1) != 1)
		_exit(0); // the other end is gone
	grpc_init();
	streams_begin(rings, STREAMS_MAX, coalesce_ms, target, true);
	uint64_t began = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	streams_settle(STREAMS_MAX, rounds);
	report.cpu_us = (double)(cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - began) / rounds / STREAMS_MAX / 1e3;
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		grpc_call_cancel(listeners[i].call.call, NULL);
		pthread_join(listeners[i].thread, NULL);
		for (unsigned n = 0; n < listeners[i].latency.count; n++)
			bench_add(&all, listeners[i].latency.values[n]);
	}
	report.frames = all.count;
	report.p50 = bench_percentile(&all, 50) / 1e3;
	report.p99 = bench_percentile(&all, 99) / 1e3;
	_exit(write(process->done[1], &report, sizeof(report)) == sizeof(report) ? 0 : 1);
}

// Before there is any thread.
static void clients_fork(unsigned rounds, const char *target)
{
	fflush(NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(waits_ms); i++) {
		struct client_process *process = &processes[i];
		if (pipe2(process->start, O_CLOEXEC) != 0 || pipe2(process->done, O_CLOEXEC) != 0 || (process->pid = fork()) < 0)
			exit(1);
		if (process->pid == 0) {
			for (unsigned p = 0; p <= i; p++)
				close(processes[p].start[1]);
			client_process(process, waits_ms[i], rounds, target);
		}
		close(process->start[0]);
		close(process->done[1]);
	}
}

// The writer's thread is taken off.
static void coalesce_run(unsigned table, unsigned plot, unsigned ages, unsigned index, unsigned rounds)
{
	struct client_process *process = &processes[index];
	struct pcm *rings[STREAMS_MAX];
	struct bench_series cost = {0};
	struct client_report report = {0};
	if (write(process->start[1], "x", 1) != 1)
		exit(1);
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		rings[i] = fake.users[i].pcm;
		while (atomic_load(&fake.users[i].attaches) == 0)
			usleep(1000);
	}
	uint64_t began = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns(CLOCK_THREAD_CPUTIME_ID);
	bench_pin(bench_core());
	write_paced(rings, STREAMS_MAX, rounds, 20000, true, &cost);
	bench_unpin();
	bool came = read(process->done[0], &report, sizeof(report)) == sizeof(report);
	uint64_t ended = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns(CLOCK_THREAD_CPUTIME_ID);
	int status;
	if (!came || waitpid(process->pid, &status, 0) != process->pid)
		fprintf(stderr, "a client process did not end well\n");
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		while (atomic_load(&fake.users[i].detaches) == 0)
			usleep(1000);
		atomic_store(&fake.users[i].attaches, 0);
		atomic_store(&fake.users[i].detaches, 0);
	}
	double frames = (double)rounds * STREAMS_MAX, us = (double)(ended - began) / frames / 1e3;
	struct latency_summary handed = handed_take();
	char label[32];
	snprintf(label, sizeof(label), "%u ms", waits_ms[index]);
	double values[] = {us, report.cpu_us, 1e6 / 50 / us, (double)handed.p50_us, report.p50, (double)handed.p99_us, report.p99};
	bench_row(table, label, values, ARRAY_SIZE(values));
	bench_point(plot, "relayd", waits_ms[index], us);
	bench_point(plot, "client", waits_ms[index], report.cpu_us);
	bench_point(ages, "in gRPC's hands, p50", waits_ms[index], (double)handed.p50_us);
	bench_point(ages, "at the client, p50", waits_ms[index], report.p50);
	bench_point(ages, "in gRPC's hands, p99", waits_ms[index], (double)handed.p99_us);
	bench_point(ages, "at the client, p99", waits_ms[index], report.p99);
	bench_check("frames that reached the client of those written", (double)report.frames / frames, false, 1);
	bench_check("frames that relayd saw in gRPC's hands of those written", (double)handed.count / frames, false, 0.98);
	bench_free(&cost);
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/relay-wake-bench-XXXXXX", path[96], target[108], lock[108], empty[] = "";
	bench_begin(argc, argv, "wake", "from the worker's write to a reader's hands");
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/bridge.sock", folder);
	snprintf(target, sizeof(target), "unix:%s", path);
	struct config config = {
		.grpc = {.socket = path, .socket_mode = 0600, .socket_group = empty, .tcp = empty, .tls_cert = empty, .workers = 1,
			.max_connections = 64, .max_streams = 2 * STREAMS_MAX},
		.admin = {.socket = empty},
	};
	struct err err = {""};
	unsigned rounds = bench_short() ? 150 : 1500;
	unsigned table = bench_table("us from pcm_write to the reader, and what the write costs the worker",
		"reader|p50|p90|p99|max|write p50|ring p50|rings a frame");
	unsigned plot = bench_plot("From the ring to gRPC's hands and to the client", "streams", "us", true);
	cursor_run(table, rounds, 20000, false);
	cursor_run(table, rounds, 20000, true);
	cursor_run(table, rounds * 20, 100, false);
	cursor_run(table, rounds * 20, 100, true);
	bench_unpin();
	clients_fork(rounds, target);
	grpc_init();
	fake_start();
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		char name[32];
		snprintf(name, sizeof(name), "user%u", i);
		fake_user(name, 2000);
	}
	if (grpc_server_launch(&config, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	static const unsigned streams[] = {1, 4, 16};
	unsigned halves = bench_table("us from the ring to gRPC's hands and to the client, apart",
		"StreamAudio|handed p50|client p50|handed p99|client p99");
	for (unsigned i = 0; i < ARRAY_SIZE(streams); i++)
		grpc_run(table, halves, plot, streams[i], rounds, target);
	unsigned curve = bench_table("us of CPU a frame by coalesce_ms, 64 streams of 50 frames a second on one connection",
		"coalesce_ms|gRPC in relayd|client process|users a core of gRPC|handed p50|client p50|handed p99|client p99");
	unsigned curve_plot = bench_plot("A frame by coalesce_ms", "ms", "us of CPU a frame", false);
	unsigned ages = bench_plot("Age of a frame by coalesce_ms, 64 streams", "ms", "us", false);
	for (unsigned i = 0; i < ARRAY_SIZE(waits_ms); i++)
		coalesce_run(curve, curve_plot, ages, i, rounds);
	bench_note("handed: how old a frame is when gRPC's call for it has returned, as relayd itself counts it (relayctl status), to one "
		   "part in sixteen and rounded up. Often the library has sent it by then, so that a client may have it before.");
	bench_note("At this rate most messages find relayd's thread asleep, so that each pays for a wake-up. crowd_bench has the full core.");
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(lock);
	rmdir(folder);
	bench_note("Server, clients and the spinning writer share this machine's cores: on two of them the tail is scheduling.");
	return bench_end();
}
