// SPDX-License-Identifier: ISC
//
// grpc_listen.c - the accept loop: hands connections to a gRPC server, knows who they are, cuts those that misbehave.
//
// Of every connection a dup is kept: it names the connection without a race over reused numbers, tells when the peer is
// gone, and shutting it down cuts the peer, for which gRPC has no call.
//
// Runs on: io (the accept thread; the table is shared with the app workers under a mutex).

#include "controlplane/grpc_listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/grpc_tls.h"
#include "controlplane/log.h"

#define LISTENERS_MAX 4
#define SECOND_NS 1000000000u
// New connections of one socket: a client that is cut and comes again at once must not have all of our time.
#define ACCEPTS_PER_SECOND 200
#define ACCEPTS_BURST 300
// Without an open call for so long it may go when room is needed: who never called, and who has and may come again.
#define NEVER_CALLED_NS 1000000000u
#define IDLE_NS 5000000000u

// Who is at the other end of a TCP socket; port 0: not known.
struct peer {
	struct in6_addr address; // of IPv4: mapped
	unsigned port;
};

struct grpc_conn {
	int fd;  // gRPC's number for it; gRPC owns that descriptor
	struct peer peer;
	uint32_t serial; // 24 bits: an event may still speak of an earlier connection with the same number
	int dup; // ours
	unsigned refs; // under the mutex: one of the table, one of each call
	enum grpc_listen_who who;
	struct grpc_holding holding;
	uint64_t window_ns, idle_ns; // idle_ns: since when it has had no open call
	unsigned cancels;
	bool cut, used; // used: has brought a call
};

static struct grpc_holding strangers; // of connections that are not in the table any more

static struct {
	pthread_mutex_t mutex;
	pthread_mutex_t accepting; // held while one connection is taken: whoever says leave waits for it
	pthread_t thread;
	bool running;
	int epoll_fd, stop_fd, spare_fd;
	struct {
		unsigned connections, max;
	} rooms[GRPC_LISTEN_WHO_COUNT]; // under the mutex, but for max
	struct {
		int fd;
		enum grpc_listen_who who;
		bool left; // under accepting
		grpc_server *server;
		const struct grpc_tls *tls;
		double allowed; // connections that may be taken now
		uint64_t refilled_ns;
	} listeners[LISTENERS_MAX];
	unsigned listener_count;
	grpc_server_credentials *credentials;
	struct grpc_conn **table; // by fd
	size_t table_len;
	uint32_t serial;
	struct grpc_listen_stats stats;
	uint64_t complained_ns, complained_cut_ns;
} listener = {.mutex = PTHREAD_MUTEX_INITIALIZER, .accepting = PTHREAD_MUTEX_INITIALIZER, .epoll_fd = -1, .stop_fd = -1, .spare_fd = -1};

// What an epoll event means: the index of a listener, the stop fd, or a connection's fd and serial.
enum { EVENT_STOP = 1, EVENT_LISTENER, EVENT_CONN };
#define SERIAL_MASK 0xffffffu
static uint64_t event_key(unsigned kind, uint32_t serial, unsigned value)
{
	return (uint64_t)kind << 56 | (uint64_t)serial << 32 | value;
}

