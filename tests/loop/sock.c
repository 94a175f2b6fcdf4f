/* SPDX-License-Identifier: MIT
 *
 * Sockets as streams, over TCP on loopback (IPv4 and IPv6) and over unix
 * socketpairs. The far end is a plain descriptor, so that it can behave badly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memstream.h"
#include "net/loop.h"
#include "net/sock.h"

enum kind { TCP4, TCP6, UNIX, KINDS };

static void
tcp_pair(const char *any, int fds[2])
{
	int listener;
	struct addr a;

	assert_true(addr_parse(&a, any, 0, NULL));
	listener = socket(a.sa.ss_family, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a.sa, a.len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(
	    getsockname(listener, (struct sockaddr *)&a.sa, &a.len), 0);
	fds[0] = socket(a.sa.ss_family, SOCK_STREAM, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&a.sa, a.len), 0);
	fds[1] = accept(listener, NULL, NULL);
	assert_true(fds[1] >= 0);
	close(listener);
}

/* A loop, a socket stream with a recorder, and the far descriptor. */
struct bench {
	struct loop *loop;
	struct recorder near;
	int far;
};

static void
begin(struct bench *b, enum kind kind)
{
	int fds[2];
	struct stream *s;

	b->loop = loop_new(NULL);
	assert_non_null(b->loop);
	if (kind == UNIX)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	else
		tcp_pair(kind == TCP4 ? "127.0.0.1:0" : "[::1]:0", fds);
	b->far = fds[1];
	fcntl(b->far, F_SETFL, O_NONBLOCK);
	s = sock_open(b->loop, fds[0], NULL);
	assert_non_null(s);
	assert_true(sock_is(s));
	recorder_own(&b->near, s);
}

static void
finish(struct bench *b)
{
	recorder_close(&b->near);
	if (b->far >= 0)
		close(b->far);
	assert_true(loop_close(b->loop));
}

static void
far_reset(struct bench *b)
{
	struct linger rst = {.l_onoff = 1, .l_linger = 0};

	setsockopt(b->far, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	close(b->far);
	b->far = -1;
}

/* Reads what is there at the far end: bytes, and whether it ended. */
struct far {
	size_t bytes;
	uint64_t hash;
	bool ended;
	bool reset;
};

static void
far_read(struct bench *b, struct far *f, size_t most)
{
	uint8_t part[16384];
	size_t got = 0;

	while (got < most && !f->ended && !f->reset) {
		ssize_t n = recv(b->far, part, sizeof(part), 0);

		if (n > 0) {
			f->hash = memstream_hash(f->hash, part, (size_t)n);
			f->bytes += (size_t)n;
			got += (size_t)n;
		} else if (n == 0) {
			f->ended = true;
		} else if (errno == EAGAIN) {
			return;
		} else {
			f->reset = true;
		}
	}
}

/* Writes test data number `at` until the socket is full. */
static bool
near_write(struct bench *b, size_t at, size_t len)
{
	uint8_t *block = loop_block_take(b->loop);
	bool ok;

	memstream_fill(block + STREAM_HEADROOM, len, at);
	ok = stream_write(b->near.stream, block + STREAM_HEADROOM, len);
	loop_block_give(b->loop, block);
	return ok;
}

static void
turns(struct bench *b, int n)
{
	while (n-- > 0)
		loop_turn(b->loop, false);
}

static void
nothing(void *owner)
{
	*(bool *)owner = true;
}

/* Whether the loop really sleeps while a timer is the only thing to come: a
 * descriptor that is ready and not served would wake it thousands of times. */
static bool
is_calm(struct bench *b)
{
	struct timer t;
	bool over = false;
	unsigned wakes = 0;

	timer_init(&t, b->loop, nothing, &over);
	timer_set(&t, 20);
	while (!over) {
		loop_turn(b->loop, true);
		wakes++;
	}
	return wakes < 20;
}

static void
test_bytes_in_and_out(void **state)
{
	(void)state;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct bench b;
		char got[16] = "";

		begin(&b, kind);
		assert_int_equal(write(b.far, "hello", 5), 5);
		turns(&b, 3);
		assert_int_equal(b.near.bytes, 0); /* a new one is stopped */
		stream_start(b.near.stream);
		RUN_UNTIL(b.loop, b.near.bytes == 5);
		assert_string_equal(b.near.text, "hello");
		assert_true(stream_put(b.near.stream, "world", 5));
		assert_int_equal(read(b.far, got, sizeof(got)), 5);
		assert_string_equal(got, "world");
		assert_int_equal(b.near.stream->bytes_in, 5);
		assert_int_equal(b.near.stream->bytes_out, 5);
		finish(&b);
	}
}

