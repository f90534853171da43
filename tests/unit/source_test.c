// SPDX-License-Identifier: ISC
//
// source_test.c - a source while its slot changes legs: what comes out is, to the sample, what one undisturbed leg brings.
//
// Runs on: worker (played by the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <opus.h>
#include <stdlib.h>

#include "dataplane/source.h"

#define PACKETS 120
#define OLD 100 // transport ids
#define NEW 200
#define MS 1000000ull

struct speech {
	uint8_t payload[PACKETS][400];
	int bytes[PACKETS];
	uint32_t timestamp[PACKETS]; // the publisher's
} speech;

// A voice of three wandering tones; in [silent_from, silent_to) the encoder sends nothing but its signs of life.
static void speak(int silent_from, int silent_to)
{
	int error;
	OpusEncoder *encoder = opus_encoder_create(48000, 1, OPUS_APPLICATION_VOIP, &error);
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(32000));
	int sample = 0, count = 0;
	for (int frame = 0; count < PACKETS; frame++) {
		int16_t pcm[960];
		for (int i = 0; i < 960; i++, sample++)
			pcm[i] = (int16_t)(4000 * sin(sample * 0.03 + 3 * sin(sample * 0.0004)) + 3000 * sin(sample * 0.11) +
					   rand() % 500);
		int bytes = opus_encode(encoder, pcm, 960, speech.payload[count], sizeof(speech.payload[0]));
		assert_true(bytes > 20);
		speech.timestamp[count] = (uint32_t)frame * 960;
		if (count >= silent_from && count < silent_to) {
			memcpy(speech.payload[count], (uint8_t[]){0xf8, 0xff, 0xfe}, 3); // the server's own silence
			bytes = 3;
			frame += 19; // one each 400 ms
		}
		speech.bytes[count++] = bytes;
	}
	opus_encoder_destroy(encoder);
}

// One subscription: the same packets under its own numbers.
struct copy {
	uint64_t transport;
	uint32_t ssrc, timestamp_offset;
	uint16_t seq_offset;
};
#define SAME_CLOCK {NEW, 0x2222, 5000, 700}
#define OTHER_CLOCK {NEW, 0x3333, 4905, 40000}
static const struct copy old_copy = {OLD, 0x1111, 5000, 65500}, same_clock = SAME_CLOCK, other_clock = OTHER_CLOCK;

struct kept {
	struct copy copy;
	int packet;
	bool data;
};

struct bench {
	struct pcm *pcm;
	struct source *source;
	uint64_t now_ns;
	struct kept kept[64];
	unsigned kept_count;
};

static void setup(struct bench *bench)
{
	ENTERS(control_role);
	struct source_config config = {.input = SOURCE_AUTO};
	*bench = (struct bench){.pcm = pcm_create(10000), .now_ns = 1000 * MS};
	bench->source = source_create(bench->pcm, &config);
}

static void teardown(struct bench *bench)
{
	ENTERS(control_role);
	source_destroy(bench->source);
	pcm_unref(bench->pcm);
}

static enum drop give(struct bench *bench, const struct copy *copy, int packet, bool again);
static enum drop give_data(struct bench *bench, const struct copy *copy, int packet);

static void settle(struct bench *bench)
{
	ENTERS(worker_role);
	if (bench->kept_count == 0 || !source_takes_held(bench->source))
		return;
	struct kept kept[64];
	unsigned count = bench->kept_count;
	memcpy(kept, bench->kept, sizeof(kept));
	bench->kept_count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (kept[i].data)
			give_data(bench, &kept[i].copy, kept[i].packet);
		else
			give(bench, &kept[i].copy, kept[i].packet, true);
	}
}

