// SPDX-License-Identifier: ISC
//
// ws.h - WebSocket client (ws, wss) on one io thread; control sees connections as objects with events. Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/roles.h"

#define WS_MESSAGE_MAX (2u << 20) // LiveKit's own limit per message

struct ws;

enum ws_event_type {
	WS_OPEN,    // the 101 came
	WS_MESSAGE, // one whole binary message, or with config.text one whole text message (not checked for UTF-8)
	WS_CLOSED,  // after OPEN: closed by either side or lost; text says how
	WS_FAILED,  // before OPEN: text is a sentence; http_status > 0 when the server answered HTTP, with its body text
};
struct ws_event {
	enum ws_event_type type;
	const uint8_t *data; // valid during the callback
	size_t bytes;
	bool is_text;
	int http_status;
	bool untrusted; // FAILED: at the last address the server's certificate was not believed
	const char *text; // tokens cut out
};
// Runs on control.
typedef void ws_event_fn(void *arg, struct ws *ws, const struct ws_event *event);

struct ws_config {
	const char *url;      // ws:// or wss://host[:port]/path?query
	const char *bearer;   // Authorization: Bearer ...
	const char *ca_file;  // extra trust anchors, "" = system only
	uint32_t connect_limit_ms; // name, TCP, TLS, 101 together
	const char *validate_url; // http(s) URL asked with the same bearer after a refused upgrade to learn the text; NULL: none
	bool text;                // deliver text messages too; else they are ignored
	size_t message_max;       // bytes of one received message; more ends the connection. 0: WS_MESSAGE_MAX
	uint32_t ping_s, dead_s;  // a ping after so long without a sign of life, dead after so long; 0: 10 and 25
	ws_event_fn *event;
	void *arg;
};

int ws_init(struct err *err); // starts the io thread
void ws_finish(void);
struct ws *ws_connect(const struct ws_config *config, struct err *err) RUNS_ON(control_role);
int ws_send(struct ws *ws, const void *data, size_t bytes) RUNS_ON(control_role); // binary, copied; -ENOBUFS when 4 MiB wait
int ws_send_text(struct ws *ws, const char *text, size_t bytes) RUNS_ON(control_role); // the same as text; may be empty
size_t ws_queued_bytes(const struct ws *ws) RUNS_ON(control_role); // sent by us, not yet taken by the network
// Sends what is queued, then a close frame; bounded by 1 s; frees itself. No event after this returns.
void ws_close(struct ws *ws) RUNS_ON(control_role); // takes NULL
// Closes a connection that may not be open yet: when it opens within a second, farewell is the one message it sends.
void ws_abandon(struct ws *ws, const void *farewell, size_t bytes) RUNS_ON(control_role); // takes NULL
