/* SPDX-License-Identifier: MIT
 *
 * Listening at ends and dialling them over real sockets: each kind, each
 * refusal of the policy, and closing at every moment.
 */
#include "ends/end.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"

#define TURNS_MAX 1000000

struct server {
	struct end_listener *ln;
	struct stream *last; /* accepted */
	unsigned accepts;
};

struct client {
	struct end_dial *dial;
	struct stream *s;
	unsigned opens;
	unsigned errors;
	struct err err;
	bool closes; /* in its own callback */
};

struct reader {
	char text[64];
	size_t n;
};

static void
on_tick(void *owner)
{
	(void)owner;
}

/* The tick wakes a turn whose last event was a timer at its very start. */
#define RUN_UNTIL(l, condition)                                                \
	do {                                                                   \
		struct timer tick_;                                            \
		int turns_ = 0;                                                \
		timer_init(&tick_, (l), on_tick, NULL);                        \
		while (!(condition)) {                                         \
			timer_set(&tick_, 20);                                 \
			loop_turn((l), true);                                  \
			assert_true(++turns_ < TURNS_MAX);                     \
		}                                                              \
		timer_clear(&tick_);                                           \
	} while (0)

static void
on_accept(void *owner, struct stream *s, const struct addr *peer)
{
	struct server *v = owner;

	(void)peer;
	if (v->last)
		stream_close(v->last);
	v->last = s;
	v->accepts++;
}

static const struct end_listener_events server_events = {
    .on_accept = on_accept};

static void
finish(struct client *c)
{
	if (!c->closes)
		return;
	end_dial_close(c->dial);
	c->dial = NULL;
}

static void
on_open(void *owner, struct stream *s, const struct addr *a)
{
	struct client *c = owner;

	(void)a;
	c->opens++;
	c->s = s;
	finish(c);
}

static void
on_error(void *owner, const struct err *err)
{
	struct client *c = owner;

	c->errors++;
	c->err = *err;
	finish(c);
}

static const struct end_dial_events client_events = {
    .on_open = on_open, .on_error = on_error};

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct reader *r = owner;

	assert_true(r->n + len < sizeof r->text);
	memcpy(r->text + r->n, data, len);
	r->n += len;
}

static void
ignore(void *owner)
{
	(void)owner;
}

static void
ignore_error(void *owner, const struct err *err)
{
	(void)owner;
	(void)err;
}

static const struct stream_events reader_events = {
    .on_data = on_data,
    .on_end = ignore,
    .on_drain = ignore,
    .on_error = ignore_error,
};

static void
serve(struct loop *l, struct server *v, const char *spec)
{
	struct tunnel_spec t;
	struct err e;

	*v = (struct server){.ln = NULL};
	if (!end_parse_tunnel(&t, spec, &e))
		fail_msg("%s", e.text);
	v->ln = end_listen(l, &t.local, &server_events, v, &e);
	if (!v->ln)
		fail_msg("%s", e.text);
}

static void
serve_end(struct server *v)
{
	if (v->last)
		stream_close(v->last);
	end_listener_close(v->ln);
}

static void
dial(struct loop *l, struct client *c, const char *host, uint16_t port,
    const struct end_dial_options *o)
{
	char text[END_TEXT_MAX];
	struct end x;
	struct err e;

	if (port)
		snprintf(text, sizeof text, "%s:%u", host, port);
	else
		snprintf(text, sizeof text, "%s", host);
	if (!end_parse(&x, text, 0, &e))
		fail_msg("%s", e.text);
	*c = (struct client){.closes = c->closes};
	c->dial = end_dial_open(l, &x, o, &client_events, c);
	assert_int_equal(c->opens + c->errors, 0);
}

static void
dial_end(struct client *c)
{
	if (c->s)
		stream_close(c->s);
	if (c->dial)
		end_dial_close(c->dial);
}

/* A byte goes from the one side to the other. */
static void
check_joined(struct loop *l, struct client *c, struct server *v)
{
	struct reader r = {.n = 0};

	stream_set_owner(v->last, &reader_events, &r);
	stream_start(v->last);
	stream_put(c->s, "hello", 5);
	RUN_UNTIL(l, r.n == 5);
	assert_memory_equal(r.text, "hello", 5);
	stream_stop(v->last);
	stream_set_owner(v->last, NULL, NULL);
}

