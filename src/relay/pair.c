/* SPDX-License-Identifier: MIT
 *
 * The data path of the relay. One turn of a side: its frames are unmasked into
 * a block of the loop (ws_forward), our own control frames are put between
 * them where a frame towards that side has just ended, and the block goes to
 * the other stream in one write. Nothing is kept between turns but what
 * ws_forward needs to know.
 *
 *   JOINED --both Closes passed, pair_end--> LINGER --both TCP ended--> DONE
 *      |  \--one side lost after its Close--> ORPHANED --Close--> LINGER
 *      |                                        \--data--> DONE (reset)
 *      \--a side lost without Close, silent--> DONE (reset)
 */
#include "relay/pair.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "relay/relay.h"
#include "util/err.h"
#include "util/mem.h"
#include "ws/ws_forward.h"
#include "ws/ws_frame.h"

/* What may lie between forwarded frames: a Pong, a Ping and a Close. */
#define PENDING_MAX ((size_t)3 * (WS_FRAME_HEAD_MAX + WS_CONTROL_MAX))

/* What a block holds behind the headroom; the rest is left to the streams that
 * add their own framing in place. */
#define BATCH_MAX (LOOP_BLOCK_SIZE - STREAM_HEADROOM - (size_t)16 * 1024)

/* The most that a socket may read at once: a long transfer gets fewer system
 * calls and TLS writes for the same bytes. */
#define BULK_TURN ((size_t)4 * STREAM_TURN)

/* TCP keep-alive finds a dead peer that owes us nothing but a Close. */
#define KEEPALIVE_S 60

enum phase { JOINED, ORPHANED, LINGER, DONE };

struct side {
	struct pair *pair;
	struct stream *stream;     /* NULL: gone */
	struct ws_forward forward; /* from this side to the other */
	uint64_t alive_ms;         /* a byte came in or left the queue */
	size_t last_queued;
	uint8_t *early;
	size_t early_len;
	uint8_t *pong; /* owed: its length in the first byte; or NULL */
	bool owes_ping;
	bool is_full;    /* more is queued towards it than the mark */
	bool is_stopped; /* we do not read it: the other one is full */
	bool has_closed; /* its Close was read and passed on */
	bool is_ended;   /* the end of its TCP direction was read */
	bool is_shut;    /* we sent ours */
};

struct pair {
	struct loop *loop;
	const struct relay_limits *limits;
	const struct pair_events *events;
	void *owner;
	enum phase phase;
	enum pair_end_kind end_kind;
	char reason[96];
	struct timer timer;
	struct deferred begin;
	struct deferred report;
	struct side sender;
	struct side listener;
	bool is_closing;
};

/* The frames of one turn on their way to one side. */
struct batch {
	struct side *to;
	uint8_t *block;
	size_t used;
};

static void on_data(void *owner, uint8_t *data, size_t len);
static void on_end(void *owner);
static void on_drain(void *owner);
static void on_error(void *owner, const struct err *err);

static const struct stream_events side_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

static struct side *
other_of(struct side *s)
{
	struct pair *p = s->pair;

	return s == &p->sender ? &p->listener : &p->sender;
}

static const char *
name_of(const struct side *s)
{
	return s == &s->pair->sender ? "sender" : "listener";
}

/* --- ending --- */

static void
set_reason(
    struct pair *p, enum pair_end_kind kind, const char *who, const char *what)
{
	if (p->reason[0])
		return;
	p->end_kind = kind;
	snprintf(p->reason, sizeof p->reason, "%s%s%s", who ? who : "",
	    who ? ": " : "", what);
}

static void
drop(struct side *s, bool reset)
{
	struct stream *stream = s->stream;

	free(s->pong);
	s->pong = NULL;
	s->owes_ping = false;
	if (!stream)
		return;
	s->stream = NULL;
	if (reset)
		stream_reset(stream);
	else
		stream_close(stream);
}

/* Both streams are gone. */
static void
finish(struct pair *p)
{
	p->phase = DONE;
	timer_clear(&p->timer);
	deferred_clear(&p->begin);
	deferred_set(&p->report);
}

static void
abort_pair(struct pair *p, const char *who, const char *what)
{
	set_reason(p, PAIR_ABORTED, who, what);
	drop(&p->sender, true);
	drop(&p->listener, true);
	finish(p);
}

static void
shut(struct side *s)
{
	if (!s->stream || s->is_shut)
		return;
	s->is_shut = true;
	stream_shutdown(s->stream);
	if (s->is_stopped) {
		s->is_stopped = false;
		stream_start(s->stream);
	}
}

static bool
is_over(const struct side *s)
{
	return !s->stream || (s->is_ended && stream_queued(s->stream) == 0);
}

