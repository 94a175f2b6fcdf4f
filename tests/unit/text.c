/* SPDX-License-Identifier: MIT
 *
 * Text: encodings against the RFCs' own vectors, strictness of every decoder,
 * and UTF-8 cut at every position.
 */
#include "util/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"

static void
test_base64(void **state)
{
	/* RFC 4648, section 10, and bytes that tell the alphabets apart. */
	static const struct {
		const char *plain, *padded, *url;
	} rows[] = {
	    {"", "", ""},
	    {"f", "Zg==", "Zg"},
	    {"fo", "Zm8=", "Zm8"},
	    {"foo", "Zm9v", "Zm9v"},
	    {"foob", "Zm9vYg==", "Zm9vYg"},
	    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
	    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
	    {"\xfb\xff\xfe", "+//+", "-__-"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const size_t n = strlen(rows[i].plain);
		char text[32];
		uint8_t back[32];
		size_t len;

		text_base64_encode(rows[i].plain, n, text);
		assert_string_equal(text, rows[i].padded);
		assert_int_equal(text_base64_size(n), strlen(text) + 1);
		assert_true(text_base64_decode(text, strlen(text), back, &len));
		assert_int_equal(len, n);
		assert_memory_equal(back, rows[i].plain, n);
		text_base64url_encode(rows[i].plain, n, text);
		assert_string_equal(text, rows[i].url);
		assert_true(
		    text_base64url_decode(text, strlen(text), back, &len));
		assert_int_equal(len, n);
		assert_memory_equal(back, rows[i].plain, n);
	}
}

static void
test_base64_refuses(void **state)
{
	static const char *const bad[] = {"Zg", "Zg=", "Zg===", "=",
	    "====", "Z===", "Zh==", "Zm9=", "Zm9v\n", "Zm 9",
	    "Zg==Zg==", "Z*==", "-__-", "A=AA", "AA=A"};
	static const char *const bad_url[] = {
	    "Zg==", "Z", "Zh", "Zm9", "+//+", "Zm9v="};
	uint8_t out[32];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(
		    text_base64_decode(bad[i], strlen(bad[i]), out, &len));
	for (size_t i = 0; i < sizeof bad_url / sizeof bad_url[0]; i++)
		assert_false(text_base64url_decode(
		    bad_url[i], strlen(bad_url[i]), out, &len));
	assert_false(text_base64_decode("AA\0A", 4, out, &len));
}

static void
test_hex(void **state)
{
	uint8_t back[4];
	char text[9];

	(void)state;
	text_hex("\x00\x7f\xab\xff", 4, text);
	assert_string_equal(text, "007fabff");
	assert_true(text_unhex("007FabFF", 8, back));
	assert_memory_equal(back, "\x00\x7f\xab\xff", 4);
	assert_false(text_unhex("0", 1, back));
	assert_false(text_unhex("0g", 2, back));
	assert_false(text_unhex("g0", 2, back));
	assert_true(text_unhex("", 0, back));
	text_hex("", 0, text);
	assert_string_equal(text, "");
}

static void
test_percent(void **state)
{
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, 100);
	assert_true(text_percent_encode(&b, "a-Z_0.~ /+!'()*\xc3\xb8", 17));
	text = buf_take_text(&b);
	assert_string_equal(text, "a-Z_0.~%20%2F%2B%21%27%28%29%2A%C3%B8");
	assert_true(text_percent_decode(&b, text, strlen(text), false));
	free(text);
	text = buf_take_text(&b);
	assert_string_equal(text, "a-Z_0.~ /+!'()*\xc3\xb8");
	free(text);
	assert_true(text_percent_decode(&b, "a+b%2b%2B%3d", 12, false));
	assert_true(text_percent_decode(&b, "a+b", 3, true));
	assert_true(text_percent_decode(&b, "", 0, true));
	text = buf_take_text(&b);
	assert_string_equal(text, "a+b++=a b");
	free(text);
	buf_fini(&b);
}

