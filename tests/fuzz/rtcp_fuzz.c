// SPDX-License-Identifier: ISC
//
// rtcp_fuzz.c - any compound is walked to its end or refused.
//
// Runs on: any.

#include "dataplane/rtcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rtcp_visitor visitor = {0};
	rtcp_parse(data, size, &visitor);
	return 0;
}
