/* SPDX-License-Identifier: MIT
 *
 * A client's opening of a WebSocket against a server made of raw bytes: good
 * answers in pieces and with frames behind them, refusals, silence, loss, and
 * closing at every step.
 */
#include "ws/ws_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http1.h"
#include "net/loop.h"
#include "net/sock.h"
#include "util/err.h"

struct bench {
	struct loop *loop;
	struct ws_client *client;
	struct ws *ws;
	struct err err;
	int results;
	int status; /* of the head that came with the result */
	char text[100];
	int raw;
	bool close_inside;
};

static void
on_text(void *owner, uint8_t *data, size_t len)
{
	struct bench *t = owner;

	assert_true(len < sizeof t->text);
	memcpy(t->text, data, len);
}

static const struct ws_events ws_events = {.on_text = on_text};

static void
close_client(struct bench *t)
{
	ws_client_close(t->client);
	t->client = NULL;
}

static void
on_open(void *owner, struct ws *w, const struct http1_head *head)
{
	struct bench *t = owner;

	t->results++;
	t->status = head->status;
	t->ws = w;
	ws_set_owner(w, &ws_events, t);
	ws_start(w);
	if (t->close_inside)
		close_client(t);
}

static void
on_error(void *owner, const struct err *err)
{
	struct bench *t = owner;

	t->results++;
	t->err = *err;
	if (ws_client_head(t->client))
		t->status = ws_client_head(t->client)->status;
	if (t->close_inside)
		close_client(t);
}

static const struct ws_client_events events = {
    .on_open = on_open,
    .on_error = on_error,
};

static void
start(struct bench *t, const char *protocol, uint64_t timeout_ms)
{
	const struct ws_request r = {
	    .host = "relay.example", .target = "/$hc/p", .protocol = protocol};
	const struct ws_options o = {.text_max = 50};
	struct stream *below;
	struct err e;
	int fds[2];

	memset(t, 0, sizeof *t);
	t->loop = loop_new(&e);
	assert_non_null(t->loop);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	below = sock_open(t->loop, fds[0], &e);
	assert_non_null(below);
	t->raw = fds[1];
	t->client = ws_client_open(below, &r, &o, timeout_ms, &events, t, &e);
	assert_non_null(t->client);
}

static void
finish(struct bench *t)
{
	if (t->client)
		ws_client_close(t->client);
	if (t->ws)
		ws_close(t->ws, false);
	if (t->raw >= 0)
		close(t->raw);
	assert_true(loop_close(t->loop));
}

static void
turn_idle(struct bench *t)
{
	for (int i = 0; i < 5; i++)
		loop_turn(t->loop, false);
}

/* Reads the request and fills `answer`, in which %s stands for the value of
 * Sec-WebSocket-Accept. */
static void
make_answer(struct bench *t, const char *format, char *answer, size_t size)
{
	struct http1_parser *p = http1_parser_new(HTTP1_REQUEST);
	char accept[WS_ACCEPT_SIZE];
	uint8_t request[4096];
	struct err e;
	ssize_t n = recv(t->raw, request, sizeof request, 0);
	size_t used;

	assert_true(n > 0);
	assert_int_equal(
	    http1_parse_head(p, request, (size_t)n, &used, &e), HTTP1_DONE);
	assert_true(ws_handshake_check_request(http1_head(p), &e));
	ws_handshake_accept(
	    http1_get(http1_head(p), "Sec-WebSocket-Key"), accept);
	http1_parser_free(p);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(answer, size, format, accept);
#pragma GCC diagnostic pop
}

static void
send_raw(struct bench *t, const char *text, size_t n)
{
	assert_int_equal(send(t->raw, text, n, MSG_NOSIGNAL), n);
}

static void
until_result(struct bench *t)
{
	while (t->results == 0)
		assert_true(loop_turn(t->loop, true) || t->results > 0);
	turn_idle(t);
	assert_int_equal(t->results, 1);
}

#define GOOD                                                                   \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"           \
	"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"

static void
test_open(void **state)
{
	char answer[500];
	struct bench t;

	(void)state;
	for (int inside = 0; inside < 2; inside++) {
		start(&t, NULL, 60000);
		t.close_inside = inside;
		make_answer(&t, GOOD "\x81\x05hello", answer, sizeof answer);
		send_raw(&t, answer, strlen(answer));
		until_result(&t);
		assert_int_equal(t.status, 101);
		while (!*t.text)
			assert_true(loop_turn(t.loop, true));
		assert_string_equal(t.text, "hello");
		finish(&t);
	}
}