static enum drop give(struct bench *bench, const struct copy *copy, int packet, bool again)
{
	ENTERS(worker_role);
	bool keep;
	struct source_rtp rtp = {
		.payload = speech.payload[packet],
		.payload_bytes = (uint16_t)speech.bytes[packet],
		.seq = (uint16_t)(packet + copy->seq_offset),
		.timestamp = speech.timestamp[packet] + copy->timestamp_offset,
		.ssrc = copy->ssrc,
		.transport = copy->transport,
		.arrival_ns = bench->now_ns,
		.again = again,
	};
	enum drop drop = source_rtp_input(bench->source, &rtp, &keep);
	if (keep)
		bench->kept[bench->kept_count++] = (struct kept){*copy, packet, false};
	settle(bench);
	return drop;
}

static enum drop give_data(struct bench *bench, const struct copy *copy, int packet)
{
	ENTERS(worker_role);
	uint8_t payload[641] = {(uint8_t)(packet + 1)};
	bool keep;
	for (int i = 0; i < 320; i++) // every 30th frame is digital silence
		memcpy(payload + 1 + 2 * i, &(int16_t){(int16_t)(packet % 30 == 7 ? 0 : packet * 300 + i)}, 2);
	struct source_data data = {payload, sizeof(payload), copy->transport, 1, bench->now_ns, false};
	enum drop drop = source_data_input(bench->source, &data, &keep);
	if (keep)
		bench->kept[bench->kept_count++] = (struct kept){*copy, packet, true};
	settle(bench);
	return drop;
}

static void pass(struct bench *bench, uint64_t ms)
{
	ENTERS(worker_role);
	for (uint64_t end = bench->now_ns + ms * MS;;) {
		uint64_t deadline = source_deadline_ns(bench->source);
		if (deadline == 0 || deadline > end) {
			bench->now_ns = end;
			return;
		}
		bench->now_ns = MAX_OF(bench->now_ns, deadline);
		source_poll(bench->source, bench->now_ns);
		settle(bench);
	}
}

static void hear(struct bench *bench, enum hearing_mode mode, uint64_t main, uint32_t main_generation, uint64_t other,
	uint32_t other_generation, bool fence)
{
	ENTERS(worker_role);
	struct hearing hearing = {.mode = mode, .fence = fence, .main = {main, main_generation, 0},
		.other = {other, other_generation, 0}};
	source_hear(bench->source, &hearing, bench->now_ns);
	settle(bench);
}

// All samples written, and which generation each cell is of.
struct heard {
	int16_t samples[PACKETS * 20 * 320];
	unsigned count, cells;
	uint32_t generation[PACKETS * 20];
	uint16_t flags[PACKETS * 20];
};

static void collect(struct bench *bench, struct heard *heard)
{
	struct pcm_frame frame;
	uint64_t cursor = 0, lapped = 0;
	heard->count = heard->cells = 0;
	while (pcm_read(bench->pcm, &cursor, &frame, &lapped) == 1) {
		memcpy(heard->samples + heard->count, frame.samples, frame.bytes);
		heard->count += frame.bytes / 2;
		heard->generation[heard->cells] = frame.generation;
		heard->flags[heard->cells++] = frame.flags;
	}
	assert_int_equal(lapped, 0);
}

static struct heard undisturbed, heard;

static void without_a_swap(void)
{
	struct bench bench;
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < PACKETS; i++) {
		give(&bench, &old_copy, i, false);
		pass(&bench, 20);
	}
	collect(&bench, &undisturbed);
	teardown(&bench);
}

static void same_as_undisturbed(struct bench *bench)
{
	collect(bench, &heard);
	assert_int_equal(heard.count, undisturbed.count);
	assert_memory_equal(heard.samples, undisturbed.samples, heard.count * sizeof(int16_t));
	struct source_stats stats;
	source_stats(bench->source, &stats);
	assert_int_equal(stats.lost + stats.late + stats.concealed, 0);
	assert_int_equal(stats.swap.doubled, 0);
	assert_int_equal(stats.swap.lost, 0);
}

// ---- the track

struct swap_case {
	const char *name;
	struct copy copy;
	int begins, swaps, ends; // packets at which the new leg begins, becomes main, and the old one ends
	int skew_ms;             // the new copy arrives so much after (or before) the old one
	enum hearing_mode before;
	int silent_from, silent_to;
	int new_lost; // the new leg misses this packet while both are heard, -1: none
};

