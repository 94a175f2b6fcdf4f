/* SPDX-License-Identifier: MIT
 *
 * Connecting: names and numbers, the owner's say about each address, refusal,
 * silence, and giving up at any moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memstream.h"
#include "net/connect.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"

#define LONG_MS 60000

/* --- a resolver of our own, in front of the C library's --- */

/* The IPs of "many.test"; NULL at the end. */
static const char *many[8];
/* "slow.test" is resolved when this is posted. */
static sem_t slow;

static struct addrinfo *
one(const char *ip, const char *port, struct addrinfo *next)
{
	struct addrinfo *ai = calloc(1, sizeof(*ai));
	struct addr *a = calloc(1, sizeof(*a));

	addr_from_ip(a, ip, (uint16_t)atoi(port));
	ai->ai_family = a->sa.ss_family;
	ai->ai_addr = (struct sockaddr *)&a->sa;
	ai->ai_addrlen = a->len;
	ai->ai_next = next;
	ai->ai_flags = -1; /* ours */
	return ai;
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
    struct addrinfo **res)
{
	int (*next)(const char *, const char *, const struct addrinfo *,
	    struct addrinfo **) = NULL;
	size_t count = 0;

	if (strcmp(node, "slow.test") == 0) {
		sem_wait(&slow);
		*res = one("127.0.0.1", service, NULL);
		return 0;
	}
	if (strcmp(node, "many.test") == 0) {
		*res = NULL;
		while (many[count] != NULL)
			count++;
		while (count > 0)
			*res = one(many[--count], service, *res);
		return 0;
	}
	*(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
	return next(node, service, hints, res);
}

void
freeaddrinfo(struct addrinfo *ai)
{
	void (*next)(struct addrinfo *) = NULL;

	if (ai->ai_flags != -1) {
		*(void **)&next = dlsym(RTLD_NEXT, "freeaddrinfo");
		next(ai);
		return;
	}
	while (ai != NULL) {
		struct addrinfo *after = ai->ai_next;

		free(ai->ai_addr);
		free(ai);
		ai = after;
	}
}

/* --- */

struct bench {
	struct loop *loop;
	struct connecting *connecting;
	struct stream *stream;
	struct addr reached;
	struct err err;
	unsigned opens;
	unsigned errors;
	char asked[512]; /* the addresses that allow() saw, each with a blank */
	bool deny_ip6;
	bool deny_all;
	bool close_in_allow;
	bool close_in_open;
	bool close_in_error;
};

static void
give_up(struct bench *b)
{
	connect_close(b->connecting);
	b->connecting = NULL;
}

static bool
allow(void *owner, const struct addr *a, struct err *e)
{
	struct bench *b = owner;
	char text[ADDR_TEXT_MAX];

	assert_non_null(b->connecting);
	strncat(b->asked, addr_print(a, text), ADDR_TEXT_MAX);
	strncat(b->asked, " ", 2);
	if (b->close_in_allow)
		give_up(b);
	if (b->deny_all || (b->deny_ip6 && a->sa.ss_family == AF_INET6))
		return err_set(e, ERR_DENIED, "a rule forbids %s", text);
	return true;
}

static void
on_open(void *owner, struct stream *s, const struct addr *a)
{
	struct bench *b = owner;

	assert_non_null(b->connecting);
	b->opens++;
	b->stream = s;
	b->reached = *a;
	if (b->close_in_open)
		give_up(b);
}

static void
on_error(void *owner, const struct err *err)
{
	struct bench *b = owner;

	assert_non_null(b->connecting);
	b->errors++;
	b->err = *err;
	if (b->close_in_error)
		give_up(b);
}

static const struct connect_events events = {
    .allow = allow,
    .on_open = on_open,
    .on_error = on_error,
};

static void
begin(struct bench *b)
{
	*b = (struct bench){.loop = loop_new(NULL)};
}

static void
start(struct bench *b, const char *target, uint64_t timeout_ms)
{
	struct hostport h;
	struct err e = {0};

	if (!hostport_parse(&h, target, 0, &e))
		fail_msg("%s", e.text);
	b->connecting = connect_open(b->loop, &h, timeout_ms, &events, b);
	assert_int_equal(b->opens + b->errors, 0);
	assert_string_equal(b->asked, "");
}

static void
start_addr(struct bench *b, const struct addr *a, uint64_t timeout_ms)
{
	b->connecting = connect_open_addr(b->loop, a, timeout_ms, &events, b);
	assert_int_equal(b->opens + b->errors, 0);
}

static void
finish(struct bench *b)
{
	if (b->connecting != NULL)
		give_up(b);
	if (b->stream != NULL)
		stream_close(b->stream);
	assert_true(loop_close(b->loop));
	assert_true(b->opens + b->errors <= 1);
}

static int
server(const char *text, int backlog, struct addr *a)
{
	int fd;

	assert_true(addr_parse(a, text, 0, NULL));
	fd = socket(a->sa.ss_family, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a->sa, a->len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	getsockname(fd, (struct sockaddr *)&a->sa, &a->len);
	return fd;
}

/* Whether anybody knocked. */
static bool
was_reached(int fd)
{
	int peer;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	peer = accept(fd, NULL, NULL);
	if (peer >= 0)
		close(peer);
	return peer >= 0;
}

static void
test_ip(void **state)
{
	static const char *const texts[] = {"127.0.0.1:0", "[::1]:0"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct bench b;
		struct addr a;
		char text[ADDR_TEXT_MAX];
		char asked[ADDR_TEXT_MAX + 2];
		int fd = server(texts[i], 5, &a);
		int peer;

		begin(&b);
		start(&b, addr_print(&a, text), LONG_MS);
		RUN_UNTIL(b.loop, b.opens == 1);
		snprintf(asked, sizeof(asked), "%s ", text);
		assert_string_equal(b.asked, asked);
		assert_true(addr_is_equal(&b.reached, &a));
		assert_true(sock_is(b.stream));
		peer = accept(fd, NULL, NULL);
		stream_put(b.stream, "hi", 2);
		assert_int_equal(read(peer, (char[4]){0}, 4), 2);
		close(peer);
		close(fd);
		finish(&b);
	}
}

static void
test_name(void **state)
{
	struct bench b;
	struct addr a;
	struct hostport h = {.host = "localhost"};
	char text[HOSTPORT_TEXT_MAX];
	int fd = server("127.0.0.1:0", 5, &a);

	(void)state;
	begin(&b);
	/* Some systems know ::1 by that name as well: nobody listens there, or
	 * a rule is against it; either way 127.0.0.1 has its turn. */
	for (int deny = 0; deny < 2; deny++) {
		b.deny_ip6 = deny;
		b.opens = 0;
		b.asked[0] = '\0';
		h.port = addr_port(&a);
		start(&b, hostport_print(&h, text), LONG_MS);
		RUN_UNTIL(b.loop, b.opens == 1);
		assert_true(addr_is_equal(&b.reached, &a));
		give_up(&b);
		stream_close(b.stream);
		b.stream = NULL;
	}
	close(fd);
	finish(&b);
}

static void
test_unix(void **state)
{
	struct bench b;
	struct addr a;
	char text[64];
	int fd;

	(void)state;
	snprintf(text, sizeof(text), "unix:/tmp/hyco-connect-%d", getpid());
	fd = server(text, 5, &a);
	begin(&b);
	start_addr(&b, &a, LONG_MS);
	RUN_UNTIL(b.loop, b.opens == 1);
	assert_true(was_reached(fd));
	assert_true(addr_is_equal(&b.reached, &a));
	finish(&b);
	close(fd);
	begin(&b);
	start_addr(&b, &a, LONG_MS);
	RUN_UNTIL(b.loop, b.errors == 1);
	assert_int_equal(b.err.code, ERR_REFUSED);
	assert_non_null(strstr(b.err.text, text));
	finish(&b);
	unlink(addr_unix_path(&a));
}

static void
test_refused(void **state)
{
	struct bench b;
	struct addr a;
	char text[ADDR_TEXT_MAX];

	(void)state;
	close(server("127.0.0.1:0", 1, &a));
	begin(&b);
	start(&b, addr_print(&a, text), LONG_MS);
	RUN_UNTIL(b.loop, b.errors == 1);
	assert_int_equal(b.err.code, ERR_REFUSED);
	assert_non_null(strstr(b.err.text, text));
	finish(&b);
}

/* The error names both what the user wrote and where it led. */
static void
test_refused_by_name(void **state)
{
	struct bench b;
	struct addr a;
	char text[ADDR_TEXT_MAX];

	(void)state;
	close(server("127.0.0.1:0", 1, &a));
	snprintf(text, sizeof(text), "localhost:%u", addr_port(&a));
	begin(&b);
	start(&b, text, LONG_MS);
	RUN_UNTIL(b.loop, b.errors == 1);
	assert_int_equal(b.err.code, ERR_REFUSED);
	assert_non_null(strstr(b.err.text, text));
	assert_non_null(strstr(b.err.text, "127.0.0.1"));
	finish(&b);
}

/* Denied means that not even a SYN leaves. */
static void
test_denied(void **state)
{
	static const char *const hosts[] = {
	    "127.0.0.1", "localhost", "::ffff:127.0.0.1"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct bench b;
		struct addr a;
		struct hostport h;
		char text[HOSTPORT_TEXT_MAX];
		int fd = server("127.0.0.1:0", 5, &a);

		begin(&b);
		b.deny_all = true;
		strcpy(h.host, hosts[i]);
		h.port = addr_port(&a);
		start(&b, hostport_print(&h, text), LONG_MS);
		RUN_UNTIL(b.loop, b.errors == 1);
		assert_int_equal(b.err.code, ERR_DENIED);
		assert_non_null(strstr(b.err.text, "a rule forbids"));
		assert_false(was_reached(fd));
		/* A rule for IPv4 meets the mapped form too. */
		addr_print(&a, text);
		assert_non_null(strstr(b.asked, text));
		close(fd);
		finish(&b);
	}
}

static void
test_mapped_address_is_reached_as_ip4(void **state)
{
	struct bench b;
	struct addr a;
	char text[ADDR_TEXT_MAX];
	int fd = server("127.0.0.1:0", 5, &a);

	(void)state;
	snprintf(text, sizeof(text), "[::ffff:127.0.0.1]:%u", addr_port(&a));
	begin(&b);
	start(&b, text, LONG_MS);
	RUN_UNTIL(b.loop, b.opens == 1);
	assert_true(addr_is_equal(&b.reached, &a));
	assert_true(was_reached(fd));
	close(fd);
	finish(&b);
}

static void
test_unknown_name(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	start(&b, "no-such-name.invalid:80", LONG_MS);
	RUN_UNTIL(b.loop, b.errors == 1);
	assert_int_equal(b.err.code, ERR_UNREACHABLE);
	assert_non_null(strstr(b.err.text, "no-such-name.invalid:80"));
	assert_string_equal(b.asked, "");
	finish(&b);
}

/* A unix listener whose backlog is full says neither yes nor no. */
struct full {
	struct addr addr;
	int fds[8];
	int count;
};

static void
fill(struct full *f)
{
	char text[64];
	int fd;

	snprintf(text, sizeof(text), "unix:/tmp/hyco-full-%d", getpid());
	f->fds[0] = server(text, 1, &f->addr);
	f->count = 1;
	for (;;) {
		assert_true(f->count < 8);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		f->fds[f->count++] = fd;
		if (connect(fd, (struct sockaddr *)&f->addr.sa, f->addr.len) !=
		    0) {
			assert_int_equal(errno, EAGAIN);
			return;
		}
	}
}

static void
empty(struct full *f)
{
	while (f->count > 0)
		close(f->fds[--f->count]);
	unlink(addr_unix_path(&f->addr));
}

static void
test_timeout(void **state)
{
	struct bench b;
	struct full f;

	(void)state;
	fill(&f);
	begin(&b);
	start_addr(&b, &f.addr, 70);
	RUN_UNTIL(b.loop, b.errors == 1);
	assert_int_equal(b.err.code, ERR_TIMEOUT);
	assert_non_null(strstr(b.err.text, "hyco-full"));
	finish(&b);
	empty(&f);
}

static void
test_busy_listener_gets_another_try(void **state)
{
	struct bench b;
	struct full f;

	(void)state;
	fill(&f);
	begin(&b);
	start_addr(&b, &f.addr, LONG_MS);
	while (b.asked[0] == '\0')
		loop_turn(b.loop, true);
	loop_turn(b.loop, false);
	assert_int_equal(b.opens, 0);
	close(accept(f.fds[0], NULL, NULL));
	close(accept(f.fds[0], NULL, NULL));
	RUN_UNTIL(b.loop, b.opens == 1);
	finish(&b);
	empty(&f);
}

static void
test_close_at_every_step(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost"};
	struct addr a, nobody;
	int fd = server("127.0.0.1:0", 100, &a);

	(void)state;
	close(server("127.0.0.1:0", 1, &nobody));
	for (int turns = 0; turns < 8; turns++) {
		for (int i = 0; i < 4; i++) {
			struct bench b;
			char text[ADDR_TEXT_MAX];

			begin(&b);
			snprintf(text, sizeof(text), "%s:%u", hosts[i % 2],
			    addr_port(i < 2 ? &a : &nobody));
			start(&b, text, LONG_MS);
			for (int n = 0; n < turns; n++)
				loop_turn(b.loop, true);
			finish(&b);
		}
	}
	close(fd);
}

static void
test_close_in_each_callback(void **state)
{
	struct addr a, nobody;
	int fd = server("127.0.0.1:0", 100, &a);

	(void)state;
	close(server("127.0.0.1:0", 1, &nobody));
	for (int i = 0; i < 4; i++) {
		struct bench b;
		char text[ADDR_TEXT_MAX];

		begin(&b);
		b.close_in_allow = i < 2;
		b.deny_all = i == 1;
		b.close_in_open = i == 2;
		b.close_in_error = i == 3;
		start(&b, addr_print(i == 3 ? &nobody : &a, text), LONG_MS);
		RUN_UNTIL(b.loop, b.connecting == NULL);
		for (int n = 0; n < 3; n++)
			loop_turn(b.loop, false);
		assert_int_equal(b.opens, i == 2);
		assert_int_equal(b.errors, i == 3);
		finish(&b);
	}
	close(fd);
}

/* The resolver's first family begins, then they alternate. */
static void
test_order_of_addresses(void **state)
{
	static const char *const lists[][8] = {
	    {"::1", "::2", "::3", "127.0.0.2", "127.0.0.3", NULL},
	    {"127.0.0.2", "127.0.0.3", "127.0.0.4", "::1", NULL},
	    {"127.0.0.2", "127.0.0.3", NULL},
	    {"::1", "127.0.0.2", "::ffff:127.0.0.3", NULL},
	};
	static const char *const orders[] = {
	    "[::1]:7 127.0.0.2:7 [::2]:7 127.0.0.3:7 [::3]:7 ",
	    "127.0.0.2:7 [::1]:7 127.0.0.3:7 127.0.0.4:7 ",
	    "127.0.0.2:7 127.0.0.3:7 ",
	    "[::1]:7 127.0.0.2:7 127.0.0.3:7 ",
	};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct bench b;

		memcpy(many, lists[i], sizeof(many));
		begin(&b);
		b.deny_all = true;
		start(&b, "many.test:7", LONG_MS);
		RUN_UNTIL(b.loop, b.errors == 1);
		assert_string_equal(b.asked, orders[i]);
		finish(&b);
	}
}

static void
test_no_address_at_all(void **state)
{
	struct bench b;

	(void)state;
	many[0] = NULL;
	begin(&b);
	start(&b, "many.test:7", LONG_MS);
	RUN_UNTIL(b.loop, b.errors == 1);
	assert_int_equal(b.err.code, ERR_UNREACHABLE);
	finish(&b);
}

/* A denial does not hide why the allowed ones failed, wherever it stands. */
static void
test_error_of_the_last_connect(void **state)
{
	static const char *const lists[][8] = {
	    {"::1", "127.0.0.1", NULL}, {"127.0.0.1", "::1", NULL}};
	struct addr nobody;
	char text[ADDR_TEXT_MAX];

	(void)state;
	close(server("127.0.0.1:0", 1, &nobody));
	snprintf(text, sizeof(text), "many.test:%u", addr_port(&nobody));
	for (size_t i = 0; i < 2; i++) {
		struct bench b;

		memcpy(many, lists[i], sizeof(many));
		begin(&b);
		b.deny_ip6 = true;
		start(&b, text, LONG_MS);
		RUN_UNTIL(b.loop, b.errors == 1);
		assert_int_equal(b.err.code, ERR_REFUSED);
		finish(&b);
	}
}

/* 127.0.0.2 does not answer (its backlog is full, so SYNs are dropped) and
 * 127.0.0.1 does: the silent one costs a quarter of a second, no more. */
static void
test_silent_address_is_overtaken(void **state)
{
	static const char *const list[8] = {"127.0.0.2", "127.0.0.1", NULL};
	struct bench b;
	struct addr a, silent;
	char text[ADDR_TEXT_MAX];
	int fd = server("127.0.0.1:0", 5, &a);
	int silent_fd;
	int fds[4];

	(void)state;
	memcpy(many, list, sizeof(many));
	snprintf(text, sizeof(text), "127.0.0.2:%u", addr_port(&a));
	silent_fd = server(text, 0, &silent);
	for (int i = 0; i < 4; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(
		    fds[i], (struct sockaddr *)&silent.sa, silent.len);
	}
	snprintf(text, sizeof(text), "many.test:%u", addr_port(&a));
	for (int i = 0; i < 3; i++) {
		begin(&b);
		start(&b, text, i == 1 ? 100 : LONG_MS);
		if (i == 0) {
			RUN_UNTIL(b.loop, b.opens == 1);
			assert_true(addr_is_equal(&b.reached, &a));
		} else if (i == 1) {
			RUN_UNTIL(b.loop, b.errors == 1);
			assert_int_equal(b.err.code, ERR_TIMEOUT);
		} else {
			/* Given up while the first is on its way. */
			while (b.asked[0] == '\0')
				loop_turn(b.loop, true);
		}
		finish(&b);
	}
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	close(silent_fd);
	close(fd);
}

/* The pool cannot be interrupted: the look-up ends later, and finds nobody. */
static void
test_slow_name(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct bench b;

		begin(&b);
		b.close_in_error = i == 1;
		start(&b, "slow.test:7", i < 2 ? 30 : LONG_MS);
		if (i < 2) {
			RUN_UNTIL(b.loop, b.errors == 1);
			assert_int_equal(b.err.code, ERR_TIMEOUT);
			assert_non_null(strstr(b.err.text, "resolved"));
		} else {
			loop_turn(b.loop, false);
		}
		if (i == 2) {
			give_up(&b);
			loop_turn(b.loop, false);
		}
		sem_post(&slow);
		finish(&b);
		assert_string_equal(b.asked, "");
	}
}

