// SPDX-License-Identifier: ISC
//
// account.c - what exactly arrived: cells and packets by their number or hash.
//
// Runs on: any; the owner serialises.
#include "tests/soniox/account.h"

#include <stdlib.h>

void account_init(struct account *account, unit_fn *unit, void *arg)
{
	memset(account, 0, sizeof(*account));
	account->unit = unit;
	account->arg = arg;
}

void account_free(struct account *account)
{
	free(account->ranges);
	free(account->units);
	account->ranges = NULL;
	account->units = NULL;
}

uint32_t account_hash(const void *data, size_t bytes)
{
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ ((const uint8_t *)data)[i]) * 16777619u;
	return hash;
}

// Room for one element more.
static void *grow(void *list, uint32_t count, uint32_t *room, size_t bytes)
{
	if (count < *room)
		return list;
	*room = *room == 0 ? 64 : *room * 2;
	void *more = realloc(list, *room * bytes);
	if (more == NULL)
		abort();
	return more;
}

static void add_number(struct account *account, uint32_t number)
{
	uint32_t n = account->range_count;
	if (n > 0 && account->ranges[n - 1][1] + 1 == number) {
		account->ranges[n - 1][1] = number;
		return;
	}
	account->ranges = grow(account->ranges, n, &account->range_room, sizeof(*account->ranges));
	account->ranges[n][0] = account->ranges[n][1] = number;
	account->range_count++;
}

static void give(struct account *account, struct unit unit)
{
	account->samples += unit.samples;
	if (unit.kind == UNIT_NUMBERED)
		add_number(account, unit.value);
	else
		account->other_samples += unit.samples;
	account->units = grow(account->units, account->unit_count, &account->unit_room, sizeof(unit));
	account->units[account->unit_count++] = unit;
	if (account->unit != NULL)
		account->unit(account->arg, &unit);
}

static void give_plain(struct account *account, const int16_t *samples, uint32_t count)
{
	bool quiet = true;
	for (uint32_t i = 0; i < count && quiet; i++)
		quiet = samples[i] <= QUIET_PEAK && samples[i] >= -QUIET_PEAK;
	give(account, (struct unit){quiet ? UNIT_QUIET : UNIT_LOUD, account_hash(samples, count * 2), count});
}

// Where the next numbered cell may begin; the cell's length when nowhere. A head cut in two at the end counts.
static uint32_t find_head(const int16_t *samples)
{
	for (uint32_t i = 1; i < NUMBERED_SAMPLES; i++)
		if (samples[i] == NUMBERED_HEAD_0 && (i + 1 == NUMBERED_SAMPLES || samples[i + 1] == NUMBERED_HEAD_1))
			return i;
	return NUMBERED_SAMPLES;
}

static void cut(struct account *account)
{
	uint32_t number, used = NUMBERED_SAMPLES;
	bool head = account->rest[0] == NUMBERED_HEAD_0 && account->rest[1] == NUMBERED_HEAD_1;
	if (head && numbered_read(account->rest, &number)) {
		give(account, (struct unit){UNIT_NUMBERED, number, NUMBERED_SAMPLES});
	} else {
		account->damaged += head;
		used = find_head(account->rest);
		give_plain(account, account->rest, used);
	}
	account->rest_samples -= used;
	memmove(account->rest, account->rest + used, account->rest_samples * 2);
}

void account_pcm(struct account *account, const int16_t *samples, size_t count)
{
	while (count > 0) {
		size_t take = MIN_OF(count, (size_t)(NUMBERED_SAMPLES - account->rest_samples));
		memcpy(account->rest + account->rest_samples, samples, take * 2);
		account->rest_samples += (uint32_t)take;
		samples += take;
		count -= take;
		if (account->rest_samples == NUMBERED_SAMPLES)
			cut(account);
	}
}

void account_packet(struct account *account, const uint8_t *packet, size_t bytes, uint32_t samples)
{
	uint32_t number;
	if (numbered_packet_read(packet, bytes, &number))
		give(account, (struct unit){UNIT_NUMBERED, number, samples});
	else
		give(account, (struct unit){bytes <= 2 ? UNIT_QUIET : UNIT_LOUD, account_hash(packet, bytes), samples});
}

void account_flush(struct account *account)
{
	uint32_t count = account->rest_samples;
	account->rest_samples = 0;
	if (count > 0)
		give_plain(account, account->rest, count);
}

json_t *account_ranges(const struct account *account)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < account->range_count; i++)
		json_array_append_new(list, json_pack("[I,I]", (json_int_t)account->ranges[i][0],
			(json_int_t)account->ranges[i][1]));
	return list;
}

json_t *account_units(const struct account *account)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < account->unit_count; i++) {
		const struct unit *unit = &account->units[i];
		char text[16] = "q";
		if (unit->kind != UNIT_QUIET)
			snprintf(text, sizeof(text), unit->kind == UNIT_NUMBERED ? "n%u" : "h%08x", unit->value);
		json_array_append_new(list, json_string(text));
	}
	return list;
}
