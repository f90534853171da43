// SPDX-License-Identifier: ISC
//
// ws_io.c - the thread that runs libwebsockets; commands come from control by one queue, events go back by another.
//
// An exchange belongs to control until ws_io_close, and is freed there when the io thread has reported it gone: neither
// side ever holds a pointer the other may have freed.
//
// Runs on: io, control.
#include "controlplane/ws_io.h"

#include <libwebsockets.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "controlplane/allowance.h"
#include "controlplane/control.h"
#include "controlplane/log.h"

#define CLOSE_LIMIT_US 1000000
#define KILL_AGAIN_US 20000
#define STOP_LIMIT_NS 1500000000u
#define STOP_TICK_US 10000
#define PING_S 10
#define DEAD_S 25
#define LIBRARY_LIMIT_S 60 // ours are shorter and decide
#define HEADER_BYTES_MAX 65536 // request head with a large token
#define RX_BYTES 4096
#define TX_BYTES 65536
#define VHOSTS_MAX 4           // one for each set of trust anchors
#define DELIVER_MAX 256 // events in a row, before control turns to others

enum node_type { NODE_START, NODE_SEND, NODE_CLOSE, NODE_OPEN, NODE_MESSAGE, NODE_END, NODE_GONE };

// What the queues carry. NODE_SEND and NODE_MESSAGE own data behind them and are freed by the receiver; the others live
// inside their exchange, so that a start, an end and a close cannot fail for lack of memory.
struct node {
	struct node *next;
	struct ws_io *io;
	enum node_type type;
	bool text;
	size_t bytes;
	uint8_t *data;
};

struct queue {
	struct node *head, **tail;
};

struct ws_io {
	// immutable
	char *address, *host, *path, *bearer, *ca_file;
	uint16_t port;
	bool secure, ip_host, get, want_text;
	size_t message_max;
	lws_retry_bo_t idle; // pings; the library keeps a pointer to it
	struct node start, close, open, end, gone;
	// the last event; written by io before NODE_END is queued
	bool untrusted;
	bool was_open;
	int status;
	char text[512];
	uint8_t body[WS_IO_BODY_MAX];
	size_t body_bytes;
	_Atomic(size_t) queued_bytes, unread_bytes; // to the server; to control
	// control
	ws_io_fn *event OWNED_BY(control_role);
	void *arg OWNED_BY(control_role);
	bool ended OWNED_BY(control_role), closed OWNED_BY(control_role);
	struct ws_io *next_all OWNED_BY(control_role), **prev_all OWNED_BY(control_role);
	// io
	struct lws *wsi OWNED_BY(io_role);
	bool connecting OWNED_BY(io_role), closing OWNED_BY(io_role), end_queued OWNED_BY(io_role);
	struct queue sending OWNED_BY(io_role);
	uint8_t *message OWNED_BY(io_role); // being put together
	size_t message_bytes OWNED_BY(io_role), message_size OWNED_BY(io_role);
	bool message_binary OWNED_BY(io_role);
	struct allowance allowance OWNED_BY(io_role);
	lws_sorted_usec_list_t limit OWNED_BY(io_role);
};

static struct {
	pthread_t thread;
	struct lws_context *context;
	pthread_mutex_t lock;
	struct queue commands, events; // both under lock
	bool stop, posted;             // both under lock
	struct control_work delivery;  // posted: control has it
	struct ws_io *all OWNED_BY(control_role);
	struct {
		struct lws_vhost *vhost;
		char *ca_file;
	} vhosts[VHOSTS_MAX] OWNED_BY(io_role);
	unsigned closing OWNED_BY(io_role); // exchanges that still say goodbye
} thread = {.lock = PTHREAD_MUTEX_INITIALIZER};

// ---- queues

static void queue_reset(struct queue *queue)
{
	queue->head = NULL;
	queue->tail = &queue->head;
}

static void queue_put(struct queue *queue, struct node *node)
{
	node->next = NULL;
	*queue->tail = node;
	queue->tail = &node->next;
}

static struct node *queue_take(struct queue *queue)
{
	struct node *node = queue->head;
	if (node != NULL) {
		queue->head = node->next;
		if (queue->head == NULL)
			queue->tail = &queue->head;
	}
	return node;
}

static struct node *locked_take(struct queue *queue)
{
	pthread_mutex_lock(&thread.lock);
	struct node *node = queue_take(queue);
	pthread_mutex_unlock(&thread.lock);
	return node;
}

