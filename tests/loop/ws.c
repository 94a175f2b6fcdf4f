/* SPDX-License-Identifier: MIT
 *
 * WebSockets over a socketpair: two of ours against each other, or one of ours
 * against raw bytes. Half-close, loss, violations, stopping in the middle, and
 * the face as a byte stream under pumps.
 */
#include "ws/ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/loop.h"
#include "net/pump.h"
#include "net/sock.h"
#include "util/err.h"
#include "util/text.h"
#include "ws/ws_frame.h"

/* What an owner of a WebSocket heard, as text: T(..) text, B(..) a piece of
 * binary with [ and ] at the borders of a message, P pong, C Close, D drain,
 * E error, and for the face F(..) data and X end. */
struct side {
	struct loop *loop;
	struct ws *ws;
	struct stream *face;
	char heard[4000];
	struct err err;
	int drains;
	bool close_on_text;
	bool close_on_close;
	bool stop_on_text;
	bool face_stops;
	bool is_closed;
	bool is_given; /* its face belongs to somebody else */
};

struct bench {
	struct loop *loop;
	struct side a, b;
	int raw; /* the peer's end, if it is not one of ours */
};

static void
hear(struct side *s, const char *what, const void *data, size_t len)
{
	const size_t used = strlen(s->heard);

	assert_true(used + len + 8 < sizeof s->heard);
	snprintf(s->heard + used, sizeof s->heard - used, "%s(%.*s)", what,
	    (int)len, (const char *)data);
}

static void
close_side(struct side *s, bool reset)
{
	s->is_closed = true;
	ws_close(s->ws, reset);
}

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct side *s = owner;

	assert_false(s->is_closed);
	hear(s, "T", data, len);
	if (s->close_on_text)
		close_side(s, false);
	else if (s->stop_on_text)
		ws_stop(s->ws);
}

static void
on_binary(void *owner, uint8_t *data, size_t len, bool start, bool end)
{
	struct side *s = owner;

	assert_false(s->is_closed);
	hear(s,
	    start && end ? "B[]"
	    : start      ? "B["
	    : end        ? "B]"
	                 : "B",
	    data, len);
}

static void
on_pong(void *owner, const uint8_t *data, size_t len)
{
	hear(owner, "P", data, len);
}

static void
on_close(void *owner, int code, const char *reason)
{
	struct side *s = owner;
	char text[200];

	assert_false(s->is_closed);
	snprintf(text, sizeof text, "%d %s", code, reason);
	hear(s, "C", text, strlen(text));
	if (s->close_on_close)
		close_side(s, false);
}

static void
on_drain(void *owner)
{
	struct side *s = owner;

	assert_false(s->is_closed);
	s->drains++;
}

static void
on_error(void *owner, const struct err *err)
{
	struct side *s = owner;

	assert_false(s->is_closed);
	assert_int_equal(s->err.code, ERR_NONE);
	s->err = *err;
	hear(s, "E", err_name(err->code), strlen(err_name(err->code)));
}

static const struct ws_events events = {
    .on_text = on_text,
    .on_binary = on_binary,
    .on_pong = on_pong,
    .on_close = on_close,
    .on_drain = on_drain,
    .on_error = on_error,
};

static void
on_face_data(void *owner, uint8_t *data, size_t len)
{
	struct side *s = owner;

	hear(s, "F", data, len);
	memset(data - STREAM_HEADROOM, 0xee, STREAM_HEADROOM + len);
	if (s->face_stops)
		stream_stop(s->face);
}

static void
on_face_end(void *owner)
{
	hear(owner, "X", "", 0);
}

