/* SPDX-License-Identifier: MIT
 *
 * From options to what the subcommands need: the relay, path and credentials
 * by their order of precedence (words on the command line, then
 * --connection-string, then single options, then the environment, then the
 * configuration file), trust and proxy, the log.
 */
#pragma once
#include <stdbool.h>

#include "hc/hc_target.h"
#include "util/err.h"
#include "util/log.h"

struct dialer;
struct loop;
struct option_set;
enum option_id;

/* Reads argv behind the subcommand's name, the environment and the
 * configuration file that is named (but not a relay's). ERR_USAGE and the
 * errors of reading a file. The set is initialised, and due to option_fini,
 * also on failure. Stops after argv when help or the version is asked for. */
bool command_line_read(struct option_set *s, unsigned command, int argc,
    char **argv, struct err *e);

/* The target, checked. It is initialised, and due to hc_target_fini, also on
 * failure. */
bool command_line_target(const struct option_set *s, enum hc_target_use use,
    struct hc_target *t, struct err *e);

/* The value of an option that may be a secret; @FILE is read. NULL when it was
 * not given (e->code is ERR_NONE then) or cannot be read. mem_free_secret. */
char *command_line_secret(
    const struct option_set *s, enum option_id id, struct err *e);

/* With --ca and --proxy as given. NULL and *e. */
struct dialer *command_line_dialer(
    const struct option_set *s, struct loop *l, struct err *e);

/* Level and format of the log: `level` moved by -v and -q. */
void command_line_set_log(const struct option_set *s, enum log_level level);

/* "hyco connect: " and the error's text to standard error. Returns the exit
 * status. */
int command_line_fail(const struct option_set *s, const struct err *err);

/* The end at once, for the second signal: removes the pid file and leaves. */
_Noreturn void command_line_leave(const struct option_set *s);
