/* SPDX-License-Identifier: MIT
 *
 * Forwarding: what a client behind the relay sees. The output of every feed is
 * decoded again; whatever the cuts, the messages must be the same, no frame
 * empty unless its message is, none longer than the limit.
 */
#include "ws/ws_forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* Both ends of a forwarding, and what came out, as text. */
struct bench {
	struct ws_forward forward;
	struct ws_decoder reader;
	char text[600];
	size_t len;
	uint64_t payload; /* decoded from the output */
	uint32_t sum;     /* of its bytes and places */
	int frames;
	int empty;
	int messages;
	int controls;
	bool is_bad;
	bool is_quiet; /* too much for text */
};

static void
put(struct bench *b, const void *text, size_t n)
{
	if (b->is_quiet)
		return;
	assert_true(b->len + n < sizeof b->text);
	memcpy(b->text + b->len, text, n);
	b->len += n;
	b->text[b->len] = '\0';
}

static void
start(struct bench *b)
{
	memset(b, 0, sizeof *b);
	ws_forward_init(&b->forward);
	ws_decoder_init(&b->reader, false);
}

static void
read_output(struct bench *b, uint8_t *data, size_t len)
{
	struct ws_event ev;

	for (;;) {
		ws_decoder_next(&b->reader, &data, &len, &ev);
		assert_int_not_equal(ev.kind, WS_EVENT_BAD);
		if (ev.kind == WS_EVENT_NONE)
			return;
		assert_int_equal(ev.kind, WS_EVENT_DATA);
		assert_true(ev.frame_len <= WS_FRAME_MAX);
		if (ev.message_start)
			put(b, ev.opcode == WS_TEXT ? "T(" : "B(", 2);
		put(b, ev.data, ev.len);
		for (size_t i = 0; i < ev.len; i++)
			b->sum = b->sum * 31 + ev.data[i];
		b->payload += ev.len;
		b->frames += ev.frame_end;
		b->empty += ev.frame_len == 0;
		b->messages += ev.message_end;
		if (ev.message_end)
			put(b, ")", 1);
		else if (ev.frame_end)
			put(b, "|", 1);
	}
}

/* Input and output blocks are of exact size, for the sanitizers. */
static void
feed(struct bench *b, const uint8_t *data, size_t len)
{
	uint8_t *const copy = malloc(len ? len : 1);
	uint8_t *at = copy;
	enum ws_event_kind kind;
	struct ws_event ev;

	memcpy(copy, data, len);
	do {
		const size_t bound = ws_forward_bound(len);
		uint8_t *const out = malloc(bound);
		size_t out_len;

		kind =
		    ws_forward_feed(&b->forward, &at, &len, out, &out_len, &ev);
		assert_true(out_len <= bound);
		assert_int_equal(kind, ev.kind);
		read_output(b, out, out_len);
		free(out);
		if (kind == WS_EVENT_CONTROL) {
			const char name[] = {
			    '<', "?\?\?\?\?\?\?\?cpo"[ev.opcode], '>'};

			b->controls++;
			put(b, name, sizeof name);
		}
	} while (kind == WS_EVENT_CONTROL);
	b->is_bad = kind == WS_EVENT_BAD;
	free(copy);
}

/* --- making input --- */

struct input {
	uint8_t *bytes;
	size_t len;
	size_t room;
};

static void
add(struct input *in, enum ws_opcode opcode, bool fin, const void *payload,
    size_t n)
{
	const uint8_t mask[4] = {(uint8_t)n, 0x80, 0x33, (uint8_t)in->len};
	size_t head;

	if (in->len + WS_FRAME_HEAD_MAX + n > in->room) {
		in->room = (in->len + WS_FRAME_HEAD_MAX + n) * 2;
		in->bytes = realloc(in->bytes, in->room);
	}
	head = ws_frame_build(in->bytes + in->len, opcode, fin, n, mask);
	in->len += head;
	if (n > 0)
		ws_frame_mask(in->bytes + in->len, payload, n, mask, 0);
	in->len += n;
}

static void
add_text(struct input *in, enum ws_opcode opcode, bool fin, const char *text)
{
	add(in, opcode, fin, text, strlen(text));
}

/* Without the borders of frames, which depend on the cuts. */
static void
strip(const char *text, char *out)
{
	for (; *text; text++) {
		if (*text != '|')
			*out++ = *text;
	}
	*out = '\0';
}

