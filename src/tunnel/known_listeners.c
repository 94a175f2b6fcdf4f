/* SPDX-License-Identifier: MIT
 *
 * The memory of listeners' identities. The file belongs to a person who edits
 * it, so it is only ever added to: one write of one whole line at the end,
 * while a lock keeps other processes from adding another line for the same
 * path in between.
 */
#include "tunnel/known_listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends/lines.h"
#include "net/tls_identity.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

#define BLANKS " \t"
#define WRITABLE_BY_OTHERS 002

/* A line holds the place, a blank and the name. */
#define PLACE_MAX (KNOWN_LISTENERS_LINE_MAX - TLS_IDENTITY_NAME_SIZE)

static bool
is_place(const char *where, size_t n)
{
	const char *slash = memchr(where, '/', n);

	if (slash == NULL || slash == where || slash + 1 == where + n ||
	    n > PLACE_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)where[i];

		if (c <= ' ' || c == 0x7f || c == '#')
			return false;
	}
	return true;
}

bool
known_listeners_is_place(const char *where)
{
	return is_place(where, strlen(where));
}

static bool
is_same_place(const char *a, const char *b)
{
	size_t n = strcspn(a, "/");

	return strcspn(b, "/") == n && text_is_equal_nocase_n(a, b, n) &&
	       strcmp(a + n, b + n) == 0;
}

/* Splits a line into its two words; place NULL: there are none. */
static bool
parse_line(
    const struct lines *l, char *line, char **place, char **name, struct err *e)
{
	char *rest;

	line[strcspn(line, "#")] = '\0';
	*place = line + strspn(line, BLANKS);
	if (**place == '\0') {
		*place = NULL;
		return true;
	}
	rest = *place + strcspn(*place, BLANKS);
	if (*rest != '\0')
		*rest++ = '\0';
	*name = rest + strspn(rest, BLANKS);
	rest = *name + strcspn(*name, BLANKS);
	if (rest[strspn(rest, BLANKS)] != '\0')
		return lines_fault(l, e,
		    "more than NAMESPACE/PATH and sha256:...; is a # missing "
		    "before a comment?");
	*rest = '\0';
	if (!is_place(*place, strlen(*place)))
		return lines_fault(
		    l, e, "the line must begin with NAMESPACE/PATH");
	return tls_identity_is_name(*name) ||
	       lines_fault(l, e,
	           "an identity is sha256: and 43 characters of base64url");
}

static void
tell_change(const char *file, unsigned line, const char *where, struct err *e)
{
	err_set(e, ERR_DENIED,
	    "the listener of %s shows another identity than before: somebody "
	    "may be listening in its place. If it was set up anew, remove "
	    "line %u of %s",
	    where, line, file);
}

enum known_listeners_answer
known_listeners_search(const char *text, size_t n, const char *file,
    const char *where, const char *name, struct err *e)
{
	char line[KNOWN_LISTENERS_LINE_MAX + 1];
	unsigned other = 0;
	bool same = false;
	struct err fault = {0};
	struct lines l;

	lines_init(&l, text, n, file, KNOWN_LISTENERS_LINE_MAX);
	while (lines_next(&l, line, &fault)) {
		char *its_place, *its_name;

		if (!parse_line(&l, line, &its_place, &its_name, &fault))
			break;
		if (its_place == NULL || !is_same_place(its_place, where))
			continue;
		if (strcmp(its_name, name) == 0)
			same = true;
		else if (other == 0)
			other = l.number;
	}
	if (fault.code != ERR_NONE) {
		if (e != NULL)
			*e = fault;
		return KNOWN_LISTENERS_FAULT;
	}
	if (same)
		return KNOWN_LISTENERS_SAME;
	if (other == 0)
		return KNOWN_LISTENERS_UNKNOWN;
	tell_change(file, other, where, e);
	return KNOWN_LISTENERS_CHANGED;
}

/* *ends: the last line is whole. */
static enum known_listeners_answer
find(const char *file, const char *where, const char *name, bool *ends,
    struct err *e)
{
	enum known_listeners_answer answer;
	struct err fault;
	char *text;
	size_t n;

	*ends = true;
	if (!lines_load(file, "known listeners file", KNOWN_LISTENERS_FILE_MAX,
	        WRITABLE_BY_OTHERS, &text, &n, &fault)) {
		if (fault.code == ERR_NOT_FOUND)
			return KNOWN_LISTENERS_UNKNOWN;
		if (e != NULL)
			*e = fault;
		return KNOWN_LISTENERS_FAULT;
	}
	answer = known_listeners_search(text, n, file, where, name, e);
	*ends = n == 0 || text[n - 1] == '\n';
	free(text);
	return answer;
}

enum known_listeners_answer
known_listeners_find(
    const char *file, const char *where, const char *name, struct err *e)
{
	bool ends;

	return find(file, where, name, &ends, e);
}

/* One write; half a line, on a full disk, is taken back. */
static bool
append(int fd, const char *line, const char *file, struct err *e)
{
	size_t n = strlen(line);
	off_t before = lseek(fd, 0, SEEK_END);
	ssize_t written;

	do
		written = write(fd, line, n);
	while (written < 0 && errno == EINTR);
	if (written == (ssize_t)n && fsync(fd) == 0)
		return true;
	err_set_errno(e, ERR_SYSTEM, written < 0 ? errno : ENOSPC,
	    "cannot write %s", file);
	if (before >= 0 && written > 0)
		(void)!ftruncate(fd, before);
	return false;
}

static bool
add_locked(int fd, const char *file, const char *where, const char *name,
    struct err *e)
{
	char *line;
	bool ends, ok;

	switch (find(file, where, name, &ends, e)) {
	case KNOWN_LISTENERS_SAME:
		return true;
	case KNOWN_LISTENERS_UNKNOWN:
		break;
	default:
		return false;
	}
	line = mem_printf("%s%s %s\n", ends ? "" : "\n", where, name);
	ok = append(fd, line, file, e);
	free(line);
	return ok;
}

bool
known_listeners_add(
    const char *file, const char *where, const char *name, struct err *e)
{
	int fd, rc;
	bool ok;

	if (!known_listeners_is_place(where) || !tls_identity_is_name(name))
		return err_set(e, ERR_USAGE,
		    "\"%s\" cannot be remembered: it is no NAMESPACE/PATH",
		    where);
	fd = open(file,
	    O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
	    0600);
	if (fd < 0)
		return err_set_errno(
		    e, ERR_SYSTEM, errno, "cannot write %s", file);
	do
		rc = flock(fd, LOCK_EX);
	while (rc != 0 && errno == EINTR);
	if (rc != 0)
		ok =
		    err_set_errno(e, ERR_SYSTEM, errno, "cannot lock %s", file);
	else
		ok = add_locked(fd, file, where, name, e);
	close(fd);
	return ok;
}
