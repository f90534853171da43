// SPDX-License-Identifier: ISC
//
// ice.c - ICE agent: credentials, generations, requests and answers, consent, state.
//
// Runs on: handshake.
//
// A generation is what one pair of credentials covers. There is one, and while an ICE restart is under way a second:
// the old one carries traffic and keeps its consent until a pair of the new one is nominated.
//
// Always controlling. On a role conflict we do not turn controlled as RFC 8445 7.3.1.1 has it for the smaller
// tie-breaker, but raise ours: LiveKit's server is controlled by rights, and once talked into controlling it stays so.

#include "dataplane/ice.h"

#include <stdlib.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "dataplane/ice_check.h"
#include "dataplane/stun.h"

#define NS_PER_MS UINT64_C(1000000)
#define UFRAG_CHARS 16
#define PWD_CHARS 32
#define REMOTE_TEXT_MAX 256
#define REQUEST_MAX_BYTES 768 // two names of 256 characters and everything else

#define PRIORITY_HOST (126u << 24 | 65535u << 8 | 255u)
#define PRIORITY_REFLEXIVE (110u << 24 | 65535u << 8 | 255u)

struct generation {
	char ufrag[UFRAG_CHARS + 1], pwd[PWD_CHARS + 1];
	char remote_ufrag[REMOTE_TEXT_MAX + 1], remote_pwd[REMOTE_TEXT_MAX + 1];
	bool live;           // has local credentials
	bool known;          // has remote credentials
	bool dead;           // gave up, or lost consent
	uint64_t started_ns; // first check, 0: not yet
	struct check_list list;
};

struct ice {
	struct ice_config config;
	struct generation generations[2];
	struct generation *current; // the newest
	struct generation *carrier; // whose selected pair carries traffic, NULL: none
	enum ice_state state;
	uint64_t tie_breaker;
	uint32_t nomination;     // last value given out, over all generations
	bool no_old_nomination;  // the peer refused the attribute
	uint64_t consent_ns;     // last answer on the selected pair
	uint64_t consent_due_ns; // next check on it
	uint32_t consent_rto_ms; // 0: the last check was answered
	uint32_t rtt_us;
};

uint32_t ice_local_priority(void)
{
	return PRIORITY_HOST;
}

// ---- credentials and generations

