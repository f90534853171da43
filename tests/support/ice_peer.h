// SPDX-License-Identifier: ISC
//
// ice_peer.h - the other side of an ICE agent for tests: a controlled peer, full or lite, behind a lossy link, in fake time.
//
// Written apart from ice.c on purpose: it knows only what goes over the wire. Include after cmocka.h.
//
// Runs on: any.
#pragma once

#include <stdlib.h>

#include "dataplane/ice.h"
#include "dataplane/stun.h"

#define MS UINT64_C(1000000)
#define LINK_MAX 256
#define PEER_ADDRESSES_MAX 8

struct ice_peer_address {
	struct endpoint endpoint;
	bool dead;      // hears nothing, says nothing
	bool mute;      // hears, but what it says is lost
	unsigned heard; // requests that reached it
	unsigned nominated;
	struct endpoint answers_from; // ip 0: itself
};

struct ice_peer {
	struct ice_peer_address addresses[PEER_ADDRESSES_MAX];
	unsigned address_count;
	char ufrag[40], pwd[40];             // its own
	char other_ufrag[40], other_pwd[40]; // of the agent under test
	bool lite;
	bool old; // refuses to understand the nomination attribute 0x0030
	bool controlling; // a peer that believes so: 487 to ICE-CONTROLLING with a smaller tie-breaker
	uint64_t tie_breaker;
	int selected; // address, -1: none
	uint32_t nomination;
	uint64_t check_ns; // next own check (full)
	uint8_t sent_id[PEER_ADDRESSES_MAX][STUN_TRANSACTION_BYTES];
	uint32_t pending_nomination[PEER_ADDRESSES_MAX];
	unsigned checks_answered;
	unsigned conflicts;
};

struct ice_link_datagram {
	bool used, to_peer;
	uint64_t at_ns, sequence;
	struct endpoint from, to;
	size_t bytes;
	uint8_t data[1024];
};

struct ice_world {
	uint64_t now_ns;
	uint64_t delay_ns; // one way
	uint64_t sequence;
	bool reorders; // what arrives at the same time comes last one first
	unsigned lose_every; // one of every n datagrams is lost, 0: none
	unsigned counter, lose_at;
	uint32_t seed;
	struct ice *ice;
	struct endpoint local;
	struct ice_peer peer;
	uint64_t deadline_ns;
	unsigned sent; // by the agent
	uint64_t first_sent_ns, last_sent_ns;
	unsigned drops[DROP_COUNT];
	struct ice_link_datagram link[LINK_MAX];
};

// Of every block of n datagrams one at random: exactly every n-th would beat with the rhythm of question and answer.
static bool world_loses(struct ice_world *world)
{
	if (world->lose_every == 0)
		return false;
	unsigned at = world->counter++ % world->lose_every;
	if (at == 0) {
		world->seed = world->seed * 1664525 + 1013904223;
		world->lose_at = (world->seed >> 16) % world->lose_every;
	}
	return at == world->lose_at;
}

static void world_put(struct ice_world *world, bool to_peer, struct endpoint from, struct endpoint to, const uint8_t *data,
	size_t bytes)
{
	if (world_loses(world))
		return;
	for (unsigned i = 0; i < LINK_MAX; i++) {
		struct ice_link_datagram *datagram = &world->link[i];
		if (datagram->used)
			continue;
		*datagram = (struct ice_link_datagram){.used = true,
			.to_peer = to_peer,
			.at_ns = world->now_ns + world->delay_ns,
			.sequence = world->sequence++,
			.from = from,
			.to = to,
			.bytes = bytes};
		assert_true(bytes <= sizeof(datagram->data));
		memcpy(datagram->data, data, bytes);
		return;
	}
	fail_msg("the link is full");
}

// The agent's send callback.
static void world_send(void *arg, struct endpoint remote, const uint8_t *data, size_t bytes)
{
	struct ice_world *world = arg;
	if (world->sent++ == 0)
		world->first_sent_ns = world->now_ns;
	world->last_sent_ns = world->now_ns;
	world_put(world, true, world->local, remote, data, bytes);
}

