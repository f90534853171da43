// SPDX-License-Identifier: ISC
//
// srtp_oracle.c - libsrtp2 as a second opinion.
//
// Runs on: any.

#include "tests/support/srtp_oracle.h"

#include <dlfcn.h>
#include <srtp2/srtp.h>
#include <stdlib.h>
#include <string.h>

struct srtp_oracle {
	srtp_t session;
	bool sends;
};

static void *library;
static __typeof__(srtp_create) *create;
static __typeof__(srtp_dealloc) *dealloc;
static __typeof__(srtp_protect) *run[2][2]; // [sends][rtcp]

static bool load(void)
{
	if (library != NULL)
		return true;
	library = dlopen("libsrtp2.so.1", RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return false;
	*(void **)&create = dlsym(library, "srtp_create");
	*(void **)&dealloc = dlsym(library, "srtp_dealloc");
	static const char *const names[2][2] = {{"srtp_unprotect", "srtp_unprotect_rtcp"}, {"srtp_protect", "srtp_protect_rtcp"}};
	for (int s = 0; s < 2; s++)
		for (int c = 0; c < 2; c++)
			*(void **)&run[s][c] = dlsym(library, names[s][c]);
	__typeof__(srtp_init) *init;
	*(void **)&init = dlsym(library, "srtp_init");
	return init() == srtp_err_status_ok;
}

struct srtp_oracle *srtp_oracle_create(int profile, const uint8_t *key, size_t key_bytes, const uint8_t *salt,
	size_t salt_bytes, bool sends)
{
	if (!load())
		return NULL;
	__typeof__(srtp_crypto_policy_set_from_profile_for_rtp) *set_rtp, *set_rtcp;
	*(void **)&set_rtp = dlsym(library, "srtp_crypto_policy_set_from_profile_for_rtp");
	*(void **)&set_rtcp = dlsym(library, "srtp_crypto_policy_set_from_profile_for_rtcp");
	uint8_t both[64];
	memcpy(both, key, key_bytes);
	memcpy(both + key_bytes, salt, salt_bytes);
	srtp_policy_t policy;
	memset(&policy, 0, sizeof(policy));
	if (set_rtp(&policy.rtp, (srtp_profile_t)profile) != srtp_err_status_ok ||
		set_rtcp(&policy.rtcp, (srtp_profile_t)profile) != srtp_err_status_ok)
		return NULL;
	policy.ssrc.type = sends ? ssrc_any_outbound : ssrc_any_inbound;
	policy.key = both;
	policy.window_size = 128;
	struct srtp_oracle *oracle = calloc(1, sizeof(*oracle));
	oracle->sends = sends;
	if (create(&oracle->session, &policy) != srtp_err_status_ok) {
		free(oracle);
		return NULL;
	}
	return oracle;
}

void srtp_oracle_destroy(struct srtp_oracle *oracle)
{
	dealloc(oracle->session);
	free(oracle);
}

int srtp_oracle_run(struct srtp_oracle *oracle, bool rtcp, uint8_t *packet, int *bytes)
{
	return run[oracle->sends][rtcp](oracle->session, packet, bytes) == srtp_err_status_ok ? 0 : -1;
}
