// SPDX-License-Identifier: ISC
//
// ice.c - ICE agent (RFC 8445), controlling, one local host candidate; consent freshness (RFC 7675).
//
// Runs on: handshake. A pure state machine: datagrams and time in, datagrams out by callback.

#include "dataplane/ice.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "dataplane/stun.h"

#define MS 1000000ull
#define PACE_NS (20 * MS)             // Ta: one new check at a time
#define RTO_FIRST_NS (50 * MS)        // doubling
#define RTO_MAX_NS (500 * MS)
#define BETTER_WAIT_NS (100 * MS)     // a pair that is not the best waits so long for a better one
#define CONSENT_HURRY_NS (500 * MS)   // pace while answers are missing
#define CONSENT_LATE_NS (700 * MS)    // an answer that is late by this much makes us hurry
#define CONSENT_IDS 16
#define HOST_PRIORITY 2130706431u     // type 126, local preference 65535, component 1
#define PRFLX_PRIORITY 1862270975u    // type 110

enum pair_state { PAIR_WAITING, PAIR_CHECKING, PAIR_VALID };

struct pair {
	struct endpoint remote;
	uint32_t priority; // of the remote candidate
	enum pair_state state;
	uint8_t id[STUN_ID_BYTES];
	uint64_t next_ns, sent_ns, rto_ns;
	bool nominating; // the outstanding request carries USE-CANDIDATE
};

struct ice {
	struct ice_config config;
	char ufrag[ICE_UFRAG_TEXT], pwd[ICE_PWD_TEXT], old_ufrag[ICE_UFRAG_TEXT], old_pwd[ICE_PWD_TEXT];
	char remote_ufrag[260], remote_pwd[260];
	bool have_remote, lite;
	uint64_t tie_breaker;
	uint32_t nomination; // rises with every nominating request
	enum ice_state state;
	struct pair pairs[ICE_REMOTES_MAX];
	unsigned pair_count;
	uint64_t began_ns, paced_ns, first_valid_ns;
	bool has_selected, selected_is_old; // old: of the generation before a restart
	struct endpoint selected;
	struct {
		uint8_t ids[CONSENT_IDS][STUN_ID_BYTES];
		uint64_t sent_ns[CONSENT_IDS];
		unsigned next;
		uint64_t due_ns, last_ns, last_sent_ns;
	} consent;
	uint32_t rtt_us;
};

static int random_text(char *ret_text, size_t chars)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t bytes[64];
	if (chars > sizeof(bytes) || RAND_bytes(bytes, (int)chars) != 1)
		return -EIO;
	for (size_t i = 0; i < chars; i++)
		ret_text[i] = alphabet[bytes[i] & 63];
	ret_text[chars] = '\0';
	return 0;
}

