/* SPDX-License-Identifier: MIT
 *
 * The query and the Authorization field of the sample way: what is taken, and
 * every spelling by which the original could be fooled.
 */
#include "tunnel/way_sample_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/text.h"

static bool
parse(struct way_sample_wire_query *q, const char *suffix, const char *query,
    struct err *e)
{
	struct hc_url_view view = {query, query != NULL ? strlen(query) : 0};

	memset(e, 0, sizeof(*e));
	return way_sample_wire_parse_query(q, suffix, view, e);
}

static void
test_destinations(void **state)
{
	static const struct {
		const char *suffix, *query, *host;
		uint16_t port;
	} rows[] = {
	    {"", "port=3306&host=8.12.44.238", "8.12.44.238", 3306},
	    {"/tunnel", "port=3306&host=8.12.44.238", "8.12.44.238", 3306},
	    {"/", "host=db.example.com&port=1", "db.example.com", 1},
	    {"", "port=65535", "127.0.0.1", 65535},
	    {"", "x=1&&port=80&y", "127.0.0.1", 80},
	    {"", "port=80&host=%3A%3A1", "::1", 80},
	    {"", "port=80&host=%5B%3A%3A1%5D", "::1", 80},
	    {"", "port=80&host=[fe80::1]", "fe80::1", 80},
	    {"", "port=80&sb-hc-action=connect&sb-hc-id=1", "127.0.0.1", 80},
	    {"", "port=%38%30&host=local%68ost", "localhost", 80},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct way_sample_wire_query q;
		struct err e;

		assert_true(parse(&q, rows[i].suffix, rows[i].query, &e));
		assert_true(q.has_destination);
		assert_false(q.is_login);
		assert_string_equal(q.destination.host, rows[i].host);
		assert_int_equal(q.destination.port, rows[i].port);
	}
}

static void
test_no_destination(void **state)
{
	static const char *const rows[] = {NULL, "", "&&", "a=b",
	    "sb-hc-action=connect", "p%6Frt=80", "ports=1"};
	struct way_sample_wire_query q;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_true(parse(&q, "", rows[i], &e));
		assert_false(q.has_destination || q.is_login);
	}
	assert_true(parse(&q, "", "port=0&check=login", &e));
	assert_true(q.is_login);
	assert_false(q.has_destination);
}

static void
test_refused_queries(void **state)
{
	static const char *const rows[] = {"port=", "port", "port=0",
	    "port=65536", "port=-5", "port=+80", "port=080", "port=80%20",
	    "port=0x50", "port=/var/run/docker.sock",
	    "port=%2Fvar%2Frun%2Fdocker.sock", "port=80&port=80",
	    "port=80&PORT=81", "port=80&host=a&host=b", "host=127.0.0.1",
	    "port=80&host=", "port=80&host=a%00b", "port=80&host=a%0d%0ab",
	    "port=80&host=a/b", "port=80&host=unix:/x", "port=80&host=%zz",
	    "port=80&host=[]", "port=80&host=1::2::3", "port=80&host=a%20b",
	    "port=80&host=a+b", "port=8%30%00", "check=x",
	    "check=login&check=", "port=80&host=::1%25lo%2f",
	    "port=99999999999999999999"};
	struct way_sample_wire_query q;
	struct err e;
	char text[2048] = "port=80&host=";

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (parse(&q, "", rows[i], &e))
			fail_msg("taken: %s", rows[i]);
		assert_int_equal(e.http_status, 400);
		assert_int_equal(e.code, ERR_USAGE);
	}
	memset(text + strlen(text), 'a', 1500);
	assert_false(parse(&q, "", text, &e));
	assert_false(parse(&q, "/tunnel/x", "port=80", &e));
	assert_int_equal(e.http_status, 404);
	assert_false(parse(&q, "/shell", "port=80", &e));
}