static const struct stream_events face_events = {
    .on_data = on_face_data,
    .on_end = on_face_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

/* --- benches --- */

static void
open_pair(struct loop *l, struct stream *out[2], int fds[2])
{
	struct err e;

	assert_int_equal(
	    socketpair(
	        AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
	    0);
	for (int i = 0; i < 2; i++) {
		if (out[i] == NULL)
			continue;
		out[i] = sock_open(l, fds[i], &e);
		assert_non_null(out[i]);
	}
}

/* a is the client, b the server. */
static void
open_both(struct bench *t, bool answer_close)
{
	struct ws_options o = {.text_max = 100, .answer_close = answer_close};
	struct stream *s[2] = {(void *)1, (void *)1};
	struct err e;
	int fds[2];

	memset(t, 0, sizeof *t);
	t->raw = -1;
	t->loop = loop_new(&e);
	assert_non_null(t->loop);
	open_pair(t->loop, s, fds);
	t->b.ws = ws_open(s[1], &o, &events, &t->b);
	o.client = true;
	t->a.ws = ws_open(s[0], &o, &events, &t->a);
	ws_start(t->a.ws);
	ws_start(t->b.ws);
}

/* a is a WebSocket of a client or server, its peer is t->raw. */
static void
open_raw(struct bench *t, const struct ws_options *o)
{
	struct stream *s[2] = {(void *)1, NULL};
	struct err e;
	int fds[2];

	memset(t, 0, sizeof *t);
	t->loop = loop_new(&e);
	assert_non_null(t->loop);
	open_pair(t->loop, s, fds);
	t->raw = fds[1];
	t->a.ws = ws_open(s[0], o, &events, &t->a);
}

static void
finish(struct bench *t)
{
	if (t->a.ws && !t->a.is_closed && !t->a.is_given)
		ws_close(t->a.ws, true);
	if (t->b.ws && !t->b.is_closed && !t->b.is_given)
		ws_close(t->b.ws, true);
	if (t->raw >= 0)
		close(t->raw);
	assert_true(loop_close(t->loop));
}

#define UNTIL(t, condition)                                                    \
	do {                                                                   \
		while (!(condition))                                           \
			assert_true(                                           \
			    loop_turn((t)->loop, true) || (condition));        \
	} while (0)

#define HEARD(side, text) UNTIL_HEARD(&t, side, text)
#define UNTIL_HEARD(t, side, text)                                             \
	do {                                                                   \
		UNTIL(t, strlen((side).heard) >= strlen(text));                \
		assert_string_equal((side).heard, text);                       \
	} while (0)

/* What must not happen has had its chance. */
static void
turn_idle(struct bench *t)
{
	for (int i = 0; i < 5; i++)
		loop_turn(t->loop, false);
}

static void
send_raw(struct bench *t, const void *bytes, size_t n)
{
	assert_int_equal(send(t->raw, bytes, n, MSG_NOSIGNAL), n);
}

#define SEND_RAW(t, bytes) send_raw(t, bytes, sizeof(bytes) - 1)

/* Exactly these bytes come next. */
static void
expect_raw(struct bench *t, const void *bytes, size_t n)
{
	uint8_t got[300];
	size_t have = 0;

	assert_true(n <= sizeof got);
	while (have < n) {
		const ssize_t k = recv(t->raw, got + have, n - have, 0);

		if (k > 0)
			have += (size_t)k;
		else
			assert_true(k < 0 && errno == EAGAIN &&
			            loop_turn(t->loop, true));
	}
	assert_memory_equal(got, bytes, n);
}

#define EXPECT_RAW(t, bytes) expect_raw(t, bytes, sizeof(bytes) - 1)

static void
expect_raw_end(struct bench *t)
{
	uint8_t byte;
	ssize_t k;

	while ((k = recv(t->raw, &byte, 1, 0)) != 0)
		assert_true(
		    k < 0 && errno == EAGAIN && loop_turn(t->loop, true));
}

/* --- messages --- */

static void
test_messages(void **state)
{
	uint8_t scratch[STREAM_HEADROOM + 8];
	struct bench t;

	(void)state;
	open_both(&t, false);
	ws_send_text(t.a.ws, "hello", 5);
	ws_send_text(t.b.ws, "", 0);
	ws_send_text(t.b.ws, "J\xc3\xbcrgen", 7);
	memcpy(scratch + STREAM_HEADROOM, "bytes", 5);
	ws_send_binary(t.a.ws, scratch + STREAM_HEADROOM, 5);
	memcpy(scratch + STREAM_HEADROOM, "one", 3);
	ws_send_fragment(t.a.ws, scratch + STREAM_HEADROOM, 3, true, false);
	memcpy(scratch + STREAM_HEADROOM, "two", 3);
	ws_send_fragment(t.a.ws, scratch + STREAM_HEADROOM, 3, false, false);
	memcpy(scratch + STREAM_HEADROOM, "three", 5);
	ws_send_fragment(t.a.ws, scratch + STREAM_HEADROOM, 5, false, true);
	ws_send_ping(t.a.ws, "p1", 2);
	ws_send_ping(t.b.ws, "", 0);
	HEARD(t.b, "T(hello)B[](bytes)B[(one)B(two)B](three)P()");
	HEARD(t.a, "T()T(J\xc3\xbcrgen)P(p1)");
	assert_int_equal(ws_last_in_ms(t.a.ws), loop_now_ms(t.loop));
	finish(&t);
}

static void
test_pieces(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	ws_start(t.a.ws);
	SEND_RAW(&t, "\x01\x03"
	             "ab");
	turn_idle(&t);
	SEND_RAW(&t, "\xc3\x00\x01\xbc\x89\x01z");
	turn_idle(&t);
	SEND_RAW(&t, "\x80\x01!\x82\x03x");
	turn_idle(&t);
	SEND_RAW(&t, "yz\x82\x00");
	HEARD(t.a, "T(ab\xc3\xbc!)B[(x)B](yz)B[]()");
	finish(&t);
}

static void
test_raw_bytes(void **state)
{
	uint8_t scratch[STREAM_HEADROOM + 2];
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.text_max = 10});
	ws_start(t.a.ws);
	ws_send_text(t.a.ws, "hi", 2);
	memcpy(scratch + STREAM_HEADROOM, "by", 2);
	ws_send_binary(t.a.ws, scratch + STREAM_HEADROOM, 2);
	EXPECT_RAW(&t, "\x81\x02hi\x82\x02"
	               "by");
	SEND_RAW(&t, "\x89\x83\0\0\0\0abc");
	EXPECT_RAW(&t, "\x8a\x03"
	               "abc");
	ws_shutdown(t.a.ws, WS_CODE_NORMAL, "done");
	ws_shutdown(t.a.ws, WS_CODE_POLICY, "twice does nothing");
	assert_true(ws_is_shutdown(t.a.ws));
	ws_send_text(t.a.ws, "nothing", 7);
	ws_send_ping(t.a.ws, "", 0);
	EXPECT_RAW(&t, "\x88\x06\x03\xe8"
	               "done");
	UNTIL(&t, t.a.drains == 1);
	/* No answers any more either. */
	SEND_RAW(&t, "\x89\x83\0\0\0\0abc\x88\x80\0\0\0\0");
	HEARD(t.a, "C(1005 )");
	close_side(&t.a, false);
	expect_raw_end(&t);
	finish(&t);
}

