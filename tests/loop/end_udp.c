/* SPDX-License-Identifier: MIT
 *
 * The UDP end: a flow for each peer, the oldest datagrams dropped while nobody
 * takes them, expiry, making room, and closing in any order.
 */
#include "ends/end_udp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends/end.h"
#include "ends/socks_wire.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "net/udp.h"
#include "util/err.h"
#include "util/mem.h"

#define RUN_UNTIL(loop, condition)                                             \
	while (!(condition))                                                   \
		if (!loop_turn((loop), true) && !(condition))                  \
			fail_msg("the loop is dry before: %s", #condition);

#define FLOWS 8

struct flow {
	struct end_udp_flow *f;
	unsigned datagrams;
	unsigned expired;
	size_t len;
	char text[64];
	int first; /* number in the first datagram, and the last one */
	int last;
	bool closes;
};

struct place {
	struct loop *loop;
	struct end_udp *u;
	unsigned n;
	unsigned over;
	bool stays_stopped;
	bool refuses;
	struct flow flows[FLOWS];
};

static void
on_datagram(void *owner, uint8_t *data, size_t len)
{
	struct flow *w = owner;
	int number = 0;

	w->len = len;
	memcpy(w->text, data, len < sizeof w->text ? len : sizeof w->text - 1);
	w->text[len < sizeof w->text ? len : sizeof w->text - 1] = '\0';
	if (len >= sizeof number)
		memcpy(&number, data, sizeof number);
	if (w->datagrams++ == 0)
		w->first = number;
	w->last = number;
	memset(data - STREAM_HEADROOM, 0xee, len + STREAM_HEADROOM);
	if (w->closes) {
		end_udp_flow_close(w->f);
		w->f = NULL;
	}
}

static void
on_expire(void *owner)
{
	struct flow *w = owner;

	w->expired++;
	if (w->closes) {
		end_udp_flow_close(w->f);
		w->f = NULL;
	}
}

static const struct end_udp_flow_events flow_events = {
    .on_datagram = on_datagram,
    .on_expire = on_expire,
};

static void
on_flow(void *owner, struct end_udp_flow *f)
{
	struct place *p = owner;
	struct flow *w = &p->flows[p->n];

	if (p->refuses) {
		end_udp_flow_close(f);
		p->n++;
		return;
	}
	assert_true(p->n < FLOWS);
	p->n++;
	w->f = f;
	end_udp_flow_set_owner(f, &flow_events, w);
	if (!p->stays_stopped)
		end_udp_flow_start(f);
}

static void
on_over(void *owner)
{
	((struct place *)owner)->over++;
}

static const struct end_udp_events events = {
    .on_flow = on_flow,
    .on_over = on_over,
};

static void
place_open(struct place *p, const char *spec, const struct end_udp_options *o)
{
	struct end x;
	struct err e;

	memset(p, 0, sizeof *p);
	p->loop = loop_new(NULL);
	assert_true(end_parse(&x, spec, 0, &e));
	x.at.port = 0; /* any */
	p->u = end_udp_open(p->loop, &x, o, &events, p, &e);
	if (p->u == NULL)
		fail_msg("%s", e.text);
}

static void
place_close(struct place *p)
{
	for (size_t i = 0; i < FLOWS; i++)
		if (p->flows[i].f != NULL)
			end_udp_flow_close(p->flows[i].f);
	if (p->u != NULL)
		end_udp_close(p->u);
	assert_true(loop_close(p->loop));
}

/* A peer: an ordinary socket connected to the end. */
static int
peer(const struct addr *to)
{
	int fd = socket(to->sa.ss_family, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(
	    connect(fd, (const struct sockaddr *)&to->sa, to->len), 0);
	return fd;
}

static void
say(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, 0), len);
}

static void
assert_heard(int fd, const void *expected, size_t len)
{
	char text[512];
	ssize_t n = recv(fd, text, sizeof text, 0);

	assert_int_equal(n, len);
	assert_memory_equal(text, expected, len);
}

