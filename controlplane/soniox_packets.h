// SPDX-License-Identifier: ISC
//
// soniox_packets.h - Opus packets of the track on the user's time line: what lies between two of them becomes a gap of its length.
//
// Runs on: control.
#pragma once

#include "controlplane/soniox_replay.h"
#include "dataplane/pcm.h"

#define SONIOX_GAP_MAX_MS 2000 // longer is absence, for which no time passes: as in the ring of PCM

struct soniox_packets {
	bool started;
	uint32_t next; // RTP time behind the last packet
};

// frame: as source.h writes it into the ring of packets. False: no packet.
bool soniox_packets_take(struct soniox_packets *packets, struct soniox_replay *replay, const struct pcm_frame *frame);
