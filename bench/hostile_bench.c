// SPDX-License-Identifier: ISC
//
// hostile_bench.c - sixteen listeners beside hostile gRPC clients: how old frames are when they arrive, and how many do not.
//
// The attacker is a process of its own (tests/support/grpc_attack.c) and has, at nice 10, what cores the rest leaves it. So are the listeners
// (this program again): in one process gRPC's threads would read for client and server alike. The writer sleeps between frames,
// as an adaptive worker does.
//
// Runs on: worker (the writer), io (the listeners).

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/listener.h"
#include "controlplane/grpc_listen.h"
#include "controlplane/grpc_server.h"
#include "controlplane/log.h"

#define STREAMS 16u
#define PERIOD_NS 20000000u
#define LATE_NS 5000000000u

extern char **environ;

static char self[512], program[512];

// ---- the listeners' process

static int listen_main(const char *target, unsigned rounds, const char *path)
{
	static struct listener listeners[STREAMS];
	grpc_init();
	for (unsigned i = 0; i < STREAMS; i++)
		if (!listener_start(&listeners[i], target, i))
			return 1;
	FILE *file = fopen(path, "we");
	if (file == NULL)
		return 1;
	uint64_t limit = clock_mono_ns() + rounds * (uint64_t)PERIOD_NS + LATE_NS;
	for (unsigned i = 0; i < STREAMS; i++) {
		struct listener *listener = &listeners[i];
		while (__atomic_load_n(&listener->latency.count, __ATOMIC_RELAXED) < rounds && clock_mono_ns() < limit)
			usleep(1000);
		grpc_call_cancel(listener->call.call, NULL);
		pthread_join(listener->thread, NULL);
		client_end(&listener->call);
		client_close(&listener->client);
		fwrite(listener->latency.values, sizeof(uint64_t), listener->latency.count, file);
	}
	fclose(file);
	grpc_shutdown();
	return 0;
}

static pid_t process_begin(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	pid_t pid = 0;
	if (posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) != 0) {
		fprintf(stderr, "%s does not start\n", argv[0]);
		exit(1);
	}
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static pid_t listeners_begin(const char *target, unsigned rounds, const char *path)
{
	char rounds_text[16];
	snprintf(rounds_text, sizeof(rounds_text), "%u", rounds);
	char *argv[] = {self, (char[]){"--listen"}, (char *)(uintptr_t)target, rounds_text, (char *)(uintptr_t)path, NULL};
	pid_t pid = process_begin(argv);
	uint64_t limit = clock_mono_ns() + LATE_NS;
	for (unsigned i = 0; i < STREAMS; i++) // until then frames would be old ones
		while (atomic_load(&fake.users[i].attaches) == 0 && clock_mono_ns() < limit)
			usleep(1000);
	return pid;
}

static void listeners_end(pid_t pid, const char *path, struct bench_series *ret_all)
{
	uint64_t value;
	waitpid(pid, NULL, 0);
	FILE *file = fopen(path, "re");
	while (file != NULL && fread(&value, sizeof(value), 1, file) == 1)
		bench_add(ret_all, value);
	if (file != NULL)
		fclose(file);
	unlink(path);
	uint64_t limit = clock_mono_ns() + LATE_NS;
	for (unsigned i = 0; i < STREAMS; i++) {
		while (atomic_load(&fake.users[i].detaches) == 0 && clock_mono_ns() < limit)
			usleep(1000);
		atomic_store(&fake.users[i].attaches, 0);
		atomic_store(&fake.users[i].detaches, 0);
	}
}

// ---- the server's process

static void frame_write(struct pcm *pcm)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .flags = PCM_F_DECODED, .arrival_ns = clock_mono_ns()};
	frame.capture_us = clock_wall_us();
	memcpy(frame.samples, &frame.arrival_ns, sizeof(frame.arrival_ns));
	pcm_write(pcm, &frame);
}

static void speak(unsigned rounds)
{
	uint64_t next = clock_mono_ns();
	for (unsigned n = 0; n < rounds * STREAMS; n++) {
		next += PERIOD_NS / STREAMS;
		struct timespec until = {.tv_sec = (time_t)(next / 1000000000u), .tv_nsec = (long)(next % 1000000000u)};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		frame_write(fake.users[n % STREAMS].pcm);
	}
}

