/* SPDX-License-Identifier: MIT
 *
 * The subcommands. Each takes its options and gives the exit status; what went
 * wrong has been printed by then.
 */
#pragma once

struct option_set;

int cmd_relay(const struct option_set *s);
int cmd_listen(const struct option_set *s);
int cmd_connect(const struct option_set *s);
int cmd_passwd(const struct option_set *s);
int cmd_token(const struct option_set *s);
int cmd_completion(const struct option_set *s);
