/* SPDX-License-Identifier: MIT
 *
 * A filter over the WebSocket's face as a byte stream: bytes pass through, the
 * ends are where the work is. With half-close each direction ends by its own
 * Close:
 *
 *     open --- shutdown: our Close ---> out shut  --- their Close ---> done
 *          \-- their Close -----------> in ended --- shutdown ------/
 *
 * An original answers a Close at once and takes nothing after it. So towards
 * one our Close waits (until a Pong proves that all was read, or until it has
 * nothing more to say), and its Close is answered at once and ends both ways:
 * what our side still writes then is dropped, for a bounded time.
 */
#include "tunnel/way_sample_stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hc/hc_message.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "ws/ws.h"
#include "ws/ws_frame.h"

/* How long an original may take to read what precedes our Close. */
#define GRACE_MS ((uint64_t)60000)
/* A relay may answer Pings itself; then a Pong proves little. What an original
 * has not handed to its socket when our Close comes is lost, so a large sum of
 * bytes gets more time: at so many bytes a millisecond, up to a limit. */
#define SETTLE_FREE_BYTES ((uint64_t)128 * 1024)
#define SETTLE_BYTES_PER_MS ((uint64_t)4096)
#define SETTLE_MOST_MS ((uint64_t)5000)
/* How long our side may go on after an original has left. */
#define LINGER_MS ((uint64_t)30000)
/* Pings in a row without a byte in answer that make a dead connection. */
#define UNANSWERED_MAX 4
#define KEEPALIVE_S 60

static const char eof_mark[] = "eof";

struct way_sample_stream {
	struct stream base;
	struct ws *ws;
	struct stream *below; /* the same ws as a stream */
	struct timer ping;
	struct timer end; /* grace, idle or linger: never two at once */
	struct deferred drained;
	uint64_t ping_ms;
	uint64_t half_idle_ms;
	uint64_t pinged_at; /* loop time of the last ping; 0: none yet */
	uint8_t unanswered;
	bool is_listener;
	bool half_close;
	bool is_open;    /* ready was said */
	bool is_reading; /* started by the owner */
	bool in_ended;   /* their Close was told to the owner */
	bool out_shut;   /* the owner has shut down */
	bool close_sent;
	bool close_flushed; /* ... and handed to the kernel */
	bool answers;       /* a Ping of ours was answered once */
	bool is_settling;   /* the Pong that precedes our Close was here */
	bool is_broken;     /* on_error was told */
	bool is_below_broken;
	bool closing;
	uint16_t break_code; /* the Close that tells of our trouble; 0: none */
};

const struct ws_options way_sample_stream_ws = {
    .client = true,
    .text_max = HC_MESSAGE_STATUS_MAX,
};

static struct way_sample_stream *
of(struct stream *s)
{
	return (struct way_sample_stream *)s;
}

/* The last thing its callers do. */
static void
fail(struct way_sample_stream *x, const struct err *err)
{
	if (x->is_broken || x->closing)
		return;
	x->is_broken = true;
	timer_clear(&x->ping);
	timer_clear(&x->end);
	deferred_clear(&x->drained);
	if (!x->is_below_broken)
		stream_stop(x->below);
	if (x->base.events != NULL)
		x->base.events->on_error(x->base.owner, err);
}

static void
send_status(struct way_sample_stream *x, enum hc_message_status_kind kind,
    const char *details)
{
	struct hc_message_status status = {.kind = kind};
	struct buf text;

	status.half_close = kind == HC_MESSAGE_STATUS_READY && x->half_close;
	strncpy(status.details, details, sizeof(status.details) - 1);
	buf_init(&text, HC_MESSAGE_STATUS_MAX);
	hc_message_build_status(&text, &status);
	ws_send_text(x->ws, (const char *)buf_data(&text), buf_len(&text));
	buf_fini(&text);
}

static void
send_close(struct way_sample_stream *x)
{
	if (x->close_sent || x->is_below_broken)
		return;
	x->close_sent = true;
	stream_shutdown(x->below);
}

/* --- keeping alive --- */

static void
watch_by_tcp(struct way_sample_stream *x)
{
	struct stream *bottom = stream_bottom(x->below);

	if (sock_is(bottom))
		sock_set_keepalive(bottom, KEEPALIVE_S);
}

static void
on_ping_due(void *owner)
{
	struct way_sample_stream *x = owner;
	uint64_t now = loop_now_ms(x->base.loop);
	uint64_t heard = ws_last_in_ms(x->ws);
	struct err err;

	if (x->close_sent && !x->half_close)
		return;
	if (heard >= x->pinged_at || !x->is_reading)
		x->unanswered = 0;
	if (x->answers && x->unanswered >= UNANSWERED_MAX) {
		err_set(&err, ERR_TIMEOUT,
		    "connection lost: no answer to %d pings", UNANSWERED_MAX);
		fail(x, &err);
		return;
	}
	/* Nothing may follow our own Close; then TCP has to find out whether
	 * the other side is still there. */
	if (x->close_sent) {
		watch_by_tcp(x);
		return;
	}
	ws_send_ping(x->ws, NULL, 0);
	x->pinged_at = now;
	x->unanswered++;
	timer_set(&x->ping, x->ping_ms);
}

