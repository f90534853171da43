// SPDX-License-Identifier: ISC
//
// srtp_oracle.h - libsrtp2 as a second opinion; loaded at run time, since its names are also ours.
//
// Runs on: any.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct srtp_oracle;
// profile: DTLS-SRTP number. NULL when the library is not there.
struct srtp_oracle *srtp_oracle_create(int profile, const uint8_t *key, size_t key_bytes, const uint8_t *salt,
	size_t salt_bytes, bool sends);
void srtp_oracle_destroy(struct srtp_oracle *oracle);
int srtp_oracle_run(struct srtp_oracle *oracle, bool rtcp, uint8_t *packet, int *bytes); // 0 when it was good
