// SPDX-License-Identifier: ISC
//
// source_track.c - the microphone track's way into a source: order, repair by RED, FEC and concealment, decode, time line.
//
// Runs on: worker.   Upstream: ingress (after rtp).   Downstream: recut.

#include "dataplane/red.h"
#include "dataplane/source_state.h"

#include "dataplane/hot.h"

#define ALONE_NS 60000000u // two legs bring a packet within 3 ms of each other (facts: livekit-observed.md O6)

#define DTX_BYTES_MAX 3 // a packet of discontinuous transmission, or of the server's silence
#define HALF_PACKET_TICKS 480 // at most: half of a shorter packet
#define CONCEAL_STEP (OPUS_DEC_RATE_HZ / 400) // concealment comes in steps of 2.5 ms
#define CONCEAL_MAX (OPUS_DEC_RATE_HZ / 5)    // it has faded by then; each step costs the worker as much as a packet

// ---- time

// Half of a packet as they come now: what lies nearer is the same moment.
static int32_t half_packet(const struct source *source)
{
	return source->track.packet_ticks > 0 ? (int32_t)MIN_OF(source->track.packet_ticks / 2, HALF_PACKET_TICKS) : HALF_PACKET_TICKS;
}

// When the sample at an RTP time was captured: by the last sender report, else by arrival.
static int64_t capture_us(const struct source *source, uint32_t timestamp, uint64_t arrival_ns)
{
	int64_t us;
	return sender_clock_us(&source->track.clock, timestamp, &us) ? us : source_wall_us(arrival_ns);
}

void source_sender_report(struct source *source, uint64_t transport, uint32_t ssrc, uint64_t ntp, uint32_t timestamp,
	uint64_t arrival_ns)
{
	struct source_feed *feed = source_feed_of(source, transport);
	if (feed == NULL || !feed->reception.started || feed->reception.ssrc != ssrc ||
		!sender_clock_set(&feed->reception.clock, ntp, timestamp, arrival_ns))
		return;
	if (feed->aligned)
		sender_clock_set(&source->track.clock, ntp, timestamp + feed->timestamp_offset, arrival_ns);
}

void source_goodbye(struct source *source, uint64_t transport, uint32_t ssrc)
{
	struct source_feed *feed = source_feed_of(source, transport);
	if (feed == NULL || !feed->reception.started || feed->reception.ssrc != ssrc)
		return;
	feed->reception.started = false; // nothing is reported of it any more
	if (feed != source->main)
		return;
	source_track_drain(source, UINT64_MAX);
	source->track.last_ns = 0;
}

bool source_ask(struct source *source, uint64_t transport, uint64_t now_ns, struct source_ask *ret_ask)
{
	const struct source_feed *feed = source->main;
	if (LIKELY(source->track.jitter.held == 0))
		return false;
	// While two legs bring the same packets, the other one's is the answer.
	if (source_copying(source) || feed == NULL || feed->transport != transport || !feed->reception.started)
		return false;
	uint16_t first;
	ret_ask->missing = jitter_ask(&source->track.jitter, now_ns, &first);
	ret_ask->first = (uint16_t)(first - feed->seq_offset);
	ret_ask->ssrc = feed->reception.ssrc;
	return ret_ask->missing != 0;
}

