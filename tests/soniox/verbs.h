// SPDX-License-Identifier: ISC
//
// verbs.h - what is asked over plain HTTP: the service's own REST calls, and /control for tests (README.md).
//
// Runs on: a connection's thread.
#pragma once

#include "tests/soniox/http_head.h"

struct verbs_answer {
	int status;
	char *text; // JSON, malloc'ed
};

struct verbs_answer verbs_answer(const struct http_head *head, const char *body, size_t bytes);
