/* SPDX-License-Identifier: MIT
 *
 * The provider of AES-GCM held against OpenSSL's own code: thousands of seeded
 * messages of all sizes in pieces of all sizes, tampered ones, misuse, records
 * of TLS 1.2, and whole TLS connections between the two. Where the provider is
 * not used (no VAES, newer OpenSSL, a build without ipsec-mb) the tests are
 * skipped and say so.
 */
#include "net/tls_gcm.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include "net/tls.h"
#include "util/err.h"
#include "util/mem.h"

#define SIZE_MOST 20000
#define TAG 16

static const char *const names[] = {"AES-128-GCM", "AES-256-GCM"};
static EVP_CIPHER *ours[2], *theirs[2];
static unsigned seed = 20261122;
static char dir[] = "/tmp/hyco-gcm-XXXXXX";
static char ca_file[64], cert_file[64], key_file[64];

static void
skip_without_provider(void)
{
	if (ours[0] != NULL)
		return;
	print_message("ipsec-mb is not used here: nothing to test\n");
	skip();
}

static size_t
below(size_t n)
{
	return (size_t)rand_r(&seed) % n;
}

static void
fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(rand_r(&seed) >> 8);
}

static size_t
random_size(void)
{
	switch (below(4)) {
	case 0:
		return below(20);
	case 1:
		return below(300);
	case 2:
		return 16 * below(70);
	default:
		return below(SIZE_MOST + 1);
	}
}

/* --- messages --- */

struct message {
	int kind;
	uint8_t key[32];
	uint8_t iv[16];
	size_t iv_len;
	uint8_t aad[300];
	size_t aad_len;
	uint8_t plain[SIZE_MOST];
	size_t len;
	uint8_t sealed[SIZE_MOST];
	uint8_t tag[TAG];
};

static void
random_message(struct message *m)
{
	m->kind = (int)below(2);
	m->iv_len = below(4) > 0 ? 12 : 1 + below(16);
	m->aad_len = below(3) > 0 ? below(30) : below(sizeof(m->aad) + 1);
	m->len = random_size();
	fill(m->key, sizeof(m->key));
	fill(m->iv, sizeof(m->iv));
	fill(m->aad, m->aad_len);
	fill(m->plain, m->len);
}

static void
set_up(EVP_CIPHER_CTX *x, const EVP_CIPHER *c, const struct message *m,
    int sealing)
{
	assert_int_equal(1, EVP_CipherInit_ex(x, c, NULL, NULL, NULL, sealing));
	assert_int_equal(1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN,
	                        (int)m->iv_len, NULL));
	assert_int_equal(m->iv_len, EVP_CIPHER_CTX_get_iv_length(x));
	/* Key and nonce come apart, as TLS does it. */
	assert_int_equal(1, EVP_CipherInit_ex(x, NULL, NULL, m->key, NULL, -1));
	assert_int_equal(1, EVP_CipherInit_ex(x, NULL, NULL, NULL, m->iv, -1));
}

/* Whole when `cut` is false. */
static void
feed(EVP_CIPHER_CTX *x, uint8_t *out, const uint8_t *in, size_t len, bool cut)
{
	size_t at = 0;

	while (at < len) {
		size_t n = cut ? 1 + below(below(3) > 0 ? 40 : 5000) : len;
		int got;

		if (n > len - at)
			n = len - at;
		assert_int_equal(
		    1, EVP_CipherUpdate(x, out != NULL ? out + at : NULL, &got,
		           in + at, (int)n));
		assert_int_equal(n, got);
		at += n;
	}
}

static void
seal(EVP_CIPHER_CTX *x, const EVP_CIPHER *c, const struct message *m,
    uint8_t *out, uint8_t *tag, bool cut)
{
	uint8_t end[16];
	int n;

	set_up(x, c, m, 1);
	feed(x, NULL, m->aad, m->aad_len, cut);
	feed(x, out, out == m->plain ? out : m->plain, m->len, cut);
	assert_int_equal(1, EVP_CipherFinal_ex(x, end, &n));
	assert_int_equal(0, n);
	assert_int_equal(
	    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, TAG, tag));
}

