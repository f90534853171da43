// SPDX-License-Identifier: ISC
//
// slot_swap.c - the swap itself: whom the slot hears before, at and after it, the replaced leg's last moments, and the accounts.
//
// A hearing is derived from what the slot has, never patched, and a fence from whom it told the source to hear last. A new
// participant of the same room is measured against the old one before its turn and heard beside it afterwards, until both have
// brought the same packets or a second has passed; a new participant of the same identity is heard as soon as it comes, since the
// server removes the old one at a moment of its own. Another publication waits until its first frame is followed by the swap.
//
// Runs on: control.

#include "controlplane/slot_machine.h"

#include <stdlib.h>

#include "controlplane/log.h"

#define OLD_LIMIT_MS 1000
#define HEAR_AGAIN_MS 10
// The dataplane's accounts are final then (source.h).
#define SETTLE_MS 1600

static bool same_publication(const struct place *a, const struct place *b)
{
	return place_same_room(a, b) && strcmp(a->target, b->target) == 0;
}

static struct hearing_leg heard_leg(const struct leg *leg, uint32_t generation)
{
	return (struct hearing_leg){slot_ops.leg_transport(leg), generation, slot_ops.leg_voice(leg)};
}

static void on_hear_again(void *arg)
{
	ENTERS(control_role);
	slot_hear(arg);
}

void slot_hear(struct slot *slot)
{
	struct hearing hearing = {.mode = HEARING_NOBODY};
	const struct place *main = NULL;
	bool pending = slot->pending != NULL && slot_ops.leg_transport(slot->pending) != 0;
	if (slot->leg != NULL) {
		main = &slot->place;
		hearing.mode = HEARING_ONE;
		hearing.main = heard_leg(slot->leg, slot->leg_generation);
	} else if (pending) { // with nobody else to hear, from its first packet on
		main = &slot->pending_place;
		hearing.mode = HEARING_ONE;
		hearing.main = heard_leg(slot->pending, slot->pending_generation);
	}
	if (slot->leg != NULL && slot->old != NULL) {
		hearing.mode = HEARING_BOTH;
		hearing.other = heard_leg(slot->old, slot->old_generation);
	} else if (slot->leg != NULL && pending) {
		hearing.mode = !same_publication(&slot->place, &slot->pending_place) ? HEARING_HOLD
			       : slot->same_identity				     ? HEARING_BOTH
										     : HEARING_ALIGN;
		hearing.other = heard_leg(slot->pending, slot->pending_generation);
	}
	bool another = main != NULL && !same_publication(&slot->heard_place, main);
	hearing.fence = another && slot->heard_place.url[0] != '\0';
	if (slot_ops.source_hear(slot->source, &hearing) < 0) // no memory: what was heard is heard until there is some
		control_timer_start(&slot->hear_timer, HEAR_AGAIN_MS, on_hear_again, slot);
	else if (another)
		slot->heard_place = *main;
}

// ---- accounts

static uint32_t since_us(const struct slot *slot)
{
	return (uint32_t)MIN_OF((clock_mono_ns() - slot->swap_began_ns) / 1000, UINT32_MAX);
}

void slot_swap_asked(struct slot *slot, const struct place *place)
{
	slot_swap_settle(slot);
	slot->swap = (struct swap_record){.from_generation = slot->leg_generation, .at_ms = clock_wall_us() / 1000};
	snprintf(slot->swap.user_id, sizeof(slot->swap.user_id), "%s", slot->user_id);
	snprintf(slot->swap.room, sizeof(slot->swap.room), "%s", place->room);
	snprintf(slot->swap.reason, sizeof(slot->swap.reason), "new_join_request");
	slot->swap_asked = true;
	slot->swap_began_ns = clock_mono_ns();
}

void slot_swap_ended(struct slot *slot, enum swap_result result, const char *cause)
{
	if (!slot->swap_asked)
		return;
	slot->swap_asked = false;
	slot->swap.kind = SWAP_NONE;
	slot->swap.result = result;
	log_redact(cause, slot->swap.cause, sizeof(slot->swap.cause));
	swap_log_add(&slot->swap);
}

void slot_swap_settle(struct slot *slot)
{
	struct source_stats stats;
	if (!slot->swap_unsettled)
		return;
	slot->swap_unsettled = false;
	control_timer_stop(&slot->settle_timer);
	slot_ops.source_stats(slot->source, &stats);
	if (stats.swap.generation == slot->swap.generation) {
		slot->swap.frames_before = stats.swap.frames_before;
		slot->swap.lost = stats.swap.lost;
		slot->swap.doubled = stats.swap.doubled;
		slot->swap.copies = stats.swap.copies;
		slot->swap.gap_us = stats.swap.gap_us;
		slot->swap.overlap_us = stats.swap.overlap_us;
	}
	swap_log_add(&slot->swap);
}

