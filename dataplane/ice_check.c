// SPDX-License-Identifier: ISC
//
// ice_check.c - the check list of one ICE generation: pairs, their transactions, which check is due, whom to nominate.
//
// Runs on: any.
//
// Nomination. The best pair carries USE-CANDIDATE in its very first check, so on a healthy network one round trip
// connects. The others are checked plainly; when one of them answers and no better pair does within the grace, it is
// nominated by a check of its own with a higher nomination value. The answered nomination with the highest value is the
// selected pair: the rule a renominating peer follows too, so both ends agree whatever order the answers come in.
// Nothing is nominated once a pair is selected.

#include "dataplane/ice_check.h"

#define NS_PER_MS UINT64_C(1000000)

void check_list_init(struct check_list *list)
{
	memset(list, 0, sizeof(*list));
	list->selected = -1;
}

void check_list_restart(struct check_list *list)
{
	unsigned count = 0;
	for (unsigned i = 0; i < list->count; i++) {
		const struct ice_pair *pair = &list->pairs[i];
		if (!pair->reflexive)
			list->pairs[count++] = (struct ice_pair){.remote = pair->remote, .priority = pair->priority, .state = ICE_PAIR_WAITING};
	}
	list->count = count;
	list->reflexive_count = 0;
	list->selected = -1;
	list->selected_nomination = 0;
	list->pace_ns = list->conclude_ns = 0;
}

struct ice_pair *check_list_find(struct check_list *list, struct endpoint remote)
{
	for (unsigned i = 0; i < list->count; i++)
		if (endpoint_equal(list->pairs[i].remote, remote))
			return &list->pairs[i];
	return NULL;
}

// We are the controlling side: G is our priority, D the peer's.
static uint64_t pair_priority(uint32_t remote_priority)
{
	uint64_t g = ice_local_priority(), d = remote_priority;
	return (MIN_OF(g, d) << 32) + 2 * MAX_OF(g, d) + (g > d);
}

int check_list_add(struct check_list *list, struct endpoint remote, uint32_t priority, bool reflexive)
{
	struct ice_pair *pair = check_list_find(list, remote);
	if (pair != NULL) {
		if (pair->reflexive && !reflexive) {
			pair->reflexive = false;
			pair->priority = pair_priority(priority);
			list->reflexive_count--;
		}
		return 0;
	}
	if (reflexive ? list->reflexive_count >= ICE_REFLEXIVE_MAX
		      : list->count - list->reflexive_count >= ICE_REMOTES_MAX)
		return -ENOSPC;
	if (list->count >= ICE_PAIRS_MAX)
		return -ENOSPC;
	list->pairs[list->count++] = (struct ice_pair){.remote = remote,
		.priority = pair_priority(priority),
		.state = ICE_PAIR_WAITING,
		.reflexive = reflexive};
	list->reflexive_count += reflexive;
	return 0;
}

void check_list_trigger(struct check_list *list, struct ice_pair *pair, uint64_t now_ns)
{
	const struct ice_transaction *newest = &pair->transactions[pair->newest];
	bool just_sent = newest->sends > 0 && now_ns - newest->sent_ns < ICE_PACE_MS * NS_PER_MS;
	if (pair->state == ICE_PAIR_SUCCEEDED || just_sent)
		return;
	// After the selection nobody repeats a check; the peer's own repetitions trigger ours.
	if (pair->state == ICE_PAIR_FAILED || list->selected >= 0)
		pair->renew = true;
	pair->triggered = true;
}

static uint32_t first_rto_ms(const struct check_list *list)
{
	unsigned busy = 0;
	for (unsigned i = 0; i < list->count; i++)
		busy += list->pairs[i].state == ICE_PAIR_WAITING || list->pairs[i].state == ICE_PAIR_IN_PROGRESS;
	return MIN_OF(MAX_OF(ICE_PACE_MS * busy, ICE_RTO_MIN_MS), ICE_RTO_MAX_MS);
}

static int best_of(const struct check_list *list, enum ice_pair_state state)
{
	int best = -1;
	for (unsigned i = 0; i < list->count; i++)
		if (list->pairs[i].state == state && (best < 0 || list->pairs[i].priority > list->pairs[best].priority))
			best = (int)i;
	return best;
}