// Of memory: small messages are mostly node.
static size_t node_cost(size_t bytes)
{
	return bytes + sizeof(struct node) + 64;
}

static void node_free(struct node *node)
{
	free(node->data);
	free(node);
}

static void command(struct node *node)
{
	pthread_mutex_lock(&thread.lock);
	queue_put(&thread.commands, node);
	pthread_mutex_unlock(&thread.lock);
	lws_cancel_service(thread.context);
}

static void events_deliver(void *arg);

// Under lock: control has something to deliver.
static void post_delivery(void)
{
	if (!thread.posted)
		control_post(&thread.delivery, events_deliver, NULL);
	thread.posted = true;
}

static void report(struct node *node)
{
	pthread_mutex_lock(&thread.lock);
	queue_put(&thread.events, node);
	post_delivery();
	pthread_mutex_unlock(&thread.lock);
}

// ---- io: what happens to an exchange

static void end(struct ws_io *io, const char *format, ...) __attribute__((format(printf, 2, 3))) RUNS_ON(io_role);
static void end(struct ws_io *io, const char *format, ...)
{
	if (io->end_queued)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(io->text, sizeof(io->text), format, args);
	va_end(args);
	io->end_queued = true;
	report(&io->end);
}

static void kill_in(struct ws_io *io, uint64_t us) RUNS_ON(io_role);

