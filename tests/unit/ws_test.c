// SPDX-License-Identifier: ISC
//
// ws_test.c - the WebSocket client against a small server that behaves in every way a server can, TLS included.
//
// Runs on: control (the test), and a thread for each connection of the server.
#include "controlplane/ws.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "controlplane/allowance.h"
#include "controlplane/control.h"
#include "controlplane/resolve.h"

#define TOKEN "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
#define BUSY_MESSAGES 10

// ---- the server

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
	_Atomic(unsigned) pongs, pings;
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
	return NULL;
}

static void *server_main(void *arg)
{
	for (int fd; (fd = accept(server.fd, NULL, NULL)) >= 0;) {
		pthread_t thread;
		pthread_create(&thread, NULL, connection_main, (void *)(intptr_t)fd);
		pthread_detach(thread);
	}
	return NULL;
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
}

// ---- the client

struct trial {
	const char *scheme, *host, *path, *validate, *ca_file;
	uint32_t limit_ms;
	const void *send; // after OPEN
	size_t send_bytes;
	unsigned stop_after; // messages
	bool close_at_open, as_text, want_text;
	size_t message_max;
	uint32_t ping_s, dead_s;
	// seen
	unsigned opens, messages, ends;
	enum ws_event_type end;
	int status;
	bool untrusted;
	char text[512];
	uint8_t *data; // of the last message
	size_t bytes;
	unsigned texts; // of the messages
	struct control_timer watchdog;
};

static void on_watchdog(void *arg)
{
	((struct trial *)arg)->ends = 99;
	control_stop();
}

static void on_event(void *arg, struct ws *ws, const struct ws_event *event)
{
	ENTERS(control_role);
	struct trial *trial = arg;
	switch (event->type) {
	case WS_OPEN:
		trial->opens++;
		if (trial->as_text)
			assert_int_equal(ws_send_text(ws, trial->send, trial->send_bytes), 0);
		else if (trial->send != NULL)
			assert_int_equal(ws_send(ws, trial->send, trial->send_bytes), 0);
		if (!trial->close_at_open)
			return;
		ws_close(ws);
		control_stop();
		return;
	case WS_MESSAGE:
		trial->messages++;
		trial->texts += event->is_text;
		free(trial->data);
		trial->data = malloc(event->bytes + 1);
		if (event->bytes > 0)
			memcpy(trial->data, event->data, event->bytes);
		trial->bytes = event->bytes;
		if (trial->messages != trial->stop_after)
			return;
		break;
	default:
		trial->ends++;
		trial->end = event->type;
		trial->status = event->http_status;
		trial->untrusted = event->untrusted;
		snprintf(trial->text, sizeof(trial->text), "%s", event->text);
	}
	ws_close(ws);
	control_stop();
}

// Runs one connection from ws_connect to its end.
static void run(struct trial *trial)
{
	ENTERS(control_role);
	char url[512], validate[512];
	struct err err = {0};
	assert_int_equal(control_init(&err), 0);
	assert_int_equal(resolve_init(&err), 0);
	assert_int_equal(ws_init(&err), 0);
	const char *scheme = trial->scheme == NULL ? "ws" : trial->scheme, *host = trial->host == NULL ? "127.0.0.1" : trial->host;
	snprintf(url, sizeof(url), "%s://%s:%u%s", scheme, host, server.port, trial->path);
	snprintf(validate, sizeof(validate), "%s://%s:%u%s", scheme, host, server.port, trial->validate == NULL ? "" : trial->validate);
	struct ws_config config = {
		.url = url,
		.bearer = TOKEN,
		.ca_file = trial->ca_file,
		.connect_limit_ms = trial->limit_ms == 0 ? 5000 : trial->limit_ms,
		.validate_url = trial->validate == NULL ? NULL : validate,
		.text = trial->want_text,
		.message_max = trial->message_max,
		.ping_s = trial->ping_s,
		.dead_s = trial->dead_s,
		.event = on_event,
		.arg = trial,
	};
	struct ws *ws = ws_connect(&config, &err);
	assert_non_null(ws);
	control_timer_start(&trial->watchdog, 20000, on_watchdog, trial);
	control_run();
	control_timer_stop(&trial->watchdog);
	ws_finish();
	resolve_finish();
	control_finish();
}