static bool make_text(char *ret, size_t chars)
{
	static const char ice_chars[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t random[PWD_CHARS];
	if (chars > sizeof(random) || RAND_bytes(random, (int)chars) != 1)
		return false;
	for (size_t i = 0; i < chars; i++)
		ret[i] = ice_chars[random[i] & 63];
	ret[chars] = '\0';
	OPENSSL_cleanse(random, sizeof(random));
	return true;
}

static void generation_wipe(struct generation *generation)
{
	OPENSSL_cleanse(generation, sizeof(*generation));
	check_list_init(&generation->list);
}

int ice_credentials_make(struct ice_credentials *ret_credentials, struct err *err)
{
	if (!make_text(ret_credentials->ufrag, UFRAG_CHARS) || !make_text(ret_credentials->pwd, PWD_CHARS))
		return err_set(err, EIO, "no random numbers for ICE credentials");
	return 0;
}

static void generation_init(struct generation *generation, const struct ice_credentials *credentials)
{
	generation_wipe(generation);
	memcpy(generation->ufrag, credentials->ufrag, UFRAG_CHARS + 1);
	memcpy(generation->pwd, credentials->pwd, PWD_CHARS + 1);
	generation->live = true;
}

struct ice *ice_create(const struct ice_config *config, struct err *err)
{
	struct ice *ice = calloc(1, sizeof(*ice));
	if (ice == NULL) {
		err_set(err, ENOMEM, "no memory for an ICE agent");
		return NULL;
	}
	ice->config = *config;
	if (ice->config.connect_limit_ms == 0)
		ice->config.connect_limit_ms = 5000;
	if (ice->config.consent_period_ms == 0)
		ice->config.consent_period_ms = 2000;
	if (ice->config.consent_fresh_ms == 0)
		ice->config.consent_fresh_ms = 5000;
	if (ice->config.consent_limit_ms == 0)
		ice->config.consent_limit_ms = 15000;
	check_list_init(&ice->generations[1].list);
	ice->current = &ice->generations[0];
	if (RAND_bytes((uint8_t *)&ice->tie_breaker, sizeof(ice->tie_breaker)) != 1) {
		err_set(err, EIO, "no random numbers for an ICE tie-breaker");
		free(ice);
		return NULL;
	}
	struct ice_credentials credentials;
	if (ice_credentials_make(&credentials, err) < 0) {
		free(ice);
		return NULL;
	}
	generation_init(ice->current, &credentials);
	OPENSSL_cleanse(&credentials, sizeof(credentials));
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
	return ice->current->ufrag;
}

const char *ice_local_pwd(const struct ice *ice)
{
	return ice->current->pwd;
}

static bool text_is_ice(const char *text, size_t least)
{
	size_t length = strnlen(text, REMOTE_TEXT_MAX + 1);
	if (length < least || length > REMOTE_TEXT_MAX)
		return false;
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") == length;
}

int ice_set_remote(struct ice *ice, const char *ufrag, const char *pwd, bool lite, struct err *err)
{
	struct generation *generation = ice->current;
	// A lite peer needs nothing else from us: we check, nominate and keep consent whether or not it does.
	(void)lite;
	if (!text_is_ice(ufrag, 4) || !text_is_ice(pwd, 22))
		return err_set(err, EINVAL, "the peer's ICE credentials are too short, too long or have bad characters");
	if (generation->known) {
		if (strcmp(generation->remote_ufrag, ufrag) == 0 && strcmp(generation->remote_pwd, pwd) == 0)
			return 0;
		if (ice->carrier == generation)
			return err_set(err, EALREADY, "the peer changed its ICE credentials without a restart of ours");
		// LiveKit's server does, with the answer to a second offer that finds it before it has taken in the first one's
		// credentials: it takes them for a restart. Nothing is lost, as nothing is connected.
		check_list_restart(&generation->list);
		generation->dead = false;
		generation->started_ns = 0;
	}
	bool others = generation->known;
	strcpy(generation->remote_ufrag, ufrag);
	strcpy(generation->remote_pwd, pwd);
	generation->known = true;
	return others;
}

int ice_add_remote_candidate(struct ice *ice, struct endpoint remote, uint32_t priority)
{
	return check_list_add(&ice->current->list, remote, priority, false);
}

int ice_restart(struct ice *ice, struct err *err)
{
	struct ice_credentials credentials;
	int ret = ice_credentials_make(&credentials, err);
	if (ret == 0)
		ice_restart_with(ice, &credentials);
	OPENSSL_cleanse(&credentials, sizeof(credentials));
	return ret;
}

void ice_restart_with(struct ice *ice, const struct ice_credentials *credentials)
{
	// Into the place that carries nothing; without a carrier nothing of the old generation is worth keeping.
	struct generation *fresh = &ice->generations[ice->current == &ice->generations[0]];
	if (fresh == ice->carrier)
		fresh = ice->current;
	if (ice->carrier == NULL)
		generation_wipe(ice->current);
	generation_init(fresh, credentials);
	ice->current = fresh;
	if (ice->carrier == NULL)
		ice->state = ICE_NEW;
}

// ---- sending

static void send_message(struct ice *ice, struct endpoint remote, struct stun_writer *writer, const char *pwd)
{
	stun_put_integrity(writer, pwd, strlen(pwd));
	stun_put_fingerprint(writer);
	size_t bytes = stun_end(writer);
	if (bytes > 0)
		ice->config.send(ice->config.arg, remote, writer->datagram, bytes);
}

static void send_check(struct ice *ice, const struct generation *generation, const struct ice_pair *pair,
	const struct ice_transaction *transaction)
{
	uint8_t datagram[REQUEST_MAX_BYTES];
	char username[REMOTE_TEXT_MAX + 1 + UFRAG_CHARS + 1];
	struct stun_writer writer;
	int length = snprintf(username, sizeof(username), "%s:%s", generation->remote_ufrag, generation->ufrag);
	stun_begin(&writer, datagram, sizeof(datagram), STUN_REQUEST, STUN_BINDING, transaction->id);
	stun_put(&writer, STUN_USERNAME, username, (size_t)length);
	stun_put_u64(&writer, STUN_ICE_CONTROLLING, ice->tie_breaker);
	stun_put_u32(&writer, STUN_PRIORITY, PRIORITY_REFLEXIVE);
	if (transaction->nomination != 0) {
		stun_put(&writer, STUN_USE_CANDIDATE, NULL, 0);
		// Which of the two a server understands depends on its version; either makes it switch at once.
		if (!ice->no_old_nomination)
			stun_put_u32(&writer, STUN_NOMINATION_OLD, transaction->nomination);
		stun_put_u32(&writer, STUN_NOMINATION, transaction->nomination);
	}
	send_message(ice, pair->remote, &writer, generation->remote_pwd);
}

static void run_checks(struct ice *ice, struct generation *generation, uint64_t now_ns)
{
	struct check_list *list = &generation->list;
	struct ice_pair *pair;
	if (!generation->known || generation->dead || list->count == 0)
		return;
	if (generation->started_ns == 0)
		generation->started_ns = MAX_OF(now_ns, 1);
	while ((pair = check_list_due(list, now_ns)) != NULL) {
		uint8_t id[STUN_TRANSACTION_BYTES];
		if (RAND_bytes(id, sizeof(id)) != 1)
			return; // tried again at the next poll
		send_check(ice, generation, pair, check_list_send(list, pair, id, &ice->nomination, now_ns));
	}
}

static struct ice_pair *selected_pair(const struct ice *ice)
{
	return ice->carrier == NULL ? NULL : &ice->carrier->list.pairs[ice->carrier->list.selected];
}

// ---- consent (RFC 7675)

static void consent_answered(struct ice *ice, uint64_t now_ns)
{
	uint32_t period_ms = ice->config.consent_period_ms, random = 0;
	ice->consent_ns = now_ns;
	ice->consent_rto_ms = 0;
	// Without a random number the period is merely not spread.
	if (RAND_bytes((uint8_t *)&random, sizeof(random)) != 1)
		random = UINT32_MAX / 2;
	uint64_t period_ns = period_ms * NS_PER_MS;
	ice->consent_due_ns = now_ns + period_ns * 4 / 5 + period_ns * 2 / 5 * (random >> 16) / 65535;
}

// Every consent check is a transaction of its own. An unanswered one is followed sooner than the period says, so that
// one lost datagram is not mistaken for a lost peer.
static void consent_send(struct ice *ice, uint64_t now_ns)
{
	struct ice_pair *pair = selected_pair(ice);
	uint32_t first_ms = MIN_OF(MAX_OF(ice->rtt_us / 500, ICE_RTO_MIN_MS), ICE_RTO_MAX_MS); // two round trips
	uint8_t id[STUN_TRANSACTION_BYTES];
	ice->consent_rto_ms = ice->consent_rto_ms == 0 ? first_ms : MIN_OF(ice->consent_rto_ms * 2, ICE_RTO_MAX_MS);
	ice->consent_due_ns = now_ns + ice->consent_rto_ms * NS_PER_MS;
	if (RAND_bytes(id, sizeof(id)) == 1)
		send_check(ice, ice->carrier, pair, check_pair_open(pair, id, 0, now_ns));
}

void ice_probe(struct ice *ice, uint64_t now_ns)
{
	if (ice->carrier == NULL)
		return;
	ice->consent_rto_ms = 0;
	consent_send(ice, now_ns);
}

// ---- state

static void update_state(struct ice *ice, uint64_t now_ns)
{
	struct generation *current = ice->current;
	uint64_t age_ns = now_ns - ice->consent_ns;
	if (ice->carrier != NULL && age_ns >= ice->config.consent_limit_ms * NS_PER_MS) {
		if (ice->carrier == current)
			current->dead = true;
		else
			generation_wipe(ice->carrier);
		ice->carrier = NULL;
	}
	if (ice->carrier != current && current->started_ns != 0 &&
		now_ns - current->started_ns >= ice->config.connect_limit_ms * NS_PER_MS)
		current->dead = true;
	if (ice->carrier != NULL)
		ice->state = age_ns < ice->config.consent_fresh_ms * NS_PER_MS ? ICE_CONNECTED : ICE_DISCONNECTED;
	else if (current->dead)
		ice->state = ICE_FAILED;
	else
		ice->state = current->started_ns != 0 ? ICE_CHECKING : ICE_NEW;
}

static void sooner(uint64_t *deadline_ns, uint64_t at_ns)
{
	if (at_ns != 0 && (*deadline_ns == 0 || at_ns < *deadline_ns))
		*deadline_ns = at_ns;
}

static uint64_t next_deadline(const struct ice *ice, uint64_t now_ns)
{
	uint64_t next_ns = 0;
	const struct generation *current = ice->current;
	if (current->known && !current->dead) {
		sooner(&next_ns, check_list_next_ns(&current->list));
		if (current != ice->carrier && current->started_ns != 0)
			sooner(&next_ns, current->started_ns + ice->config.connect_limit_ms * NS_PER_MS);
	}
	if (ice->carrier != NULL) {
		uint32_t limit_ms = ice->state == ICE_CONNECTED ? ice->config.consent_fresh_ms
								: ice->config.consent_limit_ms;
		sooner(&next_ns, ice->consent_due_ns);
		sooner(&next_ns, ice->consent_ns + limit_ms * NS_PER_MS);
	}
	// Whatever could not be done now is tried again a little later, never in a spin.
	return next_ns != 0 && next_ns <= now_ns ? now_ns + NS_PER_MS : next_ns;
}

uint64_t ice_poll(struct ice *ice, uint64_t now_ns)
{
	update_state(ice, now_ns); // first, so that nothing is sent for what just ended
	run_checks(ice, ice->current, now_ns);
	if (ice->carrier != NULL && now_ns >= ice->consent_due_ns)
		consent_send(ice, now_ns);
	update_state(ice, now_ns);
	return next_deadline(ice, now_ns);
}

// ---- received requests

// USERNAME is "ours:theirs". Theirs is not looked at before it is known.
static struct generation *generation_by_username(struct ice *ice, const struct stun_message *message)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ice->generations); i++) {
		struct generation *generation = &ice->generations[i];
		if (!generation->live || message->username_bytes <= UFRAG_CHARS ||
			memcmp(message->username, generation->ufrag, UFRAG_CHARS) != 0 ||
			message->username[UFRAG_CHARS] != ':')
			continue;
		size_t theirs_bytes = message->username_bytes - UFRAG_CHARS - 1u;
		const uint8_t *theirs = message->username + UFRAG_CHARS + 1;
		if (!generation->known || (theirs_bytes == strlen(generation->remote_ufrag) &&
						  memcmp(theirs, generation->remote_ufrag, theirs_bytes) == 0))
			return generation;
	}
	return NULL;
}