static bool
unseal(EVP_CIPHER_CTX *x, const EVP_CIPHER *c, const struct message *m,
    uint8_t *out, size_t tag_len, bool cut)
{
	uint8_t end[16];
	int n;

	set_up(x, c, m, 0);
	assert_int_equal(1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG,
	                        (int)tag_len, (void *)(uintptr_t)m->tag));
	feed(x, NULL, m->aad, m->aad_len, cut);
	feed(x, out, m->sealed, m->len, cut);
	return EVP_CipherFinal_ex(x, end, &n) == 1;
}

static void
check_message(EVP_CIPHER_CTX *x, EVP_CIPHER_CTX *y, struct message *m)
{
	static uint8_t out[SIZE_MOST];
	const EVP_CIPHER *c = ours[m->kind];
	uint8_t tag[TAG];

	seal(y, theirs[m->kind], m, m->sealed, m->tag, false);
	seal(x, c, m, out, tag, true);
	assert_memory_equal(out, m->sealed, m->len);
	assert_memory_equal(tag, m->tag, TAG);
	seal(x, c, m, out, tag, false);
	assert_memory_equal(out, m->sealed, m->len);
	assert_memory_equal(tag, m->tag, TAG);
	memset(out, 0, m->len);
	assert_true(unseal(x, c, m, out, TAG, true));
	assert_memory_equal(out, m->plain, m->len);
	assert_true(unseal(x, c, m, out, 4 + below(13), false));
	/* One bit anywhere. */
	m->tag[below(TAG)] ^= (uint8_t)(1u << below(8));
	assert_false(unseal(x, c, m, out, TAG, true));
	memcpy(m->tag, tag, TAG);
	if (m->len > 0) {
		size_t at = below(m->len);

		m->sealed[at] ^= (uint8_t)(1u << below(8));
		assert_false(unseal(x, c, m, out, TAG, below(2) == 0));
	} else if (m->aad_len > 0) {
		m->aad[below(m->aad_len)] ^= 1;
		assert_false(unseal(x, c, m, out, TAG, true));
	}
}

static void
test_messages(void **state)
{
	EVP_CIPHER_CTX *x, *y;
	struct message *m;

	(void)state;
	skip_without_provider();
	x = EVP_CIPHER_CTX_new();
	y = EVP_CIPHER_CTX_new();
	m = mem_zalloc(sizeof(*m));
	for (int i = 0; i < 3000; i++) {
		random_message(m);
		check_message(x, y, m);
	}
	for (m->len = 0; m->len <= 1100; m->len++) {
		m->kind = (int)(m->len & 1);
		m->iv_len = 12;
		m->aad_len = m->len % 33;
		check_message(x, y, m);
	}
	free(m);
	EVP_CIPHER_CTX_free(x);
	EVP_CIPHER_CTX_free(y);
	ERR_clear_error();
}

/* In place, as TLS 1.3 does it. */
static void
test_in_place(void **state)
{
	EVP_CIPHER_CTX *x, *y;
	struct message *m;

	(void)state;
	skip_without_provider();
	x = EVP_CIPHER_CTX_new();
	y = EVP_CIPHER_CTX_new();
	m = mem_zalloc(sizeof(*m));
	for (int i = 0; i < 300; i++) {
		uint8_t tag[TAG];

		random_message(m);
		seal(y, theirs[m->kind], m, m->sealed, m->tag, false);
		seal(x, ours[m->kind], m, m->plain, tag, below(2) == 0);
		assert_memory_equal(m->plain, m->sealed, m->len);
		assert_memory_equal(tag, m->tag, TAG);
		assert_true(
		    unseal(x, ours[m->kind], m, m->sealed, TAG, below(2) == 0));
		assert_true(
		    m->len < 8 || memcmp(m->plain, m->sealed, m->len) != 0);
	}
	free(m);
	EVP_CIPHER_CTX_free(x);
	EVP_CIPHER_CTX_free(y);
}

/* More keys than the cache holds, turn by turn, each on both threads; copies
 * of running contexts go on by themselves. */
struct many {
	EVP_CIPHER_CTX *x[40];
	struct message *m;
	uint8_t *out;
	size_t from, to;
};

