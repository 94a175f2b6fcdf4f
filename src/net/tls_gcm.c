/* SPDX-License-Identifier: MIT
 *
 * An OpenSSL provider inside the program: AES-128-GCM and AES-256-GCM by
 * ipsec-mb. Its key tables are 1 KiB for each direction of each connection,
 * too much for thousands of idle ones, but are made in the time of 1.5 KiB of
 * payload. So a cipher context holds the bare key, and a small cache of each
 * thread the tables of the keys used last.
 *
 * The functions of ipsec-mb used here keep no state but what they are given;
 * the manager is only asked for their addresses.
 */
#include "net/tls_gcm.h"

#include <stddef.h>

#ifdef HYCO_IPSEC_MB

#include <intel-ipsec-mb.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/prov_ssl.h>
#include <openssl/proverr.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PROVIDER "hyco-gcm"
#define TAG_SIZE 16u
#define IV_MAX 16u
#define IV_USUAL 12u

/* TLS 1.2: salt of the key block, explicit nonce and tag in each record. */
#define FIXED_IV_SIZE 4u
#define EXPLICIT_IV_SIZE 8u
#define RECORD_EXTRA (EXPLICIT_IV_SIZE + TAG_SIZE)

/* One call of ipsec-mb: its counter of blocks has 32 bits. */
#define MESSAGE_MAX (((uint64_t)1 << 36) - 32)

/* Keys in use at one moment on one thread: two for each busy connection. */
#define CACHE_SLOTS 16u

enum iv_state {
	IV_NONE,
	IV_READY,   /* set, nothing processed with it */
	IV_RUNNING, /* the message has begun */
	IV_SPENT,   /* must not be used again */
};

struct kind {
	size_t key_size;
	aes_gcm_pre_t expand;
	aes_gcm_init_var_iv_t begin_any;
	aes_gcm_init_t begin;
	aes_gcm_enc_dec_update_t encrypt;
	aes_gcm_enc_dec_update_t decrypt;
	aes_gcm_enc_dec_finalize_t finish;
	aes_gcm_enc_dec_t seal;
	aes_gcm_enc_dec_t unseal;
};

struct cipher {
	const struct kind *kind;
	uint64_t id; /* of the key in the caches; 0: no key yet */
	struct gcm_context_data running;
	uint8_t key[32];
	uint8_t iv[IV_MAX];
	uint8_t tag[TAG_SIZE];
	uint8_t *aad; /* collected until the message begins */
	size_t aad_len;
	size_t aad_room;
	uint64_t records; /* TLS 1.2: sealed with this key */
	uint8_t record[EVP_AEAD_TLS1_AAD_LEN]; /* TLS 1.2: its header */
	uint8_t iv_size;
	uint8_t tag_size; /* of `tag`; 0: none */
	uint8_t iv_state;
	bool sealing;
	bool has_record; /* the next update is one TLS 1.2 record */
	bool makes_iv;   /* the last 8 bytes of `iv` count */
};

struct slot {
	_Alignas(64) struct gcm_key_data tables; /* ipsec-mb demands it */
	uint64_t id;
};

/* Filled once, before the provider is loaded. */
static struct kind aes128 = {.key_size = 16};
static struct kind aes256 = {.key_size = 32};

static int
fault(int why)
{
	ERR_raise(ERR_LIB_PROV, why);
	return 0;
}

/* --- the tables of keys --- */

static _Thread_local struct slot cache[CACHE_SLOTS];
static atomic_uint_fast64_t last_id;

static const struct gcm_key_data *
tables(const struct cipher *c)
{
	struct slot *s = &cache[c->id % CACHE_SLOTS];

	if (s->id != c->id) {
		c->kind->expand(c->key, &s->tables);
		s->id = c->id;
	}
	return &s->tables;
}

/* Only this thread's copy can be reached: a connection is used and freed on
 * one thread. What another thread holds goes with the next key there. */
static void
forget_tables(const struct cipher *c)
{
	struct slot *s = &cache[c->id % CACHE_SLOTS];

	if (c->id != 0 && s->id == c->id)
		OPENSSL_cleanse(s, sizeof(*s));
}

/* --- life --- */

static struct cipher *
cipher_new(const struct kind *k)
{
	struct cipher *c = OPENSSL_zalloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->kind = k;
	c->iv_size = IV_USUAL;
	return c;
}

