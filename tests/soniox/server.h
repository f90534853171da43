// SPDX-License-Identifier: ISC
//
// server.h - two listeners (for clients, and for tests to control) and a thread for each connection.
//
// Runs on: any, unless said otherwise.
#pragma once

#include "dataplane/base.h"

struct server_config {
	const char *address;                  // numeric IPv4
	uint16_t port, control_port;          // 0: any
	const char *cert_file, *key_file;     // NULL: plain
};

// Listens and serves. Main thread.
int server_start(const struct server_config *config, struct err *err);
uint16_t server_port(void);
uint16_t server_control_port(void);

// Opens or closes the port that clients use: closed, connections are refused. Returns when it is done.
int server_listen(bool open, struct err *err);

// Every connection looks at the clock and at its faults.
void server_wake(void);

bool server_stopping(void);

// Ends every connection and waits for them. Main thread.
void server_stop(void);