static bool any_nominating(const struct check_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		if (list->pairs[i].nominating && list->pairs[i].state != ICE_PAIR_FAILED)
			return true;
	return false;
}

// A pair that answered a plain check but not its nomination goes on asking as if it had answered nothing, and no longer
// keeps others from being nominated.
static void demote_late_nominees(struct check_list *list, uint64_t now_ns)
{
	for (unsigned i = 0; i < list->count; i++) {
		struct ice_pair *pair = &list->pairs[i];
		if (pair->state == ICE_PAIR_SUCCEEDED && pair->nominating &&
			now_ns - pair->nominated_ns >= ICE_NOMINEE_LIMIT_MS * NS_PER_MS)
			pair->state = ICE_PAIR_IN_PROGRESS;
	}
}

// The pair whose turn for a nomination has come, NULL: none or it has it already.
static struct ice_pair *next_nominee(struct check_list *list, uint64_t now_ns)
{
	int index = best_of(list, ICE_PAIR_SUCCEEDED);
	if (list->selected >= 0 || index < 0 || list->pairs[index].nominating)
		return NULL;
	struct ice_pair *best = &list->pairs[index];
	if (now_ns >= list->conclude_ns)
		return best;
	for (unsigned i = 0; i < list->count; i++) {
		const struct ice_pair *pair = &list->pairs[i];
		bool undecided = pair->state == ICE_PAIR_WAITING || pair->state == ICE_PAIR_IN_PROGRESS;
		if (undecided && pair->priority > best->priority)
			return NULL;
	}
	return best;
}

struct ice_pair *check_list_due(struct check_list *list, uint64_t now_ns)
{
	demote_late_nominees(list, now_ns);
	struct ice_pair *nominee = next_nominee(list, now_ns);
	if (nominee != NULL) {
		nominee->nominating = true;
		nominee->nominated_ns = now_ns;
		nominee->renew = true;
		nominee->triggered = true;
		nominee->rto_ms = 0;
	}
	for (unsigned i = 0; i < list->count; i++)
		if (list->pairs[i].triggered)
			return &list->pairs[i];
	if (list->selected >= 0)
		return NULL;
	for (unsigned i = 0; i < list->count; i++) {
		struct ice_pair *pair = &list->pairs[i];
		bool repeats = pair->state == ICE_PAIR_IN_PROGRESS ||
			       (pair->state == ICE_PAIR_SUCCEEDED && pair->nominating);
		if (repeats && now_ns >= pair->retry_ns)
			return pair;
	}
	if (now_ns < list->pace_ns)
		return NULL;
	int first = best_of(list, ICE_PAIR_WAITING);
	return first < 0 ? NULL : &list->pairs[first];
}

static void sooner(uint64_t *deadline_ns, uint64_t at_ns)
{
	if (*deadline_ns == 0 || at_ns < *deadline_ns)
		*deadline_ns = at_ns;
}

uint64_t check_list_next_ns(const struct check_list *list)
{
	uint64_t next_ns = 0;
	for (unsigned i = 0; i < list->count; i++) {
		const struct ice_pair *pair = &list->pairs[i];
		if (pair->triggered)
			return 1; // long due
		if (list->selected >= 0)
			continue;
		if (pair->state == ICE_PAIR_WAITING)
			sooner(&next_ns, MAX_OF(list->pace_ns, 1));
		if (pair->state == ICE_PAIR_IN_PROGRESS || (pair->state == ICE_PAIR_SUCCEEDED && pair->nominating))
			sooner(&next_ns, pair->retry_ns);
		if (pair->state == ICE_PAIR_SUCCEEDED && pair->nominating)
			sooner(&next_ns, pair->nominated_ns + ICE_NOMINEE_LIMIT_MS * NS_PER_MS);
	}
	int best = best_of(list, ICE_PAIR_SUCCEEDED);
	if (list->selected < 0 && best >= 0 && !list->pairs[best].nominating)
		sooner(&next_ns, list->conclude_ns);
	return next_ns;
}

