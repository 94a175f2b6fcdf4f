/* SPDX-License-Identifier: MIT
 *
 * Session frames: the vectors of doc/PROTOCOL-hyco.md, each frame there and
 * back, whole, byte by byte and cut everywhere, and every violation.
 */
#include "session/session_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/mem.h"
#include "util/text.h"

static void
unhex(const char *hex, uint8_t *out)
{
	assert_true(text_unhex(hex, strlen(hex), out));
}

static void
count_up(uint8_t *out, uint8_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(from + i);
}

/* --- the vectors --- */

static const char secret_hex[] =
    "c50fb47b244ef87e710fa220fbae93dc9d67e453b024885409753050c35796ab";
static const char resume_hex[] =
    "0300005e0100404142434445464748494a4b4c4d4e4f00000001010203040506"
    "0708606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d"
    "7e7fbaff074fb38824c0f1a99332431498693ad6b7d95e06000a6c6eddbedefd"
    "dc01";
static const char resumed_hex[] =
    "0400002c0000000100000000000000096a3def8114f648668c27052c4c5822f5"
    "95b763cbc994fb0532f8f80da102716d";

static struct session_resume
vector_resume(uint8_t *secret)
{
	struct session_resume r = {.epoch = 1, .received = 0x0102030405060708};

	unhex(secret_hex, secret);
	count_up(r.id, 0x40, sizeof(r.id));
	count_up(r.random, 0x60, sizeof(r.random));
	return r;
}

static void
test_secret(void **state)
{
	uint8_t hello[SESSION_RANDOM_SIZE], welcome[SESSION_RANDOM_SIZE];
	uint8_t id[SESSION_ID_SIZE];
	uint8_t secret[SESSION_SECRET_SIZE], right[SESSION_SECRET_SIZE];

	(void)state;
	count_up(hello, 0, sizeof(hello));
	count_up(welcome, 0x20, sizeof(welcome));
	count_up(id, 0x40, sizeof(id));
	session_make_secret(hello, welcome, id, secret);
	unhex(secret_hex, right);
	assert_memory_equal(secret, right, sizeof(right));
}

static void
test_resume_vector(void **state)
{
	uint8_t secret[SESSION_SECRET_SIZE];
	struct session_resume r = vector_resume(secret), back;
	uint8_t out[SESSION_CONTROL_MAX], right[SESSION_CONTROL_MAX];
	size_t n = session_build_resume(out, &r, secret);
	bool bad_version;

	(void)state;
	assert_int_equal(n, strlen(resume_hex) / 2);
	unhex(resume_hex, right);
	assert_memory_equal(out, right, n);
	assert_true(session_parse_resume(
	    &back, out + 4, n - SESSION_HEAD_SIZE, &bad_version));
	assert_int_equal(back.epoch, 1);
	assert_true(back.received == r.received);
	assert_memory_equal(back.id, r.id, sizeof(r.id));
	assert_memory_equal(back.random, r.random, sizeof(r.random));
	assert_true(session_check_resume(&back, secret));
	/* Every bit counts, of the frame and of the secret. */
	for (size_t i = 6; i < n; i++) {
		out[i] ^= 1;
		assert_true(session_parse_resume(
		    &back, out + 4, n - SESSION_HEAD_SIZE, &bad_version));
		assert_false(session_check_resume(&back, secret));
		out[i] ^= 1;
	}
	assert_true(session_parse_resume(
	    &back, out + 4, n - SESSION_HEAD_SIZE, &bad_version));
	secret[31] ^= 0x80;
	assert_false(session_check_resume(&back, secret));
}

static void
test_resumed_vector(void **state)
{
	uint8_t secret[SESSION_SECRET_SIZE];
	struct session_resume asked = vector_resume(secret);
	struct session_resumed r = {.epoch = 1, .received = 9}, back;
	uint8_t out[SESSION_CONTROL_MAX], right[SESSION_CONTROL_MAX];
	size_t n = session_build_resumed(out, &r, asked.random, secret);

	(void)state;
	assert_int_equal(n, strlen(resumed_hex) / 2);
	unhex(resumed_hex, right);
	assert_memory_equal(out, right, n);
	assert_true(
	    session_parse_resumed(&back, out + 4, n - SESSION_HEAD_SIZE));
	assert_int_equal(back.epoch, 1);
	assert_int_equal(back.received, 9);
	assert_true(session_check_resumed(&back, asked.random, secret));
	asked.random[0] ^= 1;
	assert_false(session_check_resumed(&back, asked.random, secret));
	asked.random[0] ^= 1;
	for (size_t i = 4; i < n; i++) {
		out[i] ^= 0x10;
		assert_true(session_parse_resumed(
		    &back, out + 4, n - SESSION_HEAD_SIZE));
		assert_false(
		    session_check_resumed(&back, asked.random, secret));
		out[i] ^= 0x10;
	}
}

