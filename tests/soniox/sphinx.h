// SPDX-License-Identifier: ISC
//
// sphinx.h - the recogniser that hears English: PocketSphinx with Debian's model.
//
// Runs on: any.
#pragma once

#include "tests/soniox/recogniser.h"

// Loads decoders (each takes about a second and 100 MB) so that the first sessions need not. More are loaded when needed,
// and all are kept for later sessions.
int sphinx_load(unsigned count, struct err *err);
void sphinx_unload(void);
