// SPDX-License-Identifier: ISC
//
// pcm.c - an overwriting broadcast ring of 20 ms cells; every consumer is a cursor into it.
//
// Runs on: worker (pcm_write); any (the rest). Every cell is a seqlock: its version is odd while the writer is in it and
// seq * 2 + 2 afterwards; what a reader copied meanwhile is thrown away. The copies are plain, between fences, so that they
// run at the speed of memcpy; for ThreadSanitizer, which does not follow fences, they are atomic words.

#include "dataplane/pcm.h"

#include <stdlib.h>
#include <sys/eventfd.h>

#define HEAD_BYTES offsetof(struct pcm_frame, samples)
#define WORDS ((sizeof(struct pcm_frame) + 7) / 8)
_Static_assert(HEAD_BYTES % 8 == 0 && sizeof(struct pcm_frame) % 8 == 0, "a frame is whole words");

// Eleven cache lines.
struct cell {
	_Atomic(uint64_t) version;
	_Atomic(uint64_t) words[WORDS];
} CACHE_ALIGNED;
_Static_assert(sizeof(struct cell) == 11 * CACHE_LINE_BYTES, "no line is shared by two cells");

struct pcm {
	_Atomic(uint64_t) head; // frames ever written
	_Atomic(uint64_t) base; // nothing before it is to be heard (wiped)
	_Atomic(uint64_t) wakers[PCM_WAKERS_MAX]; // waker_pack, 0: free
	uint64_t count;
	_Atomic(unsigned) refs CACHE_ALIGNED;
	struct cell cells[];
};
_Static_assert(offsetof(struct pcm, refs) == CACHE_LINE_BYTES, "the writer needs one line of it");

struct pcm *pcm_create(uint32_t capacity_ms)
{
	uint64_t count = MAX_OF((capacity_ms + PCM_CELL_MS - 1) / PCM_CELL_MS, 2u);
	size_t bytes = sizeof(struct pcm) + count * sizeof(struct cell);
	struct pcm *pcm = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (pcm == NULL)
		return NULL;
	// Also so that the worker meets no page that the kernel has yet to find.
	memset(pcm, 0, bytes);
	pcm->count = count;
	atomic_init(&pcm->refs, 1);
	return pcm;
}

struct pcm *pcm_ref(struct pcm *pcm)
{
	atomic_fetch_add_explicit(&pcm->refs, 1, memory_order_relaxed);
	return pcm;
}

void pcm_unref(struct pcm *pcm)
{
	if (pcm != NULL && atomic_fetch_sub_explicit(&pcm->refs, 1, memory_order_acq_rel) == 1)
		free(pcm);
}

// Waker and place in one word, so that both appear at once. Addresses of processes have 47 bits.
static uint64_t waker_pack(const struct pcm_waker *waker, uint16_t place)
{
	return (uint64_t)place << 48 | (uint64_t)(uintptr_t)waker;
}

static struct pcm_waker *waker_of(uint64_t packed)
{
	return (struct pcm_waker *)(uintptr_t)(packed & ((1ull << 48) - 1));
}

int pcm_waker_add(struct pcm *pcm, struct pcm_waker *waker, uint16_t place)
{
	for (unsigned i = 0; i < PCM_WAKERS_MAX; i++) {
		uint64_t none = 0;
		if (atomic_compare_exchange_strong(&pcm->wakers[i], &none, waker_pack(waker, place)))
			return 0;
	}
	return -ENOSPC;
}

void pcm_waker_remove(struct pcm *pcm, struct pcm_waker *waker, uint16_t place)
{
	for (unsigned i = 0; i < PCM_WAKERS_MAX; i++) {
		uint64_t packed = waker_pack(waker, place);
		if (atomic_compare_exchange_strong(&pcm->wakers[i], &packed, 0))
			return;
	}
}

// ---- bells

static _Thread_local struct pcm_bells *collecting;

void pcm_bells_use(struct pcm_bells *bells)
{
	collecting = bells;
}

static void bell_ring(struct pcm_waker *waker)
{
	if (atomic_exchange_explicit(&waker->asleep, 0, memory_order_seq_cst) != 0)
		eventfd_write(waker->event_fd, 1);
}

void pcm_bells_ring(struct pcm_bells *bells, uint64_t now_ns)
{
	for (unsigned i = 0; i < bells->count; i++)
		bell_ring(bells->wakers[i]);
	bells->count = 0;
	bells->rung_ns = now_ns;
}

static void bell_wanted(struct pcm_waker *waker)
{
	struct pcm_bells *bells = collecting;
	if (bells == NULL) {
		bell_ring(waker);
		return;
	}
	for (unsigned i = 0; i < bells->count; i++)
		if (bells->wakers[i] == waker)
			return;
	if (UNLIKELY(bells->count == PCM_BELLS_MAX))
		bell_ring(waker);
	else
		bells->wakers[bells->count++] = waker;
}