static void
test_half_close_ours_first(void **state)
{
	(void)state;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct bench b;
		struct far f = {.hash = MEMSTREAM_HASH};

		begin(&b, kind);
		stream_start(b.near.stream);
		stream_put(b.near.stream, "last", 4);
		stream_shutdown(b.near.stream);
		assert_int_equal(b.near.drains, 0);
		RUN_UNTIL(b.loop, b.near.drains == 1);
		far_read(&b, &f, 100);
		far_read(&b, &f, 100);
		assert_int_equal(f.bytes, 4);
		assert_true(f.ended);
		assert_int_equal(write(b.far, "answer", 6), 6);
		RUN_UNTIL(b.loop, b.near.bytes == 6);
		close(b.far);
		b.far = -1;
		RUN_UNTIL(b.loop, b.near.ends == 1);
		turns(&b, 5);
		assert_int_equal(b.near.drains, 1);
		assert_int_equal(b.near.ends, 1);
		assert_int_equal(b.near.errors, 0);
		finish(&b);
	}
}

static void
test_half_close_theirs_first(void **state)
{
	(void)state;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct bench b;
		struct far f = {.hash = MEMSTREAM_HASH};

		begin(&b, kind);
		stream_start(b.near.stream);
		assert_int_equal(write(b.far, "bye", 3), 3);
		shutdown(b.far, SHUT_WR);
		RUN_UNTIL(b.loop, b.near.ends == 1);
		assert_int_equal(b.near.bytes, 3);
		/* A half-closed socket waits in peace. */
		assert_true(is_calm(&b));
		stream_put(b.near.stream, "still", 5);
		stream_shutdown(b.near.stream);
		RUN_UNTIL(b.loop, b.near.drains == 1);
		far_read(&b, &f, 100);
		far_read(&b, &f, 100);
		assert_int_equal(f.bytes, 5);
		assert_true(f.ended);
		assert_true(is_calm(&b));
		assert_int_equal(b.near.ends, 1);
		finish(&b);
	}
}

/* FIN behind a queue that the far end takes slowly: the end comes after all
 * bytes, on_drain once and last. */
static void
test_shutdown_after_the_queue(void **state)
{
	const size_t total = 2 * 1024 * 1024;

	(void)state;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct bench b;
		struct far f = {.hash = MEMSTREAM_HASH};
		size_t at = 0;

		begin(&b, kind);
		for (; at < total; at += 65536)
			near_write(&b, at, 65536);
		stream_shutdown(b.near.stream);
		while (!f.ended) {
			assert_false(f.reset);
			if (stream_queued(b.near.stream) > 0)
				assert_int_equal(b.near.drains, 0);
			far_read(&b, &f, 100000);
			loop_turn(b.loop, false);
		}
		turns(&b, 3);
		assert_int_equal(b.near.drains, 1);
		assert_int_equal(f.bytes, total);
		assert_true(f.hash == memstream_fill_hash(total));
		finish(&b);
	}
}

/* An owner who keeps the rule: the queue stays near the mark, and no byte is
 * lost or doubled while the far end reads in fits and starts. */
static void
test_back_pressure(void **state)
{
	const size_t total = 6 * 1024 * 1024;

	(void)state;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		struct bench b;
		struct far f = {.hash = MEMSTREAM_HASH};
		size_t at = 0;
		size_t most = 0;
		unsigned drains = 0;
		unsigned waits = 0;
		bool waiting = false;

		begin(&b, kind);
		while (f.bytes < total) {
			if (waiting && b.near.drains > drains) {
				waiting = false;
				assert_true(stream_queued(b.near.stream) <=
				            STREAM_QUEUE_MARK / 4);
			}
			drains = b.near.drains;
			while (!waiting && at < total) {
				size_t n = total - at < STREAM_TURN
				               ? total - at
				               : STREAM_TURN;

				waiting = !near_write(&b, at, n);
				waits += waiting;
				at += n;
			}
			if (stream_queued(b.near.stream) > most)
				most = stream_queued(b.near.stream);
			far_read(&b, &f, 200000);
			loop_turn(b.loop, false);
		}
		assert_true(waits > 0);
		assert_true(most > STREAM_QUEUE_MARK);
		assert_true(most <= STREAM_QUEUE_MARK + STREAM_TURN);
		assert_true(f.hash == memstream_fill_hash(total));
		assert_int_equal(stream_queued(b.near.stream), 0);
		finish(&b);
	}
}

