/* SPDX-License-Identifier: MIT
 *
 * Sessions over streams in memory: a sender and up to two listeners' hosts,
 * joined by whatever carrier the sender's wish brings. A test chooses what
 * becomes of each wish and of each carrier.
 */
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memstream.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"

enum wish {
	WISH_GRANT,   /* a carrier to the host */
	WISH_OTHER,   /* one to the other host, `times` times, then granted */
	WISH_IGNORE,  /* no answer */
	WISH_ERROR,   /* not to be had */
	WISH_FINAL,   /* and never will */
	WISH_RAW,     /* one whose other end the test holds */
	WISH_SWALLOW, /* one that leads nowhere, `times` times */
};

struct room {
	struct loop *loop;
	struct session_options options;
	struct session *sender;
	struct session *listener;
	struct session_host *host;
	struct session_host *other;
	struct recorder a;   /* above the sender */
	struct recorder b;   /* above the listener */
	struct stream *near; /* the last carrier's ends */
	struct stream *far;
	enum wish wish;
	unsigned times;
	unsigned wishes;
	unsigned misdirected;
	unsigned drops;
	unsigned ups;
	unsigned downs;
	unsigned sessions;
	bool keep_shut; /* the listener's stream is not started */
	struct err why;
};

static void
carrier(struct room *r, struct session_host *host)
{
	memstream_pair(r->loop, &r->near, &r->far);
	session_give_carrier(r->sender, r->near);
	if (host != NULL)
		session_host_take(host, r->far);
}

static void
on_want_carrier(void *owner, unsigned attempt, bool misdirected)
{
	struct room *r = owner;
	struct err e;

	(void)attempt;
	r->wishes++;
	r->misdirected += misdirected;
	if ((r->wish == WISH_OTHER || r->wish == WISH_SWALLOW) &&
	    r->times-- == 0)
		r->wish = WISH_GRANT;
	switch (r->wish) {
	case WISH_GRANT:
		carrier(r, r->host);
		break;
	case WISH_OTHER:
		carrier(r, r->other);
		break;
	case WISH_RAW:
		carrier(r, NULL);
		break;
	case WISH_SWALLOW:
		carrier(r, r->host);
		memstream_cut(r->near);
		break;
	case WISH_ERROR:
	case WISH_FINAL:
		err_set(&e, ERR_NOT_FOUND, "no way there");
		session_give_error(r->sender, &e, r->wish == WISH_FINAL);
		break;
	case WISH_IGNORE:
	default:
		break;
	}
}

static void
on_drop_want(void *owner)
{
	((struct room *)owner)->drops++;
}

static void
on_carrier(void *owner, bool up, const struct err *why)
{
	struct room *r = owner;

	r->ups += up;
	r->downs += !up;
	if (!up)
		r->why = *why;
}

static const struct session_events sender_events = {
    .on_want_carrier = on_want_carrier,
    .on_drop_want = on_drop_want,
    .on_carrier = on_carrier,
};

static void
on_session(void *owner, struct session *s)
{
	struct room *r = owner;

	r->sessions++;
	r->listener = s;
	recorder_own(&r->b, session_stream(s));
	if (!r->keep_shut)
		stream_start(r->b.stream);
}

static const struct session_host_events host_events = {
    .on_session = on_session,
};

static struct session_host *
open_host(struct room *r, const struct session_host_options *given)
{
	struct session_host_options o = {.core = r->options.core};

	if (given != NULL) {
		o.max_sessions = given->max_sessions;
		o.greeting_ms = given->greeting_ms;
	}
	return session_host_open(r->loop, &o, &host_events, r);
}

static void
open_sender(struct room *r)
{
	r->sender = session_open(r->loop, &r->options, &sender_events, r);
	recorder_own(&r->a, session_stream(r->sender));
	stream_start(r->a.stream);
}

static void
prepare(struct room *r)
{
	*r = (struct room){.loop = loop_new(NULL)};
	session_core_options_init(&r->options.core);
	r->options.core.options = 0;
	r->host = open_host(r, NULL);
}

static void
begin(struct room *r)
{
	prepare(r);
	open_sender(r);
	RUN_UNTIL(r->loop, r->a.opens == 1 && r->sessions == 1);
}

static void
finish(struct room *r)
{
	recorder_close(&r->a);
	recorder_close(&r->b);
	if (r->host != NULL)
		session_host_close(r->host);
	if (r->other != NULL)
		session_host_close(r->other);
	assert_true(loop_close(r->loop));
}

static void
turns(struct room *r, int n)
{
	while (n-- > 0)
		loop_turn(r->loop, false);
}

/* The time is the condition here: something must not happen meanwhile. */
static void
pass(struct room *r, uint64_t ms)
{
	uint64_t until = loop_now_ms(r->loop) + ms;

	while (loop_now_ms(r->loop) < until)
		loop_turn(r->loop, false);
}

/* A writer that keeps the rule. */
struct writer {
	struct recorder *at;
	size_t done;
	size_t total;
	size_t piece;
	unsigned drains; /* seen so far */
	bool waits;
};

