// SPDX-License-Identifier: ISC
//
// slot_view.c - StreamAudio's place at a slot, and what GetStatus, HealthCheck and the operator see.
//
// Runs on: control.

#include "controlplane/slot_machine.h"

// ---- StreamAudio

void slot_stream_finish(struct slot *slot, enum slot_stream_end how, const char *reason)
{
	struct slot_stream *stream = slot->stream;
	if (stream == NULL)
		return;
	slot->stream = NULL;
	slot->stream_since_ms = clock_wall_us() / 1000;
	stream->slot = NULL;
	stream->end(stream, how, reason);
	// end has stopped the claim: what was handed out up to here will not be handed out again.
	slot->next_frame = MAX_OF(slot->next_frame, atomic_load(&stream->delivered));
	slot_wanted_changed(slot);
}

// The first frame that no stream was handed and that is no older than the ring is long. An older one may still lie there: what is
// said overwrites it, not time, and a track is not decoded while nobody wants it.
static uint64_t backlog(const struct slot *slot) RUNS_ON(control_role)
{
	struct pcm_frame frame;
	uint64_t cursor = slot->next_frame, overwritten = 0, now_ns = clock_mono_ns();
	uint64_t age_ns = slots.config->audio.ring_ms * 1000000ull;
	while (pcm_read(slot->pcm, &cursor, &frame, &overwritten) != 0)
		if (frame.arrival_ns + age_ns > now_ns)
			return frame.seq;
	return cursor;
}

// Who was there before and comes back too late has lost what lies between; the first one has lost nothing.
static void begin(struct slot *slot, struct slot_stream *stream) RUNS_ON(control_role)
{
	stream->cursor = stream->from_now ? pcm_head(slot->pcm) : backlog(slot);
	if (slot->streamed && !stream->from_now && stream->cursor > slot->next_frame) {
		uint64_t lapped = stream->cursor - slot->next_frame;
		atomic_store(&stream->lapped, lapped);
		dataplane_drop(DROP_PCM_LAPPED, lapped);
	}
	slot->streamed = true;
	slot->next_frame = stream->cursor;
}

int slot_stream_attach(const char *user_id, struct slot_stream *stream)
{
	struct slot *slot = slot_find(user_id);
	if (slot == NULL || slot->grace || (slot->leg == NULL && slot->pending == NULL))
		return -ENOENT;
	slot_stream_finish(slot, SLOT_STREAM_OK, "a newer stream took over");
	slot->stream = stream;
	slot_wanted_changed(slot);
	stream->pcm = pcm_ref(slot->pcm);
	begin(slot, stream);
	stream->generation = slot->leg_generation;
	stream->slot = slot;
	slot->stream_since_ms = clock_wall_us() / 1000;
	slot_settle(slot);
	return 0;
}

void slot_stream_detach(struct slot_stream *stream)
{
	struct slot *slot = stream->slot;
	if (slot == NULL || slot->stream != stream)
		return;
	slot->stream = NULL;
	slot->stream_since_ms = clock_wall_us() / 1000;
	stream->slot = NULL;
	slot->next_frame = MAX_OF(slot->next_frame, atomic_load(&stream->delivered));
	slot_wanted_changed(slot);
	slot_settle(slot);
}

// ---- captions into the room

int slot_send_data(const char *user_id, const uint8_t *data, size_t bytes)
{
	const struct slot *slot = slot_find(user_id);
	if (slot == NULL || slot->leg == NULL)
		return -ENOTCONN;
	return transport_send_data(leg_transport(slot->leg), true, data, bytes);
}

void slot_track_sid(const char *user_id, char *ret_sid, size_t size)
{
	const struct slot *slot = slot_find(user_id);
	snprintf(ret_sid, size, "%s", slot != NULL && slot->leg != NULL ? leg_track_sid(slot->leg) : "");
}

// ---- what is seen

static const char *state_word(const struct slot *slot)
{
	enum slot_phase phase = slot_phase(slot);
	if (phase == SLOT_LIVE && slot_ops.leg_state(slot->leg) == LEG_RECOVERING)
		return "recovering";
	return slot_phase_text(phase);
}

