/* SPDX-License-Identifier: MIT
 *
 * SOCKS and HTTP CONNECT: every conversation whole, byte by byte and cut at
 * each position gives the same replies, the same destination and the same rest.
 */
#include "ends/socks_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/addr.h"
#include "util/err.h"
#include "util/mem.h"

#define ROOM 32768

/* What came of a conversation. */
struct outcome {
	enum socks_wire_result result;
	enum socks_wire_kind kind;
	enum socks_wire_command command;
	struct hostport target;
	uint8_t replies[4096];
	size_t replies_len;
	size_t used;
	struct err err;
};

struct talk {
	struct socks_wire wire;
	uint8_t in[ROOM];
	size_t in_len;
	size_t used;
	struct outcome out;
};

static void
talk_init(struct talk *t)
{
	memset(t, 0, sizeof *t);
	socks_wire_init(&t->wire);
	t->out.result = SOCKS_WIRE_MORE;
}

static void
keep_reply(struct talk *t)
{
	assert_true(t->wire.reply_len <= sizeof t->wire.reply);
	assert_true(
	    t->out.replies_len + t->wire.reply_len <= sizeof t->out.replies);
	memcpy(t->out.replies + t->out.replies_len, t->wire.reply,
	    t->wire.reply_len);
	t->out.replies_len += t->wire.reply_len;
}

static void
talk_feed(struct talk *t, const uint8_t *data, size_t n)
{
	assert_true(t->in_len + n <= ROOM);
	memcpy(t->in + t->in_len, data, n);
	t->in_len += n;
	while (t->out.result == SOCKS_WIRE_MORE ||
	       t->out.result == SOCKS_WIRE_STEP) {
		/* Exactly as much memory as it may look at. */
		size_t rest = t->in_len - t->used, used;
		uint8_t *view = mem_alloc(rest);

		memcpy(view, t->in + t->used, rest);
		t->out.result =
		    socks_wire_read(&t->wire, view, rest, &used, &t->out.err);
		free(view);
		assert_true(used <= rest);
		if (t->out.result == SOCKS_WIRE_MORE) {
			assert_int_equal(used, 0);
			return;
		}
		t->used += used;
		keep_reply(t);
	}
	t->out.kind = t->wire.kind;
	t->out.used = t->used;
	if (t->out.result == SOCKS_WIRE_DONE) {
		t->out.command = t->wire.command;
		t->out.target = t->wire.target;
	}
}

static void
assert_same(const struct outcome *a, const struct outcome *b)
{
	assert_int_equal(a->result, b->result);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->replies_len, b->replies_len);
	assert_memory_equal(a->replies, b->replies, a->replies_len);
	assert_int_equal(a->used, b->used);
	if (a->result == SOCKS_WIRE_DONE) {
		assert_int_equal(a->command, b->command);
		assert_string_equal(a->target.host, b->target.host);
		assert_int_equal(a->target.port, b->target.port);
	} else if (a->result == SOCKS_WIRE_BAD) {
		assert_int_equal(a->err.code, b->err.code);
		assert_string_equal(a->err.text, b->err.text);
	}
}

/* All ways to hand it over; the outcome of the first. */
static struct outcome
converse(const void *data, size_t n)
{
	static struct talk whole, other;
	const uint8_t *bytes = data;

	talk_init(&whole);
	talk_feed(&whole, bytes, n);
	talk_init(&other);
	for (size_t i = 0; i < n; i++)
		talk_feed(&other, bytes + i, 1);
	assert_same(&whole.out, &other.out);
	for (size_t cut = 1; cut < n; cut++) {
		talk_init(&other);
		talk_feed(&other, bytes, cut);
		talk_feed(&other, bytes + cut, n - cut);
		assert_same(&whole.out, &other.out);
	}
	return whole.out;
}

struct vector {
	const char *name;
	const char *in;
	size_t in_len;
	enum socks_wire_result result;
	enum socks_wire_command command;
	const char *host;
	uint16_t port;
	const char *replies;
	size_t replies_len;
	size_t rest; /* bytes left for the channel */
};

#define IN(text) .in = (text), .in_len = sizeof(text) - 1
#define SAYS(text) .replies = (text), .replies_len = sizeof(text) - 1
#define GOOD4 "\0\x5a\0\0\0\0\0\0"
#define BAD4 "\0\x5b\0\0\0\0\0\0"
#define FAILED5(code) "\x05" code "\0\x01\0\0\0\0\0\0"

