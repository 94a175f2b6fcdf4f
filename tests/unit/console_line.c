/* SPDX-License-Identifier: MIT
 *
 * Lines of the console: quoting, limits, and that no line whatever leads out
 * of the struct.
 */
#include "cli/console_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/err.h"

struct row {
	const char *text;
	const char *words; /* joined by |; NULL: refused */
	const char *reason;
};

static const struct row rows[] = {
    {"", "", NULL},
    {"   \t ", "", NULL},
    {"list", "list", NULL},
    {"  tunnel\t8080   db:5432  ", "tunnel|8080|db:5432", NULL},
    {"a 'b c' d", "a|b c|d", NULL},
    {"a \"b 'c' \\\" \\\\ \\n\"", "a|b 'c' \" \\ \\n", NULL},
    {"a\\ b c", "a b|c", NULL},
    {"'' x", "|x", NULL},
    {"ab'c'\"d\"", "abcd", NULL},
    {"# all comment", "", NULL},
    {"list # rest", "list", NULL},
    {"a#b", "a#b", NULL},
    {"tunnel [::1]:80 [2001:db8::1]:443", "tunnel|[::1]:80|[2001:db8::1]:443",
        NULL},
    {"'open", NULL, "the ' at column 1 is not closed"},
    {"x \"open\\\"", NULL, "the \" at column 3 is not closed"},
    {"end\\", NULL, "column 4"},
    {"bell\a", NULL, "control byte"},
    {"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16", NULL},
    {"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", NULL, "16 words"},
};

static void
join(const struct console_line *line, char *out)
{
	*out = '\0';
	for (size_t i = 0; i < line->n; i++) {
		if (i > 0)
			strcat(out, "|");
		strcat(out, line->words[i]);
	}
}

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *r = &rows[i];
		struct console_line line;
		struct err e = {0};
		char joined[2 * CONSOLE_LINE_MAX];
		const bool ok =
		    console_line_parse(&line, r->text, strlen(r->text), &e);

		assert_int_equal(ok, r->words != NULL);
		if (!ok) {
			assert_int_equal(e.code, ERR_USAGE);
			assert_non_null(strstr(e.text, r->reason));
			continue;
		}
		join(&line, joined);
		assert_string_equal(joined, r->words);
		assert_null(line.words[line.n]);
	}
}

/* The longest line fits, with every blank a NUL; one byte more does not. */
static void
test_limits(void **state)
{
	char *text = malloc(CONSOLE_LINE_MAX + 1);
	struct console_line line;

	(void)state;
	memset(text, 'x', CONSOLE_LINE_MAX + 1);
	assert_true(console_line_parse(&line, text, CONSOLE_LINE_MAX, NULL));
	assert_int_equal(line.n, 1);
	assert_int_equal(strlen(line.words[0]), CONSOLE_LINE_MAX);
	assert_false(
	    console_line_parse(&line, text, CONSOLE_LINE_MAX + 1, NULL));
	assert_int_equal(line.n, 0);
	free(text);
}

/* A NUL inside is a control byte like others. */
static void
test_nul(void **state)
{
	struct console_line line;

	(void)state;
	assert_false(console_line_parse(&line, "a\0b", 3, NULL));
}

/* Every line cut at every place: words lie in the struct and are ended. */
static void
test_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const size_t n = strlen(rows[i].text);

		for (size_t cut = 0; cut <= n; cut++) {
			char *text = malloc(cut + 1);
			struct console_line line;

			memcpy(text, rows[i].text, cut);
			if (console_line_parse(&line, text, cut, NULL))
				for (size_t w = 0; w < line.n; w++)
					assert_true(
					    line.words[w] +
					        strlen(line.words[w]) <
					    line.text + sizeof line.text);
			free(text);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_nul),
	    cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