static void
test_flows(void **state)
{
	struct place p;
	int a, b;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	a = peer(end_udp_addr(p.u, 0));
	b = peer(end_udp_addr(p.u, 0));
	say(a, "from a", 6);
	RUN_UNTIL(p.loop, p.flows[0].datagrams == 1);
	assert_string_equal(p.flows[0].text, "from a");
	say(b, "from b", 6);
	RUN_UNTIL(p.loop, p.n == 2 && p.flows[1].datagrams == 1);
	say(a, "", 0);
	RUN_UNTIL(p.loop, p.flows[0].datagrams == 2);
	assert_int_equal(p.flows[0].len, 0);
	assert_int_equal(p.n, 2);
	assert_int_equal(end_udp_flows(p.u), 2);
	assert_null(end_udp_flow_target(p.flows[0].f));
	assert_true(end_udp_flow_send(p.flows[1].f, "to b", 4));
	assert_true(end_udp_flow_send(p.flows[0].f, "to a", 4));
	assert_heard(a, "to a", 4);
	assert_heard(b, "to b", 4);
	/* Closed by its owner; the peer's next datagram is a new flow. */
	end_udp_flow_close(p.flows[0].f);
	p.flows[0].f = NULL;
	assert_int_equal(end_udp_flows(p.u), 1);
	say(a, "again", 5);
	RUN_UNTIL(p.loop, p.n == 3 && p.flows[2].datagrams == 1);
	assert_string_equal(p.flows[2].text, "again");
	close(a);
	close(b);
	place_close(&p);
}

/* 100 datagrams while nobody takes them: the last 64 arrive, in order. */
static void
test_oldest_dropped(void **state)
{
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	p.stays_stopped = true;
	fd = peer(end_udp_addr(p.u, 0));
	for (int i = 0; i < 100; i++) {
		say(fd, &i, sizeof i);
		loop_turn(p.loop, false);
	}
	while (p.n == 0 ||
	       end_udp_flow_dropped(p.flows[0].f) < 100 - END_UDP_WAITING_MAX)
		loop_turn(p.loop, true);
	assert_int_equal(p.flows[0].datagrams, 0);
	end_udp_flow_start(p.flows[0].f);
	assert_int_equal(p.flows[0].datagrams, 0);
	RUN_UNTIL(p.loop, p.flows[0].last == 99);
	assert_int_equal(p.flows[0].datagrams, END_UDP_WAITING_MAX);
	assert_int_equal(p.flows[0].first, 100 - END_UDP_WAITING_MAX);
	close(fd);
	place_close(&p);
}

/* Large ones: bytes are bounded, too. */
static void
test_bytes_bounded(void **state)
{
	static uint8_t data[60000];
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	p.stays_stopped = true;
	fd = peer(end_udp_addr(p.u, 0));
	for (int i = 0; i < 10; i++) {
		memcpy(data, &i, sizeof i);
		say(fd, data, sizeof data);
		loop_turn(p.loop, true);
	}
	while (end_udp_flow_dropped(p.flows[0].f) < 6)
		loop_turn(p.loop, true);
	end_udp_flow_start(p.flows[0].f);
	RUN_UNTIL(p.loop, p.flows[0].last == 9);
	assert_int_equal(p.flows[0].datagrams, END_UDP_BYTES_MAX / sizeof data);
	assert_int_equal(p.flows[0].len, sizeof data);
	close(fd);
	place_close(&p);
}

static void
test_expiry(void **state)
{
	static const struct end_udp_options quick = {.idle_ms = 30};
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", &quick);
	fd = peer(end_udp_addr(p.u, 0));
	say(fd, "x", 1);
	RUN_UNTIL(p.loop, p.flows[0].expired == 1);
	assert_int_equal(p.flows[0].datagrams, 1);
	assert_int_equal(end_udp_flows(p.u), 0);
	assert_false(end_udp_flow_send(p.flows[0].f, "late", 4));
	say(fd, "y", 1);
	RUN_UNTIL(p.loop, p.n == 2 && p.flows[1].datagrams == 1);
	p.flows[1].closes = true;
	RUN_UNTIL(p.loop, p.flows[1].expired == 1);
	assert_int_equal(p.flows[0].expired, 1);
	close(fd);
	place_close(&p);
}

/* Wakes the loop now and then. */
static void
on_tick(void *owner)
{
	timer_set(owner, 20);
}

/* Datagrams either way keep a flow alive; the other one goes first. */
static void
test_use_keeps(void **state)
{
	static const struct end_udp_options quick = {.idle_ms = 200};
	struct place p;
	struct timer tick;
	int a, b;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", &quick);
	timer_init(&tick, p.loop, on_tick, &tick);
	timer_set(&tick, 20);
	a = peer(end_udp_addr(p.u, 0));
	b = peer(end_udp_addr(p.u, 0));
	say(a, "x", 1);
	RUN_UNTIL(p.loop, p.n == 1);
	say(b, "x", 1);
	RUN_UNTIL(p.loop, p.n == 2);
	while (p.flows[1].expired == 0) {
		assert_true(end_udp_flow_send(p.flows[0].f, "keep", 4));
		loop_turn(p.loop, true);
	}
	assert_int_equal(p.flows[0].expired, 0);
	timer_clear(&tick);
	close(a);
	close(b);
	place_close(&p);
}

