// SPDX-License-Identifier: ISC
//
// transcript.c - what one user said: segments with sequence numbers on one time line, over all connections to Soniox.
//
// Runs on: control.

#include "controlplane/transcript.h"

#include <stdlib.h>

#include "controlplane/transcript_speaker.h"

#define RECENT_MAX 256      // finals remembered to recognise repeats: more than Soniox sends in a replay
#define TEXT_BYTES_MAX 4096 // of a segment
#define PAUSE_MS 1500       // a pause in speech that ends a segment
#define SOFT_BYTES 60       // from here on a sentence ends it
#define HARD_BYTES 200      // from here on any word's end
#define QUIET_NS UINT64_C(3000000000) // nothing more came
#define TRANSLATION_MS 10000 // so long the translation of what is final may take
#define TRANSLATION_NS (TRANSLATION_MS * UINT64_C(1000000))

struct text {
	char bytes[TEXT_BYTES_MAX];
	size_t length;
};

struct recent {
	uint64_t start_ms, end_ms;
	uint32_t hash;
	unsigned connection;
};

// Soniox sends some words and then, without times, their translation. That is whole when the next words come; until then it is
// kept apart, as a new connection that hears the words again translates them from their beginning.
struct translation {
	uint64_t until_ms;   // end of the last final word that is to be translated
	uint64_t from_ms;    // the same, of those that are translated
	uint64_t first_ms;   // where those that are not begin
	uint64_t chunk_ms;   // end of the words whose translation comes now
	bool ours;           // what is translated now was not translated before
	uint64_t changed_ns; // on this connection; 0: not yet
	char language[TRANSCRIPT_WORD_MAX];
	struct text text; // of the chunk
};

struct open_segment {
	struct text text, translation;
	uint64_t start_ms, end_ms;
	bool has_time;
	char speaker[TRANSCRIPT_WORD_MAX], language[TRANSCRIPT_WORD_MAX], translation_language[TRANSCRIPT_WORD_MAX];
};

struct transcript {
	struct transcript_config config;
	uint64_t epoch, base_ms;
	uint64_t covered_ms;     // end of the last final
	uint64_t repeat_until_ms; // of this connection: finals before it were final before
	struct recent recent[RECENT_MAX];
	unsigned recent_next;
	unsigned connections;
	uint32_t last_message; // hash of its finals: one that comes twice is one
	struct translation translation;
	bool ending; // an endpoint came, the translation before it is awaited
	struct transcript_speaker speakers;
	struct open_segment open;    // final, not yet told as a segment
	struct open_segment interim; // not final
	bool told;                   // an interim of the coming segment was told
	uint64_t changed_ns;
	struct transcript_segment **history; // a ring
	unsigned history_first, history_count;
	size_t history_bytes;
	struct transcript_listener *listeners;
	struct transcript_stats stats;
};

static uint32_t hash_of(const char *text)
{
	uint32_t hash = 2166136261u;
	for (; *text != '\0'; text++)
		hash = (hash ^ (uint8_t)*text) * 16777619u;
	return hash;
}

struct transcript *transcript_create(const struct transcript_config *config)
{
	struct transcript *transcript = calloc(1, sizeof(*transcript));
	if (transcript == NULL)
		return NULL;
	transcript->config = *config;
	transcript->epoch = (uint64_t)clock_wall_us();
	transcript->stats.next_seq = transcript->stats.oldest_seq = 1;
	transcript->history = calloc(config->history_segments, sizeof(struct transcript_segment *));
	if (transcript->history == NULL) {
		free(transcript);
		return NULL;
	}
	transcript_speaker_init(&transcript->speakers);
	return transcript;
}

void transcript_free(struct transcript *transcript)
{
	if (transcript == NULL)
		return;
	for (struct transcript_listener *listener; (listener = transcript->listeners) != NULL;) {
		transcript->listeners = listener->next;
		listener->end(listener);
	}
	for (unsigned i = 0; i < transcript->history_count; i++)
		free(transcript->history[(transcript->history_first + i) % transcript->config.history_segments]);
	free(transcript->history);
	explicit_bzero(transcript, sizeof(*transcript)); // somebody's words
	free(transcript);
}

uint64_t transcript_epoch(const struct transcript *transcript)
{
	return transcript->epoch;
}

void transcript_stats(const struct transcript *transcript, struct transcript_stats *ret_stats)
{
	*ret_stats = transcript->stats;
}

// ---- telling

static void tell(struct transcript *transcript, const struct transcript_segment *segment)
{
	for (struct transcript_listener *listener = transcript->listeners, *next; listener != NULL; listener = next) {
		next = listener->next;
		listener->segment(listener, segment);
	}
}

