// SPDX-License-Identifier: ISC
//
// relayctl_links_test.c - which link from JoinRoom to words is broken, and since when. relayctl is a program of its own, so its
// file is included.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controlplane/relayctl/links.c"

#define NOW 1000000
#define TEXT(literal) ((char *)(uintptr_t)(literal))

static Relay__V1__Session session;
static Relay__V1__StreamState stream;
static Relay__V1__SourceState source;
static Relay__V1__TranscribeState words;
static struct link links[LINKS];

// Everything is well.
static int well(void **state)
{
	session = (Relay__V1__Session)RELAY__V1__SESSION__INIT;
	stream = (Relay__V1__StreamState)RELAY__V1__STREAM_STATE__INIT;
	source = (Relay__V1__SourceState)RELAY__V1__SOURCE_STATE__INIT;
	words = (Relay__V1__TranscribeState)RELAY__V1__TRANSCRIBE_STATE__INIT;
	session.stream = &stream;
	session.source = &source;
	session.state = TEXT("connected");
	session.target = TEXT("alice");
	session.connected = session.target_present = session.track_subscribed = stream.attached = true;
	session.since_ms = 1000;
	stream.since_ms = 2000;
	source.last_packet_age_ms = 20;
	words.exists = true;
	words.state = TEXT("live");
	words.health = TEXT("healthy");
	words.sentence = TEXT("as it is");
	words.message_age_ms = 100;
	words.token_age_ms = 500;
	words.since_ms = 3000;
	return 0;
}

static void expect(const char *states)
{
	char seen[64] = "";
	links_judge(&session, &words, NOW, links);
	for (enum link_name i = 0; i < LINKS; i++)
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s%s", i > 0 ? " " : "", link_word(links[i].state));
	assert_string_equal(seen, states);
}

static void expect_since(enum link_name name, int64_t since_ms, const char *sentence)
{
	assert_int_equal(links[name].since_ms, since_ms);
	assert_non_null(strstr(links[name].sentence, sentence));
}

static void all_is_well(void **state)
{
	expect("ok ok ok ok ok");
	words.exists = false;
	expect("ok ok ok off off");
}

static void the_phone_is_what_is_missing(void **state)
{
	source.last_packet_age_ms = 7000;
	words.health = TEXT("starved");
	expect("ok BROKEN ok ok waits");
	expect_since(LINK_AUDIO, NOW - 7000, "stopped sending: its track is there");
	session.track_muted = true;
	expect("ok BROKEN ok ok waits");
	expect_since(LINK_AUDIO, NOW - 7000, "muted");
	session.target_present = false;
	expect("ok BROKEN ok ok waits");
	expect_since(LINK_AUDIO, NOW - 7000, "not in the room");
	well(state);
	source.last_packet_age_ms = words.token_age_ms = words.message_age_ms = -1;
	session.track_subscribed = false;
	words.state = TEXT("idle");
	words.health = TEXT("");
	expect("ok BROKEN ok waits waits");
	expect_since(LINK_AUDIO, 1000, "no track, no data packets");
}

static void the_room_is_lost(void **state)
{
	session.connected = false;
	session.state = TEXT("recovering");
	session.last_disconnect_reason = TEXT("signal lost");
	source.last_packet_age_ms = 5000;
	expect("BROKEN waits ok ok waits");
	expect_since(LINK_JOIN, 1000, "signal lost");
	session.state = TEXT("joining");
	expect("waits waits ok ok waits");
}

static void the_cloud_is_gone(void **state)
{
	stream.attached = false;
	expect("ok ok BROKEN ok ok");
	expect_since(LINK_CLOUD, 2000, "has ended");
	stream.since_ms = 0;
	expect("ok ok BROKEN ok ok");
	expect_since(LINK_CLOUD, 1000, "no cloud has called");
}

static void soniox_is_broken(void **state)
{
	words.health = TEXT("stalled");
	expect("ok ok ok BROKEN waits");
	expect_since(LINK_SONIOX, 3000, "as it is");
	words.health = TEXT("");
	words.state = TEXT("stopped");
	expect("ok ok ok BROKEN waits");
	words.state = TEXT("connecting");
	expect("ok ok ok waits waits");
	// Over all attempts the link is broken since it broke, whatever began when.
	words.last_error = TEXT("connection refused");
	words.last_error_at_ms = NOW - 50;
	words.message_age_ms = 600000; // there was nothing to say for long
	words.down_since_ms = NOW - 9000;
	static const char *const attempts[] = {"connecting", "retrying", "live", "stopped"};
	for (unsigned i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		words.state = TEXT(attempts[i]);
		words.since_ms = NOW - 10 * i;
		expect("ok ok ok BROKEN waits");
		expect_since(LINK_SONIOX, NOW - 9000, i < 3 ? "connection refused" : "as it is");
	}
	words.state = TEXT("queued");
	expect("ok ok ok waits waits");
	expect_since(LINK_SONIOX, NOW - 9000, "as it is");
	words.state = TEXT("live"); // and answered
	words.down_since_ms = 0;
	expect("ok ok ok ok ok");
}

static void audio_without_words(void **state)
{
	words.health = TEXT("silent");
	words.token_age_ms = 61000;
	expect("ok ok ok ok BROKEN");
	expect_since(LINK_WORDS, NOW - 61000, "as it is");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_is_well, well),
		cmocka_unit_test_setup(the_phone_is_what_is_missing, well),
		cmocka_unit_test_setup(the_room_is_lost, well),
		cmocka_unit_test_setup(the_cloud_is_gone, well),
		cmocka_unit_test_setup(soniox_is_broken, well),
		cmocka_unit_test_setup(audio_without_words, well),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
