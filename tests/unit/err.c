/* SPDX-License-Identifier: MIT
 *
 * The error value: filling, prefixing, cutting, and the table behind it.
 */
#include "util/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

static void
test_set(void **state)
{
	struct err e = {.http_status = 404};

	(void)state;
	assert_false(err_set(&e, ERR_AUTH, "token for %s: %d", "demo", 7));
	assert_int_equal(e.code, ERR_AUTH);
	assert_int_equal(e.http_status, 0);
	assert_string_equal(e.text, "token for demo: 7");
	assert_false(err_set(&e, ERR_TLS, "again: %s", e.text));
	assert_string_equal(e.text, "again: token for demo: 7");
	assert_false(err_set(NULL, ERR_AUTH, "nobody wants to know"));
}

static void
test_set_errno(void **state)
{
	static const struct {
		int number;
		enum err_code code;
	} rows[] = {
	    {ECONNREFUSED, ERR_REFUSED},
	    {ENETUNREACH, ERR_UNREACHABLE},
	    {EHOSTUNREACH, ERR_UNREACHABLE},
	    {ETIMEDOUT, ERR_TIMEOUT},
	    {ECONNRESET, ERR_RESET},
	    {EPIPE, ERR_RESET},
	    {EMFILE, ERR_SYSTEM},
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_false(
		    err_set_errno(&e, ERR_SYSTEM, rows[i].number, "connect"));
		assert_int_equal(e.code, rows[i].code);
	}
	assert_string_equal(e.text, "connect: Too many open files");
	assert_false(err_set_errno(&e, ERR_USAGE, ECONNREFUSED, "x %d", 5));
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(e.text, "x 5: Connection refused");
	assert_false(err_set_errno(NULL, ERR_SYSTEM, EPIPE, "nobody"));
}

static void
test_prefix(void **state)
{
	struct err e;

	(void)state;
	err_set(&e, ERR_TIMEOUT, "no answer");
	e.http_status = 504;
	assert_false(err_prefix(&e, "dial %s:%d", "relay.example", 443));
	assert_string_equal(e.text, "dial relay.example:443: no answer");
	assert_int_equal(e.code, ERR_TIMEOUT);
	assert_int_equal(e.http_status, 504);
	assert_false(err_prefix(NULL, "nobody"));
}

static void
test_long_text_is_cut(void **state)
{
	char text[2 * ERR_TEXT_MAX];
	struct err e;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	err_set(&e, ERR_SYSTEM, "%s", text);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	err_prefix(&e, "front");
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	assert_memory_equal(e.text, "front: xxx", 10);
	err_prefix(&e, "%s", text);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	err_set_errno(&e, ERR_SYSTEM, EPIPE, "%s", text);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	assert_int_equal(e.code, ERR_RESET);
}

static void
test_table(void **state)
{
	(void)state;
	for (int code = ERR_NONE; code < ERR_COUNT; code++) {
		assert_true(strlen(err_name((enum err_code)code)) > 0);
		assert_true(err_http_status((enum err_code)code) >= 200);
		if (code != ERR_NONE)
			assert_int_not_equal(
			    err_exit_status((enum err_code)code),
			    ERR_EXIT_DONE);
		for (int other = ERR_NONE; other < code; other++)
			assert_string_not_equal(err_name((enum err_code)code),
			    err_name((enum err_code)other));
	}
	assert_string_equal(err_name(ERR_TIMEOUT), "timeout");
	assert_true(err_is_transient(ERR_UNREACHABLE));
	assert_false(err_is_transient(ERR_AUTH));
	assert_int_equal(err_exit_status(ERR_USAGE), ERR_EXIT_USAGE);
	assert_int_equal(err_exit_status(ERR_DENIED), ERR_EXIT_AUTH);
	assert_int_equal(err_exit_status(ERR_REFUSED), ERR_EXIT_NETWORK);
	assert_int_equal(err_http_status(ERR_TIMEOUT), 504);
	assert_int_equal(err_http_status(ERR_DENIED), 403);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_set),
	    cmocka_unit_test(test_set_errno),
	    cmocka_unit_test(test_prefix),
	    cmocka_unit_test(test_long_text_is_cut),
	    cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
