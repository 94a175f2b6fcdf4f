/* SPDX-License-Identifier: MIT
 *
 * --pidfile and --kill. A pid file's name ends in .pid, which is added where it
 * is missing (as the sample does). The number in it is believed only when that
 * process is alive and runs hyco.
 */
#pragma once
#include <stdbool.h>

struct err;

/* The file's full name; free(). */
char *pidfile_path(const char *name);

/* Writes our process id. ERR_USAGE when a living hyco has the file; a stale
 * file is replaced. */
bool pidfile_write(const char *name, struct err *e);

/* Removes it, if it is still ours. */
void pidfile_remove(const char *name);

/* Ends the process with SIGTERM, waits until it is gone (at most 10 s), removes
 * the file. *pid: whom it was. ERR_NOT_FOUND (no file; or no such process: the
 * stale file is removed), ERR_USAGE (no number in it), ERR_SYSTEM (the process
 * is not hyco, or does not end), ERR_DENIED (it belongs to somebody else). */
bool pidfile_kill(const char *name, long *pid, struct err *e);
