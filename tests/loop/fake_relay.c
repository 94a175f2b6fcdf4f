/* SPDX-License-Identifier: MIT
 *
 * See fake_relay.h. Frames are read by the bare decoder, so that a test sees
 * each frame as it was on the wire.
 */
#include "fake_relay.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_url.h"
#include "net/addr.h"
#include "net/http1.h"
#include "net/listen.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "ws/ws_handshake.h"

static void
on_control(struct fake_visit *v, const struct ws_event *ev)
{
	if (ev->opcode == WS_PONG) {
		v->n_pongs++;
		memcpy(v->last_pong, ev->data, ev->len);
		v->last_pong[ev->len] = '\0';
	} else if (ev->opcode == WS_CLOSE) {
		v->n_closes++;
		assert_true(ws_frame_parse_close(
		    ev->data, ev->len, &v->close_code, v->close_reason));
	}
}

static void
on_payload(struct fake_visit *v, const struct ws_event *ev)
{
	if (ev->frame_start && ev->frame_len == 0)
		v->n_empty++;
	if (ev->frame_len > v->largest)
		v->largest = ev->frame_len;
	if (ev->opcode == WS_BINARY) {
		v->bytes += ev->len;
		for (size_t i = 0; i < ev->len; i++)
			v->sum ^= ev->data[i];
		return;
	}
	v->partial = mem_grow(v->partial, v->partial_len + ev->len + 1);
	memcpy(v->partial + v->partial_len, ev->data, ev->len);
	v->partial_len += ev->len;
	v->partial[v->partial_len] = '\0';
	if (ev->message_end) {
		assert_true(v->n_texts < FAKE_TEXTS);
		v->texts[v->n_texts++] = v->partial;
		v->partial = NULL;
		v->partial_len = 0;
	}
}

static void
on_frames(struct fake_visit *v, uint8_t *data, size_t len)
{
	struct ws_event ev;

	for (;;) {
		ws_decoder_next(&v->decoder, &data, &len, &ev);
		if (ev.kind == WS_EVENT_NONE)
			return;
		assert_int_not_equal(ev.kind, WS_EVENT_BAD);
		if (ev.kind == WS_EVENT_CONTROL)
			on_control(v, &ev);
		else
			on_payload(v, &ev);
	}
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct fake_visit *v = owner;
	struct fake_relay *r = v->relay;
	size_t used;
	struct err e;

	if (v->has_head) {
		on_frames(v, data, len);
		return;
	}
	switch (http1_parse_head(v->parser, data, len, &used, &e)) {
	case HTTP1_MORE:
		return;
	case HTTP1_BAD:
		fail_msg("%s", e.text);
		return;
	case HTTP1_DONE:
		break;
	}
	assert_int_equal(used, len);
	if (!ws_handshake_check_request(http1_head(v->parser), &e))
		fail_msg("%s", e.text);
	v->has_head = true;
	v->target = http1_head(v->parser)->target;
	r->visits[r->n_visits++] = v;
}

static void
on_end(void *owner)
{
	struct fake_visit *v = owner;

	v->ended = true;
}

static void
on_drain(void *owner)
{
	(void)owner;
}

static void
on_error(void *owner, const struct err *err)
{
	struct fake_visit *v = owner;

	(void)err;
	v->broken = true;
}

static const struct stream_events visit_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

static void
on_connection(void *owner, struct stream *s, const struct addr *peer)
{
	struct fake_relay *r = owner;
	struct fake_visit *v = mem_zalloc(sizeof *v);

	(void)peer;
	assert_true(r->n_open < FAKE_VISITS);
	r->open[r->n_open++] = v;
	v->relay = r;
	v->loop = r->loop;
	v->s = s;
	v->parser = http1_parser_new(HTTP1_REQUEST);
	ws_decoder_init(&v->decoder, true);
	stream_set_owner(s, &visit_events, v);
	stream_start(s);
}

void
fake_relay_open(struct fake_relay *r, struct loop *l)
{
	static const struct listener_events events = {
	    .on_accept = on_connection};
	struct addr a;
	struct err e;

	memset(r, 0, sizeof *r);
	r->loop = l;
	assert_true(addr_parse(&a, "127.0.0.1:0", 0, &e));
	r->listener = listener_open(l, &a, NULL, &events, r, &e);
	if (!r->listener)
		fail_msg("%s", e.text);
	r->port = addr_port(listener_addr(r->listener));
}

void
fake_relay_close(struct fake_relay *r)
{
	listener_close(r->listener);
	for (int i = 0; i < r->n_open; i++) {
		struct fake_visit *v = r->open[i];

		if (v->s)
			stream_close(v->s);
		http1_parser_free(v->parser);
		for (int t = 0; t < v->n_texts; t++)
			free(v->texts[t]);
		free(v->partial);
		free(v);
	}
}

const char *
fake_visit_field(const struct fake_visit *v, const char *name)
{
	return http1_get(http1_head(v->parser), name);
}

char *
fake_visit_query(const struct fake_visit *v, const char *name)
{
	struct hc_url_view path, query;

	hc_url_split(v->target, &path, &query);
	return hc_url_get(query, name);
}

static void
put(struct fake_visit *v, struct buf *b)
{
	stream_put(v->s, buf_data(b), buf_len(b));
	buf_fini(b);
}

void
fake_visit_accept(struct fake_visit *v, const char *protocol)
{
	struct buf b;

	buf_init(&b, 4096);
	assert_true(ws_handshake_build_response(
	    &b, fake_visit_field(v, "Sec-WebSocket-Key"), protocol, NULL));
	put(v, &b);
	v->is_open = true;
}

void
fake_visit_refuse(struct fake_visit *v, int status, const char *reason,
    const struct http1_field *field)
{
	struct http1_field fields[2] = {
	    {(char *)"Content-Length", (char *)"0"}};
	struct buf b;

	if (field)
		fields[1] = *field;
	buf_init(&b, 4096);
	assert_true(http1_build_response(
	    &b, status, reason, fields, field ? 2 : 1, NULL));
	put(v, &b);
	fake_visit_drop(v, false);
}

void
fake_visit_send(
    struct fake_visit *v, enum ws_opcode opcode, const void *data, size_t len)
{
	uint8_t head[WS_FRAME_HEAD_MAX];
	const size_t n = ws_frame_build(head, opcode, true, len, NULL);

	stream_put(v->s, head, n);
	if (len > 0)
		stream_put(v->s, data, len);
}

void
fake_visit_text(struct fake_visit *v, const char *text)
{
	fake_visit_send(v, WS_TEXT, text, strlen(text));
}

void
fake_visit_close(struct fake_visit *v, int code, const char *reason)
{
	uint8_t payload[WS_CONTROL_MAX];
	const size_t n = ws_frame_build_close(payload, code, reason);

	fake_visit_send(v, WS_CLOSE, payload, n);
}

void
fake_visit_drop(struct fake_visit *v, bool reset)
{
	if (reset)
		stream_reset(v->s);
	else
		stream_close(v->s);
	v->s = NULL;
}

static void
on_guard(void *owner)
{
	struct fake_guard *g = owner;

	g->is_over = true;
}

void
fake_guard_start(struct fake_guard *g, struct loop *l)
{
	g->loop = l;
	g->is_over = false;
	timer_init(&g->timer, l, on_guard, g);
	timer_set(&g->timer, 10000);
}

void
fake_guard_turn(struct fake_guard *g, const char *what)
{
	if (g->is_over)
		fail_msg("never came: %s", what);
	loop_turn(g->loop, true);
}

void
fake_guard_stop(struct fake_guard *g)
{
	timer_clear(&g->timer);
}
