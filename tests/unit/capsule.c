/* SPDX-License-Identifier: MIT
 *
 * Capsules: vectors fed whole, byte by byte and cut at every position.
 */
#include "mux/capsule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"

struct vector {
	const char *in;
	size_t len;
	const char *out; /* payloads in brackets, or "BAD" at the end */
	bool between;
};

#define V(text, out, between)                                                  \
	{                                                                      \
		text, sizeof text - 1, out, between                            \
	}

static const struct vector vectors[] = {
    V("", "", true),
    V("\x00\x04\x00"
      "abc",
        "[abc]", true),
    V("\x00\x01\x00", "[]", true),
    V("\x00\x02\x00"
      "a\x00\x02\x00"
      "b",
        "[a][b]", true),
    /* The same numbers in longer forms. */
    V("\x40\x00\x80\x00\x00\x03\x40\x00"
      "a",
        "[a]", true),
    V("\xc0\x00\x00\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x02\x00"
      "x",
        "[x]", true),
    /* Unknown capsules, an empty one too, and an unknown context. */
    V("\x17\x03"
      "abc\x00\x02\x00"
      "x",
        "[x]", true),
    V("\x17\x00\x17\x00\x00\x02\x00"
      "x",
        "[x]", true),
    V("\x00\x03\x02"
      "ab\x00\x02\x00"
      "x",
        "[x]", true),
    /* In the middle. */
    V("\x00\x04\x00"
      "ab",
        "", false),
    V("\x00\x04", "", false),
    V("\x40", "", false),
    V("\x17\x05"
      "ab",
        "", false),
    /* Broken. */
    V("\x00\x00", "BAD", false),
    V("\x00\x01\x40", "BAD", false),
    V("\x00\x80\x01\x00\x00", "BAD", false),
    V("\x17\x80\x10\x00\x01", "BAD", false),
    V("\x17\xff\xff\xff\xff\xff\xff\xff\xff", "BAD", false),
    V("\x00\x02\x00"
      "a\x00\x00",
        "[a]BAD", false),
};

static bool
feed(struct capsule_reader *r, uint8_t *data, size_t len, char *out)
{
	for (;;) {
		uint8_t *payload;
		size_t n;
		struct err e = {0};

		switch (capsule_next(r, &data, &len, &payload, &n, &e)) {
		case CAPSULE_MORE:
			assert_int_equal(len, 0);
			return true;
		case CAPSULE_BAD:
			assert_int_equal(e.code, ERR_PROTOCOL);
			strcat(out, "BAD");
			return false;
		case CAPSULE_DATAGRAM:
			sprintf(out + strlen(out), "[%.*s]", (int)n,
			    (const char *)payload);
		}
	}
}

/* In pieces of at most `piece` bytes, the first one of `first`. */
static void
run(const struct vector *v, size_t first, size_t piece)
{
	struct capsule_reader r;
	char out[200] = "";
	size_t at = 0;
	bool ok = true;

	capsule_reader_init(&r);
	while (at < v->len && ok) {
		size_t n = at == 0 && first > 0 ? first : piece;
		uint8_t *copy;

		if (n > v->len - at)
			n = v->len - at;
		copy = malloc(n);
		memcpy(copy, v->in + at, n);
		ok = feed(&r, copy, n, out);
		free(copy);
		at += n;
	}
	assert_string_equal(out, v->out);
	if (ok)
		assert_int_equal(capsule_is_between(&r), v->between);
	capsule_reader_fini(&r);
}

static void
test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		const struct vector *v = &vectors[i];

		run(v, 0, v->len + 1);
		run(v, 0, 1);
		for (size_t cut = 1; cut < v->len; cut++)
			run(v, cut, v->len);
	}
}

/* Each size where the head changes, there and back. */
static void
test_sizes(void **state)
{
	static const size_t sizes[] = {
	    0, 1, 62, 63, 64, 16382, 16383, 16384, 65507, CAPSULE_PAYLOAD_MAX};
	static uint8_t wire[CAPSULE_HEAD_MAX + CAPSULE_PAYLOAD_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		const size_t head = capsule_build_head(wire, sizes[i]);

		assert_int_equal(head, capsule_head_size(sizes[i]));
		for (size_t cut = 0; cut <= 12; cut++) {
			struct capsule_reader r;
			uint8_t *data = wire, *payload;
			size_t len = cut < head + sizes[i] ? cut : 0;
			size_t rest = head + sizes[i] - len, n;

			memset(wire + head, 'x', sizes[i]);
			capsule_reader_init(&r);
			assert_int_equal(
			    capsule_next(&r, &data, &len, &payload, &n, NULL),
			    CAPSULE_MORE);
			assert_int_equal(
			    capsule_next(&r, &data, &rest, &payload, &n, NULL),
			    CAPSULE_DATAGRAM);
			assert_int_equal(n, sizes[i]);
			assert_int_equal(rest, 0);
			if (n > 0)
				assert_int_equal(payload[n - 1], 'x');
			capsule_reader_fini(&r);
		}
	}
}

/* A whole one is not copied. */
static void
test_in_place(void **state)
{
	uint8_t wire[] = {0, 4, 0, 'a', 'b', 'c'};
	struct capsule_reader r;
	uint8_t *data = wire, *payload;
	size_t len = sizeof wire, n;

	(void)state;
	capsule_reader_init(&r);
	assert_int_equal(capsule_next(&r, &data, &len, &payload, &n, NULL),
	    CAPSULE_DATAGRAM);
	assert_ptr_equal(payload, wire + 3);
	assert_null(r.part.base);
	capsule_reader_fini(&r);
}

/* One byte more than UDP carries, in the longest form of the context id. */
static void
test_too_long(void **state)
{
	static uint8_t wire[5 + CAPSULE_PAYLOAD_MAX + 8] = {
	    0, 0x80, 0x00, 0xff, 0xf9};
	struct capsule_reader r;
	uint8_t *data = wire, *payload;
	size_t len = 5 + 1 + CAPSULE_PAYLOAD_MAX + 1, n;

	(void)state;
	wire[2] = 0x00;
	/* length 65529: context id of 1 byte, payload of 65528 */
	capsule_reader_init(&r);
	assert_int_equal(
	    capsule_next(&r, &data, &len, &payload, &n, NULL), CAPSULE_BAD);
	capsule_reader_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_in_place),
	    cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