static void *
new_128(void *provider)
{
	(void)provider;
	return cipher_new(&aes128);
}

static void *
new_256(void *provider)
{
	(void)provider;
	return cipher_new(&aes256);
}

static void
cipher_free(void *object)
{
	struct cipher *c = object;

	if (c == NULL)
		return;
	forget_tables(c);
	OPENSSL_clear_free(c->aad, c->aad_room);
	OPENSSL_clear_free(c, sizeof(*c));
}

static void *
cipher_copy(void *object)
{
	const struct cipher *c = object;
	struct cipher *copy = OPENSSL_memdup(c, sizeof(*c));

	if (copy == NULL || c->aad == NULL)
		return copy;
	copy->aad = OPENSSL_memdup(c->aad, c->aad_room);
	if (copy->aad == NULL) {
		OPENSSL_clear_free(copy, sizeof(*copy));
		return NULL;
	}
	return copy;
}

/* --- a message --- */

static bool
aad_add(struct cipher *c, const uint8_t *data, size_t len)
{
	if (len > c->aad_room - c->aad_len) {
		size_t room = c->aad_room * 2 + 16;
		uint8_t *p;

		if (len > SIZE_MAX / 4 || c->aad_len > SIZE_MAX / 4)
			return false;
		if (room < c->aad_len + len)
			room = c->aad_len + len;
		p = OPENSSL_clear_realloc(c->aad, c->aad_room, room);
		if (p == NULL)
			return false;
		c->aad = p;
		c->aad_room = room;
	}
	memcpy(c->aad + c->aad_len, data, len);
	c->aad_len += len;
	return true;
}

/* The first payload, or the end when there is none. */
static bool
begin(struct cipher *c, const struct gcm_key_data *t)
{
	static const uint8_t nothing[1];
	const uint8_t *aad = c->aad_len > 0 ? c->aad : nothing;

	if (c->iv_state == IV_RUNNING)
		return true;
	if (c->iv_state != IV_READY)
		return false;
	if (c->iv_size == IV_USUAL)
		c->kind->begin(t, &c->running, c->iv, aad, c->aad_len);
	else
		c->kind->begin_any(
		    t, &c->running, c->iv, c->iv_size, aad, c->aad_len);
	c->aad_len = 0;
	c->iv_state = IV_RUNNING;
	return true;
}

/* TLS 1.2: a fresh nonce, whose last 8 bytes are a counter. */
static bool
next_iv(struct cipher *c)
{
	uint8_t *counter = c->iv + FIXED_IV_SIZE;

	if (!c->makes_iv || !c->sealing || c->records == UINT64_MAX)
		return fault(PROV_R_TOO_MANY_RECORDS);
	c->records++;
	for (int i = EXPLICIT_IV_SIZE - 1; i >= 0 && ++counter[i] == 0; i--)
		;
	return true;
}

/* One whole record of TLS 1.2 in place: explicit nonce, payload, tag. */
static bool
do_record(struct cipher *c, uint8_t *out, const uint8_t *in, size_t len,
    size_t *out_len)
{
	const struct gcm_key_data *t = tables(c);
	struct gcm_context_data running;
	uint8_t tag[TAG_SIZE];
	uint8_t *data = out + EXPLICIT_IV_SIZE;
	size_t n = len - RECORD_EXTRA;
	bool ok = true;

	c->has_record = false;
	if (in != out || len < RECORD_EXTRA || !c->makes_iv)
		return false;
	if (c->sealing) {
		if (!next_iv(c))
			return false;
		memcpy(out, c->iv + FIXED_IV_SIZE, EXPLICIT_IV_SIZE);
		c->kind->seal(t, &running, data, data, n, c->iv, c->record,
		    sizeof(c->record), data + n, TAG_SIZE);
		*out_len = len;
	} else {
		memcpy(c->iv + FIXED_IV_SIZE, out, EXPLICIT_IV_SIZE);
		c->kind->unseal(t, &running, data, data, n, c->iv, c->record,
		    sizeof(c->record), tag, TAG_SIZE);
		ok = CRYPTO_memcmp(tag, data + n, TAG_SIZE) == 0;
		if (ok)
			*out_len = n;
		else
			OPENSSL_cleanse(data, n);
	}
	OPENSSL_cleanse(&running, sizeof(running));
	return ok;
}

