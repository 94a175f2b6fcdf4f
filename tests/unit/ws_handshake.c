/* SPDX-License-Identifier: MIT
 *
 * The opening handshake: the example of RFC 6455, a request and an answer of
 * our own, and one broken rule at a time on either side.
 */
#include "ws/ws_handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "net/http1.h"
#include "util/buf.h"
#include "util/err.h"

#define RFC_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define RFC_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static struct http1_parser *
parse(enum http1_kind kind, const char *text)
{
	struct http1_parser *p = http1_parser_new(kind);
	struct err e;
	size_t used;

	assert_int_equal(
	    http1_parse_head(p, (const uint8_t *)text, strlen(text), &used, &e),
	    HTTP1_DONE);
	assert_int_equal(used, strlen(text));
	return p;
}

/* 0: accepted; otherwise the status, whether the parser of heads or the
 * handshake refused. */
static int
judge_request(const char *text)
{
	struct http1_parser *p = http1_parser_new(HTTP1_REQUEST);
	struct err e = {.http_status = 0};
	size_t used;
	const bool is_good = http1_parse_head(p, (const uint8_t *)text,
	                         strlen(text), &used, &e) == HTTP1_DONE &&
	                     ws_handshake_check_request(http1_head(p), &e);

	http1_parser_free(p);
	if (is_good)
		return 0;
	assert_int_equal(e.code, ERR_PROTOCOL);
	assert_true(strlen(e.text) > 10);
	return e.http_status;
}

static struct err
judge_response(const char *text, const char *protocol)
{
	struct http1_parser *p = parse(HTTP1_RESPONSE, text);
	struct err e = {.code = ERR_NONE};
	const bool is_good =
	    ws_handshake_check_response(http1_head(p), RFC_KEY, protocol, &e);

	assert_int_equal(is_good, e.code == ERR_NONE);
	http1_parser_free(p);
	return e;
}

static void
test_accept(void **state)
{
	char accept[WS_ACCEPT_SIZE];

	(void)state;
	ws_handshake_accept(RFC_KEY, accept);
	assert_string_equal(accept, RFC_ACCEPT);
}

