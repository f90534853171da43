// SPDX-License-Identifier: ISC
//
// transcript_test.c - segments, repeats, speakers over connections, history and resumption; text streams on the wire.
//
// Runs on: control (the test).

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "controlplane/text_stream.h"
#include "controlplane/transcript.h"

#define S 1000000000ull

static struct transcript *transcript;
static struct transcript_listener listener;
static char finals[1 << 14], interim[8192];
static unsigned interims, ends;
static struct transcript_segment last;
static uint64_t now;

static int64_t spoken_at(void *arg, uint64_t ms)
{
	return (int64_t)(1700000000000 + ms) * 1000;
}

static void on_segment(struct transcript_listener *unused, const struct transcript_segment *segment)
{
	last = *segment;
	if (!segment->is_final) {
		interims++;
		snprintf(interim, sizeof(interim), "%s", segment->text);
		return;
	}
	size_t at = strlen(finals);
	snprintf(finals + at, sizeof(finals) - at, "%s%s%s%s%s|", segment->speaker, segment->speaker[0] ? ":" : "", segment->text,
		segment->translation[0] ? "=" : "", segment->translation);
}

static void on_end(struct transcript_listener *unused)
{
	ends++;
}

static int setup(void **state)
{
	struct transcript_config config = {.history_segments = 4, .history_bytes = 4096, .spoken_at_us = spoken_at};
	transcript = transcript_create(&config);
	listener = (struct transcript_listener){.segment = on_segment, .end = on_end};
	finals[0] = interim[0] = '\0';
	interims = ends = 0;
	now = S;
	assert_true(transcript_listen(transcript, &listener, 0));
	transcript_connected(transcript, 0);
	return 0;
}

static int teardown(void **state)
{
	transcript_free(transcript);
	assert_int_equal(ends, 1);
	return 0;
}

// Tokens as "text start end [f|n] [speaker] [language] [o|t]", one a line.
static void hear(const char *lines)
{
	struct soniox_token tokens[32];
	static char texts[32][64], speakers[32][8], languages[32][8];
	struct soniox_answer answer = {.tokens = tokens, .error_type = "", .error_message = "", .request_id = ""};
	for (const char *at = lines; *at != '\0';) {
		unsigned i = answer.token_count++;
		unsigned start = 0, end = 0;
		char kind = 'f', translation = '-';
		speakers[i][0] = languages[i][0] = '\0';
		int got = sscanf(at, "%63[^;];%u;%u;%c;%7[^;\n];%7[^;\n];%c", texts[i], &start, &end, &kind, speakers[i], languages[i],
			&translation);
		if (strcmp(speakers[i], "-") == 0)
			speakers[i][0] = '\0';
		if (strcmp(languages[i], "-") == 0)
			languages[i][0] = '\0';
		assert_true(got >= 4);
		tokens[i] = (struct soniox_token){.text = texts[i], .speaker = speakers[i], .language = languages[i],
			.is_final = kind == 'f', .has_time = end > 0, .start_ms = start, .end_ms = end,
			.translation = translation == 't' ? SONIOX_TRANSLATED : translation == 'o' ? SONIOX_ORIGINAL : SONIOX_UNTRANSLATED};
		at += strcspn(at, "\n");
		at += *at == '\n';
	}
	now += S / 10;
	transcript_answer(transcript, &answer, now);
}

static void interim_grows_and_becomes_final(void **state)
{
	hear(" He;0;100;n");
	assert_string_equal(interim, "He");
	hear(" Hello;0;300;n\n wor;300;400;n");
	assert_string_equal(interim, "Hello wor");
	hear(" Hello;0;300;f\n world;300;600;n");
	assert_string_equal(interim, "Hello world");
	assert_int_equal(last.seq, 1);
	assert_string_equal(finals, "");
	hear(" world;300;600;f\n.;600;620;f\n<end>;0;0;f");
	assert_string_equal(finals, "Hello world.|");
	assert_int_equal(last.seq, 1);
	assert_int_equal(last.start_ms, 0);
	assert_int_equal(last.end_ms, 620);
	assert_int_equal(last.spoken_at_ms, 1700000000000);
	hear(" More;900;1000;n");
	assert_int_equal(last.seq, 2);
	hear(""); // it was nothing
	assert_string_equal(interim, "");
}

static void marks_are_no_text(void **state)
{
	hear(" a;0;100;f\n<fin>;0;0;f\n b;200;300;f\n<end>;0;0;f\n<end>;0;0;f");
	assert_string_equal(finals, "a|b|");
}

