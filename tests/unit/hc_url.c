/* SPDX-License-Identifier: MIT
 *
 * The service's URLs: every vector of the specification's sections 1.1 to 1.5,
 * and what must be refused.
 */
#include "hc/hc_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/err.h"

/* The content of b as a text, valid until the next call. */
static const char *
content(struct buf *b)
{
	static char text[8192];
	const size_t n = buf_len(b);

	assert_true(n < sizeof text);
	if (n > 0)
		memcpy(text, buf_data(b), n);
	text[n] = '\0';
	buf_fini(b);
	return text;
}

static struct hc_url_view
view(const char *s)
{
	return (struct hc_url_view){s, strlen(s)};
}

static void
test_parse(void **state)
{
	struct hc_url u;
	struct err e;
	char host[HOSTPORT_TEXT_MAX];

	(void)state;
	assert_true(hc_url_parse(&u,
	    "wss://G1-Prod.Contoso.net:443/$hc/p/s?a=1&sb-hc-id=x#frag", &e));
	assert_string_equal(u.at.host, "g1-prod.contoso.net");
	assert_int_equal(u.at.port, 443);
	assert_string_equal(u.target, "/$hc/p/s?a=1&sb-hc-id=x");
	assert_string_equal(
	    hc_url_host_header(&u.at, host), "g1-prod.contoso.net");
	hc_url_fini(&u);
	assert_true(hc_url_parse(&u, "WSS://localhost:8443?x", &e));
	assert_string_equal(u.target, "/?x");
	assert_string_equal(hc_url_host_header(&u.at, host), "localhost:8443");
	hc_url_fini(&u);
	assert_true(hc_url_parse(&u, "wss://[::1]:9/a", &e));
	assert_string_equal(u.at.host, "::1");
	assert_string_equal(hc_url_host_header(&u.at, host), "[::1]:9");
	hc_url_fini(&u);
	assert_true(hc_url_parse(&u, "wss://[::1]", &e));
	assert_string_equal(u.target, "/");
	assert_string_equal(hc_url_host_header(&u.at, host), "[::1]");
	hc_url_fini(&u);
}

static void
test_parse_refused(void **state)
{
	static const char *const bad[] = {"", "wss://", "ws://h/p",
	    "https://h/p", "wss:/h/p", "wss://u@h/p", "wss://u:p@h/",
	    "wss://h:0/", "wss://h:65536/", "wss://h:x/", "wss:///p",
	    "wss://h/a b", "wss://h/a\r\nX: y", "wss://h/\xc3\xa4",
	    "wss://h\x01/", "wss://[::1/", " wss://h/"};
	struct hc_url u;
	struct err e;
	char *longer;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		e.code = ERR_NONE;
		if (hc_url_parse(&u, bad[i], &e))
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(e.code, ERR_PROTOCOL);
	}
	longer = malloc(HC_URL_MAX + 2);
	memset(longer, 'a', HC_URL_MAX + 1);
	memcpy(longer, "wss://h/", 8);
	longer[HC_URL_MAX + 1] = '\0';
	assert_false(hc_url_parse(&u, longer, &e));
	longer[HC_URL_MAX] = '\0';
	assert_true(hc_url_parse(&u, longer, &e));
	hc_url_fini(&u);
	free(longer);
}

/* DTh:568-603 */
static void
test_filter(void **state)
{
	static const char *const vectors[][2] = {
	    {"?sb-hc-id=1", ""},
	    {"?sb-hc-id=1&c=v", "?c=v"},
	    {"?c=v&sb-hc-id=1", "?c=v"},
	    {"?c=v&sb-hc-id=1&d=w", "?c=v&d=w"},
	    {"?sb-hc-x", "?sb-hc-x"},
	    {"?sb-hc-x=", ""},
	    {"?SB-HC-Token=x", ""},
	    {"?&&&", "?&&&"},
	    {"?a=1&a=2&", "?a=1&a=2&"},
	    {"?&a=1", "?&a=1"},
	    {"?+", "?+"},
	    {"?%2B", "?%2B"},
	    {"?%20", "?%20"},
	    {"?%2f%3a%3d%26", "?%2f%3a%3d%26"},
	    {"?api-version=abc", "?api-version=abc"},
	    {"?", ""},
	    {"", ""},
	    {"?xsb-hc-id=1", "?xsb-hc-id=1"},
	};
	struct hc_url_view path, query;
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		buf_init(&b, 1000);
		hc_url_split(vectors[i][0], &path, &query);
		assert_int_equal(path.len, 0);
		assert_true(hc_url_filter_query(&b, query));
		assert_string_equal(content(&b), vectors[i][1]);
	}
}

