// SPDX-License-Identifier: ISC
//
// source_track.c - the microphone track's way into a source: order, repair by RED, FEC and concealment, decode, time line.
//
// Runs on: worker.   Upstream: ingress (after rtp).   Downstream: recut.

#include "dataplane/red.h"
#include "dataplane/source_state.h"

#include "dataplane/hot.h"

#define NTP_UNIX_S 2208988800ull // seconds from 1900 to 1970
#define CONCEAL_STEP (OPUS_DEC_RATE_HZ / 400) // concealment comes in steps of 2.5 ms

enum drop source_track_input(struct source *source, const struct source_rtp *packet) RUNS_ON(worker_role);

// ---- time

static int64_t ntp_unix_us(uint64_t ntp)
{
	uint64_t seconds = ntp >> 32, fraction = ntp & 0xffffffffu;
	return ((int64_t)seconds - (int64_t)NTP_UNIX_S) * 1000000 + (int64_t)(fraction * 1000000 >> 32);
}

// When the sample at an RTP time was captured: by the last sender report, else by arrival.
static int64_t capture_us(const struct source *source, uint32_t timestamp, uint64_t arrival_ns)
{
	const struct source_track *track = &source->track;
	if (!track->have_report)
		return source_wall_us(arrival_ns);
	int32_t ticks = (int32_t)(timestamp - track->report_timestamp);
	return ntp_unix_us(track->report_ntp) + (int64_t)ticks * 1000 / SOURCE_TICKS_PER_MS;
}

void source_sender_report(struct source *source, uint32_t ssrc, uint64_t ntp, uint32_t timestamp, uint64_t arrival_ns)
{
	struct source_track *track = &source->track;
	if (!track->started || track->ssrc != ssrc || ntp >> 32 < NTP_UNIX_S)
		return;
	track->have_report = true;
	track->report_ntp = ntp;
	track->report_timestamp = timestamp;
	track->report_arrival_ns = arrival_ns;
}

// ---- writing

static void write_samples(struct source *source, const int16_t *samples, unsigned count, uint16_t flags,
	uint64_t arrival_ns) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	source_emit(source, samples, count, (uint16_t)(flags | PCM_F_DECODED), capture_us(source, track->timestamp_next, arrival_ns),
		arrival_ns);
	track->timestamp_next += count * OPUS_DEC_TICKS_PER_SAMPLE;
}

static void write_silence(struct source *source, unsigned samples, uint64_t arrival_ns) RUNS_ON(worker_role)
{
	stats_add(&source->counters.dtx_frames, samples / PCM_CELL_SAMPLES);
	write_samples(source, NULL, samples, PCM_F_DTX, arrival_ns);
}

// A hole of lost packets right before this one: the decoder's concealment, and the packet's own copy of its predecessor.
static void write_repair(struct source *source, const struct jitter_packet *packet, unsigned samples) RUNS_ON(worker_role)
{
	int length = opus_dec_duration(packet->payload, packet->bytes);
	unsigned fec = length > 0 && (unsigned)length <= samples && opus_dec_has_fec(packet->payload, packet->bytes)
			       ? (unsigned)length
			       : 0;
	unsigned conceal = samples - fec;
	while (conceal >= CONCEAL_STEP) {
		unsigned part = MIN_OF(conceal - conceal % CONCEAL_STEP, 20u * OPUS_DEC_RATE_HZ / 1000);
		int got = opus_dec_conceal(&source->decoder, (int)part, source->samples);
		if (got <= 0)
			break;
		stats_add(&source->counters.concealed, 1);
		write_samples(source, source->samples, (unsigned)got, PCM_F_CONCEALED, packet->arrival_ns);
		conceal -= (unsigned)got;
	}
	if (fec > 0) {
		int got = opus_dec_fec(&source->decoder, packet->payload, packet->bytes, (int)fec, source->samples);
		if (got > 0) {
			stats_add(&source->counters.repaired_fec, 1);
			write_samples(source, source->samples, (unsigned)got, PCM_F_REPAIRED, packet->arrival_ns);
		}
	}
}

