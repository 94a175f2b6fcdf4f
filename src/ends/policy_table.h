/* SPDX-License-Identifier: MIT
 *
 * The inside of struct policy, shared by policy_parse.c, which reads it, and
 * policy.c, which decides by it. For these two only.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

enum target {
	TARGET_ANY,
	TARGET_NAME,
	TARGET_SUFFIX, /* text is ".example.com" */
	TARGET_BLOCK,
	TARGET_PATH,
	TARGET_FOLDER, /* text ends in a slash */
};

struct ports {
	uint16_t first;
	uint16_t last;
};

struct group {
	bool is_everybody;
	size_t count;
	char **names;
};

struct rule {
	unsigned line;
	size_t group;
	bool deny;
	bool listen;
	bool kinds[3]; /* by enum policy_kind */
	enum target target;
	char *text;
	struct addr net;
	unsigned bits;
	int special;        /* the special range the block lies in, or -1 */
	size_t ports_count; /* 0: all */
	struct ports *ports;
};

struct policy {
	unsigned refs;
	char *file;
	size_t group_count;
	struct group *groups;
	size_t rule_count;
	struct rule *rules;
};

/* "tcp", ...: by enum policy_kind. */
extern const char *const policy_kind_names[3];

/* The special range that holds the whole block (a number of its own), or -1. */
int policy_special_of(const struct addr *a, unsigned bits);

/* The bits of an address of its family. */
unsigned policy_addr_bits(const struct addr *a);

/* Whether a path is absolute and without empty, . and .. parts. A slash at the
 * end is fine: it makes a folder. */
bool policy_is_plain_path(const char *path);
