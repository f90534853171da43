// SPDX-License-Identifier: ISC
//
// recogniser.c - lists of tokens.
//
// Runs on: any.
#include "tests/soniox/recogniser.h"

#include <stdlib.h>

void token_add(struct token_list *list, struct token token)
{
	if (list->count == list->room) {
		size_t room = list->room == 0 ? 32 : list->room * 2;
		struct token *more = realloc(list->tokens, room * sizeof(*more));
		if (more == NULL)
			abort();
		list->tokens = more;
		list->room = room;
	}
	list->tokens[list->count++] = token;
}

void token_clear(struct token_list *list)
{
	list->count = 0;
}