static void
test_open_in_pieces(void **state)
{
	char answer[500];
	struct bench t;

	(void)state;
	start(&t, NULL, 60000);
	make_answer(&t,
	    "HTTP/1.1 103 Early Hints\r\n\r\n"
	    "HTTP/1.1 100 Continue\r\n\r\n" GOOD "\x81\x02yo",
	    answer, sizeof answer);
	for (size_t i = 0; i < strlen(answer); i++) {
		send_raw(&t, answer + i, 1);
		turn_idle(&t);
	}
	assert_int_equal(t.results, 1);
	assert_string_equal(t.text, "yo");
	finish(&t);
	/* The same in one piece. */
	start(&t, NULL, 60000);
	make_answer(&t, "HTTP/1.1 100 Continue\r\n\r\n" GOOD "\x81\x02yo",
	    answer, sizeof answer);
	send_raw(&t, answer, strlen(answer));
	until_result(&t);
	turn_idle(&t);
	assert_string_equal(t.text, "yo");
	finish(&t);
}

static void
assert_refused(
    const char *text, const char *protocol, enum err_code code, int status)
{
	char answer[500];
	struct bench t;

	for (int inside = 0; inside < 2; inside++) {
		start(&t, protocol, 60000);
		t.close_inside = inside;
		make_answer(&t, text, answer, sizeof answer);
		send_raw(&t, answer, strlen(answer));
		until_result(&t);
		assert_null(t.ws);
		assert_int_equal(t.err.code, code);
		assert_int_equal(t.status, status);
		finish(&t);
	}
}

static void
test_refused(void **state)
{
	(void)state;
	assert_refused("HTTP/1.1 404 No such path\r\nContent-Length: 0\r\n\r\n",
	    NULL, ERR_NOT_FOUND, 404);
	assert_refused(
	    "HTTP/1.1 401 Token\r\nDate: now\r\n\r\nbody", NULL, ERR_AUTH, 401);
	assert_refused("HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\n"
	               "Connection: Upgrade\r\n\r\n",
	    NULL, ERR_PROTOCOL, 0);
	assert_refused(GOOD, "p1", ERR_PROTOCOL, 0);
	assert_refused("SSH-2.0-OpenSSH\r\n\r\n", NULL, ERR_PROTOCOL, 0);
}

/* Interim answers without end are no answer. */
static void
test_interim_flood(void **state)
{
	struct bench t;

	(void)state;
	start(&t, NULL, 60000);
	for (int i = 0; i < 9; i++)
		send_raw(&t, "HTTP/1.1 102 Wait\r\n\r\n", 21);
	until_result(&t);
	assert_int_equal(t.err.code, ERR_REFUSED);
	finish(&t);
}

static void
test_silence_and_loss(void **state)
{
	struct bench t;

	(void)state;
	start(&t, NULL, 20);
	until_result(&t);
	assert_int_equal(t.err.code, ERR_TIMEOUT);
	finish(&t);

	start(&t, NULL, 60000);
	send_raw(&t, "HTTP/1.1 10", 11);
	turn_idle(&t);
	close(t.raw);
	t.raw = -1;
	until_result(&t);
	assert_int_equal(t.err.code, ERR_RESET);
	finish(&t);
}

static void
test_give_up(void **state)
{
	struct bench t;

	(void)state;
	for (int step = 0; step < 3; step++) {
		start(&t, NULL, 60000);
		if (step >= 1)
			turn_idle(&t);
		if (step >= 2)
			send_raw(&t, "HTTP/1.1 101 Sw", 15);
		close_client(&t);
		turn_idle(&t);
		assert_int_equal(t.results, 0);
		finish(&t);
	}
}

static void
test_bad_request(void **state)
{
	const struct ws_request r = {.host = "h", .target = "no slash here"};
	const struct ws_options o = {.text_max = 50};
	struct stream *below;
	struct loop *l;
	struct err e;
	int fds[2];
	char byte;

	(void)state;
	l = loop_new(&e);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	below = sock_open(l, fds[0], &e);
	assert_null(ws_client_open(below, &r, &o, 1000, &events, NULL, &e));
	assert_int_equal(e.code, ERR_USAGE);
	while (recv(fds[1], &byte, 1, 0) != 0)
		loop_turn(l, false);
	close(fds[1]);
	assert_true(loop_close(l));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_open),
	    cmocka_unit_test(test_open_in_pieces),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_interim_flood),
	    cmocka_unit_test(test_silence_and_loss),
	    cmocka_unit_test(test_give_up),
	    cmocka_unit_test(test_bad_request),
	};

	return cmocka_run_group_tests_name("ws_client", tests, NULL, NULL);
}