static void history_drop_oldest(struct transcript *transcript)
{
	struct transcript_segment *oldest = transcript->history[transcript->history_first];
	transcript->history_bytes -= strlen(oldest->text) + strlen(oldest->translation);
	transcript->stats.oldest_seq = oldest->seq + 1;
	transcript->history_first = (transcript->history_first + 1) % transcript->config.history_segments;
	transcript->history_count--;
	free(oldest);
}

static void history_put(struct transcript *transcript, const struct transcript_segment *segment)
{
	size_t text = strlen(segment->text) + 1, translation = strlen(segment->translation) + 1;
	struct transcript_segment *copy = malloc(sizeof(*copy) + text + translation);
	if (copy == NULL)
		return; // it was told; only a later resume misses it
	*copy = *segment;
	copy->text = memcpy((char *)(copy + 1), segment->text, text);
	copy->translation = memcpy((char *)(copy + 1) + text, segment->translation, translation);
	while (transcript->history_count > 0 && (transcript->history_count == transcript->config.history_segments ||
							transcript->history_bytes + text + translation > transcript->config.history_bytes))
		history_drop_oldest(transcript);
	transcript->history[(transcript->history_first + transcript->history_count++) % transcript->config.history_segments] = copy;
	transcript->history_bytes += text + translation - 2;
}

static const char *trimmed(const struct text *text)
{
	const char *at = text->bytes;
	while (*at == ' ')
		at++;
	return at;
}

static void segment_fill(const struct transcript *transcript, const struct open_segment *open, const char *text,
	const char *translation, struct transcript_segment *ret_segment)
{
	*ret_segment = (struct transcript_segment){.seq = transcript->stats.next_seq, .start_ms = open->start_ms,
		.end_ms = open->end_ms, .text = text, .translation = translation};
	ret_segment->spoken_at_ms = transcript->config.spoken_at_us(transcript->config.arg, open->start_ms) / 1000;
	memcpy(ret_segment->speaker, open->speaker, TRANSCRIPT_WORD_MAX);
	memcpy(ret_segment->language, open->language, TRANSCRIPT_WORD_MAX);
	memcpy(ret_segment->translation_language, open->translation_language, TRANSCRIPT_WORD_MAX);
}

static void open_reset(struct open_segment *open)
{
	explicit_bzero(open, sizeof(*open));
}

// What is final becomes a segment.
static void close_segment(struct transcript *transcript)
{
	struct open_segment *open = &transcript->open;
	transcript->ending = false;
	if (trimmed(&open->text)[0] == '\0' && trimmed(&open->translation)[0] == '\0') {
		open_reset(open);
		return;
	}
	struct transcript_segment segment;
	segment_fill(transcript, open, trimmed(&open->text), trimmed(&open->translation), &segment);
	segment.is_final = true;
	history_put(transcript, &segment);
	transcript->stats.next_seq++;
	transcript->stats.segments++;
	transcript->told = false;
	tell(transcript, &segment);
	open_reset(open);
}

// The open segment with what is not final behind it.
static void tell_interim(struct transcript *transcript)
{
	struct open_segment *open = &transcript->open, *interim = &transcript->interim;
	char text[2 * TEXT_BYTES_MAX], translation[3 * TEXT_BYTES_MAX];
	snprintf(text, sizeof(text), "%s%s", open->text.bytes, interim->text.bytes);
	snprintf(translation, sizeof(translation), "%s%s%s", open->translation.bytes, transcript->translation.text.bytes,
		interim->translation.bytes);
	bool empty = text[strspn(text, " ")] == '\0' && translation[strspn(translation, " ")] == '\0';
	if (empty && !transcript->told)
		return;
	struct open_segment both = *open->speaker || open->has_time ? *open : *interim;
	if (interim->has_time)
		both.end_ms = MAX_OF(open->end_ms, interim->end_ms);
	if (both.translation_language[0] == '\0')
		memcpy(both.translation_language, transcript->translation.language, TRANSCRIPT_WORD_MAX);
	if (both.translation_language[0] == '\0')
		memcpy(both.translation_language, interim->translation_language, TRANSCRIPT_WORD_MAX);
	struct transcript_segment segment;
	segment_fill(transcript, &both, text + strspn(text, " "), translation + strspn(translation, " "), &segment);
	transcript->told = !empty;
	tell(transcript, &segment);
}

// ---- tokens

static void text_add(struct text *text, const char *more)
{
	size_t length = strlen(more);
	if (text->length + length >= sizeof(text->bytes))
		return; // a segment is closed long before
	memcpy(text->bytes + text->length, more, length + 1);
	text->length += length;
}

