/* SPDX-License-Identifier: MIT
 *
 * Datagram sockets on loopback: whole datagrams of every size, answers from the
 * address that was asked, ports that nobody listens on, closing anywhere.
 */
#include "net/udp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/connect.h"
#include "net/loop.h"
#include "net/stream.h"
#include "util/err.h"

#define RUN_UNTIL(loop, condition)                                             \
	while (!(condition))                                                   \
		if (!loop_turn((loop), true) && !(condition))                  \
			fail_msg("the loop is dry before: %s", #condition);

struct heard {
	struct udp *udp;
	unsigned datagrams;
	unsigned errors;
	size_t len; /* of the last one */
	uint8_t first, last;
	struct udp_way way;
	struct err err;
	bool echoes;
	bool stops;
	bool closes;
};

static void
on_datagram(void *owner, uint8_t *data, size_t len, const struct udp_way *way)
{
	struct heard *h = owner;

	h->datagrams++;
	h->len = len;
	h->first = len > 0 ? data[0] : 0;
	h->last = len > 0 ? data[len - 1] : 0;
	h->way = *way;
	if (h->echoes)
		assert_true(udp_send(h->udp, way, data, len));
	memset(data - STREAM_HEADROOM, 0xee, STREAM_HEADROOM + len);
	if (h->stops)
		udp_stop(h->udp);
	if (h->closes)
		udp_close(h->udp);
}

static void
on_error(void *owner, const struct err *err)
{
	struct heard *h = owner;

	h->errors++;
	h->err = *err;
	if (h->closes)
		udp_close(h->udp);
}

static const struct udp_events events = {
    .on_datagram = on_datagram,
    .on_error = on_error,
};

static struct loop *
new_loop(void)
{
	struct loop *l = loop_new(NULL);

	assert_non_null(l);
	return l;
}

static void
bind_to(struct heard *h, struct loop *l, const char *ip)
{
	struct addr a;
	struct err e;

	memset(h, 0, sizeof *h);
	assert_true(addr_from_ip(&a, ip, 0));
	h->udp = udp_open(l, &a, &events, h, &e);
	if (h->udp == NULL)
		fail_msg("%s", e.text);
	assert_int_not_equal(addr_port(udp_addr(h->udp)), 0);
	udp_start(h->udp);
}

static void
connect_to(struct heard *h, struct loop *l, const char *ip, uint16_t port)
{
	struct addr a;
	struct err e;

	memset(h, 0, sizeof *h);
	assert_true(addr_from_ip(&a, ip, port));
	h->udp = udp_connect(l, &a, &events, h, &e);
	if (h->udp == NULL)
		fail_msg("%s", e.text);
	udp_start(h->udp);
}

static void
test_sizes(void **state)
{
	static const size_t sizes[] = {
	    0, 1, 1200, 1472, 1473, 9000, 65506, UDP_DATAGRAM_MAX};
	static uint8_t data[UDP_DATAGRAM_MAX + 1];
	struct loop *l = new_loop();
	struct heard server, client;

	(void)state;
	bind_to(&server, l, "127.0.0.1");
	server.echoes = true;
	connect_to(&client, l, "127.0.0.1", addr_port(udp_addr(server.udp)));
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		size_t n = sizes[i];

		data[0] = (uint8_t)(i + 1);
		if (n > 1)
			data[n - 1] = (uint8_t)(i + 100);
		assert_true(udp_send(client.udp, NULL, data, n));
		RUN_UNTIL(l, client.datagrams == i + 1);
		assert_int_equal(client.len, n);
		if (n > 0)
			assert_int_equal(client.first, i + 1);
		if (n > 1)
			assert_int_equal(client.last, i + 100);
	}
	assert_true(addr_is_equal(&server.way.peer, udp_addr(client.udp)));
	assert_int_equal(server.errors + client.errors, 0);
	/* One byte more is told, and harms nothing. */
	assert_false(udp_send(client.udp, NULL, data, sizeof data));
	RUN_UNTIL(l, client.errors == 1);
	assert_int_equal(client.err.code, ERR_TOO_BIG);
	assert_true(udp_send(client.udp, NULL, data, 5));
	RUN_UNTIL(l, client.len == 5);
	udp_close(server.udp);
	udp_close(client.udp);
	assert_true(loop_close(l));
}

