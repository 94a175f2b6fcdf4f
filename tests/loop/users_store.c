/* SPDX-License-Identifier: MIT
 *
 * Checking passwords on the real pool: verdicts, the memory of what was right,
 * the brake, reloads in the middle, and closing at every moment. How many
 * hashes were made is seen by wrapping crypt_r.
 */
#include "ends/users.h"

#include <crypt.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"
#include "util/err.h"
#include "util/mem.h"

/* All of the password "secret", at low cost. */
#define YES "$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01"
#define BLOW "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define SHA512                                                                 \
	"$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/"   \
	"otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/"
#define SHA256                                                                 \
	"$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2"

#define TURNS_MAX 1000000

struct waiter {
	struct users_check *check;
	struct loop *loop;
	unsigned calls;
	enum users_verdict verdict;
	bool closes; /* in its own callback */
	struct users_store *closes_store;
};

static atomic_uint hashes; /* made so far */
static atomic_uint known;  /* with the setting of a user's hash */

/* While a test holds it no hash gets done. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

/* Stands in front of libcrypt's: counts, then does the same. */
char *
crypt_r(const char *phrase, const char *setting, struct crypt_data *data)
{
	atomic_fetch_add(&hashes, 1);
	if (strcmp(setting, YES) == 0)
		atomic_fetch_add(&known, 1);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return crypt_rn(phrase, setting, data, (int)sizeof *data);
}

static void
on_done(void *owner, enum users_verdict verdict)
{
	struct waiter *w = owner;

	w->calls++;
	w->verdict = verdict;
	if (w->closes) {
		users_check_close(w->check);
		w->check = NULL;
	}
	if (w->closes_store)
		users_store_close(w->closes_store);
}

static void
ask(struct users_store *st, struct waiter *w, const char *name,
    const char *password, const char *source)
{
	w->check = users_check_open(st, name, password, source, on_done, w);
	assert_int_equal(w->calls, 0);
}

static void
done(struct waiter *w)
{
	assert_int_equal(w->calls, 1);
	if (w->check)
		users_check_close(w->check);
	*w = (struct waiter){.calls = 0};
}

static void
on_tick(void *owner)
{
	(void)owner;
}

/* The tick wakes a turn whose last event was a timer at its very start. */
#define RUN_UNTIL(l, condition)                                                \
	do {                                                                   \
		struct timer tick_;                                            \
		int turns_ = 0;                                                \
		timer_init(&tick_, (l), on_tick, NULL);                        \
		while (!(condition)) {                                         \
			timer_set(&tick_, 20);                                 \
			loop_turn((l), true);                                  \
			assert_true(++turns_ < TURNS_MAX);                     \
		}                                                              \
		timer_clear(&tick_);                                           \
	} while (0)

static struct users *
make_users(const char *text)
{
	struct err e;
	struct users *u = users_parse(text, strlen(text), "u.txt", &e);

	if (!u)
		fail_msg("%s", e.text);
	return u;
}

static struct users_store *
make_store(
    struct loop *l, const char *text, const struct users_store_options *o)
{
	struct users *u = make_users(text);
	struct users_store *st = users_store_open(l, u, o);

	users_unref(u);
	return st;
}

/* A whole check; the verdict. */
static enum users_verdict
login(struct loop *l, struct users_store *st, const char *name,
    const char *password, const char *source)
{
	struct waiter w = {.calls = 0};
	enum users_verdict verdict;

	ask(st, &w, name, password, source);
	RUN_UNTIL(l, w.calls > 0);
	verdict = w.verdict;
	done(&w);
	return verdict;
}

static const struct users_store_options quick = {
    .pause_ms = 1, .pause_max_ms = 1};

static void
test_verdicts(void **state)
{
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(
	    l, "y:" YES "\nb:" BLOW "\ns:" SHA512 "\nt:" SHA256 "\n", &quick);
	char text[USERS_PASSWORD_MAX + 2];

	(void)state;
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_int_equal(login(l, st, "b", "secret", NULL), USERS_RIGHT);
	assert_int_equal(login(l, st, "s", "secret", ""), USERS_RIGHT);
	assert_int_equal(login(l, st, "t", "secret", "s"), USERS_RIGHT);
	assert_int_equal(login(l, st, "y", "Secret", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "y", "secret ", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "y", "", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "", "", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "Y", "secret", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "nobody", "secret", "s"), USERS_WRONG);
	assert_int_equal(
	    login(l, st, "__proto__", "[object Object]", "s"), USERS_WRONG);
	/* The hash itself is no password. */
	assert_int_equal(login(l, st, "y", YES, "s"), USERS_WRONG);
	memset(text, 'x', sizeof text);
	text[USERS_PASSWORD_MAX + 1] = '\0';
	assert_int_equal(login(l, st, "y", text, "s"), USERS_WRONG);
	text[USERS_PASSWORD_MAX] = '\0';
	assert_int_equal(login(l, st, "y", text, "s"), USERS_WRONG);
	assert_int_equal(login(l, st, text, "x", text), USERS_WRONG);
	text[USERS_NAME_MAX] = '\0';
	assert_int_equal(login(l, st, text, "x", "s"), USERS_WRONG);
	users_store_close(st);
	assert_true(loop_close(l));
}

