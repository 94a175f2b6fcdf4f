/* SPDX-License-Identifier: MIT
 *
 * Two muxes over a pair of streams in memory: logins, channels in every way
 * they begin and end, back-pressure, fairness, windows, budget, draining, loss.
 * Then a server against bytes made by hand (mux_raw.c has those).
 */
#include "mux/mux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mux_bench.h"
#include "net/loop.h"
#include "net/pump.h"
#include "net/stream.h"
#include "util/mem.h"

static const struct mux_target web = {
    .kind = MUX_TCP, .host = "web.example", .port = 80};

static void
put(struct stream *s, const char *text)
{
	stream_put(s, text, strlen(text));
}

/* --- logins --- */

static void
test_login(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, "ada", "good");
	RUN_UNTIL(b.loop, b.logins == 1);
	assert_int_equal(b.login_err.code, ERR_NONE);
	assert_string_equal(b.asked_user, "ada");
	assert_string_equal(b.asked_password, "good");
	bench_close(&b);
}

static void
test_login_nameless(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	RUN_UNTIL(b.loop, b.logins == 1);
	assert_int_equal(b.login_err.code, ERR_NONE);
	assert_string_equal(b.asked_user, "(none)");
	bench_close(&b);
}

static void
test_login_second_try(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, "ada", "bad");
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.logins == 1);
	assert_int_equal(b.login_err.code, ERR_AUTH);
	assert_int_equal(b.login_err.http_status, 401);
	assert_int_equal(b.requests, 0);
	mux_login(b.client, "ada", "good");
	RUN_UNTIL(b.loop, b.logins == 2 && b.near[0].opens == 1);
	assert_int_equal(b.login_err.code, ERR_NONE);
	bench_close(&b);
}

static void
test_login_three_bad(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, "ada", "bad");
	bench_connect(&b, &web);
	for (int i = 1; i <= 3; i++) {
		RUN_UNTIL(b.loop, b.logins == i);
		assert_int_equal(b.login_err.code, ERR_AUTH);
		if (i < 3)
			mux_login(b.client, "ada", "bad");
	}
	RUN_UNTIL(b.loop, b.server_ends == 1);
	assert_int_equal(b.server_err.code, ERR_AUTH);
	mux_close(b.server);
	b.server = NULL;
	RUN_UNTIL(b.loop, b.client_ends == 1);
	assert_int_equal(b.near[0].errors, 1);
	bench_close(&b);
}

/* The password is decided later; what came meanwhile is kept. */
static void
test_held_until_login(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, "ada", "later");
	for (int i = 0; i < 150; i++)
		put(bench_connect(&b, &web), "early");
	RUN_UNTIL(b.loop, b.asked == 1);
	for (int i = 0; i < 50; i++)
		loop_turn(b.loop, false);
	assert_int_equal(b.requests, 0);
	mux_login_answer(b.server, true);
	RUN_UNTIL(b.loop, b.requests == 150 && b.near[149].opens == 1);
	RUN_UNTIL(b.loop, b.far[149].bytes == 5);
	for (int i = 0; i < 150; i++)
		assert_string_equal(b.far[i].text, "early");
	bench_close(&b);
}

/* More than a server would hold is not sent before the login. */
static void
test_early_data_is_bounded(void **state)
{
	struct bench b;
	static uint8_t data[40000];

	(void)state;
	memstream_fill(data, sizeof data, 0);
	bench_open(&b, "ada", "later");
	stream_put(bench_connect(&b, &web), data, sizeof data);
	RUN_UNTIL(b.loop, b.asked == 1);
	for (int i = 0; i < 50; i++)
		loop_turn(b.loop, false);
	assert_true(mux_queued(b.client) >= sizeof data - MUX_EARLY);
	mux_login_answer(b.server, true);
	RUN_UNTIL(b.loop, b.requests == 1 && b.far[0].bytes == sizeof data);
	assert_true(b.far[0].hash == memstream_fill_hash(sizeof data));
	bench_close(&b);
}

/* --- opening --- */