static bool
pump(struct writer *w)
{
	static uint8_t data[300000];

	if (w->waits && w->at->drains == w->drains)
		return false;
	w->waits = false;
	while (w->done < w->total && !w->waits) {
		size_t n = w->total - w->done < w->piece ? w->total - w->done
		                                         : w->piece;

		memstream_fill(data + STREAM_HEADROOM, n, w->done);
		w->done += n;
		w->drains = w->at->drains;
		w->waits =
		    !stream_write(w->at->stream, data + STREAM_HEADROOM, n);
	}
	return w->done == w->total;
}

static void
check_all(const struct recorder *r, size_t total)
{
	assert_int_equal(r->bytes, total);
	assert_true(r->hash == memstream_fill_hash(total));
	assert_int_equal(r->errors, 0);
}

/* --- the ordinary life --- */

static void
test_greeting_and_words(void **state)
{
	struct room r;
	struct session_stats stats;

	(void)state;
	prepare(&r);
	open_sender(&r);
	assert_int_equal(r.wishes, 0);
	assert_true(session_of(r.a.stream) == r.sender);
	/* What is written before WELCOME waits. */
	stream_put(r.a.stream, "ping", 4);
	RUN_UNTIL(r.loop, r.b.bytes == 4);
	assert_string_equal(r.b.text, "ping");
	stream_put(r.b.stream, "answer", 6);
	RUN_UNTIL(r.loop, r.a.bytes == 6);
	assert_string_equal(r.a.text, "answer");
	assert_int_equal(r.a.opens, 1);
	assert_int_equal(r.b.opens, 0);
	assert_int_equal(r.ups, 1);
	assert_int_equal(r.wishes, 1);
	assert_true(session_has_carrier(r.sender));
	assert_true(session_has_carrier(r.listener));
	assert_memory_equal(
	    session_id(r.sender), session_id(r.listener), SESSION_ID_SIZE);
	assert_int_equal(session_host_count(r.host), 1);
	/* Idle, nothing is kept. */
	RUN_UNTIL(
	    r.loop, (session_stats(r.sender, &stats), stats.unacked) == 0);
	RUN_UNTIL(
	    r.loop, (session_stats(r.listener, &stats), stats.unacked) == 0);
	finish(&r);
}

static void
bulk(struct room *r, size_t total, size_t piece)
{
	struct writer up = {.at = &r->a, .total = total, .piece = piece};
	struct writer down = {.at = &r->b, .total = total, .piece = piece};

	RUN_UNTIL(r->loop, (pump(&up), pump(&down),
	                       r->b.bytes == total && r->a.bytes == total));
	check_all(&r->a, total);
	check_all(&r->b, total);
}

static void
test_bulk(void **state)
{
	static const size_t pieces[] = {
	    700, 16384, SESSION_PIECE, SESSION_PIECE + 1, 65536, 262088};
	static const size_t split[] = {1, 3, 4, 5, 700, 9000};

	(void)state;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		struct room r;

		begin(&r);
		if (i % 2 == 1) {
			memstream_set_split(r.near, split, 6);
			memstream_set_split(r.far, split, 6);
		}
		bulk(&r, i % 2 == 1 ? 500000 : 3000000, pieces[i]);
		assert_int_equal(r.wishes, 1);
		finish(&r);
	}
}

/* The least limit that may be offered, and a writer with large pieces. */
static void
test_small_limits(void **state)
{
	struct room r;

	(void)state;
	prepare(&r);
	session_host_close(r.host);
	r.options.core.receive_limit = SESSION_LIMIT_MIN;
	r.host = open_host(&r, NULL);
	open_sender(&r);
	RUN_UNTIL(r.loop, r.sessions == 1);
	bulk(&r, 1000000, 262088);
	finish(&r);
}

/* --- carriers are lost --- */

static void
test_cuts_amid_transfer(void **state)
{
	struct room r;
	struct writer up = {.at = &r.a, .total = 4000000, .piece = 30000};
	struct writer down = {.at = &r.b, .total = 4000000, .piece = 65536};
	struct session_stats stats;
	uint32_t x = 1;
	size_t next = 50000;
	unsigned kind = 0;

	(void)state;
	prepare(&r);
	session_host_close(r.host);
	r.options.core.idle_ms = 40;
	r.options.core.dead_ms = 40;
	r.host = open_host(&r, NULL);
	open_sender(&r);
	RUN_UNTIL(r.loop, r.a.opens == 1 && r.sessions == 1);
	while (r.b.bytes < up.total || r.a.bytes < down.total) {
		size_t now = r.a.bytes + r.b.bytes;

		pump(&up);
		pump(&down);
		RUN_UNTIL(r.loop,
		    (pump(&up), pump(&down), r.a.bytes + r.b.bytes != now));
		if (r.a.bytes + r.b.bytes < next ||
		    !session_has_carrier(r.sender) ||
		    !session_has_carrier(r.listener))
			continue;
		x = x * 1103515245 + 12345;
		next = r.a.bytes + r.b.bytes + (x >> 8) % 300000;
		switch (kind++ % 4) {
		case 0:
			memstream_break(r.near, ERR_RESET);
			break;
		case 1:
			memstream_break(r.far, ERR_RESET);
			break;
		case 2:
			memstream_cut(r.near);
			break;
		default:
			memstream_break(r.near, ERR_TIMEOUT);
			memstream_break(r.far, ERR_TIMEOUT);
			break;
		}
	}
	check_all(&r.a, down.total);
	check_all(&r.b, up.total);
	session_stats(r.sender, &stats);
	assert_true(stats.resumes > 8);
	assert_true(r.downs > 8);
	finish(&r);
}