/* --- the end of a direction --- */

static void
on_end_due(void *owner)
{
	struct way_sample_stream *x = owner;
	uint64_t idle = loop_now_ms(x->base.loop) - ws_last_in_ms(x->ws);
	struct err err;

	if (x->in_ended) {
		err_set(&err, ERR_CLOSED,
		    "the other side ended and takes nothing more");
		fail(x, &err);
	} else if (!x->is_listener && idle < x->half_idle_ms) {
		timer_set(&x->end, x->half_idle_ms - idle);
	} else {
		send_close(x);
	}
}

static void
on_drained(void *owner)
{
	struct way_sample_stream *x = owner;

	if (x->base.events != NULL && x->base.events->on_drain != NULL)
		x->base.events->on_drain(x->base.owner);
}

static void
op_shutdown(struct stream *s)
{
	struct way_sample_stream *x = of(s);

	x->out_shut = true;
	if (x->is_broken)
		return;
	if (x->close_sent) {
		if (x->close_flushed)
			deferred_set(&x->drained);
	} else if (x->half_close || x->in_ended) {
		send_close(x);
	} else if (x->is_listener) {
		ws_send_ping(x->ws, eof_mark, sizeof(eof_mark) - 1);
		timer_set(&x->end, GRACE_MS);
	} else {
		timer_set(&x->end, x->half_idle_ms);
	}
}

static void
settle(struct way_sample_stream *x)
{
	uint64_t ms = x->base.bytes_out / SETTLE_BYTES_PER_MS;

	x->is_settling = true;
	if (x->base.bytes_out <= SETTLE_FREE_BYTES) {
		timer_clear(&x->end);
		send_close(x);
	} else {
		timer_set(&x->end, ms < SETTLE_MOST_MS ? ms : SETTLE_MOST_MS);
	}
}

static void
on_pong(void *owner, const uint8_t *data, size_t len)
{
	struct way_sample_stream *x = owner;

	x->answers = true;
	if (x->is_listener && x->out_shut && !x->close_sent &&
	    !x->is_settling && !x->is_broken && len == sizeof(eof_mark) - 1 &&
	    memcmp(data, eof_mark, len) == 0)
		settle(x);
}

/* --- from below --- */

static void
on_below_data(void *owner, uint8_t *data, size_t len)
{
	struct way_sample_stream *x = owner;
	struct err err;

	if (x->is_broken)
		return;
	if (!x->is_open) {
		x->break_code = WS_CODE_PROTOCOL;
		err_set(&err, ERR_PROTOCOL,
		    "the listener sent bytes before it was ready");
		fail(x, &err);
		return;
	}
	x->base.bytes_in += len;
	x->base.events->on_data(x->base.owner, data, len);
}

static void
on_below_end(void *owner)
{
	struct way_sample_stream *x = owner;
	struct err err;

	if (x->is_broken)
		return;
	if (!x->is_open) {
		err_set(
		    &err, ERR_RESET, "the listener ended before it was ready");
		fail(x, &err);
		return;
	}
	x->in_ended = true;
	if (!x->half_close) {
		send_close(x);
		timer_set(&x->end, LINGER_MS);
	}
	x->base.events->on_end(x->base.owner);
}

static void
on_below_drain(void *owner)
{
	struct way_sample_stream *x = owner;

	if (x->is_broken)
		return;
	x->close_flushed = x->close_sent;
	/* Between the owner's shutdown and the Close that waits, a drain would
	 * be taken for the last one. */
	if (x->out_shut && !x->close_sent)
		return;
	on_drained(x);
}

static void
on_below_error(void *owner, const struct err *err)
{
	struct way_sample_stream *x = owner;
	struct err why = *err;

	x->is_below_broken = true;
	if (!x->is_open)
		err_prefix(&why, "before the listener was ready");
	fail(x, &why);
}

static void
become_ready(struct way_sample_stream *x, const struct hc_message_status *s)
{
	x->is_open = true;
	x->half_close = s->half_close;
	stream_stop(x->below);
	timer_set(&x->ping, x->ping_ms);
	x->base.events->on_open(x->base.owner);
}

