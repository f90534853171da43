// SPDX-License-Identifier: ISC
//
// grpc_server.c - brings the gRPC servers up and takes them down again, in the one order that is clean.
//
// Threads: one accepts; two sit in polling queues that carry no events and move all bytes; 1..3 app workers wait in
// non-polling queues to which calls are bound; a pump wakes them. So no worker is ever deep inside somebody's reads.
//
// Runs on: init.

#include "controlplane/grpc_server.h"

#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "controlplane/grpc_call.h"
#include "controlplane/grpc_tls.h"
#include "controlplane/svc_admin.h"
#include "controlplane/svc_bridge.h"
#include "controlplane/svc_health.h"
#include "controlplane/svc_reflection.h"
#include "controlplane/svc_stream.h"
#include "controlplane/svc_transcripts.h"

#define IO_THREADS 2
#define SLOTS 64
#define ADMIN_SLOTS 8
#define CALLS_BEYOND_STREAMS 4096
#define ADMIN_STREAMS 256 // relayctl's, each of a process of its own
#define ADMIN_CALLS 1024
#define POLITE_MS 300 // for open calls to end by themselves: the next process answers within 1.5 s of the signal
#define CANCELLED_MS 700
#define ERRORS_PER_SECOND 5         // of gRPC itself, in our log
#define GOODBYE "server is going away"

static const struct call_method *const bridge_methods[] = {
	&svc_stream_audio, &svc_stream_listen, &svc_bridge_join_room, &svc_bridge_leave_room, &svc_bridge_get_status, &svc_bridge_health_check,
	&svc_bridge_play_audio, &svc_bridge_stop_audio, &svc_health_check, &svc_health_watch, &svc_reflection_v1,
	&svc_reflection_v1alpha, &svc_transcripts_watch, &svc_transcripts_transcribe, &svc_transcripts_finalize,
	&svc_transcripts_get_state, &svc_transcripts_get_totals, NULL};
static const char *const bridge_names[] = {"mentra.livekit.bridge.LiveKitBridge", "relay.v1.Audio", "relay.v1.Transcripts",
	"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", NULL};
static const struct call_method *const admin_methods[] = {&svc_admin_get_version, &svc_admin_get_status,
	&svc_admin_list_sessions, &svc_admin_get_session, &svc_admin_list_drops, &svc_admin_list_swaps, &svc_reflection_v1,
	&svc_reflection_v1alpha, &svc_transcripts_watch, &svc_transcripts_transcribe, &svc_transcripts_finalize,
	&svc_transcripts_get_state, &svc_transcripts_get_totals, NULL};
