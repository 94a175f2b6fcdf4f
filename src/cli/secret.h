/* SPDX-License-Identifier: MIT
 *
 * Secrets and other small texts from files. A file that holds a secret and may
 * be read or written by everybody on the machine is refused with the command
 * that mends it. Errors name the file.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

#define SECRET_FILE_MAX ((size_t)64 * 1024)

/* The whole file, at most `most` bytes, NUL-terminated, without NUL bytes
 * inside; the caller wipes and frees it. *mode (may be NULL): the file's type
 * and permissions, for secret_check_mode. ERR_NOT_FOUND, ERR_SYSTEM,
 * ERR_TOO_BIG, ERR_USAGE. */
char *secret_read_text(
    const char *path, size_t most, mode_t *mode, struct err *e);

/* The first line of a secret file, without its line end. More lines than that
 * are refused (ERR_USAGE), blank ones at the end are not. */
char *secret_read_line(const char *path, struct err *e);

/* A copy of `text`; of the first line of FILE when it is "@FILE". A relative
 * FILE is looked for in `folder` (NULL: the current one). */
char *secret_resolve(const char *text, const char *folder, struct err *e);

/* Whether a plain file with these mode bits may hold a secret; other kinds of
 * file (a pipe, a terminal) may. ERR_DENIED with the remedy. */
bool secret_check_mode(const char *path, mode_t mode, struct err *e);

/* Writes the file anew with mode 0600 by a temporary file beside it and a
 * rename. ERR_SYSTEM, naming the file. */
bool secret_write(const char *path, const char *text, struct err *e);
