/* SPDX-License-Identifier: MIT
 *
 * Policy decisions, most of them as a table: rules, a request, the answer. The
 * interesting ones are the tricks with addresses.
 */
#include "ends/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/addr.h"
#include "util/err.h"
#include "util/mem.h"

static struct policy *
parse(const char *text)
{
	struct err e;
	struct policy *p = policy_parse(text, strlen(text), "p.txt", &e);

	if (!p)
		fail_msg("%s", e.text);
	return p;
}

/* at: "IP", or "/path" of a unix socket. host: NULL for the IP itself. */
static bool
ask(const struct policy *p, const char *user, enum policy_kind kind,
    const char *host, const char *at, uint16_t port, bool listen,
    struct err *why)
{
	struct policy_request r = {.user = user,
	    .kind = kind,
	    .listen = listen,
	    .host = host ? host : at,
	    .port = port};
	char text[ADDR_TEXT_MAX];
	struct addr a;

	if (kind == POLICY_UNIX) {
		snprintf(text, sizeof text, "unix:%s", at);
		assert_true(addr_parse(&a, text, 0, NULL));
		r.host = NULL;
	} else {
		assert_true(addr_from_ip(&a, at, port));
	}
	r.addr = &a;
	return policy_decide(p, &r, why);
}

static bool
may_tcp(const struct policy *p, const char *user, const char *host,
    const char *ip, uint16_t port)
{
	return ask(p, user, POLICY_TCP, host, ip, port, false, NULL);
}

struct row {
	const char *rules; /* of "user *" */
	const char *host;  /* NULL: the IP */
	const char *ip;
	uint16_t port;
	bool allowed;
};

