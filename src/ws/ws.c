/* SPDX-License-Identifier: MIT
 *
 * Bytes from below go through the decoder and straight to the owner; nothing
 * is kept but a text message in pieces, and `in`: what was already read when
 * the owner stopped in the middle of it (or came with the handshake). While
 * `in` holds something the stream below stays stopped, so order is kept.
 *
 * Each direction is open until its Close: got_close ends the peer's, sent_close
 * ours. `failed` ends both. After ws_close the socket may linger: our Close
 * must reach a peer that is still sending, and closing a socket with unread
 * bytes would make the kernel reset it, which destroys what is under way.
 */
#include "ws/ws.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "util/buf.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"
#include "ws/ws_frame.h"

/* A peer has this long to take our Close and end the connection. */
#define WS_LINGER_MS 3000

/* How often to look whether our Close has gone out behind a full queue. */
#define WS_DRAIN_CHECK_MS 50

/* Small pieces of payload are moved together up to this size; above it, one
 * more call costs less than moving the bytes. */
#define WS_GATHER ((size_t)16 * 1024)

struct ws {
	struct stream face; /* usable once face_taken */
	struct stream *below;
	struct loop *loop;
	const struct ws_events *events;
	void *owner;
	struct ws_decoder decoder;
	struct buf in;   /* read, not yet decoded */
	struct buf text; /* a text message that comes in pieces */
	uint32_t utf8;   /* of the text message */
	size_t text_max;
	struct deferred wake;
	struct timer timer; /* checks for drain; after ws_close: linger */
	struct remnant remnant;
	struct err *untold; /* trouble that came before there was an owner */
	uint64_t last_in_ms;
	bool was_pinged;
	bool is_client;
	bool answers_close;
	bool face_taken;
	bool reading; /* the owner wants events */
	bool sent_close;
	bool got_close;
	bool is_shut;   /* the owner called ws_shutdown */
	bool drain_due; /* on_drain is owed for it */
	bool end_waits; /* on_end of the face came while it was stopped */
	bool failed;    /* on_error was given; silent */
	bool told_peer; /* the peer was told of its violation */
	bool broken;    /* the stream below is of no use */
	bool closing;
	bool lingers_drained;
	bool lingers_ended;
};

/* A run of payload for the face, gathered from several frames of one turn. */
struct ws_run {
	uint8_t *at;
	size_t len;
};

static struct ws *
ws_of_face(const struct stream *s)
{
	return (struct ws *)(void *)s;
}

/* --- telling the owner --- */

static bool
is_dead(const struct ws *w)
{
	return w->closing || w->failed;
}

static void
report(struct ws *w, const struct err *e)
{
	if (w->face_taken && w->face.events)
		w->face.events->on_error(w->face.owner, e);
	else if (!w->face_taken && w->events && w->events->on_error)
		w->events->on_error(w->owner, e);
}

static bool
has_owner(const struct ws *w)
{
	return w->face_taken ? w->face.events != NULL : w->events != NULL;
}

static void
fail(struct ws *w, const struct err *e)
{
	w->failed = true;
	w->drain_due = false;
	timer_clear(&w->timer);
	if (!w->broken)
		stream_stop(w->below);
	if (has_owner(w)) {
		report(w, e);
		return;
	}
	w->untold = mem_alloc(sizeof *w->untold);
	*w->untold = *e;
}

static void
tell_drain(struct ws *w)
{
	if (w->face_taken && w->face.events)
		w->face.events->on_drain(w->face.owner);
	else if (!w->face_taken && w->events && w->events->on_drain)
		w->events->on_drain(w->owner);
}

/* After ws_shutdown: tells once that the Close is with the kernel. */
static void
check_drain(struct ws *w)
{
	if (!w->drain_due || is_dead(w))
		return;
	if (stream_queued(w->below) > 0) {
		timer_set(&w->timer, WS_DRAIN_CHECK_MS);
		return;
	}
	w->drain_due = false;
	timer_clear(&w->timer);
	tell_drain(w);
}

/* --- sending --- */

static bool
is_mute(const struct ws *w)
{
	return w->sent_close || is_dead(w);
}

/* Payload in scratch memory; the header goes into the headroom. */
static bool
send_frame(
    struct ws *w, enum ws_opcode opcode, bool fin, uint8_t *data, size_t len)
{
	const size_t head = ws_frame_head_size(len, w->is_client);
	uint8_t mask[4];

