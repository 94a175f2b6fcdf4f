/* SPDX-License-Identifier: MIT
 *
 * Small text files, read whole and walked line by line, with file:line in
 * front of each complaint. Used by the users and the policy file.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

/* Reads a plain file of at most max bytes into *text (NUL-terminated, to be
 * freed by the caller; it may hold secrets) and *n. A file whose mode has any
 * bit of `forbidden` is refused with ERR_DENIED and the chmod that mends it.
 * `what` names the file to people: "users file". */
bool lines_load(const char *path, const char *what, size_t max,
    unsigned forbidden, char **text, size_t *n, struct err *e);

/* A walk over text[0..n), which stays the caller's. */
struct lines {
	const char *at;
	const char *end;
	const char *file; /* for complaints */
	unsigned number;  /* of the line last taken, from 1 */
	size_t max;       /* bytes of a line */
};

/* A UTF-8 byte order mark at the start is stepped over. */
void lines_init(
    struct lines *l, const char *text, size_t n, const char *file, size_t max);

/* Copies the next line without LF or CR LF into out (max + 1 bytes), NUL-
 * terminated. False at the end, and, with *e filled (clear it before), when a
 * line is too long or holds a NUL. */
bool lines_next(struct lines *l, char *out, struct err *e);

/* err_set(ERR_USAGE) with "file:line: " in front. Returns false. */
bool lines_fault(const struct lines *l, struct err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