static const struct swap_case swap_cases[] = {
	{"new_later", SAME_CLOCK, 20, 40, 60, 2, HEARING_ALIGN, -1, -1, -1},
	{"new_earlier", SAME_CLOCK, 20, 40, 60, -2, HEARING_ALIGN, -1, -1, -1},
	{"other_clock", OTHER_CLOCK, 20, 40, 60, 2, HEARING_ALIGN, -1, -1, -1},
	{"heard_at_once", OTHER_CLOCK, 20, 20, 60, 2, HEARING_BOTH, -1, -1, -1},
	{"heard_at_once_earlier", SAME_CLOCK, 20, 20, 60, -2, HEARING_BOTH, -1, -1, -1},
	{"in_silence", SAME_CLOCK, 20, 24, 26, 2, HEARING_ALIGN, 15, 30, -1},
	{"in_silence_at_once", SAME_CLOCK, 20, 20, 23, -2, HEARING_BOTH, 15, 30, -1},
	{"silence_begins", SAME_CLOCK, 20, 22, 30, 2, HEARING_ALIGN, 22, 27, -1},
	{"two_packets_of_overlap", SAME_CLOCK, 37, 38, 41, 1, HEARING_ALIGN, -1, -1, -1},
	{"new_leg_loses_one", OTHER_CLOCK, 20, 40, 60, 2, HEARING_ALIGN, -1, -1, 45},
	{"wrap_of_both", {.transport = NEW, .ssrc = 0x4444, .timestamp_offset = 5000, .seq_offset = 65510}, 20, 40, 60, 2, HEARING_ALIGN, -1, -1, -1},
};

static void swap_loses_and_doubles_nothing(void **state)
{
	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(swap_cases); c++) {
		const struct swap_case *swap = &swap_cases[c];
		struct bench bench;
		print_message("  %s\n", swap->name);
		speak(swap->silent_from, swap->silent_to);
		without_a_swap();
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		for (int i = 0; i < PACKETS; i++) {
			uint64_t gap = i + 1 < PACKETS ? (speech.timestamp[i + 1] - speech.timestamp[i]) / 48 : 20;
			if (i == swap->begins)
				hear(&bench, swap->before, OLD, 1, NEW, 2, false);
			if (i == swap->swaps)
				hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			if (i == swap->ends)
				hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
			bool old_comes = i < swap->ends, new_comes = i >= swap->begins && i != swap->new_lost;
			unsigned between = (unsigned)(swap->skew_ms < 0 ? -swap->skew_ms : swap->skew_ms);
			if (swap->skew_ms < 0 && new_comes)
				give(&bench, &swap->copy, i, false);
			else if (swap->skew_ms > 0 && old_comes)
				give(&bench, &old_copy, i, false);
			pass(&bench, between);
			if (swap->skew_ms < 0 && old_comes)
				give(&bench, &old_copy, i, false);
			else if (swap->skew_ms > 0 && new_comes)
				give(&bench, &swap->copy, i, false);
			pass(&bench, gap - between);
		}
		pass(&bench, 200);
		same_as_undisturbed(&bench);
		assert_int_equal(heard.generation[0], 1);
		assert_int_equal(heard.generation[heard.cells - 1], 2);
		teardown(&bench);
	}
}

// The exchange falls between the two copies of one packet, in either order: it is heard once.
static void exchange_between_two_copies(void **state)
{
	(void)state;
	speak(-1, -1);
	without_a_swap();
	for (int order = 0; order < 2; order++) {
		struct bench bench;
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		for (int i = 0; i < PACKETS; i++) {
			if (i == 20)
				hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
			bool new_first = order == 0;
			for (int turn = 0; turn < 2; turn++) {
				bool is_new = new_first == (turn == 0);
				if (is_new ? i >= 20 : i < 60)
					give(&bench, is_new ? &other_clock : &old_copy, i, false);
				if (i == 40 && turn == 0)
					hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			}
			if (i == 59)
				hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
			pass(&bench, 20);
		}
		same_as_undisturbed(&bench);
		teardown(&bench);
	}
}

