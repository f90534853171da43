// SPDX-License-Identifier: ISC
//
// transcript_file_test.c - transcripts on disk: JSON lines, WebVTT, safe names, rotation, a full disk.
//
// Runs on: control (the test), and the writer.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/transcript_file.h"

static char dir[64];
static struct transcript_file_config config;

static int64_t spoken_at(void *arg, uint64_t ms)
{
	return (int64_t)(transcript_epoch(*(struct transcript **)arg) + ms * 1000);
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/relay-transcripts-XXXXXX");
	assert_non_null(mkdtemp(dir));
	config = (struct transcript_file_config){.dir = dir, .max_kb = 16, .keep = 3};
	return 0;
}

static unsigned files(bool remove_them)
{
	unsigned count = 0;
	DIR *listing = opendir(dir);
	for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (remove_them)
			unlinkat(dirfd(listing), entry->d_name, 0);
	}
	closedir(listing);
	return count;
}

static int teardown(void **state)
{
	files(true);
	rmdir(dir);
	return 0;
}

static void say(struct transcript *transcript, unsigned count)
{
	static char text[210];
	memset(text, 'x', sizeof(text) - 1);
	text[0] = ' ';
	for (unsigned i = 0; i < count; i++) {
		struct soniox_token tokens[2] = {
			{.text = text, .speaker = "1", .language = "en", .is_final = true, .has_time = true, .start_ms = i * 1000,
				.end_ms = i * 1000 + 700},
			{.text = "<end>", .speaker = "", .language = "", .is_final = true}};
		struct soniox_answer answer = {.tokens = tokens, .token_count = 2, .error_type = "", .error_message = "", .request_id = ""};
		transcript_answer(transcript, &answer, 1);
	}
}

static struct transcript *transcript;

static void run(unsigned segments, const char *user, struct transcript_file *file)
{
	ENTERS(control_role);
	struct transcript_config parts = {.history_segments = 10, .history_bytes = 10000, .spoken_at_us = spoken_at, .arg = &transcript};
	struct err err;
	assert_int_equal(transcript_files_init(&config, &err), 0);
	transcript = transcript_create(&parts);
	transcript_connected(transcript, 0);
	*file = (struct transcript_file){0};
	transcript_file_start(file, &config, user, transcript);
	say(transcript, segments);
	transcript_file_stop(file);
	transcript_free(transcript);
	transcript_files_finish();
}

static char *slurp(const char *path)
{
	char *text = calloc(1, 1 << 16);
	FILE *stream = fopen(path, "r");
	assert_non_null(stream);
	assert_true(fread(text, 1, (1 << 16) - 1, stream) > 0);
	fclose(stream);
	return text;
}

static void lines_of_json(void **state)
{
	struct transcript_file file;
	char path[512];
	struct stat info;
	config.format = TRANSCRIPT_JSONL;
	run(3, "anna", &file);
	assert_int_equal(transcript_file_path(&file, 1, path, sizeof(path)), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	char *text = slurp(path), *save = NULL;
	unsigned seq = 0;
	for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		json_t *object = json_loads(line, 0, NULL);
		assert_non_null(object);
		assert_int_equal(json_integer_value(json_object_get(object, "seq")), ++seq);
		assert_string_equal(json_string_value(json_object_get(object, "user_id")), "anna");
		assert_string_equal(json_string_value(json_object_get(object, "speaker")), "1");
		json_decref(object);
	}
	assert_int_equal(seq, 3);
	free(text);
}