static void
test_queue_has_a_ceiling(void **state)
{
	struct bench b;
	size_t at = 0;

	(void)state;
	begin(&b, UNIX);
	stream_start(b.near.stream);
	for (; at < 3 * STREAM_QUEUE_MAX; at += 65536)
		near_write(&b, at, 65536);
	assert_int_equal(b.near.errors, 0);
	RUN_UNTIL(b.loop, b.near.errors == 1);
	assert_int_equal(b.near.err.code, ERR_TOO_BIG);
	assert_int_equal(stream_queued(b.near.stream), 0);
	assert_false(near_write(&b, 0, 10));
	stream_shutdown(b.near.stream);
	turns(&b, 5);
	assert_int_equal(b.near.errors, 1);
	assert_int_equal(b.near.drains, 0);
	finish(&b);
}

static void
test_reset_while_reading(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, TCP4);
	stream_start(b.near.stream);
	assert_int_equal(write(b.far, "x", 1), 1);
	RUN_UNTIL(b.loop, b.near.bytes == 1);
	far_reset(&b);
	RUN_UNTIL(b.loop, b.near.errors == 1);
	assert_int_equal(b.near.err.code, ERR_RESET);
	assert_true(strlen(b.near.err.text) > 10);
	turns(&b, 5);
	assert_int_equal(b.near.errors, 1);
	assert_int_equal(b.near.ends, 0);
	finish(&b);
}

/* What came before the reset is delivered first. */
static void
test_bytes_before_a_reset(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, TCP4);
	assert_int_equal(write(b.far, "answer", 6), 6);
	far_reset(&b);
	stream_start(b.near.stream);
	RUN_UNTIL(b.loop, b.near.errors == 1);
	assert_string_equal(b.near.text, "answer");
	finish(&b);
}

/* A server may refuse a long request early: it answers, closes, and resets when
 * more comes. Our failed write must not cost the answer. */
static void
test_answer_before_a_failed_write(void **state)
{
	(void)state;
	for (int stopped = 0; stopped < 2; stopped++) {
		struct bench b;

		begin(&b, TCP4);
		stream_start(b.near.stream);
		stream_put(b.near.stream, "unread", 6);
		assert_int_equal(write(b.far, "answer", 6), 6);
		close(b.far);
		b.far = -1;
		while (near_write(&b, 0, 100))
			;
		assert_false(near_write(&b, 0, 100));
		stream_shutdown(b.near.stream);
		if (stopped)
			stream_stop(b.near.stream);
		RUN_UNTIL(b.loop, b.near.errors == 1);
		assert_int_equal(b.near.err.code, ERR_RESET);
		assert_string_equal(b.near.text, stopped ? "" : "answer");
		turns(&b, 3);
		assert_int_equal(b.near.errors, 1);
		assert_int_equal(b.near.ends + b.near.drains, 0);
		finish(&b);
	}
}

/* Stopped readers must learn of a reset, or a pump would hold the other side
 * for ever; and neither data nor FIN may make them spin. */
static void
test_reset_while_stopped(void **state)
{
	(void)state;
	for (enum kind kind = 0; kind < 2; kind++) {
		struct bench b;

		begin(&b, kind);
		stream_start(b.near.stream);
		assert_int_equal(write(b.far, "x", 1), 1);
		RUN_UNTIL(b.loop, b.near.bytes == 1);
		stream_stop(b.near.stream);
		assert_int_equal(write(b.far, "y", 1), 1);
		assert_true(is_calm(&b));
		shutdown(b.far, SHUT_WR);
		assert_true(is_calm(&b));
		assert_int_equal(b.near.errors, 0);
		far_reset(&b);
		RUN_UNTIL(b.loop, b.near.errors == 1);
		assert_int_equal(b.near.err.code, ERR_RESET);
		assert_int_equal(b.near.bytes, 1);
		assert_int_equal(b.near.ends, 0);
		finish(&b);
	}
}

