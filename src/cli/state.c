/* SPDX-License-Identifier: MIT
 *
 * The state folder: where it is, and that nobody else can put things there.
 */
#include "cli/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/err.h"
#include "util/mem.h"

static char *
place(const char *given, struct err *e)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (given)
		return mem_strdup(given);
	/* The XDG rules ignore a relative path. */
	if (state && state[0] == '/')
		return mem_printf("%s/hyco", state);
	if (home && home[0] == '/')
		return mem_printf("%s/.local/state/hyco", home);
	err_set(e, ERR_USAGE,
	    "no folder for hyco's state: set HOME or XDG_STATE_HOME");
	return NULL;
}

/* Makes the folder and those above it; only the last one counts as failed. */
static bool
make(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool
is_ours(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set_errno(e, ERR_SYSTEM, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_SYSTEM, "%s is no folder", path);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_SYSTEM,
		    "%s belongs to another user; name a folder of your own",
		    path);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(e, ERR_SYSTEM,
		    "others may write to %s; run: chmod 700 %s", path, path);
	return true;
}

char *
state_open(const char *given, struct err *e)
{
	char *path = place(given, e);
	size_t n;

	if (!path)
		return NULL;
	for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	if (!make(path)) {
		err_set_errno(e, ERR_SYSTEM, errno, "cannot make %s", path);
		free(path);
		return NULL;
	}
	if (!is_ours(path, e)) {
		free(path);
		return NULL;
	}
	return path;
}