static void
test_two_parts(void **state)
{
	struct loop *l = new_loop();
	struct heard server, client;

	(void)state;
	bind_to(&server, l, "127.0.0.1");
	connect_to(&client, l, "127.0.0.1", addr_port(udp_addr(server.udp)));
	assert_true(udp_send_two(client.udp, NULL, "head", 4, "body", 4));
	RUN_UNTIL(l, server.datagrams == 1);
	assert_int_equal(server.len, 8);
	assert_int_equal(server.first, 'h');
	assert_int_equal(server.last, 'y');
	udp_close(server.udp);
	udp_close(client.udp);
	assert_true(loop_close(l));
}

/* A socket on all addresses answers from the one that was asked: the client,
 * being connected, would not hear anything else. */
static void
answer_from(const char *bound, const char *asked)
{
	struct loop *l = new_loop();
	struct heard server, client;
	char text[ADDR_TEXT_MAX];

	bind_to(&server, l, bound);
	server.echoes = true;
	connect_to(&client, l, asked, addr_port(udp_addr(server.udp)));
	assert_true(udp_send(client.udp, NULL, "x", 1));
	RUN_UNTIL(l, client.datagrams == 1 || client.errors > 0);
	assert_int_equal(client.errors, 0);
	assert_string_equal(addr_print_ip(&server.way.local, text), asked);
	udp_close(server.udp);
	udp_close(client.udp);
	assert_true(loop_close(l));
}

static bool
has_ip6(void)
{
	struct loop *l = new_loop();
	struct addr a;
	struct udp *u;

	assert_true(addr_from_ip(&a, "::1", 0));
	u = udp_open(l, &a, &events, NULL, NULL);
	if (u != NULL)
		udp_close(u);
	assert_true(loop_close(l));
	return u != NULL;
}

static void
test_answers(void **state)
{
	(void)state;
	answer_from("0.0.0.0", "127.0.0.1");
	answer_from("0.0.0.0", "127.0.0.77");
	answer_from("127.0.0.9", "127.0.0.9");
	if (!has_ip6())
		skip();
	answer_from("::", "127.0.0.77");
	answer_from("::", "::1");
	answer_from("::1", "::1");
}