static void answer(struct ice *ice, const struct generation *generation, struct endpoint remote,
	const struct stun_message *request)
{
	uint8_t datagram[REQUEST_MAX_BYTES];
	struct stun_writer writer;
	bool conflict = request->controlling, unknown = request->unknown_count > 0;
	stun_begin(&writer, datagram, sizeof(datagram), conflict || unknown ? STUN_ERROR : STUN_SUCCESS, STUN_BINDING,
		request->transaction);
	if (unknown) {
		uint8_t list[2 * STUN_UNKNOWN_MAX];
		for (unsigned i = 0; i < request->unknown_count; i++)
			put_be16(list + 2 * i, request->unknown[i]);
		stun_put_error(&writer, STUN_UNKNOWN_ATTRIBUTE, "Unknown Attribute");
		stun_put(&writer, STUN_UNKNOWN_ATTRIBUTES, list, 2u * request->unknown_count);
	} else if (conflict) {
		stun_put_error(&writer, STUN_ROLE_CONFLICT, "Role Conflict");
	} else {
		stun_put_mapped(&writer, remote);
	}
	send_message(ice, remote, &writer, generation->pwd);
}

static void raise_tie_breaker(struct ice *ice, uint64_t above)
{
	if (ice->tie_breaker <= above)
		ice->tie_breaker = above < UINT64_MAX ? above + (UINT64_MAX - above + 1) / 2 : UINT64_MAX;
}

