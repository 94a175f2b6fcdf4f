/* SPDX-License-Identifier: MIT
 *
 * The stream of the sample way over memory, with the other side's WebSocket in
 * the test's hand: the ends towards an original, the Pings, and a peer that
 * is there no more.
 */
#include "tunnel/way_sample_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memstream.h"
#include "net/loop.h"
#include "net/stream.h"
#include "ws/ws.h"
#include "ws/ws_frame.h"

struct peer {
	struct loop *loop;
	struct stream *near; /* below ours */
	struct recorder ours;
	struct ws *ws;
	char text[256];
	unsigned texts;
	size_t bytes;
	int close_code;
	unsigned lost;
};

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct peer *p = owner;

	assert_true(len < sizeof(p->text));
	memcpy(p->text, data, len);
	p->text[len] = '\0';
	p->texts++;
}

static void
on_binary(void *owner, uint8_t *data, size_t len, bool start, bool end)
{
	struct peer *p = owner;

	(void)data;
	(void)start;
	(void)end;
	assert_true(len > 0);
	p->bytes += len;
}

static void
on_close(void *owner, int code, const char *reason)
{
	struct peer *p = owner;

	(void)reason;
	p->close_code = code;
}

static void
on_error(void *owner, const struct err *err)
{
	struct peer *p = owner;

	(void)err;
	p->lost++;
}

static const struct ws_events peer_events = {
    .on_text = on_text,
    .on_binary = on_binary,
    .on_close = on_close,
    .on_error = on_error,
};

static const struct stream_events no_events;

static void
open_peer(struct peer *p, const struct way_sample_stream_options *o)
{
	const struct ws_options server = {.text_max = 4096};
	struct stream *far, *s;
	struct ws *w;
	struct err e;

	memset(p, 0, sizeof(*p));
	p->loop = loop_new(&e);
	memstream_pair(p->loop, &p->near, &far);
	p->ws = ws_open(far, &server, &peer_events, p);
	ws_start(p->ws);
	w = ws_open(p->near, &way_sample_stream_ws, NULL, NULL);
	s = way_sample_stream_open(w, o, &no_events, NULL);
	recorder_own(&p->ours, s);
	if (o->is_listener)
		stream_start(s);
}

static void
close_peer(struct peer *p)
{
	recorder_close(&p->ours);
	if (p->ws != NULL)
		ws_close(p->ws, true);
	loop_run(p->loop);
	assert_true(loop_close(p->loop));
}

static void
say(struct peer *p, const char *text)
{
	ws_send_text(p->ws, text, strlen(text));
}

static void
send_bytes(struct peer *p, size_t n)
{
	uint8_t data[STREAM_HEADROOM + 1000] = {0};

	assert_true(n <= 1000);
	ws_send_binary(p->ws, data + STREAM_HEADROOM, n);
}

/* Ready and the first bytes lie in one read: the bytes wait for a reader. */
static void
test_ready_and_bytes_together(void **state)
{
	static const struct way_sample_stream_options o = {.ping_ms = 60000};
	struct peer p;

	(void)state;
	open_peer(&p, &o);
	say(&p, "{\"status\":\"other\"}");
	say(&p, "{\"status\":\"ready\",\"halfClose\":true}");
	send_bytes(&p, 1000);
	RUN_UNTIL(p.loop, p.ours.opens == 1);
	assert_int_equal(p.ours.bytes, 0);
	assert_true(way_sample_stream_has_half_close(p.ours.stream));
	stream_start(p.ours.stream);
	RUN_UNTIL(p.loop, p.ours.bytes == 1000);
	say(&p, "{\"status\":\"ready\"}");
	send_bytes(&p, 1);
	RUN_UNTIL(p.loop, p.ours.bytes == 1001);
	assert_int_equal(p.ours.opens, 1);
	close_peer(&p);
}

/* Both directions end by themselves, and each end is told once. */
static void
test_half_close(void **state)
{
	static const struct way_sample_stream_options o = {
	    .is_listener = true,
	    .details = "d",
	    .half_close = true,
	    .ping_ms = 60000,
	};
	struct peer p;

	(void)state;
	open_peer(&p, &o);
	stream_shutdown(p.ours.stream);
	RUN_UNTIL(p.loop, p.close_code == 1000 && p.ours.drains == 1);
	send_bytes(&p, 10);
	RUN_UNTIL(p.loop, p.ours.bytes == 10);
	ws_shutdown(p.ws, WS_CODE_NONE, NULL);
	RUN_UNTIL(p.loop, p.ours.ends == 1);
	assert_int_equal(p.ours.errors, 0);
	close_peer(&p);
}