static const struct row rows[] = {
    /* hosts */
    {"allow tcp db.example.com 5432", "db.example.com", "10.0.0.1", 5432, true},
    {"allow tcp db.example.com 5432", "DB.Example.COM.", "10.0.0.1", 5432,
        true},
    {"allow tcp DB.example.com. 5432", "db.example.com", "10.0.0.1", 5432,
        true},
    {"allow tcp db.example.com 5432", "db.example.com", "10.0.0.1", 5433,
        false},
    {"allow tcp db.example.com 5432", "xdb.example.com", "10.0.0.1", 5432,
        false},
    {"allow tcp db.example.com 5432", "db.example.com.evil", "10.0.0.1", 5432,
        false},
    {"allow tcp db.example.com 5432", NULL, "10.0.0.1", 5432, false},
    {"allow tcp db.example.com 5432", "", "10.0.0.1", 5432, false},
    /* suffixes */
    {"allow tcp *.example.com 80", "a.example.com", "10.0.0.1", 80, true},
    {"allow tcp *.example.com 80", "a.b.EXAMPLE.com", "10.0.0.1", 80, true},
    {"allow tcp *.example.com 80", "example.com", "10.0.0.1", 80, false},
    {"allow tcp *.example.com 80", ".example.com", "10.0.0.1", 80, false},
    {"allow tcp *.example.com 80", "aexample.com", "10.0.0.1", 80, false},
    {"allow tcp *.example.com 80", "a.example.com", "127.0.0.1", 80, false},
    {"allow tcp *.example.com 80", "a.example.com", "::1", 80, false},
    {"allow tcp *.example.com 80", "a.example.com", "::ffff:127.0.0.1", 80,
        false},
    {"allow tcp *.example.com 80", "a.example.com", "0.0.0.0", 80, false},
    {"allow tcp *.example.com 80", "a.example.com", "64:ff9b::7f00:1", 80,
        false},
    {"allow tcp localhost 80", "localhost", "127.0.0.1", 80, true},
    {"allow tcp *.a.b 80\nallow tcp 127.0.0.1 80", "x.a.b", "127.0.0.1", 80,
        true},
    /* a name that points into a denied block */
    {"allow tcp *.example.com *\ndeny tcp 10.0.0.0/8 *", "a.example.com",
        "10.1.2.3", 80, false},
    {"allow tcp *.example.com *\ndeny tcp 10.0.0.0/8 *", "a.example.com",
        "11.1.2.3", 80, true},
    {"allow tcp *.example.com *\ndeny tcp 10.0.0.0/8 *", "a.example.com",
        "::ffff:10.1.2.3", 80, false},
    {"allow tcp * *\ndeny tcp 10.0.0.0/8 *", NULL, "64:ff9b::a01:203", 80,
        false},
    {"allow tcp * *\ndeny tcp 10.0.0.0/8 *", NULL, "2002:a01:203::1", 80,
        false},
    {"allow tcp * *\ndeny tcp 10.0.0.0/8 *", NULL, "2003:a01:203::1", 80, true},
    {"allow tcp 10.0.0.0/8 *", NULL, "64:ff9b::a01:203", 80, false},
    {"allow tcp * *\ndeny tcp bad.example.com *", "BAD.example.com", "10.1.2.3",
        80, false},
    {"allow tcp * *\ndeny tcp *.bad.com *", "x.bad.com", "10.1.2.3", 80, false},
    /* deny wins wherever it stands */
    {"deny tcp 10.0.0.1 22\nallow tcp * *", NULL, "10.0.0.1", 22, false},
    {"deny tcp 10.0.0.1 22\nallow tcp * *", NULL, "10.0.0.1", 23, true},
    {"deny * * 25\nallow tcp * *", NULL, "10.0.0.1", 25, false},
    /* blocks */
    {"allow tcp 10.1.0.0/16 *", NULL, "10.1.255.255", 1, true},
    {"allow tcp 10.1.0.0/16 *", NULL, "10.2.0.0", 1, false},
    {"allow tcp 0.0.0.0/0 *", NULL, "8.8.8.8", 1, true},
    {"allow tcp 0.0.0.0/0 *", NULL, "2001:db8::1", 1, false},
    {"allow tcp 2001:db8::/32 *", NULL, "2001:db8:1::1", 1, true},
    {"allow tcp [2001:db8::]/32 *", NULL, "2001:db9::1", 1, false},
    {"allow tcp [::1] *", NULL, "::1", 1, true},
    {"allow tcp 127.0.0.0/8 *", NULL, "127.8.0.1", 1, true},
    {"allow tcp 127.0.0.1 *", "127.0.0.1", "0.0.0.0", 1, true},
    {"allow tcp * *\ndeny tcp 127.0.0.0/8 *", NULL, "0.0.0.0", 1, false},
    {"allow tcp * *\ndeny tcp ::1 *", NULL, "::", 1, false},
    {"allow tcp * *\ndeny tcp 127.0.0.0/8 *", NULL, "::ffff:0.0.0.0", 1, false},
    /* ports */
    {"allow tcp * 80,443,8000-8080", NULL, "1.1.1.1", 443, true},
    {"allow tcp * 80,443,8000-8080", NULL, "1.1.1.1", 8000, true},
    {"allow tcp * 80,443,8000-8080", NULL, "1.1.1.1", 8080, true},
    {"allow tcp * 80,443,8000-8080", NULL, "1.1.1.1", 8081, false},
    {"allow tcp * 1-65535", NULL, "1.1.1.1", 65535, true},
    /* ranges that must be named */
    {"allow tcp * *", NULL, "169.254.169.254", 80, false},
    {"allow tcp * *", NULL, "169.254.1.1", 80, false},
    {"allow tcp * *", NULL, "::ffff:169.254.169.254", 80, false},
    {"allow tcp * *", NULL, "64:ff9b::a9fe:a9fe", 80, false},
    {"allow tcp * *", NULL, "2002:a9fe:a9fe::", 80, false},
    {"allow tcp * *", NULL, "fe80::1", 80, false},
    {"allow tcp * *", NULL, "febf::1", 80, false},
    {"allow tcp * *", NULL, "fec0::1", 80, true},
    {"allow tcp * *", NULL, "fd00:ec2::254", 80, false},
    {"allow tcp * *", NULL, "fd00:ec2::253", 80, true},
    {"allow tcp * *", NULL, "fd20:ce::254", 80, false},
    {"allow tcp * *", NULL, "168.63.129.16", 80, false},
    {"allow tcp * *", NULL, "100.100.100.200", 80, false},
    {"allow tcp * *", NULL, "192.0.0.192", 80, false},
    {"allow tcp * *", NULL, "224.0.0.1", 80, false},
    {"allow tcp * *", NULL, "255.255.255.255", 80, false},
    {"allow tcp * *", NULL, "ff02::1", 80, false},
    {"allow tcp 0.0.0.0/0 *", NULL, "169.254.169.254", 80, false},
    {"allow tcp 169.0.0.0/8 *", NULL, "169.254.1.1", 80, false},
    {"allow tcp 169.254.0.0/16 *", NULL, "169.254.1.1", 80, true},
    {"allow tcp 169.254.1.0/24 *", NULL, "169.254.1.1", 80, true},
    {"allow tcp 169.254.0.0/16 *", NULL, "169.254.169.254", 80, false},
    {"allow tcp 169.254.169.254 80", NULL, "169.254.169.254", 80, true},
    {"allow tcp 169.254.169.254 80", NULL, "169.254.169.254", 81, false},
    {"allow tcp fe80::/10 *", NULL, "fe80::1", 80, true},
    {"allow tcp fe80::/9 *", NULL, "fe80::1", 80, false},
    {"allow tcp fd00:ec2::254 80", NULL, "fd00:ec2::254", 80, true},
    {"allow tcp meta.internal *", "meta.internal", "169.254.169.254", 80,
        false},
    {"allow tcp meta.internal *\nallow tcp 169.254.169.254 80", "meta.internal",
        "169.254.169.254", 80, true},
    {"allow tcp 64:ff9b::a9fe:a9fe *", NULL, "64:ff9b::a9fe:a9fe", 80, true},
    {"allow tcp 64:ff9b::/96 *", NULL, "64:ff9b::a9fe:a9fe", 80, false},
    /* other kinds say nothing about tcp */
    {"allow udp * *", NULL, "1.1.1.1", 80, false},
    {"allow unix *", NULL, "1.1.1.1", 80, false},
    {"allow listen tcp * *", NULL, "1.1.1.1", 80, false},
    {"allow * * *", NULL, "1.1.1.1", 80, true},
    {"allow tcp * *\ndeny listen tcp * *", NULL, "1.1.1.1", 80, true},
    /* nothing allows nothing */
    {"", NULL, "1.1.1.1", 80, false},
    {"deny tcp 1.1.1.1 80", NULL, "1.1.1.1", 81, false},
};

