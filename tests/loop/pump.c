/* SPDX-License-Identifier: MIT
 *
 * The pump between streams in memory and between sockets: exact bytes, bounded
 * memory, half-close in both orders, resets, and closing at any moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memstream.h"
#include "net/loop.h"
#include "net/pump.h"
#include "net/sock.h"
#include "net/stream.h"

/* left <-> a =pump= b <-> right */
struct bench {
	struct loop *loop;
	struct recorder left;
	struct recorder right;
	struct stream *a;
	struct stream *b;
	struct pump *pump;
	unsigned done;
	bool failed;
	bool from_a;
	struct err err;
	bool close_in_done;
};

static void
on_done(void *owner, const struct err *err, bool from_a)
{
	struct bench *t = owner;

	t->done++;
	t->failed = err != NULL;
	t->from_a = from_a;
	if (err != NULL)
		t->err = *err;
	if (t->close_in_done) {
		pump_close(t->pump);
		t->pump = NULL;
	}
}

static const struct pump_events events = {.on_done = on_done};

static void
begin(struct bench *t)
{
	struct stream *left, *right;

	*t = (struct bench){.loop = loop_new(NULL)};
	memstream_pair(t->loop, &left, &t->a);
	memstream_pair(t->loop, &t->b, &right);
	recorder_own(&t->left, left);
	recorder_own(&t->right, right);
	stream_start(left);
	stream_start(right);
	t->pump = pump_open(t->a, t->b, &events, t);
}

static void
finish(struct bench *t)
{
	if (t->pump != NULL)
		pump_close(t->pump);
	recorder_close(&t->left);
	recorder_close(&t->right);
	assert_true(loop_close(t->loop));
}

static void
turns(struct bench *t, int n)
{
	while (n-- > 0)
		loop_turn(t->loop, false);
}

/* Puts test data into s as long as it is taken; true when all is in. */
static bool
feed(struct stream *s, size_t *at, size_t total)
{
	uint8_t data[5000];

	while (*at < total && stream_queued(s) < STREAM_QUEUE_MARK) {
		size_t n =
		    total - *at < sizeof(data) ? total - *at : sizeof(data);

		memstream_fill(data, n, *at);
		stream_put(s, data, n);
		*at += n;
	}
	return *at == total;
}

static void
test_both_ways_and_the_end(void **state)
{
	struct bench t;
	uint64_t there, back;

	(void)state;
	begin(&t);
	stream_put(t.left.stream, "ping", 4);
	stream_put(t.right.stream, "answer", 6);
	RUN_UNTIL(t.loop, t.right.bytes == 4 && t.left.bytes == 6);
	pump_bytes(t.pump, &there, &back);
	assert_int_equal(there, 4);
	assert_int_equal(back, 6);
	stream_shutdown(t.left.stream);
	RUN_UNTIL(t.loop, t.right.ends == 1);
	turns(&t, 10);
	assert_int_equal(t.done, 0);
	stream_put(t.right.stream, "more", 4);
	stream_shutdown(t.right.stream);
	RUN_UNTIL(t.loop, t.done == 1 && t.left.ends == 1);
	assert_false(t.failed);
	assert_string_equal(t.left.text, "answermore");
	pump_bytes(t.pump, &there, &back);
	assert_int_equal(back, 10);
	finish(&t);
	assert_int_equal(t.done, 1);
	assert_int_equal(t.left.errors + t.right.errors, 0);
}

/* Every way of splitting, a receiver that stalls now and then, both directions
 * at once: the bytes are exact and the queues are bounded. */
static void
test_exact_bytes_under_pressure(void **state)
{
	static const size_t odd[] = {1, 17, 4096, 3, 9999};
	static const size_t small[] = {100, 7};
	static const struct {
		const size_t *sizes;
		size_t count;
		size_t total;
	} splits[] = {{NULL, 0, 2000000}, {odd, 5, 600000}, {small, 2, 40000}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		size_t total = splits[i].total;
		size_t there = 0, back = 0, most = 0;
		bool shut_left = false, shut_right = false;
		struct bench t;

		begin(&t);
		memstream_set_split(t.a, splits[i].sizes, splits[i].count);
		memstream_set_split(t.b, splits[i].sizes, splits[i].count);
		for (unsigned n = 0;
		     t.done == 0 || t.left.ends == 0 || t.right.ends == 0;
		     n++) {
			if (feed(t.left.stream, &there, total) && !shut_left) {
				shut_left = true;
				stream_shutdown(t.left.stream);
			}
			if (feed(t.right.stream, &back, total) && !shut_right) {
				shut_right = true;
				stream_shutdown(t.right.stream);
			}
			memstream_stall(t.right.stream, n % 64 < 40);
			loop_turn(t.loop, false);
			if (t.done == 0 && stream_queued(t.b) > most)
				most = stream_queued(t.b);
		}
		assert_false(t.failed);
		assert_true(t.left.hash == memstream_fill_hash(total));
		assert_true(t.right.hash == memstream_fill_hash(total));
		assert_true(most <= STREAM_QUEUE_MARK + STREAM_TURN);
		if (i == 0)
			assert_true(most > STREAM_QUEUE_MARK);
		finish(&t);
	}
}