/* Towards an original: no Close before its Pong, one on_drain after it. */
static void
test_grace(void **state)
{
	static const struct way_sample_stream_options o = {
	    .is_listener = true, .details = "d", .ping_ms = 60000};
	struct peer p;

	(void)state;
	open_peer(&p, &o);
	RUN_UNTIL(p.loop, p.texts == 1);
	memstream_stall(p.near, true);
	stream_put(p.ours.stream, "bytes", 5);
	stream_shutdown(p.ours.stream);
	RUN_UNTIL(p.loop, p.bytes == 5);
	for (unsigned i = 0; i < 10; i++)
		loop_turn(p.loop, false);
	assert_int_equal(p.close_code, 0);
	assert_int_equal(p.ours.drains, 0);
	memstream_stall(p.near, false);
	RUN_UNTIL(p.loop, p.close_code == 1000 && p.ours.drains == 1);
	ws_shutdown(p.ws, WS_CODE_NORMAL, NULL);
	RUN_UNTIL(p.loop, p.ours.ends == 1);
	assert_int_equal(p.ours.drains, 1);
	close_peer(&p);
}

/* An original that leaves first is answered, and what we say then is dropped;
 * our own end is told as done. */
static void
test_original_leaves(void **state)
{
	static const struct way_sample_stream_options o = {
	    .is_listener = true, .details = "d", .ping_ms = 60000};
	struct peer p;

	(void)state;
	open_peer(&p, &o);
	ws_shutdown(p.ws, WS_CODE_NORMAL, NULL);
	RUN_UNTIL(p.loop, p.close_code == 1000 && p.ours.ends == 1);
	assert_true(stream_put(p.ours.stream, "late", 4));
	p.ours.drains = 0;
	stream_shutdown(p.ours.stream);
	RUN_UNTIL(p.loop, p.ours.drains == 1);
	assert_int_equal(p.bytes, 0);
	assert_int_equal(p.ours.errors, 0);
	close_peer(&p);
}

static void
test_reset_is_told(void **state)
{
	static const struct {
		struct way_sample_stream_options o;
		int code;
	} rows[] = {
	    {{.is_listener = true, .details = "d", .ping_ms = 60000}, 1000},
	    {{.is_listener = true,
	         .details = "d",
	         .half_close = true,
	         .ping_ms = 60000},
	        1011},
	    {{.ping_ms = 60000}, 1011},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct peer p;

		open_peer(&p, &rows[i].o);
		stream_reset(p.ours.stream);
		p.ours.stream = NULL;
		RUN_UNTIL(p.loop, p.close_code != 0);
		assert_int_equal(p.close_code, rows[i].code);
		assert_non_null(strstr(p.text, "\"status\":\"error\""));
		close_peer(&p);
	}
}

/* After our Close only a broken connection can say that it is a reset. */
static void
test_reset_after_close(void **state)
{
	static const struct way_sample_stream_options o = {
	    .is_listener = true,
	    .details = "d",
	    .half_close = true,
	    .ping_ms = 60000,
	};
	struct peer p;

	(void)state;
	open_peer(&p, &o);
	stream_shutdown(p.ours.stream);
	RUN_UNTIL(p.loop, p.close_code == 1000);
	stream_reset(p.ours.stream);
	p.ours.stream = NULL;
	RUN_UNTIL(p.loop, p.lost == 1);
	close_peer(&p);
}

/* A peer that answered once and then falls silent is gone; one that is only
 * not read, because our own sink is full, is not. */
static void
test_silence(void **state)
{
	static const struct way_sample_stream_options o = {
	    .is_listener = true, .details = "d", .ping_ms = 5};
	struct peer p;
	uint64_t until;

	(void)state;
	open_peer(&p, &o);
	until = loop_now_ms(p.loop) + 60;
	RUN_UNTIL(p.loop, loop_now_ms(p.loop) > until);
	assert_int_equal(p.ours.errors, 0);
	stream_stop(p.ours.stream);
	until += 60;
	RUN_UNTIL(p.loop, loop_now_ms(p.loop) > until);
	assert_int_equal(p.ours.errors, 0);
	stream_start(p.ours.stream);
	memstream_cut(p.near);
	RUN_UNTIL(p.loop, p.ours.errors == 1);
	assert_int_equal(p.ours.err.code, ERR_TIMEOUT);
	close_peer(&p);
}

/* A text that is too long, and one that is none. */
static void
test_bad_texts(void **state)
{
	static const struct way_sample_stream_options sender = {
	    .ping_ms = 60000};
	static char text[5000];
	struct peer p;

	(void)state;
	memset(text, ' ', sizeof(text) - 1);
	open_peer(&p, &sender);
	say(&p, text);
	RUN_UNTIL(p.loop, p.ours.errors == 1 && p.close_code == 1009);
	close_peer(&p);
	open_peer(&p, &sender);
	say(&p, "[1]");
	RUN_UNTIL(p.loop, p.ours.errors == 1);
	stream_reset(p.ours.stream);
	p.ours.stream = NULL;
	RUN_UNTIL(p.loop, p.close_code == 1002);
	close_peer(&p);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ready_and_bytes_together),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_grace),
	    cmocka_unit_test(test_original_leaves),
	    cmocka_unit_test(test_reset_is_told),
	    cmocka_unit_test(test_reset_after_close),
	    cmocka_unit_test(test_silence),
	    cmocka_unit_test(test_bad_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
