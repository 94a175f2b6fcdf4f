/* SPDX-License-Identifier: MIT
 *
 * Frames on their way in. nghttp2's callbacks only write into a queue what
 * happened, with pointers into the input; when nghttp2 has returned, the queue
 * is told in order. Payload of a channel that came in frames behind each other
 * is moved together first: one call and one write beneath instead of four cost
 * less than moving bytes that are in the cache.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mux/mux_core.h"
#include "util/mem.h"
#include "util/text.h"

/* nghttp2 gets the input in slices, which bound the queue: a frame has nine
 * bytes at least. */
#define SLICE ((size_t)64 * 1024)
#define QUEUE_KEPT 64

#define RESETS_MAX 1000 /* each 10 s: doc/PROTOCOL-hyco.md, section 10 */
#define CHEAP_MAX 100

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* --- nghttp2's callbacks --- */

static struct mux_event *
add(struct mux *m, enum mux_event_kind kind, struct mux_channel *ch)
{
	struct mux_event *ev;

	if (m->queue_len == m->queue_room) {
		m->queue_room = m->queue_room ? m->queue_room * 2 : 16;
		m->queue = mem_grow(m->queue, m->queue_room * sizeof *m->queue);
	}
	ev = &m->queue[m->queue_len++];
	*ev = (struct mux_event){.kind = kind, .channel = ch};
	return ev;
}

static struct mux_channel *
find(nghttp2_session *ng, int32_t id)
{
	return id > 0 ? nghttp2_session_get_stream_user_data(ng, id) : NULL;
}

/* The login's answer on the client is the one list without a channel. */
static struct mux_head *
find_head(struct mux *m, nghttp2_session *ng, int32_t id)
{
	struct mux_channel *ch = find(ng, id);

	if (ch)
		return ch->head;
	return id == m->login_id ? m->login_head : NULL;
}

static struct mux_head *
new_head(void)
{
	struct mux_head *h = mem_alloc(sizeof *h);

	mux_head_init(h);
	return h;
}

static size_t
count_waiting(const struct mux *m)
{
	const struct list *at;
	size_t n = 0;

	LIST_EACH (at, &m->waiting)
		n++;
	return n;
}

