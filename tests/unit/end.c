/* SPDX-License-Identifier: MIT
 *
 * The words for ends and tunnels: each accepted form with what it means, each
 * refusal with the part it must name.
 */
#include "ends/end.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/err.h"
#include "util/mem.h"

/* Both ends as end_print writes them, "default" in front of a remote that was
 * not given. */
struct form {
	const char *text;
	const char *local;
	const char *remote;
	bool is_default;
};

static const struct form forms[] = {
    {"8080", "127.0.0.1:8080", "127.0.0.1:8080", true},
    {"*:8080", "*:8080", "127.0.0.1:8080", true},
    {"0.0.0.0:8080", "0.0.0.0:8080", "127.0.0.1:8080", true},
    {"localhost:8080", "localhost:8080", "127.0.0.1:8080", true},
    {"[::1]:8080", "[::1]:8080", "127.0.0.1:8080", true},
    {"8080:db.example:5432", "127.0.0.1:8080", "db.example:5432", false},
    {"8080:[2001:db8::1]:80", "127.0.0.1:8080", "[2001:db8::1]:80", false},
    {"*:8080:h:80", "*:8080", "h:80", false},
    {"[::]:8080:[::1]:80", "[::]:8080", "[::1]:80", false},
    {"0:h:80", "127.0.0.1:0", "h:80", false},
    {"53/udp", "127.0.0.1:53/udp", "127.0.0.1:53/udp", true},
    {"5353:8.8.8.8:53/udp", "127.0.0.1:5353/udp", "8.8.8.8:53/udp", false},
    {"5353:h:53/tcp", "127.0.0.1:5353", "h:53", false},
    {"8080:unix:/run/x", "127.0.0.1:8080", "unix:/run/x", false},
    {"[::1]:8080:socket:/run/x", "[::1]:8080", "unix:/run/x", false},
    {"socket:/run/a=db:5432", "unix:/run/a", "db:5432", false},
    {"unix:/run/a=5432", "unix:/run/a", "127.0.0.1:5432", false},
    {"unix:/run/a=unix:/run/b=c", "unix:/run/a", "unix:/run/b=c", false},
    {"8080=db:5432", "127.0.0.1:8080", "db:5432", false},
    {"8080=5432", "127.0.0.1:8080", "127.0.0.1:5432", false},
    {"8080=db", "127.0.0.1:8080", "db:8080", false},
    {"8080=[::1]", "127.0.0.1:8080", "[::1]:8080", false},
    {"8080=::1", "127.0.0.1:8080", "[::1]:8080", false},
    {"*:8080=unix:/run/b", "*:8080", "unix:/run/b", false},
    {"8080=unix:/run/b/udp", "127.0.0.1:8080", "unix:/run/b/udp", false},
    {"53=9.9.9.9:53/udp", "127.0.0.1:53/udp", "9.9.9.9:53/udp", false},
};

static void
check(const struct form *f, const struct tunnel_spec *spec)
{
	char text[END_TEXT_MAX];

	assert_string_equal(end_print(&spec->local, text), f->local);
	assert_string_equal(end_print(&spec->remote, text), f->remote);
	assert_int_equal(spec->remote_given, !f->is_default);
}

static void
test_forms(void **state)
{
	struct tunnel_spec spec;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (!end_parse_tunnel(&spec, forms[i].text, &e))
			fail_msg("%s: %s", forms[i].text, e.text);
		check(&forms[i], &spec);
	}
}

