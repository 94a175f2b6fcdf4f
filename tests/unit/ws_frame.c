/* SPDX-License-Identifier: MIT
 *
 * Frames: the examples of RFC 6455 (section 5.7), every refusal, and each
 * stream of bytes fed whole, byte by byte and cut at every position, which
 * must always give the same messages.
 */
#include "ws/ws_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MAX 4096

/* What a decoder said, as text: pieces of one frame are joined. */
struct record {
	char text[LOG_MAX];
	size_t len;
	struct ws_decoder decoder;
	bool is_bad;
	bool is_open; /* inside the payload of a frame */
};

static void
put(struct record *r, const char *text)
{
	const size_t n = strlen(text);

	assert_true(r->len + n < LOG_MAX);
	memcpy(r->text + r->len, text, n + 1);
	r->len += n;
}

static void
put_bytes(struct record *r, const uint8_t *data, size_t n)
{
	char hex[4];

	for (size_t i = 0; i < n; i++) {
		snprintf(hex, sizeof hex, "%02x", data[i]);
		put(r, hex);
	}
}

static void
record_event(struct record *r, const struct ws_event *ev)
{
	char head[100];

	if (ev->kind == WS_EVENT_BAD) {
		snprintf(head, sizeof head, "BAD %d %s\n", ev->code, ev->why);
		put(r, head);
		r->is_bad = true;
	} else if (ev->kind == WS_EVENT_CONTROL) {
		snprintf(head, sizeof head, "control %d ", ev->opcode);
		put(r, head);
		put_bytes(r, ev->data, ev->len);
		put(r, "\n");
	} else {
		assert_int_equal(ev->frame_start, !r->is_open);
		if (ev->frame_start) {
			snprintf(head, sizeof head, "data %d%s [%u] ",
			    ev->opcode, ev->message_start ? " start" : "",
			    (unsigned)ev->frame_len);
			put(r, head);
		}
		assert_true(ev->frame_start || !ev->message_start);
		assert_true(ev->frame_end || !ev->message_end);
		put_bytes(r, ev->data, ev->len);
		if (ev->frame_end)
			put(r, ev->message_end ? " end\n" : "\n");
		r->is_open = !ev->frame_end;
	}
}

/* A copy, since decoding unmasks in place; of exact size, so that a sanitizer
 * sees a read beyond it. */
static void
feed(struct record *r, const uint8_t *data, size_t len)
{
	uint8_t *const copy = malloc(len ? len : 1);
	uint8_t *at = copy;
	struct ws_event ev;

	memcpy(copy, data, len);
	while (!r->is_bad) {
		ws_decoder_next(&r->decoder, &at, &len, &ev);
		if (ev.kind == WS_EVENT_NONE) {
			assert_int_equal(len, 0);
			break;
		}
		record_event(r, &ev);
	}
	if (r->is_bad) {
		/* Asked again, it gives the same answer. */
		ws_decoder_next(&r->decoder, &at, &len, &ev);
		assert_int_equal(ev.kind, WS_EVENT_BAD);
	}
	free(copy);
}

static void
start(struct record *r, bool expect_mask)
{
	memset(r, 0, sizeof *r);
	ws_decoder_init(&r->decoder, expect_mask);
}

static void
assert_events(
    const void *bytes, size_t n, bool expect_mask, const char *expected)
{
	const uint8_t *data = bytes;
	struct record r;

	start(&r, expect_mask);
	feed(&r, data, n);
	assert_string_equal(r.text, expected);
	start(&r, expect_mask);
	for (size_t i = 0; i < n; i++)
		feed(&r, data + i, 1);
	assert_string_equal(r.text, expected);
	for (size_t cut = 0; cut <= n; cut++) {
		start(&r, expect_mask);
		feed(&r, data, cut);
		feed(&r, data + cut, n - cut);
		assert_string_equal(r.text, expected);
	}
}

#define EVENTS(bytes, expect_mask, expected)                                   \
	assert_events(bytes, sizeof(bytes) - 1, expect_mask, expected)

