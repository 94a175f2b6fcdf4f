/* SPDX-License-Identifier: MIT
 *
 * The loop: timers, deferred calls, the graveyard, work, signals, watches, and
 * what loop_close demands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "memstream.h"
#include "net/loop.h"

static char story[256];

static void
tell(const char *word)
{
	strncat(story, word, sizeof(story) - strlen(story) - 1);
}

static void *
word(const char *w)
{
	return (void *)(uintptr_t)w;
}

static struct loop *
begin(void)
{
	struct loop *l = loop_new(NULL);

	story[0] = '\0';
	assert_non_null(l);
	return l;
}

static void
finish(struct loop *l)
{
	assert_true(loop_close(l));
}

static void
on_word(void *owner)
{
	tell(owner);
}

/* A timer that is due when a turn begins is the turn's event: the turn does
 * not sleep on for another one, which would be the hour-long timer here. */
static void
test_turn_does_not_sleep_over_a_due_timer(void **state)
{
	struct loop *l = begin();
	struct timer soon;
	struct timer late;

	(void)state;
	timer_init(&soon, l, on_word, word("s"));
	timer_init(&late, l, on_word, word("l"));
	timer_set(&soon, 1);
	timer_set(&late, 3600 * 1000);
	while (poll(NULL, 0, 2) != 0)
		;
	alarm(60);
	loop_turn(l, true);
	alarm(0);
	assert_string_equal(story, "s");
	timer_clear(&late);
	finish(l);
}

static void
test_empty_loop_returns(void **state)
{
	struct loop *l = begin();

	(void)state;
	loop_run(l);
	assert_false(loop_turn(l, true));
	finish(l);
}

static void
test_timers_fire_in_order(void **state)
{
	struct loop *l = begin();
	struct timer t[5];

	(void)state;
	timer_init(&t[0], l, on_word, word("a"));
	timer_init(&t[1], l, on_word, word("b"));
	timer_init(&t[2], l, on_word, word("c"));
	timer_init(&t[3], l, on_word, word("d"));
	timer_init(&t[4], l, on_word, word("e"));
	timer_set(&t[0], 12);
	timer_set(&t[1], 4);
	timer_set(&t[2], 4);
	timer_set(&t[3], 1);
	timer_set(&t[4], 2);
	timer_set(&t[1], 8); /* moved behind c */
	timer_clear(&t[4]);
	timer_clear(&t[4]);
	assert_true(timer_is_set(&t[1]));
	assert_false(timer_is_set(&t[4]));
	loop_run(l);
	assert_string_equal(story, "dcba");
	assert_false(timer_is_set(&t[0]));
	finish(l);
}

/* The heap against a plain count: many timers at pseudo-random times, a third
 * of them cleared, a third moved. */
#define MANY 600

struct many {
	struct loop *loop;
	struct timer t[MANY];
	uint64_t last;
	unsigned fired;
};

static struct many many;

static void
on_one_of_many(void *owner)
{
	struct timer *t = owner;

	assert_true(t->due_ms >= many.last);
	assert_true(t->due_ms <= loop_now_ms(many.loop));
	many.last = t->due_ms;
	many.fired++;
}

static void
test_many_timers(void **state)
{
	unsigned seed = 7;

	(void)state;
	many.loop = begin();
	for (unsigned i = 0; i < MANY; i++) {
		seed = seed * 1103515245u + 12345u;
		timer_init(&many.t[i], many.loop, on_one_of_many, &many.t[i]);
		timer_set(&many.t[i], (seed >> 16) % 30);
	}
	for (unsigned i = 0; i < MANY; i += 3)
		timer_clear(&many.t[i]);
	for (unsigned i = 1; i < MANY; i += 3)
		timer_set(&many.t[i], (many.t[i].due_ms * 7 + i) % 30);
	loop_run(many.loop);
	assert_int_equal(many.fired, MANY - MANY / 3);
	finish(many.loop);
}

struct again {
	struct loop *loop;
	struct timer timer;
	struct deferred deferred;
	unsigned left;
};

