/* SPDX-License-Identifier: MIT
 *
 * Feeds the reader of connection strings; what was read must be written and
 * read again the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_target.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void
write_again(const struct hc_target *t)
{
	char *text = hc_target_connection_string(t);
	struct hc_target again;
	struct err e;

	hc_target_init(&again);
	if (!hc_target_parse_connection_string(&again, text, &e) ||
	    !is_same(again.host, t->host) || again.port != t->port ||
	    !is_same(again.path, t->path) ||
	    !is_same(again.key_name, t->key_name) ||
	    !is_same(again.key, t->key) || !is_same(again.token, t->token))
		abort();
	hc_target_fini(&again);
	mem_free_secret(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);
	struct hc_target t;
	struct err e;

	hc_target_init(&t);
	if (hc_target_parse_connection_string(&t, text, &e)) {
		write_again(&t);
		if (hc_target_check(&t, HC_TARGET_LISTEN, &e))
			mem_free_secret(hc_target_make_token(&t, 1));
	}
	hc_target_fini(&t);
	free(text);
	return 0;
}