static int plain_setup(void **state)
{
	server_start(NULL);
	return 0;
}

static int plain_teardown(void **state)
{
	server_stop();
	return 0;
}

static void test_echo(void **state)
{
	struct trial trial = {.path = "/ws/echo?x=%3D", .send = "hello", .send_bytes = 5, .stop_after = 1};
	run(&trial);
	assert_int_equal(trial.opens, 1);
	assert_int_equal(trial.bytes, 5);
	assert_memory_equal(trial.data, "hello", 5);
	assert_int_equal(trial.ends, 0);
	free(trial.data);
	assert_true(strncmp(server.last_request, "GET /ws/echo?x=%3D HTTP/1.1\r\n", 29) == 0);
	assert_non_null(strcasestr(server.last_request, "\r\nAuthorization: Bearer " TOKEN "\r\n"));
	assert_null(strcasestr(server.last_request, "Sec-WebSocket-Extensions"));
	assert_null(strcasestr(server.last_request, "Sec-WebSocket-Protocol"));
	char host[64];
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", server.port);
	assert_non_null(strcasestr(server.last_request, host));
}

static void test_resolves_names(void **state)
{
	struct trial trial = {.host = "localhost", .path = "/ws/echo", .send = "hello", .send_bytes = 5, .stop_after = 1};
	run(&trial);
	assert_int_equal(trial.messages, 1);
	free(trial.data);
}

static void test_largest_message(void **state)
{
	uint8_t *data = malloc(WS_MESSAGE_MAX);
	for (size_t i = 0; i < WS_MESSAGE_MAX; i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	struct trial trial = {.path = "/ws/echo", .send = data, .send_bytes = WS_MESSAGE_MAX, .stop_after = 1};
	run(&trial);
	assert_int_equal(trial.bytes, WS_MESSAGE_MAX);
	assert_memory_equal(trial.data, data, WS_MESSAGE_MAX);
	free(trial.data);
	free(data);
}

// A leave that is sent right before closing arrives, although the program ends at once.
static void test_close_flushes(void **state)
{
	struct trial trial = {.path = "/ws/echo", .send = "leave", .send_bytes = 5, .close_at_open = true};
	run(&trial);
	// It has left us; the server's thread may still have to be scheduled to read it.
	for (uint64_t limit = clock_mono_ns() + 10000000000u; !atomic_load(&server.leave_seen) && clock_mono_ns() < limit;)
		sched_yield();
	assert_true(atomic_load(&server.leave_seen));
	assert_int_equal(trial.ends, 0);
}

static void test_fragments(void **state)
{
	struct trial trial = {.path = "/ws/fragments", .stop_after = 2};
	run(&trial);
	assert_int_equal(trial.messages, 2); // the text frame is not one of them
	assert_int_equal(trial.bytes, 0);
	free(trial.data);
	struct trial first = {.path = "/ws/fragments", .stop_after = 1};
	run(&first);
	assert_int_equal(first.bytes, 13);
	assert_memory_equal(first.data, "one two three", 13);
	free(first.data);
}

static void test_text(void **state)
{
	struct trial trial = {.path = "/ws/echo", .send = "{\"a\":1}", .send_bytes = 7, .as_text = true, .want_text = true,
		.stop_after = 1};
	run(&trial);
	assert_int_equal(trial.texts, 1);
	assert_int_equal(trial.bytes, 7);
	assert_memory_equal(trial.data, "{\"a\":1}", 7);
	free(trial.data);
	struct trial empty = {.path = "/ws/echo", .as_text = true, .want_text = true, .stop_after = 1};
	run(&empty);
	assert_int_equal(empty.texts, 1);
	assert_int_equal(empty.bytes, 0);
	free(empty.data);
	struct trial both = {.path = "/ws/fragments", .want_text = true, .stop_after = 3};
	run(&both);
	assert_int_equal(both.texts, 1);
	free(both.data);
}

static void test_own_limit(void **state)
{
	struct trial trial = {.path = "/ws/big", .message_max = 1000};
	run(&trial);
	assert_int_equal(trial.end, WS_CLOSED);
	assert_string_equal(trial.text, "the server sent a message of more than 1000 bytes");
}

static void test_floods(void **state)
{
	static const char *const paths[] = {"/ws/flood-empty", "/ws/flood-texts", "/ws/flood-big"};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct trial trial = {.path = paths[i]};
		run(&trial);
		assert_int_equal(trial.ends, 1);
		assert_int_equal(trial.end, WS_CLOSED);
		assert_string_equal(trial.text, "the server sends more than can be handled");
		assert_in_range(trial.messages, 0, 5000);
		free(trial.data);
	}
	// What a busy room says is well within it.
	struct allowance left;
	uint64_t now = 1000000000;
	allowance_begin(&left, 4 << 20, now);
	for (unsigned i = 0; i < 20000; i++)
		assert_true(allowance_take(&left, 500, now += 1000000));
}

