// SPDX-License-Identifier: ISC
//
// pcm.h - the audio door: an overwriting broadcast ring of 20 ms cells; every consumer is a cursor into it.
//
// One writer (the slot's home worker), any number of readers on other threads. Each cell is a seqlock (plain copies between
// fences), so a reader never blocks the writer and a lapped reader knows what it lost. Contract.
#pragma once

#include "dataplane/base.h"
#include "dataplane/roles.h"

#define PCM_RATE_HZ 16000
#define PCM_CELL_MS 20
#define PCM_CELL_SAMPLES (PCM_RATE_HZ * PCM_CELL_MS / 1000)
#define PCM_CELL_BYTES (PCM_CELL_SAMPLES * 2)
#define PCM_WAKERS_MAX 4

enum pcm_flag {
	PCM_F_DECODED = 1 << 0,   // from the microphone track
	PCM_F_DATA = 1 << 1,      // from data packets
	PCM_F_REPAIRED = 1 << 2,  // from RED or in-band FEC
	PCM_F_CONCEALED = 1 << 3, // made by the decoder's loss concealment
	PCM_F_DTX = 1 << 4,       // silence the sender did not send
	PCM_F_FENCE = 1 << 5,     // first cell of another voice, source or leg
};

// One frame as a reader gets it. bytes is even and 2..640: shorter only when a remainder was flushed.
struct pcm_frame {
	uint64_t seq;        // 0, 1, 2... per ring, never reused
	int64_t media_us;    // media time since the source began
	int64_t capture_us;  // wall clock of capture (from sender reports), arrival until a report came; Unix us
	uint64_t arrival_ns; // clock_mono_ns when the packet that completed the frame came in
	uint32_t generation; // of the leg that brought it
	uint16_t flags;      // enum pcm_flag
	uint16_t bytes;
	int16_t samples[PCM_CELL_SAMPLES]; // host order, little endian on every machine we run on
};

// Whom to wake when a frame arrives. Lives as long as the process. A consumer thread stores 1 to asleep, checks its
// rings once more, then blocks on event_fd; the writer that exchanges 1 for 0 writes the eventfd. A consumer of many rings
// gives marks: each write sets the bit of its ring's place there, so that no ring without news needs to be looked at.
struct pcm_waker {
	_Atomic(uint32_t) asleep;
	int event_fd;
	_Atomic(uint64_t) *marks; // NULL: none; else PCM_PLACES bits
};
#define PCM_PLACES 65536u

// A writer of many rings that would rather ring once for many frames: wakers that a thread's writes have found asleep.
// What is collected must be rung before the thread sleeps itself.
#define PCM_BELLS_MAX 16
struct pcm_bells {
	struct pcm_waker *wakers[PCM_BELLS_MAX];
	unsigned count;
	uint64_t rung_ns;
};
// From now on this thread's writes collect there; NULL: each write rings at once. The thread's own.
void pcm_bells_use(struct pcm_bells *bells);
void pcm_bells_ring(struct pcm_bells *bells, uint64_t now_ns);

struct pcm;

// A ring of at least capacity_ms of audio with one reference, or NULL when memory is short. Any thread.
struct pcm *pcm_create(uint32_t capacity_ms);
struct pcm *pcm_ref(struct pcm *pcm);
void pcm_unref(struct pcm *pcm); // takes NULL; the last one frees

// Register or remove a waker. -ENOSPC when there are PCM_WAKERS_MAX. A mark may still be set while, and so after, it is removed.
// Any thread.
int pcm_waker_add(struct pcm *pcm, struct pcm_waker *waker, uint16_t place);
void pcm_waker_remove(struct pcm *pcm, struct pcm_waker *waker, uint16_t place);

// Append one frame; frame->seq is filled in. Never fails: the oldest cell is overwritten.
void pcm_write(struct pcm *pcm, struct pcm_frame *frame) RUNS_ON(worker_role);

// The same for a whole cell whose samples are elsewhere (NULL: silence): frame->samples is not looked at.
void pcm_write_cell(struct pcm *pcm, struct pcm_frame *frame, const int16_t *samples) RUNS_ON(worker_role);

// A frame is about to be written: the ring's own line is brought near.
static inline void pcm_prefetch(const struct pcm *pcm)
{
	__builtin_prefetch(pcm, 1);
}

// Then the cell, which was last touched a ring's length ago.
void pcm_prefetch_cell(const struct pcm *pcm) RUNS_ON(worker_role);

// Number of frames ever written: the seq the next frame gets. And the oldest seq still in the ring. Any thread.
uint64_t pcm_head(const struct pcm *pcm);
uint64_t pcm_tail(const struct pcm *pcm);

// Copy the frame at *cursor and advance. 1: got one; 0: nothing new. When the cursor was lapped it first jumps to the
// oldest frame and adds the number of overwritten ones to *ret_lapped. Any thread.
int pcm_read(const struct pcm *pcm, uint64_t *cursor, struct pcm_frame *ret_frame, uint64_t *ret_lapped);

// Forget everything that was written: readers continue at the head. After LeaveRoom nobody may hear old audio; the
// samples are wiped. Only when no writer is left (the source is destroyed).
void pcm_wipe(struct pcm *pcm);
