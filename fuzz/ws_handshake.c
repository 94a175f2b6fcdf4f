/* SPDX-License-Identifier: MIT
 *
 * Judges heads of requests and answers as an opening handshake. The first byte
 * chooses which. A request that is accepted must have an answer, and an answer
 * to our own key can only be good by chance of the corpus, which knows it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http1.h"
#include "util/buf.h"
#include "util/err.h"
#include "ws/ws_handshake.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
demand(bool is_true)
{
	if (!is_true)
		abort();
}

static void
judge_request(const struct http1_head *h)
{
	const char *protocol = http1_get(h, "Sec-WebSocket-Protocol");
	struct err e = {.http_status = 0};
	struct buf out;

	if (!ws_handshake_check_request(h, &e)) {
		demand(e.code == ERR_PROTOCOL && e.http_status >= 400);
		return;
	}
	buf_init(&out, HTTP1_HEAD_MAX);
	demand(ws_handshake_build_response(
	    &out, http1_get(h, "Sec-WebSocket-Key"), NULL, &e));
	buf_fini(&out);
	if (protocol && !ws_handshake_build_response(&out, KEY, protocol, &e))
		demand(e.code == ERR_USAGE && buf_len(&out) == 0);
	buf_fini(&out);
}

static void
judge_response(const struct http1_head *h, const char *protocol)
{
	struct err e = {.code = ERR_NONE};

	if (ws_handshake_check_response(h, KEY, protocol, &e))
		demand(h->status == 101);
	else
		demand(e.code != ERR_NONE && e.http_status == h->status);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http1_parser *p;
	struct err e;
	size_t used;

	if (size == 0)
		return 0;
	p = http1_parser_new(data[0] & 1 ? HTTP1_RESPONSE : HTTP1_REQUEST);
	if (http1_parse_head(p, data + 1, size - 1, &used, &e) == HTTP1_DONE) {
		if (data[0] & 1)
			judge_response(
			    http1_head(p), data[0] & 2 ? "p1, p2" : NULL);
		else
			judge_request(http1_head(p));
	}
	http1_parser_free(p);
	return 0;
}
