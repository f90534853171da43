// SPDX-License-Identifier: ISC
//
// copies.c - the second copy of a data packet.
//
// Runs on: worker.   Upstream: source.

#include "dataplane/copies.h"

#include "dataplane/hot.h"

void copies_reset(struct copies *copies)
{
	for (unsigned i = 0; i < ARRAY_SIZE(copies->entries); i++)
		copies->entries[i].used = false;
}

bool copies_put(struct copies *copies, unsigned leg, uint8_t seq, uint64_t hash, uint64_t now_ns)
{
	struct copies_entry *entry = &copies->entries[seq];
	if (entry->used && entry->leg != leg && entry->hash == hash && now_ns - entry->at_ns < COPIES_WINDOW_NS) {
		entry->used = false; // a third one is none of these two legs'
		return true;
	}
	*entry = (struct copies_entry){.hash = hash, .at_ns = now_ns, .leg = (uint8_t)leg, .used = true};
	return false;
}
