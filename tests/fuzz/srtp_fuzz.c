// SPDX-License-Identifier: ISC
//
// srtp_fuzz.c - SRTP and SRTCP in bursts: what nobody sealed is refused, what was sealed and left alone opens once.
//
// Runs on: worker.
//
// The input is a profile and a row of packets: one byte says what is done with it (sealed, then cut, flipped, sent twice), two
// bytes its length. A packet that opens must be one that was sealed and not touched.

#include <stdlib.h>

#include "dataplane/srtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM 1600
#define JOBS 16

enum { SEAL = 1, FLIP = 2, CUT = 4, TWICE = 8, CONTROL = 16, OTHER_KEYS = 32 };

static struct srtp_mgr *mgr;
static struct srtp_keys keys[2];

static struct srtp *context(enum srtp_profile profile, unsigned which, bool turned)
{
	struct srtp_keys use = keys[which];
	use.profile = profile;
	if (turned) {
		memcpy(use.local_key, keys[which].remote_key, sizeof(use.local_key));
		memcpy(use.local_salt, keys[which].remote_salt, sizeof(use.local_salt));
		memcpy(use.remote_key, keys[which].local_key, sizeof(use.remote_key));
		memcpy(use.remote_salt, keys[which].local_salt, sizeof(use.remote_salt));
	}
	struct srtp *srtp = srtp_create(&use, NULL);
	if (srtp == NULL)
		abort();
	return srtp;
}

static void once(void)
{
	if (mgr != NULL)
		return;
	mgr = srtp_mgr_create();
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 0; i < sizeof(keys[k].local_key); i++) {
			keys[k].local_key[i] = (uint8_t)(i + 3 * k);
			keys[k].remote_key[i] = (uint8_t)(i * 7 + k);
		}
}

struct packet_at {
	uint8_t bytes[ROOM];
	uint32_t length, plain;
	bool genuine;
};

// Returns how much of the input was used.
static size_t make(struct packet_at *packet, const uint8_t *data, size_t size, uint8_t what, struct srtp *sender, struct srtp *other)
{
	ENTERS(worker_role);
	size_t length = MIN_OF((size_t)get_be16(data + 1) % 1400, size - 3);
	memset(packet, 0, sizeof(*packet));
	memcpy(packet->bytes, data + 3, length);
	packet->length = packet->plain = (uint32_t)length;
	if (what & SEAL) {
		struct srtp *by = what & OTHER_KEYS ? other : sender;
		int ret = -EINVAL;
		if (what & CONTROL)
			ret = length >= 8 ? srtcp_protect(mgr, by, packet->bytes, &packet->length) : -EINVAL;
		else
			ret = srtp_protect(mgr, by, packet->bytes, &packet->length);
		packet->genuine = ret == 0 && !(what & OTHER_KEYS);
	}
	if ((what & FLIP) && packet->length > 0) {
		packet->bytes[(size_t)what * 31 % packet->length] ^= (uint8_t)(1u << what % 8);
		packet->genuine = false;
	}
	if ((what & CUT) && packet->length > 0) {
		packet->length--;
		packet->genuine = false;
	}
	return 3 + length;
}

static void open_all(struct srtp *receiver, struct packet_at *packets, struct srtp_job *jobs, unsigned count)
{
	ENTERS(worker_role);
	srtp_unprotect_burst(mgr, jobs, count);
	for (unsigned i = 0; i < count; i++) {
		if (jobs[i].drop == DROP_NONE && (!packets[i].genuine || jobs[i].bytes != packets[i].plain))
			abort();
	}
	(void)receiver;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum srtp_profile profiles[] = {SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM};
	static struct packet_at packets[JOBS];
	struct srtp_job jobs[JOBS];
	unsigned count = 0;
	ENTERS(worker_role);
	if (size < 1)
		return 0;
	once();
	enum srtp_profile profile = profiles[data[0] % 3];
	struct srtp *sender = context(profile, 0, false), *receiver = context(profile, 0, true), *other = context(profile, 1, false);
	for (size_t at = 1; at + 3 <= size && count < JOBS;) {
		uint8_t what = data[at];
		struct packet_at *packet = &packets[count];
		at += make(packet, data + at, size - at, what, sender, other);
		if (what & CONTROL) {
			uint8_t copy[ROOM];
			uint32_t bytes = packet->length, again = packet->length;
			memcpy(copy, packet->bytes, sizeof(copy));
			bool opened = srtcp_unprotect(mgr, receiver, packet->bytes, &bytes) == DROP_NONE;
			if (opened && (!packet->genuine || bytes != packet->plain))
				abort();
			if (opened && srtcp_unprotect(mgr, receiver, copy, &again) == DROP_NONE)
				abort();
			continue;
		}
		jobs[count] = (struct srtp_job){receiver, packet->bytes, packet->length, DROP_NONE};
		count++;
		if ((what & TWICE) && count < JOBS) {
			packets[count] = *packet;
			jobs[count] = (struct srtp_job){receiver, packets[count].bytes, packet->length, DROP_NONE};
			count++;
		}
	}
	open_all(receiver, packets, jobs, count);
	// The same bytes twice in one burst open at most once.
	for (unsigned i = 1; i < count; i++)
		if (jobs[i].drop == DROP_NONE && jobs[i - 1].drop == DROP_NONE && packets[i].genuine &&
			packets[i].length == packets[i - 1].length &&
			memcmp(packets[i].bytes, packets[i - 1].bytes, jobs[i].bytes) == 0 &&
			get_be16(packets[i].bytes + 2) == get_be16(packets[i - 1].bytes + 2) && jobs[i].bytes >= 12 &&
			get_be32(packets[i].bytes + 8) == get_be32(packets[i - 1].bytes + 8))
			abort();
	srtp_destroy(sender);
	srtp_destroy(receiver);
	srtp_destroy(other);
	return 0;
}
