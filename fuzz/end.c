/* SPDX-License-Identifier: MIT
 *
 * The words for tunnels: what is accepted prints to something that is accepted
 * again and means the same. The console's two words are cut at a blank.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ends/end.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct tunnel_spec *spec)
{
	char text[END_TEXT_MAX], again[END_TEXT_MAX];
	struct addr addrs[END_BIND_MAX];
	struct end x;
	struct err e;

	end_print(&spec->remote, text);
	if (!end_parse(&x, text, 0, &e))
		abort();
	if (strcmp(end_print(&x, again), text) != 0 ||
	    x.kind != spec->remote.kind)
		abort();
	if (end_bind_addrs(&spec->local, addrs, &e) == 0)
		abort();
	end_print(&spec->local, text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size), *blank;
	struct tunnel_spec spec;
	struct err e = {.code = ERR_NONE};

	if (end_parse_tunnel(&spec, text, &e))
		check(&spec);
	else if (e.code != ERR_USAGE || e.text[0] == '\0')
		abort();
	blank = strchr(text, ' ');
	if (blank)
		*blank++ = '\0';
	if (end_parse_console(&spec, text, blank, &e))
		check(&spec);
	free(text);
	return 0;
}