// Both go over the whole message: asked only of one that names us or answers us, which a stranger's does not.
static bool is_genuine(const struct stun_message *message, const char *pwd)
{
	return stun_check_fingerprint(message) && stun_check_integrity(message, pwd, strlen(pwd));
}

static enum drop take_request(struct ice *ice, struct endpoint remote, const struct stun_message *request,
	uint64_t now_ns)
{
	struct generation *generation = generation_by_username(ice, request);
	if (generation == NULL)
		return DROP_STUN_BAD_USERNAME;
	if (!is_genuine(request, generation->pwd))
		return DROP_STUN_BAD_INTEGRITY;
	answer(ice, generation, remote, request);
	if (request->unknown_count > 0)
		return DROP_NONE;
	if (request->controlling) {
		raise_tie_breaker(ice, request->tie_breaker);
		return DROP_NONE;
	}
	// Too many peer-reflexive addresses: answered, but not followed up.
	uint32_t priority = request->priority != 0 ? request->priority : PRIORITY_REFLEXIVE;
	if (check_list_add(&generation->list, remote, priority, true) < 0)
		return DROP_NONE;
	if (generation->known) {
		check_list_trigger(&generation->list, check_list_find(&generation->list, remote), now_ns);
		run_checks(ice, generation, now_ns);
	}
	return DROP_NONE;
}

