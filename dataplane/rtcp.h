// SPDX-License-Identifier: ISC
//
// rtcp.h - compound RTCP packets (RFC 3550 6): parsed with a visitor, receiver reports built. Pure.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/source.h"

struct rtcp_visitor {
	void (*sender_report)(void *arg, uint32_t ssrc, uint64_t ntp, uint32_t timestamp); // each may be NULL
	void (*bye)(void *arg, uint32_t ssrc);
	void *arg;
};

// Calls the visitor for what it understands, skips the rest. The whole compound is checked before the first call.
enum drop rtcp_parse(const uint8_t *data, size_t bytes, const struct rtcp_visitor *visitor);

// RR with SDES CNAME; returns its length, 0 when the buffer is too small.
size_t rtcp_build_rr(uint8_t *data, size_t size, uint32_t sender_ssrc, const struct source_reception *receptions,
	unsigned count, const char *cname);