static void
test_build_response(void **state)
{
	struct buf b;
	struct err e;
	char *text;

	(void)state;
	buf_init(&b, 1000);
	assert_true(ws_handshake_build_response(&b, RFC_KEY, NULL, &e));
	text = buf_take_text(&b);
	assert_string_equal(text,
	    "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: " RFC_ACCEPT "\r\n\r\n");
	free(text);
	assert_true(
	    ws_handshake_build_response(&b, RFC_KEY, "hyco.tunnel.v1", &e));
	text = buf_take_text(&b);
	assert_non_null(
	    strstr(text, "Sec-WebSocket-Protocol: hyco.tunnel.v1\r\n\r\n"));
	assert_int_equal(
	    judge_response(text, "x, hyco.tunnel.v1").code, ERR_NONE);
	free(text);
	assert_false(ws_handshake_build_response(&b, RFC_KEY, "a, b", &e));
	assert_false(ws_handshake_build_response(&b, RFC_KEY, "a\r\nb", &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(buf_len(&b), 0);
	buf_fini(&b);
}

static void
test_build_request(void **state)
{
	struct http1_field fields[] = {
	    {(char[]){"ServiceBusAuthorization"}, (char[]){"Token x"}}};
	const struct ws_request r = {
	    .host = "relay.example:8443",
	    .target = "/$hc/demo?sb-hc-action=connect",
	    .protocol = "p1, p2",
	    .fields = fields,
	    .n_fields = 1,
	};
	char key[WS_KEY_SIZE], other[WS_KEY_SIZE];
	struct http1_parser *p;
	struct buf b;
	struct err e;
	char *text;

	(void)state;
	buf_init(&b, 1000);
	assert_true(ws_handshake_build_request(&b, &r, key, &e));
	text = buf_take_text(&b);
	assert_int_equal(judge_request(text), 0);
	p = parse(HTTP1_REQUEST, text);
	assert_string_equal(http1_head(p)->target, r.target);
	assert_string_equal(http1_get(http1_head(p), "Host"), r.host);
	assert_string_equal(http1_get(http1_head(p), "Sec-WebSocket-Key"), key);
	assert_string_equal(
	    http1_get(http1_head(p), "Sec-WebSocket-Protocol"), "p1, p2");
	assert_string_equal(
	    http1_get(http1_head(p), "servicebusauthorization"), "Token x");
	assert_null(http1_get(http1_head(p), "Sec-WebSocket-Extensions"));
	http1_parser_free(p);
	free(text);
	assert_true(ws_handshake_build_request(&b, &r, other, &e));
	assert_string_not_equal(key, other);
	buf_fini(&b);
}

static void
test_build_request_refuses(void **state)
{
	static const char *const own[] = {"Host", "connection", "UPGRADE",
	    "Sec-WebSocket-Extensions", "content-length", "Transfer-Encoding",
	    "Bad:Name", "Bad\r\nName"};
	struct http1_field bad = {NULL, (char[]){"x"}};
	struct ws_request r = {
	    .host = "h", .target = "/", .fields = &bad, .n_fields = 1};
	char key[WS_KEY_SIZE];
	struct buf b;
	struct err e;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
		bad.name = strdup(own[i]);
		assert_false(ws_handshake_build_request(&b, &r, key, &e));
		assert_int_equal(e.code, ERR_USAGE);
		free(bad.name);
	}
	r.n_fields = 0;
	r.target = "/ two";
	assert_false(ws_handshake_build_request(&b, &r, key, &e));
	r.target = "/";
	r.host = "h\r\nX: y";
	assert_false(ws_handshake_build_request(&b, &r, key, &e));
	assert_int_equal(buf_len(&b), 0);
	buf_fini(&b);
}

#define REQ(method, version, fields)                                           \
	method " /chat " version "\r\n" fields "\r\n"
#define HOST "Host: h\r\n"
#define UP "Upgrade: websocket\r\n"
#define CON "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: " RFC_KEY "\r\n"
#define VER "Sec-WebSocket-Version: 13\r\n"
#define H11 "HTTP/1.1"

static void
test_check_request(void **state)
{
	static const struct {
		const char *text;
		int status;
	} rows[] = {
	    {REQ("GET", H11, HOST UP CON KEY VER), 0},
	    {REQ("GET", H11,
	         "hOST: h\r\nupgrade: WebSocket\r\n"
	         "connection: keep-alive, UPGRADE\r\n" KEY VER),
	        0},
	    {REQ("GET", H11,
	         HOST UP "Connection: keep-alive\r\n" CON KEY VER
	                 "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	                 "Origin: x\r\n"),
	        0},
	    {REQ("POST", H11, HOST UP CON KEY VER), 405},
	    {REQ("GET", "HTTP/1.0", HOST UP CON KEY VER), 400},
	    {REQ("GET", H11, UP CON KEY VER), 400},
	    {REQ("GET", H11, HOST CON KEY VER), 426},
	    {REQ("GET", H11, HOST CON KEY VER "Upgrade: h2c\r\n"), 426},
	    {REQ("GET", H11, HOST UP KEY VER), 400},
	    {REQ("GET", H11, HOST UP KEY VER "Connection: close\r\n"), 400},
	    {REQ("GET", H11, HOST UP CON KEY), 426},
	    {REQ("GET", H11, HOST UP CON KEY "Sec-WebSocket-Version: 8\r\n"),
	        426},
	    {REQ("GET", H11, HOST UP CON KEY VER VER), 426},
	    {REQ("GET", H11, HOST UP CON VER), 400},
	    {REQ("GET", H11, HOST UP CON KEY KEY VER), 400},
	    {REQ("GET", H11, HOST UP CON VER "Sec-WebSocket-Key: AAAA\r\n"),
	        400},
	    {REQ("GET", H11,
	         HOST UP CON VER
	         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEx\r\n"),
	        400},
	    {REQ("GET", H11,
	         HOST UP CON VER
	         "Sec-WebSocket-Key: ========================\r\n"),
	        400},
	    {REQ("GET", H11, HOST UP CON KEY VER "Content-Length: 5\r\n"), 400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(judge_request(rows[i].text), rows[i].status);
}

#define RES(fields) "HTTP/1.1 101 Switching Protocols\r\n" fields "\r\n"
#define ACC "Sec-WebSocket-Accept: " RFC_ACCEPT "\r\n"
#define PRO(p) "Sec-WebSocket-Protocol: " p "\r\n"

static void
test_check_response(void **state)
{
	static const struct {
		const char *text;
		const char *offered;
		enum err_code code;
	} rows[] = {
	    {RES(UP CON ACC), NULL, ERR_NONE},
	    {RES("Date: now\r\nupgrade: WEBSOCKET\r\nconnection: upgrade\r\n"
	         "SEC-WEBSOCKET-ACCEPT: " RFC_ACCEPT "\r\n"),
	        NULL, ERR_NONE},
	    {RES(UP CON ACC PRO("p2")), "p1, p2", ERR_NONE},
	    {RES(CON ACC), NULL, ERR_PROTOCOL},
	    {RES(UP ACC), NULL, ERR_PROTOCOL},
	    {RES(UP CON), NULL, ERR_PROTOCOL},
	    {RES(UP CON ACC ACC), NULL, ERR_PROTOCOL},
	    {RES(UP CON "Sec-WebSocket-Accept: "
	                "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
	        NULL, ERR_PROTOCOL},
	    {RES(UP CON ACC "Sec-WebSocket-Extensions: x\r\n"), NULL,
	        ERR_PROTOCOL},
	    {RES(UP CON ACC PRO("p1")), NULL, ERR_PROTOCOL},
	    {RES(UP CON ACC), "p1", ERR_PROTOCOL},
	    {RES(UP CON ACC PRO("p3")), "p1, p2", ERR_PROTOCOL},
	    {RES(UP CON ACC PRO("P1")), "p1", ERR_PROTOCOL},
	    {RES(UP CON ACC PRO("p1, p2")), "p1, p2", ERR_PROTOCOL},
	    {RES(UP CON ACC PRO("p1") PRO("p1")), "p1", ERR_PROTOCOL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(
		    judge_response(rows[i].text, rows[i].offered).code,
		    rows[i].code);
}

static void
test_refusals(void **state)
{
	static const struct {
		const char *line;
		int status;
		enum err_code code;
	} rows[] = {
	    {"401 Token\texpired", 401, ERR_AUTH},
	    {"403 Forbidden", 403, ERR_DENIED},
	    {"404 Endpoint does not exist", 404, ERR_NOT_FOUND},
	    {"408 Slow", 408, ERR_TIMEOUT},
	    {"504 Gateway Timeout", 504, ERR_TIMEOUT},
	    {"200 OK", 200, ERR_REFUSED},
	    {"410 Gone", 410, ERR_REFUSED},
	    {"502 Bad Gateway", 502, ERR_REFUSED},
	    {"302 Found", 302, ERR_REFUSED},
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[200];

		strcpy(text, "HTTP/1.1 ");
		strcat(text, rows[i].line);
		strcat(text, "\r\nContent-Length: 0\r\n\r\n");
		e = judge_response(text, NULL);
		assert_int_equal(e.code, rows[i].code);
		assert_int_equal(e.http_status, rows[i].status);
		assert_non_null(strncmp(rows[i].line, "401", 3) == 0
		                    ? strstr(e.text, "Token\\x09expired")
		                    : strstr(e.text, rows[i].line));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_accept),
	    cmocka_unit_test(test_build_response),
	    cmocka_unit_test(test_build_request),
	    cmocka_unit_test(test_build_request_refuses),
	    cmocka_unit_test(test_check_request),
	    cmocka_unit_test(test_check_response),
	    cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests_name("ws_handshake", tests, NULL, NULL);
}