/* A proof of one side is none of the other. */
static void
test_proofs_do_not_cross(void **state)
{
	uint8_t secret[SESSION_SECRET_SIZE];
	struct session_resume r = vector_resume(secret);
	struct session_resumed d = {.epoch = 1, .received = r.received};
	uint8_t out[SESSION_CONTROL_MAX];
	size_t n = session_build_resume(out, &r, secret);

	(void)state;
	memcpy(d.proof, out + n - SESSION_PROOF_SIZE, SESSION_PROOF_SIZE);
	assert_false(session_check_resumed(&d, r.random, secret));
	n = session_build_resumed(out, &d, r.random, secret);
	memcpy(r.proof, out + n - SESSION_PROOF_SIZE, SESSION_PROOF_SIZE);
	assert_false(session_check_resume(&r, secret));
}

/* --- there and back --- */

static struct session_hello
a_hello(void)
{
	struct session_hello h = {.options = SESSION_OPTION_TLS,
	    .window_s = 0x1234,
	    .limit = 0x89abcdef};

	count_up(h.id, 1, sizeof(h.id));
	count_up(h.random, 100, sizeof(h.random));
	return h;
}

static void
test_hello(void **state)
{
	struct session_hello h = a_hello(), back;
	uint8_t out[SESSION_CONTROL_MAX];
	size_t n = session_build_hello(out, &h);
	bool bad;

	(void)state;
	assert_int_equal(n, 60);
	assert_memory_equal(out, "\x01\x00\x00\x38\x01\x01\x01\x02", 8);
	assert_memory_equal(out + 54, "\x12\x34\x89\xab\xcd\xef", 6);
	assert_true(session_parse_hello(&back, out + 4, n - 4, &bad));
	assert_false(bad);
	assert_int_equal(back.options, 1);
	assert_int_equal(back.window_s, 0x1234);
	assert_int_equal(back.limit, 0x89abcdef);
	assert_memory_equal(back.id, h.id, sizeof(h.id));
	assert_memory_equal(back.random, h.random, sizeof(h.random));
	for (size_t len = 0; len < n - 4; len++) {
		assert_false(session_parse_hello(&back, out + 4, len, &bad));
		assert_false(bad);
	}
	assert_false(session_parse_hello(&back, out + 4, n - 3, &bad));
	out[4] = 2;
	assert_false(session_parse_hello(&back, out + 4, n - 4, &bad));
	assert_true(bad);
	assert_false(session_parse_hello(&back, out + 4, 1, &bad));
	assert_true(bad);
	out[4] = 1;
	out[5] = 3;
	assert_false(session_parse_hello(&back, out + 4, n - 4, &bad));
	assert_true(bad);
	h.limit = SESSION_LIMIT_MIN - 1;
	session_build_hello(out, &h);
	assert_false(session_parse_hello(&back, out + 4, n - 4, &bad));
	assert_false(bad);
}

static void
test_welcome(void **state)
{
	struct session_hello h = a_hello(), back;
	uint8_t out[SESSION_CONTROL_MAX];
	size_t n = session_build_welcome(out, &h);

	(void)state;
	assert_int_equal(n, 44);
	assert_memory_equal(out, "\x02\x00\x00\x28\x01\x01\x64\x65", 8);
	assert_true(session_parse_welcome(&back, out + 4, n - 4));
	assert_int_equal(back.window_s, 0x1234);
	assert_int_equal(back.limit, 0x89abcdef);
	assert_memory_equal(back.random, h.random, sizeof(h.random));
	for (size_t len = 0; len < n - 4; len++)
		assert_false(session_parse_welcome(&back, out + 4, len));
	out[4] = 0;
	assert_false(session_parse_welcome(&back, out + 4, n - 4));
	out[4] = 1;
	out[5] = 0x80;
	assert_false(session_parse_welcome(&back, out + 4, n - 4));
	h.limit = 0;
	session_build_welcome(out, &h);
	assert_false(session_parse_welcome(&back, out + 4, n - 4));
}

static void
test_resume_lengths(void **state)
{
	uint8_t payload[SESSION_CONTROL_MAX] = {1};
	struct session_resumed d;
	struct session_resume r;
	bool bad;

	(void)state;
	for (size_t len = 0; len < sizeof(payload); len++) {
		assert_int_equal(
		    session_parse_resume(&r, payload, len, &bad), len == 94);
		assert_false(bad);
		assert_int_equal(
		    session_parse_resumed(&d, payload, len), len == 44);
	}
	payload[1] = 1;
	assert_false(session_parse_resume(&r, payload, 94, &bad));
	assert_false(bad);
	payload[0] = 0;
	assert_false(session_parse_resume(&r, payload, 94, &bad));
	assert_true(bad);
}