static void *
run_part(void *p)
{
	struct many *a = p;
	int n;

	for (size_t at = a->from; at < a->to; at += 100)
		for (size_t i = 0; i < 40; i++)
			if (EVP_CipherUpdate(a->x[i],
			        a->out + i * SIZE_MOST + at, &n,
			        a->m->plain + at, 100) != 1)
				return p;
	return NULL;
}

static void
test_many(void **state)
{
	struct many a = {.from = 0};
	uint8_t tag[TAG], end[16];
	pthread_t thread;
	void *bad;
	int n;

	(void)state;
	skip_without_provider();
	a.m = mem_zalloc(sizeof(*a.m));
	a.out = mem_alloc((size_t)40 * SIZE_MOST);
	random_message(a.m);
	a.m->len = 2000;
	for (size_t i = 0; i < 40; i++) {
		EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();

		a.m->key[0] = (uint8_t)i;
		set_up(x, ours[a.m->kind], a.m, 1);
		feed(x, NULL, a.m->aad, a.m->aad_len, false);
		a.x[i] = x;
	}
	a.to = 1000;
	assert_null(run_part(&a));
	for (size_t i = 0; i < 40; i += 2) {
		EVP_CIPHER_CTX *copy = EVP_CIPHER_CTX_new();

		assert_int_equal(1, EVP_CIPHER_CTX_copy(copy, a.x[i]));
		EVP_CIPHER_CTX_free(a.x[i]);
		a.x[i] = copy;
	}
	a.from = 1000;
	a.to = 2000;
	assert_int_equal(0, pthread_create(&thread, NULL, run_part, &a));
	pthread_join(thread, &bad);
	assert_null(bad);
	for (size_t i = 0; i < 40; i++) {
		EVP_CIPHER_CTX *y = EVP_CIPHER_CTX_new();

		a.m->key[0] = (uint8_t)i;
		seal(y, theirs[a.m->kind], a.m, a.m->sealed, tag, false);
		EVP_CIPHER_CTX_free(y);
		assert_memory_equal(
		    a.m->sealed, a.out + i * SIZE_MOST, a.m->len);
		assert_int_equal(1, EVP_CipherFinal_ex(a.x[i], end, &n));
		assert_int_equal(1, EVP_CIPHER_CTX_ctrl(a.x[i],
		                        EVP_CTRL_AEAD_GET_TAG, TAG, end));
		assert_memory_equal(tag, end, TAG);
		EVP_CIPHER_CTX_free(a.x[i]);
	}
	free(a.out);
	free(a.m);
}

/* --- misuse --- */

static void
test_misuse(void **state)
{
	EVP_CIPHER_CTX *x;
	uint8_t key[32] = {1}, iv[16] = {2}, b[64] = {0};
	int n;

	(void)state;
	skip_without_provider();
	x = EVP_CIPHER_CTX_new();
	/* No key; no nonce; no tag. */
	assert_int_equal(1, EVP_CipherInit_ex(x, ours[0], NULL, NULL, iv, 1));
	assert_int_not_equal(1, EVP_CipherUpdate(x, b, &n, b, 16));
	assert_int_not_equal(1, EVP_CipherFinal_ex(x, b, &n));
	EVP_CIPHER_CTX_reset(x);
	assert_int_equal(1, EVP_CipherInit_ex(x, ours[0], NULL, key, NULL, 1));
	assert_int_not_equal(1, EVP_CipherUpdate(x, b, &n, b, 16));
	assert_int_equal(1, EVP_CipherInit_ex(x, NULL, NULL, NULL, iv, 0));
	assert_int_equal(1, EVP_CipherUpdate(x, b, &n, b, 16));
	assert_int_not_equal(1, EVP_CipherFinal_ex(x, b, &n));
	/* A nonce serves one message. */
	assert_int_equal(1, EVP_CipherInit_ex(x, NULL, NULL, NULL, iv, 1));
	assert_int_not_equal(
	    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, TAG, b));
	assert_int_equal(1, EVP_CipherUpdate(x, b, &n, b, 16));
	assert_int_not_equal(1, EVP_CipherUpdate(x, NULL, &n, b, 16));
	assert_int_equal(1, EVP_CipherFinal_ex(x, b, &n));
	assert_int_not_equal(1, EVP_CipherUpdate(x, b, &n, b, 16));
	assert_int_equal(1, EVP_CipherInit_ex(x, NULL, NULL, NULL, NULL, 1));
	assert_int_not_equal(1, EVP_CipherUpdate(x, b, &n, b, 16));
	/* Sizes that are not ours. */
	assert_int_not_equal(
	    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_IVLEN, 17, NULL));
	assert_int_not_equal(
	    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, 17, b));
	assert_int_not_equal(
	    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, 16, b));
	assert_int_not_equal(1, EVP_CIPHER_CTX_set_key_length(x, 15));
	EVP_CIPHER_CTX_free(x);
	ERR_clear_error();
}

