/* SPDX-License-Identifier: MIT
 *
 * Listening: what is accepted, how a shortage of descriptors is borne, and how
 * the files of unix sockets come and go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memstream.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"

#define CLIENTS 200

struct bench {
	struct loop *loop;
	struct listener *listener;
	struct stream *streams[CLIENTS];
	unsigned count;
	struct addr peer;
	unsigned pauses;
	unsigned resumes;
	struct err pause_err;
	bool close_in_accept;
	bool close_in_pause;
};

static void
close_listener(struct bench *b)
{
	listener_close(b->listener);
	b->listener = NULL;
}

static void
on_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct bench *b = owner;

	assert_non_null(b->listener);
	assert_true(b->count < CLIENTS);
	b->streams[b->count++] = s;
	b->peer = *peer;
	if (b->close_in_accept)
		close_listener(b);
}

static void
on_pause(void *owner, bool paused, const struct err *err)
{
	struct bench *b = owner;

	assert_non_null(b->listener);
	if (paused) {
		b->pauses++;
		b->pause_err = *err;
	} else {
		b->resumes++;
		assert_null(err);
	}
	if (b->close_in_pause)
		close_listener(b);
}

static const struct listener_events events = {
    .on_accept = on_accept,
    .on_pause = on_pause,
};

static struct listener *
try_open(struct bench *b, const char *text,
    const struct listener_options *options, struct err *e)
{
	struct addr a;

	if (!addr_parse(&a, text, 0, e))
		fail_msg("%s", e->text);
	return listener_open(b->loop, &a, options, &events, b, e);
}

static void
begin(struct bench *b, const char *text, const struct listener_options *options)
{
	struct err e = {0};

	*b = (struct bench){.loop = loop_new(NULL)};
	b->listener = try_open(b, text, options, &e);
	if (b->listener == NULL)
		fail_msg("%s", e.text);
}

static void
finish(struct bench *b)
{
	while (b->count > 0)
		stream_close(b->streams[--b->count]);
	if (b->listener != NULL)
		close_listener(b);
	assert_true(loop_close(b->loop));
}

static int
dial(const struct addr *a)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* A path in a fresh folder. */
struct place {
	char folder[64];
	char path[80];
	char text[96];
};