/* A reader that stops holds back its own sender and not the other way. */
static void
test_slow_reader_stops_only_its_sender(void **state)
{
	struct bench t;
	size_t there = 0, back = 0;
	size_t held;

	(void)state;
	begin(&t);
	stream_stop(t.right.stream);
	for (int n = 0; n < 200; n++) {
		feed(t.left.stream, &there, 4000000);
		feed(t.right.stream, &back, 300000);
		loop_turn(t.loop, false);
	}
	assert_int_equal(t.left.bytes, 300000);
	held = there;
	assert_true(held < 4 * (STREAM_QUEUE_MARK + MEMSTREAM_ROOM));
	turns(&t, 50);
	assert_false(feed(t.left.stream, &there, 4000000));
	assert_int_equal(there, held);
	stream_start(t.right.stream);
	RUN_UNTIL(t.loop, feed(t.left.stream, &there, 1000000));
	RUN_UNTIL(t.loop, t.right.bytes == 1000000);
	assert_true(t.right.hash == memstream_fill_hash(1000000));
	finish(&t);
}

/* Both ends have been passed on, but the last bytes still queue: the streams
 * are not closed before those are out. */
static void
test_done_waits_for_the_queue(void **state)
{
	struct bench t;
	size_t there = 0;

	(void)state;
	begin(&t);
	memstream_stall(t.right.stream, true);
	feed(t.left.stream, &there, 50000);
	stream_shutdown(t.left.stream);
	turns(&t, 20);
	stream_shutdown(t.right.stream);
	RUN_UNTIL(t.loop, t.left.ends == 1);
	turns(&t, 20);
	assert_int_equal(stream_queued(t.b), 50000);
	assert_int_equal(t.done, 0);
	memstream_stall(t.right.stream, false);
	RUN_UNTIL(t.loop, t.done == 1 && t.right.ends == 1);
	assert_int_equal(t.right.bytes, 50000);
	assert_false(t.failed);
	finish(&t);
}

static void
test_trouble_resets_the_other_side(void **state)
{
	(void)state;
	for (int from_a = 0; from_a < 2; from_a++) {
		for (int in_done = 0; in_done < 2; in_done++) {
			struct bench t;
			struct recorder *other;

			begin(&t);
			t.close_in_done = in_done;
			other = from_a ? &t.right : &t.left;
			memstream_break(from_a ? t.a : t.b, ERR_TIMEOUT);
			RUN_UNTIL(t.loop, other->errors == 1);
			assert_int_equal(other->err.code, ERR_RESET);
			assert_int_equal(other->ends, 0);
			assert_int_equal(t.done, 1);
			assert_true(t.failed);
			assert_int_equal(t.from_a, from_a);
			assert_int_equal(t.err.code, ERR_TIMEOUT);
			finish(&t);
			assert_int_equal(t.done, 1);
		}
	}
}

/* Also when one direction is over, and while the source is held back. */
static void
test_reset_by_a_peer(void **state)
{
	(void)state;
	for (int step = 0; step < 4; step++) {
		struct bench t;
		size_t there = 0;

		begin(&t);
		if (step == 1 || step == 3) {
			stream_shutdown(t.right.stream);
			RUN_UNTIL(t.loop, t.left.ends == 1);
		}
		if (step >= 2) {
			memstream_stall(t.right.stream, true);
			for (int n = 0; n < 50; n++) {
				feed(t.left.stream, &there, 1000000);
				loop_turn(t.loop, false);
			}
		}
		stream_reset(t.left.stream);
		t.left.stream = NULL;
		RUN_UNTIL(t.loop, t.done == 1 && t.right.errors == 1);
		assert_true(t.failed);
		assert_true(t.from_a);
		assert_int_equal(t.err.code, ERR_RESET);
		finish(&t);
	}
}