/* Lingering sides whose peer has ended TCP too may go. */
static void
settle(struct pair *p)
{
	if (is_over(&p->sender))
		drop(&p->sender, false);
	if (is_over(&p->listener))
		drop(&p->listener, false);
	if (!p->sender.stream && !p->listener.stream)
		finish(p);
}

/* All is said: the relay ends TCP first, so that the peers need not wait. */
static void
linger(struct pair *p)
{
	p->phase = LINGER;
	timer_set(&p->timer, p->limits->close_ms);
	shut(&p->sender);
	shut(&p->listener);
	settle(p);
}

/* --- our own frames --- */

/* Whether a frame of ours may stand next in what goes to s. */
static bool
is_between_frames(struct side *s)
{
	return other_of(s)->forward.out_left == 0;
}

static bool
has_pending(const struct side *s)
{
	return s->owes_ping || s->pong;
}

static size_t
take_pending(struct side *s, uint8_t *out)
{
	size_t n = 0;

	if (s->pong) {
		n += ws_frame_build_control(
		    out, WS_PONG, s->pong + 1, s->pong[0], NULL);
		free(s->pong);
		s->pong = NULL;
	}
	if (s->owes_ping) {
		n += ws_frame_build_control(out + n, WS_PING, NULL, 0, NULL);
		s->owes_ping = false;
	}
	return n;
}

static void
put(struct side *s, const void *data, size_t len)
{
	if (!stream_put(s->stream, data, len))
		s->is_full = true;
}

/* Sends what is owed to s unless its queue is full or a frame is under way:
 * then it goes out with a later turn. */
static void
send_pending(struct side *s)
{
	uint8_t out[PENDING_MAX];
	size_t n;

	if (!s->stream || s->is_full || s->is_shut || !has_pending(s) ||
	    other_of(s)->has_closed || !is_between_frames(s))
		return;
	n = take_pending(s, out);
	put(s, out, n);
}

static bool
send_close(struct side *s, int code, const char *reason)
{
	uint8_t payload[WS_CONTROL_MAX];
	uint8_t out[WS_FRAME_HEAD_MAX + WS_CONTROL_MAX];
	size_t n;

	if (!s->stream || other_of(s)->has_closed)
		return true;
	if (!is_between_frames(s))
		return false;
	n = ws_frame_build_close(payload, code, reason);
	n = ws_frame_build_control(out, WS_CLOSE, payload, n, NULL);
	put(s, out, n);
	return true;
}

/* --- forwarding --- */

static void
flush(struct batch *b)
{
	if (b->used == 0)
		return;
	if (b->to->stream &&
	    !stream_write(b->to->stream, b->block + STREAM_HEADROOM, b->used))
		b->to->is_full = true;
	b->used = 0;
}

static uint8_t *
batch_end(struct batch *b)
{
	return b->block + STREAM_HEADROOM + b->used;
}

/* How much of len to take next: so much that its frames fit the block and, if
 * something of ours is to go between, no more than the frame under way. */
static size_t
portion(struct batch *b, const struct side *from, size_t len)
{
	uint64_t left = from->forward.out_left;

	if (has_pending(b->to) && left > 0 && left < len)
		len = (size_t)left;
	if (b->used + PENDING_MAX + ws_forward_bound(len) > BATCH_MAX)
		flush(b);
	while (PENDING_MAX + ws_forward_bound(len) > BATCH_MAX)
		len /= 2;
	return len;
}

static void
keep_pong(struct side *s, const struct ws_event *ev)
{
	free(s->pong);
	s->pong = mem_alloc(1 + ev->len);
	s->pong[0] = (uint8_t)ev->len;
	memcpy(s->pong + 1, ev->data, ev->len);
}

static void
break_off(struct side *from, int code, const char *why)
{
	set_reason(from->pair, PAIR_ABORTED, name_of(from), why);
	drop(other_of(from), true);
	if (!send_close(from, code, why))
		drop(from, true);
	/* Nothing of it is forwarded any more, and nothing is owed to it. */
	from->has_closed = true;
	other_of(from)->has_closed = true;
	linger(from->pair);
}

/* The byte that was held back from a message that will not end any more. */
static void
release_held(struct batch *b, struct ws_forward *f)
{
	uint8_t *out = batch_end(b);
	size_t n;

	if (!f->has_held)
		return;
	n = ws_frame_build(
	    out, f->out_open ? WS_CONTINUATION : f->kind, false, 1, NULL);
	out[n] = f->held;
	f->has_held = false;
	f->out_open = true;
	f->bytes++;
	b->used += n + 1;
}

static bool
pass_close(struct batch *b, struct side *from, const struct ws_event *ev)
{
	char reason[124];
	int code;

	if (!ws_frame_parse_close(ev->data, ev->len, &code, reason)) {
		flush(b);
		break_off(from, code, "invalid Close frame");
		return false;
	}
	release_held(b, &from->forward);
	b->used += ws_frame_build_control(
	    batch_end(b), WS_CLOSE, ev->data, ev->len, NULL);
	from->has_closed = true;
	return true;
}