/* Login, request and the first bytes are in the first write. */
static void
test_no_round_trip(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, "ada", "good");
	memstream_stall(b.below_client, true); /* nothing comes back */
	put(bench_connect(&b, &web), "GET / HTTP/1.0\r\n\r\n");
	RUN_UNTIL(b.loop, b.requests == 1 && b.far[0].bytes > 0);
	assert_string_equal(b.far[0].text, "GET / HTTP/1.0\r\n\r\n");
	assert_int_equal(b.near[0].opens, 0);
	put(b.far[0].stream, "HTTP/1.0 200 OK\r\n\r\n");
	memstream_stall(b.below_client, false);
	RUN_UNTIL(b.loop, b.near[0].bytes == 19);
	assert_int_equal(b.near[0].opens, 1);
	bench_close(&b);
}

static void
test_targets(void **state)
{
	static const struct mux_target targets[] = {
	    {MUX_TCP, "web.example", 80},
	    {MUX_TCP, "2001:db8::1", 65535},
	    {MUX_UNIX, "/run/a b/%x.sock", 0},
	    {MUX_UDP, "2001:db8::2", 53},
	    {MUX_LISTEN, "*", 0},
	    {MUX_FETCH, "1234567890123456", 0},
	};
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	for (size_t i = 0; i < 6; i++) {
		bench_connect(&b, &targets[i]);
		RUN_UNTIL(b.loop, b.near[i].opens == 1);
		assert_int_equal(b.target.kind, targets[i].kind);
		assert_string_equal(b.target_host, targets[i].host);
		assert_int_equal(b.target.port, targets[i].port);
	}
	assert_string_equal(mux_address(b.near[4].stream), "127.0.0.1:4711");
	assert_null(mux_address(b.near[0].stream));
	bench_close(&b);
}

static void
test_target_unsayable(void **state)
{
	static const struct mux_target targets[] = {
	    {MUX_TCP, "a b", 80},
	    {MUX_TCP, "a", 0},
	    {MUX_UNIX, "", 0},
	    {MUX_FETCH, "12a", 0},
	};
	struct bench b;
	struct err e;

	(void)state;
	bench_open(&b, NULL, NULL);
	for (size_t i = 0; i < 4; i++) {
		assert_null(mux_connect(b.client, &targets[i], &e));
		assert_int_equal(e.code, ERR_USAGE);
	}
	bench_close(&b);
}

static void
test_refusals(void **state)
{
	static const struct {
		enum mux_refusal why;
		int status;
		enum err_code code;
	} cases[] = {
	    {MUX_REFUSED_NAME, 502, ERR_UNREACHABLE},
	    {MUX_REFUSED_CONNECTION, 502, ERR_REFUSED},
	    {MUX_REFUSED_UNROUTABLE, 502, ERR_UNREACHABLE},
	    {MUX_REFUSED_TIMEOUT, 504, ERR_TIMEOUT},
	    {MUX_REFUSED_POLICY, 403, ERR_DENIED},
	    {MUX_REFUSED_INTERNAL, 500, ERR_SYSTEM},
	    {MUX_REFUSED_LIMIT, 503, ERR_TOO_BIG},
	    {MUX_REFUSED_REQUEST, 400, ERR_PROTOCOL},
	};
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	b.refuses = true;
	b.details = "why \"so\" \\";
	for (size_t i = 0; i < 8; i++) {
		b.refusal = cases[i].why;
		put(bench_connect(&b, &web), "early");
		RUN_UNTIL(b.loop, b.near[i].errors == 1);
		assert_int_equal(b.near[i].opens, 0);
		assert_int_equal(b.near[i].err.http_status, cases[i].status);
		assert_int_equal(b.near[i].err.code, cases[i].code);
		assert_non_null(strstr(b.near[i].err.text, "why \"so\" \\\\"));
	}
	/* The details may lie in the request itself. */
	b.details = NULL;
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[8].errors == 1);
	assert_non_null(strstr(b.near[8].err.text, "web.example"));
	RUN_UNTIL(b.loop, mux_channels(b.server) == 0);
	bench_close(&b);
}

