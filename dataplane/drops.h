// SPDX-License-Identifier: ISC
//
// drops.h - the reasons of drops.def as an enum, with their names and sentences.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

enum drop {
	DROP_NONE = 0, // keep
#define DROP(name, sentence) DROP_##name,
#include "dataplane/drops.def"
#undef DROP
	DROP_COUNT,
};

// Upper-case name without prefix ("SRTP_AUTH") and sentence of a reason; "NONE" out of range.
const char *drop_name(enum drop reason);
const char *drop_sentence(enum drop reason);