bool source_reception_report(struct source *source, uint64_t transport, uint64_t now_ns,
	struct source_reception *ret_reception)
{
	struct source_feed *feed = source_feed_of(source, transport);
	return feed != NULL && reception_report(&feed->reception, now_ns, ret_reception);
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

// Lost packets' part of the hole before this one: the decoder's concealment, and the packet's own copy of its predecessor.
static void write_repair(struct source *source, const struct jitter_packet *packet, unsigned samples, unsigned lost)
	RUNS_ON(worker_role)
{
	int length = opus_dec_duration(packet->payload, packet->bytes);
	unsigned fec = length > 0 && (unsigned)length <= samples && opus_dec_has_fec(packet->payload, packet->bytes)
			       ? (unsigned)length
			       : 0;
	unsigned silent = samples - fec > CONCEAL_MAX ? samples - fec - CONCEAL_MAX : 0, conceal = samples - fec - silent;
	while (conceal >= CONCEAL_STEP) {
		unsigned part = MIN_OF(conceal - conceal % CONCEAL_STEP, 20u * OPUS_DEC_RATE_HZ / 1000);
		int got = opus_dec_conceal(&source->decoder, (int)part, source_samples);
		if (got <= 0)
			break;
		write_samples(source, source_samples, (unsigned)got, PCM_F_CONCEALED, packet->arrival_ns);
		conceal -= (unsigned)got;
	}
	if (silent > 0)
		write_samples(source, NULL, silent, PCM_F_CONCEALED, packet->arrival_ns);
	int got = fec > 0 ? opus_dec_fec(&source->decoder, packet->payload, packet->bytes, (int)fec, source_samples) : 0;
	if (got > 0)
		write_samples(source, source_samples, (unsigned)got, PCM_F_REPAIRED, packet->arrival_ns);
	stats_add(&source->counters.repaired_fec, got > 0);
	stats_add(&source->counters.concealed, lost - (got > 0));
}

// What the time stamps say lies between the last sample and this packet: what was lost, and silence that was not sent. Of both, the
// silence comes first where it had begun before.
static void fill(struct source *source, const struct jitter_packet *packet, unsigned lost) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	int32_t ticks = (int32_t)(packet->timestamp - track->timestamp_next);
	if (!track->decoded || ticks < 0 || ticks > SOURCE_FILL_MAX_MS * RTP_TICKS_PER_MS) {
		// The beginning, another clock, or absence: the time line goes on here and nothing is invented.
		if (track->decoded && lost > 0 && ticks < 0)
			opus_dec_reset(&source->decoder);
		track->timestamp_next = packet->timestamp;
		return;
	}
	unsigned samples = (unsigned)ticks / OPUS_DEC_TICKS_PER_SAMPLE;
	unsigned missing = MIN_OF(lost * (track->packet_ticks / OPUS_DEC_TICKS_PER_SAMPLE), samples), silent = samples - missing;
	if (samples > 0 && !source->muted) {
		if (silent > 0 && track->paused)
			write_silence(source, silent, packet->arrival_ns);
		if (missing > 0)
			write_repair(source, packet, missing, lost);
		if (silent > 0 && !track->paused)
			write_silence(source, silent, packet->arrival_ns);
	}
	track->timestamp_next = packet->timestamp;
}

// The packet as it came, for who sends it on undecoded. What separates it from the one before is judged as fill() does.
static void hand_on(struct source *source, const struct jitter_packet *packet, unsigned lost) RUNS_ON(worker_role)
{
	const struct source_track *track = &source->track;
	int32_t ticks = (int32_t)(packet->timestamp - track->timestamp_next);
	bool goes_on = track->decoded && ticks >= 0 && ticks <= SOURCE_FILL_MAX_MS * RTP_TICKS_PER_MS && !source->fence &&
		       (ticks == 0 || lost > 0 || !source->muted);
	if (packet->bytes > PCM_CELL_BYTES)
		return;
	struct pcm_frame frame = {
		.media_us = packet->timestamp,
		.capture_us = capture_us(source, packet->timestamp, packet->arrival_ns),
		.arrival_ns = packet->arrival_ns,
		.generation = source->generation,
		.flags = goes_on ? 0 : PCM_F_FENCE,
		.bytes = packet->bytes,
	};
	memcpy(frame.samples, packet->payload, packet->bytes);
	pcm_write(source->config.opus, &frame);
}

// Whether somebody wants PCM. Who begins to want it hears no join between now and what was decoded last.
static bool decodes(struct source *source) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	bool unwanted = atomic_load_explicit(&track->unwanted, memory_order_relaxed);
	if (UNLIKELY(unwanted != track->passing)) {
		track->passing = unwanted;
		opus_dec_reset(&source->decoder);
		source->fence = true;
	}
	return !unwanted;
}

// The time line goes on, so that order, repair and what is handed on undecoded stay as they are.
static void pass(struct source *source, const struct jitter_packet *packet) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	int count = opus_dec_duration(packet->payload, packet->bytes);
	source->fence = false; // hand_on has said it
	if (count <= 0) {
		stats_add(&source->counters.decode_errors, 1);
		return;
	}
	track->decoded = true;
	track->packet_ticks = (uint32_t)count * OPUS_DEC_TICKS_PER_SAMPLE;
	track->paused = packet->bytes <= DTX_BYTES_MAX;
	track->timestamp_next = packet->timestamp + track->packet_ticks;
	source->written_ns = packet->arrival_ns;
	if (packet->repaired)
		stats_add(&source->counters.repaired_red, 1);
	stats_add(&source->counters.undecoded, 1);
}