static void
test_facts(void **state)
{
	(void)state;
	skip_without_provider();
	for (int i = 0; i < 2; i++) {
		const EVP_CIPHER *a = ours[i], *b = theirs[i];

		assert_int_equal(EVP_CIPHER_get_nid(a), EVP_CIPHER_get_nid(b));
		assert_int_equal(
		    EVP_CIPHER_get_key_length(a), EVP_CIPHER_get_key_length(b));
		assert_int_equal(
		    EVP_CIPHER_get_iv_length(a), EVP_CIPHER_get_iv_length(b));
		assert_int_equal(
		    EVP_CIPHER_get_block_size(a), EVP_CIPHER_get_block_size(b));
		assert_int_equal(
		    EVP_CIPHER_get_mode(a), EVP_CIPHER_get_mode(b));
		assert_int_equal(
		    EVP_CIPHER_get_flags(a), EVP_CIPHER_get_flags(b));
	}
}

/* --- records of TLS 1.2 --- */

static EVP_CIPHER_CTX *
new_record_context(
    const EVP_CIPHER *c, const uint8_t *key, uint8_t *salt, int sealing)
{
	EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();

	assert_int_equal(1, EVP_CipherInit_ex(x, c, NULL, key, NULL, sealing));
	assert_int_equal(
	    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_SET_IV_FIXED, 4, salt));
	return x;
}

/* Bytes of the result; -1: refused. */
static int
do_record(EVP_CIPHER_CTX *x, uint64_t number, uint8_t *record, size_t len,
    bool sealing)
{
	size_t n = sealing ? len - TAG : len;
	uint8_t head[13] = {(uint8_t)(number >> 8), (uint8_t)number, 0, 0, 0, 0,
	    0, 0, 23, 3, 3, (uint8_t)(n >> 8), (uint8_t)n};
	int got;

	if (EVP_CIPHER_CTX_ctrl(
	        x, EVP_CTRL_AEAD_TLS1_AAD, sizeof(head), head) != TAG)
		return -1;
	return EVP_CipherUpdate(x, record, &got, record, (int)len) == 1 ? got
	                                                                : -1;
}

static void
check_records(const EVP_CIPHER *from, const EVP_CIPHER *to)
{
	static uint8_t plain[SIZE_MOST], record[SIZE_MOST + 24];
	uint8_t key[32], salt[4], last[8] = {0};
	EVP_CIPHER_CTX *x, *y;

	fill(key, sizeof(key));
	fill(salt, sizeof(salt));
	x = new_record_context(from, key, salt, 1);
	y = new_record_context(to, key, salt, 0);
	for (uint64_t i = 0; i < 300; i++) {
		size_t n = random_size() % 16385;
		bool spoilt = below(8) == 0;
		int got;

		fill(plain, n);
		memcpy(record + 8, plain, n);
		assert_int_equal(n + 24, do_record(x, i, record, n + 24, true));
		assert_memory_not_equal(last, record, sizeof(last));
		memcpy(last, record, sizeof(last));
		if (spoilt)
			record[below(n + 24)] ^= (uint8_t)(1u << below(8));
		got = do_record(y, i, record, n + 24, false);
		assert_int_equal(spoilt ? -1 : (int)n, got);
		if (!spoilt)
			assert_memory_equal(plain, record + 8, n);
	}
	/* Too short to be one; another number. */
	assert_int_equal(-1, do_record(y, 0, record, 23, false));
	assert_int_equal(24, do_record(x, 5, record, 24, true));
	assert_int_equal(-1, do_record(y, 6, record, 24, false));
	EVP_CIPHER_CTX_free(x);
	EVP_CIPHER_CTX_free(y);
	ERR_clear_error();
}

