// SPDX-License-Identifier: ISC
//
// srtp_setup.c - SRTP contexts from master keys: key derivation, key expansion, the per-thread crypto manager.
//
// Runs on: init, handshake; srtp_destroy: control.

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#include "dataplane/gcm_key.h"
#include "dataplane/srtp_context.h"

#define RTP_BYTES 300    // speech with one copy beside it (RED)
#define RECORD_BYTES 760 // 20 ms of PCM with all around it
#define CM_LINES ((1u << (offsetof(struct srtp_cipher, opad) / CACHE_LINE_BYTES + 1)) - 1)

enum label { LABEL_RTP_KEY, LABEL_RTP_AUTH, LABEL_RTP_SALT, LABEL_RTCP_KEY, LABEL_RTCP_AUTH, LABEL_RTCP_SALT };

static IMB_MGR *expander; // key expansion keeps no state in it
static pthread_once_t expander_once = PTHREAD_ONCE_INIT;

size_t srtp_profile_key_bytes(enum srtp_profile profile)
{
	switch (profile) {
	case SRTP_AES128_CM_SHA1_80:
	case SRTP_AEAD_AES_128_GCM:
		return 16;
	case SRTP_AEAD_AES_256_GCM:
		return 32;
	default:
		return 0;
	}
}

size_t srtp_profile_salt_bytes(enum srtp_profile profile)
{
	return profile == SRTP_AES128_CM_SHA1_80 ? 14 : profile == SRTP_PROFILE_NONE ? 0 : 12;
}

struct srtp_mgr *srtp_mgr_create(void)
{
	struct srtp_mgr *mgr = calloc(1, sizeof(*mgr));
	if (mgr == NULL)
		return NULL;
	mgr->imb = alloc_mb_mgr(0);
	if (mgr->imb == NULL) {
		free(mgr);
		return NULL;
	}
	init_mb_mgr_auto(mgr->imb, NULL);
	mgr->rtp_lines = gcm_key_lines(mgr->imb, RTP_BYTES) | CM_LINES;
	mgr->record_lines = gcm_key_lines(mgr->imb, RECORD_BYTES);
	return mgr;
}

void srtp_mgr_destroy(struct srtp_mgr *mgr)
{
	if (mgr == NULL)
		return;
	free_mb_mgr(mgr->imb);
	free(mgr);
}

static void expander_make(void)
{
	expander = alloc_mb_mgr(0);
	if (expander != NULL)
		init_mb_mgr_auto(expander, NULL);
}

int srtp_derive(enum srtp_profile profile, const uint8_t *key, const uint8_t *salt, uint8_t label, uint8_t *ret_key,
	size_t bytes)
{
	uint8_t iv[16] = {0};
	memcpy(iv, salt, srtp_profile_salt_bytes(profile));
	iv[7] ^= label; // key_id = label || index / 0; the rate is 0
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	const EVP_CIPHER *cipher = srtp_profile_key_bytes(profile) == 32 ? EVP_aes_256_ctr() : EVP_aes_128_ctr();
	int length = 0;
	memset(ret_key, 0, bytes);
	bool ok = context != NULL && EVP_EncryptInit_ex(context, cipher, NULL, key, iv) == 1 &&
		  EVP_EncryptUpdate(context, ret_key, &length, ret_key, (int)bytes) == 1;
	EVP_CIPHER_CTX_free(context);
	return ok ? 0 : -EIO;
}

static void hmac_pads(const uint8_t *key, size_t bytes, struct srtp_cipher *cipher)
{
	uint8_t block[64];
	memset(block, 0x36, sizeof(block));
	for (size_t i = 0; i < bytes; i++)
		block[i] ^= key[i];
	IMB_SHA1_ONE_BLOCK(expander, block, cipher->ipad);
	memset(block, 0x5c, sizeof(block));
	for (size_t i = 0; i < bytes; i++)
		block[i] ^= key[i];
	IMB_SHA1_ONE_BLOCK(expander, block, cipher->opad);
	OPENSSL_cleanse(block, sizeof(block));
}

static int cipher_make(enum srtp_profile profile, const uint8_t *key, const uint8_t *salt, enum label first,
	struct srtp_cipher *cipher, uint8_t *ret_salt)
{
	uint8_t session_key[32], auth_key[20], unused[16 * 15] __attribute__((aligned(16)));
	int ret = srtp_derive(profile, key, salt, (uint8_t)first, session_key, srtp_profile_key_bytes(profile));
	if (ret == 0)
		ret = srtp_derive(profile, key, salt, (uint8_t)(first + 2), ret_salt, srtp_profile_salt_bytes(profile));
	if (ret == 0 && profile == SRTP_AES128_CM_SHA1_80) {
		ret = srtp_derive(profile, key, salt, (uint8_t)(first + 1), auth_key, sizeof(auth_key));
		IMB_AES_KEYEXP_128(expander, session_key, cipher->enc, unused);
		hmac_pads(auth_key, sizeof(auth_key), cipher);
	} else if (ret == 0 && profile == SRTP_AEAD_AES_128_GCM) {
		IMB_AES128_GCM_PRE(expander, session_key, &cipher->gcm);
	} else if (ret == 0) {
		IMB_AES256_GCM_PRE(expander, session_key, &cipher->gcm);
	}
	OPENSSL_cleanse(session_key, sizeof(session_key));
	OPENSSL_cleanse(auth_key, sizeof(auth_key));
	OPENSSL_cleanse(unused, sizeof(unused));
	return ret;
}

static int direction_make(enum srtp_profile profile, const uint8_t *key, const uint8_t *salt,
	struct srtp_direction *direction)
{
	direction->profile = profile;
	int ret = cipher_make(profile, key, salt, LABEL_RTP_KEY, &direction->rtp, direction->rtp_salt);
	return ret == 0 ? cipher_make(profile, key, salt, LABEL_RTCP_KEY, &direction->rtcp, direction->rtcp_salt) : ret;
}

struct srtp *srtp_create(const struct srtp_keys *keys, struct err *err)
{
	if (srtp_profile_key_bytes(keys->profile) == 0) {
		err_set(err, EINVAL, "unknown SRTP profile %d", (int)keys->profile);
		return NULL;
	}
	pthread_once(&expander_once, expander_make);
	struct srtp *srtp = NULL;
	if (expander == NULL || posix_memalign((void **)&srtp, 64, sizeof(*srtp)) != 0) {
		err_set(err, ENOMEM, "no memory for the SRTP keys");
		return NULL;
	}
	memset(srtp, 0, sizeof(*srtp));
	if (direction_make(keys->profile, keys->remote_key, keys->remote_salt, &srtp->remote) < 0 ||
		direction_make(keys->profile, keys->local_key, keys->local_salt, &srtp->local) < 0) {
		err_set(err, EIO, "the SRTP key derivation failed");
		srtp_destroy(srtp);
		return NULL;
	}
	return srtp;
}

void srtp_destroy(struct srtp *srtp)
{
	if (srtp == NULL)
		return;
	OPENSSL_cleanse(srtp, sizeof(*srtp));
	free(srtp);
}
