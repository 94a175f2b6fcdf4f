/* SPDX-License-Identifier: MIT
 *
 * Log lines as they arrive at standard error, which each test turns into a
 * pipe: their shape, their escaping, and that no value can forge a line.
 */
#include "util/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char line[16384];
static int saved_stderr, reader;

static int
start_capture(void **state)
{
	int ends[2];

	(void)state;
	saved_stderr = dup(STDERR_FILENO);
	if (pipe(ends) != 0)
		return -1;
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	reader = ends[0];
	log_set_level(LOG_INFO);
	log_set_format(LOG_TEXT);
	return 0;
}

static int
stop_capture(void **state)
{
	(void)state;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(reader);
	return 0;
}

/* What was written since the last call, without the time. A mark behind it
 * makes sure that read never waits. */
static const char *
captured(void)
{
	ssize_t n;

	assert_int_equal(write(STDERR_FILENO, "#", 1), 1);
	n = read(reader, line, sizeof line - 1);
	assert_true(n > 0);
	line[n - 1] = '\0';
	if (n == 1)
		return "";
	if (line[0] == '{') {
		assert_memory_equal(line, "{\"time\":\"2", 10);
		assert_memory_equal(line + 32, "Z\",", 3);
		return line + 35;
	}
	assert_int_equal(line[10], 'T');
	assert_int_equal(line[23], 'Z');
	return line + 25;
}

static void
test_pairs(void **state)
{
	/* Volatile: else the compiler sees the NULL and warns. */
	const char *volatile nobody = NULL;

	(void)state;
	log_info("connection closed",
	    "id=%s user=%s up=%llu down=%zu n=%d u=%u l=%ld lu=%lu ll=%lld "
	    "c=%c",
	    "a1", "dave", 18446744073709551615ull, (size_t)7, -3, 4u, -5l, 6lu,
	    -8ll, 'x');
	assert_string_equal(captured(),
	    "info  connection closed id=a1 user=dave up=18446744073709551615 "
	    "down=7 n=-3 u=4 l=-5 lu=6 ll=-8 c=x\n");
	log_error("no pairs", NULL);
	assert_string_equal(captured(), "error no pairs\n");
	log_warn("mixed", "peer=%s:%d share=%d%% fixed=yes", "10.0.0.1", 80, 5);
	assert_string_equal(
	    captured(), "warn  mixed peer=10.0.0.1:80 share=5% fixed=yes\n");
	log_info("null", "who=%s", nobody);
	assert_string_equal(captured(), "info  null who=-\n");
}

static void
test_escaping(void **state)
{
	(void)state;
	log_info("x", "a=%s b=%s c=%s", "two words", "", "say \"hi\"");
	assert_string_equal(captured(),
	    "info  x a=\"two words\" b=\"\" c=\"say \\\"hi\\\"\"\n");
	log_info("x", "a=%s b=%s", "1\n2026 error forged k=v", "\x1b[2J\xff");
	assert_string_equal(captured(),
	    "info  x a=\"1\\x0a2026 error forged k=v\" "
	    "b=\"\\x1b[2J\\xff\"\n");
	log_info("x", "a=%s b=%s", "k=v", "C:\\dir");
	assert_string_equal(captured(), "info  x a=\"k=v\" b=\"C:\\\\dir\"\n");
}

static void
test_json(void **state)
{
	(void)state;
	log_set_format(LOG_JSON);
	log_info("connection closed", "id=%s up=%llu mix=%d-%d", "a\"1\\",
	    12ull, 1, 2);
	assert_string_equal(captured(),
	    "\"level\":\"info\",\"message\":\"connection closed\","
	    "\"id\":\"a\\\"1\\\\\",\"up\":12,\"mix\":\"1-2\"}\n");
	log_info("m", "a=%s b=%s", "x\ny\x1b\x7f", "J\xc3\xbcrgen\xc2\x9b");
	assert_string_equal(captured(), "\"level\":\"info\",\"message\":\"m\","
	                                "\"a\":\"x\\u000ay\\u001b\\u007f\","
	                                "\"b\":\"J\xc3\xbcrgen\\u009b\"}\n");
	log_info("m", "a=%s", "\xff\"");
	assert_string_equal(captured(),
	    "\"level\":\"info\",\"message\":\"m\",\"a\":\"\\\\xff\\\"\"}\n");
	log_info("m", NULL);
	assert_string_equal(
	    captured(), "\"level\":\"info\",\"message\":\"m\"}\n");
}

/* A value is cut; a pair that does not fit is left out whole and noted. */
static void
test_bounds(void **state)
{
	char big[5000];
	const char *text;

	(void)state;
	memset(big, 'v', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	log_info("m", "a=%s b=%d", big, 5);
	text = captured();
	assert_int_equal(strlen(text), strlen("info  m a= b=5\n") + 1024);
	assert_non_null(strstr(text, "v b=5\n"));
	memset(big, '\n', sizeof big - 1);
	log_info("m", "a=%s b=%s c=%d", big, big, 5);
	text = captured();
	assert_null(strstr(text, " b="));
	assert_null(strstr(text, " c="));
	assert_non_null(strstr(text, "\\x0a\" cut=true\n"));
	log_set_format(LOG_JSON);
	log_info("m", "a=%s b=%s", big, big);
	text = captured();
	assert_null(strstr(text, "\"b\""));
	assert_non_null(strstr(text, "\\u000a\",\"cut\":true}\n"));
}

static void
test_level(void **state)
{
	(void)state;
	assert_int_equal(log_get_level(), LOG_INFO);
	log_debug("not seen", NULL);
	assert_string_equal(captured(), "");
	log_set_level(LOG_DEBUG);
	errno = EAGAIN;
	log_debug("seen", "k=%d", 1);
	assert_int_equal(errno, EAGAIN);
	assert_string_equal(captured(), "debug seen k=1\n");
	log_set_level(LOG_ERROR);
	log_warn("not seen", NULL);
	assert_string_equal(captured(), "");
}

static void
around(bool before)
{
	assert_int_equal(write(STDERR_FILENO, before ? "<" : ">", 1), 1);
}

static void *
log_elsewhere(void *arg)
{
	log_info("other thread", NULL);
	return arg;
}

static void
test_around(void **state)
{
	pthread_t thread;
	ssize_t n;

	(void)state;
	log_set_around(around);
	log_info("m", NULL);
	n = read(reader, line, sizeof line - 1);
	assert_true(n > 2);
	line[n] = '\0';
	assert_int_equal(line[0], '<');
	assert_non_null(strstr(line, "info  m\n>"));
	assert_int_equal(pthread_create(&thread, NULL, log_elsewhere, NULL), 0);
	pthread_join(thread, NULL);
	assert_string_equal(captured(), "info  other thread\n");
	log_set_around(NULL);
	log_info("m", NULL);
	assert_string_equal(captured(), "info  m\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
	        test_pairs, start_capture, stop_capture),
	    cmocka_unit_test_setup_teardown(
	        test_escaping, start_capture, stop_capture),
	    cmocka_unit_test_setup_teardown(
	        test_json, start_capture, stop_capture),
	    cmocka_unit_test_setup_teardown(
	        test_bounds, start_capture, stop_capture),
	    cmocka_unit_test_setup_teardown(
	        test_level, start_capture, stop_capture),
	    cmocka_unit_test_setup_teardown(
	        test_around, start_capture, stop_capture),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
