// SPDX-License-Identifier: ISC
//
// ice_test.c - the ICE agent against a full and a lite peer in fake time: connecting, choosing, losing, coming back.
//
// Runs on: any.
#include "dataplane/base.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/support/ice_peer.h"

static void test_connects_in_one_round_trip(void **state)
{
	for (int lite = 0; lite < 2; lite++) {
		struct ice_world *world = world_create(lite, 5 * MS);
		uint64_t start_ns = world->now_ns;
		world->peer.check_ns = start_ns + 1000 * MS; // ours come first
		add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
		assert_int_equal(ice_state(world->ice), ICE_NEW);
		set_remote(world);
		world_run(world, 5000 * MS, ICE_CONNECTED);
		assert_selected(world, 0);
		assert_int_equal(world->first_sent_ns - start_ns, 0);
		assert_int_equal(world->now_ns - start_ns, 10 * MS);
		assert_int_equal(world->peer.addresses[0].nominated, 1);
		assert_int_equal(ice_rtt_us(world->ice), 10000);
		assert_true(ice_consent_ns(world->ice) == world->now_ns);
		// The peer agrees.
		world_run(world, 100 * MS, -1);
		assert_int_equal(world->peer.selected, 0);
		assert_int_equal(world->drops[DROP_NONE], lite ? 1 : 2);
		world_destroy(world);
	}
}

// The peer's checks overtake its answers and cross ours: no storm, still connected in one round trip.
static void test_reordering(void **state)
{
	struct ice_world *world = world_create(false, 30 * MS);
	world->reorders = true;
	uint64_t start_ns = world->now_ns;
	add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
	set_remote(world);
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	assert_int_equal(world->now_ns - start_ns, 60 * MS);
	world_run(world, 1000 * MS, -1);
	assert_int_equal(world->peer.selected, 0);
	assert_true(world->peer.addresses[0].heard <= 4);
	world_destroy(world);
}

// Checks of both sides under way at once: ours is not repeated for it.
static void test_crossing(void **state)
{
	struct ice_world *world = world_create(false, 5 * MS);
	add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
	set_remote(world);
	peer_check(world, 0);
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	assert_int_equal(world->peer.addresses[0].heard, 1);
	world_destroy(world);
}

static void test_long_way(void **state)
{
	struct ice_world *world = world_create(false, 700 * MS);
	add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
	set_remote(world);
	uint64_t start_ns = world->now_ns;
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	assert_int_equal(world->now_ns - start_ns, 1400 * MS);
	assert_int_equal(ice_rtt_us(world->ice), 0); // asked several times: which one was answered?
	world_run(world, 30000 * MS, ICE_DISCONNECTED);
	assert_selected(world, 0);
	assert_int_equal(ice_rtt_us(world->ice), 1400000);
	world_destroy(world);
}

static void test_consent_keeps_its_period(void **state)
{
	for (int lite = 0; lite < 2; lite++) {
		struct ice_world *world = connected(lite);
		unsigned heard = world->peer.addresses[0].heard, answered = world->peer.checks_answered;
		world_run(world, 200000 * MS, ICE_DISCONNECTED);
		assert_selected(world, 0);
		heard = world->peer.addresses[0].heard - heard;
		assert_in_range(heard, 90, 112);
		// A lite peer hears nothing but our checks, a full one gets every answer.
		answered = world->peer.checks_answered - answered;
		if (lite)
			assert_int_equal(answered, 0);
		else
			assert_in_range(answered, 98, 102);
		assert_true(world->now_ns - ice_consent_ns(world->ice) < 2500 * MS);
		world_destroy(world);
	}
}

