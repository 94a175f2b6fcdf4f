/* SPDX-License-Identifier: MIT
 *
 * Thin covers over libcrypto. Every failure in here means that the library or
 * the system's source of randomness is broken; going on would be dangerous,
 * so the process stops.
 */
#include "util/crypt.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/text.h"

/* One draw from libcrypto serves this many bytes of masks. */
#define CRYPT_POOL_SIZE 1024

static void
crypt_demand(bool is_done)
{
	if (is_done)
		return;
	fputs("hyco: libcrypto failed; the installation is broken\n", stderr);
	abort();
}

void
crypt_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
    uint8_t out[CRYPT_SHA256_SIZE])
{
	unsigned size = 0;

	/* HMAC takes a NULL key for "the one before", hence the "". */
	crypt_demand(HMAC(EVP_sha256(), key_len ? key : "", (int)key_len, data,
	                 len, out, &size) &&
	             size == CRYPT_SHA256_SIZE);
}

void
crypt_sha256(const void *data, size_t len, uint8_t out[CRYPT_SHA256_SIZE])
{
	crypt_demand(EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1);
}

void
crypt_sha1(const void *data, size_t len, uint8_t out[CRYPT_SHA1_SIZE])
{
	crypt_demand(EVP_Digest(data, len, out, NULL, EVP_sha1(), NULL) == 1);
}

void
crypt_random(void *out, size_t n)
{
	uint8_t *at = out;

	while (n > 0) {
		const size_t part = n > 1 << 20 ? 1 << 20 : n;

		crypt_demand(RAND_bytes(at, (int)part) == 1);
		at += part;
		n -= part;
	}
}

void
crypt_random_mask(uint8_t out[4])
{
	static _Thread_local uint8_t pool[CRYPT_POOL_SIZE];
	static _Thread_local size_t left;

	if (left == 0) {
		crypt_random(pool, sizeof pool);
		left = sizeof pool;
	}
	left -= 4;
	memcpy(out, pool + left, 4);
	memset(pool + left, 0, 4);
}

uint32_t
crypt_random_below(uint32_t bound)
{
	uint32_t skip, number;

	assert(bound > 0);
	/* Numbers below this are one draw too many for some remainders. */
	skip = (uint32_t)(0u - bound) % bound;
	do {
		crypt_random(&number, sizeof number);
	} while (number < skip);
	return number % bound;
}

void
crypt_uuid(char out[CRYPT_UUID_SIZE])
{
	uint8_t raw[16];
	char hex[2 * sizeof raw + 1];

	crypt_random(raw, sizeof raw);
	raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
	raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
	text_hex(raw, sizeof raw, hex);
	snprintf(out, CRYPT_UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex,
	    hex + 8, hex + 12, hex + 16, hex + 20);
}

bool
crypt_is_uuid(const char *s)
{
	for (int i = 0; i < CRYPT_UUID_SIZE - 1; i++) {
		const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
		const char c = s[i];

		if (is_dash
		        ? c != '-'
		        : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
		              (c >= 'A' && c <= 'F')))
			return false;
	}
	return true;
}

bool
crypt_is_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}
