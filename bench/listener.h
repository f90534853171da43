// SPDX-License-Identifier: ISC
//
// listener.h - included by a bench: clients of StreamAudio that measure how old each frame is when they have it.
//
// A frame carries the time of its writing in its first eight bytes.
//
// Runs on: io (a thread for each).
#pragma once

#include <pthread.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"

#define LISTENER_METHOD "/mentra.livekit.bridge.LiveKitBridge/StreamAudio"

typedef Mentra__Livekit__Bridge__AudioChunk audio_chunk;

struct listener {
	struct client client;
	struct client_call call;
	pthread_t thread;
	struct bench_series latency;
	char user[32];
	_Atomic(bool) ready;
	bool failed;
};

static void *listener_main(void *arg)
{
	struct listener *listener = arg;
	for (;;) {
		audio_chunk *chunk =
			(audio_chunk *)client_recv(&listener->call, &mentra__livekit__bridge__audio_chunk__descriptor);
		uint64_t now = clock_mono_ns();
		if (chunk == NULL)
			return NULL;
		for (size_t at = 0; at + PCM_CELL_BYTES <= chunk->pcm_data.len; at += PCM_CELL_BYTES) {
			uint64_t sent;
			memcpy(&sent, chunk->pcm_data.data + at, sizeof(sent));
			bench_add(&listener->latency, now - sent);
		}
		protobuf_c_message_free_unpacked(&chunk->base, NULL);
	}
}

static bool listener_start(struct listener *listener, const char *target, unsigned index)
{
	snprintf(listener->user, sizeof(listener->user), "user%u", index);
	client_open(&listener->client, target);
	client_start(&listener->call, &listener->client, LISTENER_METHOD, 600000);
	audio_chunk chunk = MENTRA__LIVEKIT__BRIDGE__AUDIO_CHUNK__INIT;
	chunk.user_id = listener->user;
	if (!client_initial(&listener->call) || !client_send(&listener->call, &chunk.base))
		return false;
	return pthread_create(&listener->thread, NULL, listener_main, listener) == 0;
}
