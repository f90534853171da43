// SPDX-License-Identifier: ISC
//
// slot_wanted.c - whether somebody wants a user's PCM: from a JoinRoom, or while somebody takes it, until the ring's length after that.
// While nobody does, the track is not decoded.
//
// Runs on: control.

#include "controlplane/slot_state.h"
#include "controlplane/soniox.h"

static bool taken(const struct slot *slot) RUNS_ON(control_role)
{
	return slot->stream != NULL || soniox_takes_pcm(slot->soniox);
}

static void on_unwanted(void *arg)
{
	ENTERS(control_role);
	struct slot *slot = arg;
	slot->pcm_unwanted = true;
	slot_ops.source_set_wanted(slot->source, false);
}

static void want(struct slot *slot) RUNS_ON(control_role)
{
	if (!slot->pcm_unwanted)
		return;
	slot->pcm_unwanted = false;
	slot_ops.source_set_wanted(slot->source, true);
}

void slot_wanted_renew(struct slot *slot)
{
	want(slot);
	if (!taken(slot))
		control_timer_start(&slot->wanted_timer, slots.config->audio.ring_ms, on_unwanted, slot);
}

void slot_wanted_changed(struct slot *slot)
{
	if (taken(slot)) {
		want(slot);
		control_timer_stop(&slot->wanted_timer);
	} else if (!slot->pcm_unwanted && !control_timer_armed(&slot->wanted_timer)) {
		control_timer_start(&slot->wanted_timer, slots.config->audio.ring_ms, on_unwanted, slot);
	}
}

void slot_pcm_changed(const char *user_id)
{
	struct slot *slot = slot_find(user_id);
	if (slot != NULL)
		slot_wanted_changed(slot);
}