static const char *const admin_names[] = {
	"relay.v1.Admin", "relay.v1.Transcripts", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", NULL};

static struct call_service bridge = {.methods = bridge_methods, .names = bridge_names, .slots = SLOTS};
static struct call_service admin = {.methods = admin_methods, .names = admin_names, .slots = ADMIN_SLOTS, .workers = 1,
	.calls.max = ADMIN_CALLS, .streams.max = ADMIN_STREAMS};

// Workers live as long as the process: packet cores may hold their wakers, control may mail them late.
static struct call_worker workers[GRPC_WORKERS_MAX];

static struct {
	bool running;
	unsigned worker_count;
	pthread_t worker_threads[GRPC_WORKERS_MAX], io_threads[IO_THREADS];
	unsigned workers_started, io_started;
	grpc_completion_queue *io_queues[IO_THREADS];
	struct grpc_socket unix_socket, tcp_socket, admin_socket;
	struct grpc_tls tls; // of the bridge
	unsigned port;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned shutdowns; // servers that have said they are down
	_Atomic(bool) handed_over; // the bridge's sockets are the next process's: its shutdown has begun
} server = {.mutex = PTHREAD_MUTEX_INITIALIZER};

// ---- threads

static void *io_main(void *queue)
{
	ENTERS(io_role);
	pthread_setname_np(pthread_self(), "grpc-io");
	while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
		;
	return NULL;
}

static void on_wake(struct call_tag *tag, bool ok)
{
	// The worker looks into its inbox and its rings at every turn: nothing else to do.
}

static void on_shutdown(struct call_tag *tag, bool ok)
{
	pthread_mutex_lock(&server.mutex);
	server.shutdowns++;
	pthread_cond_broadcast(&server.cond);
	pthread_mutex_unlock(&server.mutex);
}

static struct call_tag shutdown_tags[2] = {{.fn = on_shutdown}, {.fn = on_shutdown}};

// A stranger's failed handshakes must not fill the log: the rest of a busy second goes to debug.
static void log_grpc(gpr_log_func_args *args)
{
	static _Atomic(uint64_t) second;
	static _Atomic(unsigned) count;
	enum log_level level = LOG_DEBUG;
	if (args->severity == GPR_LOG_SEVERITY_ERROR) {
		uint64_t now = clock_mono_ns() / 1000000000u;
		if (atomic_exchange(&second, now) != now)
			atomic_store(&count, 0);
		level = atomic_fetch_add(&count, 1) < ERRORS_PER_SECOND ? LOG_WARN : LOG_DEBUG;
	}
	log_text(level, "grpc", args->message);
}

// ---- servers

static grpc_arg int_arg(const char *key, int value)
{
	return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

static void server_create(struct call_service *service, const struct config *config)
{
	static struct grpc_tls unused;
	grpc_arg args[] = {
		int_arg("grpc.max_receive_message_length", (int)CALL_MESSAGE_BYTES_MAX),
		int_arg("grpc.max_send_message_length", -1),
		// A well-behaved client would queue silently beyond it; past our own limit it hears RESOURCE_EXHAUSTED.
		int_arg("grpc.max_concurrent_streams", (int)config->grpc.max_streams + 1024),
		int_arg("grpc.keepalive_time_ms", 10000),
		int_arg("grpc.keepalive_timeout_ms", 5000),
		int_arg("grpc.keepalive_permit_without_calls", 1),
		int_arg("grpc.http2.min_ping_interval_without_data_ms", 5000),
		int_arg("grpc.server_handshake_timeout_ms", 10000),
		int_arg("grpc.so_reuseport", 0),
		int_arg("grpc.enable_channelz", 0),
		grpc_tls_arg(service == &bridge ? &server.tls : &unused),
		int_arg("grpc.per_message_compression", 0), // of what we send
		int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0), // it knows no limit: grpc_message.c does it
	};
	grpc_channel_args list = {.num_args = ARRAY_SIZE(args), .args = args};
	service->server = grpc_server_create(&list, NULL);
	for (unsigned i = 0; i < server.worker_count; i++)
		grpc_server_register_completion_queue(service->server, workers[i].queue, NULL);
	for (unsigned i = 0; i < IO_THREADS; i++)
		grpc_server_register_completion_queue(service->server, server.io_queues[i], NULL);
}

static void queues_create(void)
{
	const grpc_completion_queue_attributes attributes = {
		.version = GRPC_CQ_CURRENT_VERSION,
		.cq_completion_type = GRPC_CQ_NEXT,
		.cq_polling_type = GRPC_CQ_NON_POLLING,
	};
	for (unsigned i = 0; i < server.worker_count; i++)
		workers[i].queue = grpc_completion_queue_create(
			grpc_completion_queue_factory_lookup(&attributes), &attributes, NULL);
	for (unsigned i = 0; i < IO_THREADS; i++)
		server.io_queues[i] = grpc_completion_queue_create_for_next(NULL);
}

// ---- sockets

static bool given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

static int listen_all(const struct config *config, struct err *err)
{
	bool tls = given(config->grpc.tls_cert);
	int rc = tls && given(config->grpc.tcp) ? grpc_tls_open(&server.tls, bridge.server, config, err) : 0;
	if (rc == 0 && given(config->grpc.socket))
		rc = grpc_socket_unix(config->grpc.socket, config->grpc.socket_mode, config->grpc.socket_group,
			&server.unix_socket, err);
	if (rc == 0 && given(config->grpc.tcp))
		rc = grpc_socket_tcp(config->grpc.tcp, tls || config->grpc.insecure_tcp, &server.tcp_socket, err);
	if (rc == 0)
		server.port = server.tcp_socket.fd >= 0 ? server.tcp_socket.port : 0;
	if (rc == 0 && given(config->admin.socket))
		rc = grpc_socket_unix(config->admin.socket, 0600, "", &server.admin_socket, err);
	return rc;
}

static int accept_all(const struct config *config, struct err *err)
{
	const struct grpc_tls *tls = given(config->grpc.tls_cert) ? &server.tls : NULL;
	int rc = grpc_listen_start(config->grpc.max_connections, err);
	if (rc == 0 && server.unix_socket.fd >= 0)
		rc = grpc_listen_add(&server.unix_socket, bridge.server, NULL, GRPC_LISTEN_CALLERS, err);
	if (rc == 0 && server.tcp_socket.fd >= 0)
		rc = grpc_listen_add(&server.tcp_socket, bridge.server, tls, GRPC_LISTEN_CALLERS, err);
	if (rc == 0 && server.admin_socket.fd >= 0)
		rc = grpc_listen_add(&server.admin_socket, admin.server, NULL, GRPC_LISTEN_OPERATOR, err);
	return rc;
}

static int threads_start(struct err *err)
{
	struct grpc_wake *wakes[GRPC_WORKERS_MAX];
	for (unsigned i = 0; i < server.worker_count; i++)
		wakes[i] = &workers[i].wake;
	int rc = grpc_pump_start(wakes, server.worker_count, err);
	for (; rc == 0 && server.io_started < IO_THREADS; server.io_started += rc == 0)
		rc = pthread_create(&server.io_threads[server.io_started], NULL, io_main, server.io_queues[server.io_started]);
	for (; rc == 0 && server.workers_started < server.worker_count; server.workers_started += rc == 0)
		rc = pthread_create(&server.worker_threads[server.workers_started], NULL, call_worker_main,
			&workers[server.workers_started]);
	return rc > 0 ? err_set(err, rc, "gRPC threads: %s", strerror(rc)) : rc;
}

// Room for every connection and its dup.
static void raise_nofile(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

// Nobody runs on it yet. All but its waker, at which packet cores and control may still look from an earlier launch.
ROLE_UNCHECKED static void worker_reset(struct call_worker *worker, unsigned index)
{
	worker->index = index;
	worker->wake_tag.fn = on_wake;
	worker->calls = worker->silent_first = worker->silent_last = NULL;
	worker->places.count = 0;
	worker->wake.waker.marks = worker->places.marks;
	worker->finishing = 0;
	worker->seen_draining = false;
	worker->arms[0].service = &bridge;
	worker->arms[1].service = index < admin.workers ? &admin : NULL;
	worker->arms[0].missing = worker->arms[1].missing = 0;
	atomic_store(&worker->inbox, NULL);
}

int grpc_server_launch(const struct config *config, struct err *err)
{
	if (server.running)
		return err_set(err, -EALREADY, "the gRPC server is running");
	raise_nofile();
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&server.cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	server.unix_socket = server.tcp_socket = server.admin_socket = GRPC_SOCKET_NONE;
	server.port = server.shutdowns = server.io_started = server.workers_started = 0;
	server.worker_count = MIN_OF(MAX_OF(config->grpc.workers, 1), GRPC_WORKERS_MAX);
	bridge.streams.max = config->grpc.max_streams;
	bridge.calls.max = config->grpc.max_streams + CALLS_BEYOND_STREAMS;
	atomic_store(&call_draining, false);
	atomic_store(&call_stopped, false);
	atomic_store(&server.handed_over, false);
	svc_bridge_started();

	gpr_set_log_function(log_grpc);
	grpc_init();
	queues_create();
	server_create(&bridge, config);
	server_create(&admin, config);
	bridge.workers = server.worker_count;
	server.running = true; // from here on grpc_server_stop undoes whatever was done
	int rc = 0;
	for (unsigned i = 0; i < server.worker_count; i++) {
		struct call_worker *worker = &workers[i];
		worker_reset(worker, i);
		rc = rc < 0 ? rc : grpc_wake_open(&worker->wake, worker->queue, &worker->wake_tag, err);
	}
	if (rc == 0)
		rc = listen_all(config, err);
	grpc_server_start(bridge.server);
	grpc_server_start(admin.server);
	if (rc == 0)
		rc = threads_start(err);
	if (rc == 0)
		rc = accept_all(config, err);
	if (rc < 0)
		grpc_server_stop();
	return rc;
}

// ---- down

struct end_mail {
	struct call_mail mail;
	struct call_worker *worker;
};
static struct end_mail end_mails[GRPC_WORKERS_MAX];

static void end_all(struct call_mail *mail)
{
	ENTERS(io_role);
	call_worker_end_all(CONTAINER_OF(mail, struct end_mail, mail)->worker, GOODBYE);
}

static void end_discard(struct call_mail *mail)
{
	(void)mail;
}

static bool wait_shutdowns(unsigned limit_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += limit_ms / 1000;
	until.tv_nsec += (long)(limit_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&server.mutex);
	int rc = 0;
	while (server.shutdowns < ARRAY_SIZE(shutdown_tags) && rc == 0)
		rc = pthread_cond_timedwait(&server.cond, &server.mutex, &until);
	bool down = server.shutdowns == ARRAY_SIZE(shutdown_tags);
	pthread_mutex_unlock(&server.mutex);
	return down;
}

static bool servers_shutdown(void)
{
	if (server.workers_started == 0) { // the launch failed early: nobody reads the queue but us
		grpc_server_shutdown_and_notify(bridge.server, workers[0].queue, &shutdown_tags[0]);
		grpc_server_shutdown_and_notify(admin.server, workers[0].queue, &shutdown_tags[1]);
		for (unsigned i = 0; i < ARRAY_SIZE(shutdown_tags); i++)
			grpc_completion_queue_next(workers[0].queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
		return true;
	}
	if (!atomic_exchange(&server.handed_over, true))
		grpc_server_shutdown_and_notify(bridge.server, workers[0].queue, &shutdown_tags[0]);
	grpc_server_shutdown_and_notify(admin.server, workers[0].queue, &shutdown_tags[1]);
	for (unsigned i = 0; i < server.workers_started; i++) {
		end_mails[i] = (struct end_mail){.mail = {.fn = end_all, .discard = end_discard}, .worker = &workers[i]};
		call_mail_send(&workers[i], &end_mails[i].mail);
	}
	if (wait_shutdowns(POLITE_MS))
		return true;
	log_line(LOG_WARN, "gRPC calls did not end by themselves: cancelled");
	grpc_server_cancel_all_calls(bridge.server);
	grpc_server_cancel_all_calls(admin.server);
	return wait_shutdowns(CANCELLED_MS);
}

void grpc_server_stop(void)
{
	if (!server.running)
		return;
	server.running = false;
	atomic_store(&call_draining, true);
	atomic_store(&call_stopped, true);
	grpc_listen_stop();
	bool down = servers_shutdown();
	grpc_pump_stop(); // nobody posts into the queues any more
	if (!down) {
		// Destroying a server that is not down aborts the process; leaving it to the exit does not.
		log_line(LOG_ERROR, "gRPC server does not come down: left to the end of the process");
		return;
	}
	grpc_server_destroy(bridge.server);
	grpc_server_destroy(admin.server);
	for (unsigned i = 0; i < server.worker_count; i++) {
		grpc_wake_close(&workers[i].wake);
		grpc_completion_queue_shutdown(workers[i].queue);
	}
	for (unsigned i = 0; i < server.workers_started; i++)
		pthread_join(server.worker_threads[i], NULL);
	for (unsigned i = 0; i < IO_THREADS; i++)
		grpc_completion_queue_shutdown(server.io_queues[i]);
	for (unsigned i = 0; i < server.io_started; i++)
		pthread_join(server.io_threads[i], NULL);
	for (unsigned i = 0; i < server.worker_count; i++)
		grpc_completion_queue_destroy(workers[i].queue);
	for (unsigned i = 0; i < IO_THREADS; i++)
		grpc_completion_queue_destroy(server.io_queues[i]);
	grpc_socket_close(&server.unix_socket);
	grpc_socket_close(&server.tcp_socket);
	grpc_socket_close(&server.admin_socket);
	pthread_cond_destroy(&server.cond);
	grpc_shutdown();
}

// Who calls from now on is for the process that inherits the sockets after us: we accept no more, and tell those who are
// connected to connect anew (GOAWAY), which leads them into the sockets' queues. Calls that run go on. On sockets of our own
// there is nobody after us, and we say no ourselves.
static void hand_over(void)
{
	const struct grpc_socket *const sockets[] = {&server.unix_socket, &server.tcp_socket};
	bool all = true;
	for (unsigned i = 0; i < ARRAY_SIZE(sockets); i++) {
		if (sockets[i]->inherited)
			grpc_listen_leave(sockets[i]);
		all = all && (sockets[i]->inherited || sockets[i]->fd < 0);
	}
	if (all && !atomic_exchange(&server.handed_over, true))
		grpc_server_shutdown_and_notify(bridge.server, workers[0].queue, &shutdown_tags[0]);
}

void grpc_server_set_draining(void)
{
	atomic_store(&call_draining, true);
	hand_over();
	for (unsigned i = 0; i < server.worker_count; i++)
		grpc_wake_up(&workers[i].wake);
}

unsigned grpc_server_port(void)
{
	return server.port;
}