static void on_settle(void *arg)
{
	ENTERS(control_role);
	slot_swap_settle(arg);
}

static void account_swap(struct slot *slot, enum swap_kind kind) RUNS_ON(control_role)
{
	uint64_t delivered = slot->stream != NULL ? atomic_load(&slot->stream->delivered) : slot->next_frame;
	uint64_t head = pcm_head(slot->pcm);
	if (!slot->swap_asked) // a plain join
		return;
	slot->swaps++;
	slots.totals.swaps++;
	slot->swap_asked = false;
	slot->swap.kind = kind;
	slot->swap.result = SWAP_DONE;
	slot->swap.generation = slot->leg_generation;
	slot->swap.swap_us = since_us(slot);
	slot->swap.frames_carried = head > delivered ? MIN_OF(head - delivered, head - pcm_tail(slot->pcm)) : 0;
	slot->swap_unsettled = true;
	control_timer_start(&slot->settle_timer, SETTLE_MS, on_settle, slot);
}

// ---- the replaced leg

void slot_old_retire(struct slot *slot)
{
	struct leg *old = slot->old;
	if (old == NULL)
		return;
	slot->old = NULL;
	control_timer_stop(&slot->old_timer);
	slot_hear(slot);
	slot_leg_leave_later(old, "replaced");
	if (slot->swap_due)
		slot_swap(slot);
}

static void on_old_late(void *arg)
{
	ENTERS(control_role);
	slot_old_retire(arg);
}

void slot_progressed(struct slot *slot)
{
	bool heard, aligned;
	slot_ops.source_progress(slot->source, &heard, &aligned);
	if (heard && slot->swap_unsettled && slot->swap.audio_us == 0)
		slot->swap.audio_us = since_us(slot);
	if (aligned)
		slot_old_retire(slot);
}

// ---- the swap

static void swap_begin(struct slot *slot) RUNS_ON(control_role)
{
	control_timer_stop(&slot->join_timer);
	control_timer_stop(&slot->frame_timer);
	control_timer_stop(&slot->grace_timer);
	slot->grace = slot->swap_due = false;
	slot->leg_generation = slot->pending_generation;
	slot->place = slot->pending_place;
	slot->since_ms = clock_wall_us() / 1000;
}

static void swap_end(struct slot *slot) RUNS_ON(control_role)
{
	slot_ops.source_set_muted(slot->source, slot_ops.leg_track_muted(slot->leg));
	slot_answer_all(slot, NULL);
	slot_settle(slot);
}

void slot_swap(struct slot *slot)
{
	if (slot->old != NULL) { // three at once are not heard: the pending one waits, a second at the most
		slot->swap_due = true;
		return;
	}
	struct leg *replaced = slot->leg;
	bool goes_on = replaced != NULL && same_publication(&slot->place, &slot->pending_place);
	enum swap_kind kind = !goes_on ? SWAP_ARRIVAL : slot->same_identity ? SWAP_FULL : SWAP_OVERLAP;
	if (replaced == NULL)
		kind = SWAP_FULL; // the server has removed the old participant meanwhile
	uint32_t replaced_generation = slot->leg_generation;
	bool found = slot->swap_asked; // a session, though its leg may be gone by now
	slot->leg = slot->pending;
	slot->pending = NULL;
	slot->pending_ready = slot->pending_arrived = slot->frame_late = slot->same_identity = slot->no_return = false;
	swap_begin(slot);
	if (goes_on) {
		slot->old = replaced;
		slot->old_generation = replaced_generation;
		control_timer_start(&slot->old_timer, OLD_LIMIT_MS, on_old_late, slot);
	}
	slot_hear(slot);
	account_swap(slot, kind);
	if (found)
		slot_stream_finish(slot, SLOT_STREAM_OK, "replaced");
	if (replaced != NULL && !goes_on)
		slot_leg_leave_later(replaced, "replaced");
	swap_end(slot);
}

void slot_swap_resumed(struct slot *slot)
{
	bool other_voice = strcmp(slot->place.target, slot->pending_place.target) != 0;
	slot->resuming = false;
	slot->swap.signal_us = since_us(slot);
	if (other_voice) // a leg that was replaced a moment ago still brings the one before
		slot_old_retire(slot);
	swap_begin(slot);
	slot_ops.leg_set_generation(slot->leg, slot->leg_generation);
	slot_ops.leg_retarget(slot->leg, slot->place.target, slot->leg_generation);
	slot_hear(slot);
	account_swap(slot, SWAP_RESUME);
	slot_stream_finish(slot, SLOT_STREAM_OK, "replaced");
	swap_end(slot);
}