static int event_add(int fd, uint32_t events, uint64_t key)
{
	struct epoll_event event = {.events = events, .data.u64 = key};
	return epoll_ctl(listener.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static void unref_locked(struct grpc_conn *conn)
{
	if (--conn->refs > 0) {
		conn->idle_ns = clock_mono_ns(); // unless more than the table's is left: then it is looked at no further
		return;
	}
	if (conn->dup >= 0)
		close(conn->dup);
	free(conn);
}

// The table lets go: the peer is gone, or its number came up again.
static void forget_locked(int fd)
{
	if (fd < 0 || (size_t)fd >= listener.table_len || listener.table[fd] == NULL)
		return;
	struct grpc_conn *conn = listener.table[fd];
	listener.table[fd] = NULL;
	listener.stats.connections--;
	listener.rooms[conn->who].connections--;
	// Closed now and not with the last call: the kernel keeps a socket open as long as any descriptor lives.
	epoll_ctl(listener.epoll_fd, EPOLL_CTL_DEL, conn->dup, NULL);
	close(conn->dup);
	conn->dup = -1;
	unref_locked(conn);
}

static struct peer peer_of(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;
	struct peer peer = {.port = 0};
	if (address->ss_family == AF_INET6) {
		peer.address = in6->sin6_addr;
		peer.port = ntohs(in6->sin6_port);
	} else if (address->ss_family == AF_INET) {
		memcpy(peer.address.s6_addr + 10, (const uint8_t[]){0xff, 0xff}, 2);
		memcpy(peer.address.s6_addr + 12, &in->sin_addr, 4);
		peer.port = ntohs(in->sin_port);
	}
	return peer;
}

static int remember(int fd, enum grpc_listen_who who, const struct sockaddr_storage *address)
{
	struct grpc_conn *conn = malloc(sizeof(*conn));
	if (conn == NULL)
		return -ENOMEM;
	*conn = (struct grpc_conn){.fd = fd, .dup = fcntl(fd, F_DUPFD_CLOEXEC, 0), .refs = 1, .who = who, .peer = peer_of(address),
		.idle_ns = clock_mono_ns()};
	if (conn->dup < 0) {
		free(conn);
		return -EMFILE;
	}
	pthread_mutex_lock(&listener.mutex);
	conn->serial = listener.serial = (listener.serial + 1) & SERIAL_MASK;
	int rc = 0;
	if ((size_t)fd >= listener.table_len) {
		size_t len = ((size_t)fd + 64) & ~(size_t)63;
		struct grpc_conn **table = realloc(listener.table, len * sizeof(*table));
		if (table == NULL) {
			rc = -ENOMEM;
		} else {
			memset(table + listener.table_len, 0, (len - listener.table_len) * sizeof(*table));
			listener.table = table;
			listener.table_len = len;
		}
	}
	if (rc == 0) {
		forget_locked(fd);
		rc = event_add(conn->dup, EPOLLRDHUP, event_key(EVENT_CONN, conn->serial, (unsigned)fd));
	}
	if (rc == 0) {
		listener.table[fd] = conn;
		listener.stats.connections++;
		listener.rooms[who].connections++;
		listener.stats.accepted++;
	} else {
		unref_locked(conn);
	}
	pthread_mutex_unlock(&listener.mutex);
	return rc;
}

static void refuse(int fd, const char *why)
{
	if (fd >= 0)
		close(fd);
	pthread_mutex_lock(&listener.mutex);
	listener.stats.refused++;
	pthread_mutex_unlock(&listener.mutex);
	uint64_t now = clock_mono_ns();
	if (now - listener.complained_ns > SECOND_NS || listener.complained_ns == 0) {
		listener.complained_ns = now;
		log_line(LOG_WARN, "gRPC connection refused", S("reason", why));
	}
}

// Out of descriptors: give up the spare one, accept and close, so that the peer is told at once and the queue moves.
static void shed(int listen_fd)
{
	if (listener.spare_fd < 0)
		return;
	close(listener.spare_fd);
	refuse(accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), "out of file descriptors");
	listener.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// Whether nobody would miss it: no call is open (the table's is the only reference), nothing it sent waits to be read.
static bool may_go(const struct grpc_conn *conn, uint64_t now_ns)
{
	int waiting = 0;
	return conn->refs == 1 && now_ns - conn->idle_ns > (conn->used ? IDLE_NS : NEVER_CALLED_NS) &&
		(!conn->used || (ioctl(conn->dup, FIONREAD, &waiting) == 0 && waiting == 0));
}

// Full: who has been here longest without ever calling goes, else who has had no call for longest and connects anew when it calls
// again. So neither half-open connections nor those that called once keep anybody out.
static bool make_room(enum grpc_listen_who who)
{
	struct grpc_conn *idle = NULL;
	uint64_t now = clock_mono_ns();
	pthread_mutex_lock(&listener.mutex);
	for (size_t fd = 0; fd < listener.table_len; fd++) {
		struct grpc_conn *conn = listener.table[fd];
		if (conn == NULL || conn->who != who || !may_go(conn, now))
			continue;
		if (idle == NULL || (conn->used == idle->used ? conn->idle_ns < idle->idle_ns : idle->used))
			idle = conn;
	}
	if (idle != NULL) {
		shutdown(idle->dup, SHUT_RDWR); // gRPC sees its end and closes its own descriptor
		forget_locked(idle->fd);
		listener.stats.cut++;
	}
	pthread_mutex_unlock(&listener.mutex);
	return idle != NULL;
}

// Whether one more connection of a socket may be taken; else it waits in the socket's queue.
static bool may_accept(unsigned index)
{
	uint64_t now = clock_mono_ns();
	double seconds = (double)(now - listener.listeners[index].refilled_ns) / 1e9;
	double *allowed = &listener.listeners[index].allowed;
	listener.listeners[index].refilled_ns = now;
	*allowed = MIN_OF(*allowed + seconds * ACCEPTS_PER_SECOND, ACCEPTS_BURST);
	if (*allowed < 1)
		return false;
	*allowed -= 1;
	return true;
}

static bool is_full(enum grpc_listen_who who)
{
	pthread_mutex_lock(&listener.mutex);
	bool full = listener.rooms[who].connections >= listener.rooms[who].max;
	pthread_mutex_unlock(&listener.mutex);
	return full;
}

// Takes one connection. False: there is none, or none for us.
static bool accept_one(unsigned index)
{
	int listen_fd = listener.listeners[index].fd;
	enum grpc_listen_who who = listener.listeners[index].who;
	struct sockaddr_storage address = {0};
	socklen_t bytes = sizeof(address);
	if (listener.listeners[index].left)
		return false;
	int fd = accept4(listen_fd, (struct sockaddr *)&address, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			shed(listen_fd);
			usleep(10000); // level-triggered: do not spin while there is nothing to give
		}
		return false; // EAGAIN; ECONNABORTED and its like come again
	}
	if (listener.spare_fd < 0)
		listener.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (is_full(who) && !make_room(who)) {
		refuse(fd, who == GRPC_LISTEN_CALLERS ? "grpc.max_connections reached" : "the operator has too many connections");
		return true;
	}
	int rc = remember(fd, who, &address);
	if (rc < 0)
		refuse(fd, strerror(-rc));
	else if (listener.listeners[index].tls != NULL)
		grpc_tls_take(listener.listeners[index].tls, listen_fd, fd);
	else
		grpc_server_add_channel_from_fd(listener.listeners[index].server, fd, listener.credentials);
	return true;
}

static void accept_some(unsigned index)
{
	for (unsigned i = 0; i < 64; i++) {
		if (!may_accept(index)) {
			usleep(1000000 / ACCEPTS_PER_SECOND); // level-triggered, as below
			return;
		}
		pthread_mutex_lock(&listener.accepting);
		bool more = accept_one(index);
		pthread_mutex_unlock(&listener.accepting);
		if (!more)
			return;
	}
}

static void forget_event(int fd, uint32_t serial)
{
	pthread_mutex_lock(&listener.mutex);
	if ((size_t)fd < listener.table_len && listener.table[fd] != NULL && listener.table[fd]->serial == serial)
		forget_locked(fd);
	pthread_mutex_unlock(&listener.mutex);
}

static void *accept_main(void *arg)
{
	ENTERS(io_role);
	pthread_setname_np(pthread_self(), "grpc-accept");
	for (;;) {
		struct epoll_event events[32];
		int count = epoll_wait(listener.epoll_fd, events, ARRAY_SIZE(events), -1);
		for (int i = 0; i < count; i++) {
			uint64_t key = events[i].data.u64;
			unsigned value = (unsigned)key;
			switch (key >> 56) {
			case EVENT_STOP:
				return NULL;
			case EVENT_LISTENER:
				accept_some(value);
				break;
			case EVENT_CONN:
				forget_event((int)value, key >> 32 & SERIAL_MASK);
				break;
			}
		}
	}
}

int grpc_listen_add(const struct grpc_socket *socket, grpc_server *server, const struct grpc_tls *tls, enum grpc_listen_who who,
	struct err *err)
{
	unsigned index = listener.listener_count;
	if (index == LISTENERS_MAX)
		return err_set(err, -ENOSPC, "too many listening sockets");
	listener.listeners[index].fd = socket->fd;
	listener.listeners[index].server = server;
	listener.listeners[index].tls = tls;
	listener.listeners[index].who = who;
	listener.listeners[index].left = false;
	listener.listeners[index].allowed = ACCEPTS_BURST;
	listener.listeners[index].refilled_ns = clock_mono_ns();
	listener.listener_count++;
	int rc = event_add(socket->fd, EPOLLIN, event_key(EVENT_LISTENER, 0, index));
	return rc < 0 ? err_set(err, rc, "epoll: %s", strerror(-rc)) : 0;
}

void grpc_listen_leave(const struct grpc_socket *socket)
{
	if (listener.epoll_fd < 0 || socket->fd < 0)
		return;
	pthread_mutex_lock(&listener.accepting);
	epoll_ctl(listener.epoll_fd, EPOLL_CTL_DEL, socket->fd, NULL);
	for (unsigned i = 0; i < listener.listener_count; i++)
		listener.listeners[i].left |= listener.listeners[i].fd == socket->fd;
	pthread_mutex_unlock(&listener.accepting);
}

int grpc_listen_start(unsigned max_connections, struct err *err)
{
	listener.rooms[GRPC_LISTEN_CALLERS].max = max_connections;
	listener.rooms[GRPC_LISTEN_OPERATOR].max = GRPC_LISTEN_OPERATOR_MAX;
	listener.listener_count = 0;
	listener.stats = (struct grpc_listen_stats){0};
	listener.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	listener.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	listener.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (listener.epoll_fd < 0 || listener.stop_fd < 0 || listener.spare_fd < 0)
		return err_set(err, errno, "accept loop: %s", strerror(errno));
	int rc = event_add(listener.stop_fd, EPOLLIN, event_key(EVENT_STOP, 0, 0));
	if (rc < 0)
		return err_set(err, rc, "accept loop: %s", strerror(-rc));
	listener.credentials = grpc_insecure_server_credentials_create();
	rc = pthread_create(&listener.thread, NULL, accept_main, NULL);
	if (rc != 0)
		return err_set(err, rc, "accept thread: %s", strerror(rc));
	listener.running = true;
	return 0;
}

void grpc_listen_stop(void)
{
	if (listener.running) {
		uint64_t one = 1;
		ssize_t written = write(listener.stop_fd, &one, sizeof(one));
		(void)written;
		pthread_join(listener.thread, NULL);
		listener.running = false;
	}
	pthread_mutex_lock(&listener.mutex);
	for (size_t fd = 0; fd < listener.table_len; fd++)
		forget_locked((int)fd);
	free(listener.table);
	listener.table = NULL;
	listener.table_len = 0;
	pthread_mutex_unlock(&listener.mutex);
	if (listener.credentials != NULL)
		grpc_server_credentials_release(listener.credentials);
	listener.credentials = NULL;
	int *fds[] = {&listener.epoll_fd, &listener.stop_fd, &listener.spare_fd};
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

// Of "ipv4:1.2.3.4:567" or "ipv6:%5B::1%5D:567". Port 0: it is neither.
static struct peer parse_peer(const char *text)
{
	struct peer peer = {.port = 0};
	const char *colon = strrchr(text, ':');
	char host[64] = "::ffff:";
	size_t n = strncmp(text, "ipv4:", 5) == 0 ? strlen(host) : 0;
	if (n == 0 && strncmp(text, "ipv6:", 5) != 0)
		return peer;
	for (const char *at = text + 5; at < colon && n + 1 < sizeof(host); at++) {
		if (at[0] == '%' && at[1] != '\0' && strncmp(at, "%25", 3) != 0)
			at += 2; // a bracket
		else if (at[0] == '%')
			break; // a scope
		else if (at[0] != '[' && at[0] != ']')
			host[n++] = at[0];
	}
	host[n] = '\0';
	if (inet_pton(AF_INET6, host, &peer.address) == 1)
		peer.port = (unsigned)strtoul(colon + 1, NULL, 10);
	return peer;
}

static struct grpc_conn *find_locked(const char *text)
{
	if (strncmp(text, "fd:", 3) == 0) {
		long fd = strtol(text + 3, NULL, 10);
		return fd >= 0 && (size_t)fd < listener.table_len ? listener.table[fd] : NULL;
	}
	struct peer peer = parse_peer(text);
	for (size_t fd = 0; peer.port != 0 && fd < listener.table_len; fd++) {
		struct grpc_conn *conn = listener.table[fd];
		if (conn != NULL && conn->peer.port == peer.port &&
			memcmp(&conn->peer.address, &peer.address, sizeof(peer.address)) == 0)
			return conn;
	}
	return NULL;
}

struct grpc_conn *grpc_conn_find(const char *peer)
{
	if (peer == NULL)
		return NULL;
	pthread_mutex_lock(&listener.mutex);
	struct grpc_conn *conn = find_locked(peer);
	if (conn != NULL) {
		conn->refs++;
		conn->used = true;
	}
	pthread_mutex_unlock(&listener.mutex);
	return conn;
}

void grpc_conn_unref(struct grpc_conn *conn)
{
	if (conn == NULL)
		return;
	pthread_mutex_lock(&listener.mutex);
	unref_locked(conn);
	pthread_mutex_unlock(&listener.mutex);
}

struct grpc_holding *grpc_conn_holding(struct grpc_conn *conn)
{
	return conn != NULL ? &conn->holding : &strangers;
}

void grpc_conn_cancelled(struct grpc_conn *conn, uint64_t now_ns)
{
	if (conn == NULL)
		return;
	bool cut = false;
	pthread_mutex_lock(&listener.mutex);
	if (now_ns - conn->window_ns > SECOND_NS) {
		conn->window_ns = now_ns;
		conn->cancels = 0;
	}
	if (++conn->cancels > GRPC_CANCELS_PER_SECOND && !conn->cut && conn->dup >= 0) {
		cut = conn->cut = true;
		listener.stats.cut++;
		shutdown(conn->dup, SHUT_RDWR);
	}
	bool say = cut && (listener.complained_cut_ns == 0 || now_ns - listener.complained_cut_ns > SECOND_NS);
	if (say)
		listener.complained_cut_ns = now_ns;
	pthread_mutex_unlock(&listener.mutex);
	if (say)
		log_line(LOG_WARN, "gRPC connection cut: it opens and cancels calls too fast",
			I("cancelsPerSecond", GRPC_CANCELS_PER_SECOND));
}

void grpc_listen_stats(struct grpc_listen_stats *ret_stats)
{
	pthread_mutex_lock(&listener.mutex);
	*ret_stats = listener.stats;
	pthread_mutex_unlock(&listener.mutex);
}
