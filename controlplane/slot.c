// SPDX-License-Identifier: ISC
//
// slot.c - slots: found, made, lingering, freed; LeaveRoom with its grace; draining.
//
// Runs on: control.

#include "controlplane/slot_machine.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "controlplane/log.h"
#include "controlplane/soniox.h"

// What is still on its way out when everything was told to leave gets this long.
#define DRAIN_SETTLE_MS 250
#define OPUS_RING_MS 2000 // Soniox' stream empties it ten times a second

struct slots slots;

struct slot_ops slot_ops = {
	.leg_join = leg_join,
	.leg_leave = leg_leave,
	.leg_silence = leg_silence,
	.leg_state = leg_state,
	.leg_participant_count = leg_participant_count,
	.leg_track_subscribed = leg_track_subscribed,
	.leg_track_muted = leg_track_muted,
	.leg_data_open = leg_data_open,
	.leg_transport = leg_transport,
	.leg_voice = leg_voice,
	.leg_resumable = leg_resumable,
	.leg_resume = leg_resume,
	.leg_resume_abandon = leg_resume_abandon,
	.leg_resume_accepted = leg_resume_accepted,
	.leg_retarget = leg_retarget,
	.leg_set_generation = leg_set_generation,
	.leg_freeze = leg_freeze,
	.leg_thaw = leg_thaw,
	.source_create = dataplane_source_create,
	.source_destroy = dataplane_source_destroy,
	.source_hear = dataplane_source_hear,
	.source_progress = dataplane_source_progress,
	.source_set_muted = dataplane_source_set_muted,
	.source_set_wanted = dataplane_source_set_wanted,
	.source_stats = dataplane_source_stats,
};

