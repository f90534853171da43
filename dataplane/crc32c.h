// SPDX-License-Identifier: ISC
//
// crc32c.h - CRC32c (RFC 9260 appendix A) with the processor's instruction, which every machine we run on has.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

uint32_t crc32c(const uint8_t *data, size_t bytes);
