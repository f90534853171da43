// SPDX-License-Identifier: ISC
//
// leg_media.c - a leg's one PeerConnection: transport, offers and answers, the target's track and its SSRC.
//
// Runs on: control. Only we offer; one offer is outstanding at a time. The subscription goes out before the first offer, so that
// the first answer already carries the track (facts: livekit-observed.md O2).

#include <openssl/rand.h>

#include "controlplane/leg_state.h"
#include "controlplane/log.h"

#define PERMISSION_WAIT_MS 300
#define SPARE_AUDIO_SECTIONS 3 // filled in order by later tracks without a new section

int leg_media_open(struct leg *leg, struct err *err)
{
	struct transport_config config = {
		.generation = leg->generation,
		.source = leg->source,
		.data = true,
		.connect_limit_ms = leg->config->limits.transport_ms,
	};
	snprintf(config.data_identity, sizeof(config.data_identity), "%s", leg->target);
	int ret = leg_ops.transport_open(&config, &leg->transport, &leg->local, err);
	if (ret < 0)
		return ret;
	leg->transport_open = true;
	leg->transport_connected = leg->transport_up = leg->ice_restarting = leg->data_open = false;
	leg->audio_count = SPARE_AUDIO_SECTIONS;
	leg->offer_id = leg->offer_outstanding = 0;
	leg->offer_wanted = false;
	leg->ssrc = 0;
	leg->track_sid[0] = '\0';
	RAND_bytes((unsigned char *)&leg->session_id, sizeof(leg->session_id));
	leg->session_id >>= 2; // a positive number in SDP
	leg_index(leg);
	return 0;
}

void leg_media_close(struct leg *leg)
{
	control_timer_stop(&leg->permission_timer);
	control_timer_stop(&leg->closed_timer);
	leg->recover_due[0] = '\0';
	if (leg->transport_open)
		leg_ops.transport_close(leg->transport);
	leg->transport_open = leg->transport_connected = leg->transport_up = leg->data_open = false;
	leg->track_sid[0] = '\0';
	leg->ssrc = 0;
	leg_index(leg);
}

// ---- offers

void leg_offer(struct leg *leg)
{
	char text[SDP_OFFER_MAX];
	if (leg->offer_outstanding != 0 || leg->ws == NULL || !leg->joined || !leg->transport_open) {
		leg->offer_wanted = true;
		return;
	}
	struct sdp_offer offer = {.local = &leg->local, .session_id = leg->session_id, .version = leg->offer_id + 1,
		.audio_count = leg->audio_count};
	if (sdp_write_offer(&offer, text, sizeof(text)) < 0) {
		leg_recover(leg, "transport_lost", false);
		return;
	}
	leg->offer_wanted = false;
	leg->offer_outstanding = ++leg->offer_id;
	leg_send(leg, livekit_offer(text, leg->offer_id));
}

void leg_restart_ice(struct leg *leg)
{
	struct err err = {""};
	if (leg_ops.transport_restart(leg->transport, &leg->local, &err) < 0) {
		leg_recover(leg, "transport_lost", false);
		return;
	}
	leg->ice_restarting = true;
	leg->offer_outstanding = 0; // an older offer's credentials are no longer ours
	leg_offer(leg);
}

void leg_first_offer(struct leg *leg)
{
	control_timer_stop(&leg->permission_timer);
	if (leg->offer_id == 0)
		leg_offer(leg);
}

static void on_permission_late(void *arg)
{
	ENTERS(control_role);
	leg_first_offer(arg);
}

void leg_permission(struct leg *leg, const Livekit__SubscriptionPermissionUpdate *update)
{
	if (leg->track_sid[0] == '\0' || strcmp(update->track_sid, leg->track_sid) != 0)
		return;
	if (!update->allowed && leg_may_complain(leg))
		log_line(LOG_WARN, "The server does not allow the subscription", S("userId", leg->user_id),
			S("track", leg->track_sid));
	leg_first_offer(leg);
}

void leg_sections_required(struct leg *leg, unsigned audios)
{
	// Counts may grow without end under churn: sections are reused, their number is capped.
	leg->audio_count = MIN_OF(leg->audio_count + MIN_OF(audios, SDP_SECTIONS_MAX - 1u), SDP_SECTIONS_MAX - 1u);
	leg_offer(leg);
}

// ---- answers