static void peer_send(struct ice_world *world, unsigned at, struct stun_writer *writer, const char *pwd)
{
	const struct ice_peer_address *address = &world->peer.addresses[at];
	stun_put_integrity(writer, pwd, strlen(pwd));
	stun_put_fingerprint(writer);
	size_t bytes = stun_end(writer);
	assert_true(bytes > 0);
	if (!address->mute)
		world_put(world, false, address->answers_from.ip != 0 ? address->answers_from : address->endpoint,
			world->local, writer->datagram, bytes);
}

// A check of the peer's own.
static void peer_check(struct ice_world *world, unsigned at)
{
	struct ice_peer *peer = &world->peer;
	uint8_t data[512];
	char username[100];
	struct stun_writer writer;
	for (unsigned i = 0; i < STUN_TRANSACTION_BYTES; i++)
		peer->sent_id[at][i] = (uint8_t)rand();
	stun_begin(&writer, data, sizeof(data), STUN_REQUEST, STUN_BINDING, peer->sent_id[at]);
	snprintf(username, sizeof(username), "%s:%s", peer->other_ufrag, peer->ufrag);
	stun_put(&writer, STUN_USERNAME, username, strlen(username));
	stun_put_u64(&writer, peer->controlling ? STUN_ICE_CONTROLLING : STUN_ICE_CONTROLLED, peer->tie_breaker);
	stun_put_u32(&writer, STUN_PRIORITY, 1862270975);
	peer_send(world, at, &writer, peer->other_pwd);
}

static void peer_select(struct ice_peer *peer, unsigned at, uint32_t nomination)
{
	if (nomination > peer->nomination) {
		peer->nomination = nomination;
		peer->selected = (int)at;
	}
}

// What every request of ours must have.
static void peer_inspect(const struct ice_peer *peer, const struct stun_message *request)
{
	char username[100];
	int length = snprintf(username, sizeof(username), "%s:%s", peer->ufrag, peer->other_ufrag);
	assert_int_equal(request->username_bytes, length);
	assert_memory_equal(request->username, username, (size_t)length);
	assert_true(stun_check_integrity(request, peer->pwd, strlen(peer->pwd)));
	assert_true(request->fingerprint_at != 0);
	assert_true(stun_check_fingerprint(request));
	assert_true(request->controlling && !request->controlled);
	assert_int_not_equal(request->priority, 0);
	assert_int_equal(request->use_candidate, request->nomination != 0);
	assert_true(request->nomination < 1u << 24);
}

static bool has_attribute(const struct stun_message *message, uint16_t attribute)
{
	for (size_t at = STUN_HEADER_BYTES; at < message->bytes;
		at += 4 + (get_be16(message->datagram + at + 2) + 3u) / 4 * 4)
		if (get_be16(message->datagram + at) == attribute)
			return true;
	return false;
}

static void peer_request(struct ice_world *world, unsigned at, const struct stun_message *request)
{
	struct ice_peer *peer = &world->peer;
	uint8_t data[512];
	struct stun_writer writer;
	// Another generation, or credentials the peer does not have yet: silence, as LiveKit does it.
	if (!stun_check_integrity(request, peer->pwd, strlen(peer->pwd)))
		return;
	peer_inspect(peer, request);
	peer->addresses[at].heard++;
	peer->addresses[at].nominated += request->use_candidate;
	bool conflict = peer->controlling && request->tie_breaker <= peer->tie_breaker;
	bool unknown = peer->old && has_attribute(request, STUN_NOMINATION_OLD);
	stun_begin(&writer, data, sizeof(data), conflict || unknown ? STUN_ERROR : STUN_SUCCESS, STUN_BINDING,
		request->transaction);
	if (conflict) {
		peer->conflicts++;
		stun_put_error(&writer, STUN_ROLE_CONFLICT, "Role Conflict");
	} else if (unknown) {
		stun_put_error(&writer, STUN_UNKNOWN_ATTRIBUTE, "Unknown Attribute");
	} else {
		peer->controlling = false;
		stun_put_mapped(&writer, world->local);
	}
	peer_send(world, at, &writer, peer->pwd);
	if (conflict || unknown)
		return;
	if (peer->lite) {
		peer_select(peer, at, request->nomination);
	} else {
		if (request->use_candidate)
			peer->pending_nomination[at] = request->nomination;
		if (request->use_candidate || peer->selected < 0)
			peer_check(world, at);
	}
}

