/* SPDX-License-Identifier: MIT
 *
 * Addresses: what is read, what is refused, and that printing and reading
 * agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "net/addr.h"
#include "util/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr
addr(const char *text)
{
	struct addr a;
	struct err e = {0};

	if (!addr_parse(&a, text, 0, &e))
		fail_msg("%s: %s", text, e.text);
	return a;
}

static void
test_parse_and_print(void **state)
{
	static const struct {
		const char *text;
		uint16_t default_port;
		const char *printed;
	} good[] = {
	    {"1.2.3.4:80", 0, "1.2.3.4:80"},
	    {"1.2.3.4:0", 0, "1.2.3.4:0"},
	    {"0.0.0.0:65535", 0, "0.0.0.0:65535"},
	    {"1.2.3.4", 443, "1.2.3.4:443"},
	    {"[::1]:80", 0, "[::1]:80"},
	    {"[::1]", 443, "[::1]:443"},
	    {"[2001:DB8:0:0::5]:1", 0, "[2001:db8::5]:1"},
	    {"[::ffff:1.2.3.4]:9", 0, "[::ffff:1.2.3.4]:9"},
	    {"[fe80::1%lo]:80", 0, "[fe80::1%lo]:80"},
	    {"unix:/run/x.sock", 0, "unix:/run/x.sock"},
	    {"socket:/run/x.sock", 0, "unix:/run/x.sock"},
	    {"unix:relative", 0, "unix:relative"},
	};
	char out[ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct addr a, b;
		struct err e = {0};

		if (!addr_parse(&a, good[i].text, good[i].default_port, &e))
			fail_msg("%s: %s", good[i].text, e.text);
		assert_string_equal(addr_print(&a, out), good[i].printed);
		assert_true(addr_parse(&b, out, 0, &e));
		assert_true(addr_is_equal(&a, &b));
	}
}

static void
test_refused(void **state)
{
	static const char *const bad[] = {"", ":", ":80", "1.2.3.4", "[::1]",
	    "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:99999", "1.2.3.4:100000",
	    "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 1", "1.2.3.4:1 ",
	    "1.2.3.4:080", "1.2.3.4:0x50", " 1.2.3.4:80", "1.2.3:80",
	    "127.1:80", "0x7f.1:80", "0177.0.0.1:80", "1.2.3.04:80",
	    "1.2.3.256:80", "1.2.3.4.5:80", "2130706433:80", "localhost:80",
	    "::1:80", "[::1", "[::1]80", "[::1]x:80", "[]:80", "[1.2.3.4]:80",
	    "[:::1]:80", "[::1%]:80", "[fe80::1%nosuchinterface0]:80",
	    "[::1]]:80", "unix:", "socket:", "[::g]:80"};
	static const char *const bad_with_port[] = {
	    "::1", "localhost", "", "1.2.3.4:", "[::1]:", "1.2.3.4:x"};
	struct addr a;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct err e = {0};

		if (addr_parse(&a, bad[i], 0, &e))
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(e.code, ERR_USAGE);
		assert_true(e.text[0] != '\0');
	}
	for (size_t i = 0; i < COUNT(bad_with_port); i++)
		if (addr_parse(&a, bad_with_port[i], 443, NULL))
			fail_msg("\"%s\" was taken", bad_with_port[i]);
}

static void
test_unix_path_lengths(void **state)
{
	char text[256] = "unix:";
	char out[ADDR_TEXT_MAX];
	struct addr a;
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	(void)state;
	memset(text + 5, 'p', most);
	text[5 + most] = '\0';
	assert_true(addr_parse(&a, text, 0, NULL));
	assert_true(addr_is_unix(&a));
	assert_string_equal(addr_print(&a, out), text);
	assert_string_equal(addr_unix_path(&a), text + 5);
	assert_string_equal(addr_print_ip(&a, out), "");
	assert_int_equal(addr_port(&a), 0);
	addr_set_port(&a, 5);
	assert_string_equal(addr_unix_path(&a), text + 5);
	text[5 + most] = 'p';
	text[6 + most] = '\0';
	assert_false(addr_parse(&a, text, 0, NULL));
}

/* A path that fills sun_path need not be terminated in what accept gives. */
static void
test_unterminated_unix_path(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct addr a;

	(void)state;
	memset(sun.sun_path, 'q', sizeof(sun.sun_path));
	addr_from_sockaddr(&a, (struct sockaddr *)&sun, sizeof(sun));
	assert_int_equal(strlen(addr_unix_path(&a)), sizeof(sun.sun_path));
	addr_from_sockaddr(&a, (struct sockaddr *)&sun, sizeof(sa_family_t));
	assert_string_equal(addr_unix_path(&a), "");
}