static void common_packets_are_counted(void **state)
{
	(void)state;
	struct bench bench;
	ENTERS(worker_role);
	speak(-1, -1);
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < 10; i++)
		give(&bench, &old_copy, i, false);
	hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
	for (int i = 10; i < 20; i++) {
		give(&bench, &old_copy, i, false);
		assert_int_equal(give(&bench, &same_clock, i, false), DROP_COPY_MEASURED);
	}
	assert_false(source_aligned(bench.source));
	hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
	assert_false(source_heard(bench.source));
	give(&bench, &same_clock, 20, false);
	assert_true(source_heard(bench.source));
	assert_int_equal(give(&bench, &old_copy, 20, false), DROP_COPY);
	assert_false(source_aligned(bench.source));
	assert_int_equal(give(&bench, &old_copy, 21, false), DROP_NONE);
	assert_int_equal(give(&bench, &same_clock, 21, false), DROP_COPY);
	assert_true(source_aligned(bench.source));
	struct source_stats stats;
	source_stats(bench.source, &stats);
	assert_int_equal(stats.swap.generation, 2);
	assert_int_equal(stats.swap.copies, 2);
	assert_int_equal(stats.swap.frames_before, 20);
	teardown(&bench);
}

// The server takes the old participant away before the new one is heard: what never came is concealed, in its place.
static void full_join_goes_on_in_time(void **state)
{
	(void)state;
	for (int lost = 0; lost < 4; lost++) {
		struct bench bench;
		speak(-1, -1);
		without_a_swap();
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		for (int i = 0; i < 40; i++) {
			give(&bench, &old_copy, i, false);
			pass(&bench, 20);
		}
		hear(&bench, HEARING_BOTH, OLD, 1, NEW, 2, false);
		pass(&bench, 1100 + (unsigned)lost * 20);
		for (int i = 40 + lost; i < PACKETS; i++) {
			give(&bench, &same_clock, i, false);
			if (i == 42 + lost)
				hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			if (i == 45 + lost)
				hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
			pass(&bench, 20);
		}
		collect(&bench, &heard);
		assert_int_equal(heard.count, undisturbed.count);
		assert_memory_equal(heard.samples, undisturbed.samples, 40 * 640);
		struct source_stats stats;
		source_stats(bench.source, &stats);
		assert_int_equal(stats.lost, lost);
		assert_int_equal(stats.ssrc_changes, 0);
		if (lost == 0) // the decoder went on in mid word
			assert_memory_equal(heard.samples, undisturbed.samples, heard.count * 2);
		teardown(&bench);
	}
}

static void resume_changes_the_label_only(void **state)
{
	(void)state;
	struct bench bench;
	speak(-1, -1);
	without_a_swap();
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < PACKETS; i++) {
		give(&bench, &old_copy, i, false);
		pass(&bench, 20);
		if (i % 10 == 9)
			hear(&bench, HEARING_ONE, OLD, 2 + (uint32_t)i / 10, 0, 0, false);
	}
	same_as_undisturbed(&bench);
	for (unsigned i = 0; i < heard.cells; i++)
		assert_int_equal(heard.generation[i], 1 + i / 10);
	teardown(&bench);
}