static void
test_rfc_examples(void **state)
{
	(void)state;
	EVENTS("\x81\x05Hello", false, "data 1 start [5] 48656c6c6f end\n");
	EVENTS("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", true,
	    "data 1 start [5] 48656c6c6f end\n");
	EVENTS("\x01\x03Hel\x80\x02lo", false,
	    "data 1 start [3] 48656c\ndata 1 [2] 6c6f end\n");
	EVENTS("\x89\x05Hello", false, "control 9 48656c6c6f\n");
	EVENTS("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", true,
	    "control 10 48656c6c6f\n");
}

static void
test_sequences(void **state)
{
	(void)state;
	/* A control frame between fragments, and messages in a row. */
	EVENTS("\x02\x01\x61\x89\x01\x62\x00\x01\x63\x80\x01\x64\x82\x01\x65",
	    false,
	    "data 2 start [1] 61\ncontrol 9 62\ndata 2 [1] 63\n"
	    "data 2 [1] 64 end\ndata 2 start [1] 65 end\n");
	/* Empty frames of all kinds. */
	EVENTS("\x82\x00\x01\x00\x00\x00\x80\x00\x8a\x00\x88\x00", false,
	    "data 2 start [0]  end\ndata 1 start [0] \ndata 1 [0] \n"
	    "data 1 [0]  end\ncontrol 10 \ncontrol 8 \n");
	EVENTS("\x82\x80\x01\x02\x03\x04\x88\x82\xff\x00\xff\x00\xfc\xe8", true,
	    "data 2 start [0]  end\ncontrol 8 03e8\n");
	/* Incomplete: nothing but what is there. */
	EVENTS("\x82", false, "");
	EVENTS("\x82\x7f\0\0\0\0\0\1\0", false, "");
	EVENTS("\x89\x05Hell", false, "");
	EVENTS("\x82\x03zz", false, "data 2 start [3] 7a7a");
}

static void
test_refusals(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool expect_mask;
		const char *why;
	} rows[] = {
#define ROW(bytes, mask, why) {bytes, sizeof(bytes) - 1, mask, why}
	    ROW("\xc1\x00", false,
	        "a reserved bit is set, but no extension was agreed"),
	    ROW("\xa1\x00", false,
	        "a reserved bit is set, but no extension was agreed"),
	    ROW("\x99\x00", false,
	        "a reserved bit is set, but no extension was agreed"),
	    ROW("\x83\x00", false, "an unknown kind of frame"),
	    ROW("\x87\x00", false, "an unknown kind of frame"),
	    ROW("\x8b\x00", false, "an unknown kind of frame"),
	    ROW("\x8f\x00", false, "an unknown kind of frame"),
	    ROW("\x82\x80", false, "a masked frame from a server"),
	    ROW("\x82\x00", true, "an unmasked frame from a client"),
	    ROW("\x09\x00", false, "a control frame in fragments"),
	    ROW("\x08\x00", false, "a control frame in fragments"),
	    ROW("\x89\x7e", false, "a control frame longer than 125 bytes"),
	    ROW("\x88\xff", true, "a control frame longer than 125 bytes"),
	    ROW("\x80\x00", false,
	        "a continuation without a message before it"),
	    ROW("\x00\x01", false,
	        "a continuation without a message before it"),
	    ROW("\x82\x7e\x00\x7d", false,
	        "a length that is not in its shortest form"),
	    ROW("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", false,
	        "a length that is not in its shortest form"),
	    ROW("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", false,
	        "a length with its top bit set"),
	    ROW("GET / HTTP/1.1\r\n", true,
	        "a reserved bit is set, but no extension was agreed"),
#undef ROW
	};
	char expected[200];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		snprintf(
		    expected, sizeof expected, "BAD 1002 %s\n", rows[i].why);
		assert_events(
		    rows[i].bytes, rows[i].len, rows[i].expect_mask, expected);
	}
	EVENTS("\x01\x01\x61\x82\x00", false,
	    "data 1 start [1] 61\nBAD 1002 a new message inside another "
	    "one\n");
	EVENTS("\x81\x01\x61\x80\x00", false,
	    "data 1 start [1] 61 end\nBAD 1002 a continuation without a "
	    "message before it\n");
}