static void test_dead_peer(void **state)
{
	struct trial trial = {.path = "/ws/dead", .ping_s = 1, .dead_s = 2};
	run(&trial);
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_CLOSED);
	assert_true(atomic_load(&server.pings) > 0);
}

static void test_busy_peer(void **state)
{
	struct trial trial = {.path = "/ws/busy", .ping_s = 1, .dead_s = 3};
	run(&trial);
	assert_int_equal(trial.messages, BUSY_MESSAGES);
	assert_int_equal(trial.end, WS_CLOSED);
	free(trial.data);
}

static void test_ends(void **state)
{
	static const struct {
		const char *path;
		unsigned opens;
		enum ws_event_type end;
		const char *text;
	} cases[] = {
		{"/ws/midframe", 1, WS_CLOSED, "connection lost"},
		{"/ws/lost", 1, WS_CLOSED, "connection lost"},
		{"/ws/close", 1, WS_CLOSED, "closed by the server (4000 bye (token))"},
		{"/ws/big", 1, WS_CLOSED, "the server sent a message of more than 2097152 bytes"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct trial trial = {.path = cases[i].path};
		run(&trial);
		assert_int_equal(trial.ends, 1);
		assert_string_equal(trial.text, cases[i].text);
		assert_int_equal(trial.end, cases[i].end);
		assert_int_equal(trial.opens, cases[i].opens);
		assert_int_equal(trial.messages, 0);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *path, *validate;
		int status;
		const char *text;
	} cases[] = {
		{"/refused", "/validate", 401, "HTTP 401: invalid token: (token), error: token is expired"},
		{"/refused", NULL, 401, "HTTP 401"},
		{"/refused", "/silent", 401, "HTTP 401"},
		{"/redirect", "/redirect", 302, "HTTP 302"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct trial trial = {.path = cases[i].path, .validate = cases[i].validate};
		run(&trial);
		assert_int_equal(trial.ends, 1);
		assert_int_equal(trial.end, WS_FAILED);
		assert_string_equal(trial.text, cases[i].text);
		assert_int_equal(trial.status, cases[i].status);
		assert_int_equal(trial.opens, 0);
	}
	struct trial endless = {.path = "/refused", .validate = "/endless"};
	run(&endless);
	assert_int_equal(endless.ends, 1);
	assert_true(strncmp(endless.text, "HTTP 401: xxxxxxx", 17) == 0);
}

static void test_no_http(void **state)
{
	struct trial trial = {.path = "/junk"};
	run(&trial);
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_FAILED);
	assert_int_equal(trial.status, 0);
	struct trial wrong = {.path = "/wrong-accept"};
	run(&wrong);
	assert_int_equal(wrong.end, WS_FAILED);
	assert_int_equal(wrong.status, 0);
	print_message("%s\n", wrong.text);
	assert_non_null(strstr(wrong.text, "cannot connect to 127.0.0.1"));
}

static void test_silent(void **state)
{
	uint64_t before = clock_mono_ns();
	struct trial trial = {.path = "/silent", .limit_ms = 300};
	run(&trial);
	uint64_t took_ms = (clock_mono_ns() - before) / 1000000;
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_FAILED);
	assert_non_null(strstr(trial.text, "no answer within 300 ms"));
	assert_in_range(took_ms, 290, 5000);
}