static void
test_items(void **state)
{
	struct hc_url_view path, query;
	struct hc_url_item item;
	char *value;
	int n = 0;

	(void)state;
	hc_url_split(
	    "/$hc/p/s?a=1&b&c=%2B+x=y&&bad=%zz&nul=%00&A=2", &path, &query);
	assert_int_equal(path.len, strlen("/$hc/p/s"));
	assert_true(hc_url_take_hc(&path));
	assert_memory_equal(path.at, "p/s", 3);
	assert_int_equal(path.len, 3);
	assert_false(hc_url_take_hc(&path));
	value = hc_url_get(query, "a");
	assert_string_equal(value, "1");
	free(value);
	assert_null(hc_url_get(query, "b"));
	value = hc_url_get(query, "c");
	assert_string_equal(value, "+ x=y");
	free(value);
	assert_null(hc_url_get(query, "bad"));
	assert_null(hc_url_get(query, "nul"));
	assert_null(hc_url_get(query, "none"));
	for (; hc_url_next(&query, &item); n++)
		assert_false(hc_url_is_service_item(&item));
	assert_int_equal(n, 7);
	hc_url_split("/p", &path, &query);
	assert_null(query.at);
	assert_null(hc_url_get(query, "a"));
}

/* The names are compared as written: what is read is what is dropped. */
static void
test_names_are_not_decoded(void **state)
{
	struct hc_url_view query = view("sb%2Dhc-token=x");
	struct buf b;

	(void)state;
	assert_null(hc_url_get(query, "sb-hc-token"));
	buf_init(&b, 100);
	assert_true(hc_url_filter_query(&b, query));
	assert_string_equal(content(&b), "?sb%2Dhc-token=x");
}

static void
test_clean(void **state)
{
	static const char *const vectors[][2] = {
	    {"/$hc/p/suf%20fix?a=1&b=2", "/$hc/p/suf%20fix?a=1&b=2"},
	    {"/a b|\"<>{}\\^`", "/a%20b%7C%22%3C%3E%7B%7D%5C%5E%60"},
	    {"/a%zz%4", "/a%25zz%254"},
	    {"/[x]?y=[1]&q=?", "/%5Bx%5D?y=[1]&q=?"},
	    {"/\xc3\xa4#f", "/%C3%A4%23f"},
	    {"/\x7f\x01", "/%7F%01"},
	};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		buf_init(&b, 1000);
		assert_true(
		    hc_url_clean(&b, vectors[i][0], strlen(vectors[i][0])));
		assert_string_equal(content(&b), vectors[i][1]);
	}
	buf_init(&b, 1000);
	assert_true(hc_url_clean(&b, "/\0x", 3));
	assert_string_equal(content(&b), "/%00x");
	buf_init(&b, 5);
	assert_false(hc_url_clean(&b, "/a b c", 6));
	buf_fini(&b);
}

static void
test_suffix(void **state)
{
	static const char *const vectors[][3] = {
	    {"/$hc/p?x", "p", ""},
	    {"/$hc/p/tunnel?x", "p", "/tunnel"},
	    {"/$hc/P%2Ftunnel", "p", "/tunnel"},
	    {"/$hc/a/b/c%20d", "A/B", "/c d"},
	    {"/$hc/pp/x", "p", "/pp/x"},
	    {"/tunnel?x=1", "p", "/tunnel"},
	    {"/p/tunnel", "p", "/tunnel"},
	    {"/", "p", ""},
	    {"/$hc/p/%zz", "p", "/%zz"},
	};
	char *suffix;

	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		suffix = hc_url_suffix(vectors[i][0], vectors[i][1]);
		assert_string_equal(suffix, vectors[i][2]);
		free(suffix);
	}
}