static void word_set(char word[static TRANSCRIPT_WORD_MAX], const char *text)
{
	if (text[0] != '\0')
		snprintf(word, TRANSCRIPT_WORD_MAX, "%s", text);
}

static void segment_add(struct transcript *transcript, struct open_segment *open, const struct soniox_token *token,
	const char *speaker)
{
	if (token->translation == SONIOX_TRANSLATED) {
		text_add(&open->translation, token->text);
		word_set(open->translation_language, token->language);
		return;
	}
	text_add(&open->text, token->text);
	if (open->speaker[0] == '\0')
		word_set(open->speaker, speaker);
	if (open->language[0] == '\0')
		word_set(open->language, token->language);
	if (!token->has_time)
		return;
	if (!open->has_time)
		open->start_ms = transcript->base_ms + token->start_ms;
	open->has_time = true;
	open->end_ms = MAX_OF(open->end_ms, transcript->base_ms + token->end_ms);
}

static uint64_t middle_ms(const struct transcript *transcript, const struct soniox_token *token)
{
	return transcript->base_ms + (token->start_ms + token->end_ms) / 2;
}

// A final that was heard before. A token without a time shares the fate of the one before it.
static bool repeated(struct transcript *transcript, const struct soniox_token *token, bool before, bool *ret_here)
{
	*ret_here = false;
	if (!token->has_time)
		return before;
	uint64_t start = transcript->base_ms + token->start_ms, end = transcript->base_ms + token->end_ms;
	if (middle_ms(transcript, token) < transcript->repeat_until_ms)
		return true;
	uint32_t hash = hash_of(token->text);
	for (unsigned i = 0; i < RECENT_MAX; i++) {
		const struct recent *recent = &transcript->recent[i];
		if (recent->hash != hash || recent->start_ms != start || recent->end_ms != end)
			continue;
		*ret_here = recent->connection == transcript->connections;
		return true;
	}
	transcript->recent[transcript->recent_next++ % RECENT_MAX] = (struct recent){start, end, hash, transcript->connections};
	transcript->covered_ms = MAX_OF(transcript->covered_ms, end);
	return false;
}

// ---- translation

static bool translation_awaited(const struct transcript *transcript)
{
	return transcript->translation.from_ms < transcript->translation.until_ms;
}

bool transcript_untranslated(const struct transcript *transcript, uint64_t *ret_from_ms)
{
	*ret_from_ms = transcript->translation.from_ms;
	return translation_awaited(transcript);
}

// What came of the translation is whole.
static void translation_commit(struct transcript *transcript)
{
	struct translation *translation = &transcript->translation;
	if (translation->text.length == 0)
		return;
	if (transcript->open.translation.length + translation->text.length >= TEXT_BYTES_MAX)
		close_segment(transcript);
	text_add(&transcript->open.translation, translation->text.bytes);
	word_set(transcript->open.translation_language, translation->language);
	translation->from_ms = translation->first_ms = MAX_OF(translation->from_ms, translation->chunk_ms);
	explicit_bzero(&translation->text, sizeof(translation->text));
}

// A final word. What this connection says next translates it: new words and those whose translation was lost with the last one.
static void translation_original(struct transcript *transcript, const struct soniox_token *token, bool repeat, bool here)
{
	struct translation *translation = &transcript->translation;
	bool lost = repeat && !here && translation_awaited(transcript) && token->has_time &&
		    middle_ms(transcript, token) >= translation->from_ms;
	translation->ours = !repeat || lost;
	if (!translation->ours)
		return;
	translation_commit(transcript);
	if (token->translation != SONIOX_ORIGINAL || !token->has_time)
		return;
	if (!translation_awaited(transcript))
		translation->first_ms = transcript->base_ms + token->start_ms;
	translation->chunk_ms = MAX_OF(translation->chunk_ms, transcript->base_ms + token->end_ms);
	translation->until_ms = MAX_OF(translation->until_ms, translation->chunk_ms);
	if (translation->until_ms > translation->from_ms + TRANSLATION_MS) // nobody makes one
		translation->from_ms = translation->until_ms - TRANSLATION_MS;
	translation->first_ms = MAX_OF(translation->first_ms, translation->from_ms);
}

static void translation_add(struct transcript *transcript, const struct soniox_token *token)
{
	struct translation *translation = &transcript->translation;
	if (!translation->ours) {
		transcript->stats.repeats++;
		return;
	}
	if (translation->text.length + strlen(token->text) >= TEXT_BYTES_MAX)
		translation_commit(transcript);
	text_add(&translation->text, token->text);
	word_set(translation->language, token->language);
	transcript->stats.tokens++;
}

