// SPDX-License-Identifier: ISC
//
// rtcp.h - compound RTCP packets (RFC 3550 6): parsed with a visitor, receiver reports built. Pure.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/source.h"

// One reception block of an SR or RR (RFC 3550 6.4.1), as a peer saw a stream of ours.
struct rtcp_block {
	uint32_t ssrc, extended_seq, jitter, last_sr, delay_since_sr;
	int32_t cumulative_lost;
	uint8_t fraction_lost;
};

// Each may be NULL. Texts are not terminated and lie in the packet.
struct rtcp_visitor {
	void (*sender_report)(void *arg, uint32_t ssrc, uint64_t ntp, uint32_t timestamp);
	void (*block)(void *arg, uint32_t sender, const struct rtcp_block *block);
	void (*cname)(void *arg, uint32_t ssrc, const char *text, size_t bytes);
	void (*bye)(void *arg, uint32_t ssrc, const char *reason, size_t reason_bytes);
	void *arg;
};

// A compound, or a single packet (RFC 5506). Calls the visitor for what it understands, skips the rest (feedback, APP, XR). The
// whole of it is checked before the first call: lengths, SDES items, BYE reasons, padding in the last packet only.
enum drop rtcp_parse(const uint8_t *data, size_t bytes, const struct rtcp_visitor *visitor);

// RR with SDES CNAME; returns its length, 0 when the buffer is too small.
size_t rtcp_build_rr(uint8_t *data, size_t size, uint32_t sender_ssrc, const struct source_reception *receptions,
	unsigned count, const char *cname);
// Generic NACK (RFC 4585 6.2.1): bit i of missing is the packet first + i of media_ssrc. Returns its length, 0 when the buffer is
// too small or nothing is missing. In a compound it follows a report.
size_t rtcp_build_nack(uint8_t *data, size_t size, uint32_t sender_ssrc, uint32_t media_ssrc, uint16_t first, uint32_t missing);
