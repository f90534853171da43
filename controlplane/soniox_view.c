// SPDX-License-Identifier: ISC
//
// soniox_view.c - what an operator sees of a stream to Soniox, in numbers and in one sentence.
//
// Runs on: any.

#include "controlplane/soniox_stream.h"

static const struct {
	const char *word, *sentence;
} states[] = {
	[SONIOX_IDLE] = {"idle", "there is nothing to say: no connection is open and none is paid for"},
	[SONIOX_QUEUED] = {"queued", "waits for a place within the account's limits"},
	[SONIOX_BACKOFF] = {"retrying", "waits before the next attempt"},
	[SONIOX_CONNECTING] = {"connecting", "a connection is being opened"},
	[SONIOX_LIVE] = {"live", "connected"},
	[SONIOX_FINISHING] = {"finishing", "all is sent, the last words are awaited"},
	[SONIOX_STOPPED] = {"stopped", "refused for good"},
	[SONIOX_ENDED] = {"ended", "over"},
};

const char *soniox_state_word(enum soniox_state state)
{
	return states[state].word;
}

const char *soniox_view_sentence(const struct soniox_view *view, char *ret_text, size_t size)
{
	bool waits = view->state == SONIOX_BACKOFF || view->state == SONIOX_STOPPED;
	if (view->state == SONIOX_LIVE)
		snprintf(ret_text, size, "%s", soniox_health_sentence(view->health));
	else if (view->state == SONIOX_QUEUED && view->queue_position > 0)
		snprintf(ret_text, size, "number %u in the line for a place within the account's limits", view->queue_position);
	else if (waits && view->error[0] != '\0')
		snprintf(ret_text, size, "%s: %s", states[view->state].sentence, view->error);
	else
		snprintf(ret_text, size, "%s", states[view->state].sentence);
	size_t length = strlen(ret_text);
	if (view->lost_ms + view->uncertain_ms > 0)
		snprintf(ret_text + length, size - length, "; so far %llu ms were never sent and %llu ms perhaps not heard",
			(unsigned long long)view->lost_ms, (unsigned long long)view->uncertain_ms);
	return ret_text;
}