static void
test_rows(void **state)
{
	char text[512];
	const struct row *r;
	struct policy *p;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		r = &rows[i];
		snprintf(text, sizeof text, "user *\n%s\n", r->rules);
		p = parse(text);
		if (may_tcp(p, "alice", r->host, r->ip, r->port) != r->allowed)
			fail_msg("row %zu: %s -> %s %s", i, r->rules, r->ip,
			    r->allowed ? "is denied" : "is allowed");
		policy_unref(p);
	}
}

static void
test_users(void **state)
{
	struct policy *p = parse("user alice \"bob smith\" # two\n"
	                         "allow tcp 10.0.0.1 *\n"
	                         "user carol\n"
	                         "allow tcp 10.0.0.2 *\n"
	                         "user *\n"
	                         "allow tcp 10.0.0.3 *\n"
	                         "deny tcp * 25\n"
	                         "user alice\n"
	                         "allow tcp 10.0.0.4 *\n"
	                         "deny tcp 10.0.0.3 22\n"
	                         "user \"*\"\n"
	                         "allow tcp 10.0.0.5 *\n");

	(void)state;
	assert_int_equal(policy_rules(p), 7);
	assert_true(may_tcp(p, "alice", NULL, "10.0.0.1", 80));
	assert_true(may_tcp(p, "bob smith", NULL, "10.0.0.1", 80));
	assert_false(may_tcp(p, "bob", NULL, "10.0.0.1", 80));
	assert_false(may_tcp(p, "carol", NULL, "10.0.0.1", 80));
	assert_true(may_tcp(p, "carol", NULL, "10.0.0.2", 80));
	assert_false(may_tcp(p, "Carol", NULL, "10.0.0.2", 80));
	assert_false(may_tcp(p, "alice", NULL, "10.0.0.2", 80));
	assert_true(may_tcp(p, "dave", NULL, "10.0.0.3", 80));
	assert_true(may_tcp(p, NULL, NULL, "10.0.0.3", 80));
	assert_false(may_tcp(p, NULL, NULL, "10.0.0.1", 80));
	assert_false(may_tcp(p, "carol", NULL, "10.0.0.2", 25));
	assert_true(may_tcp(p, "alice", NULL, "10.0.0.4", 80));
	assert_false(may_tcp(p, "alice", NULL, "10.0.0.3", 22));
	assert_true(may_tcp(p, "carol", NULL, "10.0.0.3", 22));
	/* The quoted star is a name. */
	assert_false(may_tcp(p, "alice", NULL, "10.0.0.5", 80));
	assert_true(may_tcp(p, "*", NULL, "10.0.0.5", 80));
	policy_unref(p);
}

