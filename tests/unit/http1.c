/* SPDX-License-Identifier: MIT
 *
 * http1: every vector is fed whole, byte by byte and cut in two at every
 * position; the same story must come out each time. A story is one text: the
 * head, the body's bytes, how it ended, and how many bytes were left over.
 */
#include "net/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

struct vector {
	enum http1_kind kind;
	bool head_request;
	const char *in;
	const char *story;
};

#define REQ HTTP1_REQUEST, false
#define RES HTTP1_RESPONSE, false
#define RES_HEAD HTTP1_RESPONSE, true
#define H "Host: a\r\n"

static const struct vector vectors[] = {
    {REQ, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / 1.1 Host=a keep none || done 0"},
    {REQ, "\r\nGET / HTTP/1.1\r\nHost:a \t\r\nX:\r\n\r\nrest",
        "GET / 1.1 Host=a X= keep none || done 4"},
    {REQ, "GET /a?b=c HTTP/1.0\r\n\r\n", "GET /a?b=c 1.0 none || done 0"},
    {REQ, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / 1.0 Connection=keep-alive keep none || done 0"},
    {REQ, "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n",
        "GET / 1.1 Host=a Connection=close none || done 0"},
    {REQ, "POST /p HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhelloGET",
        "POST /p 1.1 Host=a Content-Length=5 keep 5 |hello| done 3"},
    {REQ, "POST /p HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\nx",
        "POST /p 1.1 Host=a Content-Length=0 keep 0 || done 1"},
    {REQ,
        "POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nT: r\r\n\r\nmore",
        "POST /p 1.1 Host=a Transfer-Encoding=chunked keep chunked "
        "|abc0123456789| done 4"},
    {REQ,
        "GET /c HTTP/1.1\r\n" H "Connection: Upgrade\r\n"
        "Upgrade: websocket\r\n\r\n\x81\x02hi",
        "GET /c 1.1 Host=a Connection=Upgrade Upgrade=websocket keep upgrade "
        "none || done 4"},
    {REQ,
        "POST /c HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h\r\n"
        "Content-Length: 2\r\n\r\nhiX",
        "POST /c 1.1 Host=a Connection=Upgrade Upgrade=h Content-Length=2 "
        "keep upgrade 2 |hi| done 1"},
    {REQ, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nraw",
        "CONNECT a:1 1.1 Host=a:1 keep none || done 3"},
    {REQ, "GET / HTTP/1.1\r\n" H "X: \xc3\xa9\r\n\r\n",
        "GET / 1.1 Host=a X=\xc3\xa9 keep none || done 0"},
    {RES,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\n\r\n\x82\x01x",
        "101 Switching Protocols 1.1 Upgrade=websocket Connection=Upgrade "
        "keep upgrade none || done 3"},
    {RES, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
        "200 OK 1.1 Content-Length=2 keep 2 |ok| done 1"},
    {RES, "HTTP/1.1 200\r\n\r\nuntil the end",
        "200  1.1 none |until the end| end 0"},
    {RES, "HTTP/1.1 404 No such thing\r\nContent-Length: 0\r\n\r\n",
        "404 No such thing 1.1 Content-Length=0 keep 0 || done 0"},
    {RES, "HTTP/1.1 204 No Content\r\n\r\nHTTP",
        "204 No Content 1.1 keep none || done 4"},
    {RES_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP",
        "200 OK 1.1 Content-Length=5 keep 5 || done 4"},
    {RES_HEAD, "HTTP/1.1 200 OK\r\n\r\n", "200 OK 1.1 keep none || done 0"},
    {RES, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        "200 OK 1.1 Content-Length=5 keep 5 |ab| cut"},
    {RES,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\nab\r\n",
        "200 OK 1.1 Transfer-Encoding=chunked keep chunked |ab| cut"},
    {RES, "HTTP/1.1 200 OK\r\n", "cut"},
    {REQ, "", "cut"},
    /* Refused heads. */
    {REQ, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n X: a\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\nHost: a\n\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H "X : a\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H "X\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.1\r\n" H H "\r\n", "bad 400"},
    {REQ, "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", "bad 400"},
    {REQ, "GET /a b HTTP/1.1\r\n" H "\r\n", "bad 400"},
    {REQ, "GET / HTTP/2.0\r\n" H "\r\n", "bad 400"},
    {REQ, "GET / HTTP/1.2\r\n" H "\r\n", "bad 400"},
    {REQ, "GET /\r\n" H "\r\n", "bad 400"},
    {REQ, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad 400"},
    {REQ, "OPTIONS * RTSP/1.0\r\n" H "\r\n", "bad 400"},
    {REQ, "\x16\x03\x01\x02\x01", "bad 400"},
    {REQ, "SSH-2.0-OpenSSH_9.2\r\n", "bad 400"},
    {REQ, "FOO / HTTP/1.1\r\n" H "\r\n", "bad 400"},
    {RES, "SSH-2.0-OpenSSH_9.2\r\n", "bad 400"},
    {RES, "HTTP/1.1 9 Odd\r\n\r\n", "bad 400"},
    {RES, "HTTP/1.1 abc Odd\r\n\r\n", "bad 400"},
    /* Refused lengths. */
    {REQ,
        "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
        "bad 400"},
    {REQ,
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
        "Content-Length: 1\r\n\r\n",
        "bad 400"},
    {REQ,
        "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\n"
        "Content-Length: 2\r\n\r\n",
        "bad 400"},
    {REQ, "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", "bad 400"},
    {REQ, "POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n", "bad 400"},
    {REQ, "POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\n", "bad 400"},
    {REQ, "POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n",
        "bad 400"},
    {REQ, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", "bad 400"},
    {REQ, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n",
        "bad 400"},
    {REQ,
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
        "bad 400"},
    {REQ, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "bad 400"},
    {RES, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "bad 400"},
    /* Refused chunks. */
    {REQ,
        "POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
        "x\r\n",
        "POST /p 1.1 Host=a Transfer-Encoding=chunked keep chunked || bad 400"},
    {REQ,
        "POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
        "2\nab\r\n",
        "POST /p 1.1 Host=a Transfer-Encoding=chunked keep chunked || bad 400"},
    {REQ,
        "POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
        "2\r\nabc\r\n",
        "POST /p 1.1 Host=a Transfer-Encoding=chunked keep chunked "
        "|ab| bad 400"},
    {REQ,
        "POST /p HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
        "11111111111111111\r\n",
        "POST /p 1.1 Host=a Transfer-Encoding=chunked keep chunked || bad 400"},
};

static void
tell_head(struct buf *story, const struct http1_head *h)
{
	if (h->kind == HTTP1_REQUEST)
		buf_printf(
		    story, "%s %s 1.%d ", h->method, h->target, h->minor);
	else
		buf_printf(
		    story, "%d %s 1.%d ", h->status, h->reason, h->minor);
	for (size_t i = 0; i < h->n_fields; i++)
		buf_printf(
		    story, "%s=%s ", h->fields[i].name, h->fields[i].value);
	if (h->keep_alive)
		buf_append_text(story, "keep ");
	if (h->upgrade)
		buf_append_text(story, "upgrade ");
	if (h->chunked)
		buf_append_text(story, "chunked ");
	else if (h->length >= 0)
		buf_printf(story, "%lld ", (long long)h->length);
	else
		buf_append_text(story, "none ");
	buf_append_text(story, "|");
}

/* What a parser and its listener remember between pieces. */
struct telling {
	struct http1_parser *p;
	struct buf story;
	bool in_body;
	bool over;
	size_t used;
};

static void
tell_bad(struct telling *t, const struct err *e)
{
	buf_printf(
	    &t->story, t->in_body ? "| bad %d" : "bad %d", e->http_status);
	assert_true(e->code == ERR_PROTOCOL || e->code == ERR_TOO_BIG);
	assert_true(e->text[0] != '\0');
	t->over = true;
}

static void
feed_body(struct telling *t, uint8_t *data, size_t len)
{
	size_t at = 0;

	for (;;) {
		struct err e = {0};
		uint8_t *piece;
		size_t used, n;
		enum http1_result r = http1_parse_body(
		    t->p, data + at, len - at, &used, &piece, &n, &e);

		assert_true(used <= len - at);
		t->used += used;
		if (n > 0) {
			assert_true(piece >= data + at);
			assert_true(piece + n <= data + at + used);
			buf_append(&t->story, piece, n);
		}
		at += used;
		if (r == HTTP1_BAD)
			tell_bad(t, &e);
		if (r == HTTP1_DONE)
			t->over = true;
		if (r == HTTP1_DONE)
			buf_append_text(&t->story, "| done ");
		if (r != HTTP1_MORE || (at == len && used == 0))
			return;
		if (at == len)
			return;
		assert_true(used > 0 || n > 0);
	}
}

static void
feed(struct telling *t, const char *bytes, size_t len)
{
	/* A copy of exact size, so that a sanitizer sees reads beyond. */
	uint8_t *data = mem_alloc(len);
	size_t used = 0;

	memcpy(data, bytes, len);
	if (!t->over && !t->in_body) {
		struct err e = {0};
		enum http1_result r =
		    http1_parse_head(t->p, data, len, &used, &e);

		assert_true(used <= len);
		if (r == HTTP1_MORE)
			assert_true(used == len);
		t->used += used;
		if (r == HTTP1_BAD)
			tell_bad(t, &e);
		if (r == HTTP1_DONE) {
			tell_head(&t->story, http1_head(t->p));
			t->in_body = true;
		}
	}
	if (t->in_body && !t->over)
		feed_body(t, data + used, len - used);
	free(data);
}

static char *
finish(struct telling *t, size_t total)
{
	struct err e = {0};
	char *text;

	if (!t->over) {
		if (http1_parse_end(t->p, &e) == HTTP1_DONE)
			buf_append_text(&t->story, "| end ");
		else
			buf_append_text(
			    &t->story, t->in_body ? "| cut" : "cut");
	}
	text = buf_take_text(&t->story);
	if (strstr(text, "| done ") != NULL || strstr(text, "| end ") != NULL) {
		char *longer = mem_printf("%s%zu", text, total - t->used);

		free(text);
		text = longer;
	}
	return text;
}

static void
check(const struct vector *v, size_t cut, bool single)
{
	struct telling t = {.p = http1_parser_new(v->kind)};
	size_t len = strlen(v->in);
	char *story;

	buf_init(&t.story, 65536);
	if (v->head_request)
		http1_parser_set_head_request(t.p);
	if (single) {
		for (size_t i = 0; i < len; i++)
			feed(&t, v->in + i, 1);
	} else {
		feed(&t, v->in, cut);
		feed(&t, v->in + cut, len - cut);
	}
	story = finish(&t, len);
	if (strcmp(story, v->story) != 0)
		print_message(
		    "cut %zu%s of: %s\n", cut, single ? " single" : "", v->in);
	assert_string_equal(story, v->story);
	free(story);
	buf_fini(&t.story);
	http1_parser_free(t.p);
}

static void
test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct vector *v = &vectors[i];

		check(v, strlen(v->in), false);
		check(v, 0, true);
		for (size_t cut = 0; cut < strlen(v->in); cut++)
			check(v, cut, false);
	}
}

static enum http1_result
parse_text(
    struct http1_parser *p, const char *text, size_t *used, struct err *e)
{
	return http1_parse_head(
	    p, (const uint8_t *)text, strlen(text), used, e);
}

/* A NUL cannot stand in the table of texts. */
static void
test_nul(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
	struct http1_parser *p = http1_parser_new(HTTP1_REQUEST);
	struct err e = {0};
	size_t used;

	(void)state;
	assert_int_equal(HTTP1_BAD, http1_parse_head(p, (const uint8_t *)text,
	                                sizeof(text) - 1, &used, &e));
	assert_int_equal(e.http_status, 400);
	http1_parser_free(p);
}

static void
test_limits(void **state)
{
	struct http1_parser *p = http1_parser_new(HTTP1_REQUEST);
	struct err e = {0};
	struct buf b;
	size_t used;

	(void)state;
	buf_init(&b, 1024 * 1024);
	/* As many fields as are allowed, then one more. */
	for (int extra = 0; extra < 2; extra++) {
		buf_append_text(&b, "GET / HTTP/1.1\r\n" H);
		for (int i = 1; i < HTTP1_FIELDS_MAX + extra; i++)
			buf_append_text(&b, "X: y\r\n");
		buf_append_text(&b, "\r\n");
		assert_int_equal(extra ? HTTP1_BAD : HTTP1_DONE,
		    http1_parse_head(p, buf_data(&b), buf_len(&b), &used, &e));
		if (!extra)
			assert_int_equal(
			    http1_head(p)->n_fields, HTTP1_FIELDS_MAX);
		buf_consume(&b, buf_len(&b));
		http1_parser_reset(p);
	}
	assert_int_equal(e.code, ERR_TOO_BIG);
	assert_int_equal(e.http_status, 431);
	/* As many bytes as are allowed, then one more. */
	for (int extra = 0; extra < 2; extra++) {
		buf_append_text(&b, "GET / HTTP/1.1\r\n" H "X: ");
		while (buf_len(&b) < HTTP1_HEAD_MAX - 4 + (size_t)extra)
			buf_append_text(&b, "y");
		buf_append_text(&b, "\r\n\r\n");
		e.code = ERR_NONE;
		assert_int_equal(extra ? HTTP1_BAD : HTTP1_DONE,
		    http1_parse_head(p, buf_data(&b), buf_len(&b), &used, &e));
		buf_consume(&b, buf_len(&b));
		http1_parser_reset(p);
	}
	assert_int_equal(e.code, ERR_TOO_BIG);
	/* Endless trailers. */
	assert_int_equal(HTTP1_DONE,
	    parse_text(p,
	        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n",
	        &used, &e));
	buf_append_text(&b, "0\r\n");
	while (buf_len(&b) < 2 * HTTP1_HEAD_MAX)
		buf_append_text(&b, "T: u\r\n");
	for (size_t at = 0;; at++) {
		uint8_t *piece;
		size_t n;
		enum http1_result r;

		assert_true(at < buf_len(&b));
		r = http1_parse_body(
		    p, buf_data(&b) + at, 1, &used, &piece, &n, &e);
		if (r == HTTP1_BAD)
			break;
		assert_int_equal(r, HTTP1_MORE);
	}
	assert_int_equal(e.code, ERR_TOO_BIG);
	http1_parser_free(p);
	buf_fini(&b);
}

/* Two requests in one block on a kept connection. */
static void
test_reset(void **state)
{
	static const char text[] = "GET /1 HTTP/1.1\r\n" H "\r\n"
	                           "GET /2 HTTP/1.1\r\n" H "\r\n";
	struct http1_parser *p = http1_parser_new(HTTP1_REQUEST);
	size_t used, second;

	(void)state;
	assert_int_equal(HTTP1_DONE, parse_text(p, text, &used, NULL));
	assert_string_equal(http1_head(p)->target, "/1");
	http1_parser_reset(p);
	assert_int_equal(HTTP1_DONE, parse_text(p, text + used, &second, NULL));
	assert_string_equal(http1_head(p)->target, "/2");
	assert_int_equal(used + second, strlen(text));
	http1_parser_free(p);
}

static void
test_get(void **state)
{
	struct http1_parser *p = http1_parser_new(HTTP1_RESPONSE);
	size_t used;

	(void)state;
	assert_int_equal(
	    HTTP1_DONE, parse_text(p,
	                    "HTTP/1.1 401 No\r\nWWW-Authenticate: a\r\n"
	                    "www-authenticate: b\r\nContent-Length: 0\r\n\r\n",
	                    &used, NULL));
	assert_string_equal(http1_get(http1_head(p), "www-AUTHENTICATE"), "a");
	assert_int_equal(http1_count(http1_head(p), "WWW-Authenticate"), 2);
	assert_null(http1_get(http1_head(p), "Via"));
	http1_parser_free(p);
}

static void
test_build(void **state)
{
	char name[] = "Host", value[] = "a", bad_name[] = "A b";
	char bad_value[] = "a\r\nX: y";
	struct http1_field good = {name, value};
	struct http1_field bad[] = {{bad_name, value}, {name, bad_value}};
	struct err e = {0};
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, 100);
	assert_true(http1_build_request(&b, "GET", "/x?y", &good, 1, &e));
	text = buf_take_text(&b);
	assert_string_equal(text, "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n");
	free(text);
	assert_true(http1_build_response(&b, 404, NULL, NULL, 0, &e));
	assert_true(http1_build_response(&b, 500, "a\r\nb", &good, 1, &e));
	text = buf_take_text(&b);
	assert_string_equal(text, "HTTP/1.1 404 Not Found\r\n\r\n"
	                          "HTTP/1.1 500 a  b\r\nHost: a\r\n\r\n");
	free(text);
	for (int i = 0; i < 2; i++) {
		assert_false(
		    http1_build_request(&b, "GET", "/", &bad[i], 1, &e));
		assert_int_equal(e.code, ERR_USAGE);
	}
	assert_false(http1_build_request(&b, "GET", "/a b", NULL, 0, &e));
	assert_false(http1_build_request(&b, "GET", "", NULL, 0, &e));
	assert_false(http1_build_request(&b, "G T", "/", NULL, 0, &e));
	assert_false(http1_build_response(&b, 99, NULL, NULL, 0, &e));
	buf_fini(&b);
	buf_init(&b, 10);
	assert_false(http1_build_request(&b, "GET", "/", &good, 1, &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	assert_int_equal(buf_len(&b), 0);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_reset),
	    cmocka_unit_test(test_get),
	    cmocka_unit_test(test_build),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
