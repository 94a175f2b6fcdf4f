/* SPDX-License-Identifier: MIT
 *
 * A mux against frames made by hand: what a hostile or broken other side can
 * send. Each ends its stream or the session with a clear error and the right
 * HTTP/2 code, and nothing is held beyond its bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memstream.h"
#include "mux/mux.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/buf.h"
#include "util/text.h"

enum frame_type {
	DATA = 0,
	HEADERS = 1,
	PRIORITY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PUSH_PROMISE = 5,
	PING = 6,
	GOAWAY = 7,
	WINDOW_UPDATE = 8,
	CONTINUATION = 9,
};

enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

enum {
	NO_ERROR = 0,
	PROTOCOL_ERROR = 1,
	FLOW_CONTROL_ERROR = 3,
	REFUSED_STREAM = 7,
	CALM = 11,
};

/* The hand-made side: what it heard, by type and stream. */
struct raw {
	struct loop *loop;
	struct stream *wire;
	struct mux *mux;
	struct mux_budget *budget;
	struct buf got;
	struct buf block; /* a header list that is being made */
	struct recorder channels[300];
	struct err end_err;
	int counts[16];
	size_t data_bytes;
	int ends;
	int requests;
	int cancels;
	int logins;
	int login_answers;
	int opens;
	int32_t goaway;   /* its code; -1: none came */
	int32_t last_rst; /* the same */
	uint32_t last_rst_stream;
	int rst_calm;
	bool wire_ended;
	bool holds_login;
	bool hesitates;
	bool is_stopped;
};

/* --- making frames --- */

static void
frame(struct raw *r, enum frame_type type, int flags, uint32_t stream,
    const void *payload, size_t len)
{
	static uint8_t f[9 + MUX_FRAME_MAX + 1];

	assert_true(len <= sizeof f - 9);
	f[0] = (uint8_t)(len >> 16);
	f[1] = (uint8_t)(len >> 8);
	f[2] = (uint8_t)len;
	f[3] = (uint8_t)type;
	f[4] = (uint8_t)flags;
	f[5] = (uint8_t)(stream >> 24);
	f[6] = (uint8_t)(stream >> 16);
	f[7] = (uint8_t)(stream >> 8);
	f[8] = (uint8_t)stream;
	if (len > 0)
		memcpy(f + 9, payload, len);
	stream_put(r->wire, f, 9 + len);
}

/* A literal field without indexing, without Huffman (RFC 7541, 6.2.2). */
static void
field(struct raw *r, const char *name, const char *value)
{
	const uint8_t n[2] = {0, (uint8_t)strlen(name)};
	const uint8_t v = (uint8_t)strlen(value);

	assert_true(strlen(name) < 127 && strlen(value) < 127);
	buf_append(&r->block, n, 2);
	buf_append_text(&r->block, name);
	buf_append(&r->block, &v, 1);
	buf_append_text(&r->block, value);
}

static void
headers(struct raw *r, uint32_t stream, int flags)
{
	frame(r, HEADERS, flags | END_HEADERS, stream, buf_data(&r->block),
	    buf_len(&r->block));
	buf_consume(&r->block, buf_len(&r->block));
}

static void
login(struct raw *r, uint32_t stream)
{
	field(r, ":method", "GET");
	field(r, ":scheme", "https");
	field(r, ":authority", "hyco");
	field(r, ":path", "/login");
	headers(r, stream, END_STREAM);
}

static void
connect_to(struct raw *r, uint32_t stream, const char *authority)
{
	field(r, ":method", "CONNECT");
	field(r, ":authority", authority);
	headers(r, stream, 0);
}

static void
rst(struct raw *r, uint32_t stream, uint8_t code)
{
	const uint8_t payload[4] = {0, 0, 0, code};

	frame(r, RST_STREAM, 0, stream, payload, 4);
}

/* --- hearing --- */

