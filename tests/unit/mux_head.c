/* SPDX-License-Identifier: MIT
 *
 * Header lists: each target built, judged and compared; targets that cannot
 * be; credentials; Proxy-Status in the forms that RFC 8941 allows.
 */
#include "mux/mux_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"
#include "util/mem.h"

static void
add(struct mux_head *h, const char *name, const char *value)
{
	mux_head_add(h, name, strlen(name), value, strlen(value));
}

static void
pass(struct mux_head *h, const struct mux_head_list *l)
{
	mux_head_init(h);
	for (size_t i = 0; i < l->count; i++)
		add(h, l->fields[i].name, mux_head_list_value(l, i));
}

static const char *
find(const struct mux_head_list *l, const char *name)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->fields[i].name, name) == 0)
			return mux_head_list_value(l, i);
	return NULL;
}

static void
test_targets(void **state)
{
	static const struct {
		struct mux_target t;
		const char *name, *value; /* what shows it */
	} cases[] = {
	    {{MUX_TCP, "web.example", 80}, ":authority", "web.example:80"},
	    {{MUX_TCP, "127.0.0.1", 1}, ":authority", "127.0.0.1:1"},
	    {{MUX_TCP, "2001:db8::1", 65535}, ":authority",
	        "[2001:db8::1]:65535"},
	    {{MUX_UNIX, "/run/x.sock", 0}, ":path", "/%2Frun%2Fx.sock"},
	    {{MUX_UNIX, "/a b%\xc3\xa4", 0}, ":path", "/%2Fa%20b%25%C3%A4"},
	    {{MUX_UDP, "dns.example", 53}, ":path",
	        "/.well-known/masque/udp/dns.example/53/"},
	    {{MUX_UDP, "2001:db8::1", 53}, ":path",
	        "/.well-known/masque/udp/2001%3Adb8%3A%3A1/53/"},
	    {{MUX_LISTEN, "::1", 8080}, ":path", "/tcp/%3A%3A1/8080"},
	    {{MUX_LISTEN, "*", 0}, ":path", "/tcp/*/0"},
	    {{MUX_FETCH, "42", 0}, ":path", "/42"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct mux_head_list l;
		struct mux_head h;
		struct mux_target t;
		struct err e;

		mux_head_list_init(&l);
		assert_true(mux_head_build_connect(&l, &cases[i].t, &e));
		assert_string_equal(find(&l, cases[i].name), cases[i].value);
		assert_string_equal(find(&l, ":method"), "CONNECT");
		pass(&h, &l);
		assert_int_equal(
		    mux_head_judge_request(&h, &t, &e), MUX_HEAD_CHANNEL);
		assert_int_equal(t.kind, cases[i].t.kind);
		assert_string_equal(t.host, cases[i].t.host);
		assert_int_equal(t.port, cases[i].t.port);
		free((char *)(uintptr_t)t.host);
		mux_head_fini(&h);
		mux_head_list_fini(&l);
	}
}

static void
test_unsayable(void **state)
{
	static const struct mux_target cases[] = {
	    {MUX_TCP, "", 80},
	    {MUX_TCP, "a/b", 80},
	    {MUX_TCP, "a\r\nb", 80},
	    {MUX_TCP, "a", 0},
	    {MUX_TCP, "*", 80},
	    {MUX_UDP, "a", 0},
	    {MUX_UDP, "a/b", 53},
	    {MUX_UNIX, "", 0},
	    {MUX_LISTEN, "", 80},
	    {MUX_FETCH, "", 0},
	    {MUX_FETCH, "12345678901234567", 0},
	    {MUX_FETCH, "1x", 0},
	};
	char path[120];
	struct mux_head_list l;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		mux_head_list_init(&l);
		assert_false(mux_head_build_connect(&l, &cases[i], &e));
		assert_int_equal(e.code, ERR_USAGE);
		mux_head_list_fini(&l);
	}
	memset(path, 'p', sizeof path);
	path[MUX_HEAD_PATH_MAX + 1] = '\0';
	mux_head_list_init(&l);
	assert_false(mux_head_build_connect(
	    &l, &(struct mux_target){MUX_UNIX, path, 0}, &e));
	mux_head_list_fini(&l);
}