// What the time stamps say lies between the last sample and this packet.
static void fill(struct source *source, const struct jitter_packet *packet, unsigned lost) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	int32_t ticks = (int32_t)(packet->timestamp - track->timestamp_next);
	if (!track->decoded || ticks < 0 || ticks > SOURCE_FILL_MAX_MS * SOURCE_TICKS_PER_MS) {
		// The beginning, another clock, or absence: the time line goes on here and nothing is invented.
		if (track->decoded && lost > 0 && ticks < 0)
			opus_dec_reset(&source->decoder);
		track->timestamp_next = packet->timestamp;
		return;
	}
	unsigned samples = (unsigned)ticks / OPUS_DEC_TICKS_PER_SAMPLE;
	if (samples > 0 && lost > 0)
		write_repair(source, packet, samples);
	else if (samples > 0 && !source->muted)
		write_silence(source, samples, packet->arrival_ns);
	track->timestamp_next = packet->timestamp;
}

static void deliver(struct source *source, const struct jitter_packet *packet, unsigned lost) RUNS_ON(worker_role)
{
	stats_add(&source->counters.lost, lost);
	fill(source, packet, lost);
	int count = opus_dec_packet(&source->decoder, packet->payload, packet->bytes, source->samples);
	if (count <= 0) {
		stats_add(&source->counters.decode_errors, 1);
		return;
	}
	source->track.decoded = true;
	if (packet->repaired)
		stats_add(&source->counters.repaired_red, 1);
	write_samples(source, source->samples, (unsigned)count, packet->repaired ? PCM_F_REPAIRED : 0, packet->arrival_ns);
}

void source_track_drain(struct source *source, uint64_t now_ns)
{
	unsigned lost;
	for (const struct jitter_packet *packet; (packet = jitter_get(&source->track.jitter, now_ns, &lost)) != NULL;)
		deliver(source, packet, lost);
}

// ---- reception (RFC 3550 appendix A)

static void reception_start(struct source_track *track, uint16_t seq)
{
	track->seq_max = seq;
	track->base_seq = seq;
	track->cycles = track->received = track->received_before = track->expected_before = 0;
	track->have_transit = false;
	track->jitter_ticks = 0;
}

static void reception_count(struct source *source, const struct source_rtp *packet)
{
	struct source_track *track = &source->track;
	uint16_t ahead = (uint16_t)(packet->seq - track->seq_max);
	if (ahead < 0x8000) {
		if (packet->seq < track->seq_max)
			track->cycles += 0x10000;
		track->seq_max = packet->seq;
	} else {
		stats_add(&source->counters.reordered, 1);
	}
	track->received++;
	uint32_t arrival = (uint32_t)(packet->arrival_ns / 1000 * SOURCE_TICKS_PER_MS / 1000);
	uint32_t transit = arrival - packet->timestamp;
	if (track->have_transit) {
		int32_t difference = (int32_t)(transit - track->transit);
		double size = difference < 0 ? -(double)difference : (double)difference;
		// Mute and DTX move the clocks against each other; that is not jitter.
		if (size < 48000)
			track->jitter_ticks += (size - track->jitter_ticks) / 16;
	}
	track->have_transit = true;
	track->transit = transit;
	atomic_store_explicit(&source->counters.jitter_us, (uint64_t)(track->jitter_ticks * 1000 / SOURCE_TICKS_PER_MS),
		memory_order_relaxed);
}

bool source_reception_report(struct source *source, uint64_t now_ns, struct source_reception *ret_reception)
{
	struct source_track *track = &source->track;
	if (!track->started)
		return false;
	uint32_t extended = track->cycles + track->seq_max;
	uint32_t expected = extended - track->base_seq + 1;
	uint32_t expected_interval = expected - track->expected_before;
	uint32_t received_interval = track->received - track->received_before;
	track->expected_before = expected;
	track->received_before = track->received;
	int32_t lost_interval = (int32_t)(expected_interval - received_interval);
	*ret_reception = (struct source_reception){
		.ssrc = track->ssrc,
		.extended_seq = extended,
		.jitter = (uint32_t)track->jitter_ticks,
		.cumulative_lost = (int32_t)(expected - track->received),
		.fraction_lost = expected_interval == 0 || lost_interval <= 0
					 ? 0
					 : (uint8_t)(((uint32_t)lost_interval << 8) / expected_interval),
	};
	if (track->have_report) {
		ret_reception->last_sr = (uint32_t)(track->report_ntp >> 16);
		uint64_t delay_ns = now_ns > track->report_arrival_ns ? now_ns - track->report_arrival_ns : 0;
		ret_reception->delay_since_sr = (uint32_t)(delay_ns / 1000 * 65536 / 1000000);
	}
	return true;
}