/* Full: who was busy a moment ago stays, and the newcomer is not heard. */
static void
test_full(void **state)
{
	static const struct end_udp_options two = {.max_flows = 2};
	struct place p;
	struct timer tick;
	int fds[3];

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", &two);
	timer_init(&tick, p.loop, on_tick, &tick);
	timer_set(&tick, 20);
	for (int i = 0; i < 3; i++)
		fds[i] = peer(end_udp_addr(p.u, 0));
	say(fds[0], "x", 1);
	say(fds[1], "x", 1);
	say(fds[2], "x", 1);
	say(fds[0], "last", 4);
	RUN_UNTIL(p.loop, p.flows[0].datagrams == 2);
	assert_int_equal(p.n, 2);
	assert_int_equal(end_udp_flows(p.u), 2);
	/* Later the one that was idle longest makes room. */
	while (p.n == 2) {
		assert_true(end_udp_flow_send(p.flows[0].f, "busy", 4));
		say(fds[2], "in", 2);
		loop_turn(p.loop, true); /* the datagram */
		loop_turn(p.loop, true); /* the tick */
	}
	RUN_UNTIL(p.loop, p.flows[1].expired == 1);
	assert_int_equal(p.flows[0].expired, 0);
	timer_clear(&tick);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	place_close(&p);
}

static void
test_localhost(void **state)
{
	struct place p;

	(void)state;
	place_open(&p, "localhost:1/udp", NULL);
	for (size_t i = 0; i < end_udp_count(p.u); i++) {
		int fd = peer(end_udp_addr(p.u, i));

		assert_int_equal(addr_port(end_udp_addr(p.u, i)),
		    addr_port(end_udp_addr(p.u, 0)));
		say(fd, "hi", 2);
		RUN_UNTIL(p.loop, p.n == i + 1 && p.flows[i].datagrams == 1);
		assert_true(end_udp_flow_send(p.flows[i].f, "ho", 2));
		assert_heard(fd, "ho", 2);
		close(fd);
	}
	place_close(&p);
}

static void
test_errors(void **state)
{
	struct place p;
	struct end x;
	char text[64];
	struct err e;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	(void)snprintf(text, sizeof text, "127.0.0.1:%u/udp",
	    addr_port(end_udp_addr(p.u, 0)));
	assert_true(end_parse(&x, text, 0, &e));
	assert_null(end_udp_open(p.loop, &x, NULL, &events, &p, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, "in use"));
	assert_true(end_parse(&x, "127.0.0.1:1", 0, &e));
	assert_null(end_udp_open(p.loop, &x, NULL, &events, &p, &e));
	assert_int_equal(e.code, ERR_USAGE);
	place_close(&p);
}

/* The end is closed first: flows hear of it and wait for their owners. */
static void
test_close_end(void **state)
{
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	fd = peer(end_udp_addr(p.u, 0));
	say(fd, "x", 1);
	RUN_UNTIL(p.loop, p.flows[0].datagrams == 1);
	end_udp_close(p.u);
	p.u = NULL;
	assert_int_equal(p.flows[0].expired, 0);
	loop_turn(p.loop, false);
	loop_turn(p.loop, false);
	assert_int_equal(p.flows[0].expired, 1);
	assert_false(end_udp_flow_send(p.flows[0].f, "x", 1));
	close(fd);
	place_close(&p);
}

static void
test_close_inside(void **state)
{
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	p.flows[0].closes = p.flows[1].closes = true;
	fd = peer(end_udp_addr(p.u, 0));
	say(fd, "x", 1);
	RUN_UNTIL(p.loop, p.flows[0].datagrams == 1);
	assert_int_equal(end_udp_flows(p.u), 0);
	/* Several wait, and the first one ends it. */
	p.stays_stopped = true;
	for (int i = 0; i < 3; i++)
		say(fd, "y", 1);
	RUN_UNTIL(p.loop, p.n == 2);
	loop_turn(p.loop, false);
	end_udp_flow_start(p.flows[1].f);
	RUN_UNTIL(p.loop, p.flows[1].datagrams == 1);
	p.refuses = true;
	say(fd, "z", 1);
	RUN_UNTIL(p.loop, p.n >= 3);
	assert_int_equal(end_udp_flows(p.u), 0);
	close(fd);
	place_close(&p);
}

/* --- where datagrams go --- */

struct dial {
	struct udp *u;
	enum err_code code;
};

static void
on_open(void *owner, struct stream *s, const struct addr *a)
{
	(void)owner, (void)s, (void)a;
	fail_msg("a stream instead of datagrams");
}

