/* SPDX-License-Identifier: MIT
 *
 * The users file: what is read, what is refused, and that each refusal names
 * file, line and reason without showing what it refuses.
 */
#include "ends/users.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ends/users_table.h"
#include "util/err.h"
#include "util/mem.h"

#define YES "$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01"
#define YES5 "$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9"
#define BLOW "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define BLOWY "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define SHA512                                                                 \
	"$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/"   \
	"otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/"
#define SHA512_PLAIN                                                           \
	"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5kn"  \
	"V8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
#define SHA256                                                                 \
	"$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2"

static struct users *
parse(const char *text, struct err *e)
{
	return users_parse(text, strlen(text), "u.txt", e);
}

/* Refused, with exactly this place and something of this reason. */
static void
refused(const char *text, size_t n, const char *place, const char *reason)
{
	struct err e = {.code = ERR_NONE};

	assert_null(users_parse(text, n, "u.txt", &e));
	assert_int_equal(e.code, ERR_USAGE);
	if (strncmp(e.text, place, strlen(place)) != 0 ||
	    !strstr(e.text, reason))
		fail_msg("\"%s\" is not \"%s ... %s\"", e.text, place, reason);
	assert_null(strstr(e.text, "hunter2"));
}

static void
refuse(const char *text, const char *place, const char *reason)
{
	refused(text, strlen(text), place, reason);
}

static void
test_kinds(void **state)
{
	static const char *const good[] = {YES, YES5, BLOW, BLOWY, SHA512,
	    SHA512_PLAIN, SHA256,
	    "$2a$14$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"};
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_int_equal(
		    users_hash_judge(good[i], &e), USERS_HASH_GOOD);
}

/* Each good hash cut at every byte is never good and never a crash. */
static void
test_cut_hashes(void **state)
{
	static const char *const good[] = {YES, BLOW, SHA512, SHA256};
	char cut[200];
	size_t i, n;

	(void)state;
	for (i = 0; i < 4; i++)
		for (n = 0; n < strlen(good[i]); n++) {
			memcpy(cut, good[i], n);
			cut[n] = '\0';
			assert_int_not_equal(
			    users_hash_judge(cut, NULL), USERS_HASH_GOOD);
		}
}

