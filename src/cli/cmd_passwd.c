/* SPDX-License-Identifier: MIT
 *
 * hyco passwd: sets, removes and imports users of a listener's users file. The
 * password comes from the terminal, twice and unseen, or from standard input;
 * never from the command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/command_line.h"
#include "cli/option.h"
#include "cli/prompt.h"
#include "ends/users.h"
#include "ends/users_file.h"
#include "util/mem.h"

/* A byte more than allowed, so that too long is seen and not cut. */
#define PASSWORD_SIZE (USERS_PASSWORD_MAX + 2)

static bool
ask_twice(const char *user, char password[PASSWORD_SIZE], struct err *e)
{
	char again[PASSWORD_SIZE];
	char *text = mem_printf("New password for %s: ", user);
	int signal_number;
	bool ok;

	ok =
	    prompt_line(text, true, password, PASSWORD_SIZE, &signal_number, e);
	free(text);
	ok = ok && prompt_line("The same again: ", true, again, sizeof again,
	               &signal_number, e);
	if (ok && strcmp(password, again) != 0)
		ok = err_set(e, ERR_USAGE,
		    "the two passwords differ; nothing was changed");
	mem_wipe(again, sizeof again);
	return ok;
}

static bool
read_stdin(char password[PASSWORD_SIZE], struct err *e)
{
	size_t n;

	if (!fgets(password, PASSWORD_SIZE, stdin))
		return err_set(
		    e, ERR_USAGE, "standard input holds no password");
	n = strcspn(password, "\r\n");
	if (!password[n] && n == PASSWORD_SIZE - 1)
		return err_set(e, ERR_USAGE,
		    "the password is longer than %d bytes", USERS_PASSWORD_MAX);
	password[n] = '\0';
	return true;
}

static bool
get_password(const struct option_set *s, const char *user,
    char password[PASSWORD_SIZE], struct err *e)
{
	bool ok;

	if (option_get_count(s, OPTION_STDIN) > 0)
		ok = read_stdin(password, e);
	else if (prompt_is_possible())
		ok = ask_twice(user, password, e);
	else
		return err_set(e, ERR_USAGE,
		    "no terminal to ask for the password on; give it with "
		    "--stdin, as one line of standard input");
	if (ok && !password[0])
		return err_set(e, ERR_USAGE, "the password is empty");
	return ok;
}

static bool
set(const struct option_set *s, const char *file, const char *user,
    struct err *e)
{
	char password[PASSWORD_SIZE] = "";
	enum users_file_set_result result = USERS_FILE_FAILED;

	if (users_is_name(user, e) && get_password(s, user, password, e))
		result = users_file_set(file, user, password, e);
	mem_wipe(password, sizeof password);
	if (result == USERS_FILE_FAILED)
		return false;
	printf("%s user %s\n", result == USERS_FILE_ADDED ? "added" : "changed",
	    user);
	return true;
}

static void
on_skip(void *owner, unsigned line, const char *reason)
{
	fprintf(stderr, "hyco passwd: %s:%u: left out: %s\n",
	    (const char *)owner, line, reason);
}

static bool
import(char *file, struct err *e)
{
	struct users_file_import result;

	if (!users_file_import(file, &result, on_skip, file, e))
		return false;
	printf("%u converted, %u kept, %u left out\n", result.converted,
	    result.kept, result.skipped);
	return true;
}

static bool
run(const struct option_set *s, struct err *e)
{
	const bool is_import = option_get_count(s, OPTION_IMPORT) > 0;
	const bool is_delete = option_get_count(s, OPTION_DELETE) > 0;
	const bool is_stdin = option_get_count(s, OPTION_STDIN) > 0;

	if (is_import + is_delete + is_stdin > 1)
		return err_set(e, ERR_USAGE,
		    "--stdin, --delete and --import do not go together");
	if (s->n_operands != (is_import ? 1 : 2))
		return err_set(e, ERR_USAGE,
		    is_import ? "usage: hyco passwd FILE --import"
		              : "usage: hyco passwd FILE USER");
	if (is_import)
		return import(s->operands[0], e);
	if (!is_delete)
		return set(s, s->operands[0], s->operands[1], e);
	if (!users_file_remove(s->operands[0], s->operands[1], e))
		return false;
	printf("removed user %s\n", s->operands[1]);
	return true;
}

int
cmd_passwd(const struct option_set *s)
{
	struct err e;

	return run(s, &e) ? ERR_EXIT_DONE : command_line_fail(s, &e);
}
