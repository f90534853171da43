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

#define HOST_PRIORITY(local_preference) (126u << 24 | (uint32_t)(local_preference) << 8 | 255u)
#define SERVER_IP 0x0a000001
#define BRIDGE_IP 0xac110001
#define PUBLIC_IP 0xcb007101

static void set_remote(struct ice_world *world)
{
	struct err err;
	assert_int_equal(ice_set_remote(world->ice, world->peer.ufrag, world->peer.pwd, world->peer.lite, &err), 0);
}

static void add(struct ice_world *world, unsigned at, uint32_t priority)
{
	assert_int_equal(ice_add_remote_candidate(world->ice, world->peer.addresses[at].endpoint, priority), 0);
}

static void assert_selected(struct ice_world *world, unsigned at)
{
	struct endpoint remote;
	assert_int_equal(ice_state(world->ice), ICE_CONNECTED);
	assert_true(ice_selected(world->ice, &remote));
	assert_true(endpoint_equal(remote, world->peer.addresses[at].endpoint));
	assert_true(ice_is_valid_remote(world->ice, remote));
}

static struct ice_world *connected(bool lite)
{
	struct ice_world *world = world_create(lite, 1 * MS);
	add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
	set_remote(world);
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	world_run(world, 100 * MS, -1);
	return world;
}

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

static enum drop forge(struct ice_world *world, const char *username, const char *pwd, bool fingerprint)
{
	static const uint8_t id[STUN_TRANSACTION_BYTES] = "forgedforged";
	uint8_t data[512];
	struct stun_writer writer;
	stun_begin(&writer, data, sizeof(data), STUN_REQUEST, STUN_BINDING, id);
	if (username != NULL)
		stun_put(&writer, STUN_USERNAME, username, strlen(username));
	stun_put_u64(&writer, STUN_ICE_CONTROLLED, 1);
	if (pwd != NULL)
		stun_put_integrity(&writer, pwd, strlen(pwd));
	stun_put_fingerprint(&writer);
	size_t bytes = stun_end(&writer);
	if (!fingerprint)
		data[bytes - 1] ^= 1;
	return ice_input(world->ice, (struct endpoint){.ip = PUBLIC_IP, .port = 6}, data, bytes, world->now_ns);
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
static void test_peer_reflexive(void **state)
{
	struct ice_world *world = world_create(false, 1 * MS);
	unsigned at = world_add_address(world, SERVER_IP, 5555);
	world_run(world, 500 * MS, -1);
	assert_int_equal(world->peer.checks_answered, 3); // answered before its credentials are known
	assert_int_equal(ice_state(world->ice), ICE_NEW);
	assert_false(ice_is_valid_remote(world->ice, world->peer.addresses[at].endpoint));
	set_remote(world);
	uint64_t start_ns = world->now_ns;
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, at);
	assert_int_equal(world->now_ns - start_ns, 2 * MS);
	// Signalling names it afterwards: the same pair.
	add(world, at, HOST_PRIORITY(65535));
	world_run(world, 5000 * MS, -1);
	assert_selected(world, at);
	world_destroy(world);
}

// The peer checks us from an address that no signalling named, after everything is connected: media may come from it.
static void test_peer_moves(void **state)
{
	struct ice_world *world = connected(false);
	unsigned moved = world_add_address(world, PUBLIC_IP, 9);
	peer_check(world, moved);
	world_run(world, 10 * MS, -1);
	assert_true(ice_is_valid_remote(world->ice, world->peer.addresses[moved].endpoint));
	assert_selected(world, 0);
	world_destroy(world);
}

static void test_reflexive_places_are_bounded(void **state)
{
	struct ice_world *world = world_create(false, 1 * MS);
	for (unsigned i = 0; i < PEER_ADDRESSES_MAX; i++)
		world_add_address(world, PUBLIC_IP + i, 9);
	world_run(world, 100 * MS, -1);
	assert_int_equal(world->peer.checks_answered, PEER_ADDRESSES_MAX);
	for (unsigned i = 0; i < ICE_REMOTES_MAX; i++) {
		struct endpoint remote = {.ip = SERVER_IP, .port = (uint16_t)(1000 + i)};
		assert_int_equal(ice_add_remote_candidate(world->ice, remote, 1), 0);
		assert_int_equal(ice_add_remote_candidate(world->ice, remote, 1), 0);
	}
	assert_int_equal(ice_add_remote_candidate(world->ice, (struct endpoint){.ip = SERVER_IP, .port = 1}, 1), -ENOSPC);
	world_destroy(world);
}

