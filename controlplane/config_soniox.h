// SPDX-License-Identifier: ISC
//
// config_soniox.h - the section soniox: of relay.yaml.
//
// Runs on: init.
#pragma once

#include "controlplane/config.h"
#include "controlplane/config_yaml.h"

int config_soniox_defaults(struct config *config); // -ENOMEM
// On error the path of the key and a sentence.
int config_soniox_read(struct config *config, const struct config_yaml *yaml, char ret_path[static 64], struct err *err);
// After file and environment: what must hold of the whole. url and key are the environment's, NULL: none.
int config_soniox_finish(struct config *config, const char *url, const char *key, struct err *err);
void config_soniox_free(struct config *config);
