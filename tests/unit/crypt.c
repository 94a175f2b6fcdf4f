/* SPDX-License-Identifier: MIT
 *
 * The crypto helpers against published vectors (RFC 4231, RFC 6455, FIPS 180)
 * and against signatures of shared access tokens, whose key is the text of the
 * key, never its decoded base64.
 */
#include "util/crypt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "util/text.h"

static void
assert_hex(const uint8_t *data, size_t n, const char *hex)
{
	char text[129];

	assert_true(n <= 64);
	text_hex(data, n, text);
	assert_string_equal(text, hex);
}

static void
assert_signature(
    const char *key, size_t key_len, const char *text, const char *base64)
{
	uint8_t mac[CRYPT_SHA256_SIZE];
	char encoded[64];

	crypt_hmac_sha256(key, key_len, text, strlen(text), mac);
	text_base64_encode(mac, sizeof mac, encoded);
	assert_string_equal(encoded, base64);
}

static void
test_token_signatures(void **state)
{
	static const char key[] = "c29tZUJhc2U2NEtleQ==";
	uint8_t decoded[32];
	size_t n;

	(void)state;
	assert_signature(key, strlen(key), "http%3A%2F%2Fns%2Fp\n1700000000",
	    "FUvYDkvNqOMgCa1awyhIN1hVP70Ma9vshPU9ckXmAys=");
	assert_signature(key, strlen(key),
	    "http%3a%2f%2fcontoso.servicebus.windows.net%2fhyco%2f\n"
	    "1471633754",
	    "sA7k712wvhcdiXnTjUQfNwoQtJFnBJFSIvTH0IDY9m4=");
	/* What a signer would get that decodes the key first. */
	assert_true(text_base64_decode(key, strlen(key), decoded, &n));
	assert_signature((const char *)decoded, n,
	    "http%3A%2F%2Fns%2Fp\n1700000000",
	    "u1NU+TVIlQRjJINEnIYFYVTctCFPnrEz9/evZujlgM4=");
}

static void
test_hmac(void **state)
{
	uint8_t mac[CRYPT_SHA256_SIZE];
	uint8_t key[131];

	(void)state;
	crypt_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
	assert_hex(mac, sizeof mac,
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof key);
	crypt_hmac_sha256(key, sizeof key,
	    "Test Using Larger Than Block-Size Key - Hash Key First", 54, mac);
	assert_hex(mac, sizeof mac,
	    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	crypt_hmac_sha256(NULL, 0, "", 0, mac);
	assert_hex(mac, sizeof mac,
	    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void
test_hashes(void **state)
{
	static const char text[] = "dGhlIHNhbXBsZSBub25jZQ=="
	                           "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t sha1[CRYPT_SHA1_SIZE], sha256[CRYPT_SHA256_SIZE];
	char accept[32];

	(void)state;
	crypt_sha1(text, strlen(text), sha1);
	text_base64_encode(sha1, sizeof sha1, accept);
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	crypt_sha256("abc", 3, sha256);
	assert_hex(sha256, sizeof sha256,
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void
test_random(void **state)
{
	uint8_t a[32], b[32];
	uint8_t masks[2000][4];
	uint8_t ored[4] = {0};
	int repeats = 0;

	(void)state;
	crypt_random(a, sizeof a);
	crypt_random(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	for (int i = 0; i < 2000; i++) {
		crypt_random_mask(masks[i]);
		for (int k = 0; k < 4; k++)
			ored[k] |= masks[i][k];
		if (i > 0)
			repeats += memcmp(masks[i], masks[i - 1], 4) == 0;
	}
	assert_memory_equal(ored, "\xff\xff\xff\xff", 4);
	assert_true(repeats < 3);
}

static void
test_random_below(void **state)
{
	int count[6] = {0};

	(void)state;
	assert_int_equal(crypt_random_below(1), 0);
	for (int i = 0; i < 6000; i++) {
		const uint32_t number = crypt_random_below(6);

		assert_true(number < 6);
		count[number]++;
	}
	for (int i = 0; i < 6; i++)
		assert_true(count[i] > 500);
	assert_true(crypt_random_below(0x80000001u) <= 0x80000000u);
}

static void
test_uuid(void **state)
{
	char a[CRYPT_UUID_SIZE], b[CRYPT_UUID_SIZE];

	(void)state;
	crypt_uuid(a);
	crypt_uuid(b);
	assert_int_equal(strlen(a), 36);
	assert_string_not_equal(a, b);
	assert_true(crypt_is_uuid(a));
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
	assert_true(crypt_is_uuid("01234567-89AB-cdef-0123-456789abcdef_G7"));
	assert_false(crypt_is_uuid("01234567-89AB-cdef-0123-456789abcde"));
	assert_false(crypt_is_uuid("01234567089AB-cdef-0123-456789abcdef"));
	assert_false(crypt_is_uuid("g1234567-89AB-cdef-0123-456789abcdef"));
	assert_false(crypt_is_uuid(""));
}

static void
test_is_equal(void **state)
{
	(void)state;
	assert_true(crypt_is_equal("abc", "abc", 3));
	assert_false(crypt_is_equal("abc", "abd", 3));
	assert_false(crypt_is_equal("xbc", "abc", 3));
	assert_true(crypt_is_equal("abc", "xyz", 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_token_signatures),
	    cmocka_unit_test(test_hmac),
	    cmocka_unit_test(test_hashes),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_random_below),
	    cmocka_unit_test(test_uuid),
	    cmocka_unit_test(test_is_equal),
	};

	return cmocka_run_group_tests_name("crypt", tests, NULL, NULL);
}
