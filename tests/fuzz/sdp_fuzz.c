// SPDX-License-Identifier: ISC
//
// sdp_fuzz.c - no answer of a server makes the SDP reader misbehave, and what it reports holds.
//
// Runs on: any.
#include "controlplane/sdp.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct sdp_answer answer;
	struct sdp_candidate candidate;
	struct err err;
	char *text = malloc(bytes + 1); // exact size, so that a read beyond it is seen
	if (text == NULL)
		return 0;
	memcpy(text, data, bytes);
	text = realloc(text, bytes > 0 ? bytes : 1);
	if (sdp_read_answer(text, bytes, &answer, &err) == 0) {
		if (strlen(answer.remote.fingerprint) != 95 || answer.remote.ufrag[0] == '\0' ||
			answer.section_count > SDP_SECTIONS_MAX || answer.candidate_count > SDP_CANDIDATES_MAX)
			abort();
	}
	if (sdp_read_candidate(text, bytes, &candidate) == 0 && (candidate.endpoint.ip == 0 || candidate.endpoint.port == 0))
		abort();
	free(text);
	return 0;
}