static void track_deliver(struct source *source, const struct jitter_packet *packet, unsigned lost) RUNS_ON(worker_role)
{
	if (UNLIKELY(source_watched(source, packet->arrival_ns))) {
		// A copy whose numbers were mapped wrongly would be heard twice: its time has been written already.
		int32_t ticks = (int32_t)(packet->timestamp - source->track.timestamp_next);
		if (source->mode == HEARING_BOTH && source->track.decoded && ticks < -half_packet(source)) {
			source_copy_seen(source);
			return;
		}
		source_watch(source, packet->timestamp, align_hash(packet->payload, packet->bytes), packet->arrival_ns);
		stats_add(&source->counters.swap_lost, lost);
	}
	stats_add(&source->counters.lost, lost);
	if (UNLIKELY(packet->asked))
		stats_add(&source->counters.repaired_nack, 1);
	if (source->config.opus != NULL)
		hand_on(source, packet, lost);
	if (UNLIKELY(!decodes(source))) {
		pass(source, packet);
		return;
	}
	fill(source, packet, lost);
	int count = opus_dec_packet(&source->decoder, packet->payload, packet->bytes, source_samples);
	if (count <= 0) {
		stats_add(&source->counters.decode_errors, 1);
		return;
	}
	source->track.decoded = true;
	source->track.packet_ticks = (uint32_t)count * OPUS_DEC_TICKS_PER_SAMPLE;
	source->track.paused = packet->bytes <= DTX_BYTES_MAX;
	if (packet->repaired)
		stats_add(&source->counters.repaired_red, 1);
	write_samples(source, source_samples, (unsigned)count, packet->repaired ? PCM_F_REPAIRED : 0, packet->arrival_ns);
}

void source_track_drain(struct source *source, uint64_t now_ns)
{
	unsigned lost;
	for (const struct jitter_packet *packet; (packet = jitter_get(&source->track.jitter, now_ns, &lost)) != NULL;) {
		lost += source->track.skipped;
		source->track.skipped = 0;
		track_deliver(source, packet, lost);
	}
}

// ---- input

void source_track_restart(struct source *source)
{
	struct source_track *track = &source->track;
	if (track->started)
		opus_dec_reset(&source->decoder);
	track->started = track->decoded = track->paused = track->clock.known = false;
	track->skipped = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(source->feeds); i++)
		source->feeds[i].aligned = false;
	jitter_reset(&track->jitter);
}

// How many packets are missing before one whose number is far ahead: as many, where the time for them has passed. Numbers without
// it are the server's own, as between its silence in a mute and the voice.
static uint16_t skipped(const struct source_track *track, uint16_t seq, uint32_t timestamp)
{
	uint16_t numbers = (uint16_t)(seq - track->jitter.next);
	int64_t ticks = (int32_t)(timestamp - track->timestamp_next), expected = (int64_t)numbers * track->packet_ticks;
	if (!track->decoded)
		return numbers <= JITTER_RESTART ? numbers : 0;
	// Of an absence that is as long as a new beginning the time has to be right both ways.
	return ticks < expected / 2 || (numbers > JITTER_RESTART && ticks > expected * 2) ? 0 : numbers;
}

static enum drop track_put(struct source *source, uint16_t seq, uint32_t timestamp, const struct red_block *block,
	bool repaired, uint64_t arrival_ns) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	bool restarted;
	if (UNLIKELY(seq != track->jitter.next) && jitter_restarts(&track->jitter, seq)) {
		source_track_drain(source, UINT64_MAX);
		track->skipped = skipped(track, seq, timestamp);
	}
	enum drop drop = jitter_put(&track->jitter, seq, timestamp, block->payload, block->bytes, repaired, arrival_ns, &restarted);
	if (drop == DROP_JITTER_FULL) { // far ahead of an open gap: the wait is over
		source_track_drain(source, UINT64_MAX);
		drop = jitter_put(&track->jitter, seq, timestamp, block->payload, block->bytes, repaired, arrival_ns, &restarted);
		if (drop == DROP_JITTER_FULL) {
			track->skipped = skipped(track, seq, timestamp);
			if (track->skipped == 0)
				stats_add(&source->counters.renumbered, 1);
			jitter_reset(&track->jitter);
			drop = jitter_put(&track->jitter, seq, timestamp, block->payload, block->bytes, repaired, arrival_ns, &restarted);
		}
	}
	if (restarted) {
		track->decoded = false;
		opus_dec_reset(&source->decoder);
	}
	return drop;
}