static void
test_early(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true,
	                 .text_max = 10,
	                 .early = (const uint8_t *)"\x81\x02hi\x81\x02",
	                 .early_len = 6});
	SEND_RAW(&t, "yo");
	turn_idle(&t);
	assert_string_equal(t.a.heard, "");
	ws_start(t.a.ws);
	assert_string_equal(t.a.heard, "");
	HEARD(t.a, "T(hi)T(yo)");
	finish(&t);
}

/* A stop in the middle of what was read holds the rest, in order. */
static void
test_stop(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	t.a.stop_on_text = true;
	ws_start(t.a.ws);
	SEND_RAW(&t, "\x81\x01"
	             "1\x81\x01"
	             "2\x82\x01"
	             "b\x81\x01"
	             "3\x88\x00");
	HEARD(t.a, "T(1)");
	SEND_RAW(&t, "ignored");
	turn_idle(&t);
	ws_start(t.a.ws);
	HEARD(t.a, "T(1)T(2)");
	turn_idle(&t);
	ws_start(t.a.ws);
	ws_stop(t.a.ws);
	turn_idle(&t);
	ws_start(t.a.ws);
	HEARD(t.a, "T(1)T(2)B[](b)T(3)");
	turn_idle(&t);
	ws_start(t.a.ws);
	HEARD(t.a, "T(1)T(2)B[](b)T(3)C(1005 )");
	turn_idle(&t);
	HEARD(t.a, "T(1)T(2)B[](b)T(3)C(1005 )");
	finish(&t);
}

