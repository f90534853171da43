// SPDX-License-Identifier: ISC
//
// deadline.h - an intrusive binary heap of absolute times: the timers of one thread.
//
// Runs on: any; a heap belongs to one thread.
#pragma once

#include "dataplane/base.h"

struct deadline {
	uint64_t at_ns;
	size_t place; // index + 1 in the heap, 0: not in it
};

struct deadline_heap {
	struct deadline **items;
	size_t count, room;
};

// Room for so many at once: until there are more, deadline_set needs no memory and so does not fail. 0 or -ENOMEM.
int deadline_reserve(struct deadline_heap *heap, size_t count);
// 0 or -ENOMEM. at_ns 0 removes it.
int deadline_set(struct deadline_heap *heap, struct deadline *deadline, uint64_t at_ns);
void deadline_clear(struct deadline_heap *heap, struct deadline *deadline);
// The earliest one that is due (removed from the heap), or NULL.
struct deadline *deadline_due(struct deadline_heap *heap, uint64_t now_ns);
uint64_t deadline_next(const struct deadline_heap *heap); // 0: none
void deadline_finish(struct deadline_heap *heap);
