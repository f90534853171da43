// SPDX-License-Identifier: ISC
//
// captions.c - what users say, live in the terminal; and how their transcription is.
//
// Runs on: any (relayctl has one thread).

#include "controlplane/relayctl/captions.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/relayctl/links.h"
#include "controlplane/relayctl/table.h"

// ---- live

struct follow {
	const struct args *args;
	bool tty, wrote_interim;
	unsigned columns;
	unsigned long long epoch;
};

static json_t *json_segment(const Relay__V1__TranscriptSegment *s, unsigned long long epoch)
{
	json_t *object = json_pack("{s:I, s:I, s:b, s:s, s:I, s:I, s:I}", "epoch", (json_int_t)epoch, "seq", (json_int_t)s->seq,
		"final", s->final, "text", s->text, "start_ms", (json_int_t)s->start_ms, "end_ms", (json_int_t)s->end_ms, "spoken_at_ms",
		(json_int_t)s->spoken_at_ms);
	json_object_set_new(object, "speaker", json_string(s->speaker));
	json_object_set_new(object, "language", json_string(s->language));
	if (s->translation[0] != '\0') {
		json_object_set_new(object, "translation", json_string(s->translation));
		json_object_set_new(object, "translation_language", json_string(s->translation_language));
	}
	return object;
}

// The end of a text that fits into so many columns, at a character's begin; wide characters are counted as two.
static const char *tail_that_fits(const char *text, unsigned columns)
{
	const char *at = text + strlen(text);
	unsigned used = 0;
	while (at > text) {
		const char *before = at - 1;
		while (before > text && ((unsigned char)*before & 0xc0) == 0x80)
			before--;
		unsigned wide = (unsigned char)*before >= 0xe1 ? 2 : 1;
		if (used + wide > columns)
			break;
		used += wide;
		at = before;
	}
	return at;
}

// Nothing that a user says may move an operator's cursor.
static void print_clean(const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		bool c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;
		if (c1)
			text++;
		putchar(c < ' ' || c == 127 || c1 ? ' ' : c);
	}
}

