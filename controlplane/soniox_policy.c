// SPDX-License-Identifier: ISC
//
// soniox_policy.c - what an error of Soniox means: try again, when, or never; and whether somebody must be told.
//
// Runs on: any.

#include "controlplane/soniox_policy.h"

static const struct soniox_policy policies[] = {
	{"invalid_request", 400, SONIOX_NEVER, true, "Soniox does not accept what relay asked for"},
	{"model_not_available", 400, SONIOX_NEVER, true, "Soniox does not have this model"},
	{"unauthenticated", 401, SONIOX_NEVER, true, "Soniox refuses the key, or it is of another region"},
	{"organization_balance_exhausted", 402, SONIOX_NEVER, true, "the account at Soniox has no money left"},
	{"organization_monthly_budget_exhausted", 402, SONIOX_NEVER, true, "the organization's monthly budget at Soniox is used up"},
	{"project_monthly_budget_exhausted", 402, SONIOX_NEVER, true, "the project's monthly budget at Soniox is used up"},
	{"permission_denied", 403, SONIOX_NEVER, true, "the key may not transcribe"},
	{"temp_api_key_session_expired", 403, SONIOX_NEVER, true, "the key was a temporary one and has expired"},
	{"request_timeout", 408, SONIOX_RETRY_NOW, false, "Soniox waited too long for audio"},
	{"max_duration_reached", 413, SONIOX_RETRY_NOW, false, "the connection reached Soniox' longest duration"},
	{"limit_exceeded", 429, SONIOX_RETRY_LATER, true, "the account's limit of requests at Soniox is reached"},
	{"max_concurrent_connections_reached", 429, SONIOX_RETRY_LATER, true, "the account's limit of connections at Soniox is reached"},
	{"internal_error", 500, SONIOX_RETRY_SOON, false, "Soniox had an error of its own"},
	{"service_unavailable", 503, SONIOX_RETRY_NOW, false, "Soniox asks to restart"},
};

static const struct soniox_policy lost = {"", 0, SONIOX_RETRY_NOW, false, "the connection to Soniox was lost"};
const struct soniox_policy soniox_unreachable = {"", 0, SONIOX_RETRY_SOON, false, "Soniox cannot be reached"};
const struct soniox_policy soniox_untried = {"", 0, SONIOX_RETRY_SOON, true, "relay cannot begin a connection to Soniox"};
const struct soniox_policy soniox_untrusted = {"", 0, SONIOX_RETRY_SOON, true, "what answers in Soniox' place is not believed to be Soniox"};
const struct soniox_policy soniox_unintelligible = {"", 0, SONIOX_RETRY_SOON, false, "Soniox' answer is not understood"};
static const struct soniox_policy elsewhere = {"", 300, SONIOX_RETRY_SOON, true, "Soniox' address sends elsewhere, where relay does not take the key"};
static const struct soniox_policy unknown_request = {"", 400, SONIOX_NEVER, true, "Soniox refuses with an error relay does not know"};
static const struct soniox_policy unknown_server = {"", 500, SONIOX_RETRY_SOON, false, "Soniox failed with an error relay does not know"};

const struct soniox_policy *soniox_policy_for(const char *type, int code)
{
	for (size_t i = 0; type != NULL && i < ARRAY_SIZE(policies); i++)
		if (strcmp(policies[i].type, type) == 0)
			return &policies[i];
	if (code == 0 && (type == NULL || type[0] == '\0'))
		return &lost;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		if (policies[i].code == code)
			return &policies[i];
	if (code >= 300 && code < 400)
		return &elsewhere;
	return code >= 400 && code < 500 ? &unknown_request : &unknown_server;
}