// The primary block as it is; older blocks only where a packet is missing. One block is one packet. Numbers are the source's.
static enum drop track_put_blocks(struct source *source, const struct source_feed *feed, const struct source_rtp *packet,
	const struct red_block *blocks, unsigned count) RUNS_ON(worker_role)
{
	uint16_t seq = (uint16_t)(packet->seq + feed->seq_offset);
	uint32_t timestamp = packet->timestamp + feed->timestamp_offset;
	for (unsigned i = 0; i + 1 < count; i++) {
		uint16_t older = (uint16_t)(seq - (count - 1 - i));
		if (blocks[i].bytes > 0 && jitter_wants(&source->track.jitter, older))
			track_put(source, older, timestamp - blocks[i].offset, &blocks[i], true, packet->arrival_ns);
	}
	const struct red_block *primary = &blocks[count - 1];
	if (primary->bytes == 0)
		return DROP_NONE;
	return track_put(source, seq, timestamp, primary, false, packet->arrival_ns);
}

static void feed_counts(struct source *source, struct source_feed *feed, const struct source_rtp *packet) RUNS_ON(worker_role)
{
	if (UNLIKELY(!feed->reception.started || feed->reception.ssrc != packet->ssrc)) {
		if (feed->reception.started) { // another publication, or another subscription to it
			stats_add(&source->counters.ssrc_changes, 1);
			feed->aligned = false;
			if (source_copying(source))
				source_copy_forget(source);
		}
		reception_start(&feed->reception, packet->ssrc, packet->seq);
	}
	if (reception_count(&feed->reception, packet->seq))
		stats_add(&source->counters.reordered, 1);
	if (packet->payload_bytes == 0)
		return;
	reception_arrived(&feed->reception, packet->timestamp, packet->arrival_ns);
	feed->last_ns = packet->arrival_ns;
	atomic_store_explicit(&source->counters.jitter_us,
		(uint64_t)(feed->reception.jitter_ticks * 1000 / RTP_TICKS_PER_MS), memory_order_relaxed);
}

// Ticks from what was written last to a packet, by its time stamp.
static int32_t ticks_ahead(const struct source *source, const struct source_feed *feed, const struct source_rtp *packet)
{
	return (int32_t)(packet->timestamp + feed->timestamp_offset - source->track.timestamp_next);
}

// Around a swap: what the other leg has brought already, though it may have been numbered otherwise (a mute in between).
static bool is_copy(const struct source *source, const struct source_feed *feed, const struct source_rtp *packet)
{
	return source_watched(source, packet->arrival_ns) && !source->resumed && source->track.decoded &&
	       ticks_ahead(source, feed, packet) < 0;
}

// The same by when it came, in whole packets.
static uint32_t ticks_elapsed(const struct source *source, const struct source_rtp *packet)
{
	uint32_t each = MAX_OF(source->track.packet_ticks, 1u);
	uint64_t elapsed = (packet->arrival_ns - source->written_ns) * RTP_TICKS_PER_MS / 1000000;
	return elapsed > each && elapsed < INT32_MAX ? (uint32_t)elapsed / each * each - each : 0;
}

// The newest packet of the only leg that is heard, after a silence, and none that the leg before it brought: that one may have been
// ahead by more than the silence. What is too short to tell is not worth the risk.
static bool comes_alone(const struct source *source, const struct source_feed *feed, const struct source_rtp *packet,
	const struct red_block *block) RUNS_ON(worker_role)
{
	bool newest = source->mode == HEARING_ONE && packet->seq == feed->reception.seq_max;
	if (!newest || packet->arrival_ns <= source->written_ns + ALONE_NS)
		return false;
	uint64_t hash = align_hash(block->payload, block->bytes);
	return hash != 0 && !source_copy_known(source, hash);
}

