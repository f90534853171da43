// SPDX-License-Identifier: ISC
//
// sphinx.c - the recogniser that hears English. Each segment (segment.h) is an utterance of its own: the decoder begins it
// with the cepstral mean it was loaded with, so what is heard depends on nothing but the segment's samples.
//
// Runs on: any; the owner serialises. The pool of decoders has a lock.
#include "tests/soniox/sphinx.h"

#include <pocketsphinx/pocketsphinx.h>
#include <pthread.h>
#include <sphinxbase/cmn.h>
#include <sphinxbase/err.h>
#include <sphinxbase/feat.h>
#include <stdlib.h>

#include "tests/soniox/segment.h"

#define MODEL "/usr/share/pocketsphinx/model/en-us/"
#define POOL_MAX 32
#define MEAN_MAX 64
#define FRAME_MS 10
#define PARTIAL_CELLS 15 // look at what is heard so far every 300 ms
#define SPLIT_LETTERS 7  // words as long as this are two tokens, as the service's are

struct decoder {
	ps_decoder_t *ps;
	mfcc_t mean[MEAN_MAX]; // as loaded
};

struct sphinx {
	struct recogniser base;
	struct segmenter segmenter;
	struct decoder *decoder;
	uint64_t segment_ms; // where the segment begins
	uint64_t samples;
	unsigned cells;      // since the last look
	bool spoke;          // there was a word on this connection: the next one has a space before it
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct decoder *pool[POOL_MAX];
static unsigned pool_count;

// ---- decoders

static void decoder_free(struct decoder *decoder)
{
	ps_free(decoder->ps);
	free(decoder);
}

static struct decoder *decoder_create(struct err *err)
{
	struct decoder *decoder = calloc(1, sizeof(*decoder));
	err_set_logfp(NULL);
	cmd_ln_t *options = cmd_ln_init(NULL, ps_args(), TRUE, "-hmm", MODEL "en-us", "-lm", MODEL "en-us.lm.bin", "-dict",
		MODEL "cmudict-en-us.dict", "-remove_silence", "no", "-dither", "no", NULL);
	if (decoder != NULL && options != NULL)
		decoder->ps = ps_init(options);
	cmd_ln_free_r(options); // the decoder holds its own reference
	if (decoder == NULL || decoder->ps == NULL) {
		free(decoder);
		err_set(err, ENOENT, "PocketSphinx does not start: is its model in " MODEL "?");
		return NULL;
	}
	cmn_live_get(ps_get_feat(decoder->ps)->cmn_struct, decoder->mean);
	return decoder;
}

static struct decoder *decoder_take(struct err *err)
{
	struct decoder *decoder = NULL;
	pthread_mutex_lock(&lock);
	if (pool_count > 0)
		decoder = pool[--pool_count];
	pthread_mutex_unlock(&lock);
	return decoder != NULL ? decoder : decoder_create(err);
}

static void decoder_give(struct decoder *decoder)
{
	pthread_mutex_lock(&lock);
	bool kept = pool_count < POOL_MAX;
	if (kept)
		pool[pool_count++] = decoder;
	pthread_mutex_unlock(&lock);
	if (!kept)
		decoder_free(decoder);
}

int sphinx_load(unsigned count, struct err *err)
{
	for (unsigned i = 0; i < MIN_OF(count, POOL_MAX); i++) {
		struct decoder *decoder = decoder_create(err);
		if (decoder == NULL)
			return -ENOENT;
		decoder_give(decoder);
	}
	return 0;
}

void sphinx_unload(void)
{
	pthread_mutex_lock(&lock);
	while (pool_count > 0)
		decoder_free(pool[--pool_count]);
	pthread_mutex_unlock(&lock);
}

// ---- words

// A word as one or two tokens, with a space before it unless it is the connection's first.
static void add_word(struct sphinx *s, struct token_list *list, const char *word, size_t letters, struct token token, bool first)
{
	size_t half = letters >= SPLIT_LETTERS ? letters / 2 : letters;
	struct token second = token;
	snprintf(token.text, sizeof(token.text), "%s%.*s", first ? "" : " ", (int)half, word);
	if (half < letters) {
		token.end_ms = second.start_ms = (token.start_ms + token.end_ms) / 2;
		snprintf(second.text, sizeof(second.text), "%.*s", (int)(letters - half), word + half);
	}
	token_add(list, token);
	if (half < letters)
		token_add(list, second);
}

// Writes the words heard so far in this segment.
static void collect(struct sphinx *s, struct token_list *list, bool final)
{
	bool first = !s->spoke;
	for (ps_seg_t *seg = ps_seg_iter(s->decoder->ps); seg != NULL; seg = ps_seg_next(seg)) {
		const char *word = ps_seg_word(seg);
		int from, to, scores[3];
		if (word[0] == '<' || word[0] == '[' || word[0] == '+')
			continue; // silence and noises
		ps_seg_frames(seg, &from, &to);
		int32 probability = ps_seg_prob(seg, &scores[0], &scores[1], &scores[2]);
		double confidence = final ? logmath_exp(ps_get_logmath(s->decoder->ps), probability) : 0.5;
		struct token token = {
			.start_ms = (uint32_t)(s->segment_ms + (uint64_t)from * FRAME_MS),
			.end_ms = (uint32_t)(s->segment_ms + (uint64_t)(to + 1) * FRAME_MS),
			.confidence = (float)MIN_OF(confidence, 1.0),
		};
		add_word(s, list, word, strcspn(word, "("), token, first); // "and(2)" is another way to say "and"
		first = false;
	}
	if (final)
		s->spoke = !first;
}

static void on_begin(void *arg, uint64_t first_cell)
{
	struct sphinx *s = arg;
	s->segment_ms = first_cell * SEGMENT_CELL_MS;
	s->cells = 0;
	cmn_live_set(ps_get_feat(s->decoder->ps)->cmn_struct, s->decoder->mean);
	ps_start_stream(s->decoder->ps);
	ps_start_utt(s->decoder->ps);
}

static void on_cell(void *arg, const int16_t *samples, size_t count)
{
	struct sphinx *s = arg;
	ps_process_raw(s->decoder->ps, samples, count, FALSE, FALSE);
	if (++s->cells % PARTIAL_CELLS == 0) {
		token_clear(&s->base.results.nonfinals);
		collect(s, &s->base.results.nonfinals, false);
	}
}

static void on_end(void *arg, bool pause)
{
	struct sphinx *s = arg;
	size_t before = s->base.results.finals.count;
	ps_end_utt(s->decoder->ps);
	token_clear(&s->base.results.nonfinals);
	collect(s, &s->base.results.finals, true);
	if (pause && s->base.results.endpoints && s->base.results.finals.count > before)
		token_add(&s->base.results.finals, (struct token){.text = "<end>", .confidence = 1});
}

static const struct segment_ops segment_ops = {on_begin, on_cell, on_end};

// ---- the recogniser

static struct recogniser *sphinx_create(struct err *err)
{
	struct sphinx *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		err_set(err, ENOMEM, "no memory for a recogniser");
		return NULL;
	}
	s->base.ops = &recogniser_sphinx;
	s->segmenter.ops = &segment_ops;
	s->segmenter.arg = s;
	s->decoder = decoder_take(err);
	if (s->decoder == NULL) {
		free(s);
		return NULL;
	}
	return &s->base;
}