static void test_nobody_there(void **state)
{
	uint16_t port = server.port;
	server.port = 1; // nothing listens there
	struct trial trial = {.path = "/ws/echo"};
	run(&trial);
	server.port = port;
	assert_int_equal(trial.ends, 1);
	assert_int_equal(trial.end, WS_FAILED);
	assert_true(strncmp(trial.text, "cannot connect to 127.0.0.1:1: ", 31) == 0);
}

static void test_bad_arguments(void **state)
{
	ENTERS(control_role);
	static const struct ws_config cases[] = {
		{.url = "ftp://a/"},
		{.url = "ws://"},
		{.url = "ws://a/x y"},
		{.url = "ws://a/\r\nX: y"},
		{.url = "ws://a/", .bearer = "x\r\nCookie: y"},
		{.url = "ws://a/", .validate_url = "http://b/"},
		{.url = "ws://a/", .ca_file = "/nonexistent/ca.pem"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = {0};
		assert_null(ws_connect(&cases[i], &err));
		assert_true(err.text[0] != '\0');
	}
}

// ---- TLS

static char ca_path[64];

static void add_extension(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

// A self-signed certificate for names; as a file it is the trust anchor.
static SSL_CTX *make_tls(const char *names)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_NAME *name = X509_get_subject_name(certificate);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	add_extension(certificate, NID_basic_constraints, "CA:TRUE");
	add_extension(certificate, NID_subject_alt_name, names);
	X509_sign(certificate, key, EVP_sha256());
	strcpy(ca_path, "/tmp/ws_test_ca_XXXXXX");
	FILE *file = fdopen(mkstemp(ca_path), "w");
	PEM_write_X509(file, certificate);
	fclose(file);
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(tls, certificate);
	SSL_CTX_use_PrivateKey(tls, key);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return tls;
}

static void tls_trial(const char *names, const char *host, bool trusted, bool success)
{
	SSL_CTX *tls = make_tls(names);
	server_start(tls);
	struct trial trial = {.scheme = "wss", .host = host, .path = "/ws/echo", .send = "hi", .send_bytes = 2, .stop_after = 1,
		.ca_file = trusted ? ca_path : NULL};
	run(&trial);
	assert_int_equal(trial.opens, success);
	assert_int_equal(trial.messages, success);
	if (!success) {
		assert_int_equal(trial.end, WS_FAILED);
		if (strcasestr(trial.text, "certificate") == NULL)
			fail_msg("\"%s\" does not say that it is the certificate", trial.text);
		assert_true(trial.untrusted);
		assert_string_equal(server.last_request, ""); // the token was not shown
	}
	free(trial.data);
	server_stop();
	SSL_CTX_free(tls);
	unlink(ca_path);
}

static void test_tls(void **state)
{
	tls_trial("DNS:localhost", "localhost", true, true);
	tls_trial("DNS:localhost", "localhost", false, false);
	tls_trial("DNS:other.example", "localhost", true, false);
	tls_trial("IP:127.0.0.1", "127.0.0.1", true, true);
	tls_trial("IP:127.0.0.2", "127.0.0.1", true, false);
	tls_trial("IP:127.0.0.1", "127.0.0.1", false, false);
	tls_trial("DNS:127.0.0.1", "127.0.0.1", true, false);
}

int main(void)
{
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, plain_setup, plain_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(test_echo),
		PLAIN(test_resolves_names),
		PLAIN(test_largest_message),
		PLAIN(test_close_flushes),
		PLAIN(test_fragments),
		PLAIN(test_text),
		PLAIN(test_own_limit),
		PLAIN(test_floods),
		PLAIN(test_dead_peer),
		PLAIN(test_busy_peer),
		PLAIN(test_ends),
		PLAIN(test_refused),
		PLAIN(test_no_http),
		PLAIN(test_silent),
		PLAIN(test_nobody_there),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_tls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