// ---- received responses

static void take_success(struct ice *ice, struct generation *generation, struct ice_pair *pair,
	struct ice_transaction *transaction, uint64_t now_ns)
{
	// An answer to one of several copies says nothing about the round trip (Karn).
	if (transaction->sends == 1)
		ice->rtt_us = (uint32_t)MIN_OF((now_ns - transaction->sent_ns) / 1000, UINT32_MAX);
	bool changed = check_list_succeed(&generation->list, pair, transaction, now_ns);
	if (changed && generation == ice->current && ice->carrier != generation) {
		if (ice->carrier != NULL)
			generation_wipe(ice->carrier);
		ice->carrier = generation;
	}
	if (generation == ice->carrier && pair == selected_pair(ice))
		consent_answered(ice, now_ns);
}

static enum drop take_response(struct ice *ice, struct endpoint remote, const struct stun_message *response,
	uint64_t now_ns)
{
	struct ice_pair *pair = NULL;
	struct ice_transaction *transaction = NULL;
	struct generation *generation = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(ice->generations) && transaction == NULL; i++) {
		generation = &ice->generations[i];
		if (generation->known && !generation->dead)
			transaction = check_list_match(&generation->list, response->transaction, &pair);
	}
	if (transaction == NULL || !endpoint_equal(remote, pair->remote))
		return DROP_STUN_UNEXPECTED;
	if (!is_genuine(response, generation->remote_pwd))
		return DROP_STUN_BAD_INTEGRITY;
	if (response->kind == STUN_SUCCESS) {
		if (response->mapped.family == STUN_FAMILY_NONE || response->unknown_count > 0)
			return DROP_STUN_MALFORMED;
		take_success(ice, generation, pair, transaction, now_ns);
		return DROP_NONE;
	}
	bool again = false;
	if (response->error_code == STUN_ROLE_CONFLICT) {
		raise_tie_breaker(ice, ice->tie_breaker);
		again = true;
	} else if (response->error_code == STUN_UNKNOWN_ATTRIBUTE && !ice->no_old_nomination) {
		ice->no_old_nomination = true; // it lies in the range that must be understood
		again = true;
	}
	check_list_refuse(&generation->list, pair, transaction, again, now_ns);
	return DROP_NONE;
}

enum drop ice_input(struct ice *ice, struct endpoint remote, const uint8_t *datagram, size_t bytes, uint64_t now_ns)
{
	struct stun_message message;
	enum drop ret;
	if (!stun_decode(datagram, bytes, &message))
		return DROP_STUN_MALFORMED;
	if (message.method != STUN_BINDING)
		return DROP_STUN_UNEXPECTED;
	if (message.kind == STUN_INDICATION)
		return DROP_NONE; // a keepalive
	update_state(ice, now_ns); // an answer that comes after the limit must not revive what has failed
	if (message.kind == STUN_REQUEST)
		ret = take_request(ice, remote, &message, now_ns);
	else
		ret = take_response(ice, remote, &message, now_ns);
	update_state(ice, now_ns);
	return ret;
}

// ---- questions

enum ice_state ice_state(const struct ice *ice)
{
	return ice->state;
}

bool ice_selected(const struct ice *ice, struct endpoint *ret_remote)
{
	const struct ice_pair *pair = selected_pair(ice);
	if (pair == NULL)
		return false;
	*ret_remote = pair->remote;
	return true;
}

bool ice_is_valid_remote(const struct ice *ice, struct endpoint remote)
{
	for (unsigned g = 0; g < ARRAY_SIZE(ice->generations); g++) {
		const struct check_list *list = &ice->generations[g].list;
		for (unsigned i = 0; i < list->count; i++)
			if (list->pairs[i].valid && endpoint_equal(list->pairs[i].remote, remote))
				return true;
	}
	return false;
}

uint64_t ice_consent_ns(const struct ice *ice)
{
	return ice->consent_ns;
}

uint32_t ice_rtt_us(const struct ice *ice)
{
	return ice->rtt_us;
}