static void on_limit(lws_sorted_usec_list_t *limit)
{
	ENTERS(io_role);
	struct ws_io *io = lws_container_of(limit, struct ws_io, limit);
	if (io->wsi == NULL)
		return;
	// The first kill may only begin an orderly shutdown that waits for the peer, so it is repeated until all is over.
	kill_in(io, KILL_AGAIN_US);
	lws_set_timeout(io->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

// Never from within a callback of the connection itself: the library goes on with it after the callback.
static void kill_in(struct ws_io *io, uint64_t us)
{
	lws_sul_schedule(thread.context, 0, &io->limit, on_limit, (lws_usec_t)us);
}

// The connection does not exist any more (or never did).
static void gone_if_closing(struct ws_io *io) RUNS_ON(io_role)
{
	if (!io->closing || io->wsi != NULL || io->connecting)
		return;
	for (struct node *node; (node = queue_take(&io->sending)) != NULL;)
		node_free(node);
	free(io->message);
	io->message = NULL;
	thread.closing--;
	report(&io->gone);
}

static int message_append(struct ws_io *io, const uint8_t *data, size_t bytes) RUNS_ON(io_role)
{
	size_t need = io->message_bytes + bytes;
	if (need > io->message_max)
		return -EMSGSIZE;
	if (need > io->message_size) {
		size_t size = MAX_OF(need, MIN_OF(io->message_size * 2, io->message_max));
		uint8_t *bigger = realloc(io->message, size);
		if (bigger == NULL)
			return -ENOMEM;
		io->message = bigger;
		io->message_size = size;
	}
	if (bytes > 0)
		memcpy(io->message + io->message_bytes, data, bytes);
	io->message_bytes = need;
	return 0;
}

// Nothing more is heard of it.
static int cut(struct ws_io *io, int rc) RUNS_ON(io_role)
{
	if (rc == -EMSGSIZE)
		end(io, "the server sent a message of more than %zu bytes", io->message_max);
	else
		end(io, rc == -ENOMEM ? "out of memory for a message of the server" : "the server sends more than can be handled");
	kill_in(io, 1);
	return 0; // -1 would make libwebsockets 4.1 write behind its buffer with what still arrives
}

// All of a message is there, for control.
static int message_whole(struct ws_io *io) RUNS_ON(io_role)
{
	bool allowed = allowance_take(&io->allowance, io->message_bytes, clock_mono_ns());
	size_t unread = atomic_load(&io->unread_bytes) + node_cost(io->message_bytes);
	if (!allowed || unread > 2 * WS_IO_QUEUED_MAX) // far more than control can be behind by
		return -ENOBUFS;
	if (!io->message_binary && !io->want_text)
		return 0;
	struct node *node = calloc(1, sizeof(*node));
	if (node == NULL)
		return -ENOMEM;
	atomic_fetch_add(&io->unread_bytes, node_cost(io->message_bytes));
	*node = (struct node){.io = io, .type = NODE_MESSAGE, .text = !io->message_binary, .bytes = io->message_bytes,
		.data = io->message};
	io->message = NULL;
	io->message_bytes = io->message_size = 0;
	report(node);
	return 0;
}

static int on_receive(struct ws_io *io, struct lws *wsi, const void *data, size_t bytes) RUNS_ON(io_role)
{
	lws_validity_confirmed(wsi); // who speaks lives, though its answer to a ping may still be waiting behind what we sent before
	if (io->closing || io->end_queued)
		return 0;
	if (lws_is_first_fragment(wsi)) {
		io->message_bytes = 0;
		io->message_binary = lws_frame_is_binary(wsi);
	}
	int rc = message_append(io, data, bytes);
	if (rc == 0 && lws_is_final_fragment(wsi))
		rc = message_whole(io);
	return rc < 0 ? cut(io, rc) : 0;
}

static int on_writable(struct ws_io *io, struct lws *wsi) RUNS_ON(io_role)
{
	struct node *node = queue_take(&io->sending);
	if (node != NULL) {
		int rc = lws_write(wsi, node->data + LWS_PRE, node->bytes, node->text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY);
		atomic_fetch_sub(&io->queued_bytes, node->bytes);
		node_free(node);
		if (rc < 0)
			return -1;
		lws_callback_on_writable(wsi);
		return 0;
	}
	if (!io->closing)
		return 0;
	lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
	return -1;
}

// TLS is up and the request, with the token in it, is about to be written.
static int on_request(struct ws_io *io, struct lws *wsi, uint8_t **at, size_t left) RUNS_ON(io_role)
{
	if (io->secure && io->ip_host) {
		X509 *certificate = SSL_get1_peer_certificate(lws_get_ssl(wsi));
		int ok = certificate == NULL ? 0 : X509_check_ip_asc(certificate, io->address, 0);
		X509_free(certificate);
		if (ok != 1) {
			io->untrusted = true;
			end(io, "the certificate is not for %s", io->address);
			return -1;
		}
	}
	if (io->bearer[0] == '\0')
		return 0;
	char value[HEADER_BYTES_MAX / 2];
	int n = snprintf(value, sizeof(value), "Bearer %s", io->bearer);
	if (n < 0 || (size_t)n >= sizeof(value))
		return -1;
	return lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, (const uint8_t *)value, n, at, *at + left);
}

static void on_refused(struct ws_io *io, struct lws *wsi, const char *text, size_t bytes) RUNS_ON(io_role)
{
	if (io->end_queued) // what it ended with is control's to read now
		return;
	unsigned status = lws_http_client_http_response(wsi);
	if (status >= 100 && status != 101)
		io->status = (int)status;
	SSL *ssl = io->secure ? lws_get_ssl(wsi) : NULL;
	long verified = ssl != NULL ? SSL_get_verify_result(ssl) : X509_V_OK;
	io->untrusted |= verified != X509_V_OK;
	if (verified != X509_V_OK) // the library has no words for it
		end(io, "the server's certificate is refused: %s", X509_verify_cert_error_string(verified));
	else if (text == NULL || bytes == 0 || text[0] == '\0')
		end(io, "connection failed");
	else
		end(io, "%.*s", (int)MIN_OF(bytes, (size_t)200), text);
}

static void on_peer_close(struct ws_io *io, const uint8_t *data, size_t bytes) RUNS_ON(io_role)
{
	if (bytes < 2)
		end(io, "closed by the server");
	else if (bytes == 2)
		end(io, "closed by the server (%u)", get_be16(data));
	else
		end(io, "closed by the server (%u %.*s)", get_be16(data), (int)bytes - 2, (const char *)data + 2);
}

static int on_body(struct lws *wsi)
{
	char buffer[LWS_PRE + 2048], *at = buffer + LWS_PRE;
	int bytes = sizeof(buffer) - LWS_PRE;
	return lws_http_client_read(wsi, &at, &bytes) < 0 ? -1 : 0;
}

static int on_body_data(struct ws_io *io, const void *data, size_t bytes) RUNS_ON(io_role)
{
	if (io->end_queued)
		return -1;
	size_t take = MIN_OF(bytes, sizeof(io->body) - io->body_bytes);
	memcpy(io->body + io->body_bytes, data, take);
	io->body_bytes += take;
	return io->body_bytes == sizeof(io->body) ? -1 : 0; // enough
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t bytes)
{
	ENTERS(io_role);
	struct ws_io *io = user;
	if (io == NULL)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return on_request(io, wsi, (uint8_t **)in, bytes);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		on_refused(io, wsi, in, bytes);
		return 0;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		io->was_open = true;
		report(&io->open);
		if (io->sending.head != NULL || io->closing)
			lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return on_receive(io, wsi, in, bytes);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return on_writable(io, wsi);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		on_peer_close(io, in, bytes);
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		end(io, "connection lost");
		return 0;
	case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
		if (io->end_queued)
			return -1;
		io->status = (int)lws_http_client_http_response(wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
		return on_body(wsi);
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
		return on_body_data(io, in, bytes);
	case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
		return -1;
	case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
		end(io, "answered");
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		io->wsi = NULL;
		lws_sul_cancel(&io->limit);
		end(io, "connection lost");
		gone_if_closing(io);
		return 0;
	default:
		return 0;
	}
}

// What comes is handed over in pieces of the first size, for which each connection keeps a buffer as long as it lives; what goes out
// is written in pieces of the second, for which none does.
static const struct lws_protocols protocols[] = {
	{.name = "relay", .callback = callback, .rx_buffer_size = RX_BYTES, .tx_packet_size = TX_BYTES},
	{.name = NULL},
};

// ---- io: the thread

static struct lws_vhost *vhost_for(const char *ca_file) RUNS_ON(io_role)
{
	for (size_t i = 0; i < VHOSTS_MAX; i++) {
		if (thread.vhosts[i].vhost == NULL) {
			struct lws_context_creation_info info = {
				.port = CONTEXT_PORT_NO_LISTEN,
				.protocols = protocols,
				.vhost_name = "relay",
				.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT, // or it has no client side
				.client_ssl_ca_filepath = ca_file[0] == '\0' ? NULL : ca_file,
				.timeout_secs = LIBRARY_LIMIT_S,
				.connect_timeout_secs = LIBRARY_LIMIT_S,
			};
			free(thread.vhosts[i].ca_file);
			thread.vhosts[i].ca_file = strdup(ca_file);
			if (thread.vhosts[i].ca_file != NULL)
				thread.vhosts[i].vhost = lws_create_vhost(thread.context, &info);
			return thread.vhosts[i].vhost;
		}
		if (strcmp(thread.vhosts[i].ca_file, ca_file) == 0)
			return thread.vhosts[i].vhost;
	}
	return NULL;
}

static void do_start(struct ws_io *io) RUNS_ON(io_role)
{
	struct lws_client_connect_info info = {
		.context = thread.context,
		.vhost = vhost_for(io->ca_file),
		.address = io->address,
		.port = io->port,
		.host = io->host,
		.path = io->path,
		.method = io->get ? "GET" : NULL,
		.local_protocol_name = protocols[0].name,
		.alpn = "http/1.1",
		.ietf_version_or_minus_one = -1,
		.userdata = io,
		.pwsi = &io->wsi,
		.retry_and_idle_policy = io->get ? NULL : &io->idle,
		.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
	};
	if (io->secure)
		info.ssl_connection |= LCCSCF_USE_SSL;
	if (io->ip_host) // checked in on_request: the library compares names only
		info.ssl_connection |= LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;
	if (info.vhost == NULL) {
		end(io, "TLS cannot be set up with the trust anchors in %s", io->ca_file);
		return;
	}
	// A failure may call back, and even destroy, before this returns.
	io->connecting = true;
	if (lws_client_connect_via_info(&info) == NULL) {
		io->wsi = NULL;
		end(io, "connection failed");
	}
	io->connecting = false;
	gone_if_closing(io);
}

static void do_close(struct ws_io *io) RUNS_ON(io_role)
{
	io->closing = true;
	thread.closing++;
	bool to_say = io->was_open || io->sending.head != NULL;
	if (io->wsi != NULL && to_say && !io->end_queued) {
		kill_in(io, CLOSE_LIMIT_US);
		if (io->was_open) // else when it is
			lws_callback_on_writable(io->wsi);
	} else if (io->wsi != NULL) {
		kill_in(io, 1);
	}
	gone_if_closing(io);
}

static void do_send(struct ws_io *io, struct node *node) RUNS_ON(io_role)
{
	if (io->end_queued || io->closing) {
		node_free(node);
		return;
	}
	queue_put(&io->sending, node);
	if (io->wsi != NULL && io->was_open)
		lws_callback_on_writable(io->wsi);
}

static void run_commands(void) RUNS_ON(io_role)
{
	for (struct node *node; (node = locked_take(&thread.commands)) != NULL;) {
		if (node->type == NODE_START)
			do_start(node->io);
		else if (node->type == NODE_SEND)
			do_send(node->io, node);
		else
			do_close(node->io);
	}
}

static bool stop_wanted(void)
{
	pthread_mutex_lock(&thread.lock);
	bool stop = thread.stop;
	pthread_mutex_unlock(&thread.lock);
	return stop;
}

static void on_stop_tick(lws_sorted_usec_list_t *tick)
{
	(void)tick;
}

// The last "leave" of a daemon that ends is on its way. The library runs timers before it waits for sockets, and one of them
// may end the last exchange: without a timer of our own behind it, it would then wait for its next one, half a minute.
static void say_goodbye(void) RUNS_ON(io_role)
{
	lws_sorted_usec_list_t tick = {0};
	uint64_t limit = clock_mono_ns() + STOP_LIMIT_NS;
	for (run_commands(); thread.closing > 0 && clock_mono_ns() < limit; run_commands()) {
		lws_sul_schedule(thread.context, 0, &tick, on_stop_tick, STOP_TICK_US);
		lws_service(thread.context, 0);
	}
	lws_sul_cancel(&tick);
}

static void *io_main(void *arg)
{
	ENTERS(io_role);
	while (!stop_wanted()) {
		run_commands();
		lws_service(thread.context, 0);
	}
	say_goodbye();
	lws_context_destroy(thread.context);
	for (size_t i = 0; i < VHOSTS_MAX; i++) {
		free(thread.vhosts[i].ca_file);
		thread.vhosts[i].ca_file = NULL;
		thread.vhosts[i].vhost = NULL;
	}
	return NULL;
}

static void emit_log(int level, const char *line)
{
	log_text(LOG_DEBUG, "lws", line); // what matters comes back as an event
}

int ws_io_init(struct err *err)
{
	lws_set_log_level(LLL_ERR | LLL_WARN, emit_log);
	queue_reset(&thread.commands);
	queue_reset(&thread.events);
	thread.stop = thread.posted = false;
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.timeout_secs = LIBRARY_LIMIT_S,
		.connect_timeout_secs = LIBRARY_LIMIT_S,
		.pt_serv_buf_size = HEADER_BYTES_MAX,
		.max_http_header_data = 16384,
		.max_http_header_pool = 1024,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
	thread.context = lws_create_context(&info);
	if (thread.context == NULL)
		return err_set(err, ENOMEM, "the WebSocket library cannot be set up");
	sigset_t all, before; // signals are for the main thread
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&thread.thread, NULL, io_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		lws_context_destroy(thread.context);
		return err_set(err, rc, "the WebSocket thread cannot be started: %s", strerror(rc));
	}
	(void)pthread_setname_np(thread.thread, "ws-io");
	return 0;
}

