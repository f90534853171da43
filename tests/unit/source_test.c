// SPDX-License-Identifier: ISC
//
// source_test.c - a source while its slot changes legs: what comes out is, to the sample, what one undisturbed leg brings.
//
// Runs on: worker (played by the test).

#include "tests/support/source_world.h"

static struct heard undisturbed;

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
		cmocka_unit_test(decodes_only_while_wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
