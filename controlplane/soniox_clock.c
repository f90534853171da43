// SPDX-License-Identifier: ISC
//
// soniox_clock.c - three clocks of a stream (last audio sent, last message, last token) and what they say of its health.
//
// Runs on: any.

#include "controlplane/soniox_clock.h"

#define MS 1000000u

void soniox_clock_opened(struct soniox_clock *clock, uint64_t now_ns)
{
	clock->opened_ns = now_ns;
	clock->unanswered_ns = 0;
}

void soniox_clock_sent(struct soniox_clock *clock, uint64_t now_ns)
{
	clock->sent_ns = now_ns;
	if (clock->unanswered_ns == 0)
		clock->unanswered_ns = now_ns;
}

void soniox_clock_message(struct soniox_clock *clock, bool token, uint64_t now_ns)
{
	clock->message_ns = now_ns;
	clock->unanswered_ns = 0;
	if (token)
		clock->token_ns = now_ns;
}

static bool older(uint64_t since_ns, uint64_t now_ns, uint64_t ms)
{
	return now_ns > since_ns && now_ns - since_ns > ms * MS;
}

enum soniox_health soniox_clock_judge(const struct soniox_clock *clock, uint64_t now_ns, uint64_t *ret_since_ns)
{
	uint64_t heard_ns = MAX_OF(clock->token_ns, clock->opened_ns);
	if (clock->unanswered_ns != 0 && older(clock->unanswered_ns, now_ns, SONIOX_UNANSWERED_MS)) {
		*ret_since_ns = clock->unanswered_ns;
		return SONIOX_STALLED;
	}
	if (older(clock->arrived_ns, now_ns, SONIOX_STARVED_MS)) {
		*ret_since_ns = clock->arrived_ns;
		return SONIOX_STARVED;
	}
	if (older(heard_ns, now_ns, SONIOX_NO_TOKEN_MS)) {
		*ret_since_ns = heard_ns;
		return SONIOX_SILENT;
	}
	*ret_since_ns = clock->opened_ns;
	return SONIOX_HEALTHY;
}

static const struct {
	const char *word, *sentence;
} healths[] = {
	[SONIOX_HEALTHY] = {"healthy", "audio goes to Soniox and words come back"},
	[SONIOX_SILENT] = {"silent", "audio goes to Soniox and is answered, but holds no words"},
	[SONIOX_STALLED] = {"stalled", "audio goes to Soniox and nothing comes back"},
	[SONIOX_STARVED] = {"starved", "no audio comes from the user: muted, absent, or the way to relay is broken"},
};

const char *soniox_health_word(enum soniox_health health)
{
	return healths[health].word;
}

const char *soniox_health_sentence(enum soniox_health health)
{
	return healths[health].sentence;
}