/* A unix peer that closes shows as a hang-up at once, though bytes and the end
 * are still to be read: no spinning, and nothing is lost. */
static void
test_unix_hang_up_while_stopped(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, UNIX);
	stream_start(b.near.stream);
	turns(&b, 1);
	stream_stop(b.near.stream);
	assert_int_equal(write(b.far, "rest", 4), 4);
	close(b.far);
	b.far = -1;
	assert_true(is_calm(&b));
	assert_int_equal(b.near.bytes + b.near.ends + b.near.errors, 0);
	stream_start(b.near.stream);
	RUN_UNTIL(b.loop, b.near.ends == 1);
	assert_string_equal(b.near.text, "rest");
	assert_true(is_calm(&b));
	stream_put(b.near.stream, "x", 1);
	assert_int_equal(b.near.errors, 0);
	RUN_UNTIL(b.loop, b.near.errors == 1);
	assert_int_equal(b.near.err.code, ERR_RESET);
	finish(&b);
}

/* Urgent data must not let a peer spin us, nor get lost. */
static void
test_urgent_data(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, TCP4);
	stream_start(b.near.stream);
	turns(&b, 1);
	stream_stop(b.near.stream);
	assert_int_equal(send(b.far, "abc", 3, MSG_OOB), 3);
	assert_true(is_calm(&b));
	stream_start(b.near.stream);
	RUN_UNTIL(b.loop, b.near.bytes == 3);
	assert_string_equal(b.near.text, "abc");
	finish(&b);
}

static void
test_write_to_a_dead_peer(void **state)
{
	struct bench b;

	(void)state;
	begin(&b, TCP4);
	far_reset(&b);
	while (near_write(&b, 0, 1))
		;
	assert_int_equal(b.near.errors, 0);
	RUN_UNTIL(b.loop, b.near.errors == 1);
	assert_int_equal(b.near.err.code, ERR_RESET);
	finish(&b);
}

/* One on_data a turn, after each the stream is stopped: nothing more comes
 * until start, and all of it comes in the end. */
static void
test_stop_inside_on_data(void **state)
{
	struct bench b;
	static uint8_t data[300000];
	size_t sent = 0;

	(void)state;
	begin(&b, UNIX);
	memstream_fill(data, sizeof(data), 0);
	b.near.stop_each = true;
	while (b.near.bytes < sizeof(data)) {
		unsigned pieces = b.near.pieces;
		ssize_t n = send(b.far, data + sent, sizeof(data) - sent, 0);

		if (n > 0)
			sent += (size_t)n;
		stream_start(b.near.stream);
		RUN_UNTIL(b.loop, b.near.pieces > pieces);
		turns(&b, 3);
		assert_int_equal(b.near.pieces, pieces + 1);
	}
	assert_true(b.near.hash == memstream_fill_hash(sizeof(data)));
	assert_true(b.near.largest <= STREAM_TURN);
	finish(&b);
}

/* The turn grows only when the owner allows it, and never beyond. */
static void
test_turns_grow_with_bulk(void **state)
{
	static const size_t allowed[] = {
	    1000, STREAM_TURN, 100000, 4 * STREAM_TURN};
	static uint8_t data[2 * 1024 * 1024];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct bench b;
		size_t total = i == 0 ? 50000 : sizeof(data);
		size_t sent = 0;
		int room = 1024 * 1024;

		begin(&b, UNIX);
		setsockopt(b.far, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		memstream_fill(data, sizeof(data), 0);
		stream_set_turn(b.near.stream, allowed[i]);
		stream_start(b.near.stream);
		while (b.near.bytes < total) {
			ssize_t n = send(b.far, data + sent, total - sent, 0);

			if (n > 0)
				sent += (size_t)n;
			loop_turn(b.loop, false);
		}
		assert_true(b.near.hash == memstream_fill_hash(total));
		assert_true(b.near.largest <= allowed[i]);
		if (i > 1)
			assert_true(b.near.largest > STREAM_TURN);
		finish(&b);
	}
}