/* --- trouble --- */

/* Reads until the end of the connection: one Close with this code. */
static void
expect_close(struct bench *t, bool is_masked, int code)
{
	uint8_t bytes[300], *at = bytes;
	char reason[WS_CONTROL_MAX - 1];
	struct ws_decoder d;
	struct ws_event ev;
	size_t n = 0;
	ssize_t k;
	int got;

	while ((k = recv(t->raw, bytes + n, sizeof bytes - n, 0)) != 0) {
		if (k > 0)
			n += (size_t)k;
		else
			assert_true(
			    errno == EAGAIN && loop_turn(t->loop, true));
	}
	ws_decoder_init(&d, is_masked);
	ws_decoder_next(&d, &at, &n, &ev);
	assert_int_equal(ev.kind, WS_EVENT_CONTROL);
	assert_int_equal(ev.opcode, WS_CLOSE);
	assert_int_equal(n, 0);
	assert_true(ws_frame_parse_close(ev.data, ev.len, &got, reason));
	assert_int_equal(got, code);
	assert_true(strlen(reason) > 0);
}

static void
assert_violation(const struct ws_options *o, const char *bytes, size_t n,
    enum err_code err, int code)
{
	struct bench t;

	open_raw(&t, o);
	ws_start(t.a.ws);
	send_raw(&t, bytes, n);
	UNTIL(&t, t.a.err.code != ERR_NONE);
	assert_int_equal(t.a.err.code, err);
	turn_idle(&t);
	/* Even a reset lets the Close out: the peer shall know why. */
	close_side(&t.a, true);
	expect_close(&t, o->client, code);
	finish(&t);
}

#define VIOLATION(o, bytes, err, code)                                         \
	assert_violation(o, bytes, sizeof(bytes) - 1, err, code)

static void
test_violations(void **state)
{
	static const struct ws_options client = {
	    .client = true, .text_max = 10};
	static const struct ws_options server = {.text_max = 10};

	(void)state;
	VIOLATION(&server, "\x82\x01x", ERR_PROTOCOL, 1002);
	VIOLATION(&client, "\x83\x00", ERR_PROTOCOL, 1002);
	VIOLATION(&client, "\x80\x00", ERR_PROTOCOL, 1002);
	VIOLATION(&client, "\xc1\x01x", ERR_PROTOCOL, 1002);
	VIOLATION(&client, "\x88\x01x", ERR_PROTOCOL, 1002);
	VIOLATION(&client, "\x88\x02\x03\xed", ERR_PROTOCOL, 1002);
	VIOLATION(&client, "\x88\x03\x03\xe8\xff", ERR_PROTOCOL, 1007);
	VIOLATION(&client, "\x81\x02\xc3\x28", ERR_PROTOCOL, 1007);
	VIOLATION(&client, "\x81\x01\xc3", ERR_PROTOCOL, 1007);
	VIOLATION(&client, "\x01\x01\xff", ERR_PROTOCOL, 1007);
	VIOLATION(&client, "\x01\x01\xc3\x80\x00", ERR_PROTOCOL, 1007);
	VIOLATION(&client, "\x81\x0bx", ERR_TOO_BIG, 1009);
	VIOLATION(&client,
	    "\x01\x06"
	    "abcdef\x80\x05x",
	    ERR_TOO_BIG, 1009);
	VIOLATION(&client, "\x81\x7f\x00\xff\0\0\0\0\0\0x", ERR_TOO_BIG, 1009);
}