const struct ice_transaction *check_pair_open(struct ice_pair *pair, const uint8_t id[STUN_TRANSACTION_BYTES],
	uint32_t nomination, uint64_t now_ns)
{
	pair->newest = (pair->newest + 1) % ICE_TRANSACTIONS_MAX;
	struct ice_transaction *transaction = &pair->transactions[pair->newest];
	*transaction = (struct ice_transaction){
		.open = true, .sends = 1, .nomination = nomination, .sent_ns = now_ns};
	memcpy(transaction->id, id, STUN_TRANSACTION_BYTES);
	return transaction;
}

const struct ice_transaction *check_list_send(struct check_list *list, struct ice_pair *pair,
	const uint8_t id[STUN_TRANSACTION_BYTES], uint32_t *nomination, uint64_t now_ns)
{
	if (pair->state == ICE_PAIR_WAITING) {
		pair->renew = true;
		list->pace_ns = now_ns + ICE_PACE_MS * NS_PER_MS;
		if (list->selected < 0 && !any_nominating(list)) {
			pair->nominating = true;
			pair->nominated_ns = now_ns;
		}
	}
	if (pair->state != ICE_PAIR_SUCCEEDED)
		pair->state = ICE_PAIR_IN_PROGRESS;
	struct ice_transaction *transaction = &pair->transactions[pair->newest];
	if (pair->renew || !transaction->open) {
		bool nominates = pair->nominating && list->selected < 0;
		transaction = (struct ice_transaction *)check_pair_open(
			pair, id, nominates ? ++*nomination : 0, now_ns);
	} else if (transaction->sends < UINT8_MAX) {
		transaction->sends++;
	}
	pair->rto_ms = pair->rto_ms == 0 ? first_rto_ms(list) : MIN_OF(pair->rto_ms * 2, ICE_RTO_MAX_MS);
	pair->retry_ns = now_ns + pair->rto_ms * NS_PER_MS;
	pair->renew = false;
	pair->triggered = false;
	return transaction;
}

struct ice_transaction *check_list_match(struct check_list *list, const uint8_t id[STUN_TRANSACTION_BYTES],
	struct ice_pair **ret_pair)
{
	for (unsigned i = 0; i < list->count; i++) {
		struct ice_pair *pair = &list->pairs[i];
		for (unsigned t = 0; t < ICE_TRANSACTIONS_MAX; t++) {
			if (!pair->transactions[t].open ||
				memcmp(pair->transactions[t].id, id, STUN_TRANSACTION_BYTES) != 0)
				continue;
			*ret_pair = pair;
			return &pair->transactions[t];
		}
	}
	return NULL;
}

bool check_list_succeed(struct check_list *list, struct ice_pair *pair, struct ice_transaction *transaction,
	uint64_t now_ns)
{
	int index = (int)(pair - list->pairs);
	transaction->open = false;
	pair->valid = true;
	pair->state = ICE_PAIR_SUCCEEDED;
	if (list->conclude_ns == 0) {
		uint64_t grace_ns = MAX_OF(3 * (now_ns - transaction->sent_ns), ICE_GRACE_MIN_MS * NS_PER_MS);
		list->conclude_ns = now_ns + MIN_OF(grace_ns, ICE_GRACE_MAX_MS * NS_PER_MS);
	}
	if (transaction->nomination == 0)
		return false;
	pair->nominating = false;
	if (list->selected >= 0 && transaction->nomination <= list->selected_nomination)
		return false;
	bool changed = list->selected != index;
	list->selected = index;
	list->selected_nomination = transaction->nomination;
	// Whatever else was still being checked is freed (RFC 8445 8.1.2); late answers remain welcome.
	for (unsigned i = 0; i < list->count; i++) {
		list->pairs[i].nominating = false;
		list->pairs[i].triggered = false;
	}
	return changed;
}

void check_list_refuse(struct check_list *list, struct ice_pair *pair, struct ice_transaction *transaction,
	bool again, uint64_t now_ns)
{
	transaction->open = false;
	if (again) {
		pair->renew = true;
		if (pair->rto_ms == 0)
			pair->rto_ms = first_rto_ms(list);
		pair->retry_ns = now_ns + pair->rto_ms * NS_PER_MS;
	} else if (list->selected != (int)(pair - list->pairs)) {
		pair->state = ICE_PAIR_FAILED;
		pair->nominating = false;
	}
}
