/* SPDX-License-Identifier: MIT
 *
 * Where relay, path and credentials come from: the order of precedence, @FILE,
 * and what is said when something is missing or double.
 */
#include "cli/command_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/option.h"
#include "util/mem.h"

#define WORDS_MAX 24

static char folder[] = "/tmp/hyco-command-line-XXXXXX";

static void
write_file(const char *name, const char *text, mode_t mode)
{
	char *path = mem_printf("%s/%s", folder, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
	free(path);
}

/* Words apart by blanks; DIR stands for the folder. */
static bool
resolve(enum option_command command, const char *text, struct option_set *s,
    struct hc_target *t, struct err *e)
{
	char *argv[WORDS_MAX];
	int n = 0;
	bool ok;

	while (*text) {
		const size_t len = strcspn(text, " ");
		char *word = mem_strndup(text, len);
		char *at = strstr(word, "DIR");

		if (at) {
			argv[n++] = mem_printf(
			    "%.*s%s%s", (int)(at - word), word, folder, at + 3);
			free(word);
		} else {
			argv[n++] = word;
		}
		text += len + (text[len] == ' ');
	}
	hc_target_init(t);
	ok = command_line_read(s, command, n, argv, e) &&
	     command_line_target(s, HC_TARGET_SEND, t, e);
	for (int i = 0; i < n; i++)
		free(argv[i]);
	return ok;
}

static const char *const variables[] = {"HYCO_CONNECTION_STRING",
    "HYCO_NAMESPACE", "HYCO_PATH", "HYCO_KEY_NAME", "HYCO_KEY", "HYCO_TOKEN"};

static void
clear_environment(void)
{
	for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
		unsetenv(variables[i]);
}

struct row {
	const char *words;
	const char *environment; /* NAME=VALUE, apart by blanks */
	const char *want;        /* host:port/path key-name key token */
};

#define STRING(n)                                                              \
	"Endpoint=sb://x" n "/;SharedAccessKeyName=xn" n                       \
	";SharedAccessKey=xk" n ";EntityPath=xp" n

/* The file c.yaml says: f, fp, fn, fk. */
static const struct row rows[] = {
    {"h p n k", "", "h:443/p n k -"},
    {"h:81 p n k", "", "h:81/p n k -"},
    {"-n h -p p -K n -k k", "", "h:443/p n k -"},
    {"-x " STRING("1"), "", "x1:443/xp1 xn1 xk1 -"},
    /* Words, string, single options, environment, file: the one before
     * counts, and what it leaves open comes from the next. */
    {"h p n k -x " STRING("1") " -n o -p op", "", "h:443/p n k -"},
    {"-x " STRING("1") " -n o -p op -K on -k ok", "", "x1:443/xp1 xn1 xk1 -"},
    {"-x Endpoint=sb://x1/ -p op -K on -k ok", "", "x1:443/op on ok -"},
    {"-n o", "HYCO_CONNECTION_STRING=" STRING("2"), "o:443/xp2 xn2 xk2 -"},
    {"-p op", "HYCO_NAMESPACE=e HYCO_PATH=ep HYCO_KEY_NAME=en HYCO_KEY=ek",
        "e:443/op en ek -"},
    {"", "HYCO_CONNECTION_STRING=" STRING("2") " HYCO_PATH=ep",
        "x2:443/xp2 xn2 xk2 -"},
    {"-c DIR/c.yaml", "", "f:443/fp fn fk -"},
    {"-c DIR/c.yaml -p op", "HYCO_KEY=ek", "f:443/op fn ek -"},
    /* A token stands for both key name and key. */
    {"-c DIR/c.yaml --token a.b.c", "", "f:443/fp - - a.b.c"},
    {"-c DIR/c.yaml", "HYCO_TOKEN=a.b.c", "f:443/fp - - a.b.c"},
    {"h p n k", "HYCO_TOKEN=a.b.c", "h:443/p n k -"},
    /* @FILE, of the command line, the environment and the file. */
    {"-n h -p p -K n -k @DIR/key", "", "h:443/p n filekey -"},
    {"h p n @DIR/key", "", "h:443/p n filekey -"},
    {"-x @DIR/string", "", "x3:443/xp3 xn3 xk3 -"},
    {"-c DIR/at.yaml", "", "f:443/fp fn filekey -"},
};

static void
set_environment(const char *text)
{
	char *copy = mem_strdup(text);
	char *rest = copy;
	char *pair;

	while ((pair = strsep(&rest, " ")) != NULL) {
		char *equals = strchr(pair, '=');

		if (!equals)
			continue;
		*equals = '\0';
		setenv(pair, equals + 1, 1);
	}
	free(copy);
}

static void
test_precedence(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *r = &rows[i];
		struct option_set s;
		struct hc_target t;
		struct err e = {0};
		char got[512];

		clear_environment();
		set_environment(r->environment);
		if (!resolve(OPTION_COMMAND_CONNECT, r->words, &s, &t, &e))
			fail_msg("%s: %s", r->words, e.text);
		snprintf(got, sizeof got, "%s:%u/%s %s %s %s", t.host,
		    t.port ? t.port : 443, t.path,
		    t.key_name ? t.key_name : "-", t.key ? t.key : "-",
		    t.token ? t.token : "-");
		if (strcmp(got, r->want) != 0)
			fail_msg("%s: got %s, want %s", r->words, got, r->want);
		hc_target_fini(&t);
		option_fini(&s);
	}
	clear_environment();
}