static void peer_input(struct ice_world *world, unsigned at, const uint8_t *data, size_t bytes)
{
	struct ice_peer *peer = &world->peer;
	struct stun_message message;
	assert_true(stun_decode(data, bytes, &message));
	if (peer->addresses[at].dead)
		return;
	if (message.kind == STUN_REQUEST) {
		peer_request(world, at, &message);
		return;
	}
	assert_false(peer->lite);
	assert_true(stun_check_integrity(&message, peer->other_pwd, strlen(peer->other_pwd)));
	assert_true(stun_check_fingerprint(&message));
	if (memcmp(message.transaction, peer->sent_id[at], STUN_TRANSACTION_BYTES) != 0)
		return;
	if (message.kind == STUN_ERROR) {
		assert_int_equal(message.error_code, STUN_ROLE_CONFLICT);
		peer->conflicts++;
		peer->controlling = false;
		return;
	}
	uint8_t ip[4];
	put_be32(ip, world->local.ip);
	struct endpoint from = peer->addresses[at].answers_from.ip != 0 ? peer->addresses[at].answers_from
									: peer->addresses[at].endpoint;
	put_be32(ip, from.ip);
	assert_memory_equal(message.mapped.ip, ip, sizeof(ip));
	assert_int_equal(message.mapped.port, from.port);
	peer->checks_answered++;
	peer_select(peer, at, peer->pending_nomination[at]);
}

static void world_poll(struct ice_world *world)
{
	world->deadline_ns = ice_poll(world->ice, world->now_ns);
	assert_true(world->deadline_ns == 0 || world->deadline_ns > world->now_ns);
}

static void world_deliver(struct ice_world *world, struct ice_link_datagram *datagram)
{
	datagram->used = false;
	if (!datagram->to_peer) {
		enum drop drop = ice_input(world->ice, datagram->from, datagram->data, datagram->bytes, world->now_ns);
		world->drops[drop]++;
		world_poll(world);
		return;
	}
	for (unsigned i = 0; i < world->peer.address_count; i++)
		if (endpoint_equal(world->peer.addresses[i].endpoint, datagram->to))
			peer_input(world, i, datagram->data, datagram->bytes);
}

// The full peer checks every known address every 200 ms until one is selected, then that one every 2 s.
static void peer_poll(struct ice_world *world)
{
	struct ice_peer *peer = &world->peer;
	if (peer->lite || world->now_ns < peer->check_ns)
		return;
	for (unsigned i = 0; i < peer->address_count; i++)
		if (!peer->addresses[i].dead && (peer->selected < 0 || peer->selected == (int)i))
			peer_check(world, i);
	peer->check_ns = world->now_ns + (peer->selected < 0 ? 200 : 2000) * MS;
}

static struct ice_link_datagram *world_next_datagram(struct ice_world *world)
{
	struct ice_link_datagram *next = NULL;
	for (unsigned i = 0; i < LINK_MAX; i++) {
		struct ice_link_datagram *datagram = &world->link[i];
		if (!datagram->used)
			continue;
		if (next == NULL || datagram->at_ns < next->at_ns ||
			(datagram->at_ns == next->at_ns && (datagram->sequence < next->sequence) != world->reorders))
			next = datagram;
	}
	return next;
}

// Time passes for `for_ns` or until the state is as wanted (-1: whatever).
static void world_run(struct ice_world *world, uint64_t for_ns, int until_state)
{
	uint64_t end_ns = world->now_ns + for_ns;
	world_poll(world);
	for (unsigned steps = 0; (int)ice_state(world->ice) != until_state; steps++) {
		assert_true(steps < 200000);
		uint64_t next_ns = end_ns;
		struct ice_link_datagram *next = world_next_datagram(world);
		if (world->deadline_ns != 0)
			next_ns = MIN_OF(next_ns, world->deadline_ns);
		if (!world->peer.lite)
			next_ns = MIN_OF(next_ns, MAX_OF(world->peer.check_ns, world->now_ns));
		if (next != NULL && next->at_ns <= next_ns)
			next_ns = next->at_ns;
		else
			next = NULL;
		world->now_ns = MAX_OF(world->now_ns, next_ns);
		if (next != NULL)
			world_deliver(world, next);
		else if (world->now_ns >= end_ns)
			return;
		peer_poll(world);
		if (world->deadline_ns != 0 && world->now_ns >= world->deadline_ns)
			world_poll(world);
	}
}

