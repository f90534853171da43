// SPDX-License-Identifier: ISC
//
// soniox_admission.c - who may open a connection to Soniox, and when: the account's limits kept on our side.
//
// Runs on: control.

#include "controlplane/soniox_admission.h"

#include <stdlib.h>

#define MS UINT64_C(1000000)
#define PAUSE_FIRST_MS 5000
#define PAUSE_MAX_MS 60000

int soniox_admission_init(struct soniox_admission *admission, unsigned places, unsigned per_minute)
{
	*admission = (struct soniox_admission){.places = places, .per_minute = MIN_OF(per_minute, SONIOX_STARTS_MAX),
		.kept = places > 1 ? 1 : 0, .last = &admission->first};
	admission->starts = calloc(admission->per_minute, sizeof(*admission->starts));
	return admission->starts == NULL ? -ENOMEM : 0;
}

void soniox_admission_finish(struct soniox_admission *admission)
{
	free(admission->starts);
	*admission = (struct soniox_admission){0};
}

void soniox_admission_ask(struct soniox_admission *admission, struct soniox_ticket *ticket, uint64_t now_ns)
{
	if (ticket->waiting)
		return;
	ticket->waiting = true;
	ticket->since_ns = now_ns;
	ticket->next = NULL;
	if (!ticket->rotation && !ticket->placed) {
		*admission->last = ticket;
		admission->last = &ticket->next;
		return;
	}
	// Behind its like, before those without a place: somebody speaks at the other end of it.
	struct soniox_ticket **link = &admission->first;
	while (*link != NULL && ((*link)->rotation || (*link)->placed))
		link = &(*link)->next;
	ticket->next = *link;
	*link = ticket;
	if (ticket->next == NULL)
		admission->last = &ticket->next;
}

static void leave_line(struct soniox_admission *admission, struct soniox_ticket *ticket)
{
	struct soniox_ticket **link = &admission->first;
	while (*link != NULL && *link != ticket)
		link = &(*link)->next;
	if (*link == NULL)
		return;
	*link = ticket->next;
	if (*link == NULL)
		admission->last = link;
	ticket->waiting = false;
}

// When the rate allows one more start.
static uint64_t start_allowed_ns(const struct soniox_admission *admission)
{
	uint64_t oldest = admission->starts[admission->next_start];
	uint64_t window = oldest == 0 ? 0 : oldest + SONIOX_WINDOW_MS * MS;
	uint64_t spacing = admission->last_start_ns == 0 ? 0 : admission->last_start_ns + SONIOX_SPACING_MS * MS;
	return MAX_OF(MAX_OF(window, spacing), admission->paused_until_ns);
}

static bool place_free(const struct soniox_admission *admission, const struct soniox_ticket *ticket)
{
	if (ticket->placed)
		return true;
	return admission->placed + (ticket->rotation ? 0 : admission->kept) < admission->places;
}

struct soniox_ticket *soniox_admission_next(struct soniox_admission *admission, uint64_t now_ns, uint64_t *ret_again_ns)
{
	*ret_again_ns = UINT64_MAX;
	struct soniox_ticket *ticket = admission->first;
	while (ticket != NULL && !place_free(admission, ticket))
		ticket = ticket->next;
	if (ticket == NULL)
		return NULL;
	uint64_t allowed = start_allowed_ns(admission);
	if (now_ns < allowed) {
		*ret_again_ns = allowed;
		return NULL;
	}
	leave_line(admission, ticket);
	if (!ticket->placed)
		admission->placed++;
	ticket->placed = true;
	admission->starts[admission->next_start] = admission->last_start_ns = now_ns;
	admission->next_start = (admission->next_start + 1) % admission->per_minute;
	return ticket;
}

void soniox_admission_release(struct soniox_admission *admission, struct soniox_ticket *ticket)
{
	if (ticket->waiting)
		leave_line(admission, ticket);
	if (ticket->placed)
		admission->placed--;
	ticket->placed = false;
}

void soniox_admission_pass(struct soniox_ticket *from, struct soniox_ticket *to)
{
	to->placed = from->placed;
	from->placed = false;
}

void soniox_admission_refused(struct soniox_admission *admission, uint32_t random, uint64_t now_ns)
{
	uint64_t nominal = MIN_OF((uint64_t)PAUSE_FIRST_MS << MIN_OF(admission->pauses, 8u), (uint64_t)PAUSE_MAX_MS);
	uint64_t until = now_ns + (nominal * 3 / 4 + random % (nominal / 2)) * MS;
	admission->pauses++;
	admission->paused_until_ns = MAX_OF(admission->paused_until_ns, until);
}

void soniox_admission_accepted(struct soniox_admission *admission)
{
	admission->pauses = 0;
}

unsigned soniox_admission_position(const struct soniox_admission *admission, const struct soniox_ticket *ticket)
{
	unsigned position = 1;
	for (const struct soniox_ticket *t = admission->first; t != NULL; t = t->next, position++)
		if (t == ticket)
			return position;
	return 0;
}

unsigned soniox_admission_waiting(const struct soniox_admission *admission)
{
	unsigned count = 0;
	for (const struct soniox_ticket *t = admission->first; t != NULL; t = t->next)
		count++;
	return count;
}