static void segments_end_where_a_reader_expects(void **state)
{
	hear(" one;0;100;f;1;en\n two;200;300;f;2;en\n drei;400;500;f;2;de\n four;3000;3100;f;2;de\n<end>;0;0;f");
	assert_string_equal(finals, "1:one|2:two|2:drei|2:four|");
	finals[0] = '\0';
	for (unsigned i = 0; i < 100; i++) {
		char line[64];
		snprintf(line, sizeof(line), " word%u;%u;%u;f", i, 4000 + i * 100, 4090 + i * 100);
		hear(line);
	}
	transcript_flush(transcript);
	unsigned segments = 0, longest = 0, length = 0;
	for (const char *c = finals; *c != '\0'; c++, length++)
		if (*c == '|') {
			segments++;
			longest = length > longest ? length : longest;
			length = 0;
		}
	assert_true(segments >= 3 && longest < 230);
}

static void quiet_ends_a_segment(void **state)
{
	hear(" hello;0;100;f");
	uint64_t due = transcript_poll(transcript, true, now);
	assert_string_equal(finals, "");
	assert_in_range(due, now + S, now + 5 * S);
	assert_int_equal(transcript_poll(transcript, true, due), UINT64_MAX);
	assert_string_equal(finals, "hello|");
}

static void what_is_final_does_not_wait_for_a_lost_connection(void **state)
{
	hear(" one;0;500;f\n tw;500;700;n");
	assert_int_equal(transcript_poll(transcript, true, now + 60 * S), UINT64_MAX);
	assert_string_equal(finals, "");
	uint64_t due = transcript_poll(transcript, false, now);
	assert_in_range(due, now + S, now + 5 * S);
	assert_int_equal(transcript_poll(transcript, false, due), UINT64_MAX);
	assert_string_equal(finals, "one|");
	transcript_connected(transcript, 500); // and what was not is heard again
	hear(" two;0;400;f\n<end>;0;0;f");
	assert_string_equal(finals, "one|two|");
}

static void repeats_of_one_connection_are_left_out(void **state)
{
	hear(" one;0;100;f\n two;100;200;f");
	hear(" one;0;100;f\n two;100;200;f");
	hear(" two;300;400;f\n<end>;0;0;f"); // said again is no repeat
	hear(" two;300;400;f\n<end>;0;0;f");
	assert_string_equal(finals, "one two two|");
	struct transcript_stats stats;
	transcript_stats(transcript, &stats);
	assert_int_equal(stats.repeats, 3);
	assert_int_equal(stats.tokens, 3);
}

static void the_next_connection_repeats_nothing(void **state)
{
	hear(" one;0;500;f\n two;500;1000;f\n thr;1000;1200;n");
	transcript_connected(transcript, 800); // the server had confirmed less than it had told
	hear(" two;0;190;f\n three;200;700;f\n<end>;0;0;f");
	assert_string_equal(finals, "one two three|");
	assert_int_equal(last.end_ms, 1500);
}

static void late_finals_are_taken(void **state)
{
	hear(" two;500;900;f");
	hear(" one;0;400;f");
	transcript_flush(transcript);
	assert_non_null(strstr(finals, "two"));
	assert_non_null(strstr(finals, "one"));
}

static void translation_stays_beside_its_words(void **state)
{
	hear(" Hello;0;300;f;-;en;o\n world.;300;600;f;-;en;o\n Hola;0;0;f;-;es;t\n mundo.;0;0;f;-;es;t\n<end>;0;0;f");
	assert_string_equal(finals, "Hello world.=Hola mundo.|");
	assert_string_equal(last.language, "en");
	assert_string_equal(last.translation_language, "es");
}

// Words, not their translation: the connection dies between the two.
static void a_lost_translation_is_asked_for_again(void **state)
{
	uint64_t from_ms;
	assert_false(transcript_untranslated(transcript, &from_ms));
	hear(" Hello;0;300;f;-;en;o\n world;300;600;f;-;en;o");
	hear(" Hola;0;0;f;-;es;t\n mundo;0;0;f;-;es;t");
	hear(" good;700;900;f;-;en;o\n day;900;1200;f;-;en;o"); // Hello world is translated
	assert_true(transcript_untranslated(transcript, &from_ms));
	assert_int_equal(from_ms, 600);
	transcript_connected(transcript, 600);
	hear(" good;100;300;n;-;en;o\n day;300;600;n;-;en;o");
	assert_string_equal(interim, "Hello world good day"); // no word twice, not even for a moment
	hear(" good;100;300;f;-;en;o\n day;300;600;f;-;en;o");
	hear(" buen;0;0;f;-;es;t");
	hear(" dia;0;0;f;-;es;t\n<end>;0;0;f");
	assert_string_equal(finals, "Hello world good day=Hola mundo buen dia|");
	assert_false(transcript_untranslated(transcript, &from_ms));
}

