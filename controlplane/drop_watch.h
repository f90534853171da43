// SPDX-License-Identifier: ISC
//
// drop_watch.h - what is being dropped now: counters read every second, so that health and log can say what is going on.
//
// Two kinds: what strangers send and nobody waits for (a flood, harmless up to the rate that the machine takes), and what was
// lost because somebody was behind (never harmless).
//
// Runs on: control.
#pragma once

#include "dataplane/base.h"
#include "dataplane/drops.h"
#include "dataplane/roles.h"

#define DROP_WATCH_SECONDS 60       // losses are told for so long
#define DROP_WATCH_FLOOD_SECONDS 3  // over which a flood is measured
#define DROP_WATCH_FLOOD_RATE 5000u // a second; below it is what any open port gets

struct drop_watch {
	unsigned seen; // samples taken so far, of which the last are kept
	uint64_t at_ns[DROP_WATCH_SECONDS + 1];
	uint64_t counts[DROP_WATCH_SECONDS + 1][DROP_COUNT];
};

struct drop_watch_view {
	uint64_t flood_rate;   // packets a second that are for nobody; 0: below what is told
	enum drop flood_most;  // what most of them are
	uint64_t lost[DROP_COUNT]; // within the last DROP_WATCH_SECONDS, of those that are losses
};

bool drop_is_loss(enum drop reason);
void drop_watch_sample(struct drop_watch *watch, const uint64_t counts[static DROP_COUNT], uint64_t now_ns);
void drop_watch_look(const struct drop_watch *watch, struct drop_watch_view *ret_view);

// The daemon's own: samples dataplane_info every second and says in the log when a flood begins and ends and what was lost.
void drop_watch_start(void) RUNS_ON(control_role);
void drop_watch_stop(void) RUNS_ON(control_role);
void drop_watch_now(struct drop_watch_view *ret_view) RUNS_ON(control_role);