	if (w->is_client) {
		crypt_random_mask(mask);
		ws_frame_mask(data, data, len, mask, 0);
	}
	ws_frame_build(
	    data - head, opcode, fin, len, w->is_client ? mask : NULL);
	return stream_write(w->below, data - head, head + len);
}

static void
send_control(struct ws *w, enum ws_opcode opcode, const void *data, size_t len)
{
	uint8_t frame[WS_FRAME_HEAD_MAX + WS_CONTROL_MAX];
	uint8_t mask[4];

	if (w->is_client)
		crypt_random_mask(mask);
	stream_put(w->below, frame,
	    ws_frame_build_control(
	        frame, opcode, data, len, w->is_client ? mask : NULL));
}

static void
send_close(struct ws *w, int code, const char *reason)
{
	uint8_t payload[WS_CONTROL_MAX];
	const size_t len = ws_frame_build_close(payload, code, reason);

	send_control(w, WS_CLOSE, payload, len);
	w->sent_close = true;
}

/* Splits what is too long for one frame. The header of each further frame
 * overwrites the end of the one before, which has been taken by then. */
static bool
send_split(
    struct ws *w, enum ws_opcode opcode, bool fin, uint8_t *data, size_t len)
{
	bool is_room = true;

	while (len > WS_FRAME_MAX) {
		is_room = send_frame(w, opcode, false, data, STREAM_TURN);
		opcode = WS_CONTINUATION;
		data += STREAM_TURN;
		len -= STREAM_TURN;
	}
	return send_frame(w, opcode, fin, data, len) && is_room;
}

bool
ws_send_text(struct ws *w, const char *text, size_t len)
{
	enum ws_opcode opcode = WS_TEXT;
	uint8_t *block;
	bool is_room, is_last;

	if (is_mute(w))
		return true;
	block = loop_block_take(w->loop);
	do {
		const size_t n = len < WS_FRAME_MAX ? len : WS_FRAME_MAX;

		is_last = n == len;
		if (n > 0)
			memcpy(block + STREAM_HEADROOM, text, n);
		is_room =
		    send_frame(w, opcode, is_last, block + STREAM_HEADROOM, n);
		opcode = WS_CONTINUATION;
		text += n;
		len -= n;
	} while (!is_last);
	loop_block_give(w->loop, block);
	return is_room;
}

bool
ws_send_binary(struct ws *w, uint8_t *data, size_t len)
{
	bool is_room = true;

	assert(len > 0);
	if (is_mute(w))
		return true;
	while (len > WS_FRAME_MAX) {
		is_room = send_frame(w, WS_BINARY, true, data, STREAM_TURN);
		data += STREAM_TURN;
		len -= STREAM_TURN;
	}
	return send_frame(w, WS_BINARY, true, data, len) && is_room;
}

bool
ws_send_fragment(struct ws *w, uint8_t *data, size_t len, bool start, bool fin)
{
	assert(len > 0 || fin);
	if (is_mute(w))
		return true;
	return send_split(
	    w, start ? WS_BINARY : WS_CONTINUATION, fin, data, len);
}

void
ws_send_ping(struct ws *w, const void *data, size_t len)
{
	if (!is_mute(w))
		send_control(w, WS_PING, data, len);
}

void
ws_send_pong(struct ws *w, const void *data, size_t len)
{
	if (!is_mute(w))
		send_control(w, WS_PONG, data, len);
}

void
ws_shutdown(struct ws *w, int code, const char *reason)
{
	assert(!w->closing);
	if (w->is_shut || w->failed)
		return;
	if (!w->sent_close)
		send_close(w, code, reason);
	w->is_shut = true;
	w->drain_due = true;
	deferred_set(&w->wake);
}

bool
ws_is_shutdown(const struct ws *w)
{
	return w->sent_close;
}

/* --- receiving --- */

static void
fail_peer(struct ws *w, int code, const char *why)
{
	struct err e;

	if (!w->sent_close)
		send_close(w, code, why);
	w->told_peer = true;
	err_set(&e, code == WS_CODE_TOO_BIG ? ERR_TOO_BIG : ERR_PROTOCOL,
	    "the peer broke the WebSocket protocol: %s", why);
	fail(w, &e);
}

static void
tell_text(struct ws *w, uint8_t *data, size_t len)
{
	if (w->events && w->events->on_text)
		w->events->on_text(w->owner, data, len);
}