static void
test_stalled_carrier_is_dead(void **state)
{
	struct room r;

	(void)state;
	prepare(&r);
	r.options.core.idle_ms = 30;
	r.options.core.dead_ms = 30;
	open_sender(&r);
	RUN_UNTIL(r.loop, r.a.opens == 1 && r.sessions == 1);
	memstream_stall(r.near, true);
	RUN_UNTIL(r.loop, r.downs == 1);
	assert_int_equal(r.why.code, ERR_TIMEOUT);
	RUN_UNTIL(r.loop, r.ups == 2);
	bulk(&r, 100000, 5000);
	finish(&r);
}

static void
test_window_passes(void **state)
{
	struct room r;

	(void)state;
	prepare(&r);
	session_host_close(r.host);
	r.options.core.window_s = 1;
	r.host = open_host(&r, NULL);
	open_sender(&r);
	RUN_UNTIL(r.loop, r.a.opens == 1 && r.sessions == 1);
	r.wish = WISH_ERROR;
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.wishes == 3);
	r.wish = WISH_IGNORE;
	RUN_UNTIL(r.loop, r.a.errors == 1 && r.b.errors == 1);
	assert_int_equal(r.a.err.code, ERR_RESET);
	assert_non_null(strstr(r.a.err.text, "before its time"));
	assert_non_null(strstr(r.a.err.text, "no way there"));
	assert_int_equal(r.b.err.code, ERR_RESET);
	assert_int_equal(r.drops, 1);
	assert_int_equal(session_host_count(r.host), 0);
	/* Late answers do no harm. */
	carrier(&r, r.host);
	pass(&r, 5);
	finish(&r);
}

static void
test_no_carrier_at_all(void **state)
{
	struct room r;

	(void)state;
	prepare(&r);
	r.wish = WISH_FINAL;
	open_sender(&r);
	RUN_UNTIL(r.loop, r.a.errors == 1);
	assert_int_equal(r.a.err.code, ERR_NOT_FOUND);
	assert_int_equal(r.wishes, 1);
	recorder_close(&r.a);
	r.options.core.window_s = 0;
	r.wish = WISH_ERROR;
	open_sender(&r);
	RUN_UNTIL(r.loop, r.a.errors == 1);
	assert_int_equal(r.a.err.code, ERR_NOT_FOUND);
	finish(&r);
}

static void
test_lost_greeting(void **state)
{
	struct room r;

	(void)state;
	prepare(&r);
	r.wish = WISH_RAW;
	open_sender(&r);
	RUN_UNTIL(r.loop, r.wishes == 1);
	stream_reset(r.far);
	RUN_UNTIL(r.loop, r.a.errors == 1);
	assert_int_equal(r.a.err.code, ERR_RESET);
	assert_int_equal(r.wishes, 1);
	finish(&r);
}

/* With end-to-end TLS there is nothing to resume with before its end. */
static void
test_no_secret_no_resume(void **state)
{
	static const uint8_t secret[SESSION_SECRET_SIZE] = {1, 2, 3};
	struct room r;

	(void)state;
	for (int with = 0; with < 2; with++) {
		prepare(&r);
		session_host_close(r.host);
		r.options.core.options = SESSION_OPTION_TLS;
		r.host = open_host(&r, NULL);
		open_sender(&r);
		RUN_UNTIL(r.loop, r.a.opens == 1 && r.sessions == 1);
		if (with) {
			session_set_secret(r.sender, secret);
			session_set_secret(r.listener, secret);
		}
		memstream_break(r.near, ERR_RESET);
		if (with) {
			RUN_UNTIL(r.loop, r.ups == 2);
			bulk(&r, 100000, 3000);
		} else {
			RUN_UNTIL(r.loop, r.a.errors == 1 && r.b.errors == 1);
			assert_int_equal(r.wishes, 1);
		}
		finish(&r);
	}
}

/* --- several listeners --- */

static void
test_misdirected(void **state)
{
	struct room r;

	(void)state;
	begin(&r);
	r.other = open_host(&r, NULL);
	r.wish = WISH_OTHER;
	r.times = 27;
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.ups == 2);
	assert_int_equal(r.misdirected, 27);
	assert_int_equal(r.wishes, 1 + 28);
	bulk(&r, 100000, 5000);
	finish(&r);
}

static void
test_gone(void **state)
{
	struct room r;

	(void)state;
	begin(&r);
	/* The listener forgets it while no carrier could tell. */
	memstream_cut(r.near);
	recorder_close(&r.b);
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.a.errors == 1);
	assert_int_equal(r.a.err.http_status, SESSION_REFUSE_GONE);
	finish(&r);
}

