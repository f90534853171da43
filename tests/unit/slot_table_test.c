// SPDX-License-Identifier: ISC
//
// slot_table_test.c - the slot's table, cell by cell.
//
// Runs on: control (played by the test); legs and the dataplane are the test's own.

#include "tests/support/slot_world.h"

enum { GONE = SLOT_PHASES };

// What a cell does: the phase afterwards, and what the caller that waits (caller 1, in JOINING caller 0) and the newcomer
// (caller 2, for the JOIN events) are told: "" success, NULL nothing yet, else a part of the error.
struct cell {
	enum slot_phase phase;
	enum slot_event event;
	int after;
	const char *waiting, *newcomer;
};

static const struct cell cells[] = {
	{SLOT_IDLE, SLOT_JOIN_ELSEWHERE, SLOT_JOINING, NULL, NULL},
	{SLOT_IDLE, SLOT_LEAVE, GONE, NULL, NULL},
	{SLOT_IDLE, SLOT_LINGER_OVER, GONE, NULL, NULL},
	{SLOT_IDLE, SLOT_SHUTDOWN, SLOT_IDLE, NULL, NULL},

	{SLOT_JOINING, SLOT_JOIN_SHARED, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_JOIN_ELSEWHERE, SLOT_JOINING, "superseded", NULL},
	{SLOT_JOINING, SLOT_LEAVE, GONE, "left", NULL},
	{SLOT_JOINING, SLOT_CALLERS_GONE, GONE, "cancelled", NULL},
	{SLOT_JOINING, SLOT_ACCEPTED, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_READY, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_ARRIVED, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_DATA, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_FAILED, SLOT_IDLE, "failed to connect to room: a cause", NULL},
	{SLOT_JOINING, SLOT_JOIN_LATE, SLOT_IDLE, "longer than its limit", NULL},
	{SLOT_JOINING, SLOT_FRAME_LATE, SLOT_JOINING, NULL, NULL},
	{SLOT_JOINING, SLOT_SHUTDOWN, SLOT_IDLE, "shutting down", NULL},

	{SLOT_LIVE, SLOT_JOIN_HERE, SLOT_RESUMING, NULL, NULL},
	{SLOT_LIVE, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, NULL, NULL},
	{SLOT_LIVE, SLOT_LEAVE, SLOT_GRACE, NULL, NULL},
	{SLOT_LIVE, SLOT_LOST, SLOT_IDLE, NULL, NULL},
	{SLOT_LIVE, SLOT_SHUTDOWN, SLOT_IDLE, NULL, NULL},

	{SLOT_GRACE, SLOT_JOIN_HERE, SLOT_RESUMING, NULL, NULL},
	{SLOT_GRACE, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, NULL, NULL},
	{SLOT_GRACE, SLOT_LOST, GONE, NULL, NULL},
	{SLOT_GRACE, SLOT_GRACE_OVER, GONE, NULL, NULL},
	{SLOT_GRACE, SLOT_SHUTDOWN, SLOT_IDLE, NULL, NULL},

	{SLOT_RESUMING, SLOT_JOIN_SHARED, SLOT_RESUMING, NULL, NULL},
	{SLOT_RESUMING, SLOT_JOIN_HERE, SLOT_RESUMING, "superseded", NULL},
	{SLOT_RESUMING, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, "superseded", NULL},
	{SLOT_RESUMING, SLOT_LEAVE, SLOT_GRACE, "left", NULL},
	{SLOT_RESUMING, SLOT_CALLERS_GONE, SLOT_LIVE, "cancelled", NULL},
	{SLOT_RESUMING, SLOT_RESUMED, SLOT_LIVE, "", NULL},
	{SLOT_RESUMING, SLOT_REFUSED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_RESUMING, SLOT_RESUME_FAILED, SLOT_LIVE, "failed to connect to room: a cause", NULL},
	{SLOT_RESUMING, SLOT_LOST, SLOT_JOINING, NULL, NULL},
	{SLOT_RESUMING, SLOT_JOIN_LATE, SLOT_LIVE, "longer than its limit", NULL},
	{SLOT_RESUMING, SLOT_SHUTDOWN, SLOT_IDLE, "shutting down", NULL},

	{SLOT_SWAPPING, SLOT_JOIN_SHARED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_JOIN_HERE, SLOT_RESUMING, "superseded", NULL},
	{SLOT_SWAPPING, SLOT_JOIN_ELSEWHERE, SLOT_SWAPPING, "superseded", NULL},
	{SLOT_SWAPPING, SLOT_LEAVE, SLOT_GRACE, "left", NULL},
	{SLOT_SWAPPING, SLOT_CALLERS_GONE, SLOT_LIVE, "cancelled", NULL},
	{SLOT_SWAPPING, SLOT_ACCEPTED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_READY, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_ARRIVED, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_DATA, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_FAILED, SLOT_LIVE, "failed to connect to room: a cause", NULL},
	{SLOT_SWAPPING, SLOT_LOST, SLOT_JOINING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_JOIN_LATE, SLOT_LIVE, "longer than its limit", NULL},
	{SLOT_SWAPPING, SLOT_FRAME_LATE, SLOT_SWAPPING, NULL, NULL},
	{SLOT_SWAPPING, SLOT_SHUTDOWN, SLOT_IDLE, "shutting down", NULL},
};

