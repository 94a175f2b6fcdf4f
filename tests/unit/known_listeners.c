/* SPDX-License-Identifier: MIT
 *
 * The memory of listeners: what is the same, what has changed and on which
 * line, files cut at every byte, several processes that add at once.
 */
#include "tunnel/known_listeners.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/err.h"
#include "util/mem.h"

#define A "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define B "sha256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
#define C "sha256:CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA"

static const char text[] = "# listeners I know\n"
                           "\n"
                           "ns.example/one " A "\n"
                           "  ns.example/two\t" B "   # the laptop\r\n"
                           "ns.example/two " A "\n"
                           "other.example/one " C;

static enum known_listeners_answer
ask(const char *where, const char *name, struct err *e)
{
	*e = (struct err){0};
	return known_listeners_search(
	    text, sizeof text - 1, "known", where, name, e);
}

static void
test_search(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(ask("ns.example/one", A, &e), KNOWN_LISTENERS_SAME);
	assert_int_equal(ask("NS.example/one", A, &e), KNOWN_LISTENERS_SAME);
	assert_int_equal(ask("ns.example/two", A, &e), KNOWN_LISTENERS_SAME);
	assert_int_equal(ask("ns.example/two", B, &e), KNOWN_LISTENERS_SAME);
	assert_int_equal(ask("other.example/one", C, &e), KNOWN_LISTENERS_SAME);
	assert_int_equal(e.code, ERR_NONE);
	assert_int_equal(ask("ns.example/One", A, &e), KNOWN_LISTENERS_UNKNOWN);
	assert_int_equal(ask("ns.example/on", A, &e), KNOWN_LISTENERS_UNKNOWN);
	assert_int_equal(ask("ns.exampl/one", A, &e), KNOWN_LISTENERS_UNKNOWN);
	assert_int_equal(e.code, ERR_NONE);
	assert_int_equal(ask("ns.example/one", B, &e), KNOWN_LISTENERS_CHANGED);
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "line 3 of known"));
	assert_non_null(strstr(e.text, "ns.example/one"));
	assert_int_equal(ask("ns.example/two", C, &e), KNOWN_LISTENERS_CHANGED);
	assert_non_null(strstr(e.text, "line 4 of known"));
}

/* A name that is a prefix, or is spelled in another case, is another one. */
static void
test_names(void **state)
{
	static const char *const bad[] = {
	    "ns/p\n",
	    "ns/p sha256:\n",
	    "ns/p " A "A\n",
	    "ns/p sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	    "ns/p sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
	    "ns/p sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+\n",
	    "ns/p SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	    "ns/p " A " more\n",
	    "ns/p " A " " B "\n",
	    "ns " A "\n",
	    "/p " A "\n",
	    "ns/ " A "\n",
	    "n\x01/p " A "\n",
	    A " ns/p\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct err e = {0};
		char *whole = mem_printf("# first\nns/q " A "\n%s", bad[i]);

		if (known_listeners_search(whole, strlen(whole), "known",
		        "ns/q", A, &e) != KNOWN_LISTENERS_FAULT)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(e.code, ERR_USAGE);
		assert_non_null(strstr(e.text, "known:3: "));
		free(whole);
	}
}

static void
test_bounds(void **state)
{
	char line[KNOWN_LISTENERS_LINE_MAX + 3];
	struct err e = {0};

	(void)state;
	memset(line, '#', sizeof line);
	assert_int_equal(known_listeners_search(line, KNOWN_LISTENERS_LINE_MAX,
	                     "known", "ns/p", A, &e),
	    KNOWN_LISTENERS_UNKNOWN);
	assert_int_equal(
	    known_listeners_search(
	        line, KNOWN_LISTENERS_LINE_MAX + 1, "known", "ns/p", A, &e),
	    KNOWN_LISTENERS_FAULT);
	assert_int_equal(
	    known_listeners_search("a\0b", 3, "known", "ns/p", A, &e),
	    KNOWN_LISTENERS_FAULT);
	memset(line, 'x', sizeof line);
	memcpy(line, "n/", 2);
	line[sizeof line - 1] = '\0';
	assert_false(known_listeners_is_place(line));
	assert_false(known_listeners_is_place("ns"));
	assert_false(known_listeners_is_place("ns/a b"));
	assert_false(known_listeners_is_place("ns/a\n"));
	assert_false(known_listeners_is_place("ns/#"));
	assert_false(known_listeners_is_place(""));
	assert_true(known_listeners_is_place("ns/a/b"));
}

/* Wherever the file is cut, nobody becomes known who was not, and a changed
 * identity is never taken for an unknown one while its line is whole. */