static void map(struct leg *leg, const struct sdp_section *section) RUNS_ON(control_role)
{
	uint32_t ssrc = section != NULL ? section->ssrc : 0;
	if (leg->ssrc != 0 && leg->ssrc != ssrc)
		leg_ops.transport_unmap(leg->transport, leg->ssrc);
	leg->ssrc = ssrc;
	if (ssrc != 0)
		leg_ops.transport_map(leg->transport, ssrc, section->pt_opus, section->pt_red);
}

void leg_answer(struct leg *leg, const Livekit__SessionDescription *answer)
{
	struct sdp_answer parsed;
	struct err err = {""};
	if (!leg->transport_open || leg->offer_outstanding == 0 || answer->id != leg->offer_outstanding) {
		if (leg_may_complain(leg))
			log_line(LOG_DEBUG, "An answer to no offer of ours", S("userId", leg->user_id), I("id", answer->id));
		return;
	}
	leg->offer_outstanding = 0;
	int ret = sdp_read_answer(answer->sdp, strlen(answer->sdp), &parsed, &err);
	if (ret == 0)
		ret = leg_ops.transport_set_remote(leg->transport, &parsed.remote, &err);
	if (ret < 0) {
		char cause[sizeof(err.text) + 32];
		snprintf(cause, sizeof(cause), "the server's answer: %s", err.text);
		if (leg->reached)
			leg_recover(leg, "transport_lost", false);
		else
			leg_fail(leg, cause);
		return;
	}
	for (unsigned i = 0; i < parsed.candidate_count; i++)
		leg_ops.transport_add_candidate(leg->transport, parsed.candidates[i].endpoint, parsed.candidates[i].priority);
	const struct sdp_section *ours = NULL;
	for (unsigned i = 0; i < parsed.section_count; i++) {
		const struct sdp_section *section = &parsed.sections[i];
		if (section->kind == SDP_AUDIO && section->ssrc != 0 && leg->track_sid[0] != '\0' &&
			strcmp(livekit_section_track(answer, section), leg->track_sid) == 0)
			ours = section;
	}
	map(leg, ours);
	if (leg->offer_wanted)
		leg_offer(leg);
	leg_check_ready(leg);
}

void leg_candidate(struct leg *leg, const char *json)
{
	struct sdp_candidate candidate;
	if (leg->transport_open && livekit_read_candidate(json, &candidate) == 0)
		leg_ops.transport_add_candidate(leg->transport, candidate.endpoint, candidate.priority);
}

// ---- the target

static void muted_is(struct leg *leg, bool muted) RUNS_ON(control_role)
{
	if (muted == leg->track_muted)
		return;
	leg->track_muted = muted;
	leg_report(leg, LEG_EVENT_MUTED, "", "");
}

void leg_target_seen(struct leg *leg, const struct leg_participant *target)
{
	leg->target_present = true;
	if (target->track_sid[0] == '\0') {
		leg->track_sid[0] = '\0'; // its section is unmapped by the answer to the server's next requirement
		leg_check_ready(leg);
		return;
	}
	muted_is(leg, target->muted);
	if (strcmp(target->track_sid, leg->track_sid) == 0)
		return;
	snprintf(leg->track_sid, sizeof(leg->track_sid), "%s", target->track_sid);
	leg_send(leg, livekit_subscription(leg->track_sid, true));
	if (leg->offer_id == 0)
		control_timer_start(&leg->permission_timer, PERMISSION_WAIT_MS, on_permission_late, leg);
}

void leg_target_gone(struct leg *leg)
{
	leg->target_present = false;
	leg->track_sid[0] = '\0';
	muted_is(leg, false);
	leg_check_ready(leg);
}

void leg_retarget(struct leg *leg, const char *target_identity, uint32_t generation)
{
	if (strcmp(leg->target, target_identity) == 0)
		return;
	if (leg->track_sid[0] != '\0')
		leg_send(leg, livekit_subscription(leg->track_sid, false));
	if (leg->ssrc != 0)
		leg_ops.transport_unmap(leg->transport, leg->ssrc);
	leg->ssrc = 0;
	leg->track_sid[0] = '\0';
	leg->target_present = false;
	leg->voice = generation;
	snprintf(leg->target, sizeof(leg->target), "%s", target_identity);
	leg_ops.transport_set_target(leg->transport, leg->target, generation);
	muted_is(leg, false);
	leg_others_retarget(&leg->others, leg->target);
	const struct leg_participant *target = leg_others_target(&leg->others);
	if (target != NULL)
		leg_target_seen(leg, target);
}
