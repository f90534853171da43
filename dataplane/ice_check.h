// SPDX-License-Identifier: ISC
//
// ice_check.h - the check list of one ICE generation: pairs, their transactions, which check is due, whom to nominate.
//
// Decides and remembers, sends nothing: ice.c asks for the due check, builds it and reports what came back. There is one
// local candidate, so a pair is a remote candidate. All times are absolute nanoseconds of the caller's clock.
//
// Runs on: any.
#pragma once

#include "dataplane/ice.h"
#include "dataplane/stun.h"

// Peer-reflexive ones have places of their own, so that they cannot crowd out what signalling names.
#define ICE_REFLEXIVE_MAX 4
#define ICE_PAIRS_MAX (ICE_REMOTES_MAX + ICE_REFLEXIVE_MAX)
#define ICE_TRANSACTIONS_MAX 8 // of one pair that can still be answered

#define ICE_PACE_MS 20        // Ta: between first checks of two pairs
#define ICE_RTO_MIN_MS 50     // first retransmission
#define ICE_RTO_MAX_MS 500    // and the longest step it doubles up to
#define ICE_GRACE_MIN_MS 50   // how long a better pair may still answer before a worse one is nominated:
#define ICE_GRACE_MAX_MS 300  // three round trips within these
#define ICE_NOMINEE_LIMIT_MS 1000 // a nomination unanswered that long gives way to another pair

enum ice_pair_state {
	ICE_PAIR_WAITING,     // no check sent yet
	ICE_PAIR_IN_PROGRESS, // a check is on its way and is repeated until it is answered
	ICE_PAIR_SUCCEEDED,
	ICE_PAIR_FAILED, // refused with a signed error
};

struct ice_transaction {
	uint8_t id[STUN_TRANSACTION_BYTES];
	bool open;
	uint8_t sends;
	uint32_t nomination; // 0: a plain check
	uint64_t sent_ns;    // first time
};

struct ice_pair {
	struct endpoint remote;
	uint64_t priority; // of the pair, RFC 8445 6.1.2.3
	enum ice_pair_state state;
	bool reflexive;
	bool triggered;        // send one now, whatever the pace
	bool renew;            // the next send is a new transaction, not a repetition
	bool nominating;       // its checks carry USE-CANDIDATE
	bool valid;            // some check was answered
	uint32_t rto_ms;
	uint64_t retry_ns;     // next repetition while IN_PROGRESS
	uint64_t nominated_ns; // when the nomination was first sent
	unsigned newest;       // place of the latest transaction
	struct ice_transaction transactions[ICE_TRANSACTIONS_MAX];
};

struct check_list {
	struct ice_pair pairs[ICE_PAIRS_MAX];
	unsigned count;
	unsigned reflexive_count;
	int selected;           // pair, -1: none
	uint32_t selected_nomination;
	uint64_t pace_ns;       // no first check before
	uint64_t conclude_ns;   // end of the grace, 0: nothing has succeeded yet
};

void check_list_init(struct check_list *list);
// The same signalled remotes, as if none had been checked: what is still on its way answers nothing.
void check_list_restart(struct check_list *list);
struct ice_pair *check_list_find(struct check_list *list, struct endpoint remote);
// 0, also for a known one (which then counts as signalled); -ENOSPC.
int check_list_add(struct check_list *list, struct endpoint remote, uint32_t priority, bool reflexive);
// The peer checked that remote: our own check of it goes out at once.
void check_list_trigger(struct check_list *list, struct ice_pair *pair, uint64_t now_ns);

// A check that must be sent now, NULL: none. The caller calls check_list_send for it and asks again.
struct ice_pair *check_list_due(struct check_list *list, uint64_t now_ns);
// When check_list_due has something again, 0: not by time alone.
uint64_t check_list_next_ns(const struct check_list *list);
// The transaction of a check about to be sent on a due pair: a new one with that id or the old one once more.
// *nomination is the last nomination value given out.
const struct ice_transaction *check_list_send(struct check_list *list, struct ice_pair *pair,
	const uint8_t id[STUN_TRANSACTION_BYTES], uint32_t *nomination, uint64_t now_ns);
// A check outside the list's own schedule (consent): always a new, plain transaction.
const struct ice_transaction *check_pair_open(struct ice_pair *pair, const uint8_t id[STUN_TRANSACTION_BYTES],
	uint32_t nomination, uint64_t now_ns);

struct ice_transaction *check_list_match(struct check_list *list, const uint8_t id[STUN_TRANSACTION_BYTES],
	struct ice_pair **ret_pair);
// The transaction was answered well, *transaction is closed. True: the pair is now the selected one and was not before.
bool check_list_succeed(struct check_list *list, struct ice_pair *pair, struct ice_transaction *transaction,
	uint64_t now_ns);
// Answered with an error. again: ask once more after a while, as a new transaction; otherwise the pair is of no use.
void check_list_refuse(struct check_list *list, struct ice_pair *pair, struct ice_transaction *transaction,
	bool again, uint64_t now_ns);
