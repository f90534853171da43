// SPDX-License-Identifier: ISC
//
// scripted.c - the cheap recogniser: a word per unit of audio, " n12" for numbered cell 12, " h1a2b3c4d" for other audio,
// nothing for silence. Words are final when they are 1 s old, or at a pause of 500 ms; the newest one is unsure and says so
// with a "~" that its final form does not have.
//
// Runs on: any; the owner serialises.
#include "tests/soniox/recogniser.h"

#include <stdlib.h>

#define LAG_SAMPLES 16000  // so much audio stays non-final
#define STEP_SAMPLES 8000  // finals come in bursts of this much
#define PAUSE_SAMPLES 8000 // silence that ends a segment

struct scripted {
	struct recogniser base;
	struct token_list pending; // certain words that are not final yet
	uint64_t samples, final_samples, quiet_samples;
	bool speaking;
};

static struct recogniser *scripted_create(struct err *err)
{
	struct scripted *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		err_set(err, ENOMEM, "no memory for a recogniser");
		return NULL;
	}
	s->base.ops = &recogniser_scripted;
	return &s->base;
}

static void scripted_destroy(struct recogniser *recogniser)
{
	struct scripted *s = CONTAINER_OF(recogniser, struct scripted, base);
	if (recogniser == NULL)
		return;
	free(s->pending.tokens);
	free(recogniser->results.finals.tokens);
	free(recogniser->results.nonfinals.tokens);
	free(s);
}

// Words that end by `samples` become final, and the audio up to there with them.
static void settle(struct scripted *s, uint64_t samples)
{
	size_t count = 0;
	while (count < s->pending.count && s->pending.tokens[count].end_ms <= samples / 16)
		token_add(&s->base.results.finals, s->pending.tokens[count++]);
	s->pending.count -= count;
	if (count > 0)
		memmove(s->pending.tokens, s->pending.tokens + count, s->pending.count * sizeof(struct token));
	s->final_samples = samples;
}

static void show(struct scripted *s)
{
	struct results *results = &s->base.results;
	token_clear(&results->nonfinals);
	for (size_t i = 0; i < s->pending.count; i++)
		token_add(&results->nonfinals, s->pending.tokens[i]);
	if (results->nonfinals.count > 0) {
		struct token *last = &results->nonfinals.tokens[results->nonfinals.count - 1];
		snprintf(last->text + strlen(last->text), sizeof(last->text) - strlen(last->text), "~");
		last->confidence = 0.5f;
	}
	results->total_ms = s->samples / 16;
	results->final_ms = s->final_samples / 16;
}

static void scripted_unit(struct recogniser *recogniser, const struct unit *unit)
{
	struct scripted *s = CONTAINER_OF(recogniser, struct scripted, base);
	uint64_t from = s->samples;
	s->samples += unit->samples;
	if (unit->kind == UNIT_QUIET) {
		s->quiet_samples += unit->samples;
		if (s->speaking && s->quiet_samples >= PAUSE_SAMPLES) {
			settle(s, s->samples);
			s->speaking = false;
			if (recogniser->results.endpoints)
				token_add(&recogniser->results.finals, (struct token){.text = "<end>", .confidence = 1});
		} else if (!s->speaking) {
			s->final_samples = s->samples;
		}
	} else {
		struct token token = {.start_ms = (uint32_t)(from / 16), .end_ms = (uint32_t)(s->samples / 16),
			.confidence = 0.99f};
		snprintf(token.text, sizeof(token.text), unit->kind == UNIT_NUMBERED ? " n%u" : " h%08x", unit->value);
		token_add(&s->pending, token);
		s->quiet_samples = 0;
		s->speaking = true;
	}
	if (s->samples - s->final_samples >= LAG_SAMPLES + STEP_SAMPLES) {
		// On a unit's edge: the word that ends last before the limit.
		uint64_t limit = (s->samples - LAG_SAMPLES) / 16, edge = limit * 16;
		for (size_t i = 0; i < s->pending.count && s->pending.tokens[i].start_ms < limit; i++)
			edge = (uint64_t)s->pending.tokens[i].end_ms * 16;
		settle(s, edge);
	}
	show(s);
}

static void scripted_finalize(struct recogniser *recogniser)
{
	struct scripted *s = CONTAINER_OF(recogniser, struct scripted, base);
	settle(s, s->samples);
	s->speaking = false;
	s->quiet_samples = 0;
	show(s);
}

const struct recogniser_ops recogniser_scripted = {
	.name = "scripted",
	.create = scripted_create,
	.destroy = scripted_destroy,
	.unit = scripted_unit,
	.finalize = scripted_finalize,
};