static void
test_full_and_draining(void **state)
{
	struct session_host_options one = {.max_sessions = 1};
	struct room r, q;

	(void)state;
	prepare(&r);
	session_host_close(r.host);
	r.host = open_host(&r, &one);
	open_sender(&r);
	RUN_UNTIL(r.loop, r.a.opens == 1);
	/* A second sender waits until the first is gone. */
	q = (struct room){.loop = r.loop, .options = r.options, .host = r.host};
	open_sender(&q);
	RUN_UNTIL(r.loop, q.wishes == 2);
	assert_int_equal(q.a.opens, 0);
	stream_put(q.a.stream, "late", 4);
	recorder_close(&r.a);
	RUN_UNTIL(r.loop, r.b.errors == 1);
	recorder_close(&r.b);
	RUN_UNTIL(r.loop, q.a.opens == 1 && r.b.bytes == 4);
	assert_string_equal(r.b.text, "late");
	/* Draining: a resume is fine, a new one is not. */
	session_host_drain(r.host);
	memstream_break(q.near, ERR_RESET);
	RUN_UNTIL(r.loop, q.ups == 2);
	r.a.stream = NULL;
	open_sender(&r);
	RUN_UNTIL(r.loop, r.wishes == 3);
	recorder_close(&q.a);
	finish(&r);
}

/* --- the end --- */

static void
test_orderly_end(void **state)
{
	struct room r;
	struct writer up = {.at = &r.a, .total = 500000, .piece = 60000};
	unsigned before;

	(void)state;
	begin(&r);
	RUN_UNTIL(r.loop, pump(&up));
	before = r.a.drains;
	stream_shutdown(r.a.stream);
	RUN_UNTIL(r.loop, r.b.ends == 1 && r.a.drains == before + 1);
	check_all(&r.b, up.total);
	assert_int_equal(session_host_count(r.host), 0);
	stream_put(r.b.stream, "nobody", 6);
	stream_shutdown(r.b.stream);
	RUN_UNTIL(r.loop, r.b.drains == 1);
	pass(&r, 5);
	assert_int_equal(r.a.errors + r.b.errors, 0);
	assert_int_equal(r.a.drains, before + 1);
	assert_int_equal(r.b.ends, 1);
	finish(&r);
}

static void
test_orderly_end_over_cuts(void **state)
{
	struct room r;
	struct writer up = {.at = &r.a, .total = 500000, .piece = 60000};

	(void)state;
	begin(&r);
	RUN_UNTIL(r.loop, pump(&up));
	stream_shutdown(r.a.stream);
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.downs == 1);
	RUN_UNTIL(r.loop, r.ups == 2);
	memstream_break(r.far, ERR_RESET);
	RUN_UNTIL(r.loop, r.b.ends == 1);
	check_all(&r.b, up.total);
	assert_int_equal(r.a.errors, 0);
	finish(&r);
}

static void
test_end_waits_for_a_stopped_reader(void **state)
{
	struct room r;

	(void)state;
	prepare(&r);
	r.keep_shut = true;
	open_sender(&r);
	stream_put(r.a.stream, "word", 4);
	stream_shutdown(r.a.stream);
	RUN_UNTIL(r.loop, r.sessions == 1);
	pass(&r, 30);
	assert_int_equal(r.b.bytes + r.b.ends + r.a.drains, 0);
	stream_start(r.b.stream);
	RUN_UNTIL(r.loop, r.b.ends == 1 && r.a.drains == 1);
	assert_string_equal(r.b.text, "word");
	finish(&r);
}

static void
test_hard_ends(void **state)
{
	struct room r;
	struct err e;

	(void)state;
	begin(&r);
	err_set(&e, ERR_DENIED, "the user is gone");
	session_end(r.listener, SESSION_CLOSE_POLICY, &e);
	RUN_UNTIL(r.loop, r.a.errors == 1 && r.b.errors == 1);
	assert_int_equal(r.a.err.code, ERR_RESET);
	assert_non_null(strstr(r.a.err.text, "the user is gone"));
	assert_int_equal(r.b.err.code, ERR_DENIED);
	finish(&r);
	begin(&r);
	recorder_close(&r.a);
	RUN_UNTIL(r.loop, r.b.errors == 1);
	assert_non_null(strstr(r.b.err.text, "(3)"));
	finish(&r);
}

/* --- renewal --- */

static void
test_renewals_amid_transfer(void **state)
{
	struct room r;
	struct writer up = {.at = &r.a, .total = 6000000, .piece = 30000};
	struct writer down = {.at = &r.b, .total = 6000000, .piece = 65536};
	size_t next = 100000;

	(void)state;
	begin(&r);
	r.other = open_host(&r, NULL);
	while (r.b.bytes < up.total || r.a.bytes < down.total) {
		size_t now = r.a.bytes + r.b.bytes;

		RUN_UNTIL(r.loop,
		    (pump(&up), pump(&down), r.a.bytes + r.b.bytes != now));
		if (now < next)
			continue;
		next = now + 700000;
		if (r.wishes % 3 == 1) {
			r.wish = WISH_OTHER;
			r.times = 2;
		}
		session_renew_carrier(r.sender);
		session_renew_carrier(r.sender);
	}
	check_all(&r.a, down.total);
	check_all(&r.b, up.total);
	assert_true(r.ups > 4);
	assert_int_equal(r.downs, 0);
	assert_true(r.misdirected > 0);
	finish(&r);
}

