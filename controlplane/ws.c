// SPDX-License-Identifier: ISC
//
// ws.c - one WebSocket as control sees it: name, addresses one after the other, time limit, and why the server refused.
//
// Runs on: control.
#include "controlplane/ws.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

#include "controlplane/control.h"
#include "controlplane/log.h"
#include "controlplane/request.h"
#include "controlplane/resolve.h"
#include "controlplane/url.h"
#include "controlplane/ws_io.h"

#define ADDRESSES_MAX 4
#define EXPLAIN_LIMIT_MS 2000
#define RESOURCE_MAX 8192 // path and query

enum ws_phase { WS_RESOLVING, WS_CONNECTING, WS_RUNNING, WS_EXPLAINING, WS_ENDED };

struct ws {
	enum ws_phase phase;
	struct url url;
	char *path, *validate_path, *bearer, *ca_file;
	struct resolve *resolve;
	struct ws_io *io;
	struct control_timer timer;
	uint64_t deadline_ns; // connect_limit_ms from the start
	uint32_t limit_ms, ping_s, dead_s;
	bool text;
	size_t message_max;
	char addresses[ADDRESSES_MAX][INET6_ADDRSTRLEN];
	unsigned address_count, address_next;
	int status; // of the refused upgrade
	bool untrusted; // the last address
	char last_error[256];
	ws_event_fn *event;
	void *arg;
};

int ws_init(struct err *err)
{
	return ws_io_init(err);
}

void ws_finish(void)
{
	ws_io_finish();
}

// The last event; ws may be gone afterwards.
static void finish(struct ws *ws, enum ws_event_type type, const char *text) RUNS_ON(control_role)
{
	char clean[512];
	log_redact(text, clean, sizeof(clean));
	request_text_clean(clean);
	struct ws_event event = {.type = type, .http_status = ws->status, .untrusted = ws->untrusted, .text = clean};
	ws->phase = WS_ENDED;
	control_timer_stop(&ws->timer);
	ws_io_close(ws->io);
	ws->io = NULL;
	ws->event(ws->arg, ws, &event);
}

static void try_next(struct ws *ws) RUNS_ON(control_role);

static void on_attempt_limit(void *arg)
{
	ENTERS(control_role);
	struct ws *ws = arg;
	snprintf(ws->last_error, sizeof(ws->last_error), "no answer within %u ms", ws->limit_ms);
	ws->untrusted = false;
	try_next(ws);
}

static void on_resolve_limit(void *arg)
{
	ENTERS(control_role);
	struct ws *ws = arg;
	char text[512];
	resolve_cancel(ws->resolve);
	ws->resolve = NULL;
	snprintf(text, sizeof(text), "the name %s was not resolved within %u ms", ws->url.host, ws->limit_ms);
	finish(ws, WS_FAILED, text);
}

static void on_explain_limit(void *arg)
{
	ENTERS(control_role);
	struct ws *ws = arg;
	char text[64];
	snprintf(text, sizeof(text), "HTTP %d", ws->status);
	finish(ws, WS_FAILED, text);
}

static struct ws_io *open_io(struct ws *ws, const char *address, bool get, ws_io_fn *event) RUNS_ON(control_role)
{
	char host[URL_HOST_MAX + 16];
	struct in6_addr binary;
	if (url_host_header(&ws->url, host, sizeof(host)) < 0)
		return NULL;
	struct ws_io_config config = {
		.address = address,
		.port = ws->url.port,
		.secure = ws->url.secure,
		.ip_host = ws->url.ipv6 || inet_pton(AF_INET, ws->url.host, &binary) == 1,
		.get = get,
		.host = host,
		.path = get ? ws->validate_path : ws->path,
		.bearer = ws->bearer,
		.ca_file = ws->ca_file,
		.text = ws->text,
		.message_max = ws->message_max,
		.ping_s = ws->ping_s,
		.dead_s = ws->dead_s,
		.event = event,
		.arg = ws,
	};
	return ws_io_open(&config);
}

// "HTTP 401: text of the body", the body cut to one line of printable characters.
static void on_explained(void *arg, const struct ws_io_event *event)
{
	ENTERS(control_role);
	struct ws *ws = arg;
	char text[480];
	if (event->type != WS_IO_END)
		return;
	int n = snprintf(text, sizeof(text), "HTTP %d", ws->status);
	// A server that answers the question with "success" has refused for another reason.
	if (event->status >= 300 && event->bytes > 0) {
		n += snprintf(text + n, sizeof(text) - (size_t)n, ": ");
		for (size_t i = 0; i < event->bytes && (size_t)n < sizeof(text) - 1; i++) {
			uint8_t c = event->data[i];
			if (c == '\r' || c == '\n')
				c = ' ';
			text[n++] = (char)(c < ' ' || c == 127 ? '?' : c);
		}
		while (n > 0 && text[n - 1] == ' ')
			n--;
		text[n] = '\0';
	}
	finish(ws, WS_FAILED, text);
}