static void
test_build(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_true(hc_url_build_listen(&b, "a/b", "ID"));
	assert_string_equal(
	    content(&b), "/$hc/a/b?sb-hc-action=listen&sb-hc-id=ID");
	assert_true(hc_url_build_connect(&b, "p", NULL, NULL, "ID"));
	assert_string_equal(
	    content(&b), "/$hc/p?sb-hc-action=connect&sb-hc-id=ID");
	assert_true(hc_url_build_connect(&b, "p", "", "", "ID"));
	assert_string_equal(
	    content(&b), "/$hc/p?sb-hc-action=connect&sb-hc-id=ID");
	assert_true(
	    hc_url_build_connect(&b, "p", "tunnel", "port=1&host=h", "ID"));
	assert_string_equal(content(&b),
	    "/$hc/p/tunnel?port=1&host=h&sb-hc-action=connect&sb-hc-id=ID");
	assert_true(hc_url_build_connect(
	    &b, "p", "/a b?c", "?x=y z&sb-hc-token=t&", "ID"));
	assert_string_equal(content(&b),
	    "/$hc/p/a%20b%3Fc?x=y%20z&sb-hc-action=connect&sb-hc-id=ID");
	assert_true(hc_url_add_item(&b, "host", "::1"));
	assert_true(hc_url_add_item(&b, "port", "80"));
	assert_string_equal(content(&b), "host=%3A%3A1&port=80");
	buf_init(&b, 20);
	assert_false(hc_url_build_connect(&b, "p", NULL, NULL, "ID"));
	buf_fini(&b);
}

/* R19, 1.3: suffix and query stay, in front of the relay's items. */
static void
test_build_accept(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_true(hc_url_build_accept(&b, "localhost:8443",
	    "/$hc/p/suf%20fix?a=1&b=2&sb-hc-action=connect&sb-hc-id=x"
	    "&sb-hc-token=t",
	    "ID", "K3y_"));
	assert_string_equal(content(&b),
	    "wss://localhost:8443/$hc/p/suf%20fix?a=1&b=2&sb-hc-action=accept"
	    "&sb-hc-id=ID&sb-hc-key=K3y_");
	assert_true(hc_url_build_accept(
	    &b, "h", "/$hc/p?sb-hc-action=connect", "ID", "K"));
	assert_string_equal(content(&b),
	    "wss://h/$hc/p?sb-hc-action=accept&sb-hc-id=ID&sb-hc-key=K");
	assert_true(hc_url_build_accept(&b, "h", "/$hc/p", "ID", "K"));
	assert_string_equal(content(&b),
	    "wss://h/$hc/p?sb-hc-action=accept&sb-hc-id=ID&sb-hc-key=K");
}

/* 1.4, R29-R31 */
static void
test_reject(void **state)
{
	struct hc_url_reject r;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_true(hc_url_build_reject(
	    &b, "wss://h/$hc/p?sb-hc-action=accept", 401, "Status X+\xc3\xa4"));
	assert_string_equal(content(&b),
	    "wss://h/$hc/p?sb-hc-action=accept&sb-hc-statusCode=401"
	    "&sb-hc-statusDescription=Status+X%2B%C3%A4");
	assert_true(hc_url_build_reject(&b, "/x", 400, ""));
	assert_string_equal(
	    content(&b), "/x?sb-hc-statusCode=400&sb-hc-statusDescription=");

	assert_false(hc_url_get_reject(view("sb-hc-action=accept"), &r));
	assert_true(hc_url_get_reject(
	    view("sb-hc-statusCode=401&sb-hc-statusDescription=Status+X"), &r));
	assert_int_equal(r.status, 401);
	assert_string_equal(r.reason, "Status X");
	assert_true(hc_url_get_reject(
	    view("statusCode=403&statusDescription=No%20way"), &r));
	assert_int_equal(r.status, 403);
	assert_string_equal(r.reason, "No way");
	assert_true(
	    hc_url_get_reject(view("statusCode=403&sb-hc-statusCode=502"), &r));
	assert_int_equal(r.status, 502);
	assert_string_equal(r.reason, "");
	assert_true(hc_url_get_reject(
	    view("statusCode=200&statusDescription=a%0D%0AX:%20b%C3%A4"), &r));
	assert_int_equal(r.status, 400);
	assert_string_equal(r.reason, "a  X: b??");
	assert_true(hc_url_get_reject(view("statusCode=x"), &r));
	assert_int_equal(r.status, 400);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_parse_refused),
	    cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_items),
	    cmocka_unit_test(test_names_are_not_decoded),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_suffix),
	    cmocka_unit_test(test_build),
	    cmocka_unit_test(test_build_accept),
	    cmocka_unit_test(test_reject),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