static void leg_view(const struct leg *leg, struct slot_status *ret_status) RUNS_ON(control_role)
{
	snprintf(ret_status->participant_id, sizeof(ret_status->participant_id), "%s", leg_identity(leg));
	snprintf(ret_status->server_version, sizeof(ret_status->server_version), "%s", leg_server_version(leg));
	snprintf(ret_status->room, sizeof(ret_status->room), "%s", leg_room(leg));
	snprintf(ret_status->url, sizeof(ret_status->url), "%s", leg_url(leg));
	snprintf(ret_status->target, sizeof(ret_status->target), "%s", leg_target(leg));
	ret_status->participant_count = leg_participant_count(leg);
	ret_status->target_present = leg_target_present(leg);
	ret_status->track_subscribed = leg_track_subscribed(leg);
	ret_status->track_muted = leg_track_muted(leg);
	transport_info(leg_transport(leg), &ret_status->transport);
}

static void view(const struct slot *slot, struct slot_status *ret_status) RUNS_ON(control_role)
{
	*ret_status = (struct slot_status){.exists = true};
	snprintf(ret_status->user_id, sizeof(ret_status->user_id), "%s", slot->user_id);
	snprintf(ret_status->state, sizeof(ret_status->state), "%s", state_word(slot));
	snprintf(ret_status->last_disconnect_reason, sizeof(ret_status->last_disconnect_reason), "%s",
		slot->last_disconnect_reason);
	const struct leg *leg = slot->leg != NULL ? slot->leg : slot->pending;
	if (leg != NULL)
		leg_view(leg, ret_status);
	ret_status->connected = slot->leg != NULL && !slot->grace && leg_consent_fresh(slot->leg);
	ret_status->recovering = slot->leg != NULL && leg_state(slot->leg) == LEG_RECOVERING;
	ret_status->stream_attached = slot->stream != NULL;
	ret_status->last_disconnect_at_ms = slot->last_disconnect_at_ms;
	ret_status->since_ms = slot->since_ms;
	ret_status->stream_since_ms = slot->stream_since_ms;
	ret_status->generation = slot->leg_generation;
	ret_status->joins = slot->joins;
	ret_status->swaps = slot->swaps;
	ret_status->ring_head = pcm_head(slot->pcm);
	if (slot->stream != NULL) {
		ret_status->stream_frames = atomic_load(&slot->stream->frames);
		ret_status->stream_lapped = atomic_load(&slot->stream->lapped);
		ret_status->stream_delivered = atomic_load(&slot->stream->delivered);
	}
	dataplane_source_stats(slot->source, &ret_status->source);
}

void slot_status(const char *user_id, struct slot_status *ret_status)
{
	const struct slot *slot = slot_find(user_id);
	*ret_status = (struct slot_status){0};
	if (slot != NULL)
		view(slot, ret_status);
}

void slot_each(void (*fn)(const struct slot_status *status, void *arg), void *arg)
{
	struct slot_status status;
	for (size_t b = 0; b < ARRAY_SIZE(slots.buckets); b++) {
		for (const struct slot *slot = slots.buckets[b]; slot != NULL; slot = slot->next) {
			view(slot, &status);
			fn(&status, arg);
		}
	}
}

void slot_totals(struct slot_totals *ret_totals)
{
	*ret_totals = slots.totals;
	ret_totals->draining = slots.draining;
	for (size_t b = 0; b < ARRAY_SIZE(slots.buckets); b++) {
		for (const struct slot *slot = slots.buckets[b]; slot != NULL; slot = slot->next) {
			ret_totals->slots++;
			ret_totals->streams += slot->stream != NULL;
			if (slot->grace)
				ret_totals->grace++;
			else if (slot->leg == NULL)
				*(slot->pending != NULL ? &ret_totals->joining : &ret_totals->lingering) += 1;
			else if (leg_state(slot->leg) == LEG_RECOVERING)
				ret_totals->recovering++;
			else
				ret_totals->connected++;
		}
	}
	ret_totals->active_sessions = ret_totals->connected + ret_totals->recovering;
}