/* False: nothing more of this side is forwarded. */
static bool
handle(struct batch *b, struct side *from, const struct ws_event *ev)
{
	if (ev->kind == WS_EVENT_BAD) {
		flush(b);
		break_off(from, ev->code, ev->why);
		return false;
	}
	if (ev->opcode == WS_PING)
		keep_pong(from, ev);
	else if (ev->opcode == WS_CLOSE)
		return pass_close(b, from, ev) && false;
	return true;
}

static void
forward_into(struct batch *b, struct side *from, uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t n = portion(b, from, len);
		size_t left = n;
		size_t out_len = 0;
		struct ws_event ev;

		if (has_pending(b->to) && is_between_frames(b->to))
			b->used += take_pending(b->to, batch_end(b));
		if (ws_forward_feed(&from->forward, &data, &left, batch_end(b),
		        &out_len, &ev) == WS_EVENT_NONE) {
			assert(left == 0);
			b->used += out_len;
			len -= n;
			continue;
		}
		b->used += out_len;
		len -= n - left;
		if (!handle(b, from, &ev))
			return;
	}
}

static void
throttle(struct side *from, const struct side *to)
{
	if (!to->is_full || !from->stream || from->is_stopped)
		return;
	from->is_stopped = true;
	stream_stop(from->stream);
}

static void
after_turn(struct side *from, struct side *to)
{
	struct pair *p = from->pair;

	if (p->phase == DONE || p->phase == LINGER)
		return;
	if (from->has_closed && to->has_closed) {
		set_reason(p, PAIR_CLOSED, NULL, "closed");
		linger(p);
		return;
	}
	throttle(from, to);
	send_pending(from);
}

static void
forward_turn(struct side *from, uint8_t *data, size_t len)
{
	struct pair *p = from->pair;
	struct side *to = other_of(from);
	struct batch b = {.to = to, .block = loop_block_take(p->loop)};
	uint64_t before = from->forward.bytes;

	forward_into(&b, from, data, len);
	flush(&b);
	loop_block_give(p->loop, b.block);
	if (p->phase == ORPHANED && from->forward.bytes != before)
		abort_pair(p, name_of(to), "lost while data was under way");
	else
		after_turn(from, to);
}

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct side *s = owner;

	s->alive_ms = loop_now_ms(s->pair->loop);
	if (s->pair->phase > ORPHANED || s->has_closed)
		return;
	forward_turn(s, data, len);
}

/* --- what happens to a side --- */

/* TCP is lost. Its Close, if it came, has been passed on, and the other side
 * may still answer in good order; data for the lost one breaks it. */
static void
lose(struct side *s, const char *why)
{
	struct pair *p = s->pair;

	if (p->phase == LINGER) {
		drop(s, true);
		settle(p);
	} else if (p->phase == JOINED && s->has_closed) {
		drop(s, true);
		p->phase = ORPHANED;
		timer_set(&p->timer, p->limits->close_ms);
		if (other_of(s)->is_stopped) {
			other_of(s)->is_stopped = false;
			stream_start(other_of(s)->stream);
		}
	} else {
		abort_pair(p, name_of(s), why);
	}
}

static void
on_end(void *owner)
{
	struct side *s = owner;

	s->is_ended = true;
	if (s->pair->phase == LINGER)
		settle(s->pair);
	else if (!s->has_closed)
		lose(s, "TCP ended without Close");
}

static void
on_error(void *owner, const struct err *err)
{
	lose(owner, err->text);
}

static void
on_drain(void *owner)
{
	struct side *s = owner;
	struct side *o = other_of(s);

	s->alive_ms = loop_now_ms(s->pair->loop);
	s->is_full = false;
	if (s->pair->phase == LINGER) {
		settle(s->pair);
		return;
	}
	send_pending(s);
	if (o->is_stopped && o->stream && !s->is_full) {
		o->is_stopped = false;
		stream_start(o->stream);
	}
}

/* --- time --- */

static bool
is_dead(struct side *s, uint64_t now)
{
	const struct relay_limits *limits = s->pair->limits;
	size_t queued;

	if (!s->stream)
		return false;
	queued = stream_queued(s->stream);
	/* Its silence is our doing, or it is taking its bytes. */
	if (s->is_stopped || queued != s->last_queued)
		s->alive_ms = now;
	s->last_queued = queued;
	/* Our Pings wait in the queue, or it has said all it has to say. */
	if (queued > 0 || s->has_closed)
		return now - s->alive_ms >= limits->stall_ms;
	return now - s->alive_ms >= limits->silence_ms;
}