static void
test_cut(void **state)
{
	const char *first = strstr(text, "ns.example/one");
	size_t whole = (size_t)(strchr(first, '\n') - text);

	(void)state;
	for (size_t n = 0; n < sizeof text; n++) {
		struct err e;
		enum known_listeners_answer answer = known_listeners_search(
		    text, n, "known", "ns.example/one", B, &e);

		assert_int_not_equal(answer, KNOWN_LISTENERS_SAME);
		if (n >= whole)
			assert_int_not_equal(answer, KNOWN_LISTENERS_UNKNOWN);
		answer = known_listeners_search(
		    text, n, "known", "ns.example/one", A, &e);
		assert_int_not_equal(answer, KNOWN_LISTENERS_CHANGED);
	}
}

/* --- files --- */

static char *
new_file(const char *content)
{
	char *file = mem_strdup("/tmp/hyco-known-XXXXXX");
	int fd = mkstemp(file);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
	return file;
}

static void
assert_content(const char *file, const char *expected)
{
	char got[1024];
	FILE *f = fopen(file, "r");
	size_t n;

	assert_non_null(f);
	n = fread(got, 1, sizeof got - 1, f);
	got[n] = '\0';
	fclose(f);
	assert_string_equal(got, expected);
}

static void
test_add(void **state)
{
	char *file = new_file("");
	struct err e = {0};
	struct stat st;

	(void)state;
	unlink(file);
	umask(0);
	assert_int_equal(
	    known_listeners_find(file, "ns/p", A, &e), KNOWN_LISTENERS_UNKNOWN);
	assert_int_equal(access(file, F_OK), -1);
	assert_true(known_listeners_add(file, "ns/p", A, &e));
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(
	    known_listeners_find(file, "ns/p", A, &e), KNOWN_LISTENERS_SAME);
	assert_true(known_listeners_add(file, "ns/p", A, &e));
	assert_true(known_listeners_add(file, "ns/q", B, &e));
	assert_content(file, "ns/p " A "\nns/q " B "\n");
	assert_int_equal(
	    known_listeners_find(file, "ns/p", B, &e), KNOWN_LISTENERS_CHANGED);
	assert_false(known_listeners_add(file, "ns/p", B, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_false(known_listeners_add(file, "n s/p", B, &e));
	assert_int_equal(e.code, ERR_USAGE);
	assert_false(
	    known_listeners_add(file, "ns/r", "sha256:x\nns/p " B, &e));
	assert_content(file, "ns/p " A "\nns/q " B "\n");
	unlink(file);
	free(file);
}

/* The last line of a file that a person saved without its end stays whole. */
static void
test_add_behind_half_line(void **state)
{
	char *file = new_file("ns/p " A);
	struct err e;

	(void)state;
	assert_true(known_listeners_add(file, "ns/q", B, &e));
	assert_content(file, "ns/p " A "\nns/q " B "\n");
	unlink(file);
	free(file);
}

static void
test_bad_files(void **state)
{
	char *file = new_file("what is this\n");
	struct err e;

	(void)state;
	assert_int_equal(
	    known_listeners_find(file, "ns/p", A, &e), KNOWN_LISTENERS_FAULT);
	assert_false(known_listeners_add(file, "ns/p", A, &e));
	assert_content(file, "what is this\n");
	assert_int_equal(truncate(file, 0), 0);
	assert_int_equal(chmod(file, 0666), 0);
	assert_int_equal(
	    known_listeners_find(file, "ns/p", A, &e), KNOWN_LISTENERS_FAULT);
	assert_int_equal(e.code, ERR_DENIED);
	assert_int_equal(chmod(file, 0600), 0);
	assert_int_equal(
	    truncate(file, (off_t)KNOWN_LISTENERS_FILE_MAX + 1), 0);
	assert_int_equal(
	    known_listeners_find(file, "ns/p", A, &e), KNOWN_LISTENERS_FAULT);
	assert_int_equal(e.code, ERR_TOO_BIG);
	unlink(file);
	free(file);
	assert_int_equal(
	    known_listeners_find("/tmp", "ns/p", A, &e), KNOWN_LISTENERS_FAULT);
	assert_false(known_listeners_add("/nonexistent/known", "ns/p", A, &e));
}

/* Two answers of "yes" at once, for different identities of one path: one of
 * them is refused. */
static void
test_race(void **state)
{
	static const char *const names[] = {A, B, C};
	char *file = new_file("");
	unsigned good = 0;
	struct err e;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		if (fork() == 0)
			_exit(known_listeners_add(file, "ns/p", names[i], &e)
			          ? 0
			          : 1);
	for (size_t i = 0; i < 3; i++) {
		int status;

		assert_true(wait(&status) > 0);
		good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	assert_int_equal(good, 1);
	unlink(file);
	free(file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_search),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_add),
	    cmocka_unit_test(test_add_behind_half_line),
	    cmocka_unit_test(test_bad_files),
	    cmocka_unit_test(test_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