struct request {
	const char *method, *protocol, *scheme, *authority, *path;
};

static void
test_bad_requests(void **state)
{
	static const struct request cases[] = {
	    {NULL, NULL, NULL, NULL, NULL},
	    {"POST", NULL, "https", "hyco", "/login"},
	    {"GET", NULL, "https", "hyco", "/"},
	    {"CONNECT", NULL, NULL, NULL, NULL},
	    {"CONNECT", NULL, NULL, "h", NULL},
	    {"CONNECT", NULL, NULL, "h:0", NULL},
	    {"CONNECT", NULL, NULL, "::1:5", NULL},
	    {"CONNECT", NULL, NULL, "u@h:1", NULL},
	    {"CONNECT", NULL, "https", "h:1", "/"},
	    {"CONNECT", "websocket", "https", "hyco", "/"},
	    {"CONNECT", "hyco-unix", "https", "hyco", NULL},
	    {"CONNECT", "hyco-unix", "http", "hyco", "/%2Fa"},
	    {"CONNECT", "hyco-unix", "https", "hyco", "/"},
	    {"CONNECT", "hyco-unix", "https", "hyco", "%2Fa"},
	    {"CONNECT", "hyco-unix", "https", "hyco", "/a/b"},
	    {"CONNECT", "hyco-unix", "https", "hyco", "/a%00b"},
	    {"CONNECT", "hyco-unix", "https", "hyco", "/a%0"},
	    {"CONNECT", "connect-udp", "https", "hyco", "/udp/h/1/"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/h/1"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/h/0/"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/h/65536/"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/h/01/"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/h//"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp//1/"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/a%2Fb/1/"},
	    {"CONNECT", "connect-udp", "https", "hyco",
	        "/.well-known/masque/udp/*/1/"},
	    {"CONNECT", "hyco-listen", "https", "hyco", "/udp/h/1"},
	    {"CONNECT", "hyco-listen", "https", "hyco", "/tcp/h"},
	    {"CONNECT", "hyco-listen", "https", "hyco", "/tcp/h/1/"},
	    {"CONNECT", "hyco-fetch", "https", "hyco", "/"},
	    {"CONNECT", "hyco-fetch", "https", "hyco", "/-1"},
	    {"CONNECT", "hyco-fetch", "https", "hyco", "/12345678901234567"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct request *q = &cases[i];
		const struct {
			const char *name, *value;
		} fields[] = {
		    {":method", q->method},
		    {":protocol", q->protocol},
		    {":scheme", q->scheme},
		    {":authority", q->authority},
		    {":path", q->path},
		};
		struct mux_head h;
		struct mux_target t;
		struct err e;

		mux_head_init(&h);
		for (size_t f = 0; f < 5; f++)
			if (fields[f].value)
				add(&h, fields[f].name, fields[f].value);
		if (mux_head_judge_request(&h, &t, &e) != MUX_HEAD_BAD)
			fail_msg("case %zu was taken", i);
		assert_int_equal(e.code, ERR_USAGE);
		mux_head_fini(&h);
	}
}

static void
test_too_big(void **state)
{
	char value[1000];
	struct mux_head h;
	struct mux_target t;
	struct err e;

	(void)state;
	memset(value, 'v', sizeof value);
	mux_head_init(&h);
	add(&h, ":method", "CONNECT");
	for (int i = 0; i < 100; i++)
		mux_head_add(&h, "proxy-status", 12, value, sizeof value);
	add(&h, ":authority", "h:1");
	assert_true(h.too_big);
	assert_null(h.authority);
	assert_true(strlen(h.proxy_status) < MUX_HEADERS_MAX);
	assert_int_equal(mux_head_judge_request(&h, &t, &e), MUX_HEAD_BAD);
	assert_false(mux_head_judge_answer(&h, &e));
	mux_head_fini(&h);

	mux_head_init(&h);
	add(&h, ":method", "CONNECT");
	add(&h, ":authority", "h:1");
	add(&h, ":authority", "i:1");
	assert_int_equal(mux_head_judge_request(&h, &t, &e), MUX_HEAD_BAD);
	mux_head_fini(&h);
}

static void
test_login(void **state)
{
	struct mux_head_list l;
	struct mux_head h;
	struct mux_target t;
	char *user, *password;

	(void)state;
	mux_head_list_init(&l);
	assert_true(mux_head_build_login(&l, "Aladdin", "open sesame", NULL));
	assert_string_equal(
	    find(&l, "authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	assert_true(l.fields[l.count - 1].is_secret);
	pass(&h, &l);
	assert_int_equal(mux_head_judge_request(&h, &t, NULL), MUX_HEAD_LOGIN);
	assert_true(mux_head_judge_login(&h, &user, &password));
	assert_string_equal(user, "Aladdin");
	assert_string_equal(password, "open sesame");
	mem_free_secret(user);
	mem_free_secret(password);
	mux_head_fini(&h);
	mux_head_list_fini(&l);

	mux_head_list_init(&l);
	assert_true(mux_head_build_login(&l, NULL, NULL, NULL));
	assert_null(find(&l, "authorization"));
	pass(&h, &l);
	assert_true(mux_head_judge_login(&h, &user, &password));
	assert_null(user);
	mux_head_fini(&h);
	mux_head_list_fini(&l);
}

static void
test_login_odd(void **state)
{
	static const struct {
		const char *value, *user, *password;
	} cases[] = {
	    {"basic OnA6cQ==", "", "p:q"},
	    {"Basic  dTo=", "u", ""},
	    {"Basic dQ==", NULL, NULL},
	    {"Basic dTpw!", NULL, NULL},
	    {"Basic dTpwAA==", NULL, NULL},
	    {"Basic", NULL, NULL},
	    {"Bearer dTpw", NULL, NULL},
	};
	char long_name[400];
	struct mux_head_list l;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct mux_head h;
		char *user, *password;

		mux_head_init(&h);
		add(&h, "authorization", cases[i].value);
		assert_int_equal(mux_head_judge_login(&h, &user, &password),
		    cases[i].user != NULL);
		if (cases[i].user) {
			assert_string_equal(user, cases[i].user);
			assert_string_equal(password, cases[i].password);
		}
		mem_free_secret(user);
		mem_free_secret(password);
		mux_head_fini(&h);
	}
	memset(long_name, 'u', sizeof long_name);
	long_name[MUX_HEAD_USER_MAX + 1] = '\0';
	mux_head_list_init(&l);
	assert_false(mux_head_build_login(&l, long_name, "", NULL));
	assert_false(mux_head_build_login(&l, "a:b", "", NULL));
	mux_head_list_fini(&l);
}

/* The longest that is allowed goes there and back. */
static void
test_login_longest(void **state)
{
	char name[MUX_HEAD_USER_MAX + 1], word[MUX_HEAD_PASSWORD_MAX + 1];
	struct mux_head_list l;
	struct mux_head h;
	char *user, *password;

	(void)state;
	memset(name, 'u', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	memset(word, 'p', sizeof word - 1);
	word[sizeof word - 1] = '\0';
	mux_head_list_init(&l);
	assert_true(mux_head_build_login(&l, name, word, NULL));
	pass(&h, &l);
	assert_true(mux_head_judge_login(&h, &user, &password));
	assert_string_equal(user, name);
	assert_string_equal(password, word);
	mem_free_secret(user);
	mem_free_secret(password);
	mux_head_fini(&h);
	mux_head_list_fini(&l);
}

static void
judge_status(int status, const char *proxy_status, struct err *e)
{
	struct mux_head h;

	mux_head_init(&h);
	add(&h, ":status",
	    status == 403   ? "403"
	    : status == 504 ? "504"
	    : status == 502 ? "502"
	                    : "500");
	if (proxy_status)
		add(&h, "proxy-status", proxy_status);
	assert_false(mux_head_judge_answer(&h, e));
	assert_int_equal(e->http_status, status);
	mux_head_fini(&h);
}

static void
test_refusals(void **state)
{
	static const enum mux_refusal all[] = {MUX_REFUSED_NAME,
	    MUX_REFUSED_CONNECTION, MUX_REFUSED_UNROUTABLE, MUX_REFUSED_TIMEOUT,
	    MUX_REFUSED_POLICY, MUX_REFUSED_INTERNAL, MUX_REFUSED_LIMIT,
	    MUX_REFUSED_REQUEST};
	static const int statuses[] = {502, 502, 502, 504, 403, 500, 503, 400};

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct mux_head_list l;
		struct mux_head h;
		struct err e;

		mux_head_list_init(&l);
		mux_head_build_refusal(&l, all[i], "a \"b\" \\ c\n\xff");
		pass(&h, &l);
		assert_false(mux_head_judge_answer(&h, &e));
		assert_int_equal(e.http_status, statuses[i]);
		assert_non_null(strstr(e.text, ": a \"b\" \\\\ c??"));
		mux_head_fini(&h);
		mux_head_list_fini(&l);
	}
}

static void
test_proxy_status_forms(void **state)
{
	struct err e;

	(void)state;
	judge_status(502, "hyco; error=connection_refused", &e);
	assert_int_equal(e.code, ERR_REFUSED);
	judge_status(502, "hyco;error=connection_timeout;details=\"x\"", &e);
	assert_int_equal(e.code, ERR_TIMEOUT);
	assert_non_null(strstr(e.text, ": x"));
	judge_status(
	    502, "a, hyco ; details=\"a, b; error=x\" ; error=dns_error", &e);
	assert_int_equal(e.code, ERR_UNREACHABLE);
	assert_non_null(strstr(e.text, "a, b; error=x"));
	judge_status(502, "hyco; error=\"connection_refused\"", &e);
	assert_int_equal(e.code, ERR_REFUSED);
	/* Unknown and broken ones: the status counts. */
	judge_status(403, "hyco; error=new_type", &e);
	assert_int_equal(e.code, ERR_DENIED);
	judge_status(504, "hyco; error=\"unterminated", &e);
	assert_int_equal(e.code, ERR_TIMEOUT);
	judge_status(502, ";;;,,,==\"\\", &e);
	assert_int_equal(e.code, ERR_UNREACHABLE);
	judge_status(500, NULL, &e);
	assert_int_equal(e.code, ERR_REFUSED);
	judge_status(
	    500, "hyco; error=proxy_internal_error; details=\"\x1b[1m\"", &e);
	assert_null(strchr(e.text, '\x1b'));
}

static void
test_accept(void **state)
{
	struct mux_head_list l;
	struct mux_head h;

	(void)state;
	mux_head_list_init(&l);
	mux_head_build_accept(&l, MUX_LISTEN, "127.0.0.1:80");
	pass(&h, &l);
	assert_true(mux_head_judge_answer(&h, NULL));
	assert_string_equal(h.address, "127.0.0.1:80");
	mux_head_fini(&h);
	mux_head_list_fini(&l);

	mux_head_list_init(&l);
	mux_head_build_accept(&l, MUX_UDP, "a\r\nb: c");
	assert_string_equal(find(&l, "capsule-protocol"), "?1");
	assert_null(find(&l, "hyco-address"));
	mux_head_list_fini(&l);
}

static void
test_refusal_of(void **state)
{
	static const struct {
		enum err_code code;
		enum mux_refusal why;
	} cases[] = {
	    {ERR_NOT_FOUND, MUX_REFUSED_NAME},
	    {ERR_UNREACHABLE, MUX_REFUSED_UNROUTABLE},
	    {ERR_REFUSED, MUX_REFUSED_CONNECTION},
	    {ERR_TIMEOUT, MUX_REFUSED_TIMEOUT},
	    {ERR_DENIED, MUX_REFUSED_POLICY},
	    {ERR_TOO_BIG, MUX_REFUSED_LIMIT},
	    {ERR_SYSTEM, MUX_REFUSED_INTERNAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(
		    mux_refusal_of(&(struct err){.code = cases[i].code}),
		    cases[i].why);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_unsayable),
	    cmocka_unit_test(test_bad_requests),
	    cmocka_unit_test(test_too_big),
	    cmocka_unit_test(test_login),
	    cmocka_unit_test(test_login_odd),
	    cmocka_unit_test(test_login_longest),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_proxy_status_forms),
	    cmocka_unit_test(test_accept),
	    cmocka_unit_test(test_refusal_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