struct fault {
	const char *words;
	enum err_code code;
	const char *reason;
};

static const struct fault faults[] = {
    {"", ERR_USAGE, "namespace"},
    {"-n h", ERR_USAGE, "HYCO_PATH"},
    {"-n h:99999 -p p -K n -k k", ERR_USAGE, "--namespace"},
    {"-n h -p p -K n -k k --token a.b.c", ERR_USAGE, "only one of them"},
    {"-x nonsense", ERR_USAGE, "--connection-string"},
    {"-x @DIR/missing", ERR_NOT_FOUND, "missing: no such file"},
    {"-x @DIR/open", ERR_DENIED, "chmod 600"},
    {"-x @", ERR_USAGE, "behind @"},
    {"-x @DIR/empty", ERR_USAGE, "is empty"},
    {"-x @DIR/lines", ERR_USAGE, "more than one line"},
    {"-c DIR/missing", ERR_NOT_FOUND, "no such file"},
    {"-c DIR/open.yaml", ERR_DENIED, "chmod 600"},
};

static void
test_faults(void **state)
{
	(void)state;
	clear_environment();
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		const struct fault *f = &faults[i];
		struct option_set s;
		struct hc_target t;
		struct err e = {0};

		assert_false(
		    resolve(OPTION_COMMAND_CONNECT, f->words, &s, &t, &e));
		if (e.code != f->code || !strstr(e.text, f->reason))
			fail_msg(
			    "%s: %s: %s", f->words, err_name(e.code), e.text);
		assert_null(strstr(e.text, "s3cret"));
		hc_target_fini(&t);
		option_fini(&s);
	}
}

static void
test_log_level(void **state)
{
	static const struct {
		const char *words;
		enum log_level from, to;
	} levels[] = {{"", LOG_WARN, LOG_WARN}, {"-v", LOG_WARN, LOG_INFO},
	    {"-vv", LOG_WARN, LOG_DEBUG}, {"-vvvv", LOG_INFO, LOG_DEBUG},
	    {"-q", LOG_INFO, LOG_WARN}, {"-qqqq", LOG_INFO, LOG_ERROR}};

	(void)state;
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		char *word = mem_strdup(levels[i].words);
		struct option_set s;
		struct err e;

		assert_true(command_line_read(
		    &s, OPTION_COMMAND_LISTEN, *word ? 1 : 0, &word, &e));
		command_line_set_log(&s, levels[i].from);
		assert_int_equal(log_get_level(), levels[i].to);
		option_fini(&s);
		free(word);
	}
}

static int
set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	write_file("key", "filekey\n", 0600);
	write_file("string", STRING("3") "\n\n", 0600);
	write_file("open", STRING("s3cret"), 0644);
	write_file("empty", "\n", 0600);
	write_file("lines", "s3cret\nmore\n", 0600);
	write_file(
	    "c.yaml", "namespace: f\npath: fp\nkey-name: fn\nkey: fk\n", 0600);
	write_file("open.yaml", "namespace: f\nkey: s3cret\n", 0644);
	/* Beside the file, whatever the current folder is; and no secret of
	 * its own, so everybody may read it. */
	write_file("at.yaml",
	    "namespace: f\npath: fp\nkey-name: fn\nkey: \"@key\"\n", 0644);
	return 0;
}

static int
tear_down(void **state)
{
	static const char *const names[] = {"key", "string", "open", "empty",
	    "lines", "c.yaml", "open.yaml", "at.yaml"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = mem_printf("%s/%s", folder, names[i]);

		unlink(path);
		free(path);
	}
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_precedence),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_log_level),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