/* Lengths around each form: built, decoded, and the head's size foretold. */
static void
test_lengths(void **state)
{
	static const uint64_t lengths[] = {
	    0, 1, 125, 126, 127, 65535, 65536, 65537, 0x7fffffffffffffff};
	static const uint8_t mask[4] = {0xa5, 0x5a, 0x00, 0xff};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		for (int is_masked = 0; is_masked < 2; is_masked++) {
			uint8_t head[WS_FRAME_HEAD_MAX + 1];
			const size_t size = ws_frame_build(head, WS_BINARY,
			    true, lengths[i], is_masked ? mask : NULL);
			struct ws_decoder d;
			struct ws_event ev;
			uint8_t *at = head;
			size_t len = size + 1;

			assert_true(size <= WS_FRAME_HEAD_MAX);
			assert_int_equal(
			    size, ws_frame_head_size(lengths[i], is_masked));
			head[size] = is_masked ? 'x' ^ 0xa5 : 'x';
			ws_decoder_init(&d, is_masked);
			ws_decoder_next(&d, &at, &len, &ev);
			assert_int_equal(ev.kind, WS_EVENT_DATA);
			assert_true(ev.frame_len == lengths[i]);
			assert_int_equal(len, lengths[i] == 0);
			if (lengths[i] > 0)
				assert_int_equal(*ev.data, 'x');
			assert_int_equal(ev.message_end, lengths[i] < 2);
		}
	}
}

static void
test_build_bytes(void **state)
{
	static const uint8_t mask[4] = {1, 2, 3, 4};
	uint8_t out[WS_FRAME_HEAD_MAX + WS_CONTROL_MAX];

	(void)state;
	assert_int_equal(ws_frame_build(out, WS_TEXT, false, 126, NULL), 4);
	assert_memory_equal(out, "\x01\x7e\x00\x7e", 4);
	assert_int_equal(ws_frame_build(out, WS_BINARY, true, 65536, mask), 14);
	assert_memory_equal(out, "\x82\xff\0\0\0\0\0\1\0\0\1\2\3\4", 14);
	assert_int_equal(
	    ws_frame_build_control(out, WS_PING, "ab", 2, NULL), 4);
	assert_memory_equal(out,
	    "\x89\x02"
	    "ab",
	    4);
	assert_int_equal(
	    ws_frame_build_control(out, WS_PONG, "ab", 2, mask), 8);
	assert_memory_equal(out, "\x8a\x82\1\2\3\4\x60\x60", 8);
	assert_int_equal(
	    ws_frame_build_control(out, WS_CLOSE, NULL, 0, mask), 6);
	assert_memory_equal(out, "\x88\x80\1\2\3\4", 6);
}

/* Masking in place and across, at all offsets, lengths and alignments, against
 * the definition. */
static void
test_mask(void **state)
{
	static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
	uint8_t from[400], expected[400], across[400], here[400];

	(void)state;
	for (size_t i = 0; i < sizeof from; i++)
		from[i] = (uint8_t)(i * 37);
	for (size_t n = 0; n < 300; n += n < 40 ? 1 : 13) {
		for (size_t offset = 0; offset < 9; offset++) {
			const size_t shift = (n + offset * 5) % 64;

			memset(expected, 0xee, sizeof expected);
			memset(across, 0xee, sizeof across);
			memset(here, 0xee, sizeof here);
			for (size_t i = 0; i < n; i++)
				expected[shift + i] =
				    from[i] ^ mask[(offset + i) & 3];
			memcpy(here + shift, from, n);
			ws_frame_mask(across + shift, from, n, mask, offset);
			ws_frame_mask(
			    here + shift, here + shift, n, mask, offset);
			assert_memory_equal(across, expected, sizeof across);
			assert_memory_equal(here, expected, sizeof here);
		}
	}
	ws_frame_mask(across, from, 4, mask, 0xffffffffffffffff);
	assert_int_equal(across[0], from[0] ^ 0x78);
}