struct ice *ice_create(const struct ice_config *config, struct err *err)
{
	struct ice *ice = calloc(1, sizeof(*ice));
	if (ice == NULL) {
		err_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	ice->config = *config;
	ice->config.connect_limit_ms = config->connect_limit_ms ? config->connect_limit_ms : 5000;
	ice->config.consent_period_ms = config->consent_period_ms ? config->consent_period_ms : 2000;
	ice->config.consent_fresh_ms = config->consent_fresh_ms ? config->consent_fresh_ms : 5000;
	ice->config.consent_limit_ms = config->consent_limit_ms ? config->consent_limit_ms : 15000;
	if (random_text(ice->ufrag, 8) < 0 || random_text(ice->pwd, 32) < 0 ||
		RAND_bytes((unsigned char *)&ice->tie_breaker, sizeof(ice->tie_breaker)) != 1) {
		err_set(err, EIO, "no random numbers for ICE");
		ice_destroy(ice);
		return NULL;
	}
	return ice;
}

void ice_destroy(struct ice *ice)
{
	if (ice == NULL)
		return;
	OPENSSL_cleanse(ice, sizeof(*ice));
	free(ice);
}

const char *ice_local_ufrag(const struct ice *ice)
{
	return ice->ufrag;
}

const char *ice_local_pwd(const struct ice *ice)
{
	return ice->pwd;
}

uint32_t ice_local_priority(void)
{
	return HOST_PRIORITY;
}

int ice_set_remote(struct ice *ice, const char *ufrag, const char *pwd, bool lite, struct err *err)
{
	if (strlen(ufrag) < 4 || strlen(ufrag) >= sizeof(ice->remote_ufrag) || strlen(pwd) < 22 ||
		strlen(pwd) >= sizeof(ice->remote_pwd))
		return err_set(err, EINVAL, "the server's ICE credentials are not of legal length");
	if (ice->have_remote && strcmp(ufrag, ice->remote_ufrag) == 0 && strcmp(pwd, ice->remote_pwd) == 0)
		return 0;
	if (ice->have_remote) { // the peer restarted: what was learnt of it before does not count
		ice->pair_count = 0;
		ice->selected_is_old = ice->has_selected;
		ice->began_ns = ice->first_valid_ns = 0;
	}
	snprintf(ice->remote_ufrag, sizeof(ice->remote_ufrag), "%s", ufrag);
	snprintf(ice->remote_pwd, sizeof(ice->remote_pwd), "%s", pwd);
	ice->have_remote = true;
	ice->lite = lite;
	return 0;
}

static struct pair *pair_find(struct ice *ice, struct endpoint remote)
{
	for (unsigned i = 0; i < ice->pair_count; i++)
		if (endpoint_equal(ice->pairs[i].remote, remote))
			return &ice->pairs[i];
	return NULL;
}

static struct pair *pair_add(struct ice *ice, struct endpoint remote, uint32_t priority)
{
	if (ice->pair_count == ICE_REMOTES_MAX)
		return NULL;
	struct pair *pair = &ice->pairs[ice->pair_count++];
	*pair = (struct pair){.remote = remote, .priority = priority, .state = PAIR_WAITING};
	return pair;
}

int ice_add_remote_candidate(struct ice *ice, struct endpoint remote, uint32_t priority)
{
	struct pair *pair = pair_find(ice, remote);
	if (pair != NULL) {
		pair->priority = MAX_OF(pair->priority, priority); // learnt as peer-reflexive before
		return 0;
	}
	return pair_add(ice, remote, priority) == NULL ? -ENOSPC : 0;
}

int ice_restart(struct ice *ice, struct err *err)
{
	snprintf(ice->old_ufrag, sizeof(ice->old_ufrag), "%s", ice->ufrag);
	snprintf(ice->old_pwd, sizeof(ice->old_pwd), "%s", ice->pwd);
	if (random_text(ice->ufrag, 8) < 0 || random_text(ice->pwd, 32) < 0)
		return err_set(err, EIO, "no random numbers for ICE");
	ice->pair_count = 0;
	ice->have_remote = false;
	ice->began_ns = ice->first_valid_ns = 0;
	ice->selected_is_old = ice->has_selected;
	ice->state = ICE_NEW;
	return 0;
}

// A binding request; nominate adds USE-CANDIDATE and the renomination attributes of both generations of pion/ice.
static void send_request(struct ice *ice, struct endpoint remote, uint8_t *ret_id, bool nominate)
{
	struct stun_builder builder;
	char username[600];
	uint8_t tie_breaker[8];
	if (RAND_bytes(ret_id, STUN_ID_BYTES) != 1)
		return;
	snprintf(username, sizeof(username), "%s:%s", ice->remote_ufrag, ice->ufrag);
	put_be64(tie_breaker, ice->tie_breaker);
	stun_begin(&builder, STUN_REQUEST, STUN_BINDING, ret_id);
	// The longest legal user name still leaves room for the rest: ours is short.
	stun_add(&builder, STUN_USERNAME, username, strlen(username));
	stun_add_u32(&builder, STUN_PRIORITY, PRFLX_PRIORITY);
	stun_add(&builder, STUN_ICE_CONTROLLING, tie_breaker, sizeof(tie_breaker));
	if (nominate) {
		ice->nomination++;
		stun_add(&builder, STUN_USE_CANDIDATE, NULL, 0);
		stun_add_u32(&builder, STUN_NOMINATION_OLD, ice->nomination);
		stun_add_u32(&builder, STUN_NOMINATION, ice->nomination);
	}
	stun_finish(&builder, ice->remote_pwd);
	ice->config.send(ice->config.arg, remote, builder.data, builder.bytes);
}

static const struct pair *best_pair(const struct ice *ice, bool valid_only)
{
	const struct pair *best = NULL;
	for (unsigned i = 0; i < ice->pair_count; i++) {
		const struct pair *pair = &ice->pairs[i];
		if ((!valid_only || pair->state == PAIR_VALID) && (best == NULL || pair->priority > best->priority))
			best = pair;
	}
	return best;
}

static void check(struct ice *ice, struct pair *pair, bool nominate, uint64_t now_ns)
{
	bool again = pair->state == PAIR_CHECKING && pair->nominating == nominate;
	pair->rto_ns = again ? MIN_OF(pair->rto_ns * 2, RTO_MAX_NS) : RTO_FIRST_NS;
	if (pair->state == PAIR_WAITING)
		pair->state = PAIR_CHECKING;
	pair->nominating = nominate;
	pair->sent_ns = now_ns;
	pair->next_ns = now_ns + pair->rto_ns;
	send_request(ice, pair->remote, pair->id, nominate);
}

static void consent_send(struct ice *ice, uint64_t now_ns)
{
	unsigned at = ice->consent.next++ % CONSENT_IDS;
	uint8_t random;
	send_request(ice, ice->selected, ice->consent.ids[at], false);
	ice->consent.sent_ns[at] = ice->consent.last_sent_ns = now_ns;
	RAND_bytes(&random, 1);
	uint64_t period_ns = ice->config.consent_period_ms * MS;
	// RFC 7675 5.1: 0.8 to 1.2 of the period, so that checks of many agents do not fall together.
	uint64_t wait_ns = period_ns * (205 + (unsigned)random * 102 / 255) / 256;
	bool late = now_ns - ice->consent.last_ns > period_ns * 12 / 10 + CONSENT_LATE_NS;
	ice->consent.due_ns = now_ns + (late ? MIN_OF(CONSENT_HURRY_NS, wait_ns) : wait_ns);
}

static void select_pair(struct ice *ice, struct endpoint remote, uint64_t now_ns)
{
	ice->selected = remote;
	ice->has_selected = true;
	ice->selected_is_old = false;
	ice->state = ICE_CONNECTED;
	ice->consent.last_ns = now_ns;
	ice->consent.due_ns = now_ns + ice->config.consent_period_ms * MS;
}

static void answer(struct ice *ice, struct endpoint remote, const struct stun_message *request, const char *pwd)
{
	struct stun_builder builder;
	stun_begin(&builder, STUN_SUCCESS, STUN_BINDING, request->id);
	stun_add_xor_mapped(&builder, remote);
	stun_finish(&builder, pwd);
	ice->config.send(ice->config.arg, remote, builder.data, builder.bytes);
}

static void answer_conflict(struct ice *ice, struct endpoint remote, const struct stun_message *request, const char *pwd)
{
	static const uint8_t conflict[] = {0, 0, 4, 87, 'R', 'o', 'l', 'e', ' ', 'C', 'o', 'n', 'f', 'l', 'i', 'c', 't'};
	struct stun_builder builder;
	stun_begin(&builder, STUN_ERROR, STUN_BINDING, request->id);
	stun_add(&builder, STUN_ERROR_CODE, conflict, sizeof(conflict));
	stun_finish(&builder, pwd);
	ice->config.send(ice->config.arg, remote, builder.data, builder.bytes);
}

// USERNAME is "ours:theirs"; returns the password that belongs to it.
static const char *password_for(const struct ice *ice, const struct stun_message *request)
{
	const char *const ufrags[] = {ice->ufrag, ice->old_ufrag}, *const pwds[] = {ice->pwd, ice->old_pwd};
	for (unsigned i = 0; i < ARRAY_SIZE(ufrags); i++) {
		size_t bytes = strlen(ufrags[i]);
		if (bytes > 0 && request->username_bytes > bytes && request->username[bytes] == ':' &&
			memcmp(request->username, ufrags[i], bytes) == 0)
			return pwds[i];
	}
	return NULL;
}

static enum drop input_request(struct ice *ice, struct endpoint remote, const uint8_t *data,
	const struct stun_message *request, uint64_t now_ns)
{
	const char *pwd = request->username != NULL ? password_for(ice, request) : NULL;
	if (pwd == NULL)
		return DROP_STUN_BAD_USERNAME;
	if (!stun_integrity(data, request, pwd))
		return DROP_STUN_BAD_INTEGRITY;
	if (request->controlling) { // both controlling: we stay what LiveKit expects us to be
		answer_conflict(ice, remote, request, pwd);
		return DROP_NONE;
	}
	answer(ice, remote, request, pwd);
	if (pwd != ice->pwd)
		return DROP_NONE;
	struct pair *pair = pair_find(ice, remote);
	if (pair == NULL)
		pair = pair_add(ice, remote, request->has_priority ? request->priority : PRFLX_PRIORITY);
	// Triggered check: the peer's packets get through, ours now will too.
	if (pair != NULL && pair->state != PAIR_VALID && ice->have_remote && ice->state != ICE_CONNECTED)
		pair->next_ns = now_ns;
	return DROP_NONE;
}

static enum drop input_response(struct ice *ice, struct endpoint remote, const uint8_t *data,
	const struct stun_message *response, uint64_t now_ns)
{
	for (unsigned i = 0; i < CONSENT_IDS; i++) {
		if (ice->consent.sent_ns[i] == 0 || memcmp(ice->consent.ids[i], response->id, STUN_ID_BYTES) != 0)
			continue;
		if (!stun_integrity(data, response, ice->remote_pwd))
			return DROP_STUN_BAD_INTEGRITY;
		if (response->class != STUN_SUCCESS || !endpoint_equal(remote, ice->selected))
			return DROP_STUN_UNEXPECTED;
		ice->consent.last_ns = now_ns;
		ice->rtt_us = (uint32_t)((now_ns - ice->consent.sent_ns[i]) / 1000);
		ice->consent.sent_ns[i] = 0;
		ice->consent.due_ns = MAX_OF(ice->consent.due_ns, now_ns + ice->config.consent_period_ms * MS * 8 / 10);
		if (ice->state == ICE_DISCONNECTED)
			ice->state = ICE_CONNECTED;
		return DROP_NONE;
	}
	for (unsigned i = 0; i < ice->pair_count; i++) {
		struct pair *pair = &ice->pairs[i];
		if (pair->sent_ns == 0 || memcmp(pair->id, response->id, STUN_ID_BYTES) != 0)
			continue;
		if (!stun_integrity(data, response, ice->remote_pwd))
			return DROP_STUN_BAD_INTEGRITY;
		if (!endpoint_equal(pair->remote, remote)) // RFC 8445 7.2.5.2.1: not symmetric, not valid
			return DROP_STUN_UNEXPECTED;
		if (response->class == STUN_ERROR) { // 487: it thinks it is controlling; a new tie-breaker settles it
			if (response->error_code == 487)
				ice->tie_breaker = UINT64_MAX - (ice->tie_breaker & 0xffff);
			pair->next_ns = now_ns + pair->rto_ns;
			return DROP_NONE;
		}
		pair->state = PAIR_VALID;
		ice->rtt_us = (uint32_t)((now_ns - pair->sent_ns) / 1000);
		pair->sent_ns = 0;
		pair->next_ns = 0;
		if (ice->first_valid_ns == 0)
			ice->first_valid_ns = now_ns;
		if (pair->nominating && (!ice->has_selected || ice->selected_is_old || ice->state != ICE_CONNECTED))
			select_pair(ice, remote, now_ns);
		return DROP_NONE;
	}
	return DROP_STUN_UNEXPECTED;
}

enum drop ice_input(struct ice *ice, struct endpoint remote, const uint8_t *datagram, size_t bytes, uint64_t now_ns)
{
	struct stun_message message;
	enum drop drop = stun_parse(datagram, bytes, &message);
	if (drop != DROP_NONE)
		return drop;
	if (message.method != STUN_BINDING || message.unknown_required)
		return DROP_STUN_UNEXPECTED;
	switch (message.class) {
	case STUN_REQUEST:
		return input_request(ice, remote, datagram, &message, now_ns);
	case STUN_INDICATION: // keepalive
		return DROP_NONE;
	default:
		return ice->have_remote ? input_response(ice, remote, datagram, &message, now_ns) : DROP_STUN_UNEXPECTED;
	}
}

// With one candidate the first check nominates; with several the best valid one does, after a short wait for a better.
static bool may_nominate(const struct ice *ice, const struct pair *pair, uint64_t now_ns)
{
	if (ice->pair_count == 1)
		return true;
	if (pair->state != PAIR_VALID || best_pair(ice, true) != pair)
		return false;
	return best_pair(ice, false) == pair || now_ns - ice->first_valid_ns >= BETTER_WAIT_NS;
}

static void earliest(uint64_t *next, uint64_t at_ns)
{
	if (at_ns != 0 && (*next == 0 || at_ns < *next))
		*next = at_ns;
}

static uint64_t poll_checks(struct ice *ice, uint64_t now_ns)
{
	uint64_t next = 0;
	if (!ice->have_remote || ice->pair_count == 0)
		return 0;
	if (ice->began_ns == 0) {
		ice->began_ns = now_ns;
		ice->state = ICE_CHECKING;
	}
	uint64_t limit_ns = ice->began_ns + ice->config.connect_limit_ms * MS;
	if (now_ns >= limit_ns) {
		ice->state = ICE_FAILED;
		return 0;
	}
	earliest(&next, limit_ns);
	for (unsigned i = 0; i < ice->pair_count; i++) {
		struct pair *pair = &ice->pairs[i];
		bool nominate = may_nominate(ice, pair, now_ns);
		if (pair->state == PAIR_VALID && !nominate) {
			if (best_pair(ice, true) == pair)
				earliest(&next, ice->first_valid_ns + BETTER_WAIT_NS);
			continue;
		}
		if (pair->next_ns > now_ns) {
			earliest(&next, pair->next_ns);
			continue;
		}
		if (pair->state == PAIR_WAITING && now_ns < ice->paced_ns) {
			earliest(&next, ice->paced_ns);
			continue;
		}
		if (pair->state == PAIR_WAITING)
			ice->paced_ns = now_ns + PACE_NS;
		check(ice, pair, nominate, now_ns);
		earliest(&next, pair->next_ns);
	}
	return next;
}

static uint64_t poll_consent(struct ice *ice, uint64_t now_ns)
{
	uint64_t silent_ns = now_ns - ice->consent.last_ns;
	if (silent_ns >= ice->config.consent_limit_ms * MS) {
		ice->state = ICE_FAILED;
		return 0;
	}
	if (silent_ns >= ice->config.consent_fresh_ms * MS)
		ice->state = ICE_DISCONNECTED;
	if (now_ns >= ice->consent.due_ns)
		consent_send(ice, now_ns);
	uint64_t next = ice->consent.due_ns;
	earliest(&next, ice->consent.last_ns + (ice->state == ICE_DISCONNECTED ? ice->config.consent_limit_ms
									      : ice->config.consent_fresh_ms) * MS);
	return next;
}

uint64_t ice_poll(struct ice *ice, uint64_t now_ns)
{
	if (ice->state == ICE_FAILED)
		return 0;
	if (ice->has_selected && !ice->selected_is_old)
		return poll_consent(ice, now_ns);
	return poll_checks(ice, now_ns);
}

enum ice_state ice_state(const struct ice *ice)
{
	return ice->state;
}

bool ice_selected(const struct ice *ice, struct endpoint *ret_remote)
{
	if (ice->has_selected)
		*ret_remote = ice->selected;
	return ice->has_selected;
}

bool ice_is_valid_remote(const struct ice *ice, struct endpoint remote)
{
	if (ice->has_selected && endpoint_equal(ice->selected, remote))
		return true;
	for (unsigned i = 0; i < ice->pair_count; i++)
		if (ice->pairs[i].state == PAIR_VALID && endpoint_equal(ice->pairs[i].remote, remote))
			return true;
	return false;
}

uint64_t ice_consent_ns(const struct ice *ice)
{
	return ice->has_selected ? ice->consent.last_ns : 0;
}

uint32_t ice_rtt_us(const struct ice *ice)
{
	return ice->rtt_us;
}

void ice_probe(struct ice *ice, uint64_t now_ns)
{
	if (ice->has_selected && !ice->selected_is_old)
		consent_send(ice, now_ns);
}