/* The old carrier goes on when the new one is cut, and is taken over when it
 * dies while the answer is out. */
static void
test_renewal_that_fails(void **state)
{
	struct room r;
	struct stream *old;

	(void)state;
	begin(&r);
	old = r.near;
	r.wish = WISH_SWALLOW;
	r.times = 1;
	session_renew_carrier(r.sender);
	RUN_UNTIL(r.loop, r.wishes == 2);
	stream_put(r.b.stream, "held", 4);
	stream_put(r.a.stream, "goes", 4);
	RUN_UNTIL(r.loop, r.b.bytes == 4);
	turns(&r, 5);
	assert_int_equal(r.a.bytes, 0);
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.a.bytes == 4);
	RUN_UNTIL(r.loop, r.ups == 2);
	assert_int_equal(r.downs, 0);
	assert_true(r.near != old);
	finish(&r);

	begin(&r);
	old = r.near;
	r.wish = WISH_SWALLOW;
	r.times = 1;
	session_renew_carrier(r.sender);
	RUN_UNTIL(r.loop, r.wishes == 2);
	memstream_break(old, ERR_RESET);
	RUN_UNTIL(r.loop, r.downs == 1);
	stream_put(r.b.stream, "word", 4);
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.a.bytes == 4);
	assert_int_equal(r.ups, 2);
	finish(&r);
}

static void
test_renewal_cuts_a_back_off_short(void **state)
{
	struct room r;

	(void)state;
	begin(&r);
	r.wish = WISH_ERROR;
	memstream_break(r.near, ERR_RESET);
	RUN_UNTIL(r.loop, r.wishes == 3);
	r.wish = WISH_GRANT;
	session_renew_carrier(r.sender);
	turns(&r, 10);
	assert_int_equal(r.ups, 2);
	finish(&r);
}

/* --- a reader that does not read --- */

static void
test_held_input(void **state)
{
	struct room r;
	struct writer up = {.at = &r.a, .total = 8000000, .piece = 65536};
	struct session_stats stats;

	(void)state;
	prepare(&r);
	session_host_close(r.host);
	r.options.core.idle_ms = 20;
	r.options.core.dead_ms = 30;
	r.options.core.receive_limit = 1000000;
	r.host = open_host(&r, NULL);
	r.keep_shut = true;
	open_sender(&r);
	RUN_UNTIL(r.loop, r.sessions == 1);
	while (!up.waits) {
		pump(&up);
		turns(&r, 1);
	}
	pass(&r, 300);
	session_stats(r.sender, &stats);
	assert_in_range(stats.unacked, 1, 1000000 + 65536);
	assert_int_equal(r.b.bytes, 0);
	assert_int_equal(r.downs, 0);
	/* The other direction is alive all the time. */
	stream_put(r.b.stream, "yes", 3);
	RUN_UNTIL(r.loop, r.a.bytes == 3);
	r.b.stop_each = true;
	stream_start(r.b.stream);
	while (r.b.bytes < up.total) {
		pump(&up);
		turns(&r, 1);
		stream_start(r.b.stream);
	}
	check_all(&r.b, up.total);
	assert_int_equal(r.wishes, 1);
	finish(&r);
}

static void
test_source_that_does_not_stop(void **state)
{
	struct room r;
	static uint8_t data[STREAM_HEADROOM + 65536];

	(void)state;
	prepare(&r);
	r.options.core.send_limit = 100000;
	r.wish = WISH_IGNORE;
	open_sender(&r);
	for (int i = 0; i < 100; i++)
		stream_write(r.a.stream, data + STREAM_HEADROOM, 65536);
	assert_int_equal(r.a.errors, 0);
	RUN_UNTIL(r.loop, r.a.errors == 1);
	assert_int_equal(r.a.err.code, ERR_TOO_BIG);
	finish(&r);
}

/* --- hostile peers --- */

static void
open_raw(struct room *r, struct recorder *raw, const void *bytes, size_t len)
{
	struct stream *near, *far;

	memstream_pair(r->loop, &near, &far);
	session_host_take(r->host, far);
	recorder_own(raw, near);
	stream_start(near);
	if (len > 0)
		stream_put(near, bytes, len);
}

/* Says `bytes` to the host: refused with `code`, or dropped (0). */
static void
try_host(struct room *r, const void *bytes, size_t len, int code)
{
	struct recorder raw;

	open_raw(r, &raw, bytes, len);
	RUN_UNTIL(r->loop, raw.ends + raw.errors == 1);
	if (code == 0) {
		assert_int_equal(raw.bytes, 0);
		assert_int_equal(raw.errors, 1);
	} else {
		assert_int_equal(raw.ends, 1);
		assert_int_equal(raw.text[0], SESSION_REFUSE);
		assert_int_equal(
		    (uint8_t)raw.text[4] << 8 | (uint8_t)raw.text[5], code);
	}
	recorder_close(&raw);
}

