// SPDX-License-Identifier: ISC
//
// ice_request_test.c - what the ICE agent makes of requests and answers: from places it did not know, forged, in conflict, strange.
//
// Runs on: any.
#include "dataplane/base.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/support/ice_peer.h"

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
	// The name comes first: a stranger's message costs no sum over all of it.
	assert_int_equal(forge(world, wrong, pwd, false), DROP_STUN_BAD_USERNAME);
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

static uint8_t fingerprint_flaw;

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
	size_t bytes = stun_end(&writer);
	data[bytes - 1] ^= fingerprint_flaw;
	return ice_input(ice, from, data, bytes, now_ns);
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
	fingerprint_flaw = 1;
	assert_int_equal(respond(ice, server, id, pwd, true, 2 * MS), DROP_STUN_BAD_INTEGRITY);
	assert_int_equal(respond(ice, server, wrong, pwd, true, 2 * MS), DROP_STUN_UNEXPECTED);
	fingerprint_flaw = 0;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_reflexive),
		cmocka_unit_test(test_peer_moves),
		cmocka_unit_test(test_reflexive_places_are_bounded),
		cmocka_unit_test(test_forged_requests_are_not_answered),
		cmocka_unit_test(test_forged_answers_do_not_connect),
		cmocka_unit_test(test_what_is_answered_how),
		cmocka_unit_test(test_conflict_raises_the_tie_breaker),
		cmocka_unit_test(test_role_conflict),
		cmocka_unit_test(test_peer_refuses_unknown_attribute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
