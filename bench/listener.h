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
#include "controlplane/latency.h"
#include "proto/mentra/livekit_bridge.pb-c.h"
#include "proto/relay/v1/audio.pb-c.h"
#include "tests/support/fake_slot.c"
#include "tests/support/grpc_client.c"

#define LISTENER_METHOD_LISTEN "/relay.v1.Audio/Listen"
#define LISTENER_METHOD "/mentra.livekit.bridge.LiveKitBridge/StreamAudio"

typedef Mentra__Livekit__Bridge__AudioChunk audio_chunk;

struct listener {
	struct client client;
	struct client_call call;
	pthread_t thread;
	struct bench_series latency;
	char user[32];
	unsigned coalesce_ms;        // 0: StreamAudio; else Listen with it
	const struct client *beside; // whose connection it shares, NULL: one of its own
	_Atomic(bool) ready;
	bool failed;
};

static void *listener_main(void *arg)
{
	struct listener *listener = arg;
	bool listen = listener->coalesce_ms != 0;
	const ProtobufCMessageDescriptor *kind =
		listen ? &relay__v1__audio_frames__descriptor : &mentra__livekit__bridge__audio_chunk__descriptor;
	for (;;) {
		ProtobufCMessage *message = client_recv(&listener->call, kind);
		uint64_t now = clock_mono_ns();
		if (message == NULL)
			return NULL;
		ProtobufCBinaryData pcm = listen ? ((Relay__V1__AudioFrames *)message)->pcm : ((audio_chunk *)message)->pcm_data;
		for (size_t at = 0; at + PCM_CELL_BYTES <= pcm.len; at += PCM_CELL_BYTES) {
			uint64_t sent;
			memcpy(&sent, pcm.data + at, sizeof(sent));
			bench_add(&listener->latency, now - sent);
		}
		protobuf_c_message_free_unpacked(message, NULL);
	}
}

static bool listener_start(struct listener *listener, const char *target, unsigned index)
{
	snprintf(listener->user, sizeof(listener->user), "user%u", index);
	if (listener->beside != NULL)
		listener->client = (struct client){listener->beside->channel, grpc_completion_queue_create_for_pluck(NULL)};
	else
		client_open(&listener->client, target);
	bool listen = listener->coalesce_ms != 0;
	client_start(&listener->call, &listener->client, listen ? LISTENER_METHOD_LISTEN : LISTENER_METHOD, 600000);
	audio_chunk chunk = MENTRA__LIVEKIT__BRIDGE__AUDIO_CHUNK__INIT;
	Relay__V1__ListenRequest request = RELAY__V1__LISTEN_REQUEST__INIT;
	chunk.user_id = request.user_id = listener->user;
	request.from_now = true;
	request.coalesce_ms = listener->coalesce_ms;
	if (!client_initial(&listener->call) || !client_send(&listener->call, listen ? &request.base : &chunk.base) ||
		(listen && !client_half_close(&listener->call)))
		return false;
	return pthread_create(&listener->thread, NULL, listener_main, listener) == 0;
}