static void
test_local(void **state)
{
	char text[END_TEXT_MAX];
	struct end x;
	struct err e;

	(void)state;
	assert_true(end_parse_local(&x, "0", &e));
	assert_string_equal(end_print(&x, text), "127.0.0.1:0");
	assert_true(end_parse_local(&x, "[::1]:1080", &e));
	assert_string_equal(end_print(&x, text), "[::1]:1080");
	assert_true(end_parse_local(&x, "53/udp", &e));
	assert_ptr_equal(x.kind, &end_kind_udp);
	assert_true(end_parse_local(&x, "unix:/run/s", &e));
	assert_string_equal(x.path, "/run/s");
	assert_false(end_parse_local(&x, "", &e));
	assert_false(end_parse_local(&x, "1:2:3", &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_false(end_parse_local(&x, "65536", &e));
	assert_false(end_parse_local(&x, "name.example:80", &e));
}

struct fault {
	const char *text;
	const char *reason;
};

static const struct fault faults[] = {
    {"", "empty"},
    {"x", "port \"x\""},
    {"0", "needs a destination"},
    {"65536", "port \"65536\""},
    {"-5", "port \"-5\""},
    {"08", "port \"08\""},
    {"8080:", "bind address \"8080\""},
    {":8080", "bind address"},
    {"localhost:", "a port is missing"},
    {"host.example:8080", "bind address \"host.example\""},
    {"8080:80", "bind address \"8080\""},
    {"8080:h:", "a port is missing"},
    {"8080::80", "host is missing"},
    {"8080:h:0", "port \"0\""},
    {"8080:h:99999", "port \"99999\""},
    {"8080:h h:80", "\"h h\""},
    {"8080:h\x1b:80", "\\x1b"},
    {"8080:[::1:80", ""},
    {"8080:[h]:80", "\"[h]\""},
    {"8080:[]:80", ""},
    {"::1:8080", ""},
    {"::1:8080:h:80", ""},
    {"a:b:c:d:e", "too many parts"},
    {"*:8080:[::1]:80:1", "too many parts"},
    {"8080/sctp", "\"/sctp\""},
    {"8080/", "\"/\""},
    {"/udp", "port"},
    {"8080/udp/udp", "\"/udp/udp\""},
    {"socket:/run/a", "destination is missing"},
    {"socket:/run/a=", "destination is missing"},
    {"8080=", "destination is missing"},
    {"=80", "port is missing"},
    {"socket:run/a=80", "must begin with /"},
    {"unix:=80", "must begin with /"},
    {"8080=unix:x", "must begin with /"},
    {"unix:/=80", "must begin with /"},
    {"8080=:80", "host is missing"},
    {"8080=h:80:90", "destination \"h:80:90\""},
    {"8080=*", "destination \"*\""},
    {"unix:/run/a=h", "destination \"h\""},
};

static void
test_faults(void **state)
{
	struct tunnel_spec spec, before;
	struct err e;
	size_t i;

	(void)state;
	memset(&spec, 0x5a, sizeof spec);
	before = spec;
	for (i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		if (end_parse_tunnel(&spec, faults[i].text, &e))
			fail_msg("taken: %s", faults[i].text);
		assert_int_equal(e.code, ERR_USAGE);
		if (!strstr(e.text, faults[i].reason))
			fail_msg("%s: %s", faults[i].text, e.text);
		assert_null(strchr(e.text, '\x1b'));
		assert_memory_equal(&spec, &before, sizeof spec);
	}
}

static void
test_long(void **state)
{
	char text[2000];
	struct tunnel_spec spec;
	struct err e;
	size_t n;

	(void)state;
	for (n = 1; n < sizeof text; n++) {
		memset(text, 'a', n);
		text[n] = '\0';
		assert_false(end_parse_tunnel(&spec, text, &e));
		memcpy(text, "80=", n < 3 ? n : 3);
		if (n > 3 + HOST_MAX)
			assert_false(end_parse_tunnel(&spec, text, &e));
		memset(text, ':', n);
		assert_false(end_parse_tunnel(&spec, text, &e));
		memset(text, '[', n);
		assert_false(end_parse_tunnel(&spec, text, &e));
	}
	memset(text, 'a', sizeof text);
	memcpy(text, "80=unix:/", 9);
	text[8 + END_PATH_MAX] = '\0';
	assert_true(end_parse_tunnel(&spec, text, &e));
	text[8 + END_PATH_MAX] = 'a';
	text[9 + END_PATH_MAX] = '\0';
	assert_false(end_parse_tunnel(&spec, text, &e));
	assert_non_null(strstr(e.text, "longer than 107"));
}

/* What end_print writes, end_parse reads as the same. */
static void
test_round(void **state)
{
	char text[END_TEXT_MAX], again[END_TEXT_MAX];
	struct tunnel_spec spec;
	struct end x;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		assert_true(end_parse_tunnel(&spec, forms[i].text, &e));
		end_print(&spec.remote, text);
		assert_true(end_parse(&x, text, 0, &e));
		assert_string_equal(end_print(&x, again), text);
	}
}

static void
test_one(void **state)
{
	char text[END_TEXT_MAX];
	struct end x;
	struct err e;

	(void)state;
	assert_true(end_parse(&x, "db", 5432, &e));
	assert_string_equal(end_print(&x, text), "db:5432");
	assert_true(end_parse(&x, "80", 5432, &e));
	assert_string_equal(end_print(&x, text), "127.0.0.1:80");
	assert_true(end_parse(&x, "::1", 5432, &e));
	assert_string_equal(end_print(&x, text), "[::1]:5432");
	assert_true(end_parse(&x, "db:53/udp", 0, &e));
	assert_ptr_equal(x.kind, &end_kind_udp);
	assert_false(end_parse(&x, "db", 0, &e));
	assert_non_null(strstr(e.text, "\"db\""));
	assert_false(end_parse(&x, "*:80", 0, &e));
}

static const struct {
	const char *words[2];
	struct form form;
} console[] = {
    {{"8080", NULL}, {"", "127.0.0.1:8080", "127.0.0.1:8080", true}},
    {{"*:8080", NULL}, {"", "*:8080", "127.0.0.1:8080", true}},
    {{"8080", "80"}, {"", "127.0.0.1:8080", "127.0.0.1:80", false}},
    {{"8080", "db:80"}, {"", "127.0.0.1:8080", "db:80", false}},
    {{"8080", "db"}, {"", "127.0.0.1:8080", "db:8080", false}},
    {{"[::1]:8080", "[::1]:80"}, {"", "[::1]:8080", "[::1]:80", false}},
    {{"8080", "unix:/run/x"}, {"", "127.0.0.1:8080", "unix:/run/x", false}},
    {{"unix:/run/x", "80"}, {"", "unix:/run/x", "127.0.0.1:80", false}},
    {{"53/udp", NULL}, {"", "127.0.0.1:53/udp", "127.0.0.1:53/udp", true}},
    {{"53/udp", "8.8.8.8:53"},
        {"", "127.0.0.1:53/udp", "8.8.8.8:53/udp", false}},
    {{"53", "8.8.8.8:53/udp"},
        {"", "127.0.0.1:53/udp", "8.8.8.8:53/udp", false}},
};

static void
test_console(void **state)
{
	struct tunnel_spec spec;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof console / sizeof console[0]; i++) {
		if (!end_parse_console(
		        &spec, console[i].words[0], console[i].words[1], &e))
			fail_msg("%s: %s", console[i].words[0], e.text);
		check(&console[i].form, &spec);
	}
	assert_false(end_parse_console(&spec, "host", NULL, &e));
	assert_false(end_parse_console(&spec, "8080:h:80", NULL, &e));
	assert_false(end_parse_console(&spec, "8080", "", &e));
	assert_false(end_parse_console(&spec, "0", NULL, &e));
	assert_false(end_parse_console(&spec, "53/udp", "unix:/x", &e));
	assert_non_null(strstr(e.text, "/udp"));
	assert_false(end_parse_console(&spec, "unix:/x", "53/udp", &e));
}

