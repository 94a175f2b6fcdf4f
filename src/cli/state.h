/* SPDX-License-Identifier: MIT
 *
 * The folder in which hyco remembers things for this user: what relay --dev
 * made, the console's history. Mode 0700.
 */
#pragma once

struct err;

/* `given`, else $XDG_STATE_HOME/hyco, else $HOME/.local/state/hyco; made (with
 * the folders above it) if it is missing. A folder of somebody else, or one
 * that others may write to, is refused. The caller frees the path. ERR_SYSTEM,
 * ERR_USAGE (neither variable is set). */
char *state_open(const char *given, struct err *e);