static void
test_built_query_is_read(void **state)
{
	static const char *const hosts[] = {
	    "127.0.0.1", "::1", "a-b_c.example"};

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		struct hostport to = {.port = 443};
		struct way_sample_wire_query q;
		struct buf b;
		struct err e;
		char *text;

		strcpy(to.host, hosts[i]);
		buf_init(&b, 4096);
		way_sample_wire_build_query(&b, &to);
		text = buf_take_text(&b);
		assert_memory_equal(text, "port=443&host=", 14);
		assert_true(parse(&q, "", text, &e));
		assert_string_equal(q.destination.host, hosts[i]);
		mem_free_secret(text);
	}
}

static bool
read_field(struct way_sample_wire_login *login, const char *scheme,
    const void *text, size_t n)
{
	char field[4096];
	struct err e = {0};
	size_t at = strlen(scheme);
	bool ok;

	strcpy(field, scheme);
	text_base64_encode(text, n, field + at);
	ok = way_sample_wire_parse_basic(login, field, &e);
	assert_int_equal(e.http_status, ok ? 0 : 400);
	return ok;
}

static void
test_basic(void **state)
{
	struct way_sample_wire_login login;
	struct err e;
	char *field;

	(void)state;
	assert_true(read_field(&login, "Basic ", "foo:bar", 7));
	assert_string_equal(login.user, "foo");
	assert_string_equal(login.password, "bar");
	assert_true(read_field(&login, "bAsIc   ", "foo:b:a:r", 9));
	assert_string_equal(login.password, "b:a:r");
	assert_true(read_field(&login, "Basic ", ":", 1));
	assert_string_equal(login.user, "");
	assert_string_equal(login.password, "");
	assert_true(read_field(&login, "Basic ", "\xc3\xa9:\xff", 4));

	field = way_sample_wire_build_basic("foo", "b:r", &e);
	assert_true(way_sample_wire_parse_basic(&login, field, &e));
	assert_string_equal(login.user, "foo");
	assert_string_equal(login.password, "b:r");
	mem_free_secret(field);
}

static void
test_refused_basic(void **state)
{
	static const char *const fields[] = {"", "Basic", "Basic ", "Bearer x",
	    "Basic Zm9v", "Basic Zm9vOmJhcg", "Basic Zm9vOmJhcg==x",
	    "Basic Zm9v OmJhcg==", "Basic Zm9vOmJhcg==, Basic Zm9vOmJhcg==",
	    "BasicZm9vOmJhcg==", "Digest Zm9vOmJhcg==", "Basic Zm9v!mJhcg=="};
	struct way_sample_wire_login login;
	char big[2000];
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		memset(&e, 0, sizeof(e));
		if (way_sample_wire_parse_basic(&login, fields[i], &e))
			fail_msg("taken: %s", fields[i]);
		assert_int_equal(e.http_status, 400);
	}
	assert_false(read_field(&login, "Basic ", "fo\0o:bar", 8));
	assert_false(read_field(&login, "Basic ", "foo:ba\nr", 8));
	memset(big, 'a', sizeof(big));
	big[3] = ':';
	assert_true(read_field(
	    &login, "Basic ", big, 4 + WAY_SAMPLE_WIRE_PASSWORD_MAX));
	assert_false(read_field(
	    &login, "Basic ", big, 5 + WAY_SAMPLE_WIRE_PASSWORD_MAX));
	assert_string_equal(login.password, "");
	assert_false(read_field(&login, "Basic ", big, sizeof(big)));
	big[3] = 'a';
	big[256] = ':';
	assert_false(read_field(&login, "Basic ", big, 300));
}

static void
test_refused_logins(void **state)
{
	char big[600];
	struct err e;

	(void)state;
	memset(big, 'a', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_null(way_sample_wire_build_basic("a:b", "c", &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_null(way_sample_wire_build_basic("a\n", "c", &e));
	assert_null(way_sample_wire_build_basic("a", "c\x7f", &e));
	assert_null(way_sample_wire_build_basic(big, "c", &e));
	assert_null(way_sample_wire_build_basic("a", big, &e));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_destinations),
	    cmocka_unit_test(test_no_destination),
	    cmocka_unit_test(test_refused_queries),
	    cmocka_unit_test(test_built_query_is_read),
	    cmocka_unit_test(test_basic),
	    cmocka_unit_test(test_refused_basic),
	    cmocka_unit_test(test_refused_logins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
