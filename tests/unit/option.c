/* SPDX-License-Identifier: MIT
 *
 * The option table is consistent in itself, and the parser behaves as
 * getopt_long does, wipes secrets and names what is wrong.
 */
#include "cli/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/err.h"
#include "util/mem.h"

#define WORDS_MAX 16

/* Words on the heap, so that what the parser overwrites can be looked at. */
struct line {
	int n;
	char *argv[WORDS_MAX];
};

static void
line_init(struct line *l, const char *text)
{
	l->n = 0;
	while (*text) {
		const size_t n = strcspn(text, " ");

		l->argv[l->n++] = mem_strndup(text, n);
		text += n + (text[n] == ' ');
	}
}

static void
line_fini(struct line *l)
{
	for (int i = 0; i < l->n; i++)
		free(l->argv[i]);
}

static bool
parse(struct option_set *s, enum option_command command, const char *text,
    struct err *e)
{
	struct line l;
	bool ok;

	line_init(&l, text);
	ok = option_parse(s, command, l.n, l.argv, e);
	line_fini(&l);
	return ok;
}

static void
test_table(void **state)
{
	(void)state;
	for (enum option_id a = 0; a < OPTION_COUNT; a++) {
		const struct option *o = &option_table[a];
		const bool is_flag =
		    o->type == OPTION_TYPE_FLAG || o->type == OPTION_TYPE_COUNT;

		assert_true(o->name || o->environment);
		assert_non_null(o->help);
		assert_int_not_equal(o->commands, 0);
		assert_true(!o->name || is_flag == (o->argument == NULL));
		assert_int_equal(
		    o->type == OPTION_TYPE_CHOICE, o->choices != NULL);
		for (enum option_id b = a + 1; b < OPTION_COUNT; b++) {
			const struct option *p = &option_table[b];

			assert_true(!o->name || !p->name ||
			            strcmp(o->name, p->name) != 0);
			assert_true(!o->letter || o->letter != p->letter ||
			            !(o->commands & p->commands));
		}
	}
}

static void
test_forms(void **state)
{
	static const char *const forms[] = {"-p x -v", "-px -v", "--path x -v",
	    "--path=x -v", "--pat x --verbose", "-v --pat=x", "-vp x", "-vpx"};

	(void)state;
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		struct option_set s;
		struct err e;

		assert_true(parse(&s, OPTION_COMMAND_CONNECT, forms[i], &e));
		assert_string_equal(option_get(&s, OPTION_PATH), "x");
		assert_int_equal(option_get_count(&s, OPTION_VERBOSE), 1);
		option_fini(&s);
	}
}

static void
test_operands(void **state)
{
	struct option_set s;
	struct err e;

	(void)state;
	assert_true(parse(
	    &s, OPTION_COMMAND_LISTEN, "host -v demo rule --users u key", &e));
	assert_int_equal(s.n_operands, 4);
	assert_string_equal(s.operands[0], "host");
	assert_string_equal(s.operands[3], "key");
	option_fini(&s);
	assert_true(parse(&s, OPTION_COMMAND_LISTEN, "-- -host --demo", &e));
	assert_int_equal(s.n_operands, 2);
	assert_string_equal(s.operands[0], "-host");
	option_fini(&s);
}

struct fault {
	enum option_command command;
	const char *text;
	const char *reason;
};

static const struct fault faults[] = {
    {OPTION_COMMAND_CONNECT, "--pathh x", "did you mean --path?"},
    {OPTION_COMMAND_CONNECT, "--nothing-like-it", "hyco connect --help"},
    {OPTION_COMMAND_CONNECT, "-Z", "unknown option -Z"},
    {OPTION_COMMAND_CONNECT, "--p x", "several"},
    {OPTION_COMMAND_CONNECT, "--path", "--path needs a value: PATH"},
    {OPTION_COMMAND_CONNECT, "-p", "--path needs a value"},
    {OPTION_COMMAND_CONNECT, "--path=", "--path: the value is empty"},
    {OPTION_COMMAND_CONNECT, "--verbose=yes", "takes no value"},
    {OPTION_COMMAND_CONNECT, "--mode tcp", "not one of auto|hyco|sample"},
    {OPTION_COMMAND_CONNECT, "--mode aut", "not one of auto|hyco|sample"},
    {OPTION_COMMAND_CONNECT, "--path a --path b", "twice"},
    {OPTION_COMMAND_CONNECT, "a b c d e", "\"e\" is one word too many"},
    {OPTION_COMMAND_TOKEN, "--ttl 0", "from 1 to 31536000"},
    {OPTION_COMMAND_TOKEN, "--ttl 1h", "from 1 to 31536000"},
    {OPTION_COMMAND_TOKEN, "--users f", "unknown option --users"},
    {OPTION_COMMAND_RELAY, "word", "one word too many"},
    {OPTION_COMMAND_COMPLETION, "", "too few words"},
};