static pid_t attack_begin(const char *path, const char *attack, double seconds)
{
	char seconds_text[16];
	snprintf(seconds_text, sizeof(seconds_text), "%.1f", seconds);
	char *argv[] = {program, (char *)(uintptr_t)path, (char *)(uintptr_t)attack, seconds_text, NULL};
	pid_t pid = process_begin(argv);
	setpriority(PRIO_PROCESS, (id_t)pid, 10);
	return pid;
}

static double memory_mib(void)
{
	long pages = 0, ignored = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file != NULL && fscanf(file, "%ld %ld", &ignored, &pages) != 2)
		pages = 0;
	if (file != NULL)
		fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

// attack NULL: nobody. Returns the p99 in ms.
static double row(unsigned table, const char *path, const char *target, const char *attack, unsigned rounds, double *ret_share)
{
	struct bench_series all = {0};
	struct grpc_listen_stats before, after;
	grpc_listen_stats(&before);
	char results[128];
	snprintf(results, sizeof(results), "%s.frames", path);
	pid_t listening = listeners_begin(target, rounds, results);
	pid_t attacker = attack != NULL ? attack_begin(path, attack, rounds * PERIOD_NS / 1e9 + 0.2) : 0;
	usleep(attack != NULL ? 100000 : 0); // it is at work
	speak(rounds);
	listeners_end(listening, results, &all);
	double memory = memory_mib();
	if (attacker > 0)
		waitpid(attacker, NULL, 0);
	grpc_listen_stats(&after);
	double written = (double)rounds * STREAMS, p99 = bench_percentile(&all, 99) / 1e6;
	double values[] = {bench_percentile(&all, 50) / 1e6, p99, bench_percentile(&all, 100) / 1e6, written - all.count,
		(double)(after.accepted - before.accepted) - STREAMS, (double)(after.cut - before.cut), memory};
	bench_row(table, attack != NULL ? attack : "nobody", values, ARRAY_SIZE(values));
	*ret_share = MIN_OF(*ret_share, all.count / written);
	bench_free(&all);
	return p99;
}

int main(int argc, char **argv)
{
	static const char *const attacks[] = {"rapid-reset", "hpack-burn", "hpack-varint", "big-messages", "gzip-bomb", "silent-streams",
		"half-open", "ping-flood", "settings-flood", "garbage"};
	char folder[] = "/tmp/relay-hostile-bench-XXXXXX", path[96], target[108], lock[108], empty[] = "";
	if (argc == 5 && strcmp(argv[1], "--listen") == 0)
		return listen_main(argv[2], (unsigned)strtoul(argv[3], NULL, 10), argv[4]);
	snprintf(self, sizeof(self), "%s", argv[0]);
	bench_begin(argc, argv, "hostile", "sixteen listeners beside hostile gRPC clients");
	bench_unpin();
	log_set_level(LOG_ERROR);
	const char *slash = strrchr(argv[0], '/');
	snprintf(program, sizeof(program), "%.*s/../grpc-attack", slash != NULL ? (int)(slash - argv[0]) : 1, slash != NULL ? argv[0] : ".");
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/bridge.sock", folder);
	snprintf(target, sizeof(target), "unix:%s", path);
	struct config config = {
		.grpc = {.socket = path, .socket_mode = 0600, .socket_group = empty, .tcp = empty, .tls_cert = empty, .workers = 1,
			.max_connections = 256, .max_streams = 20000},
		.admin = {.socket = empty},
	};
	struct err err = {""};
	grpc_init();
	fake_start();
	for (unsigned i = 0; i < STREAMS; i++) {
		char name[32];
		snprintf(name, sizeof(name), "user%u", i);
		fake_user(name, 10000);
	}
	if (grpc_server_launch(&config, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	unsigned rounds = bench_short() ? 75 : 500;
	double share = 1, worst = 0;
	unsigned table = bench_table("ms from pcm_write to the listener, with one hostile client",
		"client|p50|p99|max|frames lost|connections|cut|MiB");
	double alone = row(table, path, target, NULL, rounds, &share);
	for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
		double p99 = row(table, path, target, attacks[i], rounds, &share);
		worst = MAX_OF(worst, p99);
	}
	bench_check("frames that reached the listener of those written, least of all rows", share, false, 1);
	bench_target("ms, p99 of the listeners beside the worst client", worst, true, 2);
	bench_note("Alone their p99 is %.2f ms. Server, listeners, writer and attacker share this machine's cores.", alone);
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(lock);
	rmdir(folder);
	return bench_end();
}