static void
keep_alive(struct side *s, uint64_t now)
{
	if (!s->stream || s->is_shut ||
	    (now - s->alive_ms) * 2 < s->pair->limits->ping_ms)
		return;
	s->owes_ping = true;
	send_pending(s);
}

static void
tick(struct pair *p)
{
	uint64_t now = loop_now_ms(p->loop);

	if (is_dead(&p->sender, now)) {
		lose(&p->sender, "silent");
	} else if (is_dead(&p->listener, now)) {
		lose(&p->listener, "silent");
	} else {
		timer_set(&p->timer, p->limits->ping_ms);
		keep_alive(&p->sender, now);
		keep_alive(&p->listener, now);
	}
}

/* A side that still takes its last bytes is given the time for it. */
static bool
is_taking(struct side *s, uint64_t now)
{
	return s->stream && stream_queued(s->stream) > 0 && !is_dead(s, now);
}

static void
end_linger(struct pair *p)
{
	uint64_t now = loop_now_ms(p->loop);

	if (is_taking(&p->sender, now) || is_taking(&p->listener, now)) {
		timer_set(&p->timer, p->limits->close_ms);
		return;
	}
	drop(&p->sender, false);
	drop(&p->listener, false);
	finish(p);
}

static void
on_due(void *owner)
{
	struct pair *p = owner;

	if (p->phase == JOINED)
		tick(p);
	else if (p->phase == ORPHANED)
		abort_pair(p, NULL, "no Close came in return");
	else
		end_linger(p);
}

/* --- life --- */

static void
on_report(void *owner)
{
	struct pair *p = owner;
	struct pair_result result = {
	    .kind = p->end_kind,
	    .reason = p->reason,
	    .bytes_to_listener = p->sender.forward.bytes,
	    .bytes_to_sender = p->listener.forward.bytes,
	};

	p->events->on_end(p->owner, &result);
}

static void
begin_side(struct side *s)
{
	uint8_t *early = s->early;
	size_t n = s->early_len;

	s->early = NULL;
	if (early && s->pair->phase == JOINED)
		forward_turn(s, early, n);
	free(early);
	if (s->stream && !s->is_stopped)
		stream_start(s->stream);
}

static void
on_begin(void *owner)
{
	struct pair *p = owner;

	begin_side(&p->sender);
	begin_side(&p->listener);
}

static void
init_side(struct side *s, struct pair *p, const struct pair_side *given)
{
	s->pair = p;
	s->stream = given->stream;
	s->early = given->early;
	s->early_len = given->early_len;
	s->alive_ms = loop_now_ms(p->loop);
	ws_forward_init(&s->forward);
	stream_set_owner(s->stream, &side_events, s);
	stream_set_turn(stream_bottom(s->stream), BULK_TURN);
	if (sock_is(stream_bottom(s->stream)))
		sock_set_keepalive(stream_bottom(s->stream), KEEPALIVE_S);
}

struct pair *
pair_open(struct loop *l, const struct pair_side *sender,
    const struct pair_side *listener, const struct relay_limits *limits,
    const struct pair_events *events, void *owner)
{
	struct pair *p = mem_zalloc(sizeof *p);

	p->loop = l;
	p->limits = limits;
	p->events = events;
	p->owner = owner;
	timer_init(&p->timer, l, on_due, p);
	deferred_init(&p->begin, l, on_begin, p);
	deferred_init(&p->report, l, on_report, p);
	init_side(&p->sender, p, sender);
	init_side(&p->listener, p, listener);
	timer_set(&p->timer, limits->ping_ms);
	deferred_set(&p->begin);
	return p;
}

void
pair_end(struct pair *p, int code, const char *reason)
{
	if (p->phase == DONE || p->phase == LINGER)
		return;
	set_reason(p, PAIR_ENDED, NULL, reason);
	/* In the middle of a frame a Close would be read as payload. */
	if (!send_close(&p->sender, code, reason))
		drop(&p->sender, true);
	if (!send_close(&p->listener, code, reason))
		drop(&p->listener, true);
	p->sender.has_closed = true;
	p->listener.has_closed = true;
	linger(p);
}

uint64_t
pair_bytes_to_listener(const struct pair *p)
{
	return p->sender.forward.bytes;
}

uint64_t
pair_bytes_to_sender(const struct pair *p)
{
	return p->listener.forward.bytes;
}

static void
free_pair(void *object)
{
	struct pair *p = object;

	free(p->sender.early);
	free(p->listener.early);
	free(p);
}

void
pair_close(struct pair *p)
{
	assert(!p->is_closing);
	p->is_closing = true;
	p->phase = DONE;
	timer_clear(&p->timer);
	deferred_clear(&p->begin);
	deferred_clear(&p->report);
	drop(&p->sender, false);
	drop(&p->listener, false);
	loop_bury(p->loop, p, free_pair);
}
