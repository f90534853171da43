// SPDX-License-Identifier: ISC
//
// drops.c - names and sentences of the drop reasons.
//
// Runs on: any.

#include "dataplane/drops.h"

static const struct {
	const char *name;
	const char *sentence;
} reasons[DROP_COUNT] = {
	[DROP_NONE] = {"NONE", "not dropped"},
#define DROP(name, sentence) [DROP_##name] = {#name, sentence},
#include "dataplane/drops.def"
#undef DROP
};

const char *drop_name(enum drop reason)
{
	return reasons[reason < DROP_COUNT ? reason : DROP_NONE].name;
}

const char *drop_sentence(enum drop reason)
{
	return reasons[reason < DROP_COUNT ? reason : DROP_NONE].sentence;
}
