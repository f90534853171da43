// SPDX-License-Identifier: ISC
//
// leg_others.c - who else is in a leg's room: a list, and chains by sid to find somebody in it.
//
// A message may name a hundred thousand, of two bytes each, so nothing here walks over the list for one of them.
//
// Runs on: control.

#include "controlplane/leg_others.h"

#include <openssl/rand.h>
#include <stdlib.h>

#define ROOM_FIRST 8 // a power of two, like each after it

// Multilinear: whoever does not know the keys cannot do better than chance.
static unsigned chain_of(const struct leg_others *others, const char *sid)
{
	size_t length = strnlen(sid, LEG_SID_MAX - 1);
	uint64_t sum = others->keys[0];
	for (size_t at = 0; at < length; at += sizeof(uint32_t)) {
		uint32_t word = 0;
		memcpy(&word, sid + at, MIN_OF(length - at, sizeof(word)));
		sum += others->keys[1 + at / sizeof(word)] * word;
	}
	return (unsigned)(sum >> 32) & (others->room - 1);
}

static void chain_in(struct leg_others *others, unsigned place)
{
	uint16_t *chain = &others->chains[chain_of(others, others->list[place].sid)];
	others->list[place].next = *chain;
	*chain = (uint16_t)(place + 1);
}

// What points to that place.
static uint16_t *chain_link(struct leg_others *others, unsigned place)
{
	uint16_t *link = &others->chains[chain_of(others, others->list[place].sid)];
	while (*link != place + 1)
		link = &others->list[*link - 1].next;
	return link;
}

struct leg_participant *leg_others_find(const struct leg_others *others, const char *sid)
{
	if (others->room == 0)
		return NULL;
	for (unsigned at = others->chains[chain_of(others, sid)]; at != 0; at = others->list[at - 1].next)
		if (strncmp(others->list[at - 1].sid, sid, LEG_SID_MAX - 1) == 0)
			return &others->list[at - 1];
	return NULL;
}

static bool grow(struct leg_others *others)
{
	unsigned room = others->room != 0 ? others->room * 2 : ROOM_FIRST;
	struct leg_participant *list = realloc(others->list, room * sizeof(*list));
	if (list == NULL)
		return false;
	others->list = list;
	uint16_t *chains = calloc(room, sizeof(*chains));
	if (chains == NULL)
		return false;
	if (others->room == 0)
		RAND_bytes((unsigned char *)others->keys, sizeof(others->keys));
	free(others->chains);
	others->chains = chains;
	others->room = room;
	for (unsigned place = 0; place < others->count; place++)
		chain_in(others, place);
	return true;
}

static void leave(struct leg_others *others, unsigned place)
{
	unsigned last = others->count - 1;
	*chain_link(others, place) = others->list[place].next;
	others->targets -= others->list[place].target;
	if (place != last) {
		*chain_link(others, last) = (uint16_t)(place + 1);
		others->list[place] = others->list[last];
	}
	others->count = last;
}

// Who is listened to has a place, however full the room says it is.
static struct leg_participant *enter(struct leg_others *others, const char *sid, bool target)
{
	if (others->count == LEG_OTHERS_MAX) {
		if (!target)
			return NULL;
		leave(others, others->count - 1);
	} else if (others->count == others->room && !grow(others)) {
		return NULL;
	}
	struct leg_participant *other = &others->list[others->count];
	*other = (struct leg_participant){0};
	snprintf(other->sid, sizeof(other->sid), "%s", sid);
	chain_in(others, others->count++);
	return other;
}

static bool is_target(const char *identity, const char *target)
{
	return target[0] != '\0' && strcmp(identity, target) == 0;
}

static void mark(struct leg_others *others, struct leg_participant *other, bool target)
{
	others->targets += (unsigned)target - other->target;
	other->target = target;
}

struct leg_participant *leg_others_set(struct leg_others *others, const Livekit__ParticipantInfo *info, const char *target)
{
	if (info->sid[0] == '\0')
		return NULL;
	struct leg_participant *other = leg_others_find(others, info->sid);
	if (info->state == LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED) {
		if (other != NULL)
			leave(others, (unsigned)(other - others->list));
		return NULL;
	}
	if (other == NULL)
		other = enter(others, info->sid, is_target(info->identity, target));
	if (other == NULL)
		return NULL;
	const Livekit__TrackInfo *track = livekit_pick_track(info, other->track_sid);
	snprintf(other->identity, sizeof(other->identity), "%s", info->identity);
	snprintf(other->track_sid, sizeof(other->track_sid), "%s", track != NULL ? track->sid : "");
	other->muted = track != NULL && track->muted;
	mark(others, other, is_target(info->identity, target));
	return other;
}

const struct leg_participant *leg_others_target(const struct leg_others *others)
{
	for (unsigned i = others->targets != 0 ? others->count : 0; i-- > 0;)
		if (others->list[i].target)
			return &others->list[i];
	return NULL;
}

void leg_others_retarget(struct leg_others *others, const char *target)
{
	for (unsigned i = 0; i < others->count; i++)
		mark(others, &others->list[i], is_target(others->list[i].identity, target));
}

void leg_others_clear(struct leg_others *others)
{
	others->count = others->targets = 0;
	if (others->chains != NULL)
		memset(others->chains, 0, others->room * sizeof(*others->chains));
}

void leg_others_free(struct leg_others *others)
{
	free(others->list);
	free(others->chains);
	*others = (struct leg_others){0};
}