static void
test_equal_work(void **state)
{
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &quick);

	(void)state;
	hashes = known = 0;
	assert_int_equal(login(l, st, "nobody", "secret", "s"), USERS_WRONG);
	assert_int_equal(hashes, 1);
	assert_int_equal(known, 1);
	assert_int_equal(login(l, st, "y", "wrong", "s"), USERS_WRONG);
	assert_int_equal(hashes, 2);
	/* Not even the right password of another opens it, nor is it kept. */
	assert_int_equal(login(l, st, "nobody", "secret", "s"), USERS_WRONG);
	assert_int_equal(hashes, 3);
	users_store_close(st);
	st = make_store(l, "", &quick);
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_WRONG);
	users_store_close(st);
	assert_true(loop_close(l));
}

static void
test_memory(void **state)
{
	struct users_store_options o = quick;
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\nb:" BLOW "\n", &o);
	struct users *u;

	(void)state;
	hashes = 0;
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_int_equal(login(l, st, "y", "secret", "other"), USERS_RIGHT);
	assert_int_equal(login(l, st, "y", "secret", NULL), USERS_RIGHT);
	assert_int_equal(hashes, 1);
	assert_int_equal(login(l, st, "y", "wrong", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "y", "wrong", "s"), USERS_WRONG);
	assert_int_equal(hashes, 3);
	assert_int_equal(login(l, st, "b", "secret", "s"), USERS_RIGHT);
	assert_int_equal(hashes, 4);
	/* Dropped by a reload, even one that changes nothing. */
	u = make_users("y:" YES "\n");
	users_store_set(st, u);
	users_unref(u);
	assert_int_equal(users_count(users_store_users(st)), 1);
	assert_int_equal(login(l, st, "b", "secret", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_int_equal(hashes, 6);
	users_store_close(st);
	/* It ends by itself. */
	o.remember_ms = 1;
	st = make_store(l, "y:" YES "\n", &o);
	hashes = 0;
	while (hashes < 3)
		assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	users_store_close(st);
	o.remember_nothing = true;
	o.remember_ms = 0;
	st = make_store(l, "y:" YES "\n", &o);
	hashes = 0;
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_int_equal(hashes, 2);
	users_store_close(st);
	assert_true(loop_close(l));
}

/* More right logins than the memory holds: all are right, none is lost. */
static void
test_memory_bound(void **state)
{
	struct loop *l = loop_new(NULL);
	char *text = mem_alloc(3000 * 80), name[16];
	struct users_store *st;
	size_t n = 0;
	int i;

	(void)state;
	for (i = 0; i < 1500; i++)
		n += (size_t)sprintf(text + n, "u%d:%s\n", i, YES);
	st = make_store(l, text, &quick);
	free(text);
	for (i = 0; i < 1500; i++) {
		sprintf(name, "u%d", i);
		assert_int_equal(
		    login(l, st, name, "secret", NULL), USERS_RIGHT);
	}
	users_store_close(st);
	assert_true(loop_close(l));
}

/* Many at once with the same words cost one hash. */
static void
test_joined(void **state)
{
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &quick);
	struct waiter w[200] = {{.calls = 0}};
	int i;

	(void)state;
	hashes = 0;
	for (i = 0; i < 100; i++)
		ask(st, &w[i], "y", "secret", i % 2 ? "s" : "t");
	for (; i < 200; i++)
		ask(st, &w[i], "y", "wrong", "s");
	/* Some give up in the middle. */
	for (i = 0; i < 200; i += 3) {
		users_check_close(w[i].check);
		w[i] = (struct waiter){.calls = 0};
	}
	for (i = 0; i < 200; i++) {
		if (!w[i].check)
			continue;
		RUN_UNTIL(l, w[i].calls > 0);
		assert_int_equal(
		    w[i].verdict, i < 100 ? USERS_RIGHT : USERS_WRONG);
		done(&w[i]);
	}
	assert_int_equal(hashes, 2);
	users_store_close(st);
	assert_true(loop_close(l));
}

static unsigned
count_busy(struct loop *l, struct waiter *w, unsigned n)
{
	unsigned busy = 0, i;

	for (i = 0; i < n; i++) {
		RUN_UNTIL(l, w[i].calls > 0);
		busy += w[i].verdict == USERS_BUSY;
		done(&w[i]);
	}
	return busy;
}

/* Different guesses for one name, from one source, and in all, are bounded;
 * who is remembered is let in all the same. */
static void
test_brake(void **state)
{
	struct users_store_options o = {.pause_ms = 1,
	    .pause_max_ms = 1,
	    .waiting_max = 16,
	    .waiting_each_max = 4};
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &o);
	struct waiter w[50] = {{.calls = 0}};
	char word[16], source[16];
	unsigned i;

	(void)state;
	assert_int_equal(login(l, st, "y", "secret", "home"), USERS_RIGHT);
	hashes = 0;
	for (i = 0; i < 50; i++) { /* one name, many sources */
		sprintf(word, "guess%u", i);
		sprintf(source, "s%u", i);
		ask(st, &w[i], "y", word, source);
	}
	assert_int_equal(login(l, st, "y", "secret", "home"), USERS_RIGHT);
	assert_int_equal(count_busy(l, w, 50), 46);
	assert_int_equal(hashes, 4);
	hashes = 0;
	for (i = 0; i < 50; i++) { /* one source, many names */
		sprintf(word, "name%u", i);
		ask(st, &w[i], word, "guess", "s");
	}
	assert_int_equal(count_busy(l, w, 50), 46);
	assert_int_equal(hashes, 4);
	hashes = 0;
	for (i = 0; i < 50; i++) { /* many of both */
		sprintf(word, "name%u", i);
		sprintf(source, "s%u", i);
		ask(st, &w[i], word, "guess", source);
	}
	assert_int_equal(count_busy(l, w, 50), 34);
	assert_int_equal(hashes, 16);
	users_store_close(st);
	assert_true(loop_close(l));
}