/* `whole` is what one feed gives, frame by frame. */
static void
assert_forwarded(struct input *in, const char *whole)
{
	char expected[600], got[600];
	struct bench b;

	strip(whole, expected);
	start(&b);
	feed(&b, in->bytes, in->len);
	assert_false(b.is_bad);
	assert_string_equal(b.text, whole);
	start(&b);
	for (size_t i = 0; i < in->len; i++)
		feed(&b, in->bytes + i, 1);
	strip(b.text, got);
	assert_string_equal(got, expected);
	for (size_t cut = 0; cut <= in->len; cut++) {
		start(&b);
		feed(&b, in->bytes, cut);
		feed(&b, in->bytes + cut, in->len - cut);
		strip(b.text, got);
		assert_string_equal(got, expected);
		if (!strstr(whole, "()"))
			assert_int_equal(b.empty, 0);
	}
	free(in->bytes);
	*in = (struct input){0};
}

static void
test_messages(void **state)
{
	struct input in = {0};

	(void)state;
	add_text(&in, WS_TEXT, true, "hello");
	add_text(&in, WS_BINARY, true, "x");
	add_text(&in, WS_TEXT, true, "bye");
	assert_forwarded(&in, "T(hello)B(x)T(bye)");
}

static void
test_fragments_join(void **state)
{
	struct input in = {0};

	(void)state;
	add_text(&in, WS_BINARY, false, "a");
	add_text(&in, WS_CONTINUATION, false, "bc");
	add_text(&in, WS_CONTINUATION, false, "");
	add_text(&in, WS_CONTINUATION, true, "def");
	add_text(&in, WS_TEXT, false, "1");
	add_text(&in, WS_CONTINUATION, true, "2");
	assert_forwarded(&in, "B(abcdef)T(12)");
}

/* The end of a message rides on data: no empty last frame. */
static void
test_empty_end(void **state)
{
	struct input in = {0};
	struct bench b;

	(void)state;
	add_text(&in, WS_BINARY, false, "data");
	add_text(&in, WS_CONTINUATION, true, "");
	assert_forwarded(&in, "B(data)");
	add_text(&in, WS_BINARY, false, "");
	add_text(&in, WS_CONTINUATION, false, "");
	add_text(&in, WS_CONTINUATION, false, "z");
	add_text(&in, WS_CONTINUATION, false, "");
	add_text(&in, WS_CONTINUATION, true, "");
	assert_forwarded(&in, "B(z)");
	/* Fed one by one: what is there goes out at once, but for one byte. */
	start(&b);
	add_text(&in, WS_BINARY, false, "data");
	feed(&b, in.bytes, in.len);
	assert_string_equal(b.text, "B(dat|");
	in.len = 0;
	add_text(&in, WS_CONTINUATION, true, "");
	feed(&b, in.bytes, in.len);
	assert_string_equal(b.text, "B(dat|a)");
	free(in.bytes);
}

/* An empty message that was meant is passed on. */
static void
test_empty_message(void **state)
{
	struct input in = {0};

	(void)state;
	add_text(&in, WS_BINARY, true, "");
	add_text(&in, WS_TEXT, false, "");
	add_text(&in, WS_CONTINUATION, true, "");
	add_text(&in, WS_BINARY, true, "x");
	add_text(&in, WS_TEXT, true, "");
	assert_forwarded(&in, "B()T()B(x)T()");
}

static void
test_control_between(void **state)
{
	struct input in = {0};

	(void)state;
	add_text(&in, WS_PING, true, "p");
	add_text(&in, WS_BINARY, false, "ab");
	add_text(&in, WS_PONG, true, "");
	add_text(&in, WS_CONTINUATION, false, "cd");
	add_text(&in, WS_PING, true, "ping");
	add_text(&in, WS_CONTINUATION, true, "ef");
	add_text(&in, WS_CLOSE, true, "");
	assert_forwarded(&in, "<p>B(a|<o>bc|<p>def)<c>");
}

static void
test_violation(void **state)
{
	struct input in = {0};
	struct bench b;

	(void)state;
	add_text(&in, WS_BINARY, true, "good");
	add_text(&in, WS_CONTINUATION, true, "bad");
	start(&b);
	feed(&b, in.bytes, in.len);
	assert_true(b.is_bad);
	assert_string_equal(b.text, "B(good)");
	start(&b);
	feed(&b, (const uint8_t *)"\x82\x01x", 3);
	assert_true(b.is_bad);
	assert_string_equal(b.text, "");
	free(in.bytes);
}

