// SPDX-License-Identifier: ISC
//
// deadline.c - an intrusive binary heap of absolute times.
//
// Runs on: any; a heap belongs to one thread.

#include "dataplane/deadline.h"

#include <stdlib.h>

static void place(struct deadline_heap *heap, size_t index, struct deadline *deadline)
{
	heap->items[index] = deadline;
	deadline->place = index + 1;
}

static void sift_up(struct deadline_heap *heap, size_t index, struct deadline *deadline)
{
	while (index > 0 && heap->items[(index - 1) / 2]->at_ns > deadline->at_ns) {
		place(heap, index, heap->items[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	place(heap, index, deadline);
}

static void sift_down(struct deadline_heap *heap, size_t index, struct deadline *deadline)
{
	for (;;) {
		size_t child = index * 2 + 1;
		if (child >= heap->count)
			break;
		if (child + 1 < heap->count && heap->items[child + 1]->at_ns < heap->items[child]->at_ns)
			child++;
		if (heap->items[child]->at_ns >= deadline->at_ns)
			break;
		place(heap, index, heap->items[child]);
		index = child;
	}
	place(heap, index, deadline);
}

void deadline_clear(struct deadline_heap *heap, struct deadline *deadline)
{
	if (deadline->place == 0)
		return;
	size_t index = deadline->place - 1;
	deadline->place = 0;
	struct deadline *moved = heap->items[--heap->count];
	if (moved == deadline)
		return;
	if (index > 0 && heap->items[(index - 1) / 2]->at_ns > moved->at_ns)
		sift_up(heap, index, moved);
	else
		sift_down(heap, index, moved);
}

int deadline_reserve(struct deadline_heap *heap, size_t count)
{
	if (count <= heap->room)
		return 0;
	struct deadline **items = realloc(heap->items, count * sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	heap->items = items;
	heap->room = count;
	return 0;
}

int deadline_set(struct deadline_heap *heap, struct deadline *deadline, uint64_t at_ns)
{
	deadline_clear(heap, deadline);
	if (at_ns == 0)
		return 0;
	if (heap->count == heap->room && deadline_reserve(heap, heap->room ? heap->room * 2 : 64) < 0)
		return -ENOMEM;
	deadline->at_ns = at_ns;
	sift_up(heap, heap->count++, deadline);
	return 0;
}

struct deadline *deadline_due(struct deadline_heap *heap, uint64_t now_ns)
{
	if (heap->count == 0 || heap->items[0]->at_ns > now_ns)
		return NULL;
	struct deadline *due = heap->items[0];
	deadline_clear(heap, due);
	return due;
}

uint64_t deadline_next(const struct deadline_heap *heap)
{
	return heap->count ? heap->items[0]->at_ns : 0;
}

void deadline_finish(struct deadline_heap *heap)
{
	free(heap->items);
	*heap = (struct deadline_heap){0};
}
