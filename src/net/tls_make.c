/* SPDX-License-Identifier: MIT
 *
 * A certificate authority for one certificate: its private key exists only
 * while this function runs, so nobody can ever sign a second one with it. The
 * CA's file is written last: where it is, the others are whole.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/tls.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/file.h"
#include "util/mem.h"

#define SERIAL_BITS 127      /* RFC 5280: positive, at most 20 octets */
#define CLOCK_SKEW_S (-3600) /* clocks of clients run behind */
#define DAY_S (24L * 3600)
#define NAMES_MAX 16384

struct make {
	EVP_PKEY *ca_key;
	EVP_PKEY *key;
	X509 *ca;
	X509 *cert;
};

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

static bool
set_subject(X509 *x, const char *name)
{
	/* A common name holds 64 characters; the names that count stand in
	 * the extension. */
	return X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN",
	           MBSTRING_UTF8, (const unsigned char *)name,
	           (int)strnlen(name, 64), -1, 0) == 1;
}

static bool
add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate without extensions and signature. */
static X509 *
new_certificate(EVP_PKEY *key, const char *name, X509 *issuer, unsigned days)
{
	X509 *x = X509_new();

	if (x == NULL)
		return NULL;
	if (X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
	    set_subject(x, name) &&
	    X509_set_issuer_name(
	        x, X509_get_subject_name(issuer != NULL ? issuer : x)) == 1 &&
	    X509_gmtime_adj(X509_getm_notBefore(x), CLOCK_SKEW_S) != NULL &&
	    X509_gmtime_adj(X509_getm_notAfter(x), (long)days * DAY_S) !=
	        NULL &&
	    X509_set_pubkey(x, key) == 1)
		return x;
	X509_free(x);
	return NULL;
}

static bool
make_ca(struct make *m, unsigned days)
{
	m->ca_key = EVP_EC_gen("P-256");
	if (m->ca_key == NULL)
		return false;
	m->ca = new_certificate(m->ca_key, "hyco relay CA", NULL, days);
	return m->ca != NULL &&
	       add_extension(m->ca, m->ca, NID_basic_constraints,
	           "critical,CA:TRUE,pathlen:0") &&
	       add_extension(m->ca, m->ca, NID_key_usage,
	           "critical,keyCertSign,cRLSign") &&
	       add_extension(
	           m->ca, m->ca, NID_subject_key_identifier, "hash") &&
	       X509_sign(m->ca, m->ca_key, EVP_sha256()) > 0;
}

static bool
make_cert(struct make *m, const char *name, const char *names, unsigned days)
{
	m->key = EVP_EC_gen("P-256");
	if (m->key == NULL)
		return false;
	m->cert = new_certificate(m->key, name, m->ca, days);
	return m->cert != NULL &&
	       add_extension(m->cert, m->ca, NID_basic_constraints,
	           "critical,CA:FALSE") &&
	       add_extension(m->cert, m->ca, NID_key_usage,
	           "critical,digitalSignature") &&
	       add_extension(m->cert, m->ca, NID_ext_key_usage, "serverAuth") &&
	       add_extension(m->cert, m->ca, NID_subject_alt_name, names) &&
	       add_extension(
	           m->cert, m->ca, NID_subject_key_identifier, "hash") &&
	       add_extension(m->cert, m->ca, NID_authority_key_identifier,
	           "keyid:always") &&
	       X509_sign(m->cert, m->ca_key, EVP_sha256()) > 0;
}

/* "DNS:a,IP:::1": OpenSSL's own language, so a name must not break out of
 * it. NULL and *e when one does. */
static char *
alt_names(const char *const *names, struct err *e)
{
	struct buf b;
	bool ok = names[0] != NULL;

	buf_init(&b, NAMES_MAX);
	for (size_t i = 0; names[i] != NULL && ok; i++) {
		unsigned char ip[sizeof(struct in6_addr)];
		bool is_ip = inet_pton(AF_INET, names[i], ip) == 1 ||
		             inet_pton(AF_INET6, names[i], ip) == 1;

		ok = (is_ip || (names[i][0] != '\0' &&
		                   strspn(names[i], "abcdefghijklmnopqrstuvwxyz"
		                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		                                    "0123456789-_.*") ==
		                       strlen(names[i]))) &&
		     buf_printf(&b, "%s%s:%s", i > 0 ? "," : "",
		         is_ip ? "IP" : "DNS", names[i]);
	}
	if (!ok) {
		buf_fini(&b);
		err_set(e, ERR_USAGE,
		    "a certificate needs names, each a host name or an IP "
		    "address");
		return NULL;
	}
	return buf_take_text(&b);
}

/* --- files --- */

static bool
is_free(const char *file, struct err *e)
{
	struct stat st;

	if (lstat(file, &st) == 0)
		return err_set(e, ERR_USAGE,
		    "%s exists already and is not overwritten; remove it to "
		    "have a new one made",
		    file);
	if (errno != ENOENT)
		return err_set_errno(e, ERR_SYSTEM, errno, "%s", file);
	return true;
}

/* Whole or not at all: written aside, then renamed. */
static bool
write_file(const char *file, mode_t mode, BIO *content, struct err *e)
{
	char *aside = mem_printf("%s.new", file);
	char *data;
	long len = BIO_get_mem_data(content, &data);
	int fd, saved;
	bool ok;

	(void)unlink(aside);
	fd = open(
	    aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	ok = fd >= 0 && fchmod(fd, mode) == 0 &&
	     file_write_all(fd, data, (size_t)len);
	saved = errno;
	if (fd >= 0 && close(fd) != 0 && ok) {
		saved = errno;
		ok = false;
	}
	if (ok && rename(aside, file) != 0) {
		saved = errno;
		ok = false;
	}
	if (!ok) {
		err_set_errno(e, ERR_SYSTEM, saved, "cannot write %s", file);
		if (fd >= 0)
			(void)unlink(aside);
	}
	free(aside);
	return ok;
}

static bool
write_cert(const char *file, X509 *x, struct err *e)
{
	BIO *b = BIO_new(BIO_s_mem());
	bool ok;

	if (b == NULL || PEM_write_bio_X509(b, x) != 1)
		abort();
	ok = write_file(file, 0644, b, e);
	BIO_free(b);
	return ok;
}

static bool
write_key(const char *file, EVP_PKEY *key, struct err *e)
{
	BIO *b = BIO_new(BIO_s_secmem());
	bool ok;

	if (b == NULL ||
	    PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
		abort();
	ok = write_file(file, 0600, b, e);
	BIO_free(b);
	return ok;
}

bool
tls_make_certificate(const struct tls_make_options *o, struct err *e)
{
	struct make m = {0};
	char *names;
	bool ok;

	if (!is_free(o->ca_file, e) || !is_free(o->cert_file, e) ||
	    !is_free(o->key_file, e))
		return false;
	names = alt_names(o->names, e);
	if (names == NULL)
		return false;
	ERR_clear_error();
	ok = make_ca(&m, o->days) && make_cert(&m, o->names[0], names, o->days);
	if (!ok) {
		const char *why = ERR_reason_error_string(ERR_peek_error());

		err_set(e, ERR_TLS, "cannot make a certificate: %s",
		    why != NULL ? why : "unknown reason");
	}
	ok = ok && write_key(o->key_file, m.key, e) &&
	     write_cert(o->cert_file, m.cert, e) &&
	     write_cert(o->ca_file, m.ca, e);
	X509_free(m.cert);
	X509_free(m.ca);
	EVP_PKEY_free(m.key);
	EVP_PKEY_free(m.ca_key);
	free(names);
	return ok;
}