/* Each wrong answer makes the next check of that name or source wait longer;
 * the loop's own clock is the measure. */
static void
test_pause(void **state)
{
	struct users_store_options o = {.pause_ms = 4, .pause_max_ms = 32};
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &o);
	uint64_t start;
	char source[16];
	int i;

	(void)state;
	start = loop_now_ms(l);
	for (i = 0; i < 6; i++) { /* waits 4 8 16 32 32 */
		sprintf(source, "s%d", i);
		assert_int_equal(
		    login(l, st, "y", "wrong", source), USERS_WRONG);
	}
	assert_true(loop_now_ms(l) - start >= 92);
	start = loop_now_ms(l);
	assert_int_equal(login(l, st, "y", "secret", NULL), USERS_RIGHT);
	assert_true(loop_now_ms(l) - start >= 31);
	start = loop_now_ms(l);
	for (i = 0; i < 4; i++) {
		sprintf(source, "n%d", i);
		assert_int_equal(
		    login(l, st, source, "wrong", "one"), USERS_WRONG);
	}
	assert_true(loop_now_ms(l) - start >= 28);
	users_store_close(st);
	assert_true(loop_close(l));
}

/* More names than brakes are kept: still everything is answered. */
static void
test_brake_bound(void **state)
{
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &quick);
	char word[16];
	int i;

	(void)state;
	for (i = 0; i < 1200; i++) {
		sprintf(word, "w%d", i);
		assert_int_equal(login(l, st, word, "x", word), USERS_WRONG);
	}
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	users_store_close(st);
	assert_true(loop_close(l));
}

/* A hash made from the old file says nothing about the new one. */
static void
test_reload_midway(void **state)
{
	struct loop *l = loop_new(NULL);
	struct users_store *st =
	    make_store(l, "y:" YES "\nz:" YES "\n", &quick);
	struct waiter gone = {.calls = 0}, stays = {.calls = 0},
	              comes = {.calls = 0}, waits = {.calls = 0};
	struct users *u = make_users("z:" YES "\nnew:" BLOW "\n");

	(void)state;
	ask(st, &gone, "y", "secret", "a");
	ask(st, &stays, "z", "secret", "b");
	ask(st, &comes, "new", "secret", "c");
	ask(st, &waits, "y", "secret2", "d");
	hashes = 0;
	pthread_mutex_lock(&gate);
	RUN_UNTIL(l, hashes == 2); /* the first two are under way */
	users_store_set(st, u);
	users_unref(u);
	pthread_mutex_unlock(&gate);
	RUN_UNTIL(l, gone.calls && stays.calls && comes.calls && waits.calls);
	assert_int_equal(gone.verdict, USERS_WRONG);
	assert_int_equal(stays.verdict, USERS_RIGHT);
	assert_int_equal(comes.verdict, USERS_RIGHT);
	assert_int_equal(waits.verdict, USERS_WRONG);
	done(&gone);
	done(&stays);
	done(&comes);
	done(&waits);
	hashes = 0;
	assert_int_equal(login(l, st, "z", "secret", "b"), USERS_RIGHT);
	assert_int_equal(login(l, st, "new", "secret", "b"), USERS_RIGHT);
	assert_int_equal(hashes, 0);
	users_store_close(st);
	assert_true(loop_close(l));
}