static int
on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *owner)
{
	struct mux *m = owner;
	const int32_t id = frame->hd.stream_id;
	struct mux_channel *ch = find(ng, id);

	if (m->is_server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		if (m->login != MUX_LOGIN_GOOD &&
		    count_waiting(m) >= MUX_HELD_REQUESTS) {
			nghttp2_submit_rst_stream(
			    ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
			return 0;
		}
		ch = mux_channel_new(m, id);
		ch->head = new_head();
		nghttp2_session_set_stream_user_data(ng, id, ch);
	} else if (ch && !ch->is_open && !ch->head && !m->is_server) {
		ch->head = new_head();
	} else if (!ch && id == m->login_id && !m->is_server &&
	           !m->login_head) {
		m->login_head = new_head();
	}
	return 0;
}

static int
on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
    void *owner)
{
	struct mux *m = owner;
	struct mux_head *h = find_head(m, ng, frame->hd.stream_id);

	(void)flags;
	if (!h)
		return 0;
	mux_head_add(h, name, name_len, value, value_len);
	/* One byte may stand for thousands: somebody tries what we bear. */
	if (h->bytes > (size_t)16 * MUX_HEADERS_MAX) {
		m->flood = "header lists without end";
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

static int
on_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
    size_t len, void *owner)
{
	struct mux *m = owner;
	struct mux_channel *ch = find(ng, id);
	struct mux_event *ev;

	(void)flags;
	nghttp2_session_consume_connection(ng, len);
	if (!ch) {
		nghttp2_session_consume_stream(ng, id, len);
		return 0;
	}
	ev = add(m, MUX_EVENT_DATA, ch);
	/* The input is scratch memory of ours; nghttp2 only reads it. */
	ev->data = (uint8_t *)(uintptr_t)data;
	ev->len = len;
	return 0;
}

static void
take_head(struct mux *m, nghttp2_session *ng, int32_t id)
{
	struct mux_channel *ch = find(ng, id);

	if (ch && ch->head)
		add(m, MUX_EVENT_HEAD, ch);
	else if (!ch && id == m->login_id && m->login_head)
		add(m, MUX_EVENT_LOGIN, NULL);
}

/* 1 s of tolerance is no matter here. */
static bool
is_young(const struct mux *m, const struct mux_channel *ch)
{
	const uint32_t now_s = (uint32_t)(loop_now_ms(m->loop) / 1000);

	return now_s - ch->opened_s <= MUX_GUARD_PERIOD_MS / 1000;
}

static bool
allow(struct mux *m, struct mux_guard *g, unsigned most, const char *what)
{
	if (mux_guard_take(g, loop_now_ms(m->loop), most))
		return true;
	m->flood = what;
	return false;
}

static void
take_goaway(struct mux *m, const nghttp2_goaway *goaway)
{
	struct mux_event *ev = add(m, MUX_EVENT_GOAWAY, NULL);
	char text[200];

	ev->code = goaway->error_code;
	free(m->goaway_text);
	m->goaway_text = NULL;
	if (goaway->opaque_data_len == 0)
		return;
	text_escape(
	    goaway->opaque_data, goaway->opaque_data_len, text, sizeof text);
	m->goaway_text = mem_strdup(text);
}

/* False: too much of it. */
static bool
judge_frame(struct mux *m, nghttp2_session *ng, const nghttp2_frame *frame)
{
	const nghttp2_frame_hd *hd = &frame->hd;
	const struct mux_channel *ch;

	switch (hd->type) {
	case NGHTTP2_HEADERS:
		take_head(m, ng, hd->stream_id);
		return true;
	case NGHTTP2_DATA:
		return hd->length > frame->data.padlen ||
		       (hd->flags & NGHTTP2_FLAG_END_STREAM) ||
		       allow(m, &m->empties, CHEAP_MAX, "empty DATA frames");
	case NGHTTP2_RST_STREAM:
		ch = find(ng, hd->stream_id);
		return !m->is_server || !ch || !is_young(m, ch) ||
		       allow(m, &m->resets, RESETS_MAX,
		           "streams opened and reset");
	case NGHTTP2_SETTINGS:
		return (hd->flags & NGHTTP2_FLAG_ACK) ||
		       allow(m, &m->settings, CHEAP_MAX, "SETTINGS frames");
	case NGHTTP2_PING:
		if (hd->flags & NGHTTP2_FLAG_ACK) {
			add(m, MUX_EVENT_PONG, NULL);
			return true;
		}
		return allow(m, &m->pings, CHEAP_MAX, "PING frames");
	case NGHTTP2_GOAWAY:
		take_goaway(m, &frame->goaway);
		return true;
	default:
		return true;
	}
}

static int
on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *owner)
{
	struct mux *m = owner;
	struct mux_channel *ch;

	if (!judge_frame(m, ng, frame))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if ((frame->hd.type == NGHTTP2_HEADERS ||
	        frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (ch = find(ng, frame->hd.stream_id)))
		add(m, MUX_EVENT_END, ch);
	return 0;
}

/* Each makes nghttp2 reset a stream: as cheap for the other side as a reset of
 * its own. */
static int
on_invalid_frame(
    nghttp2_session *ng, const nghttp2_frame *frame, int code, void *owner)
{
	struct mux *m = owner;

	(void)ng;
	(void)frame;
	(void)code;
	return allow(m, &m->resets, RESETS_MAX, "broken frames")
	           ? 0
	           : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Also from inside a flush, where a stream may end by what we send. */
static int
on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *owner)
{
	struct mux *m = owner;
	struct mux_channel *ch = find(ng, id);

	if (!ch)
		return 0;
	if (m->receiving) {
		add(m, MUX_EVENT_GONE, ch)->code = code;
		ch->is_gone = true;
		return 0;
	}
	mux_channel_take_gone(ch, code);
	return 0;
}

void
mux_input_set_callbacks(nghttp2_session_callbacks *c)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(
	    c, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
	    c, on_invalid_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    c, on_stream_close);
}

/* --- telling --- */

static void
tell_gone(struct mux_channel *ch, uint32_t code)
{
	mux_channel_take_gone(ch, code);
	if (!ch->closing && ch->mux && ch->mux->is_server && !ch->is_open)
		mux_request_cancel(ch);
}

static void
tell_goaway(struct mux *m, uint32_t code)
{
	if (code != NGHTTP2_NO_ERROR) {
		mux_doom(m, ERR_PROTOCOL, "the other side ended HTTP/2: %s%s%s",
		    nghttp2_http2_strerror(code), m->goaway_text ? ": " : "",
		    m->goaway_text ? m->goaway_text : "");
		return;
	}
	if (m->peer_drains)
		return;
	m->peer_drains = true;
	if (m->events->on_drain)
		m->events->on_drain(m->owner);
}