/* Without an allow function all may. */
static void
test_no_rule(void **state)
{
	static const struct connect_events plain = {
	    .on_open = on_open,
	    .on_error = on_error,
	};
	struct bench b;
	struct addr a;
	int fd = server("127.0.0.1:0", 5, &a);

	(void)state;
	begin(&b);
	b.connecting = connect_open_addr(b.loop, &a, 0, &plain, &b);
	RUN_UNTIL(b.loop, b.opens == 1);
	close(fd);
	finish(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ip),
	    cmocka_unit_test(test_name),
	    cmocka_unit_test(test_unix),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_refused_by_name),
	    cmocka_unit_test(test_denied),
	    cmocka_unit_test(test_mapped_address_is_reached_as_ip4),
	    cmocka_unit_test(test_unknown_name),
	    cmocka_unit_test(test_timeout),
	    cmocka_unit_test(test_busy_listener_gets_another_try),
	    cmocka_unit_test(test_close_at_every_step),
	    cmocka_unit_test(test_close_in_each_callback),
	    cmocka_unit_test(test_order_of_addresses),
	    cmocka_unit_test(test_no_address_at_all),
	    cmocka_unit_test(test_error_of_the_last_connect),
	    cmocka_unit_test(test_silent_address_is_overtaken),
	    cmocka_unit_test(test_slow_name),
	    cmocka_unit_test(test_no_rule),
	};

	/* A name service that is out of reach must not take minutes. */
	sem_init(&slow, 0, 0);
	setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