static void explain(struct ws *ws) RUNS_ON(control_role)
{
	ws_io_close(ws->io);
	ws->io = NULL;
	ws->phase = WS_EXPLAINING;
	control_timer_start(&ws->timer, EXPLAIN_LIMIT_MS, on_explain_limit, ws);
	if (ws->validate_path != NULL)
		ws->io = open_io(ws, ws->addresses[ws->address_next - 1], true, on_explained);
	if (ws->io == NULL)
		on_explain_limit(ws);
}

static void on_end(struct ws *ws, const struct ws_io_event *event) RUNS_ON(control_role)
{
	if (event->was_open) {
		finish(ws, WS_CLOSED, event->text);
	} else if (event->status != 0 && event->status != 101) {
		ws->status = event->status;
		explain(ws);
	} else {
		snprintf(ws->last_error, sizeof(ws->last_error), "%s%.200s",
			event->status == 101 ? "the server's answer to the handshake is wrong: " : "", event->text);
		ws->untrusted = event->untrusted;
		try_next(ws);
	}
}

static void on_io(void *arg, const struct ws_io_event *io_event)
{
	ENTERS(control_role);
	struct ws *ws = arg;
	struct ws_event event = {.text = ""};
	switch (io_event->type) {
	case WS_IO_OPEN:
		control_timer_stop(&ws->timer);
		ws->phase = WS_RUNNING;
		event.type = WS_OPEN;
		ws->event(ws->arg, ws, &event);
		break;
	case WS_IO_MESSAGE:
		event.type = WS_MESSAGE;
		event.data = io_event->data;
		event.bytes = io_event->bytes;
		event.is_text = io_event->is_text;
		ws->event(ws->arg, ws, &event);
		break;
	case WS_IO_END:
		on_end(ws, io_event);
		break;
	}
}

// The next address, with its share of the time that is left.
static void try_next(struct ws *ws)
{
	uint64_t now = clock_mono_ns();
	ws_io_close(ws->io);
	ws->io = NULL;
	if (ws->address_next == ws->address_count || now >= ws->deadline_ns) {
		char text[512], host[URL_HOST_MAX + 16] = "";
		(void)url_host_header(&ws->url, host, sizeof(host));
		snprintf(text, sizeof(text), "cannot connect to %.200s: %s", host, ws->last_error);
		finish(ws, WS_FAILED, text);
		return;
	}
	uint64_t left_ms = (ws->deadline_ns - now) / 1000000 + 1;
	unsigned left = ws->address_count - ws->address_next;
	ws->phase = WS_CONNECTING;
	control_timer_start(&ws->timer, left_ms / left, on_attempt_limit, ws);
	ws->io = open_io(ws, ws->addresses[ws->address_next++], false, on_io);
	if (ws->io == NULL)
		finish(ws, WS_FAILED, "out of memory");
}

static void on_resolved(void *arg, int status, const struct sockaddr_storage *addresses, unsigned count)
{
	ENTERS(control_role);
	struct ws *ws = arg;
	ws->resolve = NULL;
	for (unsigned i = 0; status == 0 && i < count && ws->address_count < ADDRESSES_MAX; i++) {
		const void *binary = addresses[i].ss_family == AF_INET6
					     ? (const void *)&((const struct sockaddr_in6 *)&addresses[i])->sin6_addr
					     : (const void *)&((const struct sockaddr_in *)&addresses[i])->sin_addr;
		if (inet_ntop(addresses[i].ss_family, binary, ws->addresses[ws->address_count], INET6_ADDRSTRLEN) != NULL)
			ws->address_count++;
	}
	if (ws->address_count == 0) {
		char text[512];
		if (status == -ENOMEM)
			snprintf(text, sizeof(text), "out of memory for the name %s", ws->url.host);
		else
			snprintf(text, sizeof(text), "the name %s has no address", ws->url.host);
		finish(ws, WS_FAILED, text);
		return;
	}
	try_next(ws);
}

