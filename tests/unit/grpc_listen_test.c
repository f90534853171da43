// SPDX-License-Identifier: ISC
//
// grpc_listen_test.c - the gRPC servers' sockets: hostile connections, paths, loopback, inherited ones.
//
// Runs on: any.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "controlplane/grpc_listen.h"
#include "tests/support/grpc_world.h"

// ---- abuse

static int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, socket_path, sizeof(address.sun_path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static void rapid_reset_is_cut(void **state)
{
	struct grpc_listen_stats before, after;
	grpc_listen_stats(&before);
	int fd = raw_connect();
	assert_true(fd >= 0);
	assert_int_equal(send(fd, RAW_PREFACE, sizeof(RAW_PREFACE) - 1, MSG_NOSIGNAL), sizeof(RAW_PREFACE) - 1);
	bool cut = false;
	for (uint32_t id = 1; id < 200000 && !cut; id += 2) {
		uint8_t frames[512], sink[4096];
		size_t bytes = reset_frames(frames, id);
		cut = send(fd, frames, bytes, MSG_NOSIGNAL) < 0;
		cut |= recv(fd, sink, sizeof(sink), MSG_DONTWAIT) == 0;
	}
	assert_true(cut);
	close(fd);
	grpc_listen_stats(&after);
	assert_int_equal(after.cut, before.cut + 1);
	expect_answer(&client); // others are served
}

static void connections_are_capped(void **state)
{
	int fds[80];
	unsigned closed = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		assert_true((fds[i] = raw_connect()) >= 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		// One that is kept gets the server's SETTINGS, one that is refused an end of file.
		struct pollfd poll_fd = {.fd = fds[i], .events = POLLIN};
		uint8_t byte;
		assert_int_equal(poll(&poll_fd, 1, 10000), 1);
		closed += recv(fds[i], &byte, 1, 0) <= 0;
	}
	assert_in_range(closed, ARRAY_SIZE(fds) - 64, ARRAY_SIZE(fds) - 64 + 2);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(2);
	expect_answer(&client);
}

// Connections that never call are many and full of patience; who has something to say gets in all the same.
static void half_open_connections_keep_nobody_out(void **state)
{
	int fds[80];
	struct grpc_listen_stats before, after;
	grpc_listen_stats(&before);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		assert_true((fds[i] = raw_connect()) >= 0);
	do {
		grpc_listen_stats(&after);
		usleep(1000);
	} while (after.refused == before.refused);
	uint64_t limit = clock_mono_ns() + 8000000000u; // less than gRPC itself grants for a handshake
	grpc_status_code code = GRPC_STATUS_UNKNOWN;
	while (code != GRPC_STATUS_OK && clock_mono_ns() < limit) {
		struct client later;
		client_open(&later, target);
		Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
		code = client_unary(&later, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0);
		client_close(&later);
	}
	assert_int_equal(code, GRPC_STATUS_OK);
	grpc_listen_stats(&after);
	assert_true(after.cut > before.cut);
	expect_answer(&client); // one that has called stays
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(2);
}

// A client that comes again as often as it can does not have all of the accept thread's time.
static void connections_are_taken_at_a_bounded_rate(void **state)
{
	struct grpc_listen_stats before, now;
	grpc_listen_stats(&before);
	uint64_t began = clock_mono_ns(), taken = 0;
	for (unsigned i = 0; i < 450; i++) {
		int fd = raw_connect();
		assert_true(fd >= 0);
		close(fd);
	}
	do {
		usleep(1000);
		double seconds = (double)(clock_mono_ns() - began) / 1e9;
		grpc_listen_stats(&now);
		taken = now.accepted + now.refused - before.accepted - before.refused;
		assert_true((double)taken <= 300 + 200 * (seconds + 0.01) + 1);
	} while (taken < 450); // the rest waits in the socket's queue, and has its turn
	settle(2);
	expect_answer(&client);
}

static void accepting_survives_emfile(void **state)
{
	struct rlimit old, tight;
	struct grpc_listen_stats stats, before;
	grpc_listen_stats(&before);
	getrlimit(RLIMIT_NOFILE, &old);
	int probe = open("/dev/null", O_RDONLY), fds[16];
	tight = old;
	tight.rlim_cur = (rlim_t)probe + 6;
	close(probe);
	setrlimit(RLIMIT_NOFILE, &tight);
	unsigned opened = 0;
	while (opened < ARRAY_SIZE(fds) && (fds[opened] = raw_connect()) >= 0)
		opened++;
	// The server cannot keep them all: it says so by closing.
	bool refused = false;
	for (unsigned i = 0; i < 5000 && !refused; i++) {
		grpc_listen_stats(&stats);
		refused = stats.refused > before.refused;
		usleep(1000);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	for (unsigned i = 0; i < opened; i++)
		close(fds[i]);
	assert_true(refused);
	settle(2);
	struct client later;
	client_open(&later, target);
	expect_answer(&later);
	client_close(&later);
}

// ---- sockets

static void expect_service(const char *at)
{
	struct client other;
	client_open(&other, at);
	expect_answer(&other);
	client_close(&other);
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

static void socket_paths_are_taken_with_care(void **state)
{
	grpc_server_stop();
	// A stale socket is removed.
	struct sockaddr_un address = address_of(socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	launch();
	expect_service(target);
	grpc_server_stop();
	// A plain file is not.
	fd = open(socket_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	expect_refusal("is not a socket");
	assert_int_equal(access(socket_path, F_OK), 0);
	unlink(socket_path);
	// A lock that somebody holds.
	char lock[128];
	snprintf(lock, sizeof(lock), "%s.lock", socket_path);
	fd = open(lock, O_RDWR | O_CREAT, 0600);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	expect_refusal("held by a running server");
	close(fd);
	config.grpc.socket_group = "no-such-group";
	expect_refusal("no-such-group");
	config.grpc.socket_group = empty;
	config.grpc.socket_mode = 0666;
	launch();
	struct stat st;
	assert_int_equal(stat(socket_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	config.grpc.socket_mode = 0660;
}

static void tcp_only_on_loopback(void **state)
{
	grpc_server_stop();
	config.grpc.tcp = "nonsense";
	expect_refusal("expected HOST:PORT");
	config.grpc.tcp = "0.0.0.0:0";
	expect_refusal("beyond loopback");
	config.grpc.insecure_tcp = true;
	launch();
	grpc_server_stop();
	config.grpc.insecure_tcp = false;
	config.grpc.tcp = "127.0.0.1:0";
	launch();
	assert_int_not_equal(grpc_server_port(), 0);
	struct grpc_socket socket;
	struct err err;
	int at_once = 0;
	socklen_t size = sizeof(at_once);
	assert_int_equal(grpc_socket_tcp("127.0.0.1:0", false, &socket, &err), 0);
	assert_int_equal(getsockopt(socket.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, &size), 0);
	assert_int_equal(at_once, 1);
	grpc_socket_close(&socket);
	char tcp[64];
	snprintf(tcp, sizeof(tcp), "127.0.0.1:%u", grpc_server_port());
	expect_service(tcp);
	config.grpc.tcp = empty;
}

static void sockets_are_inherited(void **state)
{
	char pid[16], at[140];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	grpc_server_stop();
	config.grpc.socket = inherited_path;
	launch();
	unsetenv("LISTEN_PID");
	snprintf(at, sizeof(at), "unix:%s", inherited_path);
	expect_service(at);
	grpc_server_stop();
	assert_int_equal(access(inherited_path, F_OK), 0); // the supervisor's, not ours to remove
	config.grpc.socket = socket_path;
	launch();
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // one test by name
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rapid_reset_is_cut),
		cmocka_unit_test(connections_are_capped),
		cmocka_unit_test(half_open_connections_keep_nobody_out),
		cmocka_unit_test(connections_are_taken_at_a_bounded_rate),
		cmocka_unit_test(accepting_survives_emfile),
		cmocka_unit_test(socket_paths_are_taken_with_care),
		cmocka_unit_test(tcp_only_on_loopback),
		cmocka_unit_test(sockets_are_inherited),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