static void
test_hostile_first_frames(void **state)
{
	static const uint8_t zeros[SESSION_SECRET_SIZE];
	uint8_t frame[SESSION_CONTROL_MAX];
	struct session_hello h = {.limit = 65536};
	struct session_resume resume = {.epoch = 1};
	struct recorder raw;
	struct room r;
	size_t n;

	(void)state;
	begin(&r);
	n = session_build_hello(frame, &h);
	frame[4] = 2;
	try_host(&r, frame, n, SESSION_REFUSE_VERSION);
	frame[4] = 1;
	frame[5] = SESSION_OPTION_TLS;
	try_host(&r, frame, n, SESSION_REFUSE_VERSION);
	frame[5] = 4;
	try_host(&r, frame, n, SESSION_REFUSE_VERSION);
	h.limit = 65535;
	n = session_build_hello(frame, &h);
	try_host(&r, frame, n, 0);
	h.limit = 65536;
	memcpy(h.id, session_id(r.sender), sizeof(h.id));
	n = session_build_hello(frame, &h);
	try_host(&r, frame, n, SESSION_REFUSE_EPOCH);
	n = session_build_resume(frame, &resume, zeros);
	try_host(&r, frame, n, SESSION_REFUSE_MISDIRECTED);
	memcpy(resume.id, session_id(r.sender), sizeof(resume.id));
	n = session_build_resume(frame, &resume, zeros);
	try_host(&r, frame, n, SESSION_REFUSE_PROOF);
	frame[4] = 9;
	try_host(&r, frame, n, SESSION_REFUSE_VERSION);
	try_host(&r, "\x10\x00\x00\x01x", 5, 0);
	try_host(&r, "\x10\x00\x00\x01", 4, 0);
	try_host(&r, "GET / HTTP/1.1\r\n\r\n", 18, 0);
	n = session_build_number(frame, SESSION_ACK, 0);
	try_host(&r, frame, n, 0);
	/* Gone before it said anything, and gone amid it. */
	open_raw(&r, &raw, "\x01", 1);
	turns(&r, 3);
	recorder_close(&raw);
	turns(&r, 3);
	bulk(&r, 10000, 100);
	assert_int_equal(r.wishes, 1);
	/* One that stays is closed with the host. */
	open_raw(&r, &raw, "\x01", 1);
	turns(&r, 3);
	session_host_close(r.host);
	r.host = NULL;
	RUN_UNTIL(r.loop, raw.ends == 1);
	recorder_close(&raw);
	finish(&r);
}

static void
test_silent_guest(void **state)
{
	struct session_host_options hasty = {.greeting_ms = 20};
	struct recorder raw;
	struct room r;

	(void)state;
	prepare(&r);
	session_host_close(r.host);
	r.host = open_host(&r, &hasty);
	open_raw(&r, &raw, "\x01\x00", 2);
	RUN_UNTIL(r.loop, raw.errors == 1);
	recorder_close(&raw);
	finish(&r);
}

/* A sender that greets well and then breaks the rules, on its only carrier. */
static void
test_hostile_sender(void **state)
{
	static const char *const evil[] = {"\x10\x01\x00\x01x",
	    "\x63\x00\x00\x01x", "\x01\x00\x00\x01\x01",
	    "\x11\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x09",
	    "\x14\x00\x00\x03\x00\x00\xff", "\x10\x00\x00\x00",
	    "\x11\x00\x00\x07"};
	static const size_t sizes[] = {5, 5, 5, 12, 7, 4, 4};
	struct session_hello h = {.limit = 65536};
	uint8_t frame[SESSION_CONTROL_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct recorder raw;
		struct room r;

		prepare(&r);
		open_raw(&r, &raw, frame, session_build_hello(frame, &h));
		RUN_UNTIL(r.loop, r.sessions == 1);
		stream_put(raw.stream, evil[i], sizes[i]);
		RUN_UNTIL(r.loop, raw.errors == 1);
		assert_false(session_has_carrier(r.listener));
		/* The window is 0: it is over with its carrier. */
		RUN_UNTIL(r.loop, r.b.errors == 1);
		recorder_close(&raw);
		finish(&r);
	}
}

/* PINGs without end, whose answers nobody takes: nothing piles up. */
static void
test_ping_flood(void **state)
{
	struct session_hello h = {.limit = 65536, .window_s = 9};
	uint8_t frame[SESSION_CONTROL_MAX];
	struct recorder raw;
	struct room r;
	size_t n;

	(void)state;
	prepare(&r);
	open_raw(&r, &raw, frame, session_build_hello(frame, &h));
	RUN_UNTIL(r.loop, r.sessions == 1);
	stream_stop(raw.stream);
	n = session_build_number(frame, SESSION_PING, 7);
	for (int i = 0; i < 60000; i++) {
		stream_put(raw.stream, frame, n);
		if (i % 500 == 0)
			turns(&r, 2);
		assert_true(stream_queued(r.b.stream) < 200000);
	}
	assert_int_equal(r.b.errors, 0);
	recorder_close(&raw);
	finish(&r);
}