// After the head, and before it is asked whether the consumer sleeps: who takes the mark sees the frame. A mark that stands has not
// been taken.
static void tell(struct pcm_waker *waker, unsigned place)
{
	if (waker->marks != NULL) {
		_Atomic(uint64_t) *word = &waker->marks[place / 64];
		uint64_t bit = 1ull << place % 64;
		if ((atomic_load_explicit(word, memory_order_seq_cst) & bit) == 0)
			atomic_fetch_or_explicit(word, bit, memory_order_seq_cst);
	}
	if (atomic_load_explicit(&waker->asleep, memory_order_seq_cst) != 0)
		bell_wanted(waker);
}

// ---- cells

#ifdef RELAY_TSAN
static void words_put(struct cell *cell, size_t at, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / 8; i++) {
		uint64_t word = 0;
		if (from != NULL)
			memcpy(&word, (const uint8_t *)from + i * 8, 8);
		atomic_store_explicit(&cell->words[at / 8 + i], word, memory_order_release);
	}
}

static void words_get(const struct cell *cell, void *to)
{
	for (size_t i = 0; i < WORDS; i++) {
		uint64_t word = atomic_load_explicit(&cell->words[i], memory_order_acquire);
		memcpy((uint8_t *)to + i * 8, &word, 8);
	}
}
#else
static void words_put(struct cell *cell, size_t at, const void *from, size_t bytes)
{
	uint8_t *to = (uint8_t *)cell->words + at;
	if (from != NULL)
		memcpy(to, from, bytes);
	else
		memset(to, 0, bytes);
}

static void words_get(const struct cell *cell, void *to)
{
	memcpy(to, (const void *)cell->words, sizeof(struct pcm_frame));
}
#endif

// The cell that is written next was last touched a ring's length ago.
void pcm_prefetch_cell(const struct pcm *pcm)
{
	const char *cell = (const char *)&pcm->cells[atomic_load_explicit(&pcm->head, memory_order_relaxed) % pcm->count];
	for (size_t at = 0; at < sizeof(struct cell); at += CACHE_LINE_BYTES)
		__builtin_prefetch(cell + at, 0, 2);
}

void pcm_write_cell(struct pcm *pcm, struct pcm_frame *frame, const int16_t *samples)
{
	uint64_t seq = atomic_load_explicit(&pcm->head, memory_order_relaxed);
	struct cell *cell = &pcm->cells[seq % pcm->count];
	frame->seq = seq;
	// Odd: a reader inside starts over. The words may not move before it.
	atomic_store_explicit(&cell->version, seq * 2 + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	words_put(cell, 0, frame, HEAD_BYTES);
	words_put(cell, HEAD_BYTES, samples, sizeof(frame->samples));
	atomic_store_explicit(&cell->version, seq * 2 + 2, memory_order_release);
	atomic_store_explicit(&pcm->head, seq + 1, memory_order_seq_cst);
	for (unsigned i = 0; i < PCM_WAKERS_MAX; i++) {
		uint64_t packed = atomic_load_explicit(&pcm->wakers[i], memory_order_acquire);
		if (packed != 0)
			tell(waker_of(packed), (unsigned)(packed >> 48));
	}
}

void pcm_write(struct pcm *pcm, struct pcm_frame *frame)
{
	pcm_write_cell(pcm, frame, frame->samples);
}

uint64_t pcm_head(const struct pcm *pcm)
{
	return atomic_load_explicit(&pcm->head, memory_order_seq_cst);
}

uint64_t pcm_tail(const struct pcm *pcm)
{
	uint64_t head = pcm_head(pcm), base = atomic_load_explicit(&pcm->base, memory_order_acquire);
	// One cell may be in the writer's hands.
	uint64_t oldest = head > pcm->count - 1 ? head - (pcm->count - 1) : 0;
	return MAX_OF(oldest, MIN_OF(base, head));
}

static bool cell_read(const struct cell *cell, uint64_t seq, struct pcm_frame *ret_frame)
{
	if (atomic_load_explicit(&cell->version, memory_order_acquire) != seq * 2 + 2)
		return false;
	words_get(cell, ret_frame);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&cell->version, memory_order_relaxed) == seq * 2 + 2;
}

int pcm_read(const struct pcm *pcm, uint64_t *cursor, struct pcm_frame *ret_frame, uint64_t *ret_lapped)
{
	for (;;) {
		uint64_t tail = pcm_tail(pcm);
		if (*cursor < tail) {
			*ret_lapped += tail - *cursor;
			*cursor = tail;
		}
		if (*cursor >= pcm_head(pcm))
			return 0;
		if (cell_read(&pcm->cells[*cursor % pcm->count], *cursor, ret_frame)) {
			(*cursor)++;
			return 1;
		}
		// Overwritten meanwhile: the tail has moved on.
		if (*cursor >= pcm_tail(pcm)) {
			*ret_lapped += 1;
			(*cursor)++;
		}
	}
}

void pcm_wipe(struct pcm *pcm)
{
	atomic_store_explicit(&pcm->base, pcm_head(pcm), memory_order_release);
	for (uint64_t c = 0; c < pcm->count; c++) {
		atomic_store_explicit(&pcm->cells[c].version, 1, memory_order_release);
		for (size_t i = 0; i < WORDS; i++)
			atomic_store_explicit(&pcm->cells[c].words[i], 0, memory_order_release);
	}
}