static void webvtt(void **state)
{
	char *text;
	struct transcript_segment segment = {.seq = 7, .start_ms = 100, .end_ms = 1600, .spoken_at_ms = 1700000000000 + 3661500,
		.speaker = "2", .text = "a < b & c --> d\n", .translation = "x", .is_final = true};
	size_t bytes = transcript_file_format(TRANSCRIPT_VTT, "u", 1700000000000000, &segment, &text);
	assert_string_equal(text, "7\n01:01:01.500 --> 01:01:03.000\n<v 2>a &lt; b &amp; c --&gt; d \n<i>x</i>\n\n");
	assert_int_equal(bytes, strlen(text));
	free(text);
	struct transcript_file file;
	char path[512];
	config.format = TRANSCRIPT_VTT;
	run(1, "u", &file);
	assert_int_equal(transcript_file_path(&file, 1, path, sizeof(path)), 0);
	text = slurp(path);
	assert_int_equal(strncmp(text, "WEBVTT\n\nNOTE 00:00:00.000 is ", 29), 0);
	assert_non_null(strstr(text, "\n\n1\n00:00:00.000 --> 00:00:00.700\n<v 1>xxx"));
	free(text);
}

static void names_stay_in_their_folder(void **state)
{
	static const char *const users[] = {"../../etc/passwd", ".hidden", "a/b", "caf\xc3\xa9", "x\ny", ""};
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		struct transcript_file file = {.config = &config, .epoch = 1};
		char path[512];
		snprintf(file.user_id, sizeof(file.user_id), "%s", users[i]);
		assert_int_equal(transcript_file_path(&file, 1, path, sizeof(path)), 0);
		assert_int_equal(strncmp(path, dir, strlen(dir)), 0);
		assert_null(strchr(path + strlen(dir) + 1, '/'));
		assert_true(path[strlen(dir) + 1] != '.');
	}
	struct transcript_file long_one = {.config = &config};
	memset(long_one.user_id, '/', sizeof(long_one.user_id) - 1);
	char path[512];
	assert_int_equal(transcript_file_path(&long_one, 1, path, sizeof(path)), 0);
	assert_true(strlen(path + strlen(dir) + 1) < 255);
}

static void files_are_rotated(void **state)
{
	struct transcript_file file;
	config.format = TRANSCRIPT_JSONL;
	run(500, "anna", &file); // some 350 bytes each
	assert_true(file.part > 6);
	assert_int_equal(files(false), 3);
	char path[512];
	struct stat info;
	for (unsigned part = file.part - 2; part <= file.part; part++) {
		assert_int_equal(transcript_file_path(&file, part, path, sizeof(path)), 0);
		assert_int_equal(stat(path, &info), 0);
		assert_true(info.st_size <= 16 * 1024);
	}
}

static void what_cannot_be_written_is_counted(void **state)
{
	struct transcript_file file;
	struct err err;
	uint64_t before = transcript_files_lost();
	struct transcript_file_config nowhere = {.dir = "/proc/nowhere/at/all", .max_kb = 16, .keep = 3};
	assert_true(transcript_files_init(&nowhere, &err) < 0);
	assert_non_null(strstr(err.text, "/proc/nowhere"));
	char name[] = "anna";
	config.format = TRANSCRIPT_JSONL;
	// A folder stands where the file should be.
	struct transcript_file probe = {.config = &config};
	snprintf(probe.user_id, sizeof(probe.user_id), "%s", name);
	for (int64_t second = clock_wall_us() / 1000000, i = 0; i < 5; i++) {
		char path[512];
		probe.epoch = (uint64_t)(second + i) * 1000000;
		assert_int_equal(transcript_file_path(&probe, 1, path, sizeof(path)), 0);
		mkdir(path, 0700);
	}
	run(2, name, &file);
	assert_int_equal(transcript_files_lost(), before + 2);
	for (int64_t second = (int64_t)(probe.epoch / 1000000) - 4, i = 0; i < 5; i++) {
		char path[512];
		probe.epoch = (uint64_t)(second + i) * 1000000;
		(void)transcript_file_path(&probe, 1, path, sizeof(path));
		rmdir(path);
	}
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(lines_of_json),
		TEST(webvtt),
		TEST(names_stay_in_their_folder),
		TEST(files_are_rotated),
		TEST(what_cannot_be_written_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