static void
test_cancel_before_answer(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	b.hesitates = true;
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.requests == 1);
	recorder_close(&b.near[0]);
	RUN_UNTIL(b.loop, b.cancels == 1);
	assert_int_equal(mux_channels(b.server), 0);
	bench_close(&b);
}

static void
test_close_before_sent(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	recorder_close(&b.near[0]);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[1].opens == 1);
	assert_int_equal(b.requests, 1);
	assert_int_equal(mux_channels(b.client), 1);
	bench_close(&b);
}

/* --- using --- */

static void
test_half_close(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	put(bench_connect(&b, &web), "question");
	stream_shutdown(b.near[0].stream);
	RUN_UNTIL(b.loop, b.requests == 1 && b.far[0].ends == 1);
	assert_string_equal(b.far[0].text, "question");
	RUN_UNTIL(b.loop, b.near[0].drains == 1);
	put(b.far[0].stream, "answer");
	RUN_UNTIL(b.loop, b.near[0].bytes == 6);
	assert_int_equal(b.near[0].ends, 0);
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.near[0].ends == 1 && b.far[0].drains == 1);
	assert_int_equal(b.near[0].errors + b.far[0].errors, 0);
	recorder_close(&b.near[0]);
	recorder_close(&b.far[0]);
	assert_int_equal(mux_channels(b.client), 0);
	assert_int_equal(mux_channels(b.server), 0);
	bench_close(&b);
}

/* An end without a byte, from the side that was asked. */
static void
test_end_at_once(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.requests == 1);
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.near[0].ends == 1);
	assert_int_equal(b.near[0].opens, 1);
	bench_close(&b);
}

/* While stopped neither data nor end comes, and nothing is lost. */
static void
test_stop(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	put(bench_connect(&b, &web), "x");
	RUN_UNTIL(b.loop, b.requests == 1 && b.far[0].bytes == 1);
	stream_stop(b.near[0].stream);
	put(b.far[0].stream, "held");
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.far[0].drains == 1);
	for (int i = 0; i < 20; i++)
		loop_turn(b.loop, false);
	assert_int_equal(b.near[0].bytes + b.near[0].ends, 0);
	b.near[0].stop_each = true;
	stream_start(b.near[0].stream);
	RUN_UNTIL(b.loop, b.near[0].bytes == 4);
	loop_turn(b.loop, false);
	assert_int_equal(b.near[0].ends, 0);
	stream_start(b.near[0].stream);
	RUN_UNTIL(b.loop, b.near[0].ends == 1);
	bench_close(&b);
}

static void
test_reset(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	for (int i = 0; i < 3; i++)
		bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[2].opens == 1);
	stream_reset(b.far[0].stream);
	b.far[0].stream = NULL;
	stream_reset(b.near[1].stream);
	b.near[1].stream = NULL;
	RUN_UNTIL(b.loop, b.near[0].errors == 1 && b.far[1].errors == 1);
	assert_int_equal(b.near[0].err.code, ERR_RESET);
	assert_non_null(strstr(b.near[0].err.text, "CONNECT_ERROR"));
	assert_int_equal(b.far[1].err.code, ERR_RESET);
	assert_non_null(strstr(b.far[1].err.text, "CONNECT_ERROR"));
	recorder_close(&b.far[2]);
	RUN_UNTIL(b.loop, b.near[2].errors == 1);
	assert_non_null(strstr(b.near[2].err.text, "CANCEL"));
	/* Dropped without a word. */
	put(b.near[0].stream, "lost");
	put(b.near[2].stream, "lost");
	bench_close(&b);
}

/* What was said in full before a reset is delivered before it. */
static void
test_end_then_reset(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	stream_stop(b.near[0].stream);
	put(b.far[0].stream, "all of it");
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.far[0].drains == 1);
	recorder_close(&b.far[0]);
	for (int i = 0; i < 20; i++)
		loop_turn(b.loop, false);
	assert_int_equal(b.near[0].errors, 0);
	stream_start(b.near[0].stream);
	RUN_UNTIL(b.loop, b.near[0].errors == 1);
	assert_string_equal(b.near[0].text, "all of it");
	assert_int_equal(b.near[0].ends, 1);
	bench_close(&b);
}