/* A listener that answers a HELLO with something else. */
static void
test_hostile_listener(void **state)
{
	struct session_hello w = {.limit = 65536, .window_s = 60};
	uint8_t frame[SESSION_CONTROL_MAX];
	struct recorder raw;
	struct room r;

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		prepare(&r);
		r.wish = WISH_RAW;
		open_sender(&r);
		RUN_UNTIL(r.loop, r.wishes == 1);
		recorder_own(&raw, r.far);
		stream_start(raw.stream);
		w.options = kind == 0 ? SESSION_OPTION_TLS : 0;
		if (kind == 1)
			stream_put(raw.stream, "\x10\x00\x00\x01x", 5);
		if (kind == 2)
			stream_put(raw.stream, "HTTP/1.1 200 OK", 15);
		if (kind == 3)
			stream_put(raw.stream, frame,
			    session_build_notice(frame, SESSION_REFUSE,
			        SESSION_REFUSE_VERSION, "no\x1b[2J"));
		else
			stream_put(raw.stream, frame,
			    session_build_welcome(frame, &w));
		RUN_UNTIL(r.loop, r.a.errors == 1);
		assert_int_equal(r.a.opens + r.a.bytes, 0);
		assert_int_equal(r.wishes, 1);
		assert_null(strchr(r.a.err.text, 0x1b));
		assert_int_equal(r.a.err.http_status,
		    kind == 3 ? SESSION_REFUSE_VERSION : 0);
		recorder_close(&raw);
		finish(&r);
	}
}

/* Somebody else answers a RESUME: no byte of it is believed, and the session
 * goes on when the right one is met. */
static void
test_forged_resumed(void **state)
{
	static const uint8_t zeros[SESSION_SECRET_SIZE];
	struct session_resumed forged = {.epoch = 1};
	uint8_t frame[SESSION_CONTROL_MAX];
	struct recorder raw;
	struct room r;
	size_t n;

	(void)state;
	begin(&r);
	r.wish = WISH_RAW;
	memstream_break(r.near, ERR_RESET);
	for (unsigned i = 1; i <= 5; i++) {
		RUN_UNTIL(r.loop, r.wishes == 1 + i);
		recorder_own(&raw, r.far);
		forged.epoch = i;
		n = session_build_resumed(frame, &forged, zeros, zeros);
		stream_put(raw.stream, frame, n);
		stream_put(raw.stream,
		    "\x10\x00\x00\x04"
		    "evil",
		    8);
		if (i == 5)
			r.wish = WISH_GRANT;
		RUN_UNTIL(r.loop, raw.errors + raw.ends == 1);
		recorder_close(&raw);
		/* Not to wait for the back-off. */
		session_renew_carrier(r.sender);
	}
	RUN_UNTIL(r.loop, r.ups == 2);
	assert_int_equal(r.a.bytes, 0);
	bulk(&r, 50000, 1000);
	finish(&r);
}

/* --- close in every callback --- */

enum moment {
	ON_WANT,
	ON_OPEN,
	ON_UP,
	ON_DOWN,
	ON_DATA,
	ON_DRAIN,
	ON_END,
	ON_ERROR,
	ON_DROP,
	ON_SESSION,
	MOMENTS,
};

struct closer {
	struct room r;
	enum moment when;
	bool is_listener;
	bool done;
	struct stream *stream;
};

static void
close_at(struct closer *c, enum moment now)
{
	if (c->when != now || c->done)
		return;
	c->done = true;
	stream_close(c->stream);
}

static void
closer_open(void *owner)
{
	close_at(owner, ON_OPEN);
}

static void
closer_data(void *owner, uint8_t *data, size_t len)
{
	(void)data;
	(void)len;
	close_at(owner, ON_DATA);
}

static void
closer_end(void *owner)
{
	close_at(owner, ON_END);
}

static void
closer_drain(void *owner)
{
	close_at(owner, ON_DRAIN);
}

static void
closer_error(void *owner, const struct err *e)
{
	(void)e;
	close_at(owner, ON_ERROR);
}

static const struct stream_events closer_events = {
    .on_open = closer_open,
    .on_data = closer_data,
    .on_end = closer_end,
    .on_drain = closer_drain,
    .on_error = closer_error,
};

static void
closer_want(void *owner, unsigned attempt, bool misdirected)
{
	struct closer *c = owner;

	close_at(c, ON_WANT);
	if (!c->done)
		on_want_carrier(&c->r, attempt, misdirected);
}

static void
closer_drop(void *owner)
{
	close_at(owner, ON_DROP);
}

static void
closer_carrier(void *owner, bool up, const struct err *why)
{
	(void)why;
	close_at(owner, up ? ON_UP : ON_DOWN);
}

static const struct session_events closer_session = {
    .on_want_carrier = closer_want,
    .on_drop_want = closer_drop,
    .on_carrier = closer_carrier,
};