static struct slot **bucket_of(const char *user_id)
{
	uint32_t hash = 2166136261u;
	for (const char *c = user_id; *c != '\0'; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	return &slots.buckets[hash % ARRAY_SIZE(slots.buckets)];
}

int slots_init(const struct config *config, struct err *err)
{
	(void)err;
	slots = (struct slots){.config = config};
	return 0;
}

struct slot *slot_find(const char *user_id)
{
	struct slot *slot = *bucket_of(user_id);
	while (slot != NULL && strcmp(slot->user_id, user_id) != 0)
		slot = slot->next;
	return slot;
}

struct slot *slot_make(const char *user_id, struct err *err)
{
	if (slots.count >= slots.config->limits.max_sessions) {
		err_set(err, EUSERS, "too many sessions: the limit of %u is reached", slots.config->limits.max_sessions);
		return NULL;
	}
	struct slot *slot = calloc(1, sizeof(*slot));
	struct source_config config = {.input = (enum source_input)slots.config->audio.input,
		.max_wait_ms = slots.config->audio.max_wait_ms, .data_wait_ms = slots.config->audio.data_wait_ms,
		.conceal_data = slots.config->audio.conceal_data};
	if (slot != NULL) {
		snprintf(slot->user_id, sizeof(slot->user_id), "%s", user_id);
		slot->pcm = pcm_create(slots.config->audio.ring_ms);
		slot->opus = config.opus = soniox_wants_packets() ? pcm_create(OPUS_RING_MS) : NULL;
		slot->source = slot->pcm != NULL ? slot_ops.source_create(slot->pcm, &config) : NULL;
	}
	if (slot == NULL || slot->source == NULL) {
		if (slot != NULL) {
			pcm_unref(slot->pcm);
			pcm_unref(slot->opus);
		}
		free(slot);
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	slot->soniox = soniox_slot_made(user_id, slot->pcm, slot->opus);
	slot->since_ms = clock_wall_us() / 1000;
	struct slot **bucket = bucket_of(user_id);
	slot->next = *bucket;
	*bucket = slot;
	slots.count++;
	return slot;
}

void slot_free(struct slot *slot)
{
	slot_swap_settle(slot);
	if (slot->old != NULL)
		slot_leg_leave_later(slot->old, "replaced");
	struct control_timer *timers[] = {&slot->join_timer, &slot->frame_timer, &slot->grace_timer, &slot->linger_timer,
		&slot->old_timer, &slot->settle_timer, &slot->hear_timer, &slot->wanted_timer};
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
		control_timer_stop(timers[i]);
	if (slot->pending_token != NULL)
		OPENSSL_cleanse(slot->pending_token, strlen(slot->pending_token));
	free(slot->pending_token);
	free(slot->pending_url);
	slot_stream_finish(slot, SLOT_STREAM_OK, "left");
	struct slot **link = bucket_of(slot->user_id);
	while (*link != slot)
		link = &(*link)->next;
	*link = slot->next;
	slots.count--;
	slot_ops.source_destroy(slot->source);
	soniox_slot_gone(slot->soniox); // takes what is left in the ring
	pcm_wipe(slot->pcm);
	pcm_unref(slot->pcm);
	pcm_unref(slot->opus);
	free(slot);
}

static void on_linger_over(void *arg)
{
	ENTERS(control_role);
	slot_fire(arg, SLOT_LINGER_OVER, NULL);
}

void slot_settle(struct slot *slot)
{
	bool idle = slot_phase(slot) == SLOT_IDLE && slot->stream == NULL;
	if (!idle)
		control_timer_stop(&slot->linger_timer);
	else if (!control_timer_armed(&slot->linger_timer))
		control_timer_start(&slot->linger_timer, slots.config->limits.slot_linger_ms, on_linger_over, slot);
}

void slot_disconnected(struct slot *slot, const char *reason)
{
	slot->last_disconnect_at_ms = slot->since_ms = clock_wall_us() / 1000;
	snprintf(slot->last_disconnect_reason, sizeof(slot->last_disconnect_reason), "%s", reason);
}

// ---- LeaveRoom

static void on_grace_over(void *arg)
{
	ENTERS(control_role);
	slot_fire(arg, SLOT_GRACE_OVER, NULL);
}

void slot_grace_begin(struct slot *slot)
{
	slot->grace = true;
	control_timer_start(&slot->grace_timer, slots.config->limits.leave_grace_ms, on_grace_over, slot);
}

bool slot_leave(const char *user_id, const char *reason)
{
	struct slot *slot = slot_find(user_id);
	if (slot == NULL || slot_phase(slot) == SLOT_GRACE)
		return false;
	slot_fire(slot, SLOT_LEAVE, &(struct slot_cause){.reason = reason});
	return true;
}

// ---- legs that leave from inside their own callbacks

struct later {
	struct control_work work;
	struct leg *leg;
	char reason[32];
};

static void leave_later(void *arg)
{
	ENTERS(control_role);
	struct later *later = arg;
	slot_ops.leg_leave(later->leg, later->reason);
	free(later);
}

void slot_leg_leave_later(struct leg *leg, const char *reason)
{
	struct later *later = malloc(sizeof(*later));
	slot_ops.leg_silence(leg); // the slot may be gone before the leg is
	if (later == NULL) {
		slot_ops.leg_leave(leg, reason);
		return;
	}
	later->leg = leg;
	snprintf(later->reason, sizeof(later->reason), "%s", reason);
	control_post(&later->work, leave_later, later);
}

// ---- the end

static void on_drain_over(void *unused)
{
	(void)unused;
	ENTERS(control_role);
	if (slots.drained != NULL)
		slots.drained(slots.drained_arg);
	slots.drained = NULL;
}

static void each(void (*fn)(struct slot *slot)) RUNS_ON(control_role)
{
	for (size_t b = 0; b < ARRAY_SIZE(slots.buckets); b++) {
		for (struct slot *slot = slots.buckets[b], *next; slot != NULL; slot = next) {
			next = slot->next;
			fn(slot);
		}
	}
}

static void drain_legs(struct slot *slot)
{
	ENTERS(control_role);
	slot_fire(slot, SLOT_SHUTDOWN, NULL);
}

static void drain_stream(struct slot *slot)
{
	ENTERS(control_role);
	slot_stream_finish(slot, SLOT_STREAM_UNAVAILABLE, "relayd is shutting down");
}

static void remove_slot(struct slot *slot)
{
	ENTERS(control_role);
	drain_legs(slot);
	slot_free(slot);
}

void slots_drain(uint64_t limit_ms, void (*done)(void *arg), void *arg)
{
	slots.draining = true;
	slots.drained = done;
	slots.drained_arg = arg;
	bool any = slots.count > 0;
	each(drain_legs);
	each(drain_stream); // streams end last: a client that sees the end finds nothing half done
	control_timer_start(&slots.drain_timer, any ? MIN_OF(limit_ms, DRAIN_SETTLE_MS) : 0, on_drain_over, NULL);
}

void slots_finish(void)
{
	slots.draining = true;
	control_timer_stop(&slots.drain_timer);
	each(remove_slot);
}