static void
test_many(void **state)
{
	enum { CHANNELS = 400, BYTES = 30000 };
	static uint8_t data[BYTES];
	static const size_t sizes[] = {1, 9, 10, 4000, 77, 16384, 65000};
	const uint64_t hash = memstream_fill_hash(BYTES);
	struct bench b;

	(void)state;
	memstream_fill(data, BYTES, 0);
	bench_open(&b, NULL, NULL);
	memstream_set_split(b.below_server, sizes, 7);
	memstream_set_split(b.below_client, sizes, 5);
	for (int i = 0; i < CHANNELS; i++) {
		stream_put(bench_connect(&b, &web), data, BYTES);
		stream_shutdown(b.near[i].stream);
	}
	for (int i = 0; i < CHANNELS; i++) {
		RUN_UNTIL(b.loop, b.requests > i && b.far[i].ends == 1);
		assert_true(b.far[i].hash == hash);
		stream_put(b.far[i].stream, data, BYTES);
		stream_shutdown(b.far[i].stream);
	}
	for (int i = 0; i < CHANNELS; i++) {
		RUN_UNTIL(b.loop, b.near[i].ends == 1 && b.near[i].drains);
		assert_true(b.near[i].hash == hash);
		recorder_close(&b.near[i]);
		recorder_close(&b.far[i]);
	}
	assert_int_equal(mux_channels(b.server), 0);
	assert_int_equal(mux_queued(b.client), 0);
	bench_close(&b);
}

/* Every piece of input may be cut anywhere. */
static void
test_byte_by_byte(void **state)
{
	static const size_t one[] = {1};
	struct bench b;

	(void)state;
	bench_open(&b, "ada", "good");
	memstream_set_split(b.below_server, one, 1);
	memstream_set_split(b.below_client, one, 1);
	put(bench_connect(&b, &web), "question");
	stream_shutdown(b.near[0].stream);
	RUN_UNTIL(b.loop, b.requests == 1 && b.far[0].ends == 1);
	put(b.far[0].stream, "answer");
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.near[0].ends == 1);
	assert_string_equal(b.far[0].text, "question");
	assert_string_equal(b.near[0].text, "answer");
	bench_close(&b);
}

/* --- back-pressure --- */

static void
test_one_stopped_channel(void **state)
{
	enum { BYTES = 2 * 1024 * 1024 };
	struct feeder slow, fast;
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[1].opens == 1);
	stream_stop(b.far[0].stream);
	feeder_own(&slow, b.near[0].stream, BYTES, 65000);
	feeder_own(&fast, b.near[1].stream, BYTES, 65000);
	RUN_UNTIL(b.loop, b.far[1].ends == 1);
	assert_true(b.far[1].hash == memstream_fill_hash(BYTES));
	assert_int_equal(b.far[0].bytes, 0);
	/* The window is with the server, a turn beyond the mark with us. */
	assert_true(slow.at <= MUX_WINDOW_MIN + STREAM_QUEUE_MARK + 65000);
	stream_start(b.far[0].stream);
	RUN_UNTIL(b.loop, b.far[0].ends == 1);
	assert_true(b.far[0].hash == memstream_fill_hash(BYTES));
	RUN_UNTIL(b.loop, slow.is_done && fast.is_done);
	b.near[0].stream = slow.stream;
	b.near[1].stream = fast.stream;
	bench_close(&b);
}

static void
test_too_much_queued(void **state)
{
	static uint8_t data[65000];
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	stream_stop(b.far[0].stream);
	for (int i = 0; i < 100; i++)
		stream_put(b.near[0].stream, data, sizeof data);
	RUN_UNTIL(b.loop, b.near[0].errors == 1 && b.far[0].errors == 1);
	assert_int_equal(b.near[0].err.code, ERR_TOO_BIG);
	bench_close(&b);
}