static void print_head(const Relay__V1__TranscriptSegment *s)
{
	char clock[16];
	time_t seconds = (time_t)(s->spoken_at_ms / 1000);
	struct tm local;
	localtime_r(&seconds, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	printf("%s%s%s ", text_style("2"), clock, text_style("0"));
	if (s->speaker[0] != '\0')
		printf("%s%s:%s ", text_style("36"), s->speaker, text_style("0"));
}

static void print_final(const Relay__V1__TranscriptSegment *s)
{
	print_head(s);
	print_clean(s->text);
	if (s->translation[0] != '\0') {
		printf("  %s", text_style("3"));
		print_clean(s->translation);
		printf("%s", text_style("0"));
	}
	printf("\n");
}

static void print_interim(const Relay__V1__TranscriptSegment *s, unsigned columns)
{
	unsigned head = 9 + (s->speaker[0] != '\0' ? (unsigned)strlen(s->speaker) + 2 : 0);
	print_head(s);
	printf("%s", text_style("2"));
	print_clean(tail_that_fits(s->text, columns > head + 1 ? columns - head - 1 : 1));
	printf("%s", text_style("0"));
}

static bool on_event(void *arg, const ProtobufCMessage *message)
{
	struct follow *follow = arg;
	const Relay__V1__TranscriptEvent *event = (const void *)message;
	if (event->event_case == RELAY__V1__TRANSCRIPT_EVENT__EVENT_BEGIN) {
		follow->epoch = event->begin->epoch;
		if (!event->begin->complete && follow->args->from_seq > 1)
			fprintf(stderr, "relayctl: segments before the first one shown are not kept any more\n");
		return true;
	}
	if (event->event_case != RELAY__V1__TRANSCRIPT_EVENT__EVENT_SEGMENT)
		return true;
	const Relay__V1__TranscriptSegment *segment = event->segment;
	if (follow->args->json) {
		json_t *object = json_segment(segment, follow->epoch);
		json_dumpf(object, stdout, JSON_COMPACT);
		printf("\n");
		json_decref(object);
		return fflush(stdout) == 0;
	}
	if (!segment->final && !follow->tty)
		return true;
	if (follow->wrote_interim)
		printf("\r\033[K");
	follow->wrote_interim = !segment->final && segment->text[0] != '\0';
	if (segment->final)
		print_final(segment);
	else if (follow->wrote_interim)
		print_interim(segment, follow->columns);
	return fflush(stdout) == 0;
}

enum client_result captions_follow(const struct args *args)
{
	struct winsize size;
	struct follow follow = {.args = args, .tty = isatty(STDOUT_FILENO) != 0, .columns = 80};
	if (follow.tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		follow.columns = size.ws_col;
	Relay__V1__WatchTranscriptsRequest request = RELAY__V1__WATCH_TRANSCRIPTS_REQUEST__INIT;
	request.user_id = (char *)(uintptr_t)args->user;
	request.from_seq = args->from_seq;
	request.finals_only = args->finals;
	enum client_result result = client_stream("/relay.v1.Transcripts/Watch", &request.base, &relay__v1__transcript_event__descriptor,
		on_event, &follow);
	if (follow.wrote_interim)
		printf("\n");
	return result;
}

// ---- how it is

static Relay__V1__TranscribeState *ask_state(const char *user)
{
	Relay__V1__GetTranscribeStateRequest request = RELAY__V1__GET_TRANSCRIBE_STATE_REQUEST__INIT;
	ProtobufCMessage *answer = NULL;
	request.user_id = (char *)(uintptr_t)user;
	if (client_call("/relay.v1.Transcripts/GetTranscribeState", &request.base, &relay__v1__transcribe_state__descriptor, &answer) !=
		CLIENT_OK)
		return NULL;
	return (void *)answer;
}

static Relay__V1__TranscribeTotals *ask_totals(void)
{
	Relay__V1__GetTranscribeTotalsRequest request = RELAY__V1__GET_TRANSCRIBE_TOTALS_REQUEST__INIT;
	ProtobufCMessage *answer = NULL;
	if (client_call("/relay.v1.Transcripts/GetTranscribeTotals", &request.base, &relay__v1__transcribe_totals__descriptor,
		    &answer) != CLIENT_OK)
		return NULL;
	return (void *)answer;
}

static const char *age_text(int64_t ms, char text[static TEXT_BYTES])
{
	if (ms < 0)
		return "never";
	char span[TEXT_BYTES];
	snprintf(text, TEXT_BYTES, "%.20s ago", text_us((uint64_t)ms * 1000, span));
	return text;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void captions_show_links(const Relay__V1__Session *session)
{
	struct link links[LINKS];
	Relay__V1__TranscribeState *state = ask_state(session->user_id);
	links_judge(session, state, now_ms(), links);
	relay__v1__transcribe_state__free_unpacked(state, NULL);
	for (enum link_name i = 0; i < LINKS; i++) {
		const struct link *link = &links[i];
		char since[TEXT_BYTES] = "";
		const char *style = link->state == LINK_BROKEN ? "31;1" : link->state == LINK_OK ? "32;1" : "33;1";
		printf("%-13s %-8s %s%s%s", i == 0 ? "links" : "", link_name(i), text_style(style), link_word(link->state), text_style("0"));
		if (link->since_ms != 0)
			printf(" since %s", text_clock(link->since_ms, since));
		printf("%s%s\n", link->sentence[0] != '\0' ? ": " : "", link->sentence);
	}
}

static json_t *json_links(const Relay__V1__Session *session, const Relay__V1__TranscribeState *state)
{
	struct link links[LINKS];
	json_t *array = json_array();
	links_judge(session, state, now_ms(), links);
	for (enum link_name i = 0; i < LINKS; i++)
		json_array_append_new(array, json_pack("{s:s, s:s, s:I, s:s}", "link", link_name(i), "state", link_word(links[i].state),
			"since_ms", (json_int_t)links[i].since_ms, "sentence", links[i].sentence));
	return array;
}

void captions_show_state(const char *user)
{
	Relay__V1__TranscribeState *s = ask_state(user);
	if (s == NULL || !s->exists) {
		if (s != NULL)
			printf("captions      none: the user is not transcribed\n");
		relay__v1__transcribe_state__free_unpacked(s, NULL);
		return;
	}
	char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES], d[TEXT_BYTES];
	bool well = strcmp(s->health, "healthy") == 0 || strcmp(s->state, "idle") == 0;
	printf("captions      %s%s%s%s%s, %s\n", text_style(well ? "32;1" : "33;1"), s->state, s->health[0] ? " and " : "", s->health,
		text_style("0"), s->sentence);
	printf("  since       %s\n", text_clock(s->since_ms, a));
	printf("  links       audio in %s, audio to Soniox %s, answer %s, word %s\n", age_text(s->audio_arrived_age_ms, a),
		age_text(s->audio_sent_age_ms, b), age_text(s->message_age_ms, c), age_text(s->token_age_ms, d));
	printf("  audio       %s sent, %s of it final; %s waits, %s lost, %s uncertain, %s sent again\n", text_us(s->sent_ms * 1000, a),
		text_us(s->final_ms * 1000, b), text_us(s->backlog_ms * 1000, c), text_us(s->lost_ms * 1000, d),
		s->uncertain_ms > 0 ? "some" : "none", s->replayed_ms > 0 ? "some" : "none");
	printf("  words       %llu in %llu segments, %llu came again and were left out\n", (unsigned long long)s->tokens,
		(unsigned long long)s->segments, (unsigned long long)s->repeats);
	printf("  connections %llu, of which %llu after a loss and %llu planned\n", (unsigned long long)s->connections,
		(unsigned long long)s->reconnects, (unsigned long long)s->rotations);
	if (s->last_error[0] != '\0')
		printf("  last error  %s: %s%s%s\n", text_clock(s->last_error_at_ms, a), s->last_error, s->request_id[0] ? ", request " : "",
			s->request_id);
	relay__v1__transcribe_state__free_unpacked(s, NULL);
}

void captions_show_totals(void)
{
	Relay__V1__TranscribeTotals *t = ask_totals();
	if (t != NULL && t->enabled) {
		char a[TEXT_BYTES], b[TEXT_BYTES];
		printf("\ncaptions  %u users: %u live, %u in line, %u refused; %u of %u places at Soniox taken\n", t->users, t->live, t->queued,
			t->stopped, t->places_taken, t->places);
		printf("          %llu connections: %llu failed, %llu lost, %llu planned replacements, %llu refused by limits; audio lost %s, uncertain %s\n",
			(unsigned long long)t->connections, (unsigned long long)t->connections_failed,
			(unsigned long long)t->connections_lost, (unsigned long long)t->rotations, (unsigned long long)t->refused,
			text_us(t->lost_ms * 1000, a), text_us(t->uncertain_ms * 1000, b));
		if (t->alarm[0] != '\0')
			printf("  %s!%s %s: %s\n", text_style("31;1"), text_style("0"), text_clock(t->alarm_at_ms, a), t->alarm);
	}
	relay__v1__transcribe_totals__free_unpacked(t, NULL);
}

static json_t *json_state(const Relay__V1__TranscribeState *s)
{
	if (!s->exists)
		return json_null();
	json_t *object = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state", s->state, "health",
		s->health, "sentence", s->sentence, "since_ms", (json_int_t)s->since_ms, "down_since_ms",
		(json_int_t)s->down_since_ms, "queue_position", (json_int_t)s->queue_position,
		"audio_arrived_age_ms", (json_int_t)s->audio_arrived_age_ms, "audio_sent_age_ms", (json_int_t)s->audio_sent_age_ms,
		"message_age_ms", (json_int_t)s->message_age_ms, "token_age_ms", (json_int_t)s->token_age_ms, "connections",
		(json_int_t)s->connections, "reconnects", (json_int_t)s->reconnects, "rotations", (json_int_t)s->rotations);
	json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s}", "sent_ms",
		(json_int_t)s->sent_ms, "final_ms", (json_int_t)s->final_ms, "heard_ms", (json_int_t)s->heard_ms, "backlog_ms",
		(json_int_t)s->backlog_ms, "lost_ms", (json_int_t)s->lost_ms, "uncertain_ms", (json_int_t)s->uncertain_ms, "replayed_ms",
		(json_int_t)s->replayed_ms, "segments", (json_int_t)s->segments, "tokens", (json_int_t)s->tokens, "repeats",
		(json_int_t)s->repeats, "next_seq", (json_int_t)s->next_seq, "epoch", (json_int_t)s->epoch, "last_error", s->last_error,
		"last_error_at_ms", (json_int_t)s->last_error_at_ms, "request_id", s->request_id);
	json_object_update(object, more);
	json_decref(more);
	return object;
}