// After a resume there is but the one leg: what comes after its gap was given up is late, whoever watches. Nobody brought it before.
static void late_after_a_resume_is_late(void **state)
{
	(void)state;
	struct bench bench;
	struct source_stats stats;
	speak(-1, -1);
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < 80; i++) {
		give(&bench, &old_copy, i, false);
		pass(&bench, 20);
	}
	hear(&bench, HEARING_ONE, OLD, 2, 0, 0, false);
	for (int i = 100; i < 106; i++) { // overtook twenty
		give(&bench, &old_copy, i, false);
		pass(&bench, 20);
	}
	for (int i = 80; i < 100; i++)
		assert_int_equal(give(&bench, &old_copy, i, false), DROP_JITTER_LATE);
	assert_int_equal(give(&bench, &old_copy, 105, false), DROP_JITTER_DUPLICATE);
	source_stats(bench.source, &stats);
	assert_int_equal(stats.lost, 20);
	assert_int_equal(stats.late, 20);
	assert_int_equal(stats.duplicate, 1);
	assert_int_equal(stats.copies, 0);
	assert_int_equal(stats.swap.lost, 20);
	assert_int_equal(stats.swap.copies, 0);
	teardown(&bench);
}

// But for a resume right after a move: what the new leg still brings of what the old one had brought is a copy.
static void a_copy_after_a_move_and_a_resume_is_a_copy(void **state)
{
	(void)state;
	struct bench bench;
	struct source_stats stats;
	speak(-1, -1);
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < 80; i++) {
		give(&bench, &old_copy, i, false);
		pass(&bench, 20);
	}
	hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
	give(&bench, &same_clock, 80, false);
	hear(&bench, HEARING_ONE, NEW, 3, 0, 0, false);
	assert_int_equal(give(&bench, &same_clock, 79, false), DROP_COPY);
	source_stats(bench.source, &stats);
	assert_int_equal(stats.late, 0);
	assert_int_equal(stats.copies, 1);
	teardown(&bench);
}

// Speech goes on in time while the server's numbers jump, by less than what is taken for a new beginning.
static void numbers_that_jump_while_time_goes_on(void **state)
{
	(void)state;
	for (int pause = 0; pause < 2; pause++) {
		speak(pause ? 49 : -1, pause ? 51 : -1);
		without_a_swap();
		static const int jumps[] = {-1, -10, -65, -499, 40, 499, 1, 12};
		for (unsigned i = 0; i < ARRAY_SIZE(jumps) - (pause ? 2 : 0); i++) { // after a pause a few numbers might be packets
			struct bench bench;
			struct copy copy = old_copy;
			setup(&bench);
			hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
			for (int packet = 0; packet < PACKETS; packet++) {
				if (packet == 51)
					copy.seq_offset += (uint16_t)jumps[i];
				give(&bench, &copy, packet, false);
				if (packet == 100) // one that really is late stays what it is
					assert_int_equal(give(&bench, &copy, 90, true), DROP_JITTER_DUPLICATE);
				pass(&bench, 20);
			}
			same_as_undisturbed(&bench);
			struct source_stats stats;
			source_stats(bench.source, &stats);
			assert_int_equal(stats.renumbered, 1);
			assert_int_equal(stats.duplicate, 1);
			teardown(&bench);
		}
	}
}

// The old leg fell silent in a mute; the new one is heard alone, and its clock is behind by what the server made of the mute.
static void a_leg_that_comes_alone_is_due_whatever_its_clock_says(void **state)
{
	(void)state;
	speak(-1, -1);
	for (unsigned i = 0; i < 3; i++) {
		const struct copy behind = {NEW, 0x5555, 5000 - (uint32_t[]){960, 24000, 47000}[i], (uint16_t[]){65500, 700, 65400}[i]};
		struct bench bench;
		struct source_stats stats;
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		for (int packet = 0; packet < 50; packet++) {
			give(&bench, &old_copy, packet, false);
			pass(&bench, 20);
		}
		pass(&bench, 380);
		hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
		for (int packet = 50; packet < PACKETS; packet++) {
			assert_int_equal(give(&bench, &behind, packet, false), DROP_NONE);
			pass(&bench, 20);
		}
		source_stats(bench.source, &stats);
		assert_int_equal(stats.packets, PACKETS);
		assert_int_equal(stats.lost + stats.late + stats.duplicate + stats.copies, 0);
		assert_int_equal(stats.renumbered, 1);
		assert_int_equal(stats.dtx_frames, 19); // the mute, by the time that passed
		teardown(&bench);
	}
}

