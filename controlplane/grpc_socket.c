// SPDX-License-Identifier: ISC
//
// grpc_socket.c - listening sockets: made here (Unix with lock file, plaintext TCP) or inherited from the supervisor.
//
// gRPC's own Unix listener steals the path of a running server and unlinks its successor's; ours takes a lock first.
//
// Runs on: init.

#include "controlplane/grpc_socket.h"

#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512
#define LISTEN_FDS_START 3

// ---- inherited sockets (LISTEN_PID, LISTEN_FDS), matched by their own name

static int inherited_find(bool (*match)(const struct sockaddr *address, socklen_t bytes, const void *arg), const void *arg)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	if (pid == NULL || fds == NULL || strtol(pid, NULL, 10) != (long)getpid())
		return -1;
	long count = strtol(fds, NULL, 10);
	for (int fd = LISTEN_FDS_START; fd < LISTEN_FDS_START + (int)MIN_OF(MAX_OF(count, 0), 64); fd++) {
		struct sockaddr_storage address = {0};
		socklen_t bytes = sizeof(address);
		int listening = 0;
		socklen_t size = sizeof(listening);
		if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0 ||
			getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening ||
			!match((const struct sockaddr *)&address, bytes, arg))
			continue;
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		return fd;
	}
	return -1;
}

static bool match_path(const struct sockaddr *address, socklen_t bytes, const void *arg)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;
	return address->sa_family == AF_UNIX && bytes > offsetof(struct sockaddr_un, sun_path) &&
		strncmp(un->sun_path, arg, sizeof(un->sun_path)) == 0;
}

static bool match_addrinfo(const struct sockaddr *address, socklen_t bytes, const void *arg)
{
	for (const struct addrinfo *info = arg; info != NULL; info = info->ai_next) {
		if (info->ai_family != address->sa_family)
			continue;
		if (info->ai_family == AF_INET) {
			const struct sockaddr_in *a = (const void *)address, *b = (const void *)info->ai_addr;
			if (a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr)
				return true;
		} else if (info->ai_family == AF_INET6) {
			const struct sockaddr_in6 *a = (const void *)address, *b = (const void *)info->ai_addr;
			if (a->sin6_port == b->sin6_port && memcmp(&a->sin6_addr, &b->sin6_addr, 16) == 0)
				return true;
		}
	}
	return false;
}

// ---- Unix

