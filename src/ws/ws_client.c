/* SPDX-License-Identifier: MIT
 *
 * One request, one answer. The stream belongs to this object until the answer
 * is a good 101; then the WebSocket takes it, with what was read behind the
 * head. Whichever of answer, trouble and time limit comes first settles it.
 */
#include "ws/ws_client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "net/http1.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

/* A request of ours: the target holds a token or two. */
#define REQUEST_MAX ((size_t)64 * 1024)

/* 100 and 103 may come before the answer, but not without end. */
#define INTERIM_MAX 8

struct ws_client {
	struct stream *below; /* NULL once it was given away */
	struct loop *loop;
	const struct ws_client_events *events;
	void *owner;
	struct http1_parser *parser;
	struct ws_options options;
	struct timer timer;
	char key[WS_KEY_SIZE];
	char *protocol; /* offered, or NULL */
	uint64_t timeout_ms;
	int interim;
	bool settled;
	bool refused; /* by a whole answer other than 101 */
	bool closing;
};

static void
free_client(void *object)
{
	struct ws_client *c = object;

	http1_parser_free(c->parser);
	free(c->protocol);
	free(c);
}

static void
settle(struct ws_client *c)
{
	c->settled = true;
	timer_clear(&c->timer);
	stream_stop(c->below);
}

static void
fail(struct ws_client *c, const struct err *e)
{
	settle(c);
	c->events->on_error(c->owner, e);
}

static void
succeed(struct ws_client *c, const uint8_t *early, size_t early_len)
{
	struct ws_options o = c->options;
	struct stream *below = c->below;

	settle(c);
	c->below = NULL;
	o.client = true;
	o.early = early;
	o.early_len = early_len;
	c->events->on_open(
	    c->owner, ws_open(below, &o, NULL, NULL), http1_head(c->parser));
}

static bool
is_interim(struct ws_client *c)
{
	const int status = http1_head(c->parser)->status;

	return status >= 100 && status < 200 && status != 101 &&
	       c->interim++ < INTERIM_MAX;
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct ws_client *c = owner;
	enum http1_result result = HTTP1_MORE;
	struct err e;
	size_t used;

	while (len > 0) {
		result = http1_parse_head(c->parser, data, len, &used, &e);
		if (result == HTTP1_MORE)
			return;
		if (result == HTTP1_BAD) {
			err_prefix(&e, "answer to the WebSocket request");
			fail(c, &e);
			return;
		}
		data += used;
		len -= used;
		if (!is_interim(c))
			break;
		http1_parser_reset(c->parser);
		result = HTTP1_MORE;
	}
	if (result == HTTP1_MORE)
		return;
	if (ws_handshake_check_response(
	        http1_head(c->parser), c->key, c->protocol, &e)) {
		succeed(c, data, len);
		return;
	}
	c->refused = http1_head(c->parser)->status != 101;
	fail(c, &e);
}

static void
on_end(void *owner)
{
	struct err e;

	err_set(&e, ERR_RESET,
	    "the connection ended before the WebSocket request was answered");
	fail(owner, &e);
}

/* The request was queued at once; nothing waits for room. */
static void
on_drain(void *owner)
{
	(void)owner;
}

static void
on_error(void *owner, const struct err *e)
{
	struct ws_client *c = owner;

	if (!c->settled)
		fail(c, e);
}

static void
on_timer(void *owner)
{
	struct ws_client *c = owner;
	struct err e;

	err_set(&e, ERR_TIMEOUT,
	    "no answer to the WebSocket request within %" PRIu64 " s",
	    (c->timeout_ms + 999) / 1000);
	fail(c, &e);
}

static const struct stream_events below_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

struct ws_client *
ws_client_open(struct stream *below, const struct ws_request *r,
    const struct ws_options *o, uint64_t timeout_ms,
    const struct ws_client_events *events, void *owner, struct err *e)
{
	char key[WS_KEY_SIZE];
	struct ws_client *c;
	struct buf request;

	buf_init(&request, REQUEST_MAX);
	if (!ws_handshake_build_request(&request, r, key, e)) {
		buf_fini(&request);
		stream_close(below);
		return NULL;
	}
	c = mem_zalloc(sizeof *c);
	c->below = below;
	c->loop = below->loop;
	c->events = events;
	c->owner = owner;
	c->parser = http1_parser_new(HTTP1_RESPONSE);
	c->options = *o;
	c->timeout_ms = timeout_ms;
	memcpy(c->key, key, sizeof key);
	if (r->protocol)
		c->protocol = mem_strdup(r->protocol);
	timer_init(&c->timer, c->loop, on_timer, c);
	timer_set(&c->timer, timeout_ms);
	stream_set_owner(below, &below_events, c);
	stream_put(below, buf_data(&request), buf_len(&request));
	stream_start(below);
	mem_wipe(buf_data(&request), buf_len(&request));
	buf_fini(&request);
	return c;
}

const struct http1_head *
ws_client_head(const struct ws_client *c)
{
	return c->refused ? http1_head(c->parser) : NULL;
}

void
ws_client_close(struct ws_client *c)
{
	assert(!c->closing);
	c->closing = true;
	timer_clear(&c->timer);
	if (c->below)
		stream_close(c->below);
	loop_bury(c->loop, c, free_client);
}