// The new leg lags: it still brings what the old one has brought when that is gone, after a silence.
static void a_leg_that_lags_is_not_taken_for_one_that_comes_alone(void **state)
{
	(void)state;
	speak(-1, -1);
	without_a_swap();
	for (unsigned i = 0; i < 2; i++) {
		const struct copy copy = i == 0 ? same_clock : (struct copy){NEW, 0x3333, 5000 - 300, 40000};
		struct bench bench;
		struct source_stats stats;
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		for (int packet = 0; packet < 50; packet++) {
			if (packet == 30)
				hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
			if (packet == 40)
				hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			give(&bench, &old_copy, packet, false);
			pass(&bench, 20);
		}
		pass(&bench, 180);
		hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
		for (int packet = 38; packet < PACKETS; packet++) {
			give(&bench, &copy, packet, false);
			pass(&bench, 20);
		}
		same_as_undisturbed(&bench);
		source_stats(bench.source, &stats);
		assert_int_equal(stats.copies, 12);
		teardown(&bench);
	}
}

// An encoder's silence is the same few payloads again and again: which of them a leg has brought cannot be told from them.
static void silence_that_repeats_aligns_nothing_wrongly(void **state)
{
	(void)state;
	speak(-1, -1);
	for (int packet = 18; packet < 60; packet++) { // long enough to look like speech
		memcpy(speech.payload[packet], speech.payload[packet - 2], (size_t)speech.bytes[packet - 2]);
		speech.bytes[packet] = speech.bytes[packet - 2];
	}
	without_a_swap();
	for (int skew = 0; skew < 2; skew++) {
		struct bench bench;
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		for (int packet = 0; packet < PACKETS; packet++) {
			if (packet == 30)
				hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
			if (packet == 40)
				hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			if (packet == 80)
				hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
			if (packet >= 32 && skew == 1)
				give(&bench, &other_clock, packet, false);
			if (packet < 80)
				give(&bench, &old_copy, packet, false);
			if (packet >= 32 && skew == 0)
				give(&bench, &other_clock, packet, false);
			pass(&bench, 20);
		}
		same_as_undisturbed(&bench);
		teardown(&bench);
	}
}

static void muted_while_both_are_heard(void **state)
{
	(void)state;
	struct bench bench;
	ENTERS(worker_role);
	speak(50, 56);
	without_a_swap();
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	struct copy shifted = same_clock;
	for (int i = 0; i < PACKETS; i++) {
		uint64_t gap = i + 1 < PACKETS ? (speech.timestamp[i + 1] - speech.timestamp[i]) / 48 : 20;
		if (i == 20)
			hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
		if (i == 48)
			hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
		if (i == 56) { // the server has numbered its silence for the new leg otherwise
			shifted.seq_offset += 31;
			source_set_muted(bench.source, true);
			source_set_muted(bench.source, false);
		}
		if (i == 75)
			hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
		if (i < 75)
			give(&bench, &old_copy, i, false);
		pass(&bench, 1);
		if (i >= 20)
			give(&bench, &shifted, i, false);
		pass(&bench, gap - 1);
	}
	same_as_undisturbed(&bench);
	teardown(&bench);
}

// ---- another publication

