/* SPDX-License-Identifier: MIT
 *
 * The dynamic end with real connections: each kind of request, answers late
 * and early, what was sent ahead, those who say nothing, leave or lie, and UDP.
 */
#include "ends/end_socks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends/end.h"
#include "ends/end_udp.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"
#include "util/err.h"

#define RUN_UNTIL(loop, condition)                                             \
	while (!(condition))                                                   \
		if (!loop_turn((loop), true) && !(condition))                  \
			fail_msg("the loop is dry before: %s", #condition);

struct place {
	struct loop *loop;
	struct end_socks *s;
	struct end_socks_request *request; /* the last one */
	unsigned requests;
	unsigned cancels;
	unsigned bad;
	struct err err;
	/* of the stream that was accepted */
	char text[64];
	size_t bytes;
	unsigned ends;
	unsigned errors;
	/* UDP */
	struct end_udp *u;
	struct end_udp_flow *flow;
	unsigned datagrams;
	unsigned over;
	bool closes; /* in on_request */
};

static void
on_request(void *owner, struct end_socks_request *r)
{
	struct place *p = owner;

	p->requests++;
	p->request = r;
	end_socks_request_set_owner(r, p);
	if (p->closes) {
		end_socks_close(p->s);
		p->s = NULL;
	}
}

static void
on_cancel(void *owner, struct end_socks_request *r)
{
	struct place *p = owner;

	assert_ptr_equal(r, p->request);
	p->cancels++;
	p->request = NULL;
}

static void
on_bad(void *owner, const struct err *err)
{
	struct place *p = owner;

	p->bad++;
	p->err = *err;
}

static const struct end_socks_events events = {
    .on_request = on_request,
    .on_cancel = on_cancel,
    .on_bad = on_bad,
};

static void
place_open(struct place *p, const struct end_socks_options *o)
{
	struct end x;
	struct err e;

	memset(p, 0, sizeof *p);
	p->loop = loop_new(NULL);
	assert_true(end_parse(&x, "127.0.0.1:1", 0, &e));
	x.at.port = 0; /* any */
	p->s = end_socks_open(p->loop, &x, o, &events, p, &e);
	if (p->s == NULL)
		fail_msg("%s", e.text);
}

static void
place_close(struct place *p)
{
	if (p->flow != NULL)
		end_udp_flow_close(p->flow);
	if (p->u != NULL)
		end_udp_close(p->u);
	if (p->s != NULL)
		end_socks_close(p->s);
	assert_true(loop_close(p->loop));
}

/* --- the application --- */

static int
app(struct place *p)
{
	const struct addr *to = end_socks_addr(p->s, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(
	    connect(fd, (const struct sockaddr *)&to->sa, to->len), 0);
	return fd;
}

static void
say(int fd, const void *data, size_t n)
{
	assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

#define SAY(fd, text) say((fd), (text), sizeof(text) - 1)

static bool
is_readable(int fd)
{
	struct pollfd f = {.fd = fd, .events = POLLIN};

	return poll(&f, 1, 0) == 1;
}

/* Reads n bytes while the loop turns; fewer at the end. */
static size_t
hear(struct place *p, int fd, char *out, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t some;

		RUN_UNTIL(p->loop, is_readable(fd));
		some = recv(fd, out + got, n - got, 0);
		if (some <= 0)
			break;
		got += (size_t)some;
	}
	return got;
}

static void
assert_heard(struct place *p, int fd, const char *expected, size_t n)
{
	char got[256];

	assert_int_equal(hear(p, fd, got, n), n);
	assert_memory_equal(got, expected, n);
}

#define HEARD(p, fd, text) assert_heard((p), (fd), (text), sizeof(text) - 1)

static void
assert_over(struct place *p, int fd)
{
	char got[1];

	assert_int_equal(hear(p, fd, got, 1), 0);
}

/* --- the stream that came out --- */

static void
on_data(void *owner, uint8_t *data, size_t len)
{
	struct place *p = owner;

	assert_true(p->bytes + len < sizeof p->text);
	memcpy(p->text + p->bytes, data, len);
	p->bytes += len;
}

static void
on_end(void *owner)
{
	((struct place *)owner)->ends++;
}

static void
on_drain(void *owner)
{
	(void)owner;
}

static void
on_error(void *owner, const struct err *err)
{
	(void)err;
	((struct place *)owner)->errors++;
}

static const struct stream_events stream_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_error = on_error,
};

#define FIVE_HELLO "\x05\x01\0"
#define FIVE_NAME                                                              \
	"\x05\x01\0\x03\x0a"                                                   \
	"db.example\x15\x38"
#define FIVE_GOOD "\x05\0\0\x01\0\0\0\0\0\0"
#define HTTP "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example\r\n\r\n"
#define HTTP_GOOD "HTTP/1.1 200 Connection established\r\n\r\n"

/* A request until it is asked for, then accepted; data both ways, and what was
 * sent ahead is there. */
static void
converse(struct place *p, int fd, const char *good, size_t good_len,
    const char *host)
{
	const uint8_t *early;
	struct stream *s;
	size_t n;

	p->bytes = p->ends = 0;
	RUN_UNTIL(p->loop, p->request != NULL);
	assert_int_equal(end_socks_command(p->request), SOCKS_WIRE_CONNECT);
	assert_string_equal(end_socks_target(p->request)->host, host);
	assert_int_equal(end_socks_target(p->request)->port, 5432);
	assert_ptr_equal(end_socks_request_owner(p->request), p);
	assert_true(addr_is_loopback(end_socks_peer(p->request)));
	early = end_socks_early(p->request, &n);
	assert_int_equal(n, 5);
	assert_memory_equal(early, "ahead", 5);
	s = end_socks_accept(p->request);
	p->request = NULL;
	stream_set_owner(s, &stream_events, p);
	stream_start(s);
	assert_heard(p, fd, good, good_len);
	SAY(fd, "question");
	RUN_UNTIL(p->loop, p->bytes == 8);
	assert_memory_equal(p->text, "question", 8);
	assert_true(stream_put(s, "answer", 6));
	HEARD(p, fd, "answer");
	shutdown(fd, SHUT_WR);
	RUN_UNTIL(p->loop, p->ends == 1);
	stream_close(s);
	assert_over(p, fd);
	close(fd);
}

static void
test_kinds(void **state)
{
	struct place p;
	int fd;

	(void)state;
	place_open(&p, NULL);
	fd = app(&p);
	SAY(fd, "\x04\x01\x15\x38\x0a\0\0\x01me\0ahead");
	converse(&p, fd, "\0\x5a\0\0\0\0\0\0", 8, "10.0.0.1");
	fd = app(&p);
	SAY(fd, "\x04\x01\x15\x38\0\0\0\x01me\0db.example\0ahead");
	converse(&p, fd, "\0\x5a\0\0\0\0\0\0", 8, "db.example");
	fd = app(&p);
	SAY(fd, FIVE_HELLO);
	HEARD(&p, fd, "\x05\0");
	SAY(fd, FIVE_NAME "ahead");
	converse(&p, fd, FIVE_GOOD, 10, "db.example");
	/* All at once, without waiting for the method. */
	fd = app(&p);
	SAY(fd, FIVE_HELLO FIVE_NAME "ahead");
	HEARD(&p, fd, "\x05\0");
	converse(&p, fd, FIVE_GOOD, 10, "db.example");
	fd = app(&p);
	SAY(fd, HTTP "ahead");
	converse(&p, fd, HTTP_GOOD, sizeof(HTTP_GOOD) - 1, "db.example");
	assert_int_equal(p.requests, 5);
	assert_int_equal(p.bad + p.cancels, 0);
	place_close(&p);
}

static void
test_refused(void **state)
{
	struct place p;
	struct err e;
	int fd;

	(void)state;
	place_open(&p, NULL);
	err_set(&e, ERR_REFUSED, "connecting to db.example:5432: refused");
	fd = app(&p);
	SAY(fd, FIVE_HELLO FIVE_NAME);
	RUN_UNTIL(p.loop, p.request != NULL);
	end_socks_refuse(p.request, &e);
	p.request = NULL;
	HEARD(&p, fd, "\x05\0\x05\x05\0\x01\0\0\0\0\0\0");
	assert_over(&p, fd);
	close(fd);
	/* What the application sent ahead does not turn the answer into a
	 * reset. */
	fd = app(&p);
	SAY(fd, HTTP "ahead");
	RUN_UNTIL(p.loop, p.request != NULL);
	SAY(fd, "and more that nobody reads");
	end_socks_refuse(p.request, &e);
	p.request = NULL;
	HEARD(&p, fd, "HTTP/1.1 502 Bad Gateway\r\n");
	while (true) {
		char got[256];
		ssize_t n;

		RUN_UNTIL(p.loop, is_readable(fd));
		n = recv(fd, got, sizeof got, 0);
		assert_true(n >= 0);
		if (n == 0)
			break;
	}
	close(fd);
	place_close(&p);
}

static void
test_bad(void **state)
{
	static const struct end_socks_options quick = {.deadline_ms = 50};
	struct place p;
	int fd;

	(void)state;
	place_open(&p, &quick);
	fd = app(&p);
	SAY(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	HEARD(&p, fd, "HTTP/1.1 405 ");
	RUN_UNTIL(p.loop, p.bad == 1);
	close(fd);
	fd = app(&p);
	SAY(fd, "\x16\x03\x01");
	assert_over(&p, fd);
	assert_int_equal(p.bad, 2);
	assert_non_null(strstr(p.err.text, "TLS"));
	close(fd);
	/* Says nothing, or only half of it. */
	fd = app(&p);
	RUN_UNTIL(p.loop, p.bad == 3);
	assert_int_equal(p.err.code, ERR_TIMEOUT);
	assert_over(&p, fd);
	close(fd);
	fd = app(&p);
	SAY(fd, FIVE_HELLO "\x05\x01\0");
	HEARD(&p, fd, "\x05\0");
	RUN_UNTIL(p.loop, p.bad == 4);
	close(fd);
	/* Leaves in the middle: nothing to tell. */
	fd = app(&p);
	SAY(fd, FIVE_HELLO);
	HEARD(&p, fd, "\x05\0");
	close(fd);
	fd = app(&p);
	SAY(fd, HTTP);
	RUN_UNTIL(p.loop, p.request != NULL);
	assert_int_equal(p.requests, 1);
	assert_int_equal(p.bad, 4);
	end_socks_refuse(p.request, &p.err);
	close(fd);
	place_close(&p);
}

/* The deadline is for the request, not for the answer. */
static void
test_cancel(void **state)
{
	static const struct end_socks_options quick = {.deadline_ms = 20};
	struct linger rst = {.l_onoff = 1};
	struct timer after;
	struct place p;
	int fd;

	(void)state;
	place_open(&p, &quick);
	fd = app(&p);
	SAY(fd, HTTP);
	RUN_UNTIL(p.loop, p.request != NULL);
	timer_init(&after, p.loop, on_end, &p);
	timer_set(&after, 60);
	RUN_UNTIL(p.loop, p.ends == 1);
	assert_int_equal(p.cancels + p.bad, 0);
	assert_int_equal(
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst), 0);
	close(fd);
	RUN_UNTIL(p.loop, p.cancels == 1);
	place_close(&p);
}

static void
test_close(void **state)
{
	struct place p;
	int fds[3];

	(void)state;
	place_open(&p, NULL);
	for (int i = 0; i < 3; i++)
		fds[i] = app(&p);
	SAY(fds[0], HTTP);
	RUN_UNTIL(p.loop, p.requests == 1);
	SAY(fds[1], FIVE_HELLO);
	HEARD(&p, fds[1], "\x05\0");
	end_socks_close(p.s); /* asked, reading, silent */
	p.s = NULL;
	loop_turn(p.loop, false);
	assert_int_equal(p.cancels + p.bad, 0);
	place_close(&p);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	place_open(&p, NULL);
	p.closes = true;
	fds[0] = app(&p);
	SAY(fds[0], FIVE_HELLO FIVE_NAME "ahead");
	RUN_UNTIL(p.loop, p.requests == 1);
	place_close(&p);
	close(fds[0]);
}

/* --- UDP --- */

static void
on_datagram(void *owner, uint8_t *data, size_t len)
{
	struct place *p = owner;

	p->datagrams++;
	memcpy(p->text, data, len);
	p->text[len] = '\0';
}

static void
on_expire(void *owner)
{
	(void)owner;
}

static const struct end_udp_flow_events flow_events = {
    .on_datagram = on_datagram,
    .on_expire = on_expire,
};

static void
on_flow(void *owner, struct end_udp_flow *f)
{
	struct place *p = owner;

	assert_null(p->flow);
	p->flow = f;
	end_udp_flow_set_owner(f, &flow_events, p);
	end_udp_flow_start(f);
}

static void
on_over(void *owner)
{
	((struct place *)owner)->over++;
}

static const struct end_udp_events udp_events = {
    .on_flow = on_flow,
    .on_over = on_over,
};

static void
test_udp(void **state)
{
	struct place p;
	struct err e;
	struct sockaddr_in to = {.sin_family = AF_INET};
	char reply[12];
	int fd, udp;

	(void)state;
	place_open(&p, NULL);
	fd = app(&p);
	SAY(fd, FIVE_HELLO "\x05\x03\0\x01\0\0\0\0\0\0");
	RUN_UNTIL(p.loop, p.request != NULL);
	assert_int_equal(end_socks_command(p.request), SOCKS_WIRE_UDP);
	p.u = end_socks_associate(p.request, NULL, &udp_events, &p, &e);
	if (p.u == NULL)
		fail_msg("%s", e.text);
	assert_int_equal(hear(&p, fd, reply, 12), 12);
	assert_memory_equal(reply, "\x05\0\x05\0\0\x01\x7f\0\0\x01", 10);
	memcpy(&to.sin_addr, reply + 6, 4);
	memcpy(&to.sin_port, reply + 10, 2);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(connect(udp, (struct sockaddr *)&to, sizeof to), 0);
	SAY(udp, "\0\0\0\x03\x01h\0\x35query");
	RUN_UNTIL(p.loop, p.datagrams == 1);
	assert_string_equal(p.text, "query");
	assert_string_equal(end_udp_flow_target(p.flow)->host, "h");
	assert_true(end_udp_flow_send(p.flow, "reply", 5));
	HEARD(&p, udp, "\0\0\0\x03\x01h\0\x35reply");
	close(fd);
	RUN_UNTIL(p.loop, p.over == 1);
	close(udp);
	place_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_cancel),
	    cmocka_unit_test(test_close),
	    cmocka_unit_test(test_udp),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
