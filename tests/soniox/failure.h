// SPDX-License-Identifier: ISC
//
// failure.h - the errors of the service and their one form on the wire.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

#include <jansson.h>

enum failure {
	FAILURE_NONE,
#define FAILURE(name, code, type, message) FAILURE_##name,
#include "tests/soniox/failures.def"
#undef FAILURE
	FAILURES
};

struct failure_text {
	const char *name; // as the control verbs spell it, lower case
	int code;
	const char *type, *message;
};

const struct failure_text *failure_text(enum failure failure);

// The first error with that code; FAILURE_NONE when there is none.
enum failure failure_by_code(int code);

// The error of that error_type, name or message; FAILURE_NONE when there is none.
enum failure failure_by_text(const char *text);

// A random id in the form of a UUID.
void failure_request_id(char ret_id[static 37]);

// The error message as the service sends it. `detail` fills the message's %s. The caller frees it.
json_t *failure_json(enum failure failure, const char *detail);
