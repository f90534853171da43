// SPDX-License-Identifier: ISC
//
// links.c - what is broken between JoinRoom and a user's words. A link that only lacks what the one before it should bring waits.
//
// Runs on: any.

#include "controlplane/relayctl/links.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define QUIET_MS 2000 // a microphone in DTX sends every 400 ms

static void say(struct link *link, enum link_state state, int64_t since_ms, const char *text, const char *more)
{
	link->state = state;
	link->since_ms = since_ms;
	snprintf(link->sentence, sizeof(link->sentence), "%.150s%.150s", text, more);
}

static bool is(const char *word, const char *other)
{
	return strcmp(word, other) == 0;
}

static void judge_join(const Relay__V1__Session *s, struct link *ret_link)
{
	if (s->connected)
		say(ret_link, LINK_OK, s->since_ms, "in the room ", s->room);
	else if (is(s->state, "joining"))
		say(ret_link, LINK_WAITS, s->since_ms, "JoinRoom is on its way", "");
	else if (s->last_disconnect_reason[0] != '\0')
		say(ret_link, LINK_BROKEN, s->since_ms, "not connected: ", s->last_disconnect_reason);
	else
		say(ret_link, LINK_BROKEN, s->since_ms, "not connected: ", s->state);
}

static void judge_audio(const Relay__V1__Session *s, bool joined, int64_t now_ms, struct link *ret_link)
{
	int64_t age_ms = s->source != NULL ? s->source->last_packet_age_ms : -1;
	int64_t since_ms = age_ms >= 0 ? now_ms - age_ms : s->since_ms;
	if (age_ms >= 0 && age_ms < QUIET_MS)
		say(ret_link, LINK_OK, 0, "PCM flows, from ", s->source->input_is_track ? "the track" : "data packets");
	else if (!joined)
		say(ret_link, LINK_WAITS, since_ms, "nothing can come without a room", "");
	else if (s->target[0] != '\0' && !s->target_present)
		say(ret_link, LINK_BROKEN, since_ms, "the phone is not in the room: ", s->target);
	else if (s->track_muted)
		say(ret_link, LINK_BROKEN, since_ms, "the phone is muted", "");
	else if (age_ms < 0)
		say(ret_link, LINK_BROKEN, since_ms, "the phone is in the room and has sent nothing: ",
			s->track_subscribed ? "its track is silent" : "no track, no data packets");
	else
		say(ret_link, LINK_BROKEN, since_ms, "the phone is in the room and has stopped sending: ",
			s->track_subscribed ? "its track is there" : "no track, no data packets");
}

static void judge_cloud(const Relay__V1__Session *s, struct link *ret_link)
{
	if (s->stream != NULL && s->stream->attached)
		say(ret_link, LINK_OK, s->stream->since_ms, "StreamAudio is open", "");
	else if (s->stream != NULL && s->stream->since_ms != 0)
		say(ret_link, LINK_BROKEN, s->stream->since_ms, "StreamAudio has ended: the cloud is gone or has not called again", "");
	else
		say(ret_link, LINK_BROKEN, s->since_ms, "no cloud has called StreamAudio", "");
}

static void judge_soniox(const Relay__V1__TranscribeState *t, struct link *ret_link)
{
	bool down = t->down_since_ms != 0, live = is(t->state, "live");
	const char *why = t->last_error[0] != '\0' ? t->last_error : t->sentence;
	if (is(t->state, "stopped"))
		say(ret_link, LINK_BROKEN, down ? t->down_since_ms : t->since_ms, t->sentence, "");
	else if (live && is(t->health, "stalled"))
		say(ret_link, LINK_BROKEN, down ? t->down_since_ms : t->since_ms, t->sentence, "");
	else if (live && down)
		say(ret_link, LINK_BROKEN, t->down_since_ms, "connected and not answered yet; before: ", why);
	else if (live || is(t->state, "finishing"))
		say(ret_link, LINK_OK, is(t->health, "healthy") ? t->since_ms : 0, "connected", "");
	else if (is(t->state, "retrying") || (is(t->state, "connecting") && down))
		say(ret_link, LINK_BROKEN, down ? t->down_since_ms : t->since_ms, "no connection: ", why);
	else
		say(ret_link, LINK_WAITS, down ? t->down_since_ms : t->since_ms, t->sentence, "");
}

static void judge_words(const Relay__V1__TranscribeState *t, bool audio, enum link_state soniox, int64_t now_ms, struct link *ret_link)
{
	int64_t since_ms = t->token_age_ms >= 0 ? now_ms - t->token_age_ms : t->since_ms;
	if (soniox != LINK_OK || !audio || is(t->health, "starved"))
		say(ret_link, LINK_WAITS, since_ms, "nothing to make words of", "");
	else if (is(t->health, "silent"))
		say(ret_link, LINK_BROKEN, since_ms, t->sentence, "");
	else
		say(ret_link, LINK_OK, 0, t->token_age_ms < 0 ? "none yet" : "they come", "");
}

void links_judge(const Relay__V1__Session *session, const Relay__V1__TranscribeState *transcription, int64_t now_ms,
	struct link ret_links[static LINKS])
{
	judge_join(session, &ret_links[LINK_JOIN]);
	judge_audio(session, ret_links[LINK_JOIN].state == LINK_OK, now_ms, &ret_links[LINK_AUDIO]);
	judge_cloud(session, &ret_links[LINK_CLOUD]);
	if (transcription == NULL || !transcription->exists) {
		say(&ret_links[LINK_SONIOX], LINK_OFF, 0, "the user is not transcribed", "");
		say(&ret_links[LINK_WORDS], LINK_OFF, 0, "", "");
		return;
	}
	judge_soniox(transcription, &ret_links[LINK_SONIOX]);
	judge_words(transcription, ret_links[LINK_AUDIO].state == LINK_OK, ret_links[LINK_SONIOX].state, now_ms, &ret_links[LINK_WORDS]);
}

const char *link_name(enum link_name name)
{
	static const char *const names[] = {
		[LINK_JOIN] = "JoinRoom", [LINK_AUDIO] = "audio", [LINK_CLOUD] = "cloud", [LINK_SONIOX] = "Soniox", [LINK_WORDS] = "words"};
	return names[name];
}

const char *link_word(enum link_state state)
{
	static const char *const words[] = {[LINK_OK] = "ok", [LINK_WAITS] = "waits", [LINK_OFF] = "off", [LINK_BROKEN] = "BROKEN"};
	return words[state];
}