static void
join(struct loop *l, struct server *v, const char *host, uint16_t port)
{
	struct client c = {.dial = NULL};
	unsigned before = v->accepts;

	dial(l, &c, host, port, NULL);
	RUN_UNTIL(l, c.errors || (c.opens && v->accepts > before));
	if (c.errors)
		fail_msg("%s", c.err.text);
	check_joined(l, &c, v);
	dial_end(&c);
}

static void
test_tcp(void **state)
{
	struct loop *l = loop_new(NULL);
	struct server v;
	uint16_t port;

	(void)state;
	serve(l, &v, "0=1");
	assert_int_equal(end_listener_count(v.ln), 1);
	port = addr_port(end_listener_addr(v.ln, 0));
	assert_true(port > 0);
	join(l, &v, "127.0.0.1", port);
	join(l, &v, "localhost", port);
	join(l, &v, "0.0.0.0", port);
	serve_end(&v);
	serve(l, &v, "*:0=1");
	assert_int_equal(end_listener_count(v.ln), 1);
	join(l, &v, "127.0.0.1", addr_port(end_listener_addr(v.ln, 0)));
	serve_end(&v);
	assert_true(loop_close(l));
}

static bool
has_ipv6(struct loop *l)
{
	struct tunnel_spec t;
	struct end_listener *ln;
	struct err e;

	assert_true(end_parse_tunnel(&t, "[::1]:0=1", &e));
	ln = end_listen(l, &t.local, &server_events, NULL, &e);
	if (ln)
		end_listener_close(ln);
	return ln != NULL;
}

static void
test_localhost(void **state)
{
	struct loop *l = loop_new(NULL);
	struct server v;
	uint16_t port;

	(void)state;
	serve(l, &v, "localhost:0=1");
	port = addr_port(end_listener_addr(v.ln, 0));
	join(l, &v, "127.0.0.1", port);
	if (has_ipv6(l)) {
		assert_int_equal(end_listener_count(v.ln), 2);
		assert_int_equal(addr_port(end_listener_addr(v.ln, 1)), port);
		join(l, &v, "[::1]", port);
	}
	serve_end(&v);
	assert_true(loop_close(l));
}