// The connection lives and says no more: the translation is whole, or nobody makes one.
static void translation_settle(struct transcript *transcript, uint64_t now_ns)
{
	struct translation *translation = &transcript->translation;
	if (translation->changed_ns == 0)
		translation->changed_ns = now_ns;
	if (now_ns >= translation->changed_ns + QUIET_NS)
		translation_commit(transcript);
	if (now_ns >= translation->changed_ns + TRANSLATION_NS)
		translation->from_ms = translation->until_ms;
}

static void translation_connected(struct transcript *transcript)
{
	struct translation *translation = &transcript->translation;
	bool again = translation_awaited(transcript) && transcript->base_ms <= translation->first_ms;
	if (!again) {
		translation_commit(transcript);
		translation->from_ms = translation->until_ms;
	}
	translation->chunk_ms = translation->from_ms;
	translation->ours = false;
	translation->changed_ns = 0;
	explicit_bzero(&translation->text, sizeof(translation->text));
}

// ---- finals

static bool ends_sentence(const struct text *text)
{
	static const char *const marks[] = {".", "?", "!", "。", "？", "！"};
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		size_t length = strlen(marks[i]);
		if (text->length >= length && memcmp(text->bytes + text->length - length, marks[i], length) == 0)
			return true;
	}
	return false;
}

// Does this final begin a new segment?
static bool begins_another(const struct transcript *transcript, const struct soniox_token *token, const char *speaker)
{
	const struct open_segment *open = &transcript->open;
	if (open->text.length == 0)
		return false;
	if (speaker[0] != '\0' && open->speaker[0] != '\0' && strcmp(speaker, open->speaker) != 0)
		return true;
	if (token->language[0] != '\0' && open->language[0] != '\0' && strcmp(token->language, open->language) != 0)
		return true;
	if (token->has_time && open->has_time && transcript->base_ms + token->start_ms > open->end_ms + PAUSE_MS)
		return true;
	if (open->text.length + strlen(token->text) >= TEXT_BYTES_MAX)
		return true;
	// The translation of these words is still to come: with it only the endpoint, a pause or the size ends a segment.
	bool translated = token->translation == SONIOX_ORIGINAL && open->text.length < 4 * HARD_BYTES;
	if (translated || token->text[0] != ' ')
		return false;
	return open->text.length > HARD_BYTES || (open->text.length > SOFT_BYTES && ends_sentence(&open->text));
}

static void add_final(struct transcript *transcript, const struct soniox_token *token)
{
	const char *speaker = token->speaker;
	if (speaker[0] != '\0' && token->has_time)
		speaker = transcript_speaker_name(&transcript->speakers, speaker, transcript->base_ms + token->start_ms,
			transcript->base_ms + token->end_ms);
	if (transcript->ending || begins_another(transcript, token, speaker))
		close_segment(transcript);
	segment_add(transcript, &transcript->open, token, speaker);
}

// The end of an utterance. Its translation may come behind it.
static void add_mark(struct transcript *transcript)
{
	translation_commit(transcript);
	if (translation_awaited(transcript))
		transcript->ending = true;
	else
		close_segment(transcript);
}

static void add_interim(struct transcript *transcript, const struct soniox_token *token)
{
	if (token->has_time && middle_ms(transcript, token) < transcript->repeat_until_ms)
		return; // it is final already
	const char *speaker = token->speaker;
	if (speaker[0] != '\0' && token->has_time)
		speaker = transcript_speaker_interim(&transcript->speakers, speaker, transcript->base_ms + token->start_ms,
			transcript->base_ms + token->end_ms);
	struct open_segment *interim = &transcript->interim;
	if (interim->text.length + interim->translation.length + strlen(token->text) < TEXT_BYTES_MAX)
		segment_add(transcript, interim, token, speaker);
}

void transcript_connected(struct transcript *transcript, uint64_t base_ms)
{
	transcript->base_ms = base_ms;
	transcript->repeat_until_ms = transcript->covered_ms;
	transcript->connections++;
	transcript->last_message = 0;
	translation_connected(transcript);
	transcript_speaker_connected(&transcript->speakers);
}

// Of a message's finals and progress; 0: it has no finals.
static uint32_t message_hash(const struct soniox_answer *answer)
{
	uint32_t hash = (uint32_t)answer->final_ms * 16777619u ^ (uint32_t)answer->total_ms;
	bool any = false;
	for (unsigned i = 0; i < answer->token_count; i++) {
		const struct soniox_token *token = &answer->tokens[i];
		if (!token->is_final)
			continue;
		hash = ((hash ^ hash_of(token->text)) * 16777619u ^ (uint32_t)token->start_ms) * 16777619u ^ (uint32_t)token->end_ms;
		any = true;
	}
	return any ? hash | 1 : 0;
}