static void
test_records(void **state)
{
	(void)state;
	skip_without_provider();
	for (int i = 0; i < 2; i++) {
		check_records(ours[i], theirs[i]);
		check_records(theirs[i], ours[i]);
		check_records(ours[i], ours[i]);
	}
}

/* The nonces of TLS 1.2 for callers who build the record themselves. */
static void
test_explicit_nonces(void **state)
{
	uint8_t key[32], salt[4], nonce[8], b[50], c[50], tag[TAG], end[16];
	EVP_CIPHER_CTX *x, *y;
	int n;

	(void)state;
	skip_without_provider();
	fill(key, sizeof(key));
	fill(salt, sizeof(salt));
	fill(b, sizeof(b));
	x = new_record_context(ours[1], key, salt, 1);
	y = new_record_context(theirs[1], key, salt, 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(
		    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_IV_GEN, 8, nonce));
		feed(x, c, b, sizeof(b), false);
		assert_int_equal(1, EVP_CipherFinal_ex(x, end, &n));
		assert_int_equal(
		    1, EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, TAG, tag));
		assert_int_equal(1,
		    EVP_CIPHER_CTX_ctrl(y, EVP_CTRL_GCM_SET_IV_INV, 8, nonce));
		assert_int_equal(
		    1, EVP_CIPHER_CTX_ctrl(y, EVP_CTRL_AEAD_SET_TAG, TAG, tag));
		feed(y, c, c, sizeof(c), false);
		assert_int_equal(1, EVP_CipherFinal_ex(y, end, &n));
		assert_memory_equal(b, c, sizeof(b));
	}
	EVP_CIPHER_CTX_free(y);
	y = new_record_context(ours[1], key, salt, 0);
	assert_int_equal(
	    1, EVP_CIPHER_CTX_ctrl(y, EVP_CTRL_GCM_SET_IV_INV, 8, nonce));
	assert_int_equal(
	    1, EVP_CIPHER_CTX_ctrl(y, EVP_CTRL_AEAD_SET_TAG, TAG, tag));
	assert_int_equal(1, EVP_CipherInit_ex(x, NULL, NULL, NULL, NULL, 1));
	feed(x, NULL, b, 3, false);
	assert_int_not_equal(1, EVP_CipherUpdate(x, c, &n, b, 10));
	EVP_CIPHER_CTX_free(x);
	EVP_CIPHER_CTX_free(y);
	ERR_clear_error();
}

/* --- whole connections --- */

static SSL_CTX *
new_context(bool server, bool with_provider, int version, int kind)
{
	SSL_CTX *c = SSL_CTX_new_ex(NULL,
	    with_provider ? tls_gcm_properties() : "provider=default",
	    server ? TLS_server_method() : TLS_client_method());

	assert_non_null(c);
	SSL_CTX_set_min_proto_version(c, version);
	SSL_CTX_set_max_proto_version(c, version);
	assert_int_equal(1,
	    SSL_CTX_set_ciphersuites(c, kind == 0 ? "TLS_AES_128_GCM_SHA256"
	                                          : "TLS_AES_256_GCM_SHA384"));
	assert_int_equal(1, SSL_CTX_set_cipher_list(c,
	                        kind == 0 ? "ECDHE-ECDSA-AES128-GCM-SHA256"
	                                  : "ECDHE-ECDSA-AES256-GCM-SHA384"));
	if (server) {
		assert_int_equal(
		    1, SSL_CTX_use_certificate_chain_file(c, cert_file));
		assert_int_equal(1,
		    SSL_CTX_use_PrivateKey_file(c, key_file, SSL_FILETYPE_PEM));
	}
	return c;
}

static void
send_across(SSL *from, SSL *to, const uint8_t *data, size_t len)
{
	static uint8_t got[SIZE_MOST];
	size_t n = 0, at = 0;

	assert_int_equal(1, SSL_write_ex(from, data, len, &n));
	assert_int_equal(len, n);
	while (at < len) {
		assert_int_equal(
		    1, SSL_read_ex(to, got + at, sizeof(got) - at, &n));
		at += n;
	}
	assert_int_equal(len, at);
	assert_memory_equal(data, got, len);
}

