/* SPDX-License-Identifier: MIT
 *
 * Whom this user has met: a file that remembers the identity of the listeners
 * of each path, as known_hosts does for ssh. One line each:
 *
 *     NAMESPACE/PATH sha256:...
 *
 * Empty lines and text behind # do not count. A path may stand on several
 * lines: several listeners share it then, and each of them is known. The
 * namespace is compared without regard to case, the path with it. A line that
 * cannot be understood makes the whole file unusable, since it may be the one
 * that matters.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

#define KNOWN_LISTENERS_FILE_MAX ((size_t)1024 * 1024)
#define KNOWN_LISTENERS_LINE_MAX 1024

enum known_listeners_answer {
	KNOWN_LISTENERS_FAULT,   /* *e: the file cannot be used */
	KNOWN_LISTENERS_UNKNOWN, /* the path is not there, or no file is */
	KNOWN_LISTENERS_SAME,    /* the identity is the one remembered */
	KNOWN_LISTENERS_CHANGED, /* the path is there with another identity:
	                          *e says on which line, and what to do */
};

/* Whether `where` (NAMESPACE/PATH) can stand in the file: no blanks, control
 * bytes or #, and not too long. */
bool known_listeners_is_place(const char *where);

/* What text[0..n), read from `file`, says of a listener of `where` that showed
 * `name`. Pure. */
enum known_listeners_answer known_listeners_search(const char *text, size_t n,
    const char *file, const char *where, const char *name, struct err *e);

/* The same for a file that need not exist. ERR_DENIED: others may write to it.
 */
enum known_listeners_answer known_listeners_find(
    const char *file, const char *where, const char *name, struct err *e);

/* Remembers: adds a line at the end, under a lock, and makes the file (mode
 * 0600; its folder must exist). Fine when it is there already; ERR_DENIED when
 * meanwhile another identity is. */
bool known_listeners_add(
    const char *file, const char *where, const char *name, struct err *e);
