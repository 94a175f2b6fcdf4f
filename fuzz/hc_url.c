/* SPDX-License-Identifier: MIT
 *
 * Feeds the readers and builders of URLs with one text in all roles. What is
 * built from it must be a URL that is read back, without a trace of the
 * sender's own service items.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_url.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_address(struct buf *b)
{
	struct hc_url_view path, query;
	struct hc_url_item item;
	struct hc_url_reject reject;
	struct hc_url u;
	struct err e;
	char *address = buf_take_text(b);
	int ours = 0;

	if (!hc_url_parse(&u, address, &e))
		abort();
	hc_url_split(u.target, &path, &query);
	if (hc_url_get_reject(query, &reject) &&
	    (reject.status < 300 || reject.status > 599))
		abort();
	while (hc_url_next(&query, &item))
		ours += hc_url_is_service_item(&item);
	if (ours != 3)
		abort();
	hc_url_fini(&u);
	free(address);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);
	struct hc_url u;
	struct buf b;
	struct err e;

	buf_init(&b, HC_URL_MAX);
	if (hc_url_parse(&u, text, &e))
		hc_url_fini(&u);
	free(hc_url_suffix(text, "p"));
	hc_url_build_connect(&b, "p", text, text, "id");
	buf_fini(&b);
	hc_url_build_reject(&b, text, 400, text);
	buf_fini(&b);
	/* A request's target begins with a slash. */
	if (*text == '/' && hc_url_build_accept(&b, "h", text, "id", "key"))
		check_address(&b);
	buf_fini(&b);
	free(text);
	return 0;
}