static void
take_text(struct ws *w, const struct ws_event *ev)
{
	if (ev->message_start)
		w->utf8 = 0;
	if (ev->frame_start &&
	    ev->frame_len > w->text_max - buf_len(&w->text)) {
		fail_peer(w, WS_CODE_TOO_BIG, "a text message is too long");
		return;
	}
	if (!text_utf8_feed(&w->utf8, ev->data, ev->len) ||
	    (ev->message_end && w->utf8 != 0)) {
		fail_peer(
		    w, WS_CODE_INVALID_TEXT, "a text message is not UTF-8");
		return;
	}
	if (ev->message_start && ev->message_end) {
		tell_text(w, ev->data, ev->len);
		return;
	}
	buf_append(&w->text, ev->data, ev->len);
	if (!ev->message_end)
		return;
	tell_text(w, buf_len(&w->text) > 0 ? buf_data(&w->text) : ev->data,
	    buf_len(&w->text));
	buf_consume(&w->text, buf_len(&w->text));
}

static void
tell_end(struct ws *w)
{
	w->end_waits = !w->reading;
	if (w->reading && w->face.events)
		w->face.events->on_end(w->face.owner);
}

static void
take_close(struct ws *w, const struct ws_event *ev)
{
	char reason[WS_CONTROL_MAX - 1];
	char safe[sizeof reason * 4];
	struct err e;
	int code;

	if (!ws_frame_parse_close(ev->data, ev->len, &code, reason)) {
		fail_peer(w, code, "a Close that is malformed");
		return;
	}
	w->got_close = true;
	if (w->answers_close && !w->sent_close)
		send_close(w, code, NULL);
	if (w->events && w->events->on_close)
		w->events->on_close(w->owner, code, reason);
	if (is_dead(w) || !w->face_taken)
		return;
	if (code == WS_CODE_NORMAL || code == WS_CODE_NONE) {
		tell_end(w);
		return;
	}
	text_escape(reason, strlen(reason), safe, sizeof safe);
	err_set(&e, ERR_RESET, "the peer closed the WebSocket with %d%s%s",
	    code, *safe ? ": " : "", safe);
	fail(w, &e);
}

/* A peer that sends pings and takes no answers gets none: only the latest
 * would need one (RFC 6455, section 5.5.3). */
static void
take_control(struct ws *w, const struct ws_event *ev)
{
	if (ev->opcode == WS_CLOSE)
		take_close(w, ev);
	else if (ev->opcode == WS_PONG && w->events && w->events->on_pong)
		w->events->on_pong(w->owner, ev->data, ev->len);
	else if (ev->opcode == WS_PING)
		w->was_pinged = true;
	if (ev->opcode == WS_PING &&
	    stream_queued(w->below) <= STREAM_QUEUE_MARK)
		ws_send_pong(w, ev->data, ev->len);
}

static void
take_event(struct ws *w, const struct ws_event *ev)
{
	if (ev->kind == WS_EVENT_BAD)
		fail_peer(w, (int)ev->code, ev->why);
	else if (ev->kind == WS_EVENT_CONTROL)
		take_control(w, ev);
	else if (ev->opcode == WS_TEXT)
		take_text(w, ev);
	else if (w->events && w->events->on_binary)
		w->events->on_binary(w->owner, ev->data, ev->len,
		    ev->message_start, ev->message_end);
}

static void
gather(struct ws_run *run, const struct ws_event *ev)
{
	if (run->len == 0)
		run->at = ev->data;
	else
		memmove(run->at + run->len, ev->data, ev->len);
	run->len += ev->len;
}

static void
flush(struct ws *w, struct ws_run *run)
{
	const size_t len = run->len;

	run->len = 0;
	if (len == 0 || is_dead(w) || !w->face.events)
		return;
	w->face.bytes_in += len;
	w->face.events->on_data(w->face.owner, run->at, len);
}

static bool
is_listening(const struct ws *w)
{
	return w->reading && !is_dead(w) && !w->got_close;
}

/* Decodes until the input is used up or the owner stops. Returns how many
 * bytes were used. For the face, payload that comes before another event is
 * handed over first; that event then comes even if the face was stopped, since
 * it goes to the owner of the WebSocket. */