static void
test_close_sends_what_fits(void **state)
{
	struct bench b;
	struct far f = {.hash = MEMSTREAM_HASH};

	(void)state;
	begin(&b, TCP4);
	stream_put(b.near.stream, "gone", 4);
	recorder_close(&b.near);
	turns(&b, 2);
	far_read(&b, &f, 100);
	far_read(&b, &f, 100);
	assert_int_equal(f.bytes, 4);
	assert_true(f.ended);
	finish(&b);
}

static void
test_reset_is_seen(void **state)
{
	struct bench b;
	struct far f = {.hash = MEMSTREAM_HASH};

	(void)state;
	begin(&b, TCP4);
	stream_reset(b.near.stream);
	b.near.stream = NULL;
	far_read(&b, &f, 100);
	assert_true(f.reset);
	finish(&b);
}

/* An owner that closes from inside a chosen callback. */
enum when { ON_DATA, ON_END, ON_DRAIN, ON_ERROR, WHENS };

struct suicide {
	struct stream *s;
	enum when when;
	unsigned after; /* events after the close */
	bool reset;
};

static void
event(struct suicide *d, enum when what)
{
	if (d->s == NULL) {
		d->after++;
	} else if (d->when == what) {
		if (d->reset)
			stream_reset(d->s);
		else
			stream_close(d->s);
		d->s = NULL;
	}
}

static void
die_on_data(void *owner, uint8_t *data, size_t len)
{
	(void)data;
	(void)len;
	event(owner, ON_DATA);
}

static void
die_on_end(void *owner)
{
	event(owner, ON_END);
}

static void
die_on_drain(void *owner)
{
	event(owner, ON_DRAIN);
}

static void
die_on_error(void *owner, const struct err *err)
{
	assert_true(err->text[0] != '\0');
	event(owner, ON_ERROR);
}

static const struct stream_events dying = {
    .on_data = die_on_data,
    .on_end = die_on_end,
    .on_drain = die_on_drain,
    .on_error = die_on_error,
};

static void
test_close_in_each_callback(void **state)
{
	(void)state;
	for (enum when when = 0; when < WHENS; when++) {
		for (int reset = 0; reset < 2; reset++) {
			struct bench b;
			struct suicide d = {.when = when, .reset = reset};

			begin(&b, TCP4);
			d.s = b.near.stream;
			b.near.stream = NULL;
			stream_set_owner(d.s, &dying, &d);
			stream_start(d.s);
			stream_put(d.s, "x", 1);
			stream_shutdown(d.s);
			assert_int_equal(write(b.far, "y", 1), 1);
			if (when == ON_ERROR)
				far_reset(&b);
			else
				shutdown(b.far, SHUT_WR);
			RUN_UNTIL(b.loop, d.s == NULL);
			turns(&b, 4);
			assert_int_equal(d.after, 0);
			finish(&b);
		}
	}
}

/* The first on_data hands the stream to another owner: nothing is lost. */
struct first {
	struct recorder *next;
	struct stream *s;
};

static void
first_on_data(void *owner, uint8_t *data, size_t len)
{
	struct first *f = owner;

	(void)data;
	assert_int_equal(len, 1);
	recorder_own(f->next, f->s);
}

static void
test_new_owner_inside_a_callback(void **state)
{
	static const struct stream_events events = {
	    .on_data = first_on_data,
	};
	struct bench b;
	struct first f;

	(void)state;
	begin(&b, UNIX);
	f = (struct first){.next = &b.near, .s = b.near.stream};
	stream_set_owner(f.s, &events, &f);
	stream_set_turn(f.s, 1);
	assert_int_equal(write(b.far, "abc", 3), 3);
	stream_start(f.s);
	RUN_UNTIL(b.loop, b.near.bytes == 2);
	assert_string_equal(b.near.text, "bc");
	finish(&b);
}

static void
test_take_fd(void **state)
{
	struct bench b;
	struct stream *s;
	int fd;
	char byte;

	(void)state;
	begin(&b, TCP4);
	stream_start(b.near.stream);
	turns(&b, 1);
	assert_int_equal(write(b.far, "z", 1), 1);
	fd = sock_take_fd(b.near.stream);
	b.near.stream = NULL;
	assert_true(fd >= 0);
	turns(&b, 2);
	s = sock_open(b.loop, fd, NULL);
	recorder_own(&b.near, s);
	stream_start(s);
	RUN_UNTIL(b.loop, b.near.bytes == 1);
	assert_string_equal(b.near.text, "z");
	stream_stop(s);
	while (stream_queued(s) == 0)
		near_write(&b, 0, 65536);
	assert_int_equal(sock_take_fd(s), -1);
	assert_int_equal(recv(b.far, &byte, 1, 0), 1);
	finish(&b);
}