static void
test_notice(void **state)
{
	char text[400];
	struct session_notice n;
	uint8_t out[SESSION_CONTROL_MAX];
	size_t len;

	(void)state;
	len = session_build_notice(out, SESSION_REFUSE, 421, "none here");
	assert_int_equal(len, 15);
	assert_memory_equal(out, "\x05\x00\x00\x0b\x01\xa5none here", 15);
	assert_true(session_parse_notice(&n, out + 4, len - 4));
	assert_int_equal(n.code, 421);
	assert_string_equal(n.text, "none here");
	len = session_build_notice(out, SESSION_CLOSE, 0, "");
	assert_int_equal(len, 6);
	assert_true(session_parse_notice(&n, out + 4, 2));
	assert_string_equal(n.text, "");
	assert_false(session_parse_notice(&n, out + 4, 1));
	assert_false(session_parse_notice(&n, (const uint8_t *)"\0\0\xff", 3));
	assert_false(session_parse_notice(&n, (const uint8_t *)"\0\0a\0b", 5));
	/* Cut between characters. */
	memset(text, 'x', sizeof(text));
	memcpy(text + 254, "\xe2\x82\xac", 3);
	text[399] = '\0';
	assert_int_equal(session_fit_text(text), 254);
	len = session_build_notice(out, SESSION_CLOSE, 1, text);
	assert_int_equal(len, 4 + 2 + 254);
	assert_true(session_parse_notice(&n, out + 4, len - 4));
	memset(text, 'x', sizeof(text) - 1);
	len = session_build_notice(out, SESSION_CLOSE, 1, text);
	assert_int_equal(len, SESSION_CONTROL_MAX);
	assert_true(session_parse_notice(&n, out + 4, len - 4));
	assert_int_equal(strlen(n.text), 255);
	text[255] = '\0';
	assert_int_equal(session_fit_text(text), 255);
}

static void
test_number(void **state)
{
	uint8_t out[SESSION_CONTROL_MAX];
	uint64_t n;

	(void)state;
	assert_int_equal(
	    session_build_number(out, SESSION_ACK, 0x0102030405060708), 12);
	assert_memory_equal(
	    out, "\x11\x00\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08", 12);
	assert_true(session_parse_number(&n, out + 4, 8));
	assert_true(n == 0x0102030405060708);
	assert_false(session_parse_number(&n, out + 4, 7));
	assert_false(session_parse_number(&n, out + 4, 9));
	session_build_data_head(out, 0xfedc);
	assert_memory_equal(out, "\x10\x00\xfe\xdc", 4);
}

/* --- the decoder --- */

/* What came out, in an order and a form that no cut may change. */
struct record {
	uint8_t bytes[4096];
	size_t len;
	bool bad;
};

static void
note(struct record *r, const uint8_t *bytes, size_t len)
{
	assert_true(r->len + len <= sizeof(r->bytes));
	memcpy(r->bytes + r->len, bytes, len);
	r->len += len;
}

static void
feed(struct session_decoder *d, const uint8_t *bytes, size_t len,
    struct record *r)
{
	uint8_t *copy = mem_alloc(len), *data = copy;
	struct session_item item;
	uint8_t mark[3];

	memcpy(copy, bytes, len);
	while (!r->bad) {
		session_decoder_next(d, &data, &len, &item);
		if (item.kind == SESSION_ITEM_NONE)
			break;
		if (item.kind == SESSION_ITEM_BAD) {
			r->bad = true;
			assert_non_null(item.why);
			break;
		}
		mark[0] = 0xfe;
		mark[1] = (uint8_t)item.type;
		mark[2] = (uint8_t)item.len;
		if (item.kind == SESSION_ITEM_FRAME)
			note(r, mark, 3);
		else
			assert_int_equal(item.type, SESSION_DATA);
		note(r, item.data, item.len);
	}
	assert_true(r->bad || len == 0);
	free(copy);
}

static size_t
build_many(uint8_t *out)
{
	struct session_hello h = a_hello();
	uint8_t secret[SESSION_SECRET_SIZE];
	struct session_resume r = vector_resume(secret);
	struct session_resumed d = {.epoch = 3, .received = 77};
	char text[256];
	uint8_t *p = out;

	memset(text, 'y', 255);
	text[255] = '\0';
	p += session_build_hello(p, &h);
	p += session_build_welcome(p, &h);
	session_build_data_head(p, 1);
	p[4] = 'a';
	p += 5;
	p += session_build_resume(p, &r, secret);
	p += session_build_resumed(p, &d, r.random, secret);
	p += session_build_number(p, SESSION_PING, 1);
	session_build_data_head(p, 300);
	memset(p + 4, 'b', 300);
	p += 304;
	p += session_build_number(p, SESSION_PONG, 2);
	p += session_build_number(p, SESSION_ACK, 3);
	p += session_build_notice(p, SESSION_REFUSE, 503, "busy");
	p += session_build_notice(p, SESSION_CLOSE, 2, text);
	return (size_t)(p - out);
}