static unsigned world_add_address(struct ice_world *world, uint32_t ip, uint16_t port)
{
	struct ice_peer *peer = &world->peer;
	assert_true(peer->address_count < PEER_ADDRESSES_MAX);
	peer->addresses[peer->address_count].endpoint = (struct endpoint){.ip = ip, .port = port};
	return peer->address_count++;
}

// The peer learns what our SDP would tell it.
static void world_offer(struct ice_world *world)
{
	snprintf(world->peer.other_ufrag, sizeof(world->peer.other_ufrag), "%s", ice_local_ufrag(world->ice));
	snprintf(world->peer.other_pwd, sizeof(world->peer.other_pwd), "%s", ice_local_pwd(world->ice));
}

static struct ice_world *world_create(bool lite, uint64_t delay_ns)
{
	struct ice_world *world = calloc(1, sizeof(*world));
	assert_non_null(world);
	world->now_ns = 1000 * MS;
	world->delay_ns = delay_ns;
	world->local = (struct endpoint){.ip = 0x0a000002, .port = 40000};
	struct ice_config config = {.local = world->local, .send = world_send, .arg = world};
	struct err err;
	world->ice = ice_create(&config, &err);
	assert_non_null(world->ice);
	world->peer.lite = lite;
	world->peer.selected = -1;
	world->peer.tie_breaker = 1;
	world->peer.check_ns = world->now_ns;
	snprintf(world->peer.ufrag, sizeof(world->peer.ufrag), "PeerUfragOfSixte");
	snprintf(world->peer.pwd, sizeof(world->peer.pwd), "PeerPasswordOfThirtyTwoCharacter");
	world_offer(world);
	return world;
}

static void world_destroy(struct ice_world *world)
{
	ice_destroy(world->ice);
	free(world);
}

#define HOST_PRIORITY(local_preference) (126u << 24 | (uint32_t)(local_preference) << 8 | 255u)
#define SERVER_IP 0x0a000001
#define BRIDGE_IP 0xac110001
#define PUBLIC_IP 0xcb007101

static void set_remote(struct ice_world *world)
{
	struct err err;
	assert_int_equal(ice_set_remote(world->ice, world->peer.ufrag, world->peer.pwd, world->peer.lite, &err), 0);
}

static void add(struct ice_world *world, unsigned at, uint32_t priority)
{
	assert_int_equal(ice_add_remote_candidate(world->ice, world->peer.addresses[at].endpoint, priority), 0);
}

static void assert_selected(struct ice_world *world, unsigned at)
{
	struct endpoint remote;
	assert_int_equal(ice_state(world->ice), ICE_CONNECTED);
	assert_true(ice_selected(world->ice, &remote));
	assert_true(endpoint_equal(remote, world->peer.addresses[at].endpoint));
	assert_true(ice_is_valid_remote(world->ice, remote));
}

static struct ice_world *connected(bool lite)
{
	struct ice_world *world = world_create(lite, 1 * MS);
	add(world, world_add_address(world, SERVER_IP, 7882), HOST_PRIORITY(65535));
	set_remote(world);
	world_run(world, 5000 * MS, ICE_CONNECTED);
	assert_selected(world, 0);
	world_run(world, 100 * MS, -1);
	return world;
}

// A check from nowhere, as anybody may make it up.
static enum drop forge(struct ice_world *world, const char *username, const char *pwd, bool fingerprint)
{
	static const uint8_t id[STUN_TRANSACTION_BYTES] = "forgedforged";
	uint8_t data[512];
	struct stun_writer writer;
	stun_begin(&writer, data, sizeof(data), STUN_REQUEST, STUN_BINDING, id);
	if (username != NULL)
		stun_put(&writer, STUN_USERNAME, username, strlen(username));
	stun_put_u64(&writer, STUN_ICE_CONTROLLED, 1);
	if (pwd != NULL)
		stun_put_integrity(&writer, pwd, strlen(pwd));
	stun_put_fingerprint(&writer);
	size_t bytes = stun_end(&writer);
	if (!fingerprint)
		data[bytes - 1] ^= 1;
	return ice_input(world->ice, (struct endpoint){.ip = PUBLIC_IP, .port = 6}, data, bytes, world->now_ns);
}