/* --- bulk, with a plan of fragments and a plan of cuts --- */

static uint32_t
next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void
assert_bulk(const size_t *sizes, size_t n_sizes, size_t step, int frames_max)
{
	struct input in = {0};
	uint64_t total = 0;
	uint32_t sum = 0, seed = 7;
	struct bench b;

	for (size_t i = 0; i < n_sizes; i++) {
		uint8_t *const part = malloc(sizes[i] + 1);

		for (size_t k = 0; k < sizes[i]; k++) {
			part[k] = (uint8_t)next_random(&seed);
			sum = sum * 31 + part[k];
		}
		add(&in, i == 0 ? WS_BINARY : WS_CONTINUATION, i + 1 == n_sizes,
		    part, sizes[i]);
		total += sizes[i];
		free(part);
	}
	start(&b);
	b.is_quiet = true;
	for (size_t at = 0; at < in.len; at += step)
		feed(
		    &b, in.bytes + at, in.len - at < step ? in.len - at : step);
	assert_int_equal(b.payload, total);
	assert_int_equal(b.forward.bytes, total);
	assert_int_equal(b.sum, sum);
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.empty, 0);
	assert_true(b.frames <= frames_max);
	free(in.bytes);
}

static void
test_bulk(void **state)
{
	static const size_t sizes[] = {
	    65535, 65536, 65537, 131072, 200000, 126, 125, 1, 70000};
	static const size_t steps[] = {1000000, 65536, 16384, 1460, 700, 1};

	(void)state;
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
			if (sizes[k] > 65536 && steps[i] == 1)
				continue;
			/* A frame stays one, however it trickles in. */
			assert_bulk(&sizes[k], 1, steps[i],
			    (int)((sizes[k] + 65535) / 65536));
		}
	}
	for (size_t i = 0; i + 1 < sizeof steps / sizeof steps[0]; i++)
		assert_bulk(
		    sizes, sizeof sizes / sizeof sizes[0], steps[i], 20);
}

/* 66,560 fragments of one byte would be more than some clients allow. */
static void
test_many_tiny(void **state)
{
	static size_t sizes[66560];

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		sizes[i] = 1;
	assert_bulk(sizes, sizeof sizes / sizeof sizes[0], 65536, 20);
}

/* Exactly at the borders where headers grow and frames are full. */
static void
test_borders(void **state)
{
	(void)state;
	for (size_t first = 65530; first < 65540; first++) {
		for (size_t second = 0; second < 4; second++) {
			const size_t sizes[] = {first, second};

			assert_bulk(sizes, 2, 1 << 20, 3);
			assert_bulk(sizes, 2, 60000, 4);
		}
	}
	for (size_t first = 120; first < 130; first++) {
		for (size_t second = 0; second < 10; second++) {
			const size_t sizes[] = {first, second, 3, second};

			assert_bulk(sizes, 4, 1 << 20, 1);
			assert_bulk(sizes, 4, 1, 10);
			assert_bulk(sizes, 4, 50, 10);
		}
	}
}

static void
test_random(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int turn = 0; turn < 400; turn++) {
		size_t sizes[12];
		const size_t n = 1 + next_random(&seed) % 12;

		for (size_t i = 0; i < n; i++) {
			const uint32_t kind = next_random(&seed) % 8;

			sizes[i] = kind == 0  ? 0
			           : kind < 4 ? next_random(&seed) % 5
			           : kind < 7 ? next_random(&seed) % 300
			                      : next_random(&seed) % 100000;
		}
		sizes[0]++;
		assert_bulk(sizes, n, 1 + next_random(&seed) % 3000, 1 << 30);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_fragments_join),
	    cmocka_unit_test(test_empty_end),
	    cmocka_unit_test(test_empty_message),
	    cmocka_unit_test(test_control_between),
	    cmocka_unit_test(test_violation),
	    cmocka_unit_test(test_bulk),
	    cmocka_unit_test(test_many_tiny),
	    cmocka_unit_test(test_borders),
	    cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("ws_forward", tests, NULL, NULL);
}
