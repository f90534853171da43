// SPDX-License-Identifier: ISC
//
// gcm_key_test.c - the lines that are asked for ahead are all that a packet touches, whatever the processor.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/gcm_key.h"

#define BYTES_MAX 760
#define LINES (sizeof(struct gcm_key_data) / CACHE_LINE_BYTES)

static IMB_MGR *imb;

static void seal(bool long_key, const struct gcm_key_data *key, size_t bytes, uint8_t *ret_tag)
{
	static uint8_t plain[BYTES_MAX], sealed[BYTES_MAX], iv[12], aad[13];
	struct gcm_context_data context;
	if (long_key)
		IMB_AES256_GCM_ENC(imb, key, &context, sealed, plain, bytes, iv, aad, sizeof(aad), ret_tag, 16);
	else
		IMB_AES128_GCM_ENC(imb, key, &context, sealed, plain, bytes, iv, aad, sizeof(aad), ret_tag, 16);
}

// A key without the lines that are not named seals as the whole one does, at every length.
static void others_do_not_matter(void)
{
	for (size_t most = 0; most <= BYTES_MAX; most += 19) {
		uint32_t lines = gcm_key_lines(imb, most);
		for (unsigned long_key = 0; long_key < 2; long_key++) {
			uint8_t secret[32] = {7, 1}, whole_tag[16], part_tag[16];
			struct gcm_key_data whole, part;
			if (long_key)
				IMB_AES256_GCM_PRE(imb, secret, &whole);
			else
				IMB_AES128_GCM_PRE(imb, secret, &whole);
			part = whole;
			for (unsigned line = 0; line < LINES; line++)
				if ((lines >> line & 1) == 0)
					memset((uint8_t *)&part + (size_t)line * CACHE_LINE_BYTES, 0xa5, CACHE_LINE_BYTES);
			for (size_t bytes = 1; bytes <= most; bytes += 23) {
				seal(long_key, &whole, bytes, whole_tag);
				seal(long_key, &part, bytes, part_tag);
				assert_memory_equal(whole_tag, part_tag, sizeof(whole_tag));
			}
		}
	}
}

static void named_matter(void)
{
	uint32_t lines = gcm_key_lines(imb, BYTES_MAX);
	assert_true(lines & 1);
	assert_true(lines >> LINES == 0);
	assert_true((gcm_key_lines(imb, 100) & ~lines) == 0);
	uint8_t secret[32] = {3}, whole_tag[16], tag[16];
	struct gcm_key_data key;
	IMB_AES256_GCM_PRE(imb, secret, &key);
	for (unsigned line = 0; line < LINES; line++) {
		if ((lines >> line & 1) == 0)
			continue;
		struct gcm_key_data turned = key;
		for (unsigned i = 0; i < CACHE_LINE_BYTES; i++)
			((uint8_t *)&turned)[line * CACHE_LINE_BYTES + i] ^= 0x5a;
		bool matters = false;
		for (size_t bytes = 1; bytes <= BYTES_MAX && !matters; bytes++) {
			seal(true, &key, bytes, whole_tag);
			seal(true, &turned, bytes, tag);
			matters = memcmp(whole_tag, tag, sizeof(tag)) != 0;
		}
		assert_true(matters);
	}
}

// Each instruction set that ipsec-mb knows lays the hash key's powers out in its own way.
static void with_each(void (*test)(void))
{
	void (*const inits[])(IMB_MGR *) = {init_mb_mgr_sse, init_mb_mgr_avx, init_mb_mgr_avx2, init_mb_mgr_avx512};
	const uint64_t needed[] = {IMB_FEATURE_SSE4_2, IMB_FEATURE_AVX, IMB_FEATURE_AVX2, IMB_FEATURE_AVX512_SKX};
	unsigned tried = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(inits); i++) {
		if ((imb->features & needed[i]) != needed[i])
			continue;
		inits[i](imb);
		assert_int_equal(imb_get_errno(imb), 0);
		test();
		tried++;
	}
	assert_true(tried > 0);
}

static void the_others_do_not_matter(void **state)
{
	(void)state;
	with_each(others_do_not_matter);
}

static void the_named_matter(void **state)
{
	(void)state;
	with_each(named_matter);
}

static int set_up(void **state)
{
	(void)state;
	imb = alloc_mb_mgr(0);
	if (imb == NULL)
		return -1;
	init_mb_mgr_auto(imb, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free_mb_mgr(imb);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_others_do_not_matter),
		cmocka_unit_test(the_named_matter),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