static void
test_names_and_options(void **state)
{
	struct bench b;
	struct addr near, far;
	char text[ADDR_TEXT_MAX];

	(void)state;
	begin(&b, TCP6);
	assert_true(sock_peer_addr(b.near.stream, &far));
	assert_true(sock_local_addr(b.near.stream, &near));
	assert_memory_equal(addr_print(&far, text), "[::1]:", 6);
	assert_false(addr_is_equal(&near, &far));
	sock_set_keepalive(b.near.stream, 30);
	assert_ptr_equal(stream_bottom(b.near.stream), b.near.stream);
	finish(&b);
	begin(&b, UNIX);
	assert_false(sock_peer_addr(b.near.stream, &far));
	sock_set_keepalive(b.near.stream, 30);
	finish(&b);
}

static void
test_no_socket(void **state)
{
	struct loop *l = loop_new(NULL);
	struct err e = {0};
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	assert_null(sock_open(l, fd, &e));
	assert_int_equal(e.code, ERR_SYSTEM);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken */
	assert_true(loop_close(l));
}

/* An idle socket costs a few hundred bytes and holds no buffer, also after it
 * was busy. */
static void
test_idle_is_cheap(void **state)
{
	struct bench b;
	struct far f = {.hash = MEMSTREAM_HASH};

	(void)state;
	begin(&b, TCP4);
	assert_true(malloc_usable_size(b.near.stream) < 400);
	while (near_write(&b, 0, 65536))
		;
	assert_true(stream_queued(b.near.stream) > STREAM_QUEUE_MARK);
	while (stream_queued(b.near.stream) > 0) {
		far_read(&b, &f, 1000000);
		loop_turn(b.loop, false);
	}
	assert_int_equal(b.near.drains, 1);
	assert_true(is_calm(&b));
	finish(&b);
}

/* A freshly made loop never sees a socket that is closed before its first
 * turn. */
static void
test_close_before_the_first_turn(void **state)
{
	(void)state;
	for (int step = 0; step < 5; step++) {
		struct bench b;

		begin(&b, TCP4);
		if (step > 0)
			stream_start(b.near.stream);
		if (step > 1)
			stream_put(b.near.stream, "x", 1);
		if (step > 2)
			stream_stop(b.near.stream);
		if (step > 3)
			stream_shutdown(b.near.stream);
		recorder_close(&b.near);
		finish(&b);
		assert_int_equal(b.near.drains, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bytes_in_and_out),
	    cmocka_unit_test(test_half_close_ours_first),
	    cmocka_unit_test(test_half_close_theirs_first),
	    cmocka_unit_test(test_shutdown_after_the_queue),
	    cmocka_unit_test(test_back_pressure),
	    cmocka_unit_test(test_queue_has_a_ceiling),
	    cmocka_unit_test(test_reset_while_reading),
	    cmocka_unit_test(test_bytes_before_a_reset),
	    cmocka_unit_test(test_answer_before_a_failed_write),
	    cmocka_unit_test(test_reset_while_stopped),
	    cmocka_unit_test(test_unix_hang_up_while_stopped),
	    cmocka_unit_test(test_urgent_data),
	    cmocka_unit_test(test_write_to_a_dead_peer),
	    cmocka_unit_test(test_stop_inside_on_data),
	    cmocka_unit_test(test_turns_grow_with_bulk),
	    cmocka_unit_test(test_close_sends_what_fits),
	    cmocka_unit_test(test_reset_is_seen),
	    cmocka_unit_test(test_close_in_each_callback),
	    cmocka_unit_test(test_new_owner_inside_a_callback),
	    cmocka_unit_test(test_take_fd),
	    cmocka_unit_test(test_names_and_options),
	    cmocka_unit_test(test_no_socket),
	    cmocka_unit_test(test_idle_is_cheap),
	    cmocka_unit_test(test_close_before_the_first_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
