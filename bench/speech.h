// SPDX-License-Identifier: ISC
//
// speech.h - Opus packets as phones send them: hybrid fullband, mono, 20 ms, 121 bytes (facts: peers.md 6).
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#define SPEECH_BYTES 121
#define SPEECH_CONFIG 15 // of the TOC byte: hybrid, fullband, 20 ms

// Encodes a made-up voice (buzz through moving formants, hiss, pauses), the same every time. -EIO when the encoder chose another
// mode, -ENOMEM.
int speech_encode(uint8_t (*ret_frames)[SPEECH_BYTES], unsigned count);