// ---- control

static void io_free(struct ws_io *io) RUNS_ON(control_role)
{
	*io->prev_all = io->next_all;
	if (io->next_all != NULL)
		io->next_all->prev_all = io->prev_all;
	if (io->bearer != NULL)
		explicit_bzero(io->bearer, strlen(io->bearer));
	free(io->address);
	free(io->host);
	free(io->path);
	free(io->bearer);
	free(io->ca_file);
	free(io);
}

static void deliver(struct node *node) RUNS_ON(control_role)
{
	struct ws_io *io = node->io;
	struct ws_io_event event = {.was_open = io->was_open};
	switch (node->type) {
	case NODE_OPEN:
		event.type = WS_IO_OPEN;
		break;
	case NODE_MESSAGE:
		event.type = WS_IO_MESSAGE;
		event.data = node->data;
		event.bytes = node->bytes;
		event.is_text = node->text;
		atomic_fetch_sub(&io->unread_bytes, node_cost(node->bytes));
		break;
	case NODE_END:
		event.type = WS_IO_END;
		event.status = io->status;
		event.untrusted = io->untrusted;
		event.text = io->text;
		event.data = io->body;
		event.bytes = io->body_bytes;
		io->ended = true;
		break;
	default: // NODE_GONE
		io_free(io);
		return;
	}
	if (!io->closed)
		io->event(io->arg, &event);
	if (node->type == NODE_MESSAGE)
		node_free(node);
}

