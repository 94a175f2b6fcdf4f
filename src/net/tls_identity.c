/* SPDX-License-Identifier: MIT
 *
 * A listener's identity. Its name hangs on the public key alone, so the key's
 * file is the truth: it is written aside and linked into place, which fails for
 * all but one of several processes that try at once; the certificate can be
 * made again from it at any time.
 */
#include "net/tls_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/tls.h"
#include "net/tls_inside.h"
#include "util/crypt.h"
#include "util/err.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/text.h"

#define PREFIX "sha256:"
#define PREFIX_LEN (sizeof(PREFIX) - 1)

/* RFC 5280, 4.1.2.5: "no well-defined expiration date". Nobody asks a pinned
 * key for its age. */
#define FOREVER "99991231235959Z"
#define CLOCK_SKEW_S (-3600) /* clocks of senders run behind */
#define SERIAL_BITS 127

/* --- the name --- */

bool
tls_identity_is_name(const char *text)
{
	uint8_t hash[48];
	size_t len;

	return strlen(text) == TLS_IDENTITY_NAME_SIZE - 1 &&
	       memcmp(text, PREFIX, PREFIX_LEN) == 0 &&
	       text_base64url_decode(
	           text + PREFIX_LEN, strlen(text + PREFIX_LEN), hash, &len) &&
	       len == CRYPT_SHA256_SIZE;
}

static const char *
name_of(X509 *x, char out[TLS_IDENTITY_NAME_SIZE])
{
	uint8_t hash[CRYPT_SHA256_SIZE];
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);

	if (len <= 0)
		abort();
	crypt_sha256(der, (size_t)len, hash);
	OPENSSL_free(der);
	memcpy(out, PREFIX, PREFIX_LEN);
	text_base64url_encode(hash, sizeof(hash), out + PREFIX_LEN);
	return out;
}

const char *
tls_identity_name(const struct tls_context *c, char out[TLS_IDENTITY_NAME_SIZE])
{
	return name_of(SSL_CTX_get0_certificate(tls_context_ssl(c)), out);
}

/* A server has always shown one in TLS 1.3. */
const char *
tls_identity_peer(const struct stream *s, char out[TLS_IDENTITY_NAME_SIZE])
{
	return name_of(SSL_get0_peer_certificate(tls_ssl(s)), out);
}

/* --- making one --- */

static const char *
reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text != NULL ? text : "unknown reason";
}

static bool
set_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	bool ok =
	    n != NULL &&
	    BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	    BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

	BN_free(n);
	return ok;
}

static X509 *
new_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name;

	if (x == NULL)
		return NULL;
	name = X509_get_subject_name(x);
	if (X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	        (const unsigned char *)"hyco listener", -1, -1, 0) == 1 &&
	    X509_set_issuer_name(x, name) == 1 &&
	    X509_gmtime_adj(X509_getm_notBefore(x), CLOCK_SKEW_S) != NULL &&
	    ASN1_TIME_set_string(X509_getm_notAfter(x), FOREVER) == 1 &&
	    X509_set_pubkey(x, key) == 1 && X509_sign(x, key, NULL) > 0)
		return x;
	X509_free(x);
	return NULL;
}