static int
update(void *object, unsigned char *out, size_t *out_len, size_t room,
    const unsigned char *in, size_t len)
{
	struct cipher *c = object;
	const struct gcm_key_data *t;

	*out_len = 0;
	if (c->id == 0)
		return fault(PROV_R_NO_KEY_SET);
	if (c->has_record)
		return room < len ? fault(PROV_R_OUTPUT_BUFFER_TOO_SMALL)
		                  : do_record(c, out, in, len, out_len);
	if (len == 0)
		return 1;
	if (out == NULL) {
		if (c->iv_state == IV_RUNNING || !aad_add(c, in, len))
			return 0;
		*out_len = len;
		return 1;
	}
	if (room < len)
		return fault(PROV_R_OUTPUT_BUFFER_TOO_SMALL);
	t = tables(c);
	if (!begin(c, t) || len > MESSAGE_MAX - c->running.in_length)
		return 0;
	if (c->sealing)
		c->kind->encrypt(t, &c->running, out, in, len);
	else
		c->kind->decrypt(t, &c->running, out, in, len);
	*out_len = len;
	return 1;
}

static int
final(void *object, unsigned char *out, size_t *out_len, size_t room)
{
	struct cipher *c = object;
	const struct gcm_key_data *t;
	uint8_t tag[TAG_SIZE];
	int ok = 1;

	(void)out, (void)room;
	*out_len = 0;
	if (c->id == 0)
		return fault(PROV_R_NO_KEY_SET);
	if (!c->sealing && c->tag_size == 0)
		return fault(PROV_R_TAG_NOT_SET);
	t = tables(c);
	if (!begin(c, t))
		return 0;
	c->kind->finish(t, &c->running, tag, sizeof(tag));
	c->iv_state = IV_SPENT;
	if (c->sealing) {
		memcpy(c->tag, tag, sizeof(tag));
		c->tag_size = sizeof(tag);
	} else {
		ok = CRYPTO_memcmp(tag, c->tag, c->tag_size) == 0;
		c->tag_size = 0;
	}
	OPENSSL_cleanse(&c->running, sizeof(c->running));
	OPENSSL_cleanse(tag, sizeof(tag));
	return ok;
}

/* EVP_Cipher: one piece, or the end when there is no input. */
static int
one_call(void *object, unsigned char *out, size_t *out_len, size_t room,
    const unsigned char *in, size_t len)
{
	return in != NULL ? update(object, out, out_len, room, in, len)
	                  : final(object, out, out_len, room);
}

/* --- settings --- */

/* TLS 1.2: the header of the next record. Its length counts the nonce and,
 * when it came from the peer, the tag; the header that is authenticated counts
 * neither. */
static int
set_record(struct cipher *c, const OSSL_PARAM *p)
{
	uint8_t *r = c->record;
	size_t extra = c->sealing ? EXPLICIT_IV_SIZE : RECORD_EXTRA;
	size_t n;

	if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data == NULL ||
	    p->data_size != sizeof(c->record))
		return fault(PROV_R_INVALID_AAD);
	memcpy(r, p->data, sizeof(c->record));
	n = (size_t)r[11] << 8 | r[12];
	if (n < extra)
		return fault(PROV_R_INVALID_AAD);
	n -= extra;
	r[11] = (uint8_t)(n >> 8);
	r[12] = (uint8_t)n;
	c->has_record = true;
	return 1;
}

/* TLS 1.2: the salt. Nonces of our own count up from a random number. */
static int
set_fixed_iv(struct cipher *c, const OSSL_PARAM *p)
{
	if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data == NULL ||
	    p->data_size != FIXED_IV_SIZE || c->iv_size != IV_USUAL)
		return fault(PROV_R_INVALID_IV_LENGTH);
	memcpy(c->iv, p->data, FIXED_IV_SIZE);
	if (c->sealing &&
	    RAND_bytes(c->iv + FIXED_IV_SIZE, EXPLICIT_IV_SIZE) != 1)
		return 0;
	c->makes_iv = true;
	c->iv_state = IV_NONE;
	return 1;
}

/* The nonce that came with a record, for who takes it apart himself. */
static int
set_explicit_iv(struct cipher *c, const OSSL_PARAM *p)
{
	if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data == NULL ||
	    p->data_size != EXPLICIT_IV_SIZE || c->sealing || !c->makes_iv)
		return fault(PROV_R_INVALID_IV_LENGTH);
	memcpy(c->iv + FIXED_IV_SIZE, p->data, EXPLICIT_IV_SIZE);
	c->iv_state = IV_READY;
	return 1;
}