static void
test_bind(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *first;
		const char *second;
	} rows[] = {
	    {"80", 1, "127.0.0.1:80", NULL},
	    {"*:80", 2, "[::]:80", "0.0.0.0:80"},
	    {"LocalHost:80", 2, "127.0.0.1:80", "[::1]:80"},
	    {"[::1]:80", 1, "[::1]:80", NULL},
	    {"unix:/run/x=1", 1, "unix:/run/x", NULL},
	};
	struct addr addrs[END_BIND_MAX];
	char text[ADDR_TEXT_MAX];
	struct tunnel_spec spec;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_true(end_parse_tunnel(&spec, rows[i].text, &e));
		assert_int_equal(
		    end_bind_addrs(&spec.local, addrs, &e), rows[i].n);
		assert_string_equal(addr_print(&addrs[0], text), rows[i].first);
		if (rows[i].n == 2)
			assert_string_equal(
			    addr_print(&addrs[1], text), rows[i].second);
	}
	assert_true(end_parse(&spec.local, "name:80", 0, &e));
	assert_int_equal(end_bind_addrs(&spec.local, addrs, &e), 0);
	assert_non_null(strstr(e.text, "name"));
}

static void
test_kinds(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; end_kind_at(i); i++) {
		assert_non_null(end_kind_at(i)->name);
		assert_non_null(end_kind_at(i)->form);
		assert_non_null(end_kind_at(i)->help);
	}
	assert_int_equal(i, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forms),
	    cmocka_unit_test(test_local),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_long),
	    cmocka_unit_test(test_round),
	    cmocka_unit_test(test_one),
	    cmocka_unit_test(test_console),
	    cmocka_unit_test(test_bind),
	    cmocka_unit_test(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