static void
make_place(struct place *p)
{
	strcpy(p->folder, "/tmp/hyco-listen-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->path, sizeof(p->path), "%s/s", p->folder);
	snprintf(p->text, sizeof(p->text), "unix:%s", p->path);
}

static void
drop_place(const struct place *p)
{
	assert_int_equal(rmdir(p->folder), 0); /* nothing was left in it */
}

static void
test_tcp(void **state)
{
	static const char *const texts[] = {"127.0.0.1:0", "[::1]:0"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct bench b;
		struct addr mine = {.len = sizeof(mine.sa)};
		int fd;

		begin(&b, texts[i], NULL);
		assert_true(addr_port(listener_addr(b.listener)) > 0);
		fd = dial(listener_addr(b.listener));
		assert_int_equal(b.count, 0);
		RUN_UNTIL(b.loop, b.count == 1);
		getsockname(fd, (struct sockaddr *)&mine.sa, &mine.len);
		assert_true(addr_is_equal(&b.peer, &mine));
		stream_put(b.streams[0], "hello", 5);
		assert_int_equal(read(fd, (char[8]){0}, 8), 5);
		close(fd);
		finish(&b);
	}
}

/* [::] serves both families, and rules meet the plain IPv4 address. */
static void
test_both_families_on_one_socket(void **state)
{
	struct bench b;
	struct addr a;
	char text[ADDR_TEXT_MAX];
	int fd;

	(void)state;
	begin(&b, "[::]:0", NULL);
	addr_from_ip(&a, "127.0.0.1", addr_port(listener_addr(b.listener)));
	fd = dial(&a);
	RUN_UNTIL(b.loop, b.count == 1);
	assert_string_equal(addr_print_ip(&b.peer, text), "127.0.0.1");
	close(fd);
	finish(&b);
}

static void
test_burst(void **state)
{
	struct bench b;
	int fds[CLIENTS];

	(void)state;
	begin(&b, "127.0.0.1:0", NULL);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = dial(listener_addr(b.listener));
	loop_turn(b.loop, true);
	assert_true(b.count > 0 && b.count < CLIENTS);
	RUN_UNTIL(b.loop, b.count == CLIENTS);
	assert_int_equal(b.pauses, 0);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	finish(&b);
}

static void
test_close_in_accept(void **state)
{
	struct bench b;
	int fds[3];

	(void)state;
	begin(&b, "127.0.0.1:0", NULL);
	b.close_in_accept = true;
	for (int i = 0; i < 3; i++)
		fds[i] = dial(listener_addr(b.listener));
	RUN_UNTIL(b.loop, b.listener == NULL);
	for (int i = 0; i < 3; i++)
		loop_turn(b.loop, false);
	assert_int_equal(b.count, 1);
	/* Accepted streams live on. */
	stream_put(b.streams[0], "x", 1);
	assert_int_equal(read(fds[0], (char[8]){0}, 8), 1);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	finish(&b);
}

static void
test_close_before_the_first_turn(void **state)
{
	struct bench b;
	int fd;

	(void)state;
	begin(&b, "127.0.0.1:0", NULL);
	fd = dial(listener_addr(b.listener));
	close_listener(&b);
	close(fd);
	finish(&b);
	assert_int_equal(b.count, 0);
}

/* The limit is lowered so that two descriptors are left. */
static struct rlimit
leave_two_descriptors(void)
{
	struct rlimit before, now;
	int fd = dup(0);

	assert_true(fd >= 0);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &before);
	now = before;
	now.rlim_cur = (rlim_t)fd + 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

static void
on_time(void *owner)
{
	*(bool *)owner = true;
}

/* Whether the loop sleeps while nothing is due, instead of being woken by a
 * descriptor that stays readable. */
static bool
is_calm(struct loop *l)
{
	struct timer t;
	bool over = false;
	unsigned wakes = 0;

	timer_init(&t, l, on_time, &over);
	timer_set(&t, 20);
	while (!over) {
		loop_turn(l, true);
		wakes++;
	}
	return wakes < 20;
}

static void
test_out_of_descriptors(void **state)
{
	struct bench b;
	struct rlimit limit;
	int fds[6];
	unsigned turns = 0;

	(void)state;
	begin(&b, "127.0.0.1:0", NULL);
	loop_turn(b.loop, false); /* epoll has its descriptor */
	for (int i = 0; i < 6; i++)
		fds[i] = dial(listener_addr(b.listener));
	limit = leave_two_descriptors();
	RUN_UNTIL(b.loop, b.pauses == 1);
	assert_int_equal(b.count, 2);
	assert_int_equal(b.pause_err.code, ERR_SYSTEM);
	assert_non_null(strstr(b.pause_err.text, "ulimit"));
	assert_true(is_calm(b.loop));
	/* One gets free: its place is taken, and that is no news. */
	stream_close(b.streams[--b.count]);
	for (; b.count < 2; turns++)
		loop_turn(b.loop, true);
	assert_true(turns < 20);
	assert_int_equal(b.pauses, 1);
	assert_int_equal(b.resumes, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	RUN_UNTIL(b.loop, b.resumes == 1);
	assert_int_equal(b.count, 5);
	assert_int_equal(b.pauses, 1);
	/* And all is as before. */
	close(fds[0]);
	fds[0] = dial(listener_addr(b.listener));
	RUN_UNTIL(b.loop, b.count == 6);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
	finish(&b);
}

static void
test_close_in_pause(void **state)
{
	(void)state;
	for (int when = 0; when < 3; when++) {
		struct bench b;
		struct rlimit limit;
		int fds[4];

		begin(&b, "127.0.0.1:0", NULL);
		loop_turn(b.loop, false);
		for (int i = 0; i < 4; i++)
			fds[i] = dial(listener_addr(b.listener));
		limit = leave_two_descriptors();
		b.close_in_pause = when == 0;
		RUN_UNTIL(b.loop, b.pauses == 1);
		b.close_in_pause = true;
		setrlimit(RLIMIT_NOFILE, &limit);
		if (when == 1) /* during the pause */
			close_listener(&b);
		RUN_UNTIL(b.loop, b.listener == NULL);
		for (int i = 0; i < 4; i++)
			close(fds[i]);
		finish(&b);
	}
}

static void
test_in_use(void **state)
{
	struct bench b;
	struct err e = {0};
	char text[ADDR_TEXT_MAX];

	(void)state;
	begin(&b, "127.0.0.1:0", NULL);
	addr_print(listener_addr(b.listener), text);
	assert_null(try_open(&b, text, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, text));
	assert_non_null(strstr(e.text, "in use"));
	finish(&b);
}

static void
test_port_shared_by_workers(void **state)
{
	const struct listener_options shared = {.reuse_port = true};
	struct bench b;
	struct listener *second;
	struct err e = {0};
	char text[ADDR_TEXT_MAX];

	(void)state;
	begin(&b, "127.0.0.1:0", &shared);
	second = try_open(
	    &b, addr_print(listener_addr(b.listener), text), &shared, &e);
	assert_non_null(second);
	listener_close(second);
	finish(&b);
}

static void
test_errors(void **state)
{
	struct bench b;
	struct err e = {0};

	(void)state;
	begin(&b, "127.0.0.1:0", NULL);
	assert_null(try_open(&b, "192.0.2.1:80", NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, "192.0.2.1:80"));
	assert_null(try_open(&b, "unix:/nonexistent/folder/s", NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	if (geteuid() != 0) {
		assert_null(try_open(&b, "127.0.0.1:1", NULL, &e));
		assert_int_equal(e.code, ERR_DENIED);
	}
	finish(&b);
}

static void
test_unix(void **state)
{
	struct bench b;
	struct place p;
	struct stat st;
	int fd;

	(void)state;
	make_place(&p);
	begin(&b, p.text, NULL);
	assert_int_equal(lstat(p.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	fd = dial(listener_addr(b.listener));
	RUN_UNTIL(b.loop, b.count == 1);
	assert_true(addr_is_unix(&b.peer));
	close(fd);
	finish(&b);
	drop_place(&p);
}

/* Whatever the umask is, and never wider in between. */
static void
test_unix_mode(void **state)
{
	const struct listener_options wide = {.unix_mode = 0666};
	static const mode_t masks[] = {0, 022, 077, 0777};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct bench b;
		struct place p;
		struct stat st;
		mode_t before;

		make_place(&p);
		before = umask(masks[i]);
		begin(&b, p.text, &wide);
		umask(before);
		assert_int_equal(lstat(p.path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0666);
		finish(&b);
		drop_place(&p);
	}
}

static void
test_unix_stale_file(void **state)
{
	const struct listener_options mend = {.unlink_stale = true};
	struct bench b;
	struct place p;
	struct addr a;
	struct err e = {0};
	int fd;

	(void)state;
	make_place(&p);
	addr_parse(&a, p.text, 0, NULL);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a.sa, a.len), 0);
	close(fd);
	begin(&b, "127.0.0.1:0", NULL);
	assert_null(try_open(&b, p.text, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, "in use"));
	close_listener(&b);
	b.listener = try_open(&b, p.text, &mend, &e);
	assert_non_null(b.listener);
	/* One that lives is never taken away. */
	assert_null(try_open(&b, p.text, &mend, &e));
	assert_int_equal(e.code, ERR_USAGE);
	fd = dial(&a);
	assert_true(fd >= 0);
	close(fd);
	RUN_UNTIL(b.loop, b.count > 0);
	finish(&b);
	drop_place(&p);
}

static void
test_unix_spares_other_files(void **state)
{
	const struct listener_options mend = {.unlink_stale = true};
	struct bench b;
	struct place p;
	struct err e = {0};
	int fd;

	(void)state;
	make_place(&p);
	fd = open(p.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	begin(&b, "127.0.0.1:0", NULL);
	assert_null(try_open(&b, p.text, &mend, &e));
	assert_int_equal(access(p.path, F_OK), 0);
	finish(&b);
	unlink(p.path);
	/* The file of a listener was replaced: it is not ours any more. */
	begin(&b, p.text, NULL);
	unlink(p.path);
	fd = open(p.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	finish(&b);
	assert_int_equal(access(p.path, F_OK), 0);
	unlink(p.path);
	drop_place(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tcp),
	    cmocka_unit_test(test_both_families_on_one_socket),
	    cmocka_unit_test(test_burst),
	    cmocka_unit_test(test_close_in_accept),
	    cmocka_unit_test(test_close_before_the_first_turn),
	    cmocka_unit_test(test_out_of_descriptors),
	    cmocka_unit_test(test_close_in_pause),
	    cmocka_unit_test(test_in_use),
	    cmocka_unit_test(test_port_shared_by_workers),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_unix),
	    cmocka_unit_test(test_unix_mode),
	    cmocka_unit_test(test_unix_stale_file),
	    cmocka_unit_test(test_unix_spares_other_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
