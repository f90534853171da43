// SPDX-License-Identifier: ISC
//
// gcm_key.c - a line of an expanded key is touched when the tag of a packet changes with it.
//
// Runs on: any.

#include "dataplane/gcm_key.h"

#define PACKET_MAX 2048
#define TAG_BYTES 16

static void tag_of(IMB_MGR *imb, const struct gcm_key_data *key, size_t bytes, uint8_t *ret_tag)
{
	static const uint8_t plain[PACKET_MAX], iv[12], aad[12];
	uint8_t sealed[PACKET_MAX];
	struct gcm_context_data context;
	IMB_AES256_GCM_ENC(imb, key, &context, sealed, plain, bytes, iv, aad, sizeof(aad), ret_tag, TAG_BYTES);
}

static uint32_t lines_of(IMB_MGR *imb, size_t bytes)
{
	uint8_t secret[32] = {1}, expected[TAG_BYTES], tag[TAG_BYTES];
	struct gcm_key_data key;
	uint32_t lines = 0;
	memset(&key, 0, sizeof(key)); // what expanding leaves alone is flipped, too
	IMB_AES256_GCM_PRE(imb, secret, &key);
	tag_of(imb, &key, bytes, expected);
	for (unsigned line = 0; line < sizeof(key) / CACHE_LINE_BYTES; line++) {
		uint8_t *turned = (uint8_t *)&key + (size_t)line * CACHE_LINE_BYTES;
		for (unsigned i = 0; i < CACHE_LINE_BYTES; i++)
			turned[i] ^= (uint8_t)(i + 1);
		tag_of(imb, &key, bytes, tag);
		for (unsigned i = 0; i < CACHE_LINE_BYTES; i++)
			turned[i] ^= (uint8_t)(i + 1);
		if (memcmp(tag, expected, sizeof(tag)) != 0)
			lines |= 1u << line;
	}
	return lines;
}

uint32_t gcm_key_lines(IMB_MGR *imb, size_t bytes)
{
	// A longer packet may be taken in other steps than a shorter one.
	uint32_t lines = 0;
	for (size_t length = MIN_OF(bytes, PACKET_MAX); length > 0; length = length > 64 ? length - 64 : 0)
		lines |= lines_of(imb, length);
	return lines;
}