static uint32_t
number(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void
hear(struct raw *r, const uint8_t *f, size_t len)
{
	r->counts[f[3] & 15]++;
	if (f[3] == DATA)
		r->data_bytes += len - 9;
	if (f[3] == GOAWAY)
		r->goaway = (int32_t)number(f + 13);
	if (f[3] == RST_STREAM) {
		r->last_rst = (int32_t)number(f + 9);
		r->last_rst_stream = number(f + 5);
		r->rst_calm += r->last_rst == CALM;
	}
}

static void
wire_on_data(void *owner, uint8_t *data, size_t len)
{
	struct raw *r = owner;

	buf_append(&r->got, data, len);
	while (buf_len(&r->got) >= 9) {
		const uint8_t *f = buf_data(&r->got);
		const size_t n =
		    ((size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2]) + 9;

		if (memcmp(f, "PRI * HTTP/2.0", 9) == 0) {
			if (buf_len(&r->got) < 24)
				return;
			buf_consume(&r->got, 24);
			continue;
		}
		if (buf_len(&r->got) < n)
			return;
		hear(r, f, n);
		buf_consume(&r->got, n);
	}
}

static void
wire_on_end(void *owner)
{
	((struct raw *)owner)->wire_ended = true;
}

static void
wire_on_drain(void *owner)
{
	(void)owner;
}

static void
wire_on_error(void *owner, const struct err *e)
{
	(void)e;
	((struct raw *)owner)->wire_ended = true;
}

static const struct stream_events wire_events = {
    .on_data = wire_on_data,
    .on_end = wire_on_end,
    .on_drain = wire_on_drain,
    .on_error = wire_on_error,
};

/* --- the mux's owner --- */

static void
on_login(void *owner, const char *user, const char *password)
{
	struct raw *r = owner;

	(void)user;
	(void)password;
	r->logins++;
	if (!r->holds_login)
		mux_login_answer(r->mux, true);
}

static void
on_request(void *owner, struct mux_request *q)
{
	struct raw *r = owner;
	const int i = r->requests++;

	if (r->hesitates || i >= 300)
		return;
	recorder_own(&r->channels[i], mux_accept(q, NULL));
	if (!r->is_stopped)
		stream_start(r->channels[i].stream);
}

static void
on_cancel(void *owner, struct mux_request *q)
{
	(void)q;
	((struct raw *)owner)->cancels++;
}

static void
on_login_done(void *owner, const struct err *e)
{
	(void)e;
	((struct raw *)owner)->login_answers++;
}

static void
on_end(void *owner, const struct err *e)
{
	struct raw *r = owner;

	r->ends++;
	r->end_err = e ? *e : (struct err){0};
}

static const struct mux_events events = {
    .on_login = on_login,
    .on_request = on_request,
    .on_cancel = on_cancel,
    .on_login_done = on_login_done,
    .on_end = on_end,
};

static void
raw_open(struct raw *r, bool is_server)
{
	struct stream *below;
	struct mux_options o = {0};
	struct err e;

	memset(r, 0, sizeof *r);
	r->goaway = r->last_rst = -1;
	r->loop = loop_new(&e);
	assert_non_null(r->loop);
	buf_init(&r->got, 1 << 24);
	buf_init(&r->block, 1 << 20);
	memstream_pair(r->loop, &below, &r->wire);
	stream_set_owner(r->wire, &wire_events, r);
	stream_start(r->wire);
	r->budget = mux_budget_new((size_t)1 << 28);
	o.budget = r->budget;
	r->mux = is_server ? mux_server(below, &o, &events, r)
	                   : mux_client(below, &o, &events, r);
}

static void
greet(struct raw *r)
{
	stream_put(r->wire, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	frame(r, SETTINGS, 0, 0, NULL, 0);
}

/* A server with a client that has logged in. */
static void
raw_open_server(struct raw *r)
{
	raw_open(r, true);
	greet(r);
	login(r, 1);
	RUN_UNTIL(r->loop, r->logins == 1 && r->counts[HEADERS] == 1);
}

static void
raw_close(struct raw *r)
{
	for (int i = 0; i < 300; i++)
		recorder_close(&r->channels[i]);
	mux_close(r->mux);
	stream_close(r->wire);
	assert_true(loop_close(r->loop));
	assert_int_equal(mux_budget_held(r->budget), 0);
	mux_budget_unref(r->budget);
	buf_fini(&r->got);
	buf_fini(&r->block);
}

static void
turns(struct raw *r, int n)
{
	while (n-- > 0)
		loop_turn(r->loop, false);
}

static void
expect_goaway(struct raw *r, int32_t code)
{
	RUN_UNTIL(r->loop, r->ends == 1);
	RUN_UNTIL(r->loop, r->goaway >= 0);
	assert_int_equal(r->goaway, code);
	assert_true(
	    r->end_err.code == ERR_PROTOCOL || r->end_err.code == ERR_TOO_BIG);
	raw_close(r);
}

/* --- floods --- */

static void
test_rapid_reset(void **state)
{
	struct raw r;
	uint32_t id = 3;

	(void)state;
	raw_open_server(&r);
	r.hesitates = true;
	for (int i = 0; i < 1000; i++, id += 2) {
		connect_to(&r, id, "h:1");
		rst(&r, id, 8);
		if (i % 100 == 99)
			RUN_UNTIL(r.loop, stream_queued(r.wire) == 0);
	}
	turns(&r, 50);
	assert_int_equal(r.requests, 1000);
	assert_int_equal(r.cancels, 1000);
	assert_int_equal(r.ends, 0);
	assert_int_equal(mux_channels(r.mux), 0);
	connect_to(&r, id, "h:1");
	rst(&r, id, 8);
	expect_goaway(&r, CALM);
}

/* The client resets nothing: it makes the server do it. */
static void
test_made_to_reset(void **state)
{
	static const uint8_t most[4] = {0x7f, 0xff, 0xff, 0xff};
	struct raw r;
	uint32_t id = 3;

	(void)state;
	raw_open_server(&r);
	for (int i = 0; i < 1100 && r.ends == 0; i++, id += 2) {
		connect_to(&r, id, "h:1");
		frame(&r, WINDOW_UPDATE, 0, id, most, 4);
		turns(&r, 3);
	}
	expect_goaway(&r, CALM);
}

static void
test_continuations(void **state)
{
	struct raw r;

	(void)state;
	raw_open_server(&r);
	frame(&r, HEADERS, 0, 3, "", 0);
	for (int i = 0; i < 9; i++)
		frame(&r, CONTINUATION, 0, 3, "", 0);
	expect_goaway(&r, CALM);
}

static void
test_settings_flood(void **state)
{
	struct raw r;

	(void)state;
	raw_open_server(&r);
	for (int i = 0; i < 99; i++)
		frame(&r, SETTINGS, 0, 0, NULL, 0);
	turns(&r, 50);
	assert_int_equal(r.ends, 0);
	frame(&r, SETTINGS, 0, 0, NULL, 0);
	expect_goaway(&r, CALM);
}

static void
test_ping_flood(void **state)
{
	struct raw r;

	(void)state;
	raw_open_server(&r);
	for (int i = 0; i < 100; i++)
		frame(&r, PING, 0, 0, "12345678", 8);
	turns(&r, 50);
	assert_int_equal(r.ends, 0);
	assert_int_equal(r.counts[PING], 100);
	frame(&r, PING, 0, 0, "12345678", 8);
	expect_goaway(&r, CALM);
}

static void
test_empty_data_flood(void **state)
{
	struct raw r;

	(void)state;
	raw_open_server(&r);
	connect_to(&r, 3, "h:1");
	for (int i = 0; i < 101; i++)
		frame(&r, DATA, 0, 3, NULL, 0);
	expect_goaway(&r, CALM);
}

/* --- header lists --- */

/* One entry of the dynamic table, then a byte for each copy of it. */
static void
test_header_bomb(void **state)
{
	uint8_t entry[3900];
	uint8_t copies[9000];
	struct raw r;

	(void)state;
	raw_open_server(&r);
	memset(copies, 0x80 | 62, sizeof copies);
	field(&r, ":method", "CONNECT");
	field(&r, ":authority", "h:1");
	/* Literal with indexing, "x", length 3900 as a prefix integer. */
	memset(entry, 'a', sizeof entry);
	buf_append(&r.block, "\x40\x01x\x7f\xbd\x1d", 6);
	buf_append(&r.block, entry, 3900);
	buf_append(&r.block, copies, sizeof copies);
	headers(&r, 3, 0);
	expect_goaway(&r, CALM);
}

static void
test_long_list_is_refused(void **state)
{
	char value[101];
	struct raw r;

	(void)state;
	memset(value, 'v', 100);
	value[100] = '\0';
	raw_open_server(&r);
	field(&r, ":method", "CONNECT");
	field(&r, ":authority", "h:1");
	for (int i = 0; i < 130; i++)
		field(&r, "x", value);
	headers(&r, 3, 0);
	RUN_UNTIL(r.loop, r.counts[HEADERS] == 2);
	RUN_UNTIL(r.loop, r.last_rst == NO_ERROR);
	assert_int_equal(r.requests, 0);
	connect_to(&r, 5, "h:1");
	RUN_UNTIL(r.loop, r.requests == 1);
	raw_close(&r);
}

static void
test_bad_targets(void **state)
{
	static const char *const targets[] = {
	    "h", "h:0", "h:65536", "a b:1", "[::1:5", ":5", "h:+5"};
	struct raw r;
	uint32_t id = 3;

	(void)state;
	raw_open_server(&r);
	for (size_t i = 0; i < 7; i++, id += 2)
		connect_to(&r, id, targets[i]);
	field(&r, ":method", "GET");
	field(&r, ":scheme", "https");
	field(&r, ":authority", "hyco");
	field(&r, ":path", "/");
	headers(&r, id, END_STREAM);
	login(&r, id + 2); /* once is enough */
	turns(&r, 100);
	assert_int_equal(r.requests, 0);
	assert_int_equal(r.logins, 1);
	assert_int_equal(r.ends, 0);
	assert_int_equal(mux_channels(r.mux), 0);
	raw_close(&r);
}

/* --- frames that are not allowed --- */

static void
test_not_http2(void **state)
{
	struct raw r;

	(void)state;
	raw_open(&r, true);
	stream_put(r.wire, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
	RUN_UNTIL(r.loop, r.ends == 1);
	assert_int_equal(r.end_err.code, ERR_PROTOCOL);
	raw_close(&r);
}

/* Bulk of a channel that is alone is one frame, if the other side takes it. */
static void
test_large_frames(void **state)
{
	static const uint8_t announced[6] = {0, 5, 0, 1, 0, 0};
	static uint8_t data[MUX_FRAME_MAX];
	struct raw r;

	(void)state;
	memstream_fill(data, sizeof data, 0);
	for (int i = 0; i < 2; i++) {
		raw_open_server(&r);
		frame(&r, SETTINGS, 0, 0, announced, i ? 6 : 0);
		frame(&r, SETTINGS, ACK, 0, NULL, 0);
		connect_to(&r, 3, "h:1");
		frame(&r, DATA, 0, 3, data, sizeof data);
		RUN_UNTIL(r.loop, r.channels[0].bytes == sizeof data);
		assert_true(
		    r.channels[0].hash == memstream_fill_hash(sizeof data));
		assert_int_equal(r.counts[DATA], 0);
		stream_put(r.channels[0].stream, data, MUX_TURN - 1);
		stream_put(r.channels[0].stream, data, 1);
		stream_shutdown(r.channels[0].stream);
		RUN_UNTIL(r.loop, r.channels[0].drains == 1);
		RUN_UNTIL(r.loop, r.data_bytes == MUX_TURN);
		assert_int_equal(r.counts[DATA], i ? 2 : 5);
		raw_close(&r);
	}
}

static void
test_connection_errors(void **state)
{
	struct raw r;
	static uint8_t big[MUX_FRAME_MAX + 1];

	(void)state;
	/* DATA without a stream. */
	raw_open_server(&r);
	frame(&r, DATA, 0, 7, "x", 1);
	expect_goaway(&r, PROTOCOL_ERROR);
	/* An even stream from a client. */
	raw_open_server(&r);
	connect_to(&r, 4, "h:1");
	expect_goaway(&r, PROTOCOL_ERROR);
	/* A push by a client. */
	raw_open_server(&r);
	frame(&r, PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2", 4);
	expect_goaway(&r, PROTOCOL_ERROR);
	/* A frame that is too long. */
	raw_open_server(&r);
	connect_to(&r, 3, "h:1");
	frame(&r, DATA, 0, 3, big, sizeof big);
	expect_goaway(&r, 6);
	/* Compression that breaks. */
	raw_open_server(&r);
	frame(&r, HEADERS, END_HEADERS, 3, "\xff\xff\xff\xff\xff\x7f", 6);
	expect_goaway(&r, 9);
}

/* More DATA than the window: at most the window is held. */
static void
test_window_overrun(void **state)
{
	uint8_t data[16384] = {0};
	struct raw r;

	(void)state;
	raw_open_server(&r);
	frame(&r, SETTINGS, ACK, 0, NULL, 0);
	r.is_stopped = true;
	connect_to(&r, 3, "h:1");
	RUN_UNTIL(r.loop, r.requests == 1);
	for (int i = 0; i < 16; i++) {
		frame(&r, DATA, 0, 3, data, sizeof data);
		turns(&r, 3);
	}
	assert_int_equal(mux_budget_held(r.budget), MUX_WINDOW_MIN);
	assert_int_equal(r.last_rst, -1);
	frame(&r, DATA, 0, 3, data, 1);
	RUN_UNTIL(r.loop, r.last_rst >= 0 || r.goaway >= 0);
	assert_int_equal(
	    r.last_rst >= 0 ? r.last_rst : r.goaway, FLOW_CONTROL_ERROR);
	RUN_UNTIL(r.loop, r.channels[0].errors == 1);
	raw_close(&r);
}

/* --- before the login --- */

static void
test_requests_before_login(void **state)
{
	struct raw r;

	(void)state;
	raw_open(&r, true);
	r.holds_login = true;
	greet(&r);
	login(&r, 1);
	for (uint32_t i = 0; i < MUX_HELD_REQUESTS + 10; i++) {
		connect_to(&r, 3 + 2 * i, "h:1");
		turns(&r, 1);
	}
	RUN_UNTIL(r.loop, r.counts[RST_STREAM] == 10);
	assert_int_equal(r.last_rst, REFUSED_STREAM);
	assert_int_equal(mux_channels(r.mux), MUX_HELD_REQUESTS);
	mux_login_answer(r.mux, true);
	RUN_UNTIL(r.loop, r.requests == MUX_HELD_REQUESTS);
	raw_close(&r);
}

static void
test_data_before_login(void **state)
{
	uint8_t data[16384] = {0};
	struct raw r;

	(void)state;
	raw_open(&r, true);
	r.holds_login = true;
	greet(&r);
	frame(&r, SETTINGS, ACK, 0, NULL, 0);
	login(&r, 1);
	for (uint32_t i = 0; i < 20; i++) {
		connect_to(&r, 3 + 2 * i, "h:1");
		for (int j = 0; j < 16; j++) {
			frame(&r, DATA, 0, 3 + 2 * i, data, sizeof data);
			turns(&r, 2);
		}
		assert_true(mux_budget_held(r.budget) <= MUX_HELD_BYTES);
	}
	RUN_UNTIL(r.loop, r.rst_calm == 4);
	assert_int_equal(mux_budget_held(r.budget), MUX_HELD_BYTES);
	assert_int_equal(r.ends, 0);
	raw_close(&r);
}

/* --- a hostile server --- */

static void
test_server_floods(void **state)
{
	struct raw r;

	(void)state;
	raw_open(&r, false);
	frame(&r, SETTINGS, 0, 0, NULL, 0);
	for (int i = 0; i < 101; i++)
		frame(&r, PING, 0, 0, "12345678", 8);
	expect_goaway(&r, CALM);
}

static void
test_server_goaway(void **state)
{
	struct raw r;

	(void)state;
	raw_open(&r, false);
	frame(&r, SETTINGS, 0, 0, NULL, 0);
	frame(&r, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\x0bgo \x1b[31m away", 20);
	RUN_UNTIL(r.loop, r.ends == 1);
	assert_int_equal(r.end_err.code, ERR_PROTOCOL);
	assert_non_null(strstr(r.end_err.text, "ENHANCE_YOUR_CALM"));
	assert_non_null(strstr(r.end_err.text, "go \\x1b"));
	raw_close(&r);
}

/* Interim answers are skipped, trailers end, odd answers refuse. */
static void
test_server_answers(void **state)
{
	static const struct mux_target t = {MUX_TCP, "h", 1};
	struct raw r;
	struct err e;

	(void)state;
	raw_open(&r, false);
	frame(&r, SETTINGS, 0, 0, NULL, 0);
	for (int i = 0; i < 4; i++) {
		recorder_own(&r.channels[i], mux_connect(r.mux, &t, &e));
		stream_start(r.channels[i].stream);
	}
	RUN_UNTIL(r.loop, r.counts[HEADERS] == 5);
	field(&r, ":status", "103");
	headers(&r, 3, 0);
	turns(&r, 5);
	assert_int_equal(r.channels[0].opens, 0);
	field(&r, ":status", "200");
	headers(&r, 3, 0);
	frame(&r, DATA, 0, 3, "text", 4);
	field(&r, "x-trailer", "1");
	headers(&r, 3, END_STREAM);
	RUN_UNTIL(r.loop, r.channels[0].ends == 1);
	assert_int_equal(r.channels[0].opens, 1);
	assert_string_equal(r.channels[0].text, "text");
	field(&r, ":status", "204");
	headers(&r, 5, END_STREAM);
	field(&r, ":status", "502");
	field(
	    &r, "proxy-status", "x; a=\"error=1;\\\"\", hyco;error=dns_error");
	headers(&r, 7, END_STREAM);
	rst(&r, 9, 2);
	RUN_UNTIL(r.loop, r.channels[1].errors && r.channels[2].errors &&
	                      r.channels[3].errors);
	assert_int_equal(r.channels[1].err.code, ERR_REFUSED);
	assert_int_equal(r.channels[2].err.code, ERR_UNREACHABLE);
	assert_int_equal(r.channels[3].err.code, ERR_RESET);
	assert_int_equal(r.login_answers, 0);
	assert_int_equal(r.ends, 0);
	raw_close(&r);
}

/* What a channel sends after its answer said no is dropped. */
static void
test_codes_of_our_resets(void **state)
{
	struct raw r;

	(void)state;
	raw_open_server(&r);
	connect_to(&r, 3, "h:1");
	connect_to(&r, 5, "h:1");
	RUN_UNTIL(r.loop, r.requests == 2);
	stream_reset(r.channels[0].stream);
	r.channels[0].stream = NULL;
	RUN_UNTIL(r.loop, r.last_rst_stream == 3);
	assert_int_equal(r.last_rst, 10); /* CONNECT_ERROR */
	frame(&r, DATA, 0, 3, "late", 4);
	recorder_close(&r.channels[1]);
	RUN_UNTIL(r.loop, r.last_rst_stream == 5);
	assert_int_equal(r.last_rst, 8); /* CANCEL */
	turns(&r, 10);
	assert_int_equal(r.ends, 0);
	raw_close(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rapid_reset),
	    cmocka_unit_test(test_made_to_reset),
	    cmocka_unit_test(test_continuations),
	    cmocka_unit_test(test_settings_flood),
	    cmocka_unit_test(test_ping_flood),
	    cmocka_unit_test(test_empty_data_flood),
	    cmocka_unit_test(test_header_bomb),
	    cmocka_unit_test(test_long_list_is_refused),
	    cmocka_unit_test(test_bad_targets),
	    cmocka_unit_test(test_not_http2),
	    cmocka_unit_test(test_large_frames),
	    cmocka_unit_test(test_connection_errors),
	    cmocka_unit_test(test_window_overrun),
	    cmocka_unit_test(test_requests_before_login),
	    cmocka_unit_test(test_data_before_login),
	    cmocka_unit_test(test_server_floods),
	    cmocka_unit_test(test_server_goaway),
	    cmocka_unit_test(test_server_answers),
	    cmocka_unit_test(test_codes_of_our_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
