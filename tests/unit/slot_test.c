// SPDX-License-Identifier: ISC
//
// slot_test.c - what must follow from whole stories of a slot: answers, streams, who is heard.
//
// Runs on: control (played by the test); legs and the dataplane are the test's own.

#include "dataplane/stats.h"
#include "tests/support/slot_world.h"
#include "tests/support/timer_runs_out.h"

static void resume_keeps_the_transport(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_RESUMING);
	struct leg *leg = slot->leg;
	unsigned before = hearings;
	tell(leg, LEG_EVENT_RESUMED, "");
	told(&callers[1], "", "resume");
	assert_int_equal(callers[1].join.generation, 2);
	assert_ptr_equal(slot->leg, leg);
	assert_int_equal(leg_count, 1);
	assert_int_equal(hearings, before + 1);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_int_equal(heard.main.transport, leg->transport);
	assert_int_equal(heard.main.generation, 2);
	assert_false(heard.fence);
	assert_int_equal(stream_ends, 1);
	assert_int_equal(stream_how, SLOT_STREAM_OK);
	end();
}

static void resume_with_another_target_fences(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	call(1, "room", "a", "another phone");
	assert_int_equal(slot_phase(slot), SLOT_RESUMING);
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	assert_true(heard.fence);
	assert_string_equal(slot->leg->target, "another phone");
	end();
}

// Two legs are heard beside each other for a second at the most; from the one that was replaced came the voice before.
static void resume_with_another_target_hears_no_old_leg(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_SWAPPING);
	struct leg *old = slot->leg;
	comes_up(slot->pending);
	assert_ptr_equal(slot->old, old);
	call(2, "room", "b", "another phone");
	assert_int_equal(slot_phase(slot), SLOT_RESUMING);
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	told(&callers[2], "", "another target");
	assert_null(slot->old);
	assert_true(old->silenced);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_int_equal(heard.main.transport, slot->leg->transport);
	assert_int_equal(heard.main.generation, 3);
	assert_true(heard.fence);
	end();
}

static void refused_resume_becomes_a_full_join(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_RESUMING);
	struct leg *old = slot->leg;
	tell(old, LEG_EVENT_REFUSED, "");
	assert_true(old->frozen);
	struct leg *fresh = last_leg();
	fresh->transport = 77;
	tell(fresh, LEG_EVENT_MEDIA, "");
	assert_int_equal(heard.mode, HEARING_BOTH); // heard as soon as it comes: the server removes the old one when it likes
	assert_int_equal(heard.main.transport, old->transport);
	assert_int_equal(heard.other.transport, 77);
	tell(fresh, LEG_EVENT_JOINED, "");
	tell(old, LEG_EVENT_LOST, "duplicate_identity");
	assert_int_equal(stream_ends, 0); // the join is the answer to that
	assert_int_equal(slot_phase(slot), SLOT_JOINING);
	slot_join_cancel(&callers[1].join); // no way back: only the answer is dropped
	assert_int_equal(slot_phase(slot), SLOT_JOINING);
	comes_up(fresh);
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(stream_ends, 1);
	assert_int_equal(heard.mode, HEARING_ONE);
	end();
}

static void failed_full_join_after_the_old_one_was_removed(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_RESUMING);
	struct leg *old = slot->leg;
	tell(old, LEG_EVENT_REFUSED, "");
	tell(last_leg(), LEG_EVENT_JOINED, "");
	tell(old, LEG_EVENT_LOST, "duplicate_identity");
	tell(last_leg(), LEG_EVENT_FAILED, "join_failed");
	told(&callers[1], "a cause", "failed full join");
	assert_int_equal(stream_ends, 1);
	assert_int_equal(stream_how, SLOT_STREAM_UNAVAILABLE); // production's client comes back on an error only
	assert_int_equal(slot_phase(slot), SLOT_IDLE);
	end();
}

static void overlap_until_both_brought_the_same(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_SWAPPING);
	struct leg *old = slot->leg, *fresh = slot->pending;
	fresh->transport = 55;
	tell(fresh, LEG_EVENT_MEDIA, "");
	assert_int_equal(heard.mode, HEARING_ALIGN);
	comes_up(fresh);
	told(&callers[1], "", "overlap");
	assert_int_equal(heard.mode, HEARING_BOTH);
	assert_int_equal(heard.main.transport, fresh->transport);
	assert_int_equal(heard.other.transport, old->transport);
	assert_ptr_equal(slot->old, old);
	tell(fresh, LEG_EVENT_ALIGNED, ""); // late, of the hearing before
	assert_ptr_equal(slot->old, old);
	progress_aligned = true;
	tell(fresh, LEG_EVENT_ALIGNED, "");
	assert_null(slot->old);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_true(old->silenced);
	end();
}