// Splits "ws://host/path?query" into the place and the resource.
static int split_url(const char *text, struct url *ret_url, char **ret_resource, struct err *err)
{
	char base[URL_TEXT_MAX];
	const char *place = strstr(text, "://");
	const char *resource = place == NULL ? NULL : place + 3 + strcspn(place + 3, "/?");
	size_t length = resource == NULL ? 0 : (size_t)(resource - text);
	if (length == 0 || length >= sizeof(base))
		return err_set(err, EINVAL, "URL is not one of a WebSocket");
	memcpy(base, text, length);
	base[length] = '\0';
	int rc = url_parse(base, ret_url, err);
	if (rc < 0)
		return rc;
	if (strlen(resource) >= RESOURCE_MAX)
		return err_set(err, ENAMETOOLONG, "URL is too long");
	for (const char *p = resource; *p != '\0'; p++) { // it is written into a request line
		if (*p <= ' ' || *p > '~')
			return err_set(err, EINVAL, "URL has a character that must be percent-encoded");
	}
	if (asprintf(ret_resource, "%s%s", *resource == '/' ? "" : "/", resource) < 0) {
		*ret_resource = NULL;
		return err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

static void ws_free(struct ws *ws)
{
	if (ws->bearer != NULL)
		explicit_bzero(ws->bearer, strlen(ws->bearer));
	free(ws->bearer);
	free(ws->path);
	free(ws->validate_path);
	free(ws->ca_file);
	free(ws);
}

static int fill(struct ws *ws, const struct ws_config *config, struct err *err)
{
	int rc = split_url(config->url, &ws->url, &ws->path, err);
	if (rc == 0 && config->validate_url != NULL) {
		struct url validate;
		rc = split_url(config->validate_url, &validate, &ws->validate_path, err);
		if (rc == 0 && (strcmp(validate.host, ws->url.host) != 0 || validate.port != ws->url.port))
			rc = err_set(err, EINVAL, "the URL that explains refusals must be of the same server");
	}
	if (rc < 0)
		return rc;
	ws->bearer = strdup(config->bearer == NULL ? "" : config->bearer);
	ws->ca_file = strdup(config->ca_file == NULL ? "" : config->ca_file);
	if (ws->bearer == NULL || ws->ca_file == NULL)
		return err_set(err, ENOMEM, "out of memory");
	if (ws->ca_file[0] != '\0' && access(ws->ca_file, R_OK) != 0)
		return err_set(err, errno, "%s: %s", ws->ca_file, strerror(errno));
	for (const char *p = ws->bearer; *p != '\0'; p++) {
		if (*p <= ' ' || *p > '~')
			return err_set(err, EINVAL, "the token has a character that no HTTP header can carry");
	}
	return 0;
}

static void on_literal(void *arg)
{
	ENTERS(control_role);
	try_next(arg);
}

struct ws *ws_connect(const struct ws_config *config, struct err *err)
{
	struct ws *ws = calloc(1, sizeof(*ws));
	if (ws == NULL) {
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	if (fill(ws, config, err) < 0) {
		ws_free(ws);
		return NULL;
	}
	ws->event = config->event;
	ws->arg = config->arg;
	ws->limit_ms = config->connect_limit_ms;
	ws->text = config->text;
	ws->message_max = config->message_max;
	ws->ping_s = config->ping_s;
	ws->dead_s = config->dead_s;
	ws->deadline_ns = clock_mono_ns() + (uint64_t)ws->limit_ms * 1000000;
	uint8_t binary[16];
	if (inet_pton(ws->url.ipv6 ? AF_INET6 : AF_INET, ws->url.host, binary) == 1) {
		snprintf(ws->addresses[0], sizeof(ws->addresses[0]), "%.*s", INET6_ADDRSTRLEN - 1, ws->url.host);
		ws->address_count = 1;
		control_timer_start(&ws->timer, 0, on_literal, ws); // no event before this call returned
		return ws;
	}
	ws->resolve = resolve_start(ws->url.host, ws->url.port, on_resolved, ws);
	if (ws->resolve == NULL) {
		err_set(err, ENOMEM, "the name %s cannot be looked up: out of memory, or too many names wait", ws->url.host);
		ws_free(ws);
		return NULL;
	}
	control_timer_start(&ws->timer, ws->limit_ms, on_resolve_limit, ws);
	return ws;
}

int ws_send(struct ws *ws, const void *data, size_t bytes)
{
	return ws->phase == WS_RUNNING ? ws_io_send(ws->io, data, bytes, false) : -ENOTCONN;
}

int ws_send_text(struct ws *ws, const char *text, size_t bytes)
{
	return ws->phase == WS_RUNNING ? ws_io_send(ws->io, text, bytes, true) : -ENOTCONN;
}

size_t ws_queued_bytes(const struct ws *ws)
{
	return ws->phase == WS_RUNNING ? ws_io_queued_bytes(ws->io) : 0;
}

void ws_abandon(struct ws *ws, const void *farewell, size_t bytes)
{
	if (ws != NULL && (ws->phase == WS_CONNECTING || ws->phase == WS_RUNNING))
		ws_io_send(ws->io, farewell, bytes, false);
	ws_close(ws);
}

void ws_close(struct ws *ws)
{
	if (ws == NULL)
		return;
	control_timer_stop(&ws->timer);
	if (ws->resolve != NULL)
		resolve_cancel(ws->resolve);
	ws_io_close(ws->io);
	ws_free(ws);
}