static void
on_again(void *owner)
{
	struct again *a = owner;

	if (--a->left > 0)
		timer_set(&a->timer, 0);
}

/* A timer that sets itself with no delay must not hold the loop. */
static void
test_timer_of_no_delay_lets_others_run(void **state)
{
	struct again a = {.loop = begin(), .left = 5};
	struct timer stop;
	unsigned turns = 0;

	(void)state;
	timer_init(&a.timer, a.loop, on_again, &a);
	timer_init(&stop, a.loop, on_word, word("x"));
	timer_set(&a.timer, 0);
	timer_set(&stop, 0);
	loop_turn(a.loop, false);
	assert_string_equal(story, "x");
	assert_true(a.left > 0);
	while (loop_turn(a.loop, true))
		turns++;
	assert_int_equal(a.left, 0);
	assert_true(turns >= 1);
	finish(a.loop);
}

static void
on_clear_other(void *owner)
{
	tell("1");
	timer_clear(owner);
}

static void
test_timer_cleared_by_one_due_with_it(void **state)
{
	struct loop *l = begin();
	struct timer first, second;

	(void)state;
	timer_init(&first, l, on_clear_other, &second);
	timer_init(&second, l, on_word, word("2"));
	timer_set(&first, 1);
	timer_set(&second, 1);
	loop_run(l);
	assert_string_equal(story, "1");
	finish(l);
}

static void
on_deferred_again(void *owner)
{
	struct again *a = owner;

	tell("r");
	if (--a->left > 0)
		deferred_set(&a->deferred);
}

static void
test_deferred_in_order_and_once(void **state)
{
	struct loop *l = begin();
	struct deferred a, b, c;

	(void)state;
	deferred_init(&a, l, on_word, word("a"));
	deferred_init(&b, l, on_word, word("b"));
	deferred_init(&c, l, on_word, word("c"));
	deferred_set(&b);
	deferred_set(&a);
	deferred_set(&b);
	deferred_set(&c);
	deferred_clear(&c);
	deferred_clear(&c);
	assert_string_equal(story, "");
	loop_run(l);
	assert_string_equal(story, "ba");
	finish(l);
}

/* Each round is a turn that does not wait, even beside a far timer. */
static void
test_deferred_from_itself(void **state)
{
	struct again a = {.loop = begin(), .left = 4};
	struct timer far;
	unsigned turns = 0;

	(void)state;
	timer_init(&far, a.loop, on_word, word("far"));
	timer_set(&far, 3600 * 1000);
	deferred_init(&a.deferred, a.loop, on_deferred_again, &a);
	deferred_set(&a.deferred);
	for (; a.left > 0; turns++)
		loop_turn(a.loop, true);
	assert_string_equal(story, "rrrr");
	assert_int_equal(turns, 4);
	timer_clear(&far);
	finish(a.loop);
}

static struct deferred to_clear;

static void
on_clear_deferred(void *owner)
{
	(void)owner;
	tell("1");
	deferred_clear(&to_clear);
}

static void
test_deferred_cleared_by_the_one_before(void **state)
{
	struct loop *l = begin();
	struct deferred first;

	(void)state;
	deferred_init(&first, l, on_clear_deferred, NULL);
	deferred_init(&to_clear, l, on_word, word("2"));
	deferred_set(&first);
	deferred_set(&to_clear);
	loop_run(l);
	assert_string_equal(story, "1");
	finish(l);
}

static void
on_set_deferred(void *owner)
{
	deferred_set(owner);
}

/* Set from a timer, that is outside of the deferred round. */
static void
test_deferred_from_a_timer_is_prompt(void **state)
{
	struct loop *l = begin();
	struct timer soon, far;
	struct deferred d;

	(void)state;
	deferred_init(&d, l, on_word, word("d"));
	timer_init(&soon, l, on_set_deferred, &d);
	timer_init(&far, l, on_word, word("far"));
	timer_set(&soon, 1);
	timer_set(&far, 3600 * 1000);
	RUN_UNTIL(l, story[0] != '\0');
	assert_string_equal(story, "d");
	timer_clear(&far);
	finish(l);
}

