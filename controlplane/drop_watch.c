// SPDX-License-Identifier: ISC
//
// drop_watch.c - what is being dropped now: counters read every second, so that health and log can say what is going on.
//
// Runs on: control.

#include "controlplane/drop_watch.h"

#include "controlplane/control.h"
#include "controlplane/log.h"
#include "dataplane/dataplane.h"

#define SAMPLE_MS 1000
#define SAMPLES (DROP_WATCH_SECONDS + 1)
#define LOG_EVERY_NS 10000000000u // losses, while they go on

// Losses: somebody was behind, or there was no memory. PUNT_FULL is not among them: that is strangers, and who is known has a ring
// of his own.
bool drop_is_loss(enum drop reason)
{
	switch (reason) {
	case DROP_KERNEL_RING_FULL:
	case DROP_RX_NO_MBUF:
	case DROP_TX_RING_FULL:
	case DROP_ALLOC_FAILED:
	case DROP_PUNT_KNOWN_FULL:
	case DROP_ASSOC_FULL:
	case DROP_INJECT_FULL:
	case DROP_HANDOVER_FULL:
	case DROP_INBOX_FULL:
		return true;
	default:
		return false;
	}
}

// What is dropped before or at the door of a transport; later reasons are the business of one user.
static bool is_strangers(enum drop reason)
{
	bool data = reason >= DROP_DATA_MALFORMED && reason <= DROP_DATA_UNWANTED;
	return reason >= DROP_ETH_SHORT && reason <= DROP_SRTCP_REPLAY && !data && !drop_is_loss(reason);
}

void drop_watch_sample(struct drop_watch *watch, const uint64_t counts[static DROP_COUNT], uint64_t now_ns)
{
	unsigned at = watch->seen++ % SAMPLES;
	watch->at_ns[at] = now_ns;
	memcpy(watch->counts[at], counts, sizeof(watch->counts[at]));
}

void drop_watch_look(const struct drop_watch *watch, struct drop_watch_view *ret_view)
{
	*ret_view = (struct drop_watch_view){.flood_most = DROP_NONE};
	unsigned kept = MIN_OF(watch->seen, SAMPLES);
	if (kept < 2)
		return;
	unsigned newest = (watch->seen - 1) % SAMPLES, oldest = (watch->seen - kept) % SAMPLES;
	unsigned before = (watch->seen - 1 - MIN_OF(kept - 1, DROP_WATCH_FLOOD_SECONDS)) % SAMPLES;
	double seconds = (double)(watch->at_ns[newest] - watch->at_ns[before]) / 1e9;
	uint64_t sum = 0, most = 0;
	for (enum drop reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
		if (drop_is_loss(reason))
			ret_view->lost[reason] = watch->counts[newest][reason] - watch->counts[oldest][reason];
		if (!is_strangers(reason))
			continue;
		uint64_t count = watch->counts[newest][reason] - watch->counts[before][reason];
		sum += count;
		if (count > most)
			ret_view->flood_most = reason;
		most = MAX_OF(most, count);
	}
	if (seconds > 0 && (double)sum / seconds >= DROP_WATCH_FLOOD_RATE)
		ret_view->flood_rate = (uint64_t)((double)sum / seconds);
}

// ---- the daemon's own

static struct {
	struct drop_watch watch;
	struct control_timer timer;
	bool flooded;
	uint64_t lost_told[DROP_COUNT], told_ns; // counters as they were told last
} own;

static void tell_flood(const struct drop_watch_view *view)
{
	bool flooded = view->flood_rate > 0;
	if (flooded == own.flooded)
		return;
	own.flooded = flooded;
	if (flooded)
		log_line(LOG_WARN, "A flood on the wire", I("packetsPerSecond", view->flood_rate),
			S("most", drop_name(view->flood_most)), S("meaning", drop_sentence(view->flood_most)));
	else
		log_line(LOG_INFO, "The flood on the wire is over");
}

static void tell_losses(const uint64_t counts[static DROP_COUNT], uint64_t now_ns)
{
	if (own.told_ns != 0 && now_ns - own.told_ns < LOG_EVERY_NS)
		return;
	for (enum drop reason = DROP_NONE + 1; reason < DROP_COUNT; reason++) {
		if (!drop_is_loss(reason) || counts[reason] == own.lost_told[reason])
			continue;
		log_line(LOG_WARN, "Packets were lost", S("reason", drop_name(reason)), I("count", counts[reason] - own.lost_told[reason]),
			S("meaning", drop_sentence(reason)));
		own.lost_told[reason] = counts[reason];
		own.told_ns = now_ns;
	}
}

static void on_sample(void *unused)
{
	ENTERS(control_role);
	struct dataplane_info info;
	struct drop_watch_view view;
	uint64_t now_ns = clock_mono_ns();
	dataplane_info(&info);
	drop_watch_sample(&own.watch, info.drops, now_ns);
	drop_watch_look(&own.watch, &view);
	tell_flood(&view);
	tell_losses(info.drops, now_ns);
	control_timer_start(&own.timer, SAMPLE_MS, on_sample, unused);
}

void drop_watch_start(void)
{
	memset(&own, 0, sizeof(own));
	on_sample(NULL);
}

void drop_watch_stop(void)
{
	control_timer_stop(&own.timer);
}

void drop_watch_now(struct drop_watch_view *ret_view)
{
	drop_watch_look(&own.watch, ret_view);
}
