/* SPDX-License-Identifier: MIT
 *
 * Probes, the shortest round trip, the size of windows, and the guard.
 */
#include "mux/mux_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS 1000u
#define KIB ((size_t)1024)

static void
measure(struct mux_pace *p, uint64_t at_us, uint64_t rtt_us)
{
	assert_true(mux_pace_probe(p, at_us));
	mux_pace_answer(p, at_us + rtt_us);
}

static void
test_probes(void **state)
{
	struct mux_pace p = {0};

	(void)state;
	assert_true(mux_pace_probe(&p, 5));
	assert_false(mux_pace_probe(&p, 300 * MS)); /* one at a time */
	mux_pace_answer(&p, 301 * MS);
	assert_true(mux_pace_probe(&p, 302 * MS));
	mux_pace_answer(&p, 303 * MS);
	assert_false(mux_pace_probe(&p, 501 * MS));
	assert_true(mux_pace_probe(&p, 502 * MS));
}

static void
test_answer_unasked(void **state)
{
	struct mux_pace p = {0};

	(void)state;
	mux_pace_answer(&p, 1000 * MS);
	assert_int_equal(mux_pace_best_us(&p), 0);
	assert_int_equal(
	    mux_pace_window(&p, 1 << 30, 256 * KIB, 1 << 24), 256 * KIB);
}

/* A new, longer way is believed after a while; a queue is not at once. */
static void
test_best(void **state)
{
	struct mux_pace p = {0};
	const uint64_t s = 1000 * MS;

	(void)state;
	measure(&p, 10 * s, 20 * MS);
	measure(&p, 11 * s, 80 * MS);
	assert_int_equal(mux_pace_best_us(&p), 20 * MS);
	measure(&p, 16 * s, 80 * MS);
	assert_int_equal(mux_pace_best_us(&p), 20 * MS);
	measure(&p, 22 * s, 80 * MS);
	assert_int_equal(mux_pace_best_us(&p), 80 * MS);
	measure(&p, 23 * s, 70 * MS);
	assert_int_equal(mux_pace_best_us(&p), 70 * MS);
	measure(&p, 90 * s, 75 * MS);
	assert_int_equal(mux_pace_best_us(&p), 75 * MS);
}

static void
test_window(void **state)
{
	struct mux_pace p = {0};

	(void)state;
	measure(&p, 0, 20 * MS);
	assert_int_equal(
	    mux_pace_window(&p, 85 * KIB, 256 * KIB, 1 << 24), 256 * KIB);
	assert_int_equal(
	    mux_pace_window(&p, 86 * KIB, 256 * KIB, 1 << 24), 512 * KIB);
	assert_int_equal(
	    mux_pace_window(&p, 1360 * KIB, 2048 * KIB, 1 << 24), 2048 * KIB);
	assert_int_equal(
	    mux_pace_window(&p, 1366 * KIB, 2048 * KIB, 1 << 24), 4096 * KIB);
	assert_int_equal(
	    mux_pace_window(&p, 1 << 24, 1 << 24, 1 << 24), 1 << 24);
	assert_int_equal(
	    mux_pace_window(&p, 1 << 24, 768 * KIB, 1 << 20), 1 << 20);
	/* The same bytes in four times the time: a queue, no longer way. */
	measure(&p, 1000 * MS, 80 * MS);
	assert_int_equal(
	    mux_pace_window(&p, 256 * KIB, 256 * KIB, 1 << 24), 256 * KIB);
}

/* Whoever has less than a part to take back can be stuck with a window less
 * that part under way: it must count as used enough to grow. */
static void
test_parts_let_grow(void **state)
{
	struct mux_pace p = {0};

	(void)state;
	measure(&p, 0, 20 * MS);
	for (size_t w = 256 * KIB; w < 1 << 24; w *= 2)
		assert_true(
		    mux_pace_window(&p, w - mux_pace_part(w), w, 1 << 24) > w);
}

static void
test_guard(void **state)
{
	struct mux_guard g = {0};

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(mux_guard_take(&g, 20000, 3));
	assert_false(mux_guard_take(&g, 29999, 3));
	assert_true(mux_guard_take(&g, 30000, 3));
}

static void
test_window_alone(void **state)
{
	(void)state;
	assert_int_equal(mux_pace_window_alone(100, 300), 300);
	assert_int_equal(mux_pace_window_alone(101, 300), 600);
	assert_int_equal(
	    mux_pace_window_alone(MUX_PACE_SMALL, MUX_PACE_SMALL - 2),
	    2 * MUX_PACE_SMALL - 4);
	assert_int_equal(mux_pace_window_alone(MUX_PACE_SMALL, MUX_PACE_SMALL),
	    MUX_PACE_SMALL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_probes),
	    cmocka_unit_test(test_answer_unasked),
	    cmocka_unit_test(test_best),
	    cmocka_unit_test(test_window),
	    cmocka_unit_test(test_window_alone),
	    cmocka_unit_test(test_parts_let_grow),
	    cmocka_unit_test(test_guard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
