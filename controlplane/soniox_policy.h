// SPDX-License-Identifier: ISC
//
// soniox_policy.h - what an error of Soniox means: try again, when, or never; and whether somebody must be told.
//
// Source: facts soniox-and-cloud.md 1.9. The type decides, the number only where a server gives no type.
//
// Runs on: any.
#pragma once

#include "dataplane/base.h"

enum soniox_action {
	SONIOX_RETRY_NOW,   // at once, the first time; then like RETRY_SOON
	SONIOX_RETRY_SOON,  // with backoff from 0.2 s to 5 s
	SONIOX_RETRY_LATER, // a limit of the account: nobody starts for a while
	SONIOX_NEVER,       // the same request will be refused again
};

struct soniox_policy {
	const char *type; // "error_type" on the wire
	int code;
	enum soniox_action action;
	bool alarm;           // an operator must act
	const char *sentence;
};

// What happens without any word of Soniox.
extern const struct soniox_policy soniox_unreachable; // no connection came about: no reason to hurry
extern const struct soniox_policy soniox_untried;      // nothing could be begun: no memory, no file of certificates
extern const struct soniox_policy soniox_untrusted;    // the certificate is not believed: nothing was said, no key shown
extern const struct soniox_policy soniox_unintelligible;

// Never NULL. type may be NULL or unknown, code 0: the connection was lost without a word.
const struct soniox_policy *soniox_policy_for(const char *type, int code);