/* --- fairness --- */

static void
test_small_beside_bulk(void **state)
{
	enum { BULK = 8, ROUNDS = 40 };
	struct feeder feeders[BULK];
	size_t most = 0, least = SIZE_MAX, top = 0;
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	for (int i = 0; i <= BULK; i++)
		bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[BULK].opens == 1);
	for (int i = 0; i < BULK; i++)
		feeder_own(&feeders[i], b.near[i].stream, SIZE_MAX, 65000);
	for (int round = 1; round <= ROUNDS; round++) {
		size_t before, waited;

		for (int i = 0; i < 20; i++)
			loop_turn(b.loop, false);
		before = bench_far_bytes(&b, BULK);
		put(b.near[BULK].stream, "k");
		RUN_UNTIL(b.loop, b.far[BULK].bytes == (size_t)round);
		waited = bench_far_bytes(&b, BULK) - before;
		if (waited > most)
			most = waited;
	}
	for (int i = 0; i < BULK; i++) {
		if (b.far[i].bytes < least)
			least = b.far[i].bytes;
		if (b.far[i].bytes > top)
			top = b.far[i].bytes;
		b.near[i].stream = feeders[i].stream;
	}
	print_message("a key waits behind at most %zu KiB of bulk; shares "
	              "%zu to %zu KiB\n",
	    most / 1024, least / 1024, top / 1024);
	/* The stream below holds a mark, a block and what lies in between. */
	assert_true(most <= 320 * 1024);
	assert_true(top - least <= 512 * 1024);
	bench_close(&b);
}

/* --- windows --- */

static void
test_window_grows_and_shrinks(void **state)
{
	enum { BYTES = 20 * 1024 * 1024 };
	struct feeder f;
	struct bench b;

	(void)state;
	bench_open_delayed(&b, 15);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	feeder_own(&f, b.near[0].stream, 0, 65000);
	for (size_t round = 1; round <= 2; round++) {
		size_t top = 0;

		feeder_go(&f, round * BYTES);
		while (b.far[0].bytes < round * BYTES) {
			loop_turn(b.loop, true);
			if (mux_channel_window(b.far[0].stream) > top)
				top = mux_channel_window(b.far[0].stream);
		}
		print_message("window %zu KiB, round trip %u us\n", top / 1024,
		    mux_rtt_us(b.server));
		/* The second time a part was granted before. */
		assert_true(top >= (round == 1 ? 4 : 2) * MUX_WINDOW_MIN);
		assert_true(mux_rtt_us(b.server) >= 29000);
		assert_true(mux_budget_used(b.budget) > 0);
		RUN_UNTIL(b.loop, mux_budget_used(b.budget) == 0);
		assert_int_equal(
		    mux_channel_window(b.far[0].stream), MUX_WINDOW_MIN);
	}
	b.near[0].stream = f.stream;
	bench_close(&b);
}

/* Nothing comes to those who do not read, however large the window was: the
 * other side may send what was granted, and no more. */
static void
test_stopped_after_growth(void **state)
{
	enum { BYTES = 8 * 1024 * 1024 };
	struct feeder f;
	struct bench b;
	size_t window;

	(void)state;
	bench_open_delayed(&b, 10);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	feeder_own(&f, b.near[0].stream, 0, 65000);
	feeder_go(&f, BYTES);
	RUN_UNTIL(b.loop, b.far[0].bytes == BYTES);
	RUN_UNTIL(b.loop, mux_budget_used(b.budget) == 0);
	window = MUX_WINDOW_MAX;
	/* Uses up what was granted beyond, bit by bit, without growth. */
	for (size_t at = BYTES + 20000; at < 2 * BYTES; at += 20000) {
		feeder_go(&f, at);
		RUN_UNTIL(b.loop, b.far[0].bytes == at);
		window = mux_channel_window(b.far[0].stream);
		if (at > BYTES + 4 * (size_t)1024 * 1024)
			break;
	}
	stream_stop(b.far[0].stream);
	feeder_go(&f, 3 * (size_t)BYTES);
	for (int i = 0; i < 400; i++)
		loop_turn(b.loop, false);
	RUN_UNTIL(b.loop, mux_budget_held(b.budget) > 0);
	for (int i = 0; i < 20; i++)
		loop_turn(b.loop, true);
	assert_true(mux_budget_held(b.budget) <= window);
	b.near[0].stream = f.stream;
	bench_close(&b);
}

