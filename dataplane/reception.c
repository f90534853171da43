// SPDX-License-Identifier: ISC
//
// reception.c - the receiver's account of one RTP stream.
//
// Runs on: worker.   Upstream: source.   Downstream: rtcp (receiver reports).

#include "dataplane/reception.h"

#include "dataplane/source.h"

#include "dataplane/hot.h"

#define NTP_UNIX_S 2208988800ull // seconds from 1900 to 1970
#define JUMP_TICKS 48000         // mute and DTX move the clocks against each other by more; that is not jitter
#define PACKET_TICKS 960

#define DROPOUT_MAX 3000 // RFC 3550 A.1: numbers ahead that may be loss
#define MISORDER_MAX 100 // and behind that may be reordering

void reception_start(struct reception *reception, uint32_t ssrc, uint16_t seq)
{
	*reception = (struct reception){.started = true, .ssrc = ssrc, .seq_max = seq, .base_seq = seq, .bad_seq = RECEPTION_NO_BAD};
}

// Another numbering of the same stream.
static void renumber(struct reception *reception, uint16_t seq)
{
	reception->seq_max = seq;
	reception->base_seq = seq;
	reception->bad_seq = RECEPTION_NO_BAD;
	reception->cycles = reception->received = reception->received_before = reception->expected_before = 0;
}

bool reception_count(struct reception *reception, uint16_t seq)
{
	uint16_t ahead = (uint16_t)(seq - reception->seq_max);
	bool behind = ahead > UINT16_MAX - MISORDER_MAX + 1;
	if (UNLIKELY(ahead >= DROPOUT_MAX && !behind)) {
		if (seq != reception->bad_seq) {
			reception->bad_seq = (uint16_t)(seq + 1);
			return false;
		}
		renumber(reception, seq);
	} else if (LIKELY(!behind)) {
		if (seq < reception->seq_max)
			reception->cycles += 0x10000;
		reception->seq_max = seq;
		reception->bad_seq = RECEPTION_NO_BAD;
	}
	reception->received++;
	return behind;
}

void reception_arrived(struct reception *reception, uint32_t timestamp, uint64_t arrival_ns)
{
	uint32_t arrival = (uint32_t)(arrival_ns / 1000 * RTP_TICKS_PER_MS / 1000);
	uint32_t transit = arrival - timestamp;
	if (reception->have_transit) {
		int32_t difference = (int32_t)(transit - reception->transit);
		double size = difference < 0 ? -(double)difference : (double)difference;
		if (size < JUMP_TICKS)
			reception->jitter_ticks += (size - reception->jitter_ticks) / 16;
	}
	reception->have_transit = true;
	reception->transit = transit;
}

bool sender_clock_set(struct sender_clock *clock, uint64_t ntp, uint32_t timestamp, uint64_t arrival_ns)
{
	if (ntp >> 32 < NTP_UNIX_S)
		return false;
	*clock = (struct sender_clock){.known = true, .ntp = ntp, .arrival_ns = arrival_ns, .timestamp = timestamp};
	return true;
}

static int64_t ntp_unix_us(uint64_t ntp)
{
	uint64_t seconds = ntp >> 32, fraction = ntp & 0xffffffffu;
	return ((int64_t)seconds - (int64_t)NTP_UNIX_S) * 1000000 + (int64_t)(fraction * 1000000 >> 32);
}

bool sender_clock_us(const struct sender_clock *clock, uint32_t timestamp, int64_t *ret_us)
{
	if (!clock->known)
		return false;
	int32_t ticks = (int32_t)(timestamp - clock->timestamp);
	*ret_us = ntp_unix_us(clock->ntp) + (int64_t)ticks * 1000 / RTP_TICKS_PER_MS;
	return true;
}

bool sender_clock_offset(const struct sender_clock *ours, const struct sender_clock *other, uint32_t *ret_offset)
{
	if (!ours->known || !other->known)
		return false;
	int64_t between_us = ntp_unix_us(other->ntp) - ntp_unix_us(ours->ntp);
	// Where our clock stood when theirs was reported; the error is far below half a packet, so packets' grid decides.
	uint32_t ours_then = ours->timestamp + (uint32_t)(between_us * RTP_TICKS_PER_MS / 1000);
	int32_t raw = (int32_t)(ours_then - other->timestamp);
	int32_t half = raw < 0 ? -(PACKET_TICKS / 2) : PACKET_TICKS / 2;
	*ret_offset = (uint32_t)((raw + half) / PACKET_TICKS * PACKET_TICKS);
	return true;
}

bool reception_report(struct reception *reception, uint64_t now_ns, struct source_reception *ret_block)
{
	if (!reception->started)
		return false;
	uint32_t extended = reception->cycles + reception->seq_max;
	uint32_t expected = extended - reception->base_seq + 1;
	uint32_t expected_interval = expected - reception->expected_before;
	uint32_t received_interval = reception->received - reception->received_before;
	reception->expected_before = expected;
	reception->received_before = reception->received;
	int32_t lost_interval = (int32_t)(expected_interval - received_interval);
	*ret_block = (struct source_reception){
		.ssrc = reception->ssrc,
		.extended_seq = extended,
		.jitter = (uint32_t)reception->jitter_ticks,
		.cumulative_lost = (int32_t)(expected - reception->received),
		.fraction_lost = expected_interval == 0 || lost_interval <= 0
					 ? 0
					 : (uint8_t)(((uint32_t)lost_interval << 8) / expected_interval),
	};
	const struct sender_clock *clock = &reception->clock;
	if (clock->known) {
		ret_block->last_sr = (uint32_t)(clock->ntp >> 16);
		uint64_t delay_ns = now_ns > clock->arrival_ns ? now_ns - clock->arrival_ns : 0;
		ret_block->delay_since_sr = (uint32_t)(delay_ns / 1000 * 65536 / 1000000);
	}
	return true;
}