// Three are never heard at once: the newest waits for the oldest to be gone.
static void swap_while_the_last_one_drains(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_SWAPPING);
	comes_up(slot->pending);
	assert_non_null(slot->old);
	struct caller *third = call(2, "room", "c", "phone");
	struct leg *newest = last_leg();
	comes_up(newest);
	told(third, NULL, "third");
	assert_int_equal(heard.main.transport, slot->leg->transport);
	slot_old_retire(slot);
	told(third, "", "third");
	assert_ptr_equal(slot->leg, newest);
	assert_int_equal(heard.mode, HEARING_BOTH);
	end();
}

static void old_leg_that_is_lost_is_not_missed(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_SWAPPING);
	comes_up(slot->pending);
	listen_in();
	tell(slot->old, LEG_EVENT_LOST, "duplicate_identity");
	assert_null(slot->old);
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(stream_ends, 0);
	end();
}

static void another_room_is_held_until_the_swap(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	struct leg *old = slot->leg;
	call(1, "elsewhere", "a", "phone");
	struct leg *fresh = last_leg();
	fresh->transport = 9;
	tell(fresh, LEG_EVENT_MEDIA, "");
	assert_int_equal(heard.mode, HEARING_HOLD);
	assert_false(old->frozen);
	comes_up(fresh);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_true(heard.fence);
	assert_true(old->silenced);
	assert_null(slot->old);
	end();
}

// The old room may end before the new one's leg is up: that one is heard at once, and the swap comes later.
static void another_room_is_fenced_when_the_old_one_ends_first(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	call(1, "elsewhere", "a", "phone");
	struct leg *fresh = last_leg();
	fresh->transport = 9;
	tell(fresh, LEG_EVENT_MEDIA, "");
	tell(slot->leg, LEG_EVENT_LOST, "room_deleted");
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_int_equal(heard.main.transport, 9);
	assert_true(heard.fence);
	comes_up(fresh);
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_false(heard.fence); // once
	end();
}

static void another_voice_is_fenced_however_long_nobody_was_heard(void **state)
{
	(void)state;
	static const struct {
		const char *room, *identity, *target;
		bool fence;
	} cases[] = {{"room", "a", "phone", false}, {"room", "b", "phone", false}, {"room", "a", "another phone", true},
		{"elsewhere", "a", "phone", true}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slot *slot = in_phase(SLOT_LIVE);
		tell(slot->leg, LEG_EVENT_LOST, "participant_removed");
		assert_int_equal(heard.mode, HEARING_NOBODY);
		call(1, cases[i].room, cases[i].identity, cases[i].target);
		last_leg()->transport = 9;
		tell(last_leg(), LEG_EVENT_MEDIA, "");
		assert_int_equal(heard.mode, HEARING_ONE);
		assert_int_equal(heard.fence, cases[i].fence);
		comes_up(last_leg());
		assert_false(heard.fence);
		end();
	}
}

static void first_voice_of_all_needs_no_fence(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_JOINING);
	comes_up(slot->pending);
	assert_int_equal(heard.mode, HEARING_ONE);
	assert_false(heard.fence);
	end();
}

static void silent_phone_does_not_hold_up_the_answer(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_JOINING);
	struct leg *leg = slot->pending;
	leg->subscribed = true;
	tell(leg, LEG_EVENT_READY, "");
	told(&callers[0], NULL, "silent");
	assert_true(control_timer_armed(&slot->frame_timer));
	slot_fire(slot, SLOT_FRAME_LATE, NULL);
	told(&callers[0], "", "silent");
	end();
	slot = in_phase(SLOT_JOINING); // no track: the data channels are what counts
	tell(slot->pending, LEG_EVENT_READY, "");
	told(&callers[0], NULL, "no track");
	slot->pending->data_open = true;
	tell(slot->pending, LEG_EVENT_DATA, "");
	told(&callers[0], "", "no track");
	end();
}

static void twenty_share_and_the_last_to_go_counts(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_JOINING);
	for (unsigned i = 1; i < CALLERS; i++)
		call(i, "room", "a", "phone");
	assert_int_equal(leg_count, 1);
	slot_join_cancel(&callers[3].join);
	assert_int_equal(slot_phase(slot), SLOT_JOINING);
	comes_up(slot->pending);
	for (unsigned i = 0; i < CALLERS; i++)
		told(&callers[i], i == 3 ? "cancelled" : "", "shared");
	end();
}