static void
test_window_within_budget(void **state)
{
	enum { BYTES = 3 * 1024 * 1024 };
	struct feeder f;
	struct bench b;

	(void)state;
	bench_budget = MUX_WINDOW_MIN;
	bench_open_delayed(&b, 10);
	bench_budget = 0;
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	feeder_own(&f, b.near[0].stream, BYTES, 65000);
	while (b.far[0].bytes < BYTES) {
		loop_turn(b.loop, true);
		assert_true(
		    mux_channel_window(b.far[0].stream) <= 2 * MUX_WINDOW_MIN);
		assert_true(mux_budget_used(b.budget) <= MUX_WINDOW_MIN);
	}
	b.near[0].stream = f.stream;
	bench_close(&b);
}

static void
test_held_within_budget(void **state)
{
	struct feeder f[3];
	struct bench b;

	(void)state;
	bench_budget = MUX_WINDOW_MIN * 2;
	bench_open(&b, NULL, NULL);
	bench_budget = 0;
	for (int i = 0; i < 3; i++)
		bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[2].opens == 1);
	for (int i = 0; i < 3; i++) {
		stream_stop(b.far[i].stream);
		feeder_own(&f[i], b.near[i].stream, MUX_WINDOW_MIN, 65000);
	}
	RUN_UNTIL(
	    b.loop, b.far[0].errors + b.far[1].errors + b.far[2].errors == 1);
	assert_true(mux_budget_held(b.budget) <= MUX_WINDOW_MIN * 2);
	for (int i = 0; i < 3; i++) {
		if (b.far[i].errors)
			assert_int_equal(b.far[i].err.code, ERR_TOO_BIG);
		else
			stream_start(b.far[i].stream);
	}
	RUN_UNTIL(b.loop, b.far[0].ends + b.far[1].ends + b.far[2].ends == 2);
	for (int i = 0; i < 3; i++)
		b.near[i].stream = f[i].stream;
	assert_int_equal(mux_budget_held(b.budget), 0);
	bench_close(&b);
}

/* --- the end --- */

static void
test_drain(void **state)
{
	struct bench b;
	struct err e;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	mux_drain(b.server);
	RUN_UNTIL(b.loop, b.client_drains == 1);
	assert_null(mux_connect(b.client, &web, &e));
	assert_int_equal(e.code, ERR_CLOSED);
	put(b.near[0].stream, "still");
	RUN_UNTIL(b.loop, b.far[0].bytes == 5);
	assert_int_equal(b.server_ends + b.client_ends, 0);
	stream_shutdown(b.near[0].stream);
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.near[0].ends && b.far[0].ends && b.near[0].drains &&
	                      b.far[0].drains);
	recorder_close(&b.near[0]);
	recorder_close(&b.far[0]);
	RUN_UNTIL(b.loop, b.server_ends == 1 && b.client_ends == 1);
	assert_int_equal(b.server_err.code, ERR_NONE);
	assert_int_equal(b.client_err.code, ERR_NONE);
	bench_close(&b);
}

/* A request that crosses the GOAWAY was not looked at and says so. */
static void
test_drain_crossed(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	RUN_UNTIL(b.loop, b.logins == 1);
	mux_drain(b.server);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].errors == 1);
	assert_int_equal(b.near[0].err.code, ERR_CLOSED);
	assert_int_equal(b.requests, 0);
	bench_close(&b);
}