static void events_deliver(void *arg)
{
	ENTERS(control_role);
	pthread_mutex_lock(&thread.lock);
	thread.posted = false;
	pthread_mutex_unlock(&thread.lock);
	struct node *node = NULL;
	for (unsigned i = 0; i < DELIVER_MAX && (node = locked_take(&thread.events)) != NULL; i++)
		deliver(node);
	if (node == NULL)
		return;
	pthread_mutex_lock(&thread.lock);
	post_delivery(); // there may be more
	pthread_mutex_unlock(&thread.lock);
}

static char *copy_or_empty(const char *text)
{
	return strdup(text == NULL ? "" : text);
}

static void io_start(struct ws_io *io) RUNS_ON(control_role)
{
	io->next_all = thread.all;
	io->prev_all = &thread.all;
	if (thread.all != NULL)
		thread.all->prev_all = &io->next_all;
	thread.all = io;
	command(&io->start);
}

// Nobody else knows the exchange yet.
static void io_fill(struct ws_io *io, const struct ws_io_config *config) ROLE_UNCHECKED;
static void io_fill(struct ws_io *io, const struct ws_io_config *config)
{
	io->address = copy_or_empty(config->address);
	io->host = copy_or_empty(config->host);
	io->path = copy_or_empty(config->path);
	io->bearer = copy_or_empty(config->bearer);
	io->ca_file = copy_or_empty(config->ca_file);
	io->port = config->port;
	io->secure = config->secure;
	io->ip_host = config->ip_host;
	io->get = config->get;
	io->want_text = config->text;
	io->message_max = config->message_max != 0 ? config->message_max : WS_MESSAGE_MAX;
	allowance_begin(&io->allowance, 2 * io->message_max, clock_mono_ns());
	io->idle = (lws_retry_bo_t){.secs_since_valid_ping = (uint16_t)(config->ping_s != 0 ? config->ping_s : PING_S),
		.secs_since_valid_hangup = (uint16_t)(config->dead_s != 0 ? config->dead_s : DEAD_S)};
	io->event = config->event;
	io->arg = config->arg;
	io->start = (struct node){.io = io, .type = NODE_START};
	io->close = (struct node){.io = io, .type = NODE_CLOSE};
	io->open = (struct node){.io = io, .type = NODE_OPEN};
	io->end = (struct node){.io = io, .type = NODE_END};
	io->gone = (struct node){.io = io, .type = NODE_GONE};
	queue_reset(&io->sending);
}

