// SPDX-License-Identifier: ISC
//
// journal.c - what happened on every connection.
//
// Runs on: any; one lock and one condition.
#include "tests/soniox/journal.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct entry *first, **last = &first;
static uint64_t opened, closed;

void journal_lock(void)
{
	pthread_mutex_lock(&lock);
}

void journal_unlock(void)
{
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

struct entry *journal_open(uint64_t now_ms)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	if (entry == NULL)
		abort();
	entry->opened_ms = now_ms;
	entry->state = "handshake";
	entry->auth = "none";
	entry->faults = json_array();
	journal_lock();
	entry->id = ++opened;
	*last = entry;
	last = &entry->next;
	journal_unlock();
	return entry;
}

void journal_close(struct entry *entry, const char *ended, uint64_t now_ms)
{
	journal_lock();
	entry->state = "closed";
	entry->ended = ended;
	entry->closed_ms = now_ms;
	closed++;
	journal_unlock();
}

static void entry_free(struct entry *entry)
{
	account_free(&entry->account);
	json_decref(entry->start);
	json_decref(entry->unknown_keys);
	json_decref(entry->faults);
	free(entry->sent.text);
	free(entry);
}

void journal_forget(bool all)
{
	journal_lock();
	struct entry **link = &first;
	while (*link != NULL) {
		struct entry *entry = *link;
		if (all || entry->ended != NULL) {
			*link = entry->next;
			entry_free(entry);
		} else {
			link = &entry->next;
		}
	}
	last = link;
	journal_unlock();
}

static json_t *count(uint64_t number)
{
	return json_integer((json_int_t)number);
}

static json_t *entry_received(const struct entry *e)
{
	json_t *ranges = account_ranges(&e->account);
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "text", count(e->received.text),
		"binary", count(e->received.binary), "bytes", count(e->received.bytes), "keepalives",
		count(e->received.keepalives), "finalizes", count(e->received.finalizes), "ends", count(e->received.ends),
		"pings", count(e->received.pings), "pongs", count(e->received.pongs), "odd_messages", count(e->received.odd),
		"after_end", count(e->received.after_end), "smallest_bytes", count(e->received.smallest), "largest_bytes",
		count(e->received.largest), "close_code", count(e->received.close_code), "numbers", ranges, "samples",
		count(e->account.samples), "other_samples", count(e->account.other_samples), "damaged_cells",
		count(e->account.damaged), "audio_ms", count(e->audio_ms));
}

static json_t *entry_sent(const struct entry *e)
{
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:b,s:i,s:s?,s:i}", "messages", count(e->sent.messages), "finals",
		count(e->sent.finals), "nonfinals", count(e->sent.nonfinals), "end_tokens", count(e->sent.ends), "fin_tokens",
		count(e->sent.fins), "final_audio_proc_ms", count(e->sent.final_audio_proc_ms), "total_audio_proc_ms",
		count(e->sent.total_audio_proc_ms), "final_text", e->sent.text == NULL ? "" : e->sent.text, "finished",
		e->sent.finished, "error_code", e->sent.error_code, "error_type", e->sent.error_type, "close_code",
		(int)e->sent.close_code);
}

static json_t *entry_json(const struct entry *e)
{
	json_t *ogg = json_pack("{s:o,s:o,s:o,s:o,s:o}", "pages", count(e->ogg.pages), "packets", count(e->ogg.packets), "holes",
		count(e->ogg.holes), "skipped_bytes", count(e->ogg.skipped_bytes), "granule_errors",
		count(e->ogg.granule_errors));
	return json_pack("{s:o,s:s,s:s?,s:s,s:s,s:O?,s:O?,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id", count(e->id), "state",
		e->state, "ended", e->ended, "auth", e->auth, "key", e->key, "start", e->start, "unknown_keys", e->unknown_keys,
		"opened_ms", count(e->opened_ms), "started_ms", count(e->started_ms), "first_audio_ms",
		count(e->first_audio_ms), "closed_ms", count(e->closed_ms), "gap_max_ms", count(e->gap_max_ms), "ahead_max_ms",
		json_integer(e->ahead_max_ms), "received", entry_received(e), "sent", entry_sent(e), "ogg", ogg, "faults",
		json_deep_copy(e->faults), "last_input_ms", count(e->last_input_ms));
}

json_t *journal_json(uint64_t id, bool units, uint64_t now_ms)
{
	json_t *list = json_array();
	journal_lock();
	for (struct entry *entry = first; entry != NULL; entry = entry->next) {
		if (id != 0 && entry->id != id)
			continue;
		json_t *object = entry_json(entry);
		if (units)
			json_object_set_new(object, "units", account_units(&entry->account));
		json_array_append_new(list, object);
	}
	json_t *object = json_pack("{s:o,s:o,s:o,s:o}", "connections", list, "opened", count(opened), "closed", count(closed),
		"now_ms", count(now_ms));
	journal_unlock();
	return object;
}

static bool entry_reached(const struct entry *e, const struct journal_wait *w)
{
	return (w->closed == 0 || e->ended != NULL) && (w->started == 0 || e->started_ms != 0) && e->audio_ms >= w->audio_ms &&
		e->sent.finals >= w->finals && e->sent.messages >= w->messages && json_array_size(e->faults) >= w->faults &&
		e->sent.fins >= w->fins && e->received.keepalives >= w->keepalives && e->received.bytes >= w->bytes;
}

static bool reached(const struct journal_wait *w)
{
	struct entry sum = {.ended = "", .started_ms = 1};
	uint64_t started = 0, faults = 0;
	for (struct entry *entry = first; entry != NULL; entry = entry->next) {
		if (w->id != 0 && entry->id == w->id)
			return entry_reached(entry, w);
		started += entry->started_ms != 0;
		faults += json_array_size(entry->faults);
		sum.audio_ms += entry->audio_ms;
		sum.sent.finals += entry->sent.finals;
		sum.sent.messages += entry->sent.messages;
		sum.sent.fins += entry->sent.fins;
		sum.received.keepalives += entry->received.keepalives;
		sum.received.bytes += entry->received.bytes;
	}
	struct journal_wait rest = *w;
	rest.faults = 0;
	return w->id == 0 && opened >= w->opened && closed >= w->closed && started >= w->started && faults >= w->faults &&
		entry_reached(&sum, &rest);
}

bool journal_wait(const struct journal_wait *wait, uint32_t limit_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += limit_ms / 1000;
	until.tv_nsec += (long)(limit_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	journal_lock();
	int status = 0;
	while (!reached(wait) && status == 0)
		status = pthread_cond_timedwait(&changed, &lock, &until);
	bool came = reached(wait);
	pthread_mutex_unlock(&lock);
	return came;
}
