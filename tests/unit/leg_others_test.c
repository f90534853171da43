// SPDX-License-Identifier: ISC
//
// leg_others_test.c - the crowd in a room is counted right through any coming and going, and found without walking over it.
//
// Runs on: control (played by the test).

#include "controlplane/leg_others.h"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define STEPS 200000
#define CHAIN_MAX 24 // of 4096 in 4096 chains by chance: 10 and more is one case in ten thousand

static struct leg_others others;

static struct leg_participant *says(const char *sid, const char *identity, bool here, const char *target)
{
	char sid_text[128], identity_text[64];
	Livekit__ParticipantInfo info = LIVEKIT__PARTICIPANT_INFO__INIT;
	snprintf(sid_text, sizeof(sid_text), "%s", sid);
	snprintf(identity_text, sizeof(identity_text), "%s", identity);
	info.sid = sid_text;
	info.identity = identity_text;
	info.state = here ? LIVEKIT__PARTICIPANT_INFO__STATE__ACTIVE : LIVEKIT__PARTICIPANT_INFO__STATE__DISCONNECTED;
	return leg_others_set(&others, &info, target);
}

static unsigned longest_chain(void)
{
	unsigned longest = 0;
	for (unsigned i = 0; i < others.room; i++) {
		unsigned length = 0;
		for (unsigned at = others.chains[i]; at != 0; at = others.list[at - 1].next)
			length++;
		longest = MAX_OF(longest, length);
	}
	return longest;
}

static void coming_and_going_is_counted(void **state)
{
	static const char *const who[] = {"phone", "other", "third"};
	enum { SIDS = 600 };
	unsigned here[SIDS] = {0}; // 1 + who
	uint32_t random = 1;
	char sid[80];
	for (unsigned step = 0; step < STEPS; step++) {
		random = random * 1664525u + 1013904223u;
		unsigned i = (random >> 8) % SIDS, as = (random >> 20) % 3;
		bool comes = random >> 31;
		snprintf(sid, sizeof(sid), "PA_%u", i);
		struct leg_participant *other = says(sid, who[as], comes, "phone");
		here[i] = comes ? 1 + as : 0;
		assert_int_equal(other != NULL, comes);
		if (comes)
			assert_string_equal(other->identity, who[as]);
		if (step % 997 != 0)
			continue;
		unsigned count = 0, targets = 0;
		for (unsigned k = 0; k < SIDS; k++) {
			snprintf(sid, sizeof(sid), "PA_%u", k);
			other = leg_others_find(&others, sid);
			assert_int_equal(other != NULL, here[k] != 0);
			if (other != NULL) {
				assert_string_equal(other->sid, sid);
				assert_string_equal(other->identity, who[here[k] - 1]);
			}
			count += here[k] != 0;
			targets += here[k] == 1;
		}
		assert_int_equal(others.count, count);
		assert_int_equal(others.targets, targets);
		assert_int_equal(leg_others_target(&others) != NULL, targets != 0);
	}
	leg_others_retarget(&others, "third");
	for (unsigned i = 0; i < others.count; i++)
		assert_int_equal(others.list[i].target, strcmp(others.list[i].identity, "third") == 0);
	assert_string_equal(leg_others_target(&others)->identity, "third");
	leg_others_retarget(&others, "");
	assert_null(leg_others_target(&others));
}

static void full_room_keeps_a_place_for_the_target(void **state)
{
	char sid[80];
	for (unsigned i = 0; i < LEG_OTHERS_MAX; i++) {
		snprintf(sid, sizeof(sid), "PA_%u", i);
		assert_non_null(says(sid, "somebody", true, "phone"));
	}
	assert_null(says("PA_more", "somebody", true, "phone"));
	assert_non_null(says("PA_0", "somebody", true, "phone")); // known
	assert_non_null(says("PA_phone", "phone", true, "phone"));
	assert_int_equal(others.count, LEG_OTHERS_MAX);
	assert_int_equal(others.targets, 1);
	assert_null(leg_others_find(&others, sid)); // whose place it took
	assert_in_range(longest_chain(), 1, CHAIN_MAX);
}

// FNV of the sids below ends in twelve zero bits each: made for one chain of a hash that everybody can compute.
static void sids_cannot_be_made_for_one_chain(void **state)
{
	char sid[80];
	unsigned made = 0;
	for (unsigned i = 0; made < 1000; i++) {
		uint32_t hash = 2166136261u;
		snprintf(sid, sizeof(sid), "%x", i);
		for (const char *c = sid; *c != '\0'; c++)
			hash = (hash ^ (uint8_t)*c) * 16777619u;
		if ((hash & 4095) != 0)
			continue;
		assert_non_null(says(sid, "somebody", true, ""));
		made++;
	}
	assert_int_equal(others.count, 1000);
	assert_in_range(longest_chain(), 1, CHAIN_MAX);
}

static void odd_sids_are_one_each_or_nobody(void **state)
{
	char sid[100];
	memset(sid, 'x', sizeof(sid) - 1);
	sid[sizeof(sid) - 1] = '\0';
	assert_null(says("", "phone", true, "phone"));
	assert_int_equal(others.count, 0);
	for (unsigned i = 0; i < 10; i++)
		assert_non_null(says(sid, "long", true, ""));
	assert_int_equal(others.count, 1);
	leg_others_clear(&others);
	assert_null(leg_others_find(&others, sid));
	assert_non_null(says(sid, "long", true, ""));
	assert_null(says(sid, "long", false, ""));
	assert_int_equal(others.count, 0);
}

static int over(void **state)
{
	leg_others_free(&others);
	return 0;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_teardown(name, over)
	const struct CMUnitTest tests[] = {
		CASE(coming_and_going_is_counted),
		CASE(full_room_keeps_a_place_for_the_target),
		CASE(sids_cannot_be_made_for_one_chain),
		CASE(odd_sids_are_one_each_or_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
