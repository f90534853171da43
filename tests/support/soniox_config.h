// SPDX-License-Identifier: ISC
//
// soniox_config.h - included by a test: the configuration of a stand-in of Soniox on this machine, as the defaults have it.
//
// Runs on: any.
#pragma once

#include "controlplane/config.h"

static inline void soniox_config_set(struct config *config, int enabled, uint16_t port, char *key)
{
	static char url[64], none[] = "";
	snprintf(url, sizeof(url), "ws://127.0.0.1:%u/transcribe-websocket", port);
	config->audio.ring_ms = 10000;
	config->soniox.enabled = enabled;
	config->soniox.url = url;
	config->soniox.key = key;
	config->soniox.ca_file = none;
	config->soniox.files.dir = none;
	config->soniox.audio = SONIOX_PCM;
	config->soniox.replay_ms = 30000;
	config->soniox.concurrent = 10;
	config->soniox.per_minute = 100;
	config->soniox.rotate_ms = config->soniox.idle_ms = 300000;
	config->soniox.stall_ms = 10000;
	config->soniox.history = 100;
	config->soniox.options = (struct soniox_options){.model = "stt-rt-v5", .endpointing = true};
}
