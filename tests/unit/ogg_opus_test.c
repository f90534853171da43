// SPDX-License-Identifier: ISC
//
// ogg_opus_test.c - our Ogg against libopusfile and opusinfo's own rules: time is true, packets are as they came, pages are whole.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <opus/opus.h>
#include <opusfile.h>
#include <stdlib.h>
#include <unistd.h>

#include "controlplane/ogg_opus.h"

struct file {
	uint8_t *bytes;
	size_t count;
};

static void put(struct file *file, struct ogg_opus *ogg, bool last)
{
	const uint8_t *page;
	size_t bytes = ogg_opus_page(ogg, last, &page);
	file->bytes = realloc(file->bytes, file->count + bytes + 1);
	memcpy(file->bytes + file->count, page, bytes);
	file->count += bytes;
}

// A tone of 300 Hz from an encoder, packet by packet; missing ones become gaps.
static struct file encode(int application, unsigned frame_ms, unsigned packets, bool (*missing)(unsigned n), unsigned channels)
{
	int error;
	OpusEncoder *encoder = opus_encoder_create(48000, (int)channels, application, &error);
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(24000));
	struct ogg_opus *ogg = ogg_opus_create(77);
	struct file file = {0};
	unsigned samples = frame_ms * 48, page_ms = 0;
	uint32_t owed = 0;
	for (unsigned n = 0; n < packets; n++) {
		int16_t pcm[2 * 2880];
		uint8_t packet[OGG_OPUS_PACKET_MAX];
		for (unsigned i = 0; i < samples * channels; i++)
			pcm[i] = (int16_t)(8000 * sin(2 * M_PI * 300 * (n * samples + i / channels) / 48000.0));
		int bytes = opus_encode(encoder, pcm, (int)samples, packet, sizeof(packet));
		assert_true(bytes > 0);
		if (missing != NULL && missing(n)) {
			owed += samples;
			continue;
		}
		uint32_t done;
		if (owed > 0)
			assert_int_equal(ogg_opus_gap(ogg, owed, &done), 0);
		page_ms += owed / 48;
		owed = 0;
		assert_int_equal(ogg_opus_ticks(packet, (size_t)bytes), (int)samples);
		assert_int_equal(ogg_opus_packet(ogg, packet, (size_t)bytes, samples), 0);
		if ((page_ms += frame_ms) >= 100) {
			put(&file, ogg, false);
			page_ms = 0;
		}
	}
	put(&file, ogg, true);
	ogg_opus_free(ogg);
	opus_encoder_destroy(encoder);
	return file;
}

static bool some(unsigned n)
{
	return n % 10 == 7 || (n > 40 && n < 60);
}

static void libopusfile_reads_it_and_time_is_true(void **state)
{
	static const struct {
		int application;
		unsigned frame_ms, channels;
	} cases[] = {{OPUS_APPLICATION_VOIP, 20, 1}, {OPUS_APPLICATION_VOIP, 60, 1}, {OPUS_APPLICATION_RESTRICTED_LOWDELAY, 5, 1},
		{OPUS_APPLICATION_AUDIO, 10, 2}, {OPUS_APPLICATION_AUDIO, 20, 2}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned holes = 0; holes < 2; holes++) {
			struct file file = encode(cases[i].application, cases[i].frame_ms, 101, holes ? some : NULL, cases[i].channels);
			int error;
			OggOpusFile *opened = op_open_memory(file.bytes, file.count, &error);
			assert_int_equal(error, 0);
			assert_int_equal(op_link_count(opened), 1);
			assert_int_equal(op_head(opened, 0)->pre_skip, 3840);
			assert_int_equal(op_channel_count(opened, 0), 1);
			assert_int_equal(op_pcm_total(opened, 0), 101 * cases[i].frame_ms * 48);
			int64_t total = 0;
			float pcm[5760];
			for (int got, gap = 0; (got = op_read_float(opened, pcm, 5760, NULL)) != 0; total += got) {
				assert_int_equal(gap, 0);
				assert_true(got > 0); // OP_HOLE would be negative
			}
			assert_int_equal(total, 101 * cases[i].frame_ms * 48);
			op_free(opened);
			free(file.bytes);
		}
	}
}