static void
test_percent_refuses(void **state)
{
	static const char *const bad[] = {
	    "%", "%2", "a%", "%g0", "%0g", "%00", "x%0"};
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(
		    text_percent_decode(&b, bad[i], strlen(bad[i]), true));
	assert_int_equal(buf_len(&b), 0);
	assert_false(text_percent_encode(&b, "////", 4));
	assert_false(text_percent_decode(&b, "12345678901", 11, false));
	assert_int_equal(buf_len(&b), 0);
	assert_true(text_percent_decode(&b, "%31%32%33%34%35", 15, false));
	assert_int_equal(buf_len(&b), 5);
	buf_fini(&b);
}

static void
test_compare(void **state)
{
	(void)state;
	assert_true(text_is_equal_nocase("Upgrade", "uPGRADE"));
	assert_false(text_is_equal_nocase("Upgrade", "Upgrad"));
	assert_false(text_is_equal_nocase("Upgrad", "Upgrade"));
	/* Letters only: these differ by the same bit as letters do. */
	assert_false(text_is_equal_nocase("[", "{"));
	assert_false(text_is_equal_nocase("@", "`"));
	assert_true(text_is_equal_nocase_n("abCd", "ABcX", 3));
	assert_false(text_is_equal_nocase_n("abCd", "ABcX", 4));
	assert_true(text_has_prefix_nocase("Bearer x", "bearer "));
	assert_false(text_has_prefix_nocase("Bear", "bearer"));
	assert_true(text_has_prefix_nocase("", ""));
}

static void
test_lists(void **state)
{
	size_t n;
	const char *first;

	(void)state;
	assert_true(text_list_has("keep-alive, Upgrade", "upgrade"));
	assert_true(text_list_has("Upgrade", "upgrade"));
	assert_true(text_list_has(" ,\tupgrade\t ,", "upgrade"));
	assert_false(text_list_has("upgraded, up grade", "upgrade"));
	assert_false(text_list_has("", "upgrade"));
	assert_false(text_list_has(", ,", ""));
	first = text_list_first("  p1 , p2", &n);
	assert_int_equal(n, 2);
	assert_memory_equal(first, "p1", 2);
	first = text_list_first(",, x", &n);
	assert_int_equal(n, 1);
	assert_int_equal(*first, 'x');
	text_list_first(" , ", &n);
	assert_int_equal(n, 0);
}

static void
test_numbers(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "01",
	    "00", "1x", "0x1", "18446744073709551616",
	    "99999999999999999999999", "1.0"};
	uint64_t number = 77;
	uint16_t port = 77;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(text_parse_u64(bad[i], 0, UINT64_MAX, &number));
	assert_false(text_parse_u64("9", 10, 20, &number));
	assert_false(text_parse_u64("21", 10, 20, &number));
	assert_int_equal(number, 77);
	assert_true(text_parse_u64("0", 0, 9, &number));
	assert_int_equal(number, 0);
	assert_true(
	    text_parse_u64("18446744073709551615", 0, UINT64_MAX, &number));
	assert_true(number == UINT64_MAX);
	assert_false(text_parse_port("0", &port));
	assert_false(text_parse_port("65536", &port));
	assert_int_equal(port, 77);
	assert_true(text_parse_port("65535", &port));
	assert_int_equal(port, 65535);
}

/* Each text is fed whole, byte by byte and cut at every position. */
static void
assert_utf8(const char *s, size_t n, bool is_valid)
{
	const uint8_t *at = (const uint8_t *)s;
	uint32_t state;
	bool is_good;

	assert_int_equal(text_is_utf8(at, n), is_valid);
	for (size_t cut = 0; cut <= n; cut++) {
		state = 0;
		is_good = text_utf8_feed(&state, at, cut) &&
		          text_utf8_feed(&state, at + cut, n - cut) &&
		          state == 0;
		assert_int_equal(is_good, is_valid);
	}
	state = 0;
	is_good = true;
	for (size_t i = 0; i < n && is_good; i++)
		is_good = text_utf8_feed(&state, at + i, 1);
	assert_int_equal(is_good && state == 0, is_valid);
}

static void
test_utf8(void **state)
{
	static const char *const good[] = {"", "plain ascii, long enough",
	    "\xc3\xb8", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
	    "\xed\x9f\xbf\xee\x80\x80", "\xf4\x8f\xbf\xbf", "\xc2\x80",
	    "\xe0\xa0\x80", "\xf0\x90\x80\x80",
	    "eight by\xc3\xa4te runs\xe2\x82\xac and more of them"};
	static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80",
	    "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
	    "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
	    "\xfe", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3\xc3\xb8",
	    "\xe2\x28\xa1", "ok then \xc3("};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_utf8(good[i], strlen(good[i]), true);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_utf8(bad[i], strlen(bad[i]), false);
	assert_utf8("a\0b", 3, true);
}