static void
test_from_ip(void **state)
{
	struct addr a;
	char out[ADDR_TEXT_MAX];

	(void)state;
	assert_true(addr_from_ip(&a, "10.0.0.1", 7));
	assert_int_equal(addr_port(&a), 7);
	assert_true(addr_from_ip(&a, "::2", 8));
	assert_string_equal(addr_print_ip(&a, out), "::2");
	addr_set_port(&a, 9);
	assert_string_equal(addr_print(&a, out), "[::2]:9");
	assert_false(addr_from_ip(&a, "[::2]", 8));
	assert_int_equal(a.len, 0);
	assert_false(addr_from_ip(&a, "10.1", 8));
	assert_string_equal(addr_print(&a, out), "no address");
	assert_null(addr_unix_path(&a));
}

static void
test_unmap(void **state)
{
	struct addr a = addr("[::ffff:10.1.2.3]:80");
	struct addr b = addr("10.1.2.3:80");
	struct addr nat64 = addr("[64:ff9b::a01:203]:80");
	struct addr same = nat64;

	(void)state;
	assert_false(addr_is_equal(&a, &b));
	addr_unmap(&a);
	assert_true(addr_is_equal(&a, &b));
	addr_unmap(&nat64);
	assert_true(addr_is_equal(&nat64, &same));
}

