/* SPDX-License-Identifier: MIT
 *
 * Feeds a parser of HTTP/1 messages. The first byte chooses request, response
 * or response to HEAD, and how the rest is cut into pieces.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http1.h"
#include "util/err.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Feeds one piece; false when the parser wants no more. */
static bool
feed(struct http1_parser *p, bool *in_body, uint8_t *piece, size_t n)
{
	struct err e;
	size_t used = 0, at, len;
	uint8_t *body;
	enum http1_result r = HTTP1_MORE;

	if (!*in_body) {
		r = http1_parse_head(p, piece, n, &used, &e);
		if (r == HTTP1_BAD)
			return false;
		if (r == HTTP1_MORE)
			return true;
		*in_body = true;
		http1_get(http1_head(p), "host");
	}
	for (at = used; at < n; at += used) {
		r = http1_parse_body(
		    p, piece + at, n - at, &used, &body, &len, &e);
		if (used > n - at ||
		    (len > 0 && (body < piece + at || body + len > piece + n)))
			abort();
		if (r == HTTP1_BAD)
			return false;
		if (r == HTTP1_DONE) {
			http1_parser_reset(p);
			*in_body = false;
			return true;
		}
		if (used == 0 && len == 0)
			abort();
	}
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http1_parser *p;
	size_t step, at, n;
	bool in_body = false, more = true;

	if (size == 0)
		return 0;
	p = http1_parser_new(data[0] & 1 ? HTTP1_RESPONSE : HTTP1_REQUEST);
	if (data[0] & 2)
		http1_parser_set_head_request(p);
	step = (size_t)(data[0] >> 2) + 1;
	for (at = 1; at < size && more; at += n) {
		uint8_t *piece;

		n = size - at < step ? size - at : step;
		piece = mem_alloc(n);
		memcpy(piece, data + at, n);
		more = feed(p, &in_body, piece, n);
		free(piece);
	}
	if (more)
		http1_parse_end(p, &(struct err){0});
	http1_parser_free(p);
	return 0;
}