static void
test_break_below(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	for (int i = 0; i < 3; i++)
		bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[2].opens == 1);
	b.hesitates = true;
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.requests == 4);
	stream_stop(b.near[1].stream);
	memstream_break(b.below_client, ERR_TIMEOUT);
	memstream_break(b.below_server, ERR_RESET);
	RUN_UNTIL(b.loop, b.client_ends == 1 && b.server_ends == 1);
	assert_int_equal(b.client_err.code, ERR_TIMEOUT);
	assert_int_equal(b.cancels, 1);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(b.near[i].errors, 1);
		assert_int_equal(b.near[i].err.code, ERR_RESET);
		if (i < 3)
			assert_int_equal(b.far[i].errors, 1);
	}
	put(b.near[0].stream, "dropped");
	bench_close(&b);
}

static void
test_end_below(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	RUN_UNTIL(b.loop, b.logins == 1);
	mux_close(b.server);
	b.server = NULL;
	RUN_UNTIL(b.loop, b.client_ends == 1);
	assert_int_equal(b.client_err.code, ERR_NONE);
	bench_close(&b);

	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	recorder_close(&b.far[0]);
	mux_close(b.server);
	b.server = NULL;
	RUN_UNTIL(b.loop, b.client_ends == 1);
	assert_int_equal(b.near[0].errors, 1);
	bench_close(&b);
}

/* Channels outlive their mux until their owners close them. */
static void
test_close_with_channels(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	for (int i = 0; i < 3; i++)
		bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[2].opens == 1);
	mux_close(b.client);
	b.client = NULL;
	assert_int_equal(b.near[0].errors, 0);
	recorder_close(&b.near[1]);
	RUN_UNTIL(b.loop, b.near[0].errors == 1 && b.near[2].errors == 1);
	RUN_UNTIL(b.loop, b.server_ends == 1 && b.far[0].errors == 1);
	assert_int_equal(b.near[0].err.code, ERR_RESET);
	stream_start(b.near[0].stream);
	stream_stop(b.near[0].stream);
	assert_int_equal(stream_queued(b.near[0].stream), 0);
	bench_close(&b);
}

/* The owner may close the mux in whatever callback. */
static void
test_close_in_callbacks(void **state)
{
	struct bench b;

	(void)state;
	for (int step = 0; step < STEP_COUNT; step++) {
		bench_open(&b, NULL, NULL);
		b.close_at = (enum step)step;
		for (int i = 0; i < 3; i++)
			put(bench_connect(&b, &web), "early");
		for (int turn = 0; turn < 200; turn++) {
			loop_turn(b.loop, false);
			if (turn == 40 && step == STEP_CANCEL)
				recorder_close(&b.near[0]);
			if (turn == 50 && b.near[0].stream && b.far[0].stream) {
				put(b.near[0].stream, "more");
				put(b.far[0].stream, "answer");
			}
			if (turn == 80 && b.server)
				mux_drain(b.server);
			if (turn == 100 && b.far[1].stream)
				recorder_close(&b.far[1]);
			if (turn == 120 && b.near[2].stream &&
			    !b.near[2].errors)
				stream_shutdown(b.near[2].stream);
			if (turn == 150 && b.client && b.server)
				memstream_break(b.below_client, ERR_RESET);
			if (turn == 160 && b.client && b.server)
				memstream_break(b.below_server, ERR_RESET);
		}
		if (!b.closed_at_step)
			fail_msg("step %d was not reached", step);
		bench_close(&b);
	}
}

/* The last channel is over for the other side, which closes at once. */
static void
test_close_right_behind(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b, NULL, NULL);
	bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[0].opens == 1);
	stream_shutdown(b.far[0].stream);
	RUN_UNTIL(b.loop, b.near[0].ends == 1 && b.far[0].drains == 1);
	put(b.near[0].stream, "last");
	stream_shutdown(b.near[0].stream);
	RUN_UNTIL(b.loop, b.far[0].ends == 1);
	recorder_close(&b.far[0]);
	mux_close(b.server);
	b.server = NULL;
	RUN_UNTIL(b.loop, b.client_ends == 1 && b.near[0].drains == 1);
	assert_int_equal(b.client_err.code, ERR_NONE);
	assert_int_equal(b.near[0].errors, 0);
	bench_close(&b);
}

