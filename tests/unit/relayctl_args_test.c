// SPDX-License-Identifier: ISC
//
// relayctl_args_test.c - relayctl's grammar. relayctl is a program of its own, so its file is included.
//
// Runs on: any.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controlplane/relayctl/args.c"

static struct args args;

static bool parse(const char *environment, int count, ...)
{
	char *words[16];
	va_list list;
	va_start(list, count);
	for (int i = 0; i < count; i++)
		words[i] = va_arg(list, char *);
	va_end(list);
	return args_parse(count, words, environment, &args);
}

static void expect_error(const char *text)
{
	if (strstr(args.error, text) == NULL)
		fail_msg("expected \"%s\" in \"%s\"", text, args.error);
}

static void commands_and_prefixes(void **state)
{
	assert_true(parse(NULL, 1, "status"));
	assert_int_equal(args.command, ARGS_STATUS);
	assert_string_equal(args.socket, ARGS_DEFAULT_SOCKET);
	assert_true(parse(NULL, 1, "st"));
	assert_int_equal(args.command, ARGS_STATUS);
	assert_true(parse(NULL, 1, "d"));
	assert_int_equal(args.command, ARGS_DROPS);
	assert_true(parse(NULL, 1, "sessions"));
	assert_int_equal(args.command, ARGS_SESSIONS);
	assert_true(parse(NULL, 2, "session", "anna"));
	assert_int_equal(args.command, ARGS_SESSION);
	assert_string_equal(args.user, "anna");
	assert_false(parse(NULL, 1, "sess"));
	expect_error("could be sessions, session");
	assert_false(parse(NULL, 1, "s"));
	expect_error("could be status, sessions, session");
	assert_false(parse(NULL, 1, "stats"));
	expect_error("is no command");
	assert_false(parse(NULL, 1, ""));
	expect_error("is no command");
}

static void captions_have_options_of_their_own(void **state)
{
	assert_true(parse("", 5, "captions", "u", "--from", "7", "-f"));
	assert_int_equal(args.command, ARGS_CAPTIONS);
	assert_string_equal(args.user, "u");
	assert_int_equal(args.from_seq, 7);
	assert_true(args.finals);
	assert_true(parse("", 2, "captions", "u"));
	assert_int_equal(args.from_seq, 1);
	assert_false(parse("", 1, "captions"));
	assert_false(parse("", 4, "captions", "u", "--from", "x"));
	assert_false(parse("", 3, "captions", "u", "--from"));
}

static void options_stand_anywhere(void **state)
{
	assert_true(parse("/env.sock", 3, "--json", "status", "-w"));
	assert_true(args.json && args.watch);
	assert_string_equal(args.socket, "/env.sock");
	assert_true(parse("/env.sock", 4, "session", "-s", "/x.sock", "bob"));
	assert_string_equal(args.socket, "/x.sock");
	assert_string_equal(args.user, "bob");
	assert_true(parse("", 2, "--socket=/y.sock", "drops"));
	assert_string_equal(args.socket, "/y.sock");
	assert_true(parse(NULL, 3, "session", "--", "-s"));
	assert_string_equal(args.user, "-s");
	assert_true(parse(NULL, 1, "--help"));
	assert_int_equal(args.command, ARGS_HELP);
	assert_true(parse(NULL, 2, "-j", "-V"));
	assert_int_equal(args.command, ARGS_VERSION);
}

static void errors_name_the_word(void **state)
{
	assert_false(parse(NULL, 0));
	expect_error("expected a command");
	assert_false(parse(NULL, 1, "session"));
	expect_error("session expects a user");
	assert_false(parse(NULL, 2, "status", "anna"));
	expect_error("\"anna\" is one word too many");
	assert_false(parse(NULL, 2, "status", "--fast"));
	expect_error("\"--fast\" is no option");
	assert_false(parse(NULL, 2, "status", "--socket"));
	expect_error("--socket expects a path");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_and_prefixes),
		cmocka_unit_test(captions_have_options_of_their_own), cmocka_unit_test(options_stand_anywhere),
		cmocka_unit_test(errors_name_the_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