static struct loop *grave_loop;

static void
free_word(void *object)
{
	tell(object);
}

static void
free_and_bury(void *object)
{
	tell(object);
	loop_bury(grave_loop, word("3"), free_word);
}

static void
on_bury(void *owner)
{
	(void)owner;
	loop_bury(grave_loop, word("1"), free_word);
	loop_bury(grave_loop, word("2"), free_and_bury);
	tell("(still here)");
}

static void
test_graves_are_emptied_at_the_end_of_the_turn(void **state)
{
	struct timer t;
	struct deferred d;

	(void)state;
	grave_loop = begin();
	timer_init(&t, grave_loop, on_bury, NULL);
	timer_set(&t, 0);
	loop_turn(grave_loop, true);
	assert_string_equal(story, "(still here)123");
	story[0] = '\0';
	deferred_init(&d, grave_loop, on_bury, NULL);
	deferred_set(&d);
	loop_turn(grave_loop, false);
	assert_string_equal(story, "(still here)123");
	story[0] = '\0';
	on_bury(NULL);
	assert_string_equal(story, "(still here)");
	finish(grave_loop);
	assert_string_equal(story, "(still here)123");
}

static void
test_blocks_are_aligned_and_reused(void **state)
{
	struct loop *l = begin();
	uint8_t *blocks[6];
	uint8_t *again;

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		blocks[i] = loop_block_take(l);
		assert_int_equal((uintptr_t)blocks[i] % 64, 0);
		blocks[i][0] = blocks[i][LOOP_BLOCK_SIZE - 1] = (uint8_t)i;
	}
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(blocks[i][LOOP_BLOCK_SIZE - 1], i);
	loop_block_give(l, blocks[0]);
	again = loop_block_take(l);
	assert_ptr_equal(again, blocks[0]);
	for (size_t i = 0; i < 6; i++)
		loop_block_give(l, blocks[i]);
	finish(l);
}

struct job {
	struct loop *loop;
	unsigned *done;
	int result;
};

static void
run_job(void *owner)
{
	((struct job *)owner)->result = 42;
}

static void
job_done(void *owner)
{
	struct job *j = owner;

	assert_int_equal(j->result, 42);
	++*j->done;
	free(j);
}

static void
add_job(struct loop *l, unsigned *done)
{
	struct job *j = calloc(1, sizeof(*j));

	j->loop = l;
	j->done = done;
	loop_work(l, run_job, job_done, j);
}

static void
test_work(void **state)
{
	struct loop *l = begin();
	unsigned done = 0;

	(void)state;
	for (int i = 0; i < 8; i++)
		add_job(l, &done);
	assert_int_equal(done, 0);
	loop_run(l);
	assert_int_equal(done, 8);
	/* Work under way at the end is waited for. */
	add_job(l, &done);
	finish(l);
	assert_int_equal(done, 9);
}

static void
on_signal(void *owner, int signum)
{
	tell(owner);
	assert_int_equal(signum, SIGUSR1);
}

static void
test_signals(void **state)
{
	struct loop *l = begin();
	struct timer far;
	struct err e;

	(void)state;
	assert_true(loop_on_signal(l, SIGUSR1, on_signal, word("old"), &e));
	assert_true(loop_on_signal(l, SIGUSR1, on_signal, word("new"), &e));
	assert_false(loop_on_signal(l, SIGKILL, on_signal, word("x"), &e));
	assert_int_equal(e.code, ERR_SYSTEM);
	loop_run(l); /* a signal alone does not keep it */
	timer_init(&far, l, on_word, word("far"));
	timer_set(&far, 3600 * 1000);
	kill(getpid(), SIGUSR1);
	RUN_UNTIL(l, story[0] != '\0');
	assert_string_equal(story, "new");
	timer_clear(&far);
	finish(l);
}

struct watched {
	struct watch *watch;
	int fd;
	unsigned ready;
};