/* The other side gives no window, and everybody writes what a channel may. */
static void
test_unsent_within_budget(void **state)
{
	enum { CHANNELS = 100 };
	static uint8_t data[60000];
	struct bench b;
	int failed = 0;

	(void)state;
	bench_budget = 1024 * 1024;
	bench_open(&b, NULL, NULL);
	bench_budget = 0;
	for (int i = 0; i < CHANNELS; i++)
		bench_connect(&b, &web);
	RUN_UNTIL(b.loop, b.near[CHANNELS - 1].opens == 1);
	memstream_stall(b.below_client, true);
	for (int i = 0; i < CHANNELS; i++)
		stream_put(b.far[i].stream, data, sizeof data);
	for (int i = 0; i < 20; i++)
		loop_turn(b.loop, false);
	assert_true(mux_budget_held(b.budget) <= 1024 * 1024);
	for (int i = 0; i < CHANNELS; i++)
		failed += b.far[i].errors;
	assert_in_range(failed, 50, CHANNELS - 1);
	memstream_stall(b.below_client, false);
	RUN_UNTIL(b.loop, mux_budget_held(b.budget) == 0);
	bench_close(&b);
}

/* What an idle channel costs at both ends together; without meaning where
 * malloc is not the system's (sanitizers). */
static void
test_idle_memory(void **state)
{
	enum { CHANNELS = 500 };
	struct bench b;
	size_t before, after;

	(void)state;
	bench_open(&b, NULL, NULL);
	put(bench_connect(&b, &web), "x");
	RUN_UNTIL(b.loop, b.near[0].opens == 1 && b.far[0].bytes == 1);
	before = mallinfo2().uordblks;
	for (int i = 1; i < CHANNELS; i++)
		put(bench_connect(&b, &web), "x");
	RUN_UNTIL(b.loop,
	    b.near[CHANNELS - 1].opens == 1 && b.far[CHANNELS - 1].bytes == 1);
	for (int i = 0; i < 10; i++)
		loop_turn(b.loop, false);
	after = mallinfo2().uordblks;
	print_message("%zu bytes for both ends of an idle channel\n",
	    (after - before) / CHANNELS);
	assert_true(after - before < (size_t)CHANNELS * 4096);
	bench_close(&b);
}

/* Between sockets, with pumps at both ends: what a tunnel is. */
static void
test_pumps(void **state)
{
	(void)state;
	bench_pumps(512 * 1024);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_login),
	    cmocka_unit_test(test_login_nameless),
	    cmocka_unit_test(test_login_second_try),
	    cmocka_unit_test(test_login_three_bad),
	    cmocka_unit_test(test_held_until_login),
	    cmocka_unit_test(test_early_data_is_bounded),
	    cmocka_unit_test(test_no_round_trip),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_target_unsayable),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_cancel_before_answer),
	    cmocka_unit_test(test_close_before_sent),
	    cmocka_unit_test(test_half_close),
	    cmocka_unit_test(test_end_at_once),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_reset),
	    cmocka_unit_test(test_end_then_reset),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_byte_by_byte),
	    cmocka_unit_test(test_one_stopped_channel),
	    cmocka_unit_test(test_too_much_queued),
	    cmocka_unit_test(test_small_beside_bulk),
	    cmocka_unit_test(test_window_grows_and_shrinks),
	    cmocka_unit_test(test_stopped_after_growth),
	    cmocka_unit_test(test_window_within_budget),
	    cmocka_unit_test(test_held_within_budget),
	    cmocka_unit_test(test_drain),
	    cmocka_unit_test(test_drain_crossed),
	    cmocka_unit_test(test_break_below),
	    cmocka_unit_test(test_end_below),
	    cmocka_unit_test(test_close_with_channels),
	    cmocka_unit_test(test_close_in_callbacks),
	    cmocka_unit_test(test_close_right_behind),
	    cmocka_unit_test(test_unsent_within_budget),
	    cmocka_unit_test(test_idle_memory),
	    cmocka_unit_test(test_pumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