static size_t
take_input(struct ws *w, uint8_t *data, size_t len)
{
	const size_t all = len;
	struct ws_run run = {0};
	struct ws_event ev;

	for (;;) {
		if (run.len >= WS_GATHER)
			flush(w, &run);
		if (!is_listening(w))
			break;
		ws_decoder_next(&w->decoder, &data, &len, &ev);
		if (ev.kind == WS_EVENT_NONE)
			break;
		if (w->face_taken && ev.kind == WS_EVENT_DATA &&
		    ev.opcode == WS_BINARY) {
			gather(&run, &ev);
			continue;
		}
		flush(w, &run);
		if (!is_dead(w))
			take_event(w, &ev);
	}
	flush(w, &run);
	return all - len;
}

/* Decodes what waits in `in`, by way of scratch memory. */
static void
take_waiting(struct ws *w)
{
	uint8_t *block = loop_block_take(w->loop);
	const size_t most = LOOP_BLOCK_SIZE - STREAM_HEADROOM;
	size_t n = buf_len(&w->in);

	if (n > most)
		n = most;
	memcpy(block + STREAM_HEADROOM, buf_data(&w->in), n);
	n = take_input(w, block + STREAM_HEADROOM, n);
	loop_block_give(w->loop, block);
	/* Whoever ended it inside a callback has emptied `in` already. */
	if (!is_dead(w))
		buf_consume(&w->in, w->got_close ? buf_len(&w->in) : n);
}

static void
go_on_reading(struct ws *w)
{
	if (is_dead(w) || !w->reading)
		return;
	if (buf_len(&w->in) > 0 && !w->got_close) {
		take_waiting(w);
		if (is_dead(w) || !w->reading)
			return;
	}
	if (w->end_waits)
		tell_end(w);
	else if (buf_len(&w->in) > 0)
		deferred_set(&w->wake);
	else
		stream_start(w->below);
}

static void
on_wake(void *owner)
{
	struct ws *w = owner;

	if (w->untold) {
		if (has_owner(w)) {
			struct err e = *w->untold;

			free(w->untold);
			w->untold = NULL;
			report(w, &e);
		}
		return;
	}
	check_drain(w);
	go_on_reading(w);
}

void
ws_start(struct ws *w)
{
	assert(!w->closing);
	w->reading = true;
	if (buf_len(&w->in) > 0 || w->end_waits || w->untold)
		deferred_set(&w->wake);
	else if (!w->failed)
		stream_start(w->below);
}

void
ws_stop(struct ws *w)
{
	assert(!w->closing);
	w->reading = false;
	if (!w->failed)
		stream_stop(w->below);
}

/* --- events of the stream below --- */

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct ws *w = owner;
	size_t used;

	w->last_in_ms = loop_now_ms(w->loop);
	used = take_input(w, data, len);
	if (used < len && !is_dead(w) && !w->got_close)
		buf_append(&w->in, data + used, len - used);
}

static bool
is_over(const struct ws *w)
{
	return w->got_close && w->sent_close;
}

static void
on_end(void *owner)
{
	struct ws *w = owner;
	struct err e;

	if (is_dead(w) || w->got_close)
		return;
	err_set(
	    &e, ERR_RESET, "the connection ended without a WebSocket Close");
	fail(w, &e);
}

static void
on_drain(void *owner)
{
	struct ws *w = owner;

	if (is_dead(w))
		return;
	if (w->drain_due)
		check_drain(w);
	else if (!w->sent_close)
		tell_drain(w);
}

/* When both have closed and all is sent, nothing is left to break. */
static void
on_error(void *owner, const struct err *e)
{
	struct ws *w = owner;

	w->broken = true;
	if (is_dead(w) || (is_over(w) && !w->drain_due))
		return;
	fail(w, e);
}

static const struct stream_events below_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

/* --- life --- */

static void
on_timer(void *owner)
{
	check_drain(owner);
}

struct ws *
ws_open(struct stream *below, const struct ws_options *o,
    const struct ws_events *events, void *owner)
{
	struct ws *w = mem_zalloc(sizeof *w);

	w->below = below;
	w->loop = below->loop;
	w->events = events;
	w->owner = owner;
	w->is_client = o->client;
	w->answers_close = o->answer_close;
	w->text_max = o->text_max;
	w->last_in_ms = loop_now_ms(w->loop);
	ws_decoder_init(&w->decoder, !o->client);
	buf_init(&w->in, SIZE_MAX);
	buf_init(&w->text, o->text_max);
	deferred_init(&w->wake, w->loop, on_wake, w);
	timer_init(&w->timer, w->loop, on_timer, w);
	if (o->early_len > 0)
		buf_append(&w->in, o->early, o->early_len);
	stream_set_owner(below, &below_events, w);
	return w;
}