static void
check_connection(bool server_ours, bool client_ours, int version, int kind)
{
	static uint8_t data[SIZE_MOST];
	SSL_CTX *sc = new_context(true, server_ours, version, kind);
	SSL_CTX *cc = new_context(false, client_ours, version, kind);
	SSL *s = SSL_new(sc), *c = SSL_new(cc);
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	char *bytes;
	size_t n;

	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(s, up, down);
	SSL_set_bio(c, down, up);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	assert_true(SSL_is_init_finished(c) && SSL_is_init_finished(s));
	assert_int_equal(version, SSL_version(c));
	for (int i = 0; i < 60; i++) {
		size_t len = random_size() + 1;

		if (len > SIZE_MOST)
			len = SIZE_MOST;
		fill(data, len);
		if (below(2) == 0)
			send_across(c, s, data, len);
		else
			send_across(s, c, data, len);
		if (version == TLS1_3_VERSION && i % 20 == 19)
			assert_int_equal(1, SSL_key_update(i % 40 == 19 ? c : s,
			                        SSL_KEY_UPDATE_REQUESTED));
	}
	/* What was changed on its way is not delivered. */
	assert_int_equal(1, SSL_write_ex(c, data, 1000, &n));
	assert_true(BIO_get_mem_data(up, &bytes) > 1000);
	bytes[500] ^= 4;
	assert_int_equal(0, SSL_read_ex(s, data, sizeof(data), &n));
	assert_int_equal(SSL_ERROR_SSL, SSL_get_error(s, 0));
	SSL_free(s);
	SSL_free(c);
	SSL_CTX_free(sc);
	SSL_CTX_free(cc);
	ERR_clear_error();
}

static void
test_connections(void **state)
{
	(void)state;
	skip_without_provider();
	for (int kind = 0; kind < 2; kind++)
		for (int who = 0; who < 4; who++) {
			check_connection(
			    who & 1, who & 2, TLS1_2_VERSION, kind);
			check_connection(
			    who & 1, who & 2, TLS1_3_VERSION, kind);
		}
}

static void
test_switch(void **state)
{
	(void)state;
	skip_without_provider();
	setenv("HYCO_NO_IPSEC_MB", "1", 1);
	assert_null(tls_gcm_properties());
	setenv("HYCO_NO_IPSEC_MB", "", 1);
	assert_non_null(tls_gcm_properties());
	unsetenv("HYCO_NO_IPSEC_MB");
	assert_non_null(tls_gcm_properties());
}

/* --- the stage --- */

static int
start(void **state)
{
	const char *hosts[] = {"localhost", NULL};
	struct err e;

	(void)state;
	unsetenv("HYCO_NO_IPSEC_MB");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", dir);
	snprintf(cert_file, sizeof(cert_file), "%s/cert.pem", dir);
	snprintf(key_file, sizeof(key_file), "%s/key.pem", dir);
	if (!tls_make_certificate(&(struct tls_make_options){.ca_file = ca_file,
	                              .cert_file = cert_file,
	                              .key_file = key_file,
	                              .names = hosts,
	                              .days = 2},
	        &e))
		return -1;
	if (tls_gcm_properties() == NULL)
		return 0;
	for (int i = 0; i < 2; i++) {
		ours[i] = EVP_CIPHER_fetch(NULL, names[i], "provider=hyco-gcm");
		theirs[i] =
		    EVP_CIPHER_fetch(NULL, names[i], "provider=default");
		if (ours[i] == NULL || theirs[i] == NULL)
			return -1;
	}
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		EVP_CIPHER_free(ours[i]);
		EVP_CIPHER_free(theirs[i]);
	}
	unlink(ca_file);
	unlink(cert_file);
	unlink(key_file);
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_facts),
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_in_place),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_misuse),
	    cmocka_unit_test(test_records),
	    cmocka_unit_test(test_explicit_nonces),
	    cmocka_unit_test(test_connections),
	    cmocka_unit_test(test_switch),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
