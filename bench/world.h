// SPDX-License-Identifier: ISC
//
// world.h - any number of talking sessions around the real worker code, without a kernel, a network or a peer.
//
// The dataplane is started as relayd starts it, but its worker thread returns at once (the linker replaces worker_main) and
// the bench's own thread plays the worker. Packets are made, encrypted and put into Ethernet frames beforehand; they reach
// the worker through a ring device.
#pragma once

#include <rte_ethdev.h>

#include "bench/speech.h"
#include "dataplane/transport.h"
#include "dataplane/worker.h"

#define WORLD_FRAME_BYTES 384
#define WORLD_SPEECH_FRAMES 250
#define WORLD_IP 0x0a630102u // 10.99.1.2; further addresses where the ports of one do not do
#define WORLD_PEER ((struct endpoint){0x0a630101u, 7882})
#define WORLD_HEADERS_BYTES 42 // Ethernet, IPv4, UDP
#define WORLD_DATA_BYTES 1024  // room for a frame of the data way

struct world_config {
	unsigned sessions;
	uint32_t ring_ms; // of PCM per session
	enum srtp_profile profile;
	bool red; // each packet carries its predecessor too
	bool passing; // nobody wants PCM: packets are handed on undecoded
	bool data;    // they speak by data packets (world_data_frame), not by a track
	bool listened; // a sleeping thread waits for all of them, as gRPC's does: each cell sets a mark and wants a bell
};

struct world_session {
	struct transport *transport;
	struct source *source;
	struct pcm *pcm, *opus; // opus: of the packets that are passed on, or NULL
	uint32_t ssrc;
	uint16_t seq;
};

struct world_frame {
	uint16_t bytes;
	uint8_t data[WORLD_FRAME_BYTES];
};

struct world {
	struct world_config config;
	struct world_session *sessions;
	struct world_frame *frames; // of the block that world_prepare made, in order of arrival
	unsigned frames_count, frames_size;
	unsigned next, round;
	unsigned fed; // rounds that went onto the wire
	struct srtp *sender; // its keys are everybody's
	struct srtp_keys keys;
	struct rte_ring *wire, *wire_out;
	uint8_t speech[WORLD_SPEECH_FRAMES][SPEECH_BYTES];
};

extern struct world world;

// Once per process.
void world_start(int core);
void world_stop(void);
// Sessions; closing waits for nothing since nobody else looks.
void world_open(const struct world_config *config);
void world_close(void);
// Every session's next `rounds` packets, one session after the other.
void world_prepare(unsigned rounds);
// After the first packets: every session is as one that joined long ago and got a sender report.
void world_settle(void);
// The sleeping thread was rung: it has taken the marks and sleeps again. Nothing where nobody listens.
void world_listener_turn(void);
// Puts the block's next packets into mbufs that were taken from the pool, and those onto the wire.
// *ret_port: whose they are; a burst is cut where the address changes.
unsigned world_feed(struct rte_mbuf **mbufs, unsigned count, unsigned *ret_port);
// Puts Ethernet, IPv4 and UDP before the payload that begins at WORLD_HEADERS_BYTES; returns the frame's length.
size_t world_headers(unsigned index, uint8_t *frame, size_t bytes);
// The next 20 ms of a session's data way, in a frame of WORLD_DATA_BYTES; its PCM begins with the stamp. Returns its length.
size_t world_data_frame(unsigned index, uint64_t stamp, uint8_t *frame);
void world_data_open(unsigned index); // by world_open and world_close
void world_data_close(unsigned index);
const struct srtp *world_srtp(const struct world_session *session);
static inline struct worker *world_worker(void)
{
	return &plane.workers[0];
}
