// SPDX-License-Identifier: ISC
//
// source_data.c - the data way into a source: a sequence byte, then PCM16LE of any length.
//
// Runs on: worker.   Upstream: ingress_data, copies.   Downstream: recut.

#include "dataplane/source_state.h"

#include "dataplane/hot.h"

// Silence in the place of lost packets, so that a listener's time line stays true. They are taken to be as long as the last one;
// what is longer than a pause may be filled in is absence.
static void conceal(struct source *source, unsigned lost, uint64_t arrival_ns) RUNS_ON(worker_role)
{
	uint64_t samples = (uint64_t)lost * source->data_samples;
	if (LIKELY(lost == 0) || !source->config.conceal_data || samples == 0 ||
		samples > (uint64_t)SOURCE_FILL_MAX_MS * PCM_RATE_HZ / 1000)
		return;
	int64_t capture_us = source_wall_us(arrival_ns) - (int64_t)(samples + source->data_samples) * 1000000 / PCM_RATE_HZ;
	stats_add(&source->counters.data_concealed, lost);
	source_emit(source, NULL, (unsigned)samples, PCM_F_DATA | PCM_F_CONCEALED, capture_us, arrival_ns);
}

static void deliver(struct source *source, const struct seqbyte_packet *packet) RUNS_ON(worker_role)
{
	unsigned count = packet->bytes / 2;
	source->data_samples = count;
	int16_t *samples = source_samples;
	int64_t capture_us = source_wall_us(packet->arrival_ns) - (int64_t)count * 1000000 / PCM_RATE_HZ;
	for (unsigned done = 0; done < count;) {
		unsigned part = MIN_OF(count - done, (unsigned)ARRAY_SIZE(source_samples));
		memcpy(samples, packet->payload + (size_t)done * 2, (size_t)part * 2);
		source_emit(source, samples, part, PCM_F_DATA, capture_us + (int64_t)done * 1000000 / PCM_RATE_HZ,
			packet->arrival_ns);
		done += part;
	}
}

void source_data_drain(struct source *source, uint64_t now_ns)
{
	unsigned lost;
	for (const struct seqbyte_packet *packet; (packet = seqbyte_get(&source->order, now_ns, &lost)) != NULL;) {
		if (lost > 0)
			stats_add(&source->counters.data_lost, lost);
		if (UNLIKELY(source_watched(source, packet->arrival_ns))) {
			stats_add(&source->counters.swap_lost, lost);
			source_watch(source, 0, align_hash_any(packet->payload, packet->bytes) + packet->seq, packet->arrival_ns);
		}
		conceal(source, lost, packet->arrival_ns);
		deliver(source, packet);
	}
	source->data_waits = source->order.held != 0;
}

enum drop source_order_input(struct source *source, const struct source_data *packet)
{
	const uint8_t *payload = packet->payload;
	uint64_t arrival_ns = packet->arrival_ns;
	struct source_counters *counters = &source->counters;
	size_t pcm_bytes = packet->bytes - 1;
	if (pcm_bytes & 1) { // half a sample: cut, never shifted into the next
		stats_add(&counters->data_odd_bytes, 1);
		pcm_bytes--;
	}
	if (pcm_bytes == 0)
		return DROP_DATA_NOT_AUDIO;
	if (UNLIKELY(packet->overtaken)) {
		stats_add(&counters->data_late, 1);
		return DROP_DATA_LATE;
	}
	unsigned lost;
	uint64_t resets = source->order.resets;
	bool behind_gap = source->order.started && payload[0] != source->order.next;
	enum drop drop = seqbyte_put(&source->order, payload[0], payload + 1, pcm_bytes, arrival_ns, &lost);
	if (drop == DROP_JITTER_FULL) { // far ahead of an open gap: the wait is over
		source_data_drain(source, UINT64_MAX);
		drop = seqbyte_put(&source->order, payload[0], payload + 1, pcm_bytes, arrival_ns, &lost);
	}
	if (UNLIKELY(lost > 0)) { // a line that nothing else of a packet in order touches
		stats_add(&counters->data_lost, lost);
		if (source_watched(source, arrival_ns))
			stats_add(&counters->swap_lost, lost);
		conceal(source, lost, arrival_ns);
	}
	if (UNLIKELY(source->order.resets != resets))
		stats_add(&counters->data_resets, source->order.resets - resets);
	if (drop != DROP_NONE) {
		if (drop == DROP_DATA_DUPLICATE || drop == DROP_DATA_LATE)
			stats_add(drop == DROP_DATA_DUPLICATE ? &counters->data_duplicate : &counters->data_late, 1);
		return drop;
	}
	if (!behind_gap && source->order.held != 0)
		stats_add(&counters->data_reordered, 1);
	stats_add(&counters->data_packets, 1);
	stats_add(&counters->data_bytes, packet->bytes);
	source_data_drain(source, arrival_ns);
	return DROP_NONE;
}