void
ws_set_owner(struct ws *w, const struct ws_events *events, void *owner)
{
	w->events = events;
	w->owner = owner;
}

size_t
ws_queued(const struct ws *w)
{
	return stream_queued(w->below);
}

struct stream *
ws_below(struct ws *w)
{
	return w->below;
}

bool
ws_was_pinged(const struct ws *w)
{
	return w->was_pinged;
}

uint64_t
ws_last_in_ms(const struct ws *w)
{
	return w->last_in_ms;
}

static void
free_ws(void *object)
{
	struct ws *w = object;

	buf_fini(&w->text);
	free(w->untold);
	free(w);
}

static void
bury(struct ws *w)
{
	timer_clear(&w->timer);
	remnant_clear(&w->remnant);
	stream_close(w->below);
	loop_bury(w->loop, w, free_ws);
}

/* --- lingering: waits until our Close is out and the peer has ended --- */

static void
linger_on(struct ws *w)
{
	if (w->lingers_drained && (w->lingers_ended || w->got_close))
		bury(w);
}

static void
linger_on_data(void *owner, uint8_t *data, size_t len)
{
	(void)owner;
	(void)data;
	(void)len;
}

static void
linger_on_end(void *owner)
{
	struct ws *w = owner;

	w->lingers_ended = true;
	linger_on(w);
}

static void
linger_on_drain(void *owner)
{
	struct ws *w = owner;

	w->lingers_drained = true;
	linger_on(w);
}

static void
linger_on_error(void *owner, const struct err *e)
{
	(void)e;
	bury(owner);
}

static void
linger_give_up(void *owner)
{
	bury(owner);
}

static const struct stream_events linger_events = {
    .on_data = linger_on_data,
    .on_end = linger_on_end,
    .on_drain = linger_on_drain,
    .on_error = linger_on_error,
};

static void
linger(struct ws *w)
{
	remnant_set(&w->remnant, w->loop, linger_give_up, w);
	timer_init(&w->timer, w->loop, linger_give_up, w);
	timer_set(&w->timer, WS_LINGER_MS);
	stream_set_owner(w->below, &linger_events, w);
	stream_shutdown(w->below);
	stream_start(w->below);
}

void
ws_close(struct ws *w, bool reset)
{
	assert(!w->closing);
	w->closing = true;
	w->events = NULL;
	deferred_clear(&w->wake);
	timer_clear(&w->timer);
	buf_fini(&w->in);
	if (!w->broken && (w->told_peer || (w->sent_close && !reset))) {
		linger(w);
		return;
	}
	if (reset)
		stream_reset(w->below);
	else
		stream_close(w->below);
	loop_bury(w->loop, w, free_ws);
}

/* --- the face --- */

static void
face_start(struct stream *s)
{
	ws_start(ws_of_face(s));
}

static void
face_stop(struct stream *s)
{
	ws_stop(ws_of_face(s));
}

static bool
face_write(struct stream *s, uint8_t *data, size_t len)
{
	return ws_send_binary(ws_of_face(s), data, len);
}

static void
face_shutdown(struct stream *s)
{
	ws_shutdown(ws_of_face(s), WS_CODE_NORMAL, NULL);
}

static void
face_close(struct stream *s, bool reset)
{
	ws_close(ws_of_face(s), reset);
}

static size_t
face_queued(const struct stream *s)
{
	return ws_queued(ws_of_face(s));
}

static void
face_set_turn(struct stream *s, size_t bytes)
{
	stream_set_turn(ws_of_face(s)->below, bytes);
}

static struct stream *
face_below(const struct stream *s)
{
	return ws_of_face(s)->below;
}

static const struct stream_ops face_ops = {
    .start = face_start,
    .stop = face_stop,
    .write = face_write,
    .shutdown = face_shutdown,
    .close = face_close,
    .queued = face_queued,
    .set_turn = face_set_turn,
    .below = face_below,
};

struct stream *
ws_stream(struct ws *w)
{
	assert(!w->closing && !w->face_taken);
	ws_stop(w);
	stream_init(&w->face, &face_ops, w->loop);
	w->face_taken = true;
	return &w->face;
}