static unsigned count_finals(const struct soniox_answer *answer)
{
	unsigned count = 0;
	for (unsigned i = 0; i < answer->token_count; i++)
		count += answer->tokens[i].is_final && !soniox_token_is_mark(&answer->tokens[i]);
	return count;
}

static void add_finals(struct transcript *transcript, const struct soniox_answer *answer, uint64_t now_ns)
{
	bool repeat = false, here;
	for (unsigned i = 0; i < answer->token_count; i++) {
		const struct soniox_token *token = &answer->tokens[i];
		if (!token->is_final)
			continue;
		if (soniox_token_is_mark(token)) {
			if (!repeat || transcript->translation.ours)
				add_mark(transcript);
			continue;
		}
		transcript->translation.changed_ns = now_ns;
		if (token->translation == SONIOX_TRANSLATED) {
			translation_add(transcript, token);
			continue;
		}
		repeat = repeated(transcript, token, repeat, &here);
		translation_original(transcript, token, repeat, here);
		transcript->stats.repeats += repeat;
		transcript->stats.tokens += !repeat;
		if (!repeat)
			add_final(transcript, token);
	}
}

bool transcript_answer(struct transcript *transcript, const struct soniox_answer *answer, uint64_t now_ns)
{
	uint64_t next_seq = transcript->stats.next_seq;
	bool was_told = transcript->interim.text.length > 0 || transcript->interim.translation.length > 0;
	translation_settle(transcript, now_ns);
	if (answer->token_count == 0 && !was_told)
		return false;
	open_reset(&transcript->interim);
	transcript_speaker_message(&transcript->speakers);
	uint32_t hash = message_hash(answer);
	if (hash != 0 && hash == transcript->last_message)
		transcript->stats.repeats += count_finals(answer);
	else if (hash != 0)
		add_finals(transcript, answer, now_ns);
	transcript->last_message = hash != 0 ? hash : transcript->last_message;
	for (unsigned i = 0; i < answer->token_count; i++)
		if (!answer->tokens[i].is_final && !soniox_token_is_mark(&answer->tokens[i]))
			add_interim(transcript, &answer->tokens[i]);
	transcript->changed_ns = now_ns;
	if (transcript->open.text.length > 0 || transcript->interim.text.length > 0 || next_seq == transcript->stats.next_seq)
		tell_interim(transcript);
	return answer->token_count > 0;
}

uint64_t transcript_poll(struct transcript *transcript, bool connected, uint64_t now_ns)
{
	if (transcript->open.text.length == 0 && transcript->open.translation.length == 0)
		return UINT64_MAX;
	if (connected && transcript->interim.text.length > 0) // it goes on
		return UINT64_MAX;
	uint64_t wait_ns = translation_awaited(transcript) ? TRANSLATION_NS : QUIET_NS;
	if (now_ns < transcript->changed_ns + wait_ns)
		return transcript->changed_ns + wait_ns;
	close_segment(transcript);
	return UINT64_MAX;
}

void transcript_flush(struct transcript *transcript)
{
	struct open_segment *open = &transcript->open, *interim = &transcript->interim;
	translation_commit(transcript);
	transcript->translation.from_ms = transcript->translation.until_ms;
	if (open->text.length == 0 && open->translation.length == 0) {
		*open = *interim;
	} else if (interim->text.length > 0 || interim->translation.length > 0) {
		text_add(&open->text, interim->text.bytes);
		text_add(&open->translation, interim->translation.bytes);
		open->end_ms = MAX_OF(open->end_ms, interim->end_ms);
	}
	open_reset(interim);
	close_segment(transcript);
}

// ---- listeners

bool transcript_listen(struct transcript *transcript, struct transcript_listener *listener, uint64_t from_seq)
{
	listener->next = transcript->listeners;
	transcript->listeners = listener;
	for (unsigned i = 0; from_seq > 0 && i < transcript->history_count; i++) {
		const struct transcript_segment *segment =
			transcript->history[(transcript->history_first + i) % transcript->config.history_segments];
		if (segment->seq >= from_seq)
			listener->segment(listener, segment);
	}
	return from_seq == 0 || from_seq >= transcript->stats.oldest_seq;
}

void transcript_unlisten(struct transcript *transcript, struct transcript_listener *listener)
{
	struct transcript_listener **link = &transcript->listeners;
	while (*link != NULL && *link != listener)
		link = &(*link)->next;
	if (*link == listener)
		*link = listener->next;
}
