// SPDX-License-Identifier: ISC
//
// reception.h - what a receiver knows of one RTP stream (RFC 3550 6.4.1 and appendix A): counts, jitter, the sender's clock.
//
// Runs on: worker. A pure function of packets and time.
#pragma once

#include "dataplane/base.h"

#define RTP_TICKS_PER_MS 48

struct source_reception; // source.h

// The last sender report: the sender's wall clock (NTP, 64 bits) at an RTP time.
struct sender_clock {
	bool known;
	uint64_t ntp, arrival_ns;
	uint32_t timestamp;
};

struct reception {
	bool started;
	uint32_t ssrc;
	uint16_t seq_max;
	uint32_t bad_seq; // number that proves a jump to be another numbering, RECEPTION_NO_BAD: none
	uint32_t cycles, base_seq, received, received_before, expected_before;
	uint32_t transit;
	double jitter_ticks;
	bool have_transit;
	struct sender_clock clock;
};

#define RECEPTION_NO_BAD 0x10001 // no number

void reception_start(struct reception *reception, uint32_t ssrc, uint16_t seq);
// The number of a packet that arrived (A.1): a jump counts when the next number follows it, then everything begins anew but the
// sender's clock and the jitter. Returns whether it came behind a later one.
bool reception_count(struct reception *reception, uint16_t seq);
// Its time stamp against its arrival (A.8). Not of a packet without payload, which has the time stamp of another.
void reception_arrived(struct reception *reception, uint32_t timestamp, uint64_t arrival_ns);
// A report with a time before 1970 says nothing and is left out: false.
bool sender_clock_set(struct sender_clock *clock, uint64_t ntp, uint32_t timestamp, uint64_t arrival_ns);
// Wall clock (Unix us) at which the sample with that RTP time was captured; false while no report came.
bool sender_clock_us(const struct sender_clock *clock, uint32_t timestamp, int64_t *ret_us);
// Ticks to add to other's time stamps to get ours, to whole packets of 20 ms; false unless both had a report.
bool sender_clock_offset(const struct sender_clock *ours, const struct sender_clock *other, uint32_t *ret_offset);
// The report block about the stream since the last one; false while nothing was received.
bool reception_report(struct reception *reception, uint64_t now_ns, struct source_reception *ret_block);