static void
test_in_use(void **state)
{
	struct loop *l = loop_new(NULL);
	struct tunnel_spec t;
	struct server v;
	char text[64];
	struct err e;

	(void)state;
	serve(l, &v, "0=1");
	snprintf(
	    text, sizeof text, "%u", addr_port(end_listener_addr(v.ln, 0)));
	assert_true(end_parse_tunnel(&t, text, &e));
	assert_null(end_listen(l, &t.local, &server_events, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	serve_end(&v);
	/* One of the two addresses of localhost is taken: all is refused. */
	if (has_ipv6(l)) {
		serve(l, &v, "[::1]:0=1");
		snprintf(text, sizeof text, "localhost:%u",
		    addr_port(end_listener_addr(v.ln, 0)));
		assert_true(end_parse_tunnel(&t, text, &e));
		assert_null(end_listen(l, &t.local, &server_events, NULL, &e));
		serve_end(&v);
	}
	assert_true(end_parse_tunnel(&t, "192.0.2.1:0=1", &e));
	assert_null(end_listen(l, &t.local, &server_events, NULL, &e));
	assert_true(end_parse_tunnel(&t, "5353/udp", &e));
	assert_null(end_listen(l, &t.local, &server_events, NULL, &e));
	assert_non_null(strstr(e.text, "datagrams"));
	assert_true(loop_close(l));
}

static void
test_unix(void **state)
{
	char folder[] = "/tmp/hyco-end-XXXXXX", path[64], spec[80];
	struct loop *l = loop_new(NULL);
	struct client c = {.dial = NULL};
	struct server v;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "unix:%s/s", folder);
	snprintf(spec, sizeof spec, "%s=80", path);
	serve(l, &v, spec);
	assert_int_equal(stat(path + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	join(l, &v, path, 0);
	serve_end(&v);
	dial(l, &c, path, 0, NULL);
	RUN_UNTIL(l, c.opens + c.errors);
	assert_int_equal(c.errors, 1);
	dial_end(&c);
	assert_true(loop_close(l));
	assert_int_equal(rmdir(folder), 0);
}

/* The error a dial ends with. */
static struct err
fail_to(struct loop *l, const char *host, uint16_t port,
    const struct end_dial_options *o)
{
	struct client c = {.dial = NULL};

	dial(l, &c, host, port, o);
	RUN_UNTIL(l, c.opens + c.errors);
	assert_int_equal(c.opens, 0);
	dial_end(&c);
	return c.err;
}

static void
test_policy(void **state)
{
	static const char text[] = "user alice\n"
	                           "allow tcp localhost *\n"
	                           "allow unix /run/x\n"
	                           "user *\n"
	                           "deny tcp 127.0.0.2 *\n"
	                           "user bob\n"
	                           "allow tcp * *\n";
	struct policy *p = policy_parse(text, strlen(text), "p.txt", NULL);
	struct end_dial_options alice = {.policy = p, .user = "alice"};
	struct end_dial_options bob = {.policy = p, .user = "bob"};
	struct end_dial_options none = {.policy = p};
	struct end_dial_options trusted = {.is_trusted = true};
	struct loop *l = loop_new(NULL);
	struct client c = {.dial = NULL};
	struct server v;
	uint16_t port;
	struct err e;

	(void)state;
	serve(l, &v, "0=1");
	port = addr_port(end_listener_addr(v.ln, 0));
	e = fail_to(l, "127.0.0.1", port, &alice);
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "alice"));
	e = fail_to(l, "127.0.0.2", port, &bob);
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "p.txt:5"));
	assert_int_equal(fail_to(l, "localhost", port, &none).code, ERR_DENIED);
	assert_int_equal(fail_to(l, "unix:/run/y", 0, &alice).code, ERR_DENIED);
	assert_int_equal(fail_to(l, "unix:/run/x", 0, &bob).code, ERR_DENIED);
	/* Without a file, the ranges that must be named stay closed. */
	assert_int_equal(
	    fail_to(l, "169.254.169.254", 80, NULL).code, ERR_DENIED);
	dial(l, &c, "localhost", port, &alice);
	/* The dial keeps what it needs. */
	policy_unref(p);
	RUN_UNTIL(l, c.opens + c.errors);
	assert_int_equal(c.opens, 1);
	dial_end(&c);
	dial(l, &c, "127.0.0.1", port, &trusted);
	RUN_UNTIL(l, c.opens + c.errors);
	assert_int_equal(c.opens, 1);
	dial_end(&c);
	serve_end(&v);
	assert_int_equal(fail_to(l, "127.0.0.1", port, NULL).code, ERR_REFUSED);
	e = fail_to(l, "127.0.0.1:53/udp", 0, NULL);
	assert_int_equal(e.code, ERR_USAGE);
	assert_true(loop_close(l));
}

static void
test_close(void **state)
{
	static const char *const hosts[] = {"127.0.0.1:%u", "localhost:%u",
	    "127.0.0.1:1/udp", "169.254.169.254:%u", "unix:/nowhere/%u"};
	struct client c = {.dial = NULL};
	struct loop *l;
	struct server v;
	char text[64];
	int turns, i, k;

	(void)state;
	for (k = 0; k < 5; k++)
		for (turns = 0; turns < 12; turns++) {
			l = loop_new(NULL);
			serve(l, &v, "0=1");
			snprintf(text, sizeof text, hosts[k],
			    addr_port(end_listener_addr(v.ln, 0)));
			c.closes = false;
			dial(l, &c, text, 0, NULL);
			for (i = 0; i < turns; i++)
				loop_turn(l, false);
			i = (int)(c.opens + c.errors);
			dial_end(&c);
			serve_end(&v);
			assert_true(loop_close(l));
			assert_int_equal(c.opens + c.errors, i);
		}
	/* From its own callback. */
	l = loop_new(NULL);
	serve(l, &v, "0=1");
	c.closes = true;
	dial(l, &c, "127.0.0.1", addr_port(end_listener_addr(v.ln, 0)), NULL);
	RUN_UNTIL(l, c.opens + c.errors);
	dial_end(&c);
	dial(l, &c, "169.254.169.254", 80, NULL);
	RUN_UNTIL(l, c.opens + c.errors);
	dial_end(&c);
	serve_end(&v);
	assert_true(loop_close(l));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tcp),
	    cmocka_unit_test(test_localhost),
	    cmocka_unit_test(test_in_use),
	    cmocka_unit_test(test_unix),
	    cmocka_unit_test(test_policy),
	    cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
