/* SPDX-License-Identifier: MIT
 *
 * The intrusive list: order, membership, and removal while walking.
 */
#include "util/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
	int number;
	struct list link;
};

static struct item *
item_of(struct list *link)
{
	return LIST_OF(link, struct item, link);
}

static void
assert_numbers(const struct list *list, const int *numbers, size_t n)
{
	struct list *at;
	size_t i = 0;

	LIST_EACH (at, list) {
		assert_true(i < n);
		assert_int_equal(item_of(at)->number, numbers[i++]);
	}
	assert_int_equal(i, n);
}

static void
test_order(void **state)
{
	struct item a = {.number = 1}, b = {.number = 2}, c = {.number = 3};
	struct list list;

	(void)state;
	list_init(&list);
	assert_true(list_is_empty(&list));
	list_append(&list, &b.link);
	list_append(&list, &c.link);
	list_prepend(&list, &a.link);
	assert_false(list_is_empty(&list));
	assert_numbers(&list, (const int[]){1, 2, 3}, 3);
}

static void
test_membership(void **state)
{
	struct item a = {.number = 1}, b = {.number = 2};
	struct list list;

	(void)state;
	list_init(&list);
	list_init(&a.link);
	assert_false(list_is_linked(&a.link));
	list_remove(&a.link);
	list_append(&list, &a.link);
	list_append(&list, &b.link);
	assert_true(list_is_linked(&a.link));
	list_remove(&a.link);
	assert_false(list_is_linked(&a.link));
	assert_numbers(&list, (const int[]){2}, 1);
	list_remove(&b.link);
	list_remove(&b.link);
	assert_true(list_is_empty(&list));
	list_append(&list, &a.link);
	assert_numbers(&list, (const int[]){1}, 1);
}

static void
test_remove_while_walking(void **state)
{
	struct item items[6];
	struct list list, *at, *after;
	int seen = 0;

	(void)state;
	list_init(&list);
	for (int i = 0; i < 6; i++) {
		items[i].number = i;
		list_append(&list, &items[i].link);
	}
	LIST_EACH_SAFE (at, after, &list) {
		seen++;
		if (item_of(at)->number % 2 == 0)
			list_remove(at);
	}
	assert_int_equal(seen, 6);
	assert_numbers(&list, (const int[]){1, 3, 5}, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_membership),
	    cmocka_unit_test(test_remove_while_walking),
	};

	return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