static void
tell_head(struct mux *m, struct mux_channel *ch)
{
	if (ch->closing || !ch->mux || !ch->head)
		return;
	if (m->is_server)
		mux_request_judge(ch);
	else
		mux_request_answered(ch);
}

/* Moves the payloads behind the first of a run to its end. Returns how many
 * events it took. */
static size_t
tell_data(struct mux *m, size_t at)
{
	const struct mux_event *first = &m->queue[at];
	struct mux_channel *ch = first->channel;
	uint8_t *data = first->data;
	size_t len = first->len;
	size_t n = 1;

	for (; at + n < m->queue_len; n++) {
		const struct mux_event *next = &m->queue[at + n];

		if (next->kind != MUX_EVENT_DATA || next->channel != ch)
			break;
		memmove(data + len, next->data, next->len);
		len += next->len;
	}
	mux_channel_take_data(ch, data, len);
	return n;
}

static void
tell(struct mux *m, const struct mux_event *ev)
{
	switch (ev->kind) {
	case MUX_EVENT_HEAD:
		tell_head(m, ev->channel);
		break;
	case MUX_EVENT_END:
		mux_channel_take_end(ev->channel);
		break;
	case MUX_EVENT_GONE:
		tell_gone(ev->channel, ev->code);
		break;
	case MUX_EVENT_LOGIN:
		mux_request_login_answered(m);
		break;
	case MUX_EVENT_PONG:
		mux_pace_answer(&m->pace, now_us());
		mux_channel_grow(m);
		break;
	case MUX_EVENT_GOAWAY:
		tell_goaway(m, ev->code);
		break;
	case MUX_EVENT_DATA:
		break;
	}
}

static void
probe(struct mux *m)
{
	static const uint8_t opaque[8] = "hyco rtt";

	if (!mux_pace_probe(&m->pace, now_us()))
		return;
	while (!list_is_empty(&m->probed))
		list_remove(m->probed.next);
	nghttp2_submit_ping(m->ng, NGHTTP2_FLAG_NONE, opaque);
	deferred_set(&m->wake);
}

static void
tell_all(struct mux *m)
{
	bool has_data = false;
	size_t at = 0;

	while (at < m->queue_len && !m->closing && !m->is_over) {
		if (m->queue[at].kind == MUX_EVENT_DATA) {
			has_data = true;
			at += tell_data(m, at);
		} else {
			const struct mux_event ev = m->queue[at++];

			tell(m, &ev);
		}
	}
	m->queue_len = 0;
	if (m->queue_room > QUEUE_KEPT) {
		free(m->queue);
		m->queue = NULL;
		m->queue_room = 0;
	}
	if (has_data && !m->closing && !m->is_over)
		probe(m);
}

static void
fail(struct mux *m, ssize_t code)
{
	uint32_t goaway = NGHTTP2_ENHANCE_YOUR_CALM;
	const char *what = m->flood;

	if (!what) {
		what = nghttp2_strerror((int)code);
		if (code != NGHTTP2_ERR_FLOODED &&
		    code != NGHTTP2_ERR_TOO_MANY_SETTINGS &&
		    code != NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
			goaway = NGHTTP2_PROTOCOL_ERROR;
	}
	mux_doom(m,
	    goaway == NGHTTP2_PROTOCOL_ERROR ? ERR_PROTOCOL : ERR_TOO_BIG,
	    "the other side broke HTTP/2: %s%s", m->flood ? "too many " : "",
	    what);
	m->queue_len = 0;
	nghttp2_session_terminate_session(m->ng, goaway);
	mux_output_flush(m);
}

void
mux_input_take(struct mux *m, uint8_t *data, size_t len)
{
	while (len > 0 && !m->closing && !m->is_over && !m->end) {
		const size_t n = len < SLICE ? len : SLICE;
		ssize_t used;

		m->receiving = true;
		used = nghttp2_session_mem_recv(m->ng, data, n);
		m->receiving = false;
		if (used < 0) {
			fail(m, used);
			return;
		}
		tell_all(m);
		data += n;
		len -= n;
	}
	if (!m->closing)
		deferred_set(&m->wake);
}