static void
test_loss(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	ws_start(t.a.ws);
	SEND_RAW(&t, "\x81\x01x\x82\x05"
	             "ab");
	HEARD(t.a, "T(x)B[(ab)");
	close(t.raw);
	t.raw = -1;
	HEARD(t.a, "T(x)B[(ab)E(reset)");
	ws_send_text(t.a.ws, "into the void", 13);
	turn_idle(&t);
	finish(&t);
}

static void
test_half_close(void **state)
{
	struct bench t;

	(void)state;
	open_both(&t, false);
	ws_shutdown(t.a.ws, WS_CODE_GOING_AWAY, "leaving");
	HEARD(t.b, "C(1001 leaving)");
	assert_false(ws_is_shutdown(t.b.ws));
	assert_int_equal(t.a.drains, 1);
	ws_send_text(t.b.ws, "still here", 10);
	HEARD(t.a, "T(still here)");
	ws_shutdown(t.b.ws, WS_CODE_NONE, NULL);
	HEARD(t.a, "T(still here)C(1005 )");
	UNTIL(&t, t.b.drains == 1);
	close_side(&t.b, false);
	turn_idle(&t);
	/* The end of the connection after both Closes is no trouble. */
	HEARD(t.a, "T(still here)C(1005 )");
	assert_int_equal(t.a.drains, 1);
	finish(&t);
}

static void
test_answer_close(void **state)
{
	struct bench t;

	(void)state;
	open_both(&t, true);
	t.b.close_on_close = true;
	ws_shutdown(t.a.ws, 4321, "app");
	HEARD(t.b, "C(4321 app)");
	HEARD(t.a, "C(4321 )");
	finish(&t);
}

/* Closing inside callbacks; the Close that was sent still arrives. */
static void
test_close_inside(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 50});
	t.a.close_on_text = true;
	ws_start(t.a.ws);
	SEND_RAW(&t, "\x81\x01"
	             "1\x81\x01"
	             "2");
	HEARD(t.a, "T(1)");
	turn_idle(&t);
	finish(&t);

	open_raw(&t, &(struct ws_options){.client = true, .text_max = 50});
	t.a.close_on_text = true;
	ws_start(t.a.ws);
	SEND_RAW(&t, "\x01\x01"
	             "1\x80\x01"
	             "2\x81\x01"
	             "3");
	HEARD(t.a, "T(12)");
	turn_idle(&t);
	finish(&t);

	open_raw(&t, &(struct ws_options){.text_max = 50});
	ws_start(t.a.ws);
	ws_shutdown(t.a.ws, WS_CODE_INTERNAL, NULL);
	SEND_RAW(&t, "more that nobody will read");
	close_side(&t.a, false);
	EXPECT_RAW(&t, "\x88\x02\x03\xf3");
	expect_raw_end(&t);
	finish(&t);
}

/* Reads everything up to the end; how many bytes. */
static size_t
read_all(struct bench *t)
{
	uint8_t bytes[4096];
	size_t all = 0;
	ssize_t k;

	while ((k = recv(t->raw, bytes, sizeof bytes, 0)) != 0) {
		if (k > 0)
			all += (size_t)k;
		else
			assert_true(
			    errno == EAGAIN && loop_turn(t->loop, true));
	}
	return all;
}

#define MUCH ((size_t)1000 * 1000)