static void
test_reload_file(void **state)
{
	char path[] = "/tmp/hyco-users-XXXXXX";
	int fd = mkstemp(path);
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &quick);
	struct err e;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "z:clear\n", 8), 8);
	assert_false(users_store_reload(st, path, &e));
	assert_non_null(strstr(e.text, ":1: user z: clear-text"));
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(
	    pwrite(fd, "z:" YES, strlen("z:" YES), 0), strlen("z:" YES));
	assert_true(users_store_reload(st, path, &e));
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_WRONG);
	assert_int_equal(login(l, st, "z", "secret", "s"), USERS_RIGHT);
	unlink(path);
	assert_false(users_store_reload(st, path, &e));
	assert_int_equal(login(l, st, "z", "secret", "s"), USERS_RIGHT);
	close(fd);
	users_store_close(st);
	assert_true(loop_close(l));
}

/* Hanging up before the answer saves nobody the pause. */
static void
test_hang_up(void **state)
{
	struct users_store_options o = {.pause_ms = 20, .pause_max_ms = 20};
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &o);
	struct waiter w = {.calls = 0};
	uint64_t start;

	(void)state;
	hashes = 0;
	start = loop_now_ms(l);
	ask(st, &w, "y", "wrong", "s");
	RUN_UNTIL(l, hashes == 1);
	users_check_close(w.check);
	assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	assert_true(loop_now_ms(l) - start >= 20);
	assert_int_equal(w.calls, 0);
	users_store_close(st);
	assert_true(loop_close(l));
}

/* The check is closed after so many turns, the store before or after it. */
static void
close_after(int turns, bool store_first, bool remembered)
{
	struct loop *l = loop_new(NULL);
	struct users_store *st = make_store(l, "y:" YES "\n", &quick);
	struct waiter w = {.calls = 0}, other = {.calls = 0};
	int i;

	if (remembered)
		assert_int_equal(login(l, st, "y", "secret", "s"), USERS_RIGHT);
	ask(st, &w, "y", "secret", "s");
	ask(st, &other, "y", "wrong", "s");
	for (i = 0; i < turns; i++)
		loop_turn(l, false);
	if (store_first)
		users_store_close(st);
	users_check_close(w.check);
	users_check_close(other.check);
	if (!store_first)
		users_store_close(st);
	w.calls = other.calls = 0;
	assert_true(loop_close(l));
	assert_int_equal(w.calls, 0);
	assert_int_equal(other.calls, 0);
}

static void
test_close(void **state)
{
	struct waiter w = {.closes = true};
	struct users_store *st;
	struct loop *l;
	int turns;

	(void)state;
	for (turns = 0; turns < 40; turns++) {
		close_after(turns, true, false);
		close_after(turns, false, false);
		close_after(turns, true, true);
		close_after(turns, false, true);
	}
	/* From its own callback, alone and with the store. */
	l = loop_new(NULL);
	st = make_store(l, "y:" YES "\n", &quick);
	ask(st, &w, "y", "secret", "s");
	RUN_UNTIL(l, w.calls > 0);
	w = (struct waiter){.closes = true, .closes_store = st};
	ask(st, &w, "y", "secret", "s");
	RUN_UNTIL(l, w.calls > 0);
	assert_true(loop_close(l));
	l = loop_new(NULL);
	st = make_store(l, "y:" YES "\n", &quick);
	w = (struct waiter){.closes_store = st};
	ask(st, &w, "y", "wrong", "s");
	RUN_UNTIL(l, w.calls > 0);
	users_check_close(w.check);
	assert_true(loop_close(l));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_verdicts),
	    cmocka_unit_test(test_equal_work),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_memory_bound),
	    cmocka_unit_test(test_joined),
	    cmocka_unit_test(test_brake),
	    cmocka_unit_test(test_pause),
	    cmocka_unit_test(test_brake_bound),
	    cmocka_unit_test(test_reload_midway),
	    cmocka_unit_test(test_reload_file),
	    cmocka_unit_test(test_hang_up),
	    cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