static void
closer_accept(void *owner, struct session *s)
{
	struct closer *c = owner;

	if (!c->is_listener) {
		on_session(&c->r, s);
		return;
	}
	c->r.listener = s;
	c->stream = session_stream(s);
	stream_set_owner(c->stream, &closer_events, c);
	session_set_owner(s, &closer_session, c);
	stream_start(c->stream);
	close_at(c, ON_SESSION);
}

static const struct session_host_events closer_host = {
    .on_session = closer_accept,
};

static void
open_closer(struct closer *c)
{
	struct session_host_options o;
	struct room *r = &c->r;

	*r = (struct room){.loop = loop_new(NULL)};
	session_core_options_init(&r->options.core);
	r->options.core.options = 0;
	r->options.core.window_s = 1;
	o = (struct session_host_options){.core = r->options.core};
	r->host = session_host_open(r->loop, &o, &closer_host, c);
	if (c->is_listener) {
		open_sender(r);
		return;
	}
	r->sender = session_open(r->loop, &r->options, &closer_session, c);
	c->stream = session_stream(r->sender);
	stream_set_owner(c->stream, &closer_events, c);
	stream_start(c->stream);
}

/* What makes each moment come, one after the other. */
static void
live_through(struct closer *c)
{
	static uint8_t data[STREAM_HEADROOM + 200000];
	struct room *r = &c->r;
	struct recorder *peer = c->is_listener ? &r->a : &r->b;

	turns(r, 20);
	if (!c->done) {
		stream_put(peer->stream, "word", 4);
		stream_write(c->stream, data + STREAM_HEADROOM, 200000);
	}
	pass(r, 10);
	if (!c->done)
		memstream_break(c->is_listener ? r->far : r->near, ERR_RESET);
	pass(r, 10);
	if (!c->done && c->when == ON_END)
		stream_shutdown(peer->stream);
	else if (!c->done && (c->when == ON_ERROR || c->when == ON_DROP)) {
		r->wish = WISH_IGNORE;
		memstream_break(r->near, ERR_RESET);
	}
	RUN_UNTIL(r->loop, c->done);
	turns(r, 5);
}

static void
test_close_in_callbacks(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++)
		for (int when = 0; when < MOMENTS; when++) {
			struct closer c = {
			    .when = when, .is_listener = side == 1};

			if (c.is_listener
			        ? when == ON_WANT || when == ON_OPEN ||
			              when == ON_DROP
			        : when == ON_SESSION)
				continue;
			open_closer(&c);
			live_through(&c);
			recorder_close(c.is_listener ? &c.r.a : &c.r.b);
			session_host_close(c.r.host);
			assert_true(loop_close(c.r.loop));
		}
}

/* And at every turn of a life with losses. */
static void
test_close_at_every_turn(void **state)
{
	(void)state;
	for (int at = 0; at < 40; at++) {
		struct room r;

		prepare(&r);
		open_sender(&r);
		for (int i = 0; i < at; i++) {
			turns(&r, 1);
			if (i == 12)
				memstream_break(r.near, ERR_RESET);
			if (i == 24)
				session_renew_carrier(r.sender);
			if (i == 30)
				stream_put(r.a.stream, "word", 4);
			if (i == 34)
				stream_shutdown(r.a.stream);
		}
		if (at % 3 == 0 && r.b.stream != NULL)
			recorder_close(&r.b);
		if (at % 3 == 1) {
			session_host_close(r.host);
			r.host = NULL;
		}
		recorder_close(&r.a);
		turns(&r, at % 4);
		finish(&r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_greeting_and_words),
	    cmocka_unit_test(test_bulk),
	    cmocka_unit_test(test_small_limits),
	    cmocka_unit_test(test_cuts_amid_transfer),
	    cmocka_unit_test(test_stalled_carrier_is_dead),
	    cmocka_unit_test(test_window_passes),
	    cmocka_unit_test(test_no_carrier_at_all),
	    cmocka_unit_test(test_lost_greeting),
	    cmocka_unit_test(test_no_secret_no_resume),
	    cmocka_unit_test(test_misdirected),
	    cmocka_unit_test(test_gone),
	    cmocka_unit_test(test_full_and_draining),
	    cmocka_unit_test(test_orderly_end),
	    cmocka_unit_test(test_orderly_end_over_cuts),
	    cmocka_unit_test(test_end_waits_for_a_stopped_reader),
	    cmocka_unit_test(test_hard_ends),
	    cmocka_unit_test(test_renewals_amid_transfer),
	    cmocka_unit_test(test_renewal_that_fails),
	    cmocka_unit_test(test_renewal_cuts_a_back_off_short),
	    cmocka_unit_test(test_held_input),
	    cmocka_unit_test(test_source_that_does_not_stop),
	    cmocka_unit_test(test_hostile_first_frames),
	    cmocka_unit_test(test_silent_guest),
	    cmocka_unit_test(test_hostile_sender),
	    cmocka_unit_test(test_ping_flood),
	    cmocka_unit_test(test_hostile_listener),
	    cmocka_unit_test(test_forged_resumed),
	    cmocka_unit_test(test_close_in_callbacks),
	    cmocka_unit_test(test_close_at_every_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