static void late_events_touch_nothing(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_SWAPPING);
	struct leg *given_up = slot->pending;
	call(2, "room", "c", "phone"); // supersedes it
	assert_true(given_up->silenced);
	static const enum leg_event_type late[] = {LEG_EVENT_READY, LEG_EVENT_ARRIVED, LEG_EVENT_FAILED, LEG_EVENT_LOST,
		LEG_EVENT_RESUMED, LEG_EVENT_STATE, LEG_EVENT_MEDIA, LEG_EVENT_MUTED};
	unsigned before = hearings;
	for (size_t i = 0; i < ARRAY_SIZE(late); i++)
		slot_leg_event(slot, given_up, late[i], "participant_removed", "");
	assert_int_equal(slot_phase(slot), SLOT_SWAPPING);
	assert_int_equal(hearings, before);
	assert_int_equal(stream_ends, 0);
	end();
}

static void who_is_told_what_when_the_room_is_lost(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		enum slot_stream_end how;
	} cases[] = {{"duplicate_identity", SLOT_STREAM_OK}, {"participant_removed", SLOT_STREAM_UNAVAILABLE},
		{"room_deleted", SLOT_STREAM_UNAVAILABLE}, {"transport_lost", SLOT_STREAM_UNAVAILABLE}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slot *slot = in_phase(SLOT_LIVE);
		tell(slot->leg, LEG_EVENT_LOST, cases[i].reason);
		assert_int_equal(stream_ends, 1);
		assert_int_equal(stream_how, cases[i].how);
		assert_int_equal(slot_phase(slot), SLOT_IDLE);
		assert_string_equal(slot->last_disconnect_reason, cases[i].reason);
		assert_true(control_timer_armed(&slot->linger_timer));
		end();
	}
}

static void grace_comes_back_after_a_failed_join(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_GRACE);
	call(1, "room", "a", "phone");
	assert_false(control_timer_armed(&slot->grace_timer));
	tell(slot->leg, LEG_EVENT_RESUME_FAILED, "");
	assert_int_equal(slot_phase(slot), SLOT_GRACE);
	assert_true(control_timer_armed(&slot->grace_timer));
	call(2, "room", "a", "phone");
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_false(control_timer_armed(&slot->grace_timer));
	end();
}

static void cancelled_resume_past_the_point_of_no_return(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_RESUMING);
	slot->leg->accepted = true;
	slot_join_cancel(&callers[1].join);
	assert_int_equal(slot_phase(slot), SLOT_RESUMING);
	tell(slot->leg, LEG_EVENT_RESUMED, "");
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(slot->leg_generation, 2);
	end();
}

static void no_memory_for_a_hearing_is_made_up_for(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_LIVE);
	call(1, "elsewhere", "a", "phone");
	no_memory = true;
	comes_up(last_leg());
	assert_true(control_timer_armed(&slot->hear_timer));
	no_memory = false;
	slot->hear_timer.fn(slot->hear_timer.arg);
	assert_int_equal(heard.main.transport, slot->leg->transport);
	assert_true(heard.fence);
	end();
}

static void legs_that_cannot_be_made(void **state)
{
	(void)state;
	struct slot *slot = in_phase(SLOT_LIVE);
	refuse_leg = true;
	struct caller *caller = call(1, "elsewhere", "a", "phone");
	told(caller, "failed to connect to room: no", "refused");
	assert_int_equal(slot_phase(slot), SLOT_LIVE);
	assert_int_equal(stream_ends, 0);
	end();
}

static void pcm_is_wanted_from_a_join_until_the_last_has_left(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = in_phase(SLOT_JOINING); // nobody listens yet, somebody may
	assert_true(pcm_wanted);
	assert_true(control_timer_armed(&slot->wanted_timer));
	comes_up(slot->pending);
	listen_in();
	assert_false(control_timer_armed(&slot->wanted_timer));
	slot_stream_detach(&stream);
	assert_true(pcm_wanted); // it may come back for what is in the ring
	timer_runs_out(&slot->wanted_timer);
	assert_false(pcm_wanted);
	listen_in();
	assert_true(pcm_wanted);
	slot_stream_detach(&stream);
	timer_runs_out(&slot->wanted_timer);
	assert_false(pcm_wanted);
	call(1, "room", "a", "phone"); // a cloud that comes back joins first, then listens
	assert_true(pcm_wanted);
	assert_true(control_timer_armed(&slot->wanted_timer));
	end();
}

// ---- where a StreamAudio begins

#define LONG_MS 60000 // a ring that no test outlasts: what it says now stays young
#define LONG_CELLS (LONG_MS / PCM_CELL_MS)
#define OLD 1 // arrival of what was said when the machine started

static void say(struct slot *slot, unsigned frames, uint64_t arrival_ns)
{
	ENTERS(worker_role);
	struct pcm_frame frame = {.bytes = PCM_CELL_BYTES, .arrival_ns = arrival_ns};
	for (unsigned i = 0; i < frames; i++)
		pcm_write(slot->pcm, &frame);
}

