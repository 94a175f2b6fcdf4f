/* SPDX-License-Identifier: MIT
 *
 * The few cryptographic helpers that need no TLS, over OpenSSL's libcrypto
 * (only this file and net/tls*.c may use it). A failure inside the library is
 * a broken installation: these functions abort rather than return it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPT_SHA1_SIZE 20
#define CRYPT_SHA256_SIZE 32
#define CRYPT_UUID_SIZE 37 /* 36 characters and a NUL */

void crypt_hmac_sha256(const void *key, size_t key_len, const void *data,
    size_t len, uint8_t out[CRYPT_SHA256_SIZE]);
void crypt_sha256(const void *data, size_t len, uint8_t out[CRYPT_SHA256_SIZE]);

/* For Sec-WebSocket-Accept only (RFC 6455, section 1.3). */
void crypt_sha1(const void *data, size_t len, uint8_t out[CRYPT_SHA1_SIZE]);

/* Unpredictable bytes. */
void crypt_random(void *out, size_t n);

/* Four unpredictable bytes for a WebSocket mask, cheap: drawn from a per-thread
 * pool of random bytes that is refilled now and then. */
void crypt_random_mask(uint8_t out[4]);

/* A number in [0, bound), without bias; bound > 0. */
uint32_t crypt_random_below(uint32_t bound);

/* Version 4, lower case, NUL-terminated. */
void crypt_uuid(char out[CRYPT_UUID_SIZE]);

/* Whether the first 36 bytes of s are a UUID in its text form. */
bool crypt_is_uuid(const char *s);

/* Compares n bytes in a time that does not tell where they differ. */
bool crypt_is_equal(const void *a, const void *b, size_t n);