static void
on_status_error(struct way_sample_stream *x, const char *details)
{
	struct err err;

	if (x->is_open)
		err_set(&err, ERR_RESET, "the other side broke off: %s",
		    details[0] != '\0' ? details : "no reason given");
	else
		err_set(&err, ERR_REFUSED, "listener: %s",
		    details[0] != '\0' ? details : "no reason given");
	fail(x, &err);
}

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct way_sample_stream *x = owner;
	struct hc_message_status status;
	struct err err;

	if (x->is_broken)
		return;
	if (!hc_message_parse_status(&status, data, len, &err)) {
		if (x->is_listener)
			return;
		x->break_code = WS_CODE_PROTOCOL;
		err_prefix(&err, "the listener's status");
		fail(x, &err);
	} else if (status.kind == HC_MESSAGE_STATUS_ERROR) {
		on_status_error(x, status.details);
	} else if (status.kind == HC_MESSAGE_STATUS_READY && !x->is_open) {
		become_ready(x, &status);
	}
}

static const struct ws_events ws_events = {
    .on_text = on_text,
    .on_pong = on_pong,
};

static const struct stream_events below_events = {
    .on_data = on_below_data,
    .on_end = on_below_end,
    .on_drain = on_below_drain,
    .on_error = on_below_error,
};

/* --- from above --- */

static void
op_start(struct stream *s)
{
	struct way_sample_stream *x = of(s);

	x->is_reading = true;
	if (!x->is_broken)
		stream_start(x->below);
}

static void
op_stop(struct stream *s)
{
	struct way_sample_stream *x = of(s);

	x->is_reading = false;
	if (!x->is_broken)
		stream_stop(x->below);
}

static bool
op_write(struct stream *s, uint8_t *data, size_t len)
{
	struct way_sample_stream *x = of(s);

	if (x->is_broken || x->close_sent)
		return true;
	return stream_write(x->below, data, len);
}

static size_t
op_queued(const struct stream *s)
{
	const struct way_sample_stream *x = (const struct way_sample_stream *)s;

	return stream_queued(x->below);
}

static void
op_set_turn(struct stream *s, size_t bytes)
{
	stream_set_turn(of(s)->below, bytes);
}

static struct stream *
op_below(const struct stream *s)
{
	return ((const struct way_sample_stream *)s)->below;
}

/* Tells the other side of the reset in the words it knows. */
static void
say_reset(struct way_sample_stream *x)
{
	int code = x->break_code != 0 ? x->break_code : WS_CODE_INTERNAL;

	if (x->break_code == 0) {
		send_status(x, HC_MESSAGE_STATUS_ERROR,
		    x->is_listener ? "Upstream socket error; connection reset"
		                   : "Local socket error; connection reset");
		if (x->is_listener && !x->half_close)
			code = WS_CODE_NORMAL;
	}
	ws_shutdown(x->ws, code, "connection reset");
}

static void
op_close(struct stream *s, bool reset)
{
	struct way_sample_stream *x = of(s);

	assert(!x->closing);
	x->closing = true;
	timer_clear(&x->ping);
	timer_clear(&x->end);
	deferred_clear(&x->drained);
	/* After a Close of ours, and where words would wait behind bytes that
	 * nobody takes, only the loss of the connection can say that it is a
	 * reset. */
	if (reset && !x->is_below_broken &&
	    (x->close_sent || stream_queued(x->below) > 0)) {
		stream_reset(x->below);
	} else {
		if (reset && !x->is_below_broken)
			say_reset(x);
		stream_close(x->below);
	}
	loop_bury(s->loop, x, free);
}

static const struct stream_ops ops = {
    .start = op_start,
    .stop = op_stop,
    .write = op_write,
    .shutdown = op_shutdown,
    .close = op_close,
    .queued = op_queued,
    .set_turn = op_set_turn,
    .below = op_below,
};

struct stream *
way_sample_stream_open(struct ws *w, const struct way_sample_stream_options *o,
    const struct stream_events *events, void *owner)
{
	struct way_sample_stream *x = mem_zalloc(sizeof(*x));
	struct loop *l = ws_below(w)->loop;

	stream_init(&x->base, &ops, l);
	stream_set_owner(&x->base, events, owner);
	x->ws = w;
	x->ping_ms = o->ping_ms;
	x->half_idle_ms = o->half_idle_ms;
	x->is_listener = o->is_listener;
	x->half_close = o->half_close;
	timer_init(&x->ping, l, on_ping_due, x);
	timer_init(&x->end, l, on_end_due, x);
	deferred_init(&x->drained, l, on_drained, x);
	ws_set_owner(w, &ws_events, x);
	x->below = ws_stream(w);
	stream_set_owner(x->below, &below_events, x);
	if (x->is_listener) {
		x->is_open = true;
		send_status(x, HC_MESSAGE_STATUS_READY, o->details);
		timer_set(&x->ping, x->ping_ms);
	} else {
		stream_start(x->below);
	}
	return &x->base;
}

bool
way_sample_stream_has_half_close(const struct stream *s)
{
	return ((const struct way_sample_stream *)s)->half_close;
}