static void test_best_candidate_is_dead(void **state)
{
	for (int lite = 0; lite < 2; lite++) {
		struct ice_world *world = world_create(lite, 2 * MS);
		uint64_t start_ns = world->now_ns;
		unsigned dead = world_add_address(world, BRIDGE_IP, 7882);
		unsigned good = world_add_address(world, SERVER_IP, 7882);
		unsigned worse = world_add_address(world, PUBLIC_IP, 7882);
		world->peer.addresses[dead].dead = true;
		add(world, worse, HOST_PRIORITY(100));
		add(world, dead, HOST_PRIORITY(65535));
		add(world, good, HOST_PRIORITY(30000));
		set_remote(world);
		world_run(world, 5000 * MS, ICE_CONNECTED);
		assert_selected(world, good);
		assert_true(world->now_ns - start_ns < 200 * MS);
		world_run(world, 3000 * MS, -1);
		assert_selected(world, good);
		assert_int_equal(world->peer.selected, (int)good);
		assert_int_equal(world->peer.addresses[worse].nominated, 0);
		assert_false(ice_is_valid_remote(world->ice, world->peer.addresses[dead].endpoint));
		world_destroy(world);
	}
}

static void test_best_of_several_living(void **state)
{
	struct ice_world *world = world_create(true, 2 * MS);
	unsigned a = world_add_address(world, SERVER_IP, 7882), b = world_add_address(world, BRIDGE_IP, 7882);
	add(world, a, HOST_PRIORITY(1));
	add(world, b, HOST_PRIORITY(2));
	set_remote(world);
	uint64_t start_ns = world->now_ns;
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, b);
	assert_int_equal(world->now_ns - start_ns, 4 * MS);
	// And it stays: nothing is checked any more but the selected pair.
	world_run(world, 60000 * MS, -1);
	assert_selected(world, b);
	assert_int_equal(world->peer.addresses[a].heard, 0);
	world_destroy(world);
}

// Hears us and is believed by a lite peer to be nominated, but its answers are lost: the other one takes over.
static void test_one_way_candidate(void **state)
{
	for (int lite = 0; lite < 2; lite++) {
		struct ice_world *world = world_create(lite, 2 * MS);
		unsigned mute = world_add_address(world, BRIDGE_IP, 7882);
		unsigned good = world_add_address(world, SERVER_IP, 7882);
		world->peer.addresses[mute].mute = true;
		add(world, mute, HOST_PRIORITY(65535));
		add(world, good, HOST_PRIORITY(1));
		set_remote(world);
		world_run(world, 5000 * MS, ICE_CONNECTED);
		assert_selected(world, good);
		world_run(world, 1000 * MS, -1);
		assert_int_equal(world->peer.selected, (int)good);
		world_destroy(world);
	}
}

static void test_late_candidate(void **state)
{
	struct ice_world *world = world_create(true, 2 * MS);
	unsigned dead = world_add_address(world, BRIDGE_IP, 7882), late = world_add_address(world, SERVER_IP, 7882);
	world->peer.addresses[dead].dead = true;
	set_remote(world);
	world_run(world, 3000 * MS, -1);
	assert_int_equal(ice_state(world->ice), ICE_NEW);
	assert_int_equal(world->deadline_ns, 0);
	add(world, dead, HOST_PRIORITY(65535));
	world_run(world, 3000 * MS, -1);
	assert_int_equal(ice_state(world->ice), ICE_CHECKING);
	add(world, late, HOST_PRIORITY(1));
	uint64_t added_ns = world->now_ns;
	world_run(world, 1900 * MS, ICE_CONNECTED);
	assert_selected(world, late);
	assert_true(world->now_ns - added_ns < 120 * MS);
	world_destroy(world);
}

static void test_no_pair_in_time(void **state)
{
	struct ice_world *world = world_create(true, 2 * MS);
	unsigned dead = world_add_address(world, BRIDGE_IP, 7882);
	struct endpoint remote;
	world->peer.addresses[dead].dead = true;
	add(world, dead, HOST_PRIORITY(65535));
	set_remote(world);
	uint64_t start_ns = world->now_ns;
	world_run(world, 60000 * MS, ICE_FAILED);
	assert_int_equal(world->now_ns - start_ns, 5000 * MS);
	assert_false(ice_selected(world->ice, &remote));
	// 0, 50, 150, 350, 750, 1250 ... : doubling up to 500 ms.
	assert_int_equal(world->sent, 13);
	unsigned sent = world->sent;
	world_run(world, 60000 * MS, -1);
	assert_int_equal(world->sent, sent);
	assert_int_equal(world->deadline_ns, 0);
	world_destroy(world);
}