struct ws_io *ws_io_open(const struct ws_io_config *config)
{
	struct ws_io *io = calloc(1, sizeof(*io));
	if (io == NULL)
		return NULL;
	io_fill(io, config);
	if (io->address == NULL || io->host == NULL || io->path == NULL || io->bearer == NULL || io->ca_file == NULL) {
		io->prev_all = &io->next_all;
		io_free(io);
		return NULL;
	}
	io_start(io);
	return io;
}

size_t ws_io_queued_bytes(const struct ws_io *io)
{
	return atomic_load(&io->queued_bytes);
}

int ws_io_send(struct ws_io *io, const void *data, size_t bytes, bool text)
{
	if (io->ended || io->closed)
		return -ENOTCONN;
	if (atomic_load(&io->queued_bytes) + bytes > WS_IO_QUEUED_MAX)
		return -ENOBUFS;
	struct node *node = calloc(1, sizeof(*node));
	uint8_t *copy = malloc(LWS_PRE + bytes); // the library writes the frame's head in front
	if (node == NULL || copy == NULL) {
		free(node);
		free(copy);
		return -ENOMEM;
	}
	if (bytes > 0)
		memcpy(copy + LWS_PRE, data, bytes);
	*node = (struct node){.io = io, .type = NODE_SEND, .text = text, .bytes = bytes, .data = copy};
	atomic_fetch_add(&io->queued_bytes, bytes);
	command(node);
	return 0;
}

void ws_io_close(struct ws_io *io)
{
	if (io == NULL || io->closed)
		return;
	io->closed = true;
	command(&io->close);
}

// The thread is gone, so what it owned is ours.
static void free_leftovers(void) ROLE_UNCHECKED;
static void free_leftovers(void)
{
	for (struct node *node; (node = queue_take(&thread.commands)) != NULL;) {
		if (node->type == NODE_SEND)
			node_free(node);
	}
	for (struct node *node; (node = queue_take(&thread.events)) != NULL;) {
		if (node->type == NODE_MESSAGE)
			node_free(node);
	}
	while (thread.all != NULL) {
		struct ws_io *io = thread.all;
		for (struct node *node; (node = queue_take(&io->sending)) != NULL;)
			node_free(node);
		free(io->message);
		io_free(io);
	}
}

void ws_io_finish(void)
{
	pthread_mutex_lock(&thread.lock);
	thread.stop = true;
	pthread_mutex_unlock(&thread.lock);
	lws_cancel_service(thread.context);
	pthread_join(thread.thread, NULL);
	free_leftovers();
}