static void
test_kinds(void **state)
{
	static const struct {
		const char *text;
		bool loopback, link_local, unspecified;
	} cases[] = {
	    {"127.0.0.1:1", true, false, false},
	    {"127.255.255.255:1", true, false, false},
	    {"128.0.0.0:1", false, false, false},
	    {"126.255.255.255:1", false, false, false},
	    {"[::1]:1", true, false, false},
	    {"[::2]:1", false, false, false},
	    {"[::ffff:127.0.0.1]:1", true, false, false},
	    {"169.254.169.254:1", false, true, false},
	    {"169.255.0.0:1", false, false, false},
	    {"[fe80::1]:1", false, true, false},
	    {"[febf::1]:1", false, true, false},
	    {"[fec0::1]:1", false, false, false},
	    {"[::ffff:169.254.0.1]:1", false, true, false},
	    {"0.0.0.0:1", false, false, true},
	    {"0.0.0.1:1", false, false, false},
	    {"[::]:1", false, false, true},
	    {"[::ffff:0.0.0.0]:1", false, false, true},
	    {"unix:/x", false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct addr a = addr(cases[i].text);

		if (addr_is_loopback(&a) != cases[i].loopback ||
		    addr_is_link_local(&a) != cases[i].link_local ||
		    addr_is_unspecified(&a) != cases[i].unspecified)
			fail_msg("%s", cases[i].text);
	}
}

static bool
is_in(const char *a, const char *net, unsigned bits)
{
	struct addr x, y;

	assert_true(addr_from_ip(&x, a, 1));
	assert_true(addr_from_ip(&y, net, 2));
	return addr_is_in(&x, &y, bits);
}

static void
test_is_in(void **state)
{
	(void)state;
	assert_true(is_in("10.1.2.3", "10.0.0.0", 8));
	assert_false(is_in("11.1.2.3", "10.0.0.0", 8));
	assert_true(is_in("11.1.2.3", "10.0.0.0", 7));
	assert_true(is_in("200.1.2.3", "10.0.0.0", 0));
	assert_true(is_in("10.0.0.1", "10.0.0.1", 32));
	assert_false(is_in("10.0.0.0", "10.0.0.1", 32));
	assert_true(is_in("10.0.0.0", "10.0.0.1", 31));
	assert_false(is_in("10.0.0.1", "10.0.0.1", 33));
	assert_false(is_in("::1", "10.0.0.1", 0));
	assert_true(is_in("2001:db8::1", "2001:db8::", 32));
	assert_false(is_in("2001:db9::1", "2001:db8::", 32));
	assert_true(is_in("::1", "::1", 128));
	assert_false(is_in("::1", "::", 128));
	assert_true(is_in("::1", "::", 127));
	assert_false(is_in("::1", "::", 129));
}

static void
test_equality(void **state)
{
	struct addr a = addr("10.0.0.1:80");
	struct addr b = addr("10.0.0.1:81");
	struct addr u = addr("unix:/a");
	struct addr v = addr("unix:/ab");
	struct addr s = addr("[fe80::1%lo]:80");
	struct addr t = addr("[fe80::1]:80");

	(void)state;
	assert_false(addr_is_equal(&a, &b));
	addr_set_port(&b, 80);
	assert_true(addr_is_equal(&a, &b));
	assert_false(addr_is_equal(&a, &u));
	assert_false(addr_is_equal(&u, &v));
	assert_true(addr_is_equal(&u, &u));
	assert_false(addr_is_equal(&s, &t));
}

static void
test_hostports(void **state)
{
	static const struct {
		const char *text;
		uint16_t default_port;
		const char *host;
		uint16_t port;
		const char *printed;
	} good[] = {
	    {"example.com:80", 0, "example.com", 80, "example.com:80"},
	    {"example.com", 443, "example.com", 443, "example.com:443"},
	    {"a_b-c.d.:1", 0, "a_b-c.d.", 1, "a_b-c.d.:1"},
	    {"host1:65535", 0, "host1", 65535, "host1:65535"},
	    {"3com.example:1", 0, "3com.example", 1, "3com.example:1"},
	    {"1.2.3.4:80", 0, "1.2.3.4", 80, "1.2.3.4:80"},
	    {"[::1]:80", 0, "::1", 80, "[::1]:80"},
	    {"[::1]", 5, "::1", 5, "[::1]:5"},
	    {"::1", 5, "::1", 5, "[::1]:5"},
	};
	static const char *const bad[] = {"", ":80", "a", "a:", "a:b:80",
	    "a b:80", " a:80", "a%b:80", "a/b:80", "a\n:80", "a@b:80", "[a]:80",
	    "[1.2.3.4]:80", "[::1%lo]:80", "::1:80", "a..b:80", ".a:80", ".:80",
	    "-a:80", "127.1:80", "0x7f000001:80", "2130706433:80",
	    "1.2.3.4.:80", "1.2.3.0x4:80", "a:65536", "a:080", "\xc3\xa9:80"};
	char out[HOSTPORT_TEXT_MAX];
	struct hostport h;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct err e = {0};

		if (!hostport_parse(&h, good[i].text, good[i].default_port, &e))
			fail_msg("%s: %s", good[i].text, e.text);
		assert_string_equal(h.host, good[i].host);
		assert_int_equal(h.port, good[i].port);
		assert_string_equal(hostport_print(&h, out), good[i].printed);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct err e = {0};

		if (hostport_parse(&h, bad[i], 0, &e))
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(e.code, ERR_USAGE);
	}
	assert_false(hostport_parse(&h, "::1", 0, NULL));
	assert_false(hostport_parse(&h, "fe80::1%lo", 5, NULL));
}

/* Four labels of 63 with their dots are 255; one more byte is too long. */
static void
test_long_hosts(void **state)
{
	char text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[63] = text[127] = text[191] = '.';
	text[255] = '\0';
	assert_int_equal(strlen(text), HOST_MAX);
	assert_true(host_is_valid(text));
	text[63] = 'a';
	assert_false(host_is_valid(text));
	text[63] = '.';
	text[255] = '.';
	text[256] = '\0';
	assert_false(host_is_valid(text));
	strcat(text, ":80");
	assert_false(hostport_parse(&(struct hostport){0}, text, 0, NULL));
}

/* Bytes of the user's never reach a terminal raw. */
static void
test_errors_are_printable(void **state)
{
	struct err e = {0};
	struct addr a;

	(void)state;
	assert_false(addr_parse(&a, "\x1b[31mred:80", 0, &e));
	assert_null(strchr(e.text, '\x1b'));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse_and_print),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_unix_path_lengths),
	    cmocka_unit_test(test_unterminated_unix_path),
	    cmocka_unit_test(test_from_ip),
	    cmocka_unit_test(test_unmap),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_is_in),
	    cmocka_unit_test(test_equality),
	    cmocka_unit_test(test_hostports),
	    cmocka_unit_test(test_long_hosts),
	    cmocka_unit_test(test_errors_are_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