// Half of it came: the new connection says it from its beginning.
static void half_a_translation_is_not_doubled(void **state)
{
	uint64_t from_ms;
	hear(" good;0;300;f;-;en;o\n day;300;600;f;-;en;o\n buen;0;0;f;-;es;t");
	assert_true(transcript_untranslated(transcript, &from_ms));
	assert_int_equal(from_ms, 0);
	transcript_connected(transcript, 0);
	hear(" good;0;300;f;-;en;o\n day;300;600;f;-;en;o\n buen;0;0;f;-;es;t\n dia;0;0;f;-;es;t");
	hear(" again;700;900;f;-;en;o\n otra;0;0;f;-;es;t\n<end>;0;0;f");
	assert_string_equal(finals, "good day again=buen dia otra|");
	// Heard again although it was whole: it stays out.
	transcript_connected(transcript, 650);
	hear(" again;50;250;f;-;en;o\n otra;0;0;f;-;es;t\n<end>;0;0;f\n more;400;500;f;-;en;o\n mas;0;0;f;-;es;t\n<end>;0;0;f");
	assert_string_equal(finals, "good day again=buen dia otra|more=mas|");
}

static void a_message_that_comes_twice_is_translated_once(void **state)
{
	hear(" good;0;300;f;-;en;o");
	hear(" buen;0;0;f;-;es;t");
	hear(" buen;0;0;f;-;es;t");
	hear(" day;300;600;f;-;en;o\n dia;0;0;f;-;es;t\n<end>;0;0;f");
	assert_string_equal(finals, "good day=buen dia|");
}

static void an_endpoint_waits_for_the_translation_behind_it(void **state)
{
	hear(" good;0;300;f;-;en;o\n<end>;0;0;f");
	hear(" buen;0;0;f;-;es;t");
	assert_string_equal(finals, "");
	hear(" day;300;600;f;-;en;o");
	assert_string_equal(finals, "good=buen|");
}

// The connection lives, and nobody translates: the audio need not be kept for ever.
static void a_translation_that_never_comes_is_given_up(void **state)
{
	uint64_t from_ms;
	hear(" good;0;300;f;-;en;o");
	for (unsigned i = 0; i < 120; i++)
		hear("");
	assert_false(transcript_untranslated(transcript, &from_ms));
	for (unsigned i = 1; i < 40; i++) {
		char line[64];
		snprintf(line, sizeof(line), " word%u;%u;%u;f;-;en;o", i, i * 1000, i * 1000 + 900);
		hear(line);
	}
	assert_true(transcript_untranslated(transcript, &from_ms));
	assert_in_range(from_ms, 25000, 30000);
	transcript_flush(transcript);
	assert_false(transcript_untranslated(transcript, &from_ms));
	assert_non_null(strstr(finals, "word39"));
}

static void speakers_keep_their_names(void **state)
{
	hear(" a;0;100;f;1\n<end>;0;0;f\n b;200;300;f;2\n<end>;0;0;f");
	hear(" c;400;500;n;2\n d;600;700;n;1"); // heard, not final
	transcript_connected(transcript, 350);
	hear(" c;50;150;f;1\n<end>;0;0;f\n d;250;350;f;2\n<end>;0;0;f\n e;400;500;f;3\n<end>;0;0;f");
	assert_string_equal(finals, "1:a|2:b|2:c|1:d|3:e|");
	transcript_connected(transcript, 1000); // nothing to match by: nobody is taken for another
	hear(" f;0;100;f;1\n<end>;0;0;f");
	assert_string_equal(last.speaker, "4");
}

static void one_speaker_stays_one(void **state)
{
	hear(" a;0;100;f;1\n<end>;0;0;f");
	transcript_connected(transcript, 100);
	hear(" b;0;100;f;1\n<end>;0;0;f\n c;200;300;f;2\n<end>;0;0;f");
	assert_string_equal(finals, "1:a|1:b|2:c|");
}