static int
set_tag(struct cipher *c, const OSSL_PARAM *p)
{
	if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data == NULL ||
	    p->data_size == 0 || p->data_size > TAG_SIZE || c->sealing)
		return fault(PROV_R_INVALID_TAG);
	memcpy(c->tag, p->data, p->data_size);
	c->tag_size = (uint8_t)p->data_size;
	return 1;
}

static int
set_iv_size(struct cipher *c, const OSSL_PARAM *p)
{
	size_t n;

	if (OSSL_PARAM_get_size_t(p, &n) != 1 || n == 0 || n > IV_MAX)
		return fault(PROV_R_INVALID_IV_LENGTH);
	if (n != c->iv_size) {
		c->iv_size = (uint8_t)n;
		c->iv_state = IV_NONE;
		c->makes_iv = false;
	}
	return 1;
}

static int
set_params(void *object, const OSSL_PARAM params[])
{
	struct cipher *c = object;
	size_t n;

	for (const OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++) {
		int ok = 1;

		if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
			ok = set_tag(c, p);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD) == 0)
			ok = set_record(c, p);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED) ==
		         0)
			ok = set_fixed_iv(c, p);
		else if (strcmp(p->key,
		             OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV) == 0)
			ok = set_explicit_iv(c, p);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_IVLEN) == 0)
			ok = set_iv_size(c, p);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN) == 0)
			ok = OSSL_PARAM_get_size_t(p, &n) == 1 &&
			     n == c->kind->key_size;
		if (!ok)
			return 0;
	}
	return 1;
}

static int
set_up(struct cipher *c, const unsigned char *key, size_t key_len,
    const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[],
    bool sealing)
{
	c->sealing = sealing;
	c->aad_len = 0;
	c->tag_size = 0;
	c->has_record = false;
	if (c->iv_state == IV_RUNNING)
		c->iv_state = IV_SPENT;
	if (key != NULL) {
		if (key_len != c->kind->key_size)
			return fault(PROV_R_INVALID_KEY_LENGTH);
		forget_tables(c);
		memcpy(c->key, key, key_len);
		c->id = atomic_fetch_add(&last_id, 1) + 1;
		c->records = 0;
		c->makes_iv = false;
	}
	if (iv != NULL) {
		if (iv_len == 0 || iv_len > IV_MAX)
			return fault(PROV_R_INVALID_IV_LENGTH);
		memcpy(c->iv, iv, iv_len);
		c->iv_size = (uint8_t)iv_len;
		c->iv_state = IV_READY;
		c->makes_iv = false;
	}
	return set_params(c, params);
}

static int
encrypt_init(void *object, const unsigned char *key, size_t key_len,
    const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[])
{
	return set_up(object, key, key_len, iv, iv_len, params, true);
}

static int
decrypt_init(void *object, const unsigned char *key, size_t key_len,
    const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[])
{
	return set_up(object, key, key_len, iv, iv_len, params, false);
}

/* --- answers --- */

static int
get_tag(const struct cipher *c, OSSL_PARAM *p)
{
	if (!c->sealing || c->tag_size == 0 || p->data_size == 0 ||
	    p->data_size > c->tag_size)
		return fault(PROV_R_INVALID_TAG);
	return OSSL_PARAM_set_octet_string(p, c->tag, p->data_size);
}

static int
get_iv(const struct cipher *c, OSSL_PARAM *p)
{
	if (p->data_size < c->iv_size)
		return fault(PROV_R_INVALID_IV_LENGTH);
	return p->data_type == OSSL_PARAM_OCTET_PTR
	           ? OSSL_PARAM_set_octet_ptr(p, c->iv, c->iv_size)
	           : OSSL_PARAM_set_octet_string(p, c->iv, c->iv_size);
}

/* A fresh nonce for who builds a record himself: its last bytes. */
static int
make_iv(struct cipher *c, OSSL_PARAM *p)
{
	if (p->data_size == 0 || p->data_size > c->iv_size || !next_iv(c))
		return 0;
	c->iv_state = IV_READY;
	return OSSL_PARAM_set_octet_string(
	    p, c->iv + c->iv_size - p->data_size, p->data_size);
}

