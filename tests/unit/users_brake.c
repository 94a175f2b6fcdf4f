/* SPDX-License-Identifier: MIT
 *
 * The brake with a clock moved by hand.
 */
#include "ends/users_brake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void
test_pauses(void **state)
{
	static const uint64_t want[] = {100, 200, 400, 800, 1600, 2000, 2000};
	struct users_brakes all;
	struct users_brake *b;
	uint64_t now = 5000, i;

	(void)state;
	users_brakes_init(&all, 100, 2000);
	b = users_brake_get(&all, 'n', "alice");
	assert_true(users_brake_wait(b, now) == 0);
	assert_true(users_brake_wait(NULL, now) == 0);
	for (i = 0; i < 7; i++) {
		users_brake_pull(&all, b, now);
		assert_true(users_brake_wait(b, now) == now + want[i]);
		now += want[i];
		assert_true(users_brake_wait(b, now - 1) == now);
		assert_true(users_brake_wait(b, now) == 0);
	}
	b->is_running = true;
	assert_true(users_brake_wait(b, now) == UINT64_MAX);
	b->is_running = false;
	/* Each ten quiet seconds take one step back. */
	now = b->wrong_ms + 2 * USERS_BRAKE_QUIET_MS;
	users_brake_pull(&all, b, now);
	assert_true(users_brake_wait(b, now) == now + 800);
	now += 1000 * (uint64_t)USERS_BRAKE_QUIET_MS;
	users_brake_pull(&all, b, now);
	assert_true(users_brake_wait(b, now) == now + 100);
	users_brakes_fini(&all);
}

static void
test_keys(void **state)
{
	struct users_brakes all;
	struct users_brake *b;

	(void)state;
	users_brakes_init(&all, 1, 1);
	b = users_brake_get(&all, 'n', "alice");
	assert_ptr_equal(users_brake_get(&all, 'n', "alice"), b);
	assert_ptr_not_equal(users_brake_get(&all, 's', "alice"), b);
	assert_ptr_not_equal(users_brake_get(&all, 'n', "Alice"), b);
	assert_ptr_not_equal(users_brake_get(&all, 'n', ""), b);
	assert_int_equal(all.count, 4);
	users_brakes_fini(&all);
	assert_int_equal(all.count, 0);
}

/* The one unused for the longest time gives way, but never one in use. */
static void
test_bound(void **state)
{
	struct users_brakes all;
	struct users_brake *held, *fresh;
	char word[16];
	int i;

	(void)state;
	users_brakes_init(&all, 1, 1);
	held = users_brake_get(&all, 'n', "held");
	held->trials = 1;
	fresh = users_brake_get(&all, 'n', "fresh");
	for (i = 0; i < 3 * USERS_BRAKES_MAX; i++) {
		snprintf(word, sizeof word, "w%d", i);
		users_brake_get(&all, 'n', word);
		assert_true(all.count <= USERS_BRAKES_MAX);
		assert_ptr_equal(users_brake_get(&all, 'n', "fresh"), fresh);
	}
	assert_ptr_equal(users_brake_get(&all, 'n', "held"), held);
	users_brakes_fini(&all);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pauses),
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
