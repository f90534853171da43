// SPDX-License-Identifier: ISC
//
// ice_fuzz.c - an ICE agent driven by any sequence of time, candidates, restarts and messages, forged or rightly signed.
//
// Runs on: any.
//
// The input is a row of steps: one byte says what, the next its argument. A message step takes its attributes from the
// input as they are; the harness adds what a fuzzer cannot guess: user name, transaction and signature, or leaves some
// of it out. Whatever comes, the agent may send only a bounded number of datagrams, never asks to be polled in the past,
// and is connected only if it was given a well-signed answer.

#include <stdlib.h>

#include "dataplane/ice.h"
#include "dataplane/stun.h"

#define MS UINT64_C(1000000)
#define PEER_PWD "PeerPasswordOfThirtyTwoCharacter"

enum step { STEP_TIME, STEP_CANDIDATE, STEP_REMOTE, STEP_RESTART, STEP_PROBE, STEP_RAW, STEP_REQUEST, STEP_ANSWER, STEP_COUNT };

// Bits of a message step's argument.
enum { SIGNED = 1, NAMED = 2, FINGERPRINTED = 4, MAPPED = 8, KIND_ERROR = 16, WRONG_ADDRESS = 32, OLDER = 64 };

struct run {
	struct ice *ice;
	uint64_t now_ns;
	char peer_ufrag[16];
	uint8_t ids[4][STUN_TRANSACTION_BYTES]; // of the last requests of the agent
	struct endpoint asked[4];
	unsigned asked_count;
	unsigned sent, signed_answers;
};

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void fuzz_send(void *arg, struct endpoint remote, const uint8_t *datagram, size_t bytes)
{
	struct run *run = arg;
	struct stun_message message;
	require(stun_decode(datagram, bytes, &message));
	require(stun_check_fingerprint(&message) && message.fingerprint_at != 0 && message.integrity_at != 0);
	require(!message.controlled);
	run->sent++;
	if (message.kind != STUN_REQUEST)
		return;
	require(message.controlling && stun_check_integrity(&message, PEER_PWD, strlen(PEER_PWD)));
	memcpy(run->ids[run->asked_count % 4], message.transaction, STUN_TRANSACTION_BYTES);
	run->asked[run->asked_count++ % 4] = remote;
}

static void poll_ice(struct run *run)
{
	uint64_t next_ns = ice_poll(run->ice, run->now_ns);
	require(next_ns == 0 || next_ns > run->now_ns);
}

// Attributes from the input as they stand, then what the argument asks for.
static void message_step(struct run *run, enum step step, uint8_t argument, const uint8_t *data, size_t size)
{
	uint8_t datagram[STUN_MESSAGE_MAX_BYTES], id[STUN_TRANSACTION_BYTES] = {argument};
	struct endpoint from = {.ip = 0x0a000001, .port = (uint16_t)(7880 + argument % 7)};
	struct stun_writer writer;
	char name[64];
	bool is_request = step == STEP_REQUEST;
	unsigned which = run->asked_count - 1 - ((argument & OLDER) && run->asked_count > 1);
	if (!is_request && run->asked_count > 0) {
		memcpy(id, run->ids[which % 4], sizeof(id));
		from = run->asked[which % 4];
	}
	from.ip += (argument & WRONG_ADDRESS) != 0;
	enum stun_kind kind = is_request ? STUN_REQUEST : argument & KIND_ERROR ? STUN_ERROR : STUN_SUCCESS;
	stun_begin(&writer, datagram, sizeof(datagram), kind, STUN_BINDING, id);
	snprintf(name, sizeof(name), "%s:%s", ice_local_ufrag(run->ice), run->peer_ufrag);
	if (argument & NAMED)
		stun_put(&writer, STUN_USERNAME, name, strlen(name));
	if (argument & MAPPED)
		stun_put_mapped(&writer, from);
	if (size <= sizeof(datagram) - 256) {
		memcpy(datagram + writer.used, data, size & ~(size_t)3);
		writer.used += size & ~(size_t)3;
	}
	const char *pwd = is_request ? ice_local_pwd(run->ice) : PEER_PWD;
	if (argument & SIGNED)
		stun_put_integrity(&writer, pwd, strlen(pwd));
	if (argument & FINGERPRINTED)
		stun_put_fingerprint(&writer);
	put_be16(datagram + 2, (uint16_t)(writer.used - STUN_HEADER_BYTES));
	unsigned sent = run->sent;
	enum drop drop = ice_input(run->ice, from, datagram, stun_end(&writer), run->now_ns);
	// A request costs at most its answer and one check; the unsigned cost nothing.
	require(run->sent - sent <= 2);
	require((argument & SIGNED) != 0 || run->sent == sent);
	run->signed_answers += !is_request && drop == DROP_NONE && (argument & SIGNED) != 0;
}

static void remote_step(struct run *run, uint8_t argument)
{
	struct err err;
	char ufrag[16];
	snprintf(ufrag, sizeof(ufrag), "peer%u", argument & 3u);
	if (ice_set_remote(run->ice, ufrag, PEER_PWD, argument & 4, &err) == 0)
		memcpy(run->peer_ufrag, ufrag, sizeof(ufrag));
}

static size_t take_step(struct run *run, const uint8_t *data, size_t size)
{
	enum step step = data[0] % STEP_COUNT;
	uint8_t argument = data[1];
	size_t used = 2;
	struct err err;
	switch (step) {
	case STEP_TIME:
		run->now_ns += (uint64_t)argument * argument * MS;
		break;
	case STEP_CANDIDATE:
		ice_add_remote_candidate(run->ice,
			(struct endpoint){.ip = 0x0a000001, .port = (uint16_t)(7880 + (argument & 31))}, argument * 0x01010101u);
		break;
	case STEP_REMOTE:
		remote_step(run, argument);
		break;
	case STEP_RESTART:
		require(ice_restart(run->ice, &err) == 0);
		break;
	case STEP_PROBE:
		ice_probe(run->ice, run->now_ns);
		break;
	default: {
		size_t bytes = size > 2 ? MIN_OF((size_t)data[2] * 4, size - 3) : 0;
		const uint8_t *body = data + MIN_OF(size, 3);
		used = MIN_OF(size, 3 + bytes);
		if (step == STEP_RAW)
			ice_input(run->ice, (struct endpoint){.ip = 1, .port = argument}, body, bytes, run->now_ns);
		else
			message_step(run, step, argument, body, bytes);
	}
	}
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = {.now_ns = 1, .peer_ufrag = "peer0"};
	struct ice_config config = {.local = {.ip = 0x0a000002, .port = 40000}, .send = fuzz_send, .arg = &run};
	struct err err;
	run.ice = ice_create(&config, &err);
	require(run.ice != NULL);
	for (unsigned steps = 0; size >= 2 && steps < 200; steps++) {
		size_t used = take_step(&run, data, size);
		data += used;
		size -= used;
		unsigned sent = run.sent;
		poll_ice(&run);
		require(run.sent - sent <= 25); // each pair once, and consent
		struct endpoint remote;
		bool selected = ice_selected(run.ice, &remote);
		enum ice_state state = ice_state(run.ice);
		require(selected == (state == ICE_CONNECTED || state == ICE_DISCONNECTED));
		require(!selected || (run.signed_answers > 0 && ice_is_valid_remote(run.ice, remote)));
	}
	ice_destroy(run.ice);
	return 0;
}