static void
on_ready(void *owner)
{
	struct watched *w = owner;
	char byte;

	w->ready++;
	assert_int_equal(read(w->fd, &byte, 1), 1);
	if (byte == 'c') {
		watch_close(w->watch);
		w->watch = NULL;
	}
}

static void
test_watch(void **state)
{
	struct loop *l = begin();
	struct watched w = {0};
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	w.fd = fds[0];
	w.watch = watch_open(l, fds[0], on_ready, &w, NULL);
	assert_non_null(w.watch);
	/* The mode of a descriptor that others share is left alone. */
	assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	watch_set_active(w.watch, false);
	loop_turn(l, false);
	assert_int_equal(w.ready, 0);
	watch_set_active(w.watch, true);
	RUN_UNTIL(l, w.ready == 3);
	assert_null(w.watch);
	finish(l);
	close(fds[0]);
	close(fds[1]);
}

static void
test_watch_refuses_a_file(void **state)
{
	struct loop *l = begin();
	struct err e = {0};
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	assert_true(fd >= 0);
	assert_null(watch_open(l, fd, on_ready, NULL, &e));
	assert_int_equal(e.code, ERR_SYSTEM);
	close(fd);
	finish(l);
}

static void
on_stop(void *owner)
{
	loop_stop(owner);
}

static void
test_stop(void **state)
{
	struct loop *l = begin();
	struct timer t, far;

	(void)state;
	timer_init(&t, l, on_stop, l);
	timer_init(&far, l, on_word, word("far"));
	timer_set(&t, 1);
	timer_set(&far, 3600 * 1000);
	loop_run(l);
	assert_string_equal(story, "");
	timer_clear(&far);
	finish(l);
}

/* What was forgotten is told, and the loop lives on. */
static void
test_close_tells_what_is_left(void **state)
{
	struct loop *l = begin();
	struct watched w = {0};
	struct timer t;
	int fds[2];

	(void)state;
	timer_init(&t, l, on_word, word("t"));
	timer_set(&t, 3600 * 1000);
	assert_false(loop_close(l));
	timer_clear(&t);
	assert_int_equal(pipe(fds), 0);
	w.watch = watch_open(l, fds[0], on_ready, &w, NULL);
	assert_false(loop_close(l));
	watch_close(w.watch);
	finish(l);
	close(fds[0]);
	close(fds[1]);
}

static void
test_two_loops(void **state)
{
	struct loop *a = begin();
	struct loop *b = begin();
	struct timer x, y;

	(void)state;
	timer_init(&x, a, on_word, word("x"));
	timer_init(&y, b, on_word, word("y"));
	timer_set(&x, 0);
	timer_set(&y, 0);
	loop_run(b);
	assert_string_equal(story, "y");
	loop_run(a);
	assert_string_equal(story, "yx");
	finish(a);
	finish(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_empty_loop_returns),
	    cmocka_unit_test(test_turn_does_not_sleep_over_a_due_timer),
	    cmocka_unit_test(test_timers_fire_in_order),
	    cmocka_unit_test(test_many_timers),
	    cmocka_unit_test(test_timer_of_no_delay_lets_others_run),
	    cmocka_unit_test(test_timer_cleared_by_one_due_with_it),
	    cmocka_unit_test(test_deferred_in_order_and_once),
	    cmocka_unit_test(test_deferred_from_itself),
	    cmocka_unit_test(test_deferred_cleared_by_the_one_before),
	    cmocka_unit_test(test_deferred_from_a_timer_is_prompt),
	    cmocka_unit_test(test_graves_are_emptied_at_the_end_of_the_turn),
	    cmocka_unit_test(test_blocks_are_aligned_and_reused),
	    cmocka_unit_test(test_work),
	    cmocka_unit_test(test_signals),
	    cmocka_unit_test(test_watch),
	    cmocka_unit_test(test_watch_refuses_a_file),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_close_tells_what_is_left),
	    cmocka_unit_test(test_two_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