static const struct vector vectors[] = {
    {.name = "4",
        IN("\x04\x01\x00\x50\x0a\x00\x00\x01root\0GET"),
        .result = SOCKS_WIRE_DONE,
        .host = "10.0.0.1",
        .port = 80,
        .rest = 3},
    {.name = "4 without user",
        IN("\x04\x01\x01\xbb\xff\x00\x00\x01\0"),
        .result = SOCKS_WIRE_DONE,
        .host = "255.0.0.1",
        .port = 443},
    {.name = "4a",
        IN("\x04\x01\x00\x16\0\0\0\x01\0db.example\0SSH"),
        .result = SOCKS_WIRE_DONE,
        .host = "db.example",
        .port = 22,
        .rest = 3},
    {.name = "4 bind",
        IN("\x04\x02\x00\x16\x0a\0\0\x01\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS(BAD4)},
    {.name = "4a bad name",
        IN("\x04\x01\x00\x16\0\0\0\x01\0a b\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS(BAD4)},
    {.name = "4a no name",
        IN("\x04\x01\x00\x16\0\0\0\x01\0\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS(BAD4)},
    {.name = "4 port 0",
        IN("\x04\x01\x00\x00\x0a\0\0\x01\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS(BAD4)},
    {.name = "5 ip4",
        IN("\x05\x01\0"
           "\x05\x01\0\x01\x7f\0\0\x01\x1f\x90hello"),
        .result = SOCKS_WIRE_DONE,
        .host = "127.0.0.1",
        .port = 8080,
        SAYS("\x05\0"),
        .rest = 5},
    {.name = "5 ip6",
        IN("\x05\x02\x02\0"
           "\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50"),
        .result = SOCKS_WIRE_DONE,
        .host = "::1",
        .port = 80,
        SAYS("\x05\0")},
    {.name = "5 name",
        IN("\x05\x01\0"
           "\x05\x01\0\x03\x0a"
           "db.example\x15\x38"),
        .result = SOCKS_WIRE_DONE,
        .host = "db.example",
        .port = 5432,
        SAYS("\x05\0")},
    {.name = "5 with a login",
        IN("\x05\x02\x01\x02"
           "\x01\x03"
           "bob\x06"
           "secret"
           "\x05\x01\0\x03\x01h\0\x01x"),
        .result = SOCKS_WIRE_DONE,
        .host = "h",
        .port = 1,
        SAYS("\x05\x02\x01\0"),
        .rest = 1},
    {.name = "5 with an empty login",
        IN("\x05\x01\x02\x01\0\0\x05\x01\0\x03\x01h\0\x01"),
        .result = SOCKS_WIRE_DONE,
        .host = "h",
        .port = 1,
        SAYS("\x05\x02\x01\0")},
    {.name = "5 udp",
        IN("\x05\x01\0"
           "\x05\x03\0\x01\0\0\0\0\0\0"),
        .result = SOCKS_WIRE_DONE,
        .command = SOCKS_WIRE_UDP,
        .host = "0.0.0.0",
        .port = 0,
        SAYS("\x05\0")},
    {.name = "5 no method of ours",
        IN("\x05\x02\x01\x03"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\xff")},
    {.name = "5 no method at all",
        IN("\x05\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\xff")},
    {.name = "5 bind",
        IN("\x05\x01\0"
           "\x05\x02\0\x01\x7f\0\0\x01\0\x50"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x07"))},
    {.name = "5 address type",
        IN("\x05\x01\0"
           "\x05\x01\0\x02\x7f\0\0\x01\0\x50"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x08"))},
    {.name = "5 empty name",
        IN("\x05\x01\0"
           "\x05\x01\0\x03\0\0\x50"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x01"))},
    {.name = "5 NUL in a name",
        IN("\x05\x01\0"
           "\x05\x01\0\x03\x03"
           "a\0b\0\x50"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x01"))},
    {.name = "5 name with a line end",
        IN("\x05\x01\0"
           "\x05\x01\0\x03\x03"
           "a\nb\0\x50"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x01"))},
    {.name = "5 port 0",
        IN("\x05\x01\0"
           "\x05\x01\0\x01\x7f\0\0\x01\0\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x01"))},
    {.name = "5 that becomes 4",
        IN("\x05\x01\0"
           "\x04\x01\0\x50\x7f\0\0\x01\0"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\0" FAILED5("\x01"))},
    {.name = "5 login version",
        IN("\x05\x01\x02\x02\x01"),
        .result = SOCKS_WIRE_BAD,
        SAYS("\x05\x02")},
    {.name = "http",
        IN("CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n"
           "Proxy-Authorization: Basic Ym9iOnNlY3JldA==\r\n\r\n\x16\x03"),
        .result = SOCKS_WIRE_DONE,
        .host = "db.example",
        .port = 443,
        .rest = 2},
    {.name = "http 1.0",
        IN("CONNECT [::1]:80 HTTP/1.0\r\n\r\n"),
        .result = SOCKS_WIRE_DONE,
        .host = "::1",
        .port = 80},
    {.name = "neither", IN("\x16\x03\x01"), .result = SOCKS_WIRE_BAD},
    {.name = "lower case",
        IN("connect a:1 HTTP/1.1\r\n\r\n"),
        .result = SOCKS_WIRE_BAD},
    {.name = "more",
        IN("\x05\x01\0\x05\x01\0\x03\x0a"),
        .result = SOCKS_WIRE_MORE,
        SAYS("\x05\0")},
};

static void
test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		const struct vector *v = &vectors[i];
		struct outcome o = converse(v->in, v->in_len);

		if (o.result != v->result)
			fail_msg(
			    "%s: result %d: %s", v->name, o.result, o.err.text);
		if (o.replies_len != v->replies_len ||
		    (v->replies_len > 0 &&
		        memcmp(o.replies, v->replies, v->replies_len) != 0))
			fail_msg("%s: another reply", v->name);
		if (v->result != SOCKS_WIRE_DONE)
			continue;
		assert_int_equal(o.command, v->command);
		assert_string_equal(o.target.host, v->host);
		assert_int_equal(o.target.port, v->port);
		if (v->in_len - o.used != v->rest)
			fail_msg("%s: %zu left", v->name, v->in_len - o.used);
	}
}

static void
test_bad_http(void **state)
{
	static const struct {
		const char *in;
		const char *status;
	} bad[] = {
	    {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "},
	    {"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
	    {"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
	    {"CONNECT a:99999 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
	    {"CONNECT /a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
	    {"CONNECT a:1\r\n\r\n", "HTTP/1.1 400 "},
	    {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
	        "HTTP/1.1 400 "},
	    {"CONNECT a:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
	    {"ZZZ\r\n\r\n", "HTTP/1.1 400 "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct outcome o = converse(bad[i].in, strlen(bad[i].in));

		assert_int_equal(o.result, SOCKS_WIRE_BAD);
		if (memcmp(o.replies, bad[i].status, strlen(bad[i].status)))
			fail_msg(
			    "%s: %.60s", bad[i].in, (const char *)o.replies);
		assert_int_equal(o.err.code, ERR_PROTOCOL);
		assert_int_equal(o.used, 0);
	}
}

/* Nobody may send a head without end. */
static void
test_bounds(void **state)
{
	static uint8_t long_head[SOCKS_WIRE_STEP_MAX + 10];
	static struct talk t;
	uint8_t four[8 + 300] = {4, 1, 0, 80, 10, 0, 0, 1};
	struct outcome o;

	(void)state;
	memset(long_head, 'A', sizeof long_head);
	talk_init(&t);
	talk_feed(&t, long_head, SOCKS_WIRE_STEP_MAX - 1);
	assert_int_equal(t.out.result, SOCKS_WIRE_MORE);
	talk_feed(&t, long_head, 1);
	assert_int_equal(t.out.result, SOCKS_WIRE_BAD);
	assert_int_equal(t.out.err.code, ERR_TOO_BIG);
	assert_memory_equal(t.out.replies, "HTTP/1.1 431 ", 13);
	/* A user of SOCKS 4. */
	memset(four + 8, 'u', sizeof four - 8);
	o = converse(four, 8 + 255);
	assert_int_equal(o.result, SOCKS_WIRE_MORE);
	o = converse(four, 8 + 256);
	assert_int_equal(o.result, SOCKS_WIRE_BAD);
	four[8 + 255] = '\0';
	o = converse(four, 8 + 256);
	assert_int_equal(o.result, SOCKS_WIRE_DONE);
}

static void
assert_answer(const char *in, size_t n, const struct err *err,
    const struct addr *bound, const char *expected, size_t expected_len)
{
	static struct talk t;

	talk_init(&t);
	talk_feed(&t, (const uint8_t *)in, n);
	assert_int_equal(t.out.result, SOCKS_WIRE_DONE);
	socks_wire_answer(&t.wire, err, bound);
	if (t.wire.reply_len < expected_len ||
	    memcmp(t.wire.reply, expected, expected_len) != 0)
		fail_msg(
		    "%.*s", (int)t.wire.reply_len, (const char *)t.wire.reply);
}

#define FOUR "\x04\x01\x00\x50\x0a\0\0\x01\0"
#define FIVE "\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01\x1f\x90"
#define HTTP "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
#define TEXT(text) (text), sizeof(text) - 1

static void
test_answers(void **state)
{
	struct err e = {0};
	struct addr bound;

	(void)state;
	assert_answer(TEXT(FOUR), NULL, NULL, TEXT(GOOD4));
	assert_answer(TEXT(FIVE), NULL, NULL, TEXT(FAILED5("\0")));
	assert_answer(TEXT(HTTP), NULL, NULL,
	    TEXT("HTTP/1.1 200 Connection established\r\n\r\n"));
	assert_true(addr_from_ip(&bound, "127.0.0.1", 0x1234));
	assert_answer(
	    TEXT(FIVE), NULL, &bound, TEXT("\x05\0\0\x01\x7f\0\0\x01\x12\x34"));
	assert_true(addr_from_ip(&bound, "::1", 0x1234));
	assert_answer(TEXT(FIVE), NULL, &bound,
	    TEXT("\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34"));
	err_set(&e, ERR_REFUSED, "connecting to a: refused\r\nX: y");
	assert_answer(TEXT(FOUR), &e, NULL, TEXT(BAD4));
	assert_answer(TEXT(FIVE), &e, NULL, TEXT(FAILED5("\x05")));
	assert_answer(TEXT(HTTP), &e, NULL, TEXT("HTTP/1.1 502 "));
}

/* The text of an error may hold what a peer sent: it stays in one line. */
static void
test_answer_is_escaped(void **state)
{
	static struct talk t;
	struct err e = {.code = ERR_DENIED};
	const char *body;
	size_t n;

	(void)state;
	memset(e.text, '\n', sizeof e.text - 1);
	talk_init(&t);
	talk_feed(&t, (const uint8_t *)HTTP, sizeof(HTTP) - 1);
	socks_wire_answer(&t.wire, &e, NULL);
	assert_true(t.wire.reply_len < sizeof t.wire.reply);
	body = memmem(t.wire.reply, t.wire.reply_len, "\r\n\r\n", 4);
	assert_non_null(body);
	body += 4;
	n = t.wire.reply_len - (size_t)((const uint8_t *)body - t.wire.reply);
	assert_ptr_equal(memchr(body, '\n', n), body + n - 1);
	assert_non_null(memmem(t.wire.reply, t.wire.reply_len, "403", 3));
}

static void
test_codes(void **state)
{
	static const struct {
		enum err_code code;
		int http;
		uint8_t socks;
		int status;
	} codes[] = {
	    {ERR_DENIED, 0, 2, 403},
	    {ERR_AUTH, 0, 2, 403},
	    {ERR_REFUSED, 0, 5, 502},
	    {ERR_UNREACHABLE, 0, 4, 502},
	    {ERR_TIMEOUT, 0, 4, 504},
	    {ERR_RESET, 0, 1, 502},
	    {ERR_SYSTEM, 0, 1, 502},
	    {ERR_SYSTEM, 503, 1, 503},
	    {ERR_AUTH, 401, 2, 403},
	    {ERR_DENIED, 403, 2, 403},
	};

	(void)state;
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		struct err e = {
		    .code = codes[i].code, .http_status = codes[i].http};

		assert_int_equal(socks_wire_code(&e), codes[i].socks);
		assert_int_equal(socks_wire_status(&e), codes[i].status);
	}
}

static void
test_udp(void **state)
{
	static const struct hostport names[] = {
	    {"127.0.0.1", 53}, {"2001:db8::1", 65535}, {"dns.example", 53}};
	uint8_t head[SOCKS_WIRE_UDP_HEAD_MAX + 4];
	struct hostport long_name = {.port = 1}, target;
	size_t n, len;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		n = socks_wire_build_udp(&names[i], head);
		memset(head + n, 'x', 4);
		assert_true(socks_wire_parse_udp(head, n + 4, &target, &len));
		assert_int_equal(len, n);
		assert_string_equal(target.host, names[i].host);
		assert_int_equal(target.port, names[i].port);
		for (size_t cut = 0; cut < n; cut++)
			assert_false(
			    socks_wire_parse_udp(head, cut, &target, &len));
		head[2] = 1; /* a fragment */
		assert_false(socks_wire_parse_udp(head, n, &target, &len));
		head[2] = 0;
		head[n - 2] = head[n - 1] = 0; /* port 0 */
		assert_false(socks_wire_parse_udp(head, n, &target, &len));
	}
	for (size_t i = 0; i < HOST_MAX; i++)
		long_name.host[i] = i % 50 == 49 ? '.' : 'a';
	n = socks_wire_build_udp(&long_name, head);
	assert_int_equal(n, SOCKS_WIRE_UDP_HEAD_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_bad_http),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_answer_is_escaped),
	    cmocka_unit_test(test_codes),
	    cmocka_unit_test(test_udp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