static void sphinx_destroy(struct recogniser *recogniser)
{
	struct sphinx *s = CONTAINER_OF(recogniser, struct sphinx, base);
	if (recogniser == NULL)
		return;
	if (s->segmenter.speaking)
		ps_end_utt(s->decoder->ps);
	decoder_give(s->decoder);
	free(recogniser->results.finals.tokens);
	free(recogniser->results.nonfinals.tokens);
	free(s);
}

static void note_progress(struct sphinx *s)
{
	struct results *results = &s->base.results;
	const struct segmenter *segmenter = &s->segmenter;
	results->total_ms = s->samples / 16;
	results->final_ms = (segmenter->speaking ? segmenter->first : segmenter->let_go) * SEGMENT_CELL_MS;
}

static void sphinx_pcm(struct recogniser *recogniser, const int16_t *samples, size_t count)
{
	struct sphinx *s = CONTAINER_OF(recogniser, struct sphinx, base);
	s->samples += count;
	segment_pcm(&s->segmenter, samples, count);
	note_progress(s);
}

static void sphinx_finalize(struct recogniser *recogniser)
{
	struct sphinx *s = CONTAINER_OF(recogniser, struct sphinx, base);
	segment_cut(&s->segmenter);
	note_progress(s);
	recogniser->results.final_ms = recogniser->results.total_ms;
}

const struct recogniser_ops recogniser_sphinx = {
	.name = "sphinx",
	.wants_pcm = true,
	.create = sphinx_create,
	.destroy = sphinx_destroy,
	.pcm = sphinx_pcm,
	.finalize = sphinx_finalize,
};