static int
get_ctx_params(void *object, OSSL_PARAM params[])
{
	struct cipher *c = object;

	for (OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++) {
		int ok = 1;

		if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
			ok = get_tag(c, p);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_IVLEN) == 0)
			ok = OSSL_PARAM_set_size_t(p, c->iv_size);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN) == 0)
			ok = OSSL_PARAM_set_size_t(p, c->kind->key_size);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TAGLEN) == 0)
			ok = OSSL_PARAM_set_size_t(
			    p, c->tag_size > 0 ? c->tag_size : TAG_SIZE);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD) ==
		         0)
			ok = OSSL_PARAM_set_size_t(p, TAG_SIZE);
		else if (strcmp(p->key,
		             OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN) == 0)
			ok = make_iv(c, p);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_IV) == 0 ||
		         strcmp(p->key, OSSL_CIPHER_PARAM_UPDATED_IV) == 0)
			ok = get_iv(c, p);
		if (!ok)
			return 0;
	}
	return 1;
}

static int
get_params(OSSL_PARAM params[], size_t key_size)
{
	for (OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++) {
		int ok = 1;

		if (strcmp(p->key, OSSL_CIPHER_PARAM_MODE) == 0)
			ok = OSSL_PARAM_set_uint(p, EVP_CIPH_GCM_MODE);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_KEYLEN) == 0)
			ok = OSSL_PARAM_set_size_t(p, key_size);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_IVLEN) == 0)
			ok = OSSL_PARAM_set_size_t(p, IV_USUAL);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_BLOCK_SIZE) == 0)
			ok = OSSL_PARAM_set_size_t(p, 1);
		else if (strcmp(p->key, OSSL_CIPHER_PARAM_AEAD) == 0 ||
		         strcmp(p->key, OSSL_CIPHER_PARAM_CUSTOM_IV) == 0)
			ok = OSSL_PARAM_set_int(p, 1);
		if (!ok)
			return 0;
	}
	return 1;
}

static int
get_params_128(OSSL_PARAM params[])
{
	return get_params(params, 16);
}

static int
get_params_256(OSSL_PARAM params[])
{
	return get_params(params, 32);
}

static const OSSL_PARAM *
gettable_params(void *provider)
{
	static const OSSL_PARAM list[] = {
	    OSSL_PARAM_uint(OSSL_CIPHER_PARAM_MODE, NULL),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_BLOCK_SIZE, NULL),
	    OSSL_PARAM_int(OSSL_CIPHER_PARAM_AEAD, NULL),
	    OSSL_PARAM_int(OSSL_CIPHER_PARAM_CUSTOM_IV, NULL),
	    OSSL_PARAM_END,
	};

	(void)provider;
	return list;
}

static const OSSL_PARAM *
gettable_ctx_params(void *object, void *provider)
{
	static const OSSL_PARAM list[] = {
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
	    OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_IV, NULL, 0),
	    OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_UPDATED_IV, NULL, 0),
	    OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD, NULL),
	    OSSL_PARAM_octet_string(
	        OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN, NULL, 0),
	    OSSL_PARAM_END,
	};

	(void)object, (void)provider;
	return list;
}

static const OSSL_PARAM *
settable_ctx_params(void *object, void *provider)
{
	static const OSSL_PARAM list[] = {
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
	    OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, NULL),
	    OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
	    OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, NULL, 0),
	    OSSL_PARAM_octet_string(
	        OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, NULL, 0),
	    OSSL_PARAM_octet_string(
	        OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV, NULL, 0),
	    OSSL_PARAM_END,
	};

	(void)object, (void)provider;
	return list;
}

/* --- the provider --- */

#define CALL(id, function)                                                     \
	{                                                                      \
		id, (void (*)(void))(function)                                 \
	}