static void
test_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		const struct fault *f = &faults[i];
		struct option_set s;
		struct err e = {0};

		assert_false(parse(&s, f->command, f->text, &e));
		assert_int_equal(e.code, ERR_USAGE);
		assert_non_null(strstr(e.text, f->reason));
		option_fini(&s);
	}
}

/* ps(1) shows argv: a secret there is gone after parsing, in every form. */
static void
test_secrets_are_wiped(void **state)
{
	static const char *const forms[] = {"-k s3cret", "-ks3cret",
	    "-vks3cret", "--key s3cret", "--key=s3cret", "ns path rule s3cret",
	    "-x Endpoint=sb://h/;SharedAccessKey=s3cret", "--token s3cret",
	    "--proxy http://u:s3cret@h:1"};

	(void)state;
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		struct option_set s;
		struct line l;

		line_init(&l, forms[i]);
		assert_true(option_parse(
		    &s, OPTION_COMMAND_CONNECT, l.n, l.argv, NULL));
		for (int w = 0; w < l.n; w++)
			assert_null(strstr(l.argv[w], "s3cret"));
		/* What parsing kept is a copy. */
		if (i < 5)
			assert_string_equal(
			    option_get(&s, OPTION_KEY), "s3cret");
		line_fini(&l);
		option_fini(&s);
	}
}

static void
test_lists_and_sources(void **state)
{
	struct option_set s;
	struct err e;

	(void)state;
	assert_true(
	    parse(&s, OPTION_COMMAND_CONNECT, "-L 1 --tunnel=2 -L3", &e));
	assert_int_equal(option_get_count(&s, OPTION_TUNNEL), 3);
	assert_string_equal(s.at[OPTION_TUNNEL].list[2], "3");
	/* A lower source does not add to it, nor replace a text. */
	assert_true(
	    option_set_value(&s, OPTION_TUNNEL, "4", OPTION_SOURCE_FILE, &e));
	assert_int_equal(option_get_count(&s, OPTION_TUNNEL), 3);
	assert_true(
	    option_set_value(&s, OPTION_PATH, "file", OPTION_SOURCE_FILE, &e));
	assert_true(option_set_value(
	    &s, OPTION_PATH, "env", OPTION_SOURCE_ENVIRONMENT, &e));
	assert_true(
	    option_set_value(&s, OPTION_PATH, "late", OPTION_SOURCE_FILE, &e));
	assert_string_equal(option_get(&s, OPTION_PATH), "env");
	assert_int_equal(s.at[OPTION_PATH].source, OPTION_SOURCE_ENVIRONMENT);
	option_fini(&s);
}

/* Each variable in the table takes effect, and empty ones do not. */
static void
test_environment(void **state)
{
	(void)state;
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		const char *name = option_table[id].environment;

		for (int c = 0; name && c < OPTION_COMMAND_COUNT; c++) {
			struct option_set s;
			struct err e;

			if (!option_is_for(id, (enum option_command)c))
				continue;
			s = (struct option_set){
			    .command = (enum option_command)c};
			assert_int_equal(setenv(name, "value", 1), 0);
			assert_true(option_parse_environment(&s, &e));
			assert_string_equal(option_get(&s, id), "value");
			option_fini(&s);
			s = (struct option_set){
			    .command = (enum option_command)c};
			assert_int_equal(setenv(name, "", 1), 0);
			assert_true(option_parse_environment(&s, &e));
			assert_null(option_get(&s, id));
			option_fini(&s);
			unsetenv(name);
		}
	}
}

static char *
printed(void (*print)(FILE *out, enum option_command c), enum option_command c)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	print(out, c);
	fclose(out);
	return text;
}

static void
print_completion(FILE *out, enum option_command c)
{
	(void)c;
	option_print_completion(out);
}

/* Help and completion show every option, and no line is too long for a
 * terminal but where a word cannot be broken. */
static void
test_help(void **state)
{
	char *completion = printed(print_completion, 0);

	(void)state;
	for (enum option_command c = 0; c < OPTION_COMMAND_COUNT; c++) {
		char *help = printed(option_print_help, c);

		for (enum option_id id = 0; id < OPTION_COUNT; id++) {
			const struct option *o = &option_table[id];
			char name[64];

			if (!option_is_for(id, c))
				continue;
			snprintf(name, sizeof name, o->name ? "--%s" : "%s",
			    o->name ? o->name : o->environment);
			assert_non_null(strstr(help, name));
			if (o->name)
				assert_non_null(strstr(completion, name));
			if (o->environment)
				assert_non_null(strstr(help, o->environment));
		}
		free(help);
	}
	free(completion);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_forms),
	    cmocka_unit_test(test_operands),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_secrets_are_wiped),
	    cmocka_unit_test(test_lists_and_sources),
	    cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