// What is no late packet though its number is of the past, and is due. Either its time is still to come: the server numbers the
// subscription anew. Or it comes alone: a leg that came during a mute has another clock, by as much as the server made of it.
static bool renumbered(struct source *source, struct source_feed *feed, const struct source_rtp *packet,
	const struct red_block *block) RUNS_ON(worker_role)
{
	struct source_track *track = &source->track;
	bool alone = comes_alone(source, feed, packet, block);
	if (!track->decoded || (!alone && ticks_ahead(source, feed, packet) < 0))
		return false;
	source_track_drain(source, UINT64_MAX); // what waits behind a gap is older
	int32_t ahead = ticks_ahead(source, feed, packet);
	if (ahead < 0 && !alone)
		return false;
	if (ahead < 0)
		feed->timestamp_offset += ticks_elapsed(source, packet) - (uint32_t)ahead;
	feed->seq_offset = (uint16_t)(track->jitter.next - packet->seq);
	stats_add(&source->counters.renumbered, 1);
	return true;
}

// A number of the future with the very time that is due: nothing is missing in between.
static void number_by_time(struct source *source, struct source_feed *feed, const struct source_rtp *packet) RUNS_ON(worker_role)
{
	const struct source_track *track = &source->track;
	int32_t ticks = ticks_ahead(source, feed, packet);
	bool ahead = (int16_t)(packet->seq + feed->seq_offset - track->jitter.next) > 0;
	if (!ahead || !track->decoded || track->jitter.held != 0 || ticks < -half_packet(source) || ticks >= half_packet(source))
		return;
	feed->seq_offset = (uint16_t)(track->jitter.next - packet->seq);
	stats_add(&source->counters.renumbered, 1);
}

enum drop source_track_input(struct source *source, struct source_feed *feed, const struct source_rtp *packet, bool *ret_keep)
{
	struct source_counters *counters = &source->counters;
	struct red_block blocks[RED_BLOCKS_MAX]; // only as many as there are are filled in
	unsigned count = 1;
	blocks[0] = (struct red_block){.payload = packet->payload, .bytes = packet->payload_bytes};
	if (UNLIKELY(packet->payload_bytes == 0)) { // padding of the server: it has a number and says nothing
		if (feed->reception.started && feed->reception.ssrc == packet->ssrc)
			feed_counts(source, feed, packet);
		return DROP_NONE;
	}
	enum drop drop = packet->red ? red_parse(packet->payload, packet->payload_bytes, blocks, &count) : DROP_NONE;
	if (UNLIKELY(drop != DROP_NONE))
		return drop;
	if (LIKELY(!packet->again))
		feed_counts(source, feed, packet);
	uint64_t hash = source_copying(source) ? align_hash(blocks[count - 1].payload, blocks[count - 1].bytes) : 0;
	enum copy_verdict verdict = LIKELY(feed->aligned && !source_copying(source))
					    ? COPY_DELIVER
					    : source_copy_look(source, feed, packet, hash);
	if (UNLIKELY(verdict != COPY_DELIVER)) {
		*ret_keep = verdict == COPY_KEEP;
		return verdict == COPY_MEASURED ? DROP_COPY_MEASURED : DROP_NONE;
	}
	source_track_speaks(source, feed, packet->arrival_ns);
	if (feed == source->main)
		source->heard = true;
	if (UNLIKELY((uint16_t)(packet->seq + feed->seq_offset) != source->track.jitter.next))
		number_by_time(source, feed, packet);
	drop = track_put_blocks(source, feed, packet, blocks, count);
	if (UNLIKELY(drop == DROP_JITTER_DUPLICATE || drop == DROP_JITTER_LATE) &&
		renumbered(source, feed, packet, &blocks[count - 1]))
		drop = track_put_blocks(source, feed, packet, blocks, count);
	if (UNLIKELY(drop == DROP_JITTER_DUPLICATE || drop == DROP_JITTER_LATE) && is_copy(source, feed, packet)) {
		source_copy_seen(source);
		drop = DROP_COPY;
	} else if (drop == DROP_JITTER_DUPLICATE) {
		stats_add(&counters->duplicate, 1);
	} else if (drop == DROP_JITTER_LATE) {
		stats_add(&counters->late, 1);
	} else if (drop == DROP_NONE) {
		stats_add(&counters->packets, 1);
		stats_add(&counters->bytes, packet->payload_bytes);
	}
	source_track_drain(source, packet->arrival_ns);
	return drop;
}
