/* SPDX-License-Identifier: MIT
 *
 * Changing a users file (hyco passwd): set a user's hash, remove a user, turn
 * a clear-text users.txt into hashes. Each change writes a new file beside the
 * old one, syncs it and renames it into place: a reader sees the old file or
 * the new one, a crash leaves one of them. Comments, order and line ends of
 * other lines are kept, also the mode (but for the rights of everybody, with
 * which a listener would refuse it) and, where possible, owner and group; a new
 * file gets 0600. A symbolic link is followed, the link stays. Two runs at once
 * wait for each other (a lock on the folder).
 *
 * These calls block (they hash and sync): they are for the command line, not
 * for a loop.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

enum users_file_set_result {
	USERS_FILE_FAILED, /* *e says why; the file is as it was */
	USERS_FILE_ADDED,
	USERS_FILE_CHANGED,
};

/* Gives the user this password (1 to USERS_PASSWORD_MAX bytes, no NUL; the
 * hash is yescrypt). The file is made when it is missing. All other lines must
 * be good: ERR_USAGE with file:line as users_load. */
enum users_file_set_result users_file_set(
    const char *path, const char *name, const char *password, struct err *e);

/* ERR_NOT_FOUND when there is no such user or file. */
bool users_file_remove(const char *path, const char *name, struct err *e);

struct users_file_import {
	unsigned converted; /* lines whose password became a hash */
	unsigned kept;      /* lines that were hashes already */
	unsigned skipped;   /* lines left out of the new file, each reported */
};

/* Converts in place: a line of exactly two parts around one colon whose second
 * part is not a hash is name:password. Of a name that occurs several times the
 * last counts, as the sample has it. Other lines (no colon, more than one, an
 * empty name or password, a bad name, a hash of a kind we cannot check) become
 * comments that give the reason without the text, and on_skip (may be NULL) is
 * told the line's number and the reason. The new file gets mode 0600 if the old
 * one was readable by everybody. */
bool users_file_import(const char *path, struct users_file_import *result,
    void (*on_skip)(void *owner, unsigned line, const char *reason),
    void *owner, struct err *e);