#define CALLS(name)                                                            \
	static const OSSL_DISPATCH calls_##name[] = {                          \
	    CALL(OSSL_FUNC_CIPHER_NEWCTX, new_##name),                         \
	    CALL(OSSL_FUNC_CIPHER_FREECTX, cipher_free),                       \
	    CALL(OSSL_FUNC_CIPHER_DUPCTX, cipher_copy),                        \
	    CALL(OSSL_FUNC_CIPHER_ENCRYPT_INIT, encrypt_init),                 \
	    CALL(OSSL_FUNC_CIPHER_DECRYPT_INIT, decrypt_init),                 \
	    CALL(OSSL_FUNC_CIPHER_UPDATE, update),                             \
	    CALL(OSSL_FUNC_CIPHER_FINAL, final),                               \
	    CALL(OSSL_FUNC_CIPHER_CIPHER, one_call),                           \
	    CALL(OSSL_FUNC_CIPHER_GET_PARAMS, get_params_##name),              \
	    CALL(OSSL_FUNC_CIPHER_GETTABLE_PARAMS, gettable_params),           \
	    CALL(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, get_ctx_params),             \
	    CALL(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, gettable_ctx_params),   \
	    CALL(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, set_params),                 \
	    CALL(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, settable_ctx_params),   \
	    {0, NULL},                                                         \
	}

CALLS(128);
CALLS(256);

static const OSSL_ALGORITHM *
query(void *provider, int operation, int *no_store)
{
	static const OSSL_ALGORITHM ciphers[] = {
	    {"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6",
	        "provider=" PROVIDER, calls_128, NULL},
	    {"AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46",
	        "provider=" PROVIDER, calls_256, NULL},
	    {NULL, NULL, NULL, NULL},
	};

	(void)provider;
	*no_store = 0;
	return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int
enter(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
    const OSSL_DISPATCH **out, void **provider)
{
	static const OSSL_DISPATCH calls[] = {
	    CALL(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
	    {0, NULL},
	};

	(void)in;
	*out = calls;
	*provider = (void *)(uintptr_t)core;
	return 1;
}

/* What ipsec-mb asks for before it takes its VAES code. */
static bool
take_functions(void)
{
	IMB_MGR *m = alloc_mb_mgr(0);
	bool ok;

	if (m == NULL)
		return false;
	ok = (m->features & IMB_CPUFLAGS_AVX512_T2) == IMB_CPUFLAGS_AVX512_T2;
	if (ok) {
		init_mb_mgr_avx512(m);
		ok = imb_get_errno(m) == 0;
	}
	if (ok) {
		aes128.expand = m->gcm128_pre;
		aes128.begin = m->gcm128_init;
		aes128.begin_any = m->gcm128_init_var_iv;
		aes128.encrypt = m->gcm128_enc_update;
		aes128.decrypt = m->gcm128_dec_update;
		aes128.finish = m->gcm128_enc_finalize;
		aes128.seal = m->gcm128_enc;
		aes128.unseal = m->gcm128_dec;
		aes256.expand = m->gcm256_pre;
		aes256.begin = m->gcm256_init;
		aes256.begin_any = m->gcm256_init_var_iv;
		aes256.encrypt = m->gcm256_enc_update;
		aes256.decrypt = m->gcm256_dec_update;
		aes256.finish = m->gcm256_enc_finalize;
		aes256.seal = m->gcm256_enc;
		aes256.unseal = m->gcm256_dec;
	}
	free_mb_mgr(m);
	return ok;
}

static bool
is_new_openssl(void)
{
	return OPENSSL_version_major() > 3 || OPENSSL_version_minor() > 0;
}

static OSSL_PROVIDER *own, *usual;

static void
unload(void)
{
	OSSL_PROVIDER_unload(own);
	OSSL_PROVIDER_unload(usual);
}

/* A provider that is loaded by name keeps OpenSSL from loading the default one
 * by itself, so that one is loaded by name as well, but only where it would
 * have been used anyway. */
static void
load(void)
{
	if (is_new_openssl() || !OSSL_PROVIDER_available(NULL, "default") ||
	    EVP_default_properties_is_fips_enabled(NULL) || !take_functions() ||
	    OSSL_PROVIDER_add_builtin(NULL, PROVIDER, enter) != 1)
		return;
	usual = OSSL_PROVIDER_load(NULL, "default");
	if (usual == NULL)
		return;
	own = OSSL_PROVIDER_load(NULL, PROVIDER);
	OPENSSL_atexit(unload);
}

const char *
tls_gcm_properties(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *no = getenv("HYCO_NO_IPSEC_MB");

	if (no != NULL && strcmp(no, "1") == 0)
		return NULL;
	pthread_once(&once, load);
	return own != NULL ? "?provider=" PROVIDER : NULL;
}

#else

const char *
tls_gcm_properties(void)
{
	return NULL;
}

#endif