static struct slot *with_a_long_ring(bool streamed)
{
	ENTERS(control_role);
	config.audio.ring_ms = LONG_MS;
	struct slot *slot = in_phase(streamed ? SLOT_LIVE : SLOT_JOINING);
	if (!streamed)
		comes_up(slot->pending);
	return slot;
}

static void without_a_long_ring(void)
{
	end();
	config.audio.ring_ms = 200;
}

static void a_late_stream_hears_what_is_younger_than_the_ring_once(void **state)
{
	(void)state;
	ENTERS(control_role);
	static const struct {
		const char *name;
		unsigned old, young; // frames since then
		bool streamed;       // a stream had been there, and was handed 3 frames more
		uint64_t begins, lapped;
	} cases[] = {
		{"the first, at once", 0, 7, false, 0, 0},
		{"the first, after more than the ring holds", 0, LONG_CELLS + 100, false, 101, 0},
		{"the first, after an hour of nothing", 9, 0, false, 9, 0},
		{"the first, when somebody speaks after an hour", 9, 2, false, 9, 0},
		{"another, at once", 0, 7, true, 3, 0},
		{"another, after more than the ring holds", 0, LONG_CELLS + 100, true, 104, 101},
		{"another, after an hour of nothing", 9, 0, true, 12, 9},
		{"another, when somebody speaks after an hour", 9, 2, true, 12, 9},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slot *slot = with_a_long_ring(cases[i].streamed);
		uint64_t drops = stats_dropped(DROP_PCM_LAPPED);
		if (cases[i].streamed) {
			say(slot, 3, clock_mono_ns());
			atomic_store(&stream.delivered, 3);
			slot_stream_detach(&stream);
			timer_runs_out(&slot->wanted_timer); // no more is decoded: what lies in the ring is there all the same
		}
		say(slot, cases[i].old, OLD);
		say(slot, cases[i].young, clock_mono_ns());
		listen_in();
		if (stream.cursor != cases[i].begins || stream.lapped != cases[i].lapped)
			fail_msg("%s: begins at %lu, %lu lapped", cases[i].name, stream.cursor, stream.lapped);
		assert_int_equal(stats_dropped(DROP_PCM_LAPPED) - drops, cases[i].lapped);
		slot_stream_detach(&stream);
		listen_in(); // what was counted is not counted again
		assert_int_equal(stream.cursor, cases[i].begins);
		assert_int_equal(stream.lapped, 0);
		without_a_long_ring();
	}
}

static void from_now_on_misses_nothing(void **state)
{
	(void)state;
	ENTERS(control_role);
	struct slot *slot = with_a_long_ring(true);
	slot_stream_detach(&stream);
	say(slot, 3, OLD);
	say(slot, 4, clock_mono_ns());
	stream = (struct slot_stream){.end = on_stream_end, .from_now = true};
	assert_int_equal(slot_stream_attach("user", &stream), 0);
	pcm_unref(stream.pcm);
	assert_int_equal(stream.cursor, 7);
	assert_int_equal(stream.lapped, 0);
	without_a_long_ring();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resume_keeps_the_transport),
		cmocka_unit_test(resume_with_another_target_fences),
		cmocka_unit_test(resume_with_another_target_hears_no_old_leg),
		cmocka_unit_test(refused_resume_becomes_a_full_join),
		cmocka_unit_test(failed_full_join_after_the_old_one_was_removed),
		cmocka_unit_test(overlap_until_both_brought_the_same),
		cmocka_unit_test(swap_while_the_last_one_drains),
		cmocka_unit_test(old_leg_that_is_lost_is_not_missed),
		cmocka_unit_test(another_room_is_held_until_the_swap),
		cmocka_unit_test(another_room_is_fenced_when_the_old_one_ends_first),
		cmocka_unit_test(another_voice_is_fenced_however_long_nobody_was_heard),
		cmocka_unit_test(first_voice_of_all_needs_no_fence),
		cmocka_unit_test(silent_phone_does_not_hold_up_the_answer),
		cmocka_unit_test(twenty_share_and_the_last_to_go_counts),
		cmocka_unit_test(late_events_touch_nothing),
		cmocka_unit_test(who_is_told_what_when_the_room_is_lost),
		cmocka_unit_test(grace_comes_back_after_a_failed_join),
		cmocka_unit_test(cancelled_resume_past_the_point_of_no_return),
		cmocka_unit_test(no_memory_for_a_hearing_is_made_up_for),
		cmocka_unit_test(legs_that_cannot_be_made),
		cmocka_unit_test(pcm_is_wanted_from_a_join_until_the_last_has_left),
		cmocka_unit_test(a_late_stream_hears_what_is_younger_than_the_ring_once),
		cmocka_unit_test(from_now_on_misses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