static bool
may_unix(const struct policy *p, const char *path)
{
	return ask(p, "a", POLICY_UNIX, NULL, path, 0, false, NULL);
}

static void
test_unix(void **state)
{
	struct policy *p = parse("user *\n"
	                         "allow unix /run/db.sock\n"
	                         "allow unix unix:/run/app/\n"
	                         "deny unix /run/app/admin\n"
	                         "allow tcp * *\n");

	(void)state;
	assert_true(may_unix(p, "/run/db.sock"));
	assert_false(may_unix(p, "/run/db.sock2"));
	assert_false(may_unix(p, "/run//db.sock"));
	assert_false(may_unix(p, "/run/./db.sock"));
	assert_true(may_unix(p, "/run/app/x"));
	assert_false(may_unix(p, "/run/app/admin"));
	assert_false(may_unix(p, "/run/app//admin"));
	assert_false(may_unix(p, "/run/app/x/y"));
	assert_false(may_unix(p, "/run/app/"));
	assert_false(may_unix(p, "/run/app/.."));
	assert_false(may_unix(p, "/run/app/../docker.sock"));
	assert_false(may_unix(p, "/run/docker.sock"));
	policy_unref(p);
	p = parse("user *\nallow unix *\ndeny unix /run/docker.sock\n");
	assert_true(may_unix(p, "/run/x"));
	assert_true(may_unix(p, "/run/..."));
	assert_false(may_unix(p, "/run/docker.sock"));
	assert_false(may_unix(p, "/run//docker.sock"));
	assert_false(may_unix(p, "/x/../run/docker.sock"));
	policy_unref(p);
	p = parse("user *\nallow * * *\n");
	assert_false(may_unix(p, "/run/x"));
	policy_unref(p);
}

static void
test_udp_and_listen(void **state)
{
	struct policy *p = parse("user *\n"
	                         "allow udp 10.0.0.1 53\n"
	                         "allow listen tcp 127.0.0.1 8000-8999\n"
	                         "allow listen tcp 0.0.0.0 9000\n");

	(void)state;
	assert_true(ask(p, "a", POLICY_UDP, NULL, "10.0.0.1", 53, false, NULL));
	assert_false(
	    ask(p, "a", POLICY_TCP, NULL, "10.0.0.1", 53, false, NULL));
	assert_true(
	    ask(p, "a", POLICY_TCP, NULL, "127.0.0.1", 8000, true, NULL));
	assert_false(
	    ask(p, "a", POLICY_TCP, NULL, "127.0.0.1", 8000, false, NULL));
	/* All addresses are not loopback when one listens. */
	assert_false(
	    ask(p, "a", POLICY_TCP, NULL, "0.0.0.0", 8000, true, NULL));
	assert_true(ask(p, "a", POLICY_TCP, NULL, "0.0.0.0", 9000, true, NULL));
	policy_unref(p);
}

static void
test_no_file(void **state)
{
	(void)state;
	assert_true(may_tcp(NULL, "a", NULL, "127.0.0.1", 1));
	assert_true(may_tcp(NULL, NULL, "x.example", "8.8.8.8", 1));
	assert_true(may_unix(NULL, "/run/x"));
	assert_false(may_unix(NULL, "/run/../x"));
	assert_false(may_tcp(NULL, "a", NULL, "169.254.169.254", 80));
	assert_false(may_tcp(NULL, "a", "m.example", "fe80::1", 80));
	assert_false(may_tcp(NULL, "a", NULL, "64:ff9b::a9fe:a9fe", 80));
	assert_false(
	    ask(NULL, "a", POLICY_TCP, NULL, "127.0.0.1", 80, true, NULL));
}

/* What cannot be judged is denied, and nothing falls over. */
static void
test_senseless(void **state)
{
	struct policy *p = parse("user *\nallow * * *\nallow unix *\n");
	struct policy_request r = {.user = "a", .kind = POLICY_TCP};
	char host[HOST_MAX + 2];
	struct addr a;
	struct err e;

	(void)state;
	assert_false(policy_decide(p, &r, &e));
	memset(&a, 0, sizeof a);
	r.addr = &a;
	assert_false(policy_decide(p, &r, &e));
	assert_false(policy_decide(NULL, &r, NULL));
	assert_true(addr_from_ip(&a, "1.1.1.1", 1));
	assert_true(policy_decide(p, &r, &e));
	r.kind = (enum policy_kind)7;
	assert_false(policy_decide(p, &r, &e));
	r.kind = POLICY_UNIX;
	assert_false(policy_decide(p, &r, &e));
	r.kind = POLICY_TCP;
	memset(host, 'a', sizeof host - 1);
	host[sizeof host - 1] = '\0';
	r.host = host;
	assert_false(policy_decide(p, &r, &e));
	assert_true(addr_parse(&a, "unix:/run/x", 0, NULL));
	r.host = "x";
	assert_false(policy_decide(p, &r, &e));
	policy_unref(p);
}