/* More than the kernel takes; the split adds a header to each frame. */
static size_t
send_much(struct bench *t)
{
	uint8_t *const scratch = calloc(1, STREAM_HEADROOM + MUCH);
	const size_t frames =
	    (MUCH - WS_FRAME_MAX + STREAM_TURN - 1) / STREAM_TURN + 1;

	assert_false(ws_send_binary(t->a.ws, scratch + STREAM_HEADROOM, MUCH));
	free(scratch);
	assert_true(ws_queued(t->a.ws) > STREAM_QUEUE_MARK);
	return MUCH + 4 * frames;
}

/* A Close behind a full queue: its on_drain comes once, when all is out. */
static void
test_drain_behind_queue(void **state)
{
	uint8_t bytes[4096];
	struct bench t;
	size_t left;

	(void)state;
	open_raw(&t, &(struct ws_options){.text_max = 50});
	ws_start(t.a.ws);
	left = send_much(&t);
	ws_shutdown(t.a.ws, WS_CODE_NORMAL, NULL);
	turn_idle(&t);
	assert_int_equal(t.a.drains, 0);
	while (left > 0) {
		const size_t most = left < sizeof bytes ? left : sizeof bytes;
		const ssize_t k = recv(t.raw, bytes, most, 0);

		if (k > 0)
			left -= (size_t)k;
		else
			loop_turn(t.loop, true);
	}
	EXPECT_RAW(&t, "\x88\x02\x03\xe8");
	UNTIL(&t, t.a.drains > 0);
	turn_idle(&t);
	assert_int_equal(t.a.drains, 1);
	finish(&t);
}

/* The owner closes while the Close waits behind a full queue: all goes out
 * nevertheless. A reset drops it. */
static void
test_close_behind_queue(void **state)
{
	struct bench t;
	size_t all;

	(void)state;
	open_raw(&t, &(struct ws_options){.text_max = 50});
	ws_start(t.a.ws);
	all = send_much(&t);
	ws_shutdown(t.a.ws, WS_CODE_NORMAL, NULL);
	close_side(&t.a, false);
	assert_int_equal(read_all(&t), all + 4);
	finish(&t);

	open_raw(&t, &(struct ws_options){.text_max = 50});
	ws_start(t.a.ws);
	all = send_much(&t);
	ws_shutdown(t.a.ws, WS_CODE_NORMAL, NULL);
	close_side(&t.a, true);
	turn_idle(&t);
	assert_true(read_all(&t) < all);
	finish(&t);

	/* But not when the peer is to be told what it did wrong. */
	open_raw(&t, &(struct ws_options){.text_max = 50});
	ws_start(t.a.ws);
	all = send_much(&t);
	SEND_RAW(&t, "\x82\x01x");
	HEARD(t.a, "E(protocol)");
	close_side(&t.a, true);
	assert_true(read_all(&t) > all + 4);
	finish(&t);
}

/* A peer that only sends pings and reads no answer costs a bounded queue. */
static void
test_ping_flood(void **state)
{
	char pings[131 * 100];
	struct bench t;
	size_t sent = 0;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 50});
	ws_start(t.a.ws);
	for (size_t i = 0; i < 100; i++) {
		memset(pings + i * 127, 'p', 127);
		memcpy(pings + i * 127, "\x89\x7d", 2);
	}
	for (int i = 0; sent < 8000; i++) {
		const ssize_t k = send(t.raw, pings, 12700, MSG_NOSIGNAL);

		sent += k == 12700 ? 100 : 0;
		assert_true(k < 0 || k == 12700);
		loop_turn(t.loop, false);
	}
	turn_idle(&t);
	assert_string_equal(t.a.heard, "");
	assert_true(ws_queued(t.a.ws) < 2 * STREAM_QUEUE_MARK);
	assert_true(ws_queued(t.a.ws) > STREAM_QUEUE_MARK);
	finish(&t);
}

