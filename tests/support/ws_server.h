// SPDX-License-Identifier: ISC
//
// ws_server.h - a WebSocket server on loopback that behaves in every way a server can, named by the path; TLS included.
//
// Include after cmocka.h. A thread for each connection.
#pragma once

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/base.h"
#include "tests/support/certificate.h"

#define TOKEN "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
#define BUSY_MESSAGES 10

struct stream {
	int fd;
	SSL *ssl;
	bool failed; // to send
};

static struct {
	int fd;
	uint16_t port;
	SSL_CTX *tls; // NULL: plain
	pthread_t thread;
	char last_request[8192];
	_Atomic(unsigned) pongs, pings, connections;
	char close_seen[64];
	_Atomic(bool) leave_seen;
} server;

static bool get(struct stream *s, void *data, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		int n = s->ssl != NULL ? SSL_read(s->ssl, (char *)data + at, (int)(bytes - at))
				       : (int)read(s->fd, (char *)data + at, bytes - at);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static void put(struct stream *s, const void *data, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		int n = s->ssl != NULL ? SSL_write(s->ssl, (const char *)data + at, (int)(bytes - at))
				       : (int)send(s->fd, (const char *)data + at, bytes - at, MSG_NOSIGNAL);
		s->failed = n <= 0;
		if (s->failed)
			return;
		at += (size_t)n;
	}
}

static void put_text(struct stream *s, const char *text)
{
	put(s, text, strlen(text));
}

static void put_frame(struct stream *s, uint8_t head, const void *data, size_t bytes)
{
	uint8_t h[10] = {head};
	size_t n = 2;
	if (bytes < 126) {
		h[1] = (uint8_t)bytes;
	} else if (bytes < 65536) {
		h[1] = 126;
		put_be16(h + 2, (uint16_t)bytes);
		n = 4;
	} else {
		h[1] = 127;
		put_be64(h + 2, bytes);
		n = 10;
	}
	put(s, h, n);
	put(s, data, bytes);
}

// Reads a client's frame; returns its opcode, or -1.
static int get_frame(struct stream *s, uint8_t *data, size_t size, size_t *ret_bytes)
{
	uint8_t h[14];
	if (!get(s, h, 2) || (h[1] & 0x80) == 0)
		return -1;
	uint64_t bytes = h[1] & 127;
	if (bytes == 126 && get(s, h + 2, 2))
		bytes = get_be16(h + 2);
	else if (bytes == 127 && get(s, h + 2, 8))
		bytes = get_be64(h + 2);
	uint8_t mask[4];
	if (bytes > size || !get(s, mask, 4) || !get(s, data, bytes))
		return -1;
	for (uint64_t i = 0; i < bytes; i++)
		data[i] ^= mask[i % 4];
	*ret_bytes = bytes;
	return h[0] & 15;
}

