/* SPDX-License-Identifier: MIT
 *
 * What people are told when a handshake is refused: code, hop, remedy, and
 * whose word it was (S4 to S7).
 */
#include "hc/hc_refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hc/hc_token.h"
#include "util/err.h"

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
#define DATE_S 784111777
#define TRACKING                                                               \
	". TrackingId:7d1b7bd2-1f9d-4f3c-8a24-b35a40ba2f69_G1, "               \
	"SystemTracker:sb://ns/p, Timestamp:2026-11-22T00:00:00"

static struct err
explain(enum hc_target_use use, int status, const char *reason,
    const char *date, int64_t now_s)
{
	struct hc_target t = {
	    .host = (char *)"ns",
	    .port = 443,
	    .path = (char *)"p",
	    .key_name = (char *)"rule",
	    .key = (char *)"secret",
	};
	const struct hc_refusal r = {use, &t, status, reason, date, now_s};
	struct err e;

	hc_refusal_explain(&r, &e);
	assert_int_equal(e.http_status, status);
	assert_non_null(strstr(e.text, "ns/p"));
	assert_null(strstr(e.text, "secret"));
	return e;
}

static void
test_codes(void **state)
{
	static const struct {
		int status;
		enum err_code code;
	} rows[] = {{401, ERR_AUTH}, {403, ERR_DENIED}, {404, ERR_UNREACHABLE},
	    {408, ERR_TIMEOUT}, {504, ERR_TIMEOUT}, {500, ERR_REFUSED},
	    {200, ERR_REFUSED}, {302, ERR_REFUSED}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_int_equal(
		    explain(HC_TARGET_SEND, rows[i].status, "", NULL, 0).code,
		    rows[i].code);
		/* A path without a listener may get one; a listener that is
		 * told 404 has no path. */
		assert_int_equal(
		    explain(HC_TARGET_LISTEN, rows[i].status, "x", NULL, 0)
		        .code,
		    rows[i].status == 404 ? ERR_NOT_FOUND : rows[i].code);
	}
	assert_int_equal(explain(HC_TARGET_SEND, 404,
	                     "Endpoint does not exist: p" TRACKING, NULL, 0)
	                     .code,
	    ERR_NOT_FOUND);
}

static void
test_remedies(void **state)
{
	static const struct {
		int status;
		const char *reason;
		const char *remedy;
	} rows[] = {
	    {401, "ns: token has an invalid signature" TRACKING,
	        "check the key"},
	    {401, "token is expired" TRACKING, "clocks"},
	    {401, "token names no such rule", "rule \"rule\""},
	    {401, "", "check the name"},
	    {403, "token is for another audience", "another path"},
	    {403, "InvalidAudience" TRACKING, "another path"},
	    {403, "token lacks the right", "the right Send"},
	    {404, "Endpoint does not exist: p" TRACKING, "no such hybrid"},
	    {404, "no listener is connected" TRACKING, "start hyco listen"},
	    {404, "Not Found", "or the path does not exist"},
	    {504, "", "in time"},
	    {503, "Service Unavailable", "try again"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct err e = explain(
		    HC_TARGET_SEND, rows[i].status, rows[i].reason, NULL, 0);

		if (!strstr(e.text, rows[i].remedy))
			fail_msg("%s", e.text);
		assert_memory_equal(e.text, "relay refused", 13);
		if (strstr(rows[i].reason, "TrackingId"))
			assert_non_null(strstr(e.text,
			    "(TrackingId:7d1b7bd2-1f9d-4f3c-8a24-b35a40ba2f69_"
			    "G1)"));
	}
}

/* S7: the listener's word is kept and named as such. */
static void
test_listener(void **state)
{
	struct err e =
	    explain(HC_TARGET_SEND, 401, "user or password\x01 wrong", NULL, 0);

	(void)state;
	assert_string_equal(e.text,
	    "the listener of ns/p refused: 401 user or password\\x01 wrong");
	assert_int_equal(e.code, ERR_AUTH);
	e = explain(HC_TARGET_SEND, 400, "Rejected by user code", NULL, 0);
	assert_memory_equal(e.text, "the listener", 12);
	e = explain(HC_TARGET_SEND, 502, "127.0.0.1:9: refused", NULL, 0);
	assert_memory_equal(e.text, "the listener", 12);
	/* A listener has no listener behind it. */
	e = explain(HC_TARGET_LISTEN, 403, "quota", NULL, 0);
	assert_memory_equal(e.text, "relay refused", 13);
}

/* The relay's own words for each verdict are never taken for a listener's. */
static void
test_own_words(void **state)
{
	struct hc_target t = {.host = (char *)"ns", .path = (char *)"p"};

	(void)state;
	for (int i = HC_TOKEN_MISSING; i < HC_TOKEN_OUTCOME_COUNT; i++) {
		const struct hc_refusal r = {HC_TARGET_SEND, &t,
		    hc_token_http_status(i), hc_token_reason(i), NULL, 0};
		struct err e;

		assert_false(hc_refusal_is_from_listener(&r));
		hc_refusal_explain(&r, &e);
	}
}

static void
test_clock(void **state)
{
	struct err e = explain(HC_TARGET_LISTEN, 401, "x", DATE, DATE_S + 7200);

	(void)state;
	assert_non_null(strstr(e.text, "ahead of the relay's"));
	e = explain(HC_TARGET_LISTEN, 401, "x", DATE, DATE_S - 3600);
	assert_non_null(strstr(e.text, "behind the relay's"));
	e = explain(HC_TARGET_LISTEN, 401, "x", DATE, DATE_S - 200);
	assert_null(strstr(e.text, "clock"));
	e = explain(HC_TARGET_LISTEN, 403, "x", DATE, DATE_S + 7200);
	assert_null(strstr(e.text, "clock"));
	e = explain(HC_TARGET_LISTEN, 401, "x", "yesterday", DATE_S);
	assert_null(strstr(e.text, "clock"));
	e = explain(HC_TARGET_LISTEN, 401, "x", "Sun, 06 anF 1994 08:49:37 GMT",
	    DATE_S);
	assert_null(strstr(e.text, "clock"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_codes),
	    cmocka_unit_test(test_remedies),
	    cmocka_unit_test(test_listener),
	    cmocka_unit_test(test_own_words),
	    cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
