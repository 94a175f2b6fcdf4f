/* SPDX-License-Identifier: MIT
 *
 * Users files: whatever the bytes, a table or an error with a place, and each
 * name of the table is found again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ends/users.h"
#include "ends/users_table.h"
#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = {.code = ERR_NONE};
	struct users *u = users_parse((const char *)data, size, "fuzz", &e);
	size_t i;

	if (!u) {
		if (e.code != ERR_USAGE || strncmp(e.text, "fuzz:", 5) != 0)
			abort();
		return 0;
	}
	for (i = 0; i < u->count; i++)
		if (!users_has(u, u->entries[i].name) ||
		    users_hash_judge(u->entries[i].hash, NULL) !=
		        USERS_HASH_GOOD)
			abort();
	if ((u->count > 0) != (u->typical != NULL))
		abort();
	users_unref(u);
	return 0;
}