static void another_publication_waits_for_its_turn(void **state)
{
	(void)state;
	struct bench bench;
	ENTERS(worker_role);
	speak(-1, -1);
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < 20; i++) {
		give(&bench, &old_copy, i, false);
		pass(&bench, 20);
	}
	hear(&bench, HEARING_HOLD, OLD, 1, NEW, 2, false);
	struct copy other = {NEW, 0x9999, 77777777, 3};
	for (int i = 20; i < 25; i++) {
		give(&bench, &old_copy, i, false);
		give(&bench, &other, i + 20, false);
		pass(&bench, 20);
	}
	assert_int_equal(bench.kept_count, 5);
	give(&bench, &old_copy, 26, false); // behind a gap when the turn comes: it came before and is heard
	hear(&bench, HEARING_ONE, NEW, 2, 0, 0, true);
	assert_int_equal(bench.kept_count, 0);
	for (int i = 45; i < 60; i++) {
		give(&bench, &other, i, false);
		pass(&bench, 20);
	}
	collect(&bench, &heard);
	unsigned old_cells = 0, new_cells = 0, fences = 0;
	for (unsigned i = 0; i < heard.cells; i++) {
		old_cells += heard.generation[i] == 1;
		new_cells += heard.generation[i] == 2;
		fences += (heard.flags[i] & PCM_F_FENCE) != 0;
		assert_true(i == 0 || heard.generation[i] >= heard.generation[i - 1]);
	}
	assert_int_equal(old_cells, 27); // with the concealed one
	assert_int_equal(new_cells, 20);
	assert_int_equal(fences, 1);
	teardown(&bench);
}

// ---- the data way

static void data_comes_once_from_two_legs(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed < 40; seed++) {
		struct bench bench;
		ENTERS(worker_role);
		srand(seed);
		setup(&bench);
		hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
		int next_old = 0, next_new = 0, count = 300;
		// The two legs run apart by up to 8 packets, one or the other ahead.
		while (next_old < 200 || next_new < count) {
			int published = MIN_OF((int)((bench.now_ns - 1000 * MS) / (20 * MS)), count);
			bool both = next_new >= 60 && next_new < 150;
			if (next_old == 50 && next_new == 0) {
				next_new = 50;
				hear(&bench, HEARING_ALIGN, OLD, 1, NEW, 2, false);
			}
			if (next_new > 0 && next_new < published && rand() % 3 != 0) {
				give_data(&bench, &same_clock, next_new++);
				if (next_new == 70)
					hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
			}
			if (next_old < MIN_OF(published, 200) && (rand() % 3 != 0 || both)) {
				if (next_old == 150 && next_new > 150)
					hear(&bench, HEARING_ONE, NEW, 2, 0, 0, false);
				give_data(&bench, &old_copy, next_old++);
			}
			pass(&bench, 2);
		}
		pass(&bench, 200);
		collect(&bench, &heard);
		for (int i = 0; i < count; i++)
			assert_int_equal(heard.samples[i * 320 + 5], (int16_t)(i % 30 == 7 ? 0 : i * 300 + 5));
		assert_int_equal(heard.count, count * 320);
		struct source_stats stats;
		source_stats(bench.source, &stats);
		assert_int_equal(stats.data_lost + stats.data_late + stats.data_resets + stats.swap.doubled, 0);
		assert_true(stats.copies >= 2);
		teardown(&bench);
	}
}

static void an_app_that_starts_over_is_no_copy(void **state)
{
	(void)state;
	struct bench bench;
	setup(&bench);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < 120; i++) {
		give_data(&bench, &old_copy, i);
		pass(&bench, 20);
	}
	hear(&bench, HEARING_BOTH, NEW, 2, OLD, 1, false);
	for (int i = 0; i < 50; i++) { // both legs bring the new numbering
		give_data(&bench, &old_copy, i);
		give_data(&bench, &same_clock, i);
		pass(&bench, 20);
	}
	collect(&bench, &heard);
	assert_int_equal(heard.count, 170 * 320);
	struct source_stats stats;
	source_stats(bench.source, &stats);
	assert_int_equal(stats.data_resets, 1);
	teardown(&bench);
}