static void
on_udp(void *owner, struct udp *u, const struct addr *a)
{
	(void)a;
	((struct dial *)owner)->u = u;
}

static void
on_error(void *owner, const struct err *err)
{
	((struct dial *)owner)->code = err->code;
}

static const struct end_dial_events dial_events = {
    .on_open = on_open,
    .on_error = on_error,
    .on_udp = on_udp,
};

/* The same rules as for connections, and a socket that answers the flow. */
static void
test_dial(void **state)
{
	static const struct end_dial_options trusted = {.is_trusted = true};
	static const uint8_t hello[] = "hello";
	struct place p;
	struct end x;
	struct dial good = {0}, denied = {0};
	struct end_dial *dials[2];
	struct err e;

	(void)state;
	place_open(&p, "127.0.0.1:1/udp", NULL);
	assert_true(end_parse(&x, "127.0.0.1:1/udp", 0, &e));
	x.at.port = addr_port(end_udp_addr(p.u, 0));
	dials[0] = end_dial_open(p.loop, &x, &trusted, &dial_events, &good);
	assert_true(end_parse(&x, "169.254.169.254:53/udp", 0, &e));
	dials[1] = end_dial_open(p.loop, &x, NULL, &dial_events, &denied);
	/* No packet, so nothing wakes the loop. */
	while (good.u == NULL || denied.code == ERR_NONE)
		loop_turn(p.loop, false);
	assert_int_equal(denied.code, ERR_DENIED);
	assert_null(denied.u);
	assert_true(udp_send(good.u, NULL, hello, 5));
	RUN_UNTIL(p.loop, p.flows[0].datagrams == 1);
	assert_string_equal(p.flows[0].text, "hello");
	end_dial_close(dials[0]);
	end_dial_close(dials[1]);
	udp_close(good.u);
	place_close(&p);
}

/* --- SOCKS 5 --- */

static void
test_socks(void **state)
{
	struct place p;
	struct addr loopback;
	struct err e;
	struct stream *control;
	uint8_t message[SOCKS_WIRE_UDP_HEAD_MAX + 16];
	struct hostport dns = {"dns.example", 53}, ntp = {"10.0.0.1", 123};
	int pair[2], client, stranger;
	size_t n;

	(void)state;
	memset(&p, 0, sizeof p);
	p.loop = loop_new(NULL);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	control = sock_open(p.loop, pair[0], &e);
	assert_true(addr_from_ip(&loopback, "127.0.0.1", 0));
	p.u = end_udp_open_socks(
	    p.loop, &loopback, &loopback, control, NULL, &events, &p, &e);
	assert_non_null(p.u);
	client = peer(end_udp_addr(p.u, 0));
	stranger = peer(end_udp_addr(p.u, 0));
	n = socks_wire_build_udp(&dns, message);
	memcpy(message + n, "query", 5);
	say(client, "no head", 7); /* does not make him the client */
	say(client, message, n + 5);
	say(stranger, message, n + 5);
	RUN_UNTIL(p.loop, p.n == 1 && p.flows[0].datagrams == 1);
	assert_string_equal(p.flows[0].text, "query");
	assert_string_equal(
	    end_udp_flow_target(p.flows[0].f)->host, "dns.example");
	assert_int_equal(end_udp_flow_target(p.flows[0].f)->port, 53);
	assert_true(end_udp_flow_send(p.flows[0].f, "reply", 5));
	memcpy(message + n, "reply", 5);
	assert_heard(client, message, n + 5);
	/* Another destination is another flow; fragments are dropped. */
	n = socks_wire_build_udp(&ntp, message);
	memcpy(message + n, "time?", 5);
	message[2] = 1;
	say(client, message, n + 5);
	message[2] = 0;
	say(client, message, n + 5);
	RUN_UNTIL(p.loop, p.n == 2 && p.flows[1].datagrams == 1);
	assert_string_equal(p.flows[1].text, "time?");
	loop_turn(p.loop, false);
	assert_int_equal(p.flows[0].datagrams, 1);
	assert_int_equal(p.over, 0);
	close(pair[1]);
	RUN_UNTIL(p.loop, p.over == 1);
	close(client);
	close(stranger);
	place_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_flows),
	    cmocka_unit_test(test_oldest_dropped),
	    cmocka_unit_test(test_bytes_bounded),
	    cmocka_unit_test(test_expiry),
	    cmocka_unit_test(test_use_keeps),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_localhost),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_close_end),
	    cmocka_unit_test(test_close_inside),
	    cmocka_unit_test(test_dial),
	    cmocka_unit_test(test_socks),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
