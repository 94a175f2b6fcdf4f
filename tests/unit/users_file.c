/* SPDX-License-Identifier: MIT
 *
 * Changing the users file: what is changed, and what must stay as it was. The
 * hashes are real, so each one costs some tens of milliseconds.
 */
#include "ends/users_file.h"

#include <crypt.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ends/users.h"
#include "ends/users_table.h"
#include "util/err.h"

#define BLOW "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"

static char folder[] = "/tmp/hyco-passwd-XXXXXX";
static char file[64], link_file[64];
static char content[65536];

static void
put_file(const char *text, mode_t mode)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(file, mode), 0);
}

static const char *
get_file(void)
{
	FILE *f = fopen(file, "r");
	size_t n;

	assert_non_null(f);
	n = fread(content, 1, sizeof content - 1, f);
	content[n] = '\0';
	fclose(f);
	return content;
}

static unsigned
get_mode(void)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return st.st_mode & 07777;
}

/* Nothing but the named number of files is left in the folder. */
static void
check_folder(int want)
{
	DIR *d = opendir(folder);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	assert_int_equal(n - 2, want);
}

static void
check_login(const char *name, const char *password, bool good)
{
	struct err e;
	struct users *u = users_load(file, &e);
	struct crypt_data data = {.initialized = 0};
	const char *hash, *made;

	if (!u)
		fail_msg("%s", e.text);
	hash = users_hash_of(u, name);
	assert_non_null(hash);
	made = crypt_r(password, hash, &data);
	assert_int_equal(made && strcmp(made, hash) == 0, good);
	users_unref(u);
}

static void
test_set(void **state)
{
	struct err e;

	(void)state;
	unlink(file);
	assert_int_equal(
	    users_file_set(file, "alice", "one", &e), USERS_FILE_ADDED);
	assert_int_equal(get_mode(), 0600);
	assert_memory_equal(get_file(), "alice:$y$", 9);
	check_login("alice", "one", true);
	check_login("alice", "two", false);
	assert_int_equal(
	    users_file_set(file, "alice", "two:\xff", &e), USERS_FILE_CHANGED);
	check_login("alice", "two:\xff", true);
	assert_int_equal(
	    users_file_set(file, "alic", "x", &e), USERS_FILE_ADDED);
	check_login("alice", "two:\xff", true);
	check_login("alic", "x", true);
	check_folder(1);
}

