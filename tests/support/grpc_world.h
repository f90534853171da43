// SPDX-License-Identifier: ISC
//
// grpc_world.h - included by a test: the gRPC servers over real sockets in a folder of their own, and a client. Slots are fakes.
//
// Runs on: any.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controlplane/grpc_listen.h"
#include "controlplane/grpc_server.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"
#include "tests/support/grpc_folder.h"

#define BRIDGE "/mentra.livekit.bridge.LiveKitBridge/"

static char inherited_path[108]; // listens as descriptor 3 since before anything else was opened
static struct client client;

static inline void launch(void)
{
	struct err err = {""};
	if (grpc_server_launch(&config, &err) != 0)
		fail_msg("launch: %s", err.text);
}

static int setup(void **state)
{
	folder_make();
	snprintf(inherited_path, sizeof(inherited_path), "%s/inherited.sock", folder);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", inherited_path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(fd >= 0 && (fd == 3 || dup2(fd, 3) == 3));
	assert_int_equal(bind(3, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(3, 8), 0);
	grpc_init();
	fake_start();
	launch();
	client_open(&client, target);
	return 0;
}

static int teardown(void **state)
{
	client_close(&client);
	grpc_server_stop();
	fake_finish();
	grpc_shutdown();
	return folder_remove();
}

static inline void expect_answer(struct client *asking)
{
	Mentra__Livekit__Bridge__BridgeStatusRequest request = MENTRA__LIVEKIT__BRIDGE__BRIDGE_STATUS_REQUEST__INIT;
	assert_int_equal(client_unary(asking, BRIDGE "GetStatus", &request.base, NULL, NULL, NULL, 0), GRPC_STATUS_OK);
}

// How a raw connection begins.
#define RAW_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

// One HEADERS frame that opens a call and the RST_STREAM that takes it back. Returns their length.
static inline size_t reset_frames(uint8_t *out, uint32_t id)
{
	static const char path[] = BRIDGE "GetStatus";
	static const char rest[] = "\x01\x01h"                       // :authority h
				   "\x0f\x10\x10" "application/grpc" // content-type
				   "\x00\x02" "te" "\x08" "trailers";
	uint8_t block[256];
	size_t n = 0;
	block[n++] = 0x83; // :method POST
	block[n++] = 0x86; // :scheme http
	block[n++] = 0x04; // :path, literal, not indexed
	block[n++] = sizeof(path) - 1;
	memcpy(block + n, path, sizeof(path) - 1);
	n += sizeof(path) - 1;
	memcpy(block + n, rest, sizeof(rest) - 1);
	n += sizeof(rest) - 1;
	uint8_t head[9] = {0, (uint8_t)(n >> 8), (uint8_t)n, 1, 4};
	put_be32(head + 5, id);
	memcpy(out, head, 9);
	memcpy(out + 9, block, n);
	uint8_t reset[13] = {0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 8};
	put_be32(reset + 5, id);
	memcpy(out + 9 + n, reset, 13);
	return 9 + n + 13;
}

// Waits until no more connections than these are left.
static inline void settle(unsigned connections)
{
	struct grpc_listen_stats stats;
	for (unsigned i = 0; i < 5000; i++) {
		grpc_listen_stats(&stats);
		if (stats.connections <= connections)
			return;
		usleep(1000);
	}
	fail_msg("%u connections are left", stats.connections);
}

// The configuration is refused with a sentence that contains PART.
static inline void expect_refusal(const char *part)
{
	struct err err = {""};
	assert_true(grpc_server_launch(&config, &err) < 0);
	if (strstr(err.text, part) == NULL)
		fail_msg("expected \"%s\" in \"%s\"", part, err.text);
}
