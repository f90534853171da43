// SPDX-License-Identifier: ISC
//
// rtcp_fuzz.c - any compound parses or is refused; what the visitor is told lies inside it.
//
// Runs on: any.

#include "dataplane/rtcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bounds {
	const uint8_t *data;
	size_t size;
	unsigned told;
};

static void inside(struct bounds *bounds, const char *text, size_t bytes)
{
	const uint8_t *at = (const uint8_t *)text;
	bounds->told++;
	if (at < bounds->data || at + bytes > bounds->data + bounds->size)
		__builtin_trap();
}

static void on_report(void *arg, uint32_t ssrc, uint64_t ntp, uint32_t timestamp)
{
	((struct bounds *)arg)->told++;
}

static void on_block(void *arg, uint32_t sender, const struct rtcp_block *block)
{
	((struct bounds *)arg)->told++;
	if (block->cumulative_lost > 0x7fffff || block->cumulative_lost < -0x800000)
		__builtin_trap();
}

static void on_cname(void *arg, uint32_t ssrc, const char *text, size_t bytes)
{
	inside(arg, text, bytes);
}

static void on_bye(void *arg, uint32_t ssrc, const char *reason, size_t bytes)
{
	inside(arg, reason, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bounds bounds = {data, size, 0};
	struct rtcp_visitor visitor = {on_report, on_block, on_cname, on_bye, &bounds};
	if (rtcp_parse(data, size, &visitor) != DROP_NONE && bounds.told > 0)
		__builtin_trap();
	return 0;
}