static int lock_take(const char *path, int *ret_fd, struct err *err)
{
	char name[128];
	snprintf(name, sizeof(name), "%s.lock", path);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, errno, "%s: %s", name, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int rc = errno == EWOULDBLOCK ? err_set(err, -EADDRINUSE, "%s is held by a running server", name)
					      : err_set(err, errno, "%s: %s", name, strerror(errno));
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

// The old program made the socket's folder; so do we, one level deep.
static int folder_make(const char *path, struct err *err)
{
	char folder[108];
	snprintf(folder, sizeof(folder), "%s", path);
	char *slash = strrchr(folder, '/');
	if (slash == NULL || slash == folder)
		return 0;
	*slash = '\0';
	if (mkdir(folder, 0755) != 0 && errno != EEXIST)
		return err_set(err, errno, "%s: %s", folder, strerror(errno));
	return 0;
}

static int group_find(const char *name, gid_t *ret_gid, struct err *err)
{
	char buffer[4096];
	struct group entry, *found = NULL;
	if (getgrnam_r(name, &entry, buffer, sizeof(buffer), &found) != 0 || found == NULL)
		return err_set(err, -ENOENT, "socket_group: there is no group %s", name);
	*ret_gid = found->gr_gid;
	return 0;
}

// The mode is right from the first moment: umask before bind, and with a group nobody but us until it is set.
static int bind_path(int fd, const char *path, unsigned mode, const char *group, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	bool grouped = group != NULL && group[0] != '\0';
	gid_t gid = 0;
	int rc = grouped ? group_find(group, &gid, err) : 0;
	if (rc < 0)
		return rc;
	mode_t old = umask(grouped ? 0177 : 0777 & ~mode);
	rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
	umask(old);
	if (rc == 0 && grouped && (chown(path, (uid_t)-1, gid) != 0 || chmod(path, mode) != 0))
		rc = -errno;
	return rc < 0 ? err_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

int grpc_socket_unix(const char *path, unsigned mode, const char *group, struct grpc_socket *ret_socket, struct err *err)
{
	struct grpc_socket made = GRPC_SOCKET_NONE;
	if (strlen(path) + sizeof(".lock") > sizeof(made.path))
		return err_set(err, -ENAMETOOLONG, "%s: a socket path may have at most %zu bytes", path,
			sizeof(made.path) - sizeof(".lock"));
	snprintf(made.path, sizeof(made.path), "%s", path);
	made.fd = inherited_find(match_path, path);
	if (made.fd >= 0) {
		made.inherited = true;
		*ret_socket = made;
		return 0;
	}
	int rc = folder_make(path, err);
	if (rc == 0)
		rc = lock_take(path, &made.lock_fd, err);
	struct stat st;
	if (rc == 0 && lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			rc = err_set(err, -EEXIST, "%s exists and is not a socket", path);
		else if (unlink(path) != 0)
			rc = err_set(err, errno, "%s: %s", path, strerror(errno));
	}
	if (rc < 0)
		goto fail;
	made.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (made.fd < 0) {
		rc = err_set(err, errno, "socket: %s", strerror(errno));
		goto fail;
	}
	rc = bind_path(made.fd, path, mode, group, err);
	if (rc == 0 && listen(made.fd, BACKLOG) != 0)
		rc = err_set(err, errno, "%s: %s", path, strerror(errno));
	if (rc < 0)
		goto fail;
	*ret_socket = made;
	return 0;
fail:
	if (made.fd >= 0)
		close(made.fd);
	if (made.lock_fd >= 0)
		close(made.lock_fd);
	return rc;
}

// ---- TCP

static int resolve(const char *address, struct addrinfo **ret_info, struct err *err)
{
	char host[256];
	const char *colon = strrchr(address, ':');
	if (colon == NULL || colon[1] == '\0' || (size_t)(colon - address) >= sizeof(host))
		return err_set(err, -EINVAL, "%s: expected HOST:PORT", address);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	size_t length = strlen(host);
	char *name = host;
	if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		name++;
	}
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	int rc = getaddrinfo(name[0] != '\0' ? name : NULL, colon + 1, &hints, ret_info);
	if (rc != 0)
		return err_set(err, -EADDRNOTAVAIL, "%s: %s", address, gai_strerror(rc));
	return 0;
}

static bool is_loopback(const struct addrinfo *info)
{
	for (; info != NULL; info = info->ai_next) {
		const struct sockaddr_in *in = (const void *)info->ai_addr;
		const struct sockaddr_in6 *in6 = (const void *)info->ai_addr;
		bool inside = info->ai_family == AF_INET ? ntohl(in->sin_addr.s_addr) >> 24 == 127
							 : IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
		if (!inside)
			return false;
	}
	return true;
}

int grpc_socket_is_loopback(const char *address, struct err *err)
{
	struct addrinfo *info;
	int rc = resolve(address, &info, err);
	if (rc < 0)
		return rc;
	rc = is_loopback(info);
	freeaddrinfo(info);
	return rc;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t bytes = sizeof(address);
	getsockname(fd, (struct sockaddr *)&address, &bytes);
	return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
					     : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

int grpc_socket_tcp(const char *address, bool allow_beyond, struct grpc_socket *ret_socket, struct err *err)
{
	struct grpc_socket made = GRPC_SOCKET_NONE;
	struct addrinfo *info;
	int rc = resolve(address, &info, err);
	if (rc < 0)
		return rc;
	if (!allow_beyond && !is_loopback(info)) {
		rc = err_set(err, -EPERM,
			"%s is beyond loopback: set grpc.tls, or grpc.insecure_tcp (RELAY_INSECURE_TCP=1) for plaintext", address);
		goto out;
	}
	made.fd = inherited_find(match_addrinfo, info);
	made.inherited = made.fd >= 0;
	if (!made.inherited) {
		made.fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		int on = 1;
		if (made.fd < 0 || setsockopt(made.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
			bind(made.fd, info->ai_addr, info->ai_addrlen) != 0 || listen(made.fd, BACKLOG) != 0) {
			rc = err_set(err, errno, "%s: %s", address, strerror(errno));
			if (made.fd >= 0)
				close(made.fd);
			goto out;
		}
	}
	int at_once = 1; // what is accepted has it from here: a frame of 20 ms must not wait for the last one's acknowledgement
	setsockopt(made.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
	made.port = port_of(made.fd);
	*ret_socket = made;
out:
	freeaddrinfo(info);
	return rc;
}

void grpc_socket_close(struct grpc_socket *socket)
{
	if (socket->fd >= 0) {
		if (!socket->inherited && socket->path[0] != '\0')
			unlink(socket->path);
		close(socket->fd);
	}
	if (socket->lock_fd >= 0)
		close(socket->lock_fd); // the file stays: removing it would let two servers hold two locks
	*socket = GRPC_SOCKET_NONE;
}
