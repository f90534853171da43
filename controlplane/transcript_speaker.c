// SPDX-License-Identifier: ISC
//
// transcript_speaker.c - names of speakers that last over connections.
//
// Runs on: control.

#include "controlplane/transcript_speaker.h"

#include <stdlib.h>

void transcript_speaker_init(struct transcript_speaker *speakers)
{
	*speakers = (struct transcript_speaker){0};
}

void transcript_speaker_connected(struct transcript_speaker *speakers)
{
	if (speakers->span_count > 0) { // else the connection said nothing, and the one before still counts
		memcpy(speakers->old, speakers->spans, sizeof(speakers->old));
		speakers->old_count = speakers->span_count;
	}
	speakers->span_count = speakers->mapped = 0;
	speakers->connections++;
}

void transcript_speaker_message(struct transcript_speaker *speakers)
{
	speakers->span_count = 0;
}

// Who spoke then, as the connection before heard it.
static const char *heard_before(const struct transcript_speaker *speakers, uint64_t start_ms, uint64_t end_ms)
{
	for (unsigned i = 0; i < speakers->old_count; i++)
		if (speakers->old[i].start_ms < end_ms && start_ms < speakers->old[i].end_ms)
			return speakers->old[i].ours;
	return NULL;
}

static bool taken(const struct transcript_speaker *speakers, const char *ours)
{
	for (unsigned i = 0; i < speakers->mapped; i++)
		if (strcmp(speakers->map[i].ours, ours) == 0)
			return true;
	return false;
}

const char *transcript_speaker_name(struct transcript_speaker *speakers, const char *theirs, uint64_t start_ms, uint64_t end_ms)
{
	for (unsigned i = 0; i < speakers->mapped; i++)
		if (strcmp(speakers->map[i].theirs, theirs) == 0)
			return speakers->map[i].ours;
	if (speakers->mapped == TRANSCRIPT_SPEAKERS_MAX)
		return theirs;
	const char *ours = speakers->connections > 1 ? heard_before(speakers, start_ms, end_ms) : NULL;
	char fresh[16];
	if (ours == NULL || taken(speakers, ours)) {
		bool alone = speakers->connections > 1 && speakers->names == 1 && speakers->mapped == 0;
		snprintf(fresh, sizeof(fresh), "%u", alone ? 1 : speakers->names + 1);
		ours = fresh;
	}
	speakers->names = MAX_OF(speakers->names, (unsigned)strtoul(ours, NULL, 10));
	snprintf(speakers->map[speakers->mapped].ours, sizeof(speakers->map[0].ours), "%s", ours);
	snprintf(speakers->map[speakers->mapped].theirs, sizeof(speakers->map[0].theirs), "%s", theirs);
	return speakers->map[speakers->mapped++].ours;
}

const char *transcript_speaker_interim(struct transcript_speaker *speakers, const char *theirs, uint64_t start_ms,
	uint64_t end_ms)
{
	const char *ours = transcript_speaker_name(speakers, theirs, start_ms, end_ms);
	if (speakers->span_count < TRANSCRIPT_SPEAKER_SPANS_MAX) {
		struct transcript_speaker_span *span = &speakers->spans[speakers->span_count++];
		*span = (struct transcript_speaker_span){.start_ms = start_ms, .end_ms = end_ms};
		snprintf(span->ours, sizeof(span->ours), "%.15s", ours);
	}
	return ours;
}
