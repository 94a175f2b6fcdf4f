/* SPDX-License-Identifier: MIT
 *
 * The byte queue: order, ceiling, release of memory, and a long random walk
 * against a plain array.
 */
#include "util/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void
assert_content(const struct buf *b, const char *text)
{
	assert_int_equal(buf_len(b), strlen(text));
	if (*text)
		assert_memory_equal(buf_data(b), text, strlen(text));
}

static void
test_queue(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(buf_len(&b), 0);
	assert_null(buf_data(&b));
	assert_true(buf_append(&b, "abc", 3));
	assert_true(buf_append_text(&b, "def"));
	assert_true(buf_append_text(&b, ""));
	assert_true(buf_append(&b, NULL, 0));
	assert_content(&b, "abcdef");
	buf_consume(&b, 2);
	assert_content(&b, "cdef");
	assert_true(buf_printf(&b, "%d-%s", 42, "x"));
	assert_content(&b, "cdef42-x");
	buf_consume(&b, 8);
	assert_int_equal(buf_len(&b), 0);
	assert_null(b.base);
	assert_true(buf_append(&b, "again", 5));
	assert_content(&b, "again");
	buf_fini(&b);
	assert_null(buf_data(&b));
	assert_true(buf_append(&b, "usable", 6));
	buf_fini(&b);
}

static void
test_ceiling(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_true(buf_append(&b, "0123456", 7));
	assert_false(buf_append(&b, "7890", 4));
	assert_false(buf_printf(&b, "%s", "7890"));
	assert_null(buf_reserve(&b, 4));
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_content(&b, "0123456");
	assert_true(buf_append(&b, "789", 3));
	buf_consume(&b, 5);
	assert_true(buf_append(&b, "abcde", 5));
	assert_content(&b, "56789abcde");
	assert_true(b.room <= 10);
	buf_fini(&b);
	buf_init(&b, 0);
	assert_false(buf_append(&b, "x", 1));
	assert_true(buf_append(&b, "", 0));
	buf_init(&b, SIZE_MAX);
	assert_true(buf_append(&b, "no limit", 8));
	buf_fini(&b);
}

static void
test_reserve(void **state)
{
	struct buf b;
	uint8_t *at;

	(void)state;
	buf_init(&b, 100000);
	at = buf_reserve(&b, 5000);
	assert_non_null(at);
	memset(at, 'y', 5000);
	buf_commit(&b, 3);
	assert_content(&b, "yyy");
	buf_consume(&b, 3);
	assert_null(b.base);
	/* Nothing committed: the memory goes too. */
	assert_non_null(buf_reserve(&b, 10));
	buf_commit(&b, 0);
	assert_null(b.base);
}

static void
test_long_printf(void **state)
{
	struct buf b;
	char text[1000];

	(void)state;
	memset(text, 'z', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	buf_init(&b, 5000);
	assert_true(buf_printf(&b, "%s!", text));
	assert_int_equal(buf_len(&b), 1000);
	assert_int_equal(buf_data(&b)[999], '!');
	buf_fini(&b);
}

static void
test_take_text(void **state)
{
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, 100);
	text = buf_take_text(&b);
	assert_string_equal(text, "");
	free(text);
	buf_append_text(&b, "xxhello");
	buf_consume(&b, 2);
	text = buf_take_text(&b);
	assert_string_equal(text, "hello");
	free(text);
	assert_int_equal(buf_len(&b), 0);
	assert_null(b.base);
	assert_true(buf_append_text(&b, "limit stays"));
	buf_fini(&b);
}

/* What goes in comes out, in whatever portions; the content is a counter. */
static void
test_random_walk(void **state)
{
	struct buf b;
	uint32_t seed = 1;
	size_t in = 0, out = 0;

	(void)state;
	buf_init(&b, 4096);
	for (int turn = 0; turn < 20000; turn++) {
		size_t n;

		seed = seed * 1664525 + 1013904223;
		n = (seed >> 16) % 700;
		if (seed >> 31) {
			uint8_t *at = buf_reserve(&b, n);

			assert_true(!at == (n > 4096 - (in - out)));
			if (!at)
				continue;
			for (size_t i = 0; i < n; i++)
				at[i] = (uint8_t)((in + i) * 7);
			buf_commit(&b, n);
			in += n;
		} else {
			n = n < buf_len(&b) ? n : buf_len(&b);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(
				    buf_data(&b)[i], (uint8_t)((out + i) * 7));
			buf_consume(&b, n);
			out += n;
		}
		assert_int_equal(buf_len(&b), in - out);
		assert_true(b.room <= 4096);
		assert_true((buf_len(&b) == 0) == (b.base == NULL));
	}
	assert_true(out > 100000);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_queue),
	    cmocka_unit_test(test_ceiling),
	    cmocka_unit_test(test_reserve),
	    cmocka_unit_test(test_long_printf),
	    cmocka_unit_test(test_take_text),
	    cmocka_unit_test(test_random_walk),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