static void
test_reasons(void **state)
{
	struct policy *p =
	    parse("user *\nallow tcp * *\n\ndeny tcp 10.0.0.0/8 22\n");
	struct err e;

	(void)state;
	assert_false(ask(
	    p, "alice", POLICY_TCP, "db.example", "10.0.0.1", 22, false, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_string_equal(e.text,
	    "policy refuses user alice tcp db.example port 22 (10.0.0.1:22): "
	    "denied by a rule (p.txt:4)");
	policy_unref(p);
	p = parse("user bob\nallow tcp * *\n");
	assert_false(ask(p, NULL, POLICY_TCP, NULL, "::1", 22, false, &e));
	assert_non_null(strstr(e.text, "anonymous"));
	assert_non_null(strstr(e.text, "no rule allows it"));
	assert_false(ask(p, "a\x1b[0m", POLICY_TCP, "h", "::1", 22, false, &e));
	assert_null(strchr(e.text, '\x1b'));
	assert_false(
	    ask(p, "bob", POLICY_TCP, "m", "169.254.169.254", 80, false, &e));
	assert_non_null(strstr(e.text, "metadata"));
	assert_false(ask(p, "bob", POLICY_UNIX, NULL, "/x", 0, false, &e));
	assert_non_null(strstr(e.text, "unix:/x"));
	policy_unref(p);
}

static void
test_special(void **state)
{
	struct addr a;

	(void)state;
	assert_true(addr_from_ip(&a, "::ffff:169.254.0.1", 1));
	assert_true(policy_is_special(&a));
	assert_true(addr_from_ip(&a, "169.253.0.1", 1));
	assert_false(policy_is_special(&a));
	assert_true(addr_parse(&a, "unix:/run/x", 0, NULL));
	assert_false(policy_is_special(&a));
}

struct fault {
	const char *text;
	const char *place;
	const char *reason;
};

static const struct fault faults[] = {
    {"allow tcp * *", "p.txt:1: ", "before the first"},
    {"user a\n\nallow tcp *", "p.txt:3: ", "port"},
    {"user a\nallow tcp", "p.txt:2: ", "destination is missing"},
    {"user a\nallow", "p.txt:2: ", "kind"},
    {"user a\nallow sctp * *", "p.txt:2: ", "\"sctp\" is no kind"},
    {"user a\nallow tcp * * *", "p.txt:2: ", "too many words"},
    {"user a\nallow unix /x 5", "p.txt:2: ", "too many words"},
    {"user a\nallow unix x", "p.txt:2: ", "absolute"},
    {"user a\nallow unix /a/../b", "p.txt:2: ", "absolute"},
    {"user a\nallow unix /a//b", "p.txt:2: ", "absolute"},
    {"user a\nallow unix /", "p.txt:2: ", "absolute"},
    {"user", "p.txt:1: ", "missing"},
    {"user \"\"", "p.txt:1: ", "empty"},
    {"user \"a", "p.txt:1: ", "quote"},
    {"\"user a", "p.txt:1: ", "quote"},
    {"user a\nallow tcp \"x", "p.txt:2: ", "quote"},
    {"permit tcp * *", "p.txt:1: ", "\"permit\""},
    {"user a\nallow tcp 10.0.0.1/8 *", "p.txt:2: ", "bits set"},
    {"user a\nallow tcp 10.0.0.0/33 *", "p.txt:2: ", "prefix length"},
    {"user a\nallow tcp 10.0.0.0/ *", "p.txt:2: ", "prefix length"},
    {"user a\nallow tcp 10.0.0.0/08 *", "p.txt:2: ", "prefix length"},
    {"user a\nallow tcp 2001:db8::/129 *", "p.txt:2: ", "prefix length"},
    {"user a\nallow tcp 10.0.0.256 *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp 127.1 *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp 0x7f000001 *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp [10.0.0.1] *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp ex*mple.com *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp *.*.com *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp *. *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp .com *", "p.txt:2: ", "no host name"},
    {"user a\nallow tcp ::ffff:10.0.0.0/104 *", "p.txt:2: ", "IPv4"},
    {"user a\nallow tcp 0.0.0.0 *", "p.txt:2: ", "loopback"},
    {"user a\nallow tcp :: *", "p.txt:2: ", "loopback"},
    {"user a\nallow tcp * 0", "p.txt:2: ", "no port"},
    {"user a\nallow tcp * 65536", "p.txt:2: ", "no port"},
    {"user a\nallow tcp * 80,", "p.txt:2: ", "no port"},
    {"user a\nallow tcp * 90-80", "p.txt:2: ", "no port"},
    {"user a\nallow tcp * 80-", "p.txt:2: ", "no port"},
    {"user a\nallow tcp * http", "p.txt:2: ", "\"http\""},
    {"user a\nallow tcp * 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,"
     "20,21,22,23,24,25,26,27,28,29,30,31,32,33",
        "p.txt:2: ", "more than 32"},
    {"user a\nallow tcp\x1b * *", "p.txt:2: ", "control"},
};

static void
test_faults(void **state)
{
	const struct fault *f;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		f = &faults[i];
		e.code = ERR_NONE;
		if (policy_parse(f->text, strlen(f->text), "p.txt", &e))
			fail_msg("taken: %s", f->text);
		assert_int_equal(e.code, ERR_USAGE);
		if (strncmp(e.text, f->place, strlen(f->place)) != 0 ||
		    !strstr(e.text, f->reason))
			fail_msg("%s: %s", f->text, e.text);
	}
}

static void
test_bounds(void **state)
{
	char *text = mem_alloc(POLICY_FILE_MAX + 1);
	struct policy *p;
	struct err e;
	size_t n, i;

	(void)state;
	memset(text, ' ', POLICY_FILE_MAX + 1);
	assert_null(policy_parse(text, POLICY_FILE_MAX + 1, "p", &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	assert_null(policy_parse(text, POLICY_FILE_MAX, "p", &e));
	assert_int_equal(e.code, ERR_USAGE);
	n = (size_t)sprintf(text, "user *\n");
	for (i = 0; i < POLICY_RULES_MAX; i++)
		n += (size_t)sprintf(text + n, "allow tcp * 1\n");
	p = policy_parse(text, n, "p", &e);
	assert_non_null(p);
	assert_int_equal(policy_rules(p), POLICY_RULES_MAX);
	policy_unref(p);
	n += (size_t)sprintf(text + n, "allow tcp * 1\n");
	assert_null(policy_parse(text, n, "p", &e));
	assert_non_null(strstr(e.text, "more than 20000"));
	free(text);
}

static void
test_cut(void **state)
{
	static const char text[] =
	    "\xef\xbb\xbfuser \"a b\" *\r\nallow tcp [2001:db8::]/32 1,2-3\r\n"
	    "deny listen unix /run/x # y\nallow * *.a.b. *";
	struct policy *p;
	struct err e;
	size_t n;
	char *copy;

	(void)state;
	for (n = 0; n < sizeof text; n++) {
		copy = mem_alloc(n);
		memcpy(copy, text, n);
		e.code = ERR_NONE;
		p = policy_parse(copy, n, "p", &e);
		assert_true((p != NULL) == (e.code == ERR_NONE));
		policy_unref(p);
		free(copy);
	}
}

static void
test_load(void **state)
{
	char path[] = "/tmp/hyco-policy-XXXXXX";
	int fd = mkstemp(path);
	struct policy *p;
	struct err e;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "user *\nallow * * *\n", 19), 19);
	assert_int_equal(fchmod(fd, 0644), 0);
	p = policy_load(path, &e);
	assert_non_null(p);
	assert_ptr_equal(policy_ref(p), p);
	policy_unref(p);
	policy_unref(p);
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_null(policy_load(path, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "chmod o-w"));
	close(fd);
	unlink(path);
	assert_null(policy_load(path, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_null(policy_ref(NULL));
	policy_unref(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_users),
	    cmocka_unit_test(test_unix),
	    cmocka_unit_test(test_udp_and_listen),
	    cmocka_unit_test(test_no_file),
	    cmocka_unit_test(test_senseless),
	    cmocka_unit_test(test_reasons),
	    cmocka_unit_test(test_special),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
