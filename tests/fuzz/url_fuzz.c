// SPDX-License-Identifier: ISC
//
// url_fuzz.c - whatever is accepted as a URL is written again and reads the same.
//
// Runs on: any.
#include "controlplane/url.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *text = strndup((const char *)data, bytes);
	struct url url, again;
	if (text != NULL && url_parse(text, &url, NULL) == 0) {
		char out[URL_TEXT_MAX], twice[URL_TEXT_MAX];
		if (url_format(&url, false, "", out, sizeof(out)) < 0 || url_parse(out, &again, NULL) < 0 ||
			url_format(&again, false, "", twice, sizeof(twice)) < 0 || strcmp(out, twice) != 0)
			abort();
	}
	free(text);
	return 0;
}
