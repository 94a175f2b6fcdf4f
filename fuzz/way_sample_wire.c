/* SPDX-License-Identifier: MIT
 *
 * Feeds the reader of the sample way's query and of its Authorization field.
 * What is taken must hold to the contract and come back from what is built of
 * it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/way_sample_wire.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_query(const char *text)
{
	struct hc_url_view query = {text, strlen(text)};
	struct way_sample_wire_query q, again;
	struct buf b;
	struct err e;

	if (!way_sample_wire_parse_query(&q, "/tunnel", query, &e)) {
		if (e.http_status != 400)
			abort();
		return;
	}
	if (!q.has_destination)
		return;
	if (q.is_login || q.destination.port == 0 ||
	    strchr(q.destination.host, '/') != NULL)
		abort();
	buf_init(&b, 4096);
	way_sample_wire_build_query(&b, &q.destination);
	query = (struct hc_url_view){(char *)buf_data(&b), buf_len(&b)};
	if (!way_sample_wire_parse_query(&again, "", query, &e) ||
	    again.destination.port != q.destination.port ||
	    strcmp(again.destination.host, q.destination.host) != 0)
		abort();
	buf_fini(&b);
}

static void
check_basic(const char *text)
{
	struct way_sample_wire_login login, again;
	struct err e;
	char *field;

	if (!way_sample_wire_parse_basic(&login, text, &e))
		return;
	if (strchr(login.user, ':') != NULL)
		abort();
	field = way_sample_wire_build_basic(login.user, login.password, &e);
	if (field == NULL || !way_sample_wire_parse_basic(&again, field, &e) ||
	    strcmp(login.user, again.user) != 0 ||
	    strcmp(login.password, again.password) != 0)
		abort();
	mem_free_secret(field);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);

	check_query(text);
	check_basic(text);
	free(text);
	return 0;
}