static void test_consent_lost_and_found(void **state)
{
	struct ice_world *world = connected(true);
	uint64_t consent_ns = ice_consent_ns(world->ice);
	world->peer.addresses[0].dead = true;
	world_run(world, 60000 * MS, ICE_DISCONNECTED);
	assert_int_equal(world->now_ns - consent_ns, 5000 * MS);
	world_run(world, 9000 * MS, -1);
	assert_int_equal(ice_state(world->ice), ICE_DISCONNECTED);
	world->peer.addresses[0].dead = false;
	uint64_t back_ns = world->now_ns;
	world_run(world, 60000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	assert_true(world->now_ns - back_ns <= 510 * MS);
	// And the haste is over: the next check is a period away, its repetition starts small again.
	unsigned sent = world->sent;
	world->peer.addresses[0].dead = true;
	world_run(world, 1590 * MS, -1);
	assert_int_equal(world->sent, sent);
	while (world->sent == sent)
		world_run(world, MS, -1);
	world_run(world, 55 * MS, -1);
	assert_int_equal(world->sent, sent + 2);
	world_destroy(world);
}

static void test_consent_lost_for_good(void **state)
{
	for (int lite = 0; lite < 2; lite++) {
		struct ice_world *world = connected(lite);
		struct endpoint remote;
		uint64_t consent_ns = ice_consent_ns(world->ice);
		world->peer.addresses[0].dead = true;
		world_run(world, 60000 * MS, ICE_FAILED);
		assert_int_equal(world->now_ns - consent_ns, 15000 * MS);
		assert_false(ice_selected(world->ice, &remote));
		// It does not come back by itself.
		unsigned sent = world->sent;
		world->peer.addresses[0].dead = false;
		world_run(world, 20000 * MS, -1);
		assert_int_equal(ice_state(world->ice), ICE_FAILED);
		if (lite)
			assert_int_equal(world->sent, sent);
		world_destroy(world);
	}
}

static void restart(struct ice_world *world)
{
	struct err err;
	char old_ufrag[40], old_pwd[40];
	snprintf(old_ufrag, sizeof(old_ufrag), "%s", ice_local_ufrag(world->ice));
	snprintf(old_pwd, sizeof(old_pwd), "%s", ice_local_pwd(world->ice));
	assert_int_equal(ice_restart(world->ice, &err), 0);
	assert_string_not_equal(old_ufrag, ice_local_ufrag(world->ice));
	assert_string_not_equal(old_pwd, ice_local_pwd(world->ice));
}

// The peer takes the restart offer: new credentials, the old ones mean nothing to it.
static void peer_restart(struct ice_world *world)
{
	world->peer.ufrag[0]++;
	world->peer.pwd[0]++;
	world->peer.selected = -1;
	memset(world->peer.pending_nomination, 0, sizeof(world->peer.pending_nomination));
	world_offer(world);
}

static void test_restart(void **state)
{
	for (int lite = 0; lite < 2; lite++) {
		struct ice_world *world = connected(lite);
		unsigned next = world_add_address(world, BRIDGE_IP, 7883);
		struct endpoint remote;
		for (int round = 0; round < 3; round++) {
			char old_name[100], old_pwd[40];
			snprintf(old_name, sizeof(old_name), "%s:%s", ice_local_ufrag(world->ice), world->peer.ufrag);
			snprintf(old_pwd, sizeof(old_pwd), "%s", ice_local_pwd(world->ice));
			restart(world);
			// The offer travels: the old pair carries on and keeps its consent.
			assert_int_equal(forge(world, old_name, old_pwd, true), DROP_NONE);
			world_run(world, 8000 * MS, ICE_DISCONNECTED);
			assert_int_equal(ice_state(world->ice), ICE_CONNECTED);
			assert_true(ice_selected(world->ice, &remote));
			peer_restart(world);
			set_remote(world);
			add(world, next, HOST_PRIORITY(65535));
			assert_true(ice_selected(world->ice, &remote));
			uint64_t start_ns = world->now_ns;
			world_run(world, 2 * MS, -1);
			assert_int_equal(ice_state(world->ice), ICE_CONNECTED);
			assert_selected(world, next);
			assert_int_equal(world->now_ns - start_ns, 2 * MS);
			assert_int_equal(forge(world, old_name, old_pwd, true), DROP_STUN_BAD_USERNAME);
			world_run(world, 20000 * MS, ICE_DISCONNECTED);
			assert_selected(world, next);
			assert_int_equal(world->peer.selected, (int)next);
			next = next == 1 ? 0 : 1;
		}
		world_destroy(world);
	}
}

static void test_restart_twice_before_the_answer(void **state)
{
	struct ice_world *world = connected(false);
	restart(world);
	restart(world);
	world_run(world, 4000 * MS, -1);
	assert_selected(world, 0);
	peer_restart(world);
	set_remote(world);
	add(world, 0, HOST_PRIORITY(65535));
	world_run(world, 4000 * MS, -1);
	assert_selected(world, 0);
	assert_int_equal(world->peer.selected, 0);
	world_destroy(world);
}

// A server that was slow to take in our first offer answers the second one with new credentials, and has forgotten the first ones.
static void test_peer_changes_its_mind(void **state)
{
	for (int checked = 0; checked < 2; checked++) {
		struct ice_world *world = world_create(false, 5 * MS);
		add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
		world->peer.addresses[0].mute = checked == 1; // its answers to the first checks are lost
		set_remote(world);
		if (checked)
			world_run(world, 300 * MS, -1);
		peer_restart(world);
		world->peer.addresses[0].mute = false;
		struct err err = {""};
		assert_int_equal(ice_set_remote(world->ice, world->peer.ufrag, world->peer.pwd, false, &err), 1);
		uint64_t start_ns = world->now_ns;
		world_run(world, 5000 * MS, ICE_CONNECTED);
		assert_selected(world, 0);
		assert_int_equal(world->now_ns - start_ns, 10 * MS);
		world_run(world, 100 * MS, -1);
		assert_int_equal(world->peer.selected, 0);
		// Once a pair carries traffic it is another matter.
		peer_restart(world);
		assert_int_equal(ice_set_remote(world->ice, world->peer.ufrag, world->peer.pwd, false, &err), -EALREADY);
		world_destroy(world);
	}
}

static void test_restart_after_failure(void **state)
{
	struct ice_world *world = connected(true);
	world->peer.addresses[0].dead = true;
	world_run(world, 60000 * MS, ICE_FAILED);
	assert_int_equal(ice_state(world->ice), ICE_FAILED);
	world->peer.addresses[0].dead = false;
	restart(world);
	assert_int_equal(ice_state(world->ice), ICE_NEW);
	peer_restart(world);
	set_remote(world);
	add(world, 0, HOST_PRIORITY(65535));
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	world_destroy(world);
}

// The new generation finds nothing: the old pair carries on as long as it has consent.
static void test_restart_that_fails(void **state)
{
	struct ice_world *world = connected(true);
	unsigned dead = world_add_address(world, BRIDGE_IP, 1);
	struct err err;
	restart(world);
	assert_int_equal(ice_set_remote(world->ice, "otherufrag", "otherpasswordoftwentytwo", true, &err), 0);
	add(world, dead, HOST_PRIORITY(65535));
	world_run(world, 30000 * MS, ICE_DISCONNECTED);
	assert_selected(world, 0);
	world->peer.addresses[0].dead = true;
	world_run(world, 30000 * MS, ICE_FAILED);
	assert_int_equal(ice_state(world->ice), ICE_FAILED);
	world_destroy(world);
}

// A full peer finds us before signalling says where it is.
static void test_loss(void **state)
{
	for (unsigned every = 3; every < 12; every++) {
		for (int lite = 0; lite < 2; lite++) {
			for (unsigned seed = 0; seed < 8; seed++) {
				struct ice_world *world = world_create(lite, 20 * MS);
				world->lose_every = every;
				world->seed = seed;
				unsigned dead = world_add_address(world, BRIDGE_IP, 7882);
				unsigned good = world_add_address(world, SERVER_IP, 7882);
				world->peer.addresses[dead].dead = true;
				add(world, dead, HOST_PRIORITY(65535));
				add(world, good, HOST_PRIORITY(1));
				set_remote(world);
				world_run(world, 5000 * MS, ICE_CONNECTED);
				assert_selected(world, good);
				// Steady loss does not look like a lost peer.
				if (every > 3) {
					world_run(world, 60000 * MS, ICE_DISCONNECTED);
					assert_selected(world, good);
					assert_int_equal(world->peer.selected, (int)good);
				}
				world_destroy(world);
			}
		}
	}
}

static void test_probe(void **state)
{
	struct ice_world *world = connected(true);
	uint64_t consent_ns = ice_consent_ns(world->ice);
	ice_probe(world->ice, world->now_ns);
	world_run(world, 2 * MS, -1);
	assert_true(ice_consent_ns(world->ice) == world->now_ns);
	assert_true(ice_consent_ns(world->ice) > consent_ns);
	// Dead: it asks three times within the 300 ms of a join, and moves nothing.
	world->peer.addresses[0].dead = true;
	consent_ns = ice_consent_ns(world->ice);
	unsigned sent = world->sent;
	ice_probe(world->ice, world->now_ns);
	world_run(world, 300 * MS, -1);
	assert_int_equal(world->sent - sent, 3); // 0, 50, 150
	assert_true(ice_consent_ns(world->ice) == consent_ns);
	world_destroy(world);
	// Without a pair: nothing.
	world = world_create(true, MS);
	ice_probe(world->ice, world->now_ns);
	assert_int_equal(world->sent, 0);
	world_destroy(world);
}

static void test_credentials(void **state)
{
	struct ice_world *world = world_create(true, MS), *other = world_create(true, MS);
	struct err err;
	char longest[258];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(strlen(ice_local_ufrag(world->ice)), 16);
	assert_int_equal(strlen(ice_local_pwd(world->ice)), 32);
	assert_string_not_equal(ice_local_ufrag(world->ice), ice_local_ufrag(other->ice));
	assert_string_not_equal(ice_local_pwd(world->ice), ice_local_pwd(other->ice));
	assert_int_equal(ice_local_priority(), 2130706431);
	assert_int_equal(ice_set_remote(world->ice, "abc", world->peer.pwd, true, &err), -EINVAL);
	assert_int_equal(ice_set_remote(world->ice, "ab:cd", world->peer.pwd, true, &err), -EINVAL);
	assert_int_equal(ice_set_remote(world->ice, "abcd", "tooshort", true, &err), -EINVAL);
	assert_int_equal(ice_set_remote(world->ice, "abcd", longest, true, &err), -EINVAL);
	assert_true(strlen(err.text) > 0);
	assert_int_equal(ice_set_remote(world->ice, longest + 1, longest + 1, true, &err), 0);
	assert_int_equal(ice_set_remote(world->ice, longest + 1, longest + 1, true, &err), 0);
	assert_int_equal(ice_set_remote(world->ice, "abcd", longest + 1, true, &err), 1);
	assert_int_equal(ice_set_remote(world->ice, longest + 1, longest + 1, true, &err), 1);
	// The longest names still fit into a request.
	world_add_address(world, SERVER_IP, 1);
	add(world, 0, 1);
	world_poll(world);
	assert_int_equal(world->sent, 1);
	ice_destroy(NULL);
	world_destroy(world);
	world_destroy(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connects_in_one_round_trip),
		cmocka_unit_test(test_reordering),
		cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_long_way),
		cmocka_unit_test(test_consent_keeps_its_period),
		cmocka_unit_test(test_best_candidate_is_dead),
		cmocka_unit_test(test_best_of_several_living),
		cmocka_unit_test(test_one_way_candidate),
		cmocka_unit_test(test_late_candidate),
		cmocka_unit_test(test_no_pair_in_time),
		cmocka_unit_test(test_consent_lost_and_found),
		cmocka_unit_test(test_consent_lost_for_good),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_restart_twice_before_the_answer),
		cmocka_unit_test(test_peer_changes_its_mind),
		cmocka_unit_test(test_restart_after_failure),
		cmocka_unit_test(test_restart_that_fails),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_credentials),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