/* Every code point, and every pair of bytes, against plain arithmetic. */
static void
test_utf8_all(void **state)
{
	(void)state;
	for (uint32_t c = 0x800; c < 0x120000; c += c < 0x10000 ? 1 : 61) {
		const bool is_long = c >= 0x10000;
		const uint8_t s[4] = {
		    (uint8_t)(is_long ? 0xf0 | c >> 18 : 0xe0 | c >> 12),
		    (uint8_t)(0x80 | (is_long ? c >> 12 & 63 : c >> 6 & 63)),
		    (uint8_t)(0x80 | (is_long ? c >> 6 & 63 : c & 63)),
		    (uint8_t)(0x80 | (c & 63)),
		};
		const bool is_valid =
		    c < 0x110000 && !(c >= 0xd800 && c < 0xe000);

		assert_int_equal(text_is_utf8(s, is_long ? 4 : 3), is_valid);
	}
	for (uint32_t c = 0; c < 0x10000; c++) {
		const uint8_t s[2] = {(uint8_t)(c >> 8), (uint8_t)c};
		const bool is_ascii = s[0] < 0x80 && s[1] < 0x80;
		const bool is_pair =
		    s[0] >= 0xc2 && s[0] < 0xe0 && (s[1] & 0xc0) == 0x80;

		assert_int_equal(text_is_utf8(s, 2), is_ascii || is_pair);
	}
}

static void
test_escape(void **state)
{
	char out[64];

	(void)state;
	text_escape("a\\b\n\x1b[0m\xc3\x7f", 10, out, sizeof out);
	assert_string_equal(out, "a\\\\b\\x0a\\x1b[0m\\xc3\\x7f");
	text_escape("abcdef", 6, out, 4);
	assert_string_equal(out, "abc");
	text_escape("ab\n", 3, out, 6);
	assert_string_equal(out, "ab");
	text_escape("ab\n", 3, out, 7);
	assert_string_equal(out, "ab\\x0a");
	text_escape("abc", 3, out, 1);
	assert_string_equal(out, "");
	text_escape("a\0b", 3, out, sizeof out);
	assert_string_equal(out, "a\\x00b");
}

static void
test_trim(void **state)
{
	char a[] = " \t a b\r\n", b[] = " \r\n", c[] = "x";

	(void)state;
	assert_string_equal(text_trim(a), "a b");
	assert_string_equal(text_trim(b), "");
	assert_string_equal(text_trim(c), "x");
}

static void
test_print(void **state)
{
	static const struct {
		uint64_t number;
		const char *bytes, *duration;
	} rows[] = {
	    {0, "0 B", "0 ms"},
	    {999, "999 B", "999 ms"},
	    {1023, "1023 B", "1 s"},
	    {1024, "1.0 KiB", "1 s"},
	    {59999, "58.6 KiB", "59 s"},
	    {182000, "177.7 KiB", "3 min 2 s"},
	    {1048575, "1.0 MiB", "17 min 28 s"},
	    {1468006, "1.4 MiB", "24 min 28 s"},
	    {7500000, "7.2 MiB", "2 h 5 min"},
	    {273600000, "260.9 MiB", "3 d 4 h"},
	    {UINT64_MAX, "16.0 EiB", NULL},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		text_print_bytes(rows[i].number, out, sizeof out);
		assert_string_equal(out, rows[i].bytes);
		text_print_duration(rows[i].number, out, sizeof out);
		if (rows[i].duration)
			assert_string_equal(out, rows[i].duration);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_base64),
	    cmocka_unit_test(test_base64_refuses),
	    cmocka_unit_test(test_hex),
	    cmocka_unit_test(test_percent),
	    cmocka_unit_test(test_percent_refuses),
	    cmocka_unit_test(test_compare),
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_utf8),
	    cmocka_unit_test(test_utf8_all),
	    cmocka_unit_test(test_escape),
	    cmocka_unit_test(test_trim),
	    cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
