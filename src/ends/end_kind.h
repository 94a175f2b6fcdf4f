/* SPDX-License-Identifier: MIT
 *
 * What a kind of end is. An end is a place where tunnelled connections come
 * from or go to: a TCP port, a UDP port, a Unix socket. Parsing, help and
 * errors follow from the table of kinds in end.c.
 */
#pragma once
#include <stdbool.h>

#include "ends/policy.h"

struct end_kind {
	const char *name; /* "tcp" */
	const char *form; /* how it is written: "[host:]port" */
	const char *help; /* one line */
	enum policy_kind policy;
	bool has_path;      /* a file rather than host and port */
	bool has_datagrams; /* no stream: end_dial and end_listen refuse it */
};

extern const struct end_kind end_kind_tcp;
extern const struct end_kind end_kind_udp;
extern const struct end_kind end_kind_unix;