static void test_forged_requests_are_not_answered(void **state)
{
	struct ice_world *world = connected(true);
	char good[100], swapped[100], wrong[100], ours_only[100];
	const char *pwd = ice_local_pwd(world->ice);
	snprintf(good, sizeof(good), "%s:%s", ice_local_ufrag(world->ice), world->peer.ufrag);
	snprintf(swapped, sizeof(swapped), "%s:%s", world->peer.ufrag, ice_local_ufrag(world->ice));
	snprintf(wrong, sizeof(wrong), "%s:%sx", ice_local_ufrag(world->ice), world->peer.ufrag);
	snprintf(ours_only, sizeof(ours_only), "%s", ice_local_ufrag(world->ice));
	unsigned sent = world->sent;
	assert_int_equal(forge(world, swapped, pwd, true), DROP_STUN_BAD_USERNAME);
	assert_int_equal(forge(world, wrong, pwd, true), DROP_STUN_BAD_USERNAME);
	assert_int_equal(forge(world, ours_only, pwd, true), DROP_STUN_BAD_USERNAME);
	assert_int_equal(forge(world, "", pwd, true), DROP_STUN_BAD_USERNAME);
	assert_int_equal(forge(world, NULL, pwd, true), DROP_STUN_BAD_USERNAME);
	assert_int_equal(forge(world, good, "not the password of anybody", true), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(forge(world, good, world->peer.pwd, true), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(forge(world, good, NULL, true), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(forge(world, good, pwd, false), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(ice_input(world->ice, world->local, (const uint8_t *)"x", 1, world->now_ns), DROP_STUN_MALFORMED);
	assert_int_equal(world->sent, sent);
	assert_int_equal(forge(world, good, pwd, true), DROP_NONE);
	assert_int_equal(world->sent, sent + 2); // the answer and a check of our own
	world_destroy(world);
}

// An answer counts only with our transaction, from the address asked, signed with the peer's password.
static uint8_t caught[1024];
static size_t caught_bytes;

static void catch_send(void *arg, struct endpoint remote, const uint8_t *data, size_t bytes)
{
	memcpy(caught, data, bytes);
	caught_bytes = bytes;
}

static enum drop respond(struct ice *ice, struct endpoint from, const uint8_t *id, const char *pwd, bool mapped, uint64_t now_ns)
{
	uint8_t data[256];
	struct stun_writer writer;
	stun_begin(&writer, data, sizeof(data), STUN_SUCCESS, STUN_BINDING, id);
	if (mapped)
		stun_put_mapped(&writer, from);
	if (pwd != NULL)
		stun_put_integrity(&writer, pwd, strlen(pwd));
	stun_put_fingerprint(&writer);
	return ice_input(ice, from, data, stun_end(&writer), now_ns);
}

static void test_forged_answers_do_not_connect(void **state)
{
	static const char pwd[] = "PeerPasswordOfThirtyTwoCharacter";
	struct endpoint server = {.ip = SERVER_IP, .port = 7882}, other = {.ip = PUBLIC_IP, .port = 7882};
	struct ice_config config = {.local = {.ip = 1, .port = 2}, .send = catch_send};
	struct err err;
	struct ice *ice = ice_create(&config, &err);
	assert_int_equal(ice_set_remote(ice, "PeerUfrag", pwd, false, &err), 0);
	assert_int_equal(ice_add_remote_candidate(ice, server, 1), 0);
	ice_poll(ice, MS);
	assert_true(caught_bytes > STUN_HEADER_BYTES);
	uint8_t id[STUN_TRANSACTION_BYTES], wrong[STUN_TRANSACTION_BYTES];
	memcpy(id, caught + 8, sizeof(id));
	memcpy(wrong, id, sizeof(wrong));
	wrong[11] ^= 1;
	assert_int_equal(respond(ice, server, wrong, pwd, true, 2 * MS), DROP_STUN_UNEXPECTED);
	assert_int_equal(respond(ice, other, id, pwd, true, 2 * MS), DROP_STUN_UNEXPECTED);
	assert_int_equal(respond(ice, server, id, ice_local_pwd(ice), true, 2 * MS), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(respond(ice, server, id, NULL, true, 2 * MS), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(respond(ice, server, id, pwd, false, 2 * MS), DROP_STUN_MALFORMED);
	assert_int_equal(ice_state(ice), ICE_CHECKING);
	assert_int_equal(respond(ice, server, id, pwd, true, 2 * MS), DROP_NONE);
	assert_int_equal(ice_state(ice), ICE_CONNECTED);
	assert_int_equal(respond(ice, server, id, pwd, true, 3 * MS), DROP_STUN_UNEXPECTED); // a second copy
	// Consent: nothing but a matching answer counts, not even late ones of the past.
	uint64_t consent_ns = ice_consent_ns(ice);
	ice_poll(ice, 3000 * MS);
	assert_memory_not_equal(caught + 8, id, sizeof(id));
	assert_int_equal(respond(ice, server, id, pwd, true, 3001 * MS), DROP_STUN_UNEXPECTED);
	assert_true(ice_consent_ns(ice) == consent_ns);
	assert_int_equal(respond(ice, server, caught + 8, pwd, true, 3002 * MS), DROP_NONE);
	assert_true(ice_consent_ns(ice) == 3002 * MS);
	// Too late, even if nobody polled in between.
	ice_poll(ice, 6000 * MS);
	assert_int_equal(respond(ice, server, caught + 8, pwd, true, 18003 * MS), DROP_STUN_UNEXPECTED);
	assert_int_equal(ice_state(ice), ICE_FAILED);
	ice_destroy(ice);
}

static struct ice *caught_agent(struct stun_message *ret_request)
{
	struct ice_config config = {.local = {.ip = 1, .port = 2}, .send = catch_send};
	struct err err;
	struct ice *ice = ice_create(&config, &err);
	assert_int_equal(ice_set_remote(ice, "peer", "PeerPasswordOfThirtyTwoCharacter", false, &err), 0);
	assert_int_equal(ice_add_remote_candidate(ice, (struct endpoint){.ip = SERVER_IP, .port = 7882}, 1), 0);
	ice_poll(ice, MS);
	assert_true(stun_decode(caught, caught_bytes, ret_request));
	return ice;
}

static enum drop ask(struct ice *ice, enum stun_kind kind, uint16_t method, uint16_t attribute, uint64_t value)
{
	static const uint8_t id[STUN_TRANSACTION_BYTES] = "asked";
	struct endpoint server = {.ip = SERVER_IP, .port = 7882};
	uint8_t data[256];
	char name[64];
	struct stun_writer writer;
	snprintf(name, sizeof(name), "%s:peer", ice_local_ufrag(ice));
	stun_begin(&writer, data, sizeof(data), kind, method, id);
	stun_put(&writer, STUN_USERNAME, name, strlen(name));
	stun_put_u64(&writer, attribute, value);
	stun_put_integrity(&writer, ice_local_pwd(ice), strlen(ice_local_pwd(ice)));
	stun_put_fingerprint(&writer);
	return ice_input(ice, server, data, stun_end(&writer), 2 * MS);
}

static void test_what_is_answered_how(void **state)
{
	struct stun_message message;
	struct ice *ice = caught_agent(&message);
	const char *pwd = ice_local_pwd(ice);
	uint64_t ours = message.tie_breaker;
	// An attribute that we would have to understand.
	assert_int_equal(ask(ice, STUN_REQUEST, STUN_BINDING, 0x0077, 1), DROP_NONE);
	assert_true(stun_decode(caught, caught_bytes, &message));
	assert_int_equal(message.kind, STUN_ERROR);
	assert_int_equal(message.error_code, STUN_UNKNOWN_ATTRIBUTE);
	assert_true(stun_check_integrity(&message, pwd, strlen(pwd)));
	assert_memory_equal(caught + STUN_HEADER_BYTES + 4 + 4 + 17 + 3, "\x00\x0a\x00\x02\x00\x77", 6);
	// A peer that thinks it is controlling, with a higher tie-breaker: ours is higher from now on.
	uint64_t theirs = ours < UINT64_MAX - 1 ? ours + 1 : ours;
	assert_int_equal(ask(ice, STUN_REQUEST, STUN_BINDING, STUN_ICE_CONTROLLING, theirs), DROP_NONE);
	assert_true(stun_decode(caught, caught_bytes, &message));
	assert_int_equal(message.error_code, STUN_ROLE_CONFLICT);
	assert_true(stun_check_integrity(&message, pwd, strlen(pwd)));
	ice_poll(ice, 60 * MS);
	assert_true(stun_decode(caught, caught_bytes, &message));
	assert_int_equal(message.kind, STUN_REQUEST);
	assert_true(message.controlling && message.tie_breaker > theirs);
	// No use for these, and no answer.
	caught_bytes = 0;
	assert_int_equal(ask(ice, STUN_INDICATION, STUN_BINDING, STUN_PRIORITY + 0x8000, 1), DROP_NONE);
	assert_int_equal(ask(ice, STUN_REQUEST, 0x003, STUN_SOFTWARE, 1), DROP_STUN_UNEXPECTED);
	assert_int_equal(caught_bytes, 0);
	ice_destroy(ice);
}

static void test_conflict_raises_the_tie_breaker(void **state)
{
	static const char pwd[] = "PeerPasswordOfThirtyTwoCharacter";
	struct stun_message message;
	struct ice *ice = caught_agent(&message);
	uint64_t ours = message.tie_breaker;
	uint8_t data[256], id[STUN_TRANSACTION_BYTES];
	struct stun_writer writer;
	memcpy(id, message.transaction, sizeof(id));
	stun_begin(&writer, data, sizeof(data), STUN_ERROR, STUN_BINDING, id);
	stun_put_error(&writer, STUN_ROLE_CONFLICT, "");
	stun_put_integrity(&writer, pwd, sizeof(pwd) - 1);
	struct endpoint server = {.ip = SERVER_IP, .port = 7882};
	assert_int_equal(ice_input(ice, server, data, stun_end(&writer), 2 * MS), DROP_NONE);
	caught_bytes = 0;
	ice_poll(ice, 3 * MS);
	assert_int_equal(caught_bytes, 0); // not at once: two stubborn ones would make a storm
	ice_poll(ice, 110 * MS);
	assert_true(stun_decode(caught, caught_bytes, &message));
	assert_true(message.controlling && message.use_candidate);
	assert_true(message.tie_breaker > ours || ours == UINT64_MAX);
	assert_memory_not_equal(message.transaction, id, sizeof(id));
	ice_destroy(ice);
}

// 487: we never turn controlled, the peer gives in to our raised tie-breaker, whoever noticed first.
static void test_role_conflict(void **state)
{
	for (int round = 0; round < 2; round++) {
		struct ice_world *world = world_create(false, 1 * MS);
		world->peer.controlling = true;
		world->peer.tie_breaker = UINT64_C(0xfffffff000000000);
		world->peer.check_ns = world->now_ns + (round == 0 ? 0 : 1000) * MS;
		add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
		if (round == 1)
			set_remote(world);
		world_run(world, 900 * MS, -1);
		assert_true(world->peer.conflicts > 0);
		if (round == 0)
			set_remote(world);
		world_run(world, 5000 * MS, ICE_CONNECTED);
		assert_selected(world, 0);
		world_run(world, 3000 * MS, -1);
		assert_int_equal(world->peer.selected, 0);
		assert_false(world->peer.controlling);
		world_destroy(world);
	}
}

static void test_peer_refuses_unknown_attribute(void **state)
{
	struct ice_world *world = world_create(true, 1 * MS);
	world->peer.old = true;
	add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
	set_remote(world);
	world_run(world, 1000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	assert_int_equal(world->peer.selected, 0);
	world_destroy(world);
}

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
		cmocka_unit_test(test_peer_reflexive),
		cmocka_unit_test(test_peer_moves),
		cmocka_unit_test(test_reflexive_places_are_bounded),
		cmocka_unit_test(test_forged_requests_are_not_answered),
		cmocka_unit_test(test_forged_answers_do_not_connect),
		cmocka_unit_test(test_what_is_answered_how),
		cmocka_unit_test(test_conflict_raises_the_tie_breaker),
		cmocka_unit_test(test_role_conflict),
		cmocka_unit_test(test_peer_refuses_unknown_attribute),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_credentials),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