static void fire(struct slot *slot, enum slot_phase phase, enum slot_event event)
{
	ENTERS(control_role);
	struct caller *waiting = &callers[phase == SLOT_JOINING ? 0 : 1];
	switch (event) {
	case SLOT_JOIN_SHARED:
		call(2, "room", phase == SLOT_SWAPPING ? "b" : "a", "phone");
		break;
	case SLOT_JOIN_HERE:
		call(2, "room", "a", phase == SLOT_RESUMING ? "another phone" : "phone");
		break;
	case SLOT_JOIN_ELSEWHERE:
		call(2, "elsewhere", "a", "phone");
		break;
	case SLOT_CALLERS_GONE:
		slot_join_cancel(&waiting->join);
		break;
	case SLOT_LEAVE:
		slot_leave("user", "test");
		break;
	default:
		slot_fire(slot, event, &(struct slot_cause){.reason = "participant_removed", .cause = "a cause"});
	}
}

static void every_cell(void **state)
{
	(void)state;
	ENTERS(control_role);
	unsigned acting = 0;
	for (int phase = 0; phase < SLOT_PHASES; phase++) {
		for (int event = 0; event < SLOT_EVENTS; event++) {
			const struct cell *cell = NULL;
			char where[64];
			snprintf(where, sizeof(where), "phase %s, event %d", slot_phase_text((enum slot_phase)phase), event);
			for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
				if ((int)cells[i].phase == phase && (int)cells[i].event == event)
					cell = &cells[i];
			struct slot *slot = in_phase((enum slot_phase)phase);
			if (cell == NULL) { // an event that says nothing there
				if (slot_action_of((enum slot_phase)phase, (enum slot_event)event) != NULL)
					fail_msg("%s: an action without a test", where);
				slot_fire(slot, (enum slot_event)event, NULL);
				if ((int)slot_phase(slot) != phase)
					fail_msg("%s: became %s", where, slot_phase_text(slot_phase(slot)));
				end();
				continue;
			}
			acting++;
			assert_non_null(slot_action_of((enum slot_phase)phase, (enum slot_event)event));
			fire(slot, cell->phase, cell->event);
			slot = slot_find("user");
			int after = slot == NULL ? GONE : (int)slot_phase(slot);
			if (after != cell->after)
				fail_msg("%s: became %d, expected %d", where, after, cell->after);
			if (cell->phase != SLOT_IDLE)
				told(&callers[phase == SLOT_JOINING ? 0 : 1], phase == SLOT_LIVE || phase == SLOT_GRACE ? NULL : cell->waiting,
					where);
			if (cell->event <= SLOT_JOIN_ELSEWHERE)
				told(&callers[2], cell->newcomer, where);
			end();
		}
	}
	assert_int_equal(acting, ARRAY_SIZE(cells));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