/* A side that has given and taken everything may break without harm to the
 * bytes that are still on their way to the other one. */
static void
test_trouble_after_the_end_is_none(void **state)
{
	struct bench t;
	size_t there = 0;

	(void)state;
	begin(&t);
	memstream_stall(t.right.stream, true);
	feed(t.left.stream, &there, 50000);
	stream_shutdown(t.left.stream);
	turns(&t, 20);
	stream_shutdown(t.right.stream);
	RUN_UNTIL(t.loop, t.left.ends == 1);
	turns(&t, 20);
	memstream_break(t.a, ERR_RESET);
	turns(&t, 5);
	assert_int_equal(t.done, 0);
	memstream_stall(t.right.stream, false);
	RUN_UNTIL(t.loop, t.done == 1 && t.right.ends == 1);
	assert_false(t.failed);
	assert_int_equal(t.right.bytes, 50000);
	finish(&t);
}

static void
test_cut_is_silent(void **state)
{
	struct bench t;

	(void)state;
	begin(&t);
	memstream_cut(t.a);
	stream_put(t.left.stream, "lost", 4);
	stream_put(t.right.stream, "lost", 4);
	turns(&t, 20);
	assert_int_equal(t.done, 0);
	assert_int_equal(t.left.bytes + t.right.bytes, 0);
	assert_int_equal(t.left.errors + t.right.errors, 0);
	finish(&t);
}

/* pump_close after n turns of a life with everything in it. */
static void
test_close_at_every_step(void **state)
{
	static const size_t sizes[] = {1000, 1, 300};

	(void)state;
	for (int n = 0; n < 60; n++) {
		struct bench t;
		size_t there = 0, back = 0;

		begin(&t);
		t.close_in_done = true;
		memstream_set_split(t.a, sizes, 3);
		feed(t.left.stream, &there, 9000);
		feed(t.right.stream, &back, 9000);
		stream_shutdown(t.left.stream);
		stream_shutdown(t.right.stream);
		turns(&t, n);
		if (t.pump != NULL) {
			pump_close(t.pump);
			t.pump = NULL;
			turns(&t, 5);
			assert_int_equal(t.done, 0);
		}
		finish(&t);
	}
}

/* The same over real sockets, where FIN, queue and reset are the kernel's. */
static void
unix_pair(struct loop *l, struct recorder *r, struct stream **s)
{
	int fds[2];
	struct stream *outer;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	outer = sock_open(l, fds[0], NULL);
	*s = sock_open(l, fds[1], NULL);
	recorder_own(r, outer);
	stream_start(outer);
}

static void
test_sockets(void **state)
{
	const size_t total = 3000000;
	size_t there = 0, back = 0;
	bool shut_left = false, shut_right = false;
	struct bench t = {.loop = loop_new(NULL)};

	(void)state;
	unix_pair(t.loop, &t.left, &t.a);
	unix_pair(t.loop, &t.right, &t.b);
	t.pump = pump_open(t.a, t.b, &events, &t);
	for (unsigned n = 0;
	     t.done == 0 || t.left.ends == 0 || t.right.ends == 0; n++) {
		if (feed(t.left.stream, &there, total) && !shut_left) {
			shut_left = true;
			stream_shutdown(t.left.stream);
		}
		if (feed(t.right.stream, &back, total) && !shut_right) {
			shut_right = true;
			stream_shutdown(t.right.stream);
		}
		if (n % 50 == 0)
			stream_stop(t.right.stream);
		if (n % 50 == 30)
			stream_start(t.right.stream);
		loop_turn(t.loop, false);
	}
	assert_false(t.failed);
	assert_true(t.left.hash == memstream_fill_hash(total));
	assert_true(t.right.hash == memstream_fill_hash(total));
	finish(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_both_ways_and_the_end),
	    cmocka_unit_test(test_exact_bytes_under_pressure),
	    cmocka_unit_test(test_slow_reader_stops_only_its_sender),
	    cmocka_unit_test(test_done_waits_for_the_queue),
	    cmocka_unit_test(test_trouble_resets_the_other_side),
	    cmocka_unit_test(test_reset_by_a_peer),
	    cmocka_unit_test(test_trouble_after_the_end_is_none),
	    cmocka_unit_test(test_cut_is_silent),
	    cmocka_unit_test(test_close_at_every_step),
	    cmocka_unit_test(test_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