// The same packets decoded directly and out of our Ogg give the same samples.
static void packets_are_as_they_came(void **state)
{
	struct file file = encode(OPUS_APPLICATION_VOIP, 20, 50, NULL, 1);
	int error;
	OggOpusFile *opened = op_open_memory(file.bytes, file.count, &error);
	OpusEncoder *encoder = opus_encoder_create(48000, 1, OPUS_APPLICATION_VOIP, &error);
	opus_encoder_ctl(encoder, OPUS_SET_BITRATE(24000));
	OpusDecoder *decoder = opus_decoder_create(48000, 1, &error);
	for (unsigned n = 0; n < 50; n++) {
		int16_t pcm[960];
		float mine[960], theirs[960];
		uint8_t packet[OGG_OPUS_PACKET_MAX];
		for (unsigned i = 0; i < 960; i++)
			pcm[i] = (int16_t)(8000 * sin(2 * M_PI * 300 * (n * 960 + i) / 48000.0));
		int bytes = opus_encode(encoder, pcm, 960, packet, sizeof(packet));
		assert_int_equal(opus_decode_float(decoder, packet, bytes, mine, 960, 0), 960);
		for (int at = 0; at < 960;) {
			int got = op_read_float(opened, theirs + at, 960 - at, NULL);
			assert_true(got > 0);
			at += got;
		}
		for (unsigned i = 0; i < 960; i++)
			assert_true(fabsf(mine[i] - theirs[i]) < 1e-4f);
	}
	opus_decoder_destroy(decoder);
	opus_encoder_destroy(encoder);
	op_free(opened);
	free(file.bytes);
}

static void opusinfo_on(struct file file)
{
	char path[] = "/tmp/relay-ogg-XXXXXX", command[128], line[512];
	int fd = mkstemp(path);
	assert_int_equal(write(fd, file.bytes, file.count), file.count);
	close(fd);
	snprintf(command, sizeof(command), "opusinfo %s 2>&1", path);
	FILE *out = popen(command, "r");
	bool length = false;
	while (fgets(line, sizeof(line), out) != NULL) {
		if (strstr(line, "WARNING") != NULL || strstr(line, "ERROR") != NULL)
			fail_msg("opusinfo: %s", line);
		length |= strstr(line, "Playback length: 0m:05.") != NULL || strstr(line, "Playback length: 0m:06.000s") != NULL;
	}
	assert_int_equal(pclose(out), 0); // it calls a warning a failure
	assert_true(length);
	unlink(path);
}

static void opusinfo_has_no_complaint(void **state)
{
	if (system("command -v opusinfo >/dev/null") != 0)
		skip();
	for (unsigned holes = 0; holes < 2; holes++) { // without them the last page is empty
		struct file file = encode(OPUS_APPLICATION_VOIP, 20, 300, holes ? some : NULL, 1);
		int error;
		OggOpusFile *opened = op_open_memory(file.bytes, file.count, &error);
		assert_int_equal(error, 0);
		assert_in_range(op_pcm_total(opened, 0), 5 * 48000, 6 * 48000);
		op_free(opened);
		opusinfo_on(file);
		free(file.bytes);
	}
}

static void nonsense_is_refused(void **state)
{
	struct ogg_opus *ogg = ogg_opus_create(1);
	uint8_t packet[OGG_OPUS_PACKET_MAX + 1] = {0x78};
	const uint8_t *page;
	uint32_t done;
	assert_int_equal(ogg_opus_page(ogg, false, &page), 0);
	assert_int_equal(ogg_opus_ticks(packet, 0), -EINVAL);
	assert_int_equal(ogg_opus_ticks(packet, sizeof(packet)), -EINVAL);
	uint8_t code3 = 3, empty[2] = {3, 0}, too_long[2] = {3 << 3 | 3, 3};
	assert_int_equal(ogg_opus_ticks(&code3, 1), -EINVAL);
	assert_int_equal(ogg_opus_ticks(empty, 2), -EINVAL);
	assert_int_equal(ogg_opus_ticks(too_long, 2), -EINVAL); // three of 60 ms
	assert_int_equal(ogg_opus_packet(ogg, packet, 10, 1234), -EINVAL);
	assert_int_equal(ogg_opus_gap(ogg, 7, &done), -EINVAL);
	unsigned packets = 0;
	while (ogg_opus_packet(ogg, packet, 1275, 960) == 0)
		packets++;
	assert_int_equal(packets, 41); // of six segments each, behind the four of the pre-skip
	assert_true(ogg_opus_page(ogg, true, &page) > 41 * 1275);
	assert_int_equal(ogg_opus_packet(ogg, packet, 10, 960), -EINVAL); // it has ended
	assert_int_equal(ogg_opus_page(ogg, true, &page), 0);
	ogg_opus_free(ogg);
	// A gap longer than a page has room for is given in parts.
	ogg = ogg_opus_create(1);
	assert_int_equal(ogg_opus_gap(ogg, 960 * 300, &done), -ENOBUFS);
	assert_int_equal(done, 960 * 251);
	ogg_opus_page(ogg, false, &page);
	assert_int_equal(ogg_opus_gap(ogg, 960 * 300 - done, &done), 0);
	ogg_opus_free(ogg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(libopusfile_reads_it_and_time_is_true),
		cmocka_unit_test(packets_are_as_they_came),
		cmocka_unit_test(opusinfo_has_no_complaint),
		cmocka_unit_test(nonsense_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