static void
test_kept(void **state)
{
	static const char before[] =
	    "# team\r\n\r\nbob:" BLOW "\r\nalice:" BLOW "\r\n# end";
	struct err e;
	char *at;

	(void)state;
	put_file(before, 0640);
	assert_int_equal(
	    users_file_set(file, "alice", "x", &e), USERS_FILE_CHANGED);
	assert_int_equal(get_mode(), 0640);
	get_file();
	at = strstr(content, "alice:");
	assert_non_null(at);
	assert_memory_equal(content, before, (size_t)(at - content));
	assert_non_null(strstr(at, "\r\n# end"));
	assert_int_equal(
	    users_file_set(file, "carol", "x", &e), USERS_FILE_ADDED);
	assert_non_null(strstr(get_file(), "# end\ncarol:$y$"));
	check_login("bob", "secret", true);
	/* The rights of everybody go. */
	assert_int_equal(chmod(file, 0644), 0);
	assert_true(users_file_remove(file, "carol", &e));
	assert_int_equal(get_mode(), 0640);
	assert_null(strstr(get_file(), "carol"));
	assert_true(users_file_remove(file, "bob", &e));
	assert_false(users_file_remove(file, "bob", &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_true(users_file_remove(file, "alice", &e));
	assert_string_equal(get_file(), "# team\r\n\r\n# end\n");
}

static void
test_refused(void **state)
{
	char text[600];
	struct err e;

	(void)state;
	put_file("a:" BLOW "\nb:clear\n", 0600);
	assert_int_equal(users_file_set(file, "a", "x", &e), USERS_FILE_FAILED);
	assert_non_null(strstr(e.text, ":2: user b: clear-text"));
	assert_non_null(strstr(e.text, "--import"));
	assert_string_equal(get_file(), "a:" BLOW "\nb:clear\n");
	/* but the faulty line itself can be mended */
	assert_int_equal(
	    users_file_set(file, "b", "x", &e), USERS_FILE_CHANGED);
	assert_int_equal(users_file_set(file, "", "x", &e), USERS_FILE_FAILED);
	assert_int_equal(
	    users_file_set(file, "a:b", "x", &e), USERS_FILE_FAILED);
	assert_int_equal(
	    users_file_set(file, "#a", "x", &e), USERS_FILE_FAILED);
	assert_int_equal(
	    users_file_set(file, "a\nb", "x", &e), USERS_FILE_FAILED);
	assert_int_equal(users_file_set(file, "a", "", &e), USERS_FILE_FAILED);
	memset(text, 'x', sizeof text);
	text[USERS_PASSWORD_MAX + 1] = '\0';
	assert_int_equal(
	    users_file_set(file, "a", text, &e), USERS_FILE_FAILED);
	text[USERS_PASSWORD_MAX] = '\0';
	assert_int_equal(
	    users_file_set(file, "a", text, &e), USERS_FILE_CHANGED);
	check_login("a", text, true);
	assert_int_equal(
	    users_file_set("/nowhere/users", "a", "x", &e), USERS_FILE_FAILED);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_int_equal(
	    users_file_set(folder, "a", "x", &e), USERS_FILE_FAILED);
	assert_false(users_file_remove("/nowhere/users", "a", &e));
	check_folder(1);
}

struct skipped {
	unsigned count;
	unsigned lines[16];
	char reasons[16][128];
};

static void
on_skip(void *owner, unsigned line, const char *reason)
{
	struct skipped *s = owner;

	assert_true(s->count < 16);
	s->lines[s->count] = line;
	snprintf(s->reasons[s->count++], 128, "%s", reason);
}

static void
test_import(void **state)
{
	struct users_file_import result;
	struct skipped s = {.count = 0};
	struct err e;

	(void)state;
	put_file("\xef\xbb\xbf"
	         "foo:bar\r\n"
	         "\r\n"
	         "# note\r\n"
	         "hashed:" BLOW "\r\n"
	         "nocolon\r\n"
	         "two:col:ons\r\n"
	         "again:first\r\n"
	         ":empty\r\n"
	         "nopass:\r\n"
	         "again: second \r\n"
	         "md5:$apr1$a$b",
	    0644);
	assert_true(users_file_import(file, &result, on_skip, &s, &e));
	assert_int_equal(result.converted, 2);
	assert_int_equal(result.kept, 1);
	assert_int_equal(result.skipped, 6);
	assert_int_equal(s.count, 6);
	assert_int_equal(s.lines[0], 5);
	assert_int_equal(s.lines[1], 6);
	assert_int_equal(s.lines[2], 7);
	assert_non_null(strstr(s.reasons[2], "again in line 10"));
	assert_int_equal(s.lines[3], 8);
	assert_int_equal(s.lines[4], 9);
	assert_int_equal(s.lines[5], 11);
	check_login("foo", "bar", true);
	check_login("again", " second ", true);
	check_login("hashed", "secret", true);
	get_file();
	assert_null(strstr(content, "bar"));
	assert_null(strstr(content, "first"));
	assert_null(strstr(content, "col:ons"));
	assert_null(strstr(content, "nocolon"));
	assert_non_null(strstr(content, "\r\n# note\r\n"));
	assert_int_equal(get_mode(), 0640);
	check_folder(1);
	/* A second time there is nothing left to do. */
	s.count = 0;
	assert_true(users_file_import(file, &result, on_skip, &s, &e));
	assert_int_equal(result.converted, 0);
	assert_int_equal(result.kept, 3);
	assert_int_equal(s.count, 0);
	unlink(file);
	assert_false(users_file_import(file, &result, NULL, NULL, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
}

/* The sample's own file, and one with the line ends of old Macs, which it
 * reads, too. */
static void
test_import_sample(void **state)
{
	struct users_file_import result;
	struct err e;

	(void)state;
	put_file("foo:bar", 0600);
	assert_true(users_file_import(file, &result, NULL, NULL, &e));
	assert_int_equal(result.converted, 1);
	check_login("foo", "bar", true);
	put_file("a:1\rb:2\r\r", 0600);
	assert_true(users_file_import(file, &result, NULL, NULL, &e));
	assert_int_equal(result.converted, 2);
	check_login("a", "1", true);
	check_login("b", "2", true);
	assert_int_equal(get_mode(), 0600);
}

static void
test_link(void **state)
{
	struct stat st;
	struct err e;

	(void)state;
	put_file("", 0600);
	assert_int_equal(symlink("users.txt", link_file), 0);
	assert_int_equal(
	    users_file_set(link_file, "a", "x", &e), USERS_FILE_ADDED);
	assert_int_equal(lstat(link_file, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	check_login("a", "x", true);
	unlink(file);
	assert_int_equal(
	    users_file_set(link_file, "a", "x", &e), USERS_FILE_FAILED);
	assert_non_null(strstr(e.text, "link to nothing"));
	unlink(link_file);
}

/* Runs at once lose nothing. */
static void
test_race(void **state)
{
	struct users *u;
	char name[16];
	struct err e;
	int i, status;

	(void)state;
	unlink(file);
	for (i = 0; i < 8; i++) {
		if (fork() != 0)
			continue;
		sprintf(name, "user%d", i);
		_exit(users_file_set(file, name, "x", &e) == USERS_FILE_ADDED
		          ? 0
		          : 1);
	}
	for (i = 0; i < 8; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	u = users_load(file, &e);
	assert_non_null(u);
	assert_int_equal(users_count(u), 8);
	users_unref(u);
	check_folder(1);
}

static int
set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(file, sizeof file, "%s/users.txt", folder);
	snprintf(link_file, sizeof link_file, "%s/link", folder);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	unlink(file);
	unlink(link_file);
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_set),
	    cmocka_unit_test(test_kept),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_import),
	    cmocka_unit_test(test_import_sample),
	    cmocka_unit_test(test_link),
	    cmocka_unit_test(test_race),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
