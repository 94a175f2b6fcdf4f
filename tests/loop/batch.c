/* SPDX-License-Identifier: MIT
 *
 * Batches: lines in order from a file, with and without a last line end, with
 * pauses, and closed at each line.
 */
#include "cli/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"
#include "util/err.h"

struct reader {
	struct loop *loop;
	struct batch *batch;
	char got[4096];
	unsigned lines;
	unsigned ends;
	unsigned close_at; /* closes inside this line's event */
	unsigned pause_at;
	struct timer again;
};

static void
on_line(void *owner, const char *text, size_t n, unsigned number)
{
	struct reader *r = owner;
	char line[256];

	assert_int_equal(number, ++r->lines);
	snprintf(line, sizeof line, "%u:%.*s|", number, (int)n, text);
	strcat(r->got, line);
	if (number == r->pause_at) {
		batch_set_active(r->batch, false);
		timer_set(&r->again, 1);
	}
	if (number == r->close_at) {
		batch_close(r->batch);
		r->batch = NULL;
	}
}

static void
on_again(void *owner)
{
	struct reader *r = owner;

	assert_int_equal(r->lines, r->pause_at);
	batch_set_active(r->batch, true);
}

static void
on_end(void *owner)
{
	struct reader *r = owner;

	r->ends++;
	batch_close(r->batch);
	r->batch = NULL;
}

static const struct batch_events events = {
    .on_line = on_line, .on_end = on_end};

static void
run(struct reader *r, const char *text)
{
	char path[] = "/tmp/hyco-batch-XXXXXX";
	const int fd = mkstemp(path);
	struct err e;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	r->loop = loop_new(&e);
	assert_non_null(r->loop);
	timer_init(&r->again, r->loop, on_again, r);
	r->batch = batch_open(r->loop, path, &events, r, &e);
	assert_non_null(r->batch);
	unlink(path);
	/* No event before the open has returned. */
	assert_int_equal(r->lines, 0);
	while (r->batch)
		loop_turn(r->loop, true);
	timer_clear(&r->again);
	assert_true(loop_close(r->loop));
}

static void
test_lines(void **state)
{
	static const char *const rows[][2] = {
	    {"", ""},
	    {"a\n", "1:a|"},
	    {"a", "1:a|"},
	    {"a\r\nb c\n\nd", "1:a|2:b c|3:|4:d|"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct reader r = {.lines = 0};

		run(&r, rows[i][0]);
		assert_string_equal(r.got, rows[i][1]);
		assert_int_equal(r.ends, 1);
	}
}

static void
test_pause_and_close(void **state)
{
	(void)state;
	for (unsigned at = 1; at <= 4; at++) {
		struct reader paused = {.pause_at = at};
		struct reader closed = {.close_at = at};

		run(&paused, "a\nb\nc\nd");
		assert_string_equal(paused.got, "1:a|2:b|3:c|4:d|");
		assert_int_equal(paused.ends, 1);
		run(&closed, "a\nb\nc\nd");
		assert_int_equal(closed.lines, at);
		assert_int_equal(closed.ends, 0);
	}
}

static void
test_missing(void **state)
{
	struct err e = {0};
	struct loop *l = loop_new(&e);

	(void)state;
	assert_null(batch_open(l, "/tmp/hyco/no/such", &events, NULL, &e));
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_true(loop_close(l));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_pause_and_close),
	    cmocka_unit_test(test_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