/* Closing at once after each step of a life. */
static void
test_close_anywhere(void **state)
{
	(void)state;
	for (int step = 0; step < 8; step++) {
		for (int reset = 0; reset < 2; reset++) {
			struct bench t;

			open_raw(&t, &(struct ws_options){.client = true,
			                 .text_max = 50,
			                 .early = (const uint8_t *)"\x81\x01z",
			                 .early_len = 3});
			if (step >= 1)
				ws_start(t.a.ws);
			if (step == 2)
				ws_stop(t.a.ws);
			if (step >= 3)
				ws_send_text(t.a.ws, "x", 1);
			if (step >= 4)
				SEND_RAW(&t, "\x81\x01y");
			if (step >= 5)
				turn_idle(&t);
			if (step >= 6)
				ws_shutdown(t.a.ws, WS_CODE_NORMAL, "bye");
			if (step >= 7)
				turn_idle(&t);
			close_side(&t.a, reset);
			close(t.raw);
			t.raw = -1;
			finish(&t);
		}
	}
}

/* --- the face --- */

static void
take_face(struct side *s)
{
	s->face = ws_stream(s->ws);
	stream_set_owner(s->face, &face_events, s);
	stream_start(s->face);
}

static void
close_face(struct side *s)
{
	s->is_closed = true;
	stream_close(s->face);
}

static void
test_face(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	take_face(&t.a);
	/* Frames of one turn come as one piece, texts go beside it. */
	SEND_RAW(&t, "\x82\x02"
	             "ab\x02\x01"
	             "c\x00\x00\x80\x03"
	             "def\x81\x01t\x82\x01"
	             "g");
	HEARD(t.a, "F(abcdef)T(t)F(g)");
	assert_int_equal(t.a.face->bytes_in, 7);
	stream_put(t.a.face, "out", 3);
	assert_int_equal(t.a.face->bytes_out, 3);
	SEND_RAW(&t, "\x82\x01h\x88\x02\x03\xe8");
	HEARD(t.a, "F(abcdef)T(t)F(g)F(h)C(1000 )X()");
	stream_shutdown(t.a.face);
	UNTIL(&t, t.a.drains == 1);
	turn_idle(&t);
	assert_int_equal(t.a.drains, 1);
	close_face(&t.a);
	turn_idle(&t);
	finish(&t);
}

static void
test_face_stop(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	t.a.face_stops = true;
	take_face(&t.a);
	SEND_RAW(&t, "\x82\x01"
	             "a\x81\x01t\x82\x01"
	             "b\x88\x00");
	/* The text goes to the WebSocket's owner, whom the stop does not
	 * concern. */
	HEARD(t.a, "F(a)T(t)");
	turn_idle(&t);
	stream_start(t.a.face);
	HEARD(t.a, "F(a)T(t)F(b)C(1005 )");
	turn_idle(&t);
	stream_start(t.a.face);
	HEARD(t.a, "F(a)T(t)F(b)C(1005 )X()");
	close_face(&t.a);
	finish(&t);
}

static void
test_face_errors(void **state)
{
	struct bench t;

	(void)state;
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	take_face(&t.a);
	SEND_RAW(&t, "\x88\x06\x03\xf3oops");
	HEARD(t.a, "C(1011 oops)E(reset)");
	assert_non_null(strstr(t.a.err.text, "1011: oops"));
	close_face(&t.a);
	finish(&t);

	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	take_face(&t.a);
	close(t.raw);
	t.raw = -1;
	HEARD(t.a, "E(reset)");
	close_face(&t.a);
	finish(&t);

	/* Trouble before anybody listens is told when somebody does. */
	open_raw(&t, &(struct ws_options){.client = true, .text_max = 10});
	t.a.face = ws_stream(t.a.ws);
	send_raw(&t, "\x83\x00", 2);
	stream_start(t.a.face);
	turn_idle(&t);
	stream_set_owner(t.a.face, &face_events, &t.a);
	stream_start(t.a.face);
	HEARD(t.a, "E(protocol)");
	close_face(&t.a);
	finish(&t);
}

