/* SPDX-License-Identifier: MIT
 *
 * Two descriptors as a stream: pipes, sockets, files, a terminal; ends, broken
 * pipes, slow readers; and that whoever shares a descriptor finds it blocking
 * as before.
 */
#include "net/stdio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "memstream.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/mem.h"

static struct loop *
new_loop(void)
{
	struct loop *l = loop_new(NULL);

	assert_non_null(l);
	return l;
}

static bool
is_blocking(int fd)
{
	return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

static void
own(struct recorder *r, struct loop *l, int in, int out)
{
	struct err e;
	struct stream *s = stdio_open(l, in, out, &e);

	if (s == NULL)
		fail_msg("%s", e.text);
	recorder_own(r, s);
	stream_start(s);
}

static void
test_pipes(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int in[2], out[2];
	char text[8];

	(void)state;
	assert_int_equal(pipe(in) + pipe(out), 0);
	own(&r, l, in[0], out[1]);
	assert_int_equal(write(in[1], "question", 8), 8);
	RUN_UNTIL(l, r.bytes == 8);
	assert_string_equal(r.text, "question");
	assert_true(stream_put(r.stream, "answer", 6));
	assert_int_equal(read(out[0], text, 8), 6);
	assert_memory_equal(text, "answer", 6);
	assert_true(is_blocking(in[0]) && is_blocking(out[1]));
	/* The end of the input: the output goes on. */
	close(in[1]);
	RUN_UNTIL(l, r.ends == 1);
	assert_true(stream_put(r.stream, "more", 4));
	stream_shutdown(r.stream);
	RUN_UNTIL(l, r.drains == 1);
	assert_int_equal(read(out[0], text, 8), 4);
	assert_int_equal(read(out[0], text, 8), 0);
	recorder_close(&r);
	assert_true(loop_close(l));
	assert_int_equal(r.errors, 0);
	close(out[0]);
}

/* Half-close the other way: the output ends first. */
static void
test_output_first(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int in[2], out[2];
	char text[8];

	(void)state;
	assert_int_equal(pipe(in) + pipe(out), 0);
	own(&r, l, in[0], out[1]);
	stream_shutdown(r.stream);
	assert_int_equal(r.drains, 0);
	RUN_UNTIL(l, r.drains == 1);
	assert_int_equal(read(out[0], text, 8), 0);
	assert_int_equal(write(in[1], "still", 5), 5);
	RUN_UNTIL(l, r.bytes == 5);
	close(in[1]);
	RUN_UNTIL(l, r.ends == 1);
	recorder_close(&r);
	assert_true(loop_close(l));
	close(out[0]);
}

/* More than the pipe takes: it waits, says so, and drains. */
static void
test_slow_reader(void **state)
{
	const size_t total = 600 * 1024;
	struct loop *l = new_loop();
	struct recorder r;
	int in[2], out[2];
	uint8_t *data = mem_alloc(total), *got = mem_alloc(total);
	size_t n = 0;

	(void)state;
	memstream_fill(data, total, 0);
	assert_int_equal(pipe(in) + pipe(out), 0);
	assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	own(&r, l, in[0], out[1]);
	assert_false(stream_put(r.stream, data, total));
	assert_true(stream_queued(r.stream) > 0);
	stream_shutdown(r.stream);
	while (n < total) {
		ssize_t some = read(out[0], got + n, total - n);

		if (some > 0)
			n += (size_t)some;
		else
			loop_turn(l, true);
	}
	assert_memory_equal(got, data, total);
	RUN_UNTIL(l, r.drains == 1);
	assert_int_equal(read(out[0], got, 1), 0);
	recorder_close(&r);
	assert_true(loop_close(l));
	close(in[1]);
	close(out[0]);
	free(data);
	free(got);
}

static void
test_reader_gone(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int in[2], out[2];

	(void)state;
	assert_int_equal(pipe(in) + pipe(out), 0);
	own(&r, l, in[0], out[1]);
	loop_turn(l, false);
	close(out[0]);
	RUN_UNTIL(l, r.errors == 1);
	assert_int_equal(r.err.code, ERR_RESET);
	/* Written for nobody, told no second time. */
	assert_false(stream_put(r.stream, "x", 1));
	loop_turn(l, false);
	assert_int_equal(r.errors, 1);
	recorder_close(&r);
	assert_true(loop_close(l));
	close(in[1]);
}

static void
test_stop(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int in[2], out[2];

	(void)state;
	assert_int_equal(pipe(in) + pipe(out), 0);
	own(&r, l, in[0], out[1]);
	stream_stop(r.stream);
	assert_int_equal(write(in[1], "later", 5), 5);
	close(in[1]);
	loop_turn(l, false);
	loop_turn(l, false);
	assert_int_equal(r.bytes + r.ends, 0);
	r.stop_each = true;
	stream_start(r.stream);
	RUN_UNTIL(l, r.bytes == 5);
	loop_turn(l, false);
	assert_int_equal(r.ends, 0);
	stream_start(r.stream);
	RUN_UNTIL(l, r.ends == 1);
	recorder_close(&r);
	assert_true(loop_close(l));
	close(out[0]);
}

/* One socket as both, as inetd and ssh's ProxyUseFdpass have it. */
static void
test_socket(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int pair[2];
	char text[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	own(&r, l, pair[0], pair[0]);
	assert_true(is_blocking(pair[0]));
	assert_int_equal(write(pair[1], "hello", 5), 5);
	RUN_UNTIL(l, r.bytes == 5);
	assert_true(stream_put(r.stream, "bye", 3));
	stream_shutdown(r.stream);
	RUN_UNTIL(l, r.drains == 1);
	assert_int_equal(read(pair[1], text, 8), 3);
	assert_int_equal(read(pair[1], text, 8), 0);
	assert_int_equal(write(pair[1], "last", 4), 4);
	RUN_UNTIL(l, r.bytes == 9);
	close(pair[1]);
	RUN_UNTIL(l, r.ends == 1);
	recorder_close(&r);
	assert_true(loop_close(l));
	assert_int_equal(r.errors, 0);
}

static int
temporary(char path[32])
{
	strcpy(path, "/tmp/hyco-stdio-XXXXXX");
	return mkstemp(path);
}

/* Files are read from where they stand, and written to at their end. */
static void
test_files(void **state)
{
	const size_t total = 300 * 1024;
	struct loop *l = new_loop();
	struct recorder r;
	char in_path[32], out_path[32];
	int in = temporary(in_path), out = temporary(out_path);
	uint8_t *data = mem_alloc(total);
	struct stat st;

	(void)state;
	memstream_fill(data, total, 0);
	assert_int_equal(write(in, "skipped", 7), 7);
	assert_int_equal(write(in, data, total), total);
	assert_int_equal(lseek(in, 7, SEEK_SET), 7);
	assert_int_equal(write(out, "head", 4), 4);
	own(&r, l, in, out);
	RUN_UNTIL(l, r.ends == 1);
	assert_int_equal(r.bytes, total);
	assert_true(r.hash == memstream_hash(MEMSTREAM_HASH, data, total));
	assert_true(stream_put(r.stream, "tail", 4));
	stream_shutdown(r.stream);
	RUN_UNTIL(l, r.drains == 1);
	recorder_close(&r);
	assert_true(loop_close(l));
	assert_int_equal(stat(out_path, &st), 0);
	assert_int_equal(st.st_size, 8);
	unlink(in_path);
	unlink(out_path);
	free(data);
}

static void
test_null(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int in = open("/dev/null", O_RDONLY);
	int out = open("/dev/null", O_WRONLY);

	(void)state;
	own(&r, l, in, out);
	RUN_UNTIL(l, r.ends == 1);
	assert_true(stream_put(r.stream, "gone", 4));
	stream_shutdown(r.stream);
	RUN_UNTIL(l, r.drains == 1);
	recorder_close(&r);
	assert_true(loop_close(l));
}

/* A terminal keeps its settings, and the shell behind us its blocking reads. */
static void
test_terminal(void **state)
{
	struct loop *l = new_loop();
	struct recorder r;
	int master, slave, out;
	char text[8];

	(void)state;
	if (openpty(&master, &slave, NULL, NULL, NULL) != 0)
		skip();
	out = dup(slave);
	own(&r, l, slave, out);
	assert_int_equal(write(master, "line\n", 5), 5);
	RUN_UNTIL(l, r.bytes == 5);
	assert_true(is_blocking(out));
	assert_true(stream_put(r.stream, "x", 1));
	assert_true(read(master, text, sizeof text) > 0); /* the echo */
	/* Control-D at the start of a line. */
	assert_int_equal(write(master, "\x04", 1), 1);
	RUN_UNTIL(l, r.ends == 1);
	recorder_close(&r);
	assert_true(loop_close(l));
	close(master);
}

static void
test_not_open(void **state)
{
	struct loop *l = new_loop();
	int out[2];
	struct err e;

	(void)state;
	assert_int_equal(pipe(out), 0);
	assert_null(stdio_open(l, 999, out[1], &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_null(stdio_open(l, out[0], 999, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_true(fcntl(out[0], F_GETFD) >= 0);
	assert_true(fcntl(out[1], F_GETFD) >= 0);
	assert_true(loop_close(l));
	close(out[0]);
	close(out[1]);
}

/* The real numbers, in a process of their own: an echo through a pump's worth
 * of stops and starts, after which 0 and 1 are not free for others. */
static void
echo_data(void *owner, uint8_t *data, size_t len)
{
	struct stream *s = *(struct stream **)owner;

	if (!stream_write(s, data, len))
		stream_stop(s);
}

static void
echo_end(void *owner)
{
	stream_shutdown(*(struct stream **)owner);
}

static void
echo_drain(void *owner)
{
	struct stream *s = *(struct stream **)owner;

	if (!s->is_shut) {
		stream_start(s);
		return;
	}
	stream_close(s);
	*(struct stream **)owner = NULL;
}

static void
echo_error(void *owner, const struct err *err)
{
	(void)owner, (void)err;
	_exit(9);
}

static const struct stream_events echo_events = {
    .on_data = echo_data,
    .on_end = echo_end,
    .on_drain = echo_drain,
    .on_error = echo_error,
};

static void
be_echo(int in, int out)
{
	struct loop *l = loop_new(NULL);
	struct stream *s;

	if (dup2(in, 0) != 0 || dup2(out, 1) != 1)
		_exit(2);
	close(in);
	close(out);
	s = stdio_open(l, 0, 1, NULL);
	if (s == NULL)
		_exit(3);
	stream_set_owner(s, &echo_events, &s);
	stream_start(s);
	loop_run(l);
	if (s != NULL || !loop_close(l))
		_exit(4);
	if (fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0)
		_exit(5);
	_exit(0);
}

static void
test_process(void **state)
{
	const size_t total = 1024 * 1024;
	uint8_t *data = mem_alloc(total), *got = mem_alloc(total + 1);
	int in[2], out[2], status;
	size_t n = 0;
	pid_t echo, feeder;

	(void)state;
	memstream_fill(data, total, 0);
	assert_int_equal(pipe(in) + pipe(out), 0);
	echo = fork();
	if (echo == 0) {
		close(in[1]);
		close(out[0]);
		be_echo(in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	feeder = fork();
	if (feeder == 0) {
		close(out[0]);
		while (n < total) {
			ssize_t some = write(in[1], data + n, total - n);

			if (some <= 0)
				_exit(1);
			n += (size_t)some;
		}
		_exit(0);
	}
	close(in[1]);
	for (;;) {
		ssize_t some = read(out[0], got + n, total + 1 - n);

		if (some <= 0)
			break;
		n += (size_t)some;
	}
	assert_int_equal(n, total);
	assert_memory_equal(got, data, total);
	assert_int_equal(waitpid(feeder, &status, 0), feeder);
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(echo, &status, 0), echo);
	assert_int_equal(status, 0);
	close(out[0]);
	free(data);
	free(got);
}

/* Closed at any time nothing is left. */
static void
test_close(void **state)
{
	(void)state;
	for (unsigned step = 0; step < 6; step++) {
		struct loop *l = new_loop();
		struct recorder r;
		static uint8_t data[200 * 1024];
		int in[2], out[2];

		assert_int_equal(pipe(in) + pipe(out), 0);
		own(&r, l, in[0], out[1]);
		for (unsigned i = 0; i < step; i++) {
			if (i == 0)
				assert_int_equal(write(in[1], "x", 1), 1);
			if (i == 2)
				(void)stream_put(r.stream, data, sizeof data);
			if (i == 3)
				stream_shutdown(r.stream);
			if (i == 4)
				close(out[0]);
			loop_turn(l, false);
		}
		recorder_close(&r);
		assert_true(loop_close(l));
		close(in[1]);
		if (step < 5)
			close(out[0]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pipes),
	    cmocka_unit_test(test_output_first),
	    cmocka_unit_test(test_slow_reader),
	    cmocka_unit_test(test_reader_gone),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_socket),
	    cmocka_unit_test(test_files),
	    cmocka_unit_test(test_null),
	    cmocka_unit_test(test_terminal),
	    cmocka_unit_test(test_not_open),
	    cmocka_unit_test(test_process),
	    cmocka_unit_test(test_close),
	};

	alarm(60);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