// ---- input

void source_track_restart(struct source *source)
{
	struct source_track *track = &source->track;
	if (track->started)
		opus_dec_reset(&source->decoder);
	track->started = track->decoded = track->have_report = false;
	jitter_reset(&track->jitter);
}

static enum drop track_put(struct source *source, uint16_t seq, uint32_t timestamp, const uint8_t *payload, size_t bytes,
	bool repaired, uint64_t arrival_ns) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	bool restarted;
	enum drop drop = jitter_put(&track->jitter, seq, timestamp, payload, bytes, repaired, arrival_ns, &restarted);
	if (drop == DROP_JITTER_FULL) { // far ahead of an open gap: the wait is over
		source_track_drain(source, UINT64_MAX);
		drop = jitter_put(&track->jitter, seq, timestamp, payload, bytes, repaired, arrival_ns, &restarted);
		if (drop == DROP_JITTER_FULL) {
			uint16_t skipped = (uint16_t)(seq - track->jitter.next);
			stats_add(&source->counters.lost, skipped);
			jitter_reset(&track->jitter);
			drop = jitter_put(&track->jitter, seq, timestamp, payload, bytes, repaired, arrival_ns, &restarted);
		}
	}
	if (restarted) {
		reception_start(track, seq);
		track->decoded = false;
		opus_dec_reset(&source->decoder);
	}
	return drop;
}

// The primary block as it is; older blocks only where a packet is missing. One block is one packet.
static enum drop track_put_red(struct source *source, const struct source_rtp *packet) RUNS_ON(worker_role)
{
	struct red_block blocks[RED_BLOCKS_MAX];
	unsigned count;
	enum drop drop = red_parse(packet->payload, packet->payload_bytes, blocks, &count);
	if (drop != DROP_NONE)
		return drop;
	for (unsigned i = 0; i + 1 < count; i++) {
		uint16_t seq = (uint16_t)(packet->seq - (count - 1 - i));
		if (blocks[i].bytes > 0 && jitter_wants(&source->track.jitter, seq))
			track_put(source, seq, packet->timestamp - blocks[i].offset, blocks[i].payload, blocks[i].bytes, true,
				packet->arrival_ns);
	}
	const struct red_block *primary = &blocks[count - 1];
	if (primary->bytes == 0)
		return DROP_NONE;
	return track_put(source, packet->seq, packet->timestamp, primary->payload, primary->bytes, false, packet->arrival_ns);
}

enum drop source_track_input(struct source *source, const struct source_rtp *packet)
{
	struct source_track *track = &source->track;
	struct source_counters *counters = &source->counters;
	if (packet->payload_bytes == 0) // padding of the server
		return DROP_NONE;
	if (UNLIKELY(!track->started || track->ssrc != packet->ssrc)) {
		if (track->started) {
			source_track_drain(source, UINT64_MAX);
			stats_add(&counters->ssrc_changes, 1);
			source_track_restart(source);
		}
		track->started = true;
		track->ssrc = packet->ssrc;
		reception_start(track, packet->seq);
	}
	reception_count(source, packet);
	enum drop drop = packet->red ? track_put_red(source, packet)
				     : track_put(source, packet->seq, packet->timestamp, packet->payload, packet->payload_bytes,
					       false, packet->arrival_ns);
	if (drop == DROP_JITTER_DUPLICATE)
		stats_add(&counters->duplicate, 1);
	else if (drop == DROP_JITTER_LATE)
		stats_add(&counters->late, 1);
	else if (drop == DROP_NONE) {
		stats_add(&counters->packets, 1);
		stats_add(&counters->bytes, packet->payload_bytes);
	}
	source_track_drain(source, packet->arrival_ns);
	return drop;
}