/* --- bulk through pumps: app = pump = client ~ server = pump = app --- */

#define BULK ((size_t)8 * 1024 * 1024)

struct transfer {
	int fd;
	size_t sent;
	size_t got;
	bool got_end;
	uint32_t out_seed, in_seed;
};

static void
on_done(void *owner, const struct err *err, bool from_a)
{
	int *done = owner;

	(void)from_a;
	assert_null(err);
	++*done;
}

static const struct pump_events pump_events = {.on_done = on_done};

static uint8_t
next_byte(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return (uint8_t)(*seed >> 24);
}

static void
send_some(struct transfer *x)
{
	uint8_t bytes[8192];

	while (x->sent < BULK) {
		const uint32_t before = x->out_seed;
		ssize_t n;

		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = next_byte(&x->out_seed);
		n = send(x->fd, bytes, sizeof bytes, MSG_NOSIGNAL);
		x->out_seed = before;
		if (n < 0)
			return;
		for (ssize_t i = 0; i < n; i++)
			next_byte(&x->out_seed);
		x->sent += (size_t)n;
		if (x->sent >= BULK)
			shutdown(x->fd, SHUT_WR);
	}
}

static void
receive_some(struct transfer *x, size_t most)
{
	uint8_t bytes[8192];
	ssize_t n = 1;

	while (most > 0 && n > 0) {
		n = recv(x->fd, bytes, sizeof bytes, 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(bytes[i], next_byte(&x->in_seed));
		if (n > 0)
			x->got += (size_t)n;
		x->got_end = x->got_end || n == 0;
		most -= most < sizeof bytes ? most : sizeof bytes;
	}
}

static void
test_bulk(void **state)
{
	struct transfer x = {.out_seed = 1, .in_seed = 2};
	struct transfer y = {.out_seed = 2, .in_seed = 1};
	struct stream *s[2] = {(void *)1, NULL};
	struct pump *left, *right;
	int fds[2], done = 0;
	struct bench t;

	(void)state;
	open_both(&t, false);
	open_pair(t.loop, s, fds);
	x.fd = fds[1];
	left = pump_open(s[0], ws_stream(t.a.ws), &pump_events, &done);
	open_pair(t.loop, s, fds);
	y.fd = fds[1];
	right = pump_open(ws_stream(t.b.ws), s[0], &pump_events, &done);
	t.a.is_given = t.b.is_given = true;
	while (done < 2 || !x.got_end || !y.got_end) {
		send_some(&x);
		send_some(&y);
		/* One of them reads slowly: back-pressure on one side. */
		receive_some(&x, 1 << 20);
		receive_some(&y, 1 << 14);
		loop_turn(t.loop, false);
	}
	/* Each sender stops at the first whole block at or above BULK. */
	assert_int_equal(x.got, y.sent);
	assert_int_equal(y.got, x.sent);
	assert_true(x.got >= BULK);
	pump_close(left);
	pump_close(right);
	close(x.fd);
	close(y.fd);
	finish(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_pieces),
	    cmocka_unit_test(test_raw_bytes),
	    cmocka_unit_test(test_early),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_violations),
	    cmocka_unit_test(test_loss),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_answer_close),
	    cmocka_unit_test(test_close_inside),
	    cmocka_unit_test(test_drain_behind_queue),
	    cmocka_unit_test(test_close_behind_queue),
	    cmocka_unit_test(test_ping_flood),
	    cmocka_unit_test(test_close_anywhere),
	    cmocka_unit_test(test_face),
	    cmocka_unit_test(test_face_stop),
	    cmocka_unit_test(test_face_errors),
	    cmocka_unit_test(test_bulk),
	};

	return cmocka_run_group_tests_name("ws", tests, NULL, NULL);
}