static bool
write_aside(const char *aside, BIO *content, mode_t mode)
{
	int fd = open(
	    aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	char *data;
	long len = BIO_get_mem_data(content, &data);
	bool ok;

	if (fd < 0)
		return false;
	ok = fchmod(fd, mode) == 0 && file_write_all(fd, data, (size_t)len);
	return close(fd) == 0 && ok;
}

/* Whole or not at all. `keep`: a file that is there meanwhile stays, which
 * counts as success. */
static bool
write_file(
    const char *file, BIO *content, mode_t mode, bool keep, struct err *e)
{
	char *aside = mem_printf("%s.%ld", file, (long)getpid());
	int saved;
	bool ok;

	(void)unlink(aside);
	ok = write_aside(aside, content, mode);
	if (ok && keep)
		ok = link(aside, file) == 0 || errno == EEXIST;
	else if (ok)
		ok = rename(aside, file) == 0;
	saved = errno;
	(void)unlink(aside);
	free(aside);
	return ok ||
	       err_set_errno(e, ERR_SYSTEM, saved, "cannot write %s", file);
}

static bool
make_key(const char *file, struct err *e)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *b = BIO_new(BIO_s_secmem());
	bool ok;

	if (key == NULL || b == NULL ||
	    PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
		ok = err_set(
		    e, ERR_TLS, "cannot make the listener's key: %s", reason());
	else
		ok = write_file(file, b, 0600, true, e);
	BIO_free(b);
	EVP_PKEY_free(key);
	return ok;
}

static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

static EVP_PKEY *
read_key(const char *file, struct err *e)
{
	FILE *f = fopen(file, "re");
	EVP_PKEY *key;

	if (f == NULL) {
		err_set_errno(e, errno == EACCES ? ERR_DENIED : ERR_SYSTEM,
		    errno, "key file %s", file);
		return NULL;
	}
	key = PEM_read_PrivateKey(f, NULL, no_passphrase, NULL);
	if (key == NULL)
		err_set(e, ERR_TLS, "key file %s cannot be used: %s", file,
		    reason());
	fclose(f);
	return key;
}

static bool
make_certificate(const char *key_file, const char *file, struct err *e)
{
	EVP_PKEY *key = read_key(key_file, e);
	BIO *b = BIO_new(BIO_s_mem());
	X509 *x = key != NULL ? new_certificate(key) : NULL;
	bool ok = false;

	if (x != NULL && b != NULL && PEM_write_bio_X509(b, x) == 1)
		ok = write_file(file, b, 0644, false, e);
	else if (key != NULL)
		err_set(e, ERR_TLS,
		    "cannot make the listener's certificate: %s", reason());
	X509_free(x);
	BIO_free(b);
	EVP_PKEY_free(key);
	return ok;
}

/* A certificate without its key is the rest of an identity that somebody took
 * away: a new key beside it would be refused by all who knew the old one, so
 * that is for a person to decide. */
static bool
make_missing(const struct tls_server_options *o, bool *made, struct err *e)
{
	/* In this order: who makes both writes the key first. */
	bool has_cert = access(o->cert_file, F_OK) == 0;
	bool has_key = access(o->key_file, F_OK) == 0;

	*made = !has_key;
	if (!has_key && has_cert)
		return err_set(e, ERR_NOT_FOUND,
		    "the listener's key %s is missing; put it back, or remove "
		    "%s to be somebody new",
		    o->key_file, o->cert_file);
	if (!has_key && !make_key(o->key_file, e))
		return false;
	return has_cert || make_certificate(o->key_file, o->cert_file, e);
}

/* --- contexts --- */

struct tls_context *
tls_identity_load(const struct tls_server_options *o, struct err *e)
{
	struct tls_context *c = tls_context_end_new(true);

	if (tls_context_use_files(c, o, e))
		return c;
	tls_context_unref(c);
	return NULL;
}

struct tls_context *
tls_identity_open(const char *dir, bool *made, struct err *e)
{
	char *key = mem_printf("%s/identity.key", dir);
	char *cert = mem_printf("%s/identity.pem", dir);
	const struct tls_server_options o = {
	    .cert_file = cert, .key_file = key};
	struct tls_context *c = NULL;
	bool is_new;

	ERR_clear_error();
	if (make_missing(&o, &is_new, e))
		c = tls_identity_load(&o, e);
	if (made != NULL)
		*made = is_new;
	ERR_clear_error();
	free(key);
	free(cert);
	return c;
}

struct tls_context *
tls_identity_client_context(void)
{
	return tls_context_end_new(false);
}

/* --- a CA's word --- */

static bool
verify(X509_STORE *store, const struct stream *s, const char *path,
    const char *ca_file, struct err *e)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	SSL *ssl = tls_ssl(s);
	X509_VERIFY_PARAM *param;
	bool ok;

	if (ctx == NULL ||
	    X509_STORE_CTX_init(ctx, store, SSL_get0_peer_certificate(ssl),
	        SSL_get_peer_cert_chain(ssl)) != 1 ||
	    X509_STORE_CTX_set_default(ctx, "ssl_server") != 1)
		abort();
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_hostflags(param,
	    X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	ok = X509_VERIFY_PARAM_set1_host(param, path, 0) == 1 &&
	     X509_verify_cert(ctx) == 1;
	if (!ok)
		err_set(e, ERR_TLS,
		    "the listener's certificate is not good for %s by the CA "
		    "in %s: %s",
		    path, ca_file,
		    X509_verify_cert_error_string(
		        X509_STORE_CTX_get_error(ctx)));
	X509_STORE_CTX_free(ctx);
	return ok;
}

bool
tls_identity_is_issued(const struct stream *s, const char *ca_file,
    const char *path, struct err *e)
{
	X509_STORE *store = X509_STORE_new();
	bool ok = false;

	if (store == NULL)
		abort();
	ERR_clear_error();
	if (access(ca_file, R_OK) != 0)
		err_set_errno(
		    e, ERR_NOT_FOUND, errno, "listener's CA file %s", ca_file);
	else if (X509_STORE_load_file(store, ca_file) != 1)
		err_set(e, ERR_TLS, "listener's CA file %s cannot be used: %s",
		    ca_file, reason());
	else
		ok = verify(store, s, path, ca_file, e);
	X509_STORE_free(store);
	ERR_clear_error();
	return ok;
}