/* A long masked frame in odd pieces keeps its place in the mask. */
static void
test_mask_in_pieces(void **state)
{
	static const uint8_t mask[4] = {9, 8, 7, 6};
	enum { LEN = 3000 };
	uint8_t frame[WS_FRAME_HEAD_MAX + LEN], copy[sizeof frame];
	const size_t head = ws_frame_build(frame, WS_BINARY, true, LEN, mask);

	(void)state;
	for (size_t i = 0; i < LEN; i++)
		frame[head + i] = (uint8_t)(i >> 3) ^ mask[i & 3];
	for (size_t step = 1; step < 90; step++) {
		struct ws_decoder d;
		size_t seen = 0;

		memcpy(copy, frame, sizeof frame);
		ws_decoder_init(&d, true);
		for (size_t i = 0; i < head + LEN; i += step) {
			uint8_t *at = copy + i;
			size_t len =
			    head + LEN - i < step ? head + LEN - i : step;
			struct ws_event ev;

			ws_decoder_next(&d, &at, &len, &ev);
			assert_int_equal(len, 0);
			for (size_t k = 0; k < ev.len; k++, seen++)
				assert_int_equal(
				    ev.data[k], (uint8_t)(seen >> 3));
		}
		assert_int_equal(seen, LEN);
	}
}

static void
test_keep_masked(void **state)
{
	uint8_t frame[] = "\x82\x83\x01\x02\x03\x04xyz";
	uint8_t *at = frame;
	size_t len = sizeof frame - 1;
	struct ws_decoder d;
	struct ws_event ev;

	(void)state;
	ws_decoder_init(&d, true);
	d.keep_masked = true;
	ws_decoder_next(&d, &at, &len, &ev);
	assert_int_equal(ev.len, 3);
	assert_memory_equal(ev.data, "xyz", 3);
	assert_memory_equal(d.mask, "\1\2\3\4", 4);
	assert_int_equal(d.frame_at, 3);
}

static void
assert_close(
    const void *payload, size_t len, bool is_good, int code, const char *reason)
{
	char got[124];
	int got_code;

	assert_int_equal(
	    ws_frame_parse_close(payload, len, &got_code, got), is_good);
	assert_int_equal(got_code, code);
	assert_string_equal(got, reason);
}

static void
test_close(void **state)
{
	uint8_t out[WS_CONTROL_MAX];
	char reason[200];

	(void)state;
	assert_close("", 0, true, WS_CODE_NONE, "");
	assert_close("\x03", 1, false, WS_CODE_PROTOCOL, "");
	assert_close("\x03\xe8", 2, true, 1000, "");
	assert_close("\x03\xe9 bye", 6, true, 1001, " bye");
	assert_close("\x03\xe9\xff", 3, false, WS_CODE_INVALID_TEXT, "");
	assert_int_equal(ws_frame_build_close(out, 0, "x"), 0);
	assert_int_equal(ws_frame_build_close(out, WS_CODE_NONE, "x"), 0);
	assert_int_equal(ws_frame_build_close(out, 1000, NULL), 2);
	assert_int_equal(ws_frame_build_close(out, 1011, "oops"), 6);
	assert_memory_equal(out, "\x03\xf3oops", 6);
	/* 200 bytes are cut to 123; a character is never halved. */
	memset(reason, 'r', 199);
	reason[199] = '\0';
	assert_int_equal(ws_frame_build_close(out, 1000, reason), 125);
	assert_close(out, 125, true, 1000, reason + 199 - 123);
	memcpy(reason + 121, "\xe2\x82\xac", 3);
	assert_int_equal(ws_frame_build_close(out, 1000, reason), 123);
	memcpy(reason + 120, "\xe2\x82\xacr", 4);
	assert_int_equal(ws_frame_build_close(out, 1000, reason), 125);
}

static void
test_close_codes(void **state)
{
	(void)state;
	for (int code = 0; code < 65536; code++) {
		const uint8_t payload[2] = {
		    (uint8_t)(code >> 8), (uint8_t)code};
		const bool is_good = (code >= 1000 && code <= 1003) ||
		                     (code >= 1007 && code <= 1014) ||
		                     (code >= 3000 && code <= 4999);
		char reason[124];
		int got;

		assert_int_equal(
		    ws_frame_parse_close(payload, 2, &got, reason), is_good);
		assert_int_equal(got, is_good ? code : WS_CODE_PROTOCOL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rfc_examples),
	    cmocka_unit_test(test_sequences),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_build_bytes),
	    cmocka_unit_test(test_mask),
	    cmocka_unit_test(test_mask_in_pieces),
	    cmocka_unit_test(test_keep_masked),
	    cmocka_unit_test(test_close),
	    cmocka_unit_test(test_close_codes),
	};

	return cmocka_run_group_tests_name("ws_frame", tests, NULL, NULL);
}