static void
test_decoder_cut_everywhere(void **state)
{
	uint8_t all[2048];
	size_t n = build_many(all);
	struct session_decoder d;
	struct record whole = {0}, again;

	(void)state;
	session_decoder_init(&d);
	feed(&d, all, n, &whole);
	assert_false(whole.bad);
	assert_int_equal(whole.len, n - 11 * 4 + 9 * 3);
	for (size_t at = 1; at < n; at++) {
		again = (struct record){0};
		session_decoder_init(&d);
		feed(&d, all, at, &again);
		feed(&d, all + at, n - at, &again);
		assert_int_equal(again.len, whole.len);
		assert_memory_equal(again.bytes, whole.bytes, whole.len);
	}
	for (size_t step = 1; step < 8; step++) {
		again = (struct record){0};
		session_decoder_init(&d);
		for (size_t at = 0; at < n; at += step)
			feed(&d, all + at, n - at < step ? n - at : step,
			    &again);
		assert_int_equal(again.len, whole.len);
		assert_memory_equal(again.bytes, whole.bytes, whole.len);
	}
}

static void
test_decoder_violations(void **state)
{
	struct session_decoder d;
	struct session_item item;

	(void)state;
	for (unsigned type = 0; type < 256; type++)
		for (unsigned len = 0; len < 65536; len += len < 300 ? 1 : 977)
			for (unsigned flags = 0; flags < 2; flags++) {
				uint8_t head[] = {(uint8_t)type,
				    (uint8_t)(flags << (type % 8)),
				    (uint8_t)(len >> 8), (uint8_t)len};
				uint8_t *data = head;
				size_t n = 4;
				bool ok = false;

				if (type == SESSION_DATA)
					ok = len > 0;
				else if (type == SESSION_HELLO ||
				         type == SESSION_RESUME)
					ok = len >= 1 && len <= 257;
				else if (type == SESSION_REFUSE ||
				         type == SESSION_CLOSE)
					ok = len >= 2 && len <= 257;
				else if (type == SESSION_WELCOME)
					ok = len == 40;
				else if (type == SESSION_RESUMED)
					ok = len == 44;
				else if (type >= SESSION_ACK &&
				         type <= SESSION_PONG)
					ok = len == 8;
				session_decoder_init(&d);
				session_decoder_next(&d, &data, &n, &item);
				assert_int_equal(item.kind,
				    ok && flags == 0 ? SESSION_ITEM_NONE
				                     : SESSION_ITEM_BAD);
			}
}

static void
test_decoder_holds_data(void **state)
{
	uint8_t bytes[64];
	uint8_t *data = bytes;
	struct session_decoder d;
	struct session_item item;
	size_t n = session_build_number(bytes, SESSION_ACK, 5);

	(void)state;
	session_build_data_head(bytes + n, 3);
	memcpy(bytes + n + 4, "abc", 3);
	n += 7;
	session_decoder_init(&d);
	d.holds_data = true;
	session_decoder_next(&d, &data, &n, &item);
	assert_int_equal(item.type, SESSION_ACK);
	for (int i = 0; i < 3; i++) {
		session_decoder_next(&d, &data, &n, &item);
		assert_int_equal(item.kind, SESSION_ITEM_NONE);
		assert_int_equal(n, 3);
	}
	d.holds_data = false;
	session_decoder_next(&d, &data, &n, &item);
	assert_int_equal(item.kind, SESSION_ITEM_DATA);
	assert_memory_equal(item.data, "abc", 3);
	assert_ptr_equal(item.data, bytes + 16);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_secret),
	    cmocka_unit_test(test_resume_vector),
	    cmocka_unit_test(test_resumed_vector),
	    cmocka_unit_test(test_proofs_do_not_cross),
	    cmocka_unit_test(test_hello),
	    cmocka_unit_test(test_welcome),
	    cmocka_unit_test(test_resume_lengths),
	    cmocka_unit_test(test_notice),
	    cmocka_unit_test(test_number),
	    cmocka_unit_test(test_decoder_cut_everywhere),
	    cmocka_unit_test(test_decoder_violations),
	    cmocka_unit_test(test_decoder_holds_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
