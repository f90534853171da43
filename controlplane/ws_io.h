// SPDX-License-Identifier: ISC
//
// ws_io.h - the io thread behind ws.h: one TCP/TLS exchange with one address, either a WebSocket or a plain GET.
//
// Control makes and closes exchanges and hears their events; libwebsockets is only ever called on the io thread.
#pragma once

#include "controlplane/ws.h"

struct ws_io;

enum ws_io_event_type {
	WS_IO_OPEN,    // the 101 came
	WS_IO_MESSAGE, // data, bytes
	WS_IO_END,     // the last event: text says how; status of the HTTP answer when there was one other than 101;
		       // of a GET also data, bytes: the start of the body
};

struct ws_io_event {
	enum ws_io_event_type type;
	bool was_open, is_text, untrusted;
	int status;
	const uint8_t *data;
	size_t bytes;
	const char *text;
};
typedef void ws_io_fn(void *arg, const struct ws_io_event *event); // runs on control

struct ws_io_config { // all strings are copied
	const char *address; // numeric
	uint16_t port;
	bool secure, ip_host; // ip_host: the certificate must name the address itself
	bool get;             // ask once over plain HTTP instead of upgrading
	const char *host;     // Host header, and without its port the name in SNI and certificate
	const char *path, *bearer, *ca_file;
	bool text;           // deliver text messages
	size_t message_max;  // 0: WS_MESSAGE_MAX
	uint32_t ping_s, dead_s; // 0: 10 and 25
	ws_io_fn *event;
	void *arg;
};

#define WS_IO_BODY_MAX 1024     // of a GET's answer
#define WS_IO_QUEUED_MAX (4u << 20)

int ws_io_init(struct err *err);
void ws_io_finish(void);
struct ws_io *ws_io_open(const struct ws_io_config *config) RUNS_ON(control_role); // NULL: out of memory
int ws_io_send(struct ws_io *io, const void *data, size_t bytes, bool text) RUNS_ON(control_role);
size_t ws_io_queued_bytes(const struct ws_io *io); // of messages that have not been handed to the network
// No event after this. What is queued is sent, also by a connection that is only being opened, then a close frame, within a
// second; then it frees itself. Takes NULL.
void ws_io_close(struct ws_io *io) RUNS_ON(control_role);