static void
test_costs(void **state)
{
	struct {
		const char *hash;
		const char *reason;
	} const bad[] = {
	    {"$2b$15$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	        "cost 15"},
	    {"$2b$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	        "cost 31"},
	    {"$2b$03$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	        "cost 3"},
	    {"$2b$xx$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	        "broken"},
	    {"$y$jDT$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01",
	        "too costly"},
	    {"$y$jFT$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01",
	        "too costly"},
	    {"$6$rounds=999999999$saltsalt$x", "rounds=999999999"},
	    {"$6$rounds=500001$saltsalt$x", "500000"},
	    {"$6$rounds=999$saltsalt$x", "rounds=999"},
	    {"$5$rounds=99999999999999999999999$saltsalt$x", "broken"},
	    {"$5$rounds=$saltsalt$x", "rounds="},
	    {"$6$saltsaltsaltsalt1$x", "broken"},
	};
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(
		    users_hash_judge(bad[i].hash, &e), USERS_HASH_BAD);
		if (!strstr(e.text, bad[i].reason))
			fail_msg("%s: %s", bad[i].hash, e.text);
	}
}

static void
test_foreign(void **state)
{
	static const char *const foreign[] = {"$apr1$salt$hash", "$1$a$b",
	    "$argon2id$v=19$m=1$a$b",
	    "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$gy$j9T$a$b", "$7$abc",
	    "$2x$04$a"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
		assert_int_equal(
		    users_hash_judge(foreign[i], NULL), USERS_HASH_BAD);
	assert_int_equal(users_hash_judge("hunter2", NULL), USERS_HASH_CLEAR);
	assert_int_equal(users_hash_judge("", NULL), USERS_HASH_CLEAR);
	assert_int_equal(users_hash_judge("$ecret", NULL), USERS_HASH_CLEAR);
	assert_int_equal(users_hash_judge("$", NULL), USERS_HASH_CLEAR);
	assert_int_equal(users_hash_judge("$$", NULL), USERS_HASH_CLEAR);
}

static void
test_file(void **state)
{
	struct users *u;
	struct err e;

	(void)state;
	u = parse("\xef\xbb\xbf# the team\r\n"
	          "\r\n"
	          "alice:" YES "\r\n"
	          "  \t\n"
	          "  # indented\n"
	          "b\xc3\xb6"
	          "b smith:" BLOW "\n"
	          "carol:" SHA512,
	    &e);
	assert_non_null(u);
	assert_int_equal(users_count(u), 3);
	assert_true(users_has(u, "alice"));
	assert_true(users_has(u, "b\xc3\xb6"
	                         "b smith"));
	assert_true(users_has(u, "carol"));
	assert_false(users_has(u, "Alice"));
	assert_false(users_has(u, ""));
	assert_false(users_has(u, "dave"));
	assert_string_equal(users_hash_of(u, "carol"), SHA512);
	assert_ptr_equal(users_ref(u), u);
	users_unref(u);
	assert_int_equal(users_count(u), 3);
	users_unref(u);
	users_unref(NULL);

	u = parse("", &e);
	assert_non_null(u);
	assert_int_equal(users_count(u), 0);
	assert_null(u->typical);
	users_unref(u);
}

static void
test_refusals(void **state)
{
	char text[3000];

	(void)state;
	refuse("alice:hunter2", "u.txt:1: ",
	    "clear-text password; convert the file with: "
	    "hyco passwd --import u.txt");
	refuse("a:" YES "\n\n# x\nbob:hunter2\n",
	    "u.txt:4: user bob: ", "clear-text");
	refuse("alice:\n", "u.txt:1: ", "clear-text");
	refuse("alice\n", "u.txt:1: ", "no colon");
	refuse(":" YES, "u.txt:1: ", "empty");
	refuse("a:" YES "\nb:" YES "\na:" BLOW "\n",
	    "u.txt:3: ", "user a is in line 1 already");
	refuse("a:" YES ":x", "u.txt:1: ", "more than one colon");
	refuse(" a:" YES, "u.txt:1: ", "blank");
	refuse("a :" YES, "u.txt:1: ", "blank");
	refuse("a\tb:" YES, "u.txt:1: ", "control byte");
	refuse("a\x7f:" YES, "u.txt:1: ", "control byte");
	refuse("a\xff:" YES, "u.txt:1: ", "UTF-8");
	refuse("a:" YES "\rb:" YES, "u.txt:1: ", "");
	refuse("a:$apr1$x$y\n", "u.txt:1: user a: ", "hyco passwd u.txt a");
	refuse("a:" YES " \n", "u.txt:1: ", "broken");
	refused("a\0b:x\n", 6, "u.txt:1: ", "NUL");
	memset(text, 'a', sizeof text);
	text[USERS_LINE_MAX + 1] = '\0';
	refuse(text, "u.txt:1: ", "longer than 1024");
	text[USERS_NAME_MAX + 1] = ':';
	strcpy(text + USERS_NAME_MAX + 2, YES);
	refuse(text, "u.txt:1: ", "longer than 255");
}

static void
test_oversized(void **state)
{
	char *text = mem_alloc(USERS_FILE_MAX + 1);
	struct err e;

	(void)state;
	memset(text, '\n', USERS_FILE_MAX + 1);
	assert_null(users_parse(text, USERS_FILE_MAX + 1, "u.txt", &e));
	assert_int_equal(e.code, ERR_TOO_BIG);
	free(text);
}

/* Unknown users cost what most users do. */
static void
test_typical(void **state)
{
	struct users *u;

	(void)state;
	u = parse("a:" SHA512 "\nb:" YES "\nc:" YES5 "\nd:" YES5 "\n", NULL);
	assert_string_equal(u->typical, YES5);
	users_unref(u);
	u = parse(
	    "a:" SHA512 "\nb:" BLOW "\nc:" SHA512_PLAIN "\nd:" BLOW "\n", NULL);
	assert_string_equal(u->typical, BLOW);
	users_unref(u);
}

static void
test_many(void **state)
{
	char *text = mem_alloc(3000 * 100), name[16];
	size_t n = 0;
	struct users *u;
	struct err e;
	int i;

	(void)state;
	for (i = 2999; i >= 0; i--)
		n += (size_t)sprintf(text + n, "user%d:%s\n", i, YES);
	u = users_parse(text, n, "u.txt", &e);
	assert_non_null(u);
	for (i = 0; i < 3000; i++) {
		sprintf(name, "user%d", i);
		assert_true(users_has(u, name));
	}
	assert_false(users_has(u, "user3000"));
	users_unref(u);
	free(text);
}

/* A good file cut at every byte: a table or an error, nothing else. */
static void
test_cut_file(void **state)
{
	static const char text[] =
	    "\xef\xbb\xbf# x\r\na:" YES "\r\nb:" BLOW "\n";
	struct users *u;
	struct err e;
	size_t n;
	char *copy;

	(void)state;
	for (n = 0; n < sizeof text; n++) {
		copy = mem_alloc(n);
		memcpy(copy, text, n);
		e.code = ERR_NONE;
		u = users_parse(copy, n, "u.txt", &e);
		assert_true((u != NULL) == (e.code == ERR_NONE));
		users_unref(u);
		free(copy);
	}
}

static void
test_load(void **state)
{
	char path[] = "/tmp/hyco-users-XXXXXX";
	int fd = mkstemp(path);
	struct users *u;
	struct err e;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(
	    write(fd, "a:" YES, strlen("a:" YES)), strlen("a:" YES));
	assert_int_equal(fchmod(fd, 0640), 0);
	u = users_load(path, &e);
	assert_non_null(u);
	users_unref(u);
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_null(users_load(path, &e));
	assert_int_equal(e.code, ERR_DENIED);
	assert_non_null(strstr(e.text, "chmod"));
	assert_non_null(strstr(e.text, path));
	assert_int_equal(fchmod(fd, 0602), 0);
	assert_null(users_load(path, &e));
	assert_int_equal(e.code, ERR_DENIED);
	close(fd);
	unlink(path);
	assert_null(users_load(path, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, path));
	assert_null(users_load("/tmp", &e));
	assert_int_equal(e.code, ERR_USAGE);
	/* A FIFO must not hang a reload. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_null(users_load(path, &e));
	assert_int_equal(e.code, ERR_USAGE);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_cut_hashes),
	    cmocka_unit_test(test_costs),
	    cmocka_unit_test(test_foreign),
	    cmocka_unit_test(test_file),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_oversized),
	    cmocka_unit_test(test_typical),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_cut_file),
	    cmocka_unit_test(test_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