/* The port of a socket that has just been closed. */
static uint16_t
dead_port(void)
{
	struct sockaddr_in in = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

/* Nobody there: told, and when somebody comes the same socket works. */
static void
test_refused(void **state)
{
	struct loop *l = new_loop();
	uint16_t port = dead_port();
	struct heard server, client;
	struct addr a;

	(void)state;
	connect_to(&client, l, "127.0.0.1", port);
	assert_true(udp_send(client.udp, NULL, "x", 1));
	RUN_UNTIL(l, client.errors == 1);
	assert_int_equal(client.err.code, ERR_REFUSED);
	/* While stopped it is told by the next send. */
	udp_stop(client.udp);
	assert_true(udp_send(client.udp, NULL, "x", 1));
	assert_true(udp_send(client.udp, NULL, "x", 1));
	RUN_UNTIL(l, client.errors == 2);
	udp_start(client.udp);
	RUN_UNTIL(l, client.errors == 3);
	memset(&server, 0, sizeof server);
	assert_true(addr_from_ip(&a, "127.0.0.1", port));
	server.udp = udp_open(l, &a, &events, &server, NULL);
	assert_non_null(server.udp);
	server.echoes = true;
	udp_start(server.udp);
	assert_true(udp_send(client.udp, NULL, "x", 1));
	RUN_UNTIL(l, client.datagrams == 1);
	udp_close(server.udp);
	udp_close(client.udp);
	assert_true(loop_close(l));
}

static void
test_in_use(void **state)
{
	struct loop *l = new_loop();
	struct heard server;
	struct addr far;
	struct err e;

	(void)state;
	bind_to(&server, l, "127.0.0.1");
	assert_null(udp_open(l, udp_addr(server.udp), &events, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(e.text, "in use"));
	assert_true(addr_from_ip(&far, "192.0.2.1", 0));
	assert_null(udp_open(l, &far, &events, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	udp_close(server.udp);
	assert_true(loop_close(l));
}

/* One datagram each time it is started; the others wait in the kernel. */
static void
test_stop(void **state)
{
	struct loop *l = new_loop();
	struct heard server, client;

	(void)state;
	bind_to(&server, l, "127.0.0.1");
	server.stops = true;
	connect_to(&client, l, "127.0.0.1", addr_port(udp_addr(server.udp)));
	for (int i = 0; i < 5; i++)
		assert_true(udp_send(client.udp, NULL, "x", 1));
	for (unsigned i = 1; i <= 5; i++) {
		RUN_UNTIL(l, server.datagrams == i);
		loop_turn(l, false);
		assert_int_equal(server.datagrams, i);
		udp_start(server.udp);
	}
	udp_close(server.udp);
	udp_close(client.udp);
	assert_true(loop_close(l));
}

static void
test_close_inside(void **state)
{
	struct loop *l = new_loop();
	struct heard server, client, refused;

	(void)state;
	bind_to(&server, l, "127.0.0.1");
	server.closes = true;
	connect_to(&client, l, "127.0.0.1", addr_port(udp_addr(server.udp)));
	connect_to(&refused, l, "127.0.0.1", dead_port());
	refused.closes = true;
	for (int i = 0; i < 5; i++)
		assert_true(udp_send(client.udp, NULL, "x", 1));
	assert_true(udp_send(refused.udp, NULL, "x", 1));
	RUN_UNTIL(l, server.datagrams > 0 && refused.errors > 0);
	assert_int_equal(server.datagrams, 1);
	assert_int_equal(refused.errors, 1);
	/* Trouble that was to be told later is not told to the dead. */
	(void)udp_send(client.udp, NULL, "x", 1);
	(void)udp_send(client.udp, NULL, "x", 1);
	udp_close(client.udp);
	assert_true(loop_close(l));
	assert_int_equal(client.errors, 0);
}

/* --- dialling --- */

struct dial {
	struct heard heard;
	struct connecting *c;
	unsigned asked;
	bool denies;
	bool failed;
	struct err err;
};

static bool
on_allow(void *owner, const struct addr *a, struct err *e)
{
	struct dial *d = owner;

	(void)a;
	d->asked++;
	return !d->denies || err_set(e, ERR_DENIED, "not you");
}

static void
on_open(void *owner, struct stream *s, const struct addr *a)
{
	(void)owner, (void)s, (void)a;
	fail_msg("a stream instead of datagrams");
}

static void
on_udp(void *owner, struct udp *u, const struct addr *a)
{
	struct dial *d = owner;

	assert_true(addr_is_loopback(a));
	d->heard.udp = u;
}

static void
on_fail(void *owner, const struct err *err)
{
	struct dial *d = owner;

	d->failed = true;
	d->err = *err;
}

static const struct connect_events dial_events = {
    .allow = on_allow,
    .on_open = on_open,
    .on_error = on_fail,
    .on_udp = on_udp,
};

static void
test_dial(void **state)
{
	struct loop *l = new_loop();
	struct heard server;
	struct dial d = {.asked = 0}, denied = {.denies = true};
	struct hostport to = {.host = "127.0.0.1"};

	(void)state;
	bind_to(&server, l, "127.0.0.1");
	server.echoes = true;
	to.port = addr_port(udp_addr(server.udp));
	d.c = connect_open_udp(l, &to, 5000, &dial_events, &d);
	denied.c = connect_open_udp(l, &to, 5000, &dial_events, &denied);
	assert_int_equal(d.asked + denied.asked, 0);
	/* No packet, so nothing wakes the loop. */
	while (d.heard.udp == NULL || !denied.failed)
		loop_turn(l, false);
	assert_int_equal(d.asked, 1);
	assert_int_equal(denied.err.code, ERR_DENIED);
	assert_null(denied.heard.udp);
	/* Nobody owns it yet: trouble waits or is lost, and harms nothing. */
	assert_true(udp_send(d.heard.udp, NULL, "early", 5));
	udp_set_owner(d.heard.udp, &events, &d.heard);
	udp_start(d.heard.udp);
	RUN_UNTIL(l, d.heard.datagrams == 1);
	assert_int_equal(d.heard.len, 5);
	connect_close(d.c);
	connect_close(denied.c);
	udp_close(d.heard.udp);
	udp_close(server.udp);
	assert_true(loop_close(l));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_two_parts),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_in_use),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_close_inside),
	    cmocka_unit_test(test_dial),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