json_t *captions_json_session(json_t *object, const Relay__V1__Session *session)
{
	Relay__V1__TranscribeState *state = ask_state(session->user_id);
	json_object_set_new(object, "links", json_links(session, state));
	if (state != NULL)
		json_object_set_new(object, "transcription", json_state(state));
	relay__v1__transcribe_state__free_unpacked(state, NULL);
	return object;
}

json_t *captions_json_status(json_t *object)
{
	Relay__V1__TranscribeTotals *t = ask_totals();
	if (t != NULL && t->enabled)
		json_object_set_new(object, "transcription",
			json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I}", "users", (int)t->users, "live",
				(int)t->live, "queued", (int)t->queued, "stopped", (int)t->stopped, "places", (int)t->places, "places_taken",
				(int)t->places_taken, "connections", (json_int_t)t->connections, "connections_failed",
				(json_int_t)t->connections_failed, "connections_lost", (json_int_t)t->connections_lost, "rotations",
				(json_int_t)t->rotations, "refused", (json_int_t)t->refused, "lost_ms", (json_int_t)t->lost_ms, "uncertain_ms",
				(json_int_t)t->uncertain_ms, "alarm", t->alarm, "alarm_at_ms", (json_int_t)t->alarm_at_ms));
	relay__v1__transcribe_totals__free_unpacked(t, NULL);
	return object;
}