static void who_is_not_named_is_not_heard(void **state)
{
	(void)state;
	struct bench bench;
	ENTERS(worker_role);
	speak(-1, -1);
	setup(&bench);
	assert_int_equal(give(&bench, &old_copy, 0, false), DROP_STALE_GENERATION);
	hear(&bench, HEARING_ONE, OLD, 5, 0, 0, false);
	assert_int_equal(give(&bench, &same_clock, 0, false), DROP_STALE_GENERATION);
	assert_int_equal(give_data(&bench, &same_clock, 0), DROP_STALE_GENERATION);
	struct hearing hearing = {.mode = HEARING_ONE, .main = {OLD, 6, 6}};
	source_hear(bench.source, &hearing, bench.now_ns);
	assert_int_equal(give_data(&bench, &old_copy, 0), DROP_STALE_GENERATION); // of the voice before
	hear(&bench, HEARING_NOBODY, 0, 0, 0, 0, false);
	assert_int_equal(give(&bench, &old_copy, 0, false), DROP_STALE_GENERATION);
	collect(&bench, &heard);
	assert_int_equal(heard.cells, 0);
	teardown(&bench);
}

// While nobody wants PCM the packets go on as they came and nothing is decoded; who wants it again hears from then on.
static void decodes_only_while_wanted(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct bench bench = {.pcm = pcm_create(10000), .now_ns = 1000 * MS};
	struct pcm *packets = pcm_create(10000);
	struct source_config config = {.input = SOURCE_AUTO, .opus = packets};
	bench.source = source_create(bench.pcm, &config);
	speak(-1, -1);
	hear(&bench, HEARING_ONE, OLD, 1, 0, 0, false);
	for (int i = 0; i < PACKETS; i++) {
		if (i == 30 || i == 60)
			source_set_wanted(bench.source, i == 60);
		if (i != 40) // lost while nobody listens: counted, not concealed
			give(&bench, &old_copy, i, false);
		pass(&bench, 20);
	}
	struct source_stats stats;
	source_stats(bench.source, &stats);
	assert_int_equal(stats.undecoded, 29);
	assert_int_equal(stats.lost, 1);
	assert_int_equal(stats.concealed + stats.decode_errors + stats.dtx_frames, 0);
	assert_true(stats.decoding);
	collect(&bench, &heard);
	assert_int_equal(heard.cells, PACKETS - 30);
	for (unsigned i = 0; i < heard.cells; i++)
		assert_int_equal(heard.flags[i] & PCM_F_FENCE, i == 30 ? PCM_F_FENCE : 0);
	struct pcm_frame packet;
	uint64_t cursor = 0, lapped = 0;
	for (int i = 0; i < PACKETS; i++) {
		if (i == 40)
			continue;
		assert_int_equal(pcm_read(packets, &cursor, &packet, &lapped), 1);
		assert_int_equal(packet.bytes, speech.bytes[i]);
		assert_memory_equal(packet.samples, speech.payload[i], packet.bytes);
		assert_int_equal(packet.flags & PCM_F_FENCE, i == 0 ? PCM_F_FENCE : 0); // for them nothing has happened
	}
	assert_int_equal(pcm_read(packets, &cursor, &packet, &lapped), 0);
	teardown(&bench);
	pcm_unref(packets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(swap_loses_and_doubles_nothing),
		cmocka_unit_test(exchange_between_two_copies),
		cmocka_unit_test(common_packets_are_counted),
		cmocka_unit_test(full_join_goes_on_in_time),
		cmocka_unit_test(resume_changes_the_label_only),
		cmocka_unit_test(late_after_a_resume_is_late),
		cmocka_unit_test(a_copy_after_a_move_and_a_resume_is_a_copy),
		cmocka_unit_test(numbers_that_jump_while_time_goes_on),
		cmocka_unit_test(a_leg_that_comes_alone_is_due_whatever_its_clock_says),
		cmocka_unit_test(a_leg_that_lags_is_not_taken_for_one_that_comes_alone),
		cmocka_unit_test(silence_that_repeats_aligns_nothing_wrongly),
		cmocka_unit_test(muted_while_both_are_heard),
		cmocka_unit_test(another_publication_waits_for_its_turn),
		cmocka_unit_test(data_comes_once_from_two_legs),
		cmocka_unit_test(an_app_that_starts_over_is_no_copy),
		cmocka_unit_test(who_is_not_named_is_not_heard),
		cmocka_unit_test(decodes_only_while_wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