static void upgrade(struct stream *s, const char *request)
{
	char key[128] = "", joined[256], answer[512];
	const char *at = strcasestr(request, "Sec-WebSocket-Key: ");
	assert_non_null(at);
	sscanf(at + 19, "%100[^\r]", key);
	snprintf(joined, sizeof(joined), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	uint8_t digest[20], text[64];
	EVP_Digest(joined, strlen(joined), digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock(text, digest, 20);
	snprintf(answer, sizeof(answer),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
		"%s\r\n\r\n", (char *)text);
	put_text(s, answer);
}

static void echo(struct stream *s)
{
	static __thread uint8_t data[4 << 20];
	size_t bytes;
	for (int op; (op = get_frame(s, data, sizeof(data), &bytes)) >= 0;) {
		if (op == 8) {
			snprintf(server.close_seen, sizeof(server.close_seen), "%u", bytes >= 2 ? get_be16(data) : 0);
			put_frame(s, 0x88, data, bytes);
			return;
		}
		if (op == 10)
			atomic_fetch_add(&server.pongs, 1);
		if (op == 2 && bytes == 5 && memcmp(data, "leave", 5) == 0)
			atomic_store(&server.leave_seen, true);
		if (op == 1 || op == 2)
			put_frame(s, (uint8_t)(0x80 | op), data, bytes);
		if (op == 9)
			atomic_fetch_add(&server.pings, 1);
	}
}

// Says nothing and answers no ping: a peer whose network died.
static void dead(struct stream *s)
{
	static __thread uint8_t data[256];
	size_t bytes;
	for (int op; (op = get_frame(s, data, sizeof(data), &bytes)) >= 0 && op != 8;)
		if (op == 9)
			atomic_fetch_add(&server.pings, 1);
}

// Answers no ping for longer than a dead peer is given, but has something to say all the time; then it is dead.
static void busy(struct stream *s)
{
	for (unsigned i = 0; i < BUSY_MESSAGES; i++) {
		put_frame(s, 0x82, "word", 4);
		usleep(500000);
	}
	dead(s);
}

// Messages as fast as they go: empty ones, texts that nobody wants, or large ones; until the client has had enough.
static void flood(struct stream *s, char what)
{
	static uint8_t data[1 << 20];
	for (unsigned i = 0; i < 100000 && !s->failed; i++)
		put_frame(s, what == 't' ? 0x81 : 0x82, data, what == 'b' ? sizeof(data) : 0);
}

// What the server does is named by the path.
static void serve(struct stream *s, const char *request)
{
	char path[256] = "";
	sscanf(request, "GET %200[^ ?]", path);
	if (strcmp(path, "/silent") == 0) {
		char byte;
		(void)get(s, &byte, 1);
	} else if (strcmp(path, "/refused") == 0 || strcmp(path, "/refused-quietly") == 0) {
		put_text(s, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope");
	} else if (strcmp(path, "/validate") == 0) {
		put_text(s, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 86\r\n\r\n"
			    "invalid token: " TOKEN ", error: token is\nexpired   ");
	} else if (strcmp(path, "/endless") == 0) {
		put_text(s, "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n");
		char chunk[107] = "64\r\n";
		memset(chunk + 4, 'x', 100);
		memcpy(chunk + 104, "\r\n", 3);
		for (int i = 0; i < 1000; i++)
			put_text(s, chunk);
	} else if (strcmp(path, "/redirect") == 0) {
		put_text(s, "HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(path, "/wrong-accept") == 0) {
		put_text(s, "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n");
	} else if (strcmp(path, "/junk") == 0) {
		put_text(s, "SSH-2.0-OpenSSH_9.2\r\n");
	} else if (strncmp(path, "/ws/", 4) == 0) {
		upgrade(s, request);
		if (strcmp(path, "/ws/midframe") == 0) {
			put(s, "\x82\x0a" "abc", 5);
		} else if (strcmp(path, "/ws/big") == 0) {
			uint8_t *data = calloc(1, 3 << 20);
			put_frame(s, 0x82, data, 3 << 20);
			free(data);
		} else if (strcmp(path, "/ws/fragments") == 0) {
			put_frame(s, 0x02, "one ", 4);
			put_frame(s, 0x89, "ping", 4);
			put_frame(s, 0x00, "two ", 4);
			put_frame(s, 0x80, "three", 5);
			put_frame(s, 0x81, "text is not for us", 18);
			put_frame(s, 0x82, NULL, 0);
		} else if (strncmp(path, "/ws/flood-", 10) == 0) {
			flood(s, path[10]);
		} else if (strcmp(path, "/ws/close") == 0) {
			put_frame(s, 0x88, "\x0f\xa0" "bye " TOKEN, 6 + strlen(TOKEN));
			uint8_t data[256];
			size_t bytes;
			(void)get_frame(s, data, sizeof(data), &bytes);
			return;
		} else if (strcmp(path, "/ws/lost") == 0) {
			return;
		} else if (strcmp(path, "/ws/dead") == 0) {
			dead(s);
			return;
		} else if (strcmp(path, "/ws/busy") == 0) {
			busy(s);
			return;
		}
		if (strcmp(path, "/ws/midframe") != 0)
			echo(s);
	}
}

static void *connection_main(void *arg)
{
	struct stream s = {.fd = (int)(intptr_t)arg};
	char request[8192] = "";
	size_t used = 0;
	if (server.tls != NULL) {
		s.ssl = SSL_new(server.tls);
		SSL_set_fd(s.ssl, s.fd);
		if (SSL_accept(s.ssl) != 1)
			used = sizeof(request);
	}
	while (used < sizeof(request) - 1 && get(&s, request + used, 1)) {
		used++;
		if (used >= 4 && memcmp(request + used - 4, "\r\n\r\n", 4) == 0) {
			strcpy(server.last_request, request);
			serve(&s, request);
			break;
		}
	}
	if (s.ssl != NULL)
		SSL_free(s.ssl);
	shutdown(s.fd, SHUT_RDWR);
	close(s.fd);
	server.connections--;
	return NULL;
}

static void *server_main(void *arg)
{
	for (int fd; (fd = accept(server.fd, NULL, NULL)) >= 0;) {
		pthread_t thread;
		server.connections++;
		pthread_create(&thread, NULL, connection_main, (void *)(intptr_t)fd);
		pthread_detach(thread);
	}
	return NULL;
}

static char server_ca_path[CERTIFICATE_PATH_MAX]; // who trusts it believes the server

static SSL_CTX *server_tls(const char *names)
{
	char key_path[CERTIFICATE_PATH_MAX];
	certificate_make(names, server_ca_path, key_path);
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate_file(tls, server_ca_path, SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(tls, key_path, SSL_FILETYPE_PEM), 1);
	unlink(key_path);
	return tls;
}

static void server_start(SSL_CTX *tls)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(address);
	memset(&server, 0, sizeof(server));
	server.tls = tls;
	server.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(server.fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(server.fd, 16), 0);
	getsockname(server.fd, (struct sockaddr *)&address, &length);
	server.port = ntohs(address.sin_port);
	pthread_create(&server.thread, NULL, server_main, NULL);
}

static void server_stop(void)
{
	shutdown(server.fd, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.fd);
	for (unsigned ms = 0; server.connections > 0 && ms < 20000; ms++) // their peers have gone
		usleep(1000);
	assert_int_equal(server.connections, 0);
}