static void history_resumes_by_number(void **state)
{
	for (unsigned i = 0; i < 6; i++) {
		char line[64];
		snprintf(line, sizeof(line), " w%u;%u;%u;f\n<end>;0;0;f", i, i * 1000, i * 1000 + 500);
		hear(line);
	}
	struct transcript_listener other = {.segment = on_segment, .end = on_end};
	finals[0] = '\0';
	assert_true(transcript_listen(transcript, &other, 5));
	assert_string_equal(finals, "w4|w5|");
	transcript_unlisten(transcript, &other);
	finals[0] = '\0';
	assert_false(transcript_listen(transcript, &other, 1)); // four are kept
	assert_string_equal(finals, "w2|w3|w4|w5|");
	transcript_unlisten(transcript, &other);
}

static void nothing_said_is_thrown_away_at_the_end(void **state)
{
	hear(" sure;0;100;f\n perhaps;100;200;n");
	transcript_flush(transcript);
	assert_string_equal(finals, "sure perhaps|");
}

static void text_stream_is_as_clients_read_it(void **state)
{
	// The bytes of facts browser-peer.md 2, which livekit-client accepted, with a MIME type.
	static const char header[] = "\x6a\x67\x0a\x02s1\x1a\x10lk.transcription\x22\x0atext/plain\x42\x15\x0a\x0dlk.segment_id\x12\x04SG_1"
				     "\x42\x1e\x0a\x16lk.transcription_final\x12\x04true\x4a\x00";
	const struct text_stream_attribute attributes[] = {
		{"lk.segment_id", "SG_1"}, {"absent", NULL}, {"lk.transcription_final", "true"}};
	uint8_t packet[TEXT_STREAM_PACKET_MAX];
	int bytes = text_stream_header(packet, "s1", "lk.transcription", 0, attributes, 3);
	assert_int_equal(bytes, sizeof(header) - 1);
	assert_memory_equal(packet + 2, header + 2, sizeof(header) - 3);
	bytes = text_stream_chunk(packet, "s1", 0, "hi", 2);
	assert_int_equal(bytes, 10);
	assert_memory_equal(packet, "\x72\x08\x0a\x02s1\x1a\x02hi", 10);
	bytes = text_stream_chunk(packet, "s1", 1, "hi", 2);
	assert_memory_equal(packet, "\x72\x0a\x0a\x02s1\x10\x01\x1a\x02hi", 12);
	bytes = text_stream_trailer(packet, "s1");
	assert_int_equal(bytes, 6);
	assert_memory_equal(packet, "\x7a\x04\x0a\x02s1", 6);
	char *text = malloc(3001);
	for (unsigned i = 0; i < 1000; i++)
		memcpy(text + i * 3, "\xe4\xb8\x96", 3);
	for (size_t left = 3000; left > 0;) {
		size_t take = text_stream_take(text + 3000 - left, left);
		assert_int_equal(take % 3, 0);
		assert_true(text_stream_chunk(packet, "a stream with a rather long name", 7, text, take) > 0);
		left -= take;
	}
	free(text);
	char long_value[2000];
	memset(long_value, 'x', sizeof(long_value) - 1);
	long_value[sizeof(long_value) - 1] = '\0';
	const struct text_stream_attribute too_long = {"k", long_value};
	assert_int_equal(text_stream_header(packet, "s", "t", 1, &too_long, 1), -EMSGSIZE);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(interim_grows_and_becomes_final),
		TEST(marks_are_no_text),
		TEST(segments_end_where_a_reader_expects),
		TEST(quiet_ends_a_segment),
		TEST(what_is_final_does_not_wait_for_a_lost_connection),
		TEST(repeats_of_one_connection_are_left_out),
		TEST(the_next_connection_repeats_nothing),
		TEST(late_finals_are_taken),
		TEST(translation_stays_beside_its_words),
		TEST(a_lost_translation_is_asked_for_again),
		TEST(half_a_translation_is_not_doubled),
		TEST(a_message_that_comes_twice_is_translated_once),
		TEST(an_endpoint_waits_for_the_translation_behind_it),
		TEST(a_translation_that_never_comes_is_given_up),
		TEST(speakers_keep_their_names),
		TEST(one_speaker_stays_one),
		TEST(history_resumes_by_number),
		TEST(nothing_said_is_thrown_away_at_the_end),
		cmocka_unit_test(text_stream_is_as_clients_read_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
