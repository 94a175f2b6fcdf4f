/* SPDX-License-Identifier: MIT
 *
 * The inside of struct users, shared by users.c, which makes it, and
 * users_store.c, which checks passwords against it. For these two only.
 */
#pragma once
#include <stddef.h>

struct users_entry {
	char *name;
	char *hash;
	unsigned line;
};

struct users {
	unsigned refs; /* counted on one loop: no atomics */
	size_t count;
	struct users_entry *entries; /* sorted by name */
	const char *typical; /* a hash of the most common kind and cost; NULL
	                        without users */
};

/* NULL: no such user. */
const char *users_hash_of(const struct users *u, const char *name);
